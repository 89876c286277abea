//! Reading the log: what a filter selects, in order.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _};

use super::StoreError;
use super::audit::{Outcome, RowId};
use super::files::Files;
use super::merge::Direction;
use super::row::Row;
use super::schema;
use super::snapshot::Snapshot;
use crate::os::files::FileId;

/// Which rows. Names may hold `*` (any run) and `?` (one character).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this agent's.
    pub agent: Option<String>,
    /// Only `allow`, `deny` or `ask`.
    pub decision: Option<String>,
    /// Only this server's or provider's.
    pub server: Option<String>,
    /// Only this tool's or resource's.
    pub tool: Option<String>,
    /// Only what this stage decided.
    pub stage: Option<String>,
    /// Only what was let through and failed on the way.
    pub failed: bool,
    /// Only what came to this, one of [`OUTCOMES`].
    pub outcome: Option<String>,
    /// Only what came over MCP.
    pub mcp: bool,
    /// Only this session's; exact.
    pub session: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Only rows in whose tool, reason or arguments this occurs, in either case.
    pub text: Option<String>,
    /// Only rows before this one.
    pub before: Option<RowId>,
    /// Only rows after this one.
    pub after: Option<RowId>,
}

/// What rows may be asked for by: the log's own words, and two that scripts know
/// from elsewhere.
pub const DECISIONS: [&str; 5] = ["allow", "deny", "ask", "rate_limited", "error"];

/// What a row can have come to.
pub const OUTCOMES: [&str; 7] = [
    Outcome::Forwarded.as_str(),
    Outcome::Refused.as_str(),
    Outcome::Approved.as_str(),
    Outcome::Rejected.as_str(),
    Outcome::Expired.as_str(),
    Outcome::Observed.as_str(),
    Outcome::Error.as_str(),
];

impl Filter {
    /// The same for one of [`DECISIONS`]: `rate_limited` are those of the denied that
    /// a limit denied, `error` those of the forwarded that failed on the way. `None`
    /// where it is none.
    #[must_use]
    pub fn decided(self, name: &str) -> Option<Self> {
        match name {
            "rate_limited" => Some(Self { stage: Some("rate_limit".to_owned()), ..self }),
            "error" => Some(Self { failed: true, ..self }),
            "allow" | "deny" | "ask" => Some(Self { decision: Some(name.to_owned()), ..self }),
            _ => None,
        }
    }
}

/// Some of the rows that a filter selects.
#[derive(Debug)]
pub struct Page {
    /// The rows, newest first.
    pub rows: Vec<Row>,
    /// How many there are on all pages; `None` where only a look at each would
    /// tell: with a session, a text, an outcome, or a tool beyond the dictionary.
    pub total: Option<i64>,
}

/// A reader of one database. It never changes anything.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    files: Files,
    identity: Option<FileId>,
}

impl Reader {
    /// Opens the log at `path`.
    ///
    /// # Errors
    /// Where there is none, or none that this program can read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            let why = "there is none yet; the first recorded action creates it";
            return Err(StoreError::open(path, why));
        }
        let files = Files::locate(path).map_err(|error| StoreError::open(path, error))?;
        let connection = schema::open_to_read(&files)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { identity: files.database_id(), connection, files })
    }

    /// Visits the newest `limit` rows that `filter` selects (0: all), oldest
    /// first. All of them are of one moment.
    ///
    /// # Errors
    /// Where the log cannot be read, or what `visit` returns.
    pub fn rows<E: From<StoreError>>(
        &self,
        filter: &Filter,
        limit: u64,
        mut visit: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let snapshot = self.snapshot()?;
        let selection = snapshot.select(filter)?;
        let mut load = |seq| match snapshot.row(seq, &selection)? {
            Some(row) => visit(row),
            None => Ok(()),
        };
        if limit == 0 {
            let mut merge = snapshot.merge(&selection, Direction::Ascending)?;
            while let Some(seq) = merge.next().map_err(|error| self.error(&error))? {
                load(seq)?;
            }
            return Ok(());
        }
        let mut newest = Vec::new();
        let mut merge = snapshot.merge(&selection, Direction::Descending)?;
        while (newest.len() as u64) < limit
            && let Some(seq) = merge.next().map_err(|error| self.error(&error))?
        {
            if !selection.looks_at_rows() || snapshot.row(seq, &selection)?.is_some() {
                newest.push(seq);
            }
        }
        newest.into_iter().rev().try_for_each(load)
    }

    /// The newest `limit` rows that `filter` selects but for the newest `offset`,
    /// newest first, and how many it selects in all.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn page(&self, filter: &Filter, offset: u64, limit: u64) -> Result<Page, StoreError> {
        let snapshot = self.snapshot()?;
        let selection = snapshot.select(filter)?;
        let total = match selection.is_counted() {
            true => Some(self.total(&snapshot, filter)?),
            false => None,
        };
        if total == Some(0) {
            return Ok(Page { rows: Vec::new(), total });
        }
        let mut merge = snapshot.merge(&selection, Direction::Descending)?;
        let (mut rows, mut skipped) = (Vec::new(), 0);
        while (rows.len() as u64) < limit
            && let Some(seq) = merge.next().map_err(|error| self.error(&error))?
        {
            if skipped < offset && !selection.looks_at_rows() {
                skipped += u64::from(snapshot.is_decision(seq)?);
                continue;
            }
            let Some(row) = snapshot.row(seq, &selection)? else { continue };
            if skipped < offset {
                skipped += 1;
            } else {
                rows.push(row);
            }
        }
        Ok(Page { rows, total })
    }

    /// Whether `filter` makes sense for this log: the rows that it names are of it.
    ///
    /// # Errors
    /// [`StoreError::NotOurs`], or where the log cannot be read.
    pub fn accepts(&self, filter: &Filter) -> Result<(), StoreError> {
        self.snapshot()?.select(filter).map(drop)
    }

    /// A number that changes whenever somebody writes.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn version(&self) -> Result<i64, StoreError> {
        let version = self.connection.pragma_query_value(None, "data_version", |row| row.get(0));
        version.map_err(|error| self.error(&error))
    }

    /// The id that the newest entry has, or would have were it a row.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn newest_id(&self) -> Result<Option<RowId>, StoreError> {
        let snapshot = self.snapshot()?;
        let (.., head) = snapshot.bounds();
        let sql = "SELECT at FROM entry WHERE seq = ?1";
        let at = self.connection.query_row(sql, [head], |row| row.get(0)).optional();
        let at: Option<i64> = at.map_err(|error| self.error(&error))?;
        Ok(at.map(|at| RowId::new(at, head, snapshot.salt())))
    }

    /// Whether the database has every table that this program knows.
    pub(super) fn is_up_to_date(&self) -> Result<bool, StoreError> {
        schema::is_up_to_date(&self.connection).map_err(|error| self.error(&error))
    }

    /// Whether the file that is read is still the one of that name.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.files.database_id() == self.identity
    }

    /// The log as it is at one moment.
    pub(super) fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        Snapshot::take(self).map_err(|error| self.error(&error))
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn error(&self, error: &rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => self.files.damaged(error),
            _ => StoreError::Read { path: self.files.named.clone(), why: error.to_string() },
        }
    }
}
