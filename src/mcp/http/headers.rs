//! Headers on their way through: which go on to the server, and which come back.

use http::header::{
    ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, PROXY_AUTHENTICATE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};

use super::DECISION;
use crate::overrides;

/// Headers that hold for one connection, name who is spoken to, or bear a key of
/// the gate's own. What is encoded cannot be read, so that goes too.
const OURS: [&str; 15] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-agent-key",
    "x-master-key",
];

/// Headers that hold for the connection to the server only.
const THEIRS: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    DECISION,
];

/// Whether a header says what a request is, so that the gate looks at it.
fn is_judged(name: &str) -> bool {
    let known = ["authorization", "content-type", "content-encoding", "last-event-id"];
    name.starts_with("mcp-") || known.contains(&name)
}

/// The header by which a server may take a request for another one than was judged:
/// one that overrides, one that the gate knows in the spelling of CGI and WSGI, or
/// one that is said to hold for this connection only.
pub(super) fn misleading(headers: &HeaderMap) -> Option<String> {
    let misleads = |name: &str| {
        let is_known =
            |name: &str| OURS.contains(&name) || overrides::is_header(name) || is_judged(name);
        overrides::is_header(name) || overrides::folded(name).is_some_and(|name| is_known(&name))
    };
    let name = headers.keys().map(HeaderName::as_str).find(|name| misleads(name));
    name.map(str::to_owned).or_else(|| {
        let mut dropped = of_connection(headers).map(str::to_ascii_lowercase);
        dropped.find(|name| is_judged(name))
    })
}

/// The headers that hold for this connection only, as it says.
fn of_connection(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',').map(str::trim))
}

/// What of a client's headers goes on to the server.
pub(super) fn end_to_end(
    headers: &HeaderMap,
) -> impl Iterator<Item = (&HeaderName, &http::HeaderValue)> {
    let named: Vec<&str> = of_connection(headers).collect();
    headers.iter().filter(move |(name, _)| {
        let name = name.as_str();
        !OURS.contains(&name) && !named.iter().any(|named| name.eq_ignore_ascii_case(named))
    })
}

/// Takes away what is not for the client.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in THEIRS {
        headers.remove(name);
    }
}

/// The media type of a body, in lower case.
pub(super) fn kind(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a body is a stream of events.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    kind(headers) == "text/event-stream"
}

/// Whether a body is one message, or several in an array.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    kind(headers) == "application/json"
}

/// How a body is encoded, where it is: it was asked for plain.
pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    let mut encodings = encodings.map(|encoding| String::from_utf8_lossy(encoding.as_bytes()));
    encodings
        .find(|encoding| !encoding.trim().eq_ignore_ascii_case("identity"))
        .map(std::borrow::Cow::into_owned)
}

/// Whether a client says which types it takes; curl and the like send `*/*`.
pub(super) fn names_types(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| accept.as_bytes() != b"*/*")
}
