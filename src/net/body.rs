//! Bodies: held in memory up to a limit and for a limited time, or streamed for
//! as long as something comes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, timeout_at};

use super::Body;
use super::memory::{Reservation, SenderBudget};

/// Why a body could not be held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// It exceeds the size limit: 413.
    #[error("the body is larger than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// It did not arrive in time: 408.
    #[error("the body did not arrive within {} s", timeout.as_secs_f32())]
    Slow {
        /// The timeout.
        timeout: Duration,
    },
    /// The sender aborted it, or its framing is invalid: 400.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// The memory budget for requests is exhausted: 503.
    #[error("there is no room at the moment to hold the body and the JSON in it")]
    NoMemory,
    /// The memory budget for answers is exhausted, although the answer waited for it: 503.
    #[error("{NO_ANSWER_MEMORY}")]
    NoAnswerMemory,
}

/// Error message for [`HoldError::NoAnswerMemory`].
pub(crate) const NO_ANSWER_MEMORY: &str = "answers that no client has taken yet need all the memory \
    there is for them, and none came free in time: take those first, or ask for less at once";

impl HoldError {
    /// HTTP status and error code of the response.
    #[must_use]
    pub fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::Slow { .. } => (StatusCode::REQUEST_TIMEOUT, "slow_body"),
            Self::Broken(_) => (StatusCode::BAD_REQUEST, "broken_body"),
            Self::NoMemory | Self::NoAnswerMemory => (StatusCode::SERVICE_UNAVAILABLE, "no_room"),
        }
    }
}

/// A complete body.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Its data.
    pub bytes: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

impl Held {
    /// As a body; its length is unknown if there are trailers.
    pub fn into_body(self) -> Body {
        let Some(trailers) = self.trailers else { return Body::from(self.bytes) };
        let frames = [Frame::data(self.bytes), Frame::trailers(trailers)];
        Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>))))
    }
}

/// Converts an incoming body; `Body::empty` if it is known to be empty.
pub(super) fn incoming(body: Incoming) -> Body {
    if body.is_end_stream() { Body::empty() } else { Body::new(body) }
}

/// A body was aborted because this process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gate is being stopped; what was asked may have been done all the same")]
pub struct Stopped;

/// A body from a server, aborted once `stop` becomes `true`.
pub(super) fn until_stopped(body: Incoming, stop: watch::Receiver<bool>) -> Body {
    match body.is_end_stream() {
        true => Body::empty(),
        false => Body::new(UntilStopped { inner: body, stop, stopped: None }),
    }
}

struct UntilStopped {
    inner: Incoming,
    stop: watch::Receiver<bool>,
    /// Completes when `stop` becomes `true`; created when polling first has to wait.
    stopped: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl HttpBody for UntilStopped {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let Self { stop, stopped, .. } = &mut *self;
        let stopped = stopped.get_or_insert_with(|| {
            let mut stop = stop.clone();
            Box::pin(async move {
                if stop.wait_for(|stop| *stop).await.is_err() {
                    // The sender is gone, so this never completes.
                    std::future::pending::<()>().await;
                }
            })
        });
        ready!(stopped.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new(Stopped))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Reads a whole body of at most `max` bytes within `timeout`. A larger declared length is
/// refused before reading. Trailers are dropped.
///
/// # Errors
/// See [`HoldError`].
pub async fn hold(body: Body, max: usize, timeout: Duration) -> Result<Bytes, HoldError> {
    hold_whole((body, None), max, timeout).await.map(|held| held.bytes)
}

/// As [`hold`], for an answer, counted in `budget` if there is one.
///
/// # Errors
/// See [`HoldError`].
pub(crate) async fn hold_answer(
    body: Body,
    budget: Option<&SenderBudget>,
    max: usize,
    timeout: Duration,
) -> Result<Bytes, HoldError> {
    hold_whole((body, budget.map(SenderBudget::reservation)), max, timeout)
        .await
        .map(|held| held.bytes)
}

/// As [`hold`], with trailers, and counted in `reservation` if there is one. That of an answer
/// waits for memory.
///
/// # Errors
/// See [`HoldError`].
pub async fn hold_whole(
    (body, reservation): (Body, Option<Reservation>),
    max: usize,
    timeout: Duration,
) -> Result<Held, HoldError> {
    let declared = body.size_hint().lower();
    if declared > max as u64 {
        return Err(HoldError::TooLarge { max });
    }
    let held = tokio::time::timeout(timeout, collect((body, declared), reservation, max)).await;
    held.unwrap_or(Err(HoldError::Slow { timeout }))
}

async fn collect(
    (mut body, declared): (Body, u64),
    mut reservation: Option<Reservation>,
    max: usize,
) -> Result<Held, HoldError> {
    if let Some(reservation) = &mut reservation
        && !reservation.reserve_declared(declared, max).await
    {
        return Err(no_memory(reservation));
    }
    let mut collected = Collected::default();
    let mut trailers = None;
    loop {
        let frame = match &reservation {
            None => body.frame().await,
            Some(reservation) => tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = reservation.revoked() => return Err(HoldError::NoAnswerMemory),
            },
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| HoldError::Broken(error.to_string()))?;
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        let length = collected.len().saturating_add(data.len());
        if length > max {
            return Err(HoldError::TooLarge { max });
        }
        if let Some(reservation) = &mut reservation
            && !reservation.reserve(length, max).await
        {
            return Err(no_memory(reservation));
        }
        collected.push(data);
    }
    let bytes = collected.bytes();
    let bytes = match reservation {
        Some(reservation) => reservation.try_attach(bytes, max).ok_or(HoldError::NoMemory)?,
        None => bytes,
    };
    Ok(Held { bytes, trailers })
}

fn no_memory(reservation: &Reservation) -> HoldError {
    if reservation.waits() { HoldError::NoAnswerMemory } else { HoldError::NoMemory }
}

/// The data of a body so far. Optimised for the common case of one piece, which is not copied.
#[derive(Default)]
pub(crate) struct Collected {
    first: Option<Bytes>,
    whole: BytesMut,
}

impl Collected {
    fn len(&self) -> usize {
        self.first.as_ref().map_or(self.whole.len(), Bytes::len)
    }

