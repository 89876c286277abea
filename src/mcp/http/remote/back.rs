//! Sends the gate's responses to a server's requests on a stream: as POST requests, like the client
//! that reads the stream would.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};

use super::Remote;
use super::outward::OnChallenge;
use crate::mcp::http::link::Principal;
use crate::mcp::http::own_requests::BOTH;
use crate::mcp::http::{LAST_EVENT_ID, METHOD, NAME, SESSION};
use crate::mcp::params;
use crate::mcp::relay::exchange::Outgoing;
use crate::net::Body;

/// Timeout for sending a response to the server.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of responses being sent to one server. Further ones are dropped, so that its
/// requests stay unanswered.
pub(super) const MAX_REPLIES: usize = 64;

/// Sends responses of the gate to the server's requests.
pub(in crate::mcp::http) struct ReplySender {
    remote: Arc<Remote>,
    /// Headers of the request during which the server asked.
    headers: HeaderMap,
    principal: Principal,
}

impl ReplySender {
    /// Uses the route of a request with these headers.
    pub(super) fn new(remote: &Arc<Remote>, headers: HeaderMap, principal: Principal) -> Self {
        Self { remote: Arc::clone(remote), headers, principal }
    }

    /// Uses the session that this response opens, if any.
    pub(super) fn in_session_of(mut self, response: &Response<Body>) -> Self {
        if let Some(session) = response.headers().get(SESSION) {
            self.headers.insert(SESSION, session.clone());
        }
        self
    }

    /// Sends `replies` without waiting: a server that is writing may not be reading.
    pub(in crate::mcp::http) fn send(&self, replies: Vec<Outgoing>) {
        for reply in replies {
            let Ok(permit) = Arc::clone(&self.remote.replies).try_acquire_owned() else {
                tracing::warn!("the server takes no answers: a refusal is not told to it");
                return;
            };
            let (remote, headers) = (Arc::clone(&self.remote), headers_of_answer(&self.headers));
            let principal = self.principal.as_own();
            tokio::spawn(async move {
                let message = reply.into_bytes();
                let request =
                    || remote.request(Method::POST, &headers, &principal, message.clone());
                let sent = remote.send_logged_in(request, OnChallenge::Renew, SEND_TIMEOUT).await;
                match sent {
                    Ok(taken) if taken.status().is_success() => {}
                    Ok(refused) => {
                        let status = refused.status();
                        tracing::warn!(%status, "the server does not take a refusal");
                    }
                    Err(unanswered) => {
                        tracing::warn!(
                            error = unanswered.message,
                            "a refusal did not reach the server"
                        );
                    }
                }
                drop(permit);
            });
        }
    }
}

/// The headers of a response, derived from those of another message to the same URL.
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
