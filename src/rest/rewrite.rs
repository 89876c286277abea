//! Rewrites absolute URLs in responses that would let the client bypass the gate, so that
//! they lead through it. No other byte of a response changes.
//!
//! A small response with a `Content-Length` is held in memory, where the budget allows, so
//! that its new length is known; all others are scanned as they stream.

mod rules;
mod scan;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header::{
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, Entry,
    LINK, LOCATION,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;

use self::rules::Rules;
pub use self::rules::UrlMappings;
use self::scan::{Edit, Scanner};
use super::media::ExpectedBody;
use super::preauthenticated_urls;
use super::reply::{self, Dialect};
use super::ticket::Signer;
use super::upstream::Origin;
use crate::action::Provider;
use crate::decision_headers;
use crate::net::Body;
use crate::net::body::{Collected, Held};
use crate::net::memory::{Reservation, SenderBudget};

/// Maximum size of a response held in memory, in bytes. Larger ones lose their
/// `Content-Length`.
pub const MAX_HELD: usize = 1 << 20;

/// Headers with one URL, which clients follow.
const URL_HEADERS: [HeaderName; 5] = [
    LOCATION,
    CONTENT_LOCATION,
    HeaderName::from_static("operation-location"),
    HeaderName::from_static("x-goog-upload-url"),
    HeaderName::from_static("x-goog-upload-control-url"),
];

/// Digests of the body, which editing invalidates. An `ETag` is kept: it names a version at the
/// provider, and is sent back in `If-Match`.
const DIGEST_HEADERS: [&str; 5] =
    ["content-md5", "digest", "content-digest", "repr-digest", "x-goog-hash"];

/// Response extension: the body is held whole, so it cannot break off any more.
#[derive(Debug, Clone, Copy)]
pub struct Buffered;

/// Response extension: the gate's response replaces the provider's, for this reason.
#[derive(Debug, Clone, Copy)]
pub struct GatewayReply(pub &'static str);

/// Rewrites the response to one request.
#[derive(Debug, Clone)]
pub struct Rewriter {
    rules: Rules,
    /// What kind of body was requested.
    expected_body: ExpectedBody,
    /// Whether the body may contain pre-authenticated URLs.
    may_hold_secret_urls: bool,
    /// As `may_hold_secret_urls`, for multipart bodies and event streams.
    may_hold_secret_urls_in_parts: bool,
    /// The memory budget for a held response.
    answer_memory: Option<SenderBudget>,
}

impl Rewriter {
    /// The rules for the response to a request to `provider`, whose base URL the client sees as
    /// `base` (`http://gate:8100/proxy/github`). A body is scanned unless `expected_body` is a
    /// file.
    #[must_use]
    pub fn new(
        provider: Provider,
        mappings: Arc<UrlMappings>,
        base: &str,
        signer: Option<Signer>,
        expected_body: ExpectedBody,
    ) -> Self {
        let reads_body = expected_body != ExpectedBody::File;
        let may_hold_secret_urls = reads_body && preauthenticated_urls::are_in_bodies(provider);
        let may_hold_secret_urls_in_parts =
            reads_body && preauthenticated_urls::are_anywhere(provider);
        let rules =
            Rules::new(provider, mappings, base, signer, expected_body == ExpectedBody::Api);
        Self {
            rules,
            expected_body,
            may_hold_secret_urls,
            may_hold_secret_urls_in_parts,
            answer_memory: None,
        }
    }

    /// Counts held responses in `budget`.
    #[must_use]
    pub fn counted(self, budget: SenderBudget) -> Self {
        Self { answer_memory: Some(budget), ..self }
    }

    /// Rewrites URLs in headers and JSON body of the response of `origin` to a request by
    /// `method`. A response that cannot be read is replaced by an error in `dialect`.
    ///
    /// # Errors
    /// If a held body breaks off; nothing was forwarded then.
    pub async fn answer(
        self,
        method: &Method,
        (origin, dialect): (&Origin, Dialect),
        response: Response<Body>,
    ) -> Result<Response<Body>, axum::Error> {
        let (mut parts, body) = response.into_parts();
        if self.may_hide_secret_urls(&parts.headers) {
            return Ok(unreadable(dialect, &parts.headers));
        }
        self.headers(&mut parts.headers, origin);
        // An excerpt of a document cannot be scanned.
        let is_whole = parts.status != StatusCode::PARTIAL_CONTENT;
        if !(self.is_json(&parts.headers) && is_whole && !is_encoded(&parts.headers)) {
            return Ok(Response::from_parts(parts, body));
        }
        if *method == Method::HEAD {
            // They describe the body before rewriting, which a GET would not return (RFC 9110,
            // section 8.6).
            remove_digests(&mut parts.headers);
            parts.headers.remove(CONTENT_LENGTH);
            return Ok(Response::from_parts(parts, body));
        }
        if matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Response::from_parts(parts, body));
        }
        let mut reservation = self.answer_memory.as_ref().map(SenderBudget::reservation);
        let fits = |length| {
            reservation.as_mut().is_none_or(|reservation| reservation.try_reserve(length, MAX_HELD))
        };
        let is_held = small_length(&parts.headers).is_some_and(fits);
        let scanned = ScannedBody::new(Scanner::new(self.rules), body);
        if is_held {
            return held(parts, scanned, (reservation, self.answer_memory)).await;
        }
        remove_digests(&mut parts.headers);
        parts.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(parts, scanned.into_body()))
    }

    /// Whether the body may contain a pre-authenticated URL and cannot be scanned for it.
    fn may_hide_secret_urls(&self, headers: &HeaderMap) -> bool {
        self.may_hold_secret_urls && is_encoded(headers) && self.is_json(headers)
            || self.may_hold_secret_urls_in_parts && is_multipart_or_stream(headers)
    }

    /// Whether it is JSON to be scanned.
    fn is_json(&self, headers: &HeaderMap) -> bool {
        let text = |name: HeaderName| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_ascii_lowercase()
        };
        let kind = text(CONTENT_TYPE);
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_json = kind == "text/json" || kind == "application/json" || kind.ends_with("+json");
        let is_wanted = match self.expected_body {
            // GitHub returns files as `application/vnd.github.raw+json`.
            ExpectedBody::Api => !kind.contains("raw"),
            ExpectedBody::FileOrApi => true,
            ExpectedBody::File => false,
        };
        is_json && is_wanted && !text(CONTENT_DISPOSITION).starts_with("attachment")
    }

    fn headers(&self, headers: &mut HeaderMap, origin: &Origin) {
        for name in URL_HEADERS {
            edit(headers, &name, |value| {
                // A client would resolve a relative URL against the gate.
                let absolute = origin.resolve(value);
                let url = absolute.as_deref().unwrap_or(value);
                self.rules.in_location(url).map(|edit| apply_edit(url, edit))
            });
        }
        edit(headers, &LINK, |value| self.link(value));
    }

    /// `<url>; rel="next", <url>; rel="last"` (RFC 8288, section 3).
    fn link(&self, value: &str) -> Option<String> {
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('<') {
            let (url, behind) = after.split_once('>')?;
            let edit = self.rules.api(url);
            out.push_str(before);
            out.push('<');
            out.push_str(&edit.map_or_else(|| url.to_owned(), |edit| apply_edit(url, edit)));
            out.push('>');
            rest = behind;
        }
        out.push_str(rest);
        (out != value).then_some(out)
    }
}

