//! Google's batches in test mode: each request is answered as it would be alone, with
//! the id that its part has.

use axum::response::IntoResponse as _;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::table::{MockRequest, MockResponse};
use super::{MAX_BATCH, TABLES, sent};
use crate::action::{Body, HttpRequest, Provider};
use crate::intent::batch;
use crate::net;

/// The mock response to a batch of Google's API; `None` for other requests.
pub(super) fn of_google(request: &HttpRequest) -> Option<Response<net::Body>> {
    let (Provider::Google, Body::Text(text)) = (request.provider, &request.body) else {
        return None;
    };
    let members = batch::members(request)?.ok()?;
    let mut ids = text.lines().filter_map(content_id);
    let mut body = String::new();
    for member in members.iter().take(MAX_BATCH) {
        let id = ids.next().unwrap_or_default();
        let MockResponse { status, body: content, .. } = answer(member);
        body.push_str(&format!(
            "--mock\r\nContent-Type: application/http\r\nContent-ID: <response-{id}>\r\n\r\n\
             HTTP/1.1 {status} Mock\r\nContent-Type: application/json\r\n\r\n{content}\r\n"
        ));
    }
    body.push_str("--mock--\r\n");
    let kind = HeaderValue::from_static("multipart/mixed; boundary=mock");
    Some(([(CONTENT_TYPE, kind)], body).into_response())
}

fn answer(member: &HttpRequest) -> MockResponse {
    let [table, ..] = &*TABLES;
    let sent = sent(&member.body);
    let HttpRequest { method, path, query, .. } = member;
    let request = MockRequest { method, path, query, sent: &sent };
    let found = table.find(&request);
    found.unwrap_or_else(|| match &**method {
        "DELETE" => MockResponse::nothing(),
        _ => table.plausible(&request, "item", false),
    })
}

/// The id in `Content-ID: <id>`. An admitted batch has such a line for each part, or for none.
fn content_id(line: &str) -> Option<&str> {
    let (name, value) = line.split_once(':')?;
    let value = value.trim();
    let id = value.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(value);
    name.eq_ignore_ascii_case("content-id").then_some(id)
}
