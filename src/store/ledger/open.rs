//! Opens a database and checks that it contains everything it had.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

use super::super::chain::{Content, Keys};
use super::super::facet::Dictionary;
use super::super::files::{Files, FilesState, Held, WriteLock};
use super::super::head::{BootScope, HeadRecord};
use super::super::keyring::{FINGERPRINT, load_keys, load_salt};
use super::super::recent::Recent;
use super::super::schema::meta;
use super::super::wal_check::WalCheck;
use super::super::{Options, StoreError, index, schema, slots};
use super::{Head, Ledger, RECHECK_INTERVAL, newest};

/// Whether opening requires the recorded head to be in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Fail if entries are missing.
    Whole,
    /// Open it as it is.
    AsIs,
}

impl Ledger {
    /// Opens or creates the database `named`. `before` is the ledger that broke, if this is a
    /// reopening: the same file must contain all its entries, a new file takes over its keys.
    pub(in crate::store) fn open(
        named: &Path,
        options: &Options,
        before: Option<&Self>,
    ) -> Result<Self, StoreError> {
        let (files, lock) = locate(named)?;
        let _held = hold(&files, &lock, options)?;
        Self::open_locked((files, lock), options, before, End::Whole)
    }

    /// Opens the database `named` although entries are missing at its end, and appends an entry
    /// that says so. Returns the sequence number of the last missing entry; `None` if none is
    /// missing.
    pub(in crate::store) fn accept_loss(
        named: &Path,
        options: &Options,
    ) -> Result<Option<i64>, StoreError> {
        let (files, lock) = locate(named)?;
        let _held = hold(&files, &lock, options)?;
        let recorded = files.recorded_heads().map_err(|error| files.open_error(error))?;
        let mut ledger = Self::open_locked((files, lock), options, None, End::AsIs)?;
        let lost = HeadRecord::lost(&recorded, &ledger.connection);
        let lost = lost.map_err(|error| ledger.files.open_error(error))?;
        let Some(lost) = lost else { return Ok(None) };
        let mut transaction = ledger.begin()?;
        let content = Content::Loss { upto: lost.seq, hash: &lost.hash };
        let at = Timestamp::now().as_microsecond();
        transaction.append_rare(at, &content, (Some(lost.seq), Some(&lost.hash)))?;
        transaction.commit()?;
        let files = &ledger.files;
        let written = files.sync_wal().and_then(|()| files.write_head(&ledger.head.record()));
        written.map_err(|error| files.open_error(error))?;
        Ok(Some(lost.seq))
    }

    fn open_locked(
        (files, lock): (Files, WriteLock),
        options: &Options,
        before: Option<&Self>,
        end: End,
    ) -> Result<Self, StoreError> {
        if let Some(before) = before {
            before.set_busy_timeout(options.lock_timeout);
            before.rescue(&files)?;
        }
        let recorded = files.recorded_heads().map_err(|error| files.open_error(error))?;
        make_or_check((&files, &lock), recorded.iter().max().filter(|_| end == End::Whole))?;
        let alone = newest_alone(&files);
        let connection = schema::open_to_write(&files, options)?;
        let failed = |error: rusqlite::Error| files.unopened(&error);
        let newest = newest(&connection).map_err(failed)?;
        if let Some(alone) = alone
            && !continues_after(&connection, &alone).map_err(failed)?
        {
            return Err(StoreError::NotItsWal { path: files.named });
        }
        let fresh = newest.is_none();
        let outlived = fresh && is_key_without_log(&files, &connection).map_err(failed)?;
        let keys = load_keys(&files, &connection, fresh, before.map(|before| &before.keys))?;
        if end == End::Whole {
            check_recorded(&files, &connection, before, newest)?;
        }
        let mut ledger = Self::new((files, lock), connection, keys)?;
        if fresh && end == End::Whole && (before.is_some() || !recorded.is_empty() || outlived) {
            ledger.append_recreated()?;
        }
        ledger.check_opened()?;
        schema::checkpoint_on_close(&ledger.connection);
        Ok(ledger)
    }

    fn new(
        (files, lock): (Files, WriteLock),
        connection: Connection,
        keys: Arc<Keys>,
    ) -> Result<Self, StoreError> {
        let failed = |error: rusqlite::Error| files.unopened(&error);
        // The write-ahead log exists from the first read or write on.
        let wal_check = WalCheck::open(&files.wal).map_err(|error| files.open_error(error))?;
        Ok(Self {
            wal_check,
            scope: BootScope::of(files.database_id()),
            salt: load_salt(&connection, &keys).map_err(failed)?,
            epoch: 0,
            head: Head::NONE,
            data_version: -1,
            checked_at: None,
            recheck_interval: if cfg!(test) { Duration::ZERO } else { RECHECK_INTERVAL },
            identity: files.state().identity,
            len: 0,
            cookie: None,
            page_size: page_size(&connection).map_err(failed)?,
            dictionary: Dictionary::default(),
            windows: slots::Windows::default(),
            recent: Recent::default(),
            indexed: meta(&connection, "folded").map_err(failed)?.unwrap_or_default(),
            index_after: index::INDEX_AFTER,
            broken: false,
            overwritten: false,
            #[cfg(test)]
            clock_offset: 0,
            keys,
            connection,
            lock,
            files,
        })
    }

