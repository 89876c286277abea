//! Removing old entries so that the rest stays verifiable.
//!
//! First an entry is appended that records the last purged entry and its hash; then the old
//! ones are removed in small transactions, so that writers do not wait for long. An
//! interrupted purge is completed by the next.

mod longest;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::chain::{Hash, kind};
use super::index::{Counts, FAILED, HOUR, SPANS, bucket};
use super::ledger::{Ledger, Transaction};
use super::read::Reader;
use super::schema::{meta, set_meta};
use super::{Options, StoreError, schema};
use longest::LongestAnswers;

/// Entries removed per transaction.
const CHUNK: i64 = 500;

/// Pause between two transactions, so that other writers get the lock.
const PAUSE: Duration = Duration::from_millis(1);

/// Counts of removed entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// All entries, including results.
    pub entries: i64,
    /// Decisions among them.
    pub decisions: i64,
}

/// Counts what [`purge`] would remove.
///
/// # Errors
/// If the log cannot be read.
pub fn would_purge(path: &Path, before: Timestamp) -> Result<Purged, StoreError> {
    let reader = Reader::open(path)?;
    let snapshot = reader.snapshot()?;
    let count = || -> rusqlite::Result<Purged> {
        let Some(cut) = cut(&snapshot.monotonic_ranges()?, before, |first, last, at| {
            snapshot.first_at(first, last, at)
        })?
        else {
            return Ok(Purged::default());
        };
        let sql = "SELECT count(*), ifnull(sum(kind = 0), 0) FROM entry WHERE seq <= ?1";
        reader.connection().query_row(sql, [cut], |row| {
            Ok(Purged { entries: row.get(0)?, decisions: row.get(1)? })
        })
    };
    count().map_err(|error| reader.error(&error))
}

/// Whether to verify the entries before removing them; it is impossible afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Remove nothing unless verification succeeds.
    Required,
    /// Do not verify.
    Waived,
}

/// Removes entries from the start of the log, up to the first that is not older than `before`.
/// Calls `progress` with the number removed so far.
///
/// # Errors
/// If there is no log, it cannot be written, or verification fails.
pub fn purge(
    path: &Path,
    (before, proof): (Timestamp, Proof),
    options: &Options,
    mut progress: impl FnMut(i64),
) -> Result<Purged, StoreError> {
    let cut = find_cut(path, before)?;
    if let Some(cut) = cut
        && proof == Proof::Required
        && let Some(broken) = Reader::open(path)?.verify_up_to(cut)?
    {
        let what = broken.to_string();
        return Err(StoreError::DoesNotHold { path: path.to_owned(), what });
    }
    let ledger = Ledger::open(path, options, None)?;
    let mut purge = Purge { ledger, options, hours: BTreeSet::new() };
    let upto = purge.append_entry(cut)?;
    let mut purged = Purged::default();
    loop {
        let (gone, more) = purge.remove(upto)?;
        purged.entries += gone.entries;
        purged.decisions += gone.decisions;
        if !more {
            break;
        }
        progress(purged.entries);
        purge.checkpoint();
        std::thread::sleep(PAUSE);
    }
    purge.tidy(path)?;
    Ok(purged)
}

fn find_cut(path: &Path, before: Timestamp) -> Result<Option<i64>, StoreError> {
    let reader = Reader::open(path)?;
    let snapshot = reader.snapshot()?;
    let find = |first, last, at| snapshot.first_at(first, last, at);
    let monotonic_ranges = snapshot.monotonic_ranges();
    let cut = monotonic_ranges.and_then(|monotonic_ranges| cut(&monotonic_ranges, before, find));
    cut.map_err(|error| reader.error(&error))
}

