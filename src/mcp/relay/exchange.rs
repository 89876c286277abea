//! One exchange of a conversation over HTTP: a message in, and what comes of it.
//! It shares what is known of the server with the others; its queues are its own.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::cleared::Cleared;
use super::inward::Unlisted;
use super::outward::Heard;
use super::{Held, Relay, Settings};
use crate::mcp::envelope::{self, Fault, Framing};
use crate::mcp::params::ParamHeader;
use crate::mcp::queue::Queue;
use crate::mcp::reply::{self, Mark, Told};

/// What a message of the client's came to.
#[derive(Debug)]
pub enum Posted {
    /// It may go to the server.
    Forward(Outgoing),
    /// This is the gate's answer; it is not passed on.
    Answer(Told),
    /// There is nothing to pass on and nothing to answer.
    Nothing,
}

/// What came of a message of the server's.
#[derive(Debug)]
pub struct Said {
    /// What goes on to the client: the very bytes, or others in their place.
    pub passed: Option<Bytes>,
    /// What the server is told in answer to what it asked and is refused.
    pub replies: Vec<Outgoing>,
}

/// A message that was cleared, or that the gate itself asks; only a relay makes
/// one.
#[derive(Debug)]
pub struct Outgoing(Cleared);

impl Outgoing {
    /// The bytes to be sent.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

/// Sends what the gate itself asks and gives back the messages of the answer.
pub trait Ask {
    /// Asks; no messages where there was no answer, `None` if it may yet come
    /// by another stream.
    fn ask(&self, request: Outgoing) -> impl Future<Output = Option<Vec<Bytes>>> + Send;
}

impl Relay {
    /// Another exchange of the same conversation. Ids are unique within `scope`,
    /// which begins with a letter; in the empty one, answers to all are known.
    #[must_use]
    pub fn exchange(&self, scope: Arc<str>) -> Self {
        Self {
            gate: self.gate.clone(),
            settings: Arc::clone(&self.settings),
            shared: Arc::clone(&self.shared),
            scope,
            framing: Framing::Bodies,
            // One message, which is bounded, and what comes of it.
            to_client: Queue::boundless(),
            to_server: Queue::boundless(),
            held: Queue::boundless(),
            client_ended: Notify::new(),
            server_deaf: Notify::new(),
        }
    }

    /// What this relay was told.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Judges one message. A call whose tool is not known yet waits for the
    /// server's list, which `asker` fetches.
    pub async fn post(&self, message: Bytes, asker: &impl Ask) -> Posted {
        self.line(message, Unlisted::Waits).await;
        let mut forward = None;
        if let Some(held) = self.held.try_next() {
            // Boxed, as what is rare is: futures are moved with all they may hold.
            forward = Box::pin(self.once_listed(held, asker)).await;
        }
        while let Some(item) = self.to_server.try_next() {
            if !item.is_own() {
                forward = Some(item);
            }
        }
        match (forward, self.to_client.try_next()) {
            (Some(item), _) => Posted::Forward(Outgoing(item)),
            (None, Some(answer)) => Posted::Answer(answer),
            (None, None) => Posted::Nothing,
        }
    }

    /// Lets a held call go on once the server's list has come, which `asker`
    /// fetches, or will not; gives what may be sent by then.
    async fn once_listed(&self, held: Held, asker: &impl Ask) -> Option<Cleared> {
        let unlisted = held.clone();
        tokio::select! {
            biased;
            () = self.settle_held(held) => None,
            item = self.asks(asker) => match item {
                Some(item) => Some(item),
                // Neither is it known by now nor will it be by waiting.
                None => {
                    self.withdraw();
                    self.go_on(unlisted).await;
                    None
                }
            },
        }
    }

