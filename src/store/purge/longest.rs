//! The longest upstream latency per counter: a maximum, which cannot be subtracted when a
//! purge removes some of what it covers.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::super::StoreError;
use super::super::index::{DAY, HOUR, bucket};
use super::super::read::{Filter, Reader};

const OF_ENTRIES: &str = "
    SELECT d.facet, max(r.upstream_us) FROM entry d
    JOIN answer a ON a.decision = d.seq JOIN entry r ON r.seq = a.seq
    WHERE d.kind = 0 AND d.seq BETWEEN ?1 AND ?2 GROUP BY d.facet";

const INDEXED_SINCE: &str = "
    SELECT d.at, d.facet, r.upstream_us FROM entry r
    JOIN answer a ON a.decision = r.ref AND a.seq = r.seq JOIN entry d ON d.seq = r.ref
    WHERE r.kind = 1 AND r.seq > ?1";

/// Maximum over the hourly counters within the bucket of `span` seconds that begins at `start`.
const OF_HOURS: &str = "
    UPDATE tally SET upstream_max_us = hours.longest
    FROM (SELECT facet, max(upstream_max_us) AS longest FROM tally
          WHERE span = 3600 AND start BETWEEN ?3 AND ?4 GROUP BY facet) AS hours
    WHERE tally.span = ?1 AND tally.start = ?2 AND tally.facet = hours.facet";

/// Maximum upstream latencies of the remaining rows, for hours that were purged in part.
#[derive(Debug)]
pub(super) struct LongestAnswers {
    /// Hours with and without remaining rows.
    hours: BTreeSet<i64>,
    gone: BTreeSet<i64>,
    /// Sequence number of the newest entry scanned.
    upto: i64,
    /// By hour and facet, in microseconds.
    found: HashMap<(i64, i64), i64>,
}

impl LongestAnswers {
    /// Scans the remaining rows of `hours` (start times in seconds), without blocking writers.
    pub(super) fn find(path: &Path, mut hours: BTreeSet<i64>) -> Result<Self, StoreError> {
        let reader = Reader::open(path)?;
        let snapshot = reader.snapshot()?;
        let connection = reader.connection();
        let failed = |error: rusqlite::Error| reader.error(&error);
        let (_, upto, _) = snapshot.bounds();
        // An interrupted purge may have removed part of the hour in which the log begins.
        hours.extend(first_hour(connection).map_err(failed)?);
        let mut longest =
            Self { hours: BTreeSet::new(), gone: BTreeSet::new(), upto, found: HashMap::new() };
        for hour in hours {
            if !is_counted(connection, hour).map_err(failed)? {
                longest.gone.insert(hour);
                continue;
            }
            longest.hours.insert(hour);
            let until = Timestamp::from_microsecond((hour + HOUR) * 1_000_000 - 1).ok();
            let filter =
                Filter { since: Timestamp::from_second(hour).ok(), until, ..Filter::default() };
            for range in snapshot.select(&filter)?.ranges {
                longest.scan(connection, hour, range).map_err(failed)?;
            }
        }
        Ok(longest)
    }

    fn scan(
        &mut self,
        connection: &Connection,
        hour: i64,
        (first, last): (i64, i64),
    ) -> rusqlite::Result<()> {
        let mut select = connection.prepare_cached(OF_ENTRIES)?;
        let mut rows = select.query([first, last])?;
        while let Some(row) = rows.next()? {
            self.add(hour, row.get(0)?, row.get(1)?);
        }
        Ok(())
    }

    fn add(&mut self, hour: i64, facet: i64, upstream_us: i64) {
        let longest = self.found.entry((hour, facet)).or_default();
        *longest = upstream_us.max(*longest);
    }

    /// Updates the counters. Requires a transaction in which all entries are indexed.
    pub(super) fn put(mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut select = connection.prepare_cached(INDEXED_SINCE)?;
        let mut rows = select.query([self.upto])?;
        while let Some(row) = rows.next()? {
            self.add(bucket(row.get(0)?, HOUR), row.get(1)?, row.get(2)?);
        }
        let sql = "SELECT facet FROM tally WHERE span = 3600 AND start = ?1";
        let mut facets = connection.prepare_cached(sql)?;
        let mut update = connection.prepare_cached(
            "UPDATE tally SET upstream_max_us = ?3 WHERE span = 3600 AND start = ?1 AND facet = ?2",
        )?;
        for hour in &self.hours {
            let counted = facets.query_map([hour], |row| row.get(0))?;
            for facet in counted.collect::<rusqlite::Result<Vec<i64>>>()? {
                let longest = self.found.get(&(*hour, facet)).copied().unwrap_or_default();
                update.execute([*hour, facet, longest])?;
            }
        }
        let mut of_hours = connection.prepare_cached(OF_HOURS)?;
        let touched = self.hours.iter().chain(&self.gone);
        let days: BTreeSet<i64> = touched.map(|hour| hour.div_euclid(DAY) * DAY).collect();
        for day in days {
            of_hours.execute([DAY, day, day, day + DAY - 1])?;
        }
        of_hours.execute([0, 0, i64::MIN, i64::MAX]).map(drop)
    }
}

/// Start of the hour of the oldest decision.
fn first_hour(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT at FROM entry WHERE kind = 0 ORDER BY seq LIMIT 1";
    let first = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(first.map(|at| bucket(at, HOUR)))
}

/// Whether rows of the hour that begins at `start` remain.
fn is_counted(connection: &Connection, start: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM tally WHERE span = 3600 AND start = ?1";
    connection.prepare_cached(sql)?.exists([start])
}