/// Sequence number of the last entry to remove; `None` if there is none.
fn cut(
    monotonic_ranges: &[(i64, i64)],
    before: Timestamp,
    first_at: impl Fn(i64, i64, i64) -> rusqlite::Result<i64>,
) -> rusqlite::Result<Option<i64>> {
    let start = monotonic_ranges.first().map_or(1, |(first, _)| *first);
    let mut cut = start - 1;
    for (first, last) in monotonic_ranges {
        let kept = first_at(*first, *last, before.as_microsecond())?;
        cut = kept - 1;
        if kept <= *last {
            break;
        }
    }
    Ok((cut >= start).then_some(cut))
}

struct Purge<'o> {
    ledger: Ledger,
    options: &'o Options,
    /// Start (in seconds) of each hour from which something was removed.
    hours: BTreeSet<i64>,
}

impl Purge<'_> {
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.ledger.transact(self.options.lock_timeout, work)
    }

    /// Indexes the whole log, in batches.
    fn catch_up(&mut self) -> Result<(), StoreError> {
        while self.transact(|transaction| {
            transaction.index()?;
            Ok(transaction.lags_behind())
        })? {}
        Ok(())
    }

    /// Appends the purge entry, unless an earlier one reaches as far. Returns the last entry to
    /// remove.
    fn append_entry(&mut self, cut: Option<i64>) -> Result<i64, StoreError> {
        self.catch_up()?;
        self.transact(|transaction| {
            let connection = transaction.connection();
            let read = || -> rusqlite::Result<(i64, Option<Hash>)> {
                let covered = "SELECT ifnull(max(ref), 0) FROM entry WHERE kind = ?1 AND kind >= 2";
                let covered = connection.query_row(covered, [kind::PURGE], |row| row.get(0))?;
                let hash = "SELECT hash FROM entry WHERE seq = ?1";
                let hash = connection.query_row(hash, [cut], |row| row.get(0)).optional()?;
                Ok((covered, hash))
            };
            let (covered, hash) = read().map_err(|error| transaction.error(&error))?;
            match (cut, hash) {
                (Some(cut), Some(hash)) if cut > covered => {
                    transaction.append_purge(cut, &hash)?;
                    Ok(cut)
                }
                _ => Ok(covered),
            }
        })
    }

    fn remove(&mut self, upto: i64) -> Result<(Purged, bool), StoreError> {
        let (purged, hours, more) = self.transact(|transaction| {
            remove_chunk(transaction.connection(), upto).map_err(|error| transaction.error(&error))
        })?;
        self.hours.extend(hours);
        Ok((purged, more))
    }

    /// Checkpoints, to keep the write-ahead log short.
    fn checkpoint(&self) {
        let wal = self.ledger.wal();
        if let Err(error) = wal.and_then(|wal| wal.after_checkpoint(self.ledger.files())) {
            tracing::warn!(%error, "the audit log's checkpoint failed");
        }
    }

    /// Removes unreferenced facets, and truncates the write-ahead log, which still contains
    /// removed entries.
    fn tidy(&mut self, path: &Path) -> Result<(), StoreError> {
        self.catch_up()?;
        let longest = LongestAnswers::find(path, std::mem::take(&mut self.hours))?;
        self.transact(|transaction| {
            // Index what was written meanwhile: a facet is unused only if no entry of the whole
            // log refers to it.
            while transaction.lags_behind() {
                transaction.index()?;
            }
            let tidied = longest
                .put(transaction.connection())
                .and_then(|()| tidy_up(transaction.connection()));
            tidied.map_err(|error| transaction.error(&error))
        })?;
        let files = self.ledger.files().clone();
        if let Err(error) = schema::checkpoint_and_truncate(&files) {
            tracing::warn!(%error, "what was purged is still in the write-ahead log");
        }
        Ok(())
    }
}

struct PurgedDecision {
    seq: i64,
    at: i64,
    facet: i64,
    counts: Counts,
}

/// What was removed, from which hours, and whether there is more to remove.
type Removed = (Purged, BTreeSet<i64>, bool);

