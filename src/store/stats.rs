//! Figures about the log, from the counters of its index.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::StoreError;
use super::chain::kind;
use super::facet::{self, Facet};
use super::index::{Counts, DAY, FAILED, HOUR};
use super::read::{Filter, Reader};
use super::snapshot::{Selection, Snapshot};

/// Maximum number of names listed; the rest is summed up as `others`.
const MAX_NAMES: usize = 20;

/// Statistics of rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Decisions.
    pub decisions: i64,
    /// By `allow`, `deny`, `ask`.
    pub by_decision: BTreeMap<String, i64>,
    /// Decisions by the most specific of [`super::read::DECISIONS`]: rate-limited and failed
    /// ones are counted only as such.
    #[serde(skip)]
    pub by_kind: BTreeMap<String, i64>,
    /// By outcome, as the rows show it.
    pub by_outcome: BTreeMap<String, i64>,
    /// Share of denied decisions, from 0 to 1.
    pub deny_rate: f64,
    /// By agent, descending.
    pub by_agent: Vec<Named>,
    /// By server or provider, descending.
    pub by_server: Vec<Named>,
    /// By tool or resource, descending.
    pub by_tool: Vec<Named>,
    /// By rule that denied or asked, descending.
    pub refusals_by_rule: Vec<Named>,
    /// Mean decision time, in microseconds.
    pub decision_us_mean: f64,
    /// Number of results of forwarded actions.
    pub answered: i64,
    /// Results with outcome `error`.
    pub failed: i64,
    /// Mean upstream latency, in milliseconds.
    pub upstream_ms_mean: f64,
    /// Maximum upstream latency, in milliseconds.
    pub upstream_ms_max: f64,
}

/// Counts of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Number of decisions.
    pub decisions: i64,
    /// Denied decisions.
    pub denied: i64,
}

impl Reader {
    /// Statistics of the rows that `filter` selects; its `text`, `session`, `before`, `after`
    /// and `failed` are ignored. Whole hours and days come from counters; only the first and
    /// last hour of a time range are scanned.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn stats(&self, filter: &Filter) -> Result<Stats, StoreError> {
        self.stats_of(&self.snapshot()?, filter)
    }

    /// Number of rows that `filter` selects, ignoring `before` and `after`.
    pub(super) fn total(
        &self,
        snapshot: &Snapshot<'_>,
        filter: &Filter,
    ) -> Result<i64, StoreError> {
        let stats = self.stats_of(snapshot, filter)?;
        Ok(if filter.failed { stats.failed } else { stats.decisions })
    }

    fn stats_of(&self, snapshot: &Snapshot<'_>, filter: &Filter) -> Result<Stats, StoreError> {
        let filter =
            Filter { text: None, session: None, before: None, after: None, ..filter.clone() };
        let selection = snapshot.select(&filter)?;
        self.count(snapshot, &selection, &filter).map_err(|error| self.error(&error))
    }

    fn count(
        &self,
        snapshot: &Snapshot<'_>,
        selection: &Selection,
        filter: &Filter,
    ) -> rusqlite::Result<Stats> {
        let window = Window::of(filter);
        let mut counts: HashMap<i64, Counts> = HashMap::new();
        for (span, from, to) in window.spans() {
            let mut select = self.connection().prepare_cached(
                "SELECT facet, decided, decision_us, answered, failed, upstream_us,
                        upstream_max_us, last
                 FROM tally WHERE span = ?1 AND start >= ?2 AND start < ?3",
            )?;
            let mut rows = select.query([span, from, to])?;
            while let Some(row) = rows.next()? {
                let facet: i64 = row.get(0)?;
                if selection.takes(facet) {
                    counts.entry(facet).or_default().add(&read_counts(row, 1)?);
                }
            }
        }
        let mut add = |facet: i64, more: &Counts| {
            if selection.takes(facet) {
                counts.entry(facet).or_default().add(more);
            }
        };
        let (_, folded, _) = snapshot.bounds();
        for (first, last) in &selection.ranges {
            for (from, to) in window.edges() {
                // An edge lies within the time range, so within its entries.
                let first = snapshot.first_at(*first, *last, from)?;
                let last = snapshot.first_at(first, *last, to)? - 1;
                self.count_rows(first, last.min(folded), &mut add)?;
            }
        }
        self.count_tail(snapshot, &window, &mut add)?;
        self.sum_up(&counts)
    }

    /// Counts the indexed decisions from `first` to `last` one by one.
    fn count_rows(
        &self,
        first: i64,
        last: i64,
        mut add: impl FnMut(i64, &Counts),
    ) -> rusqlite::Result<()> {
        let mut select = self.connection().prepare_cached(
            "SELECT e.facet, e.seq, e.decision_us, r.outcome, r.upstream_us
             FROM entry e
             LEFT JOIN answer a ON a.decision = e.seq
             LEFT JOIN entry r ON r.seq = a.seq
             WHERE e.seq BETWEEN ?1 AND ?2 AND e.kind = 0",
        )?;
        let mut rows = select.query([first, last])?;
        while let Some(row) = rows.next()? {
            let mut counts = Counts::decision(row.get(1)?, row.get(2)?);
            if let Some(outcome) = row.get::<_, Option<String>>(3)? {
                counts.add(&Counts::result(outcome == FAILED, row.get(4)?));
            }
            add(row.get(0)?, &counts);
        }
        Ok(())
    }

    /// Counts the unindexed entries.
    fn count_tail(
        &self,
        snapshot: &Snapshot<'_>,
        window: &Window,
        mut add: impl FnMut(i64, &Counts),
    ) -> rusqlite::Result<()> {
        let (_, folded, _) = snapshot.bounds();
        let mut select = self.connection().prepare_cached(
            "SELECT e.kind, ifnull(d.at, e.at), ifnull(d.facet, e.facet), e.seq,
                    ifnull(e.decision_us, 0), ifnull(e.outcome, ''), ifnull(e.upstream_us, 0)
             FROM entry e LEFT JOIN entry d ON d.seq = e.ref AND e.kind = ?2 AND d.kind = ?3
             WHERE e.seq > ?1 AND (e.kind = ?3 OR d.seq IS NOT NULL)",
        )?;
        let mut rows = select.query([folded, kind::RESULT, kind::DECISION])?;
        while let Some(row) = rows.next()? {
            if window.contains(row.get(1)?) {
                let counts = match row.get(0)? {
                    kind::DECISION => Counts::decision(row.get(3)?, row.get(4)?),
                    _ => Counts::result(row.get::<_, String>(5)? == FAILED, row.get(6)?),
                };
                add(row.get(2)?, &counts);
            }
        }
        Ok(())
    }

    fn sum_up(&self, counts: &HashMap<i64, Counts>) -> rusqlite::Result<Stats> {
        let sql = format!("SELECT {}, id FROM facet", facet::COLUMNS);
        let mut select = self.connection().prepare_cached(&sql)?;
        let mut rows = select.query([])?;
        let mut sums = Sums::default();
        while let Some(row) = rows.next()? {
            if let Some(counts) = counts.get(&row.get(12)?) {
                sums.add(&Facet::read(row, 0)?, counts);
            }
        }
        Ok(sums.finish())
    }
}

