//! A remote server shown to a client over pipes: each line is a POST, and what
//! comes back is written as lines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::front::Incoming;
use super::remote::Remote;
use super::sse::Parser;
use super::{REVISION, SESSION, agree};
use crate::action::Agent;
use crate::mcp::frames::{Frame, Frames};
use crate::mcp::queue::Queue;
use crate::mcp::reply;
use crate::mcp::scan::outline;
use crate::net::Body;

/// POSTs under way at once; further lines wait.
const MAX_POSTS: usize = 256;

/// How long answers may take once the client has said its last.
const LAST_ANSWERS: Duration = Duration::from_secs(8);

/// How long the end of the session may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Pauses before a stream is opened again: the default of the standard, and the
/// longest that a server may ask for.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Which transport is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP; HTTP+SSE where the server refuses the first POST.
    Auto,
    /// Streamable HTTP.
    Streamable,
    /// HTTP+SSE.
    Sse,
}

/// The client's side of a remote server.
#[derive(Debug)]
pub struct Bridge {
    remote: Arc<Remote>,
    agent: Agent,
    transport: Transport,
    max_message: usize,
    to_client: Queue<Bytes>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<HeaderValue>,
    revision: Option<HeaderValue>,
    /// Requests of the stateless era under way: to cancel is to close.
    cancellable: HashMap<String, AbortHandle>,
    listener: Option<AbortHandle>,
    is_sse: bool,
}

impl Bridge {
    /// A bridge to `remote` for `agent`.
    #[must_use]
    pub fn new(
        remote: Arc<Remote>,
        agent: Agent,
        transport: Transport,
        max_message: usize,
    ) -> Arc<Self> {
        let (to_client, state) = (Queue::new(), Mutex::default());
        Arc::new(Self { remote, agent, transport, max_message, to_client, state })
    }

    /// Serves one client until it has said its last and has its answers.
    ///
    /// # Errors
    /// Where the client's output breaks in a way that is not its end.
    pub async fn run<R, W>(self: &Arc<Self>, client: (R, W)) -> std::io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let reader = async {
            let mut posts = JoinSet::new();
            if let Err(error) = self.read(Frames::new(client.0, self.max_message), &mut posts).await
            {
                tracing::debug!(%error, "the client's input broke");
            }
            let all = async { while posts.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(LAST_ANSWERS, all).await;
            posts.abort_all();
            self.take_leave().await;
            self.to_client.close();
        };
        let writer = self.to_client.clone().drain(client.1);
        let ((), written) = tokio::join!(reader, writer);
        self.remote.close();
        written
    }

    async fn read<R: AsyncRead + Unpin>(
        self: &Arc<Self>,
        mut frames: Frames<R>,
        posts: &mut JoinSet<()>,
    ) -> std::io::Result<()> {
        let room = Arc::new(Semaphore::new(MAX_POSTS));
        if self.transport == Transport::Sse {
            self.open_sse().await;
        }
        while let Some(frame) = frames.next().await? {
            let line = match frame {
                Frame::Line(line) if line.trim_ascii().is_empty() => continue,
                Frame::Line(line) => line.slice_ref(line.trim_ascii()),
                Frame::Oversize(outline) => {
                    let answer = reply::too_large(outline.id.as_deref(), self.max_message);
                    self.tell(answer.into()).await;
                    continue;
                }
            };
            while posts.try_join_next().is_some() {}
            let outline = outline(&line);
            let is_request = outline.has_method && outline.id.is_some();
            if self.cancelled(&line) {
                continue;
            }
            // What comes first is to arrive first: a handshake, a notification
            // and an answer are waited for, calls are not.
            if !is_request || has_method(&line, "initialize") {
                self.post(line.clone()).await;
                if has_method(&line, "notifications/initialized") {
                    self.listen();
                }
                continue;
            }
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
            let bridge = Arc::clone(self);
            let id = outline.id.map(|id| String::from_utf8_lossy(&id).into_owned());
            let stateless = agree::headers_of(&line).is_some();
            let posted = posts.spawn(async move {
                let _permit = permit;
                bridge.post(line).await;
            });
            if let (Some(id), true) = (id, stateless) {
                let mut state = self.state();
                state.cancellable.retain(|_, post| !post.is_finished());
                state.cancellable.insert(id, posted);
            }
        }
        Ok(())
    }

