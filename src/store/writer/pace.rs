//! For how many rows a commit waits: under load each row's share of its cost becomes less the
//! more share it.
//!
//! How many come is learnt from those that came: a commit waits only where the ones before
//! had several rows, and for hardly more of them. Where it waits in vain, because all who
//! might come wait themselves, it waits for fewer, and tries more again after [`HOLD`].

use std::time::{Duration, Instant};

/// Rows that are worth waiting for at least: fewer callers are served at once.
const FEWEST: usize = 4;

/// Rows that a commit waits for at most.
const MOST: usize = 24;

/// How long a commit waits where rows come; looked at whenever one does.
const WAIT: Duration = Duration::from_micros(400);

/// How long after a commit the rows that came with it say that there are as many callers.
const FRESH: Duration = Duration::from_millis(1);

/// How long no more are waited for after a wait in vain.
const HOLD: Duration = Duration::from_millis(100);

/// How many rows are worth waiting for.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// So many may come; fewer than [`FEWEST`] are not waited for.
    target: usize,
    /// When the last group was complete.
    last: Option<Instant>,
    /// It does not grow before.
    held: Option<Instant>,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// So many rows,
    rows: usize,
    /// or until then.
    until: Instant,
}

/// How a group came to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathered {
    /// Nothing was waited for.
    AtOnce,
    /// All who were waited for came, or others while it lasted.
    Waited,
    /// In the end, nobody came any more.
    InVain,
}

impl Pace {
    /// What a commit has to wait for that has so many `rows` at `now`; nothing, in most cases.
    pub(super) fn wait(&self, rows: usize, now: Instant) -> Option<Wait> {
        let lively = self.last.is_some_and(|last| now.saturating_duration_since(last) < FRESH);
        let wanted = lively && self.target >= FEWEST && rows < self.target;
        wanted.then(|| Wait { rows: self.target, until: now + WAIT })
    }

    /// Learns from a group of so many `rows`.
    pub(super) fn grouped(&mut self, rows: usize, gathered: Gathered, now: Instant) {
        self.last = Some(now);
        let held = self.held.is_some_and(|held| now < held);
        match gathered {
            Gathered::InVain => {
                // A quarter less: not all callers are ever ready at once.
                self.target = rows - rows / 4;
                self.held = Some(now + HOLD);
            }
            _ if held => {}
            Gathered::Waited => self.target = (rows + 1).min(MOST),
            Gathered::AtOnce => self.target = self.target.max(rows.min(MOST)),
        }
    }
}

impl Wait {
    /// Whether it is over with so many `rows` at `now`.
    pub(super) fn is_over(self, rows: usize, now: Instant) -> bool {
        rows >= self.rows || now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment after a group.
    const SOON: Duration = Duration::from_micros(50);

    #[test]
    fn few_callers_are_served_at_once() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for rows in [1, 2, 3, 1, 3, 3, 2] {
            assert_eq!(pace.wait(rows, now + SOON), None);
            now += SOON;
            pace.grouped(rows, Gathered::AtOnce, now);
        }
    }

    #[test]
    fn many_callers_are_waited_for_while_they_come() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pace.grouped(5, Gathered::AtOnce, now);
        // As many as the group before had, then one more each time.
        for wanted in (5..=MOST).chain([MOST]) {
            now += SOON;
            let wait = pace.wait(1, now).unwrap();
            assert_eq!(wait, Wait { rows: wanted, until: now + WAIT });
            assert!(!wait.is_over(wanted - 1, now + SOON) && wait.is_over(wanted, now + SOON));
            assert!(wait.is_over(1, now + WAIT));
            assert_eq!(pace.wait(wanted, now), None, "all are there");
            pace.grouped(wanted, Gathered::Waited, now);
        }
        // As many as came while it lasted.
        pace.grouped(9, Gathered::Waited, now);
        assert_eq!(pace.wait(1, now).unwrap().rows, 10);
        assert_eq!(pace.wait(1, now + FRESH), None, "nobody came for a while");
    }

    #[test]
    fn after_a_wait_in_vain_fewer_are_waited_for_and_more_only_later() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pace.grouped(16, Gathered::AtOnce, now);
        pace.grouped(8, Gathered::InVain, now);
        for (rows, gathered) in [(6, Gathered::Waited), (20, Gathered::AtOnce)] {
            assert_eq!(pace.wait(1, now).unwrap().rows, 6);
            pace.grouped(rows, gathered, now);
        }
        now += HOLD;
        pace.grouped(6, Gathered::Waited, now);
        assert_eq!(pace.wait(1, now).unwrap().rows, 7);
        // A single caller waits once.
        pace.grouped(1, Gathered::InVain, now);
        assert_eq!(pace.wait(1, now), None);
    }
}
