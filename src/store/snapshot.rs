//! The log at one moment, and what a filter comes to in it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use jiff::Timestamp;
use regex::{Regex, RegexBuilder};
use rusqlite::{Connection, OptionalExtension as _, ToSql, params_from_iter};

use super::StoreError;
use super::audit::RowId;
use super::chain::{GENESIS, Hash, kind};
use super::facet::{self, Facet};
use super::merge::{Direction, Merge, Source};
use super::raw_decision::{Answer, RawDecision, SELECT};
use super::read::{Filter, Reader};
use super::row::Row;
use super::schema::{self, meta};

/// A filter resolved against one snapshot.
#[derive(Debug)]
pub(super) struct Selection {
    /// Ids of the selected facets; `None` for all.
    facets: Option<HashSet<i64>>,
    /// Ranges of sequence numbers (inclusive), ascending.
    pub(super) ranges: Vec<(i64, i64)>,
    /// The tool to match in entries whose facet has none.
    tool: Option<String>,
    text: Option<Regex>,
    session: Option<String>,
    failed: bool,
    outcome: Option<String>,
}

impl Selection {
    /// Whether rows of `facet` may be selected.
    pub(super) fn takes(&self, facet: i64) -> bool {
        self.facets.as_ref().is_none_or(|facets| facets.contains(&facet))
    }

    /// Whether selecting requires reading the rows.
    pub(super) fn needs_row_scan(&self) -> bool {
        self.failed || !self.is_counted()
    }

    /// Whether the rows can be counted from the counters.
    pub(super) fn is_counted(&self) -> bool {
        self.tool.is_none()
            && self.text.is_none()
            && self.session.is_none()
            && self.outcome.is_none()
    }
}

/// A facet with the reason that its entries omit.
#[derive(Debug)]
struct Described {
    facet: Facet<'static>,
    reason: String,
}

impl Described {
    /// The tool and the reason of an entry that has these of its own.
    fn complete<'a>(
        &'a self,
        tool: Option<&'a str>,
        reason: Option<&'a str>,
    ) -> (&'a str, &'a str) {
        let tool = tool.or(self.facet.tool.as_deref()).unwrap_or_default();
        (tool, reason.unwrap_or(&self.reason))
    }
}

/// A consistent view of the log: a read transaction.
#[derive(Debug)]
pub(super) struct Snapshot<'r> {
    reader: &'r Reader,
    _transaction: rusqlite::Transaction<'r>,
    salt: u16,
    first: i64,
    head: i64,
    indexed: i64,
    /// Unindexed results, by decision.
    answers: HashMap<i64, Answer>,
    described: RefCell<HashMap<i64, Rc<Described>>>,
}

impl<'r> Snapshot<'r> {
    pub(super) fn take(reader: &'r Reader) -> rusqlite::Result<Self> {
        let connection = reader.connection();
        let transaction = connection.unchecked_transaction()?;
        // Two subqueries, so that each seeks one end of the tree.
        let bounds = "SELECT ifnull((SELECT min(seq) FROM entry), 1),
                             ifnull((SELECT max(seq) FROM entry), 0)";
        let (first, head) =
            connection.query_row(bounds, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let indexed = meta(connection, "folded")?.unwrap_or_default();
        let mut answers = HashMap::new();
        let mut select = connection.prepare_cached(
            "SELECT ref, outcome, status, upstream_us FROM entry
             WHERE seq > ?1 AND kind = 1 ORDER BY seq",
        )?;
        let mut rows = select.query([indexed])?;
        while let Some(row) = rows.next()? {
            answers.entry(row.get(0)?).or_insert(Answer {
                outcome: row.get(1)?,
                status: row.get(2)?,
                upstream_us: row.get(3)?,
            });
        }
        Ok(Self {
            reader,
            _transaction: transaction,
            salt: meta(connection, "salt")?.unwrap_or_default(),
            first,
            head,
            indexed,
            answers,
            described: RefCell::default(),
        })
    }

    /// The oldest, the newest indexed, and the newest entry.
    pub(super) fn bounds(&self) -> (i64, i64, i64) {
        (self.first, self.indexed, self.head)
    }

    /// The salt in this log's row ids.
    pub(super) fn salt(&self) -> u16 {
        self.salt
    }

    fn connection(&self) -> &'r Connection {
        self.reader.connection()
    }

