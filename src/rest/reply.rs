//! The gate's own responses: a status, a body that scripts and SDKs understand, and the id
//! of the row in the log.

mod aws;
mod dialect;

use http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use serde_json::{Map, Value, json};

pub(super) use self::aws::cbor;
pub use self::dialect::Dialect;
use super::inbound::InboundError;
use super::upstream::UpstreamError;
use crate::action::Action;
use crate::decision_headers;
use crate::gate::Receipt;
use crate::intent::{Analysis, analyse};
use crate::net::Body;
use crate::net::body::HoldError;
use crate::net::client::SendError;
use crate::verdict::{Denial, Reason, Stage};

/// Maximum length of the reason phrase, in characters.
const MAX_PHRASE: usize = 200;

/// A response of the gate. `body` is an object with the reason in `reason` or `detail`.
#[must_use]
pub fn answer(
    dialect: Dialect,
    status: StatusCode,
    body: Value,
    request_id: Option<&str>,
) -> Response<Body> {
    let mut body = match body {
        Value::Object(body) => body,
        other => [("detail".to_owned(), other)].into_iter().collect(),
    };
    body.insert("request_id".to_owned(), request_id.into());
    let phrase = phrase(&body);
    let (headers, bytes) = dialect.written(status, body);
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Some(phrase) = phrase {
        response.extensions_mut().insert(phrase);
    }
    protect(response.headers_mut());
    decision_headers::row(response.headers_mut(), request_id);
    response
}

/// The reason phrase of the status line: Google's SDK for Python and Slack's for JavaScript
/// show that, and nothing of the body.
fn phrase(body: &Map<String, Value>) -> Option<ReasonPhrase> {
    let why = body.get("reason").or_else(|| body.get("detail"))?.as_str()?;
    let plain = |letter: char| if matches!(letter, ' '..='~') { letter } else { '?' };
    let phrase: String = why.chars().take(MAX_PHRASE).map(plain).collect();
    phrase.into_bytes().try_into().ok()
}

/// Adds headers that keep browsers from interpreting a response of the gate.
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

/// Adds the headers with the id of the audit row, and with what remains of the rate limit
/// nearest to exhaustion.
pub fn mark_admitted(headers: &mut HeaderMap, receipt: &Receipt) {
    decision_headers::row(headers, receipt.request_id());
    decision_headers::quota(headers, receipt.quota().as_ref());
}

/// The response to a request that cannot be parsed unambiguously.
#[must_use]
pub fn malformed(
    dialect: Dialect,
    fault: &InboundError,
    request_id: Option<&str>,
) -> Response<Body> {
    let (status, code) = fault.answer();
    let body = json!({ "error": code, "detail": fault.to_string() });
    let mut response = answer(dialect, status, body, request_id);
    if matches!(fault, InboundError::Body(HoldError::NoMemory)) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// The response to an admitted request that upstream did not answer.
#[must_use]
pub fn failed(dialect: Dialect, error: &UpstreamError, receipt: &Receipt) -> Response<Body> {
    let code = match error.cause {
        SendError::Slow(_) => "slow_body",
        SendError::Unfit(ref unfit) => unfit.code,
        _ => "proxy_error",
    };
    let body = json!({ "error": code, "detail": error.to_string() });
    let mut response = answer(dialect, error.status(), body, receipt.request_id());
    mark_admitted(response.headers_mut(), receipt);
    response
}

/// The response to a refused request.
#[must_use]
pub fn denied(dialect: Dialect, action: &Action, denial: &Denial) -> Response<Body> {
    let verdict = &denial.verdict;
    let id = denial.request_id.as_deref();
    let reason = verdict.reason.to_string();
    let answer = |status, body| answer(dialect, status, body, id);
    match &verdict.reason {
        Reason::RateLimited { full, .. } => {
            let seconds = full.retry_after.map(decision_headers::seconds);
            let body = json!({ "error": "rate_limited", "detail": reason, "retry_after": seconds });
            let mut response = answer(StatusCode::TOO_MANY_REQUESTS, body);
            // What can never be admitted must not be retried.
            if let Some(seconds) = seconds {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            decision_headers::quota(response.headers_mut(), denial.quota.as_ref());
            response
        }
        Reason::Unidentified(_) => {
            answer(StatusCode::UNAUTHORIZED, json!({ "error": "unauthorized", "detail": reason }))
        }
        Reason::BoundElsewhere { .. } => {
            answer(StatusCode::FORBIDDEN, json!({ "error": "provider_mismatch", "detail": reason }))
        }
        Reason::AuditUnavailable(_) | Reason::Internal(_) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "error": "unavailable", "detail": reason }),
        ),
        _ if verdict.stage == Stage::Validation => {
            answer(StatusCode::BAD_REQUEST, json!({ "error": "invalid_request", "detail": reason }))
        }
        _ => {
            let body = denial_body(&analyse(action), denial);
            let mut response = answer(StatusCode::FORBIDDEN, body);
            decision_headers::quota(response.headers_mut(), denial.quota.as_ref());
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
