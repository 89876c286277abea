//! Rate windows in the database: which slots are taken, exactly, in O(log n).
//!
//! The slots of an agent and policy are numbered in the order taken, so the
//! `max`-th newest is found by its number. All of this runs inside the
//! transaction that writes the row.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::policy::Limit;
use crate::rate::Usage;

/// Slots older than this are in no window any more, in microseconds.
const KEPT_US: i64 = 3_600_000_000;

/// One slot in so many also removes old ones, up to [`REMOVED`]: more than
/// come, so that they go.
const REMOVE_EVERY: i64 = 16;
const REMOVED: i64 = 2 * REMOVE_EVERY;

/// How much of each of `limits` the agent has used.
pub(super) fn usage(
    connection: &Connection,
    agent: &str,
    limits: &[Limit],
) -> rusqlite::Result<Vec<Usage>> {
    let mut at = connection
        .prepare_cached("SELECT at FROM slot WHERE agent = ?1 AND policy = ?2 AND n = ?3")?;
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
        let oldest_counted: Option<i64> =
            at.query_row(params![agent, &*limit.policy, counted], |row| row.get(0)).optional()?;
        let oldest_counted = match (limit.max, oldest_counted) {
            (0, _) => Some(Timestamp::MAX),
            (_, Some(at)) => Timestamp::from_microsecond(at).ok(),
            (_, None) => None,
        };
        usage.push(Usage { limit: limit.clone(), oldest_counted });
    }
    Ok(usage)
}

/// Takes a slot of `policy` at `at`, and removes a few that are in no window.
pub(super) fn take(
    connection: &Connection,
    agent: &str,
    policy: &str,
    at: i64,
    longest: Duration,
) -> rusqlite::Result<()> {
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
    Ok(())
}

/// Moves every slot `by` microseconds into the past: the clock was set back by
/// so much, and windows go on as if it had not been.
pub(super) fn shift(connection: &Connection, by: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE slot SET at = at - ?1", [by]).map(drop)
}

fn newest(connection: &Connection, agent: &str, policy: &str) -> rusqlite::Result<i64> {
    let mut newest = connection.prepare_cached(
        "SELECT n FROM slot WHERE agent = ?1 AND policy = ?2 ORDER BY n DESC LIMIT 1",
    )?;
    newest.query_row([agent, policy], |row| row.get(0)).optional().map(Option::unwrap_or_default)
}
