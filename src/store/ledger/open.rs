//! Opening a database: whether it is all that it was.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use super::super::chain::Content;
use super::super::facet::Dictionary;
use super::super::files::{Files, Held, Look, WriteLock};
use super::super::head::Kept;
use super::super::keyring::{FINGERPRINT, load_keys, load_salt};
use super::super::recent::Recent;
use super::super::schema::meta;
use super::super::{Options, StoreError, index, schema, slots};
use super::{Head, Ledger, newest};

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
        let noted = files.kept().map_err(|error| files.open_error(error))?;
        let mut ledger = Self::open_locked((files, lock), options, None, End::AsIs)?;
        let is_in = |noted: &Kept| noted.is_in(&ledger.connection);
        let is_in = noted.as_ref().map(is_in).transpose();
        let (Some(lost), Some(false)) =
            (noted, is_in.map_err(|error| ledger.files.open_error(error))?)
        else {
            return Ok(None);
        };
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
        let noted = files.kept().map_err(|error| files.open_error(error))?;
        make_or_check(&files, noted.as_ref().filter(|_| end == End::Whole))?;
        let connection = schema::open_to_write(&files, options)?;
        let failed = |error: rusqlite::Error| files.unopened(&error);
        let newest = newest(&connection).map_err(failed)?;
        let fresh = newest.is_none();
        let outlived = fresh && outlives_its_log(&files, &connection).map_err(failed)?;
        let keys = load_keys(&files, &connection, fresh, before.map(|before| &before.keys))?;
        let is_same = |before: &&Self| files.look().identity.is_database_of(&before.identity);
        let had = before.filter(is_same).map(|before| before.head.kept());
        // What was noted of one that is gone was forgotten with it.
        let noted_still = files.kept().map_err(|error| files.open_error(error))?;
        for had in had.into_iter().chain(noted_still).filter(|_| end == End::Whole) {
            if had.seq > 0 && !had.is_in(&connection).map_err(failed)? {
                let last = newest.map_or(0, |newest| newest.seq);
                return Err(StoreError::Behind { path: files.named, last, noted: had.seq });
            }
        }
        let mut ledger = Self {
            salt: load_salt(&connection, &keys).map_err(failed)?,
            epoch: 0,
            head: Head::NONE,
            data_version: -1,
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
            #[cfg(test)]
            ahead: 0,
            keys,
            connection,
            lock,
            files,
        };
        if fresh && end == End::Whole && (before.is_some() || noted.is_some() || outlived) {
            ledger.note_anew()?;
        }
        // The write-ahead log exists from the first read or write on.
        ledger.refresh().map_err(|error| ledger.files.open_error(error))?;
        let Look { identity, len, .. } = ledger.files.look();
        (ledger.identity, ledger.len) = (identity, len);
        ledger.learn_cookie(len).map_err(|error| ledger.files.open_error(error))?;
        if !identity.is_whole() {
            return Err(StoreError::Lost { path: ledger.files.named.clone() });
        }
        ledger.check_files()?;
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
fn make_or_check(files: &Files, noted: Option<&Kept>) -> Result<(), StoreError> {
    let created = files.create_db().map_err(|error| files.open_error(error))?;
    if created {
        return files.forget().map_err(|error| files.open_error(error));
    }
    match noted {
        Some(noted) if files.look().len == 0 => {
            let path = files.named.clone();
            Err(StoreError::Behind { path, last: 0, noted: noted.seq })
        }
        _ => Ok(()),
    }
}

/// Whether there is a key, and a database that was never told of it.
fn outlives_its_log(files: &Files, connection: &Connection) -> rusqlite::Result<bool> {
    Ok(files.key.exists() && meta::<Vec<u8>>(connection, FINGERPRINT)?.is_none())
}

fn page_size(connection: &Connection) -> rusqlite::Result<u64> {
    let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(u64::try_from(size).unwrap_or_default())
}
