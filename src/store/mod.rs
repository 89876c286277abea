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
mod raw_decision;
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
use crate::os::files::is_full;
use crate::policy::Limit;
use crate::rate::{Demand, Usage};

use audit::{Completion, Draft, Recorded, RowId};
use files::Files;
use group::Job;
use ledger::Ledger;
use writer::Writer;

/// Handle to a store; cheap to clone. Dropping the last clone writes what is queued.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Arc<Writer>,
}

/// Options of [`Store::open`].
#[derive(Debug, Clone)]
pub struct Options {
    /// `synchronous=FULL`: a commit survives a crash of the machine, not only of the process.
    pub sync_full: bool,
    /// How long to wait for other processes that write.
    pub lock_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { sync_full: false, lock_timeout: Duration::from_secs(5) }
    }
}

/// Error of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("cannot open the audit log `{}`: {why}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// The database was removed or replaced while in use.
    #[error("the audit log `{}` was removed or replaced while in use", path.display())]
    Lost {
        /// The database.
        path: PathBuf,
    },
    /// The database was truncated, or its write-ahead log overwritten, while in use.
    #[error(
        "the audit log `{}` was cut short or overwritten while in use: put back what was there, or move it away, \
         with its `-wal` and `-shm`, and another is begun",
        path.display()
    )]
    Cut {
        /// The database.
        path: PathBuf,
    },
    /// The shared index of the write-ahead log was removed while in use: programs that opened
    /// it before and after do not see each other.
    #[error(
        "the `-shm` of the audit log `{}` was removed or replaced while in use: \
         end every program that uses the log, and start them again",
        path.display()
    )]
    Torn {
        /// The database.
        path: PathBuf,
    },
    /// The write-ahead log belongs to another database, or to an earlier state of this one.
    #[error(
        "the `-wal` beside the audit log `{}` is of another one, or of another time of this one: move it away, \
         with the `-shm`, and put back the one that belongs to it, if there is one",
        path.display()
    )]
    NotItsWal {
        /// The database.
        path: PathBuf,
    },
    /// Recorded entries are missing at the end.
    #[error(
        "the audit log `{}` has lost its end: entry {recorded} was written, and {}; put the whole \
         log back, or go on with what is left by `agentgate audit accept-loss`",
        path.display(),
        if last < recorded { format!("it ends with entry {last}") } else { "it has another".into() }
    )]
    EntriesLost {
        /// The database.
        path: PathBuf,
        /// Sequence number of the last entry; 0 if the log is empty.
        last: i64,
        /// Sequence number of the recorded entry.
        recorded: i64,
    },
    /// Writing failed.
    #[error("the audit log `{}` cannot be written: {why}", path.display())]
    Write {
        /// The database.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// Reading failed.
    #[error("the audit log `{}` cannot be read: {why}", path.display())]
    Read {
        /// The database.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// The database is corrupt.
    #[error("the audit log `{}` is damaged: {why}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// SQLite's message.
        why: String,
    },
    /// The entries to be purged failed verification.
    #[error(
        "the audit log `{}` does not hold, so that nothing is removed from it: {what} \
         (`agentgate audit purge --unverified` removes it all the same)",
        path.display()
    )]
    DoesNotHold {
        /// The database.
        path: PathBuf,
        /// The first finding.
        what: String,
    },
    /// A row id does not belong to this log. Ids of purged rows do.
    #[error("`{id}` is not a row of this log")]
    NotOurs {
        /// The id.
        id: String,
    },
    /// Other processes kept the write lock.
    #[error("the audit log `{}` has been busy for {} s", path.display(), timeout.as_secs_f32())]
    Busy {
        /// The database.
        path: PathBuf,
        /// How long this process waited for it.
        timeout: Duration,
    },
    /// The function that drafts the row panicked.
    #[error("the decision could not be made")]
    Undecided,
    /// The store is closed.
    #[error("the audit log is closed")]
    Closed,
}

/// Accepts that entries are missing at the end of the log at `path`, and appends an entry that
/// says so. Returns the sequence number of the last missing entry; `None` if none is missing.
///
/// # Errors
/// If there is no log, or it cannot be written.
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

    fn busy(path: &Path, timeout: Duration) -> Self {
        Self::Busy { path: path.to_owned(), timeout }
    }
}

impl Files {
    fn open_error(&self, why: impl Display) -> StoreError {
        StoreError::open(&self.named, why)
    }

    /// As [`Files::open_error`], for errors of SQLite.
    fn unopened(&self, error: &rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => self.damaged(error),
            // SQLite calls it an I/O error where its shared index finds no room.
            Some(ErrorCode::SystemIoFailure) if is_full(&self.named) => {
                self.open_error("the disk is full")
            }
            _ => self.open_error(error),
        }
    }

    fn damaged(&self, why: impl Display) -> StoreError {
        StoreError::Damaged { path: self.named.clone(), why: why.to_string() }
    }
}

impl Store {
    /// Opens or creates the database at `path` and its folder, accessible only to the owner.
    /// The key file is beside it (`agentgate.db`: `agentgate.key`).
    ///
    /// # Errors
    /// If it cannot be opened or created, is not an audit log, was written by a newer version,
    /// or the key is missing or wrong.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        Ok(Self { writer: Arc::new(Writer::open(path, options)?) })
    }

    /// Appends the row drafted by `decide` and waits until it is committed.
    ///
    /// `decide` receives the current use of each of `limits` by `agent`. With limits it runs
    /// inside the transaction that writes the row, so that counts are exact across processes;
    /// without, before it.
    ///
    /// If the writer is idle, the commit is made on the caller's thread, otherwise on the
    /// store's own thread.
    ///
    /// # Errors
    /// If the row is not committed; nothing was recorded then.
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
        self.record_all(agent, Demand { limits, requests: 1 }, decide).await
    }

    /// As [`Store::record`], for an action that counts as several requests to its limits: all
    /// of them or none.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub async fn record_all<T, F>(
        &self,
        agent: &Agent,
        demand: Demand<'_>,
        decide: F,
    ) -> Result<(Recorded, T), StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Vec<Usage>) -> (Draft, T) + Send + 'static,
    {
        let (answer, committed) = oneshot::channel();
        let job = if demand.limits.is_empty() {
            let (draft, value) = catch_panic(decide, Vec::new())?;
            self.writer.job(draft, |result| {
                let _ = answer.send(result.map(|recorded| (recorded, value)));
            })
        } else {
            Job::new(agent, demand, |usage| {
                let (draft, value) = match usage.and_then(|usage| catch_panic(decide, usage)) {
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

    /// Queues the result of a forwarded action. It is appended with the next commit, or after a
    /// few milliseconds. Errors are logged.
    pub fn complete(&self, id: &RowId, completion: Completion) {
        self.writer.complete(id, completion);
    }

    /// Whether rows can be recorded: the result of the last commit if it is at most a second
    /// old, else of a trial write that is rolled back. May block for some seconds.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn check(&self) -> Result<(), StoreError> {
        self.writer.check()
    }

    /// Writes what is queued and stops the writer. Blocks for [`Options::lock_timeout`] at
    /// most. Later rows are refused.
    pub fn close(&self) {
        self.writer.close();
    }
}

/// Runs `decide`; a panic in it becomes [`StoreError::Undecided`].
fn catch_panic<T, F>(decide: F, usage: Vec<Usage>) -> Result<(Draft, T), StoreError>
where
    F: FnOnce(Vec<Usage>) -> (Draft, T),
{
    catch_unwind(AssertUnwindSafe(|| decide(usage))).map_err(|_| StoreError::Undecided)
}
