//! One open database, as its writer has it: transactions that append entries.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Params, params};

use super::append::Appender;
use super::chain::{Content, GENESIS, Hash, Keys, kind};
use super::facet::Dictionary;
use super::files::{Files, Held, Identity, Look, WriteLock};
use super::head::Kept;
use super::keyring::{load_keys, load_salt};
use super::schema::{Wal, meta};
use super::{Options, StoreError, index, schema, slots};

/// How far the clock may lag behind the newest entry before it counts as set
/// back, in microseconds. Less is skew between processes, and is ironed out.
const SKEW_US: i64 = 10_000_000;

/// Bytes that are written to see whether there is room for a row.
const TRIAL_LEN: i64 = 16 << 10;

/// The newest entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) hash: Hash,
}

impl Head {
    /// What stands for it in a log without entries.
    const NONE: Self = Self { seq: 0, at: 0, hash: GENESIS };

    fn kept(&self) -> Kept {
        Kept { seq: self.seq, hash: self.hash }
    }

    /// The entry that would come next: never older than the one before.
    pub(super) fn next(&self, keys: &Keys, at: i64, content: &Content<'_>) -> Self {
        let (seq, at) = (self.seq + 1, at.max(self.at));
        Self { seq, at, hash: keys.link(&self.hash, seq, at, content) }
    }
}

/// An open database.
#[derive(Debug)]
pub(super) struct Ledger {
    connection: Connection,
    files: Files,
    lock: WriteLock,
    identity: Identity,
    /// Bytes of the database as last seen: it never becomes shorter.
    len: u64,
    /// Bytes of one of its pages.
    page_size: u64,
    keys: Arc<Keys>,
    salt: u16,
    head: Head,
    /// SQLite's count of commits by others, as last seen.
    data_version: i64,
    /// Counts purges: a dictionary remembered from before one may be wrong.
    epoch: i64,
    dictionary: Dictionary,
    windows: slots::Windows,
    folded: i64,
    broken: bool,
}

/// The newest entry of a database at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    identity: Identity,
    head: Head,
}

/// What is asked of the end of a database that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is there.
    Whole,
    /// Nothing: what is missing is accepted.
    AsIs,
}

/// Why a transaction did not begin.
#[derive(Debug)]
pub(super) enum NotBegun {
    /// A program that does not know our lock writes; patience may help.
    Busy(StoreError),
    /// It cannot.
    Failed(StoreError),
}

impl Ledger {
    /// Opens or creates the database `named`. `before` is the one that was lost while
    /// running: a new one goes on with its keys, and the same has to hold all it held.
    pub(super) fn open(
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
    pub(super) fn accept_loss(named: &Path, options: &Options) -> Result<Option<i64>, StoreError> {
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
        let noted = files.kept().map_err(|error| files.open_error(error))?;
        make_or_check(&files, noted.as_ref().filter(|_| end == End::Whole))?;
        let connection = schema::open_to_write(&files, options)?;
        let failed = |error: rusqlite::Error| files.open_error(error);
        let newest = newest(&connection).map_err(failed)?;
        let fresh = newest.is_none();
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
            page_size: page_size(&connection).map_err(failed)?,
            dictionary: Dictionary::default(),
            windows: slots::Windows::default(),
            folded: meta(&connection, "folded").map_err(failed)?.unwrap_or_default(),
            broken: false,
            keys,
            connection,
            lock,
            files,
        };
        if fresh && end == End::Whole && (before.is_some() || noted.is_some()) {
            ledger.note_anew()?;
        }
        // The write-ahead log exists from the first read or write on.
        ledger.refresh().map_err(|error| ledger.files.open_error(error))?;
        let Look { identity, len, .. } = ledger.files.look();
        (ledger.identity, ledger.len) = (identity, len);
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

    /// The keys of this database.
    pub(super) fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Where the database is.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// The lock that goes with it.
    pub(super) fn lock(&self) -> &WriteLock {
        &self.lock
    }

    /// Whether it has to be opened again.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the index is so far behind that it should be brought up to date.
    pub(super) fn wants_indexing(&self) -> bool {
        self.head.seq - self.folded >= index::FOLD_EVERY
    }

    /// Whether it is so far behind that readers would feel it.
    pub(super) fn needs_indexing(&self) -> bool {
        self.head.seq - self.folded >= index::MAX_LAG
    }

    /// How long the write-ahead log is. Outside of a transaction.
    pub(super) fn wal(&self) -> rusqlite::Result<Wal> {
        Wal::of(&self.connection)
    }

    /// How long SQLite may sleep for programs that do not know our lock.
    pub(super) fn set_patience(&self, patience: Duration) {
        // INVARIANT (infallible): sqlite3_busy_timeout only stores a number.
        let _ = self.connection.busy_timeout(patience);
    }

    /// Begins a transaction. The caller holds the lock.
    pub(super) fn begin(&mut self) -> Result<Transaction<'_>, NotBegun> {
        self.check_files().map_err(NotBegun::Failed)?;
        let begun = self
            .connection
            .prepare_cached("BEGIN IMMEDIATE")
            .and_then(|mut begin| begin.execute([]))
            .and_then(|_| self.refresh());
        if let Err(error) = begun {
            self.roll_back();
            return Err(if is_busy(&error) {
                let why = "another program is writing to it".to_owned();
                NotBegun::Busy(StoreError::Write { path: self.files.named.clone(), why })
            } else {
                NotBegun::Failed(self.write_error(&error))
            });
        }
        let mut transaction = Transaction { head: self.head, ledger: self, done: false };
        transaction.mend_clock().map_err(NotBegun::Failed)?;
        Ok(transaction)
    }

