//! Warnings of `check`: policies that load, but probably mean something else.
//!
//! No false warnings: if coverage cannot be proved, none is given.

use super::PolicyFile;
use super::clause::{Clause, Key};
use super::compile::{HTTP_METHODS, Rule};
use super::diagnostic::{Diagnostics, Severity, Span, nearest};
use super::document::{DefaultEffect, Hint};
use super::fields::At;
use super::glob::Glob;
use crate::action::{McpRequest, Provider};
use crate::intent::Intent;
use crate::request::{self, UnknownKeys};
use crate::verdict::Decision;

/// Maximum number of cases that a rule is split into, to check whether several earlier rules cover
/// it together.
const MAX_CASES: usize = 256;

/// Known tools of servers, to find globs that match none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(Vec<(String, String)>);

impl Seen {
    /// From pairs of server and tool names.
    #[must_use]
    pub fn new(tools: Vec<(String, String)>) -> Self {
        Self(tools)
    }
}

impl PolicyFile {
    /// All warnings. `seen` may be empty.
    #[must_use]
    pub fn lint(&self, seen: &Seen) -> Diagnostics {
        let mut found = Diagnostics::default();
        let mut reachable_allow = match &self.default {
            Some(fallback) => {
                !matches!(fallback.effect, DefaultEffect::Fixed(Decision::Deny | Decision::Ask))
            }
            None => false,
        };
        for (number, rule) in self.rules.iter().enumerate() {
            let earlier = self.rules.get(..number).unwrap_or_default();
            match mixes_kinds(rule).or_else(|| shadowed_by(rule, earlier)) {
                Some(message) => self.warn(&mut found, rule, message),
                None => reachable_allow |= rule.effect == Decision::Allow,
            }
            self.wrong_types(&mut found, rule);
            self.unseen_globs(&mut found, rule, seen);
        }
        self.unknown_names(&mut found);
        self.truth_words(&mut found);
        self.unreadable_tests(&mut found);
        if !reachable_allow {
            let start = Span { line: 1, column: 1, length: 1 };
            let message = "nothing is ever allowed: no rule that allows can be reached, and the \
                           default does not";
            found.push(self.source.finding(Severity::Warning, start, message.to_owned()));
        }
        found.sort();
        found
    }

    fn warn(&self, found: &mut Diagnostics, rule: &Rule, message: String) {
        found.push(self.source.finding(Severity::Warning, rule.span, message));
    }

    fn unknown_names(&self, found: &mut Diagnostics) {
        let mut unknown = |name: &At<String>, what: &str, known: &mut dyn Iterator<Item = &str>| {
            let message = format!("there is no {what} `{}`", name.value);
            let finding = self.source.finding(Severity::Warning, name.span, message);
            found.push(finding.did_you_mean(&name.value, known));
        };
        for name in &self.unknown_providers {
            unknown(name, "provider", &mut Provider::ALL.iter().map(|known| known.as_str()));
        }
        for name in &self.methods {
            let of_mcp = [McpRequest::METHODS, McpRequest::NOTIFICATIONS, McpRequest::OF_SERVERS];
            let known = || HTTP_METHODS.iter().chain(of_mcp.into_iter().flatten()).copied();
            let is_it = |known: &str| known == name.value || known == name.value.to_uppercase();
            if !known().any(is_it) {
                unknown(name, "method", &mut known());
            }
        }
    }

    /// Unquoted words such as `yes`, which often are meant as booleans.
    fn truth_words(&self, found: &mut Diagnostics) {
        for word in &self.truth_words {
            let message = format!("`{}` is text here, neither true nor false", word.value);
            let finding = self.source.finding(Severity::Warning, word.span, message);
            found.push(finding.help("write `true` or `false`, or the word in quotes"));
        }
    }

    /// Tests with invalid requests always fail.
    fn unreadable_tests(&self, found: &mut Diagnostics) {
        for test in &self.tests {
            let Err(error) = request::parse(&test.request, UnknownKeys::Refuse) else { continue };
            let place = Span { line: test.line, column: 1, length: 1 };
            let message = format!("the request of `{}` cannot be read: {error}", test.name);
            found.push(self.source.finding(Severity::Warning, place, message));
        }
    }

    /// Query parameters and headers are text, which a number never equals.
    fn wrong_types(&self, found: &mut Diagnostics, rule: &Rule) {
        rule.clause.visit(&mut |key| {
            if let Key::Query(matcher) | Key::Header(matcher) = key
                && matcher.never_text()
            {
                let message = format!("`{}` is always text; write the value in quotes", key.name());
                self.warn(found, rule, message);
            }
        });
    }

