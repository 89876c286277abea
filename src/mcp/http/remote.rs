//! A server behind a URL, with HTTP on both sides: what was judged is forwarded unchanged, and so
//! are the responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH};
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use tokio::sync::Semaphore;

use super::front::Incoming;
use super::header_check::Mismatch;
use super::ids::{IdField, IdFields};
use super::link::{Link, Principal};
use super::own_requests::{BOTH, Requester};
use super::problem;
use super::sessions::{NotOwner, Sessions};
use super::stream::{self, StreamEnd};
use super::{LAST_EVENT_ID, SESSION, header_check, headers, refusal};
use crate::mcp::bridge::Bridging;
use crate::mcp::codes::UPSTREAM;
use crate::mcp::relay::Relay;
use crate::mcp::relay::exchange::Posted;
use crate::mcp::scan::{may_hold, outline};
use crate::mcp::{era, params};
use crate::net::client::Client;
use crate::net::detach::DetachOnDrop;
use crate::net::{Body, is_event_stream};
use crate::oauth;

mod answers;
mod back;
mod outward;

pub(super) use back::ReplySender;

use answers::{Exchange, NoResponse, forward_unread};
use outward::OnChallenge;

/// Timeout for the start of a response: calls may take minutes.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long closing waits for a login that is being renewed.
const RENEWAL_GRACE: Duration = Duration::from_secs(1);

/// A remote server and the conversations with it.
pub struct Remote {
    target: Target,
    /// The target's URL, or another one announced by the server (HTTP+SSE).
    uri: ArcSwap<Uri>,
    link: Arc<Link>,
    sessions: Sessions,
    begin: Box<dyn Fn(&Incoming) -> Relay + Send + Sync>,
    exchanges: AtomicU64,
    /// Permits for responses of the gate to the server's requests.
    replies: Arc<Semaphore>,
    /// Whether all share one conversation: the stream of HTTP+SSE carries all responses.
    is_sse: AtomicBool,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remote").field("uri", &self.uri.load()).finish_non_exhaustive()
    }
}

/// Location of a server, and how to speak to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// URL of the server.
    pub uri: Uri,
    /// The login, if the server may require one.
    pub login: Option<oauth::Session>,
    /// Headers that the gate adds, with values marked sensitive.
    pub headers: HeaderMap,
    /// Whether the client's `Authorization` is withheld.
    pub keeps_authorization: bool,
    /// Whether to create headers from arguments, because the client's transport has none.
    pub adds_param_headers: bool,
    /// Whether clients that accept no specific types get a single message instead of a stream.
    pub plain: bool,
    /// When to bridge between eras.
    pub bridging: Bridging,
    /// Maximum length of a message, in bytes.
    pub max_message: usize,
}

