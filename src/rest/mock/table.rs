//! A provider's mock answers: requests and templates, read from JSON.
//!
//! `{"things": {NAME: TEMPLATE}, "answers": [[REQUEST, TEMPLATE, STATUS?, HEADERS?]],
//! "one": TEMPLATE, "many": TEMPLATE, "created": STATUS?}`. A request is
//! `METHOD /path/{name}/…`, `{name...}` for any number of segments, `?key` or
//! `?key=value` behind it for a query that must be there; the first that fits holds.
//! In a template `{"$": NAME, …}` stands for a thing with other members put in,
//! `"$sent": true` for what the request's body says, and in a text or a member's name
//! `{name}` for a part of the path, `{.name}` for a member of the body, `#{name}` for a
//! number. `null` is an answer without a body.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Maximum nesting depth.
const MAX_DEPTH: usize = 16;

/// The mock responses of one provider.
#[derive(Debug, Default)]
pub(super) struct Table {
    things: Map<String, Value>,
    answers: Vec<Line>,
    one: Value,
    many: Value,
    /// Status for created resources.
    created: u16,
}

#[derive(Debug)]
struct Line {
    method: String,
    segments: Vec<Segment>,
    /// A query parameter that must be present.
    query: Option<String>,
    template: Value,
    status: u16,
    /// Names and value templates.
    headers: Vec<(String, Value)>,
}

#[derive(Debug)]
enum Segment {
    Is(String),
    Any(String),
    Rest(String),
}

/// A request to look up.
#[derive(Debug, Clone, Copy)]
pub(super) struct MockRequest<'r> {
    pub(super) method: &'r str,
    pub(super) path: &'r str,
    pub(super) query: &'r [(String, String)],
    pub(super) sent: &'r Map<String, Value>,
}

/// Status, body (null for none) and headers.
#[derive(Debug, PartialEq)]
pub(super) struct MockResponse {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) headers: Vec<(String, String)>,
}

impl MockResponse {
    /// A 204 without a body.
    pub(super) fn nothing() -> Self {
        Self::new(204, Value::Null)
    }

    pub(super) fn new(status: u16, body: Value) -> Self {
        Self { status, body, headers: Vec::new() }
    }
}

impl Table {
    /// Parses a table. A test checks that all of ours are valid.
    pub(super) fn read(text: &str) -> Self {
        let Ok(Value::Object(mut whole)) = serde_json::from_str(text) else {
            return Self::default();
        };
        let mut take = |key: &str| whole.remove(key).unwrap_or_default();
        let answers = take("answers");
        let lines = answers.as_array().into_iter().flatten().filter_map(Line::read);
        Self {
            answers: lines.collect(),
            things: take("things").as_object().cloned().unwrap_or_default(),
            one: take("one"),
            many: take("many"),
            created: status(Some(&take("created"))).unwrap_or(201),
        }
    }

    /// The response in the table.
    pub(super) fn find(&self, request: &MockRequest<'_>) -> Option<MockResponse> {
        let fits = |line| Some((line, Line::fits(line, request)?));
        let (line, parts) = self.answers.iter().find_map(fits)?;
        let filling = Filling { table: self, parts, sent: request.sent };
        let text = |value| filling.value(value, 0).as_str().map(str::to_owned);
        let headers =
            line.headers.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?)));
        let headers = headers.collect();
        Some(MockResponse { status: line.status, body: filling.value(&line.template, 0), headers })
    }

    /// A resource of that kind, or a list of them if the path looks like a collection.
    pub(super) fn plausible(
        &self,
        request: &MockRequest<'_>,
        kind: &str,
        is_new: bool,
    ) -> MockResponse {
        let last = request.path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("item");
        let is_list = request.method == "GET" && last.ends_with('s')
            || matches!(last, "search" | "query" | "list");
        let kinds = if kind.ends_with('s') { kind.to_owned() } else { format!("{kind}s") };
        let id = if request.method == "POST" { "mock-1" } else { last };
        let parts = [("kind", kind), ("kinds", &kinds), ("id", id), ("last", last)];
        let parts = parts.map(|(name, part)| (name.to_owned(), part.to_owned())).into();
        let filling = Filling { table: self, parts, sent: request.sent };
        let template = if is_list { &self.many } else { &self.one };
        let status =
            if is_new && request.method == "POST" && !is_list { self.created } else { 200 };
        MockResponse::new(status, filling.value(template, 0))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// References to resources that are not defined.
    #[cfg(test)]
    pub(super) fn dangling(&self) -> Vec<String> {
        fn named(value: &Value, names: &mut Vec<String>) {
            match value {
                Value::Array(items) => items.iter().for_each(|item| named(item, names)),
                Value::Object(members) => {
                    names.extend(members.get("$").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|member| named(member, names));
                }
                _ => {}
            }
        }
        let mut names = Vec::new();
        let templates = self.answers.iter().map(|line| &line.template);
        let all = templates.chain(self.things.values()).chain([&self.one, &self.many]);
        all.for_each(|template| named(template, &mut names));
        names.retain(|name| !self.things.contains_key(name));
        names
    }
}

