//! The structure of policy files: typed values with their places. Globs, expressions and paths are
//! not parsed yet.

use super::diagnostic::{Diagnostics, Source, Span};
use super::fields::{At, Fields, Reader};
use super::yaml::{self, Node, Value};
use crate::intent::Intent;
use crate::json::Json;
use crate::verdict::Decision;

/// A policy file.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) name: String,
    /// For people.
    pub(crate) description: Option<String>,
    pub(crate) rules: Vec<RuleDoc>,
    pub(crate) default_effect: Option<DefaultEffect>,
    pub(crate) default_reason: Option<String>,
    pub(crate) hours: Option<HoursDoc>,
    pub(crate) rate: Option<RateDoc>,
    pub(crate) observing: bool,
    pub(crate) tests: Vec<Test>,
}

/// The effect if no rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DefaultEffect {
    Fixed(Decision),
    /// By the tool's hints.
    Annotations,
}

#[derive(Debug, Clone)]
pub(crate) struct RuleDoc {
    pub(crate) span: Span,
    pub(crate) name: Option<String>,
    pub(crate) effect: Decision,
    pub(crate) reason: Option<String>,
    pub(crate) suggestion: Option<String>,
    pub(crate) clause: ClauseDoc,
}

/// The keys that must all match; empty if a key is not given.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClauseDoc {
    pub(crate) tool: Vec<At<String>>,
    pub(crate) server: Vec<At<String>>,
    pub(crate) agent: Vec<At<String>>,
    pub(crate) provider: Vec<At<String>>,
    pub(crate) resource: Vec<At<String>>,
    pub(crate) methods: Vec<At<String>>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) annotations: Vec<(Hint, bool)>,
    pub(crate) args: Vec<(At<String>, Node)>,
    pub(crate) body: Vec<(At<String>, Node)>,
    pub(crate) query: Vec<(At<String>, Node)>,
    pub(crate) headers: Vec<(At<String>, Node)>,
    pub(crate) when: Option<At<String>>,
    pub(crate) all: Vec<ClauseDoc>,
    pub(crate) any: Vec<ClauseDoc>,
    pub(crate) none: Vec<ClauseDoc>,
}

/// A hint of MCP's tool annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    ReadOnly,
    Destructive,
    Idempotent,
    OpenWorld,
}

#[derive(Debug, Clone)]
pub(crate) struct HoursDoc {
    pub(crate) timezone: Option<At<String>>,
    pub(crate) start: Option<At<String>>,
    pub(crate) end: Option<At<String>>,
    /// Monday first; all are set if the key is missing.
    pub(crate) days: [bool; 7],
}

#[derive(Debug, Clone, Default)]
pub(crate) struct RateDoc {
    pub(crate) per_minute: Option<u32>,
    pub(crate) per_hour: Option<u32>,
}

/// A test in a policy file.
#[derive(Debug, Clone)]
pub struct Test {
    /// Its name, or `test <n>`.
    pub name: String,
    /// The line it begins on, from 1.
    pub line: u32,
    /// The request to judge, in the format of `explain`.
    pub request: Json,
    /// The expected decision.
    pub expect: Decision,
    /// The rule expected to decide, if given.
    pub rule: Option<String>,
}

pub(super) const DOCUMENT_KEYS: &[&str] = &[
    "name",
    "description",
    "rules",
    "default_effect",
    "default_reason",
    "time_restrictions",
    "rate_limit",
    "mode",
    "tests",
];
pub(super) const CLAUSE_KEYS: &[&str] = &[
    "tool",
    "server",
    "agent",
    "provider",
    "resource",
    "methods",
    "intent",
    "annotations",
    "args",
    "body",
    "query",
    "headers",
    "when",
];
pub(super) const RULE_KEYS: &[&str] = &["name", "effect", "reason", "suggestion", "conditions"];
pub(super) const NESTING_KEYS: &[&str] = &["and", "or", "not"];
pub(super) const TEST_KEYS: &[&str] = &["name", "request", "expect", "rule"];
pub(super) const EFFECTS: &[(&str, Decision)] =
    &[("allow", Decision::Allow), ("deny", Decision::Deny), ("ask", Decision::Ask)];
