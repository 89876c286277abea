//! Checks that a request's headers agree with its body (2026-07-28, "Streamable HTTP", standard
//! request headers): what routes by the headers and what acts by the body must see the same
//! request. Pure.

use std::fmt::Display;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AsHeaderName;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{METHOD, NAME, REVISION};
use crate::json::{self, Json, Object};
use crate::mcp::envelope::{self, Content, Frame, Framing};
use crate::mcp::era::{self, Batches};
use crate::mcp::params::ParamHeader;
use crate::mcp::scan::may_hold;

/// Prefix and suffix of encoded header values.
const ENCODED: (&str, &str) = ("=?base64?", "?=");

/// A header contradicts the body: 400, with the error code of the specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(String);

/// Whether a request with these headers is stateless.
#[must_use]
pub fn is_stateless(headers: &HeaderMap) -> bool {
    let revision = headers.get(REVISION).and_then(|revision| revision.to_str().ok());
    revision.is_some_and(era::is_stateless_revision)
}

/// Whether a server may treat a request with these headers as stateless: an unknown revision
/// may be a draft that it supports. Refusing it is up to the server ("Protocol Version
/// Header"); until then the stricter rules apply.
fn may_be_stateless(headers: &HeaderMap) -> bool {
    let is_another =
        |it: &HeaderValue| it.to_str().is_ok_and(|it| era::is_revision(it) && it < era::STATELESS);
    headers.get(REVISION).is_some_and(|revision| !is_another(revision))
}

/// Compares the headers with one message. `declared` returns the arguments of a tool that are
/// also sent as headers, if the tool is known. Bodies that are not unambiguous are refused
/// elsewhere.
///
/// # Errors
/// [`Mismatch`] names the header.
pub fn check(
    headers: &HeaderMap,
    body: &[u8],
    declared: impl FnOnce(&str) -> Arc<[ParamHeader]>,
) -> Result<(), Mismatch> {
    let named = headers.contains_key(METHOD) || headers.contains_key(NAME);
    let stateless = may_be_stateless(headers);
    if !stateless && !named {
        return Ok(());
    }
    let message = match envelope::read(body, Batches::Allowed, Framing::Bodies) {
        Ok(Frame::Single(message)) => message,
        Ok(Frame::Batch(_)) => {
            let what = "the headers speak of one message, and the body has several";
            return Err(Mismatch(what.to_owned()));
        }
        Ok(Frame::Blank) | Err(_) => return Ok(()),
    };
    let (method, params) = match &message.content {
        Content::Response { .. } => return Ok(()),
        Content::Call(call) => {
            for header in declared(&call.name).iter().filter(|_| stateless) {
                argument(headers, header, &call.arguments)?;
            }
            let mut params = vec![("name".to_owned(), Json::String(call.name.clone()))];
            params.push((era::META.to_owned(), Json::Object(call.meta.clone())));
            ("tools/call", Object::from_members(params).unwrap_or_default())
        }
        Content::Other(other) => (other.method.as_str(), other.params().unwrap_or_default()),
    };
    one(headers, &METHOD, Some(method), stateless)?;
    let name = match method {
        "tools/call" | "prompts/get" => params.get("name").and_then(Json::as_str),
        "resources/read" => params.get("uri").and_then(Json::as_str),
        _ => None,
    };
    one(headers, &NAME, name, stateless && name.is_some())?;
    let meta = params.get(era::META).and_then(Json::as_object);
    let revision = meta.and_then(|meta| meta.get(era::PROTOCOL_VERSION)).and_then(Json::as_str);
    match revision {
        Some(_) => one(headers, &REVISION, revision, true),
        None => Ok(()),
    }
}

fn argument(headers: &HeaderMap, header: &ParamHeader, arguments: &Object) -> Result<(), Mismatch> {
    let name = header.name.as_str();
    match header.value(arguments) {
        Some(value) => one(headers, name, Some(&value), true),
        None if headers.contains_key(name) => {
            Err(Mismatch(format!("the header `{name}` is given and its argument is not")))
        }
        None => Ok(()),
    }
}

