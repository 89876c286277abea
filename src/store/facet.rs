//! The dictionary of the log: combinations of values that repeat.
//!
//! Filters are answered on this small table, not on the log. It is bounded: a
//! flood of invented tool names ends up in entries that carry the name
//! themselves, under one combination.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::audit::Draft;
use super::chain::length;

/// Maximum number of facets in the dictionary. Tools beyond it are stored in their entries,
/// where filtering has to scan.
pub(super) const MAX_FACETS: i64 = 50_000;

/// Maximum number of facets cached by a writer; the cache is cleared when full.
const MAX_REMEMBERED: usize = 4096;

/// Maximum stored length of a name, in bytes. Longer ones are truncated with a mark.
pub(super) const MAX_NAME: usize = 1024;

/// A combination of column values shared by many decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facet<'d> {
    pub(super) agent: Cow<'d, str>,
    pub(super) transport: Cow<'d, str>,
    pub(super) server: Cow<'d, str>,
    pub(super) method: Cow<'d, str>,
    /// `None` if entries store the tool themselves.
    pub(super) tool: Option<Cow<'d, str>>,
    pub(super) intent: Cow<'d, str>,
    pub(super) decision: Cow<'d, str>,
    pub(super) outcome: Cow<'d, str>,
    pub(super) policy: Cow<'d, str>,
    pub(super) rule: Cow<'d, str>,
    pub(super) stage: Cow<'d, str>,
    pub(super) mode: Cow<'d, str>,
}

/// Columns in the order that [`Facet::read`] expects.
pub(super) const COLUMNS: &str = "agent, transport, server, method, tool, intent, decision, \
                                  outcome, policy, rule, stage, mode";

impl<'d> Facet<'d> {
    /// The facet of `draft`.
    pub(super) fn of(draft: &'d Draft) -> Self {
        Self {
            agent: clip(&draft.agent, MAX_NAME),
            transport: draft.transport.as_str().into(),
            server: clip(&draft.server, MAX_NAME),
            method: clip(&draft.method, MAX_NAME),
            tool: Some(clip(&draft.tool, MAX_NAME)),
            intent: draft.intent.as_str().into(),
            decision: draft.decision.as_str().into(),
            outcome: draft.outcome.as_str().into(),
            policy: clip(&draft.policy, MAX_NAME),
            rule: clip(&draft.rule, MAX_NAME),
            stage: draft.stage.as_str().into(),
            mode: if draft.observing { "observe" } else { "enforce" }.into(),
        }
    }

    /// Reads [`COLUMNS`], starting at column `first`.
    pub(super) fn read(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let text = |offset| row.get::<_, String>(first + offset).map(Cow::Owned);
        Ok(Self {
            agent: text(0)?,
            transport: text(1)?,
            server: text(2)?,
            method: text(3)?,
            tool: row.get::<_, Option<String>>(first + 4)?.map(Cow::Owned),
            intent: text(5)?,
            decision: text(6)?,
            outcome: text(7)?,
            policy: text(8)?,
            rule: text(9)?,
            stage: text(10)?,
            mode: text(11)?,
        })
    }

    /// The bytes covered by the hash chain; they also identify the facet.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let tool = self.tool.as_deref();
        let fields = [
            &*self.agent,
            &self.transport,
            &self.server,
            &self.method,
            if tool.is_some() { "tool" } else { "" },
            tool.unwrap_or_default(),
            &self.intent,
            &self.decision,
            &self.outcome,
            &self.policy,
            &self.rule,
            &self.stage,
            &self.mode,
        ];
        let mut bytes = Vec::with_capacity(256);
        for field in fields {
            bytes.extend_from_slice(&length(field.as_bytes()));
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }
}

/// A cached facet.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: i64,
    /// Whether entries store the tool themselves.
    pub(super) bare: bool,
    /// The reason in the dictionary, which entries with the same one omit.
    pub(super) reason: Arc<str>,
}

/// The writer's cache of the dictionary.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    known: HashMap<Vec<u8>, Known>,
    /// Whether it had [`MAX_FACETS`] when last counted. Only a purge makes room.
    full: bool,
}

impl Dictionary {
    /// Clears the cache: after a rollback, or after a purge removed facets.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.full = false;
    }

    /// Finds or inserts `facet` with the encoding `canonical`. If the dictionary is full, both
    /// are replaced by the facet without the tool.
    pub(super) fn resolve(
        &mut self,
        connection: &Connection,
        facet: &mut Facet<'_>,
        canonical: &mut Vec<u8>,
        reason: &str,
    ) -> rusqlite::Result<Known> {
        if let Some(known) = self.known.get(canonical) {
            if known.bare {
                facet.tool = None;
                *canonical = facet.canonical();
            }
            return Ok(known.clone());
        }
        let asked_for = canonical.clone();
        let known = match find(connection, canonical)? {
            Some(known) => known,
            None if facet.tool.is_some() && self.is_full(connection)? => {
                facet.tool = None;
                *canonical = facet.canonical();
                let bare = match find(connection, canonical)? {
                    Some(known) => known,
                    None => insert(connection, facet, canonical, reason)?,
                };
                Known { bare: true, ..bare }
            }
            None => insert(connection, facet, canonical, reason)?,
        };
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(asked_for, known.clone());
        Ok(known)
    }
}

impl Dictionary {
    fn is_full(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        // Purges leave gaps in the ids, so the highest id is an upper bound of the count, and
        // cheap.
        let ask = |sql: &str| -> rusqlite::Result<i64> {
            connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
        };
        if !self.full && ask("SELECT ifnull(max(id), 0) FROM facet")? >= MAX_FACETS {
            self.full = ask("SELECT count(*) FROM facet")? >= MAX_FACETS;
        }
        Ok(self.full)
    }
}

/// The key that identifies a facet in the database.
pub(super) fn key(canonical: &[u8]) -> [u8; 32] {
    Sha256::digest(canonical).into()
}

fn find(connection: &Connection, canonical: &[u8]) -> rusqlite::Result<Option<Known>> {
    let mut find = connection.prepare_cached("SELECT id, reason FROM facet WHERE key = ?1")?;
    find.query_row([key(canonical)], |row| {
        Ok(Known { id: row.get(0)?, bare: false, reason: row.get::<_, String>(1)?.into() })
    })
    .optional()
}

fn insert(
    connection: &Connection,
    facet: &Facet<'_>,
    canonical: &[u8],
    reason: &str,
) -> rusqlite::Result<Known> {
    let sql = format!(
        "INSERT INTO facet (key, {COLUMNS}, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    );
    connection.prepare_cached(&sql)?.execute(params![
        key(canonical),
        facet.agent,
        facet.transport,
        facet.server,
        facet.method,
        facet.tool,
        facet.intent,
        facet.decision,
        facet.outcome,
        facet.policy,
        facet.rule,
        facet.stage,
        facet.mode,
        reason,
    ])?;
    let id = connection.last_insert_rowid();
    Ok(Known { id, bare: false, reason: reason.into() })
}

/// `text`, truncated to about `max` bytes with a note of its full length.
pub(super) fn clip(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…[{} bytes]", beginning(text, max), text.len()))
}

/// The longest prefix of `text` with at most `max` bytes.
pub(super) fn beginning(text: &str, max: usize) -> &str {
    let mut lengths = (0..=max.min(text.len())).rev();
    lengths.find_map(|length| text.get(..length)).unwrap_or(text)
}
