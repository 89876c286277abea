//! Matchers of `args`, `body`, `query` and `headers`: a path to a value and the operators that must
//! hold for it.

mod path;

use std::cmp::Ordering;

use regex::Regex;

use super::equality::equal;
use super::fields::{At, Reader, advise, advise_or};
use super::glob::Glob;
use super::ternary::Ternary;
use super::text::{Part, Text, holds};
use super::texts::{Read, Texts};
use super::under::Folder;
use super::yaml::{Node, Value};
use super::{coercion, decimal, numeral};
use crate::json::{Json, Number, Object};

pub(super) use path::{Step, reached, reached_in};

/// Maximum number of values shown in explanations.
const SHOWN_VALUES: usize = 5;
/// Maximum length of the values shown, in characters.
const SHOWN_LENGTH: usize = 200;

/// A path and the operators that must hold for its value.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    /// The path as it was written.
    pub(crate) path: Box<str>,
    pub(super) steps: Box<[Step]>,
    /// Other spellings of its keys that rules read; they are not lookalikes.
    pub(super) other_spellings: Box<[Box<str>]>,
    check: Check,
}

/// Operators, all of which must hold.
#[derive(Debug, Clone)]
pub(crate) struct Check(Box<[Operator]>);

#[derive(Debug, Clone)]
enum Operator {
    Eq(Json),
    In(Box<[Json]>),
    /// `ne` and `not_in`.
    Not(Box<Operator>),
    /// `gt`, `gte`, `lt`, `lte`: the accepted orderings and the limit.
    Compare(&'static [Ordering], Number),
    Glob(Box<[Part<Glob>]>),
    Regex(Box<[Regex]>),
    Prefix(Box<[Part<Box<str>>]>),
    Suffix(Box<[Part<Box<str>>]>),
    Contains(Box<[Part<Box<str>>]>),
    Under(Box<[Folder]>),
    Exists(bool),
    LenLte(usize),
}

pub(super) const OPERATORS: &[&str] = &[
    "eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "glob", "regex", "prefix", "suffix",
    "contains", "under", "exists", "len_lte",
];

// === impl Matcher ===

impl Matcher {
    /// Compiles a matcher whose path leads into JSON.
    pub(crate) fn compile(reader: &mut Reader<'_>, path: &At<String>, node: &Node) -> Option<Self> {
        let steps = match path::steps(&path.value) {
            Ok(steps) => Some(steps),
            Err(message) => {
                reader.error(path.span, message);
                None
            }
        };
        let check = Check::compile(reader, &path.value, node);
        let path = path.value.as_str().into();
        Some(Self { path, steps: steps?, other_spellings: Box::default(), check: check? })
    }

    /// Compiles a matcher of a query parameter.
    pub(crate) fn parameter(
        reader: &mut Reader<'_>,
        name: &At<String>,
        node: &Node,
    ) -> Option<Self> {
        let check = Check::compile(reader, &name.value, node)?;
        let path = name.value.as_str().into();
        Some(Self { path, steps: Box::default(), other_spellings: Box::default(), check })
    }

    /// Compiles a matcher of a header, whose name is not case-sensitive.
    pub(crate) fn header(reader: &mut Reader<'_>, name: &At<String>, node: &Node) -> Option<Self> {
        let path = name.value.to_lowercase().into();
        Some(Self { path, ..Self::parameter(reader, name, node)? })
    }

    /// Judges an object.
    pub(crate) fn judge_object<'t>(&self, object: &'t Object, texts: &Texts<'t>) -> Ternary {
        match self.steps.split_first() {
            Some((Step::Key(key), rest)) => self.member(object, key, rest, texts),
            _ => Ternary::Unknown,
        }
    }

