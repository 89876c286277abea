//! Compiles documents into policy files: globs, paths and expressions. Reports all errors at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Limit;
use super::clause::{Clause, Key};
use super::condition::Condition;
use super::diagnostic::{Diagnostics, Source, Span};
use super::document::{self, ClauseDoc, DefaultEffect, Document, RuleDoc, Test};
use super::fields::{At, Reader};
use super::glob::{Glob, GlobError, PathGlob};
use super::hours::Hours;
use super::matcher::Matcher;
use crate::action::{McpRequest, Provider};
use crate::verdict::{Decision, Reason};

/// The rule named by decisions that no rule made.
pub(crate) const DEFAULT_RULE: &str = "default";

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// HTTP methods, which policies may write in any case.
pub(crate) const HTTP_METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"];

/// RuleReason that YAML 1.1 reads as booleans, and YAML 1.2 as text.
const TRUTH_WORDS: [&str; 6] = ["yes", "no", "on", "off", "y", "n"];

/// A compiled policy file.
#[derive(Debug)]
pub struct PolicyFile {
    pub(crate) name: Arc<str>,
    pub(crate) source: Source,
    pub(crate) rules: Vec<Rule>,
    pub(crate) default: Option<Fallback>,
    pub(crate) hours: Option<Hours>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) observing: bool,
    pub(crate) tests: Vec<Test>,
    /// Unknown names in `provider`, for `check`.
    pub(crate) unknown_providers: Vec<At<String>>,
    /// All names in `methods`, for `check`.
    pub(crate) methods: Vec<At<String>>,
    /// Unquoted texts that YAML 1.1 reads as booleans, for `check`.
    pub(crate) truth_words: Vec<At<String>>,
}

/// A compiled rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// Its name, or `<policy>#<n>`.
    pub(crate) id: Arc<str>,
    pub(crate) policy: Arc<str>,
    pub(crate) origin: Arc<str>,
    pub(crate) span: Span,
    pub(crate) effect: Decision,
    pub(crate) reason: RuleReason,
    pub(crate) suggestion: Option<Arc<str>>,
    pub(crate) clause: Clause,
}

/// The reason of a rule's decisions.
#[derive(Debug, Clone)]
pub(crate) enum RuleReason {
    Fixed(Reason),
    /// By the tool's hints.
    Hints,
}

/// The decision if no rule matches.
#[derive(Debug, Clone)]
pub(crate) struct Fallback {
    pub(crate) policy: Arc<str>,
    /// Always `default`; kept here so that it is allocated only once.
    pub(crate) rule: Arc<str>,
    pub(crate) effect: DefaultEffect,
    pub(crate) reason: Option<Arc<str>>,
}

impl PolicyFile {
    /// Parses and compiles a policy file. Never panics, whatever the text.
    ///
    /// # Errors
    /// All errors found.
    pub fn load(source: Source) -> Result<Self, Diagnostics> {
        let (document, mut found) = document::read(&source);
        let Some(document) = document else { return Err(found) };
        let mut reader = Reader::new(&source);
        let mut file = reader.file(document);
        found.extend(std::mem::take(&mut reader.found));
        if !found.is_empty() {
            found.sort();
            return Err(found);
        }
        file.source = source;
        Ok(file)
    }

    /// What the policy in `source` says about itself, also if it does not load.
    #[must_use]
    pub fn description_in(source: &Source) -> Option<String> {
        document::read(source).0?.description
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The file as the user wrote it.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.source.origin
    }

    /// The tests in the file.
    #[must_use]
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// Number of rules.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }
}