pub(super) const DEFAULT_EFFECTS: &[(&str, DefaultEffect)] = &[
    ("allow", DefaultEffect::Fixed(Decision::Allow)),
    ("deny", DefaultEffect::Fixed(Decision::Deny)),
    ("ask", DefaultEffect::Fixed(Decision::Ask)),
    ("annotations", DefaultEffect::Annotations),
];
pub(super) const HINTS: &[(&str, Hint)] = &[
    ("readOnlyHint", Hint::ReadOnly),
    ("destructiveHint", Hint::Destructive),
    ("idempotentHint", Hint::Idempotent),
    ("openWorldHint", Hint::OpenWorld),
];
/// Stands for every intent that is no read.
pub(super) const INTENT_OF_WRITES: &str = "write";
pub(super) const MODES: &[(&str, bool)] = &[("enforce", false), ("observe", true)];
pub(super) const DAYS: &[(&str, usize)] =
    &[("mon", 0), ("tue", 1), ("wed", 2), ("thu", 3), ("fri", 4), ("sat", 5), ("sun", 6)];

/// Parses a policy file; `None` if it is not YAML. With the errors found; unless there are none,
/// the document is incomplete.
pub(crate) fn read(source: &Source) -> (Option<Document>, Diagnostics) {
    let root = match yaml::parse(source) {
        Ok(root) => root,
        Err(finding) => return (None, finding.into()),
    };
    let mut reader = Reader::new(source);
    let document = reader.document(&root);
    (Some(document), reader.found)
}

