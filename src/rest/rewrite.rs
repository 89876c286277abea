//! Absolute URLs in answers that would lead the client around the gate: they
//! are made to lead back through it. Nothing else of an answer changes by a byte.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, LINK, LOCATION,
};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use memchr::memmem;

use super::route::Upstream;
use crate::action::Provider;
use crate::net::Body;
use crate::net::body::Held;

/// The largest answer that is read for URLs, in bytes; larger ones stream as
/// they are.
pub const MAX_READ: usize = 8 << 20;

/// How long a body that is read may take; after that the rest streams.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends of the names of members that hold URLs of the API itself. A text that
/// happens to begin with such a URL is nobody's business.
const MEMBERS: [&str; 9] =
    ["url", "uri", "link", "links", "self", "next", "previous", "nextpage", "href"];

/// Rewrites the answers to one request.
#[derive(Debug, Clone)]
pub struct Rewriter {
    /// What URLs begin with, and what they are to begin with.
    rules: Vec<(String, String)>,
}

impl Rewriter {
    /// The rules for answers of `provider`, whose requests come in below `base`
    /// (`http://gate:8100/proxy/github`).
    #[must_use]
    pub fn new(provider: Provider, configured: Option<&Upstream>, base: &str) -> Self {
        let vendors: &[(&str, &str)] = match provider {
            Provider::Github => &[("api.github.com", ""), ("uploads.github.com", "")],
            Provider::Microsoft => &[("graph.microsoft.com", "")],
            Provider::Hubspot => &[("api.hubapi.com", "")],
            Provider::Slack => &[("slack.com/api", "/api")],
            Provider::Google => &[
                ("www.googleapis.com", ""),
                ("gmail.googleapis.com", "/gmail.googleapis.com"),
                ("sheets.googleapis.com", "/sheets.googleapis.com"),
                ("docs.googleapis.com", "/docs.googleapis.com"),
                ("slides.googleapis.com", "/slides.googleapis.com"),
                ("people.googleapis.com", "/people.googleapis.com"),
                ("tasks.googleapis.com", "/tasks.googleapis.com"),
            ],
            _ => &[],
        };
        let vendors = vendors
            .iter()
            .map(|(host, below)| (format!("https://{host}"), format!("{base}{below}")));
        let own = configured.map(|upstream| (upstream.origin(), base.to_owned()));
        Self { rules: own.into_iter().chain(vendors).collect() }
    }

    /// Whether there is anything that could lead around the gate.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Rewrites `Link`, `Location` and `Content-Location`, and the members of a
    /// JSON body.
    ///
    /// # Errors
    /// Where the body breaks off while it is read; nothing was passed on then.
    pub async fn answer(&self, response: Response<Body>) -> Result<Response<Body>, axum::Error> {
        let (mut parts, body) = response.into_parts();
        self.headers(&mut parts.headers);
        if !is_plain_json(&parts.headers) {
            return Ok(Response::from_parts(parts, body));
        }
        let body = match read(body).await? {
            Read::Whole(Held { bytes, trailers }) => {
                let rewritten = self.json(&bytes);
                if let Some(rewritten) = rewritten.as_ref().filter(|_| trailers.is_none()) {
                    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(rewritten.len()));
                }
                Held { bytes: rewritten.map_or(bytes, Bytes::from), trailers }.into_body()
            }
            Read::Beyond(body) => body,
        };
        Ok(Response::from_parts(parts, body))
    }

    fn headers(&self, headers: &mut HeaderMap) {
        for name in [LINK, LOCATION, CONTENT_LOCATION] {
            let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
            let mut changed = false;
            let values: Vec<HeaderValue> = values
                .into_iter()
                .map(|value| {
                    let rewritten = self.header(value.to_str().unwrap_or_default());
                    let rewritten = rewritten.and_then(|text| HeaderValue::from_str(&text).ok());
                    changed |= rewritten.is_some();
                    rewritten.unwrap_or(value)
                })
                .collect();
            if changed {
                headers.remove(&name);
                for value in values {
                    headers.append(&name, value);
                }
            }
        }
    }

    fn header(&self, value: &str) -> Option<String> {
        let mut text = value.to_owned();
        for (from, to) in &self.rules {
            let mut at = 0;
            while let Some(found) = text.get(at..).and_then(|rest| rest.find(from.as_str())) {
                let (start, end) = (at + found, at + found + from.len());
                let opens = start == 0 || text.as_bytes().get(start - 1) == Some(&b'<');
                if opens && ends_host(text.as_bytes().get(end)) {
                    text.replace_range(start..end, to);
                    at = start + to.len();
                } else {
                    at = end;
                }
            }
        }
        (text != value).then_some(text)
    }

    /// The text with its URLs rewritten; `None` where there is none to rewrite.
    fn json(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut places: Vec<(usize, usize, Vec<u8>)> = Vec::new();
        for (from, to) in &self.rules {
            for escaped in [false, true] {
                let spelt =
                    |url: &str| if escaped { url.replace('/', "\\/") } else { url.to_owned() };
                let (from, to) = (format!("\"{}", spelt(from)), format!("\"{}", spelt(to)));
                for start in memmem::find_iter(text, from.as_bytes()) {
                    let end = start + from.len();
                    if ends_host(text.get(end)) && holds_url(text, start) {
                        places.push((start, end, to.clone().into_bytes()));
                    }
                }
            }
        }
        if places.is_empty() {
            return None;
        }
        places.sort();
        let mut out = Vec::with_capacity(text.len() + places.len() * 16);
        let mut at = 0;
        for (start, end, to) in places.into_iter().filter(|(start, ..)| *start < text.len()) {
            // Two rules may fit one place, the longer one second.
            if start < at {
                continue;
            }
            out.extend_from_slice(text.get(at..start).unwrap_or_default());
            out.extend_from_slice(&to);
            at = end;
        }
        out.extend_from_slice(text.get(at..).unwrap_or_default());
        Some(out)
    }
}