/// Sums over facets.
#[derive(Default)]
struct Sums {
    total: Counts,
    by_decision: BTreeMap<String, i64>,
    by_kind: BTreeMap<String, i64>,
    by_outcome: BTreeMap<String, i64>,
    /// Decisions and denials by agent, server, tool, and refusing rule.
    names: [HashMap<String, (i64, i64)>; 4],
}

impl Sums {
    fn add(&mut self, facet: &Facet<'_>, counts: &Counts) {
        self.total.add(counts);
        *self.by_decision.entry(facet.decision.to_string()).or_default() += counts.decided;
        let kind = match &*facet.stage {
            "rate_limit" => "rate_limited",
            _ => &facet.decision,
        };
        let others = counts.decided - counts.failed;
        for (sums, name) in [(&mut self.by_kind, kind), (&mut self.by_outcome, &facet.outcome)] {
            for (name, count) in [(name, others), ("error", counts.failed)] {
                if count > 0 {
                    *sums.entry(name.to_owned()).or_default() += count;
                }
            }
        }
        let tool = facet.tool.as_deref().unwrap_or("(too many to count)").to_owned();
        let rule = format!("{}: {}", facet.policy, facet.rule);
        let rule = (facet.decision != "allow").then_some(rule);
        let keys =
            [Some(facet.agent.to_string()), Some(facet.server.to_string()), Some(tool), rule];
        let denied = if facet.decision == "deny" { counts.decided } else { 0 };
        for (names, key) in self.names.iter_mut().zip(keys) {
            if let Some(key) = key {
                let entry = names.entry(key).or_default();
                *entry = (entry.0 + counts.decided, entry.1 + denied);
            }
        }
    }

