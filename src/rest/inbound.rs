//! Parses a request into what policies see and what is forwarded. What upstream could
//! parse differently from the gate is refused here.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body as _;

use super::credentials::NoCredential;
use super::form;
use super::head;
use super::media;
use super::payload::{self, BodyFormat};
use crate::action::{self, Destination, HttpRequest, Provider, destination};
use crate::head::{HeadError, check_method, check_query};
use crate::net::Body;
use crate::net::body::{
    Held, HoldError, Opening, hold_whole, map_trailers, open, resume, with_stall_timeout,
};
use crate::net::memory::Reservation;
use crate::path::{Path, PathError};

/// Limits for a request's body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum size of a body held in memory, in bytes.
    pub max_body: usize,
    /// Timeout for reading such a body.
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body: 1 << 20, body_timeout: Duration::from_secs(30) }
    }
}

/// A request that was parsed unambiguously.
#[derive(Debug)]
pub struct Inbound {
    /// What policies see.
    pub judged: HttpRequest,
    /// The path to forward, in the form that the provider's host expects.
    pub path: String,
    /// The query to forward, as sent.
    pub query: Option<String>,
    /// The headers to forward, without credentials.
    pub headers: HeaderMap,
    /// The body: the very bytes that policies saw, or a stream that is not read.
    pub body: Body,
    /// The body's bytes, where it is held in memory.
    pub held: Option<Bytes>,
}

/// Why a request is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboundError {
    /// See [`PathError`].
    #[error("{0}")]
    Path(#[from] PathError),
    /// A signed path that has expired.
    #[error("the signed path has expired: ask the provider for a new URL")]
    Expired,
    /// An invalid signed path.
    #[error("{0}")]
    Signed(&'static str),
    /// See [`HeadError`].
    #[error("{0}")]
    Head(#[from] HeadError),
    /// A form that is not UTF-8.
    #[error("the form is not UTF-8")]
    Form,
    /// A character encoding that is not supported.
    #[error("a body that has to be read must be UTF-8, and be announced as nothing else")]
    Charset,
    /// The body has a content encoding, but has to be read.
    #[error("a body that has to be read must come without Content-Encoding")]
    Encoded,
    /// As `Encoded`, for AWS SDKs, which compress by default.
    #[error(
        "a body that has to be read must come without Content-Encoding; AWS's SDKs do not compress \
         where AWS_DISABLE_REQUEST_COMPRESSION is true"
    )]
    Compressed,
    /// Not JSON, or JSON that parsers read differently.
    #[error("the body is not JSON that all parsers read alike: {0}")]
    Json(String),
    /// See [`HoldError`].
    #[error("{0}")]
    Body(#[from] HoldError),
    /// No upstream is configured for the provider.
    #[error("{0} has no upstream; configure `providers.{0}.upstream`")]
    NoUpstream(&'static str),
    /// The agent's AWS signature is authentic but not sufficient.
    #[error("{0}")]
    AwsSignature(String),
    /// The request cannot be signed for AWS.
    #[error("{0}")]
    SigningError(String),
    /// See [`NoCredential`].
    #[error("{0}")]
    NoCredential(#[from] NoCredential),
}

impl InboundError {
    /// The status and the error code of the response.
    #[must_use]
    pub fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Path(PathError::TooLong) => (StatusCode::URI_TOO_LONG, "path_too_long"),
            Self::Path(_) => (StatusCode::BAD_REQUEST, "invalid_path"),
            Self::NoUpstream(_) | Self::NoCredential(_) | Self::SigningError(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not_configured")
            }
            Self::Expired => (StatusCode::FORBIDDEN, "signed_path_expired"),
            Self::AwsSignature(_) => (StatusCode::FORBIDDEN, "signature_refused"),
            Self::Signed(_) => (StatusCode::BAD_REQUEST, "invalid_signed_path"),
            Self::Head(fault @ HeadError::Method(_)) => {
                (StatusCode::METHOD_NOT_ALLOWED, fault.code())
            }
            Self::Head(fault) => (StatusCode::BAD_REQUEST, fault.code()),
            Self::Encoded | Self::Compressed | Self::Charset => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded_body")
            }
            Self::Json(_) | Self::Form => (StatusCode::BAD_REQUEST, "invalid_body"),
            Self::Body(error) => error.answer(),
        }
    }
}

