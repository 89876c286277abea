//! One child, and the clients that wait for what it says.

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
    self, BATCH, answered_id, asks_in_batch, belongs_to_a_call, event, event_stream, is_answer,
    names_a_request, status_of,
};
use super::header_check::has_method;
use super::ids::{self, Place, Places};
use super::pipe::Ready;
use super::{problem, refusal};
use crate::mcp::answer::messages;
use crate::mcp::codes::{INVALID_REQUEST, UPSTREAM};
use crate::mcp::frames;
use crate::mcp::pending::Key;
use crate::mcp::queue::Queue;
use crate::mcp::relay::Relay;
use crate::mcp::reply::{self, Told};
use crate::mcp::scan::outline;
use crate::net::Body;

/// Messages, and bytes of them, that wait for a stream that is not open yet.
const UNHEARD: usize = 64;
const UNHEARD_BYTES: usize = 1 << 20;

/// How long a client may leave its stream unread before it is given up: others
/// wait for the same child.
const UNREAD: Duration = Duration::from_secs(30);

/// How often it is looked whether somebody waits for a child that is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Requests of one child under way at once.
const MAX_POSTS: usize = 1_024;

/// A child's side of the conversations with it.
pub(super) struct Session {
    /// Whose it is.
    pub(super) principal: Arc<str>,
    /// What is known of the child.
    pub(super) relay: Arc<Relay>,
    /// Of the stateless era: several clients at once, each with its own ids.
    shared: bool,
    /// Whether the child takes messages.
    pub(super) ready: Ready,
    /// A line is in it whole or not at all, whoever goes away meanwhile.
    input: Queue<Bytes>,
    state: Mutex<State>,
}

