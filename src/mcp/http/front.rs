//! What comes in over HTTP, checked before a message of it is looked at.

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

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest session id that is taken, in bytes.
const MAX_SESSION_ID: usize = 1 << 10;

/// What clients of HTTP+SSE know a session by and some append everywhere; here it
/// stands for nothing.
const IGNORED: [&str; 2] = ["sessionId", "session_id"];

/// Where MCP is spoken.
pub const PATH: &str = "/mcp";

/// One HTTP request of a client, its Host, Origin, token, method, type, encoding
/// and size already checked.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Who asks.
    pub agent: Agent,
    /// Whose sessions it may use.
    pub principal: Arc<str>,
    /// POST, GET or DELETE.
    pub method: Method,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The message; empty but for POST.
    pub body: Bytes,
}

/// What a listener puts up with.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where it listens: `Host` has to name it, or a loopback name.
    pub address: SocketAddr,
    /// What every request has to bear, where it is asked for.
    pub token: Option<Arc<Zeroizing<String>>>,
    /// Where messages are held.
    pub request_memory: MemoryBudget,
    /// Where answers to them are.
    pub answer_memory: MemoryBudget,
    /// The largest message, in bytes.
    pub max_message: usize,
}

/// A listener's requests and where they go.
#[derive(Debug)]
pub struct Front {
    /// What is checked.
    pub door: Door,
    /// Where it goes.
    pub backend: Backend,
    /// Who asks, in policies and the log.
    pub agent: Agent,
    /// The server's name in the log.
    pub server: Arc<str>,
    /// Records what is refused.
    pub refusals: Refusals,
}

/// What stands behind a listener.
#[derive(Debug, Clone)]
pub enum Backend {
    /// A server behind a URL.
    Remote(Arc<Remote>),
    /// A command that is run.
    Command(Arc<Pools>),
}

impl Backend {
    /// Answers one request.
    pub async fn answer(&self, incoming: Incoming) -> Response<Body> {
        match self {
            Self::Remote(remote) => remote.answer(incoming).await,
            Self::Command(pools) => Box::pin(pools.answer(incoming)).await,
        }
    }

    /// Breaks off what is under way: whoever waits for an answer is told so.
    pub fn give_up(&self) {
        match self {
            Self::Remote(remote) => remote.give_up(),
            Self::Command(pools) => pools.give_up(),
        }
    }

    /// Ends every conversation, and every child.
    pub async fn close(&self) {
        match self {
            Self::Remote(remote) => remote.close().await,
            Self::Command(pools) => pools.close().await,
        }
    }
}

impl Front {
    /// Answers one request of `source`. The headers are taken out of `parts`.
    async fn enter(&self, source: IpAddr, parts: &mut Parts, body: Body) -> Response<Body> {
        if parts.uri.path() != PATH {
            let row =
                self.refusals.record_unauthenticated(&self.server, source, "no path of ours").await;
            let mut response = problem::empty(StatusCode::NOT_FOUND);
            problem::mark(&mut response, row.as_deref());
            return response;
        }
        if let Err(refusal) = self.door.admits(parts) {
            let row =
                self.refusals.record_unauthenticated(&self.server, source, &refusal.what).await;
            return refusal.answer(row.as_deref());
        }
        let who = (self.agent.clone(), principal(&parts.headers));
        match read(parts, body, who, (&self.door.request_memory, self.door.max_message)).await {
            Ok(incoming) => {
                let answer = self.backend.answer(incoming).await;
                decision_headers::delivered(answer, &self.door.answer_memory)
            }
            Err(refusal) => {
                let flawed = refusal.flawed(&self.server, &parts.method);
                let row = self.refusals.record_malformed(self.agent.clone(), flawed).await;
                refusal.answer(row.as_deref())
            }
        }
    }
}

impl Door {
    /// Host, Origin and token.
    fn admits(&self, parts: &Parts) -> Result<(), Refusal> {
        let host = host(parts)?;
        // A page in a browser can name any host it likes (DNS rebinding).
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
            Some(token) if !bears(&parts.headers, token) => {
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

    /// Whether an authority is this listener's; its port may be that of a tunnel.
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

/// Who is spoken to: what the request line or `:authority` names, else `Host`.
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

fn bears(headers: &HeaderMap, token: &str) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, more) = (values.next(), values.next());
    let value = value.filter(|_| more.is_none()).and_then(|value| value.to_str().ok());
    let presented = value.and_then(|value| value.split_once(' '));
    presented.is_some_and(|(scheme, presented)| {
        scheme.eq_ignore_ascii_case("bearer")
            && bool::from(presented.trim().as_bytes().ct_eq(token.as_bytes()))
    })
}

/// Sessions are bound to the credential that opened them.
fn principal(headers: &HeaderMap) -> Arc<str> {
    match headers.get(AUTHORIZATION) {
        None => Arc::from("anonymous"),
        Some(value) => hex::encode(Sha256::digest(value.as_bytes())).into(),
    }
}

/// Reads a request whose sender is known. The headers are taken out of `parts`.
///
/// # Errors
/// Why it is not passed on.
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
            let held = hold_whole((body, Some(reservation)), max_message, PATIENCE).await;
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

/// No query goes to the server: an agent could ask it for other tools than were
/// meant, and a client whose query was lost would believe that it holds.
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

/// What has to be there once or not at all: of two, the gate and the server
/// might each take another one.
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

/// JSON in UTF-8. Servers there are that read the bytes in whatever `charset`
/// says: what was judged would not be what they read.
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
        Box::pin(async move { front.enter(peer.ip(), &mut parts, body).await })
    }
}

#[cfg(test)]
mod tests;
