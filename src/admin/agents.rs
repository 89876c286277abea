//! `/agents`: who may ask. Keys are shown once, when they are issued.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Admin, blocking};
use crate::action::Provider;
use crate::store::agents::{AgentRecord, Issued, NewAgent};
use crate::store::stats::AgentFigures;

/// The longest grace of a rotated key.
const MAX_GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/agents", get(list).post(create))
        .route("/agents/{agent_id}", delete(remove))
        .route("/agents/{agent_id}/rotate-key", post(rotate))
        .route("/agents/{agent_id}/stats", get(stats))
}

/// The body of `POST /agents`.
#[derive(Debug, Deserialize)]
struct Create {
    name: String,
    #[serde(default)]
    description: String,
    policy: Option<String>,
    provider: Option<String>,
}

async fn create(
    State(admin): State<Arc<Admin>>,
    body: Result<Json<Create>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(Create { name, description, policy, provider }) = body?;
    if let Some(policy) = policy.as_deref().filter(|policy| !admin.book.knows(policy)) {
        let names: Vec<String> = admin.book.list().into_iter().map(|entry| entry.name).collect();
        let detail = format!("there is no policy `{policy}`; there are {}", names.join(", "));
        return Err(Problem::invalid(detail));
    }
    let provider = provider.map(|name| {
        let known = || Provider::ALL.map(Provider::as_str).join(", ");
        Provider::from_name(&name).ok_or_else(|| {
            Problem::invalid(format!("there is no provider `{name}`; there are {}", known()))
        })
    });
    let new = NewAgent { name, description, policy, provider: provider.transpose()? };
    changed(admin, move |admin| admin.directory.registry().create(&new)).await
}

/// The parameters of `rotate-key`.
#[derive(Debug, Deserialize)]
struct Rotate {
    /// Seconds for which the old key stays good.
    #[serde(default)]
    grace_seconds: u64,
}

async fn rotate(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    query: Result<Query<Rotate>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let grace = Duration::from_secs(query?.grace_seconds);
    if grace > MAX_GRACE {
        return Err(Problem::invalid("`grace_seconds` is more than a week"));
    }
    changed(admin, move |admin| admin.directory.registry().rotate(&id, grace)).await
}

/// Issues a key; it is in force when the answer is sent.
async fn changed(
    admin: Arc<Admin>,
    change: impl FnOnce(&Admin) -> Result<Issued, crate::store::agents::AgentError> + Send + 'static,
) -> Result<Json<Value>, Problem> {
    blocking(move || {
        let issued = change(&admin)?;
        admin.directory.refresh()?;
        Ok(Json(shown_once(&issued)))
    })
    .await
}

async fn remove(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    blocking(move || {
        admin.directory.registry().delete(&id)?;
        admin.directory.refresh()?;
        Ok(Json(json!({ "status": "deleted" })))
    })
    .await
}

async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Value>, Problem> {
    let registry = admin.directory.registry().clone();
    let agents = blocking(move || Ok(registry.list()?)).await?;
    let figures = figures(&admin).await;
    let shown = agents.iter().map(|agent| shown(agent, figures.get(&*agent.name)));
    Ok(Json(shown.collect()))
}

async fn stats(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let registry = admin.directory.registry().clone();
    let agent = blocking(move || Ok(registry.find(&id)?)).await?;
    let agent = agent.ok_or_else(|| Problem::not_found("Agent not found"))?;
    let figures = figures(&admin).await.remove(&*agent.name).unwrap_or_default();
    let rate = figures.denied as f64 / (figures.requests.max(1)) as f64;
    Ok(Json(json!({
        "agent_id": &*agent.id,
        "name": &*agent.name,
        "request_count": figures.requests,
        "deny_count": figures.denied,
        "deny_rate": rate,
        "last_request_at": figures.last_at.map(|at| at.to_string()),
    })))
}

/// A log without rows has no figures, and is no reason to fail.
async fn figures(admin: &Admin) -> std::collections::HashMap<String, AgentFigures> {
    admin.read(|reader| reader.agents()).await.unwrap_or_default()
}

/// An agent as the API gives it.
#[must_use]
pub fn shown(agent: &AgentRecord, figures: Option<&AgentFigures>) -> Value {
    let figures = figures.cloned().unwrap_or_default();
    let mut shown = serde_json::to_value(agent).unwrap_or_default();
    if let Some(object) = shown.as_object_mut() {
        object.insert("request_count".to_owned(), figures.requests.into());
        object.insert("deny_count".to_owned(), figures.denied.into());
        let last = figures.last_at.map(|at| at.to_string());
        object.insert("last_request_at".to_owned(), last.into());
    }
    shown
}

/// An agent with the key that is never shown again.
#[must_use]
pub fn shown_once(issued: &Issued) -> Value {
    let mut shown = shown(&issued.agent, None);
    if let Some(object) = shown.as_object_mut() {
        object.insert("api_key".to_owned(), issued.api_key.as_str().into());
        let id = issued.aws_access_key_id.as_str();
        object.insert("aws_access_key_id".to_owned(), id.into());
        let secret = issued.aws_secret_access_key.as_str();
        object.insert("aws_secret_access_key".to_owned(), secret.into());
    }
    shown
}