fn remove_chunk(connection: &Connection, upto: i64) -> rusqlite::Result<Removed> {
    connection.execute_batch("PRAGMA secure_delete = ON")?;
    let last: Option<i64> = connection
        .prepare_cached(
            "SELECT max(seq) FROM (SELECT seq FROM entry WHERE seq <= ?1 ORDER BY seq LIMIT ?2)",
        )?
        .query_row([upto, CHUNK], |row| row.get(0))?;
    let Some(last) = last else { return Ok((Purged::default(), BTreeSet::new(), false)) };
    let leaving = purged_decisions(connection, last)?;
    let mut counts: HashMap<(i64, i64, i64), Counts> = HashMap::new();
    let mut posting =
        connection.prepare_cached("DELETE FROM posting WHERE facet = ?1 AND seq = ?2")?;
    for decision in &leaving {
        posting.execute([decision.facet, decision.seq])?;
        for span in SPANS {
            let key = (span, bucket(decision.at, span), decision.facet);
            counts.entry(key).or_default().add(&decision.counts);
        }
    }
    connection.prepare_cached("DELETE FROM answer WHERE decision <= ?1")?.execute([last])?;
    let entries =
        connection.prepare_cached("DELETE FROM entry WHERE seq <= ?1")?.execute([last])?;
    subtract(connection, &counts)?;
    let entries = i64::try_from(entries).unwrap_or(i64::MAX);
    let hours = leaving.iter().map(|decision| bucket(decision.at, HOUR)).collect();
    Ok((Purged { entries, decisions: leaving.len() as i64 }, hours, last < upto))
}

/// The decisions up to `last`, with their contribution to the counters.
fn purged_decisions(connection: &Connection, last: i64) -> rusqlite::Result<Vec<PurgedDecision>> {
    let mut select = connection.prepare_cached(
        "SELECT e.seq, e.at, e.facet, e.decision_us, r.outcome, r.upstream_us
         FROM entry e
         LEFT JOIN answer a ON a.decision = e.seq
         LEFT JOIN entry r ON r.seq = a.seq
         WHERE e.seq <= ?1 AND e.kind = 0",
    )?;
    let rows = select.query_map([last], |row| {
        let mut counts = Counts::decision(0, row.get(3)?);
        if let Some(outcome) = row.get::<_, Option<String>>(4)? {
            counts.add(&Counts::result(outcome == FAILED, row.get(5)?));
        }
        Ok(PurgedDecision { seq: row.get(0)?, at: row.get(1)?, facet: row.get(2)?, counts })
    })?;
    rows.collect()
}

fn subtract(
    connection: &Connection,
    counts: &HashMap<(i64, i64, i64), Counts>,
) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached(
        "UPDATE tally SET decided = decided - ?4, decision_us = decision_us - ?5,
           answered = answered - ?6, failed = failed - ?7, upstream_us = upstream_us - ?8
         WHERE span = ?1 AND start = ?2 AND facet = ?3",
    )?;
    let mut remove = connection.prepare_cached(
        "DELETE FROM tally WHERE span = ?1 AND start = ?2 AND facet = ?3 AND decided <= 0",
    )?;
    for ((span, start, facet), counts) in counts {
        update.execute(params![
            span,
            start,
            facet,
            counts.decided,
            counts.decision_us,
            counts.answered,
            counts.failed,
            counts.upstream_us,
        ])?;
        remove.execute([span, start, facet])?;
    }
    Ok(())
}

fn tidy_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM session WHERE last < (SELECT min(seq) FROM entry)", [])?;
    let unused = connection.execute(
        "DELETE FROM facet WHERE NOT EXISTS (SELECT 1 FROM posting WHERE facet = facet.id)",
        [],
    )?;
    if unused > 0 {
        // Tells other writers to clear their dictionary caches.
        let epoch: i64 = meta(connection, "epoch")?.unwrap_or_default();
        set_meta(connection, "epoch", epoch + 1)?;
    }
    Ok(())
}