    /// Judges any JSON value.
    pub(crate) fn judge_value<'t>(&self, value: &'t Json, texts: &Texts<'t>) -> Ternary {
        self.walk(value, &self.steps, texts)
    }

    /// Whether the path starts with the member `name`.
    pub(crate) fn begins_with(&self, name: &str) -> bool {
        matches!(self.steps.first(), Some(Step::Key(key)) if **key == *name)
    }

    /// Judges the absence of any value.
    pub(crate) fn judge_missing(&self) -> Ternary {
        self.check.missing()
    }

    /// Judges the values of this name in `pairs`. Servers may use any value of a repeated name, so
    /// the result is only known if it is the same for all.
    pub(crate) fn judge_pairs<'t>(
        &self,
        pairs: &'t [(String, String)],
        texts: &Texts<'t>,
    ) -> Ternary {
        let mut values = pairs.iter().filter(|(name, _)| **name == *self.path).peekable();
        if values.peek().is_none() {
            return self.check.missing();
        }
        Ternary::unanimous(values.map(|(_, value)| self.check.text(value, texts)))
    }

    /// The values at the path in an object, as JSON, for explanations.
    pub(crate) fn found_in_object(&self, object: &Object) -> Option<String> {
        show(reached_in(object, &self.steps))
    }

    /// The values at the path, as JSON, for explanations.
    pub(crate) fn found_in_value(&self, value: &Json) -> Option<String> {
        show(path::reached(value, &self.steps))
    }

    /// The values of this name, for explanations.
    pub(crate) fn found_in_pairs(&self, pairs: &[(String, String)]) -> Option<String> {
        let named = pairs.iter().filter(|(name, _)| **name == *self.path);
        let values: Vec<Json> = named.map(|(_, value)| Json::String(value.clone())).collect();
        show(values.iter().collect())
    }

    /// Whether the matcher only accepts values that are not text.
    pub(crate) fn never_text(&self) -> bool {
        self.check.0.iter().any(|operator| match operator {
            Operator::Eq(value) => !matches!(value, Json::String(_)),
            Operator::In(values) => values.iter().all(|value| !matches!(value, Json::String(_))),
            Operator::Compare(..) => true,
            _ => false,
        })
    }

    fn walk<'t>(&self, value: &'t Json, steps: &[Step], texts: &Texts<'t>) -> Ternary {
        let Some((step, rest)) = steps.split_first() else {
            return self.check.value(value, texts);
        };
        match (step, value) {
            (Step::Key(key), Json::Object(object)) => self.member(object, key, rest, texts),
            (Step::Index(index), Json::Array(items)) => match items.get(*index) {
                Some(item) => self.walk(item, rest, texts),
                None => self.check.missing(),
            },
            (Step::Any, Json::Array(items)) => {
                Ternary::any(items.iter().map(|item| self.walk(item, rest, texts)))
            }
            (Step::All, Json::Array(items)) => {
                Ternary::all(items.iter().map(|item| self.walk(item, rest, texts)))
            }
            // A value on the path is of another type.
            _ => Ternary::Unknown,
        }
    }

    fn member<'t>(
        &self,
        object: &'t Object,
        key: &str,
        rest: &[Step],
        texts: &Texts<'t>,
    ) -> Ternary {
        match object.get(key) {
            Some(value) => self.walk(value, rest, texts),
            None => self.check.missing(),
        }
    }
}

fn show(values: Vec<&Json>) -> Option<String> {
    let shown: Vec<String> =
        values.iter().take(SHOWN_VALUES).map(|value| value.to_string()).collect();
    (!shown.is_empty()).then(|| shown.join(", ").chars().take(SHOWN_LENGTH).collect())
}

// === impl Check ===

impl Check {
    pub(super) fn equals(value: Json) -> Self {
        Self::only(Operator::Eq(value))
    }

    pub(super) fn any_of(values: Vec<Json>) -> Self {
        Self::only(Operator::In(values.into()))
    }

    pub(super) fn prefix(text: &str) -> Self {
        Self::only(Operator::Prefix([Part::prefix(text)].into()))
    }

    pub(super) fn suffix(text: &str) -> Self {
        Self::only(Operator::Suffix([Part::plain(text)].into()))
    }

    pub(super) fn contains(text: &str) -> Self {
        Self::only(Operator::Contains([Part::plain(text)].into()))
    }

    pub(super) fn regex(regex: Regex) -> Self {
        Self::only(Operator::Regex([regex].into()))
    }

    pub(super) fn compares(orderings: &'static [Ordering], limit: Number) -> Self {
        Self::only(Operator::Compare(orderings, limit))
    }

    fn only(operator: Operator) -> Self {
        Self([operator].into())
    }

    /// Whether `value` is exactly a wanted value.
    pub(super) fn names(&self, value: &Json) -> bool {
        let is_exact = |operator: &Operator| matches!(operator, Operator::Eq(_) | Operator::In(_));
        self.0.iter().all(is_exact) && self.value(value, &Texts::default()) == Ternary::True
    }

