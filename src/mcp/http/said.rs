//! Messages between a child and its clients: which of them belong together, and how
//! HTTP says them.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use super::agree::has_method;
use crate::mcp::codes::{
    self, HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, MISSING_CAPABILITY,
    PARSE_ERROR, UNSUPPORTED_VERSION,
};
use crate::mcp::era;
use crate::mcp::scan::outline;
use crate::net::Body;

/// What stands for the ids of a batch.
pub(super) const BATCH: &[u8] = b"[";

/// What every request of the stateless era says of itself in `_meta`.
const DESCRIPTION: [&str; 2] = [era::PROTOCOL_VERSION, era::CLIENT_CAPABILITIES];

/// Whether a message of the server's answers a request.
pub(super) fn is_answer(message: &[u8]) -> bool {
    let outline = outline(message);
    message.starts_with(BATCH) || outline.is_response && !outline.has_method
}

/// The id of the request that a message answers, where `id` is its own.
pub(super) fn answered_id<'m>(message: &[u8], id: Option<&'m [u8]>) -> Option<&'m [u8]> {
    if message.starts_with(BATCH) { Some(BATCH) } else { id }
}

/// Whether some message of a batch wants an answer.
pub(super) fn asks_in_batch(batch: &[u8]) -> bool {
    crate::mcp::answer::messages(batch).into_iter().any(|message| {
        let outline = outline(message);
        outline.has_method && outline.id.is_some()
    })
}

/// Whether a notification names a request by its id or its token.
pub(super) fn names_a_request(message: &[u8]) -> bool {
    ["notifications/cancelled", "notifications/progress"]
        .iter()
        .any(|method| has_method(message, method))
}

/// Whether a request says what every one of the stateless era says of itself.
pub(super) fn describes_itself(message: &[u8]) -> bool {
    DESCRIPTION.iter().all(|key| memchr::memmem::find(message, key.as_bytes()).is_some())
}

/// Requests of the server and what it logs come while it works on a call.
pub(super) fn belongs_to_a_call(message: &[u8], id: Option<&[u8]>) -> bool {
    id.is_some() || memchr::memmem::find(message, b"\"notifications/message\"").is_some()
}

/// The status that goes with an answer of the server's: the stateless era has some of
/// its own (2026-07-28, "Error handling"), among them for a request that does not
/// describe itself.
pub(super) fn status_of(message: &[u8], stateless: bool, describes_itself: bool) -> StatusCode {
    let is_error = stateless && memchr::memmem::find(message, b"\"error\"").is_some();
    match codes::of(message).filter(|_| is_error) {
        Some(PARSE_ERROR | INVALID_REQUEST | HEADER_MISMATCH) => StatusCode::BAD_REQUEST,
        Some(MISSING_CAPABILITY | UNSUPPORTED_VERSION) => StatusCode::BAD_REQUEST,
        Some(INVALID_PARAMS) if !describes_itself => StatusCode::BAD_REQUEST,
        Some(METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

/// A message as an event. A carriage return is white space in JSON, and the end of a
/// line in a stream.
pub(super) fn event(message: &[u8]) -> Bytes {
    let mut event = [b"event: message\ndata: ", message, b"\n\n"].concat();
    event.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b' ');
    event.into()
}

/// An answer whose body is events.
pub(super) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_parts_its_tokens() {
        assert_eq!(event(b"{\r\"a\":1}"), "event: message\ndata: { \"a\":1}\n\n");
    }
}
