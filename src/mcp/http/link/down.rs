//! Sessions of the gate itself with a server that requires a handshake, for stateless clients: one
//! per principal and its credentials.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::task::AbortHandle;

use super::translate::{self, translated};
use super::{Link, OWN_REQUEST_TIMEOUT, budget, own, principal, record_refused, refuses};
use crate::mcp::answer;
use crate::mcp::bridge::down::{self, Down, Finding, FromServer, Probe};
use crate::mcp::bridge::eras::KNOWN;
use crate::mcp::bridge::{FromClient, raw};
use crate::mcp::era;
use crate::mcp::http::ids::{IdField, IdFields};
use crate::mcp::http::messages::Messages;
use crate::mcp::http::problem;
use crate::mcp::http::sessions::{IDLE, MAX_SESSIONS};
use crate::mcp::http::{METHOD, REVISION, SESSION};
use crate::mcp::reply;
use crate::net::Body;
use crate::net::client::SendError;

/// Pause before the listening stream is reopened.
const RETRY: Duration = Duration::from_secs(1);

/// Words in the names of headers with credentials: requests that differ in one of these must
/// not share a session.
const CREDENTIALS: [&str; 7] = ["auth", "cookie", "key", "secret", "tenant", "token", "user"];

/// Principal, and a hash of the credentials.
type Key = (Arc<str>, [u8; 32]);

/// Sessions of the gate with a server that requires handshakes.
#[derive(Default)]
pub(super) struct Connections {
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
}

/// A slot for one connection; the first user opens it.
struct Slot {
    used: Mutex<Instant>,
    known: tokio::sync::Mutex<Known>,
}

#[derive(Clone)]
enum Known {
    Nothing,
    /// The server speaks the stateless era, or neither: no bridge.
    Native(Instant),
    Open(Arc<Connection>, Instant),
}

/// A session with the server.
pub(super) struct Connection {
    down: Down,
    session: Option<HeaderValue>,
    /// A request with its URL and credentials.
    like: Request<Bytes>,
    /// The last id assigned by the gate. Clients choose ids independently, so they are
    /// replaced.
    last: AtomicU64,
    listener: Mutex<Option<AbortHandle>>,
}

impl Connections {
    fn slot(&self, key: Key) -> (Arc<Slot>, Vec<Arc<Connection>>) {
        let mut slots = self.slots();
        let mut gone = Vec::new();
        if !slots.contains_key(&key) {
            gone = evict(&mut slots);
        }
        let fresh = || Slot {
            used: Mutex::new(Instant::now()),
            known: tokio::sync::Mutex::new(Known::Nothing),
        };
        let slot = Arc::clone(slots.entry(key).or_insert_with(|| Arc::new(fresh())));
        *slot.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        (slot, gone)
    }

