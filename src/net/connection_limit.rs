//! The limit of connections and requests in the whole process, so that neither memory nor
//! descriptors run out. A connection takes a slot, and over HTTP/2 each request on it takes
//! another. Before the last slots are taken, idle connections are closed. A connection that
//! comes when all are taken is answered 503 on one of a few spare slots; when those are
//! taken too, connections wait in the system's accept queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::idle::{CLOSE_TIMEOUT, Connections};
use crate::os;

/// Slots at most; fewer where the system gives fewer descriptors.
const MAX_SLOTS: usize = 3 << 10;

/// Slots for answering 503 when all others are taken.
const SPARE: usize = 32;

/// Descriptors for everything else: the log, policies, servers' children, workers.
const RESERVED: u64 = 256;

/// Descriptors that a slot may need: the client's connection, one to the upstream, and
/// another that is kept for later.
const PER_SLOT: u64 = 3;

/// Slots kept free by closing idle connections; a quarter of all where that is less.
const MIN_FREE: usize = 32;

/// How long a new connection waits for a slot before more idle ones are asked to close.
const RECHECK: Duration = Duration::from_millis(20);

/// Slots at least, however few descriptors the system gives.
const MIN_SLOTS: usize = 16;

/// The slots of a process; clones share them.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimit {
    free: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    count: usize,
    connections: Connections,
}

/// A slot; dropped, it is free again.
#[derive(Debug)]
pub(super) enum Slot {
    /// For a connection or request that is served.
    Served(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    /// For a connection that is answered 503.
    Spare(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

impl ConnectionLimit {
    /// As many as the system has descriptors for, which are asked for.
    pub(super) fn of_system() -> Self {
        let wanted = MAX_SLOTS as u64 * PER_SLOT + RESERVED;
        let fitting = os::descriptors(wanted).saturating_sub(RESERVED) / PER_SLOT;
        let fitting = usize::try_from(fitting).unwrap_or(MAX_SLOTS);
        Self::new(fitting.clamp(MIN_SLOTS, MAX_SLOTS))
    }

    fn new(count: usize) -> Self {
        let (free, spare) = (Semaphore::new(count), Semaphore::new(SPARE));
        let connections = Connections::default();
        Self { free: Arc::new(free), spare: Arc::new(spare), count, connections }
    }

    /// The number of slots, spare ones not counted.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The connections that may be asked to close.
    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// A slot for serving, where one is free.
    pub(super) fn free(&self) -> Option<Slot> {
        let slot = Arc::clone(&self.free).try_acquire_owned().ok().map(Slot::Served);
        self.close_idle();
        slot
    }

    /// Asks idle connections to close where fewer than [`MIN_FREE`] slots are left; gives how
    /// many are closing.
    fn close_idle(&self) -> usize {
        let kept = MIN_FREE.min(self.count / 4);
        match kept.saturating_sub(self.free.available_permits()) {
            0 => 0,
            wanted => self.connections.ask_to_close(wanted),
        }
    }

    /// The next slot that is free, or that an idle connection frees; a spare one only where
    /// there is no other.
    pub(super) async fn next(&self) -> Option<Slot> {
        for _ in 0..CLOSE_TIMEOUT.as_millis() / RECHECK.as_millis() {
            let slot = self.free();
            if slot.is_some() {
                return slot;
            }
            if self.close_idle() == 0 {
                break;
            }
            if let Ok(slot) = timeout(RECHECK, Arc::clone(&self.free).acquire_owned()).await {
                return slot.ok().map(Slot::Served);
            }
        }
        let (free, spare) = (Arc::clone(&self.free), Arc::clone(&self.spare));
        tokio::select! {
            biased;
            slot = free.acquire_owned() => slot.ok().map(Slot::Served),
            slot = spare.acquire_owned() => slot.ok().map(Slot::Spare),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn slots_are_taken_up_to_the_last_spare_one_and_given_back() {
        let limit = ConnectionLimit::new(2);
        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.push(limit.next().await.unwrap());
        }
        assert!(taken.iter().all(|slot| matches!(slot, Slot::Served(_))));
        assert!(limit.free().is_none());
        let mut spare = Vec::new();
        for _ in 0..SPARE {
            spare.push(limit.next().await.unwrap());
        }
        assert!(spare.iter().all(|slot| matches!(slot, Slot::Spare(_))));
        assert!(limit.next().now_or_never().is_none());
        drop(taken.pop());
        assert!(matches!(limit.next().now_or_never(), Some(Some(Slot::Served(_)))));
        assert!(limit.free().is_some());
    }

    #[test]
    fn there_are_as_many_as_descriptors_allow() {
        let limit = ConnectionLimit::of_system();
        assert!((MIN_SLOTS..=MAX_SLOTS).contains(&limit.count()));
        assert!(os::descriptors(0) >= limit.count() as u64);
    }
}