    /// Whether it is uncertain if `value` matches. False for values of a type that the operators
    /// are not about.
    pub(super) fn is_uncertain_about<'t>(&self, value: &'t Json, texts: &Texts<'t>) -> bool {
        let is_asked = |operator: &Operator| match operator {
            Operator::Eq(_) | Operator::In(_) => true,
            Operator::Compare(..) => matches!(value, Json::Number(_)),
            _ => matches!(value, Json::String(_)),
        };
        self.0.iter().all(is_asked) && self.value(value, texts) == Ternary::Unknown
    }

    fn compile(reader: &mut Reader<'_>, path: &str, node: &Node) -> Option<Self> {
        let operators = match &node.value {
            Value::Map(_) => return Self::operator_map(reader, path, node),
            Value::List(_) => Operator::In(jsons(reader, path, node)?),
            _ => Operator::Eq(json(reader, node)?),
        };
        Some(Self(Box::new([operators])))
    }

    fn operator_map(reader: &mut Reader<'_>, path: &str, node: &Node) -> Option<Self> {
        let entries = reader.entries(node, "an operator map");
        if entries.is_empty() {
            reader.error(node.span, format!("`{path}` names no operator"));
        }
        let mut operators = Vec::new();
        for (name, operand) in &entries {
            if OPERATORS.contains(&name.value) {
                operators.extend(operator(reader, name.value, operand));
                continue;
            }
            let message = format!("unknown operator `{}`", name.value);
            let finding = reader.finding(name.span, message);
            reader.found.push(advise_or(finding, name.value, OPERATORS, || {
                format!(
                    "operators are `{}`; a value further in is reached by a path, `{path}.{}`",
                    OPERATORS.join("`, `"),
                    name.value
                )
            }));
        }
        (operators.len() == entries.len() && !entries.is_empty()).then(|| Self(operators.into()))
    }

    fn value<'t>(&self, value: &'t Json, texts: &Texts<'t>) -> Ternary {
        match value {
            Json::String(text) => self.text(text, texts),
            other => self.each(|operator| operator.on_value(other)),
        }
    }

    /// Judges a text as written and in its alternate spellings.
    fn text<'t>(&self, text: &'t str, texts: &Texts<'t>) -> Ternary {
        texts.with(text, |read| self.each(|operator| operator.on_readings(read)))
    }

    fn missing(&self) -> Ternary {
        self.each(|operator| matches!(operator, Operator::Exists(false) | Operator::Not(_)).into())
    }

    fn each(&self, judge: impl FnMut(&Operator) -> Ternary) -> Ternary {
        Ternary::all(self.0.iter().map(judge))
    }
}

fn json(reader: &mut Reader<'_>, node: &Node) -> Option<Json> {
    let json = node.to_json();
    json.map_err(|span| reader.error(span, "a key must be text and given once")).ok()
}

