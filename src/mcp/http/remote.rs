//! A server behind a URL, with HTTP on both sides: what was judged is forwarded
//! as it came, and what comes back passes as it came.

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
use super::ids::{Place, Places};
use super::link::{Link, Principal};
use super::own_requests::{BOTH, Requester};
use super::problem;
use super::sessions::{NotYours, Sessions};
use super::stream::{self, Ends};
use super::{LAST_EVENT_ID, SESSION, header_check, headers, refusal};
use crate::mcp::bridge::Bridging;
use crate::mcp::codes::UPSTREAM;
use crate::mcp::relay::Relay;
use crate::mcp::relay::exchange::Posted;
use crate::mcp::scan::{may_hold, outline};
use crate::mcp::{era, params};
use crate::net::Body;
use crate::net::client::Client;
use crate::net::detach::DetachOnDrop;
use crate::oauth;

mod answers;
mod back;
mod outward;

pub(super) use back::Back;

use answers::{Exchange, Unanswered, unread};
use outward::Login;

/// How long the server may take to begin its answer: a call may take minutes.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// How long a renewal of the login that is under way may take at the end.
const PARTING: Duration = Duration::from_secs(1);

/// A remote server, and the conversations with it.
pub struct Remote {
    target: Target,
    /// The target's; another one where the server says so (HTTP+SSE).
    uri: ArcSwap<Uri>,
    link: Arc<Link>,
    sessions: Sessions,
    begin: Box<dyn Fn(&Incoming) -> Relay + Send + Sync>,
    exchanges: AtomicU64,
    /// Room for what the gate itself answers the server.
    replies: Arc<Semaphore>,
    /// One conversation for all: the stream of HTTP+SSE carries every answer.
    is_sse: AtomicBool,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remote").field("uri", &self.uri.load()).finish_non_exhaustive()
    }
}

/// Where a server is and how to speak to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its URL.
    pub uri: Uri,
    /// The login, where the server may ask for one.
    pub login: Option<oauth::Session>,
    /// Headers of the gate's own; their values are marked sensitive.
    pub headers: HeaderMap,
    /// The client's `Authorization` goes no further.
    pub keeps_authorization: bool,
    /// The client's transport has no headers: those that arguments need are made
    /// from the message.
    pub fills_in: bool,
    /// A client that does not say which types it takes gets one message, whatever
    /// the server answers with.
    pub plain: bool,
    /// Whether a client of one era is served in front of a server of the other.
    pub bridging: Bridging,
    /// The largest message, in bytes.
    pub max_message: usize,
}

impl Remote {
    /// A remote server; `begin` makes the relay of a new conversation.
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

    /// Answers one request.
    pub async fn answer(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        if incoming.method == Method::POST {
            let cancels = header_check::is_stateless(&incoming.headers);
            let answer = Arc::clone(self).post(incoming);
            // A client that goes away before 2026 has not cancelled what it asked, and
            // its result is still recorded.
            return match cancels {
                true => Box::pin(answer).await,
                false => DetachOnDrop::new(answer).await,
            };
        }
        Box::pin(self.without_message(incoming)).await
    }

    /// Breaks off what is under way: whoever waits for an answer is told so.
    pub fn give_up(&self) {
        self.link.give_up();
    }

    /// The same, and what comes later goes out.
    pub(super) fn break_off(&self) {
        self.link.break_off();
    }

    /// Ends every conversation. A renewal of the login has a second
    /// to come to its end.
    pub async fn close(&self) {
        self.sessions.close_all();
        self.link.close();
        if let Some(login) = &self.target.login {
            login.at_rest(PARTING).await;
        }
    }

    fn conversation(&self, incoming: &Incoming) -> Result<(Arc<Relay>, Begun), NotYours> {
        let session = session(incoming);
        let stateless = header_check::is_stateless(&incoming.headers);
        let begins = session.is_none() && header_check::has_method(&incoming.body, "initialize");
        let mut begun = Begun::Before;
        let mut begin = || {
            begun = Begun::InSession;
            let relay = (self.begin)(incoming);
            // A session that was opened elsewhere, or a server that needs none.
            if !begins && !stateless && !describes_itself(&incoming.body) {
                relay.presume_handshake();
            }
            Arc::new(relay)
        };
        if begins && !stateless && !self.is_sse.load(Ordering::Relaxed) {
            return Ok((begin(), Begun::ByHandshake));
        }
        let relay = self.sessions.find(&incoming.principal, session, begin)?;
        Ok((relay, begun))
    }

