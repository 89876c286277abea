//! Who commits, and when.
//!
//! A caller that finds nobody else writing commits at once, on its own thread,
//! and takes everything queued along: no hand-over, no wake-up. Under load it lets
//! the tasks that are ready queue theirs first ([`Turn::gather`]), so that many
//! rows share one commit; who finds the turn taken leaves its row to it. A
//! caller that finds the ledger or the lock taken otherwise wakes the store's own
//! thread, which may wait; so an async caller never blocks. Results ride along
//! with the next commit, or go after [`RESULTS_WAIT`].

mod check;
mod turn;
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
use super::group::{Job, Told, write_group};
use super::ledger::{Ledger, NotBegun};
use super::{Options, StoreError};
use check::Standing;
pub(super) use turn::Turn;

/// How long a result waits for a commit to ride along with.
const RESULTS_WAIT: Duration = Duration::from_millis(20);

/// How long after something was written the newest entry is noted beside the log.
const NOTE_WAIT: Duration = Duration::from_secs(2);

/// As good as for ever.
const LONG: Duration = Duration::from_secs(86_400);

/// How long results wait after a failed try.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// How long closing waits for other processes that write: a program told to
/// stop has to be gone soon.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Rows and results in one transaction, at most.
const MAX_GROUP: usize = 256;

/// Groups committed before other processes and the index have their turn.
const MAX_GROUPS: usize = 16;

/// Results that wait while the log cannot be written; beyond it the oldest go.
const MAX_WAITING_RESULTS: usize = 10_000;

/// The writer of one database.
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
    standing: Standing,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What waits to be written.
#[derive(Default)]
struct Queue {
    rows: VecDeque<Job>,
    results: VecDeque<(RowId, Completion)>,
    /// When the results go at the latest.
    results_due: Option<Instant>,
    /// When the newest entry is noted at the latest.
    note_due: Option<Instant>,
    /// When it was noted last.
    noted: Option<Instant>,
    /// The store's thread has something to do at once.
    urgent: bool,
    /// Until when the store's thread sleeps, unless it is woken.
    sleeps_until: Option<Instant>,
    /// A caller has the turn to commit, and looks here again before it stops.
    taken: bool,
    closed: bool,
}

/// What the store's thread is woken for.
enum Task {
    /// Rows or results are to be written.
    Write,
    /// The newest entry is to be noted.
    Note,
}