fn jsons(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Box<[Json]>> {
    let items = reader.list(node, key);
    let values: Vec<Json> = items.iter().filter_map(|item| json(reader, item)).collect();
    (!values.is_empty()).then(|| values.into())
}

fn operator(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Operator> {
    use Ordering::{Equal, Greater, Less};
    Some(match name {
        "eq" => Operator::Eq(json(reader, node)?),
        "ne" => Operator::Not(Box::new(Operator::Eq(json(reader, node)?))),
        "in" => Operator::In(jsons(reader, name, node)?),
        "not_in" => Operator::Not(Box::new(Operator::In(jsons(reader, name, node)?))),
        "gt" => Operator::Compare(&[Greater], number(reader, name, node)?),
        "gte" => Operator::Compare(&[Greater, Equal], number(reader, name, node)?),
        "lt" => Operator::Compare(&[Less], number(reader, name, node)?),
        "lte" => Operator::Compare(&[Less, Equal], number(reader, name, node)?),
        "glob" => Operator::Glob(each_text(reader, name, node, Part::glob)?),
        "regex" => Operator::Regex(regexes(reader, name, node)?),
        "under" => Operator::Under(each_text(reader, name, node, Folder::new)?),
        "prefix" => Operator::Prefix(parts(reader, name, node, Part::prefix)?),
        "suffix" => Operator::Suffix(parts(reader, name, node, Part::plain)?),
        "contains" => Operator::Contains(parts(reader, name, node, Part::plain)?),
        "exists" => Operator::Exists(reader.flag(node, name)?),
        "len_lte" => Operator::LenLte(length(reader, node)?),
        other => {
            let finding = reader.finding(node.span, format!("unknown operator `{other}`"));
            reader.found.push(advise(finding, other, OPERATORS));
            return None;
        }
    })
}

fn number(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Number> {
    match &node.value {
        Value::Number(number) if decimal::Decimal::new(number.as_str()).is_some() => {
            Some(number.clone())
        }
        _ => {
            reader.expected(node, name, "a number");
            None
        }
    }
}

fn length(reader: &mut Reader<'_>, node: &Node) -> Option<usize> {
    let length = match &node.value {
        Value::Number(number) => number.as_str().parse().ok(),
        _ => None,
    };
    if length.is_none() {
        reader.error(node.span, "`len_lte` needs a whole number");
    }
    length
}

fn regexes(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Box<[Regex]>> {
    let mut budget = std::mem::take(&mut reader.regexes);
    let regexes = each_text(reader, name, node, |pattern| budget.regex(pattern));
    reader.regexes = budget;
    regexes
}

fn parts<P>(
    reader: &mut Reader<'_>,
    name: &str,
    node: &Node,
    part: fn(&str) -> P,
) -> Option<Box<[P]>> {
    each_text(reader, name, node, |text| Ok::<_, String>(part(text)))
}

/// Compiles one text or a list of texts; `None` on any error.
fn each_text<T, E: ToString>(
    reader: &mut Reader<'_>,
    name: &str,
    node: &Node,
    mut make: impl FnMut(&str) -> Result<T, E>,
) -> Option<Box<[T]>> {
    let texts = reader.texts(node, name);
    let mut made = Vec::with_capacity(texts.len());
    for text in &texts {
        match make(&text.value) {
            Ok(value) => made.push(value),
            Err(error) => reader.error(text.span, error.to_string()),
        }
    }
    (!texts.is_empty() && made.len() == texts.len()).then(|| made.into())
}

// === impl Operator ===

impl Operator {
    /// Judges a text and its alternate spellings. A match must hold for every text that it may turn
    /// out to be; if nothing matches, but another name of it would, the result is unknown.
    fn on_readings(&self, read: &Read<'_>) -> Ternary {
        let written = self.on_text(&read.text);
        match self {
            Self::Not(operator) => !operator.on_readings(read),
            // An exact match of the text as written is certain.
            Self::Eq(_) | Self::In(_) if written == Ternary::True => written,
            // `under` handles alternate spellings of paths itself.
            Self::Exists(_) | Self::LenLte(_) | Self::Under(_) => written,
            _ => {
                let others = read.others().iter().map(|other| self.on_text(other));
                match Ternary::unanimous(std::iter::once(written).chain(others)) {
                    Ternary::False => {
                        Ternary::any(read.names().iter().map(|name| self.on_text(name))).uncertain()
                    }
                    known => known,
                }
            }
        }
    }

    fn on_text(&self, text: &Text<'_>) -> Ternary {
        let is = |value: &Json| text_is(text.written(), value);
        match self {
            Self::Eq(wanted) => is(wanted),
            Self::In(values) => Ternary::any(values.iter().map(is)),
            Self::Not(operator) => !operator.on_text(text),
            Self::Compare(..) => Ternary::Unknown,
            Self::Glob(globs) => text.any_of(globs, |text, glob| glob.matches(text)),
            Self::Regex(regexes) => text.is_matched(regexes),
            Self::Prefix(parts) => text.any_at_end(parts, |text, part| text.starts_with(&**part)),
            Self::Suffix(parts) => text.any_at_end(parts, |text, part| text.ends_with(&**part)),
            Self::Contains(parts) => text.any_of(parts, |text, part| holds(text, part)),
            Self::Under(folders) => {
                Ternary::any(folders.iter().map(|folder| folder.holds(text.written()).into()))
            }
            Self::Exists(wanted) => (*wanted).into(),
            Self::LenLte(most) => (text.written().chars().nth(*most).is_none()).into(),
        }
    }

    fn on_value(&self, value: &Json) -> Ternary {
        match self {
            Self::Eq(wanted) => is(value, wanted),
            Self::In(values) => Ternary::any(values.iter().map(|one| is(value, one))),
            Self::Not(operator) => !operator.on_value(value),
            Self::Compare(orderings, limit) => match value {
                Json::Number(number) => {
                    numeral::compares(number.as_str(), limit.as_str(), orderings).into()
                }
                _ => Ternary::Unknown,
            },
            // Many servers treat null as missing.
            Self::Exists(_) if *value == Json::Null => Ternary::Unknown,
            Self::Exists(wanted) => (*wanted).into(),
            Self::LenLte(most) => match value {
                Json::Array(items) => (items.len() <= *most).into(),
                Json::Object(members) => (members.len() <= *most).into(),
                _ => Ternary::Unknown,
            },
            Self::Glob(_)
            | Self::Regex(_)
            | Self::Prefix(_)
            | Self::Suffix(_)
            | Self::Contains(_)
            | Self::Under(_) => Ternary::Unknown,
        }
    }
}

/// Whether `value` equals `wanted`; unknown if it does not, but a lax server may convert it.
fn is(value: &Json, wanted: &Json) -> Ternary {
    match equal(value, wanted) {
        Some(false) if coercion::may_become(value, wanted) => Ternary::Unknown,
        known => known.into(),
    }
}

fn text_is(text: &str, wanted: &Json) -> Ternary {
    match wanted {
        Json::String(wanted) if text == wanted => Ternary::True,
        _ if coercion::text_may_become(text, wanted) => Ternary::Unknown,
        _ => Ternary::False,
    }
}

#[cfg(test)]
mod tests;
