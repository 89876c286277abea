//! Which headers are forwarded to the server, and which come back.

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, TRAILER};
use http::{HeaderMap, HeaderName};

use crate::decision_headers::DECISION;
use crate::keys::{AGENT_KEY, MASTER_KEY};
use crate::net::hops;
use crate::overrides;

/// Headers that concern only this connection, or contain a key of the gate. `Accept-Encoding`
/// is among them because encoded answers cannot be inspected.
const OURS: [&str; 8] = [
    "accept-encoding",
    "content-length",
    "expect",
    "host",
    "origin",
    "trailer",
    AGENT_KEY,
    MASTER_KEY,
];

/// Whether a client's header (in lower case) is not forwarded.
fn stays(name: &str) -> bool {
    OURS.contains(&name) || hops::is_hop_by_hop(name) || hops::is_forwarding(name)
}

/// Whether the gate inspects a header.
fn is_judged(name: &str) -> bool {
    let known = ["authorization", "content-type", "content-encoding", "last-event-id"];
    name.starts_with("mcp-") || known.contains(&name)
}

/// A header by which a server might read another request than was judged: an override header,
/// an inspected header in a spelling that CGI and WSGI treat as equal, or one declared
/// hop-by-hop.
pub(super) fn misleading(headers: &HeaderMap) -> Option<String> {
    let misleads = |name: &str| {
        let is_known = |name: &str| stays(name) || overrides::is_header(name) || is_judged(name);
        overrides::is_header(name) || overrides::folded(name).is_some_and(|name| is_known(&name))
    };
    let name = headers.keys().map(HeaderName::as_str).find(|name| misleads(name));
    name.map(str::to_owned).or_else(|| {
        let dropped = hops::named(headers).find(|name| is_judged(name.as_str()));
        dropped.map(|name| name.to_string())
    })
}

/// The client's headers to forward.
pub(super) fn end_to_end(
    headers: &HeaderMap,
) -> impl Iterator<Item = (&HeaderName, &http::HeaderValue)> {
    let ends = hops::ending(headers);
    headers.iter().filter(move |(name, _)| !ends(name) && !stays(name.as_str()))
}

/// Removes headers that are not for the client.
pub(super) fn strip(headers: &mut HeaderMap) {
    hops::strip(headers, |name| name == TRAILER || name == DECISION);
}

/// Media type of a body, in lower case.
pub(super) fn kind(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a body is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    kind(headers) == "application/json"
}

/// The body's content encoding, although none was accepted.
pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    let mut encodings = encodings.map(|encoding| String::from_utf8_lossy(encoding.as_bytes()));
    encodings
        .find(|encoding| !encoding.trim().eq_ignore_ascii_case("identity"))
        .map(std::borrow::Cow::into_owned)
}

/// Whether the client accepts specific types; curl and others send `*/*`.
pub(super) fn names_types(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| accept.as_bytes() != b"*/*")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn client_cannot_set_the_headers_of_the_gate() {
        let sent = headers(&[
            ("x-forwarded-host", "evil"),
            ("forwarded", "host=evil"),
            ("x-real-ip", "1.1.1.1"),
            ("te", "trailers"),
            ("connection", "X-Hop, te"),
            ("x-hop", "1"),
            ("x-agent-key", "1"),
            ("x-kept", "1"),
        ]);
        let kept: Vec<&str> = end_to_end(&sent).map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, ["x-kept"]);
        let disguised = headers(&[("x_forwarded_for", "1.1.1.1")]);
        assert_eq!(misleading(&disguised).as_deref(), Some("x_forwarded_for"));
    }

    #[test]
    fn hop_by_hop_headers_are_not_returned() {
        let mut sent = headers(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("proxy-authenticate", "Basic"),
            ("trailer", "x-sum"),
            ("x-agentgate-decision", "forged"),
            ("x-kept", "1"),
        ]);
        strip(&mut sent);
        assert_eq!(sent.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