fn apply_edit(url: &str, edit: Edit) -> String {
    match edit {
        Edit::Whole(to) => to,
        Edit::Prefix { until, to } => format!("{to}{}", url.get(until..).unwrap_or_default()),
    }
}

/// Changes the values of `name`, keeping their order.
fn edit(headers: &mut HeaderMap, name: &HeaderName, change: impl Fn(&str) -> Option<String>) {
    let Entry::Occupied(mut values) = headers.entry(name) else { return };
    for value in values.iter_mut() {
        let changed = value.to_str().ok().and_then(&change);
        if let Some(changed) = changed.and_then(|text| HeaderValue::from_str(&text).ok()) {
            *value = changed;
        }
    }
}

/// Holds a response whose length the provider declared, so that the new one can be declared.
async fn held(
    mut parts: Parts,
    mut scanned: ScannedBody,
    (reservation, memory): (Option<Reservation>, Option<SenderBudget>),
) -> Result<Response<Body>, axum::Error> {
    let mut whole = scanned.whole().await?;
    if let Some(reservation) = reservation {
        whole.held.bytes = reservation.attach(whole.held.bytes);
    }
    if whole.changed {
        remove_digests(&mut parts.headers);
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.held.bytes.len()));
    }
    parts.extensions.insert(Buffered);
    let answer = Response::from_parts(parts, whole.held.into_body());
    Ok(match memory {
        Some(memory) => decision_headers::deliver(answer, memory.whole()),
        None => answer,
    })
}

