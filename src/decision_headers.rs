//! Headers of HTTP responses that describe the decision on the request: the id of the log's row and
//! the remaining quota of a rate limit.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::net::Body;
use crate::net::memory::MemoryBudget;
use crate::verdict::Quota;

/// The id of the log's row.
pub const DECISION: HeaderName = HeaderName::from_static("x-agentgate-decision");

/// Sets [`DECISION`]; does nothing without an `id`.
pub fn row(headers: &mut HeaderMap, id: Option<&str>) {
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(DECISION, id);
    }
}

/// Wraps the body of `answer` so that it can be given up when `budget` runs out: see
/// [`MemoryBudget::deliver`].
pub fn deliver(answer: Response<Body>, budget: &MemoryBudget) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let body = budget.deliver(body, parts.headers.get(DECISION));
    Response::from_parts(parts, body)
}

/// Sets the rate limit headers of the IETF's httpapi working group
/// (draft-ietf-httpapi-ratelimit-headers-06). If the server sent headers of this kind, they are
/// kept and ours are omitted: a mix of both could not be told apart.
pub fn quota(headers: &mut HeaderMap, quota: Option<&Quota>) {
    let is_rate_limit = |name: &HeaderName| matches!(name.as_str().get(..9), Some("ratelimit"));
    let Some(quota) = quota.filter(|_| !headers.keys().any(is_rate_limit)) else { return };
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

/// `duration` in seconds, rounded up; at least 1.
#[must_use]
pub fn seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil().max(1.0) as u64
}
