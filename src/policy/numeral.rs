//! What some reader takes a text for, as a number: `Number()`, `parseInt`, `int(text, 0)`,
//! `strconv.ParseInt`, and whatever reads digits up to the first that is none. Pure.

use std::cmp::Ordering;

use super::decimal;
use crate::fold::fold;

/// Words that are 1 to who reads a truth value as a number, and those that are 0.
const ONE: [&str; 6] = ["true", "t", "y", "yes", "on", "1"];
const ZERO: [&str; 7] = ["", "false", "f", "n", "no", "off", "0"];

/// Whether some reader takes `text` for `number`.
pub(super) fn may_be(text: &str, number: &str) -> bool {
    let text = fold(text);
    // Digits of other scripts are digits to Python.
    if text.chars().any(|character| !character.is_ascii() && character.is_numeric()) {
        return true;
    }
    let is_word = |words: &[&str], meant: &str| words.contains(&&*text) && is(meant, number);
    is_word(&ONE, "1")
        || is_word(&ZERO, "0")
        || readings(&text).iter().any(|reading| is(reading, number))
}

/// Whether a number is another one to some reader.
pub(super) fn is(reading: &str, number: &str) -> bool {
    decimal::compare_as_read(reading, number).is_none_or(std::cmp::Ordering::is_eq)
        || decimal::rounds_to(reading, number)
        || wraps_to(reading, number)
}

/// Whether 32 bits hold the same of both.
fn wraps_to(reading: &str, number: &str) -> bool {
    let whole = |text: &str| text.parse::<i128>().ok();
    let difference = whole(reading).zip(whole(number)).and_then(|(a, b)| a.checked_sub(b));
    difference.is_some_and(|difference| difference % (1 << 32) == 0)
}

/// Whether a number stands to `limit` in one of the `orderings`, where that is the same for
/// every reader: one with 32 bits has another number where these do not hold it, unless the
/// limit itself says that they are too few.
pub(super) fn compares(number: &str, limit: &str, orderings: &[Ordering]) -> Option<bool> {
    let compare = |number: &str| {
        decimal::compare_as_read(number, limit).map(|ordering| orderings.contains(&ordering))
    };
    let exact = compare(number)?;
    let is_narrow = limit.parse::<f64>().is_ok_and(|limit| limit.abs() <= f64::from(u32::MAX));
    let others = if is_narrow { wrapped(number) } else { Vec::new() };
    others.iter().all(|other| compare(other) == Some(exact)).then_some(exact)
}

/// What 32 bits hold of a number that they do not hold whole: with a sign, and without.
fn wrapped(number: &str) -> Vec<String> {
    /// The largest that floats and whole numbers of 128 bits both hold.
    const LARGEST: f64 = 1e38;
    let Ok(float) = number.parse::<f64>() else { return Vec::new() };
    if (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&float) {
        return Vec::new();
    }
    // What is beyond all numbers, is 0 in JavaScript.
    let read = if float.abs() < LARGEST { float as i128 } else { 0 };
    let wholes = [number.parse::<i128>().ok(), Some(read)].into_iter().flatten();
    let both = |whole: i128| {
        let unsigned = whole.rem_euclid(1 << 32);
        let signed = if unsigned < 1 << 31 { unsigned } else { unsigned - (1 << 32) };
        [unsigned.to_string(), signed.to_string()]
    };
    wholes.flat_map(both).collect()
}

/// The numbers that a text begins with, each as JSON writes it.
fn readings(text: &str) -> Vec<String> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) if text.starts_with('-') => ("-", digits),
        Some(digits) => ("", digits),
        None => ("", text),
    };
    let digits = digits.replace('_', "");
    let mut found = Vec::new();
    for digits in [digits.as_str(), &digits.replace([',', '\''], "")] {
        found.extend(in_base(digits).map(|value| format!("{sign}{value}")));
        let whole = run(digits);
        let rest = digits.get(whole.len()..).unwrap_or_default();
        let fraction = rest.strip_prefix('.').map(run).unwrap_or_default();
        if whole.is_empty() && fraction.is_empty() {
            continue;
        }
        let whole = if whole.is_empty() { "0" } else { whole };
        found.push(format!("{sign}{whole}"));
        let point = if fraction.is_empty() { "" } else { "." };
        let exponent = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
        for exponent in ["", exponent_of(exponent)] {
            found.push(format!("{sign}{whole}{point}{fraction}{exponent}"));
        }
    }
    found
}

