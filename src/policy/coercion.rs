//! Values that servers with lax parsers convert to another type, or treat as another spelling of a
//! text. Pure.
//!
//! Pydantic, which the Python SDK uses for tools, parses `"yes"` and 1 as true and `" 42 "` as 42
//! (<https://docs.pydantic.dev/latest/concepts/conversion_table/>); `zod`'s `coerce`, like
//! JavaScript, converts null and the empty text to 0; servers in Go truncate fractions; many accept
//! a single value for a list, or compare names case-insensitively. Such a value is not equal to the
//! wanted one, but not certainly different either.

use super::equality::equal;
use super::{host, numeral, relative_path, whitespace};
use crate::fold::{fold, is_much_longer};
use crate::json::{Json, Number};

/// Whether some server converts `value` to `wanted`. They are not equal.
pub(super) fn may_become(value: &Json, wanted: &Json) -> bool {
    match (value, wanted) {
        (_, Json::Null) => false,
        (Json::Null, wanted) => null_may_become(wanted),
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
        // Servers disagree on which other values are true.
        (value, Json::Bool(_)) => !matches!(value, Json::Bool(_)),
        (Json::Array(items), _) => list_may_become(items, wanted),
        (value, Json::Array(wanted)) => is_only(wanted, value),
        (Json::Number(value), Json::Number(wanted)) => is_number(value, wanted),
        (Json::Bool(value), Json::Number(wanted)) => {
            numeral::is(if *value { "1" } else { "0" }, wanted.as_str())
        }
        (Json::Bool(value), Json::String(wanted)) => {
            wanted.eq_ignore_ascii_case(if *value { "true" } else { "false" })
        }
        (Json::Number(value), Json::String(wanted)) => {
            numeral::may_be(wanted, value.as_str()) || host::may_be(value.as_str(), wanted)
        }
        _ => false,
    }
}

/// Like [`may_become`], for a text.
pub(super) fn text_may_become(text: &str, wanted: &Json) -> bool {
    match wanted {
        Json::Null => false,
        Json::String(wanted) => is_alike(text, wanted),
        // Non-empty texts are true in JavaScript; to servers that compare, none is.
        Json::Bool(wanted) => !*wanted || !text.is_empty(),
        Json::Number(wanted) => numeral::may_be(text, wanted.as_str()),
        // The Python SDK parses texts given for lists and objects.
        Json::Array(_) | Json::Object(_) => {
            let is_parsed = match crate::json::parse(text.as_bytes()) {
                Ok(parsed @ (Json::Array(_) | Json::Object(_))) => {
                    is_or_may_become(&parsed, wanted)
                }
                Ok(_) => false,
                // Some parsers accept what ours does not: trailing commas, duplicate keys.
                Err(_) => text.trim_start().starts_with(['[', '{']),
            };
            let is_only = |items: &[Json]| match items {
                [Json::String(only)] => only == text || is_alike(text, only),
                [only] => text_may_become(text, only),
                _ => false,
            };
            is_parsed || matches!(wanted, Json::Array(items) if is_only(items))
        }
    }
}

/// The texts in a list that is given as JSON text, which the Python SDK parses.
pub(super) fn elements(text: &str) -> Vec<String> {
    if !text.trim_start().starts_with('[') {
        return Vec::new();
    }
    let Ok(Json::Array(items)) = crate::json::parse(text.as_bytes()) else { return Vec::new() };
    let texts = items.into_iter().filter_map(|item| match item {
        Json::String(text) => Some(text),
        _ => None,
    });
    texts.collect()
}

/// The addresses in a text that is an address list (RFC 5322, section 3.4, and what mailers also
/// accept): mail goes to each of them. Prose that contains addresses is no list.
pub(super) fn addresses(text: &str) -> Vec<String> {
    if memchr::memchr(b'@', text.as_bytes()).is_none() {
        return Vec::new();
    }
    let bare = without_comments(text);
    let parts =
        || bare.split([',', ';', '\n', '\r']).map(str::trim).filter(|part| !part.is_empty());
    let found: Vec<Vec<&str>> = parts().map(in_part).collect();
    let is_short = |part: &str| {
        /// Maximum number of words in a name.
        const WORDS: usize = 6;
        part.split_whitespace().filter(|word| !word.contains('@')).nth(WORDS).is_none()
    };
    let has_brackets = || bare.split('<').skip(1).any(|inner| inner.contains('@'));
    let each_has_some = || found.iter().all(|some| !some.is_empty());
    let is_list = match found.as_slice() {
        [_] if !has_brackets() => bare.split_whitespace().all(|word| word.contains('@')),
        _ => has_brackets() || each_has_some(),
    };
    match is_list && parts().all(is_short) {
        true => found.concat().into_iter().map(ToOwned::to_owned).collect(),
        false => Vec::new(),
    }
}

