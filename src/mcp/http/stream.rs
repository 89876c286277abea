//! Forwards event streams to the client: each message is read, and judged if rules refer to
//! servers' requests; each event is forwarded unchanged and at once; and a slow client slows the
//! server down.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::time::{Instant, sleep_until};

use super::byte_channel::{self, Sender};
use super::events::{Broken, Events};
use super::remote::ReplySender;
use super::sse::Event;
use crate::mcp::answer::{id_of_response, messages};
use crate::mcp::relay::exchange::Received;
use crate::mcp::relay::{Relay, TWICE};
use crate::mcp::reply;
use crate::net::Body;
use crate::net::memory::{self, SMALL, SenderBudget};

/// How long a stream is read further for its result after its client is gone.
const RESULT_TIMEOUT: Duration = Duration::from_secs(300);

/// What the end of a stream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// A client that disconnects cancels its request (2026-07-28).
    Cancels,
    /// The rest may come on another stream, if events had ids. Disconnecting cancels nothing.
    MayResume,
    /// What has not arrived will not arrive.
    Final,
    /// It is the stream of messages that the server sends on its own. Servers allow only one,
    /// so it is closed with its client.
    Listening {
        /// Whether it may contain the rest of another stream.
        resumes: bool,
    },
}

/// A stream being forwarded.
struct Pump {
    relay: Arc<Relay>,
    ends: StreamEnd,
    /// The id of the request that it has to answer, and whether it has.
    awaited: Option<Vec<u8>>,
    answered: bool,
    /// Whether events had ids, so that the rest may be requested again.
    resumable: bool,
    /// Sends the gate's responses to the server's requests.
    reply_sender: ReplySender,
    sender: Sender<Result<Bytes, std::io::Error>>,
}

