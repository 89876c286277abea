//! The leader of a group commit: a caller that commits its own rows and those queued by
//! others.

use std::time::{Duration, Instant};

use super::{Attempt, MAX_GROUP, Shared};

/// Maximum number of groups that a leader commits for others before the store's thread takes
/// over.
const MAX_GROUPS_HERE: usize = 4;

/// Number of queued rows and results with a single caller: the row, and the result of the
/// previous one. More mean concurrent callers.
const ALONE: usize = 2;

/// How long a leader lets others queue their rows before it commits.
const MAX_GATHERING: Duration = Duration::from_millis(1);

/// The leadership of a group commit. Dropped early, it leaves what is queued to the store's
/// thread.
pub(in crate::store) struct GroupCommit<'s> {
    pub(super) shared: &'s Shared,
    pub(super) done: bool,
}

impl GroupCommit<'_> {
    /// Where several callers are recording, lets the tasks that are ready queue their rows
    /// first, as long as some do. Waiting for tasks that are not ready would enlarge groups
    /// without raising throughput: all would wait for each other.
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

    /// Ensures that what is queued is written: here, or on the store's thread.
    pub(in crate::store) fn commit(mut self) {
        for _ in 0..MAX_GROUPS_HERE {
            if self.shared.commit_here() == Attempt::NotNow || self.is_over() {
                return;
            }
        }
    }

    /// Whether nothing is left to commit. A row that is queued later finds no leader: both are
    /// checked under one lock.
    fn is_over(&mut self) -> bool {
        let mut queue = self.shared.queue();
        self.done = queue.rows.is_empty();
        queue.leader_active = !self.done;
        self.done
    }
}

impl Drop for GroupCommit<'_> {
    fn drop(&mut self) {
        // Once it is done, another caller may lead.
        if !self.done {
            self.shared.queue().leader_active = false;
            self.shared.wake();
        }
    }
}