/// The headers that a call's arguments require, for clients whose transport has no headers.
#[must_use]
pub fn headers_of_arguments(
    body: &[u8],
    declared: impl FnOnce(&str) -> Arc<[ParamHeader]>,
) -> Vec<(HeaderName, HeaderValue)> {
    let Ok(Frame::Single(message)) = envelope::read(body, Batches::Refused, Framing::Bodies) else {
        return Vec::new();
    };
    let Content::Call(call) = &message.content else { return Vec::new() };
    let declared = declared(&call.name);
    let given = declared.iter().filter_map(|header| {
        let value = encoded(&header.value(&call.arguments)?);
        Some((header.name.parse().ok()?, HeaderValue::from_str(&value).ok()?))
    });
    given.collect()
}

fn one(
    headers: &HeaderMap,
    name: impl AsHeaderName + Display + Copy,
    wanted: Option<&str>,
    required: bool,
) -> Result<(), Mismatch> {
    let mut values = headers.get_all(name).iter();
    let (value, more) = (values.next(), values.next());
    if more.is_some() {
        return Err(Mismatch(format!("the header `{name}` is given twice")));
    }
    let Some(value) = value else {
        return match required {
            true => Err(Mismatch(format!("the header `{name}` is missing"))),
            false => Ok(()),
        };
    };
    let value = value.to_str().ok().and_then(decoded);
    let Some(wanted) = wanted else { return Ok(()) };
    match value.as_deref() == Some(wanted) {
        true => Ok(()),
        false => Err(Mismatch(format!("the header `{name}` does not say what the body says"))),
    }
}

