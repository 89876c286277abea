//! A remote server exposed to a client over pipes: each line becomes a POST, and responses are
//! written as lines.

mod answers;
mod ending;
mod streams;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;

use super::front::Incoming;
use super::header_check::{self, has_method};
use super::own_requests::BOTH;
use super::remote::Remote;
use super::{LAST_EVENT_ID, REVISION, SESSION};
use crate::action::Agent;
use crate::json::{self, Json};
use crate::mcp::frames::{Frame, Frames};
use crate::mcp::pending::Key;
use crate::mcp::queue::Queue;
use crate::mcp::reply;
use crate::mcp::scan::outline;
use crate::mcp::session::LAST_ANSWERS;
use crate::net::{Body, is_event_stream};

use answers::AwaitedIds;

/// Maximum number of POST requests in flight; further lines wait.
const MAX_POSTS: usize = 256;

/// How long notifications and responses, which must arrive in order, delay what follows if the
/// server does not accept them.
const ORDERED_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout for ending the session.
const SESSION_END_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the client may take to read what is left for it.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Number of requests that are answered with an error after the session was lost. A client that
/// goes on without initializing does not know how to, and is disconnected.
const MAX_REMINDERS: u32 = 3;

/// Error for a client whose session the server does not know any more.
const SESSION_LOST: &str = "the server has ended the session; initialize again to begin another";

/// Transport to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP, or HTTP+SSE if the server refuses the first POST.
    Auto,
    /// Streamable HTTP.
    Streamable,
    /// HTTP+SSE.
    Sse,
}

/// The client's side.
#[derive(Debug)]
pub struct Pipes<R, W, G> {
    /// Where its messages are read.
    pub input: R,
    /// Where messages to it are written.
    pub output: W,
    /// Completes when the client is gone.
    pub gone: G,
}

/// What ended the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client's input ended, or the client is gone.
    Client,
    /// The server: the client has to start again.
    Server,
    /// This process was told to stop.
    Stopped,
}

/// A client over pipes in front of a remote server.
#[derive(Debug)]
pub struct PipedClient {
    remote: Arc<Remote>,
    agent: Agent,
    transport: Transport,
    max_message: usize,
    last_answers: Duration,
    /// How long requests in flight may take once this process was told to stop.
    drain_timeout: Duration,
    to_client: Queue<Bytes>,
    /// Notified when the client does not read any more.
    client_gone: Notify,
    /// Notified when the server has ended the conversation.
    server_gone: Notify,
    /// Number of ordered messages that have arrived.
    arrived: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<HeaderValue>,
    revision: Option<HeaderValue>,
    /// Requests in flight.
    posts: HashMap<Key, InFlight>,
    listener: Option<AbortHandle>,
    /// Whether responses come on the stream of HTTP+SSE; and those outstanding.
    is_sse: bool,
    on_stream: HashSet<Key>,
    /// Set if the session was lost: the number of requests answered since.
    lost: Option<u32>,
}

#[derive(Debug)]
struct InFlight {
    post: AbortHandle,
    /// Whether it is stateless, so that closing the stream cancels it.
    stateless: bool,
    /// Whether it is a subscription.
    listens: bool,
    /// Whether no response is due: it was cancelled or answered.
    is_settled: bool,
}

/// A response of the server, and the session of its request.
#[derive(Debug)]
struct Answer {
    response: Response<Body>,
    session: Option<HeaderValue>,
}

impl PipedClient {
    /// The client `agent` of `remote`, with messages of at most `max_message` bytes. Once this
    /// process was told to stop, requests in flight may take `drain_timeout`.
    #[must_use]
    pub fn new(
        remote: Arc<Remote>,
        agent: Agent,
        transport: Transport,
        (max_message, drain_timeout): (usize, Duration),
    ) -> Arc<Self> {
        Arc::new(Self {
            remote,
            agent,
            transport,
            max_message,
            last_answers: LAST_ANSWERS,
            drain_timeout,
            to_client: Queue::new(),
            client_gone: Notify::new(),
            server_gone: Notify::new(),
            arrived: watch::Sender::new(0),
            state: Mutex::default(),
        })
    }

