//! The index, derived from the log and updated in batches.
//!
//! Appending to the log touches one page; updating an index and counters would touch many.
//! So these are updated in batches, in their own transactions, and readers scan the few
//! newest entries themselves. `meta.folded` is the newest
//! indexed entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

use super::audit::Outcome;
use super::chain::kind;
use super::recent::Recent;
use super::schema::{meta, set_meta};

/// Initial number of unindexed entries that triggers indexing.
pub(super) const INDEX_AFTER: i64 = 2048;

/// Entries indexed per transaction if they have few facets. Other writers wait for it.
const BATCH: i64 = 1024;

/// Maximum number of entries per transaction, used if they have many facets: each facet has a
/// page of its own, which should not be written for a single entry.
const MAX_BATCH: i64 = 8 * INDEX_AFTER;

/// Entries per facet that make writing its page worthwhile.
const PER_FACET: i64 = 16;

/// Number of unindexed entries beyond which callers have to wait for indexing.
pub(super) const MAX_LAG: i64 = 2 * MAX_BATCH;

/// Bucket sizes of the counters, in seconds; 0 is one bucket for everything.
pub(super) const SPANS: [i64; 3] = [0, HOUR, DAY];
pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 24 * HOUR;

/// Counters per facet and bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Decisions.
    pub(super) decided: i64,
    /// Total decision time, in microseconds.
    pub(super) decision_us: i64,
    /// Results of forwarded actions.
    pub(super) answered: i64,
    /// Results with outcome `error`.
    pub(super) failed: i64,
    /// Total upstream latency, in microseconds.
    pub(super) upstream_us: i64,
    /// Maximum upstream latency, in microseconds.
    pub(super) upstream_max_us: i64,
    /// Sequence number of the newest decision.
    pub(super) last: i64,
}

impl Counts {
    pub(super) fn decision(seq: i64, decision_us: i64) -> Self {
        Self { decided: 1, decision_us, last: seq, ..Self::default() }
    }

    pub(super) fn result(failed: bool, upstream_us: i64) -> Self {
        Self {
            answered: 1,
            failed: i64::from(failed),
            upstream_us,
            upstream_max_us: upstream_us,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.decided += other.decided;
        self.decision_us = self.decision_us.saturating_add(other.decision_us);
        self.answered += other.answered;
        self.failed += other.failed;
        self.upstream_us = self.upstream_us.saturating_add(other.upstream_us);
        self.upstream_max_us = self.upstream_max_us.max(other.upstream_max_us);
        self.last = self.last.max(other.last);
    }
}

/// The indexed part of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Decision { at: i64, facet: i64, session: Arc<str>, decision_us: i64 },
    Result { decision: i64, failed: bool, upstream_us: i64 },
    Other,
}

impl Entry {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(match row.get(1)? {
            kind::DECISION => Self::Decision {
                at: row.get(2)?,
                facet: number(row, 3)?,
                session: row.get_ref(4)?.as_str_or_null()?.unwrap_or_default().into(),
                decision_us: number(row, 5)?,
            },
            kind::RESULT => Self::Result {
                decision: number(row, 6)?,
                failed: row.get_ref(7)?.as_str_or_null()? == Some(FAILED),
                upstream_us: number(row, 8)?,
            },
            _ => Self::Other,
        })
    }
}

/// Outcome of failed forwarding.
pub(super) const FAILED: &str = Outcome::Error.as_str();

/// Progress of the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Sequence number of the newest indexed entry.
    pub(super) newest: i64,
    /// Number of unindexed entries that should trigger the next run.
    pub(super) index_after: i64,
}

/// Indexes the next batch of entries, from `recent` if it has them.
pub(super) fn update(connection: &Connection, recent: &mut Recent) -> rusqlite::Result<Progress> {
    let before: i64 = meta(connection, "folded")?.unwrap_or_default();
    let mut batch = Batch::new(connection, before)?;
    match recent.behind(before) {
        Some(mut entries) => {
            while let Some((seq, entry)) = entries.next().filter(|_| !batch.is_full(before)) {
                batch.add_entry(seq, entry)?;
            }
        }
        None => batch.read(connection)?,
    }
    let newest = batch.newest;
    let index_after = (PER_FACET * batch.combinations()).clamp(INDEX_AFTER, MAX_BATCH);
    batch.post(connection)?;
    batch.place_sessions(connection)?;
    batch.count(connection)?;
    set_meta(connection, "folded", newest)?;
    recent.forget(newest);
    Ok(Progress { newest, index_after })
}

struct Batch<'c> {
    /// Sequence number of the newest entry in the batch, or in the index if it is empty.
    newest: i64,
    /// Sorted by facet, as the table is.
    postings: Vec<(i64, i64)>,
    answer: CachedStatement<'c>,
    decided: CachedStatement<'c>,
    /// The decisions of the batch with time and facet: most results follow closely.
    decisions: Vec<(i64, (i64, i64))>,
    /// By start of the hour (seconds) and facet.
    counts: BTreeMap<(i64, i64), Counts>,
    /// First and last decision of each session.
    sessions: BTreeMap<Arc<str>, (i64, i64)>,
}