impl Line {
    fn read(line: &Value) -> Option<Self> {
        let (method, place) = line.get(0)?.as_str()?.split_once(' ')?;
        let (path, query) = match place.split_once('?') {
            Some((path, key)) => (path, Some(key.to_owned())),
            None => (place, None),
        };
        let name = |part: &str| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned());
        let segment = |part: &str| match name(part) {
            None => Segment::Is(part.to_owned()),
            Some(name) => match name.strip_suffix("...") {
                Some(rest) => Segment::Rest(rest.to_owned()),
                None => Segment::Any(name),
            },
        };
        let template = line.get(1)?.clone();
        let usual = if template.is_null() { 204 } else { 200 };
        Some(Self {
            method: method.to_owned(),
            segments: parts(path).map(segment).collect(),
            query,
            status: status(line.get(2)).unwrap_or(usual),
            headers: line
                .get(3)
                .and_then(Value::as_object)
                .cloned()
                .into_iter()
                .flatten()
                .collect(),
            template,
        })
    }

    /// The named path segments, if the request matches this line.
    fn fits(&self, request: &MockRequest<'_>) -> Option<HashMap<String, String>> {
        let has = |wanted: &String| {
            let (key, value) = wanted.split_once('=').unwrap_or((wanted, ""));
            let is_it = |(name, given): &(String, String)| {
                name == key && (value.is_empty() || given == value)
            };
            request.query.iter().any(is_it)
        };
        if self.method != request.method || !self.query.as_ref().is_none_or(has) {
            return None;
        }
        let mut named: HashMap<_, _> = queried_type(request).into_iter().collect();
        // As many segments as the others leave.
        let spread = parts(request.path).count().checked_sub(self.segments.len().saturating_sub(1));
        let mut left = parts(request.path);
        for segment in &self.segments {
            match segment {
                Segment::Is(text) => {
                    left.next().filter(|part| part == text)?;
                }
                Segment::Any(name) => {
                    named.insert(name.clone(), left.next()?.to_owned());
                }
                Segment::Rest(name) => {
                    let rest: Vec<&str> = left.by_ref().take(spread?).collect();
                    named.insert(name.clone(), rest.join("/"));
                }
            }
        }
        left.next().is_none().then_some(named)
    }
}

fn status(written: Option<&Value>) -> Option<u16> {
    u16::try_from(written?.as_u64()?).ok()
}

/// The object type in a query: `Account` in `?q=SELECT Id FROM Account`.
fn queried_type(request: &MockRequest<'_>) -> Option<(String, String)> {
    let (_, soql) = request.query.iter().find(|(name, _)| name == "q")?;
    let mut words = soql.split_whitespace().skip_while(|word| !word.eq_ignore_ascii_case("from"));
    Some(("type".to_owned(), words.nth(1)?.to_owned()))
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// The values for a template's placeholders.
struct Filling<'t> {
    table: &'t Table,
    parts: HashMap<String, String>,
    sent: &'t Map<String, Value>,
}

