//! Sessions that the gate itself keeps for clients that start with `initialize`, in front of a
//! server without sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::sync::oneshot;

use super::translate::{self, translated};
use super::{Link, budget, forget_era, own, principal, record_refused};
use crate::mcp::answer;
use crate::mcp::bridge::{FromClient, raw, up::Up};
use crate::mcp::era;
use crate::mcp::http::problem;
use crate::mcp::http::sessions::{IDLE, MAX_SESSIONS};
use crate::mcp::http::{METHOD, REVISION, SESSION, header_check};
use crate::mcp::params;
use crate::mcp::scan::outline;
use crate::net::Body;
use crate::net::client::SendError;

/// Prefix of session ids created by the gate.
const PREFIX: &str = "agentgate-";

/// Sessions of clients with the gate, by id.
#[derive(Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
}

pub(super) struct Session {
    principal: Arc<str>,
    state: Mutex<State>,
}

struct State {
    up: Up,
    used: Instant,
    /// Requests in flight, by id. Dropping the sender cancels one.
    under_way: HashMap<Vec<u8>, oneshot::Sender<()>>,
}

/// The session id, if it has the form of the gate's own.
pub(super) fn own_session(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(SESSION)?.to_str().ok()?;
    id.starts_with(PREFIX).then(|| id.to_owned())
}

impl Sessions {
    /// The session with this id, if it is the principal's.
    pub(super) fn find(&self, principal: &Arc<str>, id: &str) -> Option<Arc<Session>> {
        let session = self.open().get(id).cloned()?;
        (session.principal == *principal).then_some(session)
    }

    fn begin(&self, principal: Arc<str>, up: Up) -> String {
        let mut open = self.open();
        if open.len() >= MAX_SESSIONS {
            evict(&mut open);
        }
        let state = State { up, used: Instant::now(), under_way: HashMap::new() };
        let session = Arc::new(Session { principal, state: Mutex::new(state) });
        let id = format!("{PREFIX}{}", uuid::Uuid::new_v4());
        open.insert(id.clone(), session);
        id
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes idle sessions, or else the least recently used one.
fn evict(open: &mut HashMap<String, Arc<Session>>) {
    let idle = |session: &Session| session.state().used.elapsed();
    let before = open.len();
    open.retain(|_, session| idle(session) < IDLE);
    if open.len() == before {
        let oldest = open.iter().max_by_key(|(_, session)| idle(session));
        let oldest = oldest.map(|(id, _)| id.clone());
        oldest.and_then(|oldest| open.remove(&oldest));
    }
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn translate_from_client(&self, message: &[u8]) -> FromClient {
        let mut state = self.state();
        state.used = Instant::now();
        let step = state.up.translate_from_client(message);
        if let FromClient::Cancel(id) = &step {
            let under_way = state.under_way.remove(id);
            let _ = under_way.map(|under_way| under_way.send(()));
        }
        step
    }
}

/// Guard of a request in flight.
struct UnderWay {
    session: Arc<Session>,
    id: Vec<u8>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.session.state().under_way.remove(&self.id);
    }
}

impl Link {
    /// Responds to `initialize` from the server's `server/discover`; `None` if the server does
    /// not support that either.
    pub(super) async fn open_up(&self, initialize: &Request<Bytes>) -> Option<Response<Body>> {
        let (up, discover) = Up::open(initialize.body())?;
        let headers = [(REVISION, era::STATELESS), (METHOD, "server/discover")];
        let (status, _, answer) = self.request_own(initialize, discover, &headers).await?;
        let opened = up.opened(&answer).filter(|_| status.is_success())?;
        let id = self.up.begin(principal(initialize), up);
        let mut response = problem::json_rpc(StatusCode::OK, opened);
        response.headers_mut().insert(SESSION, HeaderValue::from_str(&id).ok()?);
        Some(response)
    }

    /// Sends a request in a session of the gate.
    pub(super) async fn through_up(
        &self,
        session: Arc<Session>,
        id: String,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Body>, SendError> {
        match *request.method() {
            Method::POST => {}
            Method::DELETE => {
                self.up.open().remove(&id);
                return Ok(problem::empty(StatusCode::NO_CONTENT));
            }
            _ => {
                let mut refused = problem::empty(StatusCode::METHOD_NOT_ALLOWED);
                refused.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
                return Ok(refused);
            }
        }
        let message = match session.translate_from_client(request.body()) {
            FromClient::Forward(message) => message,
            FromClient::Answer(answer) => return Ok(problem::json_rpc(StatusCode::OK, answer)),
            FromClient::Cancel(_) | FromClient::Drop => {
                return Ok(problem::empty(StatusCode::ACCEPTED));
            }
        };
        let method = raw(&message, &["method"]).and_then(answer::string).unwrap_or_default();
        let id = raw(&message, &["id"]).unwrap_or_default().to_vec();
        let (cancel, mut cancelled) = oneshot::channel();
        session.state().under_way.insert(id.clone(), cancel);
        let under_way = UnderWay { session, id };
        let sent = tokio::select! {
            sent = self.native(stateless(&request, message), timeout) => sent?,
            Ok(()) = &mut cancelled => return Ok(nothing()),
        };
        let extensions = request.extensions().clone();
        let translate = move |message: &Bytes| {
            record_refused(&extensions, message);
            let message = Up::translate_from_server(&method, message);
            let answers = outline(&message).is_response;
            Some(if answers { translate::with_id(&message, &under_way.id) } else { message })
        };
        let until = async move {
            if cancelled.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let counted = (self.max_message, budget(&request).cloned());
        translated(sent, counted, translate::plain, Box::new(translate), Box::pin(until)).await
    }
}

/// The request for the server. Arguments that are also sent as headers have been added if the
/// tool is known.
fn stateless(request: &Request<Bytes>, message: Bytes) -> Request<Bytes> {
    let mut sent = own(request, message, &[]);
    let params = request.headers().iter().filter(|(name, _)| params::is_argument(name.as_str()));
    let params: Vec<_> = params.map(|(name, value)| (name.clone(), value.clone())).collect();
    forget_era(sent.headers_mut());
    sent.headers_mut().extend(params);
    let message = sent.body().clone();
    header_check::add_headers_of(&message, sent.headers_mut());
    sent
}

/// The response to a cancelled request: none.
fn nothing() -> Response<Body> {
    let mut response = problem::empty(StatusCode::OK);
    let stream = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, stream);
    response
}
