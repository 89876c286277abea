//! What each agent has done, from the counters of the log's index.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::OptionalExtension as _;

use super::StoreError;
use super::read::Reader;

/// Counts of one agent's decisions in the log. Purged rows are not included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentCounts {
    /// Decisions.
    pub requests: i64,
    /// Denied decisions.
    pub denied: i64,
    /// Time of the newest decision; `None` if it was purged.
    pub last: Option<Timestamp>,
}

impl AgentCounts {
    /// Share of denied decisions, from 0 to 1.
    #[must_use]
    pub fn deny_rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.denied as f64 / self.requests as f64 }
    }
}

/// Index counters, plus the entries that are not indexed yet.
const COUNTS: &str = "
    SELECT agent, sum(decided), sum(CASE decision WHEN 'deny' THEN decided ELSE 0 END), max(last)
    FROM (
        SELECT facet.agent, facet.decision, tally.decided, tally.last
        FROM tally JOIN facet ON facet.id = tally.facet WHERE tally.span = 0
        UNION ALL
        SELECT facet.agent, facet.decision, 1, entry.seq
        FROM entry JOIN facet ON facet.id = entry.facet
        WHERE entry.seq > ?1 AND entry.kind = 0
    )
    WHERE ?2 IS NULL OR agent = ?2
    GROUP BY agent";

impl Reader {
    /// Counts per agent, or only of `agent`. Names are those in the log.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn counts_by_agent(
        &self,
        agent: Option<&str>,
    ) -> Result<HashMap<String, AgentCounts>, StoreError> {
        let snapshot = self.snapshot()?;
        let (_, folded, _) = snapshot.bounds();
        let count = || -> rusqlite::Result<HashMap<String, AgentCounts>> {
            let mut select = self.connection().prepare_cached(COUNTS)?;
            let mut at = self.connection().prepare_cached("SELECT at FROM entry WHERE seq = ?1")?;
            let mut counts = HashMap::new();
            let mut rows = select.query((folded, agent))?;
            while let Some(row) = rows.next()? {
                let newest: i64 = row.get(3)?;
                let newest: Option<i64> = at.query_row([newest], |row| row.get(0)).optional()?;
                let last = newest.and_then(|at| Timestamp::from_microsecond(at).ok());
                let (requests, denied) = (row.get(1)?, row.get(2)?);
                counts.insert(row.get(0)?, AgentCounts { requests, denied, last });
            }
            Ok(counts)
        };
        count().map_err(|error| self.error(&error))
    }
}
