//! `agentgate serve` and `agentgate agents`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{AuditSync, Bridge, DecideArgs, OnAuditFailure, StoreArgs, address, duration, size};

/// `agentgate serve`
#[derive(Debug, Clone, Default, Args)]
#[command(mut_arg("agent", |agent| agent.hide(true)))]
#[command(after_help = "\
Examples:
  agentgate serve --test-mode                try policies without credentials
  agentgate serve --config /etc/agentgate/serve.yaml
  agentgate agents create my-agent           then send its key as X-Agent-Key

Requests go to /proxy/{provider}/{path}; the providers are google, microsoft,
slack, github, jira, notion, linear, hubspot, salesforce and aws. Admin calls
need the header X-Master-Key: the key in AGENTGATE_MASTER_KEY, or the one
generated at the first start.")]
pub struct ServeArgs {
    /// The address to listen on [default: 127.0.0.1:8100]
    #[arg(long, value_name = "ADDR", env = "AGENTGATE_LISTEN", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// Send nothing to any provider and answer with mocks; everything else is real, MCP
    /// servers included
    #[arg(long, env = "AGENTGATE_TEST_MODE", value_parser = clap::builder::FalseyValueParser::new())]
    pub test_mode: bool,
    /// How to decide.
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Leave tools that would be denied out of tools/list of every MCP server
    #[arg(long, env = "AGENTGATE_HIDE_DENIED", value_parser = clap::builder::FalseyValueParser::new())]
    pub hide_denied: bool,
    /// Which database.
    #[command(flatten, next_help_heading = "The log")]
    pub store: StoreArgs,
    /// What happens to an allowed request that cannot be recorded [default: refuse]
    #[arg(long, value_enum, env = "AGENTGATE_AUDIT_FAILURE")]
    pub audit_failure: Option<OnAuditFailure>,
    /// What a committed row survives [default: normal]
    #[arg(long, value_enum, env = "AGENTGATE_AUDIT_SYNC")]
    pub audit_sync: Option<AuditSync>,
    /// Remove rows older than this many days, at the start and every hour [default: never]
    #[arg(long, value_name = "DAYS", env = "AGENTGATE_RETENTION_DAYS")]
    pub retention_days: Option<u32>,
    /// What requests may take.
    #[command(flatten)]
    pub requests: RequestArgs,
    /// An origin whose pages may call the admin API; repeat for several [default: none]
    #[arg(
        help_heading = None,
        long = "cors-origin",
        value_name = "ORIGIN",
        env = "AGENTGATE_CORS_ORIGINS",
        value_delimiter = ','
    )]
    pub cors_origins: Vec<String>,
    /// The form of the lines on standard error
    #[arg(help_heading = None, long, value_enum, env = "AGENTGATE_LOG_FORMAT", default_value_t)]
    pub log_format: LogFormat,
}

/// What requests may take.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Requests")]
pub struct RequestArgs {
    /// The largest request body to hold and judge [default: 1MiB]
    #[arg(long, value_name = "SIZE", env = "AGENTGATE_MAX_BODY", value_parser = size)]
    pub max_body: Option<usize>,
    /// The largest MCP message at /mcp/{name} [default: 128MiB]
    #[arg(long, value_name = "SIZE", env = "AGENTGATE_MAX_MESSAGE", value_parser = size)]
    pub max_message: Option<usize>,
    /// How long a provider may take to begin its answer [default: 60s]
    #[arg(long, value_name = "DURATION", env = "AGENTGATE_UPSTREAM_TIMEOUT", value_parser = duration)]
    pub upstream_timeout: Option<Duration>,
    /// How long requests under way may take once the gate is told to stop [default: 2s]
    #[arg(long, value_name = "DURATION", env = "AGENTGATE_SHUTDOWN_TIMEOUT", value_parser = duration)]
    pub shutdown_timeout: Option<Duration>,
    /// Bridge MCP clients of one era to servers of the other [default: auto]
    #[arg(long, value_enum, env = "AGENTGATE_BRIDGE")]
    pub bridge: Option<Bridge>,
    /// Allow plain HTTP to MCP servers on other machines, which anyone on the way can read
    #[arg(long, env = "AGENTGATE_ALLOW_HTTP", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_http: bool,
}

/// How lines on standard error look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Text for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// `agentgate agents`
#[derive(Debug, Clone, Subcommand)]
pub enum AgentsCommand {
    /// Register an agent and print its key, once
    Create(AgentsCreateArgs),
    /// List the agents
    List(AgentsListArgs),
    /// Remove an agent; its key stops working at once
    Delete(AgentsNameArgs),
    /// Issue a new key and print it, once
    RotateKey(AgentsRotateArgs),
    /// Count what an agent has asked for
    Stats(AgentsNameArgs),
}

/// `agentgate agents create`
#[derive(Debug, Clone, Args)]
pub struct AgentsCreateArgs {
    /// The agent's name in policies and the log
    pub name: String,
    /// A description for people
    #[arg(long, default_value = "", hide_default_value = true)]
    pub description: String,
    /// The policy that decides for this agent [default: the gate's own]
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// The only provider that this agent may use [default: all]
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `agentgate agents list`
#[derive(Debug, Clone, Args)]
pub struct AgentsListArgs {
    /// Print JSON
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
    /// Print JSON
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
    /// How long the old key keeps working [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub grace: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
}