/// The addresses in an element of a list: one with a name, or several without. A group begins with
/// a name and a colon.
fn in_part(part: &str) -> Vec<&str> {
    let part = part.rsplit_once(':').map_or(part, |(_, members)| members);
    if let Some((_, inner)) = part.rsplit_once('<') {
        let inner = inner.split('>').next().unwrap_or_default().trim();
        return if inner.contains('@') { vec![inner] } else { Vec::new() };
    }
    let addresses: Vec<&str> = part.split_whitespace().filter(|word| word.contains('@')).collect();
    let is_alone = addresses.len() == 1 || addresses.len() == part.split_whitespace().count();
    if is_alone { addresses } else { Vec::new() }
}

/// An address list without comments and quoted names.
fn without_comments(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '(']) {
        let (before, inner) = rest.split_at(at);
        bare.push_str(before);
        let end = if inner.starts_with('"') { '"' } else { ')' };
        let Some((inner, after)) = inner.get(1..).and_then(|inner| inner.split_once(end)) else {
            rest = inner;
            break;
        };
        // Some readers also accept addresses in quotes.
        if end == '"' && inner.contains('@') {
            bare.push_str(inner);
        }
        rest = after;
    }
    bare + rest
}

/// Whether two texts differ only in what some readers ignore: case, surrounding white space and
/// quotes, the amount of white space between words, what follows a NUL, invisible characters, and
/// the spelling of characters, paths and hosts.
fn is_alike(text: &str, wanted: &str) -> bool {
    let shown = text.split('\0').next().unwrap_or_default();
    let shown = shown.trim().trim_matches(['"', '\'']);
    let is_spaced = || {
        let wanted = whitespace::collapsed(&fold(wanted));
        let mut readings = whitespace::readings(shown).into_iter();
        readings.any(|reading| fold(&reading) == wanted)
    };
    !is_much_longer(shown, wanted.len())
        && (fold(shown) == fold(wanted) || whitespace::is_in(wanted) && is_spaced())
        || relative_path::may_be(shown, wanted)
        || host::may_be(shown, wanted)
}

/// JavaScript converts null to 0, false and `null`; Python to `None`.
fn null_may_become(wanted: &Json) -> bool {
    match wanted {
        Json::Bool(wanted) => !*wanted,
        Json::Number(wanted) => numeral::is("0", wanted.as_str()),
        Json::String(wanted) => matches!(&**wanted, "null" | "None"),
        Json::Null | Json::Array(_) | Json::Object(_) => false,
    }
}