/// Forwards `body` as events from a task of its own. If disconnecting does not cancel the
/// request, goes on reading for the result to be recorded. If the stream ends without the
/// response, appends an error, unless the client can resume it.
pub(super) fn pump(
    body: Body,
    relay: Arc<Relay>,
    (reply_sender, max): (ReplySender, usize),
    ends: StreamEnd,
    awaited: Option<Vec<u8>>,
) -> Body {
    let (sender, receiver) = byte_channel::channel();
    let mut pump =
        Pump { relay, ends, awaited, answered: false, resumable: false, reply_sender, sender };
    tokio::spawn(async move {
        let ended = pump.events(body, max).await;
        pump.end(ended).await;
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}

impl Pump {
    async fn events(&mut self, body: Body, max: usize) -> Result<Bytes, Broken> {
        let budget = self.relay.settings().answer_memory.clone();
        let mut events = Events::new(body, max, budget.as_ref());
        let mut gone_since: Option<Instant> = None;
        let sender = self.sender.clone();
        loop {
            let event = tokio::select! {
                event = events.next() => event?,
                () = sender.closed(), if gone_since.is_none() => {
                    if !self.continues_without_client() {
                        return Ok(Bytes::new());
                    }
                    gone_since = Some(Instant::now());
                    continue;
                }
                () = result_timeout(gone_since) => return Ok(Bytes::new()),
            };
            let Some(event) = event else { break };
            self.resumable |= event.id.is_some();
            if let Some(passed) = self.forwarded(event, max).await? {
                self.send_to_client(passed, budget.as_ref()).await?;
            }
        }
        let rest = events.rest();
        // The standard discards an incomplete event, but some clients do not.
        let is_unread = self.relay.withholds_unreadable() && memchr::memchr(b'{', &rest).is_some();
        Ok(if is_unread { Bytes::new() } else { rest })
    }

    /// Sends a piece to the client. Fails if it is gone, or does not read while others need the
    /// memory.
    async fn send_to_client(
        &self,
        piece: Bytes,
        budget: Option<&SenderBudget>,
    ) -> Result<(), Broken> {
        let reclaimed = async {
            match budget.filter(|_| piece.len() > SMALL) {
                Some(budget) => budget.reclaimed(&piece).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.sender.send(Ok(piece.clone())) => Ok(()),
            () = reclaimed => Err(Broken::NoAnswerMemory),
        }
    }

    /// Whether to read on for the result after the client is gone. Not if the client can
    /// resume, which would find the stream taken.
    fn continues_without_client(&self) -> bool {
        match self.ends {
            StreamEnd::Cancels | StreamEnd::Listening { .. } => false,
            StreamEnd::MayResume => !self.resumable,
            StreamEnd::Final => true,
        }
    }

    /// The bytes of an event to forward. If they are replaced, the replacement is counted in
    /// the memory budget.
    async fn forwarded(&mut self, event: Event, max: usize) -> Result<Option<Bytes>, Broken> {
        let passed = self.judged(&event).await;
        let is_same = passed.as_ref().is_none_or(|passed| passed.as_ptr() == event.raw.as_ptr());
        let budget = self.relay.settings().answer_memory.as_ref().filter(|_| !is_same);
        drop(event);
        let Some(passed) = passed else { return Ok(None) };
        memory::reserve(budget, passed, max).await.map(Some).ok_or(Broken::NoAnswerMemory)
    }

    /// The bytes of an event to forward, or a replacement.
    async fn judged(&mut self, event: &Event) -> Option<Bytes> {
        let withholds = self.relay.withholds_unreadable();
        // Whatever its kind, which some clients ignore.
        let message = if withholds { event.data.as_deref() } else { event.message() };
        let as_it_came = |message| match withholds {
            true => event.unambiguous(message),
            false => Some(event.raw.clone()),
        };
        let Some(message) = message else { return as_it_came(None) };
        let is_duplicate = self.is_duplicate(message);
        let message = Bytes::copy_from_slice(message);
        let is_awaiting = self.is_awaiting();
        let Received { passed, replies } = self.relay.receive(&message).await;
        self.reply_sender.send(replies);
        // A request that was written off meanwhile is not answered by this.
        self.answered |= is_awaiting && !self.is_awaiting();
        match passed {
            Some(_) if is_duplicate => {
                tracing::warn!("{TWICE}");
                None
            }
            Some(same) if same == message => as_it_came(Some(&message)),
            Some(other) => Some(event.with_data(other.trim_ascii())),
            None => None,
        }
    }

    fn is_awaiting(&self) -> bool {
        self.awaited.as_ref().is_some_and(|awaited| self.relay.awaits(awaited))
    }

    /// Whether this is a duplicate response. The specification allows no responses on streams
    /// that do not resume (2025-11-25, Transports, "Listening for Messages from the Server").
    /// Some servers send them all the same; those that nobody waits for were delivered
    /// elsewhere.
    fn is_duplicate(&self, message: &[u8]) -> bool {
        let answered = || messages(message).into_iter().filter_map(id_of_response);
        match self.ends {
            StreamEnd::Listening { resumes: false } => {
                answered().any(|id| !self.relay.awaits_anywhere(&id))
            }
            _ => self.answered && answered().any(|id| self.awaited.as_ref() == Some(&id)),
        }
    }

    async fn end(self, ended: Result<Bytes, Broken>) {
        let is_unheld = matches!(ended, Err(Broken::TooLarge(_) | Broken::NoAnswerMemory));
        let rest_may_come = self.ends == StreamEnd::MayResume && self.resumable && !is_unheld;
        let awaited = self.awaited.as_ref().filter(|id| self.relay.awaits(id));
        match (awaited.filter(|_| !rest_may_come), ended) {
            (Some(_), _) if self.ends == StreamEnd::Cancels && self.sender.is_closed() => {
                self.relay.close_exchange("cancelled");
            }
            (Some(id), ended) => {
                let message = ended.err().map_or_else(
                    || "the server's stream ended without an answer".to_owned(),
                    |broken| broken.to_string(),
                );
                let error = reply::upstream_failed(Some(id), &message);
                let event = format!("event: message\ndata: {error}\n\n");
                let _ = self.sender.send(Ok(event.into())).await;
                self.relay.close_exchange(&message);
            }
            (None, ended) => {
                // Forward an incomplete or broken event at the end unchanged.
                let last = ended.map_err(|error| std::io::Error::other(error.to_string()));
                if !last.as_ref().is_ok_and(Bytes::is_empty) {
                    let _ = self.sender.send(last).await;
                }
                if !rest_may_come && !matches!(self.ends, StreamEnd::Listening { .. }) {
                    self.relay.close_exchange("no answer");
                }
            }
        }
    }
}

async fn result_timeout(gone_since: Option<Instant>) {
    match gone_since {
        Some(since) => sleep_until(since + RESULT_TIMEOUT).await,
        None => std::future::pending().await,
    }
}
