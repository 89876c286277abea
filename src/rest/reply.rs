//! What the gate itself answers: a status, a JSON body that scripts know, and
//! the id of the row in the log.

use std::time::Duration;

use axum::Json;
use axum::response::IntoResponse as _;
use http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::inbound::Fault;
use super::upstream::UpstreamError;
use crate::action::Action;
use crate::gate::Receipt;
use crate::intent::{Analysis, analyse};
use crate::net::Body;
use crate::net::body::HoldError;
use crate::net::client::SendError;
use crate::verdict::{Denial, Quota, Reason, Stage};

/// The id of the row in the log, on every answer.
pub const DECISION: HeaderName = HeaderName::from_static("x-agentgate-decision");

/// An answer of the gate's own.
#[must_use]
pub fn answer(status: StatusCode, body: Value, request_id: Option<&str>) -> Response<Body> {
    let mut body = body;
    if let Some(object) = body.as_object_mut() {
        object.insert("request_id".to_owned(), request_id.into());
    }
    let mut response = (status, Json(body)).into_response();
    protect(response.headers_mut());
    mark(response.headers_mut(), request_id);
    response
}

/// Headers that keep browsers from making anything of an answer of the gate's.
pub fn protect(headers: &mut HeaderMap) {
    const HEADERS: [(&str, &str); 5] = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("x-xss-protection", "1; mode=block"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let never = HeaderValue::from_static("no-store, no-cache, must-revalidate");
    headers.insert(CACHE_CONTROL, never);
}

/// Says which row of the log an answer belongs to.
pub fn mark(headers: &mut HeaderMap, request_id: Option<&str>) {
    if let Some(id) = request_id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(DECISION, id);
    }
}

/// Says which row an answer to an admitted request belongs to, and what is left of
/// the limit that is nearest to being used up. Where the provider tells of limits
/// of its own in such headers, those stay, and the gate's are left out: of two
/// that are mixed nobody could tell whose is whose.
pub fn mark_admitted(headers: &mut HeaderMap, receipt: &Receipt) {
    mark(headers, receipt.request_id());
    let is_told = |name: &HeaderName| matches!(name.as_str().get(..9), Some("ratelimit"));
    if let Some(quota) = receipt.quota().filter(|_| !headers.keys().any(is_told)) {
        tell(headers, &quota);
    }
}

/// How much of a limit is left, by the IETF's httpapi
/// (draft-ietf-httpapi-ratelimit-headers-06).
fn tell(headers: &mut HeaderMap, quota: &Quota) {
    for (name, value) in [
        ("ratelimit-limit", u64::from(quota.limit)),
        ("ratelimit-remaining", u64::from(quota.remaining)),
        ("ratelimit-reset", seconds(quota.reset)),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
    let policy = format!("{};w={}", quota.limit, quota.window.as_secs());
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(HeaderName::from_static("ratelimit-policy"), policy);
    }
}

/// Whole seconds after which it has passed; never none.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil().max(1.0) as u64
}

/// The answer to a request that cannot be read for certain.
#[must_use]
pub fn faulty(fault: &Fault, request_id: Option<&str>) -> Response<Body> {
    let (status, code) = fault.answer();
    let body = json!({ "error": code, "detail": fault.to_string() });
    let mut response = answer(status, body, request_id);
    if matches!(fault, Fault::Body(HoldError::NoRoom)) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// The answer to an admitted request that upstream gave none to.
#[must_use]
pub fn failed(error: &UpstreamError, receipt: &Receipt) -> Response<Body> {
    let code = match error.cause {
        SendError::Slow(_) => "slow_body",
        SendError::Unfit(ref unfit) => unfit.code,
        _ => "proxy_error",
    };
    let body = json!({ "error": code, "detail": error.to_string() });
    let mut response = answer(error.status(), body, receipt.request_id());
    mark_admitted(response.headers_mut(), receipt);
    response
}

/// The answer to a refused request.
#[must_use]
pub fn denied(action: &Action, denial: &Denial) -> Response<Body> {
    let verdict = &denial.verdict;
    let id = denial.request_id.as_deref();
    let reason = verdict.reason.to_string();
    match &verdict.reason {
        Reason::RateLimited { limit, window, retry_after } => {
            let (limit, window, reset) = (*limit, *window, *retry_after);
            let seconds = seconds(reset);
            let mut response = answer(
                StatusCode::TOO_MANY_REQUESTS,
                json!({ "error": "rate_limited", "detail": reason, "retry_after": seconds }),
                id,
            );
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            tell(response.headers_mut(), &Quota { limit, window, remaining: 0, reset });
            response
        }
        Reason::Unidentified(_) => answer(
            StatusCode::UNAUTHORIZED,
            json!({ "error": "unauthorized", "detail": reason }),
            id,
        ),
        Reason::BoundElsewhere { .. } => answer(
            StatusCode::FORBIDDEN,
            json!({ "error": "provider_mismatch", "detail": reason }),
            id,
        ),
        Reason::AuditUnavailable(_) | Reason::Internal(_) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "error": "unavailable", "detail": reason }),
            id,
        ),
        _ if verdict.stage == Stage::Validation => answer(
            StatusCode::BAD_REQUEST,
            json!({ "error": "invalid_request", "detail": reason }),
            id,
        ),
        _ => {
            let body = denial_body(&analyse(action), denial);
            let mut response = answer(StatusCode::FORBIDDEN, body, id);
            if let Some(quota) = &denial.quota {
                tell(response.headers_mut(), quota);
            }
            response
        }
    }
}

fn denial_body(analysis: &Analysis, denial: &Denial) -> Value {
    let verdict = &denial.verdict;
    let suggestion = verdict
        .suggestion
        .as_deref()
        .unwrap_or("Ask for what the policy allows instead, or tell the user what should be done.");
    json!({
        "error": "access_denied",
        "reason": verdict.reason.to_string(),
        "suggestion": suggestion,
        "intent": {
            "type": analysis.intent.as_str(),
            "resource": analysis.resource,
            "confidence": analysis.confidence,
            "level": analysis.level.as_str(),
            "why": analysis.why,
        },
        "policy": &*verdict.policy,
        "rule": &*verdict.rule,
        "stage": verdict.stage.as_str(),
    })
}
