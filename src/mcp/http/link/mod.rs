//! Sends requests to a server behind a URL: unchanged if the server speaks the client's era,
//! otherwise through a bridge ([`crate::mcp::bridge`]), so that callers always see a server of the
//! client's era.

mod down;
mod translate;
mod up;

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, FutureExt as _};
use http::header::CONTENT_TYPE;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use super::negotiate::{Negotiator, RoutedRequest, Routes, refuses};
use super::{LAST_EVENT_ID, METHOD, NAME, REVISION, SESSION};
use crate::mcp::bridge::down::{Probe, accepts_handshake};
use crate::mcp::bridge::eras::{Choice, Opening};
use crate::mcp::bridge::{self, Bridging};
use crate::mcp::params;
use crate::mcp::relay::Relay;
use crate::net::Body;
use crate::net::body::HoldError;
use crate::net::client::{Client, SendError};
use crate::net::memory::SenderBudget;

/// Timeout for requests of the gate itself.
const OWN_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Sender of a request; stored as an extension of outgoing requests.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) name: Arc<str>,
    /// Whether the gate itself sends it, so that it shows nothing about a client's fallback.
    pub(super) is_own: bool,
    /// Memory budget for the response.
    pub(super) budget: Option<SenderBudget>,
    /// The relay that records refusals of a bridge.
    pub(super) conversation: Weak<Relay>,
}

impl Principal {
    /// The client of `conversation` called `name`.
    pub(super) fn of_client(name: &Arc<str>, conversation: &Arc<Relay>) -> Self {
        Self {
            name: Arc::clone(name),
            is_own: false,
            budget: conversation.settings().answer_memory.clone(),
            conversation: Arc::downgrade(conversation),
        }
    }

    /// The gate itself, on behalf of this client.
    pub(super) fn as_own(&self) -> Self {
        Self { is_own: true, ..self.clone() }
    }
}

/// Sends requests to one server, with or without a bridge.
pub(super) struct Link {
    client: Client,
    negotiator: Negotiator,
    max_message: usize,
    up: up::Sessions,
    down: down::Connections,
}

impl Link {
    pub(super) fn new(client: Client, bridging: Bridging, max_message: usize) -> Arc<Self> {
        Arc::new(Self {
            client,
            negotiator: Negotiator::new(bridging, Choice::BehindGate),
            max_message,
            up: up::Sessions::default(),
            down: down::Connections::default(),
        })
    }

