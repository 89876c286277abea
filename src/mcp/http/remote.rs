//! A server behind a URL, with HTTP on both sides: what was judged is forwarded
//! as it came, and what comes back passes as it came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH};
use http::{HeaderMap, Method, Response, StatusCode, Uri};

use super::agree::Mismatch;
use super::ask::{Asker, BOTH};
use super::front::Incoming;
use super::ids::{Place, Places};
use super::link::{Link, Principal};
use super::problem;
use super::sessions::{NotYours, Sessions};
use super::stream::{self, Ends};
use super::{LAST_EVENT_ID, SESSION, agree, headers};
use crate::mcp::bridge::Bridging;
use crate::mcp::codes::{HEADER_MISMATCH, INVALID_REQUEST, UPSTREAM};
use crate::mcp::relay::Relay;
use crate::mcp::relay::exchange::Posted;
use crate::mcp::scan::{may_hold, outline};
use crate::mcp::{era, params};
use crate::net::Body;
use crate::net::client::Client;
use crate::net::persistent::Persistent;
use crate::oauth;

mod back;
mod outward;

use outward::{Login, Unsent};

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
            is_sse: AtomicBool::new(false),
        })
    }

    /// Answers one request.
    pub async fn answer(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        if incoming.method == Method::POST {
            let cancels = agree::is_stateless(&incoming.headers);
            let answer = Arc::clone(self).post(incoming);
            // A client that goes away before 2026 has not cancelled what it asked, and
            // its result is still recorded.
            return match cancels {
                true => Box::pin(answer).await,
                false => Persistent::new(answer).await,
            };
        }
        Box::pin(self.bare(incoming)).await
    }

    /// Breaks off what is under way: whoever waits for an answer is told so.
    pub fn give_up(&self) {
        self.link.give_up();
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
        let stateless = agree::is_stateless(&incoming.headers);
        let begins = session.is_none() && agree::has_method(&incoming.body, "initialize");
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

    async fn post(self: Arc<Self>, incoming: Incoming) -> Response<Body> {
        let mut incoming = incoming;
        let outline = outline(&incoming.body);
        let (id, asks) = (outline.id, outline.has_method);
        let Ok((conversation, begun)) = self.conversation(&incoming) else {
            return Box::pin(self.not_yours(&incoming, id.as_deref())).await;
        };
        let stateless = agree::is_stateless(&incoming.headers);
        if let Err(mismatch) = self.agrees(&conversation, &incoming) {
            return Box::pin(refused(&conversation, &mismatch, id.as_deref())).await;
        }
        let scope = format!("x{}", self.exchanges.fetch_add(1, Ordering::Relaxed));
        let relay = Arc::new(conversation.exchange(scope.into()));
        let open = Open(Some(Arc::clone(&relay)));
        let one_message = self.target.plain && asks && !headers::names_types(&incoming.headers);
        if one_message {
            incoming.headers.insert(ACCEPT, BOTH);
        }
        let share = relay.settings().answers.clone();
        let name = Arc::clone(&incoming.principal);
        let principal = Principal { name, is_own: false, share };
        let own = Principal { is_own: true, ..principal.clone() };
        let asker = Asker { remote: &self, headers: &incoming.headers, principal: &own };
        let outgoing = match relay.post(incoming.body.clone(), &asker).await {
            Posted::Forward(outgoing) => outgoing,
            Posted::Answer(answer) => return problem::denied(answer),
            Posted::Nothing => return problem::empty(StatusCode::ACCEPTED),
        };
        if id.is_none() && (session(&incoming).is_some() || self.target.fills_in) {
            given_up(&incoming.body).inspect(|id| conversation.gave_up(id));
        }
        // Once more where the tool was not known before: its schema says which
        // arguments are headers too.
        if stateless
            && names_arguments(&incoming.headers)
            && let Err(mismatch) = self.agrees(&conversation, &incoming)
        {
            relay.over_and_out("its headers contradict it");
            return Box::pin(refused(&conversation, &mismatch, id.as_deref())).await;
        }
        if self.target.fills_in && stateless || self.link.makes_headers(&incoming.headers) {
            let declared = |tool: &str| conversation.param_headers(tool);
            incoming.headers.extend(agree::headers_of_arguments(&incoming.body, declared));
        }
        let owed = id.clone().filter(|id| relay.awaits(id));
        let mark = owed.as_ref().map(|id| relay.mark_of(id)).unwrap_or_default();
        let sent = self.send(outgoing, &incoming.headers, &principal, PATIENCE).await;
        let response = match sent {
            Ok(response) => response,
            Err(Unsent { status, words }) => {
                let id = id.filter(|_| owed.as_ref().is_none_or(|owed| relay.awaits(owed)));
                relay.over_and_out(&words);
                return problem::error(status, id.as_deref(), UPSTREAM, &words);
            }
        };
        self.keep(&incoming, begun, &response, conversation);
        let ends = match (stateless, incoming.headers.contains_key(SESSION)) {
            (true, _) => Ends::Cancels,
            (false, true) => Ends::MayResume,
            (false, false) => Ends::IsOver,
        };
        open.goes_on();
        let mut response = self.pass(response, relay, owed, ends, one_message).await;
        problem::mark_with(&mut response, &mark);
        response
    }

    /// Whether the headers say what the message says.
    fn agrees(&self, conversation: &Relay, incoming: &Incoming) -> Result<(), Mismatch> {
        let declared = |tool: &str| match self.target.fills_in {
            true => Arc::default(),
            false => conversation.param_headers(tool),
        };
        agree::check(&incoming.headers, &incoming.body, declared)
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
    async fn bare(&self, incoming: Incoming) -> Response<Body> {
        let mut begun = Begun::Before;
        let begin = || {
            begun = Begun::InSession;
            Arc::new((self.begin)(&incoming))
        };
        let found = self.sessions.find(&incoming.principal, session(&incoming), begin);
        let Ok(conversation) = found else { return self.not_yours(&incoming, None).await };
        let (method, name) = (&incoming.method, Arc::clone(&incoming.principal));
        let share = conversation.settings().answers.clone();
        let principal = Principal { name, is_own: false, share };
        let request = || self.request(method.clone(), &incoming.headers, &principal, Bytes::new());
        let may = match (method, session(&incoming)) {
            // The stream of HTTP+SSE: nothing goes before it.
            (&Method::GET, None) => Login::MayAsk,
            (&Method::GET, Some(_)) => Login::MayRenew,
            _ => Login::IsTaken,
        };
        let response = match self.send_logged_in(request, may, PATIENCE).await {
            Ok(response) => response,
            Err(unsent) => return unsent.answer(),
        };
        let status = response.status();
        let is_over = incoming.method == Method::DELETE && status.is_success();
        if (is_over || begun.is_over(status))
            && let Some(session) = session(&incoming)
        {
            self.sessions.closed(&incoming.principal, session);
        }
        let (mut parts, body) = response.into_parts();
        headers::strip(&mut parts.headers);
        let failed = |words: &str| {
            problem::lasting(problem::error(StatusCode::BAD_GATEWAY, None, UPSTREAM, words))
        };
        if status.is_redirection() {
            return failed(&problem::redirected(&parts.headers));
        }
        if headers::kind(&parts.headers) != "text/event-stream" {
            return Response::from_parts(parts, body);
        }
        if let Some(encoding) = headers::encoding(&parts.headers) {
            return failed(&format!("the server answers in {encoding}, and was asked not to"));
        }
        let relay = Arc::new(conversation.exchange(Arc::from("")));
        let ends = Ends::Listens { resumes: incoming.headers.contains_key(LAST_EVENT_ID) };
        let body = stream::pump(body, relay, self.target.max_message, ends, None);
        parts.headers.remove(CONTENT_LENGTH);
        Response::from_parts(parts, body)
    }

    /// The answer to whoever names a session of another's.
    async fn not_yours(&self, incoming: &Incoming, id: Option<&[u8]>) -> Response<Body> {
        let what = "its session is not open, or is another's";
        let row = (self.begin)(incoming).note_malformed(incoming.method.as_str(), what).await;
        let status = StatusCode::NOT_FOUND;
        let mut response = problem::error(status, id, INVALID_REQUEST, "Session not found");
        problem::mark(&mut response, row.as_deref());
        response
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

/// The answer to a message whose headers contradict it.
async fn refused(relay: &Relay, mismatch: &Mismatch, id: Option<&[u8]>) -> Response<Body> {
    let words = mismatch.to_string();
    let row = relay.note_malformed("tools/call", &words).await;
    let mut refused = problem::error(StatusCode::BAD_REQUEST, id, HEADER_MISMATCH, &words);
    problem::mark(&mut refused, row.as_deref());
    refused
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
    let is_cancellation = agree::has_method(message, "notifications/cancelled");
    Places::of(message).get(message, Place::Requested).filter(|_| is_cancellation)
}

fn names_arguments(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| params::is_argument(name.as_str()))
}

/// Whether a message is one of the stateless era.
fn describes_itself(body: &[u8]) -> bool {
    may_hold(body, era::PROTOCOL_VERSION) && agree::headers_of(body).is_some()
}
