//! `/agents`: agents and their keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::error::{Answer, ApiError};
use super::extract::{Input, Named, QueryOrBody};
use super::openapi::Refusals;
use crate::action::Provider;
use crate::policy::diagnostic::nearest;
use crate::store::agents::{AgentRecord, Issued, NewAgent};
use crate::store::counts::AgentCounts;

/// Maximum grace period of a rotated key: a week.
pub const MAX_GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Maximum length of a description, in bytes.
const MAX_DESCRIPTION: usize = 4096;

/// An agent as the API shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AgentView {
    /// Permanent id.
    pub agent_id: String,
    /// The name that policies and the log use.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Name of its policy; null for the gate's default policy.
    pub policy: Option<String>,
    /// The only provider it may use; null for all.
    pub provider: Option<String>,
    /// When it was registered: RFC 3339, UTC.
    pub created_at: String,
    /// Number of log rows under its name.
    pub request_count: i64,
    /// Denied ones among them.
    pub deny_count: i64,
    /// Time of the newest of them: RFC 3339, UTC.
    pub last_request_at: Option<String>,
}

/// An agent with its new key, which is never shown again.
#[derive(Serialize, ToSchema)]
pub struct IssuedView {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentView,
    /// The key, to be sent as `X-Agent-Key` or in place of a credential.
    pub api_key: String,
    /// The access-key id for AWS SDKs.
    pub aws_access_key_id: String,
    /// The secret access key for that id.
    pub aws_secret_access_key: String,
}

/// What an agent has done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AgentStats {
    /// Permanent id.
    pub agent_id: String,
    /// The name that policies and the log use.
    pub name: String,
    /// Number of log rows under its name.
    pub request_count: i64,
    /// Denied ones among them.
    pub deny_count: i64,
    /// Share of denied ones, from 0 to 1.
    pub deny_rate: f64,
    /// Time of the newest of them: RFC 3339, UTC.
    pub last_request_at: Option<String>,
}

/// An agent to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAgentInput {
    /// 1 to 128 letters, digits, spaces and `. _ - @ : /`; unique, and not `unidentified`.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// Free text.
    #[serde(default)]
    #[schema(max_length = 4096)]
    description: String,
    /// Name of its policy; the gate's default policy if absent.
    #[serde(default)]
    policy: Option<String>,
    /// The only provider it may use; all if absent.
    #[serde(default)]
    #[schema(
        pattern = "^(google|microsoft|slack|github|jira|notion|linear|hubspot|salesforce|aws)$"
    )]
    provider: Option<String>,
}

/// How a key is rotated.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Rotation {
    /// How long the old key stays valid: `10m`, `1h`; at most a week. Revoked at once if
    /// absent.
    #[param(pattern = "^[0-9]{1,4}[smh]$")]
    #[schema(pattern = "^[0-9]{1,4}[smh]$")]
    grace: Option<String>,
    /// The same in seconds.
    #[param(minimum = 0, maximum = 604_800)]
    #[schema(minimum = 0, maximum = 604_800)]
    grace_seconds: Option<u64>,
}

/// Confirmation that an agent was removed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentDeleted {
    /// `deleted`
    status: &'static str,
    agent_id: String,
    name: String,
}

impl AgentView {
    /// The public view of `agent`, with its counts.
    #[must_use]
    pub fn new(agent: &AgentRecord, counts: AgentCounts) -> Self {
        Self {
            agent_id: agent.id.to_string(),
            name: agent.name.to_string(),
            description: agent.description.clone(),
            policy: agent.policy.as_deref().map(str::to_owned),
            provider: agent.provider.map(|provider| provider.as_str().to_owned()),
            created_at: agent.created_at.to_string(),
            request_count: counts.requests,
            deny_count: counts.denied,
            last_request_at: counts.last.map(|last| last.to_string()),
        }
    }
}

