//! Opening a database: whether it is all that it was.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

use super::super::chain::Content;
use super::super::facet::Dictionary;
use super::super::files::{Files, Held, Look, WriteLock};
use super::super::head::{Kept, Scope};
use super::super::keyring::{FINGERPRINT, load_keys, load_salt};
use super::super::recent::Recent;
use super::super::schema::meta;
use super::super::wal_check::WalCheck;
use super::super::{Options, StoreError, index, schema, slots};
use super::{Head, LOOK_EVERY, Ledger, newest};

/// What is asked of the end of a database that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is there.
    Whole,
    /// Nothing: what is missing is accepted.
    AsIs,
}

impl Ledger {
    /// Opens or creates the database `named`. `before` is the one that was lost while
    /// running: a new one goes on with its keys, and the same has to hold all it held.
    pub(in crate::store) fn open(
        named: &Path,
        options: &Options,
        before: Option<&Self>,
    ) -> Result<Self, StoreError> {
        let (files, lock) = locate(named)?;
        let _held = hold(&files, &lock, options)?;
        Self::open_locked((files, lock), options, before, End::Whole)
    }

    /// Opens the database `named` whatever is missing at its end, and notes what is. Gives
    /// the entry that it should have had; `None` where nothing is missing.
    pub(in crate::store) fn accept_loss(
        named: &Path,
        options: &Options,
    ) -> Result<Option<i64>, StoreError> {
        let (files, lock) = locate(named)?;
        let _held = hold(&files, &lock, options)?;
        let noted = files.noted().map_err(|error| files.open_error(error))?;
        let mut ledger = Self::open_locked((files, lock), options, None, End::AsIs)?;
        let lost = Kept::lost(&noted, &ledger.connection);
        let lost = lost.map_err(|error| ledger.files.open_error(error))?;
        let Some(lost) = lost else { return Ok(None) };
        let mut transaction = ledger.begin()?;
        let content = Content::Loss { upto: lost.seq, hash: &lost.hash };
        let at = Timestamp::now().as_microsecond();
        transaction.append_rare(at, &content, (Some(lost.seq), Some(&lost.hash)))?;
        transaction.commit()?;
        let files = &ledger.files;
        let noted = files.sync_wal().and_then(|()| files.keep(&ledger.head.kept()));
        noted.map_err(|error| files.open_error(error))?;
        Ok(Some(lost.seq))
    }