    fn finish(self) -> Stats {
        let Self { total, by_decision, by_kind, by_outcome, names } = self;
        let [by_agent, by_server, by_tool, refusals_by_rule] = names.map(most_first);
        let denied = by_decision.get("deny").copied().unwrap_or_default();
        Stats {
            decisions: total.decided,
            deny_rate: ratio(denied, total.decided),
            decision_us_mean: ratio(total.decision_us, total.decided),
            answered: total.answered,
            failed: total.failed,
            upstream_ms_mean: ratio(total.upstream_us, total.answered) / 1000.0,
            upstream_ms_max: total.upstream_max_us as f64 / 1000.0,
            by_decision,
            by_kind,
            by_outcome,
            by_agent,
            by_server,
            by_tool,
            refusals_by_rule,
        }
    }
}

/// Reads the counters, starting at column `first`.
fn read_counts(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Counts> {
    Ok(Counts {
        decided: row.get(first)?,
        decision_us: row.get(first + 1)?,
        answered: row.get(first + 2)?,
        failed: row.get(first + 3)?,
        upstream_us: row.get(first + 4)?,
        upstream_max_us: row.get(first + 5)?,
        last: row.get(first + 6)?,
    })
}

fn most_first(names: HashMap<String, (i64, i64)>) -> Vec<Named> {
    let mut names: Vec<Named> = names
        .into_iter()
        .map(|(name, (decisions, denied))| Named { name, decisions, denied })
        .collect();
    names.sort_by(|a, b| b.decisions.cmp(&a.decisions).then_with(|| a.name.cmp(&b.name)));
    let rest = names.split_off(names.len().min(MAX_NAMES));
    if !rest.is_empty() {
        names.push(Named {
            name: format!("({} others)", rest.len()),
            decisions: rest.iter().map(|name| name.decisions).sum(),
            denied: rest.iter().map(|name| name.denied).sum(),
        });
    }
    names
}

fn ratio(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A half-open time range in microseconds; `None` for all times.
#[derive(Debug, PartialEq, Eq)]
struct Window(Option<(i64, i64)>);

/// Beyond any timestamp, but far from overflow, in microseconds.
const FOREVER: i64 = i64::MAX / 4;

impl Window {
    fn of(filter: &Filter) -> Self {
        if filter.since.is_none() && filter.until.is_none() {
            return Self(None);
        }
        let from = filter.since.map_or(-FOREVER, Timestamp::as_microsecond);
        let to = filter.until.map_or(FOREVER, |until| until.as_microsecond() + 1);
        Self(Some((from, to.max(from))))
    }

    fn contains(&self, at: i64) -> bool {
        self.0.is_none_or(|(from, to)| (from..to).contains(&at))
    }

    /// The whole hours in the range, in seconds; empty if there are none.
    fn hours(from: i64, to: i64) -> (i64, i64) {
        let hour = HOUR * 1_000_000;
        let first = from.div_euclid(hour) + i64::from(from.rem_euclid(hour) != 0);
        let last = to.div_euclid(hour).max(first);
        (first * HOUR, last * HOUR)
    }

    /// Buckets that cover the whole hours: span, from, to, in seconds.
    fn spans(&self) -> Vec<(i64, i64, i64)> {
        let Some((from, to)) = self.0 else { return vec![(0, 0, 1)] };
        let (from, to) = Self::hours(from, to);
        let first_day = (from + DAY - 1).div_euclid(DAY) * DAY;
        let last_day = to.div_euclid(DAY) * DAY;
        if first_day >= last_day {
            return vec![(HOUR, from, to)];
        }
        vec![(HOUR, from, first_day), (DAY, first_day, last_day), (HOUR, last_day, to)]
    }

    /// The parts before and after the whole hours, in microseconds.
    fn edges(&self) -> Vec<(i64, i64)> {
        let Some((from, to)) = self.0 else { return Vec::new() };
        let (first, last) = Self::hours(from, to);
        if first >= last {
            return vec![(from, to)];
        }
        vec![(from, first * 1_000_000), (last * 1_000_000, to)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn spans_and_edges_of_a_window_cover_each_instant_once(
            from in -300_000i64..300_000, length in 0i64..400_000,
        ) {
            let (from, to) = (from * 1_000_000, (from + length) * 1_000_000);
            let window = Window(Some((from, to)));
            let mut parts: Vec<(i64, i64)> = window.edges();
            for (span, from, to) in window.spans() {
                prop_assert_eq!((from % span, to % span), (0, 0));
                parts.push((from * 1_000_000, to * 1_000_000));
            }
            parts.retain(|(from, to)| from < to);
            parts.sort_unstable();
            let mut at = from;
            for (from, to) in parts {
                prop_assert_eq!(from, at);
                at = to;
            }
            prop_assert_eq!(at, to);
        }
    }
}
