//! A channel from a server to one client, bounded in bytes (backpressure): a client that
//! reads slowly slows the server down, and memory stays bounded whatever the size of a
//! message.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::mcp::queue::Weight;
use crate::net::memory::SMALL;

/// Maximum number of pieces queued for the client.
const PIECES: usize = 64;

/// Maximum bytes queued for the client. A larger piece is sent alone; the memory budget for
/// answers bounds its size.
const BYTES: u32 = SMALL as u32;

#[derive(Debug)]
pub(super) struct Sender<T> {
    inner: mpsc::Sender<(T, OwnedSemaphorePermit)>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
pub(super) struct Receiver<T>(mpsc::Receiver<(T, OwnedSemaphorePermit)>);

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Creates a channel.
pub(super) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (inner, receiver) = mpsc::channel(PIECES);
    (Sender { inner, permits: Arc::new(Semaphore::new(BYTES as usize)) }, Receiver(receiver))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), permits: Arc::clone(&self.permits) }
    }
}

impl<T: Weight> Sender<T> {
    /// Waits for capacity and sends `piece`. Cancel safe.
    pub(super) async fn send(&self, piece: T) -> Result<(), Gone> {
        let size = u32::try_from(piece.weight()).unwrap_or(BYTES).min(BYTES);
        let permits = tokio::select! {
            permits = Arc::clone(&self.permits).acquire_many_owned(size) => permits.map_err(|_| Gone)?,
            () = self.inner.closed() => return Err(Gone),
        };
        self.inner.send((piece, permits)).await.map_err(|_| Gone)
    }

    /// Waits until the receiver is dropped: the client is gone.
    pub(super) async fn closed(&self) {
        self.inner.closed().await;
    }

    /// Whether the receiver is dropped.
    pub(super) fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Whether both send to the same receiver.
    pub(super) fn same_channel(&self, other: &Self) -> bool {
        self.inner.same_channel(&other.inner)
    }
}

impl<T> Receiver<T> {
    /// The next piece; `None` once all senders are dropped.
    pub(super) async fn recv(&mut self) -> Option<T> {
        self.0.recv().await.map(|(piece, _)| piece)
    }
}

impl<E> Weight for Result<Bytes, E> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, Bytes::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use std::pin::pin;

    #[tokio::test]
    async fn sender_waits_for_a_client_that_does_not_read() {
        let (sender, mut receiver) = channel::<Bytes>();
        let half = Bytes::from(vec![0; BYTES as usize / 2 + 1]);
        sender.send(half.clone()).await.unwrap();
        let mut second = pin!(sender.send(half.clone()));
        assert!(poll!(second.as_mut()).is_pending());
        assert_eq!(receiver.recv().await, Some(half));
        second.await.unwrap();
        let huge = Bytes::from(vec![0; BYTES as usize * 3]);
        let mut third = pin!(sender.send(huge.clone()));
        assert!(poll!(third.as_mut()).is_pending());
        receiver.recv().await.unwrap();
        third.await.unwrap();
        assert_eq!(receiver.recv().await, Some(huge));
    }

    #[tokio::test]
    async fn sender_stops_when_the_client_disconnects() {
        let (sender, receiver) = channel::<Bytes>();
        sender.send(Bytes::from(vec![0; BYTES as usize])).await.unwrap();
        let mut waiting = pin!(sender.send(Bytes::from_static(b"x")));
        assert!(poll!(waiting.as_mut()).is_pending());
        drop(receiver);
        assert_eq!(waiting.await, Err(Gone));
    }
}
