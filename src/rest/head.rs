//! A request's head: what of it is refused because upstream could take it
//! otherwise, what of it goes on, and what of it policies may look at.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use percent_encoding::percent_decode_str;

use super::identify::{self, AGENT_KEY, MASTER_KEY};
use super::inbound::Fault;
use crate::net::hops;
use crate::net::sniff::{Fragment, TwoLengths};
use crate::overrides;
use crate::store::agents::holds_key;

/// The methods that are passed on.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Headers that must not be given twice.
const SINGLE: [HeaderName; 5] =
    [HOST, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, AUTHORIZATION];

/// Headers between the client and the gate.
const OWN: [&str; 3] = ["host", AGENT_KEY, MASTER_KEY];

/// Refuses what upstream could take for something else.
///
/// # Errors
/// See [`Fault`].
pub(super) fn check(parts: &Parts) -> Result<(), Fault> {
    if !METHODS.contains(&parts.method) {
        return Err(Fault::Method(parts.method.to_string()));
    }
    check_target(parts)?;
    check_names(&parts.headers)?;
    check_framing(parts)?;
    let headers = &parts.headers;
    if let Some(name) = headers.keys().find(|name| overrides::is_header(name.as_str())) {
        return Err(Fault::Override(name.to_string()));
    }
    let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    if headers.get_all(UPGRADE).iter().any(websocket) {
        return Err(Fault::Upgrade);
    }
    headers.values().try_for_each(check_value)?;
    check_keys(parts)
}

/// An agent's key is for the gate alone.
fn check_keys(parts: &Parts) -> Result<(), Fault> {
    if let Some(told) = identify::astray(&parts.headers) {
        return Err(Fault::Header(told));
    }
    match parts.uri.query().is_some_and(|query| holds_key(query.as_bytes())) {
        true => Err(Fault::Query("it holds a key of the gate's: send it as X-Agent-Key")),
        false => Ok(()),
    }
}

fn check_value(value: &HeaderValue) -> Result<(), Fault> {
    let value = value.as_bytes();
    if value.iter().any(|byte| *byte < 0x20 && *byte != b'\t' || *byte == 0x7f) {
        return Err(Fault::Header("a header holds a control character".to_owned()));
    }
    // Over HTTP/2 such a value may come, and over HTTP/1 it would arrive as another
    // one than was judged (RFC 9113, section 8.2.1).
    match value.trim_ascii().len() == value.len() {
        true => Ok(()),
        false => Err(Fault::Header("a header begins or ends with white space".to_owned())),
    }
}

/// Where the request says it goes, once and plainly.
fn check_target(parts: &Parts) -> Result<(), Fault> {
    let host = parts.headers.get(HOST);
    let authority = parts.uri.authority();
    // HTTP/2 always names the authority; in HTTP/1.1 only a request to a
    // forward proxy does.
    if parts.version < Version::HTTP_2 && authority.is_some() {
        return Err(Fault::Target);
    }
    let Some(host) = host else {
        return match parts.version {
            Version::HTTP_11 => Err(Fault::Header("the header `host` is missing".to_owned())),
            _ => Ok(()),
        };
    };
    let named: Option<Authority> = host.to_str().ok().and_then(|host| host.parse().ok());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    let plain = named.filter(|named| named.as_str().bytes().all(is_plain));
    let Some(plain) = plain else {
        return Err(Fault::Header("the header `host` names no host".to_owned()));
    };
    match authority.is_some_and(|authority| *authority != plain) {
        true => Err(Fault::Header("`host` and `:authority` differ".to_owned())),
        false => Ok(()),
    }
}

fn check_names(headers: &HeaderMap) -> Result<(), Fault> {
    for name in &SINGLE {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(Fault::Header(format!("the header `{name}` is given twice")));
        }
    }
    // Some servers take `X_Y` or `X.Y` for `X-Y`.
    match headers.keys().find(|name| decides_folded(name.as_str())) {
        Some(name) => {
            let what = format!("the header `{name}` is another one to servers that fold names");
            Err(Fault::Header(what))
        }
        None => Ok(()),
    }
}

fn check_framing(parts: &Parts) -> Result<(), Fault> {
    let headers = &parts.headers;
    if parts.extensions.get::<Fragment>().is_some() {
        return Err(Fault::Target);
    }
    let both = headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING);
    if both || parts.extensions.get::<TwoLengths>().is_some() {
        let what = "the length of the body is declared more than once";
        return Err(Fault::Header(what.to_owned()));
    }
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if headers.get(TRANSFER_ENCODING).is_some_and(|value| !chunked(value)) {
        let what = "`transfer-encoding` is something else than `chunked`";
        return Err(Fault::Header(what.to_owned()));
    }
    Ok(())
}

/// Whether a header, named in lower case, decides how a request is taken.
fn decides(name: &str) -> bool {
    let starts = ["content-", "x-amz-"];
    SINGLE.iter().any(|single| single.as_str() == name)
        || overrides::is_header(name)
        || hops::is_hop_by_hop(name)
        || hops::is_forwarding(name)
        || [AGENT_KEY, MASTER_KEY, "cookie"].contains(&name)
        || starts.iter().any(|start| name.starts_with(start))
}

