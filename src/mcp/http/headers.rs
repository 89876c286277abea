//! Headers on their way through: which go on to the server, and which come back.

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, TRAILER};
use http::{HeaderMap, HeaderName};

use crate::decision_headers::DECISION;
use crate::keys::{AGENT_KEY, MASTER_KEY};
use crate::net::hops;
use crate::overrides;

/// Headers that name who is spoken to, frame a message, or bear a key of the gate's
/// own. What is encoded cannot be read, so that goes too.
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

/// Whether a client's header, named in lower case, does not go on to the server,
/// whatever its connection says.
fn stays(name: &str) -> bool {
    OURS.contains(&name) || hops::is_hop_by_hop(name) || hops::is_forwarding(name)
}

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
        let is_known = |name: &str| stays(name) || overrides::is_header(name) || is_judged(name);
        overrides::is_header(name) || overrides::folded(name).is_some_and(|name| is_known(&name))
    };
    let name = headers.keys().map(HeaderName::as_str).find(|name| misleads(name));
    name.map(str::to_owned).or_else(|| {
        let dropped = hops::named(headers).find(|name| is_judged(name.as_str()));
        dropped.map(|name| name.to_string())
    })
}

/// What of a client's headers goes on to the server.
pub(super) fn end_to_end(
    headers: &HeaderMap,
) -> impl Iterator<Item = (&HeaderName, &http::HeaderValue)> {
    let ends = hops::ending(headers);
    headers.iter().filter(move |(name, _)| !ends(name) && !stays(name.as_str()))
}

/// Takes away what is not for the client.
pub(super) fn strip(headers: &mut HeaderMap) {
    hops::strip(headers, |name| name == TRAILER || name == DECISION);
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
    fn nobody_can_forge_who_stands_behind_the_gate() {
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
    fn what_holds_for_the_servers_connection_does_not_come_back() {
        let mut said = headers(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("proxy-authenticate", "Basic"),
            ("trailer", "x-sum"),
            ("x-agentgate-decision", "forged"),
            ("x-kept", "1"),
        ]);
        strip(&mut said);
        assert_eq!(said.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
