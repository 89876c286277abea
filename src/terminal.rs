//! Escaping of untrusted text (names, arguments and reasons from agents and servers) for terminals.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Whether a terminal interprets `character` instead of showing it, or shows nothing: control
/// characters, bidirectional controls, zero-width characters. Fewer than `fold` treats as
/// invisible: an emoji may have its variation selector.
#[must_use]
pub fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` with such characters escaped, as `\u{1b}`.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if needs_escape(character) {
            // INVARIANT (infallible): writing to a String cannot fail.
            let _ = write!(out, "{}", character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// `text` with everything unprintable escaped, cut to 80 characters.
#[must_use]
pub fn brief(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

/// Writes `value` as a line of JSON. Characters that terminals interpret are escaped; the value
/// stays the same.
///
/// # Errors
/// If `out` cannot be written, or `value` cannot be serialized.
pub fn json_line(mut out: impl io::Write, value: &impl Serialize) -> io::Result<()> {
    write_json(&mut out, value)?;
    out.write_all(b"\n")
}

/// Like [`json_line`], without the newline.
///
/// # Errors
/// As for [`json_line`].
pub fn write_json(mut out: impl io::Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut out, Escaped))?;
    Ok(())
}

/// A formatter that escapes what terminals interpret.
struct Escaped;

impl Formatter for Escaped {
    fn write_string_fragment<W>(&mut self, out: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some((at, trick)) = rest.char_indices().find(|(_, c)| needs_escape(*c)) {
            let (plain, from) = rest.split_at(at);
            CompactFormatter.write_string_fragment(out, plain)?;
            for unit in trick.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = from.strip_prefix(trick).unwrap_or_default();
        }
        CompactFormatter.write_string_fragment(out, rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written(value: &Value) -> String {
        let mut out = Vec::new();
        write_json(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escaped("a\x1b[31m\r\nb"), "a\\u{1b}[31m\\u{d}\\u{a}b");
        assert_eq!(escaped("a\u{202e}b\u{9b}c"), "a\\u{202e}b\\u{9b}c");
        assert_eq!(escaped("読み取り"), "読み取り");
    }

    #[test]
    fn json_escapes_only_what_it_must() {
        let value = json!({ "\u{9b}k": "a\u{202e}\"\n読", "n": [1, null] });
        assert_eq!(written(&value), "{\"\\u009bk\":\"a\\u202e\\\"\\n読\",\"n\":[1,null]}");
    }

    proptest! {
        #[test]
        fn json_stays_the_same_value(text in "\\PC*|[\u{0}-\u{ff}\u{2000}-\u{206f}]*") {
            let value = json!({ text.clone(): [text] });
            let written = written(&value);
            prop_assert!(!written.chars().any(needs_escape), "{written:?}");
            prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
        }
    }
}
