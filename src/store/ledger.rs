//! One open database, as its writer has it: transactions that append entries.

mod open;
mod watch;

pub(super) use watch::Mark;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Params, Row, params};

use super::append::{Appender, Known, one_row};
use super::chain::{Content, GENESIS, Hash, Keys, kind};
use super::facet::Dictionary;
use super::files::{Files, Identity, WriteLock};
use super::head::{Kept, Scope};
use super::index::{self, Entry};
use super::recent::Recent;
use super::schema::{self, Wal, meta};
use super::wal_check::WalCheck;
use super::{StoreError, slots};

/// How far the clock may lag behind the newest entry before it counts as set
/// back, in microseconds. Less is skew between processes, and is ironed out.
const SKEW_US: i64 = 10_000_000;

/// How often a transaction is begun again for a program that does not know our lock.
const MAX_TRIES: usize = 5;

/// How long the files, once looked at, are taken to be what they were while nobody else
/// writes. To look at them costs as much as a commit. What is written to files that are not
/// the log's any more is lost with all that they held.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Bytes that are written to see whether there is room for a row.
const TRIAL_LEN: i64 = 16 << 10;

/// The newest entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) hash: Hash,
    /// See [`Kept`].
    accepted: i64,
}

impl Head {
    /// What stands for it in a log without entries.
    const NONE: Self = Self { seq: 0, at: 0, hash: GENESIS, accepted: 0 };

    fn kept(&self) -> Kept {
        Kept { seq: self.seq, hash: self.hash, accepted: self.accepted }
    }

