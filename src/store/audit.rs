//! The audit log: what a row says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::action::Transport;
use crate::intent::Intent;
use crate::verdict::{Decision, Quota, Stage};

/// The public id of a row: a version 7 UUID (RFC 9562), so it sorts by time. It
/// also says where in the log the row is, so that no index is needed to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowId(Text);

/// The id as hexadecimal digits and hyphens.
type Text = [u8; Hyphenated::LENGTH];

/// What a [`RowId`] is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Microseconds since 1970.
    pub(super) at: i64,
    /// The entry's number in its log.
    pub(super) seq: i64,
    /// Which log.
    pub(super) salt: u16,
}

impl RowId {
    /// Salts have 14 bits.
    pub(super) const MAX_SALT: u16 = (1 << 14) - 1;

    /// The id of the entry `seq`. The layout after the version-7 milliseconds:
    /// 10 bits of microseconds and 2 of nothing, then 48 bits of `seq` and 14 of
    /// `salt`.
    pub(super) fn new(at: i64, seq: i64, salt: u16) -> Self {
        let at = at.max(0) as u64;
        let (millis, micros) = (at / 1000, at % 1000);
        let seq = seq.max(0) as u64 & ((1 << 48) - 1);
        let low = (0b10 << 62) | (seq << 14) | u64::from(salt & Self::MAX_SALT);
        let high = (millis << 16) | (7 << 12) | (micros << 2);
        Self::of(Uuid::from_u64_pair(high, low))
    }

    /// Reads an id as somebody typed it.
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
        // INVARIANT (infallible): it is ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Where the row is.
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

/// What became of an action. What a person says is part of the public vocabulary, and
/// nobody is asked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was let through.
    Forwarded,
    /// It was not.
    Refused,
    /// A person let it through.
    Approved,
    /// A person did not.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// It would have been refused, but the policy only observes.
    Observed,
    /// It was let through, and failed on the way.
    Error,
}

impl Outcome {
    /// The name that the log uses.
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

/// A row before it is committed; the store adds id, time order and hashes.
#[derive(Debug, Clone)]
pub struct Draft {
    /// When the gate read the action.
    pub at: Timestamp,
    /// See [`crate::action::Action::session`].
    pub session: Arc<str>,
    /// The agent's name.
    pub agent: Arc<str>,
    /// The wire.
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
    /// What became of it.
    pub outcome: Outcome,
    /// The policy that decided.
    pub policy: Arc<str>,
    /// The rule that decided.
    pub rule: Arc<str>,
    /// Why, in words.
    pub reason: String,
    /// The stage that decided.
    pub stage: Stage,
    /// The arguments as JSON, already redacted.
    pub args: String,
    /// The canonical arguments, whole: stored only as a keyed digest.
    pub canonical_args: String,
    /// How long the decision took.
    pub decision_took: Duration,
    /// Whether the policy only observes.
    pub observing: bool,
    /// The policies whose rate windows lose a slot to this row.
    pub takes_slot_of: Vec<Arc<str>>,
}

/// A row that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub id: RowId,
    /// What its slot left of the limit that is nearest to being used up; `None`
    /// where it took none.
    pub quota: Option<Quota>,
}

/// What is known once a forwarded action is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Forwarded or Error, most often.
    pub outcome: Outcome,
    /// From forwarding to the answer's arrival.
    pub upstream: Duration,
    /// The HTTP status; over MCP `ok`, `error` (`isError`) or the error's code.
    pub status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_its_row_is() {
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
    fn what_is_no_id_of_ours_is_refused() {
        for text in ["", "1", "0f0e0d0c-0b0a-4908-8706-050403020100"] {
            assert_eq!(RowId::parse(text), None, "{text}");
        }
    }
}
