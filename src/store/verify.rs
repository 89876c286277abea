//! Verification of the whole log: every entry's hash, from the first on.

mod derived;

use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;
use rusqlite::Row;

use super::StoreError;
use super::audit::RowId;
use super::chain::{Content, GENESIS, Hash, Keys, kind};
use super::facet::{self, Facet};
use super::head::HeadRecord;
use super::keyring::check_key;
use super::read::Reader;
use super::snapshot::{Snapshot, before_first};
use crate::terminal::escaped;

/// Entries between two progress reports.
const PROGRESS_EVERY: i64 = 100_000;

/// Result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Number of verified entries.
    pub entries: i64,
    /// Decisions among them.
    pub decisions: i64,
    /// Hash of the newest entry, in hex. Kept elsewhere, it allows to detect truncation.
    pub head: String,
    /// The first finding; `None` if the log is intact.
    pub broken: Option<Broken>,
}

impl Verification {
    /// The result for a log that cannot be read to its end.
    #[must_use]
    pub fn damaged(why: String) -> Self {
        let broken = Some(Broken::Damaged(why));
        Self { entries: 0, decisions: 0, head: String::new(), broken }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Entries are missing.
    Missing {
        /// The first of them.
        from: i64,
        /// The last of them.
        to: i64,
    },
    /// An entry does not match its hash.
    Changed {
        /// Its number.
        seq: i64,
        /// Its row's id.
        id: RowId,
        /// Its time.
        time: Timestamp,
        /// What is wrong.
        what: &'static str,
    },
    /// The log does not contain the given head.
    HeadNotFound,
    /// The log does not contain its recorded head.
    EntriesLost {
        /// Sequence number of the last entry.
        last: i64,
        /// Sequence number of the recorded head.
        recorded: i64,
    },
    /// SQLite reports corruption, in its words.
    Damaged(String),
    /// The chain is intact, but derived tables do not match it. At most some of the rows are
    /// listed.
    Index(Vec<String>),
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { from, to } if from == to => {
                write!(formatter, "entry {from} was removed")
            }
            Self::Missing { from, to } => {
                write!(formatter, "entries {from} to {to} were removed")
            }
            Self::Changed { seq, id, time, what } => {
                write!(formatter, "entry {seq} ({}, {time:.6}) {what}", id.as_str())
            }
            Self::HeadNotFound => formatter.write_str(
                "no entry has the given head: the end of the log was cut off or replaced",
            ),
            Self::EntriesLost { last, recorded } if last < recorded => write!(
                formatter,
                "entry {recorded} was written, and the log ends with entry {last}: its end is lost"
            ),
            Self::EntriesLost { recorded, .. } => {
                write!(
                    formatter,
                    "entry {recorded} is not the one that was written: it was replaced"
                )
            }
            Self::Damaged(why) => write!(formatter, "the database is damaged: {why}"),
            Self::Index(disagreements) => {
                formatter.write_str(
                    "the log is whole, but its index was changed: lists and counts may mislead",
                )?;
                disagreements.iter().try_for_each(|what| write!(formatter, "\n  {}", escaped(what)))
            }
        }
    }
}

const NOT_ITS_HASH: &str =
    "does not match its hash: it was changed, or what was before it was removed or reordered";
const UNREADABLE: &str = "cannot be read: it was changed";

const ENTRIES: &str = "
    SELECT seq, kind, at, facet, session, tool, reason, args, digest, decision_us, ref, outcome,
           status, upstream_us, hash
    FROM entry WHERE seq <= ?1 ORDER BY seq";