    /// Serves the client until its input has ended and all is answered, it is gone, the server
    /// ends the conversation, or `stop` completes.
    pub async fn run<R, W>(
        self: &Arc<Self>,
        client: Pipes<R, W, impl Future<Output = ()>>,
        stop: impl Future<Output = ()>,
    ) -> End
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let mut stop = std::pin::pin!(stop);
        let mut posts = JoinSet::new();
        let writing = self.write(client.output);
        let (ordered_lines, lines) = mpsc::channel(MAX_POSTS);
        let mut ordered = tokio::spawn(Arc::clone(self).in_order(lines));
        let mut end = tokio::select! {
            read = self.read(Frames::new(client.input, self.max_message), ordered_lines, &mut posts) => {
                if let Err(error) = read {
                    tracing::debug!(%error, "the client's input broke");
                }
                End::Client
            }
            () = self.client_gone.notified() => End::Client,
            () = self.server_gone.notified() => End::Server,
            () = &mut stop => End::Stopped,
        };
        if end != End::Server {
            end = self.drain(end, (&mut ordered, &mut posts), (client.gone, stop)).await;
        }
        posts.abort_all();
        ordered.abort();
        self.close(end, writing).await;
        end
    }

    fn write<W: AsyncWrite + Unpin + Send + 'static>(
        self: &Arc<Self>,
        output: W,
    ) -> JoinHandle<()> {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = this.to_client.clone().drain(output).await {
                tracing::debug!(%error, "the client's output broke");
            }
            this.client_gone.notify_one();
        })
    }

    /// Reads the client's input to its end. Handshakes, notifications and responses must arrive
    /// in order, so they are waited for; calls are not.
    async fn read<R: AsyncRead + Unpin>(
        self: &Arc<Self>,
        mut frames: Frames<R>,
        ordered_lines: mpsc::Sender<Bytes>,
        posts: &mut JoinSet<()>,
    ) -> std::io::Result<()> {
        let permits = Arc::new(Semaphore::new(MAX_POSTS));
        let mut ahead = 0;
        while let Some(frame) = frames.next().await? {
            let line = match frame {
                Frame::Line(line) if line.trim_ascii().is_empty() => continue,
                Frame::Line(line) => line.slice_ref(line.trim_ascii()),
                Frame::Oversize(outline) | Frame::Crowded(outline) => {
                    let id = outline.id.filter(|_| !outline.is_response);
                    self.send_to_client(reply::too_large(id.as_deref(), self.max_message).into())
                        .await;
                    continue;
                }
            };
            while posts.try_join_next().is_some() {}
            if self.cancels(&line) {
                continue;
            }
            if self.transport == Transport::Sse
                && !self.state().is_sse
                && let Err(fault) = self.open_sse().await
            {
                self.fail_unanswered(&AwaitedIds::of(&line), &fault.to_string()).await;
                continue;
            }
            let outline = outline(&line);
            let is_request = outline.has_method && outline.id.is_some();
            if !is_request || has_method(&line, "initialize") {
                ahead += 1;
                let _ = ordered_lines.send(line).await;
                continue;
            }
            if self.is_lost() {
                self.answer_without_session(&line).await;
                continue;
            }
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return Ok(()) };
            self.spawn(line, ahead, permit, posts);
        }
        Ok(())
    }

    /// Sends a request once the ordered messages before it have arrived.
    fn spawn(
        self: &Arc<Self>,
        line: Bytes,
        ahead: u64,
        permit: tokio::sync::OwnedSemaphorePermit,
        posts: &mut JoinSet<()>,
    ) {
        let key = outline(&line).id.map(|id| Key::new(&id));
        let stateless = header_check::headers_of(&line).is_some();
        let listens = has_method(&line, "subscriptions/listen");
        let this = Arc::clone(self);
        let post = posts.spawn(async move {
            let _permit = permit;
            let _ = this.arrived.subscribe().wait_for(|arrived| *arrived >= ahead).await;
            this.post(line).await;
        });
        let mut state = self.state();
        state.posts.retain(|_, in_flight| !in_flight.post.is_finished());
        if let Some(key) = key {
            let in_flight = InFlight { stateless, listens, ..InFlight::new(post) };
            state.posts.insert(key, in_flight);
        }
    }

    /// Sends messages that must arrive in order.
    async fn in_order(self: Arc<Self>, mut lines: mpsc::Receiver<Bytes>) {
        while let Some(line) = lines.recv().await {
            let initialized = has_method(&line, "notifications/initialized");
            let initializes = has_method(&line, "initialize");
            let id = outline(&line).id.filter(|_| initializes);
            let this = Arc::clone(&self);
            let mut posted = tokio::spawn(async move { this.post(line).await });
            if let Some(id) = id {
                let in_flight = InFlight::new(posted.abort_handle());
                self.state().posts.insert(Key::new(&id), in_flight);
            }
            if initializes {
                let _ = posted.await;
            } else if timeout(ORDERED_TIMEOUT, &mut posted).await.is_err() {
                tracing::warn!("the server does not take a notification; what follows goes on");
            }
            self.arrived.send_modify(|arrived| *arrived += 1);
            if initialized {
                self.listen();
            }
        }
    }

    /// Whether the line is a cancellation that need not be sent, because closing the stream
    /// cancels in the stateless era.
    fn cancels(&self, line: &[u8]) -> bool {
        if !has_method(line, "notifications/cancelled") {
            return false;
        }
        let Ok(message) = json::parse(line) else { return false };
        let params = message.as_object().and_then(|message| message.get("params")?.as_object());
        let Some(id) = params.and_then(|params| params.get("requestId")).map(Json::to_string)
        else {
            return false;
        };
        let mut state = self.state();
        let key = Key::new(id.as_bytes());
        state.on_stream.remove(&key);
        match state.posts.get_mut(&key) {
            Some(in_flight) if in_flight.stateless => {
                in_flight.post.abort();
                state.posts.remove(&key);
                true
            }
            Some(in_flight) => {
                in_flight.is_settled = true;
                false
            }
            // It is answered, but belongs to no conversation.
            None => state.session.is_none() && state.revision.is_none() && !state.is_sse,
        }
    }

    /// Sends one message and writes the response.
    async fn post(self: &Arc<Self>, line: Bytes) {
        let mut awaited = AwaitedIds::of(&line);
        let initializes = has_method(&line, "initialize");
        if initializes {
            self.reset_conversation();
        }
        self.await_on_stream(&awaited);
        let mut answer = self.exchange(Method::POST, &line, None).await;
        if initializes {
            answer = self.fall_back(answer, &line).await;
            self.state().session = answer.response.headers().get(SESSION).cloned();
        }
        awaited.initializes = initializes;
        self.write_answer(answer, awaited).await;
    }

    /// Resets the state of an earlier conversation. The stream of HTTP+SSE is kept, which
    /// carries the next one's responses, too.
    fn reset_conversation(&self) {
        let mut state = self.state();
        (state.session, state.revision, state.lost) = (None, None, None);
        if !state.is_sse {
            state.listener.take().inspect(AbortHandle::abort);
        }
    }

    async fn exchange(&self, method: Method, line: &Bytes, last: Option<&str>) -> Answer {
        let mut headers = HeaderMap::new();
        match method {
            Method::POST => {
                headers.insert(ACCEPT, BOTH);
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            _ => {
                headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            }
        }
        let (session, revision) = {
            let state = self.state();
            (state.session.clone(), state.revision.clone())
        };
        for (name, value) in [(SESSION, &session), (REVISION, &revision)] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        header_check::add_headers_of(line, &mut headers);
        if let Some(last) = last.and_then(streams::last_event) {
            headers.insert(LAST_EVENT_ID, last);
        }
        let (agent, principal) = (self.agent.clone(), Arc::from("stdio"));
        let body = line.clone();
        let incoming = Incoming { agent, principal, method, headers, body };
        Answer { response: self.remote.answer(incoming).await, session }
    }

    fn is_lost(&self) -> bool {
        self.state().lost.is_some()
    }

    /// Marks the session as lost, unless it was replaced meanwhile: the response may belong to
    /// an earlier one.
    fn lose_session(&self, session: &HeaderValue) {
        let mut state = self.state();
        if state.session.as_ref() == Some(session) {
            tracing::warn!("{SESSION_LOST}");
            (state.session, state.lost) = (None, Some(0));
            state.listener.take().inspect(AbortHandle::abort);
        }
    }

    /// Responds to a client that goes on without a session, and finally disconnects it.
    async fn answer_without_session(&self, line: &[u8]) {
        self.send_error(outline(line).id.as_deref(), SESSION_LOST).await;
        let mut state = self.state();
        let reminders = state.lost.map_or(0, |reminders| reminders + 1);
        state.lost = Some(reminders);
        if reminders >= MAX_REMINDERS {
            self.server_gone.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlight {
    fn new(post: AbortHandle) -> Self {
        Self { post, stateless: false, listens: false, is_settled: false }
    }
}

impl Answer {
    /// The session, if the status says that the server does not know it.
    fn lost_session(&self) -> Option<&HeaderValue> {
        self.session.as_ref().filter(|_| self.response.status() == StatusCode::NOT_FOUND)
    }

    /// Whether the body consists of server-sent events.
    fn is_stream(&self) -> bool {
        is_event_stream(self.response.headers())
    }
}

#[cfg(test)]
mod tests;
