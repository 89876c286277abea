//! A request as it came, read into what is judged and what is forwarded. What
//! upstream could read otherwise than the gate does is refused here.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::credentials::NoCredential;
use super::identify::{AGENT_KEY, MASTER_KEY};
use super::media;
use super::normalize::{Path, PathFault};
use super::route::{Destination, destination};
use crate::action::{self, HttpRequest, Provider};
use crate::json;
use crate::net::Body;
use crate::net::body::{HoldError, hold};
use crate::net::sniff::TwoLengths;

/// What is put up with.
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
    /// A method that is not HTTP's own, or no business of a proxy's.
    #[error("the method `{0}` is not passed on")]
    Method(String),
    /// A signed path, too late.
    #[error("the signed path has expired: ask the provider for a new URL")]
    Expired,
    /// A signed path that cannot be followed.
    #[error("{0}")]
    Signed(&'static str),
    /// The target is not a path.
    #[error("the request target is not a path")]
    Target,
    /// A header given more than once, or two that contradict each other.
    #[error("{0}")]
    Header(String),
    /// Something asks upstream to take the request for one of another method.
    #[error("`{0}` asks upstream to take the request for one of another method")]
    Override(String),
    /// The body is encoded, and has to be read.
    #[error("a body that has to be read must come without Content-Encoding")]
    Encoded,
    /// Not JSON that all parsers read alike.
    #[error("the body is not JSON that all parsers read alike: {0}")]
    Json(String),
    /// See [`HoldError`].
    #[error("{0}")]
    Body(#[from] HoldError),
    /// The configuration does not say where the provider is.
    #[error("where is {0}? configure `providers.{0}.upstream`")]
    NoUpstream(&'static str),
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
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::NoUpstream(_) | Self::NoCredential(_) | Self::CannotSign(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not_configured")
            }
            Self::Expired => (StatusCode::FORBIDDEN, "signed_path_expired"),
            Self::Signed(_) => (StatusCode::BAD_REQUEST, "invalid_signed_path"),
            Self::Target => (StatusCode::BAD_REQUEST, "invalid_target"),
            Self::Header(_) => (StatusCode::BAD_REQUEST, "invalid_header"),
            Self::Override(_) => (StatusCode::BAD_REQUEST, "method_override"),
            Self::Encoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded_body"),
            Self::Json(_) => (StatusCode::BAD_REQUEST, "invalid_body"),
            Self::Body(HoldError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
            }
            Self::Body(HoldError::Slow { .. }) => (StatusCode::REQUEST_TIMEOUT, "slow_body"),
            Self::Body(HoldError::Broken(_)) => (StatusCode::BAD_REQUEST, "broken_body"),
        }
    }
}

/// Headers that ask for another method or another path upstream.
const OVERRIDES: [&str; 5] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Parameters that ask for another method, in lower case.
const OVERRIDE_PARAMETERS: [&str; 5] =
    ["_method", "_httpmethod", "$httpmethod", "x-http-method-override", "x-http-method"];

/// Headers that must not be given twice.
const SINGLE: [HeaderName; 4] = [HOST, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING];

/// Headers that hold for one connection only (RFC 9110, section 7.6.1), and
/// those that would tell upstream who stands behind the gate.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads a request whose path, `raw_path`, is as the client wrote it below the
/// provider's name.
///
/// # Errors
/// See [`Fault`].
pub async fn read(
    provider: Provider,
    raw_path: &str,
    region: Option<&str>,
    parts: http::request::Parts,
    body: Body,
    limits: &Limits,
) -> Result<Inbound, Fault> {
    check_head(&parts)?;
    let path = Path::parse(provider, raw_path)?;
    let query: Vec<(String, String)> = form(parts.uri.query().unwrap_or_default());
    check_overrides(&parts.headers, parts.uri.query().unwrap_or_default())?;
    let Destination { host, path: judged_path } = destination(provider, path.judged(), region);
    let forwarded = destination(provider, path.forwarded(), region).path.into_owned();
    let host = host.map(std::borrow::Cow::into_owned);
    let query_text = parts.uri.query().unwrap_or_default();
    let is_file =
        media::is_upload(provider, &parts.method, host.as_deref(), &forwarded, query_text);
    let (judged_body, body, held) = match reads(provider, host.as_deref(), &parts.headers) {
        _ if is_file => (action::Body::Opaque, body, None),
        Reads::Nothing => (action::Body::Opaque, body, None),
        _ if http_body::Body::is_end_stream(&body) => {
            (action::Body::Empty, body, Some(Bytes::new()))
        }
        kind => {
            if parts.headers.contains_key(CONTENT_ENCODING) {
                return Err(Fault::Encoded);
            }
            let held = hold(body, limits.max_body, limits.patience).await?;
            (judged_body(kind, &held)?, Body::from(held.clone()), Some(held))
        }
    };
    let judged = HttpRequest {
        provider,
        method: parts.method.as_str().to_owned(),
        path: judged_path.into_owned(),
        host,
        query,
        headers: judged_headers(&parts.headers),
        body: judged_body,
    };
    Ok(Inbound {
        judged,
        path: forwarded,
        query: parts.uri.query().map(str::to_owned),
        headers: end_to_end(parts.headers),
        body,
        held,
    })
}