    /// Removes all connections.
    pub(super) fn take_all(&self) -> Vec<Arc<Connection>> {
        std::mem::take(&mut *self.slots()).into_values().filter_map(|slot| slot.open()).collect()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes idle connections; if there are still too many, the least recently used one.
fn evict(slots: &mut HashMap<Key, Arc<Slot>>) -> Vec<Arc<Connection>> {
    let mut gone: Vec<Arc<Slot>> =
        slots.extract_if(|_, slot| slot.idle() >= IDLE).map(|(_, slot)| slot).collect();
    if slots.len() >= MAX_SESSIONS {
        let oldest = slots.iter().max_by_key(|(_, slot)| slot.idle()).map(|(key, _)| key.clone());
        gone.extend(oldest.and_then(|oldest| slots.remove(&oldest)));
    }
    gone.iter().filter_map(|slot| slot.open()).collect()
}

impl Slot {
    fn idle(&self) -> Duration {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn open(&self) -> Option<Arc<Connection>> {
        match &*self.known.try_lock().ok()? {
            Known::Open(connection, _) => Some(Arc::clone(connection)),
            _ => None,
        }
    }
}

impl Link {
    /// The connection for this request's sender, opened if necessary. `None` if the server
    /// speaks the stateless era after all, or refuses the credentials.
    pub(super) async fn connection(
        self: &Arc<Self>,
        request: &Request<Bytes>,
    ) -> Option<Arc<Connection>> {
        let (slot, gone) = self.down.slot(key(request));
        gone.iter().for_each(|one| self.end_session(one));
        let mut known = slot.known.lock().await;
        match &*known {
            Known::Native(since) if since.elapsed() < KNOWN => return None,
            // A server that was upgraded does not know its old sessions; one that has no
            // sessions must be asked again.
            Known::Open(connection, since)
                if connection.session.is_some() || since.elapsed() < KNOWN =>
            {
                return Some(Arc::clone(connection));
            }
            _ => {}
        }
        *known = self.open_down(request).await;
        match &*known {
            Known::Open(connection, _) => Some(Arc::clone(connection)),
            _ => None,
        }
    }

    /// Asks the server again whether it speaks the stateless era, and otherwise starts a
    /// handshake.
    async fn open_down(self: &Arc<Self>, like: &Request<Bytes>) -> Known {
        let headers = [(REVISION, era::STATELESS), (METHOD, "server/discover")];
        match self.request_own(like, Probe::Discover.message(), &headers).await {
            // Refused credentials and failures show nothing about the era.
            Some((status, ..)) if !status.is_success() && !refuses(status) => {
                return Known::Nothing;
            }
            None => return Known::Nothing,
            Some((.., answer)) if Probe::Discover.evaluate(&answer) == Finding::NoBridge => {
                return Known::Native(Instant::now());
            }
            Some(_) => {}
        }
        let response = self.request_own(like, Probe::Initialize.message(), &[]).await;
        let Some((_, session, answer)) = response else { return Known::Nothing };
        let Finding::Handshake(down) = Probe::Initialize.evaluate(&answer) else {
            return Known::Native(Instant::now());
        };
        self.negotiator.wants_handshake();
        let like = own(like, Bytes::new(), &[]);
        let (last, listener) = (AtomicU64::new(0), Mutex::default());
        let connection = Arc::new(Connection { down, session, like, last, listener });
        let initialized = connection.request(&connection.like, down::INITIALIZED.into());
        let _ = self.native(initialized, OWN_REQUEST_TIMEOUT).await;
        let listener = tokio::spawn(listen(Arc::clone(self), Arc::downgrade(&connection)));
        *connection.listener.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(listener.abort_handle());
        Known::Open(connection, Instant::now())
    }

    /// Sends a stateless request on a connection.
    pub(super) async fn through_down(
        self: &Arc<Self>,
        connection: Arc<Connection>,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Body>, SendError> {
        let message = match connection.down.translate_from_client(request.body()) {
            FromClient::Forward(message) => message,
            FromClient::Answer(answer) => {
                return Ok(problem::json_rpc(translate::stateless(&answer), answer));
            }
            // Over HTTP, closing the stream cancels.
            FromClient::Cancel(_) | FromClient::Drop => {
                return Ok(problem::empty(StatusCode::ACCEPTED));
            }
        };
        let mut exchange = Exchange::new(self, &connection, &request);
        let outgoing = connection.request(&request, exchange.outgoing(&message));
        let sent = self.native(outgoing, timeout).await?;
        let in_session = connection.session.is_some();
        if in_session && matches!(sent.status(), StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND) {
            // The session may be refused: some servers respond with 400 to unknown ones.
            self.down.slots().remove(&key(&request));
        }
        if !in_session || sent.status() != StatusCode::NOT_FOUND {
            return exchange.answer(sent).await;
        }
        // The session has ended before the server processed the message.
        exchange.over = true;
        let Some(connection) = self.connection(&request).await else { return Ok(sent) };
        let exchange = Exchange::new(self, &connection, &request);
        let outgoing = connection.request(&request, exchange.outgoing(&message));
        let sent = self.native(outgoing, timeout).await?;
        exchange.answer(sent).await
    }

    /// Ends a session with the server, which may have ended it already.
    pub(super) fn end_session(self: &Arc<Self>, connection: &Arc<Connection>) {
        if connection.session.is_none() {
            return;
        }
        let mut request = connection.request(&connection.like, Bytes::new());
        *request.method_mut() = Method::DELETE;
        self.send_in_background(request);
    }

    /// Sends a message that needs no response.
    pub(super) fn send_in_background(self: &Arc<Self>, request: Request<Bytes>) {
        let link = Arc::clone(self);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = link.native(request, OWN_REQUEST_TIMEOUT).await;
            });
        }
    }
}

/// Reads the stream of messages that the server sends on its own, and responds to requests on
/// it, which would otherwise wait forever. Optional for servers.
async fn listen(link: Arc<Link>, connection: Weak<Connection>) {
    loop {
        let request = connection.upgrade();
        let request = request.map(|open| open.request(&open.like, Bytes::new()));
        let Some(mut request) = request else { return };
        *request.method_mut() = Method::GET;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        request.headers_mut().remove(CONTENT_TYPE);
        let Ok(response) = link.native(request, OWN_REQUEST_TIMEOUT).await else { return };
        let budget = connection.upgrade().and_then(|open| budget(&open.like).cloned());
        let Some(mut messages) = Messages::of(response, link.max_message, budget.as_ref()) else {
            return;
        };
        while let Some(message) = messages.next().await {
            let Some(connection) = connection.upgrade() else { return };
            record_refused(connection.like.extensions(), &message);
            if let FromServer::Answer(reply) = Down::translate_from_server("", &message) {
                link.send_in_background(connection.request(&connection.like, reply));
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let listener = self.listener.get_mut().unwrap_or_else(PoisonError::into_inner);
        listener.take().inspect(AbortHandle::abort);
    }
}

impl Connection {
    /// A message in this session, with the credentials of `like`: those of the client that sent
    /// it.
    fn request(&self, like: &Request<Bytes>, message: Bytes) -> Request<Bytes> {
        let mut request = own(like, message, &[(REVISION, &self.down.revision)]);
        if let Some(session) = &self.session {
            request.headers_mut().insert(SESSION, session.clone());
        }
        request
    }
}

/// A client's request on a shared connection.
struct Exchange {
    link: Arc<Link>,
    connection: Arc<Connection>,
    /// A request with the client's credentials.
    like: Request<Bytes>,
    method: String,
    /// The client's id and progress token.
    id: Vec<u8>,
    token: Option<Vec<u8>>,
    /// The id and token sent to the server.
    number: Vec<u8>,
    over: bool,
}

impl Exchange {
    fn new(link: &Arc<Link>, connection: &Arc<Connection>, request: &Request<Bytes>) -> Self {
        let message = request.body();
        let fields = IdFields::of(message);
        let number = connection.last.fetch_add(1, Ordering::Relaxed) + 1;
        Self {
            link: Arc::clone(link),
            connection: Arc::clone(connection),
            like: own(request, Bytes::new(), &[]),
            method: raw(message, &["method"]).and_then(answer::string).unwrap_or_default(),
            id: fields.get(message, IdField::Id).unwrap_or_default().to_vec(),
            token: fields.get(message, IdField::ProgressToken).map(<[u8]>::to_vec),
            number: number.to_string().into_bytes(),
            over: false,
        }
    }

    fn outgoing(&self, message: &Bytes) -> Bytes {
        IdFields::of(message).replaced(message, |field| match field {
            IdField::Id => Some(&self.number),
            IdField::ProgressToken => self.token.as_ref().map(|_| self.number.as_slice()),
            IdField::SubscriptionId | IdField::RequestId => None,
        })
    }

    async fn answer(mut self, mut response: Response<Body>) -> Result<Response<Body>, SendError> {
        response.headers_mut().remove(SESSION);
        let counted = (self.link.max_message, budget(&self.like).cloned());
        let translate = move |message: &Bytes| self.translate(message);
        let until = std::future::pending();
        translated(response, counted, translate::stateless, Box::new(translate), Box::pin(until))
            .await
    }

    fn translate(&mut self, message: &Bytes) -> Option<Bytes> {
        record_refused(self.like.extensions(), message);
        match Down::translate_from_server(&self.method, message) {
            FromServer::Drop => None,
            FromServer::Answer(reply) => {
                self.link.send_in_background(self.connection.request(&self.like, reply));
                None
            }
            FromServer::Forward(passed) => {
                let fields = IdFields::of(&passed);
                let answers = raw(&passed, &["method"]).is_none();
                self.over |= answers;
                if answers {
                    return Some(translate::with_id(&passed, &self.id));
                }
                Some(fields.replaced(&passed, |field| match field {
                    IdField::ProgressToken => self.token.as_deref(),
                    _ => None,
                }))
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let cancelled = reply::cancelled(&self.number);
        self.link.send_in_background(self.connection.request(&self.like, cancelled.into()));
    }
}

fn key(request: &Request<Bytes>) -> Key {
    let mut digest = Sha256::new();
    for (name, value) in request.headers() {
        if CREDENTIALS.iter().any(|word| name.as_str().contains(word)) {
            digest.update(format!("{name}:{}\n", value.len()));
            digest.update(value.as_bytes());
        }
    }
    (principal(request), digest.finalize().into())
}
