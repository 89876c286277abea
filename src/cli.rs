//! The command line. Values are parsed here, once; commands get typed ones.

mod audit;
mod login;
mod policies;
mod remote;
mod serve;
mod setup;
mod trailing_options;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::telemetry;
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Span, SpanRelativeTo};

pub use audit::{
    AuditAcceptArgs, AuditCommand, AuditExportArgs, AuditFilter, AuditListArgs, AuditPurgeArgs,
    AuditStatsArgs, AuditTailArgs, AuditVerifyArgs, ExportFormat,
};
pub use login::{LoginArgs, LogoutArgs};
pub use policies::{PoliciesCommand, PoliciesListArgs, PoliciesShowArgs};
pub use remote::{Bridge, ListenArgs, RemoteArgs, Transport};
pub(crate) use remote::{is_http, meant_url};
pub use serve::{
    AgentsCommand, AgentsCreateArgs, AgentsListArgs, AgentsNameArgs, AgentsRotateArgs, LogFormat,
    RequestArgs, ServeArgs,
};
pub use setup::SetupArgs;
pub(crate) use trailing_options::{TrailingOptions, trailing_options};

/// The authorization layer between AI agents and the tools they can touch.
#[derive(Debug, Parser)]
#[command(name = "agentgate", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "\
Start here:
  agentgate demo                            a tour that needs nothing but this binary
  agentgate demo rest                       the same, in front of REST APIs
  agentgate inspect -- npx some-mcp-server  what a server offers, and what would be decided
  agentgate wrap -- npx some-mcp-server     gate it: put this in your client's configuration
  agentgate setup                           or put it in front of all servers that clients have
  agentgate audit list                      what was decided

Exit codes: 0 success, 1 a check failed, 2 wrong usage or configuration.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order that the help lists them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Gate an MCP server: the prefix in a client's configuration
    Wrap(WrapArgs),
    /// Gate the APIs of ten providers: an HTTP proxy with keys, policies and a log
    Serve(ServeArgs),
    /// Manage the agents that may use `serve`, and their keys
    #[command(subcommand)]
    Agents(AgentsCommand),
    /// Put the gate in front of the servers of Claude Desktop, Claude Code, Cursor and VS Code
    Setup(SetupArgs),
    /// Show a server's tools and what the policy would decide for each
    Inspect(InspectArgs),
    /// Log in to a remote server that requires it
    Login(LoginArgs),
    /// Forget the login to a remote server
    Logout(LogoutArgs),
    /// Validate policies and warn of likely mistakes
    Check(CheckArgs),
    /// Run the policies' own tests
    Test(TestArgs),
    /// Show the policies that can be used by name
    #[command(subcommand)]
    Policies(PoliciesCommand),
    /// Explain why a request would be allowed or refused
    Explain(ExplainArgs),
    /// Classify requests by what they do, one JSON object per line
    Intent(IntentArgs),
    /// Decide a recorded trace again, one JSON object per line
    Replay(ReplayArgs),
    /// Read, export and verify the log of decisions
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Take a tour in the terminal; needs nothing but this binary
    Demo(DemoArgs),
    /// Check the installation and say what to fix
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
    /// The small MCP server of the demo
    #[command(hide = true)]
    DemoServer,
    /// Run a command and leave nothing of it behind when the gate is gone
    #[command(hide = true)]
    Supervise(SuperviseArgs),
}

impl Command {
    /// From which level up and in which form its log lines come by default:
    /// errors and warnings for people, unless it is a service.
    #[must_use]
    pub fn logs(&self) -> (&'static str, telemetry::Format) {
        match self {
            Self::Serve(args) if args.log_format == LogFormat::Json => {
                ("info", telemetry::Format::Json)
            }
            Self::Serve(_) => ("info", telemetry::Format::Text),
            _ => ("warn", telemetry::Format::Text),
        }
    }
}

/// Options of every command that decides.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Deciding")]
pub struct DecideArgs {
    /// A policy file, or the name of a built-in or installed policy; repeat to combine several
    #[arg(
        long = "policy",
        value_name = "FILE|NAME",
        env = "AGENTGATE_POLICY",
        value_delimiter = ','
    )]
    pub policies: Vec<String>,
    /// A folder to find policies in by name, besides the built-in ones
    #[arg(long, value_name = "DIR", env = "AGENTGATE_POLICY_DIR")]
    pub policy_dir: Option<PathBuf>,
    /// The agent's name in policies and the log [default: default]
    #[arg(long, value_name = "NAME", env = "AGENTGATE_AGENT", value_parser = name)]
    pub agent: Option<String>,
    /// Override the mode of every policy
    #[arg(long, value_enum, env = "AGENTGATE_MODE")]
    pub mode: Option<Mode>,
    /// The configuration file [default: config.yaml in the configuration folder]
    #[arg(long, value_name = "FILE", env = "AGENTGATE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Options of commands that use the database.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArgs {
    /// The database [default: agentgate.db in the data folder]
    #[arg(long, value_name = "FILE", env = "AGENTGATE_DB")]
    pub db: Option<PathBuf>,
}

