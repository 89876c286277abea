//! Extractors for requests. Invalid input is refused with a JSON error.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use utoipa::IntoParams;

use super::Admin;
use super::error::ApiError;
use crate::json::{self, ObjectError};
use crate::net::body::hold;

/// Maximum size of a request's body, in bytes; the same as of a policy file.
pub(super) const MAX_BODY: usize = 1 << 20;

/// Timeout for receiving a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body, whatever its content type: calls carry a header that pages of other origins can
/// only send with permission (CORS).
pub(super) struct Input<T>(pub(super) T);

/// The body as sent.
pub(super) struct Text {
    pub(super) content_type: String,
    pub(super) bytes: Bytes,
}

/// The query parameters; unknown ones are refused.
pub(super) struct Params<T>(pub(super) T);

/// Query parameters of two kinds; those of neither are refused.
pub(super) struct Both<A, B>(pub(super) A, pub(super) B);

/// Input given by parameters or by a JSON body, but not by both.
pub(super) struct QueryOrBody<T>(pub(super) T);

/// The variable part of the path.
pub(super) struct Named(pub(super) String);

impl FromRequest<Arc<Admin>> for Text {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Admin>) -> Result<Self, ApiError> {
        let content_type = request.headers().get(axum::http::header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
        let bytes = hold(request.into_body(), MAX_BODY, BODY_TIMEOUT).await?;
        Ok(Self { content_type, bytes })
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Admin>> for Input<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, ApiError> {
        let text = Text::from_request(request, admin).await?;
        parse(&text.bytes).map(Self)
    }
}

/// Parses JSON: 400 if it is malformed, 422 if it does not fit `T`.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    json::object(text).map_err(|error| match error {
        ObjectError::Invalid(error) if error.classify() != Category::Data => {
            ApiError::bad_request("invalid_json", format_args!("the body is not JSON: {error}"))
        }
        error => ApiError::invalid(error),
    })
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Admin>> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Admin>) -> Result<Self, ApiError> {
        params(&parts.uri).map(Self)
    }
}

fn params<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let read = Query::try_from_uri(uri).map_err(|error| ApiError::invalid(error.body_text()));
    read.map(|Query(params)| params)
}

impl<A, B> FromRequestParts<Arc<Admin>> for Both<A, B>
where
    A: DeserializeOwned + IntoParams,
    B: DeserializeOwned + IntoParams,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Admin>) -> Result<Self, ApiError> {
        let described = [A::into_params(|| None), B::into_params(|| None)];
        let known: Vec<String> = described.into_iter().flatten().map(|one| one.name).collect();
        let given: Vec<(String, String)> = params(&parts.uri)?;
        if let Some((name, _)) = given.iter().find(|(name, _)| !known.contains(name)) {
            let known = known.join(", ");
            let detail = format_args!("this call has no parameter `{name}`; it has {known}");
            return Err(ApiError::invalid(detail));
        }
        Ok(Self(params(&parts.uri)?, params(&parts.uri)?))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Admin>> for QueryOrBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Admin>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let text = hold(body, MAX_BODY, BODY_TIMEOUT).await?;
        let is_blank = matches!(text.trim_ascii(), b"" | b"{}");
        match parts.uri.query().unwrap_or_default() {
            _ if is_blank => params(&parts.uri).map(Self),
            "" => parse(&text).map(Self),
            _ => Err(ApiError::invalid("say it by parameters or in the body, not both")),
        }
    }
}

impl FromRequestParts<Arc<Admin>> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, ApiError> {
        let named = Path::<String>::from_request_parts(parts, admin).await;
        let Path(named) =
            named.map_err(|error| ApiError::bad_request("invalid_path", error.body_text()))?;
        Ok(Self(named))
    }
}