/// Some servers use any element. JavaScript converts an empty list to 0 or the empty text, and
/// others to their elements joined by commas.
fn list_may_become(items: &[Json], wanted: &Json) -> bool {
    let joined = || {
        let text = |item: &Json| match item {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        items.iter().map(text).collect::<Vec<_>>().join(",")
    };
    let is_joined = match wanted {
        Json::String(wanted) => wanted.contains(',') && is_alike(&joined(), wanted),
        _ => false,
    };
    let is_nothing = match wanted {
        Json::Number(wanted) => numeral::is("0", wanted.as_str()),
        Json::String(wanted) => wanted.is_empty(),
        _ => false,
    };
    items.iter().any(|item| is_or_may_become(item, wanted))
        || is_joined
        || items.is_empty() && is_nothing
}

fn is_only(wanted: &[Json], value: &Json) -> bool {
    matches!(wanted, [only] if is_or_may_become(value, only))
}

fn is_number(value: &Number, wanted: &Number) -> bool {
    numeral::is(value.as_str(), wanted.as_str())
}

fn is_or_may_become(value: &Json, wanted: &Json) -> bool {
    equal(value, wanted) != Some(false) || may_become(value, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn lax_servers_convert_types() {
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
            (r#""true""#, "false"),
            ("0", "true"),
            ("1", "false"),
            ("[0]", "false"),
            ("null", "0"),
            (r#""""#, "0"),
            ("[]", "0"),
            ("[42, 1]", "42"),
            ("42.9", "42"),
            ("9007199254740993", "9007199254740992"),
            ("null", r#""null""#),
            (r#""prod""#, r#"["prod"]"#),
            (r#"["a","b"]"#, r#""a,b""#),
            (r#"" Main\u0000x""#, r#""main""#),
            (r#"["x","MAIN"]"#, r#""main""#),
            (r#""caf\u00e9""#, r#""cafe\u0301""#),
            ("42.0", r#""42""#),
            ("true", r#""True""#),
            (r#"["main"]"#, r#""main""#),
            ("[]", "false"),
            (r#""{\"b\":\"x\"}""#, r#"{"b":"x"}"#),
            (r#""[\"prod\",]""#, r#"["prod"]"#),
            (r#"{"B":"yes"}"#, r#"{"b":true}"#),
            (r#"["1"]"#, "[1]"),
            ("4294967318", "22"),
            (r#""~/.ssh/id""#, r#""/home/me/.ssh/id""#),
            (r#""/home/me/.ssh/id""#, r#""~/.ssh/id""#),
            (r#""drop\t/**/ table""#, r#""DROP TABLE""#),
            (r#""2130706433""#, r#""127.0.0.1""#),
            ("2130706433", r#""127.0.0.1""#),
        ] {
            assert!(may(value, wanted), "{value} for {wanted}");
        }
        for (value, wanted) in [
            ("null", "true"),
            (r#""""#, "true"),
            (r#""43""#, "42"),
            (r#""forty-two""#, "42"),
            (r#""-""#, "0"),
            ("[43, 1]", "42"),
            ("43.1", "42"),
            ("5", r#""main""#),
            ("{}", r#""x""#),
            ("[1]", "[2]"),
            (r#""{\"b\":\"y\"}""#, r#"{"b":"x"}"#),
            (r#""prod""#, r#"["prod","dev"]"#),
            (r#"{"c":"x"}"#, r#"{"b":"x"}"#),
            (r#""null""#, "null"),
            (r#""mane""#, r#""main""#),
        ] {
            assert!(!may(value, wanted), "{value} for {wanted}");
        }
    }

    #[test]
    fn address_lists_are_split() {
        for (text, found) in [
            ("a@x.org, b@y.org", &["a@x.org", "b@y.org"][..]),
            ("A <a@x.org>;b@y.org;", &["a@x.org", "b@y.org"]),
            ("a@x.org b@y.org", &["a@x.org", "b@y.org"]),
            ("b@y.org <a@x.org>", &["a@x.org"]),
            ("a@x.org (b@y.org), c@z.org", &["a@x.org", "c@z.org"]),
            ("a@x.org", &["a@x.org"]),
            ("Team: x@y.org, a@x.org", &["x@y.org", "a@x.org"]),
            ("\"Doe, J\" <x@y.org>, a@x.org", &["x@y.org", "a@x.org"]),
            ("Doe, J <x@y.org>, a@x.org", &["x@y.org", "a@x.org"]),
            ("J Doe x@y.org, a@x.org", &["x@y.org", "a@x.org"]),
            ("x@y.org\nBcc: a@x.org", &["x@y.org", "a@x.org"]),
            ("\"x@y.org\", a@x.org", &["x@y.org", "a@x.org"]),
            ("to a@x.org", &[]),
            ("Mail a@x.org or b@y.org about it", &[]),
            (
                "Who asks a@x.org about the weather tomorrow at noon, gets an answer from b@y.org",
                &[],
            ),
            ("Dear all, write to a@x.org. Yours, me", &[]),
            ("a, b", &[]),
            ("", &[]),
        ] {
            assert_eq!(addresses(text), found, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn numbers_are_found_in_texts(
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
            // For any text.
            may_become(&Json::String(text), &json(number));
        }
    }
}