    /// In the stateless era, closing the stream is how a request is cancelled.
    fn cancelled(&self, line: &[u8]) -> bool {
        if !has_method(line, "notifications/cancelled") || agree::headers_of(line).is_none() {
            return false;
        }
        let message: Value = serde_json::from_slice(line).unwrap_or_default();
        let id = message.pointer("/params/requestId").map(Value::to_string).unwrap_or_default();
        let post = self.state().cancellable.remove(&id);
        post.map(|post| post.abort()).is_some()
    }

    /// Sends one message and writes what comes back.
    async fn post(self: &Arc<Self>, line: Bytes) {
        let id = outline(&line).id;
        let initializes = has_method(&line, "initialize");
        let mut response = self.exchange(Method::POST, &line, None).await;
        if initializes && self.falls_back(response.status()) && self.open_sse().await {
            response = self.exchange(Method::POST, &line, None).await;
        }
        if initializes && let Some(session) = response.headers().get(SESSION) {
            self.state().session = Some(session.clone());
        }
        self.write_answer(response, id.as_deref(), initializes).await;
    }

    fn falls_back(&self, status: StatusCode) -> bool {
        let refused = matches!(status.as_u16(), 400 | 404 | 405);
        self.transport == Transport::Auto && refused && !self.state().is_sse
    }

