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
    Box<dyn FnOnce(Result<Vec<Usage>, StoreError>) -> Option<(Draft, Deliver)> + Send>;

/// Tells whoever waits that the row is committed, or why not.
pub(super) type Deliver = Box<dyn FnOnce(Result<Recorded, StoreError>) + Send>;

/// One who waits, and what came of it.
type Delivery = (Deliver, Result<Recorded, StoreError>);

/// A row to be written.
pub(super) struct Job {
    pub(super) agent: Arc<str>,
    pub(super) limits: Vec<Limit>,
    /// As how many it counts.
    pub(super) requests: u32,
    pub(super) digest: Option<(Arc<Keys>, Hash)>,
    pub(super) draw: Draw,
    /// Where whoever waits for it runs.
    home: Option<Handle>,
}

impl Job {
    /// A row that `draw` drafts inside the transaction.
    pub(super) fn new(
        agent: &Agent,
        (limits, requests): (&[Limit], u32),
        draw: impl FnOnce(Result<Vec<Usage>, StoreError>) -> Option<(Draft, Deliver)> + Send + 'static,
    ) -> Self {
        let agent = Arc::clone(&agent.name);
        let limits = limits.to_vec();
        Self { agent, limits, requests, digest: None, draw: Box::new(draw), home: home() }
    }

    /// A row that is drafted already, with the digest of its arguments.
    pub(super) fn drafted(
        draft: Draft,
        digest: (Arc<Keys>, Hash),
        deliver: impl FnOnce(Result<Recorded, StoreError>) + Send + 'static,
    ) -> Self {
        let agent = Arc::clone(&draft.agent);
        let draw: Draw = Box::new(move |usage| match usage {
            Ok(_) => Some((draft, Box::new(deliver) as Deliver)),
            Err(error) => {
                deliver(Err(error));
                None
            }
        });
        let limits = Vec::new();
        Self { agent, limits, requests: 1, digest: Some(digest), draw, home: home() }
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
        let others = rows.map(|job| refusing(job.draw));
        left.into_iter().chain(others).for_each(|refuse| refuse(error.clone()));
        error
    })
}

/// Tells whoever waits why there is no row.
type Refuse = Box<dyn FnOnce(StoreError)>;

fn refusing(draw: Draw) -> Refuse {
    Box::new(|error| drop(draw(Err(error))))
}

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
    let usage = match log.usage(&job.agent, &job.limits, job.requests) {
        Ok(usage) => usage,
        Err(error) => {
            *left = Some(refusing(job.draw));
            return Err(error);
        }
    };
    let Some((draft, deliver)) = (job.draw)(Ok(usage)) else { return Ok(()) };
    let digest = job.digest.as_ref().map(|(keys, digest)| (keys, *digest));
    match log.decide(&draft, digest, (&job.limits, job.requests)) {
        Ok(recorded) => {
            told.waiting.push(Waiting { deliver, recorded, home: job.home });
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
    home: Option<Handle>,
}

impl Told {
    /// Tells them. Those of another runtime are told over there: to wake it once
    /// for each of them costs a system call each.
    pub(super) fn tell(self) {
        let here = home().map(|home| home.id());
        let mut elsewhere: Vec<(Handle, Vec<Delivery>)> = Vec::new();
        for Waiting { deliver, recorded, home } in self.waiting {
            let result = self.error.clone().map_or(Ok(recorded), Err);
            let Some(home) = home.filter(|home| Some(home.id()) != here) else {
                deliver(result);
                continue;
            };
            match elsewhere.iter_mut().find(|(other, _)| other.id() == home.id()) {
                Some((_, waiting)) => waiting.push((deliver, result)),
                None => elsewhere.push((home, vec![(deliver, result)])),
            }
        }
        for (home, waiting) in elsewhere {
            home.spawn(async { waiting.into_iter().for_each(|(deliver, result)| deliver(result)) });
        }
    }
}