/// What came of a try to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Done,
    /// It cannot be done; whoever waits has been told.
    Failed,
    /// Somebody else writes, or there is something to do that takes longer.
    NotNow,
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
            standing: Standing::default(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("audit".to_owned()).spawn(move || shared.work())
        };
        let thread = thread.map_err(|error| StoreError::open(path, error))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A row that is drafted already: its digest is computed here, outside the
    /// transaction.
    pub(super) fn job(
        &self,
        draft: Draft,
        deliver: impl FnOnce(Result<Recorded, StoreError>) + Send + 'static,
    ) -> Job {
        let keys = self.shared.keys.load_full();
        let digest = keys.digest(&draft.canonical_args);
        Job::drafted(draft, (keys, digest), deliver)
    }

    /// Queues `job` for the next commit: [`Writer::turn`] has to follow.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = self.shared.queue();
        if queue.closed {
            drop(queue);
            job.refuse(StoreError::Closed);
            return;
        }
        queue.rows.push_back(job);
    }

    /// The turn to commit what is queued; `None` where there is nothing, or where
    /// somebody has it.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let mut queue = self.shared.queue();
        let free = !queue.rows.is_empty() && !queue.taken;
        queue.taken |= free;
        free.then(|| Turn { shared: &self.shared, over: false })
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

    /// Wakes the store's thread where it sleeps: awake, it looks at the queue by itself.
    fn wake_now(&self, queue: &mut Queue) {
        if queue.sleeps_until.take().is_some() {
            self.work.notify_one();
        }
    }

    /// Wakes it where it would sleep for longer than until `due`.
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
        ledger.set_patience(Duration::ZERO);
        let (attempt, told) = self.commit_group(&mut ledger, false);
        drop(held);
        let behind = ledger.wants_indexing();
        drop(ledger);
        told.tell();
        if behind {
            self.wake();
        }
        attempt
    }

    /// Commits one group from the queue. Whoever waits is to be told after the
    /// locks are released. The caller holds the write lock.
    fn commit_group(&self, ledger: &mut Ledger, patient: bool) -> (Attempt, Told) {
        let mut told = Told::default();
        let mut transaction = match ledger.begin() {
            Ok(transaction) => transaction,
            Err(NotBegun::Busy(_)) if !patient => return (Attempt::NotNow, told),
            Err(error) => {
                self.fail_rows(&error.into());
                return (Attempt::Failed, told);
            }
        };
        let (rows, results) = self.take_group();
        let written = write_group(&mut transaction, rows, &results, &mut told)
            .and_then(|()| transaction.commit());
        match written {
            Ok(()) => {
                self.standing.note(Ok(()));
                (Attempt::Done, told)
            }
            Err(error) => {
                self.standing.note(Err(error.clone()));
                told.error = Some(error);
                self.put_back(results);
                (Attempt::Failed, told)
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
        if queue.note_due.is_none() {
            let due = Instant::now() + NOTE_WAIT;
            queue.note_due = Some(due);
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

    /// Tells everybody who waits that it cannot be done; results stay.
    fn fail_rows(&self, error: &StoreError) {
        self.standing.note(Err(error.clone()));
        let rows: Vec<Job> = {
            let mut queue = self.queue();
            if queue.results_due.is_some() {
                queue.results_due = Some(Instant::now() + RETRY_WAIT);
            }
            queue.rows.drain(..).collect()
        };
        for job in rows {
            job.refuse(error.clone());
        }
    }

    // === the store's own thread ===

    fn work(&self) {
        while let Some(task) = self.wait_for_work() {
            match task {
                Task::Write => self.serve(),
                Task::Note => self.note_newest(),
            }
        }
        self.serve();
        let lost = self.queue().results.len();
        if lost > 0 {
            tracing::error!(lost, "results are lost: the audit log could not be written");
        }
    }

    /// Sleeps until there is something to do; `None` where it is to end.
    fn wait_for_work(&self) -> Option<Task> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            let now = Instant::now();
            let until =
                |due: Option<Instant>| due.map_or(LONG, |due| due.saturating_duration_since(now));
            let (results, note) = (until(queue.results_due), until(queue.note_due));
            if std::mem::take(&mut queue.urgent) || results.is_zero() {
                return Some(Task::Write);
            }
            if note.is_zero() {
                queue.note_due = None;
                return Some(Task::Note);
            }
            let nap = results.min(note);
            queue.sleeps_until = Some(now + nap);
            let woken = self.work.wait_timeout(queue, nap);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
            queue.sleeps_until = None;
        }
    }

    /// Commits until the queue is empty, then does the house-keeping.
    fn serve(&self) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = match self.queue().closed {
            true => self.options.patience.min(CLOSE_PATIENCE),
            false => self.options.patience,
        };
        if let Err(error) = self.mend(&mut ledger, patience) {
            return self.fail_rows(&error);
        }
        let held = match ledger.lock().take(patience) {
            Ok(Some(held)) => held,
            Ok(None) => return self.fail_rows(&StoreError::busy(&self.path, patience)),
            Err(error) => return self.fail_rows(&StoreError::open(&self.path, error)),
        };
        ledger.set_patience(patience);
        for _ in 0..MAX_GROUPS {
            if !self.has_work() {
                break;
            }
            let (attempt, told) = self.commit_group(&mut ledger, true);
            told.tell();
            if attempt == Attempt::Failed {
                return;
            }
        }
        if self.has_work() {
            self.queue().urgent = true;
        }
        if self.queue().closed {
            self.note_end(&mut ledger);
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
