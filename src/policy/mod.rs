//! The policy language: policy files, compiled into rules that judge actions.
//!
//! A text is compiled into a [`PolicyFile`]; files are joined into a [`Policy`], which judges
//! actions. No I/O and no clock here, except in `lookup`, `live` and `catalog`.

mod alternate_spellings;
pub mod annotations;
mod bundled;
pub mod catalog;
mod cel_analysis;
mod clause;
mod coercion;
mod compile;
mod condition;
mod decimal;
pub mod diagnostic;
mod document;
mod equality;
mod explain;
pub(crate) mod fields;
pub mod glob;
mod host;
mod hours;
mod index;
mod lint;
pub mod live;
mod lookalike;
pub mod lookup;
mod matcher;
mod named;
mod numeral;
mod partial_evaluation;
mod readings;
mod regexes;
mod relative_path;
mod rules;
pub mod schema;
mod shell;
mod ternary;
mod text;
mod texts;
mod under;
mod uri;
mod whitespace;
mod windows;
mod writer;
pub(crate) mod yaml;

pub use bundled::{BUNDLED, bundled};
pub use compile::PolicyFile;
pub use document::Test;
pub use explain::{Explanation, NearMiss, Place};
pub use lint::Seen;
pub use lookalike::Lookalike;
pub use writer::{ToolHints, write_policy};

use std::sync::Arc;
use std::time::Duration;

use crate::action::{Action, Target};
use crate::fold::fold;
use crate::intent::Intent;
use crate::verdict::{Decision, Reason, Stage, Verdict};
use clause::Subject;
use compile::DEFAULT_RULE;
use diagnostic::{Diagnostics, Source};
use named::NamedMethods;
use rules::RuleSet;
use texts::Texts;

/// One or more policy files, joined in the given order. Immutable: a changed file leads to a new
/// `Policy`, which replaces the old one as a whole.
///
/// A file with `mode: observe` must not change what the other files decide. So the enforced files
/// are judged first, joined without the others; if they refuse, that is the verdict. Otherwise all
/// files are judged, joined as if all were enforced; a refusal can then only come from an observing
/// file, so the verdict is marked as observed, and the action passes.
#[derive(Debug)]
pub struct Policy {
    /// `None` if every file observes.
    enforced: Option<RuleSet>,
    /// All files; `None` if every file is enforced.
    everything: Option<RuleSet>,
    limits: Vec<Limit>,
    names: Vec<Arc<str>>,
}

/// Whether refusals are enforced or only recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Refuses.
    Enforce,
    /// Records the refusal and lets the action pass.
    Observe,
}

/// One window of a policy's `rate_limit`, counted per agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The policy that sets it.
    pub policy: Arc<str>,
    /// Length of the window: a minute or an hour.
    pub window: Duration,
    /// Maximum number of requests in any window of that length.
    pub max: u32,
    /// Whether the policy observes: an excess is recorded, not refused.
    pub observed: bool,
}

/// Parses and compiles a policy file. `origin` names it in messages. Never panics, and takes
/// bounded time, whatever the text.
///
/// # Errors
/// All errors found.
pub fn load_str(origin: &str, text: &str) -> Result<PolicyFile, Diagnostics> {
    PolicyFile::load(Source::new(origin, text))
}

impl Policy {
    /// Joins files in the given order. `mode` overrides the mode of every file. Without any file,
    /// everything is denied.
    #[must_use]
    pub fn join(files: &[Arc<PolicyFile>], mode: Option<Mode>) -> Self {
        let observing = |file: &PolicyFile| match mode {
            Some(mode) => mode == Mode::Observe,
            None => file.observing,
        };
        let all = files.iter().map(Arc::as_ref);
        let enforced = all.clone().filter(|file| !observing(file));
        let any_observes = all.clone().any(observing);
        let any_enforces = enforced.clone().next().is_some() || files.is_empty();
        let limits = all.clone().flat_map(|file| {
            let observed = observing(file);
            file.limits.iter().map(move |limit| Limit { observed, ..limit.clone() })
        });
        Self {
            enforced: any_enforces.then(|| RuleSet::join(enforced)),
            everything: any_observes.then(|| RuleSet::join(all.clone())),
            limits: limits.collect(),
            names: all.map(|file| Arc::clone(&file.name)).collect(),
        }
    }

    /// A policy of a single file.
    #[must_use]
    pub fn from_file(file: PolicyFile) -> Self {
        Self::join(&[Arc::new(file)], None)
    }