/// Whether it does to servers that take the name for another.
fn decides_folded(name: &str) -> bool {
    overrides::folded(name).is_some_and(|folded| decides(&folded))
}

/// Refuses a query or form that asks upstream for another method.
///
/// # Errors
/// [`Fault::Override`].
pub(super) fn check_parameters(form: &[u8]) -> Result<(), Fault> {
    overrides::parameter_in(form).map_or(Ok(()), |name| Err(Fault::Override(name)))
}

/// Refuses a query that is not the same to everybody.
///
/// # Errors
/// [`Fault::Query`], [`Fault::Override`].
pub(super) fn check_query(query: &str) -> Result<(), Fault> {
    let decoded = percent_decode_str(query).decode_utf8();
    match decoded.map(|text| text.contains('\0')) {
        Ok(false) => check_parameters(query.as_bytes()),
        Ok(true) => Err(Fault::Query("it holds a NUL")),
        Err(_) => Err(Fault::Query("it is not UTF-8")),
    }
}

/// The headers that go all the way.
#[must_use]
pub(super) fn end_to_end(headers: HeaderMap) -> HeaderMap {
    without(headers, |_| false)
}

/// The headers of a request that go upstream.
#[must_use]
pub(super) fn forwarded(headers: HeaderMap) -> HeaderMap {
    without(headers, hops::is_forwarding)
}

/// `headers` without those that hold for one connection, those that are the
/// gate's own, and those that are `unfit`.
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

/// What of a request's trailers goes upstream: nothing that a head decides, and
/// nothing that the head `said` already.
#[must_use]
pub(super) fn trailers(mut trailers: HeaderMap, said: &HeaderMap) -> HeaderMap {
    let unfit: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            decides(name.as_str())
                || decides_folded(name.as_str())
                || name.as_str() == "trailer"
                || said.contains_key(*name)
        })
        .cloned()
        .collect();
    for name in unfit {
        trailers.remove(name);
    }
    trailers
}

/// What policies may look at: everything but keys and credentials.
#[must_use]
pub(super) fn judged(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = headers.iter().filter(|(name, _)| !is_secret(name));
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    shown.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn is_secret(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        AGENT_KEY | MASTER_KEY | "authorization" | "cookie" | "x-amz-security-token"
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
    fn heads_that_can_be_taken_in_two_ways_are_refused() {
        let host = ("host", "gate:8100");
        let checked = |headers: &[(&str, &str)]| check(&parts(Version::HTTP_11, "/x", headers));
        assert_eq!(checked(&[host]), Ok(()));
        assert_eq!(checked(&[host, ("transfer-encoding", "Chunked")]), Ok(()));
        assert_eq!(checked(&[host, ("x_custom", "1"), ("upgrade", "h2c")]), Ok(()));
        for headers in [
            &[][..],
            &[("host", "")],
            &[("host", "a b")],
            &[("host", "a,b")],
            &[("host", "user@gate")],
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
        ] {
            assert!(checked(headers).is_err(), "{headers:?}");
        }
    }

    #[test]
    fn the_authority_is_one() {
        let checked = |host: &[(&str, &str)]| {
            check(&parts(Version::HTTP_2, "http://gate:8100/x", host)).is_ok()
        };
        assert!(checked(&[]) && checked(&[("host", "gate:8100")]) && !checked(&[("host", "evil")]));
        assert!(check(&parts(Version::HTTP_11, "http://gate/x", &[("host", "gate")])).is_err());
    }

    #[test]
    fn parameters_that_override_are_found_however_they_are_spelt() {
        for form in [
            "_method=PUT",
            "a=1;_METHOD=x",
            "%5fmethod=x",
            "+_method=x",
            "_method[]=x",
            "%24httpMethod",
            "$httpHeaders",
        ] {
            assert!(matches!(check_parameters(form.as_bytes()), Err(Fault::Override(_))), "{form}");
        }
        assert_eq!(check_parameters(b"method=x&a=_method"), Ok(()));
        assert!(check_query("q=%ff").is_err() && check_query("q=a%00").is_err());
        assert_eq!(check_query("q=SELECT+Id%0AFROM+Account&name=caf%C3%A9&100%"), Ok(()));
    }

    #[test]
    fn trailers_say_nothing_that_a_head_decides() {
        let names = [
            "authorization",
            "x-agent-key",
            "content-length",
            "x-said",
            "x_agent_key",
            "x-checksum",
        ];
        let mut sent = HeaderMap::new();
        for name in names {
            sent.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        let mut said = HeaderMap::new();
        said.insert("x-said", HeaderValue::from_static("2"));
        let kept = trailers(sent, &said);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-checksum"]);
    }

    #[test]
    fn nobody_can_forge_who_stands_behind_the_gate() {
        let parts = parts(
            Version::HTTP_11,
            "/",
            &[
                ("X-Forwarded-Host", "evil"),
                ("Forwarded", "host=evil"),
                ("X-Real-IP", "1.1.1.1"),
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
