//! One child, and the clients that wait for its messages.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Response, StatusCode};
use tokio::io::DuplexStream;
use tokio::time::{sleep, timeout};

use super::byte_channel::{self, Receiver, Sender};
use super::child_messages::{
    self, BATCH, answered_id, belongs_to_a_call, event, event_stream, has_request_in_batch,
    is_answer, names_a_request, status_of,
};
use super::header_check::has_method;
use super::ids::{self, IdField, IdFields};
use super::pipe::Ready;
use super::{problem, refusal};
use crate::mcp::answer::messages;
use crate::mcp::codes::{INVALID_REQUEST, UPSTREAM};
use crate::mcp::frames;
use crate::mcp::pending::Key;
use crate::mcp::queue::Queue;
use crate::mcp::relay::Relay;
use crate::mcp::reply::{self, ToClient};
use crate::mcp::scan::outline;
use crate::net::Body;

/// Maximum number of messages, and bytes of them, kept until the client opens its stream.
const MAX_UNDELIVERED: usize = 64;
const UNDELIVERED_BYTES: usize = 1 << 20;

/// How long a client may leave its stream unread before it is dropped: others may wait for the
/// same child.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval of polling whether requests to a child being stopped are still waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum number of requests in flight per child.
const MAX_POSTS: usize = 1_024;

/// The conversations of clients with one child.
pub(super) struct Session {
    /// Owner of the session.
    pub(super) principal: Arc<str>,
    /// Relay in front of the child.
    pub(super) relay: Arc<Relay>,
    /// Whether several clients of the stateless era share the child, each with its own ids.
    shared: bool,
    /// Whether the child is ready for messages.
    pub(super) ready: Ready,
    /// A queue, so that lines are written whole even if their sender is dropped.
    input: Queue<Bytes>,
    state: Mutex<State>,
}

struct State {
    /// Time of the last message in either direction.
    used: Instant,
    /// Time of the last message written for a client.
    written: Instant,
    /// Open POST requests, oldest first.
    posts: Vec<Post>,
    /// The last id assigned by the gate.
    last: u64,
    /// The stream for messages that the server sends on its own.
    listener: Option<Sender<ToClient>>,
    /// Such messages kept until there is a stream; the oldest is dropped first.
    undelivered: VecDeque<Bytes>,
    ended: bool,
}

/// A request that waits for its response.
#[derive(Clone)]
struct Post {
    /// A unique number.
    number: u64,
    /// The id sent to the child, and the progress token.
    id: Key,
    token: Option<Vec<u8>>,
    /// Ids of a batch's elements. If the batch is refused, each gets a response.
    elements: Vec<Key>,
    /// The client's own id and token, if the child is sent other ones.
    client_ids: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// Whether it is a subscription (`subscriptions/listen`, 2026-07-28) rather than a request
    /// with a response.
    listens: bool,
    sender: Sender<ToClient>,
}

impl Session {
    /// A session with a child whose relay reads `input`.
    pub(super) fn new(
        principal: Arc<str>,
        relay: Arc<Relay>,
        shared: bool,
        (input, ready): (DuplexStream, Ready),
    ) -> Arc<Self> {
        let lines = Queue::new();
        // Ends with the queue or the relay.
        tokio::spawn(lines.clone().drain(input));
        Arc::new(Self {
            principal,
            relay,
            shared,
            ready,
            input: lines,
            state: Mutex::new(State {
                used: Instant::now(),
                written: Instant::now(),
                posts: Vec::new(),
                last: 0,
                listener: None,
                undelivered: VecDeque::new(),
                ended: false,
            }),
        })
    }