    fn unseen_globs(&self, found: &mut Diagnostics, rule: &Rule, seen: &Seen) {
        if seen.0.is_empty() {
            return;
        }
        let names = |of: fn(&(String, String)) -> &String| seen.0.iter().map(of);
        // The tools of an unknown server are unknown, too.
        let strange_server = rule.clause.keys.iter().any(|key| match key {
            Key::Server(globs) => {
                !globs.iter().any(|glob| names(|(server, _)| server).any(|n| glob.matches(n)))
            }
            _ => false,
        });
        rule.clause.visit(&mut |key| {
            let (globs, what, unseen): (&[Glob], _, Vec<&Glob>) = match key {
                Key::Tool(_) if strange_server => return,
                Key::Tool(globs) => {
                    let matches = |glob: &Glob| names(|(_, tool)| tool).any(|n| glob.matches(n));
                    (globs, "tool", globs.iter().filter(|glob| !matches(glob)).collect())
                }
                Key::Server(globs) => {
                    let matches =
                        |glob: &Glob| names(|(server, _)| server).any(|n| glob.matches(n));
                    (globs, "server", globs.iter().filter(|glob| !matches(glob)).collect())
                }
                _ => return,
            };
            for glob in unseen {
                let alone = if globs.len() == 1 { ", so the rule has never matched" } else { "" };
                let message = format!("no {what} seen so far matches `{glob}`{alone}");
                let known = match what {
                    "tool" => nearest(glob.as_str(), names(|(_, tool)| tool).map(String::as_str)),
                    _ => nearest(glob.as_str(), names(|(server, _)| server).map(String::as_str)),
                };
                let finding = self.source.finding(Severity::Warning, rule.span, message);
                found.push(match known {
                    Some(near) => finding.help(format!("did you mean `{near}`?")),
                    None => finding,
                });
            }
        });
    }
}

/// A warning for a rule that can never match because some of its keys require MCP requests and
/// others REST requests.
fn mixes_kinds(rule: &Rule) -> Option<String> {
    let both = |case: &Vec<Key>| {
        let of = |wanted: Kind| case.iter().find(|key| kind(key) == Some(wanted)).map(Key::name);
        of(Kind::Mcp).zip(of(Kind::Rest))
    };
    let cases: Option<Vec<_>> = cases(&rule.clause).iter().map(both).collect();
    let (mcp, rest) = cases?.into_iter().next()?;
    Some(format!(
        "this rule can never match: only MCP requests have `{mcp}`, and only REST requests `{rest}`"
    ))
}

/// The kind of requests that a key can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mcp,
    Rest,
}

fn kind(key: &Key) -> Option<Kind> {
    match key {
        Key::Tool(_) | Key::Server(_) | Key::Annotation(..) | Key::Args(_) => Some(Kind::Mcp),
        Key::Provider(_) | Key::Resource(_) | Key::Body(_) | Key::Query(_) | Key::Header(_) => {
            Some(Kind::Rest)
        }
        Key::Agent(_) | Key::Methods(_) | Key::Intent(_) => None,
        Key::Any(_) | Key::Not(_) | Key::When(_) => None,
    }
}

/// A warning for a rule that can never match because earlier rules match first.
fn shadowed_by(rule: &Rule, earlier: &[Rule]) -> Option<String> {
    let cases = cases(&rule.clause);
    if cases.is_empty() {
        return None;
    }
    let mut shadowing: Vec<&Rule> = Vec::new();
    for case in &cases {
        let other = earlier.iter().find(|other| shadows(other, rule, case))?;
        if !shadowing.iter().any(|known| std::ptr::eq(*known, other)) {
            shadowing.push(other);
        }
    }
    let places: Vec<String> = shadowing
        .iter()
        .map(|other| format!("`{}` on line {}", other.id, other.span.line))
        .collect();
    let places = places.join(" and ");
    let verb = if shadowing.len() == 1 { "takes" } else { "take" };
    let loosens = shadowing.iter().any(|other| other.effect == Decision::Allow);
    Some(match shadowing.as_slice() {
        [one] if same(&one.clause, &rule.clause) && one.effect == rule.effect => {
            format!("this rule repeats {places}")
        }
        _ if loosens && rule.effect != Decision::Allow => format!(
            "this rule never gets to {}: {places} already {} all that it would match",
            rule.effect.as_str(),
            if shadowing.len() == 1 { "allows" } else { "decide" },
        ),
        _ => format!("this rule can never match: {places} {verb} all that it would"),
    })
}

