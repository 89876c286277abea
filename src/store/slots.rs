//! Rate windows in the database: which slots are taken, exactly.
//!
//! The slots of an agent and policy are numbered in the order taken, so the
//! `max`-th newest is found by its number. All of this runs inside the
//! transaction that writes the row. A writer remembers the newest slot and the
//! oldest that counts, for as long as nobody else writes: most rows then cost one
//! statement, which takes their slot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::policy::Limit;
use crate::rate::{self, Usage};
use crate::verdict::Quota;

/// Slots older than this are in no window any more, in microseconds.
const KEPT_US: i64 = 3_600_000_000;

/// One slot in so many also removes old ones, up to [`REMOVED`]: more than
/// come, so that they go.
const REMOVE_EVERY: i64 = 16;
const REMOVED: i64 = 2 * REMOVE_EVERY;

/// Agents and policies whose slots a writer remembers at most.
const MAX_LINES: usize = 4096;

/// How much of each of `limits` the agent has used, as far as so many more
/// `requests` ask.
pub(super) fn usage(
    connection: &Connection,
    windows: &mut Windows,
    agent: &Arc<str>,
    (limits, requests): (&[Limit], u32),
) -> rusqlite::Result<Vec<Usage>> {
    let mut usage = Vec::with_capacity(limits.len());
    for limit in limits {
        let mut line = windows.line(connection, agent, &limit.policy);
        let (oldest_counted, newer) = match limit.max.checked_sub(requests) {
            // A limit that is too low is full by a slot that nobody took.
            None => (Some(Timestamp::MAX), 0),
            Some(before) => (line.oldest_counted(limit, before)?, before.saturating_add(1)),
        };
        let older = match oldest_counted {
            Some(_) if requests > 1 => line.taken_before(limit, newer)?,
            _ => Vec::new(),
        };
        usage.push(Usage { limit: limit.clone(), requests, oldest_counted, older });
    }
    Ok(usage)
}

/// Takes so many slots of each of `policies` at `at`, and gives what is left of the limit
/// that is nearest to being used up. One that only observes holds nobody up, so
/// nobody has to know of it.
pub(super) fn take_all(
    connection: &Connection,
    windows: &mut Windows,
    agent: &Arc<str>,
    (policies, at): (&[Arc<str>], i64),
    (limits, requests): (&[Limit], u32),
) -> rusqlite::Result<Option<Quota>> {
    let mut nearest: Option<Quota> = None;
    for policy in policies {
        let of_policy = || limits.iter().filter(|limit| limit.policy == *policy);
        let longest = of_policy().map(|limit| limit.window).max().unwrap_or_default();
        let mut line = windows.line(connection, agent, policy);
        for _ in 1..requests {
            line.take(at, longest)?;
        }
        let newest = line.take(at, longest)?;
        for limit in of_policy().filter(|limit| !limit.observed) {
            let left = line.left(limit, (newest, at))?;
            nearest = Some(nearest.map_or(left, |nearest| rate::nearer(nearest, left)));
        }
    }
    Ok(nearest)
}

/// What a writer remembers of slots. Bounded; starts over when full.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// Goes up when others may have written.
    version: u64,
    /// By agent and policy.
    known: HashMap<(Arc<str>, Arc<str>), Known>,
}

/// What is remembered of the slots of one agent and policy.
#[derive(Debug, Default)]
struct Known {
    /// Whose numbers and times these are: others may have added to them since.
    version: u64,
    newest: Option<i64>,
    /// One for each length.
    begins: Vec<Begin>,
}

/// Where a window began when it was last looked at. It only moves on, whoever
/// writes.
#[derive(Debug, Clone, Copy)]
struct Begin {
    window: Duration,
    /// All slots before this one are out.
    n: i64,
    /// When it was taken.
    at: Option<i64>,
}

