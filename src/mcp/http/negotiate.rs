//! Sends the first messages of clients to a server by the routes that [`Eras`] plans, and reports
//! the outcome to it: the same for a server behind a URL ([`super::link`]) and for a command
//! ([`super::pools`]).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};

use super::header_check::{self, has_method};
use super::headers::is_json;
use super::{SESSION, front};
use crate::mcp::bridge::client_eras::name_of;
use crate::mcp::bridge::eras::{Choice, Eras, Opening, Plan, Sender};
use crate::mcp::bridge::{Bridging, raw};
use crate::mcp::codes::{self, METHOD_NOT_FOUND};
use crate::net::Body;
use crate::net::body::{HoldError, hold_answer};
use crate::net::memory::SenderBudget;

/// Timeout for a response that may refuse the era.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Features that bridges do not support, for log messages.
const NOT_CARRIED: &str = "sampling, elicitation, roots, subscriptions, tasks";

/// A request to a server.
pub(super) trait RoutedRequest: Clone + Send + Sync {
    /// The message.
    fn message(&self) -> &[u8];

    /// Owner of the sessions that it may use.
    fn principal(&self) -> &str;

    /// Whether the gate itself sends it.
    fn is_own(&self) -> bool {
        false
    }

    /// Memory budget for its response; `None` if the server's side counts it.
    fn budget(&self) -> Option<&SenderBudget> {
        None
    }
}

impl RoutedRequest for front::Incoming {
    fn message(&self) -> &[u8] {
        &self.body
    }

    fn principal(&self) -> &str {
        &self.principal
    }
}

/// Routes to one server.
pub(super) trait Routes: Sync {
    type Request: RoutedRequest;
    /// Error of a request without a response.
    type Error: Send;

    /// Sends a request unchanged.
    fn native(
        &self,
        request: Self::Request,
    ) -> impl Future<Output = Result<Response<Body>, Self::Error>> + Send;

    /// Sends a request through a bridge; `None` if there is none, because the server speaks the
    /// client's era after all, or neither. `refusal`: headers of the server's refusal, if it
    /// was asked first.
    fn bridged(
        &self,
        opening: Opening,
        request: &Self::Request,
        refusal: Option<&HeaderMap>,
    ) -> impl Future<Output = Option<Result<Response<Body>, Self::Error>>> + Send;

    /// Maximum length of a message, in bytes.
    fn max_message(&self) -> usize;

    /// Error for a response that could not be read.
    fn unreadable(error: &HoldError) -> Self::Error;
}

/// Chooses the route of requests to one server.
#[derive(Debug)]
pub(super) struct Negotiator {
    /// Whether bridging is turned off.
    is_off: bool,
    eras: Mutex<Eras>,
}

impl Negotiator {
    pub(super) fn new(bridging: Bridging, choice: Choice) -> Self {
        let is_off = bridging == Bridging::Never;
        Self { is_off, eras: Mutex::new(Eras::new(bridging, choice)) }
    }

    /// Whether bridging is turned off.
    pub(super) fn is_off(&self) -> bool {
        self.is_off
    }

    /// What a request shows of its client's era; `None` if nothing: it is sent unchanged.
    pub(super) fn opening(
        &self,
        method: &Method,
        headers: &HeaderMap,
        message: &[u8],
    ) -> Option<Opening> {
        if self.is_off || method != Method::POST {
            return None;
        }
        if header_check::is_stateless(headers) {
            let discovers = has_method(message, "server/discover");
            return Some(if discovers { Opening::Discovery } else { Opening::Stateless });
        }
        let begins = !headers.contains_key(SESSION) && has_method(message, "initialize");
        begins.then_some(Opening::Handshake)
    }

    /// Sends a request by the first route that leads to a response.
    pub(super) async fn send<W: Routes>(
        &self,
        routes: &W,
        opening: Opening,
        request: W::Request,
    ) -> Result<Response<Body>, W::Error> {
        let plan = self.plan(opening, &request);
        // Rare futures are boxed: a future is moved with all that it may contain.
        if plan == Plan::BridgeFirst
            && let Some(bridged) = Box::pin(routes.bridged(opening, &request, None)).await
        {
            return bridged;
        }
        let response = routes.native(request.clone()).await?;
        let limits = (routes.max_message(), request.budget());
        let (response, refusal) =
            looked_at(response, opening, limits).await.map_err(|error| W::unreadable(&error))?;
        if self.answered((opening, plan), &request, refusal.as_ref()) {
            let bridged = routes.bridged(opening, &request, Some(response.headers()));
            if let Some(bridged) = Box::pin(bridged).await {
                if opening == Opening::Handshake && bridged.is_ok() {
                    self.wants_no_handshake();
                }
                return bridged;
            }
        }
        Ok(response)
    }

    fn plan(&self, opening: Opening, request: &impl RoutedRequest) -> Plan {
        let needs_client = self.eras().needs_client(opening);
        let client = if needs_client { client_of(request) } else { String::new() };
        self.eras().plan(opening, &client, Instant::now())
    }

    fn answered(
        &self,
        begun: (Opening, Plan),
        request: &impl RoutedRequest,
        refusal: Option<&Bytes>,
    ) -> bool {
        if refusal.is_none() && begun.0 != Opening::Discovery {
            return false;
        }
        let client = client_of(request);
        let sender = if request.is_own() { Sender::Gate } else { Sender::Client(&client) };
        self.eras().answered(begun, sender, refusal.map(|body| &**body), Instant::now())
    }