    /// Sends a request, through a bridge if necessary.
    pub(super) fn send(
        self: &Arc<Self>,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Response<Body>, SendError>> + Send {
        let session = up::own_session(request.headers()).filter(|_| !self.negotiator.is_off());
        if let Some(id) = session {
            return Either::Right(match self.up.find(&principal(&request), &id) {
                Some(session) => self.through_up(session, id, request, timeout).boxed(),
                None => self.lost_session(request, timeout).boxed(),
            });
        }
        let negotiator = &self.negotiator;
        match negotiator.opening(request.method(), request.headers(), request.body()) {
            None => Either::Left(self.native(request, timeout)),
            Some(opening) => {
                let routes = LinkRoutes { link: self, timeout };
                let sent = async move { negotiator.send(&routes, opening, request).await };
                Either::Right(sent.boxed())
            }
        }
    }

    /// Whether the gate has to create headers from a stateless message's arguments.
    pub(super) fn makes_headers(&self, headers: &HeaderMap) -> bool {
        up::own_session(headers).is_some()
    }

    /// Aborts requests in flight, and all later ones.
    pub(super) fn abort_all(&self) {
        self.client.abort_all();
    }

    /// Aborts requests in flight, but not later ones.
    pub(super) fn abort_in_flight(&self) {
        self.client.abort_in_flight();
    }

    /// Ends the sessions that the gate has opened.
    pub(super) fn close(self: &Arc<Self>) {
        self.down.take_all().into_iter().for_each(|one| self.end_session(&one));
    }

    fn native(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Response<Body>, SendError>> + Send + use<> {
        self.client.send(request.map(Body::from), timeout)
    }

    /// Whether the server refuses a handshake of the gate, too: then it refused the client's
    /// because of its era.
    async fn refuses_handshake(self: &Arc<Self>, like: &Request<Bytes>) -> bool {
        let Some((status, session, answer)) =
            self.request_own(like, Probe::Initialize.message(), &[]).await
        else {
            return false;
        };
        let accepts_handshake = accepts_handshake(&answer);
        if let Some(session) = session.filter(|_| accepts_handshake) {
            let mut deletion = own(like, Bytes::new(), &[]);
            *deletion.method_mut() = Method::DELETE;
            deletion.headers_mut().insert(SESSION, session);
            self.send_in_background(deletion);
        }
        !accepts_handshake && (status.is_success() || refuses(status))
    }

    /// The response for a session of a gate (this or another) that has ended: the client must
    /// start again. A server behind may know the session all the same.
    async fn lost_session(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Body>, SendError> {
        let posts = request.method() == Method::POST;
        let mut response = self.native(request, timeout).await?;
        if posts && refuses(response.status()) {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        Ok(response)
    }

    /// Sends a request of the gate with the credentials of `like`; returns status, session and
    /// response.
    async fn request_own(
        &self,
        like: &Request<Bytes>,
        message: Bytes,
        headers: &[(HeaderName, &str)],
    ) -> Option<(StatusCode, Option<HeaderValue>, Bytes)> {
        let request = own(like, message, headers);
        let exchange = async {
            let response = self.native(request, OWN_REQUEST_TIMEOUT).await.ok()?;
            let session = response.headers().get(SESSION).cloned();
            let status = response.status();
            Some((
                status,
                session,
                translate::first_answer(response, (self.max_message, budget(like))).await?,
            ))
        };
        tokio::time::timeout(OWN_REQUEST_TIMEOUT, exchange).await.ok().flatten()
    }
}

/// The routes of a link, for requests with this timeout.
struct LinkRoutes<'l> {
    link: &'l Arc<Link>,
    timeout: Duration,
}

impl Routes for LinkRoutes<'_> {
    type Request = Request<Bytes>;
    type Error = SendError;

    fn native(
        &self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<Body>, SendError>> + Send {
        self.link.native(request, self.timeout)
    }

    async fn bridged(
        &self,
        opening: Opening,
        request: &Request<Bytes>,
        refusal: Option<&HeaderMap>,
    ) -> Option<Result<Response<Body>, SendError>> {
        if opening == Opening::Handshake {
            if refusal.is_some() && !self.link.refuses_handshake(request).await {
                return None;
            }
            return self.link.open_up(request).await.map(Ok);
        }
        let connection = self.link.connection(request).await?;
        Some(self.link.through_down(connection, request.clone(), self.timeout).await)
    }

    fn max_message(&self) -> usize {
        self.link.max_message
    }

    fn unreadable(error: &HoldError) -> SendError {
        error.into()
    }
}

impl RoutedRequest for Request<Bytes> {
    fn message(&self) -> &[u8] {
        self.body()
    }

    fn principal(&self) -> &str {
        self.extensions().get::<Principal>().map_or("", |principal| &principal.name)
    }

    fn is_own(&self) -> bool {
        self.extensions().get::<Principal>().is_some_and(|principal| principal.is_own)
    }

    fn budget(&self) -> Option<&SenderBudget> {
        budget(self)
    }
}

/// A request of the gate with the URL and credentials of `like`.
fn own(like: &Request<Bytes>, message: Bytes, headers: &[(HeaderName, &str)]) -> Request<Bytes> {
    let mut request = Request::new(message);
    if let Some(principal) = like.extensions().get::<Principal>() {
        request.extensions_mut().insert(principal.as_own());
    }
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
            request.headers_mut().insert(name, value);
        }
    }
    request
}

/// Removes headers specific to an era or message.
fn forget_era(headers: &mut HeaderMap) {
    let params: Vec<HeaderName> =
        headers.keys().filter(|name| params::is_argument(name.as_str())).cloned().collect();
    params.iter().for_each(|name| drop(headers.remove(name)));
    for name in [SESSION, REVISION, METHOD, NAME, LAST_EVENT_ID] {
        headers.remove(name);
    }
}

/// Records the requests in a server's message that a bridge refuses, in the conversation of a
/// request with these extensions.
fn record_refused(of_request: &Extensions, message: &[u8]) {
    let methods = bridge::refused(message);
    let principal = of_request.get::<Principal>().filter(|_| !methods.is_empty());
    if let Some(relay) = principal.and_then(|principal| principal.conversation.upgrade()) {
        tokio::spawn(async move { relay.record_not_bridged(&methods).await });
    }
}

/// Memory budget for the response to a request.
fn budget(request: &Request<Bytes>) -> Option<&SenderBudget> {
    request.extensions().get::<Principal>()?.budget.as_ref()
}

fn principal(request: &Request<Bytes>) -> Arc<str> {
    let principal = request.extensions().get::<Principal>();
    principal.map_or_else(|| Arc::from(""), |principal| Arc::clone(&principal.name))
}
