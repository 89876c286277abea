//! What is there: health, providers, the service itself. No key is needed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use crate::action::Provider;

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/", get(service))
        .route("/health", get(health))
        .route("/providers", get(|| async { Json(json!({ "providers": providers() })) }))
}

fn providers() -> Vec<&'static str> {
    Provider::ALL.map(Provider::as_str).to_vec()
}

async fn service() -> Json<Value> {
    Json(json!({
        "service": "AgentGate",
        "version": env!("CARGO_PKG_VERSION"),
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "providers": providers(),
        "docs": "/openapi.json",
    }))
}

/// 503 while the log cannot be read: nothing passes then.
async fn health(State(admin): State<Arc<Admin>>) -> Response {
    let readable = admin.read(|reader| reader.newest_id().map(drop)).await;
    let ok = readable.is_ok() || !admin.database.exists() && admin.directory.refresh().is_ok();
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if ok { "ok" } else { "degraded" },
        "version": env!("CARGO_PKG_VERSION"),
        "providers": providers(),
        "policy_loaded": admin.book.handle(None).is_some(),
        "agents_count": admin.directory.len(),
        "audit_db": if ok { "ok" } else { "error" },
    });
    (status, Json(body)).into_response()
}
