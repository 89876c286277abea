//! Group commit: the rows written in one transaction, and the callers that wait for them.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::StoreError;
use super::append::Appender;
use super::audit::{Completion, Draft, Recorded, RowId};
use super::chain::{Hash, Keys};
use super::ledger::Transaction;
use crate::action::Agent;
use crate::policy::Limit;
use crate::rate::{Demand, Usage};

/// Drafts the row; called with the error if it will not be written.
pub(super) type DraftFn =
    Box<dyn FnOnce(Result<Vec<Usage>, StoreError>) -> Option<(Box<Draft>, NotifyFn)> + Send>;

/// Notifies the caller that the row is committed, or of the error.
pub(super) type NotifyFn = Box<dyn FnOnce(Result<Recorded, StoreError>) + Send>;

/// A row to be written.
pub(super) struct Job {
    agent: Arc<str>,
    limits: Vec<Limit>,
    /// How many requests it counts as.
    requests: u32,
    work: Work,
    /// The runtime of the waiting caller.
    runtime: Option<Handle>,
}

/// Source of a job's row.
enum Work {
    /// Already drafted, with the digest of its arguments.
    Drafted { draft: Box<Draft>, digest: (Arc<Keys>, Hash), notify: NotifyFn },
    /// Drafted inside the transaction.
    Deferred(DraftFn),
}

impl Job {
    /// A row that `draft_row` drafts inside the transaction.
    pub(super) fn new(
        agent: &Agent,
        demand: Demand<'_>,
        draft_row: impl FnOnce(Result<Vec<Usage>, StoreError>) -> Option<(Box<Draft>, NotifyFn)>
        + Send
        + 'static,
    ) -> Self {
        let agent = Arc::clone(&agent.name);
        let (limits, work) = (demand.limits.to_vec(), Work::Deferred(Box::new(draft_row)));
        Self { agent, limits, requests: demand.requests, work, runtime: runtime() }
    }

    /// A row that is already drafted, with the digest of its arguments.
    pub(super) fn drafted(
        draft: Draft,
        digest: (Arc<Keys>, Hash),
        notify: impl FnOnce(Result<Recorded, StoreError>) + Send + 'static,
    ) -> Self {
        let agent = Arc::clone(&draft.agent);
        let work = Work::Drafted { draft: Box::new(draft), digest, notify: Box::new(notify) };
        Self { agent, limits: Vec::new(), requests: 1, work, runtime: runtime() }
    }

    /// Notifies the caller of the error.
    pub(super) fn fail(self, error: StoreError) {
        self.work.fail(error);
    }
}

impl Work {
    fn fail(self, error: StoreError) {
        match self {
            Self::Drafted { notify, .. } => notify(Err(error)),
            Self::Deferred(draft_row) => drop(draft_row(Err(error))),
        }
    }
}

fn runtime() -> Option<Handle> {
    Handle::try_current().ok()
}

/// Writes `results` and `rows`; those who wait for the rows go into `notifications`.
pub(super) fn write_group(
    transaction: &mut Transaction<'_>,
    rows: Vec<Job>,
    results: &[(RowId, Completion)],
    notifications: &mut Notifications,
) -> Result<(), StoreError> {
    let mut rows = rows.into_iter();
    let mut failed = None;
    let written = transaction.appender().and_then(|mut log| {
        results.iter().try_for_each(|(id, completion)| write_result(&mut log, id, completion))?;
        rows.by_ref().try_for_each(|job| write_row(&mut log, job, notifications, &mut failed))
    });
    written.map_err(|error| {
        let error = transaction.error(&error);
        let others = rows.map(|job| Box::new(|error| job.fail(error)) as FailFn);
        failed.into_iter().chain(others).for_each(|refuse| refuse(error.clone()));
        error
    })
}

/// Notifies a caller of the error.
type FailFn = Box<dyn FnOnce(StoreError)>;

fn write_result(
    log: &mut Appender<'_>,
    id: &RowId,
    completion: &Completion,
) -> rusqlite::Result<()> {
    if !log.complete(id, completion)? {
        tracing::error!(id = id.as_str(), "a result is lost: its row is in a log that is gone");
    }
    Ok(())
}

/// Writes one row. If that fails, `failed` is set to what notifies its caller.
fn write_row(
    log: &mut Appender<'_>,
    job: Job,
    notifications: &mut Notifications,
    failed: &mut Option<FailFn>,
) -> rusqlite::Result<()> {
    let Job { agent, limits, requests, work, runtime } = job;
    let demand = Demand { limits: &limits, requests };
    let usage = match log.usage(&agent, demand) {
        Ok(usage) => usage,
        Err(error) => {
            *failed = Some(Box::new(|error| work.fail(error)));
            return Err(error);
        }
    };
    let (draft, digest, notify) = match work {
        Work::Drafted { draft, digest, notify } => (draft, Some(digest), notify),
        Work::Deferred(draft_row) => match draft_row(Ok(usage)) {
            Some((draft, notify)) => (draft, None, notify),
            None => return Ok(()),
        },
    };
    let digest = digest.as_ref().map(|(keys, digest)| (keys, *digest));
    match log.decide(&draft, digest, demand) {
        Ok(recorded) => {
            notifications.committed.push(Committed { notify, recorded, spent: draft, runtime });
            Ok(())
        }
        Err(error) => {
            *failed = Some(Box::new(|error| notify(Err(error))));
            Err(error)
        }
    }
}

/// The callers that wait for a group, and their results.
#[derive(Default)]
pub(super) struct Notifications {
    committed: Vec<Committed>,
    /// The error, where the group was not committed.
    pub(super) error: Option<StoreError>,
}

struct Committed {
    notify: NotifyFn,
    recorded: Recorded,
    /// Freed where it was made: in a thread whose allocator is at work, another's `free`
    /// makes both wait.
    spent: Box<Draft>,
    runtime: Option<Handle>,
}

/// A waiting caller, and its result.
struct Delivery {
    notify: NotifyFn,
    result: Result<Recorded, StoreError>,
    spent: Box<Draft>,
}

impl Delivery {
    fn deliver(self) {
        drop(self.spent);
        (self.notify)(self.result);
    }
}

impl Notifications {
    /// Notifies them. Those of another runtime are notified in one task there: waking it for
    /// each costs a system call each.
    pub(super) fn notify(self) {
        let here = runtime().map(|runtime| runtime.id());
        let mut other_runtimes: Vec<(Handle, Vec<Delivery>)> = Vec::new();
        for Committed { notify, recorded, spent, runtime } in self.committed {
            let result = self.error.clone().map_or(Ok(recorded), Err);
            let delivery = Delivery { notify, result, spent };
            let Some(runtime) = runtime.filter(|runtime| Some(runtime.id()) != here) else {
                delivery.deliver();
                continue;
            };
            match other_runtimes.iter_mut().find(|(other, _)| other.id() == runtime.id()) {
                Some((_, committed)) => committed.push(delivery),
                None => other_runtimes.push((runtime, vec![delivery])),
            }
        }
        for (runtime, committed) in other_runtimes {
            runtime.spawn(async { committed.into_iter().for_each(Delivery::deliver) });
        }
    }
}
