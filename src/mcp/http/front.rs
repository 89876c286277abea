//! Checks what comes in over HTTP before its message is parsed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::headers;
use super::pools::Pools;
use super::problem;
use super::refusal::Refusal;
use super::remote::Remote;
use super::{LAST_EVENT_ID, REVISION, SESSION};
use crate::action::Agent;
use crate::decision_headers;
use crate::gate::refusals::Refusals;
use crate::net::Body;
use crate::net::body::hold_whole;
use crate::net::memory::MemoryBudget;
use crate::net::server::{Answer, App};
use crate::net::sniff::TwoLengths;

/// Time limit for receiving a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum length of a session id, in bytes.
const MAX_SESSION_ID: usize = 1 << 10;

/// Query parameters with the session id of HTTP+SSE. Some clients always append them; they are
/// ignored.
const IGNORED: [&str; 2] = ["sessionId", "session_id"];

/// Path of the MCP endpoint.
pub const PATH: &str = "/mcp";

/// An HTTP request of a client, after checks of Host, Origin, token, method, type, encoding and
/// size.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The client's agent.
    pub agent: Agent,
    /// Owner of the sessions that it may use.
    pub principal: Arc<str>,
    /// POST, GET or DELETE.
    pub method: Method,
    /// The headers, unchanged.
    pub headers: HeaderMap,
    /// The message; empty unless the method is POST.
    pub body: Bytes,
}

/// Limits and access control of a listener.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Its address: `Host` must match it, or be a loopback name.
    pub address: SocketAddr,
    /// The token that every request must carry, if any.
    pub token: Option<Arc<Zeroizing<String>>>,
    /// Memory budget for messages.
    pub request_memory: MemoryBudget,
    /// Memory budget for answers.
    pub answer_memory: MemoryBudget,
    /// Maximum length of a message, in bytes.
    pub max_message: usize,
}

/// Checks the requests of a listener and passes them on.
#[derive(Debug)]
pub struct Front {
    /// Limits and access control.
    pub settings: ListenerSettings,
    /// Where requests are passed on to.
    pub backend: Backend,
    /// The clients' agent.
    pub agent: Agent,
    /// The server's name in the log.
    pub server: Arc<str>,
    /// Records refused requests.
    pub refusals: Refusals,
}

/// A server behind a listener.
#[derive(Debug, Clone)]
pub enum Backend {
    /// A server behind a URL.
    Remote(Arc<Remote>),
    /// A command, run per session.
    Command(Arc<Pools>),
}

impl Backend {
    /// Responds to one request.
    pub async fn answer(&self, incoming: Incoming) -> Response<Body> {
        match self {
            Self::Remote(remote) => remote.answer(incoming).await,
            Self::Command(pools) => Box::pin(pools.answer(incoming)).await,
        }
    }

    /// Aborts requests in flight, responding with an error.
    pub fn abort_all(&self) {
        match self {
            Self::Remote(remote) => remote.abort_all(),
            Self::Command(pools) => pools.abort_all(),
        }
    }

    /// Ends all conversations and children.
    pub async fn close(&self) {
        match self {
            Self::Remote(remote) => remote.close().await,
            Self::Command(pools) => pools.close().await,
        }
    }
}

impl Front {
    /// Responds to one request from `source`. Takes the headers out of `parts`.
    async fn handle(&self, source: IpAddr, parts: &mut Parts, body: Body) -> Response<Body> {
        if parts.uri.path() != PATH {
            let row =
                self.refusals.record_unauthenticated(&self.server, source, "no path of ours").await;
            let mut response = problem::empty(StatusCode::NOT_FOUND);
            problem::set_request_id(&mut response, row.as_deref());
            return response;
        }
        if let Err(refusal) = self.settings.check_access(parts) {
            let row =
                self.refusals.record_unauthenticated(&self.server, source, &refusal.what).await;
            return refusal.answer(row.as_deref());
        }
        let who = (self.agent.clone(), principal(&parts.headers));
        match read(parts, body, who, (&self.settings.request_memory, self.settings.max_message))
            .await
        {
            Ok(incoming) => {
                let answer = self.backend.answer(incoming).await;
                decision_headers::deliver(answer, &self.settings.answer_memory)
            }
            Err(refusal) => {
                let malformed = refusal.malformed(&self.server, &parts.method);
                let row = self.refusals.record_malformed(self.agent.clone(), malformed).await;
                refusal.answer(row.as_deref())
            }
        }
    }
}

impl ListenerSettings {
    /// Checks Host, Origin and token.
    fn check_access(&self, parts: &Parts) -> Result<(), Refusal> {
        let host = host(parts)?;
        // A web page can send any Host it likes (DNS rebinding).
        if self.token.is_none() && !self.is_own(host) {
            let what = "this is not a host that is served here";
            return Err(Refusal::new(StatusCode::FORBIDDEN, what));
        }
        let origins = parts.headers.get_all(ORIGIN).iter();
        if !origins.into_iter().all(|origin| self.is_own_origin(origin)) {
            let what = "pages of this origin are not served here";
            return Err(Refusal::new(StatusCode::FORBIDDEN, what));
        }
        match &self.token {
            Some(token) if !has_token(&parts.headers, token) => {
                Err(Refusal::new(StatusCode::UNAUTHORIZED, "the bearer token is wrong"))
            }
            _ => Ok(()),
        }
    }