impl Reader {
    /// Verifies every entry. `head` is a hash that the log must contain, as in an earlier
    /// [`Verification::head`]. Calls `progress` now and then with the number of entries
    /// verified, and in all.
    ///
    /// # Errors
    /// If the log or its key cannot be read, or `head` is not a hash.
    pub fn verify(
        &self,
        head: Option<&str>,
        progress: impl FnMut(i64, i64),
    ) -> Result<Verification, StoreError> {
        let unreadable = |why: String| StoreError::Read { path: self.files().named.clone(), why };
        let wanted = head
            .map(|head| {
                let mut hash = Hash::default();
                hex::decode_to_slice(head.trim(), &mut hash).map(|()| hash).map_err(|_| {
                    unreadable(format!("`{head}` is not a head: 64 hexadecimal digits"))
                })
            })
            .transpose()?;
        let keys = self.keys()?;
        // Read before the snapshot: a later record may be newer than the snapshot.
        let recorded =
            self.files().recorded_heads().map_err(|error| unreadable(error.to_string()))?;
        let snapshot = self.snapshot()?;
        let mut walk = Walk::new(&snapshot, &keys, wanted);
        let broken =
            self.walk(&mut walk, i64::MAX, progress).map_err(|error| self.error(&error))?;
        let broken = match broken {
            Some(broken) => Some(broken),
            None if wanted.is_some() && !walk.head_seen => Some(Broken::HeadNotFound),
            None if let Some(lost) = HeadRecord::lost(&recorded, self.connection())
                .map_err(|error| self.error(&error))? =>
            {
                Some(Broken::EntriesLost { last: walk.next - 1, recorded: lost.seq })
            }
            None => {
                let found = derived::disagreements(self.connection(), &snapshot, &keys);
                let found = found.map_err(|error| self.error(&error))?;
                (!found.is_empty()).then_some(Broken::Index(found))
            }
        };
        Ok(Verification {
            entries: walk.entries,
            decisions: walk.decisions,
            head: hex::encode(walk.before),
            broken,
        })
    }

    /// The keys of this log; an error if the key file has those of another.
    pub(super) fn keys(&self) -> Result<Keys, StoreError> {
        let files = self.files();
        let failed = |why: String| files.open_error(why);
        let secret = files.read_secret().map_err(|error| failed(error.to_string()))?;
        let secret = secret
            .ok_or_else(|| failed(format!("its key `{}` is missing", files.key.display())))?;
        let keys =
            Keys::derive(secret).ok_or_else(|| failed("its key cannot be used".to_owned()))?;
        check_key(files, self.connection(), &keys)?;
        Ok(keys)
    }

    /// Verifies the entries up to `upto`; returns the first finding.
    ///
    /// # Errors
    /// If the log or its key cannot be read.
    pub(super) fn verify_up_to(&self, upto: i64) -> Result<Option<Broken>, StoreError> {
        let keys = self.keys()?;
        let snapshot = self.snapshot()?;
        let mut walk = Walk::new(&snapshot, &keys, None);
        self.walk(&mut walk, upto, |_, _| ()).map_err(|error| self.error(&error))
    }

    fn walk(
        &self,
        walk: &mut Walk<'_>,
        upto: i64,
        mut progress: impl FnMut(i64, i64),
    ) -> rusqlite::Result<Option<Broken>> {
        let sql = format!("SELECT {}, id, reason FROM facet", facet::COLUMNS);
        let mut select = self.connection().prepare(&sql)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let canonical = Facet::read(row, 0)?.canonical();
            walk.facets.insert(row.get(12)?, (canonical, row.get(13)?));
        }
        let (first, _, last) = walk.snapshot.bounds();
        if first > 1 {
            match before_first(self.connection(), first)? {
                Some(hash) => walk.start_behind(first, hash),
                // An interrupted purge has removed part of what its entry says.
                None if self.is_purged(first)? => walk.start_within(first),
                None => return Ok(Some(Broken::Missing { from: 1, to: first - 1 })),
            }
        }
        let mut select = self.connection().prepare(ENTRIES)?;
        let mut rows = select.query([upto])?;
        while let Some(row) = rows.next()? {
            if let Some(broken) = walk.step(row) {
                return Ok(Some(broken));
            }
            if walk.entries % PROGRESS_EVERY == 0 {
                progress(walk.entries, last - first + 1);
            }
        }
        Ok(None)
    }

    /// Whether a purge entry covers `seq`.
    fn is_purged(&self, seq: i64) -> rusqlite::Result<bool> {
        let sql = "SELECT count(*) FROM entry WHERE kind = ?1 AND kind >= 2 AND ref >= ?2";
        self.connection().prepare_cached(sql)?.query_row([kind::PURGE, seq], |row| row.get(0))
    }
}

