//! Whether the files are still those that were opened, and what is noted beside them.

use super::super::files::{Identity, Look};
use super::super::keyring::keep_key;
use super::super::{StoreError, schema};
use super::{Head, Ledger};

/// The newest entry of a database at one moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Mark {
    identity: Identity,
    head: Head,
}

impl Ledger {
    /// Whether the files are those that were opened, with all that was written. What is in
    /// the write-ahead log could be written and read for a while even so, and be lost.
    /// Outside of a transaction.
    pub(in crate::store) fn check_files(&mut self) -> Result<(), StoreError> {
        let look = self.files.look();
        let wal = self.wal().map_err(|error| self.write_error(&error))?;
        let fits = look.wal_len >= wal.bytes(self.page_size) || self.has_whole_wal();
        if look.identity == self.identity && look.len >= self.len && fits {
            self.len = look.len;
            return Ok(());
        }
        let was_broken = std::mem::replace(&mut self.broken, true);
        let error = self.wrong_with(&look, fits);
        if matches!(error, StoreError::Cut { .. } | StoreError::Torn { .. }) {
            // INVARIANT (infallible): this only sets a flag of the connection.
            let _ = schema::leave_wal(&self.connection);
        }
        if !was_broken {
            tracing::error!("{error}");
            if matches!(error, StoreError::Cut { .. }) {
                // What is lost was committed. Who starts anew is to find that out.
                self.note(&self.head);
            }
        }
        Err(error)
    }

    /// The newest entry as it is now.
    pub(in crate::store) fn mark(&self) -> Mark {
        Mark { identity: self.identity, head: self.head }
    }

    /// Notes beside the database that it has the entry of `mark`, which is on the disk. The
    /// caller holds the lock.
    pub(in crate::store) fn keep(&mut self, mark: &Mark) {
        if self.identity == mark.identity && self.check_files().is_ok() {
            self.note(&mark.head);
            if let Err(error) = self.keep_key() {
                tracing::error!("{error}");
            }
        }
    }

    pub(super) fn keep_key(&self) -> Result<(), StoreError> {
        keep_key(&self.files, &self.keys)
    }

    fn note(&self, head: &Head) {
        let noted = self.files.kept().and_then(|kept| {
            let is_newer = kept.map_or(0, |kept| kept.seq) < head.seq;
            if is_newer { self.files.keep(&head.kept()) } else { Ok(()) }
        });
        if let Err(error) = noted {
            let path = self.files.head.display();
            tracing::warn!(%path, %error, "the log's newest entry cannot be noted");
        }
    }

    fn wrong_with(&self, look: &Look, fits: bool) -> StoreError {
        let path = self.files.named.clone();
        let Look { identity, len, .. } = look;
        if !identity.is_database_of(&self.identity) {
            return StoreError::Lost { path };
        }
        // Whoever opens one that is empty removes what is beside it.
        if *len < self.len {
            return StoreError::Cut { path };
        }
        if !identity.shares_index_with(&self.identity) {
            return StoreError::Torn { path };
        }
        match *identity == self.identity && !fits {
            true => StoreError::Cut { path },
            false => StoreError::Lost { path },
        }
    }

    /// Looks again where the write-ahead log seems too short: a program that does not know
    /// our lock may have made it start over between two looks.
    fn has_whole_wal(&self) -> bool {
        let len = self.files.wal_len();
        self.wal().is_ok_and(|wal| len >= wal.bytes(self.page_size))
    }

    /// Saves what is in a write-ahead log that has lost its name, as far as that is still
    /// possible. Whether it was is seen when the database is opened again.
    pub(in crate::store) fn rescue(&self) {
        let identity = self.files.look().identity;
        if identity.is_database_of(&self.identity)
            && identity.shares_index_with(&self.identity)
            && let Err(error) = schema::rescue(&self.connection)
        {
            tracing::error!(%error, "what is in the audit log's `-wal` could not be saved");
        }
    }
}