    async fn post(self: Arc<Self>, mut incoming: Incoming) -> Response<Body> {
        let Ok((conversation, begun)) = self.conversation(&incoming) else {
            let relay = (self.begin)(&incoming);
            return Box::pin(refusal::no_such_session(&relay, &incoming)).await;
        };
        if let Err(mismatch) = self.agrees(&conversation, &incoming) {
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
        let open = Open(Some(Arc::clone(&relay)));
        let budget = relay.settings().answer_memory.clone();
        let name = Arc::clone(&incoming.principal);
        let weak = Arc::downgrade(&conversation);
        let principal = Principal { name, is_own: false, budget, conversation: weak };
        let own = Principal { is_own: true, ..principal.clone() };
        let asker = Requester { remote: &self, headers: &incoming.headers, principal: &own };
        let outgoing = match relay.post(incoming.body.clone(), &asker).await {
            Posted::Forward(outgoing) => outgoing,
            Posted::Answer(answer) => return problem::denied(answer),
            Posted::Nothing => return problem::empty(StatusCode::ACCEPTED),
        };
        if outline.id.is_none() && (session(&incoming).is_some() || self.target.fills_in) {
            given_up(&incoming.body).inspect(|id| conversation.gave_up(id));
        }
        if let Err(mismatch) = self.agrees_once_listed(&conversation, &mut incoming) {
            relay.over_and_out("its headers contradict it");
            return Box::pin(refusal::contradicted(&conversation, &mismatch, &incoming.body)).await;
        }
        let owed = outline.id.clone().filter(|id| relay.awaits(id));
        let ends = ends_of(&incoming.headers);
        let exchange = Exchange { remote: &self, relay, owed, ends, one_message };
        let mark = exchange.mark(&incoming.body);
        let response = match self.send(outgoing, &incoming.headers, &principal, PATIENCE).await {
            Ok(response) => response,
            Err(unanswered) => return exchange.not_sent(outline.id.as_deref(), unanswered),
        };
        self.keep(&incoming, begun, &response, conversation);
        open.goes_on();
        let back = Back::new(&self, incoming.headers, principal);
        let mut response = exchange.pass(response, back).await;
        problem::mark_with(&mut response, &mark);
        response
    }

    /// Whether the headers say what the message says.
    fn agrees(&self, conversation: &Relay, incoming: &Incoming) -> Result<(), Mismatch> {
        let declared = |tool: &str| match self.target.fills_in {
            true => Arc::default(),
            false => conversation.param_headers(tool),
        };
        header_check::check(&incoming.headers, &incoming.body, declared)
    }

    /// The same now that the tool of a call is known, whose schema says which arguments
    /// are headers too; those that the client does not make itself are put in.
    fn agrees_once_listed(
        &self,
        conversation: &Relay,
        incoming: &mut Incoming,
    ) -> Result<(), Mismatch> {
        let headers = &incoming.headers;
        let stateless = header_check::is_stateless(headers);
        if stateless && headers.keys().any(|name| params::is_argument(name.as_str())) {
            self.agrees(conversation, incoming)?;
        }
        if self.target.fills_in && stateless || self.link.makes_headers(&incoming.headers) {
            let declared = |tool: &str| conversation.param_headers(tool);
            incoming.headers.extend(header_check::headers_of_arguments(&incoming.body, declared));
        }
        Ok(())
    }

    /// Remembers a conversation that began, and forgets one that the server does
    /// not know any more.
    fn keep(
        &self,
        incoming: &Incoming,
        begun: Begun,
        response: &Response<Body>,
        conversation: Arc<Relay>,
    ) {
        let principal = &incoming.principal;
        match session(incoming) {
            Some(session) if begun.is_over(response.status()) => {
                self.sessions.closed(principal, session);
            }
            None if begun == Begun::ByHandshake => {
                let opened = response.headers().get(SESSION).and_then(|id| id.to_str().ok());
                match opened {
                    Some(session) => self.sessions.opened(principal, session, conversation),
                    None => self.sessions.replaced(principal, conversation),
                }
            }
            _ => {}
        }
    }

    /// GET and DELETE: no message goes in.
    async fn without_message(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        let mut begun = Begun::Before;
        let begin = || {
            begun = Begun::InSession;
            Arc::new((self.begin)(&incoming))
        };
        let found = self.sessions.find(&incoming.principal, session(&incoming), begin);
        let Ok(conversation) = found else {
            return refusal::no_such_session(&(self.begin)(&incoming), &incoming).await;
        };
        let (method, name) = (&incoming.method, Arc::clone(&incoming.principal));
        let budget = conversation.settings().answer_memory.clone();
        let weak = Arc::downgrade(&conversation);
        let principal = Principal { name, is_own: false, budget, conversation: weak };
        let request = || self.request(method.clone(), &incoming.headers, &principal, Bytes::new());
        let may = match (method, session(&incoming)) {
            // The stream of HTTP+SSE: nothing goes before it.
            (&Method::GET, None) => Login::MayAsk,
            (&Method::GET, Some(_)) => Login::MayRenew,
            _ => Login::IsTaken,
        };
        let response = match self.send_logged_in(request, may, PATIENCE).await {
            Ok(response) => response,
            Err(unanswered) => return problem::passing(unanswered.answer(None)),
        };
        let status = response.status();
        let is_over = incoming.method == Method::DELETE && status.is_success();
        if (is_over || begun.is_over(status))
            && let Some(session) = session(&incoming)
        {
            self.sessions.closed(&incoming.principal, session);
        }
        let streamed = self.streamed(response, incoming, principal, &conversation).await;
        streamed.unwrap_or_else(|words| {
            let error = problem::error(StatusCode::BAD_GATEWAY, None, UPSTREAM, &words);
            problem::lasting(error)
        })
    }

    /// The answer to a request without a message, the messages of a stream looked at.
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
        if headers::kind(&parts.headers) != "text/event-stream" {
            return Ok(unread(conversation, parts, body, self.target.max_message).await);
        }
        problem::refuse_encoded(&parts.headers)?;
        let relay = Arc::new(conversation.exchange(Arc::from("")));
        let ends = Ends::Listens { resumes: incoming.headers.contains_key(LAST_EVENT_ID) };
        parts.headers.remove(CONTENT_LENGTH);
        let way = (Back::new(self, incoming.headers, principal), self.target.max_message);
        let body = stream::pump(body, relay, way, ends, None);
        Ok(Response::from_parts(parts, body))
    }
}

