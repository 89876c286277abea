//! Request bodies: which format a body is declared to have, and what policies see of it.
//! What servers could parse in two ways is refused; what is not understood is opaque to
//! policies, which allows nothing by itself.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::form;
use super::inbound::InboundError;
use crate::action::{Body, FORM, Provider};
use crate::head::{HeadError, check_parameters};
use crate::json::{self, Json};
use crate::overrides;

/// How to read a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFormat {
    /// Not at all: it streams.
    Nothing,
    /// Strict JSON.
    Json,
    /// A form (`application/x-www-form-urlencoded`).
    Form,
    /// Text of another format.
    Text,
    /// Only the field names, while it streams (`multipart/form-data` and similar).
    Fields,
    /// By its content: JSON if it looks like JSON, else text.
    Any,
    /// No type is declared: some servers read it as JSON, some as a form.
    Untyped,
}

/// The declared character encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    /// Also the default.
    Utf8,
    /// Equal to UTF-8 only for ASCII.
    AsciiCompatible,
    Other,
}

/// Determines how to read a body with these headers.
///
/// # Errors
/// [`HeadError::Header`] if `Content-Type` is not a media type.
pub(super) fn format(
    provider: Provider,
    host: Option<&str>,
    headers: &HeaderMap,
) -> Result<BodyFormat, InboundError> {
    let kind = media_type(headers)?;
    // S3 objects have any size and type; policies see method and path only.
    if provider == Provider::Aws && host.is_some_and(|host| host.starts_with("s3.")) {
        return Ok(BodyFormat::Nothing);
    }
    Ok(match kind.as_deref() {
        None => BodyFormat::Untyped,
        Some(FORM) => BodyFormat::Form,
        Some("application/graphql" | "multipart/mixed") => BodyFormat::Text,
        Some(kind) if kind.ends_with("json") || kind.contains("/x-amz-json") => BodyFormat::Json,
        Some(kind) if kind.starts_with("text/") || kind.ends_with("xml") => BodyFormat::Any,
        // Signatures of other AWS requests cover the body.
        Some(_) if provider == Provider::Aws => BodyFormat::Any,
        Some(kind) if kind.starts_with("multipart/") && is_read_as_form(kind, headers) => {
            match charset(headers) {
                Charset::Other => return Err(InboundError::Charset),
                _ => BodyFormat::Fields,
            }
        }
        Some(_) => BodyFormat::Nothing,
    })
}

/// Whether some servers read the parts of this `multipart` body as form fields. Other multipart
/// uploads may be compressed, and stream unread.
fn is_read_as_form(kind: &str, headers: &HeaderMap) -> bool {
    kind == "multipart/form-data" || !headers.contains_key(CONTENT_ENCODING)
}

/// `type/subtype` in lower case; `None` if absent.
fn media_type(headers: &HeaderMap) -> Result<Option<String>, InboundError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?");
    let kind = text.split(';').next().unwrap_or_default().trim();
    if kind.is_empty() {
        return Ok(None);
    }
    // Given a list of types, some servers use the first, others the last.
    let is_token = |part: &str| {
        let mark = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || mark(b))
    };
    match kind.split_once('/') {
        Some((main, sub)) if is_token(main) && is_token(sub) => Ok(Some(kind.to_ascii_lowercase())),
        _ => {
            Err(HeadError::Header("the header `content-type` names no media type".to_owned())
                .into())
        }
    }
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = b"multipart/";
    value.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
}

fn charset(headers: &HeaderMap) -> Charset {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let named = value.split([';', ',']).skip(1).filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        match name.trim().to_ascii_lowercase().strip_prefix("charset")? {
            "" => Some(value.trim().trim_matches(['"', '\''])),
            // In the form of RFC 2231, which few servers read.
            rest => rest.starts_with('*').then_some("?"),
        }
    });
    let one = |name: &str| match name.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" => Charset::Utf8,
        "us-ascii" | "ascii" | "iso-8859-1" | "latin1" | "windows-1252" => Charset::AsciiCompatible,
        _ => Charset::Other,
    };
    named.map(one).max_by_key(|charset| *charset as u8).unwrap_or(Charset::Utf8)
}

