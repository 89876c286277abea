//! What a policy says of a tool before anybody calls it: whether any call could
//! pass.

use super::Policy;
use super::clause::{Clause, Key, Subject};
use super::document::DefaultEffect;
use super::rules::RuleSet;
use super::truth::Truth;
use crate::action::Action;
use crate::intent::Intent;
use crate::verdict::Decision;

impl Policy {
    /// Whether every call like `action` is denied, whatever its arguments and
    /// whenever it comes. Where that depends, it is not.
    #[must_use]
    pub fn denies_any(&self, action: &Action, intent: Intent) -> bool {
        let subject = Subject { action, intent };
        self.enforced.as_ref().is_some_and(|rules| rules.denies_any(subject))
    }

    /// Whether what is decided hangs on something that `action` leaves open: on
    /// the arguments, or on when the call is made.
    #[must_use]
    pub fn depends_on_the_call(&self, action: &Action, intent: Intent) -> bool {
        let subject = Subject { action, intent };
        let sets = self.enforced.iter().chain(&self.everything);
        sets.into_iter().any(|rules| rules.depends_on_the_call(subject))
    }
}

impl RuleSet {
    fn denies_any(&self, subject: Subject<'_>) -> bool {
        for rule in &self.rules {
            match (foreseen(&rule.clause, subject), rule.effect) {
                (Truth::No, _) | (Truth::Unjudged, Decision::Deny) => {}
                (Truth::Unjudged, _) => return false,
                (Truth::Yes, effect) => return effect == Decision::Deny,
            }
        }
        matches!(self.fallback.effect, DefaultEffect::Fixed(Decision::Deny))
    }
}

impl RuleSet {
    fn depends_on_the_call(&self, subject: Subject<'_>) -> bool {
        let rules = self.rules.iter().map(|rule| foreseen(&rule.clause, subject));
        self.has_hours()
            || rules.take_while(|truth| *truth != Truth::Yes).any(|truth| truth == Truth::Unjudged)
    }
}

/// Whether a clause matches, as far as that does not hang on what is not known
/// before a call.
pub(super) fn foreseen(clause: &Clause, subject: Subject<'_>) -> Truth {
    let keys = clause.keys.iter().map(|key| match key {
        Key::Args(_) | Key::When(_) => Truth::Unjudged,
        Key::Any(clauses) => Truth::any(clauses.iter().map(|clause| foreseen(clause, subject))),
        Key::Not(clause) => !foreseen(clause, subject),
        known => known.judge(subject).unwrap_or(Truth::Unjudged),
    });
    keys.fold(Truth::Yes, Truth::and)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture::call;
    use crate::policy::load_str;

    fn policy(text: &str) -> Policy {
        Policy::from_file(load_str("test", &format!("name: test\n{text}")).unwrap())
    }

    #[test]
    fn only_what_can_never_pass_is_denied_whatever_comes() {
        let policy = policy(
            "default_effect: deny\nrules:\n\
             - { tool: a, args: { x: 1 }, effect: allow }\n\
             - { tool: b, args: { x: 1 }, effect: deny }\n\
             - { tool: b, effect: allow }\n\
             - { tool: c, effect: ask }\n\
             - { tool: d, server: other, effect: allow }\n\
             - { tool: e, when: 'args.x == 1', effect: allow }\n\
             - { tool: f, annotations: { readOnlyHint: true }, effect: allow }\n",
        );
        let hidden = |tool| policy.denies_any(&call(tool, "{}"), Intent::Unknown);
        for (tool, denied) in [
            ("a", false),
            ("b", false),
            ("c", false),
            ("d", true),
            ("e", false),
            ("f", true),
            ("g", true),
        ] {
            assert_eq!(hidden(tool), denied, "{tool}");
        }
    }
}
