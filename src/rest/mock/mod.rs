//! Test mode: answers that look like the providers', with nothing sent
//! anywhere. Policies can be tried without credentials; everything before the
//! answer runs for real.
//!
//! What a provider answers stands in a table beside this file, by method and
//! path; what no line of it takes gets a plausible thing, or a list of things.

mod batch;
mod graphql;
mod table;

use std::sync::LazyLock;

use axum::Json;
use axum::response::IntoResponse as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use serde_json::{Map, Value, json};

use self::table::{MockRequest, MockResponse, Table};
use crate::action::{Action, Body, HttpRequest, Provider, Target};
use crate::intent::{Analysis, Intent, analyse, answers_in_xml};
use crate::json::Json as Strict;
use crate::net;
use crate::rest::reply::cbor;
use crate::rest::route::Upstream;

/// Marks a response as a mock.
pub const TEST_MODE: HeaderName = HeaderName::from_static("x-agentgate-testmode");

/// Timestamp of everything in mock responses.
const MOCK_TIME: &str = "2026-01-15T09:00:00Z";

/// Maximum number of requests answered in one batch.
const MAX_BATCH: usize = 1_000;

/// The response tables, in the order of [`Provider::ALL`].
static TABLES: LazyLock<[Table; 10]> = LazyLock::new(|| TEXTS.map(Table::read));

const TEXTS: [&str; 10] = [
    include_str!("google.json"),
    include_str!("microsoft.json"),
    include_str!("slack.json"),
    include_str!("github.json"),
    include_str!("jira.json"),
    include_str!("notion.json"),
    include_str!("linear.json"),
    include_str!("hubspot.json"),
    include_str!("salesforce.json"),
    include_str!("aws.json"),
];

/// The host in mock responses, for providers where each customer has its own.
#[must_use]
pub fn upstream(provider: Provider) -> Option<Upstream> {
    match provider {
        Provider::Jira => Upstream::parse("https://mock.atlassian.net").ok(),
        _ => None,
    }
}