    /// Checks what was opened, and remembers its state for later checks.
    fn check_opened(&mut self) -> Result<(), StoreError> {
        self.refresh().map_err(|error| self.files.open_error(error))?;
        let FilesState { identity, len, .. } = self.files.state();
        (self.identity, self.len) = (identity, len);
        let missing =
            self.update_cookie(len).and_then(|(_, missing)| Ok(missing > self.wal()?.pages));
        if missing.map_err(|error| self.files.open_error(error))? {
            return Err(StoreError::NotItsWal { path: self.files.named.clone() });
        }
        if !identity.is_whole() {
            return Err(StoreError::Lost { path: self.files.named.clone() });
        }
        self.check_files()?;
        if !self.resync_wal_check() {
            return Err(StoreError::Cut { path: self.files.named.clone() });
        }
        Ok(())
    }

    fn append_recreated(&mut self) -> Result<(), StoreError> {
        let mut transaction = self.begin()?;
        let at = Timestamp::now().as_microsecond();
        transaction.append_rare(at, &Content::Anew, (None, None))?;
        transaction.commit()
    }
}

fn locate(named: &Path) -> Result<(Files, WriteLock), StoreError> {
    let failed = |error: std::io::Error| StoreError::open(named, error);
    let files = Files::prepare(named).map_err(failed)?;
    let lock = WriteLock::open(&files.lock).map_err(failed)?;
    Ok((files, lock))
}

fn hold(files: &Files, lock: &WriteLock, options: &Options) -> Result<Held, StoreError> {
    let held = lock.take(options.lock_timeout).map_err(|error| files.open_error(error))?;
    held.ok_or_else(|| StoreError::busy(&files.named, options.lock_timeout))
}

/// Creates the database file if there is none, and deletes the records of its predecessor. An
/// empty file that used to have entries is an error: opening it, SQLite would remove its
/// write-ahead log, which may be all that is left.
fn make_or_check(
    (files, lock): (&Files, &WriteLock),
    recorded: Option<&HeadRecord>,
) -> Result<(), StoreError> {
    let created = files.create_db().map_err(|error| files.open_error(error))?;
    if created {
        return files.forget(lock).map_err(|error| files.open_error(error));
    }
    match recorded {
        Some(recorded) if files.state().len == 0 => {
            let path = files.named.clone();
            Err(StoreError::EntriesLost { path, last: 0, recorded: recorded.seq })
        }
        _ => Ok(()),
    }
}

/// Checks that the log contains its recorded heads, and what `before` had if that is the same
/// file.
fn check_recorded(
    files: &Files,
    connection: &Connection,
    before: Option<&Ledger>,
    newest: Option<Head>,
) -> Result<(), StoreError> {
    let is_same = |before: &&Ledger| files.state().identity.is_database_of(&before.identity);
    let had = before.filter(is_same).map(|before| before.head.record());
    // Read again: if the database was created just now, the old records have been deleted.
    let recorded = files.recorded_heads().map_err(|error| files.open_error(error))?;
    for head in had.into_iter().chain(recorded) {
        if head.seq > 0 && !head.is_in(connection).map_err(|error| files.unopened(&error))? {
            let (path, last) = (files.named.clone(), newest.map_or(0, |newest| newest.seq));
            return Err(StoreError::EntriesLost { path, last, recorded: head.seq });
        }
    }
    Ok(())
}

/// Whether there is a key file, but a database that was created without it.
fn is_key_without_log(files: &Files, connection: &Connection) -> rusqlite::Result<bool> {
    Ok(files.key.exists() && meta::<Vec<u8>>(connection, FINGERPRINT)?.is_none())
}

/// The newest entry that the database has without its write-ahead log. `None` if there is no
/// write-ahead log, or the database is not readable without it: a checkpoint may have been
/// interrupted.
fn newest_alone(files: &Files) -> Option<HeadRecord> {
    if files.wal_len() == 0 {
        return None;
    }
    let newest = schema::open_alone(files).and_then(|connection| newest(&connection));
    newest.ok().flatten().map(|newest| newest.record())
}

/// Whether the log continues after `alone`, the end of the database without its write-ahead
/// log. A frame names its page but not its database, so the log may belong to another one.
fn continues_after(connection: &Connection, alone: &HeadRecord) -> rusqlite::Result<bool> {
    let next = "SELECT (SELECT max(seq) FROM entry) <= ?1 OR (SELECT min(seq) FROM entry) > ?1
                OR EXISTS (SELECT 1 FROM entry WHERE seq = ?1 + 1)";
    Ok(alone.is_in(connection)? && connection.query_row(next, [alone.seq], |row| row.get(0))?)
}

fn page_size(connection: &Connection) -> rusqlite::Result<u64> {
    let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(u64::try_from(size).unwrap_or_default())
}