    /// Resolves `filter`.
    pub(super) fn select(&self, filter: &Filter) -> Result<Selection, StoreError> {
        let text = filter.text.as_deref().map(|text| {
            RegexBuilder::new(&regex::escape(text)).case_insensitive(true).build().map_err(
                |error| StoreError::Read {
                    path: self.reader.files().named.clone(),
                    why: error.to_string(),
                },
            )
        });
        for id in [&filter.before, &filter.after].into_iter().flatten() {
            if id.place().is_none_or(|place| place.salt != self.salt) {
                return Err(StoreError::NotOurs { id: id.as_str().to_owned() });
            }
        }
        let error = |error: rusqlite::Error| self.reader.error(&error);
        let (facets, bare) = self.facets(filter).map_err(error)?;
        let ranges = self.ranges(filter).map_err(error)?;
        let tool = filter.tool.clone().filter(|_| bare);
        let (session, failed) = (filter.session.clone(), filter.failed);
        let (text, outcome) = (text.transpose()?, filter.outcome.clone());
        Ok(Selection { facets, ranges, tool, text, session, failed, outcome })
    }

    /// The facets that `filter` selects (`None`: all), and whether the tool has to be matched
    /// in entries.
    fn facets(&self, filter: &Filter) -> rusqlite::Result<(Option<HashSet<i64>>, bool)> {
        let mut wheres = Vec::new();
        let mut values: Vec<&dyn ToSql> = Vec::new();
        let names = [
            ("agent", filter.agent.as_deref().map(pattern)),
            ("decision", filter.decision.as_deref().map(pattern)),
            ("server", filter.server.as_deref().map(pattern)),
            ("tool", filter.tool.as_deref().map(pattern)),
            ("stage", filter.stage.as_deref().map(pattern)),
        ];
        for (column, pattern) in &names {
            let Some(pattern) = pattern else { continue };
            wheres.push(match *column {
                "tool" => "(tool IS NULL OR tool GLOB ?)".to_owned(),
                other => format!("{other} GLOB ?"),
            });
            values.push(pattern);
        }
        if filter.mcp {
            wheres.push("transport <> 'rest'".to_owned());
        }
        if wheres.is_empty() {
            return Ok((None, false));
        }
        let sql = format!("SELECT id, tool IS NULL FROM facet WHERE {}", wheres.join(" AND "));
        let mut select = self.connection().prepare(&sql)?;
        let mut rows = select.query(params_from_iter(values))?;
        let (mut facets, mut any_bare) = (HashSet::new(), false);
        while let Some(row) = rows.next()? {
            let (facet, bare): (i64, bool) = (row.get(0)?, row.get(1)?);
            facets.insert(facet);
            any_bare |= bare;
        }
        Ok((Some(facets), any_bare && filter.tool.is_some()))
    }

    /// Ranges of entries that `filter` may select by time, row id and session. Timestamps are
    /// monotonic only between two changes of the clock, so each stretch is searched separately.
    fn ranges(&self, filter: &Filter) -> rusqlite::Result<Vec<(i64, i64)>> {
        let place = |id: &Option<RowId>| id.as_ref().and_then(RowId::place);
        let lowest = place(&filter.after).map_or(self.first, |place| place.seq + 1);
        let highest = place(&filter.before).map_or(self.head, |place| place.seq - 1);
        let within = match &filter.session {
            Some(session) => self.session_ranges(session)?,
            None => vec![(self.first, self.head)],
        };
        let mut ranges = Vec::new();
        for (first, last) in self.monotonic_ranges()? {
            let since = match filter.since {
                Some(since) => self.first_at(first, last, since.as_microsecond())?,
                None => first,
            };
            let until = match filter.until {
                Some(until) => self.first_at(first, last, until.as_microsecond() + 1)? - 1,
                None => last,
            };
            for (from, to) in &within {
                ranges.push((since.max(lowest).max(*from), until.min(highest).min(*to)));
            }
        }
        Ok(ranges)
    }

    /// Ranges that contain all rows of `session`: from its first to its last indexed one, and
    /// the unindexed tail.
    fn session_ranges(&self, session: &str) -> rusqlite::Result<Vec<(i64, i64)>> {
        // A log of an older version has no session table until it is next written.
        if !schema::is_up_to_date(self.connection())? {
            return Ok(vec![(self.first, self.head)]);
        }
        let sql = "SELECT first, last FROM session WHERE name = ?1";
        let mut select = self.connection().prepare_cached(sql)?;
        let indexed = select.query_row([session], |row| Ok((row.get(0)?, row.get(1)?)));
        let tail = (self.indexed + 1, self.head);
        Ok(indexed.optional()?.into_iter().chain([tail]).collect())
    }

