//! Checks of methods, queries and headers of REST requests, whether from the proxy or written by
//! hand. What servers could interpret differently is refused. Pure.

use percent_encoding::percent_decode_str;

use crate::keys::{AGENT_KEY, MASTER_KEY, holds_key};
use crate::net::hops;
use crate::overrides;

/// The methods that are forwarded.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Headers that must not be repeated.
const SINGLE: [&str; 7] = [
    "expect",
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "authorization",
    "x-sfdc-session",
];

/// Why a request is refused because of its method, target, query or headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A method that is not forwarded.
    #[error("the method `{0}` is not passed on")]
    Method(String),
    /// The target is not a path.
    #[error("the request target is not a path")]
    Target,
    /// A repeated, ambiguous or invalid header.
    #[error("{0}")]
    Header(String),
    /// The header, parameter or member that overrides the method, path or body.
    #[error("`{0}` asks upstream to take the request for another one")]
    Override(String),
    /// An ambiguous query.
    #[error("the query cannot be read for certain: {0}")]
    Query(&'static str),
    /// An upgrade to WebSocket.
    #[error("upgrades to another protocol are not passed on")]
    Upgrade,
}

impl HeadError {
    /// The error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Method(_) => "method_not_allowed",
            Self::Target => "invalid_target",
            Self::Header(_) => "invalid_header",
            Self::Override(_) => "method_override",
            Self::Query(_) => "invalid_query",
            Self::Upgrade => "upgrade_refused",
        }
    }
}

/// Refuses methods that are not forwarded. If `is_file` (a file that is only ever downloaded),
/// methods that could change it are refused, too.
///
/// # Errors
/// [`HeadError::Method`].
pub fn check_method(method: &str, is_file: bool) -> Result<(), HeadError> {
    let fetches = ["GET", "HEAD", "OPTIONS"].contains(&method);
    match METHODS.contains(&method) && (fetches || !is_file) {
        true => Ok(()),
        false => Err(HeadError::Method(method.to_owned())),
    }
}

/// Refuses a query that servers could interpret differently, or that contains a key of the gate.
///
/// # Errors
/// [`HeadError::Query`], [`HeadError::Override`].
pub fn check_query(query: &str) -> Result<(), HeadError> {
    if holds_key(query.as_bytes()) {
        return Err(HeadError::Query("it contains a key of the gate: send it as X-Agent-Key"));
    }
    if has_unicode_escape(query.as_bytes()) {
        let what = "it holds an escape like `%u0041`, which some servers decode and others do not";
        return Err(HeadError::Query(what));
    }
    let decoded = percent_decode_str(query).decode_utf8();
    match decoded.map(|text| text.contains('\0')) {
        Ok(false) => check_parameters(query.as_bytes()),
        Ok(true) => Err(HeadError::Query("it holds a NUL")),
        Err(_) => Err(HeadError::Query("it is not UTF-8")),
    }
}

/// Whether `query` contains an escape such as `%u0041`: ECMAScript's `escape()` produces them
/// (annex B.2.1), and ASP.NET decodes them.
fn has_unicode_escape(query: &[u8]) -> bool {
    let is_escape = |six: &[u8]| match six {
        [b'%', b'u' | b'U', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    };
    query.windows(6).any(is_escape)
}

/// Refuses a query or form that overrides the method or stands for the body.
///
/// # Errors
/// [`HeadError::Override`].
pub fn check_parameters(form: &[u8]) -> Result<(), HeadError> {
    overrides::parameter_in(form).map_or(Ok(()), |name| Err(HeadError::Override(name)))
}

/// Refuses headers that servers could interpret differently. Names are in lower case.
///
/// # Errors
/// [`HeadError::Header`], [`HeadError::Override`], [`HeadError::Upgrade`].
pub fn check_headers<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
) -> Result<(), HeadError> {
    let mut singles = SINGLE.map(|name| (name, false));
    for (name, value) in headers {
        let single = singles.iter_mut().find(|(single, _)| *single == name);
        if single.is_some_and(|(_, is_given)| std::mem::replace(is_given, true)) {
            return Err(HeadError::Header(format!("the header `{name}` is given twice")));
        }
        check_header(name, value)?;
    }
    Ok(())
}

