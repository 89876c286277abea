//! Requests of the gate itself to a server over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::timeout;

use super::link::Principal;
use super::messages::Messages;
use super::remote::Remote;
use super::{LAST_EVENT_ID, METHOD, NAME, header_check};
use crate::mcp::params;
use crate::mcp::relay::exchange::{Outgoing, OwnRequestSender};
use crate::mcp::scan::outline;
use crate::net::body::hold_answer;
use crate::net::memory::SenderBudget;
use crate::net::{Body, is_event_stream};

/// Timeout for the response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Value of `Accept` for both kinds of responses to a POST.
pub(super) const BOTH: HeaderValue =
    HeaderValue::from_static("application/json, text/event-stream");

/// Sends requests of the gate itself on behalf of a client.
pub(super) struct Requester<'r> {
    pub(super) remote: &'r Remote,
    pub(super) headers: &'r HeaderMap,
    pub(super) principal: &'r Principal,
}

impl OwnRequestSender for Requester<'_> {
    async fn send(&self, request: Outgoing) -> Option<Vec<Bytes>> {
        let mut headers = self.headers.clone();
        let of_the_call: Vec<_> =
            headers.keys().filter(|name| params::is_argument(name.as_str())).cloned().collect();
        for name in of_the_call {
            headers.remove(name);
        }
        for name in [NAME, LAST_EVENT_ID] {
            headers.remove(name);
        }
        if header_check::is_stateless(&headers) {
            headers.insert(METHOD, HeaderValue::from_static("tools/list"));
        }
        headers.insert(ACCEPT, BOTH);
        let exchange = async {
            let sent = self.remote.send(request, &headers, self.principal, RESPONSE_TIMEOUT).await;
            let response = sent.map_err(|unanswered| unanswered.message)?;
            if response.status() == StatusCode::ACCEPTED {
                return Ok(None);
            }
            let is_stream = is_event_stream(response.headers());
            let (body, max) = (response.into_body(), self.remote.max_message());
            let budget = self.principal.budget.as_ref();
            if is_stream {
                let messages = timeout(RESPONSE_TIMEOUT, to_the_answer(body, max, budget)).await;
                return messages.map(Some).map_err(|_| "no answer came in time".to_owned());
            }
            let held = hold_answer(body, budget, max, RESPONSE_TIMEOUT).await;
            Ok::<_, String>(Some(vec![held.map_err(|error| error.to_string())?]))
        };
        exchange.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the server does not list its tools");
            Some(Vec::new())
        })
    }
}

/// The messages of a stream up to the response: not every server ends the stream there.
/// Messages have at most `max` bytes.
async fn to_the_answer(body: Body, max: usize, budget: Option<&SenderBudget>) -> Vec<Bytes> {
    let mut stream = Messages::of_body(body, max, budget);
    let (mut messages, mut size) = (Vec::new(), 0);
    while let Some(message) = stream.next().await {
        let outline = outline(&message);
        size += message.len();
        messages.push(message);
        if size > max || outline.is_response && !outline.has_method {
            break;
        }
    }
    messages
}
