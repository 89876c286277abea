//! `/l3`: escalated actions of uncertain intent, and their resolution by a person.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::error::{Answer, ApiError};
use super::extract::{Input, Named, Params};
use super::openapi::Refusals;
use crate::store::escalations::{Escalation, Listed, MAX_KEPT, Which};

/// Default number of escalations listed.
const LISTED: u32 = 50;

/// Maximum length of a resolution, in bytes.
const MAX_RESOLUTION: usize = 2_000;

/// Selects escalations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EscalationQuery {
    /// Number of the newest ones; 50 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only unresolved ones.
    #[serde(default)]
    pending: bool,
}

/// An action whose intent was unsure.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EscalationView {
    /// Id, for resolving it.
    id: i64,
    /// The provider, or the MCP server.
    provider: String,
    /// The HTTP method, or `tools/call`.
    method: String,
    /// The path, or `/mcp/tools/<tool>`.
    path: String,
    /// The first agent that asked.
    agent: String,
    /// Classified intent.
    l2_intent: String,
    /// Confidence, from 0 to 1.
    l2_confidence: f64,
    /// Evidence for the classification.
    why: String,
    /// Level of the analysis.
    level: String,
    /// Resource type.
    resource: String,
    /// Id of the log row of the first request.
    request_id: String,
    /// Time of the first request, in seconds since 1970.
    timestamp: f64,
    /// Time of the latest request: RFC 3339, UTC.
    last_at: String,
    /// Number of requests before it was resolved.
    count: i64,
    resolved: bool,
    /// The resolution by a person.
    resolution: Option<String>,
    /// Time of the resolution: RFC 3339, UTC.
    resolved_at: Option<String>,
}

/// Escalations with their number.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EscalationList {
    /// Newest last.
    escalations: Vec<EscalationView>,
    stats: EscalationStats,
}

/// Numbers of escalations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EscalationStats {
    total_escalations: i64,
    resolved: i64,
    pending: i64,
}

/// A resolution.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolutionInput {
    /// What the action is, in free text.
    #[schema(min_length = 1, max_length = 2000)]
    resolution: String,
}

/// Confirmation that an escalation was resolved.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Resolved {
    /// `resolved`
    status: &'static str,
    id: i64,
    /// As `id`.
    index: i64,
}

/// Actions whose intent was unsure
#[utoipa::path(get, path = "/l3/escalations", tag = "escalations", params(EscalationQuery),
    responses((status = 200, body = EscalationList), Refusals), security(("master_key" = [])))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Params(query): Params<EscalationQuery>,
) -> Answer<Json<EscalationList>> {
    let limit = query.limit.unwrap_or(LISTED);
    if !(1..=MAX_KEPT).contains(&i64::from(limit)) {
        return Err(ApiError::invalid(format_args!("limit is 1 to {MAX_KEPT}")));
    }
    let which = if query.pending { Which::Pending } else { Which::All };
    let list = admin.blocking(move |admin| Ok(admin.escalations.list(limit, which)?));
    let Listed { newest, total, resolved } = list.await?;
    Ok(Json(EscalationList {
        escalations: newest.into_iter().map(EscalationView::from).collect(),
        stats: EscalationStats { total_escalations: total, resolved, pending: total - resolved },
    }))
}

/// Records a person's resolution; decisions already made are not changed
#[utoipa::path(post, path = "/l3/resolve/{id}", tag = "escalations",
    params(("id" = i64, Path, description = "the escalation's id")),
    request_body = ResolutionInput,
    responses((status = 200, body = Resolved), Refusals), security(("master_key" = [])))]
pub(super) async fn resolve(
    State(admin): State<Arc<Admin>>,
    Named(named): Named,
    Input(ResolutionInput { resolution }): Input<ResolutionInput>,
) -> Answer<Json<Resolved>> {
    if resolution.is_empty() || resolution.len() > MAX_RESOLUTION {
        let detail = format_args!("a resolution has 1 to {MAX_RESOLUTION} bytes");
        return Err(ApiError::invalid(detail));
    }
    let unknown = || ApiError::not_found("Escalation not found");
    let id: i64 = named.parse().map_err(|_| unknown())?;
    let resolve = admin.blocking(move |admin| Ok(admin.escalations.resolve(id, &resolution)?));
    match resolve.await? {
        true => Ok(Json(Resolved { status: "resolved", id, index: id })),
        false => Err(unknown()),
    }
}

impl From<Escalation> for EscalationView {
    fn from(one: Escalation) -> Self {
        let (resolution, resolved_at) = one.resolved.unzip();
        Self {
            id: one.id,
            provider: one.question.provider,
            method: one.question.method,
            path: one.question.path,
            agent: one.agent,
            l2_intent: one.intent,
            l2_confidence: one.confidence,
            why: one.why,
            level: one.level,
            resource: one.resource,
            request_id: one.request_id,
            timestamp: one.raised_at.as_microsecond() as f64 / 1e6,
            last_at: one.last_at.to_string(),
            count: one.times,
            resolved: resolution.is_some(),
            resolution,
            resolved_at: resolved_at.map(|at| at.to_string()),
        }
    }
}
