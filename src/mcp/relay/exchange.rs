//! One exchange of a conversation over HTTP: a message of the client and what results from it.
//! Exchanges share what is known of the server; each has queues of its own.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::cleared::Cleared;
use super::inward::Unlisted;
use super::outward::Processed;
use super::{Held, Relay, Settings};
use crate::mcp::bridge::NOT_BRIDGED;
use crate::mcp::envelope::{self, Fault, Framing};
use crate::mcp::params::ParamHeader;
use crate::mcp::queue::Queue;
use crate::mcp::reply::{self, ResponseMetadata, ToClient};

/// What to do with a message from the client.
#[derive(Debug)]
pub enum Posted {
    /// Send this to the server.
    Forward(Outgoing),
    /// Send this response to the client.
    Answer(ToClient),
    /// Nothing.
    Nothing,
}

/// What to do with a message from the server.
#[derive(Debug)]
pub struct Received {
    /// Send this to the client: the message, or a replacement.
    pub passed: Option<Bytes>,
    /// Send these to the server, in response to refused requests.
    pub replies: Vec<Outgoing>,
}

/// A message that may be sent to the server. Only a relay creates one.
#[derive(Debug)]
pub struct Outgoing(Cleared);

impl Outgoing {
    /// The message as bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

/// Sends requests of the gate itself.
pub trait OwnRequestSender {
    /// Sends `request` and returns the messages of the response; none if there was no response,
    /// `None` if it may still come on another stream.
    fn send(&self, request: Outgoing) -> impl Future<Output = Option<Vec<Bytes>>> + Send;
}

impl Relay {
    /// Another exchange of the same conversation. Ids are unique within `scope`, which begins
    /// with a letter. The empty scope knows the requests of all exchanges.
    #[must_use]
    pub fn exchange(&self, scope: Arc<str>) -> Self {
        Self {
            gate: self.gate.clone(),
            settings: Arc::clone(&self.settings),
            shared: Arc::clone(&self.shared),
            scope,
            framing: Framing::Bodies,
            // Contains the results of a single message, which is bounded.
            to_client: Queue::unbounded(),
            to_server: Queue::unbounded(),
            held: Queue::unbounded(),
            client_ended: Notify::new(),
            server_input_closed: Notify::new(),
        }
    }

    /// The relay's parameters.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Judges one message. A call to an unknown tool waits for the server's list, which `sender`
    /// fetches.
    pub async fn post(&self, message: Bytes, sender: &impl OwnRequestSender) -> Posted {
        self.process_line(message, Unlisted::Hold).await;
        let mut forward = None;
        if let Some(held) = self.held.try_next() {
            // Boxed because it is rare: futures are moved with all that they may contain.
            forward = Box::pin(self.resume_once_listed(held, sender)).await;
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

    /// Resumes a held call once `sender` has fetched the server's list, or failed to. Returns
    /// what may be sent.
    async fn resume_once_listed(
        &self,
        held: Held,
        sender: &impl OwnRequestSender,
    ) -> Option<Cleared> {
        let unlisted = held.clone();
        tokio::select! {
            biased;
            () = self.wait_and_resume(held) => None,
            item = self.send_own_requests(sender) => match item {
                Some(item) => Some(item),
                // The tool is unknown and waiting will not change that.
                None => {
                    self.withdraw_list_request();
                    self.resume(unlisted).await;
                    None
                }
            },
        }
    }

    /// Sends the gate's own requests until there is something of the client to send. `None` if
    /// the server does not respond.
    async fn send_own_requests(&self, sender: &impl OwnRequestSender) -> Option<Cleared> {
        while let Some(item) = self.to_server.next().await {
            if !item.is_own() {
                return Some(item);
            }
            let mut request = InFlight { relay: self, is_over: false };
            let answer = sender.send(Outgoing(item)).await;
            request.is_over = true;
            let Some(lines) = answer else { continue };
            let requests: Vec<_> =
                lines.iter().flat_map(|line| self.observe(line).own_requests).collect();
            if requests.is_empty() && self.state().tools.is_list_requested() {
                return None;
            }
            for request in requests {
                let _ = self.to_server.push(Cleared::own(request)).await;
            }
        }
        None
    }

    /// Processes a message from the server: updates the state, and judges what it asks.
    pub async fn receive(&self, message: &Bytes) -> Received {
        let Processed { passed, replies, .. } = self.process(message).await;
        let replies = replies.into_iter().map(|reply| Outgoing(Cleared::own(reply.into_line())));
        let replies = replies.collect();
        Received { passed, replies }
    }

    /// Whether unreadable messages of the server must not reach the client.
    #[must_use]
    pub fn withholds_unreadable(&self) -> bool {
        self.gate.enforces_on_servers()
    }

    /// Arguments of `tool` that are also sent as headers, if the tool is known.
    #[must_use]
    pub fn param_headers(&self, tool: &str) -> Arc<[ParamHeader]> {
        self.state().tools.param_headers(tool)
    }

    /// Assumes a completed handshake: the session was opened through another gate.
    pub fn assume_handshake(&self) {
        self.state().era.assume_handshake();
    }

    /// Refuses and records a message that cannot be passed on. Returns the row's id.
    pub async fn refuse_malformed(&self, method: &str, what: &str) -> Option<String> {
        self.record_malformed(method, &Fault::request(what.to_owned())).await.request_id
    }

    /// Records requests of a server that a bridge refuses.
    pub async fn record_not_bridged(&self, methods: &[String]) {
        for method in methods {
            self.refuse_malformed(method, NOT_BRIDGED).await;
        }
    }

    /// Refuses and records an ambiguous message. Returns the response for the client; `None` if
    /// the message is unambiguous.
    pub async fn refuse_unreadable(&self, message: &[u8]) -> Option<ToClient> {
        let batches = self.state().era.batches();
        let unreadable = envelope::read(message, batches, Framing::Bodies).err()?;
        let layout = unreadable.layout;
        let answers = self.record_unreadable(unreadable).await;
        Some(reply::lines(&answers, layout))
    }

    /// Whether the request with this id is in flight.
    #[must_use]
    pub fn awaits(&self, id: &[u8]) -> bool {
        self.state().pending.contains(&self.key(id))
    }

    /// As [`Relay::awaits`], in any exchange.
    #[must_use]
    pub fn awaits_anywhere(&self, id: &[u8]) -> bool {
        self.state().pending.contains_anywhere(&self.key(id))
    }

    /// [`ResponseMetadata`] of the response to a request in flight.
    #[must_use]
    pub fn metadata_of(&self, id: &[u8]) -> ResponseMetadata {
        self.state().pending.metadata_of(&self.key(id))
    }

    /// Combined [`ResponseMetadata`] of all requests in flight in this exchange.
    #[must_use]
    pub fn metadata(&self) -> ResponseMetadata {
        self.state().pending.metadata_of_scope(&self.scope)
    }

    /// Cancels a request of the client; in the empty scope, of any exchange.
    pub fn cancel(&self, id: &[u8]) {
        let kind = self.state().pending.take(&self.key(id));
        self.fail(kind, "cancelled");
    }

    /// Ends this exchange (in the empty scope: all of them): requests in flight will not be
    /// answered.
    pub fn close_exchange(&self, status: &str) {
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
    fn withdraw_list_request(&self) {
        self.state().tools.withdraw_list_request();
        self.shared.changed.notify_waiters();
    }
}

/// Guard for a request of the gate in flight. Others wait for its response, and are woken to
/// send their own if it is dropped.
struct InFlight<'r> {
    relay: &'r Relay,
    is_over: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.relay.withdraw_list_request();
        }
    }
}
