//! A queue of lines to be written, bounded in bytes: a peer that does not read holds up only those
//! that write to it, and memory stays bounded.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

/// Maximum bytes queued for a peer before its counterpart has to wait. Fits eight calls of 64
/// KiB in both directions many times over.
pub const MAX_QUEUED: usize = 4 << 20;

/// Maximum number of lines per `writev`.
const MAX_SLICES: usize = 32;

/// Size of a queue's item.
pub trait Weight {
    /// In bytes.
    fn weight(&self) -> usize;
}

/// A FIFO queue bounded in bytes. A larger item is accepted while the queue is empty. Handles
/// are cheap to clone and share the queue.
#[derive(Debug)]
pub struct Queue<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    /// In bytes.
    capacity: usize,
    state: Mutex<State<T>>,
    filled: Notify,
    drained: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    bytes: usize,
    closed: bool,
}

/// The queue is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer is gone")]
pub struct Closed;

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not read")]
pub struct Full;

impl<T: Weight> Queue<T> {
    /// An empty queue with a capacity of [`MAX_QUEUED`] bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(MAX_QUEUED)
    }

    /// An empty queue without a bound, for filling and emptying it in turn.
    #[must_use]
    pub fn unbounded() -> Self {
        Self::with_capacity(usize::MAX)
    }

    fn with_capacity(capacity: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, closed: false };
        Self(Arc::new(Shared {
            capacity,
            state: Mutex::new(state),
            filled: Notify::new(),
            drained: Notify::new(),
        }))
    }

    /// Appends `item`, waiting for capacity. Keeps the order of one pushing task; several
    /// waiting tasks are served in any order.
    ///
    /// # Errors
    /// [`Closed`] if the queue is closed.
    pub async fn push(&self, item: T) -> Result<(), Closed> {
        let weight = item.weight();
        loop {
            // Registered before the check, so that no wake-up is missed.
            let drained = self.0.drained.notified();
            {
                let mut state = self.state();
                if state.closed {
                    return Err(Closed);
                }
                if state.bytes == 0 || state.bytes.saturating_add(weight) <= self.0.capacity {
                    state.bytes += weight;
                    state.items.push_back(item);
                    break;
                }
            }
            drained.await;
        }
        self.0.filled.notify_one();
        Ok(())
    }

    /// Appends `item` without waiting, for senders that the peer may itself be waiting for.
    /// They have twice the capacity. If the queue is closed, `item` is dropped.
    ///
    /// # Errors
    /// [`Full`]; `item` is dropped.
    pub fn try_push(&self, item: T) -> Result<(), Full> {
        let weight = item.weight();
        let mut state = self.state();
        if state.closed {
            return Ok(());
        }
        let bytes = state.bytes.saturating_add(weight);
        if state.bytes > 0 && bytes > self.0.capacity.saturating_mul(2) {
            return Err(Full);
        }
        state.bytes = bytes;
        state.items.push_back(item);
        drop(state);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Waits for the next item; `None` once closed and empty. Its capacity is not released
    /// until [`Queue::done`].
    pub async fn next(&self) -> Option<T> {
        loop {
            let filled = self.0.filled.notified();
            {
                let mut state = self.state();
                if let Some(item) = state.items.pop_front() {
                    return Some(item);
                }
                if state.closed {
                    return None;
                }
            }
            filled.await;
        }
    }

    /// The next item if there is one, releasing its capacity.
    pub fn try_next(&self) -> Option<T> {
        let item = self.state().items.pop_front()?;
        self.done(item.weight());
        Some(item)
    }

    /// Releases the capacity of taken items, in bytes.
    pub fn done(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        // All waiters check again: capacity that is too small for one may suffice for another.
        self.0.drained.notify_waiters();
    }

    /// Closes the queue. Items in it can still be taken.
    pub fn close(&self) {
        self.state().closed = true;
        self.0.filled.notify_waiters();
        self.0.filled.notify_one();
        self.0.drained.notify_waiters();
    }

    /// Closes the queue and drops its items: the peer is gone.
    pub fn abandon(&self) {
        self.state().items.clear();
        self.close();
    }

    /// Whether the queue is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Whether all items have been taken and their capacity released.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state().bytes == 0
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Weight + Into<Bytes>> Queue<T> {
    /// Writes items to `sink` until the queue is closed and empty. Afterwards, or after an
    /// error, the queue is closed and `sink` dropped, so that the peer sees the end.
    ///
    /// # Errors
    /// Errors of the sink.
    pub async fn drain<W: AsyncWrite + Unpin>(self, mut sink: W) -> io::Result<()> {
        let outcome = self.write_all(&mut sink).await;
        self.abandon();
        outcome
    }

    async fn write_all<W: AsyncWrite + Unpin>(&self, sink: &mut W) -> io::Result<()> {
        let mut batch: VecDeque<Bytes> = VecDeque::with_capacity(MAX_SLICES);
        while let Some(line) = self.next().await {
            batch.push_back(line.into());
            self.take_more(&mut batch);
            while !batch.is_empty() {
                let written = write_some(sink, &batch).await?;
                self.done(written);
                advance(&mut batch, written);
            }
            sink.flush().await?;
        }
        sink.shutdown().await
    }

    fn take_more(&self, batch: &mut VecDeque<Bytes>) {
        let mut state = self.state();
        while batch.len() < MAX_SLICES {
            match state.items.pop_front() {
                Some(item) => batch.push_back(item.into()),
                None => return,
            }
        }
    }
}

async fn write_some<W: AsyncWrite + Unpin>(
    sink: &mut W,
    batch: &VecDeque<Bytes>,
) -> io::Result<usize> {
    let written = match batch.front() {
        Some(only) if batch.len() == 1 || !sink.is_write_vectored() => sink.write(only).await?,
        _ => {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            for (slice, line) in slices.iter_mut().zip(batch) {
                *slice = IoSlice::new(line);
            }
            let filled = slices.get(..batch.len()).unwrap_or(&slices);
            sink.write_vectored(filled).await?
        }
    };
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

fn advance(batch: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(line) = batch.front_mut() {
        if written < line.len() {
            line.advance(written);
            return;
        }
        written -= line.len();
        batch.pop_front();
    }
}

impl Weight for Bytes {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Weight> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    async fn is_pending<F: Future + Unpin>(mut future: F) -> bool {
        poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut future).poll(cx).is_pending())).await
    }

    #[test]
    fn large_item_waits_for_an_empty_queue_and_small_ones_for_capacity() {
        run(async {
            let queue = Queue::new();
            queue.push(Bytes::from(vec![0; MAX_QUEUED * 2])).await.unwrap();
            let mut second = pin!(queue.push(Bytes::from_static(b"x")));
            assert!(is_pending(second.as_mut()).await);
            let first = queue.next().await.unwrap();
            assert!(is_pending(second.as_mut()).await, "taken is not yet written");
            queue.done(first.len());
            second.await.unwrap();
            assert_eq!(queue.next().await.unwrap(), "x");
        });
    }

    #[test]
    fn try_push_has_its_own_capacity() {
        run(async {
            let queue = Queue::new();
            let half = Bytes::from(vec![0; MAX_QUEUED / 2]);
            queue.push(half.clone()).await.unwrap();
            queue.push(half.clone()).await.unwrap();
            let mut waits = pin!(queue.push(half.clone()));
            assert!(is_pending(waits.as_mut()).await);
            assert_eq!([(); 3].map(|()| queue.try_push(half.clone())), [Ok(()), Ok(()), Err(Full)]);
            assert!(is_pending(waits.as_mut()).await);
            for _ in 0..3 {
                assert_eq!(queue.try_next(), Some(half.clone()));
            }
            waits.await.unwrap();
            queue.close();
            assert_eq!(queue.try_push(half), Ok(()));
        });
    }

    #[test]
    fn items_queued_before_closing_are_delivered() {
        run(async {
            let queue = Queue::new();
            queue.push(Bytes::from_static(b"a")).await.unwrap();
            queue.close();
            assert_eq!(queue.push(Bytes::from_static(b"b")).await, Err(Closed));
            assert_eq!(queue.next().await.unwrap(), "a");
            assert_eq!(queue.next().await, None);
        });
    }

    #[test]
    fn a_peer_that_reads_byte_by_byte_gets_every_byte_in_order() {
        run(async {
            let (near, mut far) = tokio::io::duplex(3);
            let queue = Queue::new();
            for number in 0..100 {
                queue.push(Bytes::from(format!("line {number}\n"))).await.unwrap();
            }
            queue.close();
            let mut text = String::new();
            let read = tokio::io::AsyncReadExt::read_to_string(&mut far, &mut text);
            let (written, read) = tokio::join!(queue.drain(near), read);
            written.unwrap();
            read.unwrap();
            let expected: String = (0..100).map(|number| format!("line {number}\n")).collect();
            assert_eq!(text, expected);
        });
    }

    #[test]
    fn queue_closes_when_the_peer_is_gone() {
        run(async {
            let (near, far) = tokio::io::duplex(3);
            drop(far);
            let queue = Queue::new();
            queue.push(Bytes::from_static(b"a")).await.unwrap();
            assert!(queue.clone().drain(near).await.is_err());
            assert_eq!(queue.push(Bytes::from_static(b"b")).await, Err(Closed));
        });
    }
}
