//! A caller's turn to commit: whom it waits for, and what it commits.

use std::time::{Duration, Instant};

use super::{Attempt, MAX_GROUP, Shared};

/// Groups that a caller commits for others, before the store's thread takes over.
const MAX_GROUPS_HERE: usize = 4;

/// Rows and results that wait where one caller after the other records: the row
/// and the result of the one before. More of them say that there are several.
const ALONE: usize = 2;

/// How long a caller lets others queue their rows before it commits.
const MAX_GATHERING: Duration = Duration::from_millis(1);

/// A caller's turn to commit, its own rows and those that others queue meanwhile.
/// Given up, it leaves what is queued to the store's thread.
pub(in crate::store) struct Turn<'s> {
    pub(super) shared: &'s Shared,
    pub(super) over: bool,
}

impl Turn<'_> {
    /// Where several callers record at the moment, lets the tasks that are ready
    /// queue their rows first, for as long as some do. To wait for those that are not
    /// makes larger groups and no more of them: all would wait for each other.
    pub(in crate::store) async fn gather(&mut self) {
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
            self.shared.queue().taken = false;
            self.shared.wake();
        }
    }
}
