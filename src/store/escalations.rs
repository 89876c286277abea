//! What a person is to say about: kept until there are too many.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::facet::clip;
use super::ledger::Ledger;
use super::read::Reader;
use super::{Options, StoreError};

/// Maximum number of stored escalations. Beyond it the oldest resolved ones are removed, then
/// the oldest.
pub const MAX_KEPT: i64 = 1_000;

/// Maximum stored length of a name, path or resolution, in bytes.
const MAX_TEXT: usize = 2_048;

/// Identifies an escalation: requests with the same question are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Provider or MCP server.
    pub provider: String,
    /// The HTTP method, or `tools/call`.
    pub method: String,
    /// The path, or `/mcp/tools/<tool>`.
    pub path: String,
}

/// An escalation to be stored.
#[derive(Debug, Clone)]
pub struct Raised {
    /// What is asked.
    pub question: Question,
    /// The first agent that asked.
    pub agent: String,
    /// The classified intent.
    pub intent: &'static str,
    /// Kind of resource acted on.
    pub resource: String,
    /// Level of the analysis.
    pub level: &'static str,
    /// Confidence of the analysis, from 0 to 1.
    pub confidence: f64,
    /// Source of the classification.
    pub why: &'static str,
    /// Id of the audit row.
    pub request_id: String,
    /// Time of the latest request.
    pub at: Timestamp,
    /// Number of requests.
    pub times: i64,
}

/// A stored escalation.
#[derive(Debug, Clone, PartialEq)]
pub struct Escalation {
    /// Permanent id.
    pub id: i64,
    /// What is asked.
    pub question: Question,
    /// The first agent that asked.
    pub agent: String,
    /// The classified intent.
    pub intent: String,
    /// Kind of resource acted on.
    pub resource: String,
    /// Level of the analysis.
    pub level: String,
    /// Confidence of the analysis, from 0 to 1.
    pub confidence: f64,
    /// Source of the classification; empty if an earlier version raised it.
    pub why: String,
    /// Id of the audit row of the first request.
    pub request_id: String,
    /// Time of the first request.
    pub raised_at: Timestamp,
    /// Time of the latest request.
    pub last_at: Timestamp,
    /// Number of requests before it was resolved.
    pub times: i64,
    /// The resolution by a person, and its time.
    pub resolved: Option<(String, Timestamp)>,
}

/// The newest escalations, and totals.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Newest last.
    pub newest: Vec<Escalation>,
    /// Number of stored escalations.
    pub total: i64,
    /// Number of resolved escalations.
    pub resolved: i64,
}

/// Which escalations to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those without a resolution.
    Pending,
}

/// The escalations of one database.
#[derive(Debug, Clone)]
pub struct Escalations {
    path: PathBuf,
    options: Options,
}

impl Escalations {
    /// The escalations in the database at `path`.
    #[must_use]
    pub fn new(path: &Path, options: &Options) -> Self {
        Self { path: path.to_owned(), options: options.clone() }
    }

    /// Stores `raised`; for pending questions only increases the count.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn raise(&self, raised: &[Raised]) -> Result<(), StoreError> {
        self.change(|connection| {
            for one in raised {
                raise(connection, one)?;
            }
            connection.execute(
                "DELETE FROM escalation WHERE id IN (
                   SELECT id FROM escalation ORDER BY resolved_at IS NULL, id
                   LIMIT max(0, (SELECT count(*) FROM escalation) - ?1))",
                [MAX_KEPT],
            )?;
            Ok(())
        })
    }

    /// Sets the resolution of escalation `id`, replacing an earlier one. `false` if there is
    /// none.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn resolve(&self, id: i64, resolution: &str) -> Result<bool, StoreError> {
        let now = Timestamp::now().as_microsecond();
        self.change(|connection| {
            let changed = connection.execute(
                "UPDATE escalation SET resolution = ?2, resolved_at = ?3 WHERE id = ?1",
                params![id, clip(resolution, MAX_TEXT), now],
            )?;
            Ok(changed == 1)
        })
    }

    /// The newest `limit` escalations of those that `which` selects.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list(&self, limit: u32, which: Which) -> Result<Listed, StoreError> {
        let reader = Reader::open(&self.path)?;
        list(reader.connection(), limit, which).map_err(|error| reader.error(&error))
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        // Creating the database is up to the log's writer.
        if !self.path.exists() {
            return Err(StoreError::Lost { path: self.path.clone() });
        }
        let mut ledger = Ledger::open(&self.path, &self.options, None)?;
        ledger.transact(self.options.lock_timeout, |transaction| {
            change(transaction.connection()).map_err(|error| transaction.error(&error))
        })
    }
}

