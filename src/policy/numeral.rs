//! Numbers that some reader parses from a text: by JavaScript's `Number()` and `parseInt`, Python's
//! `int(text, 0)`, Go's `strconv.ParseInt`, or by reading digits up to the first other character.
//! Pure.

use std::cmp::Ordering;

use super::decimal;
use crate::fold::fold;

/// Words for 1 and 0 to readers that convert booleans to numbers.
const ONE: [&str; 6] = ["true", "t", "y", "yes", "on", "1"];
const ZERO: [&str; 7] = ["", "false", "f", "n", "no", "off", "0"];

/// Whether some reader parses `number` from `text`.
pub(super) fn may_be(text: &str, number: &str) -> bool {
    let text = fold(text);
    // Python accepts digits of other scripts.
    if text.chars().any(|character| !character.is_ascii() && character.is_numeric()) {
        return true;
    }
    let is_word = |words: &[&str], meant: &str| words.contains(&&*text) && is(meant, number);
    is_word(&ONE, "1")
        || is_word(&ZERO, "0")
        || readings(&text).iter().any(|reading| is(reading, number))
}

/// Whether some reader takes `reading` for `number`: equal as decimals or as floats, a fraction
/// rounded or truncated to it, or the same in 32 bits.
pub(super) fn is(reading: &str, number: &str) -> bool {
    decimal::compare_as_read(reading, number).is_none_or(std::cmp::Ordering::is_eq)
        || decimal::rounds_to(reading, number)
        || wraps_to(reading, number)
}

/// Whether two integers are equal modulo 2³².
fn wraps_to(reading: &str, number: &str) -> bool {
    let whole = |text: &str| text.parse::<i128>().ok();
    let difference = whole(reading).zip(whole(number)).and_then(|(a, b)| a.checked_sub(b));
    difference.is_some_and(|difference| difference % (1 << 32) == 0)
}

/// Whether `number` compares to `limit` as one of `orderings`. `None` if readers would disagree: a
/// number beyond 32 bits wraps for some of them, unless the limit itself is beyond 32 bits.
pub(super) fn compares(number: &str, limit: &str, orderings: &[Ordering]) -> Option<bool> {
    let compare = |number: &str| {
        decimal::compare_as_read(number, limit).map(|ordering| orderings.contains(&ordering))
    };
    let exact = compare(number)?;
    let is_narrow = limit.parse::<f64>().is_ok_and(|limit| limit.abs() <= f64::from(u32::MAX));
    let others = if is_narrow { wrapped(number) } else { Vec::new() };
    others.iter().all(|other| compare(other) == Some(exact)).then_some(exact)
}

/// The signed and unsigned 32-bit values that an integer beyond `i32` wraps to.
fn wrapped(number: &str) -> Vec<String> {
    /// The largest value that both floats and `i128` hold.
    const LARGEST: f64 = 1e38;
    let Ok(float) = number.parse::<f64>() else { return Vec::new() };
    if (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&float) {
        return Vec::new();
    }
    // JavaScript converts infinite values to 0.
    let read = if float.abs() < LARGEST { float as i128 } else { 0 };
    let wholes = [number.parse::<i128>().ok(), Some(read)].into_iter().flatten();
    let both = |whole: i128| {
        let unsigned = whole.rem_euclid(1 << 32);
        let signed = if unsigned < 1 << 31 { unsigned } else { unsigned - (1 << 32) };
        [unsigned.to_string(), signed.to_string()]
    };
    wholes.flat_map(both).collect()
}

/// The numbers at the beginning of a text, in JSON's syntax.
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
        let whole = leading_digits(digits);
        let rest = digits.get(whole.len()..).unwrap_or_default();
        let fraction = rest.strip_prefix('.').map(leading_digits).unwrap_or_default();
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

/// The decimal digits at the beginning of `text`.
fn leading_digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// The exponent (`e5`, `e+5`, `e-5`) at the beginning of `text`; else empty.
fn exponent_of(text: &str) -> &str {
    let Some(after) = text.strip_prefix('e') else { return "" };
    let digits = leading_digits(after.strip_prefix(['+', '-']).unwrap_or(after));
    let length =
        text.len() - after.len() + usize::from(after.starts_with(['+', '-'])) + digits.len();
    if digits.is_empty() { "" } else { text.get(..length).unwrap_or_default() }
}

/// The value of digits with the prefix `0x`, `0o`, `0b` or `0` (octal).
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
    fn numbers_that_some_reader_parses_are_found() {
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
            // 1000 in 32 bits.
            ("-4294966296", "100", &[Greater], None),
            ("-4294966296", "100", &[Less, Equal], None),
            ("-4294966296.5", "100", &[Greater], None),
            // 0 in 32 bits.
            ("4294967296", "1000", &[Less], None),
            ("1e300", "1000", &[Less], None),
            ("1e999", "1000", &[Greater], None),
            // -5 in 32 bits.
            ("4294967291", "0", &[Greater], None),
            ("5000000000", "100", &[Greater], Some(true)),
            ("5000000000", "100", &[Less], Some(false)),
            // Milliseconds: the limit shows that 32 bits are not enough.
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