    /// Appends the next piece.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        match self.first.take() {
            None if self.whole.is_empty() => self.first = Some(data),
            None => self.whole.extend_from_slice(&data),
            Some(piece) => {
                self.whole.extend_from_slice(&piece);
                self.whole.extend_from_slice(&data);
            }
        }
    }

    /// The whole data.
    pub(crate) fn bytes(self) -> Bytes {
        self.first.unwrap_or_else(|| self.whole.freeze())
    }
}

/// The beginning of a body.
pub enum Opening {
    /// The complete body.
    Whole(Held),
    /// Its first bytes, and the rest.
    Part(Bytes, Body),
}

/// Reads `body` until it ends, more than `max` bytes have arrived, or `timeout` elapses.
///
/// # Errors
/// [`HoldError::Broken`] and [`HoldError::NoMemory`].
pub async fn open(
    (mut body, mut reservation): (Body, Reservation),
    max: usize,
    timeout: Duration,
) -> Result<Opening, HoldError> {
    let deadline = Instant::now() + timeout;
    let mut collected = Collected::default();
    while collected.len() <= max {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => break,
            Ok(frame) => frame.transpose().map_err(|error| HoldError::Broken(error.to_string()))?,
        };
        let trailers = match frame.map(Frame::into_data) {
            Some(Ok(piece)) => {
                if !reservation.try_reserve(collected.len().saturating_add(piece.len()), max) {
                    return Err(HoldError::NoMemory);
                }
                collected.push(piece);
                continue;
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        let bytes = reservation.try_attach(collected.bytes(), max).ok_or(HoldError::NoMemory)?;
        return Ok(Opening::Whole(Held { bytes, trailers }));
    }
    let collected = reservation.try_attach(collected.bytes(), max).ok_or(HoldError::NoMemory)?;
    Ok(Opening::Part(collected, body))
}

/// A body of `start` followed by `body`.
pub fn resume(start: Bytes, body: Body) -> Body {
    Body::new(Resumed { start: Some(start), body })
}

struct Resumed {
    start: Option<Bytes>,
    body: Body,
}

impl HttpBody for Resumed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        if let Some(start) = self.start.take() {
            return Poll::Ready(Some(Ok(Frame::data(start))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.start.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lengthened(self.body.size_hint(), self.start.as_ref().map_or(0, Bytes::len))
    }
}

/// Adds `bytes` to a size hint.
pub(crate) fn lengthened(mut hint: SizeHint, bytes: usize) -> SizeHint {
    let bytes = bytes as u64;
    if let Some(upper) = hint.upper() {
        hint.set_upper(upper.saturating_add(bytes));
    }
    hint.set_lower(hint.lower().saturating_add(bytes));
    hint
}

/// Next item of a body: a frame, an error or the end.
pub(crate) type Next = Option<Result<Frame<Bytes>, axum::Error>>;

/// Maps `body` item by item with `step`.
pub(crate) fn stepwise(
    body: Body,
    step: impl FnMut(Next) -> Next + Send + Unpin + 'static,
) -> Body {
    Body::new(Stepwise { inner: body, step })
}

struct Stepwise<S> {
    inner: Body,
    step: S,
}

impl<S: FnMut(Next) -> Next + Unpin> HttpBody for Stepwise<S> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        let next = ready!(Pin::new(&mut self.inner).poll_frame(context));
        Poll::Ready((self.step)(next))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Maps the trailers of `body`.
pub fn map_trailers(
    body: Body,
    mut map: impl FnMut(HeaderMap) -> HeaderMap + Send + 'static,
) -> Body {
    Body::new(body.map_frame(move |frame| match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(map(trailers)),
        Err(frame) => frame,
    }))
}

/// No data arrived for this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more of the body arrived within {} s", .0.as_secs_f32())]
pub struct Stalled(pub Duration);

/// A body was aborted because of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unfit {
    /// Error code, for scripts.
    pub code: &'static str,
    /// Description.
    pub what: String,
}

/// Fails with [`Stalled`] if `body` yields nothing for `timeout` while it is polled.
pub fn with_stall_timeout(body: Body, timeout: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(StallTimeout { inner: body, timeout, waiting: None })
}

struct StallTimeout {
    inner: Body,
    timeout: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for StallTimeout {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.waiting = None;
            return Poll::Ready(frame);
        }
        let timeout = self.timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new(Stalled(timeout)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
