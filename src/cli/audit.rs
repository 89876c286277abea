//! What was typed behind `agentgate audit`.

use clap::{Args, Subcommand, ValueEnum};

use super::StoreArgs;

/// `agentgate audit …`
#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// The newest decisions, newest last
    List(AuditListArgs),
    /// The newest decisions, and with -f each new one as it comes
    Tail(AuditTailArgs),
    /// How many of what, by whom
    Stats(AuditStatsArgs),
    /// Everything that matches, as JSON or CSV
    Export(AuditExportArgs),
    /// Remove old rows; the rest stays verifiable
    Purge(AuditPurgeArgs),
    /// Prove that no entry was changed, removed or reordered
    Verify(AuditVerifyArgs),
    /// Go on with a log that has lost its end, and note that it has
    AcceptLoss(AuditAcceptArgs),
}

/// What rows to show.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which rows")]
pub struct AuditFilter {
    /// Only this agent's; names may hold * and ?
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only allow, deny or ask; or rate_limited (denied by a limit), error (let through, and failed)
    #[arg(long, value_parser = crate::store::read::DECISIONS)]
    pub decision: Option<String>,
    /// Only what came of it: forwarded, refused, observed, approved, rejected, expired or error
    #[arg(long, value_parser = crate::store::read::OUTCOMES)]
    pub outcome: Option<String>,
    /// Only this server's or provider's
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// Only this tool's or resource's
    #[arg(long, value_name = "NAME")]
    pub tool: Option<String>,
    /// Not before: 2026-11-22, 2026-11-22T09:00:00Z, or 2h (ago)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Not after; as --since, a date included
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only rows in whose tool, reason or arguments this text occurs
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
    /// How many rows; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: u64,
    /// The page before this row
    #[arg(long, value_name = "ID")]
    pub before: Option<String>,
    /// Only rows after this one
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// One row a line, as JSON
    #[arg(long)]
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
    /// Stay, and show each new row as it comes
    #[arg(long, short)]
    pub follow: bool,
    /// How many rows to begin with
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: u64,
    /// One row a line, as JSON
    #[arg(long)]
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
    /// As one JSON object
    #[arg(long)]
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
    /// The form
    #[arg(long, value_enum, default_value_t = ExportFormat::Json)]
    pub format: ExportFormat,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A JSON array of rows
    Json,
    /// A JSON object a line, as log collectors read them
    Jsonl,
    /// A header and a line a row; what a spreadsheet would take for a formula gets a ' in front
    Csv,
}

/// `agentgate audit purge`
#[derive(Debug, Clone, Args)]
pub struct AuditPurgeArgs {
    /// Which database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Rows older than this go: 30d, 12h, 2026-01-01
    #[arg(long, value_name = "AGE", required = true)]
    pub older_than: String,
    /// Even where the chain of what goes does not hold
    #[arg(long)]
    pub unverified: bool,
    /// Only say how many would go
    #[arg(long)]
    pub dry_run: bool,
    /// As one JSON object
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
    /// A hash kept elsewhere that the log must still contain
    #[arg(long, value_name = "HASH", value_parser = super::head)]
    pub head: Option<String>,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}