/// Parses a request. `raw_path` is the path below the provider's name, as sent. Takes the
/// headers out of `parts`.
///
/// # Errors
/// See [`InboundError`].
pub async fn read(
    provider: Provider,
    raw_path: &str,
    region: Option<&str>,
    parts: &mut Parts,
    body: (Body, Reservation),
    limits: &Limits,
) -> Result<Inbound, InboundError> {
    head::check(provider, parts)?;
    let path = Path::parse(provider, raw_path)?;
    let query = parts.uri.query();
    check_query(query.unwrap_or_default())?;
    let Destination { host, path: judged_path } = destination(provider, path.judged(), region);
    // Policies see the host.
    let is_file = provider.file_at(path.judged()).is_some();
    let judged_path = if is_file { path.judged().into() } else { judged_path };
    check_method(parts.method.as_str(), is_file)?;
    let forwarded = destination(provider, path.forwarded(), region).path.into_owned();
    let host = host.map(std::borrow::Cow::into_owned);
    let is_upload = media::is_upload(
        provider,
        &parts.method,
        host.as_deref(),
        &forwarded,
        query.unwrap_or_default(),
    );
    let method = parts.method.as_str().to_owned();
    let query = query.map(str::to_owned);
    // From here on only forwarded headers matter.
    let mut headers = head::forwarded(std::mem::take(&mut parts.headers));
    let format = match payload::format(provider, host.as_deref(), &headers)? {
        _ if is_upload => BodyFormat::Nothing,
        format => format,
    };
    let taken = read_body(format, &mut headers, body, limits).await;
    let taken = taken.map_err(|fault| match fault {
        InboundError::Encoded if provider == Provider::Aws => InboundError::Compressed,
        fault => fault,
    })?;
    let judged = HttpRequest {
        provider,
        method,
        path: judged_path.into_owned(),
        host,
        is_file,
        query: form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        headers: head::judged(&headers),
        body: taken.judged,
    };
    Ok(Inbound { judged, path: forwarded, query, headers, body: taken.body, held: taken.held })
}

/// A body, and what policies see of it.
struct ReadBody {
    judged: action::Body,
    body: Body,
    held: Option<Bytes>,
}

async fn read_body(
    format: BodyFormat,
    headers: &mut HeaderMap,
    (body, reservation): (Body, Reservation),
    limits: &Limits,
) -> Result<ReadBody, InboundError> {
    // The parsed length, whatever its notation.
    match body.size_hint().exact() {
        Some(length) if headers.contains_key(CONTENT_LENGTH) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        _ => drop(headers.remove(CONTENT_LENGTH)),
    }
    if body.is_end_stream() {
        return Ok(ReadBody { judged: action::Body::Empty, body, held: Some(Bytes::new()) });
    }
    if format == BodyFormat::Nothing {
        let body = streamed(body, headers, limits);
        return Ok(ReadBody { judged: action::Body::Opaque, body, held: None });
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(InboundError::Encoded);
    }
    if format == BodyFormat::Fields {
        return read_form(headers, (body, reservation), limits).await;
    }
    let held = hold_whole((body, Some(reservation)), limits.max_body, limits.body_timeout).await?;
    let judged = payload::parse_body(format, headers, &held.bytes)?;
    let bytes = held.bytes.clone();
    Ok(ReadBody { judged, body: held_body(held, headers), held: Some(bytes) })
}

/// A multipart form: held up to the limit, and checked while the rest streams.
async fn read_form(
    headers: &mut HeaderMap,
    body: (Body, Reservation),
    limits: &Limits,
) -> Result<ReadBody, InboundError> {
    let (begun, rest) = match open(body, limits.max_body, limits.body_timeout).await? {
        Opening::Whole(held) => {
            let judged = payload::parse_body(BodyFormat::Fields, headers, &held.bytes)?;
            let bytes = held.bytes.clone();
            return Ok(ReadBody { judged, body: held_body(held, headers), held: Some(bytes) });
        }
        Opening::Part(begun, rest) => (begun, rest),
    };
    let mut fields = form::Fields::of(headers)?;
    fields.push(&begun)?;
    let rest = form::checked(rest, fields);
    let body = streamed(resume(begun, rest), headers, limits);
    Ok(ReadBody { judged: action::Body::Opaque, body, held: None })
}

/// A body that nothing reads, with the trailers to forward. It fails if it stalls.
pub(super) fn streamed(body: Body, headers: &HeaderMap, limits: &Limits) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let request_headers = headers.clone();
    let body = map_trailers(body, move |trailers| head::trailers(trailers, &request_headers));
    with_stall_timeout(body, limits.body_timeout)
}

/// The bytes that were judged, with the trailers to forward.
fn held_body(held: Held, headers: &mut HeaderMap) -> Body {
    let trailers = held.trailers.map(|trailers| head::trailers(trailers, headers));
    let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) else {
        headers.remove(TRAILER);
        return Body::from(held.bytes);
    };
    // HTTP/1.1 sends only announced trailers.
    let names: Vec<&str> = trailers.keys().map(http::HeaderName::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        headers.insert(TRAILER, names);
    }
    headers.remove(CONTENT_LENGTH);
    Held { bytes: held.bytes, trailers: Some(trailers) }.into_body()
}
