//! The command line of `agentgate audit`.

use clap::{Args, Subcommand, ValueEnum};

use super::StoreArgs;

/// `agentgate audit …`
#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// List the newest decisions, newest last
    List(AuditListArgs),
    /// Show the newest decisions, and with -f each new one as it comes
    Tail(AuditTailArgs),
    /// Count decisions by agent, server, tool and rule
    Stats(AuditStatsArgs),
    /// Export every matching row as JSON or CSV
    Export(AuditExportArgs),
    /// Remove old rows; the rest stays verifiable
    Purge(AuditPurgeArgs),
    /// Verify that no entry was changed, removed or reordered
    Verify(AuditVerifyArgs),
    /// Continue with a log that has lost its end, and record the loss
    AcceptLoss(AuditAcceptArgs),
}

/// What rows to show.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which rows")]
pub struct AuditFilter {
    /// Only rows of this agent; * and ? are wildcards, here and in the other names
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only rows with this decision; rate_limited: denied by a limit, error: let through, but failed
    #[arg(long, value_parser = crate::store::read::DECISIONS)]
    pub decision: Option<String>,
    /// Only rows with this outcome
    #[arg(long, value_parser = crate::store::read::OUTCOMES)]
    pub outcome: Option<String>,
    /// Only rows of this server or provider
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// Only rows of this tool or resource
    #[arg(long, value_name = "NAME")]
    pub tool: Option<String>,
    /// Only rows since this time: 2026-11-22, 2026-11-22T09:00:00Z, or 2h (ago)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only rows until this time, written like --since; a date includes that day
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only rows with this text in the tool, the reason or the arguments
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
}

/// `agentgate audit list`
#[derive(Debug, Clone, Args)]
pub struct AuditListArgs {
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Which rows.
    #[command(flatten)]
    pub filter: AuditFilter,
    /// How many rows to show; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: u64,
    /// Only rows before this one: the previous page
    #[arg(long, value_name = "ID")]
    pub before: Option<String>,
    /// Only rows after this one
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// Print one JSON object per row
    #[arg(help_heading = None, long)]
    pub json: bool,
}

/// `agentgate audit tail`
#[derive(Debug, Clone, Args)]
pub struct AuditTailArgs {
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Which rows.
    #[command(flatten)]
    pub filter: AuditFilter,
    /// Keep running, and show each new row as it comes
    #[arg(help_heading = None, long, short)]
    pub follow: bool,
    /// How many rows to show first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: u64,
    /// Print one JSON object per row
    #[arg(help_heading = None, long)]
    pub json: bool,
}

/// `agentgate audit stats`
#[derive(Debug, Clone, Args)]
pub struct AuditStatsArgs {
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Which rows.
    #[command(flatten)]
    pub filter: AuditFilter,
    /// Print a JSON object
    #[arg(help_heading = None, long)]
    pub json: bool,
}

/// `agentgate audit export`
#[derive(Debug, Clone, Args)]
pub struct AuditExportArgs {
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Which rows.
    #[command(flatten)]
    pub filter: AuditFilter,
    /// The format
    #[arg(help_heading = None, long, value_enum, default_value_t = ExportFormat::Json)]
    pub format: ExportFormat,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A JSON array of rows
    Json,
    /// One JSON object per line, as log collectors read them
    Jsonl,
    /// A header and one line per row; what a spreadsheet would take for a formula gets a leading '
    Csv,
}

/// `agentgate audit purge`
#[derive(Debug, Clone, Args)]
pub struct AuditPurgeArgs {
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Remove rows older than this: 30d, 12h, 2026-01-01
    #[arg(long, value_name = "AGE", required = true)]
    pub older_than: String,
    /// Purge even if the chain of what is removed does not hold
    #[arg(long)]
    pub unverified: bool,
    /// Only say how many rows would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// `agentgate audit accept-loss`
#[derive(Debug, Clone, Args)]
pub struct AuditAcceptArgs {
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `agentgate audit verify`
#[derive(Debug, Clone, Args)]
pub struct AuditVerifyArgs {
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// A hash, kept elsewhere, that the log must still contain
    #[arg(long, value_name = "HASH", value_parser = super::head)]
    pub head: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}
