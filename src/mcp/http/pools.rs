//! A command exposed over HTTP: unbridged, and bridged for clients whose era it refuses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::children::Children;
use super::front::Incoming;
use super::negotiate::{Negotiator, Routes, looked_at};
use super::pipe::Bridge;
use super::{SESSION, problem};
use crate::mcp::bridge::Bridging;
use crate::mcp::bridge::eras::{Choice, Opening};
use crate::mcp::codes;
use crate::net::Body;
use crate::net::body::HoldError;

/// The children of one command: unbridged, and bridged in either direction.
#[derive(Debug)]
pub struct Pools {
    native: Arc<Children>,
    /// Bridged for clients that start with `initialize`.
    up: Arc<Children>,
    /// Bridged for stateless clients.
    down: Arc<Children>,
    /// Whether the command turned out not to support handshakes, so that no bridge is used.
    is_native: Arc<AtomicBool>,
    negotiator: Negotiator,
}

impl Pools {
    /// Children that are bridged if necessary.
    #[must_use]
    pub fn new(native: Arc<Children>, bridging: Bridging) -> Arc<Self> {
        let is_native = Arc::new(AtomicBool::new(false));
        Arc::new(Self {
            up: native.bridged(Bridge::Up),
            down: native.bridged(Bridge::Down(Arc::clone(&is_native))),
            native,
            is_native,
            negotiator: Negotiator::new(bridging, Choice::BeforeGate),
        })
    }

    /// Ends idle sessions, until `pools` is dropped.
    pub async fn reap(pools: Weak<Self>) {
        let Some(pools) = pools.upgrade() else { return };
        let [native, up, down] = pools.all().map(|pool| Children::reap(Arc::downgrade(pool)));
        drop(pools);
        tokio::join!(native, up, down);
    }

    /// Tells every child to stop.
    pub(super) fn abort_all(&self) {
        self.all().into_iter().for_each(|pool| pool.abort_all());
    }

    /// Stops every child.
    pub async fn close(&self) {
        let [native, up, down] = self.all().map(|pool| pool.close());
        tokio::join!(native, up, down);
    }

    /// Responds to one request.
    pub async fn answer(&self, incoming: Incoming) -> Response<Body> {
        let Incoming { method, headers, body, principal, .. } = &incoming;
        let session = headers.get(SESSION).and_then(|id| id.to_str().ok());
        if session.is_some_and(|id| self.up.knows(id, principal)) {
            return self.up.answer(incoming).await;
        }
        match self.negotiator.opening(method, headers, body) {
            None => self.native.answer(incoming).await,
            Some(opening) => {
                let answer = self.negotiator.send(self, opening, incoming).await;
                answer.unwrap_or_else(|refused| *refused)
            }
        }
    }

    /// Opens a session behind a bridge; `None` if the child does not answer `server/discover`
    /// either.
    async fn open_up(&self, incoming: &Incoming) -> Option<Response<Body>> {
        let opened = self.up.answer(incoming.clone()).await;
        match looked_at(opened, Opening::Handshake, (self.max_message(), None)).await.ok()? {
            (opened, None) if opened.status().is_success() => Some(opened),
            (refused, _) => {
                end(&self.up, incoming, refused.headers()).await;
                None
            }
        }
    }

    /// Whether a stateless message is for a bridged child. Waits for its handshake.
    async fn wants_down(&self, incoming: &Incoming) -> Result<bool, Box<Response<Body>>> {
        let wanted = !self.is_native.load(Ordering::Relaxed) && self.down.prepare(incoming).await?;
        if wanted {
            self.negotiator.wants_handshake();
        }
        Ok(wanted)
    }

    fn all(&self) -> [&Arc<Children>; 3] {
        [&self.native, &self.up, &self.down]
    }
}

impl Routes for Pools {
    type Request = Incoming;
    type Error = Box<Response<Body>>;

    async fn native(&self, incoming: Incoming) -> Result<Response<Body>, Self::Error> {
        Ok(self.native.answer(incoming).await)
    }

    async fn bridged(
        &self,
        opening: Opening,
        incoming: &Incoming,
        refusal: Option<&HeaderMap>,
    ) -> Option<Result<Response<Body>, Self::Error>> {
        if opening == Opening::Handshake {
            let opened = self.open_up(incoming).await?;
            if let Some(refusal) = refusal {
                end(&self.native, incoming, refusal).await;
            }
            return Some(Ok(opened));
        }
        match self.wants_down(incoming).await {
            Ok(true) => Some(Ok(self.down.answer(incoming.clone()).await)),
            Ok(false) => None,
            Err(refused) => Some(Err(refused)),
        }
    }

    fn max_message(&self) -> usize {
        self.native.max_message()
    }

    fn unreadable(error: &HoldError) -> Self::Error {
        let message = error.to_string();
        Box::new(problem::error(StatusCode::BAD_GATEWAY, None, codes::UPSTREAM, &message))
    }
}

/// Ends the session that a response opened.
async fn end(pool: &Arc<Children>, opened_by: &Incoming, response: &HeaderMap) {
    let Some(session) = response.get(SESSION) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(SESSION, HeaderValue::clone(session));
    let (agent, principal) = (opened_by.agent.clone(), Arc::clone(&opened_by.principal));
    let body = Bytes::new();
    pool.answer(Incoming { agent, principal, method: Method::DELETE, headers, body }).await;
}