    /// Records that the server supports handshakes.
    pub(super) fn wants_handshake(&self) {
        if self.eras().wants_handshake() {
            tracing::warn!(
                "the server wants a handshake, and clients of 2026-07-28 are bridged to it; \
                 not carried: {NOT_CARRIED} (docs/remote.md)"
            );
        }
    }

    /// Records that the server refused a handshake but answered `server/discover`.
    fn wants_no_handshake(&self) {
        if self.eras().wants_no_handshake(Instant::now()) {
            tracing::warn!(
                "the server speaks only 2026-07-28, and clients with a handshake are bridged \
                 to it; not carried: {NOT_CARRIED} (docs/remote.md)"
            );
        }
    }

    fn eras(&self) -> MutexGuard<'_, Eras> {
        self.eras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client_of(request: &impl RoutedRequest) -> String {
    name_of(request.principal(), request.message())
}

/// The response, with its body read (and put back) if it may refuse the era. Responses with
/// status 200 are read only if the request is about the era; otherwise an unknown method is not
/// a refusal.
pub(super) async fn looked_at(
    response: Response<Body>,
    opening: Opening,
    (max, budget): (usize, Option<&SenderBudget>),
) -> Result<(Response<Body>, Option<Bytes>), HoldError> {
    let status = response.status();
    let asks_era = opening != Opening::Stateless;
    let is_answer = asks_era && status == StatusCode::OK && is_json(response.headers());
    if !is_answer && !refuses(status) {
        return Ok((response, None));
    }
    let (parts, body) = response.into_parts();
    let body = hold_answer(body, budget, max, REFUSAL_TIMEOUT).await?;
    let refused = refuses(status) || raw(&body, &["error"]).is_some();
    let unknown_method = codes::of(&body) == Some(METHOD_NOT_FOUND) && !asks_era;
    let refusal = (refused && !unknown_method).then(|| body.clone());
    Ok((Response::from_parts(parts, Body::from(body)), refusal))
}

/// Statuses that may refuse a message, rather than its sender, and are not temporary.
pub(super) fn refuses(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 405 | 406 | 415)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Agent;
    use crate::mcp::http::problem;
    use Choice::{BeforeGate, BehindGate};

    /// A server that answers with this status, and a bridge to it where it is to be had.
    struct Server {
        says: StatusCode,
        has_bridge: bool,
        tried: Mutex<Vec<&'static str>>,
    }

    impl Routes for Server {
        type Request = front::Incoming;
        type Error = ();

        async fn native(&self, _: front::Incoming) -> Result<Response<Body>, ()> {
            self.tried.lock().unwrap().push("native");
            Ok(problem::error(self.says, None, METHOD_NOT_FOUND, "no"))
        }

        async fn bridged(
            &self,
            _: Opening,
            _: &front::Incoming,
            refusal: Option<&HeaderMap>,
        ) -> Option<Result<Response<Body>, ()>> {
            self.tried.lock().unwrap().push(if refusal.is_some() { "refused" } else { "bridge" });
            self.has_bridge.then(|| Ok(problem::empty(StatusCode::NO_CONTENT)))
        }

        fn max_message(&self) -> usize {
            1_000
        }

        fn unreadable(_: &HoldError) {}
    }

    /// The status that a request gets, and the routes that were tried for it.
    async fn sent(negotiator: &Negotiator, server: &Server, opening: Opening) -> (u16, String) {
        let incoming = front::Incoming {
            agent: Agent::default(),
            principal: "one".into(),
            method: Method::POST,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
        };
        let response = negotiator.send(server, opening, incoming).await.unwrap();
        let tried = std::mem::take(&mut *server.tried.lock().unwrap());
        (response.status().as_u16(), tried.join(" "))
    }

    #[tokio::test]
    async fn routes_are_tried_in_order_and_without_a_bridge_the_servers_answer_is_returned() {
        for (says, has_bridge, choice, opening, wanted) in [
            (204, true, BehindGate, Opening::Stateless, (204, "native")),
            (400, true, BehindGate, Opening::Discovery, (204, "native refused")),
            (400, false, BehindGate, Opening::Discovery, (400, "native refused")),
            (400, true, BeforeGate, Opening::Stateless, (204, "bridge")),
            (400, false, BeforeGate, Opening::Discovery, (400, "bridge native")),
            (400, true, BeforeGate, Opening::Handshake, (204, "native refused")),
            (403, true, BehindGate, Opening::Handshake, (403, "native")),
        ] {
            let says = StatusCode::from_u16(says).unwrap();
            let server = Server { says, has_bridge, tried: Mutex::default() };
            let negotiator = Negotiator::new(Bridging::Always, choice);
            let (status, tried) = sent(&negotiator, &server, opening).await;
            assert_eq!((status, &*tried), wanted, "{says} {has_bridge} {choice:?} {opening:?}");
        }
    }

    #[tokio::test]
    async fn server_without_handshake_is_not_probed_again() {
        let server =
            Server { says: StatusCode::NOT_FOUND, has_bridge: true, tried: Mutex::default() };
        let negotiator = Negotiator::new(Bridging::Auto, BehindGate);
        for wanted in ["native refused", "bridge"] {
            assert_eq!(sent(&negotiator, &server, Opening::Handshake).await, (204, wanted.into()));
        }
    }
}