/// How a conversation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// Before this request.
    Before,
    /// With this request, in a session that the gate has not seen opened.
    InSession,
    /// With this `initialize`.
    ByHandshake,
}

impl Begun {
    /// Whether a session is none, or none any more: servers answer 404, and some
    /// 400 and the like. What nobody opened does not take the place of what is open.
    fn is_over(self, status: StatusCode) -> bool {
        status == StatusCode::NOT_FOUND || self == Self::InSession && status.is_client_error()
    }
}

/// An exchange that is over as soon as its client is gone (2026-07-28), until its
/// answer is passed on.
struct Open(Option<Arc<Relay>>);

impl Open {
    fn goes_on(mut self) {
        self.0 = None;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(relay) = &self.0 {
            relay.over_and_out("cancelled");
        }
    }
}

fn session(incoming: &Incoming) -> Option<&str> {
    incoming.headers.get(SESSION).and_then(|id| id.to_str().ok())
}

/// The id of the request that a cancellation gives up.
fn given_up(message: &[u8]) -> Option<&[u8]> {
    let is_cancellation = header_check::has_method(message, "notifications/cancelled");
    Places::of(message).get(message, Place::Requested).filter(|_| is_cancellation)
}

/// What the end of a stream means that answers a request with these headers.
fn ends_of(headers: &HeaderMap) -> Ends {
    match (header_check::is_stateless(headers), headers.contains_key(SESSION)) {
        (true, _) => Ends::Cancels,
        (false, true) => Ends::MayResume,
        (false, false) => Ends::IsOver,
    }
}

/// Whether a message is one of the stateless era.
fn describes_itself(body: &[u8]) -> bool {
    may_hold(body, era::PROTOCOL_VERSION) && header_check::headers_of(body).is_some()
}
