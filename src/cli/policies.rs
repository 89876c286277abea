//! `agentgate policies`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `agentgate policies`
#[derive(Debug, Clone, Subcommand)]
pub enum PoliciesCommand {
    /// List policies: built-in, installed and your own
    List(PoliciesListArgs),
    /// Print the text of a policy
    Show(PoliciesShowArgs),
    /// Print the JSON schema of policy files, for editors
    Schema,
}

/// `agentgate policies list`
#[derive(Debug, Clone, Args)]
pub struct PoliciesListArgs {
    /// A folder to find policies in by name, besides the built-in ones
    #[arg(long, value_name = "DIR", env = "AGENTGATE_POLICY_DIR")]
    pub policy_dir: Option<PathBuf>,
    /// Print one JSON object per policy
    #[arg(long)]
    pub json: bool,
}

/// `agentgate policies show`
#[derive(Debug, Clone, Args)]
pub struct PoliciesShowArgs {
    /// The policy's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A folder to find policies in by name, besides the built-in ones
    #[arg(long, value_name = "DIR", env = "AGENTGATE_POLICY_DIR")]
    pub policy_dir: Option<PathBuf>,
}
