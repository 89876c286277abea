//! What is there, for everybody: `/`, `/health`, `/providers`,
//! `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::Admin;
use crate::action::Provider;

/// Content type of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The program.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Service {
    /// `AgentGate`
    service: &'static str,
    version: &'static str,
    description: &'static str,
    providers: Vec<&'static str>,
    /// Where the calls are described.
    docs: &'static str,
}

/// The providers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Providers {
    providers: Vec<&'static str>,
}

/// How the gate is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `degraded`
    status: &'static str,
    version: &'static str,
    providers: Vec<&'static str>,
    /// Whether the policies decide as their files are now: false while a changed file does
    /// not load, and the last good one decides.
    policy_loaded: bool,
    agents_count: usize,
    /// `ok` or `error`: with `error` it cannot be read or written, and everything is refused.
    audit_db: &'static str,
}

/// What this is
#[utoipa::path(get, path = "/", tag = "discovery", responses((status = 200, body = Service)))]
pub(super) async fn service() -> Json<Service> {
    Json(Service {
        service: "AgentGate",
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        providers: names(),
        docs: "/openapi.json",
    })
}

/// The providers, in the order that documents list them
#[utoipa::path(get, path = "/providers", tag = "discovery",
    responses((status = 200, body = Providers)))]
pub(super) async fn providers() -> Json<Providers> {
    Json(Providers { providers: names() })
}

/// Whether the gate can do its work; 503 where the log cannot be read or written
#[utoipa::path(get, path = "/health", tag = "discovery",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn health(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<Health>) {
    let looked = admin.blocking(|admin| {
        admin.reader()?.version()?;
        Ok(admin.store.check()?)
    });
    let (status, word, audit_db) = match looked.await {
        Ok(()) => (StatusCode::OK, "ok", "ok"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "degraded", "error"),
    };
    let health = Health {
        status: word,
        version: env!("CARGO_PKG_VERSION"),
        providers: names(),
        policy_loaded: admin.catalog.is_as_written(),
        agents_count: admin.directory.len(),
        audit_db,
    };
    (status, Json(health))
}

/// Figures for Prometheus; no agent, path or tool is named
#[utoipa::path(get, path = "/metrics", tag = "discovery",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], admin.metrics.text())
}

fn names() -> Vec<&'static str> {
    Provider::ALL.map(Provider::as_str).to_vec()
}
