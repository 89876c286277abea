//! What the gate itself asks a server over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::headers::kind;
use super::link::Principal;
use super::remote::Remote;
use super::sse::Parser;
use super::{LAST_EVENT_ID, METHOD, NAME, agree};
use crate::mcp::relay::exchange::{Ask, Outgoing};
use crate::net::body::hold;

/// How long the gate waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both kinds of answers to a POST.
pub(super) const BOTH: HeaderValue =
    HeaderValue::from_static("application/json, text/event-stream");

/// Fetches what the gate itself asks, as the client would.
pub(super) struct Asker<'r> {
    pub(super) remote: &'r Remote,
    pub(super) headers: &'r HeaderMap,
    pub(super) principal: &'r Principal,
}

impl Ask for Asker<'_> {
    async fn ask(&self, request: Outgoing) -> Option<Vec<Bytes>> {
        let mut headers = self.headers.clone();
        let of_the_call: Vec<_> = headers
            .keys()
            .filter(|name| name.as_str().starts_with("mcp-param-"))
            .cloned()
            .collect();
        for name in of_the_call {
            headers.remove(name);
        }
        for name in [NAME, LAST_EVENT_ID] {
            headers.remove(name);
        }
        if agree::is_stateless(&headers) {
            headers.insert(METHOD, HeaderValue::from_static("tools/list"));
        }
        headers.insert(ACCEPT, BOTH);
        let asked = async {
            let response = self.remote.send(request, &headers, self.principal, PATIENCE).await?;
            if response.status() == StatusCode::ACCEPTED {
                return Ok(None);
            }
            let is_stream = kind(response.headers()) == "text/event-stream";
            let body = hold(response.into_body(), self.remote.max_message(), PATIENCE).await;
            let body = body.map_err(|error| error.to_string())?;
            Ok::<_, String>(Some(if is_stream { messages(&body) } else { vec![body] }))
        };
        asked.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the server does not list its tools");
            Some(Vec::new())
        })
    }
}

fn messages(stream: &Bytes) -> Vec<Bytes> {
    let mut parser = Parser::new(stream.len());
    parser.feed(stream);
    let mut messages = Vec::new();
    while let Ok(Some(event)) = parser.next_event() {
        messages.extend(event.message().map(Bytes::copy_from_slice));
    }
    messages
}
