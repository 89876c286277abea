//! Writes responses as lines: each request gets one, or an error if the server sends none.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::{Answer, PipedClient, SESSION_LOST};
use crate::mcp::answer;
use crate::mcp::frames;
use crate::mcp::http::problem::quoted;
use crate::mcp::http::remote::RESPONSE_TIMEOUT;
use crate::mcp::pending::Key;
use crate::mcp::reply;
use crate::mcp::scan::outline;
use crate::net::body::hold;

/// Raw ids of the requests that still need a response.
#[derive(Debug, Default)]
pub(super) struct AwaitedIds {
    ids: Vec<Vec<u8>>,
    /// Whether the response contains the negotiated revision.
    pub(super) initializes: bool,
}

impl AwaitedIds {
    /// The ids of a message, or of a batch's elements.
    pub(super) fn of(line: &[u8]) -> Self {
        let asking = answer::messages(line).into_iter().filter_map(|message| {
            let outline = outline(message);
            outline.id.filter(|_| outline.has_method)
        });
        Self { ids: asking.collect(), initializes: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.ids.iter().map(|id| Key::new(id))
    }

    /// Removes ids for whose keys `keeps` returns `false`.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&Key) -> bool) {
        self.ids.retain(|id| keeps(&Key::new(id)));
    }

    /// Removes the id that `message` responds to; whether it was present.
    pub(super) fn remove_answered(&mut self, message: &[u8]) -> bool {
        let before = self.ids.len();
        for message in answer::messages(message) {
            if let Some(answered) = answered(message) {
                self.ids.retain(|id| Key::new(id) != answered);
            }
        }
        self.ids.len() < before
    }
}

/// The id that a message responds to.
pub(super) fn answered(message: &[u8]) -> Option<Key> {
    let outline = outline(message);
    let id = outline.id.filter(|_| outline.is_response && !outline.has_method)?;
    Some(Key::new(&id))
}

impl PipedClient {
    /// Writes the messages of a response as lines. A response that is not a message becomes an
    /// error, so that the client does not wait forever.
    pub(super) async fn write_answer(&self, answer: Answer, mut awaited: AwaitedIds) {
        if answer.is_stream() {
            self.write_resumable_stream(answer, &mut awaited).await;
            return self
                .fail_unanswered(&awaited, "the server's stream ended without an answer")
                .await;
        }
        if let Some(session) = answer.lost_session() {
            self.lose_session(session);
            return self.fail_unanswered(&awaited, SESSION_LOST).await;
        }
        let was_awaited = !awaited.is_empty();
        awaited.retain(|id| !self.is_settled(id));
        if was_awaited && awaited.is_empty() {
            return;
        }
        let response = answer.response;
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok());
        let after = after.map(|after| format!(", to be tried again after {after}"));
        let body = hold(response.into_body(), self.max_message, RESPONSE_TIMEOUT).await;
        let body = body.unwrap_or_else(|error| Bytes::from(error.to_string()));
        if self.state().is_sse {
            if status == StatusCode::ACCEPTED {
                return;
            }
            self.stop_awaiting_on_stream(&mut awaited);
        }
        let settles = awaited.remove_answered(&body);
        if awaited.initializes && settles {
            self.learn_revision(&body);
        }
        let is_message =
            body.trim_ascii().first().is_some_and(|first| matches!(first, b'{' | b'['));
        if settles || is_message && status.is_success() {
            self.send_to_client(body.clone()).await;
        }
        let error = format!(
            "the server answered with HTTP {status}{}{}",
            after.unwrap_or_default(),
            quoted(&body)
        );
        self.fail_unanswered(&awaited, &error).await;
    }

    pub(super) fn learn_revision(&self, answer: &[u8]) {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let revision = answer.pointer("/result/protocolVersion").and_then(Value::as_str);
        let revision = revision.and_then(|revision| HeaderValue::from_str(revision).ok());
        if revision.is_some() {
            self.state().revision = revision;
        }
    }

    /// Responds to unanswered requests with an error, except for cancelled ones: some clients
    /// fail on an unexpected response.
    pub(super) async fn fail_unanswered(&self, awaited: &AwaitedIds, error: &str) {
        for id in &awaited.ids {
            if !self.is_settled(&Key::new(id)) {
                self.send_error(Some(id), error).await;
            }
        }
    }

    pub(super) fn is_settled(&self, id: &Key) -> bool {
        self.state().posts.get(id).is_some_and(|in_flight| in_flight.is_settled)
    }

    /// Marks the request as answered. Whether its client was waiting for that.
    pub(super) fn mark_settled(&self, id: &Key) -> bool {
        let mut state = self.state();
        state.on_stream.remove(id);
        let Some(in_flight) = state.posts.get_mut(id) else { return true };
        !std::mem::replace(&mut in_flight.is_settled, true)
    }

    pub(super) async fn send_error(&self, id: Option<&[u8]>, error: &str) {
        self.send_to_client(reply::upstream_failed(id, error).into()).await;
    }

    pub(super) async fn send_to_client(&self, message: Bytes) {
        let _ = self.to_client.push(frames::line(&message)).await;
    }
}