/// Decodes a header value.
fn decoded(value: &str) -> Option<String> {
    let (prefix, suffix) = ENCODED;
    match value.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix)) {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

/// Encodes `value` for a header.
#[must_use]
pub fn encoded(value: &str) -> String {
    let plain = value.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
        && value.trim() == value
        && !value.starts_with(ENCODED.0);
    match plain {
        true => value.to_owned(),
        false => format!("{}{}{}", ENCODED.0, STANDARD.encode(value), ENCODED.1),
    }
}

/// Adds the headers of [`headers_of`] to those of a message.
pub fn add_headers_of(message: &[u8], headers: &mut HeaderMap) {
    for (name, value) in headers_of(message).into_iter().flatten() {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
}

/// The headers required of a stateless message: revision, method and name. `None` for other
/// messages.
#[must_use]
pub fn headers_of(message: &[u8]) -> Option<[(HeaderName, Option<String>); 3]> {
    let message = json::parse(message).ok()?;
    let message = message.as_object()?;
    let method = message.get("method")?.as_str()?;
    let params = message.get("params").and_then(Json::as_object);
    let meta = params.and_then(|params| params.get(era::META)).and_then(Json::as_object)?;
    let revision = meta.get(era::PROTOCOL_VERSION)?.as_str()?;
    let key = if method == "resources/read" { "uri" } else { "name" };
    let named = matches!(method, "tools/call" | "prompts/get" | "resources/read");
    let name = params.filter(|_| named).and_then(|params| params.get(key)).and_then(Json::as_str);
    Some([
        (REVISION, Some(revision.to_owned())),
        (METHOD, Some(encoded(method))),
        (NAME, name.map(encoded)),
    ])
}

/// Whether the message has this method. Only for scheduling, never for decisions.
#[must_use]
pub fn has_method(message: &[u8], method: &str) -> bool {
    let is_it = |message: Json| {
        let found = message.as_object().and_then(|message| message.get("method"));
        found.and_then(Json::as_str) == Some(method)
    };
    may_hold(message, method) && json::parse(message).is_ok_and(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::era::STATELESS;

    fn agree(headers: &HeaderMap, body: &[u8]) -> Result<(), Mismatch> {
        check(headers, body, |_| Arc::default())
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_method_is_known_however_it_is_escaped() {
        let cancelled = "notifications/cancelled";
        for written in [cancelled, r"notifications\/cancelled", r"notifications/c\u0061ncelled"] {
            let message = format!(r#"{{"jsonrpc":"2.0","method":"{written}"}}"#);
            assert!(has_method(message.as_bytes(), cancelled), "{message}");
            assert!(!has_method(message.as_bytes(), "notifications/progress"), "{message}");
        }
        assert!(!has_method(br#"{"params":{"method":"notifications/cancelled"}}"#, cancelled));
    }

    const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b\u00e4r","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

    #[test]
    fn headers_that_match_the_message_pass() {
        let name = encoded("b\u{e4}r");
        assert!(name.starts_with("=?base64?"));
        let good = [(REVISION, STATELESS), (METHOD, "tools/call"), (NAME, &name)];
        assert_eq!(agree(&headers(&good), CALL), Ok(()));
        let made = headers_of(CALL).unwrap();
        let made: Vec<_> =
            made.iter().map(|(name, value)| (name.clone(), value.as_deref().unwrap())).collect();
        assert_eq!(made, good);
        assert_eq!(agree(&HeaderMap::new(), CALL), Ok(()), "before the era");
    }

    #[test]
    fn a_body_of_several_lines_is_held_against_its_headers_too() {
        let lines = String::from_utf8(CALL.to_vec()).unwrap().replace(',', ",\r\n  ");
        let good = [(REVISION, STATELESS), (METHOD, "tools/call"), (NAME, &encoded("b\u{e4}r"))];
        assert_eq!(agree(&headers(&good), lines.as_bytes()), Ok(()));
        let other = [(REVISION, STATELESS), (METHOD, "tools/list")];
        assert!(agree(&headers(&other), lines.as_bytes()).is_err());
    }

    #[test]
    fn headers_that_contradict_the_message_or_are_missing_are_refused() {
        for pairs in [
            &[(REVISION, STATELESS), (METHOD, "tools/list"), (NAME, "b")][..],
            &[(REVISION, STATELESS), (METHOD, "tools/call"), (NAME, "safe")],
            &[(REVISION, STATELESS), (METHOD, "tools/call")],
            &[(REVISION, STATELESS), (NAME, "b")],
            &[(REVISION, "2027-01-01"), (METHOD, "tools/call")],
            &[(REVISION, "DRAFT-2026-v1"), (METHOD, "tools/call")],
            &[(REVISION, "2026-7-28")],
            &[(REVISION, "")],
            &[(NAME, "safe")],
        ] {
            assert!(agree(&headers(pairs), CALL).is_err(), "{pairs:?}");
        }
        let batch = [b"[", CALL, b"]"].concat();
        let list = headers(&[(METHOD, "tools/list")]);
        assert!(agree(&list, &batch).is_err() && agree(&HeaderMap::new(), &batch).is_ok());
    }

    #[test]
    fn param_headers_match_the_arguments() {
        let schema = json::parse(br#"{"properties":{"a":{"x-mcp-header":"A"}}}"#).unwrap();
        let declared: Arc<[_]> = ParamHeader::declared(schema.as_object().unwrap()).into();
        let call = |arguments: &str| {
            let params = format!(r#"{{"name":"b","arguments":{arguments}}}"#);
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
        };
        let standard = [(REVISION, STATELESS), (METHOD, "tools/call"), (NAME, "b")];
        for (arguments, header, agrees) in [
            (r#"{"a":"x"}"#, Some("x"), true),
            (r#"{"a":"\u00e9"}"#, Some("=?base64?w6k=?="), true),
            (r#"{"a":"x"}"#, Some("y"), false),
            (r#"{"a":"x"}"#, Some("=?base64?eA?="), false),
            (r#"{"a":"x"}"#, None, false),
            (r#"{"a":null}"#, Some("x"), false),
            ("{}", None, true),
        ] {
            let mut headers = headers(&standard);
            let body = call(arguments);
            let made = headers_of_arguments(body.as_bytes(), |_| Arc::clone(&declared));
            if agrees {
                let made = made.first().map(|(_, value)| value.to_str().unwrap());
                assert_eq!(made, header, "{arguments}");
            }
            if let Some(header) = header {
                headers.insert("mcp-param-a", HeaderValue::from_str(header).unwrap());
            }
            let agreed = check(&headers, body.as_bytes(), |_| Arc::clone(&declared));
            assert_eq!(agreed.is_ok(), agrees, "{arguments} {header:?}");
        }
    }
}
