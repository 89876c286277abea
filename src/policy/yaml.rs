//! YAML as a tree with places, numbers kept as text, bounded against hostile files.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_yaml::{Location, Spanned};

use super::diagnostic::{Diagnostic, Severity, Source, Span};
use crate::json::{Json, Number, Object};

/// Maximum size of a policy or configuration file, in bytes.
pub(super) const MAX_FILE: usize = 1 << 20;
/// Maximum number of nodes per file, after expanding aliases.
pub(super) const MAX_NODES: usize = 20_000;
/// Maximum number of aliases per file.
pub(super) const MAX_ALIASES: usize = 64;
/// Maximum nesting depth; the parser recurses on stacks of 2 MiB.
pub(super) const MAX_DEPTH: usize = 32;

/// A YAML node and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Node>),
    /// Entries in order, including duplicates, which are reported later.
    Map(Vec<(Node, Node)>),
}

/// Parses one YAML document.
pub(crate) fn parse(source: &Source) -> Result<Node, Diagnostic> {
    if source.text.len() > MAX_FILE {
        let message = format!("a file may have at most {MAX_FILE} bytes");
        return Err(source.finding(Severity::Error, Span::default(), message));
    }
    let raw: Spanned<Raw> =
        serde_yaml::from_str_with_options(&source.text, options()).map_err(|error| {
            let place = error.location().map(span).unwrap_or_default();
            if let Some(second) = second_document(&source.text)
                && (place.line == 0 || place.line >= second.line)
            {
                let message = "a second YAML document begins here".to_owned();
                let advice = "a file is one policy: give each a file of its own";
                return source.finding(Severity::Error, second, message).help(advice);
            }
            let message = first_line(&error.without_snippet().to_string());
            let finding = source.finding(Severity::Error, place, message);
            match advice(&finding.message) {
                Some(advice) => finding.help(advice),
                None => finding,
            }
        })?;
    node(source, raw)
}

/// Advice for common parser errors.
fn advice(message: &str) -> Option<&'static str> {
    let known = [
        ("did not find expected", "check the indentation: keys of one map begin in one column"),
        ("mapping values are not allowed", "put a text that contains `: ` in quotes"),
        (" tab", "indent with spaces, not with tabs"),
        ("unknown anchor", "put a text that begins with `*` in quotes"),
        ("illegal placement of ':'", "close the `[`, `{` or quote that is open before this place"),
        ("unexpected character", "put a text that begins with this character in quotes"),
    ];
    known.into_iter().find(|(words, _)| message.contains(words)).map(|(_, advice)| advice)
}

/// The place of the second document, if there is one.
fn second_document(text: &str) -> Option<Span> {
    let is_start = |line: &str| {
        line.strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']))
    };
    let mut begun = false;
    for (number, line) in (1..).zip(text.lines()) {
        if begun && is_start(line) {
            return Some(Span { line: number, column: 1, length: 3 });
        }
        let bare = line.trim_start();
        begun |= is_start(line) || !bare.is_empty() && !bare.starts_with(['#', '%']);
    }
    None
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_nodes: MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 1,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
    }
}

/// The first line of a parser message, without the place at its end; ours is shown before it.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match line.rsplit_once(" at line ") {
        Some((message, place)) if place.starts_with(|c: char| c.is_ascii_digit()) => {
            message.to_owned()
        }
        _ => line.to_owned(),
    }
}

fn span(location: Location) -> Span {
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let length = small(location.span().len()).max(1);
    Span { line: small(location.line()), column: small(location.column()), length }
}

/// A node as deserialized; the text of numbers is taken from the source.
#[derive(Debug)]
enum Raw {
    Null,
    Bool(bool),
    Integer(String),
    Float,
    String(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

fn node(source: &Source, raw: Spanned<Raw>) -> Result<Node, Diagnostic> {
    let place = span(raw.referenced);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::String(text) => Value::String(text),
        Raw::Integer(text) => {
            let number = written(source, raw.defined).or_else(|| Number::new(&text));
            Value::Number(number.ok_or_else(|| bad_number(source, place))?)
        }
        Raw::Float => {
            let number = written(source, raw.defined);
            Value::Number(number.ok_or_else(|| bad_number(source, place))?)
        }
        Raw::List(items) => {
            Value::List(items.into_iter().map(|item| node(source, item)).collect::<Result<_, _>>()?)
        }
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Ok((node(source, key)?, node(source, value)?)))
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Node { value, span: place })
}

/// The number as written in the file, if it is valid JSON.
fn written(source: &Source, location: Location) -> Option<Number> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
    Number::new(source.text.get(start..end)?.trim())
}

