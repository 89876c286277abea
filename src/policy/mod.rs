//! Policies: what a file may say, compiled into something that decides.

mod bundled;

use std::sync::Arc;
use std::time::Duration;

use crate::action::Action;
use crate::intent::Intent;
use crate::verdict::Verdict;

pub use bundled::{BUNDLED, bundled};

/// One or more policies joined in the order given, ready to decide. Immutable:
/// a changed file makes a new one, swapped whole.
#[derive(Debug)]
pub struct Policy {}

/// One window of one policy's `rate_limit`, counted per agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The policy that sets it.
    pub policy: Arc<str>,
    /// The window's length: a minute or an hour.
    pub window: Duration,
    /// How many requests fit into any window of that length.
    pub max: u32,
    /// The policy only observes: exceeding is recorded, not refused.
    pub observed: bool,
}

impl Policy {
    /// What the rules, the default and the hours say about `action`. Pure: the
    /// clock is `action.at`. Rate limits are not judged here.
    #[must_use]
    pub fn judge(&self, _action: &Action, _intent: Intent) -> Verdict {
        todo!()
    }

    /// Whether some rule names this MCP method in `methods`.
    #[must_use]
    pub fn names_method(&self, _method: &str) -> bool {
        false
    }

    /// The rate limits of every policy in the set, in order.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &[]
    }
}
