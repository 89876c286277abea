//! One child, and the clients that wait for what it says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

use super::ids::{self, Place, Places};
use super::problem::{self, INVALID_REQUEST, UPSTREAM};
use crate::json::{self, Json};
use crate::mcp::frames::{Frame, Frames};
use crate::mcp::relay::Relay;
use crate::mcp::scan::outline;
use crate::net::Body;

/// Messages that wait for a client's stream, and for one that is not open yet.
const WAITING: usize = 64;

/// How long a client may leave its stream unread before it is given up: others
/// wait for the same child.
const UNREAD: Duration = Duration::from_secs(30);

/// Requests of one child under way at once.
const MAX_POSTS: usize = 1_024;

/// What stands for the ids of a batch, and of what has none that can be read.
const BATCH: &[u8] = b"[";
const UNREADABLE: &[u8] = b"null";

/// What every request of the stateless era says of itself in `_meta`.
const DESCRIPTION: [&[u8]; 2] = [
    b"\"io.modelcontextprotocol/protocolVersion\"",
    b"\"io.modelcontextprotocol/clientCapabilities\"",
];

/// A child's side of the conversations with it.
pub(super) struct Session {
    /// Whose it is.
    pub(super) principal: Arc<str>,
    /// What is known of the child.
    pub(super) relay: Arc<Relay>,
    /// Of the stateless era: several clients at once, each with its own ids.
    shared: bool,
    input: tokio::sync::Mutex<Option<DuplexStream>>,
    state: Mutex<State>,
}

struct State {
    used: Instant,
    /// Open POSTs, newest last.
    posts: Vec<Post>,
    /// The last id that the gate gave.
    last: u64,
    /// The stream on which the server speaks first.
    listener: Option<mpsc::Sender<Bytes>>,
    /// What it said before there was one; the oldest goes.
    unheard: VecDeque<Bytes>,
    ended: bool,
}

/// A request that waits for its answer.
#[derive(Clone)]
struct Post {
    /// A number of its own.
    number: u64,
    /// Its id, as the child knows it, and its progress token.
    id: Vec<u8>,
    token: Option<Vec<u8>>,
    /// Those of the elements of a batch: one that is refused is answered for each.
    elements: Vec<Vec<u8>>,
    /// The client's own, where the child knows others.
    own: Option<(Vec<u8>, Option<Vec<u8>>)>,
    sender: mpsc::Sender<Bytes>,
}

impl Session {
    pub(super) fn new(
        principal: Arc<str>,
        relay: Arc<Relay>,
        shared: bool,
        input: DuplexStream,
    ) -> Arc<Self> {
        Arc::new(Self {
            principal,
            relay,
            shared,
            input: tokio::sync::Mutex::new(Some(input)),
            state: Mutex::new(State {
                used: Instant::now(),
                posts: Vec::new(),
                last: 0,
                listener: None,
                unheard: VecDeque::new(),
                ended: false,
            }),
        })
    }

    /// Passes a message on and answers with what comes of it.
    pub(super) async fn post(self: &Arc<Self>, message: Bytes) -> Response<Body> {
        let (id, expects) = {
            let outline = outline(&message);
            let is_batch = message.trim_ascii().starts_with(BATCH);
            match outline.id.filter(|_| outline.has_method) {
                _ if is_batch => (BATCH.to_vec(), true),
                Some(id) => (id, true),
                // What cannot be read is answered with an id of null.
                None => (UNREADABLE.to_vec(), !outline.has_method && !outline.is_response),
            }
        };
        if !expects {
            self.write(&message).await;
            return problem::empty(StatusCode::ACCEPTED);
        }
        let describes_itself =
            DESCRIPTION.iter().all(|key| memchr::memmem::find(&message, key).is_some());
        let status = move |answer: &[u8]| status_of(answer, self.shared, describes_itself);
        let (message, waiting, receiver) = match self.expect(id.clone(), message) {
            Ok(expected) => expected,
            Err(what) => {
                let status = StatusCode::CONFLICT;
                return problem::error(status, Some(&id), INVALID_REQUEST, what);
            }
        };
        if !self.write(&message).await {
            let what = "the server is gone";
            return problem::error(StatusCode::BAD_GATEWAY, Some(&id), UPSTREAM, what);
        }
        answered(receiver, waiting, &id, status).await
    }

