//! Error responses of the admin API: JSON, always of the same shape.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::net::body::HoldError;
use crate::policy::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::rest::reply;
use crate::store::StoreError;
use crate::store::agents::AgentError;

/// An error response.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

/// The body of every refusal.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// Machine-readable error code.
    error: &'static str,
    /// Human-readable description.
    detail: String,
    /// Id of this refusal in the program's own log.
    request_id: String,
    /// All findings about a policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diagnostics: Vec<Finding>,
}

/// An error or warning about a policy.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Finding {
    /// `error` or `warning`.
    severity: &'static str,
    /// Line, from 1; 0 if it concerns the whole policy.
    line: u64,
    /// Column, from 1; 0 if it concerns the whole policy.
    column: u64,
    /// What is wrong.
    message: String,
    /// What to do about it.
    help: Option<String>,
}

/// Result of a handler.
pub(super) type Answer<T> = Result<T, ApiError>;

impl ApiError {
    /// An error with this status, machine-readable code and description.
    pub(super) fn new(status: StatusCode, error: &'static str, detail: impl ToString) -> Self {
        let detail = detail.to_string();
        let request_id = Uuid::now_v7().to_string();
        Self { status, body: ErrorBody { error, detail, request_id, diagnostics: Vec::new() } }
    }

    pub(super) fn bad_request(error: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, detail)
    }

    /// A 422: well-formed, but invalid.
    pub(super) fn invalid(detail: impl ToString) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail)
    }

    pub(super) fn not_found(detail: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn internal(detail: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
    }

    /// A 422 with the findings about an invalid policy.
    pub(super) fn invalid_policy(found: &Diagnostics) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut error =
            Self::new(status, "invalid_policy", format_args!("the policy does not load\n{found}"));
        error.body.diagnostics = Finding::all(found);
        error
    }
}

impl Finding {
    /// All findings, in order.
    pub(super) fn all(found: &Diagnostics) -> Vec<Self> {
        found.iter().map(Self::from).collect()
    }
}

impl From<&Diagnostic> for Finding {
    fn from(found: &Diagnostic) -> Self {
        Self {
            severity: match found.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            line: found.span.line.into(),
            column: found.span.column.into(),
            message: found.message.clone(),
            help: found.help.clone(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotOurs { .. } => Self::invalid(error),
            StoreError::DoesNotHold { .. } => {
                Self::new(StatusCode::CONFLICT, "log_does_not_hold", error)
            }
            _ => Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", error),
        }
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Name(_) => Self::invalid(error),
            AgentError::Taken(_) => Self::new(StatusCode::CONFLICT, "name_taken", error),
            AgentError::TooMany => Self::new(StatusCode::CONFLICT, "too_many_agents", error),
            AgentError::Unknown(_) => Self::not_found(error),
            AgentError::Random(_) => Self::internal(error),
            AgentError::Store(error) => error.into(),
        }
    }
}

impl From<HoldError> for ApiError {
    fn from(error: HoldError) -> Self {
        let (status, word) = error.answer();
        Self::new(status, word, error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let ErrorBody { error, detail, request_id, .. } = &self.body;
        if self.status.is_server_error() {
            tracing::error!(error, detail, request_id, "an admin call failed");
        } else {
            tracing::info!(error, detail, request_id, "an admin call was refused");
        }
        let mut response = (self.status, Json(self.body)).into_response();
        reply::protect(response.headers_mut());
        response
    }
}