    /// Whether the files are those that were opened, with all that was written. What is in
    /// the write-ahead log could be written and read for a while even so, and be lost.
    /// Outside of a transaction.
    pub(super) fn check_files(&mut self) -> Result<(), StoreError> {
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
    pub(super) fn mark(&self) -> Mark {
        Mark { identity: self.identity, head: self.head }
    }

    /// Notes beside the database that it has the entry of `mark`, which is on the disk. The
    /// caller holds the lock.
    pub(super) fn keep(&mut self, mark: &Mark) {
        if self.identity == mark.identity && self.check_files().is_ok() {
            self.note(&mark.head);
        }
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
    pub(super) fn rescue(&self) {
        let identity = self.files.look().identity;
        if identity.is_database_of(&self.identity)
            && identity.shares_index_with(&self.identity)
            && let Err(error) = schema::rescue(&self.connection)
        {
            tracing::error!(%error, "what is in the audit log's `-wal` could not be saved");
        }
    }

    /// Runs `work` in a transaction of its own, under the lock.
    pub(super) fn transact<T>(
        &mut self,
        patience: Duration,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let named = self.files.named.clone();
        let held = self.lock.take(patience).map_err(|error| StoreError::open(&named, error))?;
        let Some(_held) = held else { return Err(StoreError::busy(&named, patience)) };
        let mut transaction = self.begin()?;
        let done = work(&mut transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Learns what other processes have written since.
    fn refresh(&mut self) -> rusqlite::Result<()> {
        let version: i64 = self
            .connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if version == self.data_version {
            return Ok(());
        }
        self.windows.distrust();
        self.head = newest(&self.connection)?.unwrap_or(Head::NONE);
        let epoch = meta(&self.connection, "epoch")?.unwrap_or_default();
        if epoch != self.epoch {
            self.dictionary.clear();
            self.epoch = epoch;
        }
        self.folded = meta(&self.connection, "folded")?.unwrap_or_default();
        self.data_version = version;
        Ok(())
    }

    /// The disk is full as soon as the database has so many pages; those it has stay.
    #[cfg(test)]
    pub(super) fn grow_to(&self, pages: u32) {
        let sql = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&sql, [], |_| Ok(())).unwrap();
    }

    fn roll_back(&mut self) {
        // After some errors SQLite has rolled back already.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        // What was learnt or added in the transaction may not be there.
        self.dictionary.clear();
        self.windows.clear();
        self.data_version = -1;
    }

    /// What failed, in words; decides whether the database is opened again.
    fn write_error(&mut self, error: &rusqlite::Error) -> StoreError {
        let passes = error.sqlite_error_code() == Some(ErrorCode::DiskFull) || is_busy(error);
        self.broken |= !passes;
        tracing::error!(path = %self.files.named.display(), %error, "the audit log cannot be written");
        StoreError::Write { path: self.files.named.clone(), why: error.to_string() }
    }
}

impl From<NotBegun> for StoreError {
    fn from(error: NotBegun) -> Self {
        match error {
            NotBegun::Busy(error) | NotBegun::Failed(error) => error,
        }
    }
}

/// A transaction that appends entries; rolled back unless committed.
#[derive(Debug)]
pub(super) struct Transaction<'l> {
    ledger: &'l mut Ledger,
    head: Head,
    done: bool,
}

impl Transaction<'_> {
    /// What appends the rows of a group.
    ///
    /// # Errors
    /// Where its statements cannot be prepared.
    pub(super) fn appender(&mut self) -> rusqlite::Result<Appender<'_>> {
        let Ledger { connection, keys, salt, dictionary, windows, .. } = &mut *self.ledger;
        Appender::new(connection, (keys, *salt), (dictionary, windows), &mut self.head)
    }