    async fn exchange(&self, method: Method, line: &Bytes, last: Option<&str>) -> Response<Body> {
        let mut headers = HeaderMap::new();
        let accepts = match method {
            Method::POST => "application/json, text/event-stream",
            _ => "text/event-stream",
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accepts));
        if method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        {
            let state = self.state();
            for (name, value) in [(SESSION, &state.session), (REVISION, &state.revision)] {
                if let Some(value) = value {
                    headers.insert(name, value.clone());
                }
            }
        }
        for (name, value) in agree::headers_of(line).into_iter().flatten() {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
        if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
            headers.insert("last-event-id", last);
        }
        let (agent, principal) = (self.agent.clone(), Arc::from("stdio"));
        let body = line.clone();
        self.remote.answer(Incoming { agent, principal, method, headers, body }).await
    }

    /// Writes the messages of an answer as lines; an answer that is none becomes
    /// an error, so that nobody waits for ever.
    async fn write_answer(&self, response: Response<Body>, id: Option<&[u8]>, initializes: bool) {
        let status = response.status();
        if is_stream(&response) {
            let told = self.write_stream(response.into_body(), id).await;
            if let (false, Some(id)) = (told.answered, id) {
                let words = "the server's stream ended without an answer";
                self.tell(reply::upstream_failed(Some(id), words).into()).await;
            }
            return;
        }
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let body = body.unwrap_or_default();
        if initializes && status.is_success() {
            self.learn_revision(&body);
        }
        let is_message =
            body.trim_ascii().first().is_some_and(|first| matches!(first, b'{' | b'['));
        let answers = outline(&body).id.is_some() || status.is_success();
        match id {
            _ if is_message && answers => self.tell(body).await,
            Some(_) if status == StatusCode::ACCEPTED => {}
            Some(id) => {
                let said =
                    String::from_utf8_lossy(body.get(..body.len().min(500)).unwrap_or_default());
                let words = format!("the server answered with HTTP {status}: {said}");
                self.tell(reply::upstream_failed(Some(id), words.trim_end_matches(": ")).into())
                    .await;
            }
            None => {}
        }
    }

    async fn write_stream(&self, mut body: Body, id: Option<&[u8]>) -> Told {
        let mut parser = Parser::new(self.max_message);
        let mut told = Told::default();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            parser.feed(&data);
            while let Ok(Some(event)) = parser.next_event() {
                told.last_id = event.id.clone().or(told.last_id);
                told.retry = event.retry.or(told.retry);
                let Some(message) = event.message() else { continue };
                let outline = outline(message);
                told.answered |= outline.is_response && outline.id.as_deref() == id;
                if told.answered {
                    self.learn_revision(message);
                }
                self.tell(Bytes::copy_from_slice(message)).await;
            }
        }
        told
    }

    fn learn_revision(&self, answer: &[u8]) {
        if memchr::memmem::find(answer, b"\"protocolVersion\"").is_none() {
            return;
        }
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let revision = answer.pointer("/result/protocolVersion").and_then(Value::as_str);
        let revision = revision.and_then(|revision| HeaderValue::from_str(revision).ok());
        if revision.is_some() {
            self.state().revision = revision;
        }
    }

    /// Writes one message as a line: line feeds in JSON are white space.
    async fn tell(&self, message: Bytes) {
        let mut line = message.trim_ascii().to_vec();
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        line.push(b'\n');
        let _ = self.to_client.push(line.into()).await;
    }

    /// Opens the stream on which the server speaks first; it is opened again
    /// when it ends, from where it ended. Servers need not have one.
    fn listen(self: &Arc<Self>) {
        if self.state().is_sse {
            return;
        }
        let bridge = Arc::clone(self);
        let listener = tokio::spawn(async move {
            let mut last: Option<String> = None;
            let mut pause = RETRY;
            loop {
                let response = bridge.exchange(Method::GET, &Bytes::new(), last.as_deref()).await;
                if !is_stream(&response) || !response.status().is_success() {
                    return;
                }
                let told = bridge.write_stream(response.into_body(), None).await;
                last = told.last_id.or(last);
                pause = told.retry.map_or(pause, Duration::from_millis).min(LONGEST_RETRY);
                tokio::time::sleep(pause).await;
            }
        });
        let earlier = self.state().listener.replace(listener.abort_handle());
        earlier.inspect(AbortHandle::abort);
    }

    /// The transport of 2024-11-05: a stream names the endpoint to post to, and
    /// carries every answer.
    async fn open_sse(self: &Arc<Self>) -> bool {
        let response = self.exchange(Method::GET, &Bytes::new(), None).await;
        if !is_stream(&response) || !response.status().is_success() {
            return false;
        }
        let mut body = response.into_body();
        let mut parser = Parser::new(self.max_message);
        let endpoint = loop {
            let Some(Ok(frame)) = body.frame().await else { return false };
            let Ok(data) = frame.into_data() else { continue };
            parser.feed(&data);
            match parser.next_event() {
                Ok(Some(event)) if event.kind == "endpoint" => {
                    break event.data.unwrap_or_default();
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        };
        let endpoint = String::from_utf8_lossy(&endpoint).into_owned();
        if let Err(error) = self.remote.redirect_to(&endpoint) {
            tracing::error!("{error}");
            return false;
        }
        let bridge = Arc::clone(self);
        let rest = parser.rest();
        let listener = tokio::spawn(async move {
            let first = futures_util::stream::iter([Ok::<_, axum::Error>(rest)]);
            let whole = futures_util::StreamExt::chain(first, body.into_data_stream());
            bridge.write_stream(Body::from_stream(whole), None).await;
            // Nothing can be answered any more.
            bridge.to_client.close();
        });
        let mut state = self.state();
        state.is_sse = true;
        state.listener = Some(listener.abort_handle());
        true
    }

    async fn take_leave(&self) {
        let (listener, session) = {
            let mut state = self.state();
            (state.listener.take(), state.session.is_some())
        };
        if session {
            let nothing = Bytes::new();
            let farewell = self.exchange(Method::DELETE, &nothing, None);
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        listener.inspect(AbortHandle::abort);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a stream told besides its messages.
#[derive(Debug, Default)]
struct Told {
    answered: bool,
    last_id: Option<String>,
    retry: Option<u64>,
}

fn is_stream(response: &Response<Body>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// Whether the message is of this method; only for the order of things, never
/// for a decision.
fn has_method(line: &[u8], method: &str) -> bool {
    if memchr::memmem::find(line, method.as_bytes()).is_none() {
        return false;
    }
    crate::json::parse(line).is_ok_and(|message| {
        let message = message.as_object().and_then(|message| message.get("method"));
        message.and_then(crate::json::Json::as_str) == Some(method)
    })
}
