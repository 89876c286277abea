//! Delivery of answers that are held whole. While others wait for memory, a client has a
//! limited time to read one: otherwise a few that read slowly, or not at all, could occupy the
//! memory of all indefinitely. What is left of such an answer is dropped, and its body ends
//! with the error [`Reclaimed`].

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::HeaderValue;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::Body;
use super::body::{Next, lengthened};
use super::memory::{MemoryBudget, SMALL};

/// How long a client may take to read an answer while others wait for memory.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Reading this many bytes extends the time by a second.
const MIN_RATE: usize = 64 << 10;

/// Maximum time to hold an answer beyond the budget, however much of it is read. Also used
/// instead of [`READ_TIMEOUT`] if only the answer's own sender waits. Less than the time that
/// others wait.
const OVERDRAFT_TIMEOUT: Duration = Duration::from_secs(60);

/// An answer was dropped because its client did not read it in time while others waited for
/// memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its client takes it too slowly, and others wait for its memory")]
pub(super) struct Reclaimed;

/// The answers held in memory, by the address of their first byte.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<usize, Answer>);

#[derive(Debug)]
struct Answer {
    len: usize,
    sender: Arc<str>,
    is_overdraft: bool,
    since: Instant,
    /// Number of bytes that its client has read.
    read: usize,
    is_reclaimed: bool,
    /// The body that its client reads from, once that has begun.
    delivery: Weak<Pending>,
}

/// An answer to be dropped.
#[derive(Debug)]
pub(super) struct Overdue {
    pending: Option<Arc<Pending>>,
    sender: Arc<str>,
    len: usize,
}

impl Held {
    /// Adds `bytes`, an answer to `sender`.
    pub(super) fn add(&mut self, bytes: &[u8], sender: &Arc<str>, is_overdraft: bool) {
        // If the same bytes are added twice, it is one answer.
        let is_overdraft =
            is_overdraft || self.0.get(&address(bytes)).is_some_and(|answer| answer.is_overdraft);
        let answer = Answer {
            len: bytes.len(),
            sender: Arc::clone(sender),
            is_overdraft,
            since: Instant::now(),
            read: 0,
            is_reclaimed: false,
            delivery: Weak::new(),
        };
        self.0.insert(address(bytes), answer);
    }

    /// Removes an answer.
    pub(super) fn remove(&mut self, address: usize) {
        self.0.remove(&address);
    }

    /// Selects the answer to drop for `sender`, whose own answers have `own` bytes: first one
    /// beyond the budget, else one of the sender with the most bytes, if at least as many. If
    /// there is none, returns the time when there may be one.
    pub(super) fn reclaim(
        &mut self,
        (sender, own): (&str, usize),
        held: impl Fn(&str) -> usize,
    ) -> Result<Overdue, Option<Instant>> {
        let open = self.0.values_mut().filter(|answer| !answer.is_reclaimed);
        let open: Vec<_> = open
            .map(|answer| (answer.is_overdraft, held(&answer.sender), answer))
            .filter(|(is_overdraft, held, _)| *is_overdraft || *held >= own)
            .collect();
        let next = open.iter().map(|(_, _, answer)| answer.due(sender)).min();
        let overdue =
            open.into_iter().filter(|(_, _, answer)| answer.due(sender) <= Instant::now());
        let (_, _, answer) =
            overdue.max_by_key(|(beyond, held, _)| (*beyond, *held)).ok_or(next)?;
        answer.is_reclaimed = true;
        let (pending, sender) = (answer.delivery.upgrade(), Arc::clone(&answer.sender));
        Ok(Overdue { pending, sender, len: answer.len })
    }

    /// Whether `bytes` belong to an answer that was dropped.
    pub(super) fn is_reclaimed(&self, bytes: &[u8]) -> bool {
        let found = self.0.range(..=address(bytes)).next_back();
        found.is_some_and(|(start, answer)| answer.is_reclaimed && answer.has(*start, bytes))
    }

    /// Registers `pending` as the reader of `bytes`. `None` if they are not held; `Some(false)`
    /// if they were dropped.
    fn register_delivery(&mut self, bytes: &[u8], pending: &Arc<Pending>) -> Option<bool> {
        let found = self.0.range_mut(..=address(bytes)).next_back();
        let (_, answer) = found.filter(|(start, answer)| answer.has(**start, bytes))?;
        answer.delivery = Arc::downgrade(pending);
        Some(!answer.is_reclaimed)
    }

    /// Records that the client has read `bytes`.
    fn record_read(&mut self, bytes: &[u8]) {
        let found = self.0.range_mut(..=address(bytes)).next_back();
        if let Some((_, answer)) = found.filter(|(start, answer)| answer.has(**start, bytes)) {
            answer.read += bytes.len();
        }
    }
}

impl Answer {
    /// The time from which it may be dropped if `sender` waits.
    fn due(&self, sender: &str) -> Instant {
        let is_own = *self.sender == *sender;
        let timeout = if is_own { OVERDRAFT_TIMEOUT } else { READ_TIMEOUT };
        let timeout = timeout + Duration::from_secs((self.read / MIN_RATE) as u64);
        let most = if self.is_overdraft { OVERDRAFT_TIMEOUT } else { timeout };
        self.since + timeout.min(most)
    }

