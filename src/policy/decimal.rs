//! Exact comparison of JSON numbers by their texts.
//!
//! `1`, `1.0` and `10e-1` are equal; `9007199254740993` and `9007199254740992` are not, although
//! they are equal as floats.

use std::cmp::Ordering;

/// A parsed JSON number that borrows its digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal<'n> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    integer: &'n [u8],
    /// Significant digits after the point.
    fraction: &'n [u8],
    /// Position of the point, relative to the first significant digit.
    magnitude: i64,
}

impl<'n> Decimal<'n> {
    /// Parses the text of a JSON number. `None` if its exponent is no integer of 32 bits.
    pub(crate) fn new(text: &'n str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let integer = integer.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        // Without an integer part, zeros after the point only move the point.
        let significant =
            if integer.is_empty() { fraction.trim_start_matches('0') } else { fraction };
        let shift = i64::try_from(integer.len()).ok()?
            - i64::try_from(fraction.len() - significant.len()).ok()?;
        Some(Self {
            negative,
            integer: integer.as_bytes(),
            fraction: significant.as_bytes(),
            magnitude: i64::from(exponent) + shift,
        })
    }

    fn has_plain_authority(&self) -> bool {
        i64::try_from(self.digits().count()).is_ok_and(|digits| digits <= self.magnitude)
            || self.is_zero()
    }

    fn is_zero(&self) -> bool {
        self.integer.is_empty() && self.fraction.is_empty()
    }

    /// The digits up to the last that is not zero.
    fn digits(&self) -> impl Iterator<Item = u8> {
        let integer = if self.fraction.is_empty() {
            let zeros = self.integer.iter().rev().take_while(|digit| **digit == b'0').count();
            self.integer.get(..self.integer.len() - zeros).unwrap_or_default()
        } else {
            self.integer
        };
        integer.iter().chain(self.fraction).copied()
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        self.magnitude.cmp(&other.magnitude).then_with(|| self.digits().cmp(other.digits()))
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => Ordering::Equal,
            (true, false) if other.negative => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, true) if self.negative => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => match (self.negative, other.negative) {
                (false, false) => self.compare_magnitude(other),
                (true, true) => other.compare_magnitude(self),
                (false, true) => Ordering::Greater,
                (true, false) => Ordering::Less,
            },
        }
    }
}

/// Compares two numbers; `None` if one cannot be parsed.
pub(crate) fn compare(one: &str, other: &str) -> Option<Ordering> {
    Some(Decimal::new(one)?.compare(&Decimal::new(other)?))
}

/// Like [`compare`], but also `None` if comparing them as floats gives another result: hardly any
/// reader keeps all digits (many read `1.00000000000000000001` as 1, and JavaScript reads
/// `9007199254740993` as `9007199254740992`).
pub(crate) fn compare_as_read(one: &str, other: &str) -> Option<Ordering> {
    let exact = compare(one, other)?;
    let float = |text: &str| text.parse::<f64>().ok();
    (float(one)?.partial_cmp(&float(other)?) == Some(exact)).then_some(exact)
}

/// Whether a fraction is within 1 of an integer: readers that want an integer may truncate or
/// round.
pub(crate) fn rounds_to(fraction: &str, whole: &str) -> bool {
    let (Some(a), Some(b)) = (Decimal::new(fraction), Decimal::new(whole)) else { return false };
    let float = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    !a.has_plain_authority()
        && b.has_plain_authority()
        && (float(fraction) - float(whole)).abs() <= 1.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn compares_exactly() {
        use Ordering::{Equal, Greater, Less};
        for (one, other, expected) in [
            ("1", "1.0", Equal),
            ("10e-1", "1", Equal),
            ("0.001", "1e-3", Equal),
            ("0", "-0.0e5", Equal),
            ("100", "1e2", Equal),
            ("120", "1.2e2", Equal),
            ("9007199254740993", "9007199254740992", Greater),
            ("0.1", "0.10000000000000000000001", Less),
            ("-2", "1", Less),
            ("-2", "-3", Greater),
            ("0", "-1e-9", Greater),
            ("0", "1e-9", Less),
            ("99", "100", Less),
            ("1e400", "1e399", Greater),
            ("10.5", "10.45", Greater),
        ] {
            assert_eq!(compare(one, other), Some(expected), "{one} and {other}");
            assert_eq!(compare(other, one), Some(expected.reverse()), "{other} and {one}");
        }
        assert_eq!(compare("1e99999999999", "1"), None);
    }

    #[test]
    fn comparison_is_certain_only_if_floats_agree() {
        use Ordering::{Equal, Greater, Less};
        for (one, other, expected) in [
            ("9007199254740993", "9007199254740992", None),
            ("9007199254740993", "9007199254740993", Some(Equal)),
            ("9007199254740994", "9007199254740992", Some(Greater)),
            ("1.00000000000000000001", "1", None),
            ("1e400", "1e399", None),
            ("3", "4", Some(Less)),
        ] {
            assert_eq!(compare_as_read(one, other), expected, "{one} and {other}");
        }
        for (fraction, whole, expected) in [
            ("22.9", "22", true),
            ("22.9", "23", true),
            ("22.9", "24", false),
            ("-0.5", "0", true),
            ("22", "22", false),
            ("22.5", "22.4", false),
        ] {
            assert_eq!(rounds_to(fraction, whole), expected, "{fraction} and {whole}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_integers(one: i64, other: i64, scale in 0u32..6) {
            let shifted = format!("{one}e-{scale}");
            let factor = 10i128.pow(scale);
            let expected = i128::from(one).cmp(&(i128::from(other) * factor));
            prop_assert_eq!(compare(&shifted, &other.to_string()), Some(expected));
        }

        #[test]
        fn agrees_with_small_decimals(one in -9_999i32..9_999, other in -9_999i32..9_999) {
            let text = |n: i32| {
                format!("{}{}.{:02}", if n < 0 { "-" } else { "" }, n.abs() / 100, n.abs() % 100)
            };
            prop_assert_eq!(compare(&text(one), &text(other)), Some(one.cmp(&other)));
        }
    }
}