impl Reader<'_> {
    fn document(&mut self, root: &Node) -> Document {
        let fields = self.fields(root, "a policy", DOCUMENT_KEYS);
        let name = self.policy_name(root, &fields);
        let rules = fields.get("rules").map(|node| self.rules(node)).unwrap_or_default();
        let default_effect = fields
            .get("default_effect")
            .and_then(|node| self.word(node, "default_effect", DEFAULT_EFFECTS));
        Document {
            // A file without a name does not load; parsing goes on to find other errors.
            name: name.unwrap_or_default(),
            description: self.optional_text(&fields, "description"),
            rules,
            default_effect,
            default_reason: self.optional_text(&fields, "default_reason"),
            hours: fields.get("time_restrictions").and_then(|node| self.hours(node)),
            rate: fields.get("rate_limit").and_then(|node| self.rate(node)),
            observing: fields
                .get("mode")
                .and_then(|node| self.word(node, "mode", MODES))
                .unwrap_or_default(),
            tests: fields.get("tests").map(|node| self.tests(node)).unwrap_or_default(),
        }
    }

    fn policy_name(&mut self, root: &Node, fields: &Fields<'_>) -> Option<String> {
        let Some(node) = fields.get("name") else {
            if matches!(root.value, Value::Map(_)) {
                let start = Span { line: 1, column: 1, length: 1 };
                self.error(start, "a policy needs a `name`");
            }
            return None;
        };
        let name = self.text(node, "name")?;
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if name.value.is_empty() || !name.value.bytes().all(fits) {
            let finding = self.finding(name.span, "a policy's name is made of a-z, 0-9, _ and -");
            self.found.push(finding);
            return None;
        }
        Some(name.value)
    }

    fn optional_text(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        fields.get(key).and_then(|node| self.text(node, key)).map(|text| text.value)
    }

    fn rules(&mut self, node: &Node) -> Vec<RuleDoc> {
        match &node.value {
            Value::List(items) => items.iter().map(|item| self.rule(item)).collect(),
            Value::Null => Vec::new(),
            _ => {
                let message = format!("`rules` needs a list, not {}", node.kind());
                let finding = self.finding(node.span, message).help("begin each rule with `- `");
                self.found.push(finding);
                Vec::new()
            }
        }
    }

    fn rule(&mut self, node: &Node) -> RuleDoc {
        let known: Vec<&str> = RULE_KEYS.iter().chain(CLAUSE_KEYS).copied().collect();
        let fields = self.fields(node, "a rule", &known);
        let mut clause = self.clause(&fields);
        if let Some(conditions) = fields.get("conditions") {
            clause.all.extend(self.nested(conditions));
        }
        let name = self.optional_text(&fields, "name");
        let reason = self.optional_text(&fields, "reason");
        let suggestion = self.optional_text(&fields, "suggestion");
        let effect = match fields.get("effect") {
            Some(effect) => self.word(effect, "effect", EFFECTS),
            None => {
                if matches!(node.value, Value::Map(_)) {
                    let finding = self.finding(node.span, "a rule needs an `effect`");
                    self.found.push(finding.help("one of `allow`, `deny` and `ask`"));
                }
                None
            }
        };
        // As for the name.
        let effect = effect.unwrap_or(Decision::Deny);
        RuleDoc { span: node.span, name, effect, reason, suggestion, clause }
    }

    /// Parses a condition: the keys of a rule, plus `and`, `or` and `not`.
    fn nested(&mut self, node: &Node) -> Option<ClauseDoc> {
        let known: Vec<&str> = NESTING_KEYS.iter().chain(CLAUSE_KEYS).copied().collect();
        let fields = self.fields(node, "a condition", &known);
        if matches!(&node.value, Value::Map(entries) if entries.is_empty()) {
            self.error(node.span, "an empty condition");
            return None;
        }
        let mut clause = self.clause(&fields);
        for (key, into) in [("and", &mut clause.all), ("or", &mut clause.any)] {
            if let Some(node) = fields.get(key) {
                let items = self.list(node, key);
                into.extend(items.iter().filter_map(|item| self.nested(item)));
            }
        }
        if let Some(node) = fields.get("not") {
            clause.none.extend(self.nested(node));
        }
        Some(clause)
    }

    fn clause(&mut self, fields: &Fields<'_>) -> ClauseDoc {
        let mut texts = |key| fields.get(key).map(|node| self.texts(node, key)).unwrap_or_default();
        let mut clause = ClauseDoc {
            tool: texts("tool"),
            server: texts("server"),
            agent: texts("agent"),
            provider: texts("provider"),
            resource: texts("resource"),
            methods: texts("methods"),
            ..ClauseDoc::default()
        };
        clause.intents = fields.get("intent").map(|node| self.intents(node)).unwrap_or_default();
        clause.annotations =
            fields.get("annotations").map(|node| self.hints(node)).unwrap_or_default();
        let mut matchers = |key| fields.get(key).map(|node| self.matchers(node, key));
        clause.args = matchers("args").unwrap_or_default();
        clause.body = matchers("body").unwrap_or_default();
        clause.query = matchers("query").unwrap_or_default();
        clause.headers = matchers("headers").unwrap_or_default();
        clause.when = fields.get("when").and_then(|node| self.text(node, "when"));
        clause
    }

    fn intents(&mut self, node: &Node) -> Vec<Intent> {
        let mut words: Vec<(&'static str, Option<Intent>)> =
            Intent::ALL.iter().map(|intent| (intent.as_str(), Some(*intent))).collect();
        words.push((INTENT_OF_WRITES, None));
        let mut intents = Vec::new();
        for text in self.texts(node, "intent") {
            match self.word_of(&text, "intent", &words) {
                Some(Some(intent)) => intents.push(intent),
                Some(None) => {
                    intents.extend(Intent::ALL.into_iter().filter(|intent| !intent.is_read()));
                }
                None => {}
            }
        }
        intents
    }

    fn hints(&mut self, node: &Node) -> Vec<(Hint, bool)> {
        let known: Vec<&str> = HINTS.iter().map(|(name, _)| *name).collect();
        let fields = self.fields(node, "`annotations`", &known);
        let mut hints = Vec::new();
        for (name, hint) in HINTS {
            let wanted = fields.get(name).and_then(|node| self.flag(node, name));
            hints.extend(wanted.map(|wanted| (*hint, wanted)));
        }
        if matches!(&node.value, Value::Map(entries) if entries.is_empty()) {
            self.error(node.span, "`annotations` names no hint");
        }
        hints
    }

    fn matchers(&mut self, node: &Node, key: &str) -> Vec<(At<String>, Node)> {
        if matches!(&node.value, Value::Map(entries) if entries.is_empty()) {
            self.error(node.span, format!("`{key}` names no path"));
        }
        let entries = self.entries(node, &format!("`{key}`"));
        let owned = |key: At<&str>| At { value: key.value.to_owned(), span: key.span };
        entries.into_iter().map(|(key, value)| (owned(key), value.clone())).collect()
    }

    fn hours(&mut self, node: &Node) -> Option<HoursDoc> {
        let known = ["enabled", "timezone", "allowed_hours", "allowed_days"];
        let fields = self.fields(node, "`time_restrictions`", &known);
        let enabled = fields.get("enabled").map(|node| self.flag(node, "enabled"));
        let (mut start, mut end) = (None, None);
        if let Some(hours) = fields.get("allowed_hours") {
            let hours_fields = self.fields(hours, "`allowed_hours`", &["start", "end"]);
            start = hours_fields.get("start").and_then(|node| self.text(node, "start"));
            end = hours_fields.get("end").and_then(|node| self.text(node, "end"));
            if hours_fields.get("start").is_none() || hours_fields.get("end").is_none() {
                self.error(hours.span, "`allowed_hours` needs `start` and `end`");
            }
        }
        let timezone = fields.get("timezone").and_then(|node| self.text(node, "timezone"));
        let days = fields.get("allowed_days").map_or([true; 7], |node| self.days(node));
        // The block counts unless `enabled` is false.
        let on = enabled.is_none_or(|enabled| enabled != Some(false));
        on.then_some(HoursDoc { timezone, start, end, days })
    }

    fn days(&mut self, node: &Node) -> [bool; 7] {
        let named = self.texts(node, "allowed_days");
        let named: Vec<usize> =
            named.iter().filter_map(|day| self.word_of(day, "day", DAYS)).collect();
        std::array::from_fn(|day| named.contains(&day))
    }

    fn rate(&mut self, node: &Node) -> Option<RateDoc> {
        if !matches!(node.value, Value::Map(_)) {
            let message = format!("`rate_limit` must be a map, not {}", node.kind());
            let finding = self.finding(node.span, message);
            self.found.push(finding.help("write `{ requests_per_minute: 30 }`"));
            return None;
        }
        let known = ["enabled", "requests_per_minute", "requests_per_hour"];
        let fields = self.fields(node, "`rate_limit`", &known);
        let enabled = fields.get("enabled").map(|node| self.flag(node, "enabled"));
        let mut count = |key| fields.get(key).and_then(|node| self.count(node, key));
        let rate = RateDoc {
            per_minute: count("requests_per_minute"),
            per_hour: count("requests_per_hour"),
        };
        enabled.is_none_or(|enabled| enabled != Some(false)).then_some(rate)
    }

    fn tests(&mut self, node: &Node) -> Vec<Test> {
        let items = match &node.value {
            Value::Null => &[],
            _ => self.list(node, "tests"),
        };
        items.iter().enumerate().filter_map(|(index, item)| self.test(index, item)).collect()
    }

    fn test(&mut self, index: usize, node: &Node) -> Option<Test> {
        let fields = self.fields(node, "a test", TEST_KEYS);
        let name = self.optional_text(&fields, "name");
        let request = fields.get("request").and_then(|node| match node.to_json() {
            Ok(json) => Some(json),
            Err(span) => {
                self.error(span, "a key of a request must be text and given once");
                None
            }
        });
        let expected = fields.get("expect").and_then(|node| self.word(node, "decision", EFFECTS));
        let rule = self.optional_text(&fields, "rule");
        for key in ["request", "expect"] {
            if matches!(node.value, Value::Map(_)) && fields.get(key).is_none() {
                self.error(node.span, format!("a test needs `{key}`"));
            }
        }
        let name = name.unwrap_or_else(|| format!("test {}", index + 1));
        let line = node.span.line;
        Some(Test { name, line, request: request?, expect: expected?, rule })
    }
}
