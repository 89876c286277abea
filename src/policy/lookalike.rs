//! Lookalikes: names of tools, arguments and body members that no rule matches, but that a lenient
//! server may take for ones that a rule names (see [`crate::fold`]).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hasher as _;

use fnv::FnvHasher;

use super::Policy;
use super::clause::{Clause, Key, Subject};
use super::compile::Rule;
use super::glob::Glob;
use super::matcher::Step;
use super::named::NamedMethods;
use super::partial_evaluation::evaluate_partially;
use super::rules::RuleSet;
use super::ternary::Ternary;
use super::texts::Texts;
use crate::action::{Action, Provider};
use crate::fold::fold;
use crate::intent;
use crate::json::{Json, Object, PROTOTYPE};
use crate::verdict::Decision;

/// Keys of arguments that rules read, by the [`hash`] of their folded form, sorted. Hashes may
/// collide, so every hit is compared afterwards.
#[derive(Debug, Default)]
pub(super) struct ArgumentKeys(Box<[(u64, Vec<Box<str>>)]>);

impl ArgumentKeys {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut words: BTreeMap<u64, Vec<Box<str>>> = BTreeMap::new();
        for rule in rules {
            rule.clause.visit(&mut |key| {
                for word in argument_paths(key).flat_map(keys) {
                    words.entry(hash(word)).or_default().push(word.into());
                }
            });
        }
        Self(words.into_iter().collect())
    }

    /// Whether `key` is not one of them, but may be taken for one.
    fn is_near(&self, key: &str) -> bool {
        let hash = hash(key);
        let found = self.0.binary_search_by_key(&hash, |(hash, _)| *hash);
        let spellings = found.ok().and_then(|at| self.0.get(at));
        let is_other =
            |(_, spellings): &(_, Vec<Box<str>>)| spellings.iter().all(|word| **word != *key);
        spellings.map_or(key == PROTOTYPE, is_other)
    }

    /// Whether any key of `object` is, at any depth.
    fn is_near_any(&self, object: &Object) -> bool {
        let within = |value: &Json| self.is_near_any_in(value);
        object.iter().any(|(key, value)| self.is_near(key) || within(value))
    }

    fn is_near_any_in(&self, value: &Json) -> bool {
        match value {
            Json::Object(object) => self.is_near_any(object),
            Json::Array(items) => items.iter().any(|item| self.is_near_any_in(item)),
            _ => false,
        }
    }
}

/// Globs of tools whose match keeps a call from being allowed.
#[derive(Debug, Default)]
pub(super) struct RestrictedTools {
    globs: Vec<Glob>,
    /// Globs that folding changes, each with its folded form.
    folded: Vec<(Glob, Glob)>,
}

impl RestrictedTools {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut globs = Vec::new();
        for rule in rules {
            collect_restricted(&rule.clause, rule.effect != Decision::Allow, &mut globs);
        }
        let folded = globs.iter().filter_map(|glob| {
            let text = fold(glob.as_str());
            let folded = (text != glob.as_str()).then(|| Glob::new(&text).ok()).flatten()?;
            Some((Glob::clone(glob), folded))
        });
        Self { folded: folded.collect(), globs: globs.into_iter().cloned().collect() }
    }

    /// The glob that does not match `tool`, but may match what some server takes it for.
    fn lookalike(&self, tool: &str) -> Option<&str> {
        let read = fold(tool);
        let is_missed = |glob: &Glob| !glob.matches(tool);
        // Most names fold to themselves, so only folded globs can match differently.
        let globs = if read == tool { &[][..] } else { &self.globs };
        let by_name = globs.iter().find(|glob| is_missed(glob) && glob.matches(&read));
        let by_glob =
            || self.folded.iter().find(|(glob, folded)| is_missed(glob) && folded.matches(&read));
        by_name.or_else(|| by_glob().map(|(glob, _)| glob)).map(Glob::as_str)
    }
}

/// A name that rules do not match, but that may be taken for one that they match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookalike<'a> {
    /// The name as sent.
    pub sent: &'a str,
    /// The name in the rules.
    pub meant: &'a str,
    /// Whether only observing policies have such a rule.
    pub observed: bool,
}