fn bad_number(source: &Source, span: Span) -> Diagnostic {
    source
        .finding(Severity::Error, span, "a number that JSON could not say".to_owned())
        .help("write it as `0.5`, `-3` or `1e6`, or in quotes if it is text")
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Integer(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Integer(value.to_string()))
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Raw, E> {
        Ok(Raw::Float)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

impl Node {
    /// The node's type, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Calls `visit` with every text in it, except for keys.
    pub(super) fn visit_texts(&self, visit: &mut impl FnMut(&str, Span)) {
        match &self.value {
            Value::String(text) => visit(text, self.span),
            Value::List(items) => items.iter().for_each(|item| item.visit_texts(visit)),
            Value::Map(entries) => entries.iter().for_each(|(_, value)| value.visit_texts(visit)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The node as JSON; else the place of the key that is not text or not unique.
    pub(crate) fn to_json(&self) -> Result<Json, Span> {
        Ok(match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(number) => Json::Number(number.clone()),
            Value::String(text) => Json::String(text.clone()),
            Value::List(items) => {
                Json::Array(items.iter().map(Self::to_json).collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let members: Result<Vec<_>, Span> = entries
                    .iter()
                    .map(|(key, value)| match &key.value {
                        Value::String(name) => Ok((name.clone(), value.to_json()?)),
                        _ => Err(key.span),
                    })
                    .collect();
                Json::Object(Object::from_members(members?).ok_or(self.span)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        parse(&Source::new("t", text)).unwrap().to_json().unwrap().to_string()
    }

    fn refused(text: &str) -> Diagnostic {
        parse(&Source::new("t", text)).expect_err("must be refused")
    }

    #[test]
    fn plain_scalars_are_typed() {
        for (yaml, expected) in [
            ("a: 1", r#"{"a":1}"#),
            ("a: 1.10", r#"{"a":1.10}"#),
            ("a: 123456789012345678901234567890", r#"{"a":123456789012345678901234567890}"#),
            ("a: 1e3", r#"{"a":1e3}"#),
            ("a: 0x1F", r#"{"a":31}"#),
            ("a: +5", r#"{"a":5}"#),
            ("a: -0.5", r#"{"a":-0.5}"#),
            ("a: 007", r#"{"a":"007"}"#),
            ("a: 09:00", r#"{"a":"09:00"}"#),
            ("a: yes", r#"{"a":"yes"}"#),
            ("a: true", r#"{"a":true}"#),
            ("a: ~", r#"{"a":null}"#),
            ("a: '1'", r#"{"a":"1"}"#),
            ("a: !!str 1", r#"{"a":"1"}"#),
            ("a: &x [1, 2.50]\nb: *x", r#"{"a":[1,2.50],"b":[1,2.50]}"#),
        ] {
            assert_eq!(json(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn places_count_characters_from_one() {
        let tree = parse(&Source::new("t", "ä: 1\nlist:\n  - é: [x, yz]\n")).unwrap();
        let Value::Map(entries) = &tree.value else { panic!("a map") };
        let Value::List(items) = &entries[1].1.value else { panic!("a list") };
        let Value::Map(item) = &items[0].value else { panic!("a map") };
        let Value::List(words) = &item[0].1.value else { panic!("a list") };
        assert_eq!(words[1].span, Span { line: 3, column: 12, length: 2 });
    }

    #[test]
    fn values_without_json_equivalent_are_refused() {
        for text in
            ["a: .5", "a: .inf", "a: .nan", "a: !foo 1", "a: 1\n---\nb: 2", "a: [1", "\u{0}"]
        {
            let finding = refused(text);
            assert!(!finding.message.is_empty(), "{text}");
        }
        assert_eq!(refused("a: 1\nb: [1").span.line, 2);
    }

    #[test]
    fn common_yaml_errors_come_with_advice() {
        for (text, advice) in [
            ("a:\n  - b: 1\n   c: 2\n", "indentation"),
            ("a: b: c\n", "in quotes"),
            ("a: @b\n", "in quotes"),
            ("a: b\n\tc: d\n", "not with tabs"),
        ] {
            let finding = refused(text);
            assert!(finding.help.as_ref().is_some_and(|it| it.contains(advice)), "{finding:?}");
        }
        assert_eq!(refused("a: [1\n").help, None);
    }

    #[test]
    fn second_document_is_reported_as_such() {
        for text in ["a: 1\n---\nb: 2", "# x\n---\na: 1\n--- # y\nb: 2\n", "---\n---\nb: 2"] {
            let finding = refused(text);
            assert_eq!(finding.message, "a second YAML document begins here", "{text}");
            assert_eq!(finding.line_text.get(..3), Some("---"), "{text}");
        }
        assert_eq!(json("%YAML 1.2\n---\na: 1"), r#"{"a":1}"#);
        assert_eq!(json("a: |\n  ---\n  b"), r#"{"a":"---\nb\n"}"#);
        assert!(refused("a: [1\n").message != "a second YAML document begins here");
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        refused(&bomb);
        refused(&"[".repeat(100_000));
        refused(&format!("a: {}", "{a: ".repeat(200)));
        refused(&format!("a: [{}]", "1,".repeat(MAX_NODES + 1)));
        refused(&"x".repeat(MAX_FILE + 1));
        refused(&"- ".repeat(50_000));
    }
}
