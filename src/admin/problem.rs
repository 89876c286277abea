//! What goes wrong with a call, as a status and a JSON body.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::policy::book::BookError;
use crate::rest::reply;
use crate::store::StoreError;
use crate::store::agents::AgentError;

/// A call that failed.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.code, "detail": self.detail });
        reply::answer(self.status, body, None)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", error.to_string())
    }
}

impl From<AgentError> for Problem {
    fn from(error: AgentError) -> Self {
        let detail = error.to_string();
        match error {
            AgentError::Unknown(_) => Self::not_found("Agent not found"),
            AgentError::Taken(_) => Self::new(StatusCode::CONFLICT, "name_taken", detail),
            AgentError::Name(_) | AgentError::TooMany => Self::invalid(detail),
            AgentError::Store(error) => error.into(),
            AgentError::Random(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_key", detail),
        }
    }
}

impl From<BookError> for Problem {
    fn from(error: BookError) -> Self {
        let detail = error.to_string();
        match error {
            BookError::Name(_) => Self::invalid(detail),
            BookError::Invalid(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_policy", detail)
            }
            BookError::Unknown(_) => Self::not_found(detail),
            BookError::Io(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "not_written", detail),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "invalid_body", rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "invalid_query", rejection.body_text())
    }
}
