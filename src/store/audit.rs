//! The audit log: what a row says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::action::Transport;
use crate::intent::Intent;
use crate::verdict::{Decision, Quota, Stage};

/// Public id of a row: a version 7 UUID (RFC 9562), so it sorts by time. Encodes the position
/// in the log, so that looking up a row needs no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowId(Text);

/// The id in hyphenated hexadecimal.
type Text = [u8; Hyphenated::LENGTH];

/// Content of a [`RowId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Microseconds since 1970.
    pub(super) at: i64,
    /// Sequence number of the entry.
    pub(super) seq: i64,
    /// Tells logs apart: ids of another log are rejected.
    pub(super) salt: u16,
}

impl RowId {
    /// Largest salt: 14 bits.
    pub(super) const MAX_SALT: u16 = (1 << 14) - 1;

    /// The id of entry `seq`. After the 48-bit millisecond timestamp of version 7: 10 bits of
    /// microseconds and 2 unused bits, then 48 bits of `seq` and 14 bits of `salt`.
    pub(super) fn new(at: i64, seq: i64, salt: u16) -> Self {
        let at = at.max(0) as u64;
        let (millis, micros) = (at / 1000, at % 1000);
        let seq = seq.max(0) as u64 & ((1 << 48) - 1);
        let low = (0b10 << 62) | (seq << 14) | u64::from(salt & Self::MAX_SALT);
        let high = (millis << 16) | (7 << 12) | (micros << 2);
        Self::of(Uuid::from_u64_pair(high, low))
    }

    /// Parses an id; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self::of(Uuid::try_parse(text).ok()?);
        id.place().map(|_| id)
    }

    fn of(id: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // INVARIANT (infallible): the id is ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Decodes the position; `None` if the id was not made by [`RowId::new`].
    pub(super) fn place(&self) -> Option<Place> {
        let id = Uuid::try_parse_ascii(&self.0).ok().filter(|id| id.get_version_num() == 7)?;
        let (high, low) = id.as_u64_pair();
        let at = (high >> 16) * 1000 + ((high >> 2) & 0x3ff);
        Some(Place {
            at: i64::try_from(at).ok()?,
            seq: i64::try_from((low >> 14) & ((1 << 48) - 1)).ok()?,
            salt: low as u16 & Self::MAX_SALT,
        })
    }
}

/// What became of an action. The decisions of a person are part of the public vocabulary but
/// not produced yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Allowed.
    Forwarded,
    /// Denied.
    Refused,
    /// Allowed by a person.
    Approved,
    /// Denied by a person.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// Forwarded although denied, because the policy is in observe mode.
    Observed,
    /// Allowed, but forwarding failed.
    Error,
}

impl Outcome {
    /// The name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Observed => "observed",
            Self::Error => "error",
        }
    }
}

/// A row to be recorded. The store adds id, sequence number and hash.
#[derive(Debug, Clone)]
pub struct Draft {
    /// When the gate read the action.
    pub at: Timestamp,
    /// See [`crate::action::Action::session`].
    pub session: Arc<str>,
    /// The agent's name.
    pub agent: Arc<str>,
    /// Transport of the client.
    pub transport: Transport,
    /// The MCP server's or the provider's name.
    pub server: Arc<str>,
    /// `tools/call`, or the HTTP method.
    pub method: String,
    /// The tool, or the resource (REST: the path).
    pub tool: String,
    /// What the action amounts to.
    pub intent: Intent,
    /// What was decided.
    pub decision: Decision,
    /// What became of it so far.
    pub outcome: Outcome,
    /// The policy that decided.
    pub policy: Arc<str>,
    /// The rule that decided.
    pub rule: Arc<str>,
    /// Human-readable reason.
    pub reason: String,
    /// The stage that decided.
    pub stage: Stage,
    /// The arguments as JSON, already redacted.
    pub args: String,
    /// The complete canonical arguments. Only their keyed digest is stored.
    pub canonical_args: String,
    /// How long the decision took.
    pub decision_took: Duration,
    /// Whether the policy is in observe mode.
    pub observing: bool,
    /// Policies of which this row takes a rate-limit slot.
    pub takes_slot_of: Vec<Arc<str>>,
}

/// A committed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub id: RowId,
    /// What remains of the rate limit nearest to exhaustion; `None` if the row took no slot.
    pub quota: Option<Quota>,
}

/// The result of a forwarded action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Usually `Forwarded` or `Error`.
    pub outcome: Outcome,
    /// Time from forwarding to the start of the answer.
    pub upstream: Duration,
    /// HTTP status, or over MCP `ok`, `error` (`isError`) or the JSON-RPC error code.
    pub status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_id_contains_the_position() {
        let place = Place { at: 1_795_386_361_123_456, seq: 10_000_001, salt: 0x2abc };
        let id = RowId::new(place.at, place.seq, place.salt);
        assert_eq!(id.place(), Some(place));
        assert_eq!(RowId::parse(&id.as_str().to_uppercase()), Some(id));
    }

    #[test]
    fn ids_sort_by_time_and_then_by_position() {
        let ids = [(1_000, 9), (1_001, 3), (1_001, 4), (2_000, 1), (1_000_000, 0)]
            .map(|(at, seq)| RowId::new(at, seq, 5).as_str().to_owned());
        assert!(ids.is_sorted());
    }

    #[test]
    fn foreign_row_ids_are_refused() {
        for text in ["", "1", "0f0e0d0c-0b0a-4908-8706-050403020100"] {
            assert_eq!(RowId::parse(text), None, "{text}");
        }
    }
}
