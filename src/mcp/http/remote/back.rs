//! The way back from the server: an answer is looked at and passed on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response, StatusCode};
use tokio::time::timeout;

use super::{PATIENCE, Remote};
use crate::mcp::codes::UPSTREAM;
use crate::mcp::http::events::Events;
use crate::mcp::http::stream::{self, Ends};
use crate::mcp::http::{headers, problem};
use crate::mcp::relay::Relay;
use crate::net::Body;
use crate::net::body::{HoldError, UNTAKEN, hold_whole};
use crate::net::room::Share;

impl Remote {
    /// Passes the answer to a POST on. `owed` is the id of the request that it
    /// has to answer.
    pub(super) async fn pass(
        &self,
        response: Response<Body>,
        relay: Arc<Relay>,
        owed: Option<Vec<u8>>,
        ends: Ends,
        one_message: bool,
    ) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        headers::strip(&mut parts.headers);
        // What its client gave up meanwhile is owed no answer.
        let owed = owed.filter(|id| relay.awaits(id));
        let failed = |words: &str| {
            relay.over_and_out(words);
            problem::error(StatusCode::BAD_GATEWAY, owed.as_deref(), UPSTREAM, words)
        };
        let (status, kind) = (parts.status, headers::kind(&parts.headers));
        if status.is_redirection() {
            return failed(&problem::redirected(&parts.headers));
        }
        if status == StatusCode::ACCEPTED && kind != "text/event-stream" {
            // What it asked is answered on the stream of HTTP+SSE.
            if owed.is_some() && !self.is_sse.load(Ordering::Relaxed) {
                return failed("the server took the request and did not answer it");
            }
            return Response::from_parts(parts, body);
        }
        let is_message = matches!(kind.as_str(), "text/event-stream" | "application/json");
        if is_message && let Some(encoding) = headers::encoding(&parts.headers) {
            return failed(&format!("the server answers in {encoding}, and was asked not to"));
        }
        match kind.as_str() {
            "text/event-stream" if one_message && owed.is_some() => {
                let owed = owed.as_deref().unwrap_or_default();
                let answer = timeout(PATIENCE, self.one_answer(body, &relay, owed));
                match Box::pin(answer).await {
                    Ok(Ok(answer)) => problem::json_rpc(status, answer),
                    Ok(Err(words)) => failed(&words),
                    Err(_) => failed("the server's stream did not bring the answer in time"),
                }
            }
            "text/event-stream" => {
                let body = stream::pump(body, relay, self.target.max_message, ends, owed);
                parts.headers.remove(CONTENT_LENGTH);
                Response::from_parts(parts, body)
            }
            "application/json" => {
                let body = match self.held(body, &relay).await {
                    Ok(body) => body,
                    Err((status, words)) => {
                        relay.over_and_out(&words);
                        return problem::error(status, owed.as_deref(), UPSTREAM, &words);
                    }
                };
                let passed = relay.heard(&body).unwrap_or_default();
                let unanswered = owed.as_deref().is_some_and(|id| relay.awaits(id));
                if unanswered && status.is_success() {
                    return failed(&format!(
                        "the server's answer is none to this request{}",
                        problem::quoted(&body)
                    ));
                }
                relay.over_and_out(if unanswered { status.as_str() } else { "no answer" });
                if passed != body {
                    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(passed.len()));
                }
                Response::from_parts(parts, Body::from(passed))
            }
            other => {
                if owed.is_some() && status.is_success() {
                    let other = if other.is_empty() { "nothing" } else { other };
                    return failed(&format!("the server answers with {other}, not with a message"));
                }
                relay.over_and_out(status.as_str());
                Response::from_parts(parts, body)
            }
        }
    }

    /// The whole of an answer, counted for as long as its client does not take it; or
    /// with which status, and why, it is not passed on.
    async fn held(&self, body: Body, relay: &Relay) -> Result<Bytes, (StatusCode, String)> {
        let place = relay.settings().answers.as_ref().map(Share::place);
        let held = hold_whole((body, place), self.target.max_message, PATIENCE).await;
        held.map(|held| held.bytes).map_err(|error| {
            let status = match error {
                HoldError::Untaken => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_GATEWAY,
            };
            (status, format!("the server's answer: {error}"))
        })
    }

    /// The answer to `owed` out of a stream, for a client that did not say that
    /// it takes streams.
    async fn one_answer(&self, body: Body, relay: &Relay, owed: &[u8]) -> Result<Bytes, String> {
        let share = relay.settings().answers.as_ref();
        let mut events = Events::new(body, self.target.max_message, share);
        while let Some(event) = events.next().await.map_err(|broken| broken.to_string())? {
            let Some(message) = event.message() else { continue };
            let heard = relay.heard(&Bytes::copy_from_slice(message));
            if relay.awaits(owed) {
                continue;
            }
            drop((event, events));
            let answer = heard.unwrap_or_default();
            return match share {
                Some(share) => share.keep(answer, self.target.max_message).await,
                None => Some(answer),
            }
            .ok_or_else(|| UNTAKEN.to_owned());
        }
        Err("the server's stream ended without an answer".to_owned())
    }
}
