//! The way out to a server behind a URL. Messages go as they are where the server
//! speaks the client's era; where it refuses that, a bridge stands in
//! ([`crate::mcp::bridge`]), so that what is in front of this sees a server of the
//! client's era.

mod down;
mod turn;
mod up;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use super::{REVISION, SESSION, agree};
use crate::mcp::answer;
use crate::mcp::bridge::acquaintance::Acquaintances;
use crate::mcp::bridge::{Bridging, down as translated, raw};
use crate::mcp::era;
use crate::net::Body;
use crate::net::body::hold;
use crate::net::client::{Client, SendError};

/// How long a server's era is taken as known.
const KNOWN: Duration = Duration::from_secs(600);

/// How long the gate waits for the answer to what it asks itself.
const OWN_PATIENCE: Duration = Duration::from_secs(10);

/// The most of a client's name and version that is remembered, in characters.
const MAX_NAME: usize = 100;

/// Whose request it is: an extension of each request that goes out.
#[derive(Debug, Clone)]
pub(super) struct Principal(pub(super) Arc<str>);

/// The way to one server.
pub(super) struct Link {
    client: Client,
    bridging: Bridging,
    max_message: usize,
    clients: Mutex<Acquaintances>,
    /// A client was refused in the stateless era. Until then nobody has to be
    /// looked up.
    wary: AtomicBool,
    /// Since when the server is known to want no handshakes.
    stateless_only: Mutex<Option<Instant>>,
    up: up::Sessions,
    down: down::Connections,
}

impl Link {
    pub(super) fn new(client: Client, bridging: Bridging, max_message: usize) -> Arc<Self> {
        Arc::new(Self {
            client,
            bridging,
            max_message,
            clients: Mutex::default(),
            wary: AtomicBool::new(false),
            stateless_only: Mutex::default(),
            up: up::Sessions::default(),
            down: down::Connections::default(),
        })
    }

