//! Rate windows in the database: which slots are taken, exactly, in O(log n).
//!
//! The slots of an agent and policy are numbered in the order taken, so the
//! `max`-th newest is found by its number. All of this runs inside the
//! transaction that writes the row.

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

/// Windows that a writer remembers at most.
const MAX_WINDOWS: usize = 4096;

/// How much of each of `limits` the agent has used.
pub(super) fn usage(
    connection: &Connection,
    agent: &str,
    limits: &[Limit],
) -> rusqlite::Result<Vec<Usage>> {
    let mut usage = Vec::with_capacity(limits.len());
    let mut known: Option<(&str, i64)> = None;
    for limit in limits {
        // A policy's minute and hour follow each other.
        let newest = match known {
            Some((policy, newest)) if policy == &*limit.policy => newest,
            _ => newest(connection, agent, &limit.policy)?,
        };
        known = Some((&limit.policy, newest));
        // A limit of none is full by a slot that nobody took.
        let counted = newest - i64::from(limit.max.max(1)) + 1;
        let oldest_counted = taken_at(connection, agent, &limit.policy, counted)?;
        let oldest_counted = match (limit.max, oldest_counted) {
            (0, _) => Some(Timestamp::MAX),
            (_, Some(at)) => Timestamp::from_microsecond(at).ok(),
            (_, None) => None,
        };
        usage.push(Usage { limit: limit.clone(), oldest_counted });
    }
    Ok(usage)
}

/// Takes a slot of each of `policies` at `at`, and gives what is left of the limit
/// that is nearest to being used up. One that only observes holds nobody up, so
/// nobody has to know of it.
pub(super) fn take_all(
    connection: &Connection,
    windows: &mut Windows,
    agent: &Arc<str>,
    (policies, at): (&[Arc<str>], i64),
    limits: &[Limit],
) -> rusqlite::Result<Option<Quota>> {
    let mut nearest: Option<Quota> = None;
    for policy in policies {
        let of_policy = || limits.iter().filter(|limit| limit.policy == *policy);
        let longest = of_policy().map(|limit| limit.window).max().unwrap_or_default();
        let n = take(connection, agent, policy, at, longest)?;
        for limit in of_policy().filter(|limit| !limit.observed) {
            let left = windows.left(connection, agent, limit, (n, at))?;
            nearest = Some(nearest.map_or(left, |nearest| rate::nearer(nearest, left)));
        }
    }
    Ok(nearest)
}

/// Takes a slot of `policy` at `at`, and removes a few that are in no window.
/// Gives its number.
fn take(
    connection: &Connection,
    agent: &str,
    policy: &str,
    at: i64,
    longest: Duration,
) -> rusqlite::Result<i64> {
    let longest = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX).max(KEPT_US);
    let n: i64 = connection
        .prepare_cached(
            "INSERT INTO slot (agent, policy, n, at)
             SELECT ?1, ?2, ifnull(max(n), 0) + 1, ?3 FROM slot WHERE agent = ?1 AND policy = ?2
             RETURNING n",
        )?
        .query_row(params![agent, policy, at], |row| row.get(0))?;
    if n % REMOVE_EVERY == 0 {
        connection
            .prepare_cached(
                "DELETE FROM slot WHERE agent = ?1 AND policy = ?2 AND n IN (
                   SELECT n FROM slot WHERE agent = ?1 AND policy = ?2 ORDER BY n LIMIT ?4
                 ) AND at < ?3",
            )?
            .execute(params![agent, policy, at.saturating_sub(longest), REMOVED])?;
    }
    Ok(n)
}

/// Where windows began when they were last looked at. They only move on, so a look
/// costs what has left a window since, not a search. Bounded; starts over when full.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// By agent, policy and length: all slots before this one are out.
    begin: HashMap<(Arc<str>, Arc<str>, Duration), i64>,
}

impl Windows {
    /// Forgets everything: after a rollback numbers are given anew.
    pub(super) fn clear(&mut self) {
        self.begin.clear();
    }

    /// What is left of `limit` where the slot `newest`, just taken at `at`, is the
    /// newest of its policy.
    fn left(
        &mut self,
        connection: &Connection,
        agent: &Arc<str>,
        limit: &Limit,
        (newest, at): (i64, i64),
    ) -> rusqlite::Result<Quota> {
        let window = i64::try_from(limit.window.as_micros()).unwrap_or(i64::MAX);
        let counts = |n: i64| -> rusqlite::Result<Option<i64>> {
            let taken = taken_at(connection, agent, &limit.policy, n)?;
            Ok(taken.filter(|taken| at.saturating_sub(*taken) < window))
        };
        // More than fit in need not be counted.
        let lowest = newest - i64::from(limit.max.max(1)) + 1;
        let key = (Arc::clone(agent), Arc::clone(&limit.policy), limit.window);
        let known = self.begin.get(&key).copied().filter(|known| *known <= newest);
        // Those before `out` are out, `begin` is in: in growing steps, and then in
        // halves.
        let (mut out, mut begin, mut oldest) = (known.unwrap_or(lowest).max(lowest), newest, at);
        let mut step = 0;
        while out < begin {
            let n = out + step.min((begin - out) / 2);
            match counts(n)? {
                Some(taken) => (begin, oldest) = (n, taken),
                None => (out, step) = (n + 1, 2 * step + 1),
            }
        }
        // Where it is full, what is before was not looked at.
        if begin > lowest {
            if self.begin.len() >= MAX_WINDOWS {
                self.begin.clear();
            }
            self.begin.insert(key, begin);
        }
        let used = u32::try_from(newest - begin + 1).unwrap_or(u32::MAX);
        let reset = oldest.saturating_add(window) - at;
        Ok(Quota {
            limit: limit.max,
            window: limit.window,
            remaining: limit.max.saturating_sub(used),
            reset: Duration::from_micros(u64::try_from(reset).unwrap_or_default()),
        })
    }
}

/// Moves every slot `by` microseconds into the past: the clock was set back by
/// so much, and windows go on as if it had not been.
pub(super) fn shift(connection: &Connection, by: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE slot SET at = at - ?1", [by]).map(drop)
}

/// When the slot numbered `n` was taken.
fn taken_at(
    connection: &Connection,
    agent: &str,
    policy: &str,
    n: i64,
) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT at FROM slot WHERE agent = ?1 AND policy = ?2 AND n = ?3")?
        .query_row(params![agent, policy, n], |row| row.get(0))
        .optional()
}

fn newest(connection: &Connection, agent: &str, policy: &str) -> rusqlite::Result<i64> {
    let mut newest = connection.prepare_cached(
        "SELECT n FROM slot WHERE agent = ?1 AND policy = ?2 ORDER BY n DESC LIMIT 1",
    )?;
    newest.query_row([agent, policy], |row| row.get(0)).optional().map(Option::unwrap_or_default)
}
