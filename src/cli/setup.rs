//! `agentgate setup`.

use clap::Args;

/// `agentgate setup`
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  agentgate setup --dry-run     show what would change
  agentgate setup               gate every server that Claude Desktop, Claude Code, Cursor and
                                VS Code start
  agentgate setup --undo git    take it away from `git` again

Only a server's command and the beginning of its arguments change. Servers that a
client reaches by URL stay as they are. Quit the clients first: some write their
file when they end. Without a name, --undo keeps gates that have other options
than `setup` gives them. The exit code is 1 if a file cannot be read or written.")]
pub struct SetupArgs {
    /// The servers, by name [default: all]
    #[arg(value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Take the gate out again
    #[arg(long)]
    pub undo: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Change the files of the current folder (.mcp.json, .cursor, .vscode) instead of your own;
    /// they name `agentgate` without a path, because others may share them
    #[arg(long)]
    pub project: bool,
    /// Print one JSON object per server
    #[arg(long)]
    pub json: bool,
}
