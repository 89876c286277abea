//! Requests that are refused before a message of theirs is looked at: the answer.

use std::borrow::Cow;

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::problem;
use crate::action::Malformed;
use crate::mcp::codes::INVALID_REQUEST;
use crate::net::Body;

/// Why a request is not looked at further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status that says so.
    pub status: StatusCode,
    /// In words for the sender.
    pub what: Cow<'static, str>,
}

impl Refusal {
    /// A refusal in these words.
    #[must_use]
    pub fn new(status: StatusCode, what: impl Into<Cow<'static, str>>) -> Self {
        Self { status, what: what.into() }
    }

    /// The request for `server`, as it is recorded.
    #[must_use]
    pub fn flawed(&self, server: &str, method: &Method) -> Malformed {
        Malformed::ambiguous(server, method.as_str(), &*self.what)
    }

    /// The answer, with the row that it has in the log.
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
        problem::mark(&mut response, row);
        response
    }
}
