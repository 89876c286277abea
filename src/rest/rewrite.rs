//! Absolute URLs in answers that would lead the client around the gate: they
//! are made to lead back through it. Nothing else of an answer changes by a byte.
//!
//! A small answer that told its length is held where memory allows, so that it can tell
//! it again; all others are looked at while they stream, whatever their size.

mod rules;
mod scan;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header::{
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, Entry,
    LINK, LOCATION,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;

use self::rules::Rules;
pub use self::rules::Ways;
use self::scan::{Edit, Scanner};
use super::media::Answer;
use super::preauthenticated_urls;
use super::reply::{self, Dialect};
use super::ticket::Signer;
use super::upstream::Origin;
use crate::action::Provider;
use crate::decision_headers;
use crate::net::Body;
use crate::net::body::{Begun, Held};
use crate::net::memory::SenderBudget;

/// The largest answer that is held, in bytes; larger ones lose their
/// `Content-Length`.
pub const MAX_HELD: usize = 1 << 20;

/// Headers that hold one URL, which leads on.
const LEADS_ON: [HeaderName; 5] = [
    LOCATION,
    CONTENT_LOCATION,
    HeaderName::from_static("operation-location"),
    HeaderName::from_static("x-goog-upload-url"),
    HeaderName::from_static("x-goog-upload-control-url"),
];

/// Headers that say what the bytes were before any of them changed. An `ETag`
/// stays: it names a state at the provider, and goes back there in `If-Match`.
const OF_THE_BYTES: [&str; 5] =
    ["content-md5", "digest", "content-digest", "repr-digest", "x-goog-hash"];

/// An extension of answers that came whole: they cannot break off any more.
#[derive(Debug, Clone, Copy)]
pub struct CameWhole;

/// An extension of answers that are the gate's own, in place of the provider's: why.
#[derive(Debug, Clone, Copy)]
pub struct Instead(pub &'static str);

/// Rewrites the answers to one request.
#[derive(Debug, Clone)]
pub struct Rewriter {
    rules: Rules,
    /// What the body was asked for as.
    asked_for: Answer,
    /// Whether it may hold what the client must not see.
    hides: bool,
    /// Whether it may in any of several texts.
    hides_in_parts: bool,
    /// Where an answer that is held is counted.
    answer_memory: Option<SenderBudget>,
}

impl Rewriter {
    /// The rules for the answer to a request to `provider`, which begins at
    /// `base` (`http://gate:8100/proxy/github`) as the client sees it. A body is
    /// looked at where it was not `asked_for` as a file.
    #[must_use]
    pub fn new(
        provider: Provider,
        ways: Arc<Ways>,
        base: &str,
        signer: Option<Signer>,
        asked_for: Answer,
    ) -> Self {
        let reads_body = asked_for != Answer::File;
        let hides = reads_body && preauthenticated_urls::are_in_bodies(provider);
        let hides_in_parts = reads_body && preauthenticated_urls::are_anywhere(provider);
        let rules = Rules::new(provider, ways, base, signer, asked_for == Answer::Said);
        Self { rules, asked_for, hides, hides_in_parts, answer_memory: None }
    }

    /// The same, with answers that are held counted in `budget`.
    #[must_use]
    pub fn counted(self, budget: SenderBudget) -> Self {
        Self { answer_memory: Some(budget), ..self }
    }

    /// Rewrites the headers that hold URLs, and the members of a JSON body of
    /// the answer that `origin` gave to a request by `method`. What cannot be read is
    /// answered in `dialect`.
    ///
    /// # Errors
    /// Where a body that is held breaks off; nothing was passed on then.
    pub async fn answer(
        self,
        method: &Method,
        (origin, dialect): (&Origin, Dialect),
        response: Response<Body>,
    ) -> Result<Response<Body>, axum::Error> {
        let (mut parts, body) = response.into_parts();
        let is_json = self.is_json(&parts.headers);
        let hides_encoded = self.hides && is_json && is_encoded(&parts.headers);
        if hides_encoded || (self.hides_in_parts && is_in_parts(&parts.headers)) {
            return Ok(unreadable(dialect, &parts.headers));
        }
        self.headers(&mut parts.headers, origin);
        let has_body = *method != Method::HEAD
            && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // Part of a text cannot be read.
        let is_whole = parts.status != StatusCode::PARTIAL_CONTENT;
        if !(is_json && is_whole && !is_encoded(&parts.headers)) {
            return Ok(Response::from_parts(parts, body));
        }
        if !has_body {
            // What it would say of a body that nobody has seen (RFC 9110, section 8.6).
            if *method == Method::HEAD {
                no_longer_true(&mut parts.headers);
                parts.headers.remove(CONTENT_LENGTH);
            }
            return Ok(Response::from_parts(parts, body));
        }
        let mut reservation = self.answer_memory.as_ref().map(SenderBudget::reservation);
        let fits = |length| {
            reservation.as_mut().is_none_or(|reservation| reservation.try_reserve(length, MAX_HELD))
        };
        let is_held = small_length(&parts.headers).is_some_and(fits);
        let mut looked = Looked::new(Scanner::new(self.rules), body);
        // One that told its length is to tell it again.
        if is_held {
            let mut whole = looked.whole().await?;
            if let Some(reservation) = reservation {
                whole.held.bytes = reservation.attach(whole.held.bytes);
            }
            if whole.changed {
                no_longer_true(&mut parts.headers);
                parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.held.bytes.len()));
            }
            parts.extensions.insert(CameWhole);
            let answer = Response::from_parts(parts, whole.held.into_body());
            return Ok(match &self.answer_memory {
                Some(memory) => decision_headers::delivered(answer, memory.whole()),
                None => answer,
            });
        }
        no_longer_true(&mut parts.headers);
        parts.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(parts, looked.into_body()))
    }

    /// Whether it is JSON that is to be looked at.
    fn is_json(&self, headers: &HeaderMap) -> bool {
        let text = |name: HeaderName| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_ascii_lowercase()
        };
        let kind = text(CONTENT_TYPE);
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_json = kind == "text/json" || kind == "application/json" || kind.ends_with("+json");
        let is_wanted = match self.asked_for {
            // GitHub gives files as `application/vnd.github.raw+json`.
            Answer::Said => !kind.contains("raw"),
            Answer::FileOrSaid => true,
            Answer::File => false,
        };
        is_json && is_wanted && !text(CONTENT_DISPOSITION).starts_with("attachment")
    }

    fn headers(&self, headers: &mut HeaderMap, origin: &Origin) {
        for name in LEADS_ON {
            edit(headers, &name, |value| {
                // The client would take it for the gate's.
                let absolute = origin.resolve(value);
                let url = absolute.as_deref().unwrap_or(value);
                self.rules.in_location(url).map(|edit| applied(url, edit))
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
            out.push_str(&edit.map_or_else(|| url.to_owned(), |edit| applied(url, edit)));
            out.push('>');
            rest = behind;
        }
        out.push_str(rest);
        (out != value).then_some(out)
    }
}

fn applied(url: &str, edit: Edit) -> String {
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

fn no_longer_true(headers: &mut HeaderMap) {
    OF_THE_BYTES.iter().for_each(|name| drop(headers.remove(*name)));
}

/// Whether it comes as several texts, as clients may ask for (GraphQL's `@defer`).
fn is_in_parts(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.trim_start().to_ascii_lowercase();
    kind.starts_with("multipart/") || kind.starts_with("text/event-stream")
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity")
}

/// In place of an answer that came encoded although it was asked for as it is, or
/// in parts, and that could hold a pre-authenticated URL.
fn unreadable(dialect: Dialect, headers: &HeaderMap) -> Response<Body> {
    let detail = "the provider encoded or parted an answer that has to be read";
    let body = json!({ "error": "proxy_error", "detail": detail });
    let id = headers.get(decision_headers::DECISION).and_then(|id| id.to_str().ok());
    let mut answer = reply::answer(dialect, StatusCode::BAD_GATEWAY, body, id);
    answer.extensions_mut().insert(Instead(detail));
    answer
}

/// How long it says that it is, where that is little.
fn small_length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    (length <= MAX_HELD).then_some(length)
}

/// A body that is looked at while it streams.
struct Looked {
    scanner: Scanner<Rules>,
    body: Body,
    /// What came behind the data.
    trailers: Option<Frame<Bytes>>,
    over: bool,
}

impl Looked {
    fn new(scanner: Scanner<Rules>, body: Body) -> Self {
        Self { scanner, body, trailers: None, over: false }
    }

    /// The next frame, as it goes on.
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
            // Broken off: so shall it be for the client.
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

    /// All of it at once; what was changed is known then.
    async fn whole(&mut self) -> Result<Whole, axum::Error> {
        let mut out = Begun::default();
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
        let frames = stream::unfold(self, |mut looked| async move {
            let frame = looked.next().await?;
            Some((frame, looked))
        });
        Body::new(StreamBody::new(frames))
    }
}

/// A body that was looked at.
struct Whole {
    held: Held,
    changed: bool,
}

#[cfg(test)]
mod tests;