/// Parses the body `held` for policies.
///
/// # Errors
/// See [`InboundError`].
pub(super) fn parse_body(
    format: BodyFormat,
    headers: &HeaderMap,
    held: &Bytes,
) -> Result<Body, InboundError> {
    if held.is_empty() {
        return Ok(Body::Empty);
    }
    let plain = match charset(headers) {
        Charset::Utf8 => true,
        Charset::AsciiCompatible => held.is_ascii(),
        Charset::Other => false,
    };
    let text = || std::str::from_utf8(held).ok().filter(|_| plain).map(str::to_owned);
    let as_text = || text().map_or(Body::Opaque, Body::Text);
    Ok(match format {
        BodyFormat::Nothing => Body::Opaque,
        BodyFormat::Fields => {
            form::check_whole(headers, held)?;
            Body::Opaque
        }
        BodyFormat::Json | BodyFormat::Form if !plain => return Err(InboundError::Charset),
        BodyFormat::Json => Body::Json(parse(held)?),
        BodyFormat::Form => {
            check_form(held)?;
            as_text()
        }
        BodyFormat::Untyped => {
            check_parameters(held)?;
            match json::parse(held) {
                // With an `&` in it, a form parser would read something else.
                Ok(value) if looks_like_json(held) && !held.contains(&b'&') => {
                    check_members(&value)?;
                    Body::Json(value)
                }
                _ => as_text(),
            }
        }
        BodyFormat::Any if plain && looks_like_json(held) => {
            json::parse(held).map_or_else(|_| as_text(), Body::Json)
        }
        BodyFormat::Any | BodyFormat::Text => {
            if is_multipart(headers) {
                form::check_whole(headers, held)?;
            }
            as_text()
        }
    })
}

fn parse(held: &Bytes) -> Result<Json, InboundError> {
    let value = json::parse(held).map_err(|error| InboundError::Json(error.to_string()))?;
    check_members(&value)?;
    Ok(value)
}

/// Checks for method overrides, which some frameworks read from members, too.
fn check_members(value: &Json) -> Result<(), InboundError> {
    let name = overrides::member_in(value);
    name.map_or(Ok(()), |name| Err(HeadError::Override(name.to_owned()).into()))
}

/// Checks that a form is ASCII, and its escapes are UTF-8.
fn check_form(held: &Bytes) -> Result<(), InboundError> {
    check_parameters(held)?;
    match percent_encoding::percent_decode(held).decode_utf8() {
        Ok(_) => Ok(()),
        Err(_) => Err(InboundError::Form),
    }
}

