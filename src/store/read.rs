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

/// Selects rows. Names are globs: `*` matches any sequence, `?` one character.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Agent's name.
    pub agent: Option<String>,
    /// `allow`, `deny` or `ask`.
    pub decision: Option<String>,
    /// Name of the server or provider.
    pub server: Option<String>,
    /// Tool or resource.
    pub tool: Option<String>,
    /// Stage that decided.
    pub stage: Option<String>,
    /// Only actions whose forwarding failed.
    pub failed: bool,
    /// One of [`OUTCOMES`].
    pub outcome: Option<String>,
    /// Only actions over MCP.
    pub mcp: bool,
    /// Session id; matched exactly.
    pub session: Option<String>,
    /// Earliest time.
    pub since: Option<Timestamp>,
    /// Latest time.
    pub until: Option<Timestamp>,
    /// Case-insensitive substring of tool, reason or arguments.
    pub text: Option<String>,
    /// Only rows before this one.
    pub before: Option<RowId>,
    /// Only rows after this one.
    pub after: Option<RowId>,
}

/// Values accepted by [`Filter::decided`]: those of the column, and two for subsets of them.
pub const DECISIONS: [&str; 5] = ["allow", "deny", "ask", "rate_limited", "error"];

/// Values of the column `outcome`.
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
    /// Selects one of [`DECISIONS`]: `rate_limited` are the denials by a rate limit, `error`
    /// the actions whose forwarding failed. `None` for any other name.
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

/// One page of the rows that a filter selects.
#[derive(Debug)]
pub struct Page {
    /// The rows, newest first.
    pub rows: Vec<Row>,
    /// Number of rows on all pages; `None` if counting would need a scan: with a session, a
    /// text, an outcome, or a tool that is not in the dictionary.
    pub total: Option<i64>,
}

/// Read-only access to one database.
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
    /// If there is no log, or it cannot be read by this version.
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

    /// Calls `visit` with the newest `limit` rows that `filter` selects (0: all), oldest first,
    /// in one snapshot.
    ///
    /// # Errors
    /// If the log cannot be read, or the error of `visit`.
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
            if !selection.needs_row_scan() || snapshot.row(seq, &selection)?.is_some() {
                newest.push(seq);
            }
        }
        newest.into_iter().rev().try_for_each(load)
    }

    /// The newest `limit` rows that `filter` selects after skipping `offset`, newest first, and
    /// their total number.
    ///
    /// # Errors
    /// If the log cannot be read.
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
            if skipped < offset && !selection.needs_row_scan() {
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

    /// Checks that row ids in `filter` belong to this log.
    ///
    /// # Errors
    /// [`StoreError::NotOurs`], or if the log cannot be read.
    pub fn accepts(&self, filter: &Filter) -> Result<(), StoreError> {
        self.snapshot()?.select(filter).map(drop)
    }

    /// SQLite's `data_version`: changes with every write by another connection.
    pub fn version(&self) -> Result<i64, StoreError> {
        let version = self.connection.pragma_query_value(None, "data_version", |row| row.get(0));
        version.map_err(|error| self.error(&error))
    }

    /// Id of the newest entry, as if it were a row.
    pub fn newest_id(&self) -> Result<Option<RowId>, StoreError> {
        let snapshot = self.snapshot()?;
        let (.., head) = snapshot.bounds();
        let sql = "SELECT at FROM entry WHERE seq = ?1";
        let at = self.connection.query_row(sql, [head], |row| row.get(0)).optional();
        let at: Option<i64> = at.map_err(|error| self.error(&error))?;
        Ok(at.map(|at| RowId::new(at, head, snapshot.salt())))
    }

    /// Whether the schema is of this version.
    pub(super) fn is_up_to_date(&self) -> Result<bool, StoreError> {
        schema::is_up_to_date(&self.connection).map_err(|error| self.error(&error))
    }

    /// Whether the open file is still the one at its path.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.files.database_id() == self.identity
    }

    /// A consistent snapshot of the log.
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
