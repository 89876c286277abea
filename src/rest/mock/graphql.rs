//! GraphQL in test mode: the fields that the document asks for, with values that
//! their names call for. There is no schema here, so that a field is a list where its
//! name is one's, and an object where it has a selection.

use bluejay_core::AsIter;
use bluejay_parser::ast::executable::{
    ExecutableDocument, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet,
};
use bluejay_parser::ast::{Parse, ParseOptions};
use serde_json::{Map, Value, json};

use super::MOCK_TIME;
use crate::action::{Body, HttpRequest, Provider};
use crate::json::Json;

/// Maximum depth of a response: fragments may spread each other in circles.
const MAX_DEPTH: usize = 100;

/// Maximum number of fields in a response: fragments may multiply.
const MAX_FIELDS: usize = 10_000;

/// The mock response to an admitted GraphQL request; `None` for other requests. A list of
/// operations gets a list of responses.
pub(super) fn answer(request: &HttpRequest) -> Option<Value> {
    let takes_documents =
        matches!(request.provider, Provider::Github | Provider::Linear | Provider::Salesforce);
    if !takes_documents || !request.path.ends_with("/graphql") {
        return None;
    }
    match &request.body {
        Body::Json(Json::Array(operations)) => operations.iter().map(one).collect(),
        Body::Json(operation) => one(operation),
        _ => None,
    }
}

fn one(operation: &Json) -> Option<Value> {
    let data = data(operation)?;
    Some(json!({ "data": data, "extensions": { "mock": true } }))
}

fn data(operation: &Json) -> Option<Value> {
    let text = |key: &str| match operation.as_object()?.get(key) {
        Some(Json::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let options = ParseOptions {
        graphql_ruby_compatibility: false,
        max_depth: 128,
        max_tokens: Some(50_000),
    };
    let document = ExecutableDocument::parse_with_options(text("query")?, options).result.ok()?;
    let named = text("operationName").filter(|name| !name.is_empty());
    let is_meant = |one: &&OperationDefinition<'_>| match one {
        OperationDefinition::Explicit(one) => {
            named.is_none() || one.name().map(AsRef::as_ref) == named
        }
        OperationDefinition::Implicit(_) => named.is_none(),
    };
    let operation = document.operation_definitions().iter().find(is_meant)?;
    let mut filling = Filling { document: &document, left: MAX_FIELDS, depth: 0 };
    Some(filling.object("Mock", operation.selection_set()))
}

struct Filling<'d> {
    document: &'d ExecutableDocument<'d>,
    left: usize,
    depth: usize,
}

impl<'d> Filling<'d> {
    fn object(&mut self, name: &str, selections: &'d SelectionSet<'d>) -> Value {
        let mut members = Map::new();
        self.fill(name, selections, &mut members);
        Value::Object(members)
    }

    fn fill(
        &mut self,
        name: &str,
        selections: &'d SelectionSet<'d>,
        members: &mut Map<String, Value>,
    ) {
        if self.depth >= MAX_DEPTH {
            return;
        }
        self.depth += 1;
        self.select(name, selections, members);
        self.depth -= 1;
    }

    fn select(
        &mut self,
        name: &str,
        selections: &'d SelectionSet<'d>,
        members: &mut Map<String, Value>,
    ) {
        for selection in selections.iter() {
            let Some(left) = self.left.checked_sub(1) else { return };
            self.left = left;
            match selection {
                Selection::Field(field) => self.field(name, field, members),
                Selection::InlineFragment(inline) => {
                    self.fill(name, inline.selection_set(), members);
                }
                Selection::FragmentSpread(spread) => {
                    let is_meant = |one: &&FragmentDefinition<'_>| {
                        one.name().as_str() == spread.name().as_str()
                    };
                    let document = self.document;
                    if let Some(one) = document.fragment_definitions().iter().find(is_meant) {
                        self.fill(name, one.selection_set(), members);
                    }
                }
            }
        }
    }

    fn field(&mut self, of: &str, field: &'d Field<'d>, members: &mut Map<String, Value>) {
        let name = field.name().as_str();
        let key = field.response_key();
        let value = match field.selection_set() {
            None => scalar(of, name),
            Some(selections) => {
                let one = self.object(name, selections);
                if is_list(name, &one) { json!([one]) } else { one }
            }
        };
        match (members.get_mut(key), value) {
            // The same field may be selected in several parts.
            (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
            (_, value) => {
                members.insert(key.to_owned(), value);
            }
        }
    }
}

/// Whether the field is a list: `nodes` of a connection, or a plural that is not a connection
/// itself.
fn is_list(name: &str, one: &Value) -> bool {
    let is_connection =
        ["nodes", "edges", "pageInfo", "totalCount"].iter().any(|part| one.get(part).is_some());
    let is_plural = name.ends_with('s')
        && !["ss", "us", "ettings", "Exists"].iter().any(|end| name.ends_with(end));
    matches!(name, "nodes" | "edges" | "syncedWith") || is_plural && !is_connection
}

/// A value that fits the field's name.
fn scalar(of: &str, name: &str) -> Value {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let starts = |starts: &[&str]| {
        let next = |start: &str| name.strip_prefix(start).and_then(|rest| rest.chars().next());
        starts.iter().any(|start| next(start).is_some_and(char::is_uppercase))
    };
    match name {
        "__typename" => {
            let mut letters = of.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>().into()
        }
        "endCursor" | "startCursor" => Value::Null,
        "success" | "active" | "enabled" | "admin" => true.into(),
        "archived" | "trashed" | "locked" | "merged" | "closed" | "private" => false.into(),
        "number" | "priority" | "count" | "total" | "estimate" | "sortOrder" | "lastSyncId"
        | "position" | "progress" | "databaseId" => 1.into(),
        "email" => "mock@example.com".into(),
        "login" | "key" | "urlKey" => "mock".into(),
        "identifier" => "MOCK-1".into(),
        "description" | "body" | "bodyText" => "Written by nobody.".into(),
        _ if name == "id" || ends(&["Id", "ID"]) => "00000000-0000-4000-8000-000000000001".into(),
        _ if ends(&["Ids", "Labels"]) => json!([]),
        _ if ends(&["At"]) => MOCK_TIME.into(),
        _ if ends(&["Date"]) => "2026-01-15".into(),
        _ if starts(&["is", "has", "can", "viewerCan", "viewerHas"]) => false.into(),
        _ if ends(&["Count", "Number"]) => 1.into(),
        _ if name == "url" || ends(&["Url", "URL"]) => "https://example.com/mock".into(),
        _ => format!("Mock {name}").into(),
    }
}