impl IssuedView {
    /// The public view of an agent with its new key, shown only once.
    #[must_use]
    pub fn new(issued: &Issued, counts: AgentCounts) -> Self {
        Self {
            agent: AgentView::new(&issued.agent, counts),
            api_key: issued.api_key.to_string(),
            aws_access_key_id: issued.aws_access_key_id.clone(),
            aws_secret_access_key: issued.aws_secret_access_key.to_string(),
        }
    }
}

impl AgentStats {
    /// The statistics of `agent`.
    #[must_use]
    pub fn new(agent: &AgentRecord, counts: AgentCounts) -> Self {
        Self {
            agent_id: agent.id.to_string(),
            name: agent.name.to_string(),
            request_count: counts.requests,
            deny_count: counts.denied,
            deny_rate: counts.deny_rate(),
            last_request_at: counts.last.map(|last| last.to_string()),
        }
    }
}

/// Every agent, by name
#[utoipa::path(get, path = "/agents", tag = "agents",
    responses((status = 200, body = [AgentView]), Refusals), security(("master_key" = [])))]
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer<Json<Vec<AgentView>>> {
    let list = admin.blocking(|admin| {
        let agents = admin.directory.registry().list()?;
        let counts = admin.reader()?.counts_by_agent(None)?;
        let of = |agent: &AgentRecord| counts.get(&*agent.name).copied().unwrap_or_default();
        Ok(agents.iter().map(|agent| AgentView::new(agent, of(agent))).collect())
    });
    list.await.map(Json)
}

/// Registers an agent and issues its key, shown this once
#[utoipa::path(post, path = "/agents", tag = "agents", request_body = NewAgentInput,
    responses((status = 200, body = IssuedView), Refusals), security(("master_key" = [])))]
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Input(input): Input<NewAgentInput>,
) -> Answer<Json<IssuedView>> {
    let create = admin.blocking(|admin| {
        let new = admin.check(input)?;
        let issued = admin.directory.registry().create(&new)?;
        admin.directory.refresh()?;
        tracing::info!(agent = new.name, "an agent was registered");
        let counts = counts(admin, &issued.agent)?;
        Ok(IssuedView::new(&issued, counts))
    });
    create.await.map(Json)
}

/// One agent, by id or name
#[utoipa::path(get, path = "/agents/{agent_id}", tag = "agents",
    params(("agent_id" = String, Path, description = "the id or the name")),
    responses((status = 200, body = AgentView), Refusals), security(("master_key" = [])))]
pub(super) async fn get(
    State(admin): State<Arc<Admin>>,
    Named(named): Named,
) -> Answer<Json<AgentView>> {
    let get = admin.blocking(move |admin| {
        let agent = find(admin, &named)?;
        Ok(AgentView::new(&agent, counts(admin, &agent)?))
    });
    get.await.map(Json)
}

/// Removes an agent and revokes its keys
#[utoipa::path(delete, path = "/agents/{agent_id}", tag = "agents",
    params(("agent_id" = String, Path, description = "the id or the name")),
    responses((status = 200, body = AgentDeleted), Refusals), security(("master_key" = [])))]
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Named(named): Named,
) -> Answer<Json<AgentDeleted>> {
    let delete = admin.blocking(move |admin| {
        let agent = admin.directory.registry().delete(&named)?;
        admin.directory.refresh()?;
        tracing::info!(agent = &*agent.name, "an agent was removed");
        let (agent_id, name) = (agent.id.to_string(), agent.name.to_string());
        Ok(AgentDeleted { status: "deleted", agent_id, name })
    });
    delete.await.map(Json)
}

/// Issues a new key, shown only once
///
/// The grace period is given by a parameter or in a body, not both.
#[utoipa::path(post, path = "/agents/{agent_id}/rotate-key", tag = "agents",
    params(("agent_id" = String, Path, description = "the id or the name"), Rotation),
    request_body = Option<Rotation>,
    responses((status = 200, body = IssuedView), Refusals), security(("master_key" = [])))]
