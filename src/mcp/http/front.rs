//! What comes in over HTTP, checked before a message of it is looked at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::pools::Pools;
use super::problem::{self, INVALID_REQUEST};
use super::remote::Remote;
use crate::action::Agent;
use crate::net::Body;
use crate::net::body::{HoldError, hold};
use crate::net::sniff::TwoLengths;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// The largest message, in bytes.
    pub max_message: usize,
}

/// A listener's requests and where they go.
#[derive(Debug, Clone)]
pub struct Front {
    /// What is checked.
    pub door: Door,
    /// Where it goes.
    pub backend: Backend,
    /// Who asks, in policies and the log.
    pub agent: Agent,
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
            Self::Command(pools) => pools.answer(incoming).await,
        }
    }

    /// Ends every conversation, and every child.
    pub async fn close(&self) {
        match self {
            Self::Remote(remote) => remote.close(),
            Self::Command(pools) => pools.close().await,
        }
    }
}

impl Front {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        if request.uri().path() != PATH {
            return problem::empty(StatusCode::NOT_FOUND);
        }
        if let Err(refusal) = self.door.admits(request.headers()) {
            return *refusal;
        }
        let principal = principal(request.headers());
        match read(request, self.agent.clone(), principal, self.door.max_message).await {
            Ok(incoming) => self.backend.answer(incoming).await,
            Err(refusal) => *refusal,
        }
    }
}

impl Door {
    /// Host, Origin and token.
    fn admits(&self, headers: &HeaderMap) -> Result<(), Box<Response<Body>>> {
        let refuse = |status, what: &str| Err(refusal(status, what));
        let mut hosts = headers.get_all(HOST).iter();
        let (host, more) = (hosts.next(), hosts.next());
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        if more.is_some() {
            return refuse(StatusCode::BAD_REQUEST, "the header `Host` is given twice");
        }
        // A page in a browser can name any host it likes (DNS rebinding).
        if self.token.is_none() && !self.is_own(host) {
            return refuse(StatusCode::FORBIDDEN, "this is not a host that is served here");
        }
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let (_, origin) = origin.split_once("://").unwrap_or(("", origin));
            if !self.is_own(origin) {
                return refuse(StatusCode::FORBIDDEN, "pages of this origin are not served here");
            }
        }
        match &self.token {
            None => Ok(()),
            Some(token) if bears(headers, token) => Ok(()),
            Some(_) => {
                let mut refusal = refusal(StatusCode::UNAUTHORIZED, "the bearer token is wrong");
                let bearer = HeaderValue::from_static("Bearer");
                refusal.headers_mut().insert(http::header::WWW_AUTHENTICATE, bearer);
                Err(refusal)
            }
        }
    }

    /// Whether an authority is this listener's.
    fn is_own(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let named = host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback() || ip == self.address.ip());
        named || host.eq_ignore_ascii_case("localhost")
    }
}

fn bears(headers: &HeaderMap, token: &str) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
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
        Some(value) => {
            let digest = Sha256::digest(value.as_bytes());
            digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        }
    }
}

/// Reads a request whose sender is known.
///
/// # Errors
/// The answer to one that is not passed on.
pub async fn read(
    request: Request<Body>,
    agent: Agent,
    principal: Arc<str>,
    max_message: usize,
) -> Result<Incoming, Box<Response<Body>>> {
    let (parts, body) = request.into_parts();
    let body = match parts.method {
        Method::GET | Method::DELETE => Bytes::new(),
        Method::POST => {
            check_post(&parts)?;
            let held = hold(body, max_message, PATIENCE).await;
            let body = held.map_err(|error| refusal(status_of(&error), &error.to_string()))?;
            if body.trim_ascii().is_empty() {
                return Err(refusal(StatusCode::BAD_REQUEST, "there is no message"));
            }
            body
        }
        _ => {
            let mut refused = problem::empty(StatusCode::METHOD_NOT_ALLOWED);
            let allow = HeaderValue::from_static("GET, POST, DELETE");
            refused.headers_mut().insert(http::header::ALLOW, allow);
            return Err(Box::new(refused));
        }
    };
    Ok(Incoming { agent, principal, method: parts.method, headers: parts.headers, body })
}

fn check_post(parts: &http::request::Parts) -> Result<(), Box<Response<Body>>> {
    if parts.extensions.get::<TwoLengths>().is_some() {
        return Err(refusal(StatusCode::BAD_REQUEST, "two lengths that contradict each other"));
    }
    let kinds: Vec<&HeaderValue> = parts.headers.get_all(CONTENT_TYPE).iter().collect();
    let is_json = |kind: &HeaderValue| {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    };
    match kinds.as_slice() {
        [kind] if is_json(kind) => {}
        _ => {
            let what = "Content-Type must be application/json";
            return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
        }
    }
    let encodings = parts.headers.get(CONTENT_ENCODING);
    match encodings.is_none_or(|encoding| encoding == "identity") {
        true => Ok(()),
        false => {
            let what = "a message must come without Content-Encoding";
            Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, what))
        }
    }
}

fn status_of(error: &HoldError) -> StatusCode {
    match error {
        HoldError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        HoldError::Slow { .. } => StatusCode::REQUEST_TIMEOUT,
        HoldError::Broken(_) => StatusCode::BAD_REQUEST,
    }
}

fn refusal(status: StatusCode, what: &str) -> Box<Response<Body>> {
    tracing::warn!(status = status.as_u16(), what, "a request was refused");
    Box::new(problem::error(status, None, INVALID_REQUEST, what))
}

/// The front as a service of a listener.
pub fn router(front: Front) -> axum::Router {
    let front = Arc::new(front);
    axum::Router::new().fallback(move |_: ConnectInfo<SocketAddr>, request: Request<Body>| {
        let front = Arc::clone(&front);
        async move { front.answer(request).await }
    })
}
