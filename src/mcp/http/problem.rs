//! Refusals before a message is judged, and failures after: a status, and a
//! JSON-RPC error that clients can read.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::net::Body;

/// JSON-RPC's code for a request that is none.
pub const INVALID_REQUEST: i64 = -32_600;

/// The code of 2026-07-28 for headers that disagree with the body.
pub const HEADER_MISMATCH: i64 = -32_020;

/// A code of our own for an upstream that fails.
pub const UPSTREAM: i64 = -31_502;

/// A JSON-RPC error with an HTTP status. `id` is as it was written.
#[must_use]
pub fn error(status: StatusCode, id: Option<&[u8]>, code: i64, message: &str) -> Response<Body> {
    let id = id.and_then(|id| std::str::from_utf8(id).ok()).unwrap_or("null");
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

/// Nothing but a status.
#[must_use]
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
