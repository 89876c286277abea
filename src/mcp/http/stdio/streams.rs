//! Event streams: responses that come as events, the stream of messages that the server sends on
//! its own, and the stream of HTTP+SSE.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::answers::{AwaitedIds, answered};
use super::{Answer, PipedClient, Transport};
use crate::mcp::codes::UPSTREAM;
use crate::mcp::http::problem::{self, is_temporary, quoted};
use crate::mcp::http::remote::RESPONSE_TIMEOUT;
use crate::mcp::http::sse::Parser;
use crate::mcp::scan::outline;
use crate::net::Body;
use crate::net::body::hold;

/// Pauses before a stream is reopened: the standard's default, and the bounds of what a server
/// may ask for.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// Timeout for an HTTP+SSE server to announce its endpoint.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of polling for responses on a stream.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What a stream contained, to resume it.
#[derive(Debug, Default)]
struct StreamSummary {
    events: usize,
    messages: usize,
    /// Id of the last event, to resume after.
    last_id: Option<String>,
    /// Pause that the server asks for before the stream is reopened, in milliseconds.
    retry: Option<u64>,
}

/// Why HTTP+SSE is not available.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpened {
    /// The server responds with something else.
    #[error("the server has no stream of HTTP+SSE: {0}")]
    NoStream(String),
    /// The stream does not start with an endpoint.
    #[error("the server's stream names no endpoint")]
    NoEndpoint,
    /// The endpoint is not acceptable.
    #[error("{0}")]
    Endpoint(String),
}

/// Pauses between streams of one kind. While streams carry no message, the shortest pause grows
/// to the default.
struct Pauses {
    shortest: Duration,
}

impl Pauses {
    fn new() -> Self {
        Self { shortest: SHORTEST_RETRY }
    }

    /// The pause after a stream.
    fn after(&mut self, summary: &StreamSummary) -> Duration {
        if summary.messages > 0 {
            self.shortest = SHORTEST_RETRY;
        }
        let requested = summary.retry.map_or(RETRY, Duration::from_millis);
        let pause = requested.clamp(self.shortest, LONGEST_RETRY);
        self.shortest = (self.shortest * 2).min(RETRY);
        pause
    }
}

impl PipedClient {
    /// Writes a stream's messages. If it ends before the responses and its events had ids,
    /// resumes it (2025-11-25, "Resumability").
    pub(super) async fn write_resumable_stream(&self, answer: Answer, awaited: &mut AwaitedIds) {
        let session = answer.session;
        let mut summary = self.write_stream(answer.response.into_body(), awaited).await;
        let mut last_event_at = Instant::now();
        let mut pauses = Pauses::new();
        while !awaited.is_empty() && last_event_at.elapsed() < RESPONSE_TIMEOUT {
            let Some(last) = summary.last_id.clone() else { return };
            sleep(pauses.after(&summary)).await;
            let answer = self.exchange(Method::GET, &Bytes::new(), Some(&last)).await;
            // The client has begun another session, which does not know these events.
            if answer.session != session {
                return;
            }
            if let Some(session) = answer.lost_session() {
                return self.lose_session(session);
            }
            if is_temporary(&answer.response) {
                summary.messages = 0;
                continue;
            }
            if !answer.is_stream() || !answer.response.status().is_success() {
                return;
            }
            let more = self.write_stream(answer.response.into_body(), awaited).await;
            if more.events > 0 {
                last_event_at = Instant::now();
            }
            summary = StreamSummary {
                events: more.events,
                messages: more.messages,
                last_id: more.last_id.or(summary.last_id),
                retry: more.retry.or(summary.retry),
            };
        }
    }