/// The mock response to an admitted request.
#[must_use]
pub fn answer(action: &Action) -> Response<net::Body> {
    let mut response = match &action.target {
        Target::Http(request) => of(request, &analyse(action)),
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    response.headers_mut().insert(TEST_MODE, HeaderValue::from_static("true"));
    // The response to `HEAD` has the length of the omitted body.
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn of(request: &HttpRequest, analysis: &Analysis) -> Response<net::Body> {
    if let Some(answer) = graphql::answer(request) {
        return Json(answer).into_response();
    }
    if let Some(answers) = batch::of_google(request) {
        return answers;
    }
    let sent = sent(&request.body);
    if request.provider == Provider::Microsoft
        && let Some(Value::Array(requests)) = sent.get("requests")
        && request.path.ends_with("/$batch")
    {
        return Json(json!({ "responses": members(requests), "mock": true })).into_response();
    }
    let (method, path) = addressed(request, analysis);
    let mock = MockRequest { method: &method, path: &path, query: &request.query, sent: &sent };
    let found = found(request, &mock, analysis);
    let speaks_cbor = |(name, value): &(String, String)| {
        name == "smithy-protocol" && value.starts_with("rpc-v2-cbor")
    };
    match request.provider == Provider::Aws && request.headers.iter().any(speaks_cbor) {
        true => in_cbor(&found),
        false => written(found),
    }
}

/// A response of AWS services that use Smithy RPC v2.
fn in_cbor(found: &MockResponse) -> Response<net::Body> {
    let body = if found.body.is_object() { cbor(&found.body) } else { cbor(&json!({})) };
    let kind = HeaderValue::from_static("application/cbor");
    let protocol = HeaderValue::from_static("rpc-v2-cbor");
    let protocol = (HeaderName::from_static("smithy-protocol"), protocol);
    ([(CONTENT_TYPE, kind), protocol], body).into_response()
}

/// Method and path to look up. For AWS these are operation and service, or method and service.
fn addressed(request: &HttpRequest, analysis: &Analysis) -> (String, String) {
    if request.provider != Provider::Aws {
        return (request.method.clone(), request.path.clone());
    }
    let host = request.host.as_deref().unwrap_or_default();
    let service = host.split('.').next().unwrap_or_default();
    match &analysis.operation {
        Some(operation) => (service.to_owned(), format!("/{operation}")),
        None => (format!("{service}:{}", request.method), request.path.clone()),
    }
}

fn found(request: &HttpRequest, mock: &MockRequest<'_>, analysis: &Analysis) -> MockResponse {
    let place = Provider::ALL.iter().position(|one| *one == request.provider).unwrap_or_default();
    let Some(table) = TABLES.get(place) else { return MockResponse::nothing() };
    let Analysis { intent, resource, operation, .. } = analysis;
    let found = table.find(mock).or_else(|| aws_in_xml(request, operation.as_deref()));
    found.unwrap_or_else(|| match intent {
        Intent::Delete if mock.method == "DELETE" => MockResponse::nothing(),
        intent => table.plausible(mock, resource, *intent == Intent::Create),
    })
}

/// AWS services with form requests respond in XML, and so do some REST services; all others in
/// JSON. SDKs accept a document without members.
fn aws_in_xml(request: &HttpRequest, operation: Option<&str>) -> Option<MockResponse> {
    let in_rpc = ["x-amz-target", "smithy-protocol"];
    let is_rpc = request.headers.iter().any(|(name, _)| in_rpc.contains(&name.as_str()));
    if request.provider != Provider::Aws || is_rpc {
        return None;
    }
    let body = match operation {
        Some(operation) => format!(
            "<{operation}Response><{operation}Result/><ResponseMetadata><RequestId>mock\
             </RequestId></ResponseMetadata></{operation}Response>"
        ),
        None if request.host.as_deref().is_some_and(answers_in_xml) => "<Mock/>".to_owned(),
        None => return None,
    };
    Some(MockResponse::new(200, body.into()))
}

fn written(found: MockResponse) -> Response<net::Body> {
    let MockResponse { status, mut body, headers } = found;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = match &mut body {
        Value::Null => {
            let tag = HeaderValue::from_static("\"d41d8cd98f00b204e9800998ecf8427e\"");
            (status, [(http::header::ETAG, tag)]).into_response()
        }
        // S3 and the query services use XML.
        Value::String(text) => {
            let xml = text.starts_with('<');
            let kind = if xml { "application/xml" } else { "text/plain" };
            let kind = HeaderValue::from_static(kind);
            (status, [(CONTENT_TYPE, kind)], std::mem::take(text)).into_response()
        }
        Value::Object(members) => {
            members.insert("mock".to_owned(), true.into());
            (status, Json(body)).into_response()
        }
        _ => (status, Json(body)).into_response(),
    };
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Responses to the members of Microsoft Graph's batch.
fn members(requests: &[Value]) -> Vec<Value> {
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let one = |member: &Value| {
        let (method, url) = (text(member, "method"), text(member, "url"));
        let path = url.split('?').next().unwrap_or_default();
        let path = Provider::Microsoft.full_form(path);
        let sent = member.get("body").and_then(Value::as_object).cloned().unwrap_or_default();
        let mock = MockRequest { method: &method, path: &path, query: &[], sent: &sent };
        let table = TABLES.get(1);
        let found = table.and_then(|table| {
            table.find(&mock).or_else(|| Some(table.plausible(&mock, "item", false)))
        });
        let MockResponse { status, body, .. } = found.unwrap_or_else(MockResponse::nothing);
        json!({ "id": member.get("id"), "status": status, "body": body })
    };
    requests.iter().take(MAX_BATCH).map(one).collect()
}

/// The fields of the resource that the request creates or changes.
fn sent(body: &Body) -> Map<String, Value> {
    let text = match body {
        Body::Json(json @ Strict::Object(_)) => json.to_string(),
        Body::Text(form) => {
            let pairs = form_urlencoded::parse(form.as_bytes());
            return pairs.map(|(name, value)| (name.into_owned(), value.into())).collect();
        }
        _ => return Map::new(),
    };
    serde_json::from_str(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_read_whole() {
        for (provider, text) in Provider::ALL.into_iter().zip(TEXTS) {
            let name = provider.as_str();
            let written: Value =
                serde_json::from_str(text).unwrap_or_else(|why| panic!("{name}: {why}"));
            let table = Table::read(text);
            assert_eq!(Some(table.len()), written["answers"].as_array().map(Vec::len), "{name}");
            assert_eq!(table.dangling(), Vec::<String>::new(), "{name}");
        }
    }
}
