//! Reads the events of a body. Large ones are counted in the memory budget, incomplete or handed
//! out: while memory is short, nothing is read from the server.

use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::sse::{Event, Parser, TooLarge};
use crate::net::Body;
use crate::net::body::NO_ANSWER_MEMORY;
use crate::net::memory::{SMALL, SenderBudget, StreamReservation};

/// Reads server-sent events from a body.
pub(super) struct Events {
    body: Body,
    parser: Parser,
    max: usize,
    /// Memory reservation for the incomplete event.
    counted: StreamReservation,
    /// A complete event that waits for memory.
    waiting: Option<Event>,
}

/// Why reading a stream failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// The connection broke.
    #[error("the server's stream broke off: {0}")]
    Off(String),
    /// An event exceeds the size limit.
    #[error("the server's stream cannot be read: {0}")]
    TooLarge(#[from] TooLarge),
    /// The memory budget is exhausted.
    #[error("the server's stream cannot be read: {NO_ANSWER_MEMORY}")]
    NoAnswerMemory,
}

impl Events {
    /// Reads events of at most `max` bytes from `body`.
    pub(super) fn new(body: Body, max: usize, budget: Option<&SenderBudget>) -> Self {
        let (parser, counted) = (Parser::new(max), StreamReservation::new(budget));
        Self { body, parser, max, counted, waiting: None }
    }

    /// The next event; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// See [`Broken`]; the stream cannot be read further.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Broken> {
        loop {
            if self.waiting.is_none() {
                self.waiting = self.parser.next_event()?;
            }
            match &self.waiting {
                Some(event) => self.take(event.raw.len()).await?,
                None => self.take(self.parser.unread()).await?,
            }
            if let Some(event) = self.waiting.take() {
                return Ok(Some(self.held(event)));
            }
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = self.counted.revoked() => return Err(Broken::NoAnswerMemory),
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| Broken::Off(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                self.parser.feed(&data);
            }
        }
    }

    /// The incomplete event at the end of the stream.
    pub(super) fn rest(mut self) -> Bytes {
        self.counted.attach(self.parser.rest())
    }

    async fn take(&mut self, bytes: usize) -> Result<(), Broken> {
        match self.counted.reserve(bytes, self.max).await {
            true => Ok(()),
            false => Err(Broken::NoAnswerMemory),
        }
    }

    /// Hands the reservation over to the event.
    fn held(&mut self, mut event: Event) -> Event {
        if event.raw.len() <= SMALL {
            self.counted.release();
        }
        event.raw = self.counted.attach(event.raw);
        event
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::{FutureExt as _, stream};

    use super::*;
    use crate::net::memory::{BUDGET, MAX_WAIT, MemoryBudget};

    const MAX: usize = 1 << 20;

    /// A small event, a large one and another small one, in pieces.
    fn events(budget: &MemoryBudget) -> Events {
        let text = format!("data: one\n\ndata: {}\n\ndata: three\n\n", "a".repeat(4 * SMALL));
        let pieces: Vec<_> = text
            .as_bytes()
            .chunks(SMALL / 2)
            .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        let body = Body::from_stream(stream::iter(pieces));
        Events::new(body, MAX, Some(&budget.for_sender(&"me".into())))
    }

    async fn data(events: &mut Events) -> usize {
        events.next().await.unwrap().unwrap().data.unwrap().len()
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_for_which_memory_is_short_ends_the_stream() {
        let budget = MemoryBudget::default();
        let _taken = budget.all();
        let mut events = events(&budget);
        assert_eq!(data(&mut events).await, 3);
        assert_eq!(events.next().await, Err(Broken::NoAnswerMemory));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_waits_for_memory_and_keeps_it() {
        let budget = MemoryBudget::default();
        let taken = budget.all();
        let mut events = events(&budget);
        assert_eq!(data(&mut events).await, 3);
        // Whoever asks and does not wait loses nothing.
        for _ in 0..9 {
            assert!(events.next().now_or_never().is_none());
        }
        let soon = async {
            tokio::time::sleep(MAX_WAIT - Duration::from_secs(1)).await;
            drop(taken);
        };
        let (large, ()) = tokio::join!(events.next(), soon);
        let large = large.unwrap().unwrap();
        assert_eq!(data(&mut events).await, 5);
        assert_eq!(events.next().await, Ok(None));
        assert!(!budget.reservation(&"other".into()).try_reserve(BUDGET, 0), "it is held");
        drop((events, large));
        let _all_is_given_back = budget.all();
    }
}
