//! Endpoints without a key: `/`, `/health`, `/providers`, `/metrics`.

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

/// About the program.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Service {
    /// `AgentGate`
    service: &'static str,
    version: &'static str,
    description: &'static str,
    providers: Vec<&'static str>,
    /// Path of the API's documentation.
    docs: &'static str,
}

/// The providers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Providers {
    providers: Vec<&'static str>,
}

/// State of the gate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `degraded`
    status: &'static str,
    version: &'static str,
    providers: Vec<&'static str>,
    /// Whether the policies in force are those of the files: `false` while a changed file is
    /// invalid, and the last valid one is used.
    policy_loaded: bool,
    agents_count: usize,
    /// `ok` or `error`. With `error` the log cannot be read or written, and everything is
    /// refused.
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

/// Whether the gate works; 503 if the log cannot be read or written
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

/// Prometheus metrics, without names of agents, paths or tools
#[utoipa::path(get, path = "/metrics", tag = "discovery",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], admin.metrics.text())
}

fn names() -> Vec<&'static str> {
    Provider::ALL.map(Provider::as_str).to_vec()
}