impl Reader<'_> {
    fn file(&mut self, document: Document) -> PolicyFile {
        let name: Arc<str> = document.name.as_str().into();
        let (mut unknown_providers, mut methods) = (Vec::new(), Vec::new());
        let mut truth_words = Vec::new();
        let source = self.source().clone();
        let rules = document.rules.iter().zip(1..).filter_map(|(rule, number)| {
            rule.clause.visit(&mut |clause| {
                let unknown = |name: &&At<String>| Provider::from_name(&name.value).is_none();
                unknown_providers.extend(clause.provider.iter().filter(unknown).cloned());
                methods.extend(clause.methods.iter().cloned());
                for (_, node) in clause.args.iter().chain(&clause.body) {
                    node.visit_texts(&mut |text, span| {
                        let is_word =
                            TRUTH_WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
                        if is_word && !source.is_quoted_at(span) {
                            truth_words.push(At { value: text.to_owned(), span });
                        }
                    });
                }
            });
            self.rule_compiled(&name, number, rule)
        });
        let rules: Vec<Rule> = rules.collect();
        self.unique_names(&rules);
        let default = document.default_effect.map(|effect| Fallback {
            policy: Arc::clone(&name),
            rule: DEFAULT_RULE.into(),
            effect,
            reason: document.default_reason.as_deref().map(Arc::from),
        });
        let observing = document.observing;
        let hours = document.hours.as_ref();
        let hours = hours.and_then(|hours| Hours::compile(self, &name, hours));
        let rate = document.rate.unwrap_or_default();
        let windows = [(MINUTE, rate.per_minute), (HOUR, rate.per_hour)];
        let limit = |(window, max): (Duration, Option<u32>)| {
            Some(Limit { policy: Arc::clone(&name), window, max: max?, observed: observing })
        };
        PolicyFile {
            limits: windows.into_iter().filter_map(limit).collect(),
            source: self.source().clone(),
            tests: document.tests,
            name,
            rules,
            default,
            hours,
            observing,
            unknown_providers,
            methods,
            truth_words,
        }
    }

    fn unique_names(&mut self, rules: &[Rule]) {
        let mut seen = HashSet::new();
        for rule in rules {
            if !seen.insert(&rule.id) {
                let message = format!("a second rule named `{}`", rule.id);
                let finding = self.finding(rule.span, message);
                self.found.push(finding.help("names tell rules apart in the log"));
            }
        }
    }

    fn rule_compiled(
        &mut self,
        policy: &Arc<str>,
        number: usize,
        document: &RuleDoc,
    ) -> Option<Rule> {
        let clause = self.clause_compiled(&document.clause);
        let id = match &document.name {
            Some(name) => name.as_str().into(),
            None => format!("{policy}#{number}").into(),
        };
        let reason = match &document.reason {
            Some(words) => Reason::Written(words.as_str().into()),
            None => Reason::Rule(document.effect),
        };
        Some(Rule {
            id,
            policy: Arc::clone(policy),
            origin: Arc::clone(&self.source().origin),
            span: document.span,
            effect: document.effect,
            reason: RuleReason::Fixed(reason),
            suggestion: document.suggestion.as_deref().map(Arc::from),
            clause: clause?,
        })
    }

    /// `None` on any error: an incomplete clause would match more.
    fn clause_compiled(&mut self, document: &ClauseDoc) -> Option<Clause> {
        let before = self.found.iter().len();
        let mut keys = Vec::new();
        self.gather(document, &mut keys);
        if self.found.iter().len() > before {
            return None;
        }
        keys.sort_by_key(cost);
        Some(Clause { keys: keys.into() })
    }

    /// Collects the keys of a clause, including those of `and`.
    fn gather(&mut self, document: &ClauseDoc, keys: &mut Vec<Key>) {
        keys.extend(self.globs(&document.tool, Glob::new).map(Key::Tool));
        keys.extend(self.globs(&document.server, Glob::new).map(Key::Server));
        keys.extend(self.globs(&document.agent, Glob::new).map(Key::Agent));
        keys.extend(self.globs(&document.resource, PathGlob::new).map(Key::Resource));
        if !document.provider.is_empty() {
            let known = |name: &At<String>| Provider::from_name(&name.value);
            keys.push(Key::Provider(document.provider.iter().filter_map(known).collect()));
        }
        for method in
            document.methods.iter().filter(|method| method.value.contains(['*', '?', '{']))
        {
            let finding = self.finding(method.span, "`methods` are written out, without globs");
            self.found.push(finding.help(written_out(&method.value)));
        }
        if !document.methods.is_empty() {
            keys.push(Key::Methods(document.methods.iter().map(canonical_method).collect()));
        }
        if !document.intents.is_empty() {
            keys.push(Key::Intent(document.intents.clone().into()));
        }
        keys.extend(document.annotations.iter().map(|(hint, on)| Key::Annotation(*hint, *on)));
        for (path, node) in &document.args {
            keys.extend(Matcher::compile(self, path, node).map(Key::Args));
        }
        for (path, node) in &document.body {
            keys.extend(Matcher::compile(self, path, node).map(Key::Body));
        }
        for (name, node) in &document.query {
            keys.extend(Matcher::parameter(self, name, node).map(Key::Query));
        }
        for (name, node) in &document.headers {
            keys.extend(Matcher::header(self, name, node).map(Key::Header));
        }
        keys.extend(document.when.as_ref().and_then(|when| self.when(when)));
        for clause in &document.all {
            self.gather(clause, keys);
        }
        if !document.any.is_empty() {
            let clauses: Vec<Clause> =
                document.any.iter().filter_map(|clause| self.clause_compiled(clause)).collect();
            keys.push(Key::Any(clauses.into()));
        }
        for clause in &document.none {
            keys.extend(self.clause_compiled(clause).map(|clause| Key::Not(Box::new(clause))));
        }
    }

    fn globs<G>(
        &mut self,
        texts: &[At<String>],
        new: impl Fn(&str) -> Result<G, GlobError>,
    ) -> Option<Box<[G]>> {
        let mut globs = Vec::with_capacity(texts.len());
        for text in texts {
            match new(&text.value) {
                Ok(glob) => globs.push(glob),
                Err(error) => self.error(text.span, error.to_string()),
            }
        }
        (!globs.is_empty()).then(|| globs.into())
    }

    fn when(&mut self, when: &At<String>) -> Option<Key> {
        match Condition::compile(&when.value, &mut self.regexes) {
            Ok(condition) => Some(Key::When(Arc::new(condition))),
            Err(error) => {
                self.error(when.span, format!("bad `when`: {error}"));
                None
            }
        }
    }
}

