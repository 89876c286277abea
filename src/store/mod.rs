//! The log of decisions and what else must outlive the process: one SQLite file.

pub mod audit;

use std::path::Path;

use crate::action::Agent;
use crate::gate::rate::Usage;
use crate::policy::Limit;

use audit::{Completion, Draft, RowId};

/// The store's handle: cheap to clone, one writer behind it.
#[derive(Debug, Clone)]
pub struct Store {}

/// How a store is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `synchronous=FULL`: a commit survives the machine, not only the process.
    pub sync_full: bool,
}

/// Why the store cannot do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file is not, or no longer, what it was.
    #[error("{0}")]
    Unavailable(String),
}

impl Store {
    /// Opens or creates the database at `path`.
    ///
    /// # Errors
    /// Where it cannot be opened, is not a database, or is of a newer version.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let _ = (path, options);
        todo!()
    }

    /// Appends the row that `decide` drafts and waits until it is committed.
    /// `decide` gets the use of each of `limits` by `agent`; with limits it runs
    /// inside the transaction that writes the row, so that the count is exact
    /// across processes; without, before it.
    ///
    /// # Errors
    /// Where the row is not committed; nothing was recorded then.
    pub async fn record<T, F>(
        &self,
        agent: &Agent,
        limits: &[Limit],
        decide: F,
    ) -> Result<(RowId, T), StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Vec<Usage>) -> (Draft, T) + Send + 'static,
    {
        let _ = (agent, limits, decide);
        todo!()
    }

    /// Queues the result of a forwarded action: it is appended with the next
    /// commit or a few milliseconds later, and nobody waits for it.
    pub fn complete(&self, id: &RowId, completion: Completion) {
        let _ = (id, completion);
        todo!()
    }
}
