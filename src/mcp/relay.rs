//! The relay between a client and a server, whatever the transport.
//!
//! ```text
//! client ──► Frames ──► envelope ──► gate::admit ──► Queue ──► server
//! client ◄── Queue ◄── answer (learn, complete, consume) ◄── Frames ◄── server
//! ```
//!
//! Lines are forwarded unchanged and in order. Only a call that has to wait for the server's
//! list of tools may be overtaken: it is held in a queue of its own, so that requests of the
//! server can be answered meanwhile.

mod cleared;
pub mod exchange;
mod inward;
mod outward;
mod round_trips;
mod server_requests;

pub(in crate::mcp) use outward::TWICE;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use cleared::Cleared;

use super::envelope::{Framing, Layout};
use super::era::Era;
use super::frames::Frames;
use super::open_requests::OpenRequests;
use super::pending::{Key, Pending, RequestKind};
use super::queue::{Queue, Weight};
use super::reply::{self, Reply, ToClient};
use super::round_trips::OpenInputRequests;
use super::tools::{FirstSeen, Lookup, Tools};
use crate::action::{Action, Agent, Target, Transport};
use crate::gate::{Gate, Receipt};
use crate::net::memory::SenderBudget;
use crate::store::audit::Outcome;

/// How long a call waits for the server's list of tools. After that, unknown tools are treated
/// as destructive.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call waits for the handshake once the client's input has ended. Some servers are
/// downloaded first; what is allowed then still has time to be answered.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Parameters of a relay.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's name in policies and the log.
    pub server: Arc<str>,
    /// The client's agent.
    pub agent: Agent,
    /// Transport of the client.
    pub transport: Transport,
    /// Session id in the audit log.
    pub session: Arc<str>,
    /// Whether the server's hints may loosen decisions.
    pub trusted: bool,
    /// Hints seen by all conversations with this server.
    pub first_seen: FirstSeen,
    /// Whether tools that would be denied are removed from `tools/list`.
    pub hide_denied: bool,
    /// Maximum length of a message, in bytes.
    pub max_message: usize,
    /// Memory budget for answers being read. `None` if there is only one client, with bounds of
    /// its own.
    pub answer_memory: Option<SenderBudget>,
}

/// One conversation between a client and a server, with the gate in between.
#[derive(Debug)]
pub struct Relay {
    gate: Gate,
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    /// Prefix of the ids of one exchange, if several share the state; else empty.
    scope: Arc<str>,
    framing: Framing,
    to_client: Queue<ToClient>,
    to_server: Queue<Cleared>,
    held: Queue<Held>,
    /// Notified when the client's input has ended.
    client_ended: Notify,
    /// Notified when the server's input is closed.
    server_input_closed: Notify,
}

/// State shared by the exchanges of a conversation.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified about events that held calls may wait for.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    era: Era,
    tools: Tools,
    pending: Pending,
    /// The server's requests to the client.
    open_requests: OpenRequests,
    /// Those within its responses.
    input_requests: OpenInputRequests,
    /// Ids of the calls that are held and not cancelled.
    held: HashSet<Key>,
    /// When the client's input ended.
    input_ended: Option<Instant>,
}

/// A line whose call waits for the server's list of tools.
#[derive(Debug, Clone)]
struct Held {
    line: Bytes,
    /// Id of the call; `None` for a batch, and if another held call has the id.
    id: Option<Key>,
    tools: Vec<String>,
}

impl State {
    fn needs_list(&self, tool: &str) -> bool {
        self.tools.lookup(tool) == Lookup::ListNeeded
    }
}

