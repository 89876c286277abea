//! Responses to a POST: forwarded unchanged, or replaced by an error that says why there is none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode};
use tokio::time::timeout;

use super::{RESPONSE_TIMEOUT, Remote, ReplySender};
use crate::mcp::codes::UPSTREAM;
use crate::mcp::http::child_messages::BATCH;
use crate::mcp::http::events::{Broken, Events};
use crate::mcp::http::stream::{self, StreamEnd};
use crate::mcp::http::{headers, problem};
use crate::mcp::relay::Relay;
use crate::mcp::reply::ResponseMetadata;
use crate::net::Body;
use crate::net::body::{HoldError, hold_answer};
use crate::net::client::SendError;
use crate::net::memory;
use crate::oauth::LoginError;

/// Why a client gets no response of the server.
#[derive(Debug)]
pub(in crate::mcp::http) struct NoResponse {
    /// Status for the client.
    status: StatusCode,
    /// Description.
    pub(in crate::mcp::http) message: String,
}

impl NoResponse {
    /// The response to the request `id`.
    pub(super) fn answer(&self, id: Option<&[u8]>) -> Response<Body> {
        problem::error(self.status, id, UPSTREAM, &self.message)
    }
}

/// A message and its response.
pub(super) struct Exchange<'r> {
    pub(super) remote: &'r Arc<Remote>,
    pub(super) relay: Arc<Relay>,
    /// The id, if the message is a request that needs a response.
    pub(super) awaited: Option<Vec<u8>>,
    /// What the end of a stream means.
    pub(super) ends: StreamEnd,
    /// Whether the client gets a single message, whatever the server sends.
    pub(super) one_message: bool,
}

impl Exchange<'_> {
    /// [`ResponseMetadata`] of a response.
    pub(super) fn metadata(&self, message: &[u8]) -> ResponseMetadata {
        match &self.awaited {
            Some(id) => self.relay.metadata_of(id),
            None if message.trim_ascii_start().starts_with(BATCH) => self.relay.metadata(),
            None => ResponseMetadata::default(),
        }
    }

    /// The response to a message that could not be sent.
    pub(super) fn send_failed(self, id: Option<&[u8]>, unanswered: NoResponse) -> Response<Body> {
        let id =
            id.filter(|_| self.awaited.as_ref().is_none_or(|awaited| self.relay.awaits(awaited)));
        self.relay.close_exchange(&unanswered.message);
        unanswered.answer(id)
    }

    /// Forwards the response, or reports why that is impossible.
    pub(super) async fn forward(
        mut self,
        response: Response<Body>,
        reply_sender: ReplySender,
    ) -> Response<Body> {
        // A cancelled request needs no response.
        self.awaited = self.awaited.filter(|id| self.relay.awaits(id));
        let passed = self.try_forward(response, reply_sender).await;
        passed.unwrap_or_else(|unanswered| {
            self.relay.close_exchange(&unanswered.message);
            unanswered.answer(self.awaited.as_deref())
        })
    }

    async fn try_forward(
        &self,
        response: Response<Body>,
        reply_sender: ReplySender,
    ) -> Result<Response<Body>, NoResponse> {
        let reply_sender = reply_sender.in_session_of(&response);
        let (mut parts, body) = response.into_parts();
        headers::strip(&mut parts.headers);
        if parts.status.is_redirection() {
            return Err(problem::redirected(&parts.headers).into());
        }
        let kind = headers::kind(&parts.headers);
        match kind.as_str() {
            "text/event-stream" => {
                problem::refuse_encoded(&parts.headers)?;
                match self.awaited.as_deref().filter(|_| self.one_message) {
                    // Rare futures are boxed: a future is moved with all that it may contain.
                    Some(awaited) => {
                        Box::pin(self.single_answer(body, parts.status, awaited, reply_sender))
                            .await
                    }
                    None => Ok(self.streamed(parts, body, reply_sender)),
                }
            }
            _ if parts.status == StatusCode::ACCEPTED => self.accepted(parts, body).await,
            "application/json" => {
                problem::refuse_encoded(&parts.headers)?;
                self.message(parts, body, reply_sender).await
            }
            other => self.forward_other(parts, body, other).await,
        }
    }

    /// The server accepted the message and sends no response here.
    async fn accepted(&self, parts: Parts, body: Body) -> Result<Response<Body>, NoResponse> {
        // Over HTTP+SSE the response comes on the stream.
        if self.awaited.is_some() && !self.remote.is_sse.load(Ordering::Relaxed) {
            return Err("the server took the request and did not answer it".into());
        }
        Ok(forward_unread(&self.relay, parts, body, self.remote.target.max_message).await)
    }

    fn streamed(&self, mut parts: Parts, body: Body, reply_sender: ReplySender) -> Response<Body> {
        let (relay, way) =
            (Arc::clone(&self.relay), (reply_sender, self.remote.target.max_message));
        parts.headers.remove(CONTENT_LENGTH);
        Response::from_parts(parts, stream::pump(body, relay, way, self.ends, self.awaited.clone()))
    }

    /// Only the response to `awaited`, for a client that does not accept streams.
    async fn single_answer(
        &self,
        body: Body,
        status: StatusCode,
        awaited: &[u8],
        reply_sender: ReplySender,
    ) -> Result<Response<Body>, NoResponse> {
        match timeout(RESPONSE_TIMEOUT, self.first_answer(body, awaited, reply_sender)).await {
            Ok(answer) => Ok(problem::json_rpc(status, answer?)),
            Err(_) => Err("the server's stream did not bring the answer in time".into()),
        }
    }

    async fn first_answer(
        &self,
        body: Body,
        awaited: &[u8],
        reply_sender: ReplySender,
    ) -> Result<Bytes, NoResponse> {
        let (budget, max) =
            (self.relay.settings().answer_memory.as_ref(), self.remote.target.max_message);
        let mut events = Events::new(body, max, budget);
        while let Some(event) = events.next().await? {
            let Some(message) = event.message() else { continue };
            let received = self.relay.receive(&Bytes::copy_from_slice(message)).await;
            reply_sender.send(received.replies);
            if self.relay.awaits(awaited) {
                continue;
            }
            drop((event, events));
            let answer = memory::reserve(budget, received.passed.unwrap_or_default(), max).await;
            return Ok(answer.ok_or(Broken::NoAnswerMemory)?);
        }
        Err("the server's stream ended without an answer".into())
    }

    async fn message(
        &self,
        mut parts: Parts,
        body: Body,
        reply_sender: ReplySender,
    ) -> Result<Response<Body>, NoResponse> {
        let (budget, max) =
            (self.relay.settings().answer_memory.as_ref(), self.remote.target.max_message);
        let body = hold_answer(body, budget, max, RESPONSE_TIMEOUT).await?;
        let received = self.relay.receive(&body).await;
        reply_sender.send(received.replies);
        let passed = received.passed.unwrap_or_default();
        let unanswered = self.awaited.as_deref().is_some_and(|id| self.relay.awaits(id));
        if unanswered && parts.status.is_success() {
            let quote = problem::quoted(&passed);
            return Err(format!("the server's answer is none to this request{quote}").into());
        }
        self.relay.close_exchange(if unanswered { parts.status.as_str() } else { "no answer" });
        if passed != body {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(passed.len()));
        }
        Ok(Response::from_parts(parts, Body::from(passed)))
    }

    /// A response that is not a message, such as an error page.
    async fn forward_other(
        &self,
        parts: Parts,
        body: Body,
        kind: &str,
    ) -> Result<Response<Body>, NoResponse> {
        if self.awaited.is_some() && parts.status.is_success() {
            let kind = if kind.is_empty() { "nothing" } else { kind };
            return Err(format!("the server answers with {kind}, not with a message").into());
        }
        self.relay.close_exchange(parts.status.as_str());
        Ok(forward_unread(&self.relay, parts, body, self.remote.target.max_message).await)
    }
}

