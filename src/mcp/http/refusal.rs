//! Refused requests: how they are answered and recorded.

use std::borrow::Cow;

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::front::Incoming;
use super::header_check::Mismatch;
use super::problem;
use crate::action::Malformed;
use crate::mcp::codes::{HEADER_MISMATCH, INVALID_REQUEST};
use crate::mcp::relay::Relay;
use crate::mcp::scan::outline;
use crate::net::Body;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// Description for the sender.
    pub what: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with this description.
    #[must_use]
    pub fn new(status: StatusCode, what: impl Into<Cow<'static, str>>) -> Self {
        Self { status, what: what.into() }
    }

    /// The request as recorded in the audit log.
    #[must_use]
    pub fn malformed(&self, server: &str, method: &Method) -> Malformed {
        Malformed::ambiguous(server, method.as_str(), &*self.what)
    }

    /// The response, with the id of the audit row.
    #[must_use]
    pub fn answer(&self, row: Option<&str>) -> Response<Body> {
        tracing::warn!(status = self.status.as_u16(), what = &*self.what, "a request was refused");
        let mut response = problem::error(self.status, None, INVALID_REQUEST, &self.what);
        let named = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "1")),
            StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, "GET, POST, DELETE")),
            _ => None,
        };
        if let Some((name, value)) = named {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        problem::set_request_id(&mut response, row);
        response
    }
}

/// Has `relay` record a refusal because of `what`, and returns the response.
pub(super) async fn recorded(
    relay: &Relay,
    method: &str,
    what: &str,
    mut answer: Response<Body>,
) -> Response<Body> {
    let row = relay.refuse_malformed(method, what).await;
    problem::set_request_id(&mut answer, row.as_deref());
    answer
}

/// The response for a session that does not exist, or is another principal's.
pub(super) async fn no_such_session(relay: &Relay, incoming: &Incoming) -> Response<Body> {
    let (status, id) = (StatusCode::NOT_FOUND, outline(&incoming.body).id);
    let answer = problem::error(status, id.as_deref(), INVALID_REQUEST, "Session not found");
    let what = "its session is not open, or is another's";
    recorded(relay, incoming.method.as_str(), what, answer).await
}

/// The response for a message whose headers contradict it.
pub(super) async fn contradicted(
    relay: &Relay,
    mismatch: &Mismatch,
    message: &[u8],
) -> Response<Body> {
    let (status, id) = (StatusCode::BAD_REQUEST, outline(message).id);
    let message = mismatch.to_string();
    let answer = problem::error(status, id.as_deref(), HEADER_MISMATCH, &message);
    recorded(relay, "tools/call", &message, answer).await
}
