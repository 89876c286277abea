//! Verification of the tables derived from the log.
//!
//! Every table of the index is computed again from the entries and compared with the actual
//! one, row by row, in the order of its key. SQLite sorts in temporary files, so memory use
//! does not grow with the log.

use std::cmp::Ordering;

use rusqlite::types::{Type, Value};
use rusqlite::{Connection, Rows, Statement};

use super::super::chain::Keys;
use super::super::facet::{self, Facet};
use super::super::keyring;
use super::super::schema::{self, meta};
use super::super::snapshot::Snapshot;

/// Maximum number of mismatches listed.
const MAX_NAMED: usize = 20;

/// A table derived from the log. Its queries have the parameters `:folded` (newest indexed
/// entry) and `:first` (oldest entry).
struct Derived {
    table: &'static str,
    /// The schema version that introduced it.
    since: usize,
    columns: &'static [&'static str],
    /// Number of leading columns that form the key.
    key: usize,
    /// Query of the expected rows, ordered by key.
    expected: &'static str,
    /// Query of the actual rows, ordered by key.
    actual: &'static str,
    /// A column that a purge does not update, and how it may differ since.
    stale: Option<(usize, Ordering)>,
}

const TALLY: &[&str] = &[
    "span",
    "start",
    "facet",
    "decided",
    "decision_us",
    "answered",
    "failed",
    "upstream_us",
    "upstream_max_us",
    "last",
];

/// Ordered by dependency.
const DERIVED: [Derived; 5] = [
    Derived {
        table: "posting",
        since: 1,
        columns: &["facet", "seq"],
        key: 2,
        expected: "SELECT facet, seq FROM entry WHERE kind = 0 AND seq <= :folded ORDER BY 1, 2",
        actual: "SELECT facet, seq FROM posting ORDER BY 1, 2",
        stale: None,
    },
    Derived {
        table: "answer",
        since: 1,
        columns: &["decision", "seq"],
        key: 1,
        expected: "SELECT r.ref, min(r.seq) FROM entry r CROSS JOIN entry d ON d.seq = r.ref
               WHERE r.kind = 1 AND r.seq <= :folded AND d.kind = 0
               GROUP BY r.ref ORDER BY 1",
        actual: "SELECT decision, seq FROM answer ORDER BY 1",
        stale: None,
    },
    Derived {
        table: "tally",
        since: 1,
        columns: TALLY,
        key: 3,
        expected: "SELECT 3600,
                 (d.at - ((d.at % 3600000000) + 3600000000) % 3600000000) / 1000000,
                 d.facet, count(*), sum(d.decision_us), count(r.seq),
                 ifnull(sum(r.outcome = 'error'), 0), ifnull(sum(r.upstream_us), 0),
                 ifnull(max(r.upstream_us), 0), max(d.seq)
               FROM entry d
               LEFT JOIN answer a ON a.decision = d.seq
               LEFT JOIN entry r ON r.seq = a.seq
               WHERE d.kind = 0 AND d.seq <= :folded
               GROUP BY 2, 3 ORDER BY 2, 3",
        actual: "SELECT * FROM tally WHERE span = 3600 ORDER BY start, facet",
        stale: Some((8, Ordering::Greater)),
    },
    Derived {
        table: "tally",
        since: 1,
        columns: TALLY,
        key: 3,
        expected: "SELECT span, start, facet, sum(decided), sum(decision_us), sum(answered),
                 sum(failed), sum(upstream_us), max(upstream_max_us), max(last)
               FROM (SELECT 0 AS span, 0 AS start, facet, decided, decision_us, answered, failed,
                       upstream_us, upstream_max_us, last
                     FROM tally WHERE span = 3600
                     UNION ALL
                     SELECT 86400, start - ((start % 86400) + 86400) % 86400, facet, decided,
                       decision_us, answered, failed, upstream_us, upstream_max_us, last
                     FROM tally WHERE span = 3600)
               GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        actual: "SELECT * FROM tally WHERE span <> 3600 ORDER BY 1, 2, 3",
        stale: Some((8, Ordering::Greater)),
    },
    Derived {
        table: "session",
        since: 5,
        columns: &["name", "first", "last"],
        key: 1,
        expected: "SELECT session, min(seq), max(seq) FROM entry WHERE kind = 0 AND seq <= :folded
               GROUP BY session ORDER BY 1",
        // An interrupted purge has not removed ended sessions.
        actual: "SELECT name, first, last FROM session WHERE last >= :first ORDER BY 1",
        stale: Some((1, Ordering::Less)),
    },
];

/// Mismatches of all derived tables, each with table and row.
pub(super) fn disagreements(
    connection: &Connection,
    snapshot: &Snapshot<'_>,
    keys: &Keys,
) -> rusqlite::Result<Vec<String>> {
    let mut found = Found::default();
    let version = schema::version(connection)?;
    check_integrity(connection, &mut found)?;
    for difference in schema::differences(connection, version)? {
        found.add(difference);
    }
    check_meta(connection, snapshot, keys, &mut found)?;
    check_facets(connection, &mut found)?;
    for derived in DERIVED.iter().filter(|derived| derived.since <= version) {
        derived.compare(connection, snapshot, &mut found)?;
    }
    Ok(found.named)
}

/// The mismatches, bounded in number.
#[derive(Default)]
struct Found {
    named: Vec<String>,
}

