//! Messages between a child process and its clients: which request a message belongs to,
//! and how it is sent over HTTP.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use super::header_check::has_method;
use crate::mcp::codes::{
    self, HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, MISSING_CAPABILITY,
    PARSE_ERROR, UNSUPPORTED_VERSION,
};
use crate::mcp::era;
use crate::mcp::scan::outline;
use crate::net::Body;
use crate::net::memory::SMALL;

/// Stands for the ids of a batch.
pub(super) const BATCH: &[u8] = b"[";

/// Members of `_meta` in every stateless request.
const DESCRIPTION: [&str; 2] = [era::PROTOCOL_VERSION, era::CLIENT_CAPABILITIES];

/// Whether a server's message responds to a request.
pub(super) fn is_answer(message: &[u8]) -> bool {
    let outline = outline(message);
    message.starts_with(BATCH) || outline.is_response && !outline.has_method
}

/// The id of the request that `message` responds to, if `id` is its id.
pub(super) fn answered_id<'m>(message: &[u8], id: Option<&'m [u8]>) -> Option<&'m [u8]> {
    if message.starts_with(BATCH) { Some(BATCH) } else { id }
}

/// Whether a batch contains a request.
pub(super) fn has_request_in_batch(batch: &[u8]) -> bool {
    crate::mcp::answer::messages(batch).into_iter().any(|message| {
        let outline = outline(message);
        outline.has_method && outline.id.is_some()
    })
}

/// Whether a notification refers to a request by id or token.
pub(super) fn names_a_request(message: &[u8]) -> bool {
    ["notifications/cancelled", "notifications/progress"]
        .iter()
        .any(|method| has_method(message, method))
}

/// Whether a request has the `_meta` of the stateless era.
pub(super) fn is_stateless_message(message: &[u8]) -> bool {
    DESCRIPTION.iter().all(|key| memchr::memmem::find(message, key.as_bytes()).is_some())
}

/// Whether a message belongs to the current call: requests and log messages of the server.
pub(super) fn belongs_to_a_call(message: &[u8], id: Option<&[u8]>) -> bool {
    id.is_some() || memchr::memmem::find(message, b"\"notifications/message\"").is_some()
}

/// The HTTP status for a response of the server. The stateless era defines some (2026-07-28,
/// "Error handling"), also for requests without the required `_meta`.
pub(super) fn status_of(message: &[u8], stateless: bool, is_stateless_request: bool) -> StatusCode {
    let is_error = stateless && memchr::memmem::find(message, b"\"error\"").is_some();
    match codes::of(message).filter(|_| is_error) {
        Some(PARSE_ERROR | INVALID_REQUEST | HEADER_MISMATCH) => StatusCode::BAD_REQUEST,
        Some(MISSING_CAPABILITY | UNSUPPORTED_VERSION) => StatusCode::BAD_REQUEST,
        Some(INVALID_PARAMS) if !is_stateless_request => StatusCode::BAD_REQUEST,
        Some(METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

/// A message as a server-sent event, in pieces, so that large ones (which are counted in the
/// memory budget) are not copied. Carriage returns, white space in JSON but line ends in a
/// stream, are replaced.
pub(super) fn event(message: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    const BEGIN: &[u8] = b"event: message\ndata: ";
    const END: &[u8] = b"\n\n";
    let pieces = match message.len() <= SMALL {
        true => {
            [[BEGIN, &without_returns(message), END].concat().into(), Bytes::new(), Bytes::new()]
        }
        false => {
            let message = match memchr::memchr(b'\r', message) {
                None => message.clone(),
                Some(_) => Bytes::from_owner(Copied {
                    bytes: without_returns(message).into_owned(),
                    _counted: message.clone(),
                }),
            };
            [Bytes::from_static(BEGIN), message, Bytes::from_static(END)]
        }
    };
    pieces.into_iter().filter(|piece| !piece.is_empty())
}

fn without_returns(message: &[u8]) -> Cow<'_, [u8]> {
    let mut message = Cow::Borrowed(message);
    if memchr::memchr(b'\r', &message).is_some() {
        let bytes = message.to_mut().iter_mut();
        bytes.filter(|byte| **byte == b'\r').for_each(|byte| *byte = b' ');
    }
    message
}

/// A copied part of a counted message.
struct Copied {
    bytes: Vec<u8>,
    _counted: Bytes,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A response with server-sent events as its body.
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
        for length in [1, 2 * SMALL] {
            let value = "a".repeat(length);
            let event = |message: String| {
                String::from_utf8(event(&message.into()).flatten().collect()).unwrap()
            };
            let expected = format!("event: message\ndata: {{ \"{value}\":1}}\n\n");
            assert_eq!(event(format!("{{\r\"{value}\":1}}")), expected);
            assert_eq!(event(format!("{{ \"{value}\":1}}")), expected);
        }
    }

    #[test]
    fn a_large_event_is_no_copy() {
        let message = Bytes::from(vec![b'1'; 2 * SMALL]);
        assert!(event(&message).any(|piece| piece.as_ptr() == message.as_ptr()));
    }
}
