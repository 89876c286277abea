//! The writer: group commit of rows and results.
//!
//! A caller that finds no other writer becomes the leader: it commits on its own thread
//! everything that is queued, without a hand-over or wake-up. Under load it first lets the
//! tasks that are ready queue their rows ([`GroupCommit::gather`]), so that many rows share
//! one commit; a caller that finds a leader leaves its row to it. Where the ledger or the
//! lock is held otherwise, the caller wakes the store's own thread, which may block, so an
//! async caller never does. Results are written with the next commit, or after
//! [`RESULTS_WAIT`].

mod check;
mod group_commit;
mod upkeep;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::audit::{Completion, Draft, Recorded, RowId};
use super::chain::Keys;
use super::group::{Job, Notifications, write_group};
use super::ledger::{Ledger, NotBegun};
use super::{Options, StoreError};
use check::WriteHealth;
pub(super) use group_commit::GroupCommit;

/// How long a result waits for a commit to be written with.
const RESULTS_WAIT: Duration = Duration::from_millis(20);

/// How long after a write the head is recorded in the `-head` file.
const RECORD_WAIT: Duration = Duration::from_secs(2);

/// Effectively forever.
const FOREVER: Duration = Duration::from_secs(86_400);

/// Delay before results are retried after a failed attempt.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// How long closing waits for the write lock: a program told to stop must exit soon.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of rows in one transaction, and of results.
const MAX_GROUP: usize = 256;

/// Maximum number of groups committed before other processes and the index get their turn.
const MAX_GROUPS: usize = 16;

/// Maximum number of queued results while the log cannot be written; beyond it the oldest are
/// dropped.
const MAX_WAITING_RESULTS: usize = 10_000;

/// Writes the rows of one database.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    options: Options,
    keys: ArcSwap<Keys>,
    queue: Mutex<Queue>,
    /// Wakes the store's thread.
    work: Condvar,
    ledger: Mutex<Ledger>,
    health: WriteHealth,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The queue, and what the store's thread has to do when.
#[derive(Default)]
struct Queue {
    rows: VecDeque<Job>,
    results: VecDeque<(RowId, Completion)>,
    /// When the results are due.
    results_due: Option<Instant>,
    /// When the head has to be recorded.
    record_due: Option<Instant>,
    /// When it was last recorded.
    recorded_at: Option<Instant>,
    /// Whether the store's thread has something to do at once.
    urgent: bool,
    /// Until when the store's thread sleeps, unless it is woken.
    sleeps_until: Option<Instant>,
    /// Whether a caller leads a group commit; it checks the queue again before it stops.
    leader_active: bool,
    closed: bool,
}

/// What the store's thread has to do.
enum Task {
    /// Rows or results are to be written.
    Write,
    /// The head is to be recorded.
    RecordHead,
}

/// The outcome of an attempt to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Done,
    /// It failed; the callers have been notified.
    Failed,
    /// Another writer is active, or something that takes longer has to be done.
    NotNow,
}

/// What to do if a program that ignores our lock is writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfBusy {
    /// Leave the group to the store's thread, which may wait.
    Return,
    /// Fail the rows.
    Fail,
}

impl Writer {
    /// Opens the database and starts the thread.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let ledger = Ledger::open(path, options, None)?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            options: options.clone(),
            keys: ArcSwap::new(Arc::clone(ledger.keys())),
            queue: Mutex::default(),
            work: Condvar::new(),
            ledger: Mutex::new(ledger),
            health: WriteHealth::default(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("audit".to_owned()).spawn(move || shared.work())
        };
        let thread = thread.map_err(|error| StoreError::open(path, error))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A row that is drafted already. Computes its digest here, outside the transaction.
    pub(super) fn job(
        &self,
        draft: Draft,
        notify: impl FnOnce(Result<Recorded, StoreError>) + Send + 'static,
    ) -> Job {
        let keys = self.shared.keys.load_full();
        let digest = keys.digest(&draft.canonical_args);
        Job::drafted(draft, (keys, digest), notify)
    }