impl Policy {
    /// The tool glob of a restricting rule that does not match `tool`, but may match what a lenient
    /// server takes it for.
    #[must_use]
    pub fn lookalike<'a>(&'a self, tool: &'a str) -> Option<Lookalike<'a>> {
        self.sets().find_map(|(rules, observed)| {
            let meant = rules.restricted_tools.lookalike(tool)?;
            Some(Lookalike { sent: tool, meant, observed })
        })
    }

    /// An argument of `action` that a lenient server may take for one that an applicable rule
    /// reads. Arguments that the tool `declares` in its schema are no lookalikes.
    #[must_use]
    pub fn lookalike_argument<'a>(
        &'a self,
        action: &'a Action,
        declares: impl Fn(&str) -> bool,
    ) -> Option<Lookalike<'a>> {
        let arguments = action.target.args()?;
        self.sets().find_map(|(rules, observed)| {
            let (sent, meant) = rules.lookalike_argument(action, arguments, &declares)?;
            Some(Lookalike { sent, meant, observed })
        })
    }

    /// `method` as a lookalike of `meant`, which a lenient server may take it for: rules name
    /// `meant`, but not `method`.
    #[must_use]
    pub fn lookalike_method<'a>(&self, method: &'a str, meant: &'a str) -> Option<Lookalike<'a>> {
        let is_meant =
            |methods: &NamedMethods| !methods.contains(method) && methods.contains(meant);
        let (_, observed) = self.sets().find(|(rules, _)| is_meant(&rules.methods))?;
        Some(Lookalike { sent: method, meant, observed })
    }

    /// The enforced rules, then all rules including observing ones; the latter marked.
    fn sets(&self) -> impl Iterator<Item = (&RuleSet, bool)> {
        let enforced = self.enforced.iter().map(|rules| (rules, false));
        enforced.chain(self.everything.iter().map(|rules| (rules, true)))
    }
}

impl RuleSet {
    fn lookalike_argument<'a>(
        &'a self,
        action: &'a Action,
        arguments: &'a Object,
        declares: impl Fn(&str) -> bool,
    ) -> Option<(&'a str, &'a str)> {
        let known = &self.argument_keys;
        if known.0.is_empty() || !known.is_near_any(arguments) {
            return None;
        }
        let texts = Texts::default();
        let subject = Subject { action, intent: intent::of(action), texts: &texts };
        let mut found = None;
        for rule in self
            .rules
            .iter()
            .filter(|rule| evaluate_partially(&rule.clause, subject) != Ternary::False)
        {
            rule.clause.visit(&mut |key| {
                let near = |key: &str| known.is_near(key) && !declares(key);
                let look = |steps| lookalike_on_path(arguments, steps, known, near);
                found = found.or_else(|| argument_paths(key).find_map(look));
            });
        }
        found
    }
}

/// The paths into arguments that a key of a rule reads.
fn argument_paths(key: &Key) -> impl Iterator<Item = &[Step]> {
    let (one, more) = match key {
        Key::Args(matcher) => (Some(&*matcher.steps), &[][..]),
        Key::When(condition) => (None, condition.arguments.as_slice()),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(more.iter().map(|steps| &**steps))
}

/// Collects tool globs whose match keeps a call from being allowed. `restricts` says whether a
/// match of `clause` does.
fn collect_restricted<'c>(clause: &'c Clause, restricts: bool, globs: &mut Vec<&'c Glob>) {
    for key in &clause.keys {
        match key {
            Key::Tool(alternatives) if restricts => globs.extend(alternatives),
            Key::Any(clauses) => {
                clauses.iter().for_each(|clause| collect_restricted(clause, restricts, globs))
            }
            Key::Not(clause) => collect_restricted(clause, !restricts, globs),
            _ => {}
        }
    }
}

