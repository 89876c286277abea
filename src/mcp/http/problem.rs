//! Refusals before a message is judged, and failures after: a status, and a
//! JSON-RPC error that clients can read.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::headers::encoding;
use crate::decision_headers;
use crate::mcp::reply::{Mark, Speaker, Told};
use crate::mcp::scan::is_id;
use crate::net::Body;

/// Bytes of an answer that is none that are told to the client.
const QUOTED: usize = 500;

/// A JSON-RPC error with an HTTP status. `id` is as it was written; a batch has none.
#[must_use]
pub fn error(status: StatusCode, id: Option<&[u8]>, code: i64, message: &str) -> Response<Body> {
    let id = id.filter(|id| is_id(id)).and_then(|id| std::str::from_utf8(id).ok());
    let id = id.unwrap_or("null");
    let error = json!({ "code": code, "message": message });
    json_rpc(status, format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into())
}

/// A JSON-RPC message as the answer to a POST.
#[must_use]
pub fn json_rpc(status: StatusCode, message: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// That another try does not change an answer, whatever its status says.
#[derive(Debug, Clone, Copy)]
struct Lasting;

/// The answer, as one that another try does not change.
pub(super) fn lasting(mut response: Response<Body>) -> Response<Body> {
    response.extensions_mut().insert(Lasting);
    response
}

/// That another try may change an answer, whatever its status says.
#[derive(Debug, Clone, Copy)]
struct Passing;

/// The answer, as one that another try may change.
pub(super) fn passing(mut response: Response<Body>) -> Response<Body> {
    response.extensions_mut().insert(Passing);
    response
}

/// Whether a refusal may pass by itself.
pub(super) fn is_passing(response: &Response<Body>) -> bool {
    let status = response.status();
    let may_pass = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || response.extensions().get::<Passing>().is_some();
    may_pass && response.extensions().get::<Lasting>().is_none()
}

/// Nothing but a status.
#[must_use]
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Says which row of the log an answer belongs to.
pub fn mark(response: &mut Response<Body>, row: Option<&str>) {
    decision_headers::row(response.headers_mut(), row);
}

/// Rows that one header names: what peers take as headers is some kilobytes in all.
const MAX_ROWS: usize = 64;

/// Says of an answer what its mark says.
pub(super) fn mark_with(response: &mut Response<Body>, mark: &Mark) {
    let rows: Vec<&str> = mark.rows.iter().take(MAX_ROWS).map(String::as_str).collect();
    self::mark(response, Some(rows.join(", ")).as_deref().filter(|rows| !rows.is_empty()));
    decision_headers::quota(response.headers_mut(), mark.quota.as_ref());
}

/// That a server redirects, in words.
pub(super) fn redirected(headers: &HeaderMap) -> String {
    let place = headers.get(LOCATION).and_then(|place| place.to_str().ok()).unwrap_or("nowhere");
    format!("the server redirects to {place}; redirects are not followed")
}

/// What is wrong where a body is encoded that has to be read.
pub(super) fn refuse_encoded(headers: &HeaderMap) -> Result<(), String> {
    match encoding(headers) {
        Some(encoding) => Err(format!("the server answers in {encoding}, and was asked not to")),
        None => Ok(()),
    }
}

/// The beginning of what a server said, to be told.
pub(super) fn quoted(body: &[u8]) -> String {
    let said = String::from_utf8_lossy(body.get(..body.len().min(QUOTED)).unwrap_or_default());
    match said.trim() {
        "" => String::new(),
        said => format!(": {said}"),
    }
}

/// The relay's own answer to a message: a denial is a result like any other, what
/// cannot be read is a bad request.
pub(super) fn denied(told: Told) -> Response<Body> {
    let answer = told.bytes.slice_ref(told.bytes.trim_ascii_end());
    // A refused batch is answered line by line.
    let answer: Bytes = match memchr::memchr(b'\n', &answer) {
        None => answer,
        Some(_) => {
            let lines: Vec<&[u8]> = answer.split(|byte| *byte == b'\n').collect();
            [b"[", lines.join(&b","[..]).as_slice(), b"]"].concat().into()
        }
    };
    marked(answer, &told.mark, |_| StatusCode::OK)
}

/// An answer with what its mark says; `status` is that of one of the server's.
pub(super) fn marked(
    answer: Bytes,
    mark: &Mark,
    status: impl FnOnce(&[u8]) -> StatusCode,
) -> Response<Body> {
    let status = match mark.speaker {
        Speaker::Server => status(&answer),
        Speaker::Gate => StatusCode::OK,
        Speaker::GateToUnreadable => StatusCode::BAD_REQUEST,
    };
    let mut response = json_rpc(status, answer);
    mark_with(&mut response, mark);
    response
}
