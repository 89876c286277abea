//! Counts requests without a valid key: one row per minute and source, with the count, so that the
//! log cannot be flooded without a key.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The length of a window.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Maximum number of sources tracked; further ones share one window.
pub(super) const MAX_SOURCES: usize = 10_000;

/// Counts unauthenticated requests by source.
#[derive(Debug, Default)]
pub(super) struct Unauthenticated {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    windows: HashMap<Option<IpAddr>, Window>,
    /// Whether a task is running that writes pending counts when they are due.
    has_sweeper: bool,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    /// Requests not covered by a row yet.
    unwritten: u64,
    /// Target and error of the latest of them.
    last: (String, String),
    row: Option<String>,
}

/// Which windows to take the counts of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// Those that have ended.
    Ended,
    /// All, at shutdown.
    All,
}

/// What the caller has to do about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Count {
    /// Write a row.
    RowNeeded {
        /// Earlier requests that this row has to cover, too.
        more: u64,
        /// The window it counts in; `None` for the one shared beyond [`MAX_SOURCES`].
        window: Option<IpAddr>,
    },
    /// Nothing to write: the request was added to the count of its window.
    Added {
        /// Id of the row of the current window, once written.
        row: Option<String>,
        /// Whether the caller has to spawn the task that writes pending counts.
        needs_sweeper: bool,
    },
}

/// Requests not covered by a row yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingCount {
    /// `None` for the shared window.
    pub(super) source: Option<IpAddr>,
    /// Target of the latest request.
    pub(super) server: String,
    /// Error of the latest request.
    pub(super) what: String,
    /// Number of requests.
    pub(super) count: u64,
}

impl Unauthenticated {
    /// Counts a request for `server` from `source` that was refused at `now` because of `what`.
    pub(super) fn count(
        &self,
        source: IpAddr,
        now: Instant,
        (server, what): (&str, &str),
    ) -> Count {
        let mut counts = self.counts();
        let Counts { windows, has_sweeper } = &mut *counts;
        let source = Some(source);
        if windows.len() >= MAX_SOURCES && !windows.contains_key(&source) {
            drop_ended(windows, now);
        }
        let source = if windows.len() >= MAX_SOURCES && !windows.contains_key(&source) {
            None
        } else {
            source
        };
        let last = (server.to_owned(), what.to_owned());
        match windows.get_mut(&source) {
            Some(window) if now.duration_since(window.began) < WINDOW => {
                window.unwritten += 1;
                window.last = last;
                let needs_sweeper = !std::mem::replace(has_sweeper, true);
                Count::Added { row: window.row.clone(), needs_sweeper }
            }
            other => {
                let more = other.map_or(0, |window| window.unwritten);
                windows.insert(source, Window { began: now, unwritten: 0, last, row: None });
                Count::RowNeeded { more, window: source }
            }
        }
    }

    /// Sets the row that the current window of `source` refers to.
    pub(super) fn set_row(&self, source: Option<IpAddr>, row: Option<String>) {
        if let Some(window) = self.counts().windows.get_mut(&source) {
            window.row = row;
        }
    }

    /// Adds back `count` requests that could not be written.
    pub(super) fn add_back(&self, source: Option<IpAddr>, count: u64) {
        if let Some(window) = self.counts().windows.get_mut(&source) {
            window.unwritten += count;
        }
    }

    /// Takes the counts of `which` windows at `at`, and starts new windows.
    pub(super) fn take(&self, which: Windows, at: Instant) -> Vec<PendingCount> {
        let mut due = Vec::new();
        for (source, window) in &mut self.counts().windows {
            let has_ended = at.duration_since(window.began) >= WINDOW;
            if (which == Windows::All || has_ended) && window.unwritten > 0 {
                let count = std::mem::take(&mut window.unwritten);
                let (server, what) = window.last.clone();
                (window.began, window.row) = (at, None);
                due.push(PendingCount { source: *source, server, what, count });
            }
        }
        due
    }

