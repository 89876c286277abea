//! A command shown over HTTP: run as it is, and behind a bridge for clients whose
//! era it refuses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::agree::has_method;
use super::children::Children;
use super::eras::{Eras, looked_at};
use super::front::Incoming;
use super::pipe::Bridge;
use super::{SESSION, agree, problem};
use crate::mcp::bridge::Bridging;
use crate::mcp::codes;
use crate::net::Body;

/// The children of one command, in three pools.
#[derive(Debug)]
pub struct Pools {
    native: Arc<Children>,
    /// For clients that begin with `initialize`.
    up: Arc<Children>,
    /// For clients of the stateless era.
    down: Arc<Children>,
    /// The command makes no handshake, whatever it refused: no bridge.
    is_native: Arc<AtomicBool>,
    eras: Eras,
}

impl Pools {
    /// Children that are bridged where they have to be.
    #[must_use]
    pub fn new(native: Arc<Children>, bridging: Bridging) -> Arc<Self> {
        let is_native = Arc::new(AtomicBool::new(false));
        Arc::new(Self {
            up: native.bridged(Bridge::Up),
            down: native.bridged(Bridge::Down(Arc::clone(&is_native))),
            native,
            is_native,
            eras: Eras::new(bridging),
        })
    }

    /// Ends sessions that nobody uses, for as long as there are children.
    pub async fn reap(pools: Weak<Self>) {
        let Some(pools) = pools.upgrade() else { return };
        let [native, up, down] = pools.all().map(|pool| Children::reap(Arc::downgrade(pool)));
        drop(pools);
        tokio::join!(native, up, down);
    }

    /// Tells every child to end.
    pub(super) fn give_up(&self) {
        self.all().into_iter().for_each(|pool| pool.give_up());
    }

    /// Ends every child.
    pub async fn close(&self) {
        let [native, up, down] = self.all().map(|pool| pool.close());
        tokio::join!(native, up, down);
    }

    /// Answers one request.
    pub async fn answer(&self, incoming: Incoming) -> Response<Body> {
        let session = incoming.headers.get(SESSION).and_then(|id| id.to_str().ok());
        let is_bridged = session.is_some_and(|id| self.up.knows(id, &incoming.principal));
        let posts = incoming.method == Method::POST && !self.eras.are_apart();
        match posts {
            _ if is_bridged => self.up.answer(incoming).await,
            true if agree::is_stateless(&incoming.headers) => self.stateless(incoming).await,
            true if session.is_none() && has_method(&incoming.body, "initialize") => {
                self.handshake(incoming).await
            }
            _ => self.native.answer(incoming).await,
        }
    }

    /// A request of the stateless era.
    async fn stateless(&self, incoming: Incoming) -> Response<Body> {
        let Incoming { principal, body, .. } = &incoming;
        if self.eras.are_joined() || self.eras.needs_down(principal, body) {
            return self.through_down(incoming).await;
        }
        let discovers = has_method(body, "server/discover");
        let (response, refusal) =
            self.looked_at(self.native.answer(incoming.clone()).await, discovers).await;
        self.eras.answered(principal, body, discovers, refusal.as_ref());
        response
    }

    /// Which child it is given to is settled before it is judged: a call is judged
    /// once, and takes one slot of a rate limit.
    async fn through_down(&self, incoming: Incoming) -> Response<Body> {
        if self.is_native.load(Ordering::Relaxed) {
            return self.native.answer(incoming).await;
        }
        match self.down.prepare(&incoming).await {
            Ok(true) => {
                self.eras.wants_handshake();
                self.down.answer(incoming).await
            }
            Ok(false) => self.native.answer(incoming).await,
            Err(refused) => *refused,
        }
    }

    /// A client's `initialize`, outside a session.
    async fn handshake(&self, incoming: Incoming) -> Response<Body> {
        let may = self.eras.shakes_hands(&incoming.principal, &incoming.body);
        if may
            && self.eras.is_stateless_only()
            && let Some(opened) = self.open_up(&incoming).await
        {
            return opened;
        }
        let response = self.native.answer(incoming.clone()).await;
        let (response, refusal) = self.looked_at(response, true).await;
        if !may || refusal.is_none() {
            return response;
        }
        match self.open_up(&incoming).await {
            Some(opened) => {
                self.eras.wants_no_handshake();
                end(&self.native, &incoming, response.headers()).await;
                opened
            }
            None => response,
        }
    }

    /// Opens a session behind a bridge; `None` where the child does not answer
    /// `server/discover` either.
    async fn open_up(&self, incoming: &Incoming) -> Option<Response<Body>> {
        let opened = self.looked_at(self.up.answer(incoming.clone()).await, true).await;
        match opened {
            (opened, None) if opened.status().is_success() => Some(opened),
            (refused, _) => {
                end(&self.up, incoming, refused.headers()).await;
                None
            }
        }
    }

    async fn looked_at(
        &self,
        response: Response<Body>,
        answers: bool,
    ) -> (Response<Body>, Option<Bytes>) {
        let looked = looked_at(response, answers, (self.native.max_message(), None)).await;
        looked.unwrap_or_else(|error| {
            let words = error.to_string();
            (problem::error(StatusCode::BAD_GATEWAY, None, codes::UPSTREAM, &words), None)
        })
    }

    fn all(&self) -> [&Arc<Children>; 3] {
        [&self.native, &self.up, &self.down]
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
