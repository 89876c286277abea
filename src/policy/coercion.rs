//! What servers with lax parsers take for a value of another type. Pure.
//!
//! Pydantic, on which the Python SDK's tools stand, reads `"yes"` and 1 as true and
//! `" 42 "` as 42 (<https://docs.pydantic.dev/latest/concepts/conversion_table/>);
//! JavaScript takes anything for true that is not empty, zero or null, and makes text of
//! a list of one. None of them is equal to the value; neither is it certainly another.

use std::cmp::Ordering;

use super::decimal::{self, Decimal};
use super::equality::equal;
use crate::fold::fold;
use crate::json::Json;

/// Words for true and false, in lower case.
const TRUE: [&str; 5] = ["true", "1", "t", "y", "yes"];
const FALSE: [&str; 7] = ["", "false", "0", "f", "n", "no", "off"];

/// Whether some server takes `value` for `wanted`, which is of another type or holds
/// members that are.
pub(super) fn may_become(value: &Json, wanted: &Json) -> bool {
    match (value, wanted) {
        (_, Json::Null) => false,
        (Json::Array(items), Json::Array(wanted)) => {
            items.len() == wanted.len()
                && items.iter().zip(wanted).all(|(item, wanted)| is_or_may_become(item, wanted))
        }
        (Json::Object(members), Json::Object(wanted)) => {
            members.len() == wanted.len()
                && wanted.iter().all(|(key, wanted)| {
                    let is_same = |other: &str| fold(other) == fold(key);
                    let mut same = members.iter().filter(|(other, _)| is_same(other));
                    same.any(|(_, member)| is_or_may_become(member, wanted))
                })
        }
        (Json::String(text), _) => text_may_become(text, wanted),
        // To Python an empty list or object is false, to JavaScript true.
        (_, Json::Bool(wanted)) => is_truthy(value) == *wanted || is_empty(value),
        (Json::Array(items), _) => match items.as_slice() {
            [only] => only == wanted || may_become(only, wanted),
            _ => false,
        },
        (Json::Bool(value), Json::Number(wanted)) => {
            same_number(if *value { "1" } else { "0" }, wanted.as_str())
        }
        (Json::Bool(value), Json::String(wanted)) => {
            wanted.eq_ignore_ascii_case(if *value { "true" } else { "false" })
        }
        (Json::Number(value), Json::String(wanted)) => same_number(wanted, value.as_str()),
        _ => false,
    }
}

/// The same, for a text.
pub(super) fn text_may_become(text: &str, wanted: &Json) -> bool {
    match wanted {
        // Any text is true to JavaScript, `"false"` too.
        Json::Bool(true) => !text.is_empty(),
        Json::Bool(false) => {
            let text = text.trim();
            FALSE.iter().any(|word| text.eq_ignore_ascii_case(word))
        }
        Json::Number(wanted) => {
            same_number(text, wanted.as_str())
                || TRUE.iter().any(|word| text.eq_ignore_ascii_case(word))
                    && same_number("1", wanted.as_str())
        }
        // The Python SDK parses a text that is given for a list or an object.
        Json::Array(_) | Json::Object(_) => match crate::json::parse(text.as_bytes()) {
            Ok(parsed @ (Json::Array(_) | Json::Object(_))) => is_or_may_become(&parsed, wanted),
            Ok(_) => false,
            // Some read what this does not: a comma at the end, a key twice.
            Err(_) => text.trim_start().starts_with(['[', '{']),
        },
        Json::Null | Json::String(_) => false,
    }
}

fn is_or_may_become(value: &Json, wanted: &Json) -> bool {
    equal(value, wanted) != Some(false) || may_become(value, wanted)
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn is_truthy(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Number(number) => !same_number("0", number.as_str()),
        Json::String(text) => !text.is_empty(),
        Json::Array(_) | Json::Object(_) => true,
    }
}

/// Whether a text is a number to some reader (` 42 `, `+42`, `4_2`, `0x2a`), and this one.
fn same_number(text: &str, number: &str) -> bool {
    let plain = text.trim().trim_start_matches('+').replace('_', "");
    let hexadecimal = || {
        let digits = plain.to_ascii_lowercase();
        i128::from_str_radix(digits.strip_prefix("0x")?, 16).ok().map(|value| value.to_string())
    };
    let plain = hexadecimal().unwrap_or(plain);
    let is_number = !plain.is_empty()
        && plain.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && plain.bytes().any(|b| b.is_ascii_digit());
    is_number
        && Decimal::new(&plain).is_some()
        && decimal::compare(&plain, number) == Some(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn lax_readers_take_one_type_for_another() {
        let may = |value: &str, wanted: &str| {
            let json = |text: &str| parse(text.as_bytes()).unwrap();
            may_become(&json(value), &json(wanted))
        };
        for (value, wanted) in [
            (r#""true""#, "true"),
            (r#""yes""#, "true"),
            (r#""false""#, "true"),
            ("1", "true"),
            ("-0.5", "true"),
            ("[]", "true"),
            ("{}", "true"),
            (r#""No""#, "false"),
            (r#""""#, "false"),
            ("0.0", "false"),
            ("null", "false"),
            (r#"" 42 ""#, "42"),
            (r#""4.2e1""#, "42"),
            (r#""+4_2""#, "42"),
            (r#""0x2A""#, "42"),
            ("[42]", "42"),
            (r#"["42"]"#, "42"),
            ("true", "1"),
            ("false", "0"),
            (r#""true""#, "1"),
            ("42.0", r#""42""#),
            ("true", r#""True""#),
            (r#"["main"]"#, r#""main""#),
            ("[]", "false"),
            (r#""{\"b\":\"x\"}""#, r#"{"b":"x"}"#),
            (r#""[\"prod\",]""#, r#"["prod"]"#),
            (r#"{"B":"yes"}"#, r#"{"b":true}"#),
            (r#"["1"]"#, "[1]"),
        ] {
            assert!(may(value, wanted), "{value} for {wanted}");
        }
        for (value, wanted) in [
            ("null", "true"),
            ("0", "true"),
            (r#""""#, "true"),
            (r#""true""#, "false"),
            ("1", "false"),
            ("[0]", "false"),
            (r#""43""#, "42"),
            (r#""forty-two""#, "42"),
            (r#""""#, "0"),
            (r#""-""#, "0"),
            ("[42, 1]", "42"),
            ("null", "0"),
            ("5", r#""main""#),
            ("null", r#""null""#),
            ("{}", r#""x""#),
            ("[1]", "[2]"),
            (r#""{\"b\":\"y\"}""#, r#"{"b":"x"}"#),
            (r#""prod""#, r#"["prod"]"#),
            (r#"{"c":"x"}"#, r#"{"b":"x"}"#),
            (r#""null""#, "null"),
        ] {
            assert!(!may(value, wanted), "{value} for {wanted}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_number_is_found_in_a_text_and_no_other_is(
            number in proptest::num::i32::ANY,
            other in proptest::num::i32::ANY,
            text in "\\PC{0,12}",
        ) {
            let json = |number: i32| parse(number.to_string().as_bytes()).unwrap();
            for written in [format!(" {number}\t"), format!("{number}.0"), format!("{number}e0")] {
                let written = Json::String(written);
                proptest::prop_assert!(may_become(&written, &json(number)));
                proptest::prop_assert_eq!(may_become(&written, &json(other)), number == other);
            }
            // Whatever the text is.
            may_become(&Json::String(text), &json(number));
        }
    }
}