    /// Queues `job` for the next commit: [`Writer::group_commit`] has to follow.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = self.shared.queue();
        if queue.closed {
            drop(queue);
            job.fail(StoreError::Closed);
            return;
        }
        queue.rows.push_back(job);
    }

    /// Becomes the leader; `None` if nothing is queued, or there is a leader.
    pub(super) fn group_commit(&self) -> Option<GroupCommit<'_>> {
        let mut queue = self.shared.queue();
        let free = !queue.rows.is_empty() && !queue.leader_active;
        queue.leader_active |= free;
        free.then(|| GroupCommit { shared: &self.shared, done: false })
    }

    /// Queues a result.
    pub(super) fn complete(&self, id: &RowId, completion: Completion) {
        let shared = &*self.shared;
        let mut queue = shared.queue();
        if queue.closed {
            drop(queue);
            tracing::error!(id = id.as_str(), "a result came after the audit log was closed");
            return;
        }
        if queue.results.len() >= MAX_WAITING_RESULTS
            && let Some((id, _)) = queue.results.pop_front()
        {
            tracing::error!(id = id.as_str(), "a result is lost: too many wait to be written");
        }
        queue.results.push_back((*id, completion));
        if queue.results_due.is_none() {
            let due = Instant::now() + RESULTS_WAIT;
            queue.results_due = Some(due);
            shared.wake_by(&mut queue, due);
        }
    }

    /// Writes what is queued and ends the thread.
    pub(super) fn close(&self) {
        {
            let mut queue = self.shared.queue();
            queue.closed = true;
            self.shared.wake_now(&mut queue);
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit log's thread had panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    /// Rows and results that wait.
    fn waiting(&self) -> usize {
        self.rows.len() + self.results.len()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the store's thread to write.
    fn wake(&self) {
        let mut queue = self.queue();
        queue.urgent = true;
        self.wake_now(&mut queue);
    }

    /// Wakes the store's thread if it sleeps; otherwise it checks the queue by itself.
    fn wake_now(&self, queue: &mut Queue) {
        if queue.sleeps_until.take().is_some() {
            self.work.notify_one();
        }
    }

    /// Wakes it if it would sleep beyond `due`.
    fn wake_by(&self, queue: &mut Queue, due: Instant) {
        if queue.sleeps_until.is_some_and(|until| until > due) {
            self.wake_now(queue);
        }
    }

    /// Commits what is queued, if that is possible without waiting.
    fn commit_here(&self) -> Attempt {
        let mut ledger = match self.ledger.try_lock() {
            Ok(ledger) => ledger,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Attempt::NotNow,
        };
        if ledger.is_broken() || ledger.needs_indexing() {
            return Attempt::NotNow;
        }
        let Ok(Some(held)) = ledger.lock().try_take() else { return Attempt::NotNow };
        ledger.set_busy_timeout(Duration::ZERO);
        let (attempt, notifications) = self.commit_group(&mut ledger, IfBusy::Return);
        drop(held);
        let behind = ledger.wants_indexing();
        drop(ledger);
        notifications.notify();
        if behind {
            self.wake();
        }
        attempt
    }

    /// Commits one group from the queue. The callers are to be notified after the locks are
    /// released. The write lock must be held.
    fn commit_group(&self, ledger: &mut Ledger, if_busy: IfBusy) -> (Attempt, Notifications) {
        let mut notifications = Notifications::default();
        let mut transaction = match ledger.begin() {
            Ok(transaction) => transaction,
            Err(NotBegun::Busy(_)) if if_busy == IfBusy::Return => {
                return (Attempt::NotNow, notifications);
            }
            Err(error) => {
                self.fail_rows(&error.into());
                return (Attempt::Failed, notifications);
            }
        };
        let (rows, results) = self.take_group();
        let written = write_group(&mut transaction, rows, &results, &mut notifications)
            .and_then(|()| transaction.commit());
        match written {
            Ok(()) => {
                self.health.set_last(Ok(()));
                (Attempt::Done, notifications)
            }
            Err(error) => {
                self.health.set_last(Err(error.clone()));
                notifications.error = Some(error);
                self.put_back(results);
                (Attempt::Failed, notifications)
            }
        }
    }

    fn take_group(&self) -> (Vec<Job>, Vec<(RowId, Completion)>) {
        let mut queue = self.queue();
        let rows = queue.rows.len().min(MAX_GROUP);
        let results = queue.results.len().min(MAX_GROUP);
        let rows = queue.rows.drain(..rows).collect();
        let results = queue.results.drain(..results).collect();
        if queue.results.is_empty() {
            queue.results_due = None;
        }
        if queue.record_due.is_none() {
            let due = Instant::now() + RECORD_WAIT;
            queue.record_due = Some(due);
            self.wake_by(&mut queue, due);
        }
        (rows, results)
    }

    fn put_back(&self, results: Vec<(RowId, Completion)>) {
        let mut queue = self.queue();
        for result in results.into_iter().rev() {
            queue.results.push_front(result);
        }
        if !queue.results.is_empty() {
            queue.results_due = Some(Instant::now() + RETRY_WAIT);
        }
    }

    /// Notifies all waiting callers of `error`; results stay queued.
    fn fail_rows(&self, error: &StoreError) {
        self.health.set_last(Err(error.clone()));
        let rows: Vec<Job> = {
            let mut queue = self.queue();
            if queue.results_due.is_some() {
                queue.results_due = Some(Instant::now() + RETRY_WAIT);
            }
            queue.rows.drain(..).collect()
        };
        for job in rows {
            job.fail(error.clone());
        }
    }

    // === the store's own thread ===

    fn work(&self) {
        while let Some(task) = self.wait_for_work() {
            match task {
                Task::Write => self.serve(),
                Task::RecordHead => self.verify_and_record(),
            }
        }
        self.serve();
        let lost = self.queue().results.len();
        if lost > 0 {
            tracing::error!(lost, "results are lost: the audit log could not be written");
        }
    }

    /// Sleeps until there is something to do; `None` if it is to end.
    fn wait_for_work(&self) -> Option<Task> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            let now = Instant::now();
            let until = |due: Option<Instant>| {
                due.map_or(FOREVER, |due| due.saturating_duration_since(now))
            };
            let (results, record) = (until(queue.results_due), until(queue.record_due));
            if std::mem::take(&mut queue.urgent) || results.is_zero() {
                return Some(Task::Write);
            }
            if record.is_zero() {
                queue.record_due = None;
                return Some(Task::RecordHead);
            }
            let nap = results.min(record);
            queue.sleeps_until = Some(now + nap);
            let woken = self.work.wait_timeout(queue, nap);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
            queue.sleeps_until = None;
        }
    }

    /// Commits until the queue is empty, then does maintenance.
    fn serve(&self) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let timeout = match self.queue().closed {
            true => self.options.lock_timeout.min(CLOSE_TIMEOUT),
            false => self.options.lock_timeout,
        };
        if let Err(error) = self.mend(&mut ledger, timeout) {
            return self.fail_rows(&error);
        }
        let held = match ledger.lock().take(timeout) {
            Ok(Some(held)) => held,
            Ok(None) => return self.fail_rows(&StoreError::busy(&self.path, timeout)),
            Err(error) => return self.fail_rows(&StoreError::open(&self.path, error)),
        };
        ledger.set_busy_timeout(timeout);
        for _ in 0..MAX_GROUPS {
            if !self.has_work() {
                break;
            }
            let (attempt, notifications) = self.commit_group(&mut ledger, IfBusy::Fail);
            notifications.notify();
            if attempt == Attempt::Failed {
                return;
            }
        }
        if self.has_work() {
            self.queue().urgent = true;
        }
        if self.queue().closed {
            self.record_final_head(&mut ledger);
        }
        if ledger.wants_indexing() {
            self.index(ledger, held);
        }
    }

    fn has_work(&self) -> bool {
        let queue = self.queue();
        let due = queue.results_due.is_some_and(|due| due <= Instant::now());
        !queue.rows.is_empty() || due || (queue.closed && !queue.results.is_empty())
    }
}