    /// Sends a message and returns the response: as a stream, unless the client does not accept
    /// that.
    pub(super) async fn post(
        self: &Arc<Self>,
        message: Bytes,
        accepts_streams: bool,
    ) -> Response<Body> {
        // Before it can be mixed up with messages of others: its id does not tell whose
        // response is whose.
        if let Some(answer) = self.relay.refuse_unreadable(&message).await {
            return problem::denied(answer);
        }
        let outline = outline(&message);
        let id = match message.trim_ascii().starts_with(BATCH) {
            true => has_request_in_batch(&message).then(|| BATCH.to_vec()),
            false => outline.id.filter(|_| outline.has_method),
        };
        let Some(id) = id else {
            // Ids are a client's own; on a shared child they may be another client's.
            if !(self.shared && (outline.is_response || names_a_request(&message))) {
                self.write(&message).await;
            }
            return problem::empty(StatusCode::ACCEPTED);
        };
        let accepts_streams = accepts_streams || has_method(&message, "subscriptions/listen");
        let is_stateless_message = child_messages::is_stateless_message(&message);
        let status = move |answer: &[u8]| status_of(answer, self.shared, is_stateless_message);
        let (message, waiting, receiver) = match self.register(id.clone(), message) {
            Ok(expected) => expected,
            Err(what) => {
                let status = StatusCode::CONFLICT;
                let answer = problem::error(status, Some(&id), INVALID_REQUEST, what);
                return refusal::recorded(&self.relay, "POST", what, answer).await;
            }
        };
        if !self.write(&message).await {
            let what = "the server is gone";
            return problem::error(StatusCode::BAD_GATEWAY, Some(&id), UPSTREAM, what);
        }
        answered(receiver, waiting, (&id, accepts_streams), status).await
    }