    /// A place to wait for the answer; the message with the ids that the child is
    /// to know.
    fn expect(
        self: &Arc<Self>,
        id: Vec<u8>,
        message: Bytes,
    ) -> Result<(Bytes, Waiting, mpsc::Receiver<Bytes>), &'static str> {
        let mut state = self.state();
        if state.ended || state.posts.len() >= MAX_POSTS {
            return Err("the server takes no more requests now");
        }
        let is_own = id != BATCH && id != UNREADABLE;
        let twice = state.posts.iter().any(|post| post.id == id);
        if is_own && !self.shared && twice {
            return Err("a request of this id is under way");
        }
        state.last += 1;
        let (number, (sender, receiver)) = (state.last, mpsc::channel(WAITING));
        let places = Places::of(&message);
        let token = places.get(&message, Place::Progress).map(<[u8]>::to_vec);
        let elements = if id == BATCH { ids::of_elements(&message) } else { Vec::new() };
        let post = match self.shared && is_own {
            false => Post { number, id, token, elements, own: None, sender },
            true => {
                let fresh = number.to_string().into_bytes();
                let known = token.as_ref().map(|_| fresh.clone());
                let own = Some((id, token));
                Post { number, id: fresh, token: known, elements, own, sender }
            }
        };
        let message = match post.own {
            None => message,
            Some(_) => places.replaced(&message, |place| match place {
                Place::Id => Some(&post.id),
                Place::Progress => post.token.as_deref(),
                Place::Subscription | Place::Requested => None,
            }),
        };
        state.posts.push(post);
        let waiting = Waiting { session: Arc::clone(self), number, over: false };
        Ok((message, waiting, receiver))
    }

    /// Hands each message of the server's to who waits for it.
    pub(super) async fn distribute<R: AsyncRead + Unpin>(&self, mut frames: Frames<R>) {
        while let Ok(Some(frame)) = frames.next().await {
            let Frame::Line(line) = frame else { continue };
            let message = line.slice_ref(line.trim_ascii());
            if message.is_empty() {
                continue;
            }
            let Some((sender, message)) = self.recipient(message) else { continue };
            // A client that is gone needs nothing more, and one that does not
            // read must not hold up the others.
            let sent = sender.send_timeout(message, UNREAD).await;
            if matches!(sent, Err(mpsc::error::SendTimeoutError::Timeout(_))) {
                tracing::warn!("a client does not read its stream and is given up");
                self.state().posts.retain(|post| !post.sender.same_channel(&sender));
            }
        }
    }

    /// Answers go to who asked; what belongs to a call goes along with it; the
    /// rest to the stream on which the server speaks first.
    fn recipient(&self, message: Bytes) -> Option<(mpsc::Sender<Bytes>, Bytes)> {
        let mut state = self.state();
        state.used = Instant::now();
        let places = Places::of(&message);
        let of = |place| places.get(&message, place);
        let post = match is_answer(&message) {
            true => Some(state.asked(answered_id(&message, of(Place::Id)))?),
            false => match (of(Place::Subscription), of(Place::Progress)) {
                (Some(request), _) => state.asked(request),
                (None, Some(token)) => {
                    state.posts.iter().find(|post| post.token.as_deref() == Some(token))
                }
                (None, None) if belongs_to_a_call(&message, of(Place::Id)) => state.posts.last(),
                (None, None) => None,
            },
        };
        if let Some(post) = post {
            let message = match &post.own {
                None => message.clone(),
                Some((id, token)) => places.replaced(&message, |place| match place {
                    Place::Id if !is_answer(&message) => None,
                    Place::Id | Place::Subscription | Place::Requested => Some(id),
                    Place::Progress => token.as_deref(),
                }),
            };
            return Some((post.sender.clone(), message));
        }
        let listener = state.listener.clone().filter(|listener| !listener.is_closed());
        if listener.is_none() && !self.shared {
            if state.unheard.len() >= WAITING {
                state.unheard.pop_front();
            }
            state.unheard.push_back(message.clone());
        }
        Some((listener?, message))
    }

    /// The stream on which the server speaks first; a second one takes over.
    pub(super) fn listen(&self) -> Response<Body> {
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
        let whole = futures_util::StreamExt::chain(stream::iter(unheard), later);
        event_stream(Body::from_stream(whole))
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

    /// The end of its input: the relay and the child follow.
    pub(super) async fn end(&self) {
        self.input.lock().await.take();
    }

    /// Nobody has used it for so long, and nobody waits.
    pub(super) fn is_idle(&self, for_so_long: Duration) -> bool {
        let state = self.state();
        let listened = state.listener.as_ref().is_some_and(|listener| !listener.is_closed());
        state.posts.is_empty() && !listened && state.used.elapsed() >= for_so_long
    }

    /// The child is gone: nobody has to wait any more.
    pub(super) fn ended(&self) {
        let mut state = self.state();
        state.ended = true;
        state.posts.clear();
        state.listener = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a POST: one message where nothing comes before it, else a
/// stream that ends with it.
async fn answered(
    mut receiver: mpsc::Receiver<Bytes>,
    waiting: Waiting,
    id: &[u8],
    status: impl Fn(&[u8]) -> StatusCode,
) -> Response<Body> {
    let Some(first) = receiver.recv().await else {
        let words = "the server ended without an answer";
        return problem::error(StatusCode::BAD_GATEWAY, Some(id), UPSTREAM, words);
    };
    if is_answer(&first) {
        waiting.end();
        return problem::json_rpc(status(&first), first);
    }
    let rest = stream::unfold((receiver, Some(waiting)), |(mut receiver, waiting)| async {
        let waiting = waiting?;
        let message = receiver.recv().await?;
        let waiting = match is_answer(&message) {
            true => {
                waiting.end();
                None
            }
            false => Some(waiting),
        };
        Some((Ok::<_, std::convert::Infallible>(event(&message)), (receiver, waiting)))
    });
    let whole = futures_util::StreamExt::chain(stream::iter([Ok(event(&first))]), rest);
    event_stream(Body::from_stream(whole))
}

impl State {
    fn asked(&self, id: &[u8]) -> Option<&Post> {
        let is = |post: &&Post| post.id == id || post.elements.iter().any(|element| element == id);
        self.posts.iter().find(is)
    }
}

/// A request whose answer has not come; gone where its client is gone.
struct Waiting {
    session: Arc<Session>,
    number: u64,
    over: bool,
}

impl Waiting {
    fn end(mut self) {
        self.over = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.session.state();
        let at = state.posts.iter().position(|post| post.number == self.number);
        let Some(post) = at.map(|at| state.posts.remove(at)) else { return };
        drop(state);
        // Before 2026, a client that goes away has cancelled nothing.
        if self.over || post.own.is_none() {
            return;
        }
        let id = String::from_utf8_lossy(&post.id).into_owned();
        let session = Arc::clone(&self.session);
        tokio::spawn(async move {
            let line = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\
                 \"params\":{{\"requestId\":{id}}}}}"
            );
            session.write(line.as_bytes()).await;
        });
    }
}

/// Whether a message of the server's answers a request.
fn is_answer(message: &[u8]) -> bool {
    let outline = outline(message);
    message.starts_with(BATCH) || outline.is_response && !outline.has_method
}

fn answered_id<'m>(message: &[u8], id: Option<&'m [u8]>) -> &'m [u8] {
    if message.starts_with(BATCH) { BATCH } else { id.unwrap_or(UNREADABLE) }
}

