//! A server that speaks over pipes, shown over Streamable HTTP: a child for each
//! session of the older era, one for each principal of the stateless one.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::front::Incoming;
use super::problem::{self, HEADER_MISMATCH, INVALID_REQUEST, UPSTREAM};
use super::{SESSION, agree};
use crate::mcp::frames::{Frame, Frames};
use crate::mcp::relay::Relay;
use crate::mcp::scan::outline;
use crate::mcp::session;
use crate::net::Body;
use crate::os::{Child, StopRequests};

/// Children at once; beyond it new sessions are refused.
pub const MAX_CHILDREN: usize = 64;

/// How long a session may be idle.
pub const IDLE: Duration = Duration::from_secs(30 * 60);

/// How long a request of another client with the same id is waited for.
const ID_PATIENCE: Duration = Duration::from_secs(60);

/// Bytes between a session and its relay.
const PIPE: usize = 256 << 10;

/// Messages that wait for a client's stream, and for one that is not open yet.
const WAITING: usize = 64;

/// How long children may take to end when all of them have to.
const LAST: Duration = Duration::from_secs(4);

/// The children of one command.
pub struct Children {
    command: Vec<OsString>,
    max_message: usize,
    begin: Box<dyn Fn(&Incoming) -> Relay + Send + Sync>,
    open: Mutex<HashMap<Key, Arc<Session>>>,
    running: tokio::sync::Mutex<JoinSet<()>>,
}

/// A session by its id, or the shared one of a principal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Session(String),
    Shared(Arc<str>),
}

/// A child and who waits for what.
struct Session {
    principal: Arc<str>,
    input: tokio::sync::Mutex<Option<DuplexStream>>,
    state: Mutex<State>,
    /// An id is free again.
    freed: Notify,
}

struct State {
    used: Instant,
    /// Open POSTs by the id of their request, newest last.
    posts: Vec<(Vec<u8>, mpsc::Sender<Bytes>)>,
    /// The stream on which the server speaks first.
    listener: Option<mpsc::Sender<Bytes>>,
    /// What it said before there was one; the oldest goes.
    unheard: VecDeque<Bytes>,
    ended: bool,
}

impl std::fmt::Debug for Children {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Children").field("command", &self.command).finish_non_exhaustive()
    }
}

