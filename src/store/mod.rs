//! The log of decisions and what else must outlive the process: one SQLite file.
//!
//! Writing: [`Store::record`] → `writer` (group commit) → `ledger`
//! (a transaction on one open database) → `append` (its rows) → `chain`, `facet`, `slots`.

pub mod agents;
mod append;
pub mod audit;
mod chain;
pub mod counts;
pub(crate) mod csv;
pub mod directory;
pub mod escalations;
mod facet;
mod files;
mod group;
mod head;
mod index;
mod keyring;
mod ledger;
mod merge;
pub mod purge;
pub mod read;
mod recent;
pub mod redact;
pub mod row;
mod schema;
mod slots;
mod snapshot;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod time_argument;
pub mod verify;
mod wal_check;
mod writer;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;
use tokio::sync::oneshot;

use crate::action::Agent;
use crate::policy::Limit;
use crate::rate::Usage;

use audit::{Completion, Draft, Recorded, RowId};
use files::Files;
use group::Job;
use ledger::Ledger;
use writer::Writer;

/// The store's handle: cheap to clone, one writer behind it. The last one to go
/// writes what is still queued.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Arc<Writer>,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// `synchronous=FULL`: a commit survives the machine, not only the process.
    pub sync_full: bool,
    /// How long a row may wait for other processes that write.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { sync_full: false, patience: Duration::from_secs(5) }
    }
}

/// Why the store cannot do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("cannot open the audit log `{}`: {why}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It was removed or replaced while in use.
    #[error("the audit log `{}` was removed or replaced while in use", path.display())]
    Lost {
        /// The database.
        path: PathBuf,
    },
    /// It became shorter while in use, or its write-ahead log another.
    #[error(
        "the audit log `{}` was cut short or overwritten while in use: put back what was there, or move it away, \
         with its `-wal` and `-shm`, and another is begun",
        path.display()
    )]
    Cut {
        /// The database.
        path: PathBuf,
    },
    /// The index of its write-ahead log was removed while in use: programs that opened it
    /// before and after do not know of each other.
    #[error(
        "the `-shm` of the audit log `{}` was removed or replaced while in use: \
         end every program that uses the log, and start them again",
        path.display()
    )]
    Torn {
        /// The database.
        path: PathBuf,
    },
    /// The write-ahead log beside it does not go on where the database ends.
    #[error(
        "the `-wal` beside the audit log `{}` is of another one, or of another time of this one: move it away, \
         with the `-shm`, and put back the one that belongs to it, if there is one",
        path.display()
    )]
    NotItsWal {
        /// The database.
        path: PathBuf,
    },
    /// Entries are missing at its end that it had.
    #[error(
        "the audit log `{}` has lost its end: entry {noted} was written, and {}; put the whole \
         log back, or go on with what is left by `agentgate audit accept-loss`",
        path.display(),
        if last < noted { format!("it ends with entry {last}") } else { "it has another".into() }
    )]
    EntriesLost {
        /// The database.
        path: PathBuf,
        /// The entry that it ends with; 0 where it is empty.
        last: i64,
        /// The entry that it had.
        noted: i64,
    },
    /// It could not be written.
    #[error("the audit log `{}` cannot be written: {why}", path.display())]
    Write {
        /// The database.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It could not be read.
    #[error("the audit log `{}` cannot be read: {why}", path.display())]
    Read {
        /// The database.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is damaged.
    #[error("the audit log `{}` is damaged: {why}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// What was to be removed from it does not hold.
    #[error(
        "the audit log `{}` does not hold, so that nothing is removed from it: {what} \
         (`agentgate audit purge --unverified` removes it all the same)",
        path.display()
    )]
    DoesNotHold {
        /// The database.
        path: PathBuf,
        /// The first thing that does not hold.
        what: String,
    },
    /// A row was named that is of another log, or of none. One that was purged is not meant.
    #[error("`{id}` is not a row of this log")]
    NotOurs {
        /// Its id.
        id: String,
    },
    /// Other processes have been writing all the time.
    #[error("the audit log `{}` has been busy for {} s", path.display(), patience.as_secs_f32())]
    Busy {
        /// The database.
        path: PathBuf,
        /// How long this one waited.
        patience: Duration,
    },
    /// The function that was to draft the row panicked.
    #[error("the decision could not be made")]
    Undecided,
    /// The store has been closed.
    #[error("the audit log is closed")]
    Closed,
}

