//! A request as it came, read into what is judged and what is forwarded. What
//! upstream could read otherwise than the gate does is refused here.

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
use super::payload::{self, Reads};
use crate::action::{self, Destination, HttpRequest, Provider, destination};
use crate::head::{HeadFault, check_method, check_query};
use crate::net::Body;
use crate::net::body::{Held, HoldError, Opening, hold_whole, map_trailers, open, patient, resume};
use crate::net::memory::Reservation;
use crate::path::{Path, PathFault};

/// Limits of a request's body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest body that is held, in bytes.
    pub max_body: usize,
    /// How long a held body may take.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body: 1 << 20, patience: Duration::from_secs(30) }
    }
}

/// A request that was read for certain.
#[derive(Debug)]
pub struct Inbound {
    /// What is judged.
    pub judged: HttpRequest,
    /// The path to be forwarded, in the form that the provider's host takes.
    pub path: String,
    /// The query to be forwarded, as it was sent.
    pub query: Option<String>,
    /// The headers to be forwarded, credentials aside.
    pub headers: HeaderMap,
    /// The body: the very bytes that were judged, or a stream that nothing reads.
    pub body: Body,
    /// The bytes, where they are held.
    pub held: Option<Bytes>,
}

/// Why a request is not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// See [`PathFault`].
    #[error("{0}")]
    Path(#[from] PathFault),
    /// A signed path, too late.
    #[error("the signed path has expired: ask the provider for a new URL")]
    Expired,
    /// A signed path that cannot be followed.
    #[error("{0}")]
    Signed(&'static str),
    /// See [`HeadFault`].
    #[error("{0}")]
    Head(#[from] HeadFault),
    /// A form that is not UTF-8.
    #[error("the form is not UTF-8")]
    Form,
    /// An encoding of characters that is not read.
    #[error("a body that has to be read must be UTF-8, and be announced as nothing else")]
    Charset,
    /// The body is encoded, and has to be read.
    #[error("a body that has to be read must come without Content-Encoding")]
    Encoded,
    /// The same, of a client of AWS's, which has done so by itself.
    #[error(
        "a body that has to be read must come without Content-Encoding; AWS's SDKs do not compress \
         where AWS_DISABLE_REQUEST_COMPRESSION is true"
    )]
    Compressed,
    /// Not JSON that all parsers read alike.
    #[error("the body is not JSON that all parsers read alike: {0}")]
    Json(String),
    /// See [`HoldError`].
    #[error("{0}")]
    Body(#[from] HoldError),
    /// The configuration does not say where the provider is.
    #[error("{0} has no upstream; configure `providers.{0}.upstream`")]
    NoUpstream(&'static str),
    /// An AWS signature of the agent's own that is not enough.
    #[error("{0}")]
    AwsSignature(String),
    /// No signature can be made.
    #[error("{0}")]
    CannotSign(String),
    /// See [`NoCredential`].
    #[error("{0}")]
    NoCredential(#[from] NoCredential),
}

impl Fault {
    /// The status and the code that it is answered with.
    #[must_use]
    pub fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Path(PathFault::TooLong) => (StatusCode::URI_TOO_LONG, "path_too_long"),
            Self::Path(_) => (StatusCode::BAD_REQUEST, "invalid_path"),
            Self::NoUpstream(_) | Self::NoCredential(_) | Self::CannotSign(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not_configured")
            }
            Self::Expired => (StatusCode::FORBIDDEN, "signed_path_expired"),
            Self::AwsSignature(_) => (StatusCode::FORBIDDEN, "signature_refused"),
            Self::Signed(_) => (StatusCode::BAD_REQUEST, "invalid_signed_path"),
            Self::Head(fault @ HeadFault::Method(_)) => {
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

/// Reads a request whose path, `raw_path`, is as the client wrote it below the
/// provider's name. The headers are taken out of `parts`.
///
/// # Errors
/// See [`Fault`].
pub async fn read(
    provider: Provider,
    raw_path: &str,
    region: Option<&str>,
    parts: &mut Parts,
    body: (Body, Reservation),
    limits: &Limits,
) -> Result<Inbound, Fault> {
    head::check(provider, parts)?;
    let path = Path::parse(provider, raw_path)?;
    let query = parts.uri.query();
    check_query(query.unwrap_or_default())?;
    let Destination { host, path: judged_path } = destination(provider, path.judged(), region);
    // Policies see which host it is on.
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
    // From here on only what goes upstream is looked at.
    let mut headers = head::forwarded(std::mem::take(&mut parts.headers));
    let reads = match payload::reads(provider, host.as_deref(), &headers)? {
        _ if is_upload => Reads::Nothing,
        reads => reads,
    };
    let taken = take_body(reads, &mut headers, body, limits).await;
    let taken = taken.map_err(|fault| match fault {
        Fault::Encoded if provider == Provider::Aws => Fault::Compressed,
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

/// A body, and what is judged of it.
struct Taken {
    judged: action::Body,
    body: Body,
    held: Option<Bytes>,
}

async fn take_body(
    reads: Reads,
    headers: &mut HeaderMap,
    (body, reservation): (Body, Reservation),
    limits: &Limits,
) -> Result<Taken, Fault> {
    // As it is, however it was written.
    match body.size_hint().exact() {
        Some(length) if headers.contains_key(CONTENT_LENGTH) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        _ => drop(headers.remove(CONTENT_LENGTH)),
    }
    if body.is_end_stream() {
        return Ok(Taken { judged: action::Body::Empty, body, held: Some(Bytes::new()) });
    }
    if reads == Reads::Nothing {
        let body = streamed(body, headers, limits);
        return Ok(Taken { judged: action::Body::Opaque, body, held: None });
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Fault::Encoded);
    }
    if reads == Reads::Fields {
        return take_form(headers, (body, reservation), limits).await;
    }
    let held = hold_whole((body, Some(reservation)), limits.max_body, limits.patience).await?;
    let judged = payload::judged(reads, headers, &held.bytes)?;
    let bytes = held.bytes.clone();
    Ok(Taken { judged, body: held_body(held, headers), held: Some(bytes) })
}

/// A form with files: held as far as bodies are held, and looked at further as it
/// streams.
async fn take_form(
    headers: &mut HeaderMap,
    body: (Body, Reservation),
    limits: &Limits,
) -> Result<Taken, Fault> {
    let (begun, rest) = match open(body, limits.max_body, limits.patience).await? {
        Opening::Whole(held) => {
            let judged = payload::judged(Reads::Fields, headers, &held.bytes)?;
            let bytes = held.bytes.clone();
            return Ok(Taken { judged, body: held_body(held, headers), held: Some(bytes) });
        }
        Opening::Part(begun, rest) => (begun, rest),
    };
    let mut fields = form::Fields::of(headers)?;
    fields.push(&begun)?;
    let rest = form::checked(rest, fields);
    let body = streamed(resume(begun, rest), headers, limits);
    Ok(Taken { judged: action::Body::Opaque, body, held: None })
}

/// A body that nothing reads, with those trailers that go on, for as long as
/// something of it comes.
pub(super) fn streamed(body: Body, headers: &HeaderMap, limits: &Limits) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let said = headers.clone();
    let body = map_trailers(body, move |trailers| head::trailers(trailers, &said));
    patient(body, limits.patience)
}

/// The very bytes that were judged, with those trailers that go on.
fn held_body(held: Held, headers: &mut HeaderMap) -> Body {
    let trailers = held.trailers.map(|trailers| head::trailers(trailers, headers));
    let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) else {
        headers.remove(TRAILER);
        return Body::from(held.bytes);
    };
    // HTTP/1.1 sends those that were announced.
    let names: Vec<&str> = trailers.keys().map(http::HeaderName::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        headers.insert(TRAILER, names);
    }
    headers.remove(CONTENT_LENGTH);
    Held { bytes: held.bytes, trailers: Some(trailers) }.into_body()
}
