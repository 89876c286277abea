//! What is written together: the rows of a group, and those who wait for them.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::StoreError;
use super::append::Appender;
use super::audit::{Completion, Draft, Recorded, RowId};
use super::chain::{Hash, Keys};
use super::ledger::Transaction;
use crate::action::Agent;
use crate::policy::Limit;
use crate::rate::Usage;

/// Drafts the row, or is told why it will not be written.
pub(super) type Draw =
    Box<dyn FnOnce(Result<Vec<Usage>, StoreError>) -> Option<(Box<Draft>, Deliver)> + Send>;

/// Tells whoever waits that the row is committed, or why not.
pub(super) type Deliver = Box<dyn FnOnce(Result<Recorded, StoreError>) + Send>;

/// A row to be written.
pub(super) struct Job {
    agent: Arc<str>,
    limits: Vec<Limit>,
    /// As how many it counts.
    requests: u32,
    work: Work,
    /// Where whoever waits for it runs.
    home: Option<Handle>,
}

/// How a job comes to its row.
enum Work {
    /// It is there, with the digest of its arguments.
    Drafted { draft: Box<Draft>, digest: (Arc<Keys>, Hash), deliver: Deliver },
    /// It is drafted inside the transaction.
    ToDraw(Draw),
}

impl Job {
    /// A row that `draw` drafts inside the transaction.
    pub(super) fn new(
        agent: &Agent,
        (limits, requests): (&[Limit], u32),
        draw: impl FnOnce(Result<Vec<Usage>, StoreError>) -> Option<(Box<Draft>, Deliver)>
        + Send
        + 'static,
    ) -> Self {
        let agent = Arc::clone(&agent.name);
        let (limits, work) = (limits.to_vec(), Work::ToDraw(Box::new(draw)));
        Self { agent, limits, requests, work, home: home() }
    }

    /// A row that is drafted already, with the digest of its arguments.
    pub(super) fn drafted(
        draft: Draft,
        digest: (Arc<Keys>, Hash),
        deliver: impl FnOnce(Result<Recorded, StoreError>) + Send + 'static,
    ) -> Self {
        let agent = Arc::clone(&draft.agent);
        let work = Work::Drafted { draft: Box::new(draft), digest, deliver: Box::new(deliver) };
        Self { agent, limits: Vec::new(), requests: 1, work, home: home() }
    }

    /// Tells whoever waits why there is no row.
    pub(super) fn refuse(self, error: StoreError) {
        self.work.refuse(error);
    }
}

impl Work {
    fn refuse(self, error: StoreError) {
        match self {
            Self::Drafted { deliver, .. } => deliver(Err(error)),
            Self::ToDraw(draw) => drop(draw(Err(error))),
        }
    }
}

fn home() -> Option<Handle> {
    Handle::try_current().ok()
}

/// Writes `results` and `rows`; those who wait for the rows go into `told`.
pub(super) fn write_group(
    transaction: &mut Transaction<'_>,
    rows: Vec<Job>,
    results: &[(RowId, Completion)],
    told: &mut Told,
) -> Result<(), StoreError> {
    let mut rows = rows.into_iter();
    let mut left = None;
    let written = transaction.appender().and_then(|mut log| {
        results.iter().try_for_each(|(id, completion)| write_result(&mut log, id, completion))?;
        rows.by_ref().try_for_each(|job| write_row(&mut log, job, told, &mut left))
    });
    written.map_err(|error| {
        let error = transaction.error(&error);
        let others = rows.map(|job| Box::new(|error| job.refuse(error)) as Refuse);
        left.into_iter().chain(others).for_each(|refuse| refuse(error.clone()));
        error
    })
}

/// Tells whoever waits why there is no row.
type Refuse = Box<dyn FnOnce(StoreError)>;

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

/// Writes one row. Whoever waits for one that fails is `left` to be told.
fn write_row(
    log: &mut Appender<'_>,
    job: Job,
    told: &mut Told,
    left: &mut Option<Refuse>,
) -> rusqlite::Result<()> {
    let Job { agent, limits, requests, work, home } = job;
    let usage = match log.usage(&agent, &limits, requests) {
        Ok(usage) => usage,
        Err(error) => {
            *left = Some(Box::new(|error| work.refuse(error)));
            return Err(error);
        }
    };
    let (draft, digest, deliver) = match work {
        Work::Drafted { draft, digest, deliver } => (draft, Some(digest), deliver),
        Work::ToDraw(draw) => match draw(Ok(usage)) {
            Some((draft, deliver)) => (draft, None, deliver),
            None => return Ok(()),
        },
    };
    let digest = digest.as_ref().map(|(keys, digest)| (keys, *digest));
    match log.decide(&draft, digest, (&limits, requests)) {
        Ok(recorded) => {
            told.waiting.push(Waiting { deliver, recorded, spent: draft, home });
            Ok(())
        }
        Err(error) => {
            *left = Some(Box::new(|error| deliver(Err(error))));
            Err(error)
        }
    }
}

/// Those who wait for a group, and what they are to be told.
#[derive(Default)]
pub(super) struct Told {
    waiting: Vec<Waiting>,
    /// Why none of it is committed.
    pub(super) error: Option<StoreError>,
}

struct Waiting {
    deliver: Deliver,
    recorded: Recorded,
    /// Freed where it was made: in a thread whose allocator is at work, another's `free`
    /// makes both wait.
    spent: Box<Draft>,
    home: Option<Handle>,
}

/// One who waits, and what came of it.
struct Delivery {
    deliver: Deliver,
    result: Result<Recorded, StoreError>,
    spent: Box<Draft>,
}

impl Delivery {
    fn make(self) {
        drop(self.spent);
        (self.deliver)(self.result);
    }
}

impl Told {
    /// Tells them. Those of another runtime are told over there: to wake it once
    /// for each of them costs a system call each.
    pub(super) fn tell(self) {
        let here = home().map(|home| home.id());
        let mut elsewhere: Vec<(Handle, Vec<Delivery>)> = Vec::new();
        for Waiting { deliver, recorded, spent, home } in self.waiting {
            let result = self.error.clone().map_or(Ok(recorded), Err);
            let delivery = Delivery { deliver, result, spent };
            let Some(home) = home.filter(|home| Some(home.id()) != here) else {
                delivery.make();
                continue;
            };
            match elsewhere.iter_mut().find(|(other, _)| other.id() == home.id()) {
                Some((_, waiting)) => waiting.push(delivery),
                None => elsewhere.push((home, vec![delivery])),
            }
        }
        for (home, waiting) in elsewhere {
            home.spawn(async { waiting.into_iter().for_each(Delivery::make) });
        }
    }
}
