//! `/audit/logs` and `/audit/stats`: decisions, and statistics of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Admin;
use super::error::{Answer, ApiError};
use super::extract::Both;
use super::filters::{Filters, Looks, MCP, Paging};
use super::openapi::Refusals;
use crate::store::row::Row;
use crate::store::stats::{Named, Stats};

/// Maximum number of rows per page. For more there is the export.
const MAX_PAGE: u64 = 10_000;

/// Default number of rows per page.
const PAGE: u64 = 50;

/// A row of the log, with the log's own names and those known to existing scripts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogRow {
    /// Sorts by time.
    id: String,
    /// When the gate read the action: RFC 3339 with microseconds, UTC.
    time: String,
    session: String,
    /// The agent's name.
    agent: String,
    /// `stdio`, `http` or `rest`.
    transport: String,
    /// The MCP server; null over REST.
    server: Option<String>,
    /// The provider; `mcp` for a tool call.
    provider: String,
    /// `tools/call`, or the HTTP method.
    method: String,
    /// The MCP tool; null over REST.
    tool: Option<String>,
    /// The path; null for a tool call.
    resource: Option<String>,
    intent: String,
    /// `allow`, `deny` or `ask`.
    decision: String,
    /// `forwarded`, `refused`, `approved`, `rejected`, `expired`, `observed` or `error`.
    outcome: String,
    policy: String,
    rule: String,
    reason: String,
    /// The stage that decided.
    stage: String,
    /// The redacted arguments.
    #[schema(value_type = serde_json::Value)]
    args: Option<Box<RawValue>>,
    args_digest: String,
    /// Decision time, in microseconds.
    decision_us: i64,
    /// Time from forwarding to the answer, in milliseconds; null before that.
    upstream_ms: Option<f64>,
    /// Status of the answer; null before that.
    status: Option<String>,
    /// `enforce` or `observe`.
    mode: String,
    prev_hash: String,
    hash: String,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    timestamp: String,
    /// Id of the agent that now has this name; null if none has.
    agent_id: Option<String>,
    /// As `agent`.
    agent_name: String,
    /// The path, or `/mcp/tools/<tool>`.
    path: String,
    /// The reason, unless it was allowed.
    deny_reason: Option<String>,
    /// HTTP status of the provider's answer, or of the gate's refusal.
    status_code: Option<u16>,
    /// Decision time and upstream latency, in milliseconds.
    latency_ms: f64,
    /// As `id`.
    request_id: String,
}

/// A page of the log, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogPage {
    logs: Vec<LogRow>,
    /// Number of rows on all pages; null if counting would need a scan.
    total: Option<i64>,
    /// Value of `before` for the next page; null on the last one.
    next: Option<String>,
}

/// Statistics of rows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatsView {
    total_requests: i64,
    /// By `allow`, `deny`, `ask`, `rate_limited` (denied by a limit) and `error` (forwarded,
    /// but failed). Each row is counted once.
    by_decision: BTreeMap<String, i64>,
    /// As in `by_decision`.
    rate_limited: i64,
    /// Share of denied ones, from 0 to 1.
    deny_rate: f64,
    /// By provider or MCP server; the twenty most frequent.
    by_provider: BTreeMap<String, i64>,
    /// By agent; the twenty most frequent.
    by_agent: BTreeMap<String, i64>,
    /// By outcome.
    by_outcome: BTreeMap<String, i64>,
    /// Mean upstream latency, in milliseconds.
    avg_latency_ms: f64,
    /// Maximum upstream latency, in milliseconds.
    max_latency_ms: f64,
    /// Mean decision time, in microseconds.
    avg_decision_us: f64,
    /// Forwarded actions that failed.
    failed: i64,
}

/// Rows of the log, newest first
#[utoipa::path(get, path = "/audit/logs", tag = "audit", params(Filters, Paging),
    responses((status = 200, body = LogPage), Refusals), security(("master_key" = [])))]
pub(super) async fn logs(
    State(admin): State<Arc<Admin>>,
    Both(filters, paging): Both<Filters, Paging>,
) -> Answer<Response> {
    let limit = paging.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let detail = format_args!("limit is 1 to {MAX_PAGE}; /audit/export gives all");
        return Err(ApiError::invalid(detail));
    }
    let page = admin.blocking(move |admin| {
        let Paging { session, offset, before, pretty, .. } = paging;
        let Some(filter) = admin.filter(filters, session, before)? else {
            return text(&LogPage { logs: Vec::new(), total: Some(0), next: None }, pretty);
        };
        let page = admin.reader()?.page(&filter, offset.unwrap_or_default(), limit)?;
        let is_full = page.rows.len() as u64 == limit;
        let next = page.rows.last().filter(|_| is_full).map(|row| row.id.as_str().to_owned());
        let logs = page.rows.into_iter().map(|row| LogRow::new(row, admin)).collect();
        text(&LogPage { logs, total: page.total, next }, pretty)
    });
    Ok(json(page.await?))
}

