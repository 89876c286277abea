//! In which form the SDKs of a provider look for an error. The gate's own members are
//! the same in all of them; each adds what its SDKs show to whoever reads the error.
//! Nothing here may make an SDK try again what was refused.

use axum::body::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::aws::{self, Form};
use crate::action::Provider;
use crate::intent;

/// How the one who asks reads an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// By the gate's own members.
    Plain,
    /// As this provider writes its errors.
    Of(Provider),
    /// The same, for an SDK that takes `error` for an object and fails over a text.
    Nested(Provider),
    /// As GraphQL does.
    Graphql,
    /// As an AWS service does.
    Aws(Form),
}

/// What is wrong, as far as vendors tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Malformed,
    Unauthenticated,
    Refused,
    Limited,
    Unavailable,
}

/// The vendors' words for a kind of error.
struct Words {
    notion: &'static str,
    hubspot: &'static str,
    linear: &'static str,
    aws: aws::Code,
}

impl Dialect {
    /// That of a request for `path`, below the provider's name.
    #[must_use]
    pub fn of(provider: Provider, path: &str, parts: &Parts) -> Self {
        match provider {
            Provider::Aws => Self::Aws(Form::of(path, parts)),
            _ if intent::takes_documents(provider, path) => Self::Graphql,
            _ if wants_object(provider, &parts.headers) => Self::Nested(provider),
            _ => Self::Of(provider),
        }
    }

    /// `body`, with what the SDKs look for, and the headers that say what it is.
    pub(super) fn written(
        self,
        status: StatusCode,
        mut body: Map<String, Value>,
    ) -> (HeaderMap, Bytes) {
        let message = message(&body);
        let words = Kind::of(status, &body).words();
        let id = body.get("request_id").cloned().unwrap_or_default();
        let more = match self {
            Self::Of(Provider::Notion) => {
                json!({ "object": "error", "status": status.as_u16(), "code": words.notion })
            }
            Self::Of(Provider::Slack) => json!({ "ok": false }),
            Self::Of(Provider::Jira) => json!({ "errorMessages": [&*message], "errors": {} }),
            Self::Of(Provider::Hubspot) => {
                json!({ "status": "error", "category": words.hubspot, "correlationId": id })
            }
            Self::Graphql => {
                let kind = json!({ "type": words.linear, "code": body.get("error") });
                json!({ "errors": [{ "message": &*message, "extensions": kind }] })
            }
            Self::Nested(provider) => {
                let code = body.get("error").cloned().unwrap_or_default();
                let error = nested(provider, status, &code, &message);
                json!({ "error": body.insert("error".to_owned(), error) })
            }
            Self::Aws(form) => return form.written(words.aws, &message, body),
            Self::Plain | Self::Of(_) => json!({}),
        };
        add(&mut body, json!({ "message": message }));
        add(&mut body, more);
        in_json(&Value::Object(body))
    }
}

/// Whether the client says that it is an SDK which looks for members of `error`: those
/// of Google and what Kiota generates for Graph. google-api-python-client takes a text, too.
fn wants_object(provider: Provider, headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match provider {
        Provider::Google => says("x-goog-api-client")
            .is_some_and(|it| !(it.contains("gdcl/") && it.contains("gl-python/"))),
        Provider::Microsoft => says("user-agent").is_some_and(|it| it.contains("kiota-")),
        _ => false,
    }
}

fn nested(provider: Provider, status: StatusCode, code: &Value, message: &str) -> Value {
    match provider {
        Provider::Google => json!({
            "code": status.as_u16(),
            "message": message,
            "errors": [{ "domain": "agentgate", "reason": code, "message": message }],
        }),
        _ => json!({ "code": code, "message": message }),
    }
}

/// What stands there already, stays.
pub(super) fn add(body: &mut Map<String, Value>, more: Value) {
    let Value::Object(more) = more else { return };
    for (name, value) in more {
        body.entry(name).or_insert(value);
    }
}

pub(super) fn in_json(body: &Value) -> (HeaderMap, Bytes) {
    (of_type("application/json"), body.to_string().into())
}

pub(super) fn of_type(kind: &'static str) -> HeaderMap {
    let kind = HeaderValue::from_static(kind);
    [(http::header::CONTENT_TYPE, kind)].into_iter().collect()
}

/// All of it in one text. A policy's words neither begin nor end it: some SDKs take a
/// message for a rate limit's by how it begins or ends, and try again.
fn message(body: &Map<String, Value>) -> String {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let why = text("reason").or_else(|| text("detail")).unwrap_or_default();
    match text("suggestion") {
        Some(suggestion) => format!("AgentGate: {why} ({suggestion})"),
        None => format!("AgentGate: {why}"),
    }
}

