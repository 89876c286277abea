//! A JSON schema of policy files, for editors. It is made of the words that the reader knows, and
//! says nothing about what is inside of globs, paths and expressions: `check` does.

use serde_json::{Map, Value, json};

use super::document::{
    CLAUSE_KEYS, DAYS, DEFAULT_EFFECTS, DOCUMENT_KEYS, EFFECTS, HINTS, INTENT_OF_WRITES, MODES,
    NESTING_KEYS, RULE_KEYS, TEST_KEYS,
};
use super::matcher::OPERATORS;
use crate::intent::Intent;

/// The schema, in draft 7, which editors know best.
#[must_use]
pub fn schema() -> Value {
    let rule: Vec<&str> = RULE_KEYS.iter().chain(CLAUSE_KEYS).copied().collect();
    let condition: Vec<&str> = NESTING_KEYS.iter().chain(CLAUSE_KEYS).copied().collect();
    let mut schema = object(DOCUMENT_KEYS, &["name"]);
    let about = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A policy of AgentGate",
        "definitions": {
            "rule": object(&rule, &["effect"]),
            "condition": object(&condition, &[]),
            "test": object(TEST_KEYS, &["request", "expect"]),
            "matcher": matcher(),
        },
    });
    if let (Value::Object(schema), Value::Object(about)) = (&mut schema, about) {
        schema.extend(about);
    }
    schema
}

/// A map with these keys and no others.
fn object(keys: &[&str], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), property(key))).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// What a key is and means. A key that is not named here is a text.
fn property(key: &str) -> Value {
    let (mut shape, about) = match key {
        "name" => (text(), "What refusals and the log call it"),
        "description" => (text(), "For people"),
        "rules" => (list_or_nothing("rule"), "The first that matches decides"),
        "default_effect" => {
            (words(DEFAULT_EFFECTS), "What applies if no rule matches: deny unless given")
        }
        "default_reason" => (text(), "The reason that a refusal by the default gives"),
        "time_restrictions" => (hours(), "When the policy allows anything at all"),
        "rate_limit" => (rate(), "The most requests of an agent"),
        "mode" => {
            (words(MODES), "observe lets everything through and records what would be refused")
        }
        "tests" => (list_or_nothing("test"), "What `agentgate test` runs"),
        "effect" => (words(EFFECTS), "The decision"),
        "expect" => (words(EFFECTS), "The decision that is expected"),
        "rule" => (text(), "The rule that is expected to decide"),
        "reason" => (text(), "Why, in a refusal"),
        "suggestion" => (text(), "What to do instead, in a refusal"),
        "tool" => (texts(), "Tools, as globs"),
        "server" => (texts(), "MCP servers, as globs"),
        "agent" => (texts(), "Agents, as globs"),
        "provider" => (texts(), "Providers of REST APIs"),
        "resource" => (texts(), "Paths of REST requests, as globs"),
        "methods" => (texts(), "Methods of HTTP or of MCP"),
        "intent" => (one_or_more(&intents()), "What the call does, whatever it is called"),
        "annotations" => (hints(), "The hints of the tool's server"),
        "args" => (matchers(), "Arguments, by their path"),
        "body" => (matchers(), "Members of the body, by their path"),
        "query" => (matchers(), "Query parameters"),
        "headers" => (matchers(), "Headers"),
        "when" => (text(), "An expression in CEL that has to be true"),
        "conditions" => (reference("condition"), "What has to hold besides"),
        "and" | "or" => (list("condition"), "Conditions that all, or of which one, must hold"),
        "not" => (reference("condition"), "A condition that must not hold"),
        // It has a form of its own for each kind of request.
        "request" => (json!({ "type": "object" }), "The request, as `agentgate explain` takes it"),
        _ => (text(), ""),
    };
    if let Value::Object(shape) = &mut shape {
        shape.insert("description".to_owned(), about.into());
    }
    shape
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn texts() -> Value {
    one_or_more(&text())
}

/// One of them, or a list of some.
fn one_or_more(item: &Value) -> Value {
    json!({ "anyOf": [item, { "type": "array", "minItems": 1, "items": item }] })
}

fn words<T>(words: &[(&str, T)]) -> Value {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    json!({ "enum": words })
}

fn intents() -> Value {
    let words = Intent::ALL.iter().map(|intent| intent.as_str());
    json!({ "enum": words.chain([INTENT_OF_WRITES]).collect::<Vec<_>>() })
}

/// A reference is wrapped, because draft 7 ignores what stands beside it.
fn reference(name: &str) -> Value {
    json!({ "allOf": [{ "$ref": format!("#/definitions/{name}") }] })
}

fn list(of: &str) -> Value {
    json!({ "type": "array", "minItems": 1, "items": reference(of) })
}

/// A list, or a key with nothing after it.
fn list_or_nothing(of: &str) -> Value {
    json!({ "type": ["array", "null"], "items": reference(of) })
}

fn hints() -> Value {
    let hints = HINTS.iter().map(|(name, _)| ((*name).to_owned(), json!({ "type": "boolean" })));
    json!({
        "type": "object",
        "properties": hints.collect::<Map<_, _>>(),
        "minProperties": 1,
        "additionalProperties": false,
    })
}

fn matchers() -> Value {
    json!({ "type": "object", "minProperties": 1, "additionalProperties": reference("matcher") })
}

/// A value, a list of values, or a map of operators.
fn matcher() -> Value {
    let operators = OPERATORS.iter().map(|name| ((*name).to_owned(), json!({})));
    json!({
        "anyOf": [
            { "not": { "type": "object" } },
            {
                "type": "object",
                "properties": operators.collect::<Map<_, _>>(),
                "minProperties": 1,
                "additionalProperties": false,
            },
        ],
    })
}

fn hours() -> Value {
    let day = words(DAYS);
    json!({
        "type": "object",
        "properties": {
            "enabled": { "type": "boolean" },
            "timezone": { "type": "string", "description": "Such as Europe/Berlin" },
            "allowed_hours": {
                "type": "object",
                "properties": { "start": text(), "end": text() },
                "required": ["start", "end"],
                "additionalProperties": false,
            },
            "allowed_days": one_or_more(&day),
        },
        "additionalProperties": false,
    })
}

fn rate() -> Value {
    let count = json!({ "type": "integer", "minimum": 1 });
    json!({
        "type": "object",
        "properties": {
            "enabled": { "type": "boolean" },
            "requests_per_minute": count,
            "requests_per_hour": count,
        },
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_described() {
        let keys = [DOCUMENT_KEYS, RULE_KEYS, CLAUSE_KEYS, NESTING_KEYS, TEST_KEYS].concat();
        for key in keys {
            assert_ne!(property(key)["description"], "", "{key}");
        }
    }
}
