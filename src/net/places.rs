//! Places for clients: so many for the whole process, so that neither memory nor
//! descriptors run out. A connection takes one, and over HTTP/2 each request on it takes
//! one more. Before the last are taken, connections that are idle are asked to give theirs.
//! Who comes when all are taken is answered 503 on one of a few spare places; when those
//! are taken too, connections wait in the system's queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::idle::{Connections, LEAVE};
use crate::os;

/// Places at most; fewer where the system gives fewer descriptors.
const MAX_PLACES: usize = 3 << 10;

/// Places to say on that there are none.
const SPARE: usize = 32;

/// Descriptors for everything else: the log, policies, servers' children, lanes.
const RESERVED: u64 = 256;

/// Descriptors that a place may come to: the client's connection, one to the upstream, and
/// another that is kept for later.
const PER_PLACE: u64 = 3;

/// Places that are kept free while there are idle connections; a quarter of all where
/// that is less.
const KEPT_FREE: usize = 32;

/// How long it is before more connections are asked to leave, where somebody waits for
/// the place of one.
const LOOK: Duration = Duration::from_millis(20);

/// Places at least, on a system that gives next to nothing.
const MIN_PLACES: usize = 16;

/// The places of a process; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    count: usize,
    connections: Connections,
}

/// A place; dropped, it is free again.
#[derive(Debug)]
pub(super) enum Place {
    /// One to be served on.
    Served(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    /// One to be told on that there is no other.
    Spare(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

impl Places {
    /// As many as the system has descriptors for, which are asked for.
    pub(super) fn of_system() -> Self {
        let wanted = MAX_PLACES as u64 * PER_PLACE + RESERVED;
        let fitting = os::descriptors(wanted).saturating_sub(RESERVED) / PER_PLACE;
        let fitting = usize::try_from(fitting).unwrap_or(MAX_PLACES);
        Self::new(fitting.clamp(MIN_PLACES, MAX_PLACES))
    }

    fn new(count: usize) -> Self {
        let (free, spare) = (Semaphore::new(count), Semaphore::new(SPARE));
        let connections = Connections::default();
        Self { free: Arc::new(free), spare: Arc::new(spare), count, connections }
    }

    /// How many there are in all.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The connections that may be asked to give theirs.
    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// A place to be served on, where one is free.
    pub(super) fn free(&self) -> Option<Place> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok().map(Place::Served);
        self.make_room();
        place
    }

    /// Asks idle connections to leave, where the last places are about to be taken; gives
    /// how many do.
    fn make_room(&self) -> usize {
        let kept = KEPT_FREE.min(self.count / 4);
        match kept.saturating_sub(self.free.available_permits()) {
            0 => 0,
            wanted => self.connections.ask(wanted),
        }
    }

    /// The next place that is free, or that an idle connection gives; a spare one only
    /// where there is no other.
    pub(super) async fn next(&self) -> Option<Place> {
        for _ in 0..LEAVE.as_millis() / LOOK.as_millis() {
            let place = self.free();
            if place.is_some() {
                return place;
            }
            if self.make_room() == 0 {
                break;
            }
            if let Ok(place) = timeout(LOOK, Arc::clone(&self.free).acquire_owned()).await {
                return place.ok().map(Place::Served);
            }
        }
        let (free, spare) = (Arc::clone(&self.free), Arc::clone(&self.spare));
        tokio::select! {
            biased;
            place = free.acquire_owned() => place.ok().map(Place::Served),
            place = spare.acquire_owned() => place.ok().map(Place::Spare),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn places_are_taken_up_to_the_last_spare_one_and_given_back() {
        let places = Places::new(2);
        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.push(places.next().await.unwrap());
        }
        assert!(taken.iter().all(|place| matches!(place, Place::Served(_))));
        assert!(places.free().is_none());
        let mut spare = Vec::new();
        for _ in 0..SPARE {
            spare.push(places.next().await.unwrap());
        }
        assert!(spare.iter().all(|place| matches!(place, Place::Spare(_))));
        assert!(places.next().now_or_never().is_none());
        drop(taken.pop());
        assert!(matches!(places.next().now_or_never(), Some(Some(Place::Served(_)))));
        assert!(places.free().is_some());
    }

    #[test]
    fn there_are_as_many_as_descriptors_allow() {
        let places = Places::of_system();
        assert!((MIN_PLACES..=MAX_PLACES).contains(&places.count()));
        assert!(os::descriptors(0) >= places.count() as u64);
    }
}