/// Whether `other` matches whenever `rule` does in this case.
fn shadows(other: &Rule, rule: &Rule, case: &[Key]) -> bool {
    // Unknown counts as a match for deny rules, but not for allow rules.
    let judges_alike = other.effect != Decision::Allow || rule.effect == Decision::Allow;
    covers(&other.clause, case, judges_alike)
}

fn covers(wide: &Clause, case: &[Key], judges_alike: bool) -> bool {
    wide.keys.iter().all(|wide| match wide {
        Key::Any(clauses) => clauses.iter().any(|clause| covers(clause, case, judges_alike)),
        // Keys that may be unknown must be the same, and unknown must count alike.
        Key::Args(_) | Key::Body(_) | Key::Query(_) | Key::Header(_) | Key::Not(_) => {
            judges_alike && case.iter().any(|narrow| same(wide, narrow))
        }
        wide => case.iter().any(|narrow| implies(narrow, wide)),
    })
}

/// Whether `wide` matches everything that `narrow` matches.
fn implies(narrow: &Key, wide: &Key) -> bool {
    let globs = |narrow: &[Glob], wide: &[Glob]| {
        narrow.iter().all(|narrow| wide.iter().any(|wide| wide.covers(narrow)))
    };
    match (narrow, wide) {
        (Key::Tool(narrow), Key::Tool(wide))
        | (Key::Server(narrow), Key::Server(wide))
        | (Key::Agent(narrow), Key::Agent(wide)) => globs(narrow, wide),
        (Key::Resource(narrow), Key::Resource(wide)) => {
            narrow.iter().all(|narrow| wide.iter().any(|wide| wide.covers(narrow)))
        }
        (Key::Provider(narrow), Key::Provider(wide)) => subset(narrow, wide),
        (Key::Methods(narrow), Key::Methods(wide)) => subset(narrow, wide),
        (Key::Intent(narrow), Key::Intent(wide)) => subset(narrow, wide),
        (Key::Annotation(Hint::ReadOnly, true), Key::Annotation(Hint::Destructive, false)) => true,
        (Key::Annotation(Hint::Destructive, true), Key::Annotation(Hint::ReadOnly, false)) => true,
        (Key::Annotation(narrow, one), Key::Annotation(wide, other)) => {
            narrow == wide && one == other
        }
        (Key::When(_), Key::When(_)) => same(narrow, wide),
        _ => false,
    }
}

fn subset<T: PartialEq>(narrow: &[T], wide: &[T]) -> bool {
    narrow.iter().all(|item| wide.contains(item))
}

/// Equality by debug representation, for types without `Eq` (regexes, expressions). Only used for
/// warnings.
fn same<T: std::fmt::Debug>(one: &T, other: &T) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

/// The cases of a clause: one per combination of alternatives, so that different earlier rules may
/// cover them. A single case if there would be too many.
fn cases(clause: &Clause) -> Vec<Vec<Key>> {
    let mut cases: Vec<Vec<Key>> = vec![Vec::new()];
    let any_intent = Key::Intent(Intent::ALL.into());
    let is_intent = |key: &Key| matches!(key, Key::Intent(_));
    let implied_intent = (!clause.keys.iter().any(is_intent)).then_some(&any_intent);
    for key in clause.keys.iter().chain(implied_intent) {
        let alternatives = alternatives(key);
        if cases.len() * alternatives.len() > MAX_CASES {
            return vec![clause.keys.to_vec()];
        }
        let extended = cases.iter().flat_map(|case| {
            alternatives.iter().map(move |keys| case.iter().chain(keys).cloned().collect())
        });
        cases = extended.collect();
    }
    cases
}

fn alternatives(key: &Key) -> Vec<Vec<Key>> {
    fn each<T: Clone>(items: &[T], key: fn(Box<[T]>) -> Key) -> Vec<Vec<Key>> {
        items.iter().map(|item| vec![key(Box::new([item.clone()]))]).collect()
    }
    match key {
        Key::Tool(globs) => each(globs, Key::Tool),
        Key::Server(globs) => each(globs, Key::Server),
        Key::Agent(globs) => each(globs, Key::Agent),
        Key::Resource(globs) => each(globs, Key::Resource),
        Key::Provider(providers) => each(providers, Key::Provider),
        Key::Methods(methods) => each(methods, Key::Methods),
        Key::Intent(intents) => each(intents, Key::Intent),
        Key::Any(clauses) => clauses.iter().map(|clause| clause.keys.to_vec()).collect(),
        other => vec![vec![other.clone()]],
    }
}

#[cfg(test)]
mod tests;