pub(super) fn check_head(parts: &http::request::Parts) -> Result<(), Fault> {
    let passes = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if !passes.contains(&parts.method) {
        return Err(Fault::Method(parts.method.to_string()));
    }
    // HTTP/2 always names the authority; in HTTP/1.1 only a request to a
    // forward proxy does.
    if parts.version < http::Version::HTTP_2 && parts.uri.authority().is_some() {
        return Err(Fault::Target);
    }
    let headers = &parts.headers;
    for name in &SINGLE {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(Fault::Header(format!("the header `{name}` is given twice")));
        }
    }
    let both = headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING);
    if both || parts.extensions.get::<TwoLengths>().is_some() {
        let what = "Content-Length and Transfer-Encoding contradict each other";
        return Err(Fault::Header(what.to_owned()));
    }
    let control = |value: &&http::HeaderValue| {
        value.as_bytes().iter().any(|byte| *byte < 0x20 && *byte != b'\t' || *byte == 0x7f)
    };
    match headers.values().find(control) {
        Some(_) => Err(Fault::Header("a header holds a control character".to_owned())),
        None => Ok(()),
    }
}

pub(super) fn check_overrides(headers: &HeaderMap, query: &str) -> Result<(), Fault> {
    if let Some(name) = OVERRIDES.iter().find(|name| headers.contains_key(**name)) {
        return Err(Fault::Override((*name).to_owned()));
    }
    check_parameters(query)
}

/// Some servers take `;` for `&`.
fn check_parameters(form: &str) -> Result<(), Fault> {
    for part in form.split(['&', ';']) {
        for (name, _) in form_urlencoded::parse(part.as_bytes()) {
            if OVERRIDE_PARAMETERS.iter().any(|other| name.trim().eq_ignore_ascii_case(other)) {
                return Err(Fault::Override(name.into_owned()));
            }
        }
    }
    Ok(())
}

/// What has to be read of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Nothing,
    Json,
    Form,
    Text,
    /// Its type is not given: whatever it looks like.
    Any,
}

fn reads(provider: Provider, host: Option<&str>, headers: &HeaderMap) -> Reads {
    // Objects of any size and type, judged by method and path.
    if provider == Provider::Aws && host.is_some_and(|host| host.starts_with("s3.")) {
        return Reads::Nothing;
    }
    // The others are signed over their bodies.
    if provider == Provider::Aws && !is_json_or_form(headers) {
        return Reads::Any;
    }
    let Some(kind) = headers.get(CONTENT_TYPE) else { return Reads::Any };
    let Ok(kind) = kind.to_str() else { return Reads::Any };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "" => Reads::Any,
        "application/x-www-form-urlencoded" => Reads::Form,
        "application/graphql" | "multipart/mixed" => Reads::Text,
        _ if kind.ends_with("json") || kind.contains("/x-amz-json") => Reads::Json,
        _ if kind.starts_with("text/") || kind.ends_with("xml") => Reads::Any,
        _ => Reads::Nothing,
    }
}

fn is_json_or_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    ["json", "x-amz-json", "x-www-form-urlencoded"].iter().any(|part| kind.contains(part))
}

fn judged_body(reads: Reads, held: &Bytes) -> Result<action::Body, Fault> {
    let text = || std::str::from_utf8(held).ok().map(str::to_owned);
    let as_text = || text().map_or(action::Body::Opaque, action::Body::Text);
    let looks_like_json = || {
        let first = held.iter().find(|byte| !byte.is_ascii_whitespace());
        matches!(first, Some(b'{' | b'['))
    };
    if held.is_empty() {
        return Ok(action::Body::Empty);
    }
    Ok(match reads {
        Reads::Nothing => action::Body::Opaque,
        Reads::Json => match json::parse(held) {
            Ok(value) => action::Body::Json(value),
            Err(error) => return Err(Fault::Json(error.to_string())),
        },
        Reads::Any if looks_like_json() => {
            json::parse(held).map_or_else(|_| as_text(), action::Body::Json)
        }
        Reads::Form => {
            if let Some(form) = text() {
                check_parameters(&form)?;
            }
            as_text()
        }
        Reads::Any | Reads::Text => as_text(),
    })
}

fn form(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// What policies may look at: everything but keys and credentials.
pub(super) fn judged_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = headers.iter().filter(|(name, _)| !is_secret(name));
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    shown.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn is_secret(name: &HeaderName) -> bool {
    matches!(name.as_str(), AGENT_KEY | MASTER_KEY | "authorization" | "cookie")
}

/// The headers that go all the way.
pub(super) fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let takes_trailers = headers.get("te").is_some_and(|te| te == "trailers");
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert("te", http::HeaderValue::from_static("trailers"));
    }
    for name in [HOST.as_str(), AGENT_KEY, MASTER_KEY] {
        headers.remove(name);
    }
    headers
}
