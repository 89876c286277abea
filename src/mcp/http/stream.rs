//! Event streams on their way to the client: each message is looked at, each
//! event passes as it came, at once, and a slow client holds up the server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::time::{Instant, sleep_until};

use super::byte_channel::{self, Sender};
use super::events::{Broken, Events};
use super::remote::Back;
use super::sse::Event;
use crate::mcp::answer::{id_of_response, messages};
use crate::mcp::relay::exchange::Said;
use crate::mcp::relay::{Relay, TWICE};
use crate::mcp::reply;
use crate::net::Body;
use crate::net::memory::{self, SMALL, SenderBudget};

/// How long a stream is read on for its result when its client is gone.
const AFTERWARDS: Duration = Duration::from_secs(300);

/// What the end of a stream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// A client that goes away has cancelled what it asked (2026-07-28).
    Cancels,
    /// The rest may come by another stream, where events had ids; a client that
    /// goes away has cancelled nothing.
    MayResume,
    /// What has not come will not come.
    IsOver,
    /// It answers nothing: the server speaks first. Servers allow one such
    /// stream, so it goes with its client.
    Listens {
        /// The rest of another stream may come by it.
        resumes: bool,
    },
}

/// A stream being passed on.
struct Pump {
    relay: Arc<Relay>,
    ends: Ends,
    /// The id of the request that it has to answer, and whether it has.
    owed: Option<Vec<u8>>,
    answered: bool,
    /// Events had ids: what follows may be asked for again.
    resumable: bool,
    /// Where the gate itself answers what the server asks.
    back: Back,
    sender: Sender<Result<Bytes, std::io::Error>>,
}

