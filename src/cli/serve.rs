//! `agentgate serve` and `agentgate agents`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{AuditSync, Bridge, DecideArgs, OnAuditFailure, StoreArgs, address, duration, size};

/// `agentgate serve`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  agentgate serve --test-mode                try policies without credentials
  agentgate serve --config /etc/agentgate/serve.yaml
  agentgate agents create my-agent           then send its key as X-Agent-Key

Requests go to /proxy/{provider}/{path}, for google, microsoft, slack, github, jira,
notion, linear, hubspot, salesforce and aws. Admin calls take X-Master-Key, from
AGENTGATE_MASTER_KEY or made at the first start.")]
pub struct ServeArgs {
    /// Where to listen [default: 127.0.0.1:8100]
    #[arg(long, value_name = "ADDR", env = "AGENTGATE_LISTEN", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// Send nothing to any provider: their answers are mocks; everything else is real,
    /// MCP servers too
    #[arg(long, env = "AGENTGATE_TEST_MODE", value_parser = clap::builder::FalseyValueParser::new())]
    pub test_mode: bool,
    /// How to decide.
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The largest body that is held to be judged [default: 1MiB]
    #[arg(long, value_name = "SIZE", env = "AGENTGATE_MAX_BODY", value_parser = size)]
    pub max_body: Option<usize>,
    /// The largest MCP message at /mcp/{name} [default: 128MiB]
    #[arg(long, value_name = "SIZE", env = "AGENTGATE_MAX_MESSAGE", value_parser = size)]
    pub max_message: Option<usize>,
    /// How long a provider may take to begin its answer [default: 60s]
    #[arg(long, value_name = "DURATION", env = "AGENTGATE_UPSTREAM_TIMEOUT", value_parser = duration)]
    pub upstream_timeout: Option<Duration>,
    /// What happens to an allowed request that cannot be recorded [default: refuse]
    #[arg(long, value_enum, env = "AGENTGATE_AUDIT_FAILURE")]
    pub audit_failure: Option<OnAuditFailure>,
    /// What a committed row survives: the process (normal) or the machine (full) [default: normal]
    #[arg(long, value_enum, env = "AGENTGATE_AUDIT_SYNC")]
    pub audit_sync: Option<AuditSync>,
    /// Remove rows of the log older than so many days, now and every hour [default: never]
    #[arg(long, value_name = "DAYS", env = "AGENTGATE_RETENTION_DAYS")]
    pub retention_days: Option<u32>,
    /// Serve MCP clients of one era in front of servers of the other [default: auto]
    #[arg(long, value_enum, env = "AGENTGATE_BRIDGE")]
    pub bridge: Option<Bridge>,
    /// An origin whose pages may call the admin API; repeatable [default: none]
    #[arg(
        long = "cors-origin",
        value_name = "ORIGIN",
        env = "AGENTGATE_CORS_ORIGINS",
        value_delimiter = ','
    )]
    pub cors_origins: Vec<String>,
    /// How lines of the log on standard error look
    #[arg(long, value_enum, env = "AGENTGATE_LOG_FORMAT", default_value_t)]
    pub log_format: LogFormat,
}

/// How lines on standard error look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// `agentgate agents`
#[derive(Debug, Clone, Subcommand)]
pub enum AgentsCommand {
    /// Register an agent and print its key, once
    Create(AgentsCreateArgs),
    /// List the agents
    List(AgentsListArgs),
    /// Remove an agent; its key is dead at once
    Delete(AgentsNameArgs),
    /// Issue a new key and print it, once
    RotateKey(AgentsRotateArgs),
    /// What an agent has asked for
    Stats(AgentsNameArgs),
}

/// `agentgate agents create`
#[derive(Debug, Clone, Args)]
pub struct AgentsCreateArgs {
    /// The name, in policies and the log
    pub name: String,
    /// For people
    #[arg(long, default_value = "", hide_default_value = true)]
    pub description: String,
    /// The policy that decides for it [default: the gate's own]
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// The one provider it may use [default: all]
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `agentgate agents list`
#[derive(Debug, Clone, Args)]
pub struct AgentsListArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `agentgate agents delete`, `agentgate agents stats`
#[derive(Debug, Clone, Args)]
pub struct AgentsNameArgs {
    /// The agent's name or id
    pub name: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `agentgate agents rotate-key`
#[derive(Debug, Clone, Args)]
pub struct AgentsRotateArgs {
    /// The agent's name or id
    pub name: String,
    /// How long the old key stays good [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub grace: Option<Duration>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
}