impl Kind {
    fn of(status: StatusCode, body: &Map<String, Value>) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            // What never passes must not be tried again and again.
            StatusCode::TOO_MANY_REQUESTS
                if body.get("retry_after").is_some_and(Value::is_number) =>
            {
                Self::Limited
            }
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => Self::Refused,
            status if status.is_server_error() => Self::Unavailable,
            _ => Self::Malformed,
        }
    }

    fn words(self) -> Words {
        let (notion, hubspot, linear, in_json, in_xml) = match self {
            Self::Malformed => (
                "validation_error",
                "VALIDATION_ERROR",
                "invalid input",
                "ValidationException",
                "ValidationError",
            ),
            Self::Unauthenticated => (
                "unauthorized",
                "INVALID_AUTHENTICATION",
                "authentication error",
                "UnrecognizedClientException",
                "InvalidClientTokenId",
            ),
            Self::Refused => (
                "restricted_resource",
                "FORBIDDEN",
                "forbidden",
                "AccessDeniedException",
                "AccessDenied",
            ),
            Self::Limited => {
                ("rate_limited", "RATE_LIMITS", "ratelimited", "ThrottlingException", "Throttling")
            }
            Self::Unavailable => (
                "service_unavailable",
                "INTERNAL_ERROR",
                "internal error",
                "ServiceUnavailableException",
                "ServiceUnavailable",
            ),
        };
        Words { notion, hubspot, linear, aws: aws::Code { in_json, in_xml } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dialect: Dialect, status: StatusCode, body: &Value) -> Value {
        let (_, bytes) = dialect.written(status, body.as_object().cloned().unwrap());
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn the_gates_own_members_stay_and_policies_words_stand_inside() {
        let all = Provider::ALL.map(Dialect::Of);
        for dialect in all.into_iter().chain([Dialect::Plain, Dialect::Graphql]) {
            let said = json!({
                "error": "access_denied",
                "reason": "API rate limit exceeded",
                "suggestion": "Please retry your request again later.",
            });
            let written = written(dialect, StatusCode::FORBIDDEN, &said);
            for (name, value) in said.as_object().unwrap() {
                assert_eq!(&written[name], value, "{dialect:?}");
            }
            let message = written["message"].as_str().unwrap();
            assert!(message.starts_with("AgentGate: ") && message.ends_with(".)"), "{message}");
        }
    }

    #[test]
    fn only_sdks_that_fail_over_a_text_get_an_object() {
        let dialect = |provider, header: &str| {
            let (name, value) = header.split_once(": ").unwrap();
            let request = http::Request::builder().header(name, value).body(()).unwrap();
            Dialect::of(provider, "/x", &request.into_parts().0)
        };
        let (google, graph) = (Provider::Google, Provider::Microsoft);
        let cloud = "x-goog-api-client: gl-python/3.11 gccl/3.17";
        assert_eq!(dialect(google, cloud), Dialect::Nested(google));
        let node = "x-goog-api-client: gdcl/8.0.1 gl-node/22.1.0";
        assert_eq!(dialect(google, node), Dialect::Nested(google));
        let python = "x-goog-api-client: gdcl/2.202.0 gl-python/3.11.7";
        assert_eq!(dialect(google, python), Dialect::Of(google));
        assert_eq!(dialect(google, "user-agent: curl/8"), Dialect::Of(google));
        let kiota = "user-agent: python-httpx/0.28.1 kiota-python/1.16.0";
        assert_eq!(dialect(graph, kiota), Dialect::Nested(graph));
        assert_eq!(dialect(Provider::Slack, cloud), Dialect::Of(Provider::Slack));
        let said = json!({ "error": "access_denied", "reason": "no", "request_id": "1" });
        for provider in [google, graph] {
            let nested = written(Dialect::Nested(provider), StatusCode::FORBIDDEN, &said);
            assert_eq!(nested["error"]["message"], "AgentGate: no");
            assert_eq!((&nested["reason"], &nested["request_id"]), (&json!("no"), &json!("1")));
        }
    }

    #[test]
    fn what_never_passes_is_not_called_a_limit() {
        let code = |retry_after: Value| {
            let said = json!({ "error": "rate_limited", "retry_after": retry_after });
            written(Dialect::Of(Provider::Notion), StatusCode::TOO_MANY_REQUESTS, &said)["code"]
                .clone()
        };
        assert_eq!(code(json!(60)), "rate_limited");
        assert_eq!(code(Value::Null), "restricted_resource");
    }
}
