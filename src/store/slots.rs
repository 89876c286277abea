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

/// Old slots removed whenever one is taken: more than one, so that they go
/// faster than they come.
const REMOVED_PER_SLOT: i64 = 2;

/// How much of each of `limits` the agent has used.
pub(super) fn usage(
    connection: &Connection,
    agent: &str,
    limits: &[Limit],
) -> rusqlite::Result<Vec<Usage>> {
    let mut at = connection
        .prepare_cached("SELECT at FROM slot WHERE agent = ?1 AND policy = ?2 AND n = ?3")?;
    let mut usage = Vec::with_capacity(limits.len());
    for limit in limits {
        let newest = newest(connection, agent, &limit.policy)?;
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
    let n = newest(connection, agent, policy)? + 1;
    connection
        .prepare_cached("INSERT INTO slot (agent, policy, n, at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![agent, policy, n, at])?;
    connection
        .prepare_cached(
            "DELETE FROM slot WHERE agent = ?1 AND policy = ?2 AND n IN (
               SELECT n FROM slot WHERE agent = ?1 AND policy = ?2 ORDER BY n LIMIT ?4
             ) AND at < ?3",
        )?
        .execute(params![agent, policy, at.saturating_sub(longest), REMOVED_PER_SLOT])?;
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
