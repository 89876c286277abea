//! The decision, made here and nowhere else. Pure: no clock, no file, no lock.

use super::lookalike::{self, Finding};
use crate::action::{Action, Flaw, Malformed, Target};
use crate::intent::{self, Intent, Judgement};
use crate::policy::{Limit, Policy};
use crate::rate::Usage;
use crate::verdict::{Reason, Stage, Verdict};

/// Input of a decision besides the action and the policy.
#[derive(Debug, Default)]
pub struct Facts {
    /// The policy's rate limits with their current use, in the policy's order.
    pub usage: Vec<Usage>,
}

/// Below this confidence an action is escalated to a person.
const CONFIDENCE_THRESHOLD: f64 = 0.8;

/// Decides about `action`. The first stage that refuses wins.
#[must_use]
pub fn decide(action: &Action, policy: &Policy, facts: &Facts) -> Verdict {
    // Input that is ambiguous cannot be judged.
    if let Some(refusal) = validate(action) {
        return refusal;
    }
    // Neither can names that a lenient server may read as others.
    let lookalike = lookalike(action, policy);
    if let Some(refusal) = lookalike.as_ref().filter(|refusal| !refusal.observed) {
        return refusal.clone();
    }
    // Cheap, so before the conditions: a flood of requests must not cost their evaluation.
    let exceeded = rate_limit(action, facts);
    if let Some(refusal) = exceeded.as_ref().filter(|refusal| !refusal.observed) {
        return refusal.clone();
    }
    let found = intent::judge(action);
    // Hours, rules in order, the default. Rules refer to what a request does, not to how it is
    // spelled.
    let verdict = policy.judge(action, found.intent);
    let verdict = Verdict { unsure: is_unsure(&found), ..verdict };
    // Refusals in observe mode yield to any refusal that is enforced.
    lookalike.or(exceeded).filter(|_| verdict.lets_through()).unwrap_or(verdict)
}

/// Whether `policy` denies `action` whatever its arguments.
#[must_use]
pub fn never_admits(action: &Action, policy: &Policy) -> bool {
    policy.denies_any(action, intent::of(action))
}

fn is_unsure(found: &Judgement) -> bool {
    found.intent == Intent::Unknown || found.confidence < CONFIDENCE_THRESHOLD
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

/// The first exceeded limit: enforced limits before observing ones, and limits that the action
/// can never fit into before those that only require waiting.
fn rate_limit(action: &Action, facts: &Facts) -> Option<Verdict> {
    let refused = facts.usage.iter().filter_map(|usage| {
        let Limit { policy, window, max, observed } = &usage.limit;
        let full = usage.full(action.at)?;
        let (limit, window, requests) = (*max, *window, usage.requests);
        let reason = Reason::RateLimited { limit, window, requests, full };
        let refusal = Verdict::refusal(Stage::RateLimit, policy, reason);
        // The intent is needed only for the audit row of a refusal.
        Some(Verdict { observed: *observed, intent: intent::of(action), ..refusal })
    });
    let takes_time = |refusal: &Verdict| match refusal.reason {
        Reason::RateLimited { full, .. } => full.retry_after.is_some(),
        _ => false,
    };
    refused.min_by_key(|refusal| (refusal.observed, takes_time(refusal)))
}
