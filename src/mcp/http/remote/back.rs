//! The way by which the gate itself answers what a server asks on a stream: a POST of its
//! own, as the client that reads the stream would make it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};

use super::Remote;
use super::outward::Login;
use crate::mcp::http::link::Principal;
use crate::mcp::http::own_requests::BOTH;
use crate::mcp::http::{LAST_EVENT_ID, METHOD, NAME, SESSION};
use crate::mcp::params;
use crate::mcp::relay::exchange::Outgoing;
use crate::net::Body;

/// How long a server may take to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers on their way to one server at most; further ones are dropped, and it waits for
/// them in vain.
pub(super) const MAX_REPLIES: usize = 64;

/// The way back to the server from what it says to one client.
pub(in crate::mcp::http) struct Back {
    remote: Arc<Remote>,
    /// Those of the request that it answers.
    headers: HeaderMap,
    principal: Principal,
}

impl Back {
    /// The way that a request with these headers came.
    pub(super) fn new(remote: &Arc<Remote>, headers: HeaderMap, principal: Principal) -> Self {
        Self { remote: Arc::clone(remote), headers, principal }
    }

    /// The same in the session that the server opens with this answer, if it does.
    pub(super) fn in_session_of(mut self, response: &Response<Body>) -> Self {
        if let Some(session) = response.headers().get(SESSION) {
            self.headers.insert(SESSION, session.clone());
        }
        self
    }

    /// Tells the server. It is not waited for: a server that writes may not be reading.
    pub(in crate::mcp::http) fn tell(&self, replies: Vec<Outgoing>) {
        for reply in replies {
            let Ok(permit) = Arc::clone(&self.remote.replies).try_acquire_owned() else {
                tracing::warn!("the server takes no answers: a refusal is not told to it");
                return;
            };
            let (remote, headers) = (Arc::clone(&self.remote), headers_of_answer(&self.headers));
            let principal = Principal { is_own: true, ..self.principal.clone() };
            tokio::spawn(async move {
                let message = reply.into_bytes();
                let request =
                    || remote.request(Method::POST, &headers, &principal, message.clone());
                let sent = remote.send_logged_in(request, Login::MayRenew, PATIENCE).await;
                match sent {
                    Ok(taken) if taken.status().is_success() => {}
                    Ok(refused) => {
                        let status = refused.status();
                        tracing::warn!(%status, "the server does not take a refusal");
                    }
                    Err(unanswered) => {
                        tracing::warn!(
                            error = unanswered.words,
                            "a refusal did not reach the server"
                        );
                    }
                }
                drop(permit);
            });
        }
    }
}

/// The headers of an answer, made of those of another message to the same place.
fn headers_of_answer(of_another: &HeaderMap) -> HeaderMap {
    let mut headers = of_another.clone();
    let of_the_other = |name: &str| {
        params::is_argument(name) || [METHOD, NAME, LAST_EVENT_ID].iter().any(|own| own == name)
    };
    let names: Vec<_> =
        headers.keys().filter(|name| of_the_other(name.as_str())).cloned().collect();
    names.iter().for_each(|name| drop(headers.remove(name)));
    headers.insert(ACCEPT, BOTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}