    /// The policy of agents whose policy does not exist or does not load: denies everything,
    /// including methods that no rule names.
    #[must_use]
    pub(crate) fn missing(name: &str) -> Self {
        let mut rules = RuleSet::join(std::iter::empty());
        rules.fallback.policy = name.into();
        rules.fallback.reason = Some(format!("Policy '{name}' not found").into());
        rules.methods = NamedMethods::unknown();
        Self { enforced: Some(rules), ..Self::join(&[], None) }
    }

    /// The same policy without `time_restrictions`, for tests that give no time.
    #[must_use]
    pub fn at_any_time(mut self) -> Self {
        for rules in [&mut self.enforced, &mut self.everything].into_iter().flatten() {
            rules.hours.clear();
        }
        self
    }

    /// A built-in policy by name: `annotations`, `allow_all`, `deny_all`.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        annotations::built_in(name).map(Self::from_file)
    }

    /// Judges one reading of an action; see [`Policy::judge`].
    fn judge_reading(&self, action: &Action, intent: Intent) -> Verdict {
        self.judge_with_rules(action, intent).0
    }

    /// The verdict, and the rule set that gave it, if any.
    fn judge_with_rules(&self, action: &Action, intent: Intent) -> (Verdict, Option<&RuleSet>) {
        if let Some(verdict) = self.verdict_without_rules(action, intent) {
            return (verdict, None);
        }
        let texts = Texts::default();
        let subject = Subject { action, intent, texts: &texts };
        let enforced = self.enforced.as_ref().filter(|rules| rules.decides_on(&action.target));
        let enforced = enforced.map(|rules| (rules.judge(subject), rules));
        match (&self.everything, enforced) {
            (None, Some((verdict, rules))) => (verdict, Some(rules)),
            (Some(_), Some((verdict, rules))) if verdict.decision != Decision::Allow => {
                (verdict, Some(rules))
            }
            (Some(rules), _) => {
                let verdict = rules.judge(subject);
                let observed = verdict.decision != Decision::Allow;
                (Verdict { observed, ..verdict }, Some(rules))
            }
            // INVARIANT (someone judges): `join` makes at least one of the two.
            (None, None) => {
                let reason = Reason::Internal("there is no policy".to_owned());
                (Verdict::refusal(Stage::Policy, "none", reason), None)
            }
        }
    }

    /// The rate limits of all files, in order.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// Whether a rule names this MCP method, under `methods` or in a `when`. Methods that no rule
    /// names pass.
    #[must_use]
    pub fn names_method(&self, method: &str) -> bool {
        self.enforced.iter().chain(&self.everything).any(|rules| rules.methods.contains(method))
    }

    /// Whether this MCP method must be judged: a rule names it, or a method that lenient servers
    /// may take it for.
    #[must_use]
    pub fn concerns_method(&self, method: &str) -> bool {
        self.names_method(method) || self.names_method(&fold(method))
    }

    /// Whether, and in which mode, a rule names a method that servers send to clients, so that
    /// messages from servers must be read. `None` if they all pass.
    #[must_use]
    pub fn server_message_mode(&self) -> Option<Mode> {
        let names = |rules: &Option<RuleSet>| {
            rules.as_ref().is_some_and(|rules| rules.methods.any_from_servers())
        };
        match (names(&self.enforced), names(&self.everything)) {
            (true, _) => Some(Mode::Enforce),
            (false, true) => Some(Mode::Observe),
            (false, false) => None,
        }
    }

    /// The names of the policies, in order.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The verdict on actions that no rule is evaluated for: malformed ones, and MCP methods that
    /// no rule names.
    fn verdict_without_rules(&self, action: &Action, intent: Intent) -> Option<Verdict> {
        let policy = || self.names.last().map_or("none", |name| &**name);
        match &action.target {
            Target::Malformed(malformed) => {
                let reason = Reason::Malformed(malformed.what.clone());
                Some(Verdict { intent, ..Verdict::refusal(Stage::Validation, "gate", reason) })
            }
            Target::Method(request) if !self.names_method(&request.method) => {
                let words = format!("no rule names the method `{}`, so it passes", request.method);
                let reason = Reason::Written(words.into());
                let refusal = Verdict::refusal(Stage::Policy, policy(), reason);
                Some(Verdict {
                    decision: Decision::Allow,
                    rule: DEFAULT_RULE.into(),
                    intent,
                    ..refusal
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