impl Found {
    fn add(&mut self, what: String) {
        match self.named.len().cmp(&MAX_NAMED) {
            Ordering::Less => self.named.push(what),
            Ordering::Equal => self.named.push("and more".to_owned()),
            Ordering::Greater => {}
        }
    }

    fn is_full(&self) -> bool {
        self.named.len() > MAX_NAMED
    }
}

/// SQLite's own checks of pages and indexes.
fn check_integrity(connection: &Connection, found: &mut Found) -> rusqlite::Result<()> {
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({MAX_NAMED})"))?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let what: String = row.get(0)?;
        if what != "ok" {
            found.add(format!("database: {what}"));
        }
    }
    Ok(())
}

fn check_meta(
    connection: &Connection,
    snapshot: &Snapshot<'_>,
    keys: &Keys,
    found: &mut Found,
) -> rusqlite::Result<()> {
    let (_, folded, head) = snapshot.bounds();
    if folded > head {
        found.add(format!("meta `folded`: {folded} is beyond the newest entry, {head}"));
    }
    let tag: Option<Vec<u8>> = meta(connection, keyring::SALT_TAG)?;
    if tag.is_some_and(|tag| tag != keys.of_salt(snapshot.salt())) {
        found.add(format!("meta `salt`: {} is not that of this log", snapshot.salt()));
    }
    Ok(())
}

/// Checks the lookup keys of facets in use. Their content is proven by the entries.
fn check_facets(connection: &Connection, found: &mut Found) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {}, id, key FROM facet
         WHERE EXISTS (SELECT 1 FROM posting WHERE facet = facet.id) ORDER BY id",
        facet::COLUMNS
    );
    let mut select = connection.prepare(&sql)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let key: Vec<u8> = row.get(13)?;
        if key != facet::key(&Facet::read(row, 0)?.canonical()) {
            found.add(format!("facet {}: `key` is not its own", row.get::<_, i64>(12)?));
        }
    }
    Ok(())
}

impl Derived {
    /// Compares expected and actual rows side by side.
    fn compare(
        &self,
        connection: &Connection,
        snapshot: &Snapshot<'_>,
        found: &mut Found,
    ) -> rusqlite::Result<()> {
        let (first, folded, _) = snapshot.bounds();
        let (mut expected, mut actual) =
            (connection.prepare(self.expected)?, connection.prepare(self.actual)?);
        let bounds = [(":folded", folded), (":first", first)];
        let (mut expected, mut actual) =
            (query(&mut expected, &bounds)?, query(&mut actual, &bounds)?);
        let (mut should, mut is) = (self.next(&mut expected)?, self.next(&mut actual)?);
        while !found.is_full() {
            let order = match (&should, &is) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(should), Some(is)) => self.order(should, is),
            };
            match order {
                Ordering::Less => found.add(format!("{} is missing", self.row(&should))),
                Ordering::Greater => found.add(format!("{} should not be there", self.row(&is))),
                Ordering::Equal => self.compare_values(&should, &is, first > 1, found),
            }
            if order.is_le() {
                should = self.next(&mut expected)?;
            }
            if order.is_ge() {
                is = self.next(&mut actual)?;
            }
        }
        Ok(())
    }

    fn next(&self, rows: &mut Rows<'_>) -> rusqlite::Result<Option<Vec<Value>>> {
        let Some(row) = rows.next()? else { return Ok(None) };
        (0..self.columns.len()).map(|column| row.get(column)).collect::<Result<_, _>>().map(Some)
    }

    fn order(&self, one: &[Value], other: &[Value]) -> Ordering {
        let both = one.iter().zip(other).take(self.key);
        both.map(|(one, other)| order(one, other))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    fn compare_values(
        &self,
        should: &Option<Vec<Value>>,
        is: &Option<Vec<Value>>,
        purged: bool,
        found: &mut Found,
    ) {
        let values = should.iter().flatten().zip(is.iter().flatten());
        for ((index, column), (should, value)) in self.columns.iter().enumerate().zip(values) {
            let order = order(value, should);
            if order.is_ne() && !(purged && self.stale == Some((index, order))) {
                let (row, value, should) = (self.row(is), text_of(value), text_of(should));
                found.add(format!("{row}: `{column}` is {value}, and should be {should}"));
            }
        }
    }

    /// Describes a row by table and key.
    fn row(&self, row: &Option<Vec<Value>>) -> String {
        let key: Vec<String> = row.iter().flatten().take(self.key).map(text_of).collect();
        format!("{} ({})", self.table, key.join(", "))
    }
}

fn query<'s>(
    statement: &'s mut Statement<'_>,
    bounds: &[(&str, i64)],
) -> rusqlite::Result<Rows<'s>> {
    for (name, value) in bounds {
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(statement.raw_query())
}

/// SQLite's sort order of the types that occur.
fn order(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Integer(one), Value::Integer(other)) => one.cmp(other),
        (Value::Text(one), Value::Text(other)) => one.cmp(other),
        (Value::Blob(one), Value::Blob(other)) => one.cmp(other),
        _ => rank(one).cmp(&rank(other)),
    }
}

fn rank(value: &Value) -> u8 {
    match value.data_type() {
        Type::Null => 0,
        Type::Integer | Type::Real => 1,
        Type::Text => 2,
        Type::Blob => 3,
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("`{text}`"),
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
    }
}