    fn is_own_origin(&self, origin: &HeaderValue) -> bool {
        match origin.to_str().ok().and_then(|origin| origin.split_once("://")) {
            Some(("http" | "https", authority)) => self.is_own(authority),
            _ => false,
        }
    }

    /// Whether `authority` is this listener's. The port is not compared: it may be a tunnel's.
    fn is_own(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let ip = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host.parse().map(IpAddr::V6).ok(),
            None => host.parse().map(IpAddr::V4).ok(),
        };
        ip.is_some_and(|ip| ip.is_loopback() || ip == self.address.ip())
            || host.eq_ignore_ascii_case("localhost")
    }
}

/// The requested authority: that of the request line or `:authority`, else `Host`.
fn host(parts: &Parts) -> Result<&str, Refusal> {
    let twice = |what: &'static str| Refusal::new(StatusCode::BAD_REQUEST, what);
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(twice("the header `Host` is given twice"));
    }
    let host = host.map(|host| host.to_str().unwrap_or_default());
    match (parts.uri.authority().map(http::uri::Authority::as_str), host) {
        (Some(named), Some(host)) if !named.eq_ignore_ascii_case(host) => {
            Err(twice("the request names two hosts"))
        }
        (named, host) => Ok(named.or(host).unwrap_or_default()),
    }
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, more) = (values.next(), values.next());
    let value = value.filter(|_| more.is_none()).and_then(|value| value.to_str().ok());
    let presented = value.and_then(|value| value.split_once(' '));
    presented.is_some_and(|(scheme, presented)| {
        scheme.eq_ignore_ascii_case("bearer")
            && bool::from(presented.trim().as_bytes().ct_eq(token.as_bytes()))
    })
}

/// The owner of sessions, derived from the credential that the request carries.
fn principal(headers: &HeaderMap) -> Arc<str> {
    match headers.get(AUTHORIZATION) {
        None => Arc::from("anonymous"),
        Some(value) => hex::encode(Sha256::digest(value.as_bytes())).into(),
    }
}

/// Reads a request of an identified sender. Takes the headers out of `parts`.
///
/// # Errors
/// The refusal, if the request is invalid.
pub async fn read(
    parts: &mut Parts,
    body: Body,
    (agent, principal): (Agent, Arc<str>),
    (budget, max_message): (&MemoryBudget, usize),
) -> Result<Incoming, Refusal> {
    check_query(parts.uri.query().unwrap_or_default())?;
    check_headers(parts)?;
    let body = match parts.method {
        Method::GET | Method::DELETE => Bytes::new(),
        Method::POST => {
            check_post(&parts.headers)?;
            let reservation = budget.reservation(&principal);
            let held = hold_whole((body, Some(reservation)), max_message, BODY_TIMEOUT).await;
            let body =
                held.map_err(|error| Refusal::new(error.answer().0, error.to_string()))?.bytes;
            if body.trim_ascii().is_empty() {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "there is no message"));
            }
            body
        }
        _ => {
            let what = "a method that is not spoken here";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, what));
        }
    };
    let (method, headers) = (parts.method.clone(), std::mem::take(&mut parts.headers));
    Ok(Incoming { agent, principal, method, headers, body })
}

/// Queries are not forwarded: an agent could select other tools with them, and dropping one
/// silently would mislead a client that relies on it.
fn check_query(query: &str) -> Result<(), Refusal> {
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    match names.all(|name| IGNORED.contains(&&*name)) {
        true => Ok(()),
        false => {
            let what = "a query goes no further: put it into the URL that the gate is given";
            Err(Refusal::new(StatusCode::BAD_REQUEST, what))
        }
    }
}

/// Refuses duplicates of singleton headers: gate and server might each use another one.
fn check_headers(parts: &Parts) -> Result<(), Refusal> {
    if parts.extensions.get::<TwoLengths>().is_some() {
        let what = "two lengths that contradict each other";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, what));
    }
    if let Some(name) = headers::misleading(&parts.headers) {
        let what = format!("the header `{name}` could make the server read another request");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, what));
    }
    for name in [SESSION, REVISION, LAST_EVENT_ID, AUTHORIZATION] {
        if parts.headers.get_all(&name).iter().nth(1).is_some() {
            let what = format!("the header `{name}` is given twice");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, what));
        }
    }
    let is_id = |id: &HeaderValue| {
        (1..=MAX_SESSION_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if !parts.headers.get(SESSION).is_none_or(is_id) {
        let what = "the header `mcp-session-id` holds no session id";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, what));
    }
    Ok(())
}

fn check_post(headers: &HeaderMap) -> Result<(), Refusal> {
    let unsupported = |what: &'static str| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what);
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) if is_json(kind) => {}
        _ => return Err(unsupported("Content-Type must be application/json, in UTF-8")),
    }
    let plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    match headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        true => Ok(()),
        false => Err(unsupported("a message must come without Content-Encoding")),
    }
}

/// JSON in UTF-8. Some servers decode the body by `charset`, and would read other content than
/// was judged.
fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let is_utf8 = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("charset")
                && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
        && parts.filter(|parameter| !parameter.is_empty()).all(is_utf8)
}

impl App for Arc<Front> {
    fn answer(&self, peer: SocketAddr, request: Request<Body>) -> Answer {
        let front = Arc::clone(self);
        let (mut parts, body) = request.into_parts();
        Box::pin(async move { front.handle(peer.ip(), &mut parts, body).await })
    }
}

#[cfg(test)]
mod tests;
