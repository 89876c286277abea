//! Errors in the form of AWS services: JSON, XML or CBOR, by the protocol of the client. Clients
//! that did not sign the request are no AWS SDKs, and get the JSON of the gate.

use axum::body::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::dialect::{add, in_json, of_type};
use crate::action::{Provider, destination};
use crate::intent;

/// Response format of an AWS service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON, including REST services.
    Json,
    /// Smithy's RPC v2.
    Cbor,
    /// XML of S3: the error is the root element.
    S3,
    /// XML of EC2: a list of errors.
    Ec2,
    /// XML of all other services.
    Xml,
}

/// Error code of a condition. Those in XML formats are older.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code {
    pub(super) in_json: &'static str,
    pub(super) in_xml: &'static str,
}

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");

impl Form {
    /// The format expected by the client of a request for `/service/…`.
    pub(super) fn of(path: &str, parts: &Parts) -> Self {
        let starts = |name: HeaderName, start: &[u8]| {
            parts.headers.get(name).is_some_and(|value| value.as_bytes().starts_with(start))
        };
        let query = parts.uri.query().unwrap_or_default();
        let is_signed = starts(AUTHORIZATION, b"AWS4-") || query.contains("X-Amz-Signature=");
        let is_form = || {
            starts(CONTENT_TYPE, b"application/x-www-form-urlencoded")
                || query.split('&').any(|pair| pair.starts_with("Action="))
        };
        let host = destination(Provider::Aws, path, None).host.unwrap_or_default();
        match host.split('.').next().unwrap_or_default() {
            _ if !is_signed => Self::Json,
            _ if starts(PROTOCOL, b"rpc-v2-cbor") => Self::Cbor,
            "s3" => Self::S3,
            "ec2" => Self::Ec2,
            _ if intent::answers_in_xml(&host) || is_form() => Self::Xml,
            _ => Self::Json,
        }
    }

    pub(super) fn written(
        self,
        code: Code,
        message: &str,
        mut body: Map<String, Value>,
    ) -> (HeaderMap, Bytes) {
        let id = body.get("request_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (mut headers, bytes) = match self {
            Self::Json | Self::Cbor => {
                add(&mut body, json!({ "message": message, "__type": code.in_json }));
                let body = Value::Object(body);
                match self {
                    Self::Json => in_json(&body),
                    _ => (of_type("application/cbor"), cbor(&body).into()),
                }
            }
            Self::S3 | Self::Ec2 | Self::Xml => {
                let error = json!({ "Type": "Sender", "Code": code.in_xml, "Message": message });
                let mut inside = String::new();
                [&error, &Value::Object(body)].iter().for_each(|part| xml(part, &mut inside));
                let id = escaped(&id);
                let text = match self {
                    Self::S3 => format!("<Error>{inside}<RequestId>{id}</RequestId></Error>"),
                    Self::Ec2 => format!(
                        "<Response><Errors><Error>{inside}</Error></Errors>\
                         <RequestID>{id}</RequestID></Response>"
                    ),
                    _ => format!(
                        "<ErrorResponse><Error>{inside}</Error>\
                         <RequestId>{id}</RequestId></ErrorResponse>"
                    ),
                };
                let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}");
                (of_type("application/xml"), text.into())
            }
        };
        if self == Self::Cbor {
            headers.insert(PROTOCOL, HeaderValue::from_static("rpc-v2-cbor"));
        }
        headers.insert(ERROR_TYPE, HeaderValue::from_static(code.in_json));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        (headers, bytes)
    }
}

/// Writes the members of `value` as elements. Their names are fixed, so they need no escaping.
fn xml(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                out.push_str(&format!("<{name}>"));
                xml(member, out);
                out.push_str(&format!("</{name}>"));
            }
        }
        Value::String(text) => out.push_str(&escaped(text)),
        other => out.push_str(&escaped(&other.to_string())),
    }
}

/// Escapes text for XML 1.0, which cannot represent most control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => {
                out.push(letter);
            }
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    out
}

/// Encodes `value` as CBOR (RFC 8949).
pub(in crate::rest) fn cbor(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_cbor(value, &mut out);
    out
}

fn write_cbor(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(holds) => out.push(0xf4 | u8::from(*holds)),
        Value::Number(number) => match number.as_u64() {
            Some(count) => head(0, count, out),
            None => {
                out.push(0xfb);
                out.extend(number.as_f64().unwrap_or(f64::NAN).to_be_bytes());
            }
        },
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            head(4, items.len() as u64, out);
            items.iter().for_each(|item| write_cbor(item, out));
        }
        Value::Object(members) => {
            head(5, members.len() as u64, out);
            for (name, member) in members {
                write_text(name, out);
                write_cbor(member, out);
            }
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    head(3, text.len() as u64, out);
    out.extend(text.as_bytes());
}

/// Writes the head of a CBOR item: its major type and argument.
fn head(major: u8, count: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match count {
        0..24 => out.push(major | count as u8),
        _ => {
            out.push(major | 27);
            out.extend(count.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn form(path: &str, target: &str, headers: &[(&str, &str)]) -> Form {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Form::of(path, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn each_service_answers_in_what_its_clients_read() {
        let signed = ("authorization", "AWS4-HMAC-SHA256 Credential=x");
        let sends_form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let speaks_cbor = ("smithy-protocol", "rpc-v2-cbor");
        for (path, target, headers, expected) in [
            ("/s3/b/k", "/", &[signed][..], Form::S3),
            ("/s3/b/k", "/", &[("x-agent-key", "ag_x")], Form::Json),
            ("/s3/b/k", "/?X-Amz-Signature=1", &[], Form::S3),
            ("/s3-control/x", "/", &[signed], Form::Xml),
            ("/s3control/x", "/", &[signed], Form::Xml),
            ("/ec2/", "/", &[signed, sends_form], Form::Ec2),
            ("/iam/", "/", &[signed, sends_form], Form::Xml),
            ("/sts/", "/?Action=GetCallerIdentity&X-Amz-Signature=1", &[], Form::Xml),
            ("/route53/x", "/", &[signed], Form::Xml),
            ("/lambda/x", "/", &[signed], Form::Json),
            ("/monitoring/x", "/", &[signed, speaks_cbor], Form::Cbor),
        ] {
            assert_eq!(form(path, target, headers), expected, "{path} {target}");
        }
    }

    #[test]
    fn texts_of_others_stay_texts() {
        let mut out = String::new();
        xml(
            &json!({ "why": "a</why>&\u{0}\u{1f}\r\u{ffff}", "not": null, "in": { "n": 0.5 } }),
            &mut out,
        );
        let replaced = "\u{fffd}";
        assert_eq!(
            out,
            format!(
                "<why>a&lt;/why&gt;&amp;{replaced}{replaced}&#13;{replaced}</why><in><n>0.5</n></in>"
            )
        );
    }

    #[test]
    fn json_is_written_as_cbor() {
        let value = json!({ "a": "x", "n": [1, 300, 0.5, true, null] });
        let expected = [
            &[0xa2, 0x61, b'a', 0x61, b'x', 0x61, b'n', 0x85, 0x01][..],
            &[0x1b, 0, 0, 0, 0, 0, 0, 1, 0x2c],
            &[0xfb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0, 0xf5, 0xf6],
        ];
        assert_eq!(cbor(&value), expected.concat());
    }
}
