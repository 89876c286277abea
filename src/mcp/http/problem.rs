//! Responses to requests that were refused before their message was judged, or failed afterwards: a
//! status, and a JSON-RPC error that clients can read.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::headers::encoding;
use crate::decision_headers;
use crate::mcp::reply::{Responder, ResponseMetadata, ToClient};
use crate::mcp::scan::is_id;
use crate::net::Body;

/// Maximum number of bytes quoted from a server's response that is not a message.
const QUOTED: usize = 500;

/// A JSON-RPC error with an HTTP status. `id` is raw JSON; `None` for a batch.
#[must_use]
pub fn error(status: StatusCode, id: Option<&[u8]>, code: i64, message: &str) -> Response<Body> {
    let id = id.filter(|id| is_id(id)).and_then(|id| std::str::from_utf8(id).ok());
    let id = id.unwrap_or("null");
    let error = json!({ "code": code, "message": message });
    json_rpc(status, format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into())
}

/// A JSON-RPC message as the response to a POST.
#[must_use]
pub fn json_rpc(status: StatusCode, message: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Extension: retrying does not help, whatever the status suggests.
#[derive(Debug, Clone, Copy)]
struct Permanent;

/// Marks a response as permanent.
pub(super) fn permanent(mut response: Response<Body>) -> Response<Body> {
    response.extensions_mut().insert(Permanent);
    response
}

/// Extension: retrying may help, whatever the status suggests.
#[derive(Debug, Clone, Copy)]
struct Temporary;

/// Marks a response as temporary.
pub(super) fn temporary(mut response: Response<Body>) -> Response<Body> {
    response.extensions_mut().insert(Temporary);
    response
}

/// Whether a refusal may be temporary.
pub(super) fn is_temporary(response: &Response<Body>) -> bool {
    let status = response.status();
    let may_pass = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || response.extensions().get::<Temporary>().is_some();
    may_pass && response.extensions().get::<Permanent>().is_none()
}

/// A response without a body.
#[must_use]
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Adds the header with the id of the audit row.
pub fn set_request_id(response: &mut Response<Body>, row: Option<&str>) {
    decision_headers::row(response.headers_mut(), row);
}

/// Maximum number of rows in one header: peers limit headers to some kilobytes in all.
const MAX_ROWS: usize = 64;

/// Adds the headers for `metadata`.
pub(super) fn set_metadata(response: &mut Response<Body>, metadata: &ResponseMetadata) {
    let rows: Vec<&str> = metadata.rows.iter().take(MAX_ROWS).map(String::as_str).collect();
    self::set_request_id(
        response,
        Some(rows.join(", ")).as_deref().filter(|rows| !rows.is_empty()),
    );
    decision_headers::quota(response.headers_mut(), metadata.quota.as_ref());
}

/// Describes a redirect.
pub(super) fn redirected(headers: &HeaderMap) -> String {
    let place = headers.get(LOCATION).and_then(|place| place.to_str().ok()).unwrap_or("nowhere");
    format!("the server redirects to {place}; redirects are not followed")
}

/// Fails if a body that has to be read is encoded.
pub(super) fn refuse_encoded(headers: &HeaderMap) -> Result<(), String> {
    match encoding(headers) {
        Some(encoding) => Err(format!("the server answers in {encoding}, and was asked not to")),
        None => Ok(()),
    }
}

/// The beginning of a server's response, for an error message.
pub(super) fn quoted(body: &[u8]) -> String {
    let quote = String::from_utf8_lossy(body.get(..body.len().min(QUOTED)).unwrap_or_default());
    match quote.trim() {
        "" => String::new(),
        quote => format!(": {quote}"),
    }
}

/// The relay's own response to a message: 200 for a denial, which is a result, and 400 for an
/// ambiguous message.
pub(super) fn denied(message: ToClient) -> Response<Body> {
    let answer = message.bytes.slice_ref(message.bytes.trim_ascii_end());
    // A refused batch is answered line by line.
    let answer: Bytes = match memchr::memchr(b'\n', &answer) {
        None => answer,
        Some(_) => {
            let lines: Vec<&[u8]> = answer.split(|byte| *byte == b'\n').collect();
            [b"[", lines.join(&b","[..]).as_slice(), b"]"].concat().into()
        }
    };
    with_metadata(answer, &message.metadata, |_| StatusCode::OK)
}

/// A response with the headers for its metadata. `status` applies to the server's own responses.
pub(super) fn with_metadata(
    answer: Bytes,
    metadata: &ResponseMetadata,
    status: impl FnOnce(&[u8]) -> StatusCode,
) -> Response<Body> {
    let status = match metadata.responder {
        Responder::Server => status(&answer),
        Responder::Gate => StatusCode::OK,
        Responder::GateToUnreadable => StatusCode::BAD_REQUEST,
    };
    let mut response = json_rpc(status, answer);
    set_metadata(&mut response, metadata);
    response
}