struct State {
    used: Instant,
    /// When a client said something last.
    asked: Instant,
    /// Open POSTs, newest last.
    posts: Vec<Post>,
    /// The last id that the gate gave.
    last: u64,
    /// The stream on which the server speaks first.
    listener: Option<Sender<Told>>,
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
    id: Key,
    token: Option<Vec<u8>>,
    /// Those of the elements of a batch: one that is refused is answered for each.
    elements: Vec<Key>,
    /// The client's own, where the child knows others.
    own: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// It waits for news (2026-07-28, `subscriptions/listen`), not for an answer.
    listens: bool,
    sender: Sender<Told>,
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
        // Ends with the queue, or with the relay.
        tokio::spawn(lines.clone().drain(input));
        Arc::new(Self {
            principal,
            relay,
            shared,
            ready,
            input: lines,
            state: Mutex::new(State {
                used: Instant::now(),
                asked: Instant::now(),
                posts: Vec::new(),
                last: 0,
                listener: None,
                unheard: VecDeque::new(),
                ended: false,
            }),
        })
    }

    /// Passes a message on and answers with what comes of it: only with the answer where
    /// the client did not say that it takes streams.
    pub(super) async fn post(
        self: &Arc<Self>,
        message: Bytes,
        takes_streams: bool,
    ) -> Response<Body> {
        // Before it meets the messages of others: whose its answer is could not be
        // told from its id.
        if let Some(answer) = self.relay.refuse_unreadable(&message).await {
            return problem::denied(answer);
        }
        let outline = outline(&message);
        let id = match message.trim_ascii().starts_with(BATCH) {
            true => asks_in_batch(&message).then(|| BATCH.to_vec()),
            false => outline.id.filter(|_| outline.has_method),
        };
        let Some(id) = id else {
            // Ids are a client's own; on a shared child they are somebody else's.
            if !(self.shared && (outline.is_response || names_a_request(&message))) {
                self.write(&message).await;
            }
            return problem::empty(StatusCode::ACCEPTED);
        };
        let takes_streams = takes_streams || has_method(&message, "subscriptions/listen");
        let describes_itself = child_messages::describes_itself(&message);
        let status = move |answer: &[u8]| status_of(answer, self.shared, describes_itself);
        let (message, waiting, receiver) = match self.expect(id.clone(), message) {
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
        answered(receiver, waiting, (&id, takes_streams), status).await
    }

    /// A place to wait for the answer; the message with the ids that the child is
    /// to know.
    fn expect(
        self: &Arc<Self>,
        id: Vec<u8>,
        message: Bytes,
    ) -> Result<(Bytes, Waiting, Receiver<Told>), &'static str> {
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
        let places = Places::of(&message);
        if self.shared && places.get(&message, Place::Id).is_none() {
            return Err("a shared server takes no batches");
        }
        let token = places.get(&message, Place::Progress).map(<[u8]>::to_vec);
        let elements = if is_own { Vec::new() } else { ids::of_elements(&message) };
        let elements = elements.iter().map(|id| Key::new(id)).collect();
        let listens = has_method(&message, "subscriptions/listen");
        let (id, token, own) = match self.shared {
            false => (key, token, None),
            true => {
                let fresh = number.to_string().into_bytes();
                let known = token.as_ref().map(|_| fresh.clone());
                (Key::new(&fresh), known, Some((id, token)))
            }
        };
        let post = Post { number, id, token, elements, own, listens, sender };
        let message = match post.own {
            None => message,
            Some(_) => places.replaced(&message, |place| match place {
                Place::Id => Some(post.id.as_bytes()),
                Place::Progress => post.token.as_deref(),
                Place::Subscription | Place::Requested => None,
            }),
        };
        state.posts.push(post);
        let waiting = Waiting { session: Arc::clone(self), number, over: false };
        Ok((message, waiting, receiver))
    }

    /// Hands each message of what the relay says to who waits for it.
    pub(super) async fn distribute(self: Arc<Self>, told: Queue<Told>) -> io::Result<()> {
        while let Some(Told { bytes, mark }) = told.next().await {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            for line in lines.filter(|line| !line.is_empty()) {
                for message in self.parts(line) {
                    let bytes = bytes.slice_ref(message);
                    self.hand_on(Told { bytes, mark: mark.clone() }).await;
                }
            }
            told.done(bytes.len());
        }
        Ok(())
    }

    /// The messages of a line. Those of an array that answers no batch have each their
    /// own recipient.
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

    async fn hand_on(&self, message: Told) {
        let Some((sender, message)) = self.recipient(message) else { return };
        // A client that is gone needs nothing more, and one that does not
        // read must not hold up the others.
        if timeout(UNREAD, sender.send(message)).await.is_err() {
            tracing::warn!("a client does not read its stream and is disconnected");
            let mut state = self.state();
            state.posts.retain(|post| !post.sender.same_channel(&sender));
            state.listener.take_if(|listener| listener.same_channel(&sender));
        }
    }

    /// Answers go to who asked; what belongs to a call goes along with it; the
    /// rest to the stream on which the server speaks first.
    fn recipient(&self, told: Told) -> Option<(Sender<Told>, Told)> {
        let Told { bytes: message, mark } = told;
        let mut state = self.state();
        state.used = Instant::now();
        let places = Places::of(&message);
        let of = |place| places.get(&message, place);
        let post = match is_answer(&message) {
            true => Some(state.asked(answered_id(&message, of(Place::Id))?)?),
            false => match (of(Place::Subscription), of(Place::Progress)) {
                (Some(request), _) => state.asked(request),
                (None, Some(token)) => {
                    state.posts.iter().find(|post| post.token.as_deref() == Some(token))
                }
                (None, None) if belongs_to_a_call(&message, of(Place::Id)) => {
                    state.at_work(self.shared)
                }
                (None, None) => None,
            },
        };
        if let Some(post) = post {
            let bytes = match &post.own {
                None => message.clone(),
                Some((id, token)) => places.replaced(&message, |place| match place {
                    Place::Id if !is_answer(&message) => None,
                    Place::Id | Place::Subscription | Place::Requested => Some(id),
                    Place::Progress => token.as_deref(),
                }),
            };
            return Some((post.sender.clone(), Told { bytes, mark }));
        }
        let listener = state.listener.clone().filter(|listener| !listener.is_closed());
        if listener.is_none() && !self.shared {
            state.unheard.push_back(message.clone());
            while state.unheard.len() > UNHEARD
                || state.unheard.iter().map(Bytes::len).sum::<usize>() > UNHEARD_BYTES
            {
                state.unheard.pop_front();
            }
        }
        Some((listener?, message.into()))
    }

    /// The stream on which the server speaks first; a second one takes over.
    pub(super) fn listen(&self) -> Response<Body> {
        let (sender, receiver) = byte_channel::channel();
        let unheard = {
            let mut state = self.state();
            state.used = Instant::now();
            state.listener = Some(sender);
            std::mem::take(&mut state.unheard)
        };
        let later = stream::unfold(receiver, |mut receiver| async {
            let message = receiver.recv().await?;
            Some((message.bytes, receiver))
        });
        events(stream::iter(unheard).chain(later))
    }

    async fn write(&self, message: &[u8]) -> bool {
        {
            let mut state = self.state();
            state.asked = Instant::now();
            state.used = state.asked;
        }
        self.input.push(frames::line(message)).await.is_ok()
    }

    /// The end of its input: the relay and the child follow.
    pub(super) fn end(&self) {
        self.input.close();
    }

    /// For how long nobody has used it; `None` if somebody waits.
    pub(super) fn idle(&self) -> Option<Duration> {
        self.quiet()?;
        let state = self.state();
        let listened = state.listener.as_ref().is_some_and(|listener| !listener.is_closed());
        (!listened).then(|| state.used.elapsed())
    }

    /// For how long no client has asked it for anything, though one may listen; `None`
    /// where an answer is due.
    pub(super) fn quiet(&self) -> Option<Duration> {
        let state = self.state();
        let at_work = !state.posts.is_empty() || self.ready.is_open();
        (!at_work).then(|| state.asked.elapsed())
    }

    /// Waits until nobody waits for an answer.
    pub(super) async fn unawaited(self: Arc<Self>) {
        while !self.state().posts.is_empty() {
            sleep(LOOK).await;
        }
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
    mut receiver: Receiver<Told>,
    waiting: Waiting,
    (id, takes_streams): (&[u8], bool),
    status: impl Fn(&[u8]) -> StatusCode,
) -> Response<Body> {
    let first = loop {
        let Some(told) = receiver.recv().await else {
            let words = "the server ended without an answer";
            return problem::error(StatusCode::BAD_GATEWAY, Some(id), UPSTREAM, words);
        };
        if takes_streams || is_answer(&told.bytes) {
            break told;
        }
    };
    if is_answer(&first.bytes) {
        waiting.end();
        return problem::marked(first.bytes, &first.mark, status);
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

/// Messages as an answer whose body is events.
fn events(messages: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let pieces = messages.flat_map(|message| stream::iter(event(&message)));
    event_stream(Body::from_stream(pieces.map(Ok::<_, Infallible>)))
}

impl State {
    fn asked(&self, id: &[u8]) -> Option<&Post> {
        let id = Key::new(id);
        self.posts.iter().find(|post| post.id == id || post.elements.contains(&id))
    }

    /// The call that the server works on. On a shared child nobody can tell which
    /// of several it is: what belongs to one of them is for none of them.
    fn at_work(&self, shared: bool) -> Option<&Post> {
        let mut calls = self.posts.iter().rev().filter(|post| !post.listens);
        let last = calls.next();
        last.filter(|_| !shared || calls.next().is_none())
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
        let cancelled = reply::cancelled(post.id.as_bytes());
        let session = Arc::clone(&self.session);
        tokio::spawn(async move { session.write(cancelled.as_bytes()).await });
    }
}

#[cfg(test)]
mod tests;