/// Options about the server that is gated.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The server")]
pub struct ServerArgs {
    /// The server's name in policies and the log [default: derived from the command]
    #[arg(long, value_name = "NAME", env = "AGENTGATE_NAME", value_parser = name)]
    pub name: Option<String>,
    /// Whether the server's own hints may loosen a decision [default: server]
    #[arg(long, value_enum, env = "AGENTGATE_TRUST")]
    pub trust: Option<Trust>,
}

/// Whether a policy is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Refused calls do not go through
    Enforce,
    /// Everything goes through; what would have been refused is recorded
    Observe,
}

/// Whose word a tool's hints are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Trust {
    /// The server's hints are believed, as first seen in this run
    #[default]
    Server,
    /// Hints can only tighten
    None,
}

/// What happens to an allowed call that cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OnAuditFailure {
    /// It is refused
    #[default]
    Refuse,
    /// It goes through unrecorded
    Allow,
}

/// What a committed row survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AuditSync {
    /// A crash of the process
    #[default]
    Normal,
    /// A crash of the machine
    Full,
}

/// `agentgate wrap`
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  agentgate wrap -- npx -y @modelcontextprotocol/server-filesystem ~/project
  agentgate wrap --policy read_only -- uvx mcp-server-git
  agentgate wrap --mode observe --policy ./team.yaml -- node server.js
  agentgate wrap --bearer-env TOKEN https://mcp.example.com/mcp
  agentgate wrap --listen 127.0.0.1:8123 https://mcp.example.com/mcp

Without --policy the server's own annotations decide: read-only and
non-destructive tools pass; everything else would ask a person, and is refused
because nobody can be asked yet. Exits with the server's exit code.")]
pub struct WrapArgs {
    /// About the server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// How to decide.
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Leave tools that would be denied out of tools/list; calls to them are refused either way
    #[arg(long, env = "AGENTGATE_HIDE_DENIED", value_parser = clap::builder::FalseyValueParser::new())]
    pub hide_denied: bool,
    /// How long a call may wait for a person; no effect yet, because nobody can be asked
    #[arg(long, value_name = "DURATION", env = "AGENTGATE_ASK_TIMEOUT", value_parser = duration)]
    pub ask_timeout: Option<Duration>,
    /// Which database.
    #[command(flatten, next_help_heading = "The log")]
    pub store: StoreArgs,
    /// What happens to an allowed call that cannot be recorded [default: refuse]
    #[arg(long, value_enum, env = "AGENTGATE_AUDIT_FAILURE")]
    pub audit_failure: Option<OnAuditFailure>,
    /// What a committed row survives [default: normal]
    #[arg(long, value_enum, env = "AGENTGATE_AUDIT_SYNC")]
    pub audit_sync: Option<AuditSync>,
    /// About a server behind a URL.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// About listening.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// The largest message to pass on; a larger one gets an error [default: 128MiB]
    #[arg(help_heading = None, long, value_name = "SIZE", env = "AGENTGATE_MAX_MESSAGE", value_parser = size)]
    pub max_message: Option<usize>,
    /// Bridge clients of one era of MCP to servers of the other, where either side is HTTP [default: auto]
    #[arg(help_heading = None, long, value_enum, env = "AGENTGATE_BRIDGE")]
    pub bridge: Option<Bridge>,
    /// The server's command and its arguments, or the URL of a remote one
    #[arg(help_heading = None, trailing_var_arg = true, required = true, value_name = "COMMAND|URL")]
    pub command: Vec<OsString>,
}

/// `agentgate inspect`
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  agentgate inspect -- npx -y @modelcontextprotocol/server-filesystem ~/project
  agentgate inspect --write-policy files.yaml -- npx -y @modelcontextprotocol/server-filesystem ~/project")]
pub struct InspectArgs {
    /// About the server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// How to decide.
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Write a policy to edit, made from the hints; never overwrites a file
    #[arg(help_heading = None, long, value_name = "FILE")]
    pub write_policy: Option<PathBuf>,
    /// Print one JSON object per line instead of a table
    #[arg(help_heading = None, long)]
    pub json: bool,
    /// Where it is a URL.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// How long the server may take to list its tools [default: 30s]
    #[arg(help_heading = None, long, value_name = "DURATION", value_parser = duration, default_value = "30s", hide_default_value = true)]
    pub timeout: Duration,
    /// The server's command and its arguments, or its URL
    #[arg(help_heading = None, trailing_var_arg = true, required = true, value_name = "COMMAND|URL")]
    pub command: Vec<OsString>,
}

/// `agentgate check`
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Policy files, folders of them, or names of built-in or installed policies
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// A folder to find policies in by name, besides the built-in ones
    #[arg(long, value_name = "DIR", env = "AGENTGATE_POLICY_DIR")]
    pub policy_dir: Option<PathBuf>,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
    /// Also warn of globs that match none of the tools that servers have listed on this machine
    #[arg(long)]
    pub seen: bool,
    /// Print one JSON object per finding
    #[arg(long)]
    pub json: bool,
}