    /// Sends a request, by a bridge where one is needed.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<Response<Body>, SendError> {
        if self.bridging == Bridging::Never {
            return self.native(request, patience).await;
        }
        if let Some(id) = up::own_session(request.headers()) {
            return match self.up.find(&principal(&request), &id) {
                Some(session) => self.through_up(&session, &id, request, patience).await,
                None => self.lost_session(request, patience).await,
            };
        }
        if request.method() != Method::POST {
            return self.native(request, patience).await;
        }
        if agree::is_stateless(request.headers()) {
            return self.stateless(request, patience).await;
        }
        match !request.headers().contains_key(SESSION) && has_method(request.body(), "initialize") {
            true => self.handshake(request, patience).await,
            false => self.native(request, patience).await,
        }
    }

    /// Whether the headers that a message of the stateless era needs have to be
    /// made from its arguments.
    pub(super) fn makes_headers(&self, headers: &HeaderMap) -> bool {
        up::own_session(headers).is_some()
    }

    /// Ends what the gate itself opened.
    pub(super) fn close(self: &Arc<Self>) {
        self.down.take_all().into_iter().for_each(|one| self.farewell(&one));
    }

    async fn native(
        &self,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<Response<Body>, SendError> {
        self.client.send(request.map(Body::from), patience).await
    }

    /// A request of the stateless era.
    async fn stateless(
        self: &Arc<Self>,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<Response<Body>, SendError> {
        let always = self.bridging == Bridging::Always;
        if self.wary.load(Ordering::Relaxed) {
            let (who, now) = (caller(&request), Instant::now());
            if (always || self.clients(|known| known.has_no_other(&who, now)))
                && let Some(connection) = self.connection(&request).await
            {
                return self.through_down(connection, request, patience).await;
            }
        }
        let discovers = says(request.headers(), "mcp-method", "server/discover");
        let response = self.native(request.clone(), patience).await?;
        let (response, refusal) = self.looked_at(response, discovers).await?;
        let (who, now) = (caller(&request), Instant::now());
        match refusal {
            None if discovers => self.clients(|known| known.understood(&who, now)),
            Some(refusal) if !translated::is_modern_error(&refusal) => {
                self.wary.store(true, Ordering::Relaxed);
                self.clients(|known| known.refused(&who, now));
                if always && let Some(connection) = self.connection(&request).await {
                    return self.through_down(connection, request, patience).await;
                }
            }
            _ => {}
        }
        Ok(response)
    }

    /// A client's `initialize`, outside a session.
    async fn handshake(
        self: &Arc<Self>,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<Response<Body>, SendError> {
        let (who, now) = (caller(&request), Instant::now());
        self.clients(|known| known.shook_hands(&who, now));
        let newer = self.clients(|known| known.speaks_stateless(&who, now));
        let may = self.bridging == Bridging::Always || !newer;
        let known = *self.stateless_only.lock().unwrap_or_else(PoisonError::into_inner);
        if may
            && known.is_some_and(|since| since.elapsed() < KNOWN)
            && let Some(opened) = self.open_up(&request).await
        {
            return Ok(opened);
        }
        let response = self.native(request.clone(), patience).await?;
        let (response, refusal) = self.looked_at(response, true).await?;
        if may
            && refusal.is_some()
            && let Some(opened) = self.open_up(&request).await
        {
            *self.stateless_only.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            return Ok(opened);
        }
        Ok(response)
    }

    /// A session of the gate's own that is over, or was another gate's: the client
    /// has to begin again. A server behind it may know the session all the same.
    async fn lost_session(
        &self,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<Response<Body>, SendError> {
        let posts = request.method() == Method::POST;
        let mut response = self.native(request, patience).await?;
        if posts && refuses(response.status()) {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        Ok(response)
    }

    /// The response, and its body where it may be a refusal of the era: the body is
    /// read then, and is there again. An answer with status 200 is looked at only
    /// with `answers`.
    async fn looked_at(
        &self,
        response: Response<Body>,
        answers: bool,
    ) -> Result<(Response<Body>, Option<Bytes>), SendError> {
        let status = response.status();
        let answers = answers && status == StatusCode::OK && is_json(response.headers());
        if !answers && !refuses(status) {
            return Ok((response, None));
        }
        let (parts, body) = response.into_parts();
        let body = hold(body, self.max_message, OWN_PATIENCE).await;
        let body = body.map_err(|error| SendError::Broken(error.to_string()))?;
        let refused = refuses(status) || raw(&body, &["error"]).is_some();
        let unknown_method = raw(&body, &["error", "code"]) == Some(b"-32601") && !answers;
        let refusal = (refused && !unknown_method).then(|| body.clone());
        Ok((Response::from_parts(parts, Body::from(body)), refusal))
    }

    /// Asks the server something of the gate's own, with the credentials of
    /// `like`; gives status, session and answer.
    async fn ask(
        &self,
        like: &Request<Bytes>,
        message: Bytes,
        headers: &[(&'static str, &str)],
    ) -> Option<(StatusCode, Option<HeaderValue>, Bytes)> {
        let request = own(like, message, headers);
        let asked = async {
            let response = self.native(request, OWN_PATIENCE).await.ok()?;
            let session = response.headers().get(SESSION).cloned();
            let status = response.status();
            Some((status, session, turn::first_answer(response, self.max_message).await?))
        };
        tokio::time::timeout(OWN_PATIENCE, asked).await.ok().flatten()
    }

    fn clients<T>(&self, with: impl FnOnce(&mut Acquaintances) -> T) -> T {
        with(&mut self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request of the gate's own to the same place, with the same credentials.
fn own(like: &Request<Bytes>, message: Bytes, headers: &[(&'static str, &str)]) -> Request<Bytes> {
    let mut request = Request::new(message);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = like.uri().clone();
    *request.headers_mut() = like.headers().clone();
    forget_era(request.headers_mut());
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json);
    let both = HeaderValue::from_static("application/json, text/event-stream");
    request.headers_mut().insert(http::header::ACCEPT, both);
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            request.headers_mut().insert(*name, value);
        }
    }
    request
}

/// Takes away what headers say of an era and of a message.
fn forget_era(headers: &mut HeaderMap) {
    let params: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("mcp-param-")).cloned().collect();
    params.iter().for_each(|name| drop(headers.remove(name)));
    for name in [SESSION, REVISION, "mcp-method", "mcp-name", "last-event-id"] {
        headers.remove(name);
    }
}

fn principal(request: &Request<Bytes>) -> Arc<str> {
    let principal = request.extensions().get::<Principal>();
    principal.map_or_else(|| Arc::from(""), |principal| Arc::clone(&principal.0))
}

/// Who asks: whose request it is, and which program says that it made it.
fn caller(request: &Request<Bytes>) -> String {
    let body = request.body();
    let info = raw(body, &["params", "_meta", era::CLIENT_INFO]);
    let info = info.or_else(|| raw(body, &["params", "clientInfo"])).unwrap_or_default();
    let said = |key: &str| {
        let said = raw(info, &[key]).and_then(answer::string).unwrap_or_default();
        said.chars().take(MAX_NAME).collect::<String>()
    };
    format!("{}\n{}\n{}", principal(request), said("name"), said("version"))
}

/// Statuses by which a server refuses a message for what it is, not for who
/// sends it or for want of time.
fn refuses(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 405 | 406 | 415)
}

fn says(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers.get(name).is_some_and(|said| said == value)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// Whether the message is of this method; never for a decision.
fn has_method(message: &[u8], method: &str) -> bool {
    memchr::memmem::find(message, method.as_bytes()).is_some()
        && raw(message, &["method"]).and_then(answer::string).as_deref() == Some(method)
}
