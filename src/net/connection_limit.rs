//! The limit of connections and requests in the whole process, so that neither memory nor
//! descriptors run out. A connection takes a slot, and over HTTP/2 each request on it takes
//! another. Before the last slots are taken, idle connections are closed. A connection that
//! comes when all are taken is answered 503 on one of a few spare slots; when those are
//! taken too, connections wait in the system's accept queue.
//!
//! One address may have three quarters of what the others leave, so that others always find
//! some; on this machine there is no such limit, because a proxy there may speak for all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::idle::{CLOSE_TIMEOUT, Connections};
use crate::os;

/// Maximum number of slots; fewer if the process has fewer file descriptors.
const MAX_SLOTS: usize = 3 << 10;

/// Slots for responding with 503 when all others are taken.
const SPARE: usize = 32;

/// File descriptors reserved for everything else: the log, policies, child processes, workers.
const RESERVED: u64 = 256;

/// File descriptors per slot: the client's connection, one to the upstream, and an idle one in
/// the pool.
const PER_SLOT: u64 = 3;

/// Number of slots kept free by closing idle connections; at most a quarter of all.
const MIN_FREE: usize = 32;

/// How long a new connection waits for a slot before more idle ones are closed.
const RECHECK: Duration = Duration::from_millis(20);

/// Minimum number of slots, however few file descriptors there are.
const MIN_SLOTS: usize = 16;

/// The slots of this process; clones share them.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimit {
    free: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    count: usize,
    connections: Connections,
    by_peer: ByPeer,
}

/// The address that slots are counted for: an IPv4 address, or an IPv6 /64 network, all of
/// whose addresses may belong to one machine. `None` on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer(Option<IpAddr>);

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        let address = match address.ip().to_canonical() {
            IpAddr::V6(ip) if !ip.is_loopback() => {
                let network = ip.to_bits() & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address => address,
        };
        Self((!address.is_loopback()).then_some(address))
    }
}

