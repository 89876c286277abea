//! The relay: client and server, whatever carries their bytes.
//!
//! ```text
//! client ──► Frames ──► envelope ──► gate::admit ──► Queue ──► server
//! client ◄── Queue ◄── answer (learn, complete, swallow) ◄── Frames ◄── server
//! ```
//!
//! Lines go out as they came in, in the order they came in. Only a call that has
//! to wait for the server's list of tools is overtaken: it stands in a lane of
//! its own, so that what the server asks meanwhile can be answered.

mod cleared;
pub mod exchange;
mod inward;
mod outward;
mod server_requests;

pub(in crate::mcp) use outward::TWICE;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use cleared::Cleared;

use super::envelope::Framing;
use super::era::Era;
use super::frames::Frames;
use super::open_requests::OpenRequests;
use super::pending::{Asked, Key, Pending};
use super::queue::{Queue, Weight};
use super::reply::{self, Reply, Told};
use super::tools::{FirstSeen, Lookup, Tools};
use crate::action::{Action, Agent, Target, Transport};
use crate::gate::{Gate, Receipt};
use crate::net::memory::SenderBudget;
use crate::store::audit::Outcome;

/// How long a call waits for the server's list of tools. After that the worst
/// is assumed of a tool that is not known.
pub const LIST_PATIENCE: Duration = Duration::from_secs(5);

/// What one relay needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's name in policies and the log.
    pub server: Arc<str>,
    /// Who asks.
    pub agent: Agent,
    /// How it came.
    pub transport: Transport,
    /// This connection, in the log.
    pub session: Arc<str>,
    /// The server's hints may loosen what is decided.
    pub trusted: bool,
    /// What the other conversations with this server have seen of its hints.
    pub first_seen: FirstSeen,
    /// Tools that would be denied are left out of tools/list.
    pub hide_denied: bool,
    /// The largest message passed on, in bytes.
    pub max_message: usize,
    /// Where answers are counted while they are held; `None` if there is one client
    /// only, and bounds of its own.
    pub answer_memory: Option<SenderBudget>,
}

/// One client, one server, and the gate between them.
#[derive(Debug)]
pub struct Relay {
    gate: Gate,
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    /// Sets the ids of one exchange apart from those of another that shares the
    /// same state; empty if ids are unique anyway.
    scope: Arc<str>,
    framing: Framing,
    to_client: Queue<Told>,
    to_server: Queue<Cleared>,
    held: Queue<Held>,
    /// The client has said its last.
    client_ended: Notify,
    /// The server does not take what it is sent.
    server_deaf: Notify,
}

/// What the exchanges of one conversation have in common.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something that a held call may wait for has happened.
    news: Notify,
}

#[derive(Debug)]
struct State {
    era: Era,
    tools: Tools,
    pending: Pending,
    /// What the server asked the client.
    open_requests: OpenRequests,
    /// The calls that are held and not cancelled.
    held: HashSet<Key>,
}

/// A line with a call that waits for the server's list of tools.
#[derive(Debug, Clone)]
struct Held {
    line: Bytes,
    /// The call's id; a batch has none.
    id: Option<Key>,
    tools: Vec<String>,
}

impl State {
    fn needs_list(&self, tool: &str) -> bool {
        self.tools.lookup(tool) == Lookup::ListNeeded
    }
}

impl Relay {
    /// A relay that decides by `gate`.
    #[must_use]
    pub fn new(gate: Gate, settings: Settings) -> Self {
        let state = State {
            era: Era::default(),
            tools: Tools::after(settings.first_seen.clone(), settings.trusted),
            pending: Pending::default(),
            open_requests: OpenRequests::default(),
            held: HashSet::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Notify::new() });
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
            server_deaf: Notify::new(),
        }
    }

    /// The key of an id in this exchange.
    fn key(&self, id: &[u8]) -> Key {
        Key::scoped(&self.scope, id)
    }

    /// Relays until the server has said its last and the client has been given
    /// it, or the client is gone. The server sees the end of its input as soon as
    /// everything before it is delivered. The client is what it says, and what hands
    /// on what it is told: [`Relay::tells`], or whatever empties [`Relay::told`].
    ///
    /// # Errors
    /// If the client's input or output breaks in a way that is not its end.
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
            self.client_ended.notify_one();
        };
        let lane = async {
            self.release_held().await;
            self.to_server.close();
        };
        let writer = async {
            // What a server that no longer listens still says, and its exit
            // code, matter more.
            if let Err(error) = self.to_server.clone().drain(server.1).await {
                tracing::debug!(%error, "the server's input broke");
                self.server_deaf.notify_one();
            }
        };
        let inward = async {
            tokio::join!(reader, lane, writer);
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
                // Nobody reads any more: as good as the end of the input.
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
        self.write_off("no answer");
        outcome
    }

    /// Writes what the client is told to `client`.
    pub fn tells<W>(&self, client: W) -> impl Future<Output = io::Result<()>> + use<W>
    where
        W: AsyncWrite + Unpin,
    {
        self.told().drain(client)
    }

    /// What the client is told.
    #[must_use]
    pub fn told(&self) -> Queue<Told> {
        self.to_client.clone()
    }

    /// Waits until the client has said its last, or is gone.
    pub async fn client_ended(&self) {
        self.client_ended.notified().await;
    }

    /// Waits until the server has closed its input, and what it was sent is lost.
    pub async fn server_deaf(&self) {
        self.server_deaf.notified().await;
    }

    /// The names of the tools that the server listed, in no order.
    #[must_use]
    pub fn tools_listed(&self) -> Vec<String> {
        self.state().tools.names().map(str::to_owned).collect()
    }

    /// Whether no answer is due: every request of the client's was answered, or
    /// nobody reads any more.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let answered = self.state().pending.is_empty() && self.held.is_empty();
        answered || self.to_client.is_closed()
    }

    /// Whether the client has read everything that came for it so far.
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

    /// Answers the client. One that is gone needs no answer.
    async fn answer(&self, answers: &[Reply], as_batch: bool) {
        if !answers.is_empty() {
            let _ = self.to_client.push(reply::lines(answers, as_batch)).await;
        }
    }

    /// Completes the row of an action whose answer will not come.
    fn fail(&self, asked: Option<Asked>, status: &str) {
        if let Some(Asked::Admitted(receipt)) = asked {
            self.fail_receipt(&receipt, status);
        }
    }

    fn fail_receipt(&self, receipt: &Receipt, status: &str) {
        self.gate.release(receipt, Outcome::Error, status.to_owned());
    }

    /// Tells the client why what it asked has no answer, and will have none.
    pub async fn give_up(&self, why: &str) {
        let (held, asked) = {
            let mut state = self.state();
            (std::mem::take(&mut state.held), state.pending.take_all())
        };
        let asked = asked.into_iter().map(|(id, asked)| (id, Some(asked)));
        for (id, asked) in held.into_iter().map(|id| (id, None)).chain(asked) {
            self.fail(asked, why);
            let answer = reply::upstream_failed(Some(id.as_bytes()), why);
            self.answer(&[answer.into()], false).await;
        }
    }

    fn write_off(&self, status: &str) {
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
