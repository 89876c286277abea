//! The one place that decides. Pure: no clock, no file, no lock.

use super::lookalike::{self, Finding};
use crate::action::{Action, Flaw, Malformed, Target};
use crate::intent::{self, Intent, Judgement};
use crate::policy::{Limit, Policy};
use crate::rate::Usage;
use crate::verdict::{Reason, Stage, Verdict};

/// What a decision needs to know beyond the action and the policy.
#[derive(Debug, Default)]
pub struct Facts {
    /// The policy's rate limits with their present use, in the policy's order.
    pub usage: Vec<Usage>,
}

/// An analysis that is less sure than this is brought before a person.
const THRESHOLD: f64 = 0.8;

/// Decides about `action`. The stages, in order; the first that refuses has the
/// last word.
#[must_use]
pub fn decide(action: &Action, policy: &Policy, facts: &Facts) -> Verdict {
    // What cannot be read for certain cannot be judged.
    if let Some(refusal) = validate(action) {
        return refusal;
    }
    // Nor can what a lenient server would take for something else.
    let lookalike = lookalike(action, policy);
    if let Some(refusal) = lookalike.as_ref().filter(|refusal| !refusal.observed) {
        return refusal.clone();
    }
    // Cheap, and before everything dear: a flood must not buy itself conditions.
    let exceeded = rate_limit(action, facts);
    if let Some(refusal) = exceeded.as_ref().filter(|refusal| !refusal.observed) {
        return refusal.clone();
    }
    // Rules speak of what a request does, not of how it is spelt.
    let found = intent::judge(action);
    // Hours, rules in order, the default.
    let verdict = policy.judge(action, found.intent);
    let verdict = Verdict { unsure: is_unsure(&found), ..verdict };
    // What only observes gives way to whatever else refuses.
    lookalike.or(exceeded).filter(|_| verdict.lets_through()).unwrap_or(verdict)
}

/// Whether nothing like `action` could pass, whatever its arguments: it need not be
/// offered to anybody.
#[must_use]
pub fn never_admits(action: &Action, policy: &Policy) -> bool {
    policy.denies_any(action, intent::of(action))
}

/// Whether a person should say what it was.
fn is_unsure(found: &Judgement) -> bool {
    found.intent == Intent::Unknown || found.confidence < THRESHOLD
}

fn validate(action: &Action) -> Option<Verdict> {
    let (stage, reason) = match &action.target {
        Target::Malformed(Malformed { flaw, what, .. }) => match flaw {
            Flaw::Ambiguous => (Stage::Validation, Reason::Malformed(what.clone())),
            Flaw::Unidentified => (Stage::Authentication, Reason::Unidentified(what.clone())),
        },
        Target::Http(request) => {
            let bound_to = action.agent.bound_to.filter(|bound| *bound != request.provider)?;
            (Stage::Authentication, Reason::BoundElsewhere { bound_to: bound_to.as_str() })
        }
        Target::Tool(_) | Target::Method(_) => return None,
    };
    Some(Verdict::refusal(stage, "gate", reason))
}

fn lookalike(action: &Action, policy: &Policy) -> Option<Verdict> {
    let Finding { words, observed } = lookalike::find(action, policy)?;
    let refusal = Verdict::refusal(Stage::Validation, "gate", Reason::Malformed(words));
    Some(Verdict { observed, intent: intent::of(action), ..refusal })
}

/// The first full window; one that is enforced comes before one that observes, and one
/// that the action never fits into before one that takes time.
fn rate_limit(action: &Action, facts: &Facts) -> Option<Verdict> {
    let refused = facts.usage.iter().filter_map(|usage| {
        let Limit { policy, window, max, observed } = &usage.limit;
        let full = usage.full(action.at)?;
        let (limit, window, requests) = (*max, *window, usage.requests);
        let reason = Reason::RateLimited { limit, window, requests, full };
        let refusal = Verdict::refusal(Stage::RateLimit, policy, reason);
        // Only what is refused is looked at, for whoever reads the log.
        Some(Verdict { observed: *observed, intent: intent::of(action), ..refusal })
    });
    let takes_time = |refusal: &Verdict| match refusal.reason {
        Reason::RateLimited { full, .. } => full.retry_after.is_some(),
        _ => false,
    };
    refused.min_by_key(|refusal| (refusal.observed, takes_time(refusal)))
}