    async fn write_stream(&self, mut body: Body, awaited: &mut AwaitedIds) -> StreamSummary {
        let mut parser = Parser::new(self.max_message);
        let mut summary = StreamSummary::default();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            parser.feed(&data);
            loop {
                let event = match parser.next_event() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "a stream cannot be read further");
                        return summary;
                    }
                };
                summary.events += 1;
                if let Some(id) = &event.id {
                    // An empty id resets the last one. One that does not fit into a header
                    // cannot be resumed from; without it, a stream would start over.
                    let can_resume = |id: &&String| !id.is_empty() && last_event(id).is_some();
                    summary.last_id = Some(id).filter(can_resume).cloned();
                }
                summary.retry = event.retry.or(summary.retry);
                let Some(message) = event.message() else { continue };
                summary.messages += 1;
                if awaited.remove_answered(message) && awaited.initializes {
                    self.learn_revision(message);
                }
                if answered(message).is_none_or(|id| self.mark_settled(&id)) {
                    self.send_to_client(Bytes::copy_from_slice(message)).await;
                }
            }
        }
        summary
    }

    /// Opens the stream for messages that the server sends on its own, and reopens it where it
    /// ended. Optional for servers.
    pub(super) fn listen(self: &Arc<Self>) {
        if self.state().is_sse {
            return;
        }
        let this = Arc::clone(self);
        let listener = tokio::spawn(async move {
            let mut last: Option<String> = None;
            let (mut pauses, mut pause) = (Pauses::new(), RETRY);
            loop {
                let answer = this.exchange(Method::GET, &Bytes::new(), last.as_deref()).await;
                if let Some(session) = answer.lost_session() {
                    return this.lose_session(session);
                }
                if is_temporary(&answer.response) {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_RETRY);
                    continue;
                }
                if !answer.is_stream() || !answer.response.status().is_success() {
                    return;
                }
                let body = answer.response.into_body();
                let summary = this.write_stream(body, &mut AwaitedIds::default()).await;
                pause = pauses.after(&summary);
                last = summary.last_id.or(last);
                sleep(pause).await;
            }
        });
        let earlier = self.state().listener.replace(listener.abort_handle());
        earlier.inspect(AbortHandle::abort);
    }

    /// Falls back to HTTP+SSE if the server refuses the first POST in a way that suggests that
    /// it supports nothing else (2025-03-26 and later, "Backwards Compatibility"); else returns
    /// the response.
    pub(super) async fn fall_back(self: &Arc<Self>, answer: Answer, line: &Bytes) -> Answer {
        let refused = matches!(answer.response.status().as_u16(), 400 | 404 | 405);
        if self.transport != Transport::Auto || !refused || self.state().is_sse {
            return answer;
        }
        let (parts, body) = answer.response.into_parts();
        let body = hold(body, self.max_message, RESPONSE_TIMEOUT).await.unwrap_or_default();
        // A server that responds with JSON-RPC supports this transport.
        let speaks = memchr::memmem::find(&body, b"\"jsonrpc\"").is_some();
        let response = Response::from_parts(parts, Body::from(body));
        let unchanged = Answer { response, session: answer.session };
        if speaks {
            return unchanged;
        }
        match self.open_sse().await {
            Ok(()) => {
                self.await_on_stream(&AwaitedIds::of(line));
                self.exchange(Method::POST, line, None).await
            }
            Err(NotOpened::NoStream(_)) => unchanged,
            Err(fault) => {
                let id = outline(line).id;
                let error = fault.to_string();
                let status = StatusCode::BAD_GATEWAY;
                let response = problem::error(status, id.as_deref(), UPSTREAM, &error);
                Answer { response, ..unchanged }
            }
        }
    }

    /// Opens HTTP+SSE (2024-11-05): a stream that announces the endpoint to post to, and
    /// carries all responses.
    pub(super) async fn open_sse(self: &Arc<Self>) -> Result<(), NotOpened> {
        let answer = self.exchange(Method::GET, &Bytes::new(), None).await;
        let status = answer.response.status();
        if !answer.is_stream() || !status.is_success() {
            let body = hold(answer.response.into_body(), self.max_message, ENDPOINT_TIMEOUT).await;
            let body = body.unwrap_or_default();
            let error = message_of_error(&body);
            let error = error.unwrap_or_else(|| format!("HTTP {status}{}", quoted(&body)));
            return Err(NotOpened::NoStream(error));
        }
        let mut body = answer.response.into_body();
        let mut parser = Parser::new(self.max_message);
        let Ok(Some(endpoint)) = timeout(ENDPOINT_TIMEOUT, endpoint(&mut body, &mut parser)).await
        else {
            return Err(NotOpened::NoEndpoint);
        };
        self.remote.redirect_to(&endpoint).map_err(NotOpened::Endpoint)?;
        let this = Arc::clone(self);
        let rest = parser.rest();
        let listener = tokio::spawn(async move {
            let first = futures_util::stream::iter([Ok::<_, axum::Error>(rest)]);
            let whole = futures_util::StreamExt::chain(first, body.into_data_stream());
            this.write_stream(Body::from_stream(whole), &mut AwaitedIds::default()).await;
            this.lose_stream().await;
        });
        let mut state = self.state();
        state.is_sse = true;
        state.listener = Some(listener.abort_handle());
        Ok(())
    }

    /// Ends the conversation: no response can arrive any more, and another stream would be
    /// another session.
    async fn lose_stream(&self) {
        let error = "the server has ended the stream that carries its answers";
        tracing::error!("{error}");
        let waiting = std::mem::take(&mut self.state().on_stream);
        for id in waiting {
            self.send_error(Some(id.as_bytes()), error).await;
        }
        self.server_gone.notify_one();
    }

    /// Registers requests answered on the stream of HTTP+SSE, maybe before their POST is.
    pub(super) fn await_on_stream(&self, awaited: &AwaitedIds) {
        let keys: Vec<_> = awaited.keys().filter(|id| !self.is_settled(id)).collect();
        let mut state = self.state();
        if state.is_sse {
            state.on_stream.extend(keys);
        }
    }

    /// Unregisters them when the POST was refused, as no response will come.
    pub(super) fn stop_awaiting_on_stream(&self, awaited: &mut AwaitedIds) {
        let mut state = self.state();
        awaited.retain(|id| state.on_stream.remove(id));
    }

    /// Waits until all responses due on the stream have arrived.
    pub(super) async fn answered_on_stream(&self) {
        while !self.state().on_stream.is_empty() {
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// The message of a JSON-RPC error.
fn message_of_error(answer: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    answer.pointer("/error/message")?.as_str().map(str::to_owned)
}

async fn endpoint(body: &mut Body, parser: &mut Parser) -> Option<String> {
    loop {
        while let Some(event) = parser.next_event().ok()? {
            if event.kind == "endpoint" {
                return Some(String::from_utf8_lossy(&event.data?).into_owned());
            }
        }
        if let Ok(data) = body.frame().await?.ok()?.into_data() {
            parser.feed(&data);
        }
    }
}

/// The header to resume after the event with this id.
pub(super) fn last_event(id: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(id.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_has_its_streams_opened_without_a_pause() {
        let summary =
            |messages, retry| StreamSummary { messages, retry, ..StreamSummary::default() };
        let mut pauses = Pauses::new();
        let mut after = |messages, retry| pauses.after(&summary(messages, retry)).as_millis();
        let nothing_comes: Vec<_> = (0..6).map(|_| after(0, Some(0))).collect();
        assert_eq!(nothing_comes, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!((after(1, Some(0)), after(1, Some(0))), (100, 100));
        assert_eq!((after(1, Some(250)), after(0, Some(5_000))), (250, 5_000));
        assert_eq!((after(0, None), after(0, Some(u64::MAX))), (1_000, 60_000));
    }
}
