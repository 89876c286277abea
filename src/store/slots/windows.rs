//! A writer's cache of slots, and how it is kept up to date.
//!
//! A new slot is appended to a queue that all windows share: there it costs a row on a page
//! that is written anyway. Later the slots of one window are moved together to the table of
//! all windows, sorted by window. The queue is in memory as well as in the database; other
//! processes may have appended to it, or removed slots from its beginning.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};

/// Maximum number of queued slots of one window.
const MAX_QUEUED: usize = 16;

/// Maximum length of the queue, give or take [`TRIM_EVERY`]. Small in tests, so that they fill
/// it.
const MAX_QUEUE: usize = if cfg!(test) { 256 } else { 16 << 10 };

/// Every n-th slot trims the queue.
const TRIM_EVERY: i64 = 64;

/// Maximum number of cached windows, not counting those with queued slots.
const MAX_WINDOWS: usize = 4096;

/// Age after which a slot is in no window, in microseconds.
const KEPT_US: i64 = 3_600_000_000;

/// Agent and policy.
type Key = (Arc<str>, Arc<str>);

/// The writer's bounded cache of slots.
#[derive(Debug, Default)]
pub(in crate::store) struct Windows {
    /// Incremented when other processes may have written.
    version: u64,
    known: HashMap<Key, Known>,
    /// Queued slots, oldest first.
    queue: VecDeque<Queued>,
    /// Highest id ever used in the queue; 0 if unknown.
    newest_id: i64,
    /// The version that `queue` reflects; `None` if it has to be reread.
    queue_version: Option<u64>,
}

/// A queued slot.
#[derive(Debug)]
struct Queued {
    id: i64,
    key: Key,
    n: i64,
}

/// Cached state of the window of one agent and policy.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The version that numbers and times are of. Other processes may have added slots since.
    version: u64,
    /// Number of the newest slot. Always known if some are queued.
    newest: Option<i64>,
    /// Times of the slots that are only in the queue, oldest first.
    queued: VecDeque<i64>,
    /// One per window length.
    pub(super) begins: Vec<Begin>,
    /// How long slots count, in microseconds, if known.
    kept: Option<i64>,
}

/// Start of a window when it was last examined. It only moves forward, whichever process
/// writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begin {
    pub(super) window: Duration,
    /// The first slot that may still be within the window.
    pub(super) n: i64,
    /// Time when it was taken.
    pub(super) at: Option<i64>,
}

impl Windows {
    /// Clears the cache: after a rollback, numbers are assigned again.
    pub(in crate::store) fn clear(&mut self) {
        *self = Self { version: self.version, ..Self::default() };
    }

    /// Marks the cache stale: other processes may have added or moved slots.
    pub(in crate::store) fn invalidate(&mut self) {
        self.version += 1;
    }

    /// The up-to-date state of one window.
    pub(super) fn known(
        &mut self,
        connection: &Connection,
        agent: &Arc<str>,
        policy: &Arc<str>,
    ) -> rusqlite::Result<&mut Known> {
        self.catch_up(connection)?;
        let key = (Arc::clone(agent), Arc::clone(policy));
        if self.known.len() >= MAX_WINDOWS + self.queue.len() && !self.known.contains_key(&key) {
            self.known.retain(|_, known| !known.queued.is_empty());
        }
        let version = self.version;
        let known = self.known.entry(key).or_default();
        known.expire_before(version);
        Ok(known)
    }

    /// Takes a slot at `at` that counts for at most `longest`. Returns its number.
    pub(super) fn take(
        &mut self,
        connection: &Connection,
        (agent, policy): (&Arc<str>, &Arc<str>),
        (at, longest): (i64, Duration),
    ) -> rusqlite::Result<i64> {
        let known = self.known(connection, agent, policy)?;
        let n = known.newest(connection, agent, policy)? + 1;
        known.kept = Some(i64::try_from(longest.as_micros()).unwrap_or(i64::MAX).max(KEPT_US));
        let id = self.newest_id + 1;
        let sql = "INSERT INTO slot_queue (id, agent, policy, n, at) VALUES (?1, ?2, ?3, ?4, ?5)";
        connection.prepare_cached(sql)?.execute(params![id, agent, policy, n, at])?;
        let key = (Arc::clone(agent), Arc::clone(policy));
        if self.push(Queued { id, key: key.clone(), n }, at) >= MAX_QUEUED {
            self.place(connection, &key, at)?;
        }
        if id % TRIM_EVERY == 0 {
            self.trim(connection, at)?;
        }
        Ok(n)
    }

    /// Applies what other processes did to the queue.
    fn catch_up(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.queue_version == Some(self.version) {
            return Ok(());
        }
        let oldest: Option<i64> = connection
            .prepare_cached("SELECT min(id) FROM slot_queue")?
            .query_row([], |row| row.get(0))?;
        while self.queue.front().is_some_and(|slot| oldest.is_none_or(|id| slot.id < id)) {
            self.pop();
        }
        let mut newer = connection.prepare_cached(
            "SELECT id, n, at, agent, policy FROM slot_queue WHERE id > ?1 ORDER BY id",
        )?;
        let mut newer = newer.query([self.newest_id])?;
        while let Some(row) = newer.next()? {
            let key = (row.get(3)?, row.get(4)?);
            self.push(Queued { id: row.get(0)?, key, n: row.get(1)? }, row.get(2)?);
        }
        self.queue_version = Some(self.version);
        Ok(())
    }