impl Filling<'_> {
    fn value(&self, template: &Value, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        match template {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().map(|item| self.value(item, depth + 1)).collect(),
            Value::Object(members) => self.object(members, depth),
            other => other.clone(),
        }
    }

    fn object(&self, members: &Map<String, Value>, depth: usize) -> Value {
        let thing = members.get("$").and_then(Value::as_str);
        let thing = thing.and_then(|name| self.table.things.get(name));
        let mut whole = match thing.map(|thing| self.value(thing, depth + 1)) {
            Some(Value::Object(whole)) => whole,
            // Lists and strings are used as they are.
            Some(other) => return other,
            None => Map::new(),
        };
        for (key, member) in members.iter().filter(|(key, _)| !key.starts_with('$')) {
            let key = self.text(key).as_str().map_or_else(|| key.clone(), str::to_owned);
            whole.insert(key, self.value(member, depth + 1));
        }
        if members.contains_key("$sent") {
            whole.extend(self.sent.clone());
        }
        Value::Object(whole)
    }

    fn text(&self, text: &str) -> Value {
        if let Some(name) = text.strip_prefix("#{").and_then(|rest| rest.strip_suffix('}')) {
            let number = self.part(name).and_then(|part| part.parse::<u64>().ok());
            return number.unwrap_or(1).into();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            match after.split_once('}').map(|(name, after)| (self.part(name), after)) {
                Some((Some(part), after)) => {
                    out.push_str(&part);
                    rest = after;
                }
                _ => {
                    out.push('{');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out.into()
    }

    fn part(&self, name: &str) -> Option<String> {
        match name.strip_prefix('.') {
            Some(key) => {
                Some(self.sent.get(key).and_then(Value::as_str).unwrap_or_default().to_owned())
            }
            None => self.parts.get(name).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &str = r##"{
        "things": {"user": {"login": "mock", "id": 1}},
        "answers": [
            ["GET /a/{x}?only", "with {x}"],
            ["GET /a/{x}", {"$": "user", "of": "{x} {unknown}", "n": "#{x}", "by": {"$": "user"}}],
            ["POST /b", {"$": "user", "$sent": true, "said": "<{.login}>"}, 201],
            ["PUT /c/{rest...}/end", null, 200, {"location": "/c/{rest}"}],
            ["DELETE /b/{rest...}", null]
        ],
        "one": {"id": "{id}", "kind": "{kind}"},
        "many": [{"kind": "{kinds}"}]
    }"##;

    #[test]
    fn templates_are_filled() {
        let table = Table::read(TABLE);
        let sent = json!({ "login": "me" }).as_object().cloned().unwrap();
        let find = |method: &str, path: &str, query: &[(String, String)]| {
            table.find(&MockRequest { method, path, query, sent: &sent })
        };
        let body = |found: Option<MockResponse>| found.map(|found| found.body);
        let only = [("only".to_owned(), String::new())];
        assert_eq!(body(find("GET", "/a/7", &only)), Some(json!("with 7")));
        let whole = json!({ "login": "mock", "id": 1, "of": "7 {unknown}", "n": 7,
            "by": { "login": "mock", "id": 1 } });
        assert_eq!(body(find("GET", "/a/7", &[])), Some(whole));
        let made = find("POST", "/b/", &[]).unwrap();
        assert_eq!(
            (made.status, &made.body["login"], &made.body["said"]),
            (201, &"me".into(), &"<me>".into())
        );
        assert_eq!(find("DELETE", "/b/c/d", &[]), Some(MockResponse::nothing()));
        assert_eq!(find("GET", "/b", &[]), None);
        let headers = |found: Option<MockResponse>| found.map(|found| found.headers);
        let led = |to: &str| Some(vec![("location".to_owned(), to.to_owned())]);
        assert_eq!(headers(find("PUT", "/c/x/y/end", &[])), led("/c/x/y"));
        assert_eq!(headers(find("PUT", "/c/end", &[])), led("/c/"));
        assert_eq!(find("PUT", "/c/x/y", &[]), None);
        assert_eq!(find("PUT", "/", &[]), None);
        let request = MockRequest { method: "GET", path: "/x/widgets", query: &[], sent: &sent };
        assert_eq!(table.plausible(&request, "widget", false).body, json!([{ "kind": "widgets" }]));
        let request = MockRequest { path: "/x/3", ..request };
        assert_eq!(table.plausible(&request, "widget", false).body["id"], "3");
    }
}
