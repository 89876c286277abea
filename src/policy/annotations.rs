//! Decisions by a tool's hints, and the built-in policies.
//!
//! | hints | decision |
//! | --- | --- |
//! | `readOnlyHint: true` | allow |
//! | not read-only, `destructiveHint: false` | allow |
//! | destructive, by hint or by default, or no hints at all | ask |

use super::compile::{PolicyFile, RuleReason};
use super::diagnostic::Source;
use crate::action::{Action, Hints, Listing};
use crate::verdict::{Decision, HintsReason};

const ANNOTATIONS: &str = r"
name: annotations
description: What a tool may do, by the hints of its server
rules:
  - name: read_only
    annotations: { readOnlyHint: true }
    effect: allow
  - name: not_destructive
    annotations: { destructiveHint: false }
    effect: allow
  - name: destructive
    annotations: { destructiveHint: true }
    effect: ask
default_effect: ask
";

const ALLOW_ALL: &str = r"
name: allow_all
description: Everything goes through, and everything is recorded
default_effect: allow
";

const DENY_ALL: &str = r"
name: deny_all
description: Nothing goes through
default_effect: deny
";

/// Names and texts of the built-in policies.
const BUILT_IN: [(&str, &str); 3] =
    [("annotations", ANNOTATIONS), ("allow_all", ALLOW_ALL), ("deny_all", DENY_ALL)];

/// Names of the built-in policies.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The text of a built-in policy.
#[must_use]
pub fn built_in_text(name: &str) -> Option<&'static str> {
    let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
    built_in.map(|(_, text)| text.trim_start())
}

/// A built-in policy, compiled.
#[must_use]
pub fn built_in(name: &str) -> Option<PolicyFile> {
    let source = Source::new(&format!("<{name}>"), built_in_text(name)?);
    // INVARIANT (built-ins load): a test loads each of them.
    let mut file = PolicyFile::load(source).ok()?;
    if name == "annotations" {
        file.rules.iter_mut().for_each(|rule| rule.reason = RuleReason::Hints);
    }
    Some(file)
}

/// The decision by hints alone.
#[must_use]
pub fn decision_for(hints: Option<Hints>) -> Decision {
    match hints {
        Some(hints) if hints.read_only || !hints.destructive => Decision::Allow,
        _ => Decision::Ask,
    }
}

/// The reason for that decision.
#[must_use]
pub fn reason_for(hints: Option<Hints>) -> HintsReason {
    match hints {
        None => HintsReason::NoAnnotations,
        Some(Hints { read_only: true, .. }) => HintsReason::ReadOnly,
        Some(Hints { destructive: false, .. }) => HintsReason::NotDestructive,
        Some(_) => HintsReason::Destructive,
    }
}

/// The hints of a tool call; other actions have none.
fn hints(action: &Action) -> Option<Hints> {
    action.target.call()?.annotations
}

pub(crate) fn decision(action: &Action) -> Decision {
    decision_for(hints(action))
}

pub(crate) fn reason(action: &Action) -> HintsReason {
    match action.target.call().map(|call| (&call.annotations, &call.listing)) {
        Some((None, Listing::Absent(near))) => HintsReason::NotListed(near.clone()),
        _ => reason_for(hints(action)),
    }
}