pub(super) async fn rotate(
    State(admin): State<Arc<Admin>>,
    Named(named): Named,
    QueryOrBody(rotation): QueryOrBody<Rotation>,
) -> Answer<Json<IssuedView>> {
    let grace = rotation.grace()?;
    let rotate = admin.blocking(move |admin| {
        let issued = admin.directory.registry().rotate(&named, grace)?;
        admin.directory.refresh()?;
        tracing::info!(agent = &*issued.agent.name, "an agent's key was rotated");
        Ok(IssuedView::new(&issued, counts(admin, &issued.agent)?))
    });
    rotate.await.map(Json)
}

/// Statistics of an agent, according to the log
#[utoipa::path(get, path = "/agents/{agent_id}/stats", tag = "agents",
    params(("agent_id" = String, Path, description = "the id or the name")),
    responses((status = 200, body = AgentStats), Refusals), security(("master_key" = [])))]
pub(super) async fn stats(
    State(admin): State<Arc<Admin>>,
    Named(named): Named,
) -> Answer<Json<AgentStats>> {
    let stats = admin.blocking(move |admin| {
        let agent = find(admin, &named)?;
        Ok(AgentStats::new(&agent, counts(admin, &agent)?))
    });
    stats.await.map(Json)
}

impl Admin {
    fn check(&self, input: NewAgentInput) -> Answer<NewAgent> {
        let NewAgentInput { name, description, policy, provider } = input;
        if description.len() > MAX_DESCRIPTION {
            let most = format_args!("a description has at most {MAX_DESCRIPTION} bytes");
            return Err(ApiError::invalid(most));
        }
        if let Some(unknown) = policy.as_deref().filter(|policy| !self.catalog.knows(policy)) {
            let names: Vec<String> =
                self.catalog.list().into_iter().map(|entry| entry.name).collect();
            let advice = advice(unknown, names.iter().map(String::as_str));
            return Err(ApiError::bad_request(
                "unknown_policy",
                format_args!("there is no policy `{unknown}`; {advice}"),
            ));
        }
        let provider = provider.as_deref().map(provider_named).transpose()?;
        Ok(NewAgent { name, description, policy, provider })
    }
}

fn provider_named(name: &str) -> Answer<Provider> {
    Provider::from_name(name).ok_or_else(|| {
        let advice = advice(name, Provider::ALL.into_iter().map(Provider::as_str));
        let detail = format_args!("there is no provider `{name}`; {advice}");
        ApiError::bad_request("unknown_provider", detail)
    })
}

/// Suggests the known word closest to `word`, and lists all.
fn advice<'k>(word: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    let near = nearest(word, known.clone()).map(|near| format!("did you mean `{near}`? "));
    format!("{}available: {}", near.unwrap_or_default(), known.collect::<Vec<_>>().join(", "))
}

fn find(admin: &Admin, named: &str) -> Answer<AgentRecord> {
    let found = admin.directory.registry().find(named)?;
    found.ok_or_else(|| ApiError::not_found(format_args!("there is no agent `{named}`")))
}

fn counts(admin: &Admin, agent: &AgentRecord) -> Answer<AgentCounts> {
    let mut counts: HashMap<_, _> = admin.reader()?.counts_by_agent(Some(&agent.name))?;
    Ok(counts.remove(&*agent.name).unwrap_or_default())
}

impl Rotation {
    fn grace(&self) -> Answer<Duration> {
        let (grace, text) = match (self.grace.as_deref(), self.grace_seconds) {
            (None, None) => return Ok(Duration::ZERO),
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid("give grace or grace_seconds, not both"));
            }
            (Some(text), None) => {
                let days = SpanRelativeTo::days_are_24_hours();
                let span = text.parse::<Span>().and_then(|span| span.to_duration(days)).ok();
                (span.and_then(|span| Duration::try_from(span).ok()), text.to_owned())
            }
            (None, Some(seconds)) => (Some(Duration::from_secs(seconds)), seconds.to_string()),
        };
        grace.filter(|grace| *grace <= MAX_GRACE).ok_or_else(|| {
            let detail = format_args!(
                "`{text}` is not a grace period; write 90s, 10m, 1h or 2d, up to a week"
            );
            ApiError::invalid(detail)
        })
    }
}