/// Whether a host ends here: `https://api.github.com.evil` begins alike.
fn ends_host(next: Option<&u8>) -> bool {
    matches!(next, None | Some(b'/' | b'?' | b'#' | b'"' | b'>' | b'\\' | b'{'))
}

/// Whether the string that begins at `quote` is the value of a member whose name
/// says that it holds a URL.
fn holds_url(text: &[u8], quote: usize) -> bool {
    let before = text.get(..quote).unwrap_or_default().trim_ascii_end();
    let Some(before) = before.strip_suffix(b":") else { return false };
    let Some(name) = before.trim_ascii_end().strip_suffix(b"\"") else { return false };
    let start = memchr::memrchr(b'"', name).map_or(0, |at| at + 1);
    let name = name.get(start..).unwrap_or_default().to_ascii_lowercase();
    MEMBERS.iter().any(|member| name.ends_with(member.as_bytes()))
}

fn is_plain_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let declared =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    kind.to_ascii_lowercase().contains("json")
        && !headers.contains_key(CONTENT_ENCODING)
        && declared.is_none_or(|length: usize| length <= MAX_READ)
}

enum Read {
    Whole(Held),
    /// It is larger than what is read, or slower: as it came.
    Beyond(Body),
}

async fn read(body: Body) -> Result<Read, axum::Error> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let (mut held, mut trailers) = (BytesMut::new(), None);
    let mut body = body;
    loop {
        match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(None) => return Ok(Read::Whole(Held { bytes: held.freeze(), trailers })),
            Ok(Some(frame)) => match frame?.into_data() {
                Ok(data) if held.len() + data.len() <= MAX_READ => held.extend_from_slice(&data),
                Ok(data) => return Ok(beyond(vec![Ok(held.freeze()), Ok(data)], body)),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Err(_) => return Ok(beyond(vec![Ok(held.freeze())], body)),
        }
    }
}

fn beyond(first: Vec<Result<Bytes, axum::Error>>, rest: Body) -> Read {
    let first = stream::iter(first).map(|data| data.map(Frame::data));
    Read::Beyond(Body::new(StreamBody::new(first.chain(BodyStream::new(rest)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://gate:8100/proxy/github";

    fn github() -> Rewriter {
        Rewriter::new(Provider::Github, None, BASE)
    }

    #[test]
    fn urls_of_the_api_come_back_and_nothing_else_changes() {
        let text = br#"{ "url" : "https://api.github.com/repos/a/b", "n":1.50,
            "upload_url":"https:\/\/uploads.github.com\/repos\/a{?name}",
            "html_url":"https://github.com/a/b", "body":"https://api.github.com/x",
            "evil_url":"https://api.github.com.evil/x", "deep":[{"next":"https://api.github.com"}] }"#;
        let expected = br#"{ "url" : "http://gate:8100/proxy/github/repos/a/b", "n":1.50,
            "upload_url":"http:\/\/gate:8100\/proxy\/github\/repos\/a{?name}",
            "html_url":"https://github.com/a/b", "body":"https://api.github.com/x",
            "evil_url":"https://api.github.com.evil/x", "deep":[{"next":"http://gate:8100/proxy/github"}] }"#;
        let rewritten = github().json(text).unwrap();
        assert_eq!(String::from_utf8_lossy(&rewritten), String::from_utf8_lossy(expected));
        assert!(github().json(br#"{"name":"x"}"#).is_none());
    }

    #[test]
    fn links_are_rewritten_one_by_one() {
        let link = "<https://api.github.com/r?page=2>; rel=\"next\", <https://api.github.com/r?page=9>; rel=\"last\"";
        let rewritten = github().header(link).unwrap();
        assert_eq!(rewritten.matches(BASE).count(), 2);
        assert!(github().header("https://example.com/?u=https://api.github.com/x").is_none());
    }

    #[test]
    fn a_configured_upstream_is_rewritten_too() {
        let upstream = Upstream::parse("https://acme.atlassian.net").unwrap();
        let jira = Rewriter::new(Provider::Jira, Some(&upstream), "http://g/proxy/jira");
        let text = br#"{"self":"https://acme.atlassian.net/rest/api/2/issue/1"}"#;
        let rewritten = jira.json(text).unwrap();
        assert_eq!(rewritten, br#"{"self":"http://g/proxy/jira/rest/api/2/issue/1"}"#);
        assert!(!Rewriter::new(Provider::Notion, None, "http://g").is_needed());
    }
}
