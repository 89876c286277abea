//! The headers of an HTTP answer that tell the decision about its request: the row in the
//! log, and what is left of a rate limit.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::net::Body;
use crate::net::memory::MemoryBudget;
use crate::verdict::Quota;

/// The id of the row in the log.
pub const DECISION: HeaderName = HeaderName::from_static("x-agentgate-decision");

/// Says which row of the log an answer belongs to, where it has one.
pub fn row(headers: &mut HeaderMap, id: Option<&str>) {
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(DECISION, id);
    }
}

/// `answer` on its way to a client that may have to give up what it holds of `budget`: see
/// [`MemoryBudget::deliver`].
pub fn delivered(answer: Response<Body>, budget: &MemoryBudget) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let body = budget.deliver(body, parts.headers.get(DECISION));
    Response::from_parts(parts, body)
}

/// How much is left of a limit, by the IETF's httpapi
/// (draft-ietf-httpapi-ratelimit-headers-06). Where the server tells of limits of its
/// own in such headers, those stay, and the gate's are left out: of two that are mixed
/// nobody could tell whose is whose.
pub fn quota(headers: &mut HeaderMap, quota: Option<&Quota>) {
    let is_told = |name: &HeaderName| matches!(name.as_str().get(..9), Some("ratelimit"));
    let Some(quota) = quota.filter(|_| !headers.keys().any(is_told)) else { return };
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
#[must_use]
pub fn seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil().max(1.0) as u64
}