    /// Appends a slot to the queue. Returns how many slots of its window are only there.
    fn push(&mut self, slot: Queued, at: i64) -> usize {
        let known = self.known.entry(slot.key.clone()).or_default();
        known.expire_before(self.version);
        if known.newest != Some(slot.n - 1) {
            known.queued.clear();
        }
        known.newest = Some(slot.n);
        known.queued.push_back(at);
        self.newest_id = slot.id;
        self.queue.push_back(slot);
        known.queued.len()
    }

    /// Removes the oldest slot from the queue.
    fn pop(&mut self) {
        if let Some(slot) = self.queue.pop_front()
            && let Some(known) = self.known.get_mut(&slot.key)
            && known.first_queued() == Some(slot.n)
        {
            known.queued.pop_front();
        }
    }

    /// Moves the queued slots of one window to the table of all windows.
    fn place(&mut self, connection: &Connection, key: &Key, now: i64) -> rusqlite::Result<()> {
        let Some(known) = self.known.get_mut(key) else { return Ok(()) };
        let Some(first) = known.first_queued() else { return Ok(()) };
        // Another process may have moved them already.
        let mut insert = connection.prepare_cached(
            "INSERT OR IGNORE INTO slot_window (agent, policy, n, at) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let (agent, policy) = key;
        for (n, at) in (first..).zip(&known.queued) {
            insert.execute(params![agent, policy, n, at])?;
        }
        let placed = i64::try_from(known.queued.len()).unwrap_or(i64::MAX);
        known.queued.clear();
        match known.kept {
            Some(kept) => remove(connection, key, 2 * placed, now.saturating_sub(kept)),
            None => Ok(()),
        }
    }

    /// Removes slots from the queue that have been moved, and moves more while it is too long.
    fn trim(&mut self, connection: &Connection, now: i64) -> rusqlite::Result<()> {
        while let Some(slot) = self.queue.front() {
            let (key, n) = (slot.key.clone(), slot.n);
            let first = self.known.get(&key).and_then(Known::first_queued);
            if first.is_some_and(|first| n >= first) {
                if self.queue.len() <= MAX_QUEUE {
                    break;
                }
                self.place(connection, &key, now)?;
            }
            self.queue.pop_front();
        }
        let oldest = self.queue.front().map_or(self.newest_id, |slot| slot.id);
        let mut delete = connection.prepare_cached("DELETE FROM slot_queue WHERE id < ?1")?;
        delete.execute([oldest]).map(drop)
    }
}

impl Known {
    /// Invalidates what other processes may have changed before `version`.
    fn expire_before(&mut self, version: u64) {
        if self.version == version {
            return;
        }
        self.version = version;
        if self.queued.is_empty() {
            self.newest = None;
        }
        self.begins.iter_mut().for_each(|begin| begin.at = None);
    }

    /// Number of the newest slot; 0 if there is none.
    pub(super) fn newest(
        &mut self,
        connection: &Connection,
        agent: &str,
        policy: &str,
    ) -> rusqlite::Result<i64> {
        if let Some(newest) = self.newest {
            return Ok(newest);
        }
        let sql = "SELECT max(n) FROM slot_window WHERE agent = ?1 AND policy = ?2";
        let newest: Option<i64> =
            connection.prepare_cached(sql)?.query_row([agent, policy], |row| row.get(0))?;
        Ok(*self.newest.insert(newest.unwrap_or_default()))
    }

    /// Number of the oldest slot that is only in the queue.
    pub(super) fn first_queued(&self) -> Option<i64> {
        let queued = i64::try_from(self.queued.len()).ok().filter(|queued| *queued > 0)?;
        self.newest.map(|newest| newest - queued + 1)
    }

    /// Time of slot `n`, if it is only in the queue.
    pub(super) fn queued_at(&self, n: i64) -> Option<i64> {
        let place = usize::try_from(n - self.first_queued()?).ok()?;
        self.queued.get(place).copied()
    }
}

/// Removes at most `most` slots of one window taken before `at`, oldest first. Uses their
/// numbers, which have no gaps: for a list SQLite would create a table with a page cache of its
/// own, which costs more than writing a row.
fn remove(connection: &Connection, key: &Key, most: i64, at: i64) -> rusqlite::Result<()> {
    let (agent, policy) = key;
    let sql = "SELECT min(n) FROM slot_window WHERE agent = ?1 AND policy = ?2";
    let oldest: Option<i64> =
        connection.prepare_cached(sql)?.query_row([agent, policy], |row| row.get(0))?;
    let Some(oldest) = oldest else { return Ok(()) };
    let sql = "DELETE FROM slot_window WHERE agent = ?1 AND policy = ?2 AND n < ?3 AND at < ?4";
    let mut delete = connection.prepare_cached(sql)?;
    delete.execute(params![agent, policy, oldest + most, at]).map(drop)
}

/// Moves all slots `by` microseconds into the past after the clock was set back by as much, so
/// that windows continue unchanged. The caller clears its cache; other processes notice that
/// the queued slots they know have disappeared.
pub(in crate::store) fn shift(connection: &Connection, by: i64) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR IGNORE INTO slot_window (agent, policy, n, at)
         SELECT agent, policy, n, at FROM slot_queue",
        [],
    )?;
    connection.execute("UPDATE slot_window SET at = at - ?1", [by])?;
    let older = "DELETE FROM slot_queue WHERE id < (SELECT max(id) FROM slot_queue)";
    connection.execute(older, [])?;
    connection.execute("UPDATE slot_queue SET id = id + 1, at = at - ?1", [by]).map(drop)
}
