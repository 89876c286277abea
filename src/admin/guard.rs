//! Middleware for every request: the master key, security headers, CORS, and panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Admin;
use super::error::{Answer, ApiError};
use crate::keys::MASTER_KEY;
use crate::rest::reply;

/// Requires the master key, exactly once. A missing and a wrong key take the same time and get
/// the same response.
pub(super) async fn key(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Answer<Response> {
    let mut presented = request.headers().get_all(MASTER_KEY).iter();
    let first = presented.next().map(HeaderValue::as_bytes).unwrap_or_default();
    let is_only = presented.next().is_none();
    if admin.master.is(first) && is_only {
        return Ok(next.run(request).await);
    }
    let detail = "the header X-Master-Key must bear the master key";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", detail))
}

/// Turns a panic into an error response to this call.
pub(super) async fn panics(request: Request, next: Next) -> Response {
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answered.unwrap_or_else(|_| ApiError::internal("a panic while answering").into_response())
}

/// Adds the headers of every response.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    reply::protect(response.headers_mut());
    response
}

/// CORS: allows only pages of the configured origins.
pub(super) fn cors(admin: Arc<Admin>) -> CorsLayer {
    let is_named = move |origin: &HeaderValue, _: &Parts| {
        let origins = admin.cors_origins.load();
        origins.iter().any(|named| named != "*" && origin == named.as_str())
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_named))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, HeaderName::from_static(MASTER_KEY)])
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower_service::Service as _;

    use super::*;

    async fn breaks() -> &'static str {
        assert!(std::env::args().len() == usize::MAX, "on purpose");
        "whole"
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_the_next_call_is_served() {
        let app = Router::new().route("/", get(breaks)).route("/fine", get(|| async { "fine" }));
        let mut app = app.layer(from_fn(panics));
        for (path, status) in [("/", 500), ("/fine", 200), ("/", 500)] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = app.call(request).await.unwrap();
            assert_eq!(response.status(), status);
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            let is_json = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
            assert_eq!(is_json, status == 500);
        }
    }
}
