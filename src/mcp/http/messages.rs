//! Reads the messages of an event stream.

use bytes::Bytes;
use http::Response;

use super::events::Events;
use crate::net::memory::SenderBudget;
use crate::net::{Body, is_event_stream};

/// The messages of an event stream.
pub(super) struct Messages(Events);

impl Messages {
    /// Reads messages of at most `max` bytes from `body`.
    pub(super) fn of_body(body: Body, max: usize, budget: Option<&SenderBudget>) -> Self {
        Self(Events::new(body, max, budget))
    }

    /// As [`Messages::of_body`]; `None` if the response is not an event stream.
    pub(super) fn of(
        response: Response<Body>,
        max: usize,
        budget: Option<&SenderBudget>,
    ) -> Option<Self> {
        let streams = response.status().is_success() && is_event_stream(response.headers());
        streams.then(|| Self::of_body(response.into_body(), max, budget))
    }

    /// The next message; `None` if the stream ends or cannot be read further.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let event = self.0.next().await.ok()??;
            if let Some(message) = event.message() {
                return Some(Bytes::copy_from_slice(message));
            }
        }
    }
}
