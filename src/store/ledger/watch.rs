//! Whether the files are still those that were opened; and recording the head outside the log.

use super::super::StoreError;
use super::super::files::{Files, FilesState, Identity};
use super::super::keyring::restore_key;
use super::super::schema::{self, Wal};
use super::super::wal_check::WalScan;
use super::{Head, Ledger};

/// The head of a database at one moment, and which files it was of.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct HeadSnapshot {
    identity: Identity,
    head: Head,
}

impl Ledger {
    /// Checks that the files are still those that were opened and have not been truncated or
    /// overwritten: SQLite would go on writing to them, and the rows be lost. Returns the state
    /// of the write-ahead log. Must be called outside of a transaction.
    pub(in crate::store) fn check_files(&mut self) -> Result<Wal, StoreError> {
        // In this order: a concurrent writer only makes the file longer.
        let wal = self.wal().map_err(|error| self.write_error(&error))?;
        let state = self.files.state();
        let fits = state.wal_len >= wal.bytes(self.page_size) || self.has_whole_wal();
        let fits = fits && (!self.overwritten || self.is_wal_restored(wal));
        let is_long = state.len >= self.len || self.was_rewritten(state.len, wal);
        if state.identity == self.identity && is_long && fits {
            self.len = state.len;
            return Ok(wal);
        }
        let error = self.diagnose(&state, fits);
        self.mark_broken(&error);
        Err(error)
    }

    /// Whether an overwritten write-ahead log has been restored.
    fn is_wal_restored(&mut self, wal: Wal) -> bool {
        self.wal_check.advance(wal, self.page_size) && self.is_whole(wal)
    }

    fn is_whole(&self, wal: Wal) -> bool {
        self.wal_check.scan(wal, self.page_size).is_ok_and(|scan| scan.is_whole())
    }

    /// A scan of the write-ahead log that needs no lock. Must be called outside of a
    /// transaction.
    pub(in crate::store) fn wal_scan(&self) -> Option<WalScan> {
        self.wal_check.scan(self.wal().ok()?, self.page_size).ok()
    }

    /// Verifies the checksums of the whole write-ahead log, and breaks the ledger if they do
    /// not hold. The caller holds the write lock. Must be called outside of a transaction.
    pub(in crate::store) fn verify_wal(&mut self) {
        if !self.broken && self.check_files().is_ok_and(|wal| !self.is_whole(wal)) {
            self.mark_overwritten();
        }
    }

    /// Breaks the ledger because its write-ahead log was overwritten.
    pub(super) fn mark_overwritten(&mut self) -> StoreError {
        let error = StoreError::Cut { path: self.files.named.clone() };
        self.overwritten = true;
        self.mark_broken(&error);
        error
    }

    /// Breaks the ledger because of `error`.
    fn mark_broken(&mut self, error: &StoreError) {
        let was_broken = std::mem::replace(&mut self.broken, true);
        if matches!(error, StoreError::Cut { .. } | StoreError::Torn { .. }) {
            schema::keep_wal_on_close(&self.connection);
        }
        if !was_broken {
            tracing::error!("{error}");
            if matches!(error, StoreError::Cut { .. }) {
                // The lost entries were committed: record that, for whoever reopens the log.
                self.write_head_record(&self.head);
            }
        }
    }

    /// Accepts the current write-ahead log, if it is consistent.
    pub(super) fn resync_wal_check(&mut self) -> bool {
        // Twice, as in `has_whole_wal`.
        (0..2).any(|_| self.wal().is_ok_and(|wal| self.wal_check.resync(wal, self.page_size)))
    }

    /// The current head.
    pub(in crate::store) fn head_snapshot(&self) -> HeadSnapshot {
        HeadSnapshot { identity: self.identity, head: self.head }
    }

    /// Records the head of `at`, which must be durable, in the `-head` file. The caller holds the write
    /// lock.
    ///
    /// # Errors
    /// If the key file contains another key or cannot be restored.
    pub(in crate::store) fn record_head(&mut self, at: &HeadSnapshot) -> Result<(), StoreError> {
        if self.identity != at.identity || self.check_files().is_err() {
            return Ok(());
        }
        self.write_head_record(&at.head);
        self.restore_key().inspect_err(|error| tracing::error!("{error}"))
    }

    /// Records the head in the lock file. The caller holds the write lock. Errors are ignored:
    /// the `-head` file is the fallback.
    pub(super) fn record_in_lock(&self) {
        if let Some(scope) = self.scope.as_ref().filter(|_| self.head.seq > 0) {
            let _ = self.lock.write(&scope.record(&self.head.record()));
        }
    }

