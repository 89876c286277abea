//! Headers that end at a proxy: those of one connection, and those by which proxies
//! tell of themselves.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};

/// Headers that hold for one connection only (RFC 9110, section 7.6.1).
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

/// Headers that tell who stands behind a proxy, or what it was asked for. They
/// are a proxy's to set and anybody's to forge, so none goes on.
const FORWARDING: [&str; 16] = [
    "forwarded",
    "front-end-https",
    // A proxy for outgoing requests, to a CGI script that takes it for `HTTP_PROXY`.
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

/// Whether a header, named in lower case, holds for one connection only.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
}

/// Whether a header, named in lower case, tells who stands behind a proxy.
#[must_use]
pub fn is_forwarding(name: &str) -> bool {
    FORWARDING.contains(&name) || name.starts_with("x-forwarded-")
}

/// The headers that hold for one connection only because it says so.
pub fn named(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok())
}

/// Which of `headers` hold for one connection only.
pub fn ending(headers: &HeaderMap) -> impl Fn(&HeaderName) -> bool + use<> {
    let named: Vec<HeaderName> = named(headers).collect();
    move |name| is_hop_by_hop(name.as_str()) || named.contains(name)
}

/// Takes away those that hold for one connection only, and those that are `unfit`.
pub fn strip(headers: &mut HeaderMap, unfit: impl Fn(&str) -> bool) {
    let ends = ending(headers);
    let goes = |name: &&HeaderName| ends(name) || unfit(name.as_str());
    let going: Vec<HeaderName> = headers.keys().filter(goes).cloned().collect();
    for name in going {
        headers.remove(name);
    }
}