/// The first lookalike (by `near`) of a key on the path `steps`, with that key.
fn lookalike_on_path<'j>(
    object: &'j Object,
    steps: &'j [Step],
    known: &ArgumentKeys,
    near: impl Fn(&str) -> bool,
) -> Option<(&'j str, &'j str)> {
    let (Step::Key(meant), rest) = steps.split_first()? else { return None };
    let mut sent = object.iter().map(|(key, _)| key);
    match sent.find(|key| near(key) && (is_alike(key, meant) || *key == PROTOTYPE)) {
        Some(sent) => Some((sent, meant)),
        None => lookalike_in_value(object.get(meant)?, rest, known),
    }
}

fn lookalike_in_value<'j>(
    value: &'j Json,
    steps: &'j [Step],
    known: &ArgumentKeys,
) -> Option<(&'j str, &'j str)> {
    let (step, rest) = steps.split_first()?;
    match (step, value) {
        (Step::Key(_), Json::Object(object)) => {
            lookalike_on_path(object, steps, known, |key| known.is_near(key))
        }
        (Step::Index(index), Json::Array(items)) => {
            lookalike_in_value(items.get(*index)?, rest, known)
        }
        (Step::Any | Step::All, Json::Array(items)) => {
            items.iter().find_map(|item| lookalike_in_value(item, rest, known))
        }
        _ => None,
    }
}

/// Whether `value` has, on the path `steps`, a member that may be taken for the one on the path and
/// is not among the spellings `spellings`.
pub(super) fn has_lookalike(value: &Json, steps: &[Step], spellings: &[Box<str>]) -> bool {
    let Some((step, rest)) = steps.split_first() else { return false };
    match (step, value) {
        (Step::Key(meant), Json::Object(object)) => {
            object.iter().any(|(key, _)| is_lookalike(key, meant, spellings))
                || object.get(meant).is_some_and(|value| has_lookalike(value, rest, spellings))
        }
        (Step::Index(index), Json::Array(items)) => {
            items.get(*index).is_some_and(|item| has_lookalike(item, rest, spellings))
        }
        (Step::Any | Step::All, Json::Array(items)) => {
            items.iter().any(|item| has_lookalike(item, rest, spellings))
        }
        _ => false,
    }
}

fn is_lookalike(key: &str, meant: &str, spellings: &[Box<str>]) -> bool {
    let is_other = key != meant && spellings.iter().all(|other| **other != *key);
    is_other && (key == PROTOTYPE || is_alike(key, meant))
}

/// Renames lookalikes on the path `steps` to the keys on the path. `None` if several could be
/// meant, or `__proto__` is one.
pub(super) fn resolve_lookalikes(
    value: &mut Json,
    steps: &[Step],
    spellings: &[Box<str>],
) -> Option<()> {
    let Some((step, rest)) = steps.split_first() else { return Some(()) };
    match (step, value) {
        (Step::Key(meant), Json::Object(object)) => {
            let lookalikes = object.iter().filter(|(key, _)| is_lookalike(key, meant, spellings));
            let keys: Vec<String> = lookalikes.map(|(key, _)| key.to_owned()).collect();
            match keys.as_slice() {
                [] => {}
                [key] if key != PROTOTYPE => {
                    let taken = object.take(key)?;
                    object.put(meant, taken);
                }
                _ => return None,
            }
            object
                .get_mut(meant)
                .map_or(Some(()), |value| resolve_lookalikes(value, rest, spellings))
        }
        (Step::Index(index), Json::Array(items)) => {
            items.get_mut(*index).map_or(Some(()), |item| resolve_lookalikes(item, rest, spellings))
        }
        (Step::Any | Step::All, Json::Array(items)) => {
            items.iter_mut().try_for_each(|item| resolve_lookalikes(item, rest, spellings))
        }
        _ => Some(()),
    }
}

/// Whether some API treats two keys as one. APIs generated from Protocol Buffers, and Python models
/// with aliases, accept two names for each: `emailAddress` and `email_address`.
fn is_alike(one: &str, other: &str) -> bool {
    letters(&spelling(one)).eq(letters(&spelling(other)))
}