    pub(super) fn restore_key(&self) -> Result<(), StoreError> {
        restore_key(&self.files, &self.keys)
    }

    /// Writes the `-head` file, unless it has a newer head.
    fn write_head_record(&self, head: &Head) {
        let written = self.files.read_head().and_then(|recorded| {
            let is_newer = recorded.map_or(0, |recorded| recorded.seq) < head.seq;
            if is_newer { self.files.write_head(&head.record()) } else { Ok(()) }
        });
        if let Err(error) = written {
            let path = self.files.head.display();
            tracing::warn!(%path, %error, "the log's newest entry cannot be noted");
        }
    }

    fn diagnose(&self, state: &FilesState, fits: bool) -> StoreError {
        let path = self.files.named.clone();
        let FilesState { identity, len, .. } = state;
        if !identity.is_database_of(&self.identity) {
            return StoreError::Lost { path };
        }
        // Before the other files: opening an empty database removes those.
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

    /// Reads the state again if the write-ahead log seems too short: a program that ignores our
    /// lock may have restarted it between the two readings.
    fn has_whole_wal(&self) -> bool {
        self.wal().is_ok_and(|wal| self.files.wal_len() >= wal.bytes(self.page_size))
    }

    /// Whether the database has shrunk because of a `VACUUM`: apart from pages in the
    /// write-ahead log, all its pages are in the file.
    fn was_rewritten(&mut self, len: u64, wal: Wal) -> bool {
        // Without its first page it cannot be queried.
        if len < self.page_size {
            return false;
        }
        let before = self.cookie;
        let Ok((cookie, missing)) = self.update_cookie(len) else { return false };
        let was = Some(cookie) != before && missing <= wal.pages;
        match was {
            true => self.len = len,
            false => self.cookie = before,
        }
        was
    }

    /// Updates `cookie`, unless the file of `len` bytes has yet to shrink after a rewrite.
    /// Returns the cookie, and the number of pages that are not in the file.
    pub(super) fn update_cookie(&mut self, len: u64) -> rusqlite::Result<(i64, i64)> {
        let there = len.checked_div(self.page_size).unwrap_or_default();
        let there = i64::try_from(there).unwrap_or(i64::MAX);
        let cookie = schema::cookie(&self.connection)?;
        let missing = schema::pages(&self.connection)? - there;
        self.cookie = (missing >= 0).then_some(cookie);
        Ok((cookie, missing))
    }

    /// Whether entries up to `had` are missing without an accepted loss: the database may have
    /// been replaced. Must be called in a transaction.
    pub(super) fn has_lost(&self, had: &Head) -> rusqlite::Result<bool> {
        Ok(self.head.record() != had.record() && !had.record().is_in(&self.connection)?)
    }

    /// Rolls back the transaction in which entries up to `had` were found missing.
    pub(super) fn abort_lost(&mut self, had: Head) -> StoreError {
        let (path, last) = (self.files.named.clone(), self.head.seq);
        let error = StoreError::EntriesLost { path, last, recorded: had.seq };
        tracing::error!("{error}");
        self.roll_back();
        (self.head, self.broken) = (had, true);
        schema::keep_wal_on_close(&self.connection);
        self.write_head_record(&had);
        error
    }

    /// Checkpoints the write-ahead log of a database that was replaced or whose log was
    /// removed, as far as possible. Whether it succeeded shows when the database is reopened.
    /// The caller holds the write lock.
    ///
    /// # Errors
    /// If the log now stands beside another database, which would read it as its own.
    pub(super) fn rescue(&self, files: &Files) -> Result<(), StoreError> {
        let now = files.state().identity;
        if !now.shares_index_with(&self.identity) {
            return Ok(());
        }
        let saved = || schema::empty_wal(&self.connection);
        match (now.is_database_of(&self.identity), now.shares_wal_with(&self.identity)) {
            (true, false) => {
                if let Err(error) = saved() {
                    tracing::error!(%error, "what is in the audit log's `-wal` could not be saved");
                }
                Ok(())
            }
            (false, true) => {
                saved().map_err(|error| {
                    let what = "its `-wal` is of the database before it, and cannot be saved";
                    files.open_error(format_args!("{what}: {error}"))
                })?;
                files.remove_wal().map_err(|error| files.open_error(error))
            }
            _ => Ok(()),
        }
    }
}