impl Remote {
    /// A remote server. `begin` creates the relay of a new conversation.
    #[must_use]
    pub fn new(
        client: Client,
        target: Target,
        begin: impl Fn(&Incoming) -> Relay + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            uri: ArcSwap::from_pointee(target.uri.clone()),
            link: Link::new(client, target.bridging, target.max_message),
            target,
            sessions: Sessions::default(),
            begin: Box::new(begin),
            exchanges: AtomicU64::new(1),
            replies: Arc::new(Semaphore::new(back::MAX_REPLIES)),
            is_sse: AtomicBool::new(false),
        })
    }

    /// Responds to one request.
    pub async fn answer(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        if incoming.method == Method::POST {
            let cancels = header_check::is_stateless(&incoming.headers);
            let answer = Arc::clone(self).post(incoming);
            // Before 2026-07-28, disconnecting does not cancel a request, and its result is
            // still recorded.
            return match cancels {
                true => Box::pin(answer).await,
                false => DetachOnDrop::new(answer).await,
            };
        }
        Box::pin(self.handle_bodyless(incoming)).await
    }

    /// Aborts requests in flight, responding with an error; also later ones.
    pub fn abort_all(&self) {
        self.link.abort_all();
    }

    /// Aborts requests in flight, but not later ones.
    pub(super) fn abort_in_flight(&self) {
        self.link.abort_in_flight();
    }

    /// Ends all conversations. A login being renewed gets a second to complete.
    pub async fn close(&self) {
        self.sessions.close_all();
        self.link.close();
        if let Some(login) = &self.target.login {
            login.wait_for_renewal(RENEWAL_GRACE).await;
        }
    }

    fn conversation(
        &self,
        incoming: &Incoming,
    ) -> Result<(Arc<Relay>, ConversationStart), NotOwner> {
        let session = session(incoming);
        let stateless = header_check::is_stateless(&incoming.headers);
        let begins = session.is_none() && header_check::has_method(&incoming.body, "initialize");
        let mut start = ConversationStart::Earlier;
        let mut begin = || {
            start = ConversationStart::ForeignSession;
            let relay = (self.begin)(incoming);
            // A session opened through another gate, or a server without sessions.
            if !begins && !stateless && !is_stateless_message(&incoming.body) {
                relay.assume_handshake();
            }
            Arc::new(relay)
        };
        if begins && !stateless && !self.is_sse.load(Ordering::Relaxed) {
            return Ok((begin(), ConversationStart::Handshake));
        }
        let relay = self.sessions.find(&incoming.principal, session, begin)?;
        Ok((relay, start))
    }

    async fn post(self: Arc<Self>, mut incoming: Incoming) -> Response<Body> {
        let Ok((conversation, start)) = self.conversation(&incoming) else {
            let relay = (self.begin)(&incoming);
            return Box::pin(refusal::no_such_session(&relay, &incoming)).await;
        };
        if let Err(mismatch) = self.check_headers(&conversation, &incoming) {
            return Box::pin(refusal::contradicted(&conversation, &mismatch, &incoming.body)).await;
        }
        let outline = outline(&incoming.body);
        let one_message =
            self.target.plain && outline.has_method && !headers::names_types(&incoming.headers);
        if one_message {
            incoming.headers.insert(ACCEPT, BOTH);
        }
        let scope = format!("x{}", self.exchanges.fetch_add(1, Ordering::Relaxed));
        let relay = Arc::new(conversation.exchange(scope.into()));
        let open = CloseOnDrop(Some(Arc::clone(&relay)));
        let principal = Principal::of_client(&incoming.principal, &conversation);
        let own = principal.as_own();
        let sender = Requester { remote: &self, headers: &incoming.headers, principal: &own };
        let outgoing = match relay.post(incoming.body.clone(), &sender).await {
            Posted::Forward(outgoing) => outgoing,
            Posted::Answer(answer) => return problem::denied(answer),
            Posted::Nothing => return problem::empty(StatusCode::ACCEPTED),
        };
        if outline.id.is_none() && (session(&incoming).is_some() || self.target.adds_param_headers)
        {
            cancelled_id(&incoming.body).inspect(|id| conversation.cancel(id));
        }
        if let Err(mismatch) = self.check_param_headers(&conversation, &mut incoming) {
            relay.close_exchange("its headers contradict it");
            return Box::pin(refusal::contradicted(&conversation, &mismatch, &incoming.body)).await;
        }
        let awaited = outline.id.clone().filter(|id| relay.awaits(id));
        let ends = stream_end(&incoming.headers);
        let exchange = Exchange { remote: &self, relay, awaited, ends, one_message };
        let metadata = exchange.metadata(&incoming.body);
        let response =
            match self.send(outgoing, &incoming.headers, &principal, RESPONSE_TIMEOUT).await {
                Ok(response) => response,
                Err(unanswered) => return exchange.send_failed(outline.id.as_deref(), unanswered),
            };
        self.update_sessions(&incoming, start, &response, conversation);
        open.disarm();
        let reply_sender = ReplySender::new(&self, incoming.headers, principal);
        let mut response = exchange.forward(response, reply_sender).await;
        problem::set_metadata(&mut response, &metadata);
        response
    }

    /// Checks that the headers match the message.
    fn check_headers(&self, conversation: &Relay, incoming: &Incoming) -> Result<(), Mismatch> {
        let declared = |tool: &str| match self.target.adds_param_headers {
            true => Arc::default(),
            false => conversation.param_headers(tool),
        };
        header_check::check(&incoming.headers, &incoming.body, declared)
    }

    /// Checks the headers that a tool's schema defines, once the tool is known; adds them if
    /// the client cannot.
    fn check_param_headers(
        &self,
        conversation: &Relay,
        incoming: &mut Incoming,
    ) -> Result<(), Mismatch> {
        let headers = &incoming.headers;
        let stateless = header_check::is_stateless(headers);
        if stateless && headers.keys().any(|name| params::is_argument(name.as_str())) {
            self.check_headers(conversation, incoming)?;
        }
        if self.target.adds_param_headers && stateless || self.link.makes_headers(&incoming.headers)
        {
            let declared = |tool: &str| conversation.param_headers(tool);
            incoming.headers.extend(header_check::headers_of_arguments(&incoming.body, declared));
        }
        Ok(())
    }

    /// Adds a conversation that has begun, or removes one that the server does not know any
    /// more.
    fn update_sessions(
        &self,
        incoming: &Incoming,
        start: ConversationStart,
        response: &Response<Body>,
        conversation: Arc<Relay>,
    ) {
        let principal = &incoming.principal;
        match session(incoming) {
            Some(session) if start.means_no_session(response.status()) => {
                self.sessions.remove(principal, session);
            }
            None if start == ConversationStart::Handshake => {
                let opened = response.headers().get(SESSION).and_then(|id| id.to_str().ok());
                match opened {
                    Some(session) => self.sessions.register(principal, session, conversation),
                    None => self.sessions.replace_sessionless(principal, conversation),
                }
            }
            _ => {}
        }
    }

    /// Handles GET and DELETE, which have no message.
    async fn handle_bodyless(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        let mut start = ConversationStart::Earlier;
        let begin = || {
            start = ConversationStart::ForeignSession;
            Arc::new((self.begin)(&incoming))
        };
        let found = self.sessions.find(&incoming.principal, session(&incoming), begin);
        let Ok(conversation) = found else {
            return refusal::no_such_session(&(self.begin)(&incoming), &incoming).await;
        };
        let method = &incoming.method;
        let principal = Principal::of_client(&incoming.principal, &conversation);
        let request = || self.request(method.clone(), &incoming.headers, &principal, Bytes::new());
        let on_challenge = match (method, session(&incoming)) {
            // The stream of HTTP+SSE is the first request.
            (&Method::GET, None) => OnChallenge::LogIn,
            (&Method::GET, Some(_)) => OnChallenge::Renew,
            _ => OnChallenge::Ignore,
        };
        let response = match self.send_logged_in(request, on_challenge, RESPONSE_TIMEOUT).await {
            Ok(response) => response,
            Err(unanswered) => return problem::temporary(unanswered.answer(None)),
        };
        let status = response.status();
        let is_over = incoming.method == Method::DELETE && status.is_success();
        if (is_over || start.means_no_session(status))
            && let Some(session) = session(&incoming)
        {
            self.sessions.remove(&incoming.principal, session);
        }
        let streamed = self.streamed(response, incoming, principal, &conversation).await;
        streamed.unwrap_or_else(|message| {
            let error = problem::error(StatusCode::BAD_GATEWAY, None, UPSTREAM, &message);
            problem::permanent(error)
        })
    }

    /// The response to a request without a message. Messages of a stream are judged.
    async fn streamed(
        self: &Arc<Self>,
        response: Response<Body>,
        incoming: Incoming,
        principal: Principal,
        conversation: &Relay,
    ) -> Result<Response<Body>, String> {
        let (mut parts, body) = response.into_parts();
        headers::strip(&mut parts.headers);
        if parts.status.is_redirection() {
            return Err(problem::redirected(&parts.headers));
        }
        if !is_event_stream(&parts.headers) {
            return Ok(forward_unread(conversation, parts, body, self.target.max_message).await);
        }
        problem::refuse_encoded(&parts.headers)?;
        let relay = Arc::new(conversation.exchange(Arc::from("")));
        let ends = StreamEnd::Listening { resumes: incoming.headers.contains_key(LAST_EVENT_ID) };
        parts.headers.remove(CONTENT_LENGTH);
        let way = (ReplySender::new(self, incoming.headers, principal), self.target.max_message);
        let body = stream::pump(body, relay, way, ends, None);
        Ok(Response::from_parts(parts, body))
    }
}

