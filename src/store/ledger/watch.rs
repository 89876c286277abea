//! Whether the files are still those that were opened, and what is noted beside them.

use super::super::StoreError;
use super::super::files::{Files, Identity, Look};
use super::super::keyring::keep_key;
use super::super::schema::{self, Wal};
use super::super::wal_check::Walk;
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
    /// Outside of a transaction. How long the write-ahead log is.
    pub(in crate::store) fn check_files(&mut self) -> Result<Wal, StoreError> {
        // In this order: whoever adds to it between the two makes it longer.
        let wal = self.wal().map_err(|error| self.write_error(&error))?;
        let look = self.files.look();
        let fits = look.wal_len >= wal.bytes(self.page_size) || self.has_whole_wal();
        let fits = fits && (!self.overwritten || self.is_mended(wal));
        let is_long = look.len >= self.len || self.was_rewritten(look.len, wal);
        if look.identity == self.identity && is_long && fits {
            self.len = look.len;
            return Ok(wal);
        }
        let error = self.wrong_with(&look, fits);
        self.give_up(&error);
        Err(error)
    }

    /// Whether a write-ahead log that was overwritten is as it was.
    fn is_mended(&mut self, wal: Wal) -> bool {
        self.trail.goes_on(wal, self.page_size) && self.is_whole(wal)
    }

    fn is_whole(&self, wal: Wal) -> bool {
        self.trail.walk(wal, self.page_size).is_ok_and(|walk| walk.is_whole())
    }

    /// What is in the write-ahead log, to be looked at without the lock. Outside of a
    /// transaction.
    pub(in crate::store) fn walk(&self) -> Option<Walk> {
        self.trail.walk(self.wal().ok()?, self.page_size).ok()
    }

    /// Looks at all of the write-ahead log, and writes no more where it was overwritten. Outside
    /// of a transaction; the caller holds the lock.
    pub(in crate::store) fn look_at_all(&mut self) {
        if !self.broken && self.check_files().is_ok_and(|wal| !self.is_whole(wal)) {
            self.find_overwritten();
        }
    }

    /// Gives up a write-ahead log that is not what it was.
    pub(super) fn find_overwritten(&mut self) -> StoreError {
        let error = StoreError::Cut { path: self.files.named.clone() };
        self.overwritten = true;
        self.give_up(&error);
        error
    }

    /// Writes no more for `error`.
    fn give_up(&mut self, error: &StoreError) {
        let was_broken = std::mem::replace(&mut self.broken, true);
        if matches!(error, StoreError::Cut { .. } | StoreError::Torn { .. }) {
            schema::leave_wal(&self.connection, true);
        }
        if !was_broken {
            tracing::error!("{error}");
            if matches!(error, StoreError::Cut { .. }) {
                // What is lost was committed. Who starts anew is to find that out.
                self.note(&self.head);
            }
        }
    }

    /// Takes what is in the write-ahead log for what was seen last, where it makes sense.
    pub(super) fn learns_trail(&mut self) -> bool {
        // As in `has_whole_wal`.
        (0..2).any(|_| self.wal().is_ok_and(|wal| self.trail.learn(wal, self.page_size)))
    }

    /// The newest entry as it is now.
    pub(in crate::store) fn mark(&self) -> Mark {
        Mark { identity: self.identity, head: self.head }
    }

    /// Notes beside the database that it has the entry of `mark`, which is on the disk. The
    /// caller holds the lock.
    ///
    /// # Errors
    /// Where its key is another one, or cannot be put back: it is not opened again then.
    pub(in crate::store) fn keep(&mut self, mark: &Mark) -> Result<(), StoreError> {
        if self.identity != mark.identity || self.check_files().is_err() {
            return Ok(());
        }
        self.note(&mark.head);
        self.keep_key().inspect_err(|error| tracing::error!("{error}"))
    }

    /// Notes the newest entry where it holds until the machine starts again. The caller holds
    /// the lock. Where that fails, the other note has to do.
    pub(super) fn note_in_lock(&self) {
        if let Some(scope) = self.scope.as_ref().filter(|_| self.head.seq > 0) {
            let _ = self.lock.note(&scope.note(&self.head.kept()));
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
        self.wal().is_ok_and(|wal| self.files.wal_len() >= wal.bytes(self.page_size))
    }

    /// Whether the database became shorter because it was written anew, by `VACUUM`: all of
    /// its pages are in the file, but for those added since.
    fn was_rewritten(&mut self, len: u64, wal: Wal) -> bool {
        // One without its first page cannot be asked.
        if len < self.page_size {
            return false;
        }
        let before = self.cookie;
        let Ok((cookie, missing)) = self.learn_cookie(len) else { return false };
        let was = Some(cookie) != before && missing <= wal.pages;
        match was {
            true => self.len = len,
            false => self.cookie = before,
        }
        was
    }

    /// Remembers how often the database was written anew, unless its file of `len` bytes has
    /// yet to become shorter for that. Gives it, and how many pages are not in the file.
    pub(super) fn learn_cookie(&mut self, len: u64) -> rusqlite::Result<(i64, i64)> {
        let there = len.checked_div(self.page_size).unwrap_or_default();
        let there = i64::try_from(there).unwrap_or(i64::MAX);
        let cookie = schema::cookie(&self.connection)?;
        let missing = schema::pages(&self.connection)? - there;
        self.cookie = (missing >= 0).then_some(cookie);
        Ok((cookie, missing))
    }

    /// Whether entries are gone that were there when `had` was the newest, and nobody said to
    /// go on without them: what is read may be another database's. In a transaction.
    pub(super) fn has_lost(&self, had: &Head) -> rusqlite::Result<bool> {
        Ok(self.head.kept() != had.kept() && !had.kept().is_in(&self.connection)?)
    }

    /// Ends the transaction in which entries up to `had` were found missing.
    pub(super) fn fall_behind(&mut self, had: Head) -> StoreError {
        let (path, last) = (self.files.named.clone(), self.head.seq);
        let error = StoreError::EntriesLost { path, last, noted: had.seq };
        tracing::error!("{error}");
        self.roll_back();
        (self.head, self.broken) = (had, true);
        schema::leave_wal(&self.connection, true);
        self.note(&had);
        error
    }

    /// Saves what is in a write-ahead log that is no more beside its database, as far as that
    /// is still possible. Whether it was is seen when the database is opened again. The caller
    /// holds the lock.
    ///
    /// # Errors
    /// Where it is beside another database now, which would take it for its own.
    pub(super) fn rescue(&self, files: &Files) -> Result<(), StoreError> {
        let now = files.look().identity;
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