    fn open_locked(
        (files, lock): (Files, WriteLock),
        options: &Options,
        before: Option<&Self>,
        end: End,
    ) -> Result<Self, StoreError> {
        if let Some(before) = before {
            before.set_patience(options.patience);
            before.rescue(&files)?;
        }
        let noted = files.noted().map_err(|error| files.open_error(error))?;
        make_or_check((&files, &lock), noted.iter().max().filter(|_| end == End::Whole))?;
        let alone = newest_alone(&files);
        let connection = schema::open_to_write(&files, options)?;
        let failed = |error: rusqlite::Error| files.unopened(&error);
        let newest = newest(&connection).map_err(failed)?;
        if let Some(alone) = alone
            && !goes_on(&connection, &alone).map_err(failed)?
        {
            return Err(StoreError::NotItsWal { path: files.named });
        }
        let fresh = newest.is_none();
        let outlived = fresh && outlives_its_log(&files, &connection).map_err(failed)?;
        let keys = load_keys(&files, &connection, fresh, before.map(|before| &before.keys))?;
        let is_same = |before: &&Self| files.look().identity.is_database_of(&before.identity);
        let had = before.filter(is_same).map(|before| before.head.kept());
        // What was noted of one that is gone was forgotten with it.
        let noted_still = files.noted().map_err(|error| files.open_error(error))?;
        for had in had.into_iter().chain(noted_still).filter(|_| end == End::Whole) {
            if had.seq > 0 && !had.is_in(&connection).map_err(failed)? {
                let last = newest.map_or(0, |newest| newest.seq);
                return Err(StoreError::EntriesLost { path: files.named, last, noted: had.seq });
            }
        }
        // The write-ahead log exists from the first read or write on.
        let trail = WalCheck::open(&files.wal).map_err(|error| files.open_error(error))?;
        let mut ledger = Self {
            trail,
            scope: Scope::of(files.database_id()),
            salt: load_salt(&connection, &keys).map_err(failed)?,
            epoch: 0,
            head: Head::NONE,
            data_version: -1,
            looked: None,
            look_every: if cfg!(test) { Duration::ZERO } else { LOOK_EVERY },
            identity: files.look().identity,
            len: 0,
            cookie: None,
            page_size: page_size(&connection).map_err(failed)?,
            dictionary: Dictionary::default(),
            windows: slots::Windows::default(),
            recent: Recent::default(),
            folded: meta(&connection, "folded").map_err(failed)?.unwrap_or_default(),
            fold_every: index::FOLD_EVERY,
            broken: false,
            overwritten: false,
            #[cfg(test)]
            ahead: 0,
            keys,
            connection,
            lock,
            files,
        };
        if fresh && end == End::Whole && (before.is_some() || !noted.is_empty() || outlived) {
            ledger.note_anew()?;
        }
        ledger.refresh().map_err(|error| ledger.files.open_error(error))?;
        let Look { identity, len, .. } = ledger.files.look();
        (ledger.identity, ledger.len) = (identity, len);
        let missing =
            ledger.learn_cookie(len).and_then(|(_, missing)| Ok(missing > ledger.wal()?.pages));
        if missing.map_err(|error| ledger.files.open_error(error))? {
            return Err(StoreError::NotItsWal { path: ledger.files.named.clone() });
        }
        if !identity.is_whole() {
            return Err(StoreError::Lost { path: ledger.files.named.clone() });
        }
        ledger.check_files()?;
        if !ledger.learns_trail() {
            return Err(StoreError::Cut { path: ledger.files.named.clone() });
        }
        schema::leave_wal(&ledger.connection, false);
        Ok(ledger)
    }

    fn note_anew(&mut self) -> Result<(), StoreError> {
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
    let held = lock.take(options.patience).map_err(|error| files.open_error(error))?;
    held.ok_or_else(|| StoreError::busy(&files.named, options.patience))
}

/// Makes the file of the database where there is none: what was `noted` of one before it is
/// forgotten. One that is empty and was not is left as it is: SQLite would remove its
/// write-ahead log, which may be all that is left.
fn make_or_check(
    (files, lock): (&Files, &WriteLock),
    noted: Option<&Kept>,
) -> Result<(), StoreError> {
    let created = files.create_db().map_err(|error| files.open_error(error))?;
    if created {
        return files.forget(lock).map_err(|error| files.open_error(error));
    }
    match noted {
        Some(noted) if files.look().len == 0 => {
            let path = files.named.clone();
            Err(StoreError::EntriesLost { path, last: 0, noted: noted.seq })
        }
        _ => Ok(()),
    }
}

/// Whether there is a key, and a database that was never told of it.
fn outlives_its_log(files: &Files, connection: &Connection) -> rusqlite::Result<bool> {
    Ok(files.key.exists() && meta::<Vec<u8>>(connection, FINGERPRINT)?.is_none())
}

/// The newest entry that the database has without its write-ahead log; `None` where there is
/// no such log, or the database makes no sense without: it may be written back in part.
fn newest_alone(files: &Files) -> Option<Kept> {
    if files.wal_len() == 0 {
        return None;
    }
    let newest = schema::open_alone(files).and_then(|connection| newest(&connection));
    newest.ok().flatten().map(|newest| newest.kept())
}

/// Whether the log goes on where the database ends without its write-ahead log: a frame says
/// of what pages it is, and not of which database.
fn goes_on(connection: &Connection, alone: &Kept) -> rusqlite::Result<bool> {
    let next = "SELECT (SELECT max(seq) FROM entry) <= ?1 OR (SELECT min(seq) FROM entry) > ?1
                OR EXISTS (SELECT 1 FROM entry WHERE seq = ?1 + 1)";
    Ok(alone.is_in(connection)? && connection.query_row(next, [alone.seq], |row| row.get(0))?)
}

fn page_size(connection: &Connection) -> rusqlite::Result<u64> {
    let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(u64::try_from(size).unwrap_or_default())
}
