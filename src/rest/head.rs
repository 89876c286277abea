//! Checks the head of a request: what is ambiguous is refused; the rest is what is forwarded, and
//! what policies see.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::identify;
use super::inbound::InboundError;
use crate::action::Provider;
use crate::head::{HeadError, check_headers, check_method, decides, decides_folded};
use crate::keys::{AGENT_KEY, MASTER_KEY, holds_key};
use crate::net::hops;
use crate::net::sniff::{Fragment, TwoLengths};

/// Headers that concern only the connection between client and gate.
const OWN: [&str; 3] = ["host", AGENT_KEY, MASTER_KEY];

/// Refuses requests that upstream could read differently.
///
/// # Errors
/// See [`InboundError`].
pub(super) fn check(provider: Provider, parts: &Parts) -> Result<(), InboundError> {
    check_method(parts.method.as_str(), false)?;
    check_target(parts)?;
    check_framing(parts)?;
    let headers = &parts.headers;
    check_headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))?;
    // The agent's key must not reach upstream.
    identify::misplaced_key(identify::credential_headers(provider), headers)
        .map_or(Ok(()), |error| Err(HeadError::Header(error).into()))
}

/// Checks that the request names its destination once and plainly.
fn check_target(parts: &Parts) -> Result<(), HeadError> {
    let host = parts.headers.get(HOST);
    let authority = parts.uri.authority();
    // HTTP/2 always names the authority; in HTTP/1.1 only a request to a
    // forward proxy does.
    if parts.version < Version::HTTP_2 && authority.is_some() {
        return Err(HeadError::Target);
    }
    if host.is_none() && parts.version == Version::HTTP_11 {
        return Err(HeadError::Header("the header `host` is missing".to_owned()));
    }
    let named = host.map(|host| host.to_str().ok().and_then(|host| host.parse().ok()));
    let all = [named, authority.map(|authority| Some(authority.clone()))];
    if all.iter().flatten().any(|named| !named.as_ref().is_some_and(is_plain)) {
        return Err(HeadError::Header("the header `host` names no host".to_owned()));
    }
    match all {
        [Some(host), Some(authority)] if host != authority => {
            Err(HeadError::Header("`host` and `:authority` differ".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Whether it is only a name or an address, with a valid port.
fn is_plain(named: &Authority) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    let behind = named.as_str().strip_prefix(named.host()).unwrap_or("?");
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    named.as_str().bytes().all(is_plain)
        && (behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port))
}

fn check_framing(parts: &Parts) -> Result<(), HeadError> {
    let headers = &parts.headers;
    if parts.extensions.get::<Fragment>().is_some() {
        return Err(HeadError::Target);
    }
    let both = headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING);
    if both || parts.extensions.get::<TwoLengths>().is_some() {
        let what = "the length of the body is declared more than once";
        return Err(HeadError::Header(what.to_owned()));
    }
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if headers.get(TRANSFER_ENCODING).is_some_and(|value| !chunked(value)) {
        let what = "`transfer-encoding` is something else than `chunked`";
        return Err(HeadError::Header(what.to_owned()));
    }
    Ok(())
}

/// Response headers that apply to a whole origin. For the client, the gate is one origin for
/// all providers: it would send a cookie of one to the next (RFC 6265, section 8.5).
const OF_THE_ORIGIN: [&str; 8] = [
    "alt-svc",
    "clear-site-data",
    "nel",
    "report-to",
    "reporting-endpoints",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
];

/// The response headers to forward to the client.
#[must_use]
pub(super) fn answered(headers: HeaderMap) -> HeaderMap {
    without(headers, |name| OF_THE_ORIGIN.contains(&name))
}

/// The request headers to forward upstream.
#[must_use]
pub(super) fn forwarded(headers: HeaderMap) -> HeaderMap {
    let mut headers = without(headers, hops::is_forwarding);
    join_cookies(&mut headers);
    headers
}

/// Joins several cookie headers: HTTP/2 may split them, HTTP/1.1 may not (RFC 9113, section
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if parts.len() > 1
        && let Ok(mut joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    }
}

/// Removes hop-by-hop headers, those of the gate, and those for which `unfit` returns `true`.
fn without(mut headers: HeaderMap, unfit: impl Fn(&str) -> bool) -> HeaderMap {
    let is_trailers = |part: &str| part.trim().eq_ignore_ascii_case("trailers");
    let takes_trailers = headers
        .get(TE)
        .and_then(|te| te.to_str().ok())
        .is_some_and(|te| te.split(',').any(is_trailers));
    hops::strip(&mut headers, |name| OWN.contains(&name) || unfit(name));
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    headers
}

/// The request's trailers to forward: none that belong into a head, and none that the head
/// `request_headers` already contains.
#[must_use]
pub(super) fn trailers(mut trailers: HeaderMap, request_headers: &HeaderMap) -> HeaderMap {
    let is_unfit = |(name, value): &(&HeaderName, &HeaderValue)| {
        let text = name.as_str();
        decides(text)
            || decides_folded(text)
            || text == "trailer"
            || request_headers.contains_key(*name)
            || holds_key(text.as_bytes())
            || holds_key(value.as_bytes())
    };
    let unfit = trailers.iter().filter(is_unfit).map(|(name, _)| name.clone());
    let unfit: Vec<HeaderName> = unfit.collect();
    for name in unfit {
        trailers.remove(name);
    }
    trailers
}

/// The headers visible to policies: all but keys and credentials.
#[must_use]
pub(super) fn judged(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = headers.iter().filter(|(name, _)| !is_secret(name));
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    shown.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn is_secret(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        AGENT_KEY
            | MASTER_KEY
            | "authorization"
            | "cookie"
            | "x-amz-security-token"
            | "x-sfdc-session"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(version: Version, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        let host = ("host", "gate:8100");
        let checked = |headers: &[(&str, &str)]| {
            check(Provider::Github, &parts(Version::HTTP_11, "/x", headers))
        };
        assert_eq!(checked(&[host]), Ok(()));
        assert_eq!(checked(&[host, ("transfer-encoding", "Chunked")]), Ok(()));
        assert_eq!(checked(&[("host", "[::1]:80"), ("expect", "100-Continue")]), Ok(()));
        assert_eq!(checked(&[host, ("x_custom", "1"), ("upgrade", "h2c")]), Ok(()));
        for headers in [
            &[][..],
            &[("host", "")],
            &[("host", "a b")],
            &[("host", "a,b")],
            &[("host", "user@gate")],
            &[("host", "gate:x")],
            &[("host", "gate:99999")],
            &[host, ("expect", "x 100-continue")],
            &[host, ("expect", "100-continue"), ("expect", "100-continue")],
            &[host, ("x-http-verb-override", "DELETE")],
            &[host, ("_method", "DELETE")],
            &[("host", "a\", \"b")],
            &[host, host],
            &[host, ("authorization", "a"), ("authorization", "b")],
            &[host, ("transfer-encoding", "identity, chunked")],
            &[host, ("transfer-encoding", "gzip")],
            &[host, ("content_length", "3")],
            &[host, ("x_http_method_override", "DELETE")],
            &[host, ("X-Agent_Key", "x")],
            &[host, ("x_amz_target", "x")],
            &[host, ("x-original-url", "/admin")],
            &[host, ("x-http-method", "PUT")],
            &[host, ("x-environment", " x")],
            &[host, ("x-environment", "x\t")],
            &[host, ("upgrade", "WebSocket")],
            &[host, ("upgrade", "h2c, websocket")],
        ] {
            assert!(checked(headers).is_err(), "{headers:?}");
        }
    }

    #[test]
    fn the_authority_is_one() {
        let checked = |host: &[(&str, &str)]| {
            check(Provider::Github, &parts(Version::HTTP_2, "http://gate:8100/x", host)).is_ok()
        };
        assert!(checked(&[]) && checked(&[("host", "gate:8100")]) && !checked(&[("host", "evil")]));
        let odd = parts(Version::HTTP_2, "http://gate,evil/x", &[]);
        assert!(check(Provider::Github, &odd).is_err());
        assert!(
            check(Provider::Github, &parts(Version::HTTP_11, "http://gate/x", &[("host", "gate")]))
                .is_err()
        );
    }

    #[test]
    fn trailers_say_nothing_that_a_head_decides() {
        let names = [
            "authorization",
            "x-agent-key",
            "content-length",
            "x-said",
            "x_agent_key",
            "prefer",
            "x-checksum",
        ];
        let mut sent = HeaderMap::new();
        for name in names {
            sent.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        let mut announced = HeaderMap::new();
        announced.insert("x-said", HeaderValue::from_static("2"));
        let kept = trailers(sent, &announced);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-checksum"]);
    }

    #[test]
    fn client_cannot_set_the_headers_of_the_gate() {
        let parts = parts(
            Version::HTTP_11,
            "/",
            &[
                ("X-Forwarded-Host", "evil"),
                ("Forwarded", "host=evil"),
                ("X-Real-IP", "1.1.1.1"),
                ("X-HTTP-Host-Override", "evil"),
                ("Proxy", "http://evil"),
                ("TE", "deflate, trailers"),
                ("Connection", "X-Hop, te"),
                ("X-Hop", "1"),
                ("X-Kept", "1"),
            ],
        );
        let kept = forwarded(parts.headers);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept", "te"]);
    }
}
