//! A caller's turn to commit: whom it waits for, and what it commits.

use std::time::{Duration, Instant};

use super::pace::Gathered;
use super::{Attempt, MAX_GROUP, Shared};

/// Groups that a caller commits for others, before the store's thread takes over.
const MAX_GROUPS_HERE: usize = 4;

/// Rows and results that wait where one caller after the other records: the row
/// and the result of the one before. More of them say that there are several.
const ALONE: usize = 2;

/// How long a caller lets others queue their rows before it commits: where none come any
/// more, for as long as a timer takes.
const MAX_GATHERING: Duration = Duration::from_millis(1);

/// A caller's turn to commit, its own rows and those that others queue meanwhile.
/// Given up, it leaves what is queued to the store's thread.
pub(in crate::store) struct Turn<'s> {
    pub(super) shared: &'s Shared,
    pub(super) over: bool,
}

impl Turn<'_> {
    /// Where several callers record at the moment, lets others queue their rows first. Needs
    /// a runtime with timers.
    pub(in crate::store) async fn gather(&mut self) {
        let wait = self.shared.begin_waiting();
        match wait {
            Some(_) => drop(tokio::time::timeout(MAX_GATHERING, self.gather_expected()).await),
            None => self.gather_ready().await,
        }
        let mut queue = self.shared.queue();
        let gathered = match (wait, queue.wait.take()) {
            (None, _) => Gathered::AtOnce,
            (Some(_), None) => Gathered::Waited,
            (Some(_), Some(_)) => Gathered::InVain,
        };
        let rows = queue.rows.len();
        queue.pace.grouped(rows, gathered, Instant::now());
    }

    /// Waits until those are there who were expected. A wake-up may be for somebody before.
    async fn gather_expected(&self) {
        while self.shared.queue().wait.is_some() {
            self.shared.gathered.notified().await;
        }
    }

    /// Lets the tasks that are ready queue their rows, for as long as some do.
    async fn gather_ready(&self) {
        let began = Instant::now();
        let mut seen = ALONE;
        loop {
            let waiting = self.shared.queue().waiting();
            if waiting <= seen || waiting >= MAX_GROUP || began.elapsed() > MAX_GATHERING {
                return;
            }
            seen = waiting;
            tokio::task::yield_now().await;
        }
    }

    /// Sees to it that what is queued is written: here, or on the store's thread.
    pub(in crate::store) fn commit(mut self) {
        for _ in 0..MAX_GROUPS_HERE {
            if self.shared.commit_here() == Attempt::NotNow || self.is_over() {
                return;
            }
        }
    }

    /// Whether nothing is left to commit. A row that is queued later finds the
    /// turn free: both are looked at under one lock.
    fn is_over(&mut self) -> bool {
        let mut queue = self.shared.queue();
        self.over = queue.rows.is_empty();
        queue.taken = !self.over;
        self.over
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Once it is over, the turn may be another's.
        if !self.over {
            let mut queue = self.shared.queue();
            (queue.taken, queue.wait) = (false, None);
            drop(queue);
            self.shared.wake();
        }
    }
}
