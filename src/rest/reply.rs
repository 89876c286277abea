//! What the gate itself answers: a status, a JSON body that scripts know, and
//! the id of the row in the log.

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
use crate::stamp;
use crate::verdict::{Denial, Reason, Stage};

/// An answer of the gate's own.
#[must_use]
pub fn answer(status: StatusCode, body: Value, request_id: Option<&str>) -> Response<Body> {
    let mut body = body;
    if let Some(object) = body.as_object_mut() {
        object.insert("request_id".to_owned(), request_id.into());
    }
    let mut response = (status, Json(body)).into_response();
    protect(response.headers_mut());
    stamp::row(response.headers_mut(), request_id);
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

/// Says which row an answer to an admitted request belongs to, and what is left of
/// the limit that is nearest to being used up.
pub fn mark_admitted(headers: &mut HeaderMap, receipt: &Receipt) {
    stamp::row(headers, receipt.request_id());
    stamp::quota(headers, receipt.quota().as_ref());
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
        Reason::RateLimited { full, .. } => {
            let seconds = full.retry_after.map(stamp::seconds);
            let body = json!({ "error": "rate_limited", "detail": reason, "retry_after": seconds });
            let mut response = answer(StatusCode::TOO_MANY_REQUESTS, body, id);
            // What never passes must not be tried again and again.
            if let Some(seconds) = seconds {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            stamp::quota(response.headers_mut(), denial.quota.as_ref());
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
            stamp::quota(response.headers_mut(), denial.quota.as_ref());
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