/// Like [`fold`], but keeps the case of letters, so that plain words need no copy.
fn spelling(word: &str) -> Cow<'_, str> {
    match word.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Cow::Borrowed(word),
        false => fold(word),
    }
}

/// A key that is equal for all words that are alike.
fn key_of(word: &str) -> Box<[u8]> {
    letters(&spelling(word)).collect()
}

/// A hash that is equal for all words that are alike. Collisions that a client provokes only cost
/// time.
fn hash(word: &str) -> u64 {
    let mut hasher = FnvHasher::default();
    letters(&spelling(word)).for_each(|letter| hasher.write_u8(letter));
    hasher.finish()
}

fn letters(word: &str) -> impl Iterator<Item = u8> {
    let letters = word.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
    letters.map(|byte| byte.to_ascii_lowercase())
}

/// Records, for every rule that reads bodies, which other spellings of its keys are read by rules
/// for all its providers: their authors know of both spellings, so these are not lookalikes.
pub(super) fn record_other_spellings(rules: &mut [Rule]) {
    type Spellings = HashSet<(Box<str>, Option<Box<[Provider]>>)>;
    let mut spellings: HashMap<Box<[u8]>, Spellings> = HashMap::new();
    for rule in &*rules {
        rule.clause.visit(&mut |key| {
            for word in key.body_paths().iter().flat_map(|steps| keys(steps)) {
                let spelling = (word.into(), providers(&rule.clause).map(Into::into));
                spellings.entry(key_of(word)).or_default().insert(spelling);
            }
        });
    }
    for rule in rules {
        let own: Option<Box<[Provider]>> = providers(&rule.clause).map(Into::into);
        let holds = |theirs: &Option<Box<[Provider]>>| match (theirs, &own) {
            (None, _) => true,
            (Some(theirs), Some(own)) => own.iter().all(|provider| theirs.contains(provider)),
            (Some(_), None) => false,
        };
        rule.clause.visit_bodies(&mut |paths, place| {
            let mut others = HashSet::new();
            for word in paths.iter().flat_map(|steps| keys(steps)) {
                let spellings = spellings.get(&key_of(word)).into_iter().flatten();
                let counts = spellings.filter(|(other, theirs)| **other != *word && holds(theirs));
                others.extend(counts.map(|(other, _)| other.clone()));
            }
            *place = others.into_iter().collect();
        });
    }
}

fn keys(steps: &[Step]) -> impl Iterator<Item = &str> {
    steps.iter().filter_map(|step| match step {
        Step::Key(word) => Some(&**word),
        _ => None,
    })
}

