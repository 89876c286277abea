//! Headers that end at a proxy: hop-by-hop headers, and those by which proxies identify themselves.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};

/// Hop-by-hop headers (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Headers in which proxies describe the original request. Anybody can forge them, so they are
/// not forwarded.
const FORWARDING: [&str; 16] = [
    "forwarded",
    "front-end-https",
    // CGI scripts read it as `HTTP_PROXY`, the proxy for outgoing requests (httpoxy).
    "proxy",
    "x-forwarded",
    "x-host",
    "x-http-host-override",
    "x-originating-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "x-original-host",
    "x-original-uri",
    "x-envoy-original-path",
];

/// Whether a header (in lower case) is hop-by-hop.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
}

/// Whether a header (in lower case) is set by proxies to describe the original request.
#[must_use]
pub fn is_forwarding(name: &str) -> bool {
    FORWARDING.contains(&name) || name.starts_with("x-forwarded-")
}

/// Headers that `Connection` declares hop-by-hop.
pub fn named(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok())
}

/// A predicate for the hop-by-hop headers among `headers`.
pub fn ending(headers: &HeaderMap) -> impl Fn(&HeaderName) -> bool + use<> {
    let named: Vec<HeaderName> = named(headers).collect();
    move |name| is_hop_by_hop(name.as_str()) || named.contains(name)
}

/// Removes hop-by-hop headers and those for which `unfit` returns `true`.
pub fn strip(headers: &mut HeaderMap, unfit: impl Fn(&str) -> bool) {
    let ends = ending(headers);
    let goes = |name: &&HeaderName| ends(name) || unfit(name.as_str());
    let going: Vec<HeaderName> = headers.keys().filter(goes).cloned().collect();
    for name in going {
        headers.remove(name);
    }
}