/// Forwards a response that the server does not declare as a message. If servers' requests are
/// judged, only if no client can read it as one, since some ignore the type.
pub(super) async fn forward_unread(
    relay: &Relay,
    mut parts: Parts,
    body: Body,
    max: usize,
) -> Response<Body> {
    if !relay.withholds_unreadable() {
        return Response::from_parts(parts, body);
    }
    let share = relay.settings().answer_memory.as_ref();
    let is_plain = !parts.headers.contains_key(CONTENT_ENCODING);
    match hold_answer(body, share, max, RESPONSE_TIMEOUT).await {
        Ok(held) if is_plain && memchr::memchr(b'{', &held).is_none() => {
            Response::from_parts(parts, Body::from(held))
        }
        _ => {
            parts.headers.remove(CONTENT_ENCODING);
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            Response::from_parts(parts, Body::empty())
        }
    }
}

/// The server is at fault.
impl From<String> for NoResponse {
    fn from(message: String) -> Self {
        Self { status: StatusCode::BAD_GATEWAY, message }
    }
}

impl From<&str> for NoResponse {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl From<LoginError> for NoResponse {
    fn from(error: LoginError) -> Self {
        let status = match error {
            LoginError::Over { .. } => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self { status, message: error.to_string() }
    }
}

impl From<SendError> for NoResponse {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Stopped => {
                Self { status: StatusCode::SERVICE_UNAVAILABLE, message: error.to_string() }
            }
            SendError::NoAnswerMemory => HoldError::NoAnswerMemory.into(),
            error => format!("the server could not be reached: {error}").into(),
        }
    }
}

impl From<HoldError> for NoResponse {
    fn from(error: HoldError) -> Self {
        let status = match error {
            HoldError::NoAnswerMemory => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self { status, message: format!("the server's answer: {error}") }
    }
}

impl From<Broken> for NoResponse {
    fn from(broken: Broken) -> Self {
        let status = match broken {
            Broken::NoAnswerMemory => StatusCode::SERVICE_UNAVAILABLE,
            Broken::Off(_) | Broken::TooLarge(_) => StatusCode::BAD_GATEWAY,
        };
        Self { status, message: broken.to_string() }
    }
}