fn check_header(name: &str, value: &[u8]) -> Result<(), HeadError> {
    let unfit = |what: &str| Err(HeadError::Header(what.to_owned()));
    // Some servers treat `X_Y` or `X.Y` as `X-Y`.
    if decides_folded(name) {
        return unfit(&format!("the header `{name}` is another one to servers that fold names"));
    }
    if overrides::is_header(name) {
        return Err(HeadError::Override(name.to_owned()));
    }
    let names_websocket = |part: &[u8]| part.trim_ascii().eq_ignore_ascii_case(b"websocket");
    if name == "upgrade" && value.split(|byte| *byte == b',').any(names_websocket) {
        return Err(HeadError::Upgrade);
    }
    // Servers disagree on which values contain this expectation, and so on when a body follows.
    if name == "expect" && !value.eq_ignore_ascii_case(b"100-continue") {
        return unfit("`expect` asks for something else than `100-continue`");
    }
    if value.iter().any(|byte| *byte < 0x20 && *byte != b'\t' || *byte == 0x7f) {
        return unfit("a header holds a control character");
    }
    // HTTP/2 can carry such a value, but HTTP/1 would deliver a value other than the judged one
    // (RFC 9113, section 8.2.1).
    match value.trim_ascii().len() == value.len() {
        true => Ok(()),
        false => unfit("a header begins or ends with white space"),
    }
}

/// Prefix of user-defined metadata of S3 objects, which S3 does not interpret.
const S3_METADATA: &str = "x-amz-meta-";

/// Whether a header (in lower case) changes how a request is interpreted.
#[must_use]
pub fn decides(name: &str) -> bool {
    let starts = ["content-", "x-amz-"];
    SINGLE.contains(&name)
        || overrides::is_header(name)
        || hops::is_hop_by_hop(name)
        || hops::is_forwarding(name)
        || [AGENT_KEY, MASTER_KEY, "cookie", "prefer"].contains(&name)
        || starts.iter().any(|start| name.starts_with(start))
}

/// Like [`decides`], for servers that fold the name. Metadata of S3 objects may have any name.
#[must_use]
pub fn decides_folded(name: &str) -> bool {
    !name.starts_with(S3_METADATA) && overrides::folded(name).is_some_and(|folded| decides(&folded))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let found = check_parameters(form.as_bytes());
            assert!(matches!(found, Err(HeadError::Override(_))), "{form}");
        }
        assert_eq!(check_parameters(b"method=x&a=_method"), Ok(()));
        assert!(check_query("q=%ff").is_err() && check_query("q=a%00").is_err());
        assert_eq!(check_query("q=SELECT+Id%0AFROM+Account&name=caf%C3%A9&100%"), Ok(()));
    }

    #[test]
    fn metadata_of_s3_objects_may_have_any_name() {
        assert!(!decides_folded("x-amz-meta-user_id"));
        for name in ["x_amz_meta_a", "x-amz_meta-a", "x-amz-copy_source", "content_type"] {
            assert!(decides_folded(name), "{name}");
        }
    }

    #[test]
    fn methods_that_are_not_forwarded_are_refused() {
        for (method, is_file) in [("GET", true), ("OPTIONS", true), ("DELETE", false)] {
            assert_eq!(check_method(method, is_file), Ok(()), "{method}");
        }
        for (method, is_file) in [("TRACE", false), ("get", false), ("DELETE", true), ("", true)] {
            let refused = Err(HeadError::Method(method.to_owned()));
            assert_eq!(check_method(method, is_file), refused, "{method}");
        }
    }

    #[test]
    fn queries_that_only_some_servers_decode_are_refused() {
        for query in ["%u005fmethod=DELETE", "q=%U0041", "a=b&q=x%u00e9"] {
            assert!(matches!(check_query(query), Err(HeadError::Query(_))), "{query}");
        }
        assert_eq!(check_query("q=%user%&p=%25u0041&r=%u004"), Ok(()));
    }

    #[test]
    fn keys_of_the_gate_are_refused() {
        let holding = |digits: usize| format!("a=b&key=ag_{}", "0".repeat(digits));
        assert!(matches!(check_query(&holding(64)), Err(HeadError::Query(_))));
        assert_eq!(check_query(&holding(63)), Ok(()));
    }

    #[test]
    fn ambiguous_headers_are_refused() {
        let checked = |headers: &[(&'static str, &'static str)]| {
            check_headers(headers.iter().map(|(name, value)| (*name, value.as_bytes())))
        };
        let accept = ("accept", "a");
        assert_eq!(checked(&[accept, accept, ("x_custom", "1"), ("upgrade", "h2c")]), Ok(()));
        let kind = ("content-type", "text/plain");
        assert_eq!(checked(&[accept, kind]), Ok(()));
        assert!(checked(&[kind, accept, kind]).is_err());
        for header in [
            ("content_length", "3"),
            ("x_http_method_override", "DELETE"),
            ("x-agent_key", "x"),
            ("x_amz_target", "x"),
            ("x-original-url", "/admin"),
            ("x-http-method", "PUT"),
            ("x-environment", " x"),
            ("x-environment", "x\t"),
            ("x-environment", "x\ny"),
            ("upgrade", "WebSocket"),
        ] {
            assert!(checked(&[accept, header]).is_err(), "{header:?}");
        }
    }
}