    /// Appends an entry of a rare kind: `extra` are its `ref` and `digest`.
    fn append_rare(
        &mut self,
        at: i64,
        content: &Content<'_>,
        extra: (Option<i64>, Option<&Hash>),
    ) -> Result<(), StoreError> {
        let next = self.head.next(&self.ledger.keys, at, content);
        let kind = match content {
            Content::Purge { .. } => kind::PURGE,
            Content::Clock { .. } => kind::CLOCK,
            Content::Loss { .. } => kind::LOSS,
            _ => kind::ANEW,
        };
        let inserted = self.ledger.connection.execute(
            "INSERT INTO entry (seq, kind, at, ref, digest, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![next.seq, kind, next.at, extra.0, extra.1, next.hash],
        );
        inserted.map_err(|error| self.ledger.write_error(&error))?;
        self.head = next;
        Ok(())
    }

    /// The connection, for what else belongs into the transaction.
    pub(super) fn connection(&self) -> &Connection {
        &self.ledger.connection
    }

    /// Whether the index is behind at all.
    pub(super) fn lags_behind(&self) -> bool {
        self.head.seq > self.ledger.folded
    }

    /// What failed, in words.
    pub(super) fn error(&mut self, error: &rusqlite::Error) -> StoreError {
        self.ledger.write_error(error)
    }

    /// Notes that the entries up to `upto`, whose hash is `hash`, are removed.
    pub(super) fn note_purge(&mut self, upto: i64, hash: &Hash) -> Result<(), StoreError> {
        let at = Timestamp::now().as_microsecond();
        self.append_rare(at, &Content::Purge { upto, hash }, (Some(upto), Some(hash)))
    }

    /// Writes more than a row would, to see whether there is room for one.
    pub(super) fn put_trial(&mut self) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES ('trial', zeroblob(?1))";
        self.execute_rare(sql, [TRIAL_LEN])
    }

    /// Takes it out again.
    pub(super) fn remove_trial(&mut self) -> Result<(), StoreError> {
        self.execute_rare("DELETE FROM meta WHERE name = 'trial'", [])
    }

    fn execute_rare(&mut self, sql: &str, params: impl Params) -> Result<(), StoreError> {
        let done = self.ledger.connection.execute(sql, params);
        done.map(drop).map_err(|error| self.ledger.write_error(&error))
    }

    /// Brings the index nearer to the log.
    pub(super) fn index(&mut self) -> Result<(), StoreError> {
        match index::fold(&self.ledger.connection) {
            Ok(folded) => {
                self.ledger.folded = folded;
                Ok(())
            }
            Err(error) => Err(self.ledger.write_error(&error)),
        }
    }

    /// Notes that the clock was set back, so that times may start over, and
    /// takes the rate windows along.
    fn mend_clock(&mut self) -> Result<(), StoreError> {
        let now = Timestamp::now().as_microsecond();
        let from = self.head.at;
        if from <= now.saturating_add(SKEW_US) {
            return Ok(());
        }
        self.head.at = now;
        self.ledger.windows.distrust();
        slots::shift(&self.ledger.connection, from - now)
            .map_err(|error| self.ledger.write_error(&error))?;
        self.append_rare(now, &Content::Clock { from }, (Some(from), None))
    }

    /// Makes it permanent.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        let committed = self
            .ledger
            .connection
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]));
        match committed {
            Ok(_) => {
                self.done = true;
                self.ledger.head = self.head;
                Ok(())
            }
            Err(error) => Err(self.ledger.write_error(&error)),
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.ledger.roll_back();
        }
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

fn page_size(connection: &Connection) -> rusqlite::Result<u64> {
    let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(u64::try_from(size).unwrap_or_default())
}

fn newest(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    let sql = "SELECT seq, at, hash FROM entry ORDER BY seq DESC LIMIT 1";
    let mut newest = connection.prepare_cached(sql)?;
    newest
        .query_row([], |row| Ok(Head { seq: row.get(0)?, at: row.get(1)?, hash: row.get(2)? }))
        .optional()
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