/// Goes on with the log at `path` though entries are missing at its end: an entry of its own
/// says so. Gives the number of the last that it should have; `None` where none is missing.
///
/// # Errors
/// Where there is no log, or it cannot be written.
pub fn accept_loss(path: &Path, options: &Options) -> Result<Option<i64>, StoreError> {
    if !path.exists() {
        return Err(StoreError::open(path, "there is none; the first recorded action creates it"));
    }
    Ledger::accept_loss(path, options)
}

impl StoreError {
    fn open(path: &Path, why: impl Display) -> Self {
        Self::Open { path: path.to_owned(), why: why.to_string() }
    }

    fn busy(path: &Path, patience: Duration) -> Self {
        Self::Busy { path: path.to_owned(), patience }
    }
}

impl Files {
    fn open_error(&self, why: impl Display) -> StoreError {
        StoreError::open(&self.named, why)
    }

    /// The same of what SQLite says.
    fn unopened(&self, error: &rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => self.damaged(error),
            _ => self.open_error(error),
        }
    }

    fn damaged(&self, why: impl Display) -> StoreError {
        StoreError::Damaged { path: self.named.clone(), why: why.to_string() }
    }
}

impl Store {
    /// Opens or creates the database at `path`, for its owner only; its folder
    /// too. The key is kept beside it (`agentgate.db`: `agentgate.key`).
    ///
    /// # Errors
    /// Where it cannot be opened or created, is not a log of ours, was written
    /// by a newer version, or its key is missing or another one.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        Ok(Self { writer: Arc::new(Writer::open(path, options)?) })
    }

    /// Appends the row that `decide` drafts and waits until it is committed.
    /// `decide` gets the use of each of `limits` by `agent`; with limits it runs
    /// inside the transaction that writes the row, so that the count is exact
    /// across processes; without, before it.
    ///
    /// Where nobody else writes, the commit is made right here, on the caller's
    /// thread; otherwise a thread of the store's own makes it.
    ///
    /// # Errors
    /// Where the row is not committed; nothing was recorded then.
    pub async fn record<T, F>(
        &self,
        agent: &Agent,
        limits: &[Limit],
        decide: F,
    ) -> Result<(Recorded, T), StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Vec<Usage>) -> (Draft, T) + Send + 'static,
    {
        self.record_all(agent, (limits, 1), decide).await
    }

    /// The same for an action that counts as so many requests to its limits, all of
    /// them or none.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub async fn record_all<T, F>(
        &self,
        agent: &Agent,
        (limits, requests): (&[Limit], u32),
        decide: F,
    ) -> Result<(Recorded, T), StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Vec<Usage>) -> (Draft, T) + Send + 'static,
    {
        let (answer, committed) = oneshot::channel();
        let job = if limits.is_empty() {
            let (draft, value) = guarded(decide, Vec::new())?;
            self.writer.job(draft, |result| {
                let _ = answer.send(result.map(|recorded| (recorded, value)));
            })
        } else {
            Job::new(agent, (limits, requests), |usage| {
                let (draft, value) = match usage.and_then(|usage| guarded(decide, usage)) {
                    Ok(decided) => decided,
                    Err(error) => {
                        let _ = answer.send(Err(error));
                        return None;
                    }
                };
                let deliver = Box::new(|result: Result<Recorded, StoreError>| {
                    let _ = answer.send(result.map(|recorded| (recorded, value)));
                });
                Some((Box::new(draft), deliver))
            })
        };
        self.writer.submit(job);
        if let Some(mut turn) = self.writer.group_commit() {
            turn.gather().await;
            turn.commit();
        }
        committed.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Queues the result of a forwarded action: it is appended with the next
    /// commit or a few milliseconds later, and nobody waits for it.
    pub fn complete(&self, id: &RowId, completion: Completion) {
        self.writer.complete(id, completion);
    }

    /// Whether a row could be recorded. As the last one fared, where that is no more than
    /// a second ago, else by a try, which leaves nothing behind and blocks for some
    /// seconds at most.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), StoreError> {
        self.writer.check()
    }

    /// Writes what is queued and stops the writer; blocks up to the patience in
    /// [`Options`]. Rows that come later are refused.
    pub fn close(&self) {
        self.writer.close();
    }
}

/// A `decide` that panics fails its own row and no other.
fn guarded<T, F>(decide: F, usage: Vec<Usage>) -> Result<(Draft, T), StoreError>
where
    F: FnOnce(Vec<Usage>) -> (Draft, T),
{
    catch_unwind(AssertUnwindSafe(|| decide(usage))).map_err(|_| StoreError::Undecided)
}