impl<'c> Batch<'c> {
    fn new(connection: &'c Connection, newest: i64) -> rusqlite::Result<Self> {
        let prepare = |sql| connection.prepare_cached(sql);
        Ok(Self {
            newest,
            postings: Vec::new(),
            answer: prepare("INSERT OR IGNORE INTO answer (decision, seq) VALUES (?1, ?2)")?,
            decided: prepare("SELECT at, facet FROM entry WHERE seq = ?1 AND kind = 0")?,
            decisions: Vec::new(),
            counts: BTreeMap::new(),
            sessions: BTreeMap::new(),
        })
    }

    fn read(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut select = connection.prepare_cached(
            "SELECT seq, kind, at, facet, session, decision_us, ref, outcome, upstream_us
             FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let before = self.newest;
        let mut rows = select.query([before, MAX_BATCH])?;
        while !self.is_full(before)
            && let Some(row) = rows.next()?
        {
            self.add_entry(row.get(0)?, &Entry::read(row)?)?;
        }
        Ok(())
    }

    /// Whether the batch, which starts after `before`, is large enough.
    fn is_full(&self, before: i64) -> bool {
        let entries = self.newest - before;
        entries >= MAX_BATCH || entries >= BATCH.max(PER_FACET * self.combinations())
    }

    /// Approximate number of facets in the batch.
    fn combinations(&self) -> i64 {
        i64::try_from(self.counts.len()).unwrap_or(i64::MAX)
    }

    fn add_entry(&mut self, seq: i64, entry: &Entry) -> rusqlite::Result<()> {
        self.newest = seq;
        match entry {
            Entry::Decision { at, facet, session, decision_us } => {
                self.postings.push((*facet, seq));
                self.decisions.push((seq, (*at, *facet)));
                self.add(*at, *facet, &Counts::decision(seq, *decision_us));
                match self.sessions.get_mut(session) {
                    Some((_, last)) => *last = seq,
                    None => drop(self.sessions.insert(Arc::clone(session), (seq, seq))),
                }
            }
            // Only the first result of a decision counts.
            Entry::Result { decision, failed, upstream_us } => {
                let Some((at, facet)) = self.of_decision(*decision)? else { return Ok(()) };
                if self.answer.execute([*decision, seq])? == 1 {
                    self.add(at, facet, &Counts::result(*failed, *upstream_us));
                }
            }
            Entry::Other => {}
        }
        Ok(())
    }

    fn of_decision(&mut self, seq: i64) -> rusqlite::Result<Option<(i64, i64)>> {
        if let Ok(at) = self.decisions.binary_search_by_key(&seq, |(seq, _)| *seq) {
            return Ok(self.decisions.get(at).map(|(_, decision)| *decision));
        }
        self.decided.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    }

    fn add(&mut self, at: i64, facet: i64, counts: &Counts) {
        self.counts.entry((bucket(at, HOUR), facet)).or_default().add(counts);
    }

    /// Counters of all bucket sizes, in the order of the table.
    fn by_span(self) -> BTreeMap<(i64, i64, i64), Counts> {
        let mut all: BTreeMap<_, Counts> = BTreeMap::new();
        for ((hour, facet), counts) in self.counts {
            for span in SPANS {
                all.entry((span, bucket_of(hour, span), facet)).or_default().add(&counts);
            }
        }
        all
    }

    fn post(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut insert =
            connection.prepare_cached("INSERT INTO posting (facet, seq) VALUES (?1, ?2)")?;
        self.postings.sort_unstable();
        self.postings.iter().try_for_each(|(facet, seq)| insert.execute([facet, seq]).map(drop))
    }

    fn place_sessions(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut upsert = connection.prepare_cached(
            "INSERT INTO session (name, first, last) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET last = excluded.last",
        )?;
        for (session, (first, last)) in &self.sessions {
            upsert.execute(params![&**session, first, last])?;
        }
        Ok(())
    }

    fn count(self, connection: &Connection) -> rusqlite::Result<()> {
        let mut upsert = connection.prepare_cached(
            "INSERT INTO tally (span, start, facet, decided, decision_us, answered, failed,
                                upstream_us, upstream_max_us, last)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT DO UPDATE SET
               decided = decided + excluded.decided,
               decision_us = decision_us + excluded.decision_us,
               answered = answered + excluded.answered,
               failed = failed + excluded.failed,
               upstream_us = upstream_us + excluded.upstream_us,
               upstream_max_us = max(upstream_max_us, excluded.upstream_max_us),
               last = max(last, excluded.last)",
        )?;
        for ((span, start, facet), counts) in self.by_span() {
            upsert.execute(params![
                span,
                start,
                facet,
                counts.decided,
                counts.decision_us,
                counts.answered,
                counts.failed,
                counts.upstream_us,
                counts.upstream_max_us,
                counts.last,
            ])?;
        }
        Ok(())
    }
}

/// The integer in `column`; 0 if it is NULL.
fn number(entry: &Row<'_>, column: usize) -> rusqlite::Result<i64> {
    Ok(entry.get::<_, Option<i64>>(column)?.unwrap_or_default())
}

/// Start of the bucket of `span` seconds that contains `at` (microseconds), in seconds.
pub(super) fn bucket(at: i64, span: i64) -> i64 {
    bucket_of(at.div_euclid(1_000_000), span)
}

/// As [`bucket`], with `at` in seconds.
fn bucket_of(at: i64, span: i64) -> i64 {
    match span {
        0 => 0,
        _ => at.div_euclid(span) * span,
    }
}
