//! Properties of the strict JSON parser: what it accepts, `serde_json` parses to the same value,
//! except for the spelling of numbers; and writing and parsing it again gives the same value.

#![no_main]

use agentgate::json::{self, Json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    let other = serde_json::from_slice::<Value>(text);
    let Ok(read) = json::parse(text) else { return };
    match other {
        Ok(other) => same(&read, &other),
        // Limits of `serde_json` that ours does not have.
        Err(error) => {
            let said = error.to_string();
            let is_too_much =
                said.starts_with("number out of range") || said.starts_with("recursion");
            assert!(is_too_much, "{said}");
        }
    }
    for written in [read.canonical(), read.to_string()] {
        let again = json::parse(written.as_bytes()).expect("what was written here");
        assert_eq!(again.canonical(), read.canonical());
    }
});

fn same(read: &Json, other: &Value) {
    match (read, other) {
        (Json::Null, Value::Null) => {}
        (Json::Bool(a), Value::Bool(b)) => assert_eq!(a, b),
        (Json::String(a), Value::String(b)) => assert_eq!(a, b),
        (Json::Number(_), Value::Number(b)) => {
            let a: Value = serde_json::from_str(&read.to_string()).expect("a number");
            assert_eq!(a.as_f64(), b.as_f64());
        }
        (Json::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| same(a, b));
        }
        (Json::Object(a), Value::Object(b)) => {
            assert_eq!(a.iter().count(), b.len());
            a.iter().for_each(|(key, value)| same(value, &b[key]));
        }
        _ => panic!("{read:?} is not {other:?}"),
    }
}