impl Children {
    /// Children that run `command`; `begin` makes the relay of each.
    #[must_use]
    pub fn new(
        command: &[OsString],
        max_message: usize,
        begin: impl Fn(&Incoming) -> Relay + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            command: command.to_vec(),
            max_message,
            begin: Box::new(begin),
            open: Mutex::default(),
            running: tokio::sync::Mutex::default(),
        })
    }

    /// Answers one request.
    pub async fn answer(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        let id = incoming.headers.get(SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let stateless = agree::is_stateless(&incoming.headers);
        let session = match (&id, stateless) {
            (Some(id), false) => self.find(id, &incoming.principal),
            _ => None,
        };
        match (&incoming.method, session) {
            (&Method::POST, Some(session)) => self.post(&session, incoming).await,
            (&Method::GET, Some(session)) => session.listen(),
            (&Method::DELETE, Some(session)) => {
                self.end(&Key::Session(id.unwrap_or_default()), &session).await;
                problem::empty(StatusCode::NO_CONTENT)
            }
            (&Method::POST, None) if stateless => {
                let key = Key::Shared(Arc::clone(&incoming.principal));
                match self.begin(key, &incoming).await {
                    Ok(session) => self.post(&session, incoming).await,
                    Err(refused) => *refused,
                }
            }
            (&Method::POST, None) if id.is_none() && initializes(&incoming.body) => {
                self.initialize(incoming).await
            }
            (_, None) if id.is_some() => {
                let status = StatusCode::NOT_FOUND;
                problem::error(status, None, INVALID_REQUEST, "Session not found")
            }
            (&Method::POST, None) => {
                let what = "there is no session: send initialize first";
                problem::error(StatusCode::BAD_REQUEST, None, INVALID_REQUEST, what)
            }
            _ => problem::empty(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    /// Ends every child.
    pub async fn close(&self) {
        let all: Vec<Arc<Session>> = self.open().drain().map(|(_, session)| session).collect();
        for session in all {
            session.input.lock().await.take();
        }
        let mut running = self.running.lock().await;
        let ended = async { while running.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST, ended).await;
    }

    async fn initialize(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        let id = uuid::Uuid::new_v4().to_string();
        let key = Key::Session(id.clone());
        let session = match self.begin(key.clone(), &incoming).await {
            Ok(session) => session,
            Err(refused) => return *refused,
        };
        let mut response = self.post(&session, incoming).await;
        if !response.status().is_success() {
            self.end(&key, &session).await;
        } else if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(SESSION, id);
        }
        response
    }

    fn find(&self, id: &str, principal: &Arc<str>) -> Option<Arc<Session>> {
        let open = self.open();
        let session = open.get(&Key::Session(id.to_owned()))?;
        (session.principal == *principal).then(|| Arc::clone(session))
    }

    /// The session of that key; starts its child where there is none.
    async fn begin(
        self: &Arc<Self>,
        key: Key,
        incoming: &Incoming,
    ) -> Result<Arc<Session>, Box<Response<Body>>> {
        if let Some(session) = self.open().get(&key) {
            return Ok(Arc::clone(session));
        }
        self.reap().await;
        let unavailable = |what: &str| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Box::new(problem::error(status, None, UPSTREAM, what))
        };
        if self.open().len() >= MAX_CHILDREN {
            return Err(unavailable("there are as many sessions as are allowed at once"));
        }
        let relay = Arc::new((self.begin)(incoming));
        let started = self.start(key.clone(), relay, Arc::clone(&incoming.principal)).await;
        started.map_err(|error| {
            tracing::error!(%error, "a server was not started");
            unavailable("the server cannot be started")
        })
    }

    async fn start(
        self: &Arc<Self>,
        key: Key,
        relay: Arc<Relay>,
        principal: Arc<str>,
    ) -> std::io::Result<Arc<Session>> {
        let told = StopRequests::listen()?;
        let (program, rest) = self.command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let server = Child::spawn(program, rest)?;
        let (to_relay, from_session) = tokio::io::duplex(PIPE);
        let (to_session, from_relay) = tokio::io::duplex(PIPE);
        let session = Arc::new(Session {
            principal,
            input: tokio::sync::Mutex::new(Some(to_relay)),
            state: Mutex::new(State {
                used: Instant::now(),
                posts: Vec::new(),
                listener: None,
                unheard: VecDeque::new(),
                ended: false,
            }),
            freed: Notify::new(),
        });
        self.open().insert(key.clone(), Arc::clone(&session));
        let (children, of_child) = (Arc::clone(self), Arc::clone(&session));
        let frames = Frames::new(from_relay, self.max_message);
        self.running.lock().await.spawn(async move {
            let client: (crate::os::Source, crate::os::Sink) =
                (Box::new(from_session), Box::new(to_session));
            let serving = session::run(&relay, client, server, told);
            let (ended, ()) = tokio::join!(serving, of_child.distribute(frames));
            if let Err(error) = ended {
                tracing::warn!(%error, "a session broke");
            }
            of_child.ended();
            children.open().remove(&key);
        });
        Ok(session)
    }

    async fn end(&self, key: &Key, session: &Session) {
        self.open().remove(key);
        // The end of its input: the relay and the child follow.
        session.input.lock().await.take();
    }

    /// Ends sessions that nobody has used for [`IDLE`].
    async fn reap(&self) {
        let idle: Vec<(Key, Arc<Session>)> = self
            .open()
            .iter()
            .filter(|(_, session)| session.is_idle())
            .map(|(key, session)| (key.clone(), Arc::clone(session)))
            .collect();
        for (key, session) in idle {
            self.end(&key, &session).await;
        }
        let mut running = self.running.lock().await;
        while running.try_join_next().is_some() {}
    }

    async fn post(&self, session: &Arc<Session>, incoming: Incoming) -> Response<Body> {
        let body = incoming.body;
        let outline = outline(&body);
        if let Err(mismatch) = agree::check(&incoming.headers, &body) {
            let (id, words) = (outline.id.as_deref(), mismatch.to_string());
            return problem::error(StatusCode::BAD_REQUEST, id, HEADER_MISMATCH, &words);
        }
        let is_batch = body.trim_ascii().starts_with(b"[");
        let id = match (is_batch, outline.id.filter(|_| outline.has_method)) {
            (true, _) => Some(b"[".to_vec()),
            // What cannot be read is answered with an id of null.
            (false, None) if !outline.has_method && !outline.is_response => Some(b"null".to_vec()),
            (false, id) => id,
        };
        let Some(id) = id else {
            session.write(&body).await;
            return problem::empty(StatusCode::ACCEPTED);
        };
        let Some(receiver) = session.expect(id.clone()).await else {
            let what = "another request of this id has been under way for a long time";
            return problem::error(StatusCode::CONFLICT, Some(&id), INVALID_REQUEST, what);
        };
        if !session.write(&body).await {
            return problem::error(
                StatusCode::BAD_GATEWAY,
                Some(&id),
                UPSTREAM,
                "the server is gone",
            );
        }
        let guard = Expected { session: Arc::clone(session), id };
        answered(receiver, guard).await
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Key, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a POST: one message where nothing comes before it, else a
/// stream that ends with it.
async fn answered(mut receiver: mpsc::Receiver<Bytes>, guard: Expected) -> Response<Body> {
    let Some(first) = receiver.recv().await else {
        let words = "the server ended without an answer";
        return problem::error(StatusCode::BAD_GATEWAY, Some(&guard.id), UPSTREAM, words);
    };
    if guard.is_answer(&first) {
        return problem::json_rpc(status_of(&first), first);
    }
    let rest = stream::unfold((receiver, Some(guard)), |(mut receiver, guard)| async {
        let guard = guard?;
        let message = receiver.recv().await?;
        let last = guard.is_answer(&message);
        Some((
            Ok::<_, std::convert::Infallible>(event(&message)),
            (receiver, (!last).then_some(guard)),
        ))
    });
    let whole = futures_util::StreamExt::chain(stream::iter([Ok(event(&first))]), rest);
    event_stream(Body::from_stream(whole))
}

/// What cannot be read is a bad request (2025-03-26 and later).
fn status_of(message: &[u8]) -> StatusCode {
    let has = |part: &[u8]| memchr::memmem::find(message, part).is_some();
    let unreadable = has(b"\"agentgate/decision\"")
        && (has(b"\"code\":-32700") || has(b"\"code\":-32600") || has(b"\"code\":-32602"));
    if unreadable { StatusCode::BAD_REQUEST } else { StatusCode::OK }
}

/// A POST that waits; when it goes, so does its place.
struct Expected {
    session: Arc<Session>,
    id: Vec<u8>,
}

impl Expected {
    fn is_answer(&self, message: &[u8]) -> bool {
        answers(message).is_some_and(|id| id == self.id)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.session.state().posts.retain(|(id, _)| *id != self.id);
        self.session.freed.notify_waiters();
    }
}

/// The id that a message of the server's answers; `[` for a batch.
fn answers(message: &[u8]) -> Option<Vec<u8>> {
    if message.trim_ascii().starts_with(b"[") {
        return Some(b"[".to_vec());
    }
    let outline = outline(message);
    (outline.is_response && !outline.has_method)
        .then(|| outline.id.unwrap_or_else(|| b"null".to_vec()))
}

impl Session {
    /// Hands each message of the server's to who waits for it.
    async fn distribute<R: tokio::io::AsyncRead + Unpin>(&self, mut frames: Frames<R>) {
        while let Ok(Some(frame)) = frames.next().await {
            let Frame::Line(line) = frame else { continue };
            let message = line.slice_ref(line.trim_ascii());
            if message.is_empty() {
                continue;
            }
            if let Some(sender) = self.recipient(&message) {
                // A client that is gone needs nothing more.
                let _ = sender.send(message).await;
            }
        }
    }

    /// Answers go to who asked; what belongs to a call goes along with it; the
    /// rest to the stream on which the server speaks first.
    fn recipient(&self, message: &Bytes) -> Option<mpsc::Sender<Bytes>> {
        let mut state = self.state();
        state.used = Instant::now();
        if let Some(id) = answers(message) {
            let post = state.posts.iter().find(|(waiting, _)| *waiting == id);
            return post.map(|(_, sender)| sender.clone());
        }
        let of_a_call = outline(message).id.is_some()
            || memchr::memmem::find(message, b"notifications/progress").is_some()
            || memchr::memmem::find(message, b"notifications/message").is_some();
        let newest = state.posts.last().map(|(_, sender)| sender.clone());
        let listener = state.listener.clone().filter(|listener| !listener.is_closed());
        let chosen = if of_a_call { newest.or(listener) } else { listener };
        if chosen.is_none() {
            if state.unheard.len() >= WAITING {
                state.unheard.pop_front();
            }
            state.unheard.push_back(message.clone());
        }
        chosen
    }

    /// Waits for the answer to `id`; first for its turn, where another request
    /// of that id is under way. `None` where that takes too long.
    async fn expect(&self, id: Vec<u8>) -> Option<mpsc::Receiver<Bytes>> {
        let deadline = tokio::time::Instant::now() + ID_PATIENCE;
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state();
                if state.ended {
                    return None;
                }
                if !state.posts.iter().any(|(waiting, _)| *waiting == id) {
                    let (sender, receiver) = mpsc::channel(WAITING);
                    state.posts.push((id, sender));
                    return Some(receiver);
                }
            }
            tokio::time::timeout_at(deadline, freed).await.ok()?;
        }
    }

    /// Writes one message as a line: line feeds in JSON are white space.
    async fn write(&self, message: &[u8]) -> bool {
        let mut line = message.trim_ascii().to_vec();
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        line.push(b'\n');
        self.state().used = Instant::now();
        let mut input = self.input.lock().await;
        match input.as_mut() {
            Some(input) => input.write_all(&line).await.is_ok(),
            None => false,
        }
    }

    /// The stream on which the server speaks first; a second one takes over.
    fn listen(&self) -> Response<Body> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let unheard: Vec<_> = {
            let mut state = self.state();
            state.used = Instant::now();
            state.listener = Some(sender);
            state.unheard.drain(..).map(|message| Ok(event(&message))).collect()
        };
        let later = stream::unfold(receiver, |mut receiver| async {
            let message = receiver.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(event(&message)), receiver))
        });
        event_stream(Body::from_stream(futures_util::StreamExt::chain(
            stream::iter(unheard),
            later,
        )))
    }

    fn is_idle(&self) -> bool {
        let state = self.state();
        let listened = state.listener.as_ref().is_some_and(|listener| !listener.is_closed());
        state.posts.is_empty() && !listened && state.used.elapsed() >= IDLE
    }

    fn ended(&self) {
        let mut state = self.state();
        state.ended = true;
        state.posts.clear();
        state.listener = None;
        drop(state);
        self.freed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn initializes(body: &[u8]) -> bool {
    crate::json::parse(body).is_ok_and(|message| {
        let method = message.as_object().and_then(|message| message.get("method"));
        method.and_then(crate::json::Json::as_str) == Some("initialize")
    })
}

fn event(message: &[u8]) -> Bytes {
    [b"event: message\ndata: ", message, b"\n\n"].concat().into()
}

fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    response
}