fn looks_like_json(held: &Bytes) -> bool {
    let first = held.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(provider: Provider, kind: Option<&str>, body: &[u8]) -> Result<Body, InboundError> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_bytes(kind.as_bytes()).unwrap());
        }
        let format = format(provider, None, &headers)?;
        parse_body(format, &headers, &Bytes::copy_from_slice(body))
    }

    fn github(kind: &str, body: &str) -> Result<Body, InboundError> {
        judge(Provider::Github, Some(kind), body.as_bytes())
    }

    #[test]
    fn declared_json_is_json_in_every_parser() {
        for kind in [
            "application/json",
            "APPLICATION/JSON; charset=UTF-8",
            "application/vnd.github+json;charset=\"utf8\"",
            "application/json; charset=iso-8859-1",
            "application/json;",
        ] {
            assert!(matches!(github(kind, r#"{"a":1}"#), Ok(Body::Json(_))), "{kind}");
        }
        for (kind, body) in [
            ("application/json; charset=utf-16", r#"{"a":1}"#),
            ("application/json; charset=utf-7", r#"{"a":1}"#),
            ("application/json; charset=utf-8; charset=utf-16", r#"{"a":1}"#),
            ("application/json; charset*=us-ascii''utf-7", r#"{"a":1}"#),
            ("application/json; Charset*0=utf-; charset*1=7", r#"{"a":1}"#),
            ("application/json; charset=latin1", "{\"a\":\"\u{e9}\"}"),
            ("application/json, text/plain", r#"{"a":1}"#),
            ("text/plain, application/json", r#"{"a":1}"#),
            ("application/json application/json", r#"{"a":1}"#),
            ("json", r#"{"a":1}"#),
            ("application/", r#"{"a":1}"#),
            ("application/json", "\u{feff}{}"),
            ("application/json", "{}{}"),
            ("application/json", r#"{"a":1,"a":2}"#),
            ("application/json", r#"{"_method":"DELETE"}"#),
            ("application/json", "{\"a\":NaN}"),
        ] {
            assert!(github(kind, body).is_err(), "{kind} {body}");
        }
        assert!(github("application/json", &"[".repeat(5_000)).is_err());
        let latin = judge(Provider::Github, Some("application/json; \u{e9}"), b"{}");
        assert!(latin.is_err(), "{latin:?}");
    }

    #[test]
    fn forms_are_checked_with_any_bytes() {
        let form = "application/x-www-form-urlencoded";
        assert!(matches!(github(form, "a=1&b=%0A"), Ok(Body::Text(_))));
        for body in [&b"_method=DELETE&x=\xff"[..], b"x=\xff", b"x=%ff", b"a=1;_method=PUT"] {
            assert!(judge(Provider::Github, Some(form), body).is_err(), "{body:?}");
        }
        // Without a type, Rack takes a body for a form.
        assert!(judge(Provider::Github, None, b"_method=DELETE").is_err());
        assert!(judge(Provider::Github, None, b"_method=DELETE&\xff").is_err());
    }

    #[test]
    fn body_that_could_be_json_or_a_form_is_refused() {
        let both = br#"{"query":"{a}","variables":{"x":"&query=mutation{b}#"}}"#;
        assert!(matches!(judge(Provider::Github, None, both), Ok(Body::Text(_))));
        assert!(matches!(judge(Provider::Github, None, br#"{"query":"{a}"}"#), Ok(Body::Json(_))));
        assert!(matches!(github("text/plain", r#"{"a":1}"#), Ok(Body::Json(_))));
        assert!(matches!(github("text/plain; charset=utf-16", "abc"), Ok(Body::Opaque)));
        assert!(matches!(github("application/octet-stream", "abc"), Ok(Body::Opaque)));
        for kind in ["multipart/form-data; boundary=b", "Multipart/Related; boundary=b"] {
            assert!(matches!(github(kind, "abc"), Ok(Body::Opaque)), "{kind}");
        }
    }

    #[test]
    fn fields_of_forms_with_files_are_looked_at() {
        let field = "--b\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nPUT\r\n--b--";
        for kind in ["form-data", "FORM-DATA", "related", "mixed", "x-other"] {
            let kind = format!("multipart/{kind}; boundary=b");
            assert!(
                matches!(github(&kind, field), Err(InboundError::Head(HeadError::Override(_)))),
                "{kind}"
            );
        }
        let foreign = "multipart/form-data; boundary=b; charset=utf-16";
        assert!(matches!(github(foreign, field), Err(InboundError::Charset)));
        let latin = judge(
            Provider::Github,
            Some("multipart/form-data; boundary=b; charset=latin1"),
            b"--b\r\n\r\n\xff",
        );
        assert!(matches!(latin, Ok(Body::Opaque)), "{latin:?}");
        let encoded = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            format(Provider::Google, None, &headers).unwrap()
        };
        assert_eq!(encoded("multipart/form-data; boundary=b"), BodyFormat::Fields);
        assert_eq!(encoded("multipart/related; boundary=b"), BodyFormat::Nothing);
    }

    #[test]
    fn aws_signs_its_bodies_so_all_but_objects_are_read() {
        let read = |host, kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            format(Provider::Aws, Some(host), &headers).unwrap()
        };
        assert_eq!(read("s3.us-east-1.amazonaws.com", "application/json"), BodyFormat::Nothing);
        assert_eq!(read("lambda.us-east-1.amazonaws.com", "image/png"), BodyFormat::Any);
        assert_eq!(
            read("dynamodb.us-east-1.amazonaws.com", "application/x-amz-json-1.0"),
            BodyFormat::Json
        );
    }
}