/// `agentgate test`
#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// Policy files, folders of them, or names [default: those that the configuration names, and
    /// those in its policy folder or in --policy-dir]
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,
    /// The configuration file [default: config.yaml in the configuration folder]
    #[arg(long, value_name = "FILE", env = "AGENTGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// A folder to find policies in by name, besides the built-in ones
    #[arg(long, value_name = "DIR", env = "AGENTGATE_POLICY_DIR")]
    pub policy_dir: Option<PathBuf>,
    /// Print one JSON object per test
    #[arg(long)]
    pub json: bool,
}

/// `agentgate explain`
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  agentgate explain --policy read_only --request '{\"server\":\"git\",\"tool\":\"git_push\",\"args\":{}}'
  agentgate explain --policy github_readonly --request '{\"provider\":\"github\",\"method\":\"GET\",\"path\":\"/user\"}'

Exit codes: 0 allow, 3 deny, 4 ask, 2 wrong usage.")]
pub struct ExplainArgs {
    /// How to decide.
    #[command(flatten)]
    pub decide: DecideArgs,
    /// The request, as JSON; - reads standard input
    #[arg(help_heading = None, long, value_name = "JSON")]
    pub request: String,
    /// Print the explanation as a JSON object
    #[arg(help_heading = None, long)]
    pub json: bool,
}

/// `agentgate intent`
#[derive(Debug, Clone, Args)]
pub struct IntentArgs {
    /// Read one request per line from standard input, and answer each in order
    #[arg(long, required = true)]
    pub jsonl: bool,
}

/// `agentgate replay`
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  agentgate audit export --format jsonl --since 7d | agentgate replay --policy new.yaml -
  agentgate replay --against old.yaml --policy new.yaml week.jsonl

With --against, the exit code is 1 if anything would be decided differently.")]
pub struct ReplayArgs {
    /// How to decide.
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Compare with this policy, and print only what would be decided differently; repeat to
    /// combine several
    #[arg(long, value_name = "FILE|NAME", value_delimiter = ',')]
    pub against: Vec<String>,
    /// The trace, one JSON object per line; - reads standard input
    #[arg(help_heading = None, value_name = "TRACE")]
    pub trace: PathBuf,
}

/// `agentgate demo`
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// What to show: an MCP server behind `wrap`, or REST APIs behind `serve`
    #[arg(value_enum, default_value_t)]
    pub tour: Tour,
    /// No pauses and no colours, as when the output is not a terminal
    #[arg(long)]
    pub plain: bool,
}

/// What `demo` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Tour {
    /// An MCP server behind `agentgate wrap`
    #[default]
    Mcp,
    /// REST APIs behind `agentgate serve`
    Rest,
}

/// `agentgate doctor`
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// How to decide.
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Which database.
    #[command(flatten, next_help_heading = None)]
    pub store: StoreArgs,
    /// Print one JSON object per line
    #[arg(help_heading = None, long)]
    pub json: bool,
}

/// `agentgate completions`
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `agentgate supervise`, which `wrap` runs its server under
#[derive(Debug, Clone, Args)]
pub struct SuperviseArgs {
    /// The process that must stay alive
    #[arg(long, value_name = "PID")]
    pub parent: u32,
    /// The server's command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// A name for a server or an agent, which policies and the log have to tell from none.
pub(crate) fn name(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("a name cannot be empty; omit the option or unset the variable".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A positive duration: `45s`, `2m`, `1h 30m`, `7d`. A day has 24 hours.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span: Result<Span, _> = text.parse();
    let signed = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    let signed: SignedDuration =
        signed.map_err(|_| format!("`{text}` is not a duration; write 45s, 2m, 1h30m or 7d"))?;
    Duration::try_from(signed).map_err(|_| format!("`{text}` is negative"))
}

/// A hash of the log's, as `audit verify` prints it.
fn head(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_head = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_head {
        true => Ok(text.to_owned()),
        false => {
            Err("a head is 64 hexadecimal digits, as `agentgate audit verify` prints it".to_owned())
        }
    }
}

/// Where to listen: `127.0.0.1:8100`, `[::1]:8100`, `localhost:8100`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    named.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!("`{text}` is not an address to listen on; write 127.0.0.1:8100 or [::1]:8100")
    })
}

/// A size in bytes: `1048576`, `64MiB`, `64MB`, `64M` (binary) …
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "kb" => 1_000,
        "m" | "mib" => 1 << 20,
        "mb" => 1_000_000,
        "g" | "gib" => 1 << 30,
        "gb" => 1_000_000_000,
        _ => return Err(format!("`{text}` is not a size; write 1048576, 64MiB or 64MB")),
    };
    let number: usize =
        number.parse().map_err(|_| format!("`{text}` is not a size; write 64MiB"))?;
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("`{text}` is out of range"))
}