/// How a conversation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConversationStart {
    /// Before this request.
    Earlier,
    /// With this request, in a session that was not opened through this gate.
    ForeignSession,
    /// With this `initialize`.
    Handshake,
}

impl ConversationStart {
    /// Whether the status means that the session does not exist: 404. If it was not opened
    /// through this gate, any client error (some servers use 400 and others), so that ids which
    /// nobody opened do not displace open sessions.
    fn means_no_session(self, status: StatusCode) -> bool {
        status == StatusCode::NOT_FOUND || self == Self::ForeignSession && status.is_client_error()
    }
}

/// Guard of an exchange that ends if its client disconnects before the response (2026-07-28).
struct CloseOnDrop(Option<Arc<Relay>>);

impl CloseOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(relay) = &self.0 {
            relay.close_exchange("cancelled");
        }
    }
}

fn session(incoming: &Incoming) -> Option<&str> {
    incoming.headers.get(SESSION).and_then(|id| id.to_str().ok())
}

/// The id of the request that a cancellation refers to.
fn cancelled_id(message: &[u8]) -> Option<&[u8]> {
    let is_cancellation = header_check::has_method(message, "notifications/cancelled");
    IdFields::of(message).get(message, IdField::RequestId).filter(|_| is_cancellation)
}

/// What the end of a response stream means, for a request with these headers.
fn stream_end(headers: &HeaderMap) -> StreamEnd {
    match (header_check::is_stateless(headers), headers.contains_key(SESSION)) {
        (true, _) => StreamEnd::Cancels,
        (false, true) => StreamEnd::MayResume,
        (false, false) => StreamEnd::Final,
    }
}

/// Whether a message is stateless.
fn is_stateless_message(body: &[u8]) -> bool {
    may_hold(body, era::PROTOCOL_VERSION) && header_check::headers_of(body).is_some()
}