impl Windows {
    /// Forgets everything: after a rollback numbers are given anew.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// Others may have taken slots, or moved them.
    pub(super) fn distrust(&mut self) {
        self.version += 1;
    }

    fn line<'t>(
        &'t mut self,
        connection: &'t Connection,
        agent: &'t Arc<str>,
        policy: &'t Arc<str>,
    ) -> Line<'t> {
        let key = (Arc::clone(agent), Arc::clone(policy));
        if self.known.len() >= MAX_LINES && !self.known.contains_key(&key) {
            self.known.clear();
        }
        let known = self.known.entry(key).or_default();
        if known.version != self.version {
            known.version = self.version;
            known.newest = None;
            known.begins.iter_mut().for_each(|begin| begin.at = None);
        }
        Line { connection, agent, policy, known }
    }
}

/// The slots of one agent and policy.
struct Line<'t> {
    connection: &'t Connection,
    agent: &'t str,
    policy: &'t str,
    known: &'t mut Known,
}

impl Line<'_> {
    /// When the slot was taken that has to leave the window before more fit in than
    /// `before` that are there; `None` where there is none, or none that counts.
    fn oldest_counted(
        &mut self,
        limit: &Limit,
        before: u32,
    ) -> rusqlite::Result<Option<Timestamp>> {
        let counted = self.newest()? - i64::from(before);
        let at = match self.begin(limit.window) {
            Some(begin) if counted < begin.n => None,
            Some(Begin { n, at: Some(at), .. }) if counted == n => Some(at),
            _ => self.taken_at(counted)?,
        };
        Ok(at.and_then(|at| Timestamp::from_microsecond(at).ok()))
    }

    /// When the slots were taken, newest first, that fit into `limit` but for the newest
    /// `newer`.
    fn taken_before(&mut self, limit: &Limit, newer: u32) -> rusqlite::Result<Vec<Timestamp>> {
        let newest = self.newest()?;
        let (first, last) = (lowest(newest, limit), newest - i64::from(newer));
        let mut select = self.connection.prepare_cached(
            "SELECT at FROM slot WHERE agent = ?1 AND policy = ?2 AND n BETWEEN ?3 AND ?4
             ORDER BY n DESC",
        )?;
        let taken =
            select.query_map(params![self.agent, self.policy, first, last], |row| row.get(0))?;
        let taken = taken.collect::<rusqlite::Result<Vec<i64>>>()?.into_iter();
        Ok(taken.filter_map(|at| Timestamp::from_microsecond(at).ok()).collect())
    }

    /// Takes a slot at `at`, and removes a few that are in no window. Gives its
    /// number.
    fn take(&mut self, at: i64, longest: Duration) -> rusqlite::Result<i64> {
        let n = self.newest()? + 1;
        self.connection
            .prepare_cached("INSERT INTO slot (agent, policy, n, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.agent, self.policy, n, at])?;
        self.known.newest = Some(n);
        if n % REMOVE_EVERY == 0 {
            let longest = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX).max(KEPT_US);
            self.remove_before(at.saturating_sub(longest))?;
        }
        Ok(n)
    }

    /// By their numbers, which have no gaps: for a list of them SQLite would make a
    /// table with a page cache of its own, and that costs more than a row does.
    fn remove_before(&self, at: i64) -> rusqlite::Result<()> {
        let mut oldest = self.connection.prepare_cached(
            "SELECT n FROM slot WHERE agent = ?1 AND policy = ?2 ORDER BY n LIMIT 1",
        )?;
        let oldest: i64 = oldest.query_row([self.agent, self.policy], |row| row.get(0))?;
        let sql = "DELETE FROM slot WHERE agent = ?1 AND policy = ?2 AND n < ?3 AND at < ?4";
        let mut remove = self.connection.prepare_cached(sql)?;
        remove.execute(params![self.agent, self.policy, oldest + REMOVED, at]).map(drop)
    }

    /// What is left of `limit` where the slot `newest`, just taken at `at`, is the
    /// newest.
    fn left(&mut self, limit: &Limit, (newest, at): (i64, i64)) -> rusqlite::Result<Quota> {
        let window = i64::try_from(limit.window.as_micros()).unwrap_or(i64::MAX);
        let begin = self.find_begin(limit, window, (newest, at))?;
        let used = u32::try_from(newest - begin.n + 1).unwrap_or(u32::MAX);
        let reset = begin.at.unwrap_or(at).saturating_add(window) - at;
        Ok(Quota {
            limit: limit.max,
            window: limit.window,
            remaining: limit.max.saturating_sub(used),
            reset: Duration::from_micros(u64::try_from(reset).unwrap_or_default()),
        })
    }

    /// The oldest slot that counts, of those that fit into `limit`. A look costs what
    /// has left the window since the one before, not a search.
    fn find_begin(
        &mut self,
        limit: &Limit,
        window: i64,
        (newest, at): (i64, i64),
    ) -> rusqlite::Result<Begin> {
        // More than fit in need not be counted.
        let lowest = lowest(newest, limit);
        let known = self.begin(limit.window).filter(|known| (lowest..=newest).contains(&known.n));
        // Those before `out` are out, `begin` is in: in growing steps, and then in
        // halves.
        let mut out = known.map_or(lowest, |known| known.n);
        let mut begin = Begin { window: limit.window, n: newest, at: Some(at) };
        let mut step = 0;
        while out < begin.n {
            let n = out + step.min((begin.n - out) / 2);
            let taken = match known {
                Some(Begin { n: first, at: Some(taken), .. }) if n == first => Some(taken),
                _ => self.taken_at(n)?,
            };
            match taken.filter(|taken| at.saturating_sub(*taken) < window) {
                Some(taken) => (begin.n, begin.at) = (n, Some(taken)),
                None => (out, step) = (n + 1, 2 * step + 1),
            }
        }
        // Where it is full, what is before was not looked at.
        if known.is_some() || begin.n > lowest {
            self.remember(begin);
        }
        Ok(begin)
    }

    fn begin(&self, window: Duration) -> Option<Begin> {
        self.known.begins.iter().find(|begin| begin.window == window).copied()
    }

    fn remember(&mut self, begin: Begin) {
        let begins = &mut self.known.begins;
        match begins.iter_mut().find(|known| known.window == begin.window) {
            Some(known) => *known = begin,
            None => begins.push(begin),
        }
    }

    /// The number of the newest slot; 0 where there is none.
    fn newest(&mut self) -> rusqlite::Result<i64> {
        if let Some(newest) = self.known.newest {
            return Ok(newest);
        }
        let mut newest = self.connection.prepare_cached(
            "SELECT n FROM slot WHERE agent = ?1 AND policy = ?2 ORDER BY n DESC LIMIT 1",
        )?;
        let newest = newest.query_row([self.agent, self.policy], |row| row.get(0)).optional()?;
        Ok(*self.known.newest.insert(newest.unwrap_or_default()))
    }

    /// When the slot numbered `n` was taken.
    fn taken_at(&self, n: i64) -> rusqlite::Result<Option<i64>> {
        // They are numbered from 1 on.
        if n < 1 {
            return Ok(None);
        }
        self.connection
            .prepare_cached("SELECT at FROM slot WHERE agent = ?1 AND policy = ?2 AND n = ?3")?
            .query_row(params![self.agent, self.policy, n], |row| row.get(0))
            .optional()
    }
}

/// The first of the slots that fit into `limit` up to `newest`.
fn lowest(newest: i64, limit: &Limit) -> i64 {
    newest - i64::from(limit.max.max(1)) + 1
}

/// Moves every slot `by` microseconds into the past: the clock was set back by
/// so much, and windows go on as if it had not been.
pub(super) fn shift(connection: &Connection, by: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE slot SET at = at - ?1", [by]).map(drop)
}
