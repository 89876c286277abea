//! The payload of an action: its arguments, as shown in the log and covered by the digest.

use std::borrow::Cow;

use super::{Action, Body, FORM, HttpRequest, Provider, Target, is_of_type};
use crate::json::{Json, Object};

/// The content of an action, as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The arguments of a tool, the parameters of a method, or a JSON object as the only
    /// content.
    Whole(&'a Object),
    /// The parts of an HTTP request that are present, by name: `host`, `headers`, `query`,
    /// `form`, `body` and `raw`, in this order.
    Parts(Vec<(&'static str, Cow<'a, Json>)>),
}

/// Headers that determine what an AWS request does.
const TELLING: [&str; 3] = ["x-amz-acl", "x-amz-copy-source", "x-amz-target"];

impl Action {
    /// The content; `None` if there is none.
    #[must_use]
    pub fn payload(&self) -> Option<Payload<'_>> {
        match &self.target {
            Target::Http(request) => of_http(request),
            other => other.args().map(Payload::Whole),
        }
    }
}

impl Payload<'_> {
    /// Canonical text for digests; see [`Json::canonical`].
    #[must_use]
    pub fn canonical(&self) -> String {
        match self {
            Self::Whole(object) => object.canonical(),
            Self::Parts(parts) => {
                let mut parts: Vec<_> = parts.iter().collect();
                parts.sort_unstable_by_key(|(name, _)| *name);
                let member = |(name, value): &(_, Cow<'_, Json>)| {
                    format!("\"{name}\":{}", value.canonical())
                };
                let members: Vec<_> = parts.into_iter().map(member).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

fn of_http(request: &HttpRequest) -> Option<Payload<'_>> {
    let mut parts = around_the_body(request);
    match &request.body {
        Body::Json(Json::Object(body)) if parts.is_empty() && !looks_like_parts(body) => {
            return Some(Payload::Whole(body));
        }
        // In raw form, to differ from a `body` that was sent as a string.
        Body::Json(text @ Json::String(_)) => parts.push(("raw", raw(&text.to_string()))),
        Body::Json(body) => parts.push(("body", Cow::Borrowed(body))),
        Body::Text(text) if is_form(request, text) => {
            let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
            parts.push(("form", parameters(&pairs)));
        }
        Body::Text(text) => parts.push(("raw", raw(text))),
        Body::Empty | Body::Opaque => {}
    }
    (!parts.is_empty()).then_some(Payload::Parts(parts))
}

fn around_the_body(request: &HttpRequest) -> Vec<(&'static str, Cow<'_, Json>)> {
    let mut parts = Vec::new();
    let host = request.host.as_deref().filter(|host| request.provider.main_host() != Some(host));
    if let Some(host) = host {
        parts.push(("host", raw(host)));
    }
    if request.provider == Provider::Aws {
        let telling = |(name, _): &&(String, String)| TELLING.contains(&name.as_str());
        let telling = request.headers.iter().filter(telling);
        let headers: Vec<_> = telling.map(|(name, value)| (name, value)).collect();
        if !headers.is_empty() {
            parts.push(("headers", parameters(&headers)));
        }
    }
    // A file's URL may contain a credential under any name.
    if !request.query.is_empty() && !request.is_file {
        parts.push(("query", parameters(&request.query)));
    }
    parts
}

/// Whether a JSON object looks like the parts of a request; it is then shown as `body`.
fn looks_like_parts(body: &Object) -> bool {
    let is_part = |(name, value): (&str, &Json)| match name {
        "host" | "raw" => matches!(value, Json::String(_)),
        "headers" | "query" | "form" => matches!(value, Json::Object(_)),
        "body" => !matches!(value, Json::String(_)),
        _ => false,
    };
    !body.is_empty() && body.iter().all(is_part)
}

/// Whether `text` is shown as a form. Without a content type some servers read it as one,
/// unless it starts like another format.
fn is_form(request: &HttpRequest, text: &str) -> bool {
    match request.content_types().next().unwrap_or_default() {
        kind if is_of_type(kind, "") => {
            text.contains('=') && !text.trim_start().starts_with(['{', '[', '<'])
        }
        kind => is_of_type(kind, FORM),
    }
}

fn parameters<T: AsRef<str>>(pairs: &[(T, T)]) -> Cow<'static, Json> {
    Cow::Owned(Json::Object(Object::from_parameters(pairs)))
}

fn raw(text: &str) -> Cow<'static, Json> {
    Cow::Owned(Json::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;
    use crate::request::{UnknownKeys, parse_text};

    /// The text of what `request` carries, written down as `explain` reads it.
    fn carried(request: &str) -> String {
        let action = parse_text(request.as_bytes(), UnknownKeys::Refuse).unwrap();
        action.payload().map(|payload| payload.canonical()).unwrap_or_default()
    }

    fn rest(provider: &str, rest: &str) -> String {
        carried(&format!(r#"{{"provider":"{provider}","method":"POST","path":"/x",{rest}}}"#))
    }

    #[test]
    fn single_json_object_is_its_own_payload() {
        for body in [
            r#"{"text":"hi"}"#,
            r#"{"query":"{ viewer { id } }"}"#,
            r#"{"body":"a comment"}"#,
            r#"{"body":{},"query":{},"title":"x"}"#,
            "{}",
        ] {
            assert_eq!(rest("github", &format!(r#""body":{body}"#)), body);
            let there = format!(r#""host":"api.github.com","body":{body}"#);
            assert_eq!(rest("github", &there), body);
        }
        assert_eq!(carried(r#"{"tool":"t","args":{"query":{"a":"1"}}}"#), r#"{"query":{"a":"1"}}"#);
        assert_eq!(rest("github", r#""host":"api.github.com""#), "");
        let file = r#"{"provider":"slack","method":"GET","path":"/files.slack.com/files-pri/T-F/a","query":"t=xoxe-1"}"#;
        assert_eq!(carried(file), r#"{"host":"files.slack.com"}"#);
    }

    #[test]
    fn other_requests_are_described_by_their_parts() {
        for (provider, sent, shown) in [
            (
                "github",
                r#""query":"a=1&b=%26&a=2&c""#,
                r#"{"query":{"a":["1","2"],"b":"&","c":""}}"#,
            ),
            (
                "github",
                r#""query":"a=1","body":{"b":1.0}"#,
                r#"{"body":{"b":1.0},"query":{"a":"1"}}"#,
            ),
            ("linear", r#""body":[{"query":"{a}"}]"#, r#"{"body":[{"query":"{a}"}]}"#),
            ("github", r#""body":7"#, r#"{"body":7}"#),
            (
                "slack",
                r#""headers":{"Content-Type":"application/x-www-form-urlencoded; charset=utf-8"},"body":"channel=C1&text=a+b""#,
                r#"{"form":{"channel":"C1","text":"a b"}}"#,
            ),
            ("slack", r#""body":"channel=C1""#, r#"{"form":{"channel":"C1"}}"#),
            (
                "linear",
                r#""headers":{"content-type":"application/graphql"},"body":"{ a(b: c=1) }""#,
                r#"{"raw":"{ a(b: c=1) }"}"#,
            ),
            ("aws", r#""body":"<x a='1'/>""#, r#"{"raw":"<x a='1'/>"}"#),
            ("aws", r#""host":"iam.amazonaws.com""#, r#"{"host":"iam.amazonaws.com"}"#),
            (
                "aws",
                r#""host":"dynamodb.us-east-1.amazonaws.com","headers":{"X-Amz-Target":"D.DeleteTable","X-Amz-Date":"1"},"body":{"TableName":"t"}"#,
                r#"{"body":{"TableName":"t"},"headers":{"x-amz-target":"D.DeleteTable"},"host":"dynamodb.us-east-1.amazonaws.com"}"#,
            ),
        ] {
            assert_eq!(rest(provider, sent), shown);
            assert!(parse(shown.as_bytes()).is_ok());
        }
    }

    #[test]
    fn a_body_does_not_pass_for_what_it_is_not() {
        for body in [
            r#"{"query":{"dry_run":"true"}}"#,
            r#"{"form":{"Action":"ListUsers"}}"#,
            r#"{"body":[1]}"#,
            r#"{"raw":"x"}"#,
            r#"{"host":"iam.amazonaws.com"}"#,
        ] {
            let shown = rest("aws", &format!(r#""body":{body}"#));
            assert_eq!(shown, format!(r#"{{"body":{body}}}"#));
        }
        let mut action = parse_text(
            br#"{"provider":"github","method":"POST","path":"/x"}"#,
            UnknownKeys::Refuse,
        )
        .unwrap();
        let Target::Http(request) = &mut action.target else { panic!("not REST") };
        request.body = Body::Json(Json::String("hi".to_owned()));
        assert_eq!(action.payload().unwrap().canonical(), r#"{"raw":"\"hi\""}"#);
    }
}