/// Requests of the server and what it logs come while it works on a call.
fn belongs_to_a_call(message: &[u8], id: Option<&[u8]>) -> bool {
    id.is_some() || memchr::memmem::find(message, b"\"notifications/message\"").is_some()
}

/// The status that goes with an answer: what cannot be read is a bad request
/// (2025-03-26 and later); the stateless era has more of them (2026-07-28,
/// "Error handling"), among them a request that does not describe itself.
fn status_of(message: &[u8], stateless: bool, describes_itself: bool) -> StatusCode {
    if memchr::memmem::find(message, b"\"error\"").is_none() {
        return StatusCode::OK;
    }
    let message = json::parse(message).ok();
    let error = message.as_ref().and_then(|message| message.as_object()?.get("error")?.as_object());
    let code = error.and_then(|error| match error.get("code")? {
        Json::Number(code) => code.as_str().parse::<i64>().ok(),
        _ => None,
    });
    let ours = error.is_some_and(|error| {
        let data = error.get("data").and_then(Json::as_object);
        data.is_some_and(|data| data.get("agentgate/decision").is_some())
    });
    match code {
        Some(-32_700 | -32_600 | -32_602) if ours => StatusCode::BAD_REQUEST,
        Some(-32_700 | -32_600 | -32_022..=-32_020) if stateless => StatusCode::BAD_REQUEST,
        Some(-32_602) if stateless && !describes_itself => StatusCode::BAD_REQUEST,
        Some(-32_601) if stateless => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
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
