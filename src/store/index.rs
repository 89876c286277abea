//! The index, derived from the log and updated in batches.
//!
//! Appending to the log touches one page; updating an index and counters would touch many.
//! So these are updated in batches, in their own transactions, and readers scan the few
//! newest entries themselves. `meta.folded` names the
//! newest entry that is in the index.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

use super::audit::Outcome;
use super::chain::kind;
use super::recent::Recent;
use super::schema::{meta, set_meta};

/// Entries that the index may lag behind before somebody brings it up to date, at first.
pub(super) const FOLD_EVERY: i64 = 2048;

/// Entries taken in by one transaction, where they are of few combinations: others wait
/// for it.
const FOLD: i64 = 1024;

/// The same at most, and where they are of many: the list of each has a page of its own,
/// which should not be written for one entry.
const FOLD_MAX: i64 = 8 * FOLD_EVERY;

/// Entries of one combination that make its page worth writing.
const FOLD_EACH: i64 = 16;

/// Entries that the index may lag behind at all: beyond it callers wait for it.
pub(super) const MAX_LAG: i64 = 2 * FOLD_MAX;

/// The spans that are counted, in seconds; 0 counts everything.
pub(super) const SPANS: [i64; 3] = [0, HOUR, DAY];
/// Seconds of an hour.
pub(super) const HOUR: i64 = 3600;
/// Seconds of a day.
pub(super) const DAY: i64 = 24 * HOUR;

/// What is counted per facet and span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Decisions.
    pub(super) decided: i64,
    /// Time taken to decide, together, in microseconds.
    pub(super) decision_us: i64,
    /// Forwarded actions that are over.
    pub(super) answered: i64,
    /// Those of them that failed on the way.
    pub(super) failed: i64,
    /// Time from forwarding to the answer, together, in microseconds.
    pub(super) upstream_us: i64,
    /// The longest of these.
    pub(super) upstream_max_us: i64,
    /// The newest decision.
    pub(super) last: i64,
}

impl Counts {
    /// Those of one decision.
    pub(super) fn decision(seq: i64, decision_us: i64) -> Self {
        Self { decided: 1, decision_us, last: seq, ..Self::default() }
    }

    /// Those of one result.
    pub(super) fn result(failed: bool, upstream_us: i64) -> Self {
        Self {
            answered: 1,
            failed: i64::from(failed),
            upstream_us,
            upstream_max_us: upstream_us,
            ..Self::default()
        }
    }

    /// Adds `other`.
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

/// An entry, as far as the index is concerned.
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

/// The outcome of what failed on the way.
pub(super) const FAILED: &str = Outcome::Error.as_str();

/// How far the index is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folded {
    /// The newest entry in it.
    pub(super) newest: i64,
    /// Entries that it may lag behind before somebody brings it up to date.
    pub(super) every: i64,
}

/// Takes the next entries in, from `recent` where it has them.
pub(super) fn fold(connection: &Connection, recent: &mut Recent) -> rusqlite::Result<Folded> {
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
    let every = (FOLD_EACH * batch.combinations()).clamp(FOLD_EVERY, FOLD_MAX);
    batch.post(connection)?;
    batch.place_sessions(connection)?;
    batch.count(connection)?;
    set_meta(connection, "folded", newest)?;
    recent.forget(newest);
    Ok(Folded { newest, every })
}

struct Batch<'c> {
    /// The newest entry in it, or in the index.
    newest: i64,
    /// By facet: those of one stand on one page.
    postings: Vec<(i64, i64)>,
    answer: CachedStatement<'c>,
    decided: CachedStatement<'c>,
    /// The decisions in it, in order, with time and facet: most results follow closely.
    decisions: Vec<(i64, (i64, i64))>,
    /// By the start of an hour, in seconds, and facet.
    counts: BTreeMap<(i64, i64), Counts>,
    /// The first and the last decision of each session in it: a handful.
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
        let mut rows = select.query([before, FOLD_MAX])?;
        while !self.is_full(before)
            && let Some(row) = rows.next()?
        {
            self.add_entry(row.get(0)?, &Entry::read(row)?)?;
        }
        Ok(())
    }

    /// Whether it has enough of the entries behind `before` for one transaction.
    fn is_full(&self, before: i64) -> bool {
        let entries = self.newest - before;
        entries >= FOLD_MAX || entries >= FOLD.max(FOLD_EACH * self.combinations())
    }

    /// Of how many combinations its entries are, more or less.
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
            // The first result of a decision is the one that counts.
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

    /// An hour is a part of every other span. In the order of the table.
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

/// A number of `entry`; 0 where it has none.
fn number(entry: &Row<'_>, column: usize) -> rusqlite::Result<i64> {
    Ok(entry.get::<_, Option<i64>>(column)?.unwrap_or_default())
}

/// The start of the `span` that `at` (in microseconds) is in, in seconds.
pub(super) fn bucket(at: i64, span: i64) -> i64 {
    bucket_of(at.div_euclid(1_000_000), span)
}

/// The same of a time in seconds.
fn bucket_of(at: i64, span: i64) -> i64 {
    match span {
        0 => 0,
        _ => at.div_euclid(span) * span,
    }
}