fn raise(connection: &Connection, raised: &Raised) -> rusqlite::Result<()> {
    let Raised { question, agent, intent, resource, level, confidence, why, .. } = raised;
    let at = raised.at.as_microsecond();
    connection
        .prepare_cached(
            "INSERT INTO escalation (provider, method, path, agent, intent, resource, level,
               confidence, request_id, raised_at, last_at, times, why)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12)
             ON CONFLICT (provider, method, path) WHERE resolved_at IS NULL
             DO UPDATE SET last_at = excluded.last_at, times = times + excluded.times",
        )?
        .execute(params![
            clip(&question.provider, MAX_TEXT),
            clip(&question.method, MAX_TEXT),
            clip(&question.path, MAX_TEXT),
            clip(agent, MAX_TEXT),
            intent,
            clip(resource, MAX_TEXT),
            level,
            confidence,
            raised.request_id,
            at,
            raised.times,
            why,
        ])
        .map(drop)
}

fn list(connection: &Connection, limit: u32, which: Which) -> rusqlite::Result<Listed> {
    let transaction = connection.unchecked_transaction()?;
    let counts = "SELECT count(*), count(resolved_at) FROM escalation";
    let (total, resolved) =
        transaction.query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut select = transaction.prepare_cached(
        "SELECT id, provider, method, path, agent, intent, resource, level, confidence,
                request_id, raised_at, last_at, times, resolution, resolved_at, why
         FROM escalation WHERE resolved_at IS NULL OR NOT ?2 ORDER BY id DESC LIMIT ?1",
    )?;
    let newest = select.query_map(params![limit, which == Which::Pending], read)?;
    let mut newest: Vec<Escalation> = newest.collect::<rusqlite::Result<_>>()?;
    newest.reverse();
    Ok(Listed { newest, total, resolved })
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Escalation> {
    let time = |at: i64| Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    let (resolution, at): (Option<String>, Option<i64>) = (row.get(13)?, row.get(14)?);
    Ok(Escalation {
        id: row.get(0)?,
        question: Question { provider: row.get(1)?, method: row.get(2)?, path: row.get(3)? },
        agent: row.get(4)?,
        intent: row.get(5)?,
        resource: row.get(6)?,
        level: row.get(7)?,
        confidence: row.get(8)?,
        why: row.get(15)?,
        request_id: row.get(9)?,
        raised_at: time(row.get(10)?),
        last_at: time(row.get(11)?),
        times: row.get(12)?,
        resolved: at.map(|at| (resolution.unwrap_or_default(), time(at))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn kept() -> (tempfile::TempDir, Escalations) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Store::open(&path, &Options::default()).unwrap();
        (folder, Escalations::new(&path, &Options::default()))
    }

    fn raised(path: &str, times: i64) -> Raised {
        let [provider, method] = ["github", "POST"].map(str::to_owned);
        Raised {
            question: Question { provider, method, path: path.to_owned() },
            agent: "bot".to_owned(),
            intent: "unknown",
            resource: "thing".to_owned(),
            level: "L3",
            confidence: 0.2,
            why: "a verb that is not known",
            request_id: "r".to_owned(),
            at: Timestamp::now(),
            times,
        }
    }

    #[test]
    fn similar_escalations_are_counted_until_resolved() {
        let (_folder, kept) = kept();
        kept.raise(&[raised("/a", 1), raised("/b", 1)]).unwrap();
        kept.raise(&[raised("/a", 3)]).unwrap();
        let listed = kept.list(50, Which::All).unwrap();
        let shown: Vec<_> = listed.newest.iter().map(|it| (it.id, it.times)).collect();
        assert_eq!((shown, listed.total, listed.resolved), (vec![(1, 4), (2, 1)], 2, 0));
        assert!(kept.resolve(1, "a read").unwrap() && !kept.resolve(9, "x").unwrap());
        kept.raise(&[raised("/a", 1)]).unwrap();
        let listed = kept.list(50, Which::Pending).unwrap();
        let pending: Vec<_> = listed.newest.iter().map(|it| it.id).collect();
        assert_eq!((listed.total, listed.resolved, pending), (3, 1, vec![2, 4]));
        let first = kept.list(50, Which::All).unwrap().newest.remove(0);
        assert_eq!(first.resolved.unwrap().0, "a read");
    }

    #[test]
    fn resolved_escalations_are_removed_first() {
        let (_folder, kept) = kept();
        let all: Vec<_> = (0..MAX_KEPT).map(|index| raised(&format!("/{index}"), 1)).collect();
        kept.raise(&all).unwrap();
        kept.resolve(500, "fine").unwrap();
        kept.raise(&[raised("/x", 1)]).unwrap();
        let listed = kept.list(u32::MAX, Which::All).unwrap();
        assert_eq!((listed.total, listed.resolved, listed.newest[0].id), (MAX_KEPT, 0, 1));
        kept.raise(&[raised("/y", 1)]).unwrap();
        assert_eq!(kept.list(u32::MAX, Which::All).unwrap().newest[0].id, 2);
    }
}