impl ClauseDoc {
    fn visit<'d>(&'d self, visit: &mut impl FnMut(&'d Self)) {
        visit(self);
        for nested in [&self.all, &self.any, &self.none].into_iter().flatten() {
            nested.visit(visit);
        }
    }
}

/// Advice for a glob in `methods`: the methods that it matches.
fn written_out(glob: &str) -> String {
    let of_mcp = [McpRequest::METHODS, McpRequest::OF_SERVERS];
    let known = || HTTP_METHODS.iter().chain(of_mcp.into_iter().flatten()).copied();
    let Ok(glob) = Glob::new(glob) else { return "leave `methods` out for any".to_owned() };
    match glob.as_str() {
        "*" => "leave `methods` out for any HTTP method; MCP methods have to be named".to_owned(),
        _ => match known().filter(|known| glob.matches(known)).collect::<Vec<_>>() {
            none if none.is_empty() => {
                format!("known are `{}`", known().collect::<Vec<_>>().join("`, `"))
            }
            meant => format!("write `[{}]`", meant.join(", ")),
        },
    }
}

/// An HTTP method in upper case; other methods as they are.
fn canonical_method(method: &At<String>) -> Box<str> {
    let upper = method.value.to_ascii_uppercase();
    if HTTP_METHODS.contains(&upper.as_str()) { upper.into() } else { method.value.as_str().into() }
}

/// Rank for sorting keys: cheap ones first; those that can fail last, so that they are only
/// evaluated if all others match.
fn cost(key: &Key) -> u8 {
    match key {
        Key::Tool(_) | Key::Server(_) | Key::Provider(_) | Key::Methods(_) | Key::Intent(_) => 0,
        Key::Agent(_) | Key::Annotation(..) | Key::Resource(_) => 1,
        Key::Args(_) | Key::Body(_) | Key::Query(_) | Key::Header(_) => 2,
        Key::Any(_) | Key::Not(_) => 3,
        Key::When(_) => 4,
    }
}
