//! An open database, as the writer uses it: transactions that append entries.

mod open;
mod watch;

pub(super) use watch::HeadSnapshot;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Params, Row, params};

use super::append::{Appender, Caches, one_row};
use super::chain::{Content, GENESIS, Hash, Keys, kind};
use super::facet::Dictionary;
use super::files::{Files, Identity, WriteLock};
use super::head::{BootScope, HeadRecord};
use super::index::{self, Entry};
use super::recent::Recent;
use super::schema::{self, Wal, meta};
use super::wal_check::WalCheck;
use super::{StoreError, slots};

/// How far the clock may lag behind the newest entry before it counts as set back, in
/// microseconds. Smaller lags are skew between processes, and are clamped.
const SKEW_US: i64 = 10_000_000;

/// Retries of beginning a transaction while a program that ignores our lock writes.
const MAX_TRIES: usize = 5;

/// How long a check of the files stays valid while no other process writes. A check costs as
/// much as a commit; rows written to files that were replaced meanwhile are lost with them.
const RECHECK_INTERVAL: Duration = Duration::from_millis(1);

/// Length of the test row that checks for free space, in bytes.
const TRIAL_LEN: i64 = 16 << 10;

/// The newest entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) hash: Hash,
    /// See [`HeadRecord`].
    accepted: i64,
}

impl Head {
    /// The head of an empty log.
    const NONE: Self = Self { seq: 0, at: 0, hash: GENESIS, accepted: 0 };

    fn record(&self) -> HeadRecord {
        HeadRecord { seq: self.seq, hash: self.hash, accepted: self.accepted }
    }

    /// The entry that would come next. Its time is never before that of its predecessor.
    pub(super) fn next(&self, keys: &Keys, at: i64, content: &Content<'_>) -> Self {
        let (seq, at) = (self.seq + 1, at.max(self.at));
        let accepted = match content {
            Content::Loss { .. } => seq,
            _ => self.accepted,
        };
        Self { seq, at, hash: keys.link(&self.hash, seq, at, content), accepted }
    }
}

/// An open database.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Declared before `connection` to be closed first: whoever closes the database last
    /// removes the write-ahead log.
    wal_check: WalCheck,
    connection: Connection,
    files: Files,
    lock: WriteLock,
    identity: Identity,
    /// Length of the database when last checked, in bytes. It shrinks only if it is rewritten
    /// (`VACUUM`).
    len: u64,
    /// SQLite's schema cookie when last checked; `None` while a rewrite has yet to shrink the
    /// file.
    cookie: Option<i64>,
    /// In bytes.
    page_size: u64,
    keys: Arc<Keys>,
    salt: u16,
    /// What records in the lock file are valid for.
    scope: Option<BootScope>,
    head: Head,
    /// SQLite's `data_version` when last checked.
    data_version: i64,
    /// Time of the last check of the files; `None` if another process has written since.
    checked_at: Option<Instant>,
    recheck_interval: Duration,
    /// Counts purges, which invalidate the cached dictionary.
    epoch: i64,
    dictionary: Dictionary,
    windows: slots::Windows,
    /// Sequence number of the newest indexed entry.
    indexed: i64,
    /// Number of unindexed entries that triggers indexing.
    index_after: i64,
    recent: Recent,
    broken: bool,
    /// Whether it is broken because the write-ahead log was overwritten.
    overwritten: bool,
    #[cfg(test)]
    clock_offset: i64,
}

/// Why a transaction could not begin.
#[derive(Debug)]
pub(super) enum NotBegun {
    /// A program that ignores our lock is writing: trying again may help.
    Busy(StoreError),
    /// Any other error.
    Failed(StoreError),
}

impl Ledger {
    pub(super) fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn lock(&self) -> &WriteLock {
        &self.lock
    }

    /// Whether the database has to be reopened.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether indexing is due.
    pub(super) fn wants_indexing(&self) -> bool {
        self.head.seq - self.indexed >= self.index_after
    }

    /// Whether the index lags so far that reads become slow.
    pub(super) fn needs_indexing(&self) -> bool {
        self.head.seq - self.indexed >= index::MAX_LAG
    }

    /// State of the write-ahead log. Must be called outside of a transaction.
    pub(super) fn wal(&self) -> rusqlite::Result<Wal> {
        Wal::of(&self.connection)
    }

    /// Sets how long SQLite waits for programs that ignore our lock.
    pub(super) fn set_busy_timeout(&self, timeout: Duration) {
        // INVARIANT (infallible): sqlite3_busy_timeout only stores a number.
        let _ = self.connection.busy_timeout(timeout);
    }