impl Relay {
    /// Creates a relay that decides by `gate`.
    #[must_use]
    pub fn new(gate: Gate, settings: Settings) -> Self {
        let state = State {
            era: Era::default(),
            tools: Tools::after(settings.first_seen.clone(), settings.trusted),
            pending: Pending::default(),
            open_requests: OpenRequests::default(),
            input_requests: OpenInputRequests::default(),
            held: HashSet::new(),
            input_ended: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
        Self {
            gate,
            settings: Arc::new(settings),
            shared,
            scope: Arc::from(""),
            framing: Framing::Lines,
            to_client: Queue::new(),
            to_server: Queue::new(),
            held: Queue::new(),
            client_ended: Notify::new(),
            server_input_closed: Notify::new(),
        }
    }

    /// The key of an id in this exchange.
    fn key(&self, id: &[u8]) -> Key {
        Key::scoped(&self.scope, id)
    }

    /// Relays until the server's output has ended and the client has received it, or the client
    /// is gone. The server's input is closed once everything before has been delivered.
    /// `client` is the client's input, and a future that writes what it is sent, such as
    /// [`Relay::write_client`] or one that drains [`Relay::client_queue`].
    ///
    /// # Errors
    /// If reading from the server or writing to the client fails.
    pub async fn run<CR, CW, SR, SW>(&self, client: (CR, CW), server: (SR, SW)) -> io::Result<()>
    where
        CR: AsyncRead + Unpin,
        CW: Future<Output = io::Result<()>>,
        SR: AsyncRead + Unpin,
        SW: AsyncWrite + Unpin,
    {
        let max = self.settings.max_message;
        let reader = async {
            if let Err(error) = self.read_client(Frames::new(client.0, max)).await {
                tracing::debug!(%error, "the client's input broke");
            }
            self.held.close();
            self.state().input_ended = Some(Instant::now());
            self.shared.changed.notify_waiters();
            self.client_ended.notify_one();
        };
        let held_calls = async {
            self.release_held().await;
            self.to_server.close();
        };
        let writer = async {
            // The server may still send output and has an exit code, so this is not an error.
            if let Err(error) = self.to_server.clone().drain(server.1).await {
                tracing::debug!(%error, "the server's input broke");
                self.server_input_closed.notify_one();
            }
        };
        let inward = async {
            tokio::join!(reader, held_calls, writer);
            std::future::pending::<()>().await;
        };
        let outward = async {
            let reader = async {
                let frames =
                    Frames::new(server.0, max).counted(self.settings.answer_memory.as_ref());
                let read = self.read_server(frames).await;
                self.to_client.close();
                read
            };
            let writer = async {
                let written = client.1.await;
                // Nobody reads any more: the same as the end of the input.
                self.client_ended.notify_one();
                written
            };
            let (read, written) = tokio::join!(reader, writer);
            read.and(written)
        };
        let outcome = tokio::select! {
            outcome = outward => outcome,
            () = inward => Ok(()),
        };
        self.fail_open_requests("no answer");
        outcome
    }

    /// Writes messages to the client to `client`.
    pub fn write_client<W>(&self, client: W) -> impl Future<Output = io::Result<()>> + use<W>
    where
        W: AsyncWrite + Unpin,
    {
        self.client_queue().drain(client)
    }

    /// The queue of messages to the client.
    #[must_use]
    pub fn client_queue(&self) -> Queue<ToClient> {
        self.to_client.clone()
    }

    /// Waits until the client's input has ended.
    pub async fn client_ended(&self) {
        self.client_ended.notified().await;
    }

    /// Waits until the server's input is closed, so that messages to it are lost.
    pub async fn server_input_closed(&self) {
        self.server_input_closed.notified().await;
    }

    /// Names of the tools the server has listed, in any order.
    #[must_use]
    pub fn tools_listed(&self) -> Vec<String> {
        self.state().tools.names().map(str::to_owned).collect()
    }

    /// Whether no responses are due: all requests were answered, or the client is gone.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let answered = self.state().pending.is_empty() && self.held.is_empty();
        answered || self.to_client.is_closed()
    }

    /// Whether only lists of tools are due, of a server that has not listed them to the gate
    /// either: waiting for them is in vain.
    #[must_use]
    pub fn awaits_in_vain(&self) -> bool {
        let state = self.state();
        let in_vain = state.tools.is_list_missing() && state.pending.holds_only_lists();
        in_vain && self.held.is_empty()
    }

    /// Whether everything sent to the client has been written.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.to_client.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn action(&self, target: Target) -> Arc<Action> {
        Arc::new(Action {
            at: jiff::Timestamp::now(),
            agent: self.settings.agent.clone(),
            session: Arc::clone(&self.settings.session),
            transport: self.settings.transport,
            target,
        })
    }

    /// Sends `answers` to the client, unless it is gone.
    async fn answer(&self, answers: &[Reply], layout: Layout) {
        if !answers.is_empty() {
            let _ = self.to_client.push(reply::lines(answers, layout)).await;
        }
    }

    /// Completes the row of an action that will not be answered.
    fn fail(&self, kind: Option<RequestKind>, status: &str) {
        if let Some(RequestKind::Admitted(receipt)) = kind {
            self.fail_receipt(&receipt, status);
        }
    }

    fn fail_receipt(&self, receipt: &Receipt, status: &str) {
        self.gate.release(receipt, Outcome::Error, status.to_owned());
    }

    /// Responds to all requests in flight with the error `why`.
    pub async fn fail_all(&self, why: &str) {
        let (held, pending) = {
            let mut state = self.state();
            (std::mem::take(&mut state.held), state.pending.take_all())
        };
        let pending = pending.into_iter().map(|(id, kind)| (id, Some(kind)));
        for (id, kind) in held.into_iter().map(|id| (id, None)).chain(pending) {
            self.fail(kind, why);
            let answer = reply::upstream_failed(Some(id.as_bytes()), why);
            self.answer(&[answer.into()], Layout::Single).await;
        }
    }

    fn fail_open_requests(&self, status: &str) {
        let open = {
            let mut state = self.state();
            [state.pending.drain(), state.open_requests.drain()].concat()
        };
        open.iter().for_each(|receipt| self.fail_receipt(receipt, status));
    }
}

impl Weight for Held {
    fn weight(&self) -> usize {
        self.line.len()
    }
}

#[cfg(test)]
mod tests;