    /// End of the earliest window with pending counts. `None` also ends the writing task: the
    /// next pending request has to spawn another.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let mut counts = self.counts();
        let held = counts.windows.values().filter(|window| window.unwritten > 0);
        let next = held.map(|window| window.began + WINDOW).min();
        counts.has_sweeper = next.is_some();
        next
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops ended windows without pending counts.
fn drop_ended(windows: &mut HashMap<Option<IpAddr>, Window>, now: Instant) {
    windows.retain(|_, window| window.unwritten > 0 || now.duration_since(window.began) < WINDOW);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: (&str, &str) = ("github", "no key");

    #[test]
    fn a_source_gets_one_row_a_window() {
        let unauthenticated = Unauthenticated::default();
        let (one, other): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let start = Instant::now();
        let count = |source, now| unauthenticated.count(source, now, WHAT);
        assert_eq!(count(one, start), Count::RowNeeded { more: 0, window: Some(one) });
        unauthenticated.set_row(Some(one), Some("row".to_owned()));
        for index in 0..5 {
            let row = Some("row".to_owned());
            assert_eq!(count(one, start), Count::Added { row, needs_sweeper: index == 0 });
        }
        assert_eq!(count(other, start), Count::RowNeeded { more: 0, window: Some(other) });
        assert_eq!(count(one, start + WINDOW), Count::RowNeeded { more: 5, window: Some(one) });
        assert_eq!(count(one, start + WINDOW), Count::Added { row: None, needs_sweeper: false });
    }

    #[test]
    fn pending_counts_are_due_when_their_window_ends() {
        let unauthenticated = Unauthenticated::default();
        let source: IpAddr = [127, 0, 0, 1].into();
        let start = Instant::now();
        let held = |count| PendingCount {
            source: Some(source),
            server: "notion".to_owned(),
            what: "no key".to_owned(),
            count,
        };
        unauthenticated.count(source, start, WHAT);
        assert_eq!(unauthenticated.next_end(), None);
        for _ in 0..3 {
            unauthenticated.count(source, start, ("notion", "no key"));
        }
        assert_eq!(unauthenticated.next_end(), Some(start + WINDOW));
        assert_eq!(unauthenticated.take(Windows::Ended, start + WINDOW / 2), []);
        assert_eq!(unauthenticated.take(Windows::Ended, start + WINDOW), [held(3)]);
        // It is the row of the next window, too: one a minute.
        unauthenticated.set_row(Some(source), Some("row".to_owned()));
        let next = unauthenticated.count(source, start + WINDOW, ("notion", "no key"));
        assert!(matches!(next, Count::Added { row: Some(_), .. }), "{next:?}");
        unauthenticated.add_back(Some(source), 2);
        assert_eq!(unauthenticated.take(Windows::All, start + WINDOW), [held(3)]);
        assert_eq!(
            (unauthenticated.take(Windows::All, start + WINDOW), unauthenticated.next_end()),
            (vec![], None)
        );
    }

    #[test]
    fn more_sources_than_fit_are_counted_together() {
        let unauthenticated = Unauthenticated::default();
        let start = Instant::now();
        let source = |n: usize| IpAddr::from(std::net::Ipv4Addr::from_bits(n as u32));
        for n in 0..MAX_SOURCES {
            let under = Some(source(n));
            assert_eq!(
                unauthenticated.count(source(n), start, WHAT),
                Count::RowNeeded { more: 0, window: under }
            );
        }
        let beyond = unauthenticated.count(source(MAX_SOURCES), start, WHAT);
        assert_eq!(beyond, Count::RowNeeded { more: 0, window: None });
        let known = unauthenticated.count(source(1), start, WHAT);
        assert!(matches!(known, Count::Added { .. }), "it has a window of its own: {known:?}");
        for n in 1..3 {
            let next = unauthenticated.count(source(MAX_SOURCES + n), start, WHAT);
            assert!(matches!(next, Count::Added { .. }), "{next:?}");
        }
        let mut due = unauthenticated.take(Windows::All, start);
        due.sort_by_key(|held| held.source);
        let due: Vec<_> = due.into_iter().map(|held| (held.source, held.count)).collect();
        assert_eq!(due, [(None, 2), (Some(source(1)), 1)]);
    }
}
