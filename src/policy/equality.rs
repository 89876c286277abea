//! Equality of JSON values. Pure.

use std::cmp::Ordering;

use super::decimal;
use crate::json::Json;

/// Equality without coercion. Numbers are compared as exact decimals, objects regardless of the
/// order of keys. `None` if a number cannot be judged.
pub(super) fn equal(one: &Json, other: &Json) -> Option<bool> {
    let all = |answers: &mut dyn Iterator<Item = Option<bool>>| {
        let mut certain = true;
        for answer in answers {
            match answer {
                Some(true) => {}
                Some(false) => return Some(false),
                None => certain = false,
            }
        }
        certain.then_some(true)
    };
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => {
            decimal::compare_as_read(one.as_str(), other.as_str()).map(Ordering::is_eq)
        }
        (Json::Array(one), Json::Array(other)) if one.len() == other.len() => {
            all(&mut one.iter().zip(other).map(|(one, other)| equal(one, other)))
        }
        (Json::Object(one), Json::Object(other)) if one.len() == other.len() => {
            all(&mut one.iter().map(|(key, one)| match other.get(key) {
                Some(other) => equal(one, other),
                None => Some(false),
            }))
        }
        (Json::Null, Json::Null) => Some(true),
        (Json::Bool(one), Json::Bool(other)) => Some(one == other),
        (Json::String(one), Json::String(other)) => Some(one == other),
        _ => Some(false),
    }
}
