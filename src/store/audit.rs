//! The audit log: what a row says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::action::Transport;
use crate::intent::Intent;
use crate::verdict::{Decision, Stage};

/// The public id of a row: sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowId(Arc<str>);

impl RowId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What became of an action.
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
    /// `enforce` or `observe`.
    pub observing: bool,
    /// The policies whose rate windows lose a slot to this row.
    pub takes_slot_of: Vec<Arc<str>>,
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
