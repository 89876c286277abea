//! The messages that a server sends in a stream, one after the other.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;

use super::headers::is_stream;
use super::sse::Parser;
use crate::net::Body;

/// The messages of a stream.
pub(super) struct Messages {
    body: Body,
    parser: Parser,
}

impl Messages {
    /// Those in `body`, of at most `max` bytes each.
    pub(super) fn of_body(body: Body, max: usize) -> Self {
        Self { body, parser: Parser::new(max) }
    }

    /// The same; `None` where the response is no stream.
    pub(super) fn of(response: Response<Body>, max: usize) -> Option<Self> {
        let streams = response.status().is_success() && is_stream(response.headers());
        streams.then(|| Self::of_body(response.into_body(), max))
    }

    /// The next one; `None` where the stream ends, breaks off or cannot be read on.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            while let Some(event) = self.parser.next_event().ok()? {
                if let Some(message) = event.message() {
                    return Some(Bytes::copy_from_slice(message));
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.parser.feed(&data);
            }
        }
    }
}
