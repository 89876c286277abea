//! What a lenient reader may take a word for.
//!
//! Go's `encoding/json` matches keys without regard to case, C libraries stop at
//! a NUL, others trim or normalise. Two words that fold to the same text may be
//! one word to somebody; the gate passes only the exact one.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use crate::json::Object;

/// Characters that are not seen: Unicode's format characters (Cf) and
/// `Default_Ignorable_Code_Point` (Unicode 16, `DerivedCoreProperties.txt`).
const INVISIBLE: &[(u32, u32)] = &[
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x0600, 0x0605),
    (0x061C, 0x061C),
    (0x06DD, 0x06DD),
    (0x070F, 0x070F),
    (0x0890, 0x0891),
    (0x08E2, 0x08E2),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
];

/// `word` as the most lenient of readers may see it: cut at a NUL, invisible and
/// control characters dropped, compatibility forms composed (NFKC), case folded,
/// trimmed. Folding twice changes nothing more.
#[must_use]
pub fn fold(word: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    if word.bytes().all(plain) {
        return Cow::Borrowed(word);
    }
    let shown = word.split('\0').next().unwrap_or_default();
    let mut folded = pass(shown).trim().to_owned();
    // A second pass settles what only the first one brought forth (a
    // compatibility form that turns into a space or an upper-case letter).
    for _ in 0..MAX_PASSES {
        let again = pass(&folded).trim().to_owned();
        if again == folded {
            break;
        }
        folded = again;
    }
    Cow::Owned(folded)
}

/// The same, but neither cut nor trimmed: a text in which something is looked for, and
/// what is looked for. One pass, since texts can be long.
#[must_use]
pub fn loosen(text: &str) -> Cow<'_, str> {
    if !all(text, is_printable) {
        return Cow::Owned(pass(text));
    }
    match !all(text, |byte| !byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

/// `word` as whoever cares for the case of letters may see it; else as in [`fold`]. One pass.
#[must_use]
pub fn seen(word: &str) -> Cow<'_, str> {
    if all(word, is_printable) {
        return Cow::Borrowed(word.trim());
    }
    let shown = word.split('\0').next().unwrap_or_default();
    let seen: String = shown.chars().filter(|character| !is_dropped(*character)).nfkc().collect();
    Cow::Owned(seen.trim().to_owned())
}

fn is_printable(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

/// Whether `holds` says yes to every byte of a text, many of them at a time.
fn all(text: &str, holds: impl Fn(u8) -> bool) -> bool {
    let hold = |some: &[u8]| some.iter().fold(true, |all, byte| all & holds(*byte));
    text.as_bytes().chunks(64).all(hold)
}

/// Two keys of `object` that a lenient reader may take for one.
#[must_use]
pub fn alike(object: &Object) -> Option<(&str, &str)> {
    let mut folded: Vec<_> = object.iter().map(|(key, _)| (fold(key), key)).collect();
    folded.sort_unstable();
    folded.windows(2).find_map(|pair| match pair {
        [(one, first), (other, second)] if one == other => Some((*first, *second)),
        _ => None,
    })
}

/// Passes after which a word counts as folded; two suffice for all of Unicode.
const MAX_PASSES: usize = 4;

fn pass(word: &str) -> String {
    let shown = word.chars().filter(|character| !is_dropped(*character));
    // Upper case first: `ß` and `ı` meet `ss` and `i` only there.
    shown.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect()
}

fn is_dropped(character: char) -> bool {
    (character.is_control() && !character.is_whitespace()) || is_invisible(character)
}

/// Whether a character is not seen.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    let code = u32::from(character);
    code >= 0xAD && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_word_is_itself_without_a_copy() {
        assert!(matches!(fold("tools/call"), Cow::Borrowed("tools/call")));
        assert!(matches!(fold("read_file-2.0"), Cow::Borrowed(_)));
    }

    #[test]
    fn disguises_come_off() {
        for disguised in [
            "Name",
            "NAME",
            "name\0",
            "name\0x",
            " name",
            "name\u{a0}",
            "na\u{200b}me",
            "n\u{ad}ame",
            "ｎａｍｅ",
            "\u{feff}name",
            "ɴame\0".replace('ɴ', "n").as_str(),
            "𝓃ame",
            "name\r\n",
            "na\u{8}me",
        ] {
            assert_eq!(fold(disguised), "name", "{disguised:?}");
        }
        assert_eq!(fold("toolſ/call"), "tools/call");
        assert_eq!(fold("\u{212a}ey"), "key");
        assert_eq!(fold("ıd"), "id");
        assert_eq!(fold("straße"), "strasse");
    }

    #[test]
    fn a_text_is_loosened_and_keeps_its_ends() {
        for (text, loose) in
            [(" DROP table", " drop table"), ("a\0B", "ab"), ("Ｅ\u{301}", "é"), ("x ", "x ")]
        {
            assert_eq!(loosen(text), loose, "{text:?}");
        }
    }

    #[test]
    fn different_words_stay_different() {
        assert_ne!(fold("delete_file"), fold("delete-file"));
        assert_ne!(fold("name"), fold("nаme"), "Cyrillic is no compatibility form");
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(word in "\\PC{0,12}") {
            let once = fold(&word).into_owned();
            prop_assert_eq!(fold(&once), once.as_str());
        }

        #[test]
        fn what_go_takes_for_equal_folds_alike(word in "[a-z_/]{1,12}", upper in any::<u16>()) {
            let variant: String = word.chars().enumerate().map(|(index, letter)| {
                if upper >> (index % 16) & 1 == 0 { return letter }
                match letter { 's' => 'ſ', 'k' => '\u{212a}', other => other.to_ascii_uppercase() }
            }).collect();
            prop_assert_eq!(fold(&variant), fold(&word));
        }
    }
}