/// State of the walk along the chain.
struct Walk<'s> {
    snapshot: &'s Snapshot<'s>,
    keys: &'s Keys,
    wanted: Option<Hash>,
    head_seen: bool,
    facets: HashMap<i64, (Vec<u8>, String)>,
    next: i64,
    /// Hash of the predecessor of the next entry; of that entry itself if the predecessor is
    /// lost.
    before: Hash,
    /// Whether the predecessor of the next entry is unknown.
    blind: bool,
    entries: i64,
    decisions: i64,
}

impl<'s> Walk<'s> {
    fn new(snapshot: &'s Snapshot<'s>, keys: &'s Keys, wanted: Option<Hash>) -> Self {
        Self {
            snapshot,
            keys,
            wanted,
            head_seen: false,
            facets: HashMap::new(),
            next: 1,
            before: GENESIS,
            blind: false,
            entries: 0,
            decisions: 0,
        }
    }

    fn start_behind(&mut self, first: i64, before: Hash) {
        self.head_seen = self.wanted == Some(before);
        (self.next, self.before) = (first, before);
    }

    fn start_within(&mut self, first: i64) {
        (self.next, self.blind) = (first, true);
    }

    fn step(&mut self, row: &Row<'_>) -> Option<Broken> {
        let (Ok(seq), Ok(at), Ok(kind), Ok(hash)) =
            (row.get(0), row.get(2), row.get::<_, i64>(1), row.get::<_, Hash>(14))
        else {
            return Some(self.changed(self.next, 0, UNREADABLE));
        };
        if seq != self.next {
            return Some(Broken::Missing { from: self.next, to: seq - 1 });
        }
        if !std::mem::take(&mut self.blind) {
            match self.link(row, seq, at, kind) {
                Ok(Some(expected)) if expected == hash => {}
                Ok(Some(_)) => return Some(self.changed(seq, at, NOT_ITS_HASH)),
                Ok(None) | Err(_) => return Some(self.changed(seq, at, UNREADABLE)),
            }
        }
        self.head_seen |= self.wanted == Some(hash);
        (self.next, self.before) = (seq + 1, hash);
        self.entries += 1;
        if kind == kind::DECISION {
            self.decisions += 1;
        }
        None
    }

    /// The hash that the entry should have; `None` if its content is invalid.
    fn link(&self, row: &Row<'_>, seq: i64, at: i64, kind: i64) -> rusqlite::Result<Option<Hash>> {
        let text = |column| row.get_ref(column).map(|value| value.as_str().ok());
        let own: Option<Hash> = row.get(8)?;
        let hash = own.unwrap_or_default();
        let content = match kind {
            kind::DECISION => {
                let Some((canonical, reason)) = self.facets.get(&row.get(3)?) else {
                    return Ok(None);
                };
                Content::Decision {
                    facet: canonical,
                    session: text(4)?.unwrap_or_default(),
                    tool: text(5)?,
                    reason: text(6)?.unwrap_or(reason),
                    args: text(7)?.unwrap_or_default(),
                    digest: &hash,
                    decision_us: row.get(9)?,
                }
            }
            kind::RESULT => Content::Result {
                decision: row.get(10)?,
                outcome: text(11)?.unwrap_or_default(),
                status: text(12)?.unwrap_or_default(),
                upstream_us: row.get(13)?,
            },
            kind::PURGE => Content::Purge { upto: row.get(10)?, hash: &hash },
            kind::CLOCK => Content::Clock { from: row.get(10)? },
            kind::ANEW => Content::Anew,
            kind::LOSS => Content::Loss { upto: row.get(10)?, hash: &hash },
            _ => return Ok(None),
        };
        Ok(Some(self.keys.link(&self.before, seq, at, &content)))
    }

    fn changed(&self, seq: i64, at: i64, what: &'static str) -> Broken {
        let id = RowId::new(at, seq, self.snapshot.salt());
        let time = Timestamp::from_microsecond(at).unwrap_or_default();
        Broken::Changed { seq, id, time, what }
    }
}