    /// Registers a request; returns it with the message to send, with ids assigned by the gate
    /// if need be.
    fn register(
        self: &Arc<Self>,
        id: Vec<u8>,
        message: Bytes,
    ) -> Result<(Bytes, PendingPost, Receiver<ToClient>), &'static str> {
        let mut state = self.state();
        if state.ended || state.posts.len() >= MAX_POSTS {
            return Err("the server takes no more requests now");
        }
        let (is_own, key) = (id != BATCH, Key::new(&id));
        if is_own && !self.shared && state.posts.iter().any(|post| post.id == key) {
            return Err("a request of this id is under way");
        }
        state.last += 1;
        let (number, (sender, receiver)) = (state.last, byte_channel::channel());
        let fields = IdFields::of(&message);
        if self.shared && fields.get(&message, IdField::Id).is_none() {
            return Err("a shared server takes no batches");
        }
        let token = fields.get(&message, IdField::ProgressToken).map(<[u8]>::to_vec);
        let elements = if is_own { Vec::new() } else { ids::of_elements(&message) };
        let elements = elements.iter().map(|id| Key::new(id)).collect();
        let listens = has_method(&message, "subscriptions/listen");
        let (id, token, client_ids) = match self.shared {
            false => (key, token, None),
            true => {
                let fresh = number.to_string().into_bytes();
                let known = token.as_ref().map(|_| fresh.clone());
                (Key::new(&fresh), known, Some((id, token)))
            }
        };
        let post = Post { number, id, token, elements, client_ids, listens, sender };
        let message = match post.client_ids {
            None => message,
            Some(_) => fields.replaced(&message, |field| match field {
                IdField::Id => Some(post.id.as_bytes()),
                IdField::ProgressToken => post.token.as_deref(),
                IdField::SubscriptionId | IdField::RequestId => None,
            }),
        };
        state.posts.push(post);
        let waiting = PendingPost { session: Arc::clone(self), number, over: false };
        Ok((message, waiting, receiver))
    }

    /// Delivers each message from the relay to the client that waits for it.
    pub(super) async fn distribute(self: Arc<Self>, queue: Queue<ToClient>) -> io::Result<()> {
        while let Some(ToClient { bytes, metadata }) = queue.next().await {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            for line in lines.filter(|line| !line.is_empty()) {
                for message in self.parts(line) {
                    let bytes = bytes.slice_ref(message);
                    self.deliver(ToClient { bytes, metadata: metadata.clone() }).await;
                }
            }
            queue.done(bytes.len());
        }
        Ok(())
    }

    /// Splits a line into messages. Elements of an array that does not respond to a batch have
    /// different recipients.
    fn parts<'l>(&self, line: &'l [u8]) -> Vec<&'l [u8]> {
        if !line.starts_with(BATCH) {
            return vec![line];
        }
        let answered: Vec<Key> = ids::of_elements(line).iter().map(|id| Key::new(id)).collect();
        let answers = |post: &Post| post.elements.iter().any(|id| answered.contains(id));
        match self.state().posts.iter().any(answers) {
            true => vec![line],
            false => messages(line),
        }
    }

    async fn deliver(&self, message: ToClient) {
        let Some((sender, message)) = self.recipient(message) else { return };
        // A client that is gone needs nothing, and one that does not read must not block the
        // others.
        if timeout(UNREAD_TIMEOUT, sender.send(message)).await.is_err() {
            tracing::warn!("a client does not read its stream and is disconnected");
            let mut state = self.state();
            state.posts.retain(|post| !post.sender.same_channel(&sender));
            state.listener.take_if(|listener| listener.same_channel(&sender));
        }
    }

    /// The recipient of a message: responses go to the sender of the request, messages that
    /// belong to a call accompany its response, all others go to the listening stream.
    fn recipient(&self, message: ToClient) -> Option<(Sender<ToClient>, ToClient)> {
        let ToClient { bytes: message, metadata } = message;
        let mut state = self.state();
        state.used = Instant::now();
        let fields = IdFields::of(&message);
        let of = |field| fields.get(&message, field);
        let post = match is_answer(&message) {
            true => Some(state.post(answered_id(&message, of(IdField::Id))?)?),
            false => match (of(IdField::SubscriptionId), of(IdField::ProgressToken)) {
                (Some(request), _) => state.post(request),
                (None, Some(token)) => {
                    state.posts.iter().find(|post| post.token.as_deref() == Some(token))
                }
                (None, None) if belongs_to_a_call(&message, of(IdField::Id)) => {
                    state.call_in_progress(self.shared)
                }
                (None, None) => None,
            },
        };
        if let Some(post) = post {
            let bytes = match &post.client_ids {
                None => message.clone(),
                Some((id, token)) => fields.replaced(&message, |field| match field {
                    IdField::Id if !is_answer(&message) => None,
                    IdField::Id | IdField::SubscriptionId | IdField::RequestId => Some(id),
                    IdField::ProgressToken => token.as_deref(),
                }),
            };
            return Some((post.sender.clone(), ToClient { bytes, metadata }));
        }
        let listener = state.listener.clone().filter(|listener| !listener.is_closed());
        if listener.is_none() && !self.shared {
            state.undelivered.push_back(message.clone());
            while state.undelivered.len() > MAX_UNDELIVERED
                || state.undelivered.iter().map(Bytes::len).sum::<usize>() > UNDELIVERED_BYTES
            {
                state.undelivered.pop_front();
            }
        }
        Some((listener?, message.into()))
    }

    /// Opens the stream for messages that the server sends on its own, replacing an earlier
    /// one.
    pub(super) fn listen(&self) -> Response<Body> {
        let (sender, receiver) = byte_channel::channel();
        let undelivered = {
            let mut state = self.state();
            state.used = Instant::now();
            state.listener = Some(sender);
            std::mem::take(&mut state.undelivered)
        };
        let later = stream::unfold(receiver, |mut receiver| async {
            let message = receiver.recv().await?;
            Some((message.bytes, receiver))
        });
        events(stream::iter(undelivered).chain(later))
    }

    async fn write(&self, message: &[u8]) -> bool {
        {
            let mut state = self.state();
            state.written = Instant::now();
            state.used = state.written;
        }
        self.input.push(frames::line(message)).await.is_ok()
    }

    /// Closes the input: the relay and the child will end.
    pub(super) fn end(&self) {
        self.input.close();
    }

    /// How long the session has been unused; `None` if a client is waiting.
    pub(super) fn idle(&self) -> Option<Duration> {
        self.without_requests_for()?;
        let state = self.state();
        let listened = state.listener.as_ref().is_some_and(|listener| !listener.is_closed());
        (!listened).then(|| state.used.elapsed())
    }

    /// How long no client has sent a request, even if one is listening; `None` if a response is
    /// due.
    pub(super) fn without_requests_for(&self) -> Option<Duration> {
        let state = self.state();
        let at_work = !state.posts.is_empty() || self.ready.is_open();
        (!at_work).then(|| state.written.elapsed())
    }

    /// Waits until no client waits for a response.
    pub(super) async fn until_answered(self: Arc<Self>) {
        while !self.state().posts.is_empty() {
            sleep(POLL_INTERVAL).await;
        }
    }

    /// The child has exited: ends all waiting requests.
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