/// Statistics of the rows that a filter selects
#[utoipa::path(get, path = "/audit/stats", tag = "audit", params(Filters, Looks),
    responses((status = 200, body = StatsView), Refusals), security(("master_key" = [])))]
pub(super) async fn stats(
    State(admin): State<Arc<Admin>>,
    Both(filters, Looks { pretty }): Both<Filters, Looks>,
) -> Answer<Response> {
    if filters.decision.as_deref() == Some("error") {
        let detail = "counters do not tell more of errors than `by_decision` and `failed`; \
                      use /audit/logs";
        return Err(ApiError::invalid(detail));
    }
    let stats = admin.blocking(move |admin| {
        let stats = match admin.filter(filters, None, None)? {
            Some(filter) => admin.reader()?.stats(&filter)?,
            None => Stats::default(),
        };
        text(&StatsView::new(stats), pretty)
    });
    Ok(json(stats.await?))
}

/// Serialises on the blocking thread, as the response may be long.
fn text(value: &impl Serialize, pretty: bool) -> Answer<String> {
    let text = match pretty {
        true => serde_json::to_string_pretty(value).map(|text| text + "\n"),
        false => serde_json::to_string(value),
    };
    text.map_err(ApiError::internal)
}

fn json(text: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

impl LogRow {
    pub(super) fn new(row: Row, admin: &Admin) -> Self {
        let is_rest = row.transport == "rest";
        let path = match is_rest {
            true => row.tool.clone(),
            false => format!("/mcp/tools/{}", row.tool),
        };
        let only = |wanted: bool, text: &str| wanted.then(|| text.to_owned());
        let decided_ms = row.decision_us as f64 / 1000.0;
        Self {
            timestamp: row.time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            agent_id: admin.directory.named(&row.agent).map(|agent| agent.id.to_string()),
            agent_name: row.agent.clone(),
            path,
            deny_reason: only(row.decision != "allow", &row.reason),
            status_code: status_code(&row),
            latency_ms: decided_ms + row.upstream_ms.unwrap_or_default(),
            request_id: row.id.as_str().to_owned(),
            time: row.time_text(),
            server: only(!is_rest, &row.server),
            provider: if is_rest { row.server } else { MCP.to_owned() },
            resource: only(is_rest, &row.tool),
            tool: only(!is_rest, &row.tool),
            args: RawValue::from_string(row.args).ok(),
            id: row.id.as_str().to_owned(),
            session: row.session,
            agent: row.agent,
            transport: row.transport,
            method: row.method,
            intent: row.intent,
            decision: row.decision,
            outcome: row.outcome,
            policy: row.policy,
            rule: row.rule,
            reason: row.reason,
            stage: row.stage,
            args_digest: row.args_digest,
            decision_us: row.decision_us,
            upstream_ms: row.upstream_ms,
            status: row.status,
            mode: row.mode,
            prev_hash: row.prev_hash,
            hash: row.hash,
        }
    }
}

/// The status that the agent received, as far as the row tells: there are several for a
/// malformed request.
fn status_code(row: &Row) -> Option<u16> {
    if let Some(status) = &row.status {
        return status.parse().ok();
    }
    match row.stage.as_str() {
        _ if row.transport != "rest" || row.outcome != "refused" => None,
        "policy" => Some(403),
        "rate_limit" => Some(429),
        "authentication" => Some(401),
        _ => None,
    }
}

impl LogRow {
    /// The values of the columns known to existing scripts, for a table.
    pub(super) fn more_values(self) -> [String; 9] {
        [
            self.timestamp,
            self.agent_id.unwrap_or_default(),
            self.agent_name,
            self.path,
            self.provider,
            self.deny_reason.unwrap_or_default(),
            self.status_code.map(|status| status.to_string()).unwrap_or_default(),
            format!("{:.3}", self.latency_ms),
            self.request_id,
        ]
    }
}

impl StatsView {
    fn new(stats: Stats) -> Self {
        let map = |named: Vec<Named>| -> BTreeMap<String, i64> {
            named.into_iter().map(|named| (named.name, named.decisions)).collect()
        };
        Self {
            total_requests: stats.decisions,
            rate_limited: stats.by_kind.get("rate_limited").copied().unwrap_or_default(),
            by_decision: stats.by_kind,
            deny_rate: stats.deny_rate,
            by_provider: map(stats.by_server),
            by_agent: map(stats.by_agent),
            by_outcome: stats.by_outcome,
            avg_latency_ms: stats.upstream_ms_mean,
            max_latency_ms: stats.upstream_ms_max,
            avg_decision_us: stats.decision_us_mean,
            failed: stats.failed,
        }
    }
}