    fn has(&self, start: usize, bytes: &[u8]) -> bool {
        address(bytes) < start + self.len
    }
}

impl Overdue {
    /// The sender whose answer it was.
    pub(super) fn sender(&self) -> Arc<str> {
        Arc::clone(&self.sender)
    }

    /// Drops the rest of the answer. Must not be called under the budget's lock, which dropping
    /// takes.
    pub(super) fn drop_rest(self) {
        let Self { pending, sender, len } = self;
        let row = pending.as_ref().and_then(|pending| pending.row.as_ref()?.to_str().ok());
        tracing::warn!(%sender, bytes = len, row, "an answer was cut off: {Reclaimed}");
        if let Some(pending) = pending {
            pending.empty();
        }
    }
}

/// Address of the first byte, which is stable while they are held.
pub(super) fn address(bytes: &[u8]) -> usize {
    bytes.as_ptr().addr()
}

impl MemoryBudget {
    /// Wraps `body` on its way to a client, so that it can be dropped if others need its
    /// memory. `row`: the header with its audit row's id, for the log message.
    pub fn deliver(&self, body: Body, row: Option<&HeaderValue>) -> Body {
        let is_small = body.size_hint().exact().is_some_and(|length| length <= SMALL as u64);
        if is_small || body.is_end_stream() {
            return body;
        }
        let content = Content { inner: Some(body), ..Content::default() };
        let pending = Arc::new(Pending { content: Mutex::new(content), row: row.cloned() });
        pending.look_ahead(self);
        Body::new(Delivery { pending, budget: self.clone() })
    }
}

/// The body that a client reads its answer from.
#[derive(Debug)]
struct Pending {
    content: Mutex<Content>,
    row: Option<HeaderValue>,
}

#[derive(Debug, Default)]
struct Content {
    /// The rest; `None` if it was dropped.
    inner: Option<Body>,
    /// An item polled ahead.
    ahead: Option<Next>,
    /// The unread part of the current piece.
    rest: Bytes,
    /// Whether that piece is counted in the budget.
    is_held: bool,
    waker: Option<Waker>,
}

impl Pending {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls ahead: a client that opens no HTTP/2 window never polls a body that is complete.
    fn look_ahead(self: &Arc<Self>, budget: &MemoryBudget) {
        let mut content = self.content();
        let Some(inner) =
            content.inner.as_mut().filter(|inner| inner.size_hint().exact().is_some())
        else {
            return;
        };
        let Some(next) = inner.frame().now_or_never() else { return };
        match next.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                content.is_held = data.len() > SMALL
                    && budget.with_held(|held| held.register_delivery(&data, self)).is_some();
                content.rest = data;
            }
            Some(Ok(Err(other))) => content.ahead = Some(Some(Ok(other))),
            Some(Err(error)) => content.ahead = Some(Some(Err(error))),
            None => content.ahead = Some(None),
        }
    }

    fn empty(&self) {
        let mut content = self.content();
        let left = (content.inner.take(), std::mem::take(&mut content.rest));
        let waker = content.waker.take();
        drop(content);
        drop(left);
        waker.inspect(Waker::wake_by_ref);
    }
}

struct Delivery {
    pending: Arc<Pending>,
    budget: MemoryBudget,
}

impl HttpBody for Delivery {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        let mut content = self.pending.content();
        if content.rest.is_empty() {
            content.waker = Some(context.waker().clone());
            let ahead = content.ahead.take();
            let Some(inner) = &mut content.inner else { return Poll::Ready(reclaimed()) };
            let next = match ahead {
                Some(next) => next,
                None => ready!(Pin::new(inner).poll_frame(context)),
            };
            let data = match next {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.len() > SMALL => data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            };
            match self.budget.with_held(|held| held.register_delivery(&data, &self.pending)) {
                Some(true) => (content.rest, content.is_held) = (data, true),
                None => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(false) => {
                    drop(content);
                    self.pending.empty();
                    return Poll::Ready(reclaimed());
                }
            }
        }
        if !content.is_held {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut content.rest)))));
        }
        // Copied: a slice would keep the whole allocation.
        let length = content.rest.len().min(SMALL);
        let part = content.rest.split_to(length);
        self.budget.with_held(|held| held.record_read(&part));
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&part)))))
    }

    fn is_end_stream(&self) -> bool {
        let content = self.pending.content();
        let is_over = content.inner.as_ref().is_some_and(HttpBody::is_end_stream);
        is_over && content.rest.is_empty() && content.ahead.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let content = self.pending.content();
        let hint = content.inner.as_ref().map_or_else(SizeHint::new, HttpBody::size_hint);
        lengthened(hint, content.rest.len())
    }
}

fn reclaimed() -> Next {
    Some(Err(axum::Error::new(Reclaimed)))
}

#[cfg(test)]
mod tests;