/// Passes `body` on as events, from a task of its own. Where a client that goes
/// away has not cancelled what it asked, the result is still waited for, to be
/// recorded. A stream that ends without the answer that it owes ends with an
/// error, unless the client can ask for the rest.
pub(super) fn pump(
    body: Body,
    relay: Arc<Relay>,
    (back, max): (Back, usize),
    ends: Ends,
    owed: Option<Vec<u8>>,
) -> Body {
    let (sender, receiver) = byte_channel::channel();
    let mut pump = Pump { relay, ends, owed, answered: false, resumable: false, back, sender };
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
                    if !self.reads_on() {
                        return Ok(Bytes::new());
                    }
                    gone_since = Some(Instant::now());
                    continue;
                }
                () = afterwards(gone_since) => return Ok(Bytes::new()),
            };
            let Some(event) = event else { break };
            self.resumable |= event.id.is_some();
            if let Some(passed) = self.passed(event, max).await? {
                self.hand_on(passed, budget.as_ref()).await?;
            }
        }
        let rest = events.rest();
        // No event, by the standard, but not for every client.
        let is_unread = self.relay.withholds_unread() && memchr::memchr(b'{', &rest).is_some();
        Ok(if is_unread { Bytes::new() } else { rest })
    }

    /// A client that is gone needs nothing more, and for one that does not read what came
    /// before, the memory of others is not held.
    async fn hand_on(&self, piece: Bytes, budget: Option<&SenderBudget>) -> Result<(), Broken> {
        let reclaimed = async {
            match budget.filter(|_| piece.len() > SMALL) {
                Some(budget) => budget.reclaimed(&piece).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.sender.send(Ok(piece.clone())) => Ok(()),
            () = reclaimed => Err(Broken::Untaken),
        }
    }

    /// Whether the result is waited for when the client is gone. A client that
    /// can resume would find the stream taken.
    fn reads_on(&self) -> bool {
        match self.ends {
            Ends::Cancels | Ends::Listens { .. } => false,
            Ends::MayResume => !self.resumable,
            Ends::IsOver => true,
        }
    }

    /// What of an event goes on; another one than came is counted in its place.
    async fn passed(&mut self, event: Event, max: usize) -> Result<Option<Bytes>, Broken> {
        let passed = self.heard(&event).await;
        let is_same = passed.as_ref().is_none_or(|passed| passed.as_ptr() == event.raw.as_ptr());
        let budget = self.relay.settings().answer_memory.as_ref().filter(|_| !is_same);
        drop(event);
        let Some(passed) = passed else { return Ok(None) };
        memory::reserve(budget, passed, max).await.map(Some).ok_or(Broken::Untaken)
    }

    /// The bytes of an event that go on, or of another one in its place.
    async fn heard(&mut self, event: &Event) -> Option<Bytes> {
        let withholds = self.relay.withholds_unread();
        // Of whatever kind it is said to be: some clients do not look at that.
        let message = if withholds { event.data.as_deref() } else { event.message() };
        let as_it_came = |message| match withholds {
            true => event.unmistakable(message),
            false => Some(event.raw.clone()),
        };
        let Some(message) = message else { return as_it_came(None) };
        let again = self.answers_again(message);
        let message = Bytes::copy_from_slice(message);
        let owes = self.owes();
        let Said { passed: heard, replies } = self.relay.heard(&message).await;
        self.back.tell(replies);
        // What was written off meanwhile is not answered by that.
        self.answered |= owes && !self.owes();
        match heard {
            Some(_) if again => {
                tracing::warn!("{TWICE}");
                None
            }
            Some(same) if same == message => as_it_came(Some(&message)),
            Some(other) => Some(event.carrying(other.trim_ascii())),
            None => None,
        }
    }

    fn owes(&self) -> bool {
        self.owed.as_ref().is_some_and(|owed| self.relay.awaits(owed))
    }

    /// Whether this answers what was answered before. By a stream that resumes no
    /// other one comes no answer at all, by the specification (2025-11-25, Transports,
    /// "Listening for Messages from the Server"); servers send some there all the same,
    /// and those that nobody waits for were given elsewhere.
    fn answers_again(&self, message: &[u8]) -> bool {
        let answered = || messages(message).into_iter().filter_map(id_of_response);
        match self.ends {
            Ends::Listens { resumes: false } => {
                answered().any(|id| !self.relay.awaits_anywhere(&id))
            }
            _ => self.answered && answered().any(|id| self.owed.as_ref() == Some(&id)),
        }
    }

    async fn end(self, ended: Result<Bytes, Broken>) {
        let is_unheld = matches!(ended, Err(Broken::TooLarge(_) | Broken::Untaken));
        let rest_may_come = self.ends == Ends::MayResume && self.resumable && !is_unheld;
        let owed = self.owed.as_ref().filter(|id| self.relay.awaits(id));
        match (owed.filter(|_| !rest_may_come), ended) {
            (Some(_), _) if self.ends == Ends::Cancels && self.sender.is_closed() => {
                self.relay.over_and_out("cancelled");
            }
            (Some(id), ended) => {
                let words = ended.err().map_or_else(
                    || "the server's stream ended without an answer".to_owned(),
                    |broken| broken.to_string(),
                );
                let error = reply::upstream_failed(Some(id), &words);
                let event = format!("event: message\ndata: {error}\n\n");
                let _ = self.sender.send(Ok(event.into())).await;
                self.relay.over_and_out(&words);
            }
            (None, ended) => {
                // Half an event at the end, or a stream that broke: as it came.
                let last = ended.map_err(|error| std::io::Error::other(error.to_string()));
                if !last.as_ref().is_ok_and(Bytes::is_empty) {
                    let _ = self.sender.send(last).await;
                }
                if !rest_may_come && !matches!(self.ends, Ends::Listens { .. }) {
                    self.relay.over_and_out("no answer");
                }
            }
        }
    }
}

async fn afterwards(gone_since: Option<Instant>) {
    match gone_since {
        Some(since) => sleep_until(since + AFTERWARDS).await,
        None => std::future::pending().await,
    }
}