    /// The entry that would come next: never older than the one before.
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
    /// Closed before the database: whoever closes that last removes the write-ahead log.
    trail: WalCheck,
    connection: Connection,
    files: Files,
    lock: WriteLock,
    identity: Identity,
    /// Bytes of the database as last seen: it becomes shorter only where it is written anew.
    len: u64,
    /// SQLite's count of that, as last seen; `None` where it is yet to become shorter.
    cookie: Option<i64>,
    /// Bytes of one of its pages.
    page_size: u64,
    keys: Arc<Keys>,
    salt: u16,
    /// What is noted with every commit holds for this.
    scope: Option<Scope>,
    head: Head,
    /// SQLite's count of commits by others, as last seen.
    data_version: i64,
    /// When the files were looked at last, where nobody else has written since.
    looked: Option<Instant>,
    look_every: Duration,
    /// Counts purges: a dictionary remembered from before one may be wrong.
    epoch: i64,
    dictionary: Dictionary,
    windows: slots::Windows,
    folded: i64,
    /// How far the index may lag behind.
    fold_every: i64,
    recent: Recent,
    broken: bool,
    /// Because the write-ahead log is not what it was.
    overwritten: bool,
    #[cfg(test)]
    ahead: i64,
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
        self.head.seq - self.folded >= self.fold_every
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
        let mut tries = 0..MAX_TRIES;
        while !self.has_begun()? {
            if tries.next().is_none() {
                return Err(self.busy());
            }
        }
        let now = self.now();
        let mut transaction = Transaction { head: self.head, now, ledger: self, done: false };
        transaction.mend_clock().map_err(NotBegun::Failed)?;
        Ok(transaction)
    }

    /// Begins one; `false` where it has to be tried again: another program has written since
    /// the files were looked at.
    fn has_begun(&mut self) -> Result<bool, NotBegun> {
        let had = self.head;
        if let Some(at) = self.looked.take().filter(|at| at.elapsed() < self.look_every) {
            return self.has_begun_unlooked(had, at);
        }
        let wal = self.check_files().map_err(NotBegun::Failed)?;
        let begun = self.begin_alone().and_then(|others| Ok((others, self.has_lost(&had)?)));
        let (others, lost) = begun.map_err(|error| self.not_begun(&error))?;
        if lost {
            return Err(NotBegun::Failed(self.fall_behind(had)));
        }
        let is_whole = match others {
            true => self.trail.learn(wal, self.page_size),
            false => self.trail.goes_on(wal, self.page_size),
        };
        if is_whole {
            self.looked = (!others).then(Instant::now);
            return Ok(true);
        }
        self.roll_back();
        match others && self.learns_trail() {
            true => Ok(false),
            false => Err(NotBegun::Failed(self.find_overwritten())),
        }
    }

    /// The same while the look of `at` holds, when `had` was the newest entry.
    fn has_begun_unlooked(&mut self, had: Head, at: Instant) -> Result<bool, NotBegun> {
        match self.begin_alone() {
            Ok(false) => {
                self.looked = Some(at);
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

    /// Begins one under SQLite's lock; whether others have written since the last.
    fn begin_alone(&mut self) -> rusqlite::Result<bool> {
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

    /// Learns what other processes have written since; whether they have.
    fn refresh(&mut self) -> rusqlite::Result<bool> {
        let version: i64 = self
            .connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if version == self.data_version {
            return Ok(false);
        }
        self.windows.distrust();
        self.recent.clear();
        self.head = newest(&self.connection)?.unwrap_or(Head::NONE);
        let epoch = meta(&self.connection, "epoch")?.unwrap_or_default();
        if epoch != self.epoch {
            self.dictionary.clear();
            self.epoch = epoch;
        }
        self.folded = meta(&self.connection, "folded")?.unwrap_or_default();
        self.data_version = version;
        Ok(true)
    }

    /// The clock, in microseconds.
    fn now(&self) -> i64 {
        let now = Timestamp::now().as_microsecond();
        #[cfg(test)]
        let now = now + self.ahead;
        now
    }

    /// Sets the clock so many microseconds ahead.
    #[cfg(test)]
    pub(super) fn set_clock(&mut self, ahead: i64) {
        self.ahead = ahead;
    }

    /// How long a look at the files holds; in tests, none does.
    #[cfg(test)]
    pub(super) fn look_every(&mut self, time: Duration) {
        self.look_every = time;
    }

    /// The disk is full as soon as the database has so many pages; those it has stay.
    #[cfg(test)]
    pub(super) fn grow_to(&self, pages: u32) {
        let sql = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&sql, [], |_| Ok(())).unwrap();
    }

    /// What [`schema::open_to_write`] forbids.
    #[cfg(test)]
    pub(super) fn run_triggers(&self) {
        let triggers = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
        self.connection.set_db_config(triggers, true).unwrap();
    }

    fn roll_back(&mut self) {
        // After some errors SQLite has rolled back already.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        // What was learnt or added in the transaction may not be there.
        self.dictionary.clear();
        self.windows.clear();
        self.recent.clear();
        self.data_version = -1;
    }

    /// What failed, in words; decides whether the database is opened again.
    fn write_error(&mut self, error: &rusqlite::Error) -> StoreError {
        let passes = error.sqlite_error_code() == Some(ErrorCode::DiskFull) || is_busy(error);
        self.broken |= !passes;
        let code = error.sqlite_error_code();
        if matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            // What is in the write-ahead log may be at fault: it stays out of the database.
            schema::leave_wal(&self.connection, true);
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

/// A transaction that appends entries; rolled back unless committed.
#[derive(Debug)]
pub(super) struct Transaction<'l> {
    ledger: &'l mut Ledger,
    head: Head,
    /// When it began. Nothing in it is of later.
    now: i64,
    done: bool,
}

impl Transaction<'_> {
    /// What appends the rows of a group.
    ///
    /// # Errors
    /// Where its statements cannot be prepared.
    pub(super) fn appender(&mut self) -> rusqlite::Result<Appender<'_>> {
        let Ledger { connection, keys, salt, dictionary, windows, recent, .. } = &mut *self.ledger;
        let known = Known { dictionary, windows, recent };
        Appender::new(connection, (keys, *salt), known, (&mut self.head, self.now))
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
        inserted.and_then(one_row).map_err(|error| self.ledger.write_error(&error))?;
        self.head = next;
        self.ledger.recent.push(next.seq, Entry::Other);
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

    /// Sees to it that the key is there which proves the log: one that is gone is written
    /// again, and another left alone.
    ///
    /// # Errors
    /// Where it is another, or cannot be written.
    pub(super) fn keep_key(&self) -> Result<(), StoreError> {
        self.ledger.keep_key()
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
        match index::fold(&self.ledger.connection, &mut self.ledger.recent) {
            Ok(folded) => {
                (self.ledger.folded, self.ledger.fold_every) = (folded.newest, folded.every);
                Ok(())
            }
            Err(error) => Err(self.ledger.write_error(&error)),
        }
    }

    /// Notes that the clock was set back, so that times may start over, and
    /// takes the rate windows along.
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
                self.ledger.note_in_lock();
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