    /// Sends what the gate itself asks, until there is something of the client's to
    /// send. `None` if the server does not answer.
    async fn asks(&self, asker: &impl Ask) -> Option<Cleared> {
        while let Some(item) = self.to_server.next().await {
            if !item.is_own() {
                return Some(item);
            }
            let mut asking = Asking { relay: self, is_over: false };
            let answer = asker.ask(Outgoing(item)).await;
            asking.is_over = true;
            let Some(lines) = answer else { continue };
            let requests: Vec<_> =
                lines.iter().flat_map(|line| self.observe(line).requests).collect();
            if requests.is_empty() && self.state().tools.is_asking() {
                return None;
            }
            for request in requests {
                let _ = self.to_server.push(Cleared::own(request)).await;
            }
        }
        None
    }

    /// Learns from a message of the server's and decides about what it asks.
    pub async fn heard(&self, message: &Bytes) -> Said {
        let Heard { passed, replies, .. } = self.hear(message).await;
        let replies = replies.into_iter().map(|reply| reply::lines(&[reply], false));
        Said { passed, replies: replies.map(|told| Outgoing(Cleared::own(told))).collect() }
    }

    /// Whether what cannot be read of what the server sends has to be kept from the client.
    #[must_use]
    pub fn withholds_unread(&self) -> bool {
        self.gate.enforces_on_servers()
    }

    /// The arguments of a tool that travel as headers too, as far as it is known.
    #[must_use]
    pub fn param_headers(&self, tool: &str) -> Arc<[ParamHeader]> {
        self.state().tools.param_headers(tool)
    }

    /// Takes the handshake as made: the session was opened through another gate.
    pub fn presume_handshake(&self) {
        self.state().era.presume();
    }

    /// Refuses and records a message that cannot be passed on; gives its row.
    pub async fn note_malformed(&self, method: &str, what: &str) -> Option<String> {
        self.record_malformed(method, &Fault::request(what.to_owned())).await.request_id
    }

    /// Refuses and records a message that can be read in more than one way; gives
    /// what the client is to be told of it. `None` if it can be judged.
    pub async fn refuse_unreadable(&self, message: &[u8]) -> Option<Told> {
        let batches = self.state().era.allows_batches();
        let unreadable = envelope::read(message, batches, Framing::Bodies).err()?;
        let is_batch = unreadable.is_batch;
        let answers = self.refused(unreadable).await;
        Some(reply::lines(&answers, is_batch))
    }

    /// Whether the request of that id still waits for its answer.
    #[must_use]
    pub fn awaits(&self, id: &[u8]) -> bool {
        self.state().pending.contains(&self.key(id))
    }

    /// The same in whichever exchange it was asked.
    #[must_use]
    pub fn awaits_anywhere(&self, id: &[u8]) -> bool {
        self.state().pending.contains_anywhere(&self.key(id))
    }

    /// What the answer to the request of that id will be marked with, while it is
    /// waited for.
    #[must_use]
    pub fn mark_of(&self, id: &[u8]) -> Mark {
        self.state().pending.mark_of(&self.key(id))
    }

    /// What the answers to all that waits in this exchange will be marked with.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.state().pending.mark_of_scope(&self.scope)
    }

    /// The client gave up the request of that id: no answer is owed to it any more.
    /// In the empty scope, whichever exchange it was asked in.
    pub fn gave_up(&self, id: &[u8]) {
        let asked = self.state().pending.take(&self.key(id));
        self.fail(asked, "cancelled");
    }

    /// No answer will come in this exchange any more; in the empty scope, in none.
    pub fn over_and_out(&self, status: &str) {
        let open = {
            let mut state = self.state();
            match self.scope.is_empty() {
                true => state.pending.drain(),
                false => {
                    state.held.retain(|key| !key.is_of(&self.scope));
                    state.pending.drain_scope(&self.scope)
                }
            }
        };
        open.iter().for_each(|receipt| self.fail_receipt(receipt, status));
    }
}

impl Relay {
    fn withdraw(&self) {
        self.state().tools.withdraw();
        self.shared.news.notify_waiters();
    }
}

/// A request of the gate's own under way: others wait for its answer too, and
/// ask for themselves where its exchange is given up.
struct Asking<'r> {
    relay: &'r Relay,
    is_over: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.relay.withdraw();
        }
    }
}