    /// Begins a transaction. The caller holds the write lock.
    pub(super) fn begin(&mut self) -> Result<Transaction<'_>, NotBegun> {
        let mut tries = 0..MAX_TRIES;
        while !self.try_begin()? {
            if tries.next().is_none() {
                return Err(self.busy());
            }
        }
        let now = self.now();
        let mut transaction = Transaction { head: self.head, now, ledger: self, done: false };
        transaction.mend_clock().map_err(NotBegun::Failed)?;
        Ok(transaction)
    }

    /// Tries to begin a transaction. `false` means try again: another program has written since
    /// the files were checked.
    fn try_begin(&mut self) -> Result<bool, NotBegun> {
        let had = self.head;
        if let Some(at) = self.checked_at.take().filter(|at| at.elapsed() < self.recheck_interval) {
            return self.try_begin_unchecked(had, at);
        }
        let wal = self.check_files().map_err(NotBegun::Failed)?;
        let begun = self.begin_immediate().and_then(|others| Ok((others, self.has_lost(&had)?)));
        let (others, lost) = begun.map_err(|error| self.not_begun(&error))?;
        if lost {
            return Err(NotBegun::Failed(self.abort_lost(had)));
        }
        let is_whole = match others {
            true => self.wal_check.resync(wal, self.page_size),
            false => self.wal_check.advance(wal, self.page_size),
        };
        if is_whole {
            self.checked_at = (!others).then(Instant::now);
            return Ok(true);
        }
        self.roll_back();
        match others && self.resync_wal_check() {
            true => Ok(false),
            false => Err(NotBegun::Failed(self.mark_overwritten())),
        }
    }

    /// As [`Self::try_begin`], while the check of the files at `at` is still valid.
    fn try_begin_unchecked(&mut self, had: Head, at: Instant) -> Result<bool, NotBegun> {
        match self.begin_immediate() {
            Ok(false) => {
                self.checked_at = Some(at);
                Ok(true)
            }
            Err(error) if is_busy(&error) => Err(self.not_begun(&error)),
            Ok(true) | Err(_) => {
                self.roll_back();
                self.head = had;
                Ok(false)
            }
        }
    }

    /// Begins a transaction; returns whether other processes have written since the last one.
    fn begin_immediate(&mut self) -> rusqlite::Result<bool> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.refresh()
    }

    fn not_begun(&mut self, error: &rusqlite::Error) -> NotBegun {
        self.roll_back();
        if is_busy(error) {
            return self.busy();
        }
        NotBegun::Failed(self.write_error(error))
    }

    fn busy(&self) -> NotBegun {
        let why = "another program is writing to it".to_owned();
        NotBegun::Busy(StoreError::Write { path: self.files.named.clone(), why })
    }

    /// Runs `work` in a transaction of its own, under the write lock.
    pub(super) fn transact<T>(
        &mut self,
        timeout: Duration,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let named = self.files.named.clone();
        let held = self.lock.take(timeout).map_err(|error| StoreError::open(&named, error))?;
        let Some(_held) = held else { return Err(StoreError::busy(&named, timeout)) };
        let mut transaction = self.begin()?;
        let done = work(&mut transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Rereads what other processes may have changed; returns whether they have written.
    fn refresh(&mut self) -> rusqlite::Result<bool> {
        let version: i64 = self
            .connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if version == self.data_version {
            return Ok(false);
        }
        self.windows.invalidate();
        self.recent.clear();
        self.head = newest(&self.connection)?.unwrap_or(Head::NONE);
        let epoch = meta(&self.connection, "epoch")?.unwrap_or_default();
        if epoch != self.epoch {
            self.dictionary.clear();
            self.epoch = epoch;
        }
        self.indexed = meta(&self.connection, "folded")?.unwrap_or_default();
        self.data_version = version;
        Ok(true)
    }

    /// The current time, in microseconds.
    fn now(&self) -> i64 {
        let now = Timestamp::now().as_microsecond();
        #[cfg(test)]
        let now = now + self.clock_offset;
        now
    }

    /// Shifts the clock by `offset` microseconds.
    #[cfg(test)]
    pub(super) fn set_clock(&mut self, offset: i64) {
        self.clock_offset = offset;
    }

    /// Sets how long a check of the files stays valid; 0 in tests.
    #[cfg(test)]
    pub(super) fn set_recheck_interval(&mut self, time: Duration) {
        self.recheck_interval = time;
    }

    /// Simulates a full disk once the database has `pages` pages.
    #[cfg(test)]
    pub(super) fn grow_to(&self, pages: u32) {
        let sql = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&sql, [], |_| Ok(())).unwrap();
    }

    /// Enables triggers, which [`schema::open_to_write`] disables.
    #[cfg(test)]
    pub(super) fn run_triggers(&self) {
        let triggers = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
        self.connection.set_db_config(triggers, true).unwrap();
    }

    fn roll_back(&mut self) {
        // SQLite rolls back by itself after some errors.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        // The caches may contain what was rolled back.
        self.dictionary.clear();
        self.windows.clear();
        self.recent.clear();
        self.data_version = -1;
    }

    /// Logs and converts `error`; marks the ledger broken if reopening may help.
    fn write_error(&mut self, error: &rusqlite::Error) -> StoreError {
        let passes = error.sqlite_error_code() == Some(ErrorCode::DiskFull) || is_busy(error);
        self.broken |= !passes;
        let code = error.sqlite_error_code();
        if matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            // The write-ahead log may be at fault: keep it out of the database.
            schema::keep_wal_on_close(&self.connection);
        }
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

/// A transaction that appends entries. Rolled back unless committed.
#[derive(Debug)]
pub(super) struct Transaction<'l> {
    ledger: &'l mut Ledger,
    head: Head,
    /// Time of its begin. Later timestamps are clamped to it.
    now: i64,
    done: bool,
}

