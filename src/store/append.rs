//! Decisions and results as they are appended, a group at a time: what each of
//! them needs is prepared once for all.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, params};

use super::audit::{Completion, Draft, Recorded, RowId};
use super::chain::{Content, Hash, Keys, kind};
use super::facet::{Dictionary, Facet, clip};
use super::index::{Entry, FAILED};
use super::ledger::Head;
use super::recent::Recent;
use super::redact::stored_args;
use super::slots::{self, Windows};
use crate::rate::{Demand, Usage};

/// Maximum stored length of a row's reason, session or status, in bytes.
const MAX_TEXT: usize = 4096;

const DECISION: &str = "INSERT INTO entry
  (seq, kind, at, facet, session, tool, reason, args, digest, decision_us, hash)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

const RESULT: &str = "INSERT INTO entry (seq, kind, at, ref, outcome, status, upstream_us, hash)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// Appends entries in one transaction.
pub(super) struct Appender<'t> {
    connection: &'t Connection,
    decision: CachedStatement<'t>,
    result: CachedStatement<'t>,
    keys: &'t Arc<Keys>,
    salt: u16,
    caches: Caches<'t>,
    head: &'t mut Head,
    /// Timestamps later than this are clamped to it: they were read before the clock was set
    /// back, and would make the log start in the future again.
    now: i64,
}

/// The writer's caches of database content.
pub(super) struct Caches<'t> {
    pub(super) dictionary: &'t mut Dictionary,
    pub(super) windows: &'t mut Windows,
    pub(super) recent: &'t mut Recent,
}

impl<'t> Appender<'t> {
    pub(super) fn new(
        connection: &'t Connection,
        (keys, salt): (&'t Arc<Keys>, u16),
        caches: Caches<'t>,
        (head, now): (&'t mut Head, i64),
    ) -> rusqlite::Result<Self> {
        let decision = connection.prepare_cached(DECISION)?;
        let result = connection.prepare_cached(RESULT)?;
        Ok(Self { connection, decision, result, keys, salt, caches, head, now })
    }

    /// The current use of each limit by the agent, for an action with this `demand`.
    pub(super) fn usage(
        &mut self,
        agent: &Arc<str>,
        demand: Demand<'_>,
    ) -> rusqlite::Result<Vec<Usage>> {
        if demand.limits.is_empty() {
            return Ok(Vec::new());
        }
        slots::usage(self.connection, self.caches.windows, agent, demand)
    }

    /// Appends a decision. `digest` is the digest of its arguments, if it was computed already,
    /// with the keys used for it.
    pub(super) fn decide(
        &mut self,
        draft: &Draft,
        digest: Option<(&Arc<Keys>, Hash)>,
        demand: Demand<'_>,
    ) -> rusqlite::Result<Recorded> {
        let digest = match digest {
            Some((keys, digest)) if Arc::ptr_eq(keys, self.keys) => digest,
            _ => self.keys.digest(&draft.canonical_args),
        };
        self.insert_decision(draft, &digest)?;
        let taken = (&*draft.takes_slot_of, self.head.at);
        let quota =
            slots::take_all(self.connection, self.caches.windows, &draft.agent, taken, demand)?;
        let id = RowId::new(self.head.at, self.head.seq, self.salt);
        Ok(Recorded { id, quota })
    }

    fn insert_decision(&mut self, draft: &Draft, digest: &Hash) -> rusqlite::Result<()> {
        let reason = clip(&draft.reason, MAX_TEXT);
        let session = match clip(&draft.session, MAX_TEXT) {
            Cow::Borrowed(_) => Arc::clone(&draft.session),
            Cow::Owned(clipped) => clipped.into(),
        };
        let mut facet = Facet::of(draft);
        let tool = facet.tool.clone();
        let mut canonical = facet.canonical();
        let known =
            self.caches.dictionary.resolve(self.connection, &mut facet, &mut canonical, &reason)?;
        let args = stored_args(&draft.args);
        let decision_us = micros(draft.decision_took);
        let tool = tool.filter(|_| known.bare);
        let content = Content::Decision {
            facet: &canonical,
            session: &session,
            tool: tool.as_deref(),
            reason: &reason,
            args: &args,
            digest,
            decision_us,
        };
        let at = draft.at.as_microsecond().min(self.now);
        let next = self.head.next(self.keys, at, &content);
        one_row(self.decision.execute(params![
            next.seq,
            kind::DECISION,
            next.at,
            known.id,
            &*session,
            tool,
            (*known.reason != *reason).then_some(&*reason),
            args,
            digest,
            decision_us,
            next.hash,
        ])?)?;
        let entry = Entry::Decision { at: next.at, facet: known.id, session, decision_us };
        self.advance(next, entry);
        Ok(())
    }

    /// Appends the result of the decision `id`. `false` if this log does not contain that
    /// decision.
    pub(super) fn complete(
        &mut self,
        id: &RowId,
        completion: &Completion,
    ) -> rusqlite::Result<bool> {
        let Some(place) = id.place().filter(|place| place.salt == self.salt) else {
            return Ok(false);
        };
        let upstream_us = micros(completion.upstream);
        let status = clip(&completion.status, MAX_TEXT);
        let outcome = completion.outcome.as_str();
        let content =
            Content::Result { decision: place.seq, outcome, status: &status, upstream_us };
        let at = place.at.saturating_add(upstream_us).min(self.now);
        let next = self.head.next(self.keys, at, &content);
        one_row(self.result.execute(params![
            next.seq,
            kind::RESULT,
            next.at,
            place.seq,
            outcome,
            status,
            upstream_us,
            next.hash,
        ])?)?;
        let failed = outcome == FAILED;
        self.advance(next, Entry::Result { decision: place.seq, failed, upstream_us });
        Ok(true)
    }

    /// Updates the in-memory head and caches after an append.
    fn advance(&mut self, next: Head, entry: Entry) {
        *self.head = next;
        self.caches.recent.push(next.seq, entry);
    }
}

/// Fails unless exactly one row was written: a trigger in the file could suppress it.
pub(super) fn one_row(changed: usize) -> rusqlite::Result<()> {
    match changed {
        1 => Ok(()),
        changed => Err(rusqlite::Error::StatementChangedRows(changed)),
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
