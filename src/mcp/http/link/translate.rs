//! Translates responses on their way back through a bridge: each message into one of the client's
//! era. Other events are forwarded unchanged.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};

use crate::mcp::codes;
use crate::mcp::http::events::Events;
use crate::mcp::http::headers::is_json;
use crate::mcp::http::ids::{IdField, IdFields};
use crate::mcp::http::messages::Messages;
use crate::mcp::http::remote::RESPONSE_TIMEOUT;
use crate::mcp::http::sse::Event;
use crate::mcp::scan::outline;
use crate::net::body::hold_answer;
use crate::net::client::SendError;
use crate::net::memory::{self, SenderBudget};
use crate::net::{Body, is_event_stream};

/// Translates a message from the server for the client; `None` drops it.
pub(super) type Translate = Box<dyn FnMut(&Bytes) -> Option<Bytes> + Send>;

/// Completes when the response is no longer wanted.
pub(super) type Until = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Sets the id of a response. Errors from servers that did not process the message have another
/// id or none.
pub(super) fn with_id(answer: &Bytes, id: &[u8]) -> Bytes {
    let fields = IdFields::of(answer);
    match fields.get(answer, IdField::Id) {
        Some(same) if same == id => answer.clone(),
        Some(_) => fields.replaced(answer, |field| (field == IdField::Id).then_some(id)),
        None => match answer.trim_ascii_start().strip_prefix(b"{") {
            Some(rest) => [b"{\"id\":", id, b",", rest].concat().into(),
            None => answer.clone(),
        },
    }
}

/// Determines the status of a translated response.
pub(super) type Status = fn(&[u8]) -> StatusCode;

/// Translates each message of a response. Other content passes unchanged.
pub(super) async fn translated(
    response: Response<Body>,
    (max, budget): (usize, Option<SenderBudget>),
    status: Status,
    mut translate: Translate,
    until: Until,
) -> Result<Response<Body>, SendError> {
    let (mut parts, body) = response.into_parts();
    if is_event_stream(&parts.headers) {
        parts.headers.remove(CONTENT_LENGTH);
        let stream = TranslatedStream {
            events: Events::new(body, max, budget.as_ref()),
            translate,
            until,
            over: false,
        };
        return Ok(Response::from_parts(parts, stream.into_body()));
    }
    if !is_json(&parts.headers) {
        return Ok(Response::from_parts(parts, body));
    }
    let held = tokio::select! {
        held = hold_answer(body, budget.as_ref(), max, RESPONSE_TIMEOUT) => held,
        () = until => Ok(Bytes::new()),
    };
    let held = held.map_err(|error| SendError::from(&error))?;
    parts.headers.remove(CONTENT_LENGTH);
    let answers = outline(&held).is_response;
    let passed = translate(&held).unwrap_or_default();
    drop(held);
    let kept = memory::reserve(budget.as_ref(), passed, max).await;
    let passed = kept.ok_or(SendError::NoAnswerMemory)?;
    parts.status = match (answers, passed.is_empty()) {
        (_, true) => StatusCode::ACCEPTED,
        (true, false) => status(&passed),
        (false, false) => parts.status,
    };
    Ok(Response::from_parts(parts, Body::from(passed)))
}

/// The first response among the messages.
pub(super) async fn first_answer(
    response: Response<Body>,
    (max, budget): (usize, Option<&SenderBudget>),
) -> Option<Bytes> {
    if !is_event_stream(response.headers()) {
        return hold_answer(response.into_body(), budget, max, RESPONSE_TIMEOUT).await.ok();
    }
    let mut messages = Messages::of(response, max, budget)?;
    loop {
        let message = messages.next().await?;
        if outline(&message).is_response {
            return Some(message);
        }
    }
}

/// In the handshake era errors have no status of their own.
pub(super) fn plain(_: &[u8]) -> StatusCode {
    StatusCode::OK
}

/// In the stateless era an unknown method has its own status.
pub(super) fn stateless(answer: &[u8]) -> StatusCode {
    match codes::of(answer) {
        Some(codes::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

struct TranslatedStream {
    events: Events,
    translate: Translate,
    until: Until,
    over: bool,
}

impl TranslatedStream {
    fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut stream| async {
            let piece = stream.next().await?;
            Some((piece.map_err(std::io::Error::other), stream))
        }))
    }

    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        while !self.over {
            let event = tokio::select! {
                event = self.events.next() => event,
                () = &mut self.until => Ok(None),
            };
            match event {
                Ok(Some(event)) => {
                    if let Some(passed) = self.translated(event) {
                        return Some(Ok(passed));
                    }
                }
                Ok(None) => self.over = true,
                Err(broken) => {
                    self.over = true;
                    return Some(Err(broken.to_string()));
                }
            }
        }
        None
    }

    fn translated(&mut self, event: Event) -> Option<Bytes> {
        let Some(message) = event.message() else { return Some(event.raw) };
        let message = Bytes::copy_from_slice(message);
        let passed = (self.translate)(&message)?;
        Some(match passed == message {
            true => event.raw,
            false => event.with_data(&passed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::memory::{MemoryBudget, SMALL};

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_memory_for_it_is_not_the_servers_fault() {
        let budget = MemoryBudget::default();
        let _all = budget.all();
        let budget = budget.for_sender(&"me".into());
        for held in ["it as it came", "what it is translated into"] {
            let long = vec![b' '; 2 * SMALL];
            let body = if held == "it as it came" { long.clone() } else { b"{}".to_vec() };
            let response = Response::builder().header("content-type", "application/json");
            let response = response.body(Body::from(body)).unwrap();
            let translate: Translate = Box::new(move |_| Some(Bytes::from(long.clone())));
            let limits = (1 << 20, Some(budget.clone()));
            let until = Box::pin(std::future::pending());
            let translated = translated(response, limits, plain, translate, until).await;
            assert_eq!(translated.unwrap_err(), SendError::NoAnswerMemory, "{held}");
        }
    }

    #[test]
    fn an_answer_has_the_id_of_its_request() {
        for (answer, wanted) in [
            (r#"{"id":7,"result":{"id":1}}"#, r#"{"id":7,"result":{"id":1}}"#),
            (r#"{"error":{"id":1}, "id": null}"#, r#"{"error":{"id":1}, "id": 7}"#),
            (r#"{"id":"server-error","error":{}}"#, r#"{"id":7,"error":{}}"#),
            (r#"{"error":{}}"#, r#"{"id":7,"error":{}}"#),
        ] {
            assert_eq!(with_id(&answer.into(), b"7"), wanted);
        }
        for other in ["[]", "<html>", ""] {
            assert_eq!(with_id(&other.into(), b"7"), other);
        }
    }
}
