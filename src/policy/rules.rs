//! Joined rules with a default and hours. The first match decides.

use std::sync::Arc;

use super::annotations;
use super::clause::Subject;
use super::compile::{DEFAULT_RULE, Fallback, PolicyFile, Rule, RuleReason};
use super::condition::Failure;
use super::document::DefaultEffect;
use super::hours::Hours;
use super::index::Index;
use super::lookalike::{self, ArgumentKeys, RestrictedTools};
use super::named::NamedMethods;
use super::ternary::Ternary;
use crate::action::Target;
use crate::verdict::{Decision, Reason, Stage, Verdict};

/// The rule named by refusals outside the hours.
const HOURS_RULE: &str = "time_restrictions";

/// The rules of one or more files.
#[derive(Debug)]
pub(crate) struct RuleSet {
    pub(crate) rules: Vec<Rule>,
    pub(crate) fallback: Fallback,
    pub(crate) hours: Vec<Hours>,
    /// MCP methods that rules name.
    pub(super) methods: NamedMethods,
    /// Keys of arguments that rules read.
    pub(super) argument_keys: ArgumentKeys,
    /// Tools that restricting rules name.
    pub(super) restricted_tools: RestrictedTools,
    index: Index,
}

/// How a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Match {
    /// Every key matches.
    Certain,
    /// Something could not be judged, which counts as a match for deny and ask rules.
    Unknown,
    /// A condition failed, which denies.
    Failed(Failure),
}

impl RuleSet {
    /// Joins files in the given order. The last default given counts; without any, deny.
    pub(crate) fn join<'f>(files: impl Iterator<Item = &'f PolicyFile> + Clone) -> Self {
        let mut rules: Vec<Rule> = files.clone().flat_map(|file| &file.rules).cloned().collect();
        lookalike::record_other_spellings(&mut rules);
        let stated = files.clone().filter_map(|file| file.default.clone()).last();
        let fallback = stated.unwrap_or_else(|| Fallback {
            policy: files.clone().last().map_or_else(|| "none".into(), |file| file.name.clone()),
            rule: DEFAULT_RULE.into(),
            effect: DefaultEffect::Fixed(Decision::Deny),
            reason: None,
        });
        let hours = files.filter_map(|file| file.hours.clone()).collect();
        let index = Index::new(rules.iter().map(|rule| &rule.clause));
        let (methods, argument_keys) = (NamedMethods::of(&rules), ArgumentKeys::of(&rules));
        let restricted_tools = RestrictedTools::of(&rules);
        Self { rules, fallback, hours, methods, argument_keys, restricted_tools, index }
    }

    /// Whether the rules judge this target. MCP methods are only judged if a rule names them.
    pub(super) fn decides_on(&self, target: &Target) -> bool {
        match target {
            Target::Method(request) => self.methods.contains(&request.method),
            _ => true,
        }
    }

    /// Judges by hours, rules in order, and the default.
    pub(crate) fn judge(&self, subject: Subject<'_>) -> Verdict {
        if let Some(closed) = self.closed(subject) {
            return verdict(subject, &closed.policy, &HOURS_RULE.into(), Reason::OutsideHours);
        }
        match self.first_match(subject) {
            Some((rule, how)) => rule.verdict(subject, how),
            None => self.fallback.verdict(subject),
        }
    }

    /// The first hours that the action is outside of.
    pub(crate) fn closed(&self, subject: Subject<'_>) -> Option<&Hours> {
        self.hours.iter().find(|hours| !hours.allow(subject.action.at))
    }

    /// Whether any policy has hours.
    pub(crate) fn has_hours(&self) -> bool {
        !self.hours.is_empty()
    }

    /// The first rule that matches. Candidates come in several ascending lists; each is followed
    /// only up to the best match so far.
    pub(crate) fn first_match(&self, subject: Subject<'_>) -> Option<(&Rule, Match)> {
        let mut best: Option<(u32, &Rule, Match)> = None;
        for candidates in self.index.candidates(subject.action) {
            for number in candidates {
                if best.as_ref().is_some_and(|(earlier, ..)| earlier <= number) {
                    break;
                }
                let rule = usize::try_from(*number).ok().and_then(|at| self.rules.get(at));
                if let Some((rule, how)) =
                    rule.and_then(|rule| Some((rule, rule.matches(subject)?)))
                {
                    best = Some((*number, rule, how));
                    break;
                }
            }
        }
        best.map(|(_, rule, how)| (rule, how))
    }
}

impl Rule {
    /// Whether, and how, the rule decides the action.
    pub(crate) fn matches(&self, subject: Subject<'_>) -> Option<Match> {
        match self.clause.judge(subject) {
            Ok(Ternary::True) => Some(Match::Certain),
            Ok(Ternary::Unknown) if self.effect != Decision::Allow => Some(Match::Unknown),
            Ok(Ternary::False | Ternary::Unknown) => None,
            Err(failure) => Some(Match::Failed(failure)),
        }
    }

    fn verdict(&self, subject: Subject<'_>, how: Match) -> Verdict {
        let (decision, reason) = match (how, &self.reason) {
            (Match::Failed(failure), _) => (Decision::Deny, Reason::ConditionFailed(failure)),
            (_, RuleReason::Fixed(reason)) => (self.effect, reason.clone()),
            (_, RuleReason::Hints) => {
                (self.effect, Reason::Annotations(annotations::reason(subject.action)))
            }
        };
        Verdict {
            decision,
            policy: Arc::clone(&self.policy),
            rule: Arc::clone(&self.id),
            reason,
            suggestion: self.suggestion.clone(),
            intent: subject.intent,
            unsure: false,
            stage: Stage::Policy,
            observed: false,
        }
    }
}

impl Fallback {
    fn verdict(&self, subject: Subject<'_>) -> Verdict {
        let (decision, reason) = match self.effect {
            DefaultEffect::Annotations => (
                annotations::decision(subject.action),
                Reason::Annotations(annotations::reason(subject.action)),
            ),
            DefaultEffect::Fixed(decision) => {
                let written = self.reason.as_ref().map(|words| Reason::Written(Arc::clone(words)));
                (decision, written.unwrap_or(Reason::NoRule(decision)))
            }
        };
        Verdict { decision, ..verdict(subject, &self.policy, &self.rule, reason) }
    }
}

/// A denial; callers may replace the decision.
fn verdict(subject: Subject<'_>, policy: &Arc<str>, rule: &Arc<str>, reason: Reason) -> Verdict {
    Verdict {
        decision: Decision::Deny,
        policy: Arc::clone(policy),
        rule: Arc::clone(rule),
        reason,
        suggestion: None,
        intent: subject.intent,
        unsure: false,
        stage: Stage::Policy,
        observed: false,
    }
}
