//! Explanations: the rule that decided, its place, and the rules that nearly matched.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Policy;
use super::clause::{Key, Subject};
use super::compile::Rule;
use super::rules::RuleSet;
use super::ternary::Ternary;
use super::texts::Texts;
use crate::action::Action;
use crate::intent::{self, Intent};
use crate::verdict::{Decision, Stage, Verdict};

/// Maximum number of near misses in an explanation.
const MAX_NEAR_MISSES: usize = 10;

/// A verdict with its explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The verdict.
    pub verdict: Verdict,
    /// Place of the rule that decided; `None` if it was a default or `time_restrictions`.
    pub place: Option<Place>,
    /// Rules before that one (all rules, if none matched) that fail to match because of a single
    /// key.
    pub near_misses: Vec<NearMiss>,
}

/// The place of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file as the user wrote it, or a built-in policy's name in angle brackets.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
}

/// A rule that fails to match because of exactly one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The rule's name, or `<policy>#<n>`.
    pub rule: Arc<str>,
    /// Its policy.
    pub policy: Arc<str>,
    /// Its place.
    pub place: Place,
    /// Its effect.
    pub effect: Decision,
    /// The key, with its path: `args.branch`.
    pub key: String,
    /// The action's value there; `None` if it has none.
    pub found: Option<String>,
}

impl Policy {
    /// Explains the pipeline's `verdict` on `action`, as far as rules contributed to it. Slower
    /// than judging.
    #[must_use]
    pub fn explain(&self, action: &Action, intent: Intent, verdict: Verdict) -> Explanation {
        if verdict.stage != Stage::Policy {
            return Explanation { verdict, place: None, near_misses: Vec::new() };
        }
        let reading = self.strictest_reading(action, intent);
        let intent = reading.as_ref().map_or(intent, intent::of);
        let action = reading.as_ref().unwrap_or(action);
        let (_, rules) = self.judge_with_rules(action, intent);
        let texts = Texts::default();
        let subject = Subject { action, intent, texts: &texts };
        let open = rules.filter(|rules| rules.closed(subject).is_none());
        let decided = open.and_then(|rules| rules.first_match(subject)).map(|(rule, _)| rule);
        let near_misses = open.map(|rules| near_misses(rules, decided, subject));
        Explanation {
            verdict,
            place: decided.map(Place::of),
            near_misses: near_misses.unwrap_or_default(),
        }
    }
}

impl Place {
    fn of(rule: &Rule) -> Self {
        Self { file: Arc::clone(&rule.origin), line: rule.span.line }
    }
}

fn near_misses(rules: &RuleSet, decided: Option<&Rule>, subject: Subject<'_>) -> Vec<NearMiss> {
    let candidates = rules
        .rules
        .iter()
        .take_while(|rule| decided.is_none_or(|decided| !std::ptr::eq(*rule, decided)));
    candidates.filter_map(|rule| near_miss(rule, subject)).take(MAX_NEAR_MISSES).collect()
}

/// The single key that keeps the rule from matching. Rules for another tool or path are no near
/// misses.
fn near_miss(rule: &Rule, subject: Subject<'_>) -> Option<NearMiss> {
    let mut failing = rule.clause.keys.iter().filter(|key| match key.judge(subject) {
        Ok(Ternary::True) | Err(_) => false,
        Ok(Ternary::False) => true,
        Ok(Ternary::Unknown) => rule.effect == Decision::Allow,
    });
    let key = failing.next()?;
    if failing.next().is_some() || is_other_target(key) {
        return None;
    }
    Some(NearMiss {
        rule: Arc::clone(&rule.id),
        policy: Arc::clone(&rule.policy),
        place: Place::of(rule),
        effect: rule.effect,
        key: key.name(),
        found: key.found(subject),
    })
}

fn is_other_target(key: &Key) -> bool {
    matches!(key, Key::Tool(_) | Key::Server(_) | Key::Provider(_) | Key::Resource(_))
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        let Verdict { decision, policy, rule, reason, suggestion, intent, stage, observed, .. } =
            &self.verdict;
        object.serialize_entry("decision", decision.as_str())?;
        object.serialize_entry("policy", &**policy)?;
        object.serialize_entry("rule", &**rule)?;
        object.serialize_entry("reason", &reason.to_string())?;
        if let Some(suggestion) = suggestion {
            object.serialize_entry("suggestion", &**suggestion)?;
        }
        object.serialize_entry("intent", intent.as_str())?;
        object.serialize_entry("stage", stage.as_str())?;
        object.serialize_entry("observed", observed)?;
        if let Some(place) = &self.place {
            object.serialize_entry("file", &*place.file)?;
            object.serialize_entry("line", &place.line)?;
        }
        object.serialize_entry("near_misses", &self.near_misses)?;
        object.end()
    }
}

impl Serialize for NearMiss {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("rule", &*self.rule)?;
        object.serialize_entry("policy", &*self.policy)?;
        object.serialize_entry("effect", self.effect.as_str())?;
        object.serialize_entry("file", &*self.place.file)?;
        object.serialize_entry("line", &self.place.line)?;
        object.serialize_entry("key", &self.key)?;
        object.serialize_entry("found", &self.found)?;
        object.end()
    }
}