/// The providers that a clause is restricted to; `None` for all.
fn providers(clause: &Clause) -> Option<&[Provider]> {
    clause.keys.iter().find_map(|key| match key {
        Key::Provider(providers) => Some(&**providers),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture::call;
    use crate::policy::load_str;

    fn policy(rules: &str) -> Policy {
        let text = format!("name: test\ndefault_effect: allow\nrules:\n{rules}");
        Policy::from_file(load_str("test", &text).unwrap())
    }

    #[test]
    fn lookalikes_of_denied_tools_are_found() {
        let policy = policy(
            "- { tool: delete_file, effect: deny }\n\
             - { tool: 'Drop*', effect: ask }\n\
             - { tool: look, effect: allow }\n\
             - { conditions: { not: { tool: purge } }, effect: allow }\n",
        );
        for near in
            ["Delete_File", "delete_file ", "delete_file\0", "DROP_TABLE", "drop_table", "Purge"]
        {
            assert!(policy.lookalike(near).is_some(), "{near}");
        }
        for other in ["delete_file", "Drop_table", "Look", "read", "purge"] {
            assert_eq!(policy.lookalike(other), None, "{other}");
        }
    }

    #[test]
    fn lookalikes_of_arguments_are_found() {
        let policy = policy(
            "- { tool: write, args: { path: /etc/shadow }, effect: deny }\n\
             - { tool: write, args: { 'to[any].userId': root }, effect: deny }\n\
             - { tool: send, conditions: { not: { args: { 'mode.dry': true } } }, effect: ask }\n\
             - { tool: pay, when: 'has(args.sum) && args[\"to\"].name == agent.name', effect: deny }\n\
             - { tool: pay, when: 'args.items.exists(item, item == \"x\")', effect: deny }\n",
        );
        let near = |tool, args: &str| {
            let action = call(tool, args);
            let found = policy.lookalike_argument(&action, |key| key == "PATH");
            found.map(|found| format!("{} {}", found.sent, found.meant))
        };
        for (tool, args, found) in [
            ("write", r#"{"Path":1}"#, Some("Path path")),
            ("write", r#"{"x":1,"pa\u200bth":1}"#, Some("pa\u{200b}th path")),
            ("write", r#"{"path":1,"to":[{},{"userid":1}]}"#, Some("userid userId")),
            ("write", r#"{"TO":[]}"#, Some("TO to")),
            ("write", r#"{"to":[{"user_id":1}]}"#, Some("user_id userId")),
            ("write", r#"{"pa_th":1}"#, Some("pa_th path")),
            ("write", r#"{"to":[{"__proto__":{"userId":1}}]}"#, Some("__proto__ userId")),
            ("write", r#"{"other":{"__proto__":{"path":1}}}"#, None),
            ("send", r#"{"mode":{"Dry":true}}"#, Some("Dry dry")),
            ("pay", r#"{"Sum":1}"#, Some("Sum sum")),
            ("pay", r#"{"sum":1,"to":{"NAME":1}}"#, Some("NAME name")),
            ("pay", r#"{"sum":1,"Items":[]}"#, Some("Items items")),
            ("pay", r#"{"sum":1,"Agent":1,"Name":1}"#, None),
            ("write", r#"{"path":1,"to":[{"userId":1}],"other":{"Path":1}}"#, None),
            ("write", r#"{"PATH":1}"#, None),
            ("read", r#"{"Path":1}"#, None),
            ("send", r#"{"Path":1,"mode":{"dry":true}}"#, None),
        ] {
            assert_eq!(near(tool, args).as_deref(), found, "{tool} {args}");
        }
    }

    /// Observing files do not change what the others allow.
    #[test]
    fn lookalikes_of_observing_rules_are_only_observed() {
        let file = |text: &str| std::sync::Arc::new(load_str("test", text).unwrap());
        let rules = "rules:\n- { tool: purge, effect: deny }\n- { tool: write, args: { path: x }, effect: deny }\n- { methods: [prompts/get], effect: deny }\n";
        let strict = file(&format!("name: a\ndefault_effect: allow\n{rules}"));
        let trial = file(&format!("name: b\nmode: observe\ndefault_effect: allow\n{rules}"));
        let open = file(
            "name: c\ndefault_effect: allow\nrules:\n- { tool: write, args: { Path: x }, effect: deny }\n",
        );
        for (files, observed) in [
            (vec![strict.clone()], false),
            (vec![strict, trial.clone()], false),
            (vec![trial.clone()], true),
            (vec![open, trial], true),
        ] {
            let policy = Policy::join(&files, None);
            let action = call("write", r#"{"PATH":1}"#);
            let found = [
                policy.lookalike("Purge"),
                policy.lookalike_method("Prompts/Get", "prompts/get"),
                policy.lookalike_argument(&action, |_| false),
            ];
            let [tool, method, argument] = found.map(|found| found.map(|found| found.observed));
            assert_eq!((tool, method), (Some(observed), Some(observed)));
            assert_eq!(argument, Some(observed && files.len() == 1));
        }
    }

    /// Authors of rules for either spelling know of both.
    #[test]
    fn argument_spelt_as_in_a_rule_is_no_lookalike() {
        let policy = policy(
            "- { tool: write, args: { path: /etc/shadow }, effect: deny }\n\
             - { tool: write, args: { Path: /etc/shadow }, effect: deny }\n",
        );
        assert_eq!(policy.lookalike_argument(&call("write", r#"{"Path":1}"#), |_| false), None);
        assert!(policy.lookalike_argument(&call("write", r#"{"PATH":1}"#), |_| false).is_some());
    }
}
