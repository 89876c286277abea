//! CEL values of an action.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value;
use cel::objects::Key;

use super::Variable;
use crate::action::{Action, Body, Hints};
use crate::intent::Intent;
use crate::json::{Json, Object};

/// The value of a variable. It is empty if the action has no such part, so that one expression can
/// handle both MCP and REST; a part that CEL cannot represent is an error.
pub(super) fn value(variable: Variable, action: &Action, intent: Intent) -> Result<Value, String> {
    let (call, http) = (action.target.call(), action.target.http());
    Ok(match variable {
        Variable::Agent => map([("name", text(&action.agent.name))]),
        Variable::Session => map([("id", text(&action.session))]),
        Variable::Server => text(action.target.server().map_or("", |server| server)),
        Variable::Provider => text(http.map_or("", |http| http.provider.as_str())),
        Variable::Tool => text(call.map_or("", |call| &call.tool)),
        Variable::Args => action.target.args().map_or_else(|| Ok(map([])), object)?,
        Variable::Annotations => call.map_or_else(|| map([]), |call| hints(call.hints())),
        Variable::Method => text(action.target.method()),
        Variable::Path => text(http.map_or("", |http| &http.path)),
        Variable::Query => pairs(http.map(|http| &*http.query).unwrap_or_default())?,
        Variable::Headers => pairs(http.map(|http| &*http.headers).unwrap_or_default())?,
        Variable::Body => match http.map(|http| &http.body) {
            None | Some(Body::Empty) => Value::Null,
            Some(Body::Json(body)) => json(body)?,
            Some(Body::Text(body)) => text(body),
            Some(Body::Opaque) => return Err("the body cannot be read".to_owned()),
        },
        Variable::Intent => text(intent.as_str()),
        Variable::Time => {
            let at = action.at;
            let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
            chrono::DateTime::from_timestamp(at.as_second(), nanoseconds)
                .map(|time| Value::Timestamp(time.fixed_offset()))
                .ok_or("the time is out of range")?
        }
    })
}

pub(super) fn text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    from_entries(entries.into_iter().map(|(key, value)| (key.to_owned(), value)))
}

fn from_entries(entries: impl Iterator<Item = (String, Value)>) -> Value {
    let entries: HashMap<Key, Value> =
        entries.map(|(key, value)| (Key::String(Arc::new(key)), value)).collect();
    Value::Map(entries.into())
}

fn hints(hints: Hints) -> Value {
    map([
        ("readOnlyHint", Value::Bool(hints.read_only)),
        ("destructiveHint", Value::Bool(hints.destructive)),
        ("idempotentHint", Value::Bool(hints.idempotent)),
        ("openWorldHint", Value::Bool(hints.open_world)),
    ])
}

/// Fails on repeated names: servers may use any of the values.
fn pairs(pairs: &[(String, String)]) -> Result<Value, String> {
    let mut entries: HashMap<Key, Value> = HashMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        if entries.insert(Key::String(Arc::new(name.clone())), text(value)).is_some() {
            return Err(format!("`{name}` is given twice"));
        }
    }
    Ok(Value::Map(entries.into()))
}

fn object(object: &Object) -> Result<Value, String> {
    let entries: Result<Vec<_>, String> =
        object.iter().map(|(key, value)| Ok((key.to_owned(), json(value)?))).collect();
    Ok(from_entries(entries?.into_iter()))
}

fn json(value: &Json) -> Result<Value, String> {
    Ok(match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => self::number(number.as_str())?,
        Json::String(value) => text(value),
        Json::Array(items) => {
            Value::List(Arc::new(items.iter().map(json).collect::<Result<_, _>>()?))
        }
        Json::Object(members) => object(members)?,
    })
}

/// Converts integers to int and other numbers to double; those out of range are an error, never
/// another number.
fn number(text: &str) -> Result<Value, String> {
    let unfit = || format!("the number {} does not fit", text.get(..40).unwrap_or(text));
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return text.parse().map(Value::Int).map_err(|_| unfit());
    }
    let double: f64 = text.parse().map_err(|_| unfit())?;
    if double.is_finite() { Ok(Value::Float(double)) } else { Err(unfit()) }
}