/// Number of slots per address.
#[derive(Debug, Clone, Default)]
struct ByPeer(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl ByPeer {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a slot for its address until dropped.
#[derive(Debug)]
pub(super) struct Counted {
    by_peer: ByPeer,
    peer: Peer,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(address) = self.peer.0 else { return };
        let mut counts = self.by_peer.counts();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// A slot; free again when dropped.
#[derive(Debug)]
pub(super) enum Slot {
    /// For a connection or request that is served.
    Served(#[expect(dead_code, reason = "held")] (OwnedSemaphorePermit, Counted)),
    /// For a connection that gets a 503.
    Spare(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

impl ConnectionLimit {
    /// As many slots as the file descriptor limit permits; raises the soft limit.
    pub(super) fn of_system() -> Self {
        let wanted = MAX_SLOTS as u64 * PER_SLOT + RESERVED;
        let fitting = os::descriptors(wanted).saturating_sub(RESERVED) / PER_SLOT;
        let fitting = usize::try_from(fitting).unwrap_or(MAX_SLOTS);
        Self::new(fitting.clamp(MIN_SLOTS, MAX_SLOTS))
    }

    fn new(count: usize) -> Self {
        let (free, spare) = (Semaphore::new(count), Semaphore::new(SPARE));
        let (connections, by_peer) = (Connections::default(), ByPeer::default());
        Self { free: Arc::new(free), spare: Arc::new(spare), count, connections, by_peer }
    }

    /// Number of slots, without spare ones.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The registry of connections that may be asked to close.
    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// A slot for `peer`, if one is free and its share is not used up.
    pub(super) fn free(&self, peer: Peer) -> Option<Slot> {
        let slot = match self.allows(peer) {
            true => Arc::clone(&self.free).try_acquire_owned().ok(),
            false => None,
        };
        self.close_idle();
        slot.map(|permit| self.served(permit, peer))
    }

    /// Whether the share of `peer` permits one more slot.
    pub(super) fn allows(&self, peer: Peer) -> bool {
        let Some(address) = peer.0 else { return true };
        let own = self.by_peer.counts().get(&address).copied().unwrap_or_default();
        let taken = self.count - self.free.available_permits();
        let left_by_others = self.count - taken.saturating_sub(own);
        own < left_by_others * 3 / 4
    }

    fn served(&self, permit: OwnedSemaphorePermit, peer: Peer) -> Slot {
        if let Some(address) = peer.0 {
            *self.by_peer.counts().entry(address).or_default() += 1;
        }
        Slot::Served((permit, Counted { by_peer: self.by_peer.clone(), peer }))
    }

    /// Asks idle connections to close if fewer than [`MIN_FREE`] slots are free; returns how
    /// many are closing.
    fn close_idle(&self) -> usize {
        let kept = MIN_FREE.min(self.count / 4);
        match kept.saturating_sub(self.free.available_permits()) {
            0 => 0,
            wanted => self.connections.request_close(wanted),
        }
    }

    /// Waits for a slot for `peer`, closing idle connections if necessary. If its share is used
    /// up, returns a spare slot without waiting, or `None` if there is none either.
    pub(super) async fn next(&self, peer: Peer) -> Option<Slot> {
        if !self.allows(peer) {
            self.connections.request_close_of_one(peer);
            return Arc::clone(&self.spare).try_acquire_owned().ok().map(Slot::Spare);
        }
        for _ in 0..CLOSE_TIMEOUT.as_millis() / RECHECK.as_millis() {
            let slot = self.free(peer);
            if slot.is_some() {
                return slot;
            }
            if self.close_idle() == 0 {
                break;
            }
            if let Ok(permit) = timeout(RECHECK, Arc::clone(&self.free).acquire_owned()).await {
                return permit.ok().map(|permit| self.served(permit, peer));
            }
        }
        let (free, spare) = (Arc::clone(&self.free), Arc::clone(&self.spare));
        tokio::select! {
            biased;
            permit = free.acquire_owned() => permit.ok().map(|permit| self.served(permit, peer)),
            permit = spare.acquire_owned() => permit.ok().map(Slot::Spare),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const LOCAL: Peer = Peer(None);

    fn peer(address: &str) -> Peer {
        Peer::from(SocketAddr::new(address.parse().unwrap(), 1))
    }

    /// So many slots for serving, and whether another connection gets one.
    async fn take(limit: &ConnectionLimit, address: &str, most: usize) -> Vec<Slot> {
        let mut taken = Vec::new();
        while taken.len() < most {
            match limit.next(peer(address)).now_or_never() {
                Some(Some(slot @ Slot::Served(_))) => taken.push(slot),
                Some(_) => break,
                None => panic!("it waits"),
            }
        }
        taken
    }

    #[tokio::test]
    async fn connections_per_address_are_limited() {
        let limit = ConnectionLimit::new(64);
        let greedy = take(&limit, "192.0.2.1", 64).await;
        assert_eq!(greedy.len(), 48);
        let other = take(&limit, "192.0.2.2", 64).await;
        assert_eq!(other.len(), 12);
        assert_eq!(take(&limit, "2001:db8::1", 64).await.len(), 3);
        assert!(limit.free(peer("192.0.2.1")).is_none(), "nor is one for a stream");
        drop(greedy);
        assert_eq!(take(&limit, "192.0.2.1", 5).await.len(), 5);
        drop(other);
        assert!(limit.by_peer.counts().is_empty());
    }

    #[tokio::test]
    async fn sender_at_its_share_does_not_block_others() {
        let limit = ConnectionLimit::new(16);
        let taken = take(&limit, "192.0.2.1", 16).await;
        let greedy = peer("192.0.2.1");
        let mut spare = Vec::new();
        for _ in 0..SPARE {
            spare.push(limit.next(greedy).now_or_never().unwrap());
        }
        assert!(spare.iter().all(|slot| matches!(slot, Some(Slot::Spare(_)))));
        assert!(matches!(limit.next(greedy).now_or_never(), Some(None)), "it is turned away");
        assert_eq!(taken.len() + take(&limit, "192.0.2.2", 1).await.len(), 13);
    }

    #[tokio::test]
    async fn this_machine_may_have_them_all() {
        for address in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            let limit = ConnectionLimit::new(16);
            let taken: Vec<_> = (0..16).map_while(|_| limit.free(peer(address))).collect();
            assert_eq!(taken.len(), 16, "{address}");
        }
    }

    #[test]
    fn addresses_of_one_machine_are_one() {
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }

    #[tokio::test]
    async fn slots_are_taken_up_to_the_last_spare_one_and_given_back() {
        let limit = ConnectionLimit::new(2);
        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.push(limit.next(LOCAL).await.unwrap());
        }
        assert!(taken.iter().all(|slot| matches!(slot, Slot::Served(_))));
        assert!(limit.free(LOCAL).is_none());
        let mut spare = Vec::new();
        for _ in 0..SPARE {
            spare.push(limit.next(LOCAL).await.unwrap());
        }
        assert!(spare.iter().all(|slot| matches!(slot, Slot::Spare(_))));
        assert!(limit.next(LOCAL).now_or_never().is_none());
        drop(taken.pop());
        assert!(matches!(limit.next(LOCAL).now_or_never(), Some(Some(Slot::Served(_)))));
        assert!(limit.free(LOCAL).is_some());
    }

    #[test]
    fn there_are_as_many_as_descriptors_allow() {
        let limit = ConnectionLimit::of_system();
        assert!((MIN_SLOTS..=MAX_SLOTS).contains(&limit.count()));
        assert!(os::descriptors(0) >= limit.count() as u64);
    }
}
