//! Partial evaluation of a policy for a tool that is not called yet: can any call pass?

use super::Policy;
use super::clause::{Clause, Key, Subject};
use super::document::DefaultEffect;
use super::rules::RuleSet;
use super::ternary::Ternary;
use super::texts::Texts;
use crate::action::Action;
use crate::intent::Intent;
use crate::verdict::Decision;

impl Policy {
    /// Whether every call like `action` is denied, whatever its arguments and time. False if that
    /// is uncertain.
    #[must_use]
    pub fn denies_any(&self, action: &Action, intent: Intent) -> bool {
        let texts = Texts::default();
        let subject = Subject { action, intent, texts: &texts };
        self.enforced.as_ref().is_some_and(|rules| rules.denies_any(subject))
    }

    /// Whether the decision depends on what `action` leaves open: the arguments or the time.
    #[must_use]
    pub fn depends_on_the_call(&self, action: &Action, intent: Intent) -> bool {
        let texts = Texts::default();
        let subject = Subject { action, intent, texts: &texts };
        let sets = self.enforced.iter().chain(&self.everything);
        sets.into_iter().any(|rules| rules.depends_on_the_call(subject))
    }
}

impl RuleSet {
    fn denies_any(&self, subject: Subject<'_>) -> bool {
        for rule in &self.rules {
            match (evaluate_partially(&rule.clause, subject), rule.effect) {
                (Ternary::False, _) | (Ternary::Unknown, Decision::Deny) => {}
                (Ternary::Unknown, _) => return false,
                (Ternary::True, effect) => return effect == Decision::Deny,
            }
        }
        matches!(self.fallback.effect, DefaultEffect::Fixed(Decision::Deny))
    }
}

impl RuleSet {
    fn depends_on_the_call(&self, subject: Subject<'_>) -> bool {
        let rules = self.rules.iter().map(|rule| evaluate_partially(&rule.clause, subject));
        self.has_hours()
            || rules
                .take_while(|truth| *truth != Ternary::True)
                .any(|truth| truth == Ternary::Unknown)
    }
}

/// Whether a clause matches; unknown if that depends on the arguments.
pub(super) fn evaluate_partially(clause: &Clause, subject: Subject<'_>) -> Ternary {
    let keys = clause.keys.iter().map(|key| match key {
        Key::Args(_) | Key::When(_) => Ternary::Unknown,
        Key::Any(clauses) => {
            Ternary::any(clauses.iter().map(|clause| evaluate_partially(clause, subject)))
        }
        Key::Not(clause) => !evaluate_partially(clause, subject),
        known => known.judge(subject).unwrap_or(Ternary::Unknown),
    });
    keys.fold(Ternary::True, Ternary::and)
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
    fn tool_is_denied_only_if_no_call_can_pass() {
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