/// The decimal digits that `text` begins with.
fn run(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// `e5`, `e+5` or `e-5`, where `text` begins so; else nothing.
fn exponent_of(text: &str) -> &str {
    let Some(after) = text.strip_prefix('e') else { return "" };
    let digits = run(after.strip_prefix(['+', '-']).unwrap_or(after));
    let length =
        text.len() - after.len() + usize::from(after.starts_with(['+', '-'])) + digits.len();
    if digits.is_empty() { "" } else { text.get(..length).unwrap_or_default() }
}

/// What `0x`, `0o`, `0b` or a `0` in front makes of digits.
fn in_base(text: &str) -> Option<u128> {
    let after = text.strip_prefix('0')?;
    let (base, digits) = match after.bytes().next()? {
        b'x' => (16, after.get(1..)?),
        b'o' => (8, after.get(1..)?),
        b'b' => (2, after.get(1..)?),
        _ => (8, after),
    };
    let end = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
    u128::from_str_radix(digits.get(..end)?, base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_whatever_number_some_reader_finds_in_it() {
        for text in [
            "22",
            " 22\n",
            "+22",
            "022",
            "22.0",
            "2.2e1",
            "22.9",
            "0x16",
            "0X16",
            "0b10110",
            "0o26",
            "026",
            "2_2",
            "22abc",
            "22 USD",
            "２２",
            "٢٢",
            "22\0",
            "22,5",
            "2,2",
            "0x16g",
            "22e",
            "2\u{200b}2",
        ] {
            assert!(may_be(text, "22"), "{text:?}");
        }
        for text in ["23.1", "220", "", "-22", "x22", "true", "2", "0x22", "2 2", "twenty-two", "."]
        {
            assert!(!may_be(text, "22"), "{text:?}");
        }
        for (text, number) in [
            ("-0x10", "-16"),
            ("-5", "-5"),
            (".5", "0.5"),
            ("", "0"),
            ("off", "0"),
            ("Yes", "1"),
            ("1e3", "1000"),
            ("1e-3", "0.001"),
            ("9007199254740993", "9007199254740992"),
        ] {
            assert!(may_be(text, number), "{text:?} {number}");
        }
    }

    #[test]
    fn a_number_beyond_32_bits_is_another_one_to_some() {
        use Ordering::{Equal, Greater, Less};
        for (number, limit, orderings, expected) in [
            ("101", "100", &[Greater][..], Some(true)),
            ("-5", "100", &[Greater], Some(false)),
            ("2147483647", "0", &[Greater], Some(true)),
            ("-2147483648", "100", &[Less, Equal], Some(true)),
            // 1000, to who has 32 bits.
            ("-4294966296", "100", &[Greater], None),
            ("-4294966296", "100", &[Less, Equal], None),
            ("-4294966296.5", "100", &[Greater], None),
            // 0.
            ("4294967296", "1000", &[Less], None),
            ("1e300", "1000", &[Less], None),
            ("1e999", "1000", &[Greater], None),
            // -5.
            ("4294967291", "0", &[Greater], None),
            ("5000000000", "100", &[Greater], Some(true)),
            ("5000000000", "100", &[Less], Some(false)),
            // Milliseconds: whoever counts them has more bits.
            ("1764288000000", "1764200000000", &[Greater], Some(true)),
            ("9007199254740993", "9007199254740992", &[Greater], None),
        ] {
            assert_eq!(compares(number, limit, orderings), expected, "{number} and {limit}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_32_bits_hold_is_certain(number: i32, limit: u32) {
            let judged = compares(&number.to_string(), &limit.to_string(), &[Ordering::Less]);
            proptest::prop_assert_eq!(judged, Some(i64::from(number) < i64::from(limit)));
        }

        #[test]
        fn never_panics(text in "[0-9xobeE+,._' -]{0,12}|\\PC{0,8}", number in proptest::num::i32::ANY) {
            may_be(&text, &number.to_string());
        }
    }
}