impl Transaction<'_> {
    /// The appender for this transaction's rows.
    ///
    /// # Errors
    /// If its statements cannot be prepared.
    pub(super) fn appender(&mut self) -> rusqlite::Result<Appender<'_>> {
        let Ledger { connection, keys, salt, dictionary, windows, recent, .. } = &mut *self.ledger;
        let caches = Caches { dictionary, windows, recent };
        Appender::new(connection, (keys, *salt), caches, (&mut self.head, self.now))
    }

    /// Appends an entry that is neither a decision nor a result. `extra` are its `ref` and
    /// `digest`.
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
        inserted.and_then(one_row).map_err(|error| self.ledger.write_error(&error))?;
        self.head = next;
        self.ledger.recent.push(next.seq, Entry::Other);
        Ok(())
    }

    /// The connection, for other statements in this transaction.
    pub(super) fn connection(&self) -> &Connection {
        &self.ledger.connection
    }

    /// Whether there are unindexed entries.
    pub(super) fn lags_behind(&self) -> bool {
        self.head.seq > self.ledger.indexed
    }

    /// Logs and converts `error`.
    pub(super) fn error(&mut self, error: &rusqlite::Error) -> StoreError {
        self.ledger.write_error(error)
    }

    /// Appends the entry of a purge up to `upto`, whose hash is `hash`.
    pub(super) fn append_purge(&mut self, upto: i64, hash: &Hash) -> Result<(), StoreError> {
        let at = Timestamp::now().as_microsecond();
        self.append_rare(at, &Content::Purge { upto, hash }, (Some(upto), Some(hash)))
    }

    /// Restores the key file if it is missing.
    ///
    /// # Errors
    /// If it contains another key, or cannot be written.
    pub(super) fn restore_key(&self) -> Result<(), StoreError> {
        self.ledger.restore_key()
    }

    /// Writes more than a row needs, to check for free space.
    pub(super) fn put_trial(&mut self) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES ('trial', zeroblob(?1))";
        self.execute_rare(sql, [TRIAL_LEN])
    }

    /// Removes what [`Self::put_trial`] wrote.
    pub(super) fn remove_trial(&mut self) -> Result<(), StoreError> {
        self.execute_rare("DELETE FROM meta WHERE name = 'trial'", [])
    }

    fn execute_rare(&mut self, sql: &str, params: impl Params) -> Result<(), StoreError> {
        let done = self.ledger.connection.execute(sql, params);
        done.map(drop).map_err(|error| self.ledger.write_error(&error))
    }

    /// Indexes a batch of entries.
    pub(super) fn index(&mut self) -> Result<(), StoreError> {
        match index::update(&self.ledger.connection, &mut self.ledger.recent) {
            Ok(progress) => {
                (self.ledger.indexed, self.ledger.index_after) =
                    (progress.newest, progress.index_after);
                Ok(())
            }
            Err(error) => Err(self.ledger.write_error(&error)),
        }
    }

    /// If the clock was set back, appends an entry that says so, and shifts the rate windows.
    fn mend_clock(&mut self) -> Result<(), StoreError> {
        let (now, from) = (self.now, self.head.at);
        if from <= now.saturating_add(SKEW_US) {
            return Ok(());
        }
        self.head.at = now;
        self.ledger.windows.clear();
        slots::shift(&self.ledger.connection, from - now)
            .map_err(|error| self.ledger.write_error(&error))?;
        self.append_rare(now, &Content::Clock { from }, (Some(from), None))
    }

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
                self.ledger.record_in_lock();
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

fn newest(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    let sql = "SELECT seq, at, hash,
                 ifnull((SELECT max(seq) FROM entry WHERE kind = ?1 AND kind >= 2), 0)
               FROM entry ORDER BY seq DESC LIMIT 1";
    let read = |row: &Row<'_>| {
        Ok(Head { seq: row.get(0)?, at: row.get(1)?, hash: row.get(2)?, accepted: row.get(3)? })
    };
    connection.prepare_cached(sql)?.query_row([kind::LOSS], read).optional()
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