    /// Ranges of entries between changes of the clock.
    pub(super) fn monotonic_ranges(&self) -> rusqlite::Result<Vec<(i64, i64)>> {
        let mut select = self
            .connection()
            .prepare_cached("SELECT seq FROM entry WHERE kind = ?1 AND kind >= 2 ORDER BY seq")?;
        let begins = select.query_map([kind::CLOCK], |row| row.get(0))?;
        let mut ranges = Vec::new();
        let mut first = self.first;
        for begin in begins {
            let begin: i64 = begin?;
            ranges.push((first, begin - 1));
            first = begin;
        }
        ranges.push((first, self.head));
        Ok(ranges)
    }

    /// The first entry from `first` to `last` that is not before `at`; `last + 1` if there is
    /// none.
    pub(super) fn first_at(&self, first: i64, last: i64, at: i64) -> rusqlite::Result<i64> {
        let mut time = self
            .connection()
            .prepare_cached("SELECT at FROM entry WHERE seq >= ?1 ORDER BY seq LIMIT 1")?;
        let (mut low, mut high) = (first, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let here: Option<i64> = time.query_row([middle], |row| row.get(0)).optional()?;
            if here.is_some_and(|here| here < at) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The sequence numbers of `selection`, sorted.
    pub(super) fn merge(
        &self,
        selection: &Selection,
        direction: Direction,
    ) -> Result<Merge<'r>, StoreError> {
        let facets = selection.facets.clone().unwrap_or_default();
        let mut merge = Merge::new(self.connection(), direction, facets);
        for (lowest, highest) in &selection.ranges {
            match &selection.facets {
                None => merge.add(Source::All, *lowest, *highest),
                Some(facets) => {
                    let newest = self.newest(facets).map_err(|error| self.reader.error(&error))?;
                    for (facet, last) in newest {
                        let last = last.min(self.indexed).min(*highest);
                        merge.add(Source::Facet(facet), *lowest, last);
                    }
                    merge.add(Source::Tail, (*lowest).max(self.indexed + 1), *highest);
                }
            }
        }
        Ok(merge)
    }

    /// The newest indexed entry of each of `facets`.
    fn newest(&self, facets: &HashSet<i64>) -> rusqlite::Result<Vec<(i64, i64)>> {
        let sql = "SELECT facet, last FROM tally WHERE span = 0 AND start = 0";
        let mut select = self.connection().prepare_cached(sql)?;
        let all = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        all.filter(|row| row.as_ref().map_or(true, |(facet, _)| facets.contains(facet))).collect()
    }

    /// Whether entry `seq` is a decision.
    pub(super) fn is_decision(&self, seq: i64) -> Result<bool, StoreError> {
        let mut select = self
            .connection()
            .prepare_cached("SELECT 1 FROM entry WHERE seq = ?1 AND kind = 0")
            .map_err(|error| self.reader.error(&error))?;
        select.exists([seq]).map_err(|error| self.reader.error(&error))
    }

    /// The row `seq`, if `selection` includes it.
    pub(super) fn row(&self, seq: i64, selection: &Selection) -> Result<Option<Row>, StoreError> {
        self.load(seq, selection).map_err(|error| self.reader.error(&error))
    }

    fn load(&self, seq: i64, selection: &Selection) -> rusqlite::Result<Option<Row>> {
        if let Some(text) = &selection.text
            && !self.contains(seq, text)?
        {
            return Ok(None);
        }
        let mut select = self.connection().prepare_cached(SELECT)?;
        let Some(raw) = select.query_row([seq], RawDecision::read).optional()? else {
            return Ok(None);
        };
        if selection.session.as_ref().is_some_and(|session| *session != raw.session) {
            return Ok(None);
        }
        if selection.failed && !self.has_failed(&raw) {
            return Ok(None);
        }
        let described = self.describe(raw.facet)?;
        if let Some(wanted) = &selection.outcome
            && *wanted != outcome(self.answer(&raw), &described.facet)
        {
            return Ok(None);
        }
        let (tool, reason) = described.complete(raw.tool.as_deref(), raw.reason.as_deref());
        if let Some(wanted) = selection.tool.as_deref().filter(|_| raw.tool.is_some()) {
            let matches: bool = self
                .connection()
                .prepare_cached("SELECT ?1 GLOB ?2")?
                .query_row([tool, &pattern(wanted)], |row| row.get(0))?;
            if !matches {
                return Ok(None);
            }
        }
        let (tool, reason) = (tool.to_owned(), reason.to_owned());
        Ok(Some(self.assemble(raw, &described.facet, tool, reason)?))
    }

    /// Whether the tool, the reason or the arguments of row `seq` contain `text`. No index helps,
    /// so this reads no more of each row than it has to.
    fn contains(&self, seq: i64, text: &Regex) -> rusqlite::Result<bool> {
        let mut select = self.connection().prepare_cached(
            "SELECT facet, tool, reason, args FROM entry WHERE seq = ?1 AND kind = 0",
        )?;
        let mut rows = select.query([seq])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        let described = self.describe(row.get(0)?)?;
        let own = (row.get_ref(1)?.as_str_or_null()?, row.get_ref(2)?.as_str_or_null()?);
        let (tool, reason) = described.complete(own.0, own.1);
        Ok([tool, reason, row.get_ref(3)?.as_str()?].iter().any(|field| text.is_match(field)))
    }

    fn has_failed(&self, raw: &RawDecision) -> bool {
        self.answer(raw).is_some_and(|answer| answer.outcome == "error")
    }

    fn answer<'a>(&'a self, raw: &'a RawDecision) -> Option<&'a Answer> {
        raw.answer.as_ref().or_else(|| self.answers.get(&raw.seq))
    }

    fn describe(&self, facet: i64) -> rusqlite::Result<Rc<Described>> {
        if let Some(described) = self.described.borrow().get(&facet) {
            return Ok(Rc::clone(described));
        }
        let sql = format!("SELECT {}, reason FROM facet WHERE id = ?1", facet::COLUMNS);
        let described = self.connection().prepare_cached(&sql)?.query_row([facet], |row| {
            Ok(Rc::new(Described { facet: Facet::read(row, 0)?, reason: row.get(12)? }))
        })?;
        self.described.borrow_mut().insert(facet, Rc::clone(&described));
        Ok(described)
    }

    fn assemble(
        &self,
        raw: RawDecision,
        facet: &Facet<'_>,
        tool: String,
        reason: String,
    ) -> rusqlite::Result<Row> {
        let answer = self.answer(&raw).cloned();
        let outcome = outcome(answer.as_ref(), facet).to_owned();
        let before = match raw.before {
            Some(before) => before,
            None => before_first(self.connection(), raw.seq)?.unwrap_or(GENESIS),
        };
        Ok(Row {
            id: RowId::new(raw.at, raw.seq, self.salt),
            time: Timestamp::from_microsecond(raw.at).unwrap_or_default(),
            session: raw.session,
            agent: facet.agent.to_string(),
            transport: facet.transport.to_string(),
            server: facet.server.to_string(),
            method: facet.method.to_string(),
            tool,
            intent: facet.intent.to_string(),
            decision: facet.decision.to_string(),
            outcome,
            policy: facet.policy.to_string(),
            rule: facet.rule.to_string(),
            reason,
            stage: facet.stage.to_string(),
            args: raw.args,
            args_digest: hex::encode(raw.digest),
            decision_us: raw.decision_us,
            upstream_ms: answer.as_ref().map(|answer| answer.upstream_us as f64 / 1000.0),
            status: answer.map(|answer| answer.status),
            mode: facet.mode.to_string(),
            prev_hash: hex::encode(before),
            hash: hex::encode(raw.hash),
        })
    }
}

/// The outcome shown in a row: a successful result does not replace `observed` or `approved`.
fn outcome<'a>(answer: Option<&'a Answer>, facet: &'a Facet<'_>) -> &'a str {
    match answer {
        Some(answer) if answer.outcome != "forwarded" => &answer.outcome,
        _ => &facet.outcome,
    }
}

/// The predecessor hash of `seq`, if the predecessor was purged.
pub(super) fn before_first(connection: &Connection, seq: i64) -> rusqlite::Result<Option<Hash>> {
    connection
        .prepare_cached(
            "SELECT digest FROM entry WHERE kind = ?1 AND kind >= 2 AND ref = ?2
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([kind::PURGE, seq - 1], |row| row.get(0))
        .optional()
}

/// Escapes `[`, which is special in SQLite's GLOB but not in our globs.
fn pattern(name: &str) -> String {
    name.replace('[', "[[]")
}
