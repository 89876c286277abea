//! A decision as the database has it, with its result.

use super::chain::Hash;

/// The result of a forwarded action.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) outcome: String,
    pub(super) status: String,
    pub(super) upstream_us: i64,
}

/// The columns of a decision, unprocessed.
pub(super) struct RawDecision {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) facet: i64,
    pub(super) session: String,
    pub(super) tool: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) args: String,
    pub(super) digest: Hash,
    pub(super) decision_us: i64,
    pub(super) hash: Hash,
    pub(super) before: Option<Hash>,
    pub(super) answer: Option<Answer>,
}

/// The decision with sequence number `?1`.
pub(super) const SELECT: &str = "
    SELECT e.seq, e.at, e.facet, e.session, e.tool, e.reason, e.args, e.digest, e.decision_us,
           e.hash, (SELECT hash FROM entry WHERE seq = e.seq - 1),
           r.outcome, r.status, r.upstream_us
    FROM entry e
    LEFT JOIN answer a ON a.decision = e.seq
    LEFT JOIN entry r ON r.seq = a.seq
    WHERE e.seq = ?1 AND e.kind = 0";

impl RawDecision {
    /// Reads a row of [`SELECT`].
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let answer = match row.get::<_, Option<String>>(11)? {
            Some(outcome) => {
                Some(Answer { outcome, status: row.get(12)?, upstream_us: row.get(13)? })
            }
            None => None,
        };
        Ok(Self {
            seq: row.get(0)?,
            at: row.get(1)?,
            facet: row.get(2)?,
            session: row.get(3)?,
            tool: row.get(4)?,
            reason: row.get(5)?,
            args: row.get(6)?,
            digest: row.get(7)?,
            decision_us: row.get(8)?,
            hash: row.get(9)?,
            before: row.get(10)?,
            answer,
        })
    }
}