fn remove_digests(headers: &mut HeaderMap) {
    DIGEST_HEADERS.iter().for_each(|name| drop(headers.remove(*name)));
}

/// Whether it consists of several documents, as clients may ask for (GraphQL's `@defer`).
fn is_multipart_or_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.trim_start().to_ascii_lowercase();
    kind.starts_with("multipart/") || kind.starts_with("text/event-stream")
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity")
}

/// Replaces a response that is encoded although `identity` was requested, or in parts, and
/// may contain a pre-authenticated URL.
fn unreadable(dialect: Dialect, headers: &HeaderMap) -> Response<Body> {
    let detail = "the provider encoded or parted an answer that has to be read";
    let body = json!({ "error": "proxy_error", "detail": detail });
    let id = headers.get(decision_headers::DECISION).and_then(|id| id.to_str().ok());
    let mut answer = reply::answer(dialect, StatusCode::BAD_GATEWAY, body, id);
    answer.extensions_mut().insert(GatewayReply(detail));
    answer
}

/// The declared length, where it is at most [`MAX_HELD`].
fn small_length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    (length <= MAX_HELD).then_some(length)
}

/// A body that is scanned as it streams.
struct ScannedBody {
    scanner: Scanner<Rules>,
    body: Body,
    /// The trailers.
    trailers: Option<Frame<Bytes>>,
    over: bool,
}

impl ScannedBody {
    fn new(scanner: Scanner<Rules>, body: Body) -> Self {
        Self { scanner, body, trailers: None, over: false }
    }

    /// The next frame, rewritten.
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, axum::Error>> {
        if self.over {
            return self.trailers.take().map(Ok);
        }
        let mut out = Vec::new();
        match self.body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    out.reserve(data.len());
                    self.scanner.push(&data, &mut out);
                }
                Err(trailers) => {
                    self.trailers = Some(trailers);
                    self.ends(&mut out);
                }
            },
            // The client must see that it broke off.
            Some(Err(error)) => {
                self.over = true;
                return Some(Err(error));
            }
            None => self.ends(&mut out),
        }
        Some(Ok(Frame::data(out.into())))
    }

    fn ends(&mut self, out: &mut Vec<u8>) {
        self.over = true;
        self.scanner.finish(out);
    }

    /// Reads the whole body; whether it changed is known then.
    async fn whole(&mut self) -> Result<Whole, axum::Error> {
        let mut out = Collected::default();
        let mut trailers = None;
        while let Some(frame) = self.next().await {
            match frame?.into_data() {
                Ok(data) => out.push(data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let held = Held { bytes: out.bytes(), trailers };
        Ok(Whole { held, changed: self.scanner.changed() })
    }

    fn into_body(self) -> Body {
        let frames = stream::unfold(self, |mut scanned| async move {
            let frame = scanned.next().await?;
            Some((frame, scanned))
        });
        Body::new(StreamBody::new(frames))
    }
}

/// A body that was scanned.
struct Whole {
    held: Held,
    changed: bool,
}

#[cfg(test)]
mod tests;