/// The response to a POST: a single message if no others precede it, else an event stream that
/// ends with it.
async fn answered(
    mut receiver: Receiver<ToClient>,
    waiting: PendingPost,
    (id, accepts_streams): (&[u8], bool),
    status: impl Fn(&[u8]) -> StatusCode,
) -> Response<Body> {
    let first = loop {
        let Some(message) = receiver.recv().await else {
            let message = "the server ended without an answer";
            return problem::error(StatusCode::BAD_GATEWAY, Some(id), UPSTREAM, message);
        };
        if accepts_streams || is_answer(&message.bytes) {
            break message;
        }
    };
    if is_answer(&first.bytes) {
        waiting.end();
        return problem::with_metadata(first.bytes, &first.metadata, status);
    }
    let rest = stream::unfold((receiver, Some(waiting)), |(mut receiver, waiting)| async {
        let waiting = waiting?;
        let message = receiver.recv().await?;
        let waiting = match is_answer(&message.bytes) {
            true => {
                waiting.end();
                None
            }
            false => Some(waiting),
        };
        Some((message.bytes, (receiver, waiting)))
    });
    events(stream::iter([first.bytes]).chain(rest))
}

/// A response with `messages` as server-sent events.
fn events(messages: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let pieces = messages.flat_map(|message| stream::iter(event(&message)));
    event_stream(Body::from_stream(pieces.map(Ok::<_, Infallible>)))
}

impl State {
    /// The request with this id, as sent to the child.
    fn post(&self, id: &[u8]) -> Option<&Post> {
        let id = Key::new(id);
        self.posts.iter().find(|post| post.id == id || post.elements.contains(&id))
    }

    /// The call that the server is working on. `None` on a shared child with several calls: it
    /// is unknown which one a message belongs to.
    fn call_in_progress(&self, shared: bool) -> Option<&Post> {
        let mut calls = self.posts.iter().rev().filter(|post| !post.listens);
        let last = calls.next();
        last.filter(|_| !shared || calls.next().is_none())
    }
}

/// Guard of a pending request; removes it when dropped.
struct PendingPost {
    session: Arc<Session>,
    number: u64,
    over: bool,
}

impl PendingPost {
    fn end(mut self) {
        self.over = true;
    }
}

impl Drop for PendingPost {
    fn drop(&mut self) {
        let mut state = self.session.state();
        let at = state.posts.iter().position(|post| post.number == self.number);
        let Some(post) = at.map(|at| state.posts.remove(at)) else { return };
        drop(state);
        // Before 2026-07-28, disconnecting does not cancel a request.
        if self.over || post.client_ids.is_none() {
            return;
        }
        let cancelled = reply::cancelled(post.id.as_bytes());
        let session = Arc::clone(&self.session);
        tokio::spawn(async move { session.write(cancelled.as_bytes()).await });
    }
}

#[cfg(test)]
mod tests;
