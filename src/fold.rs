//! Folding of words to what a lenient reader may take them for.
//!
//! Go's `encoding/json` matches keys case-insensitively, C libraries stop at a NUL, others trim or
//! normalize. Two words that fold to the same text may be one word to some server; the gate accepts
//! only the exact one.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfkc_quick};

use crate::json::Object;

/// Ranges of invisible characters: Unicode's format characters (Cf) and
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

/// Folds `word` as the most lenient reader would: cuts it at a NUL, drops invisible and control
/// characters, composes compatibility forms (NFKC), folds case, trims. Idempotent.
#[must_use]
pub fn fold(word: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    if word.bytes().all(plain) {
        return Cow::Borrowed(word);
    }
    let shown = word.split('\0').next().unwrap_or_default();
    let mut folded = fold_once(shown).trim().to_owned();
    // A second pass handles what the first one produced (a compatibility form that becomes a space
    // or an upper-case letter).
    for _ in 0..MAX_PASSES {
        let again = fold_once(&folded).trim().to_owned();
        if again == folded {
            break;
        }
        folded = again;
    }
    Cow::Owned(folded)
}

/// Like [`fold`], but neither cut nor trimmed, and in one pass, since texts can be long. For
/// substring searches: both the text and the needle are folded so.
#[must_use]
pub fn fold_text(text: &str) -> Cow<'_, str> {
    if !all(text, is_printable) {
        return Cow::Owned(fold_once(text));
    }
    match !all(text, |byte| !byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

/// Like [`fold`], but keeps case, and in one pass.
#[must_use]
pub fn fold_keeping_case(word: &str) -> Cow<'_, str> {
    if all(word, is_printable) {
        return Cow::Borrowed(word.trim());
    }
    let shown = word.split('\0').next().unwrap_or_default();
    let seen: String = shown.chars().filter(|character| !is_dropped(*character)).nfkc().collect();
    Cow::Owned(seen.trim().to_owned())
}

/// Whether `text` contains characters that [`fold`] drops, or that NFKC may change.
pub(crate) fn is_disguised(text: &str) -> bool {
    !all(text, is_kept)
        && (text.chars().any(is_dropped) || is_nfkc_quick(text.chars()) != IsNormalized::Yes)
}

/// Whether `byte` is ASCII that [`fold_once`] keeps: printable or white space.
fn is_kept(byte: u8) -> bool {
    is_printable(byte) | (b'\t'..=b'\r').contains(&byte)
}

fn is_printable(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

/// Whether `holds` is true of every byte. Works on chunks without branches, so that it vectorizes.
fn all(text: &str, holds: impl Fn(u8) -> bool) -> bool {
    let hold = |some: &[u8]| some.iter().fold(true, |all, byte| all & holds(*byte));
    text.as_bytes().chunks(64).all(hold)
}

/// The first two keys of `object` (in order of their folded form) that fold to the same text.
#[must_use]
pub fn duplicate_keys(object: &Object) -> Option<(&str, &str)> {
    let mut folded: Vec<_> = object.iter().map(|(key, _)| (fold(key), key)).collect();
    folded.sort_unstable();
    folded.windows(2).find_map(|pair| match pair {
        [(one, first), (other, second)] if one == other => Some((*first, *second)),
        _ => None,
    })
}

/// Maximum number of passes of [`fold`]; two suffice for all of Unicode.
const MAX_PASSES: usize = 4;

fn fold_once(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    let mut rest = word;
    while !rest.is_empty() {
        let ascii = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        let (plain, other) = rest.split_at(ascii);
        // A combining mark may follow the last ASCII character and compose with it, but with none
        // before it.
        let last = if other.is_empty() { None } else { plain.rfind(|c| !is_dropped(c)) };
        let (plain, _) = plain.split_at(last.unwrap_or(plain.len()));
        push_ascii(&mut folded, plain);
        let end = other.find(|c: char| c.is_ascii() && !is_dropped(c)).unwrap_or(other.len());
        let (_, rest_of_word) = other.split_at(end);
        let composed = rest.get(plain.len()..ascii + end).unwrap_or_default();
        folded.extend(fold_chars(composed));
        rest = rest_of_word;
    }
    folded
}

fn fold_chars(word: &str) -> impl Iterator<Item = char> {
    let shown = word.chars().filter(|character| !is_dropped(*character));
    // Upper case first: only then do `ß` and `ss`, or `ı` and `i`, become equal.
    shown.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc()
}

/// Appends ASCII text, folded. NFKC does not change it.
fn push_ascii(folded: &mut String, text: &str) {
    let start = folded.len();
    match all(text, is_kept) {
        true => folded.push_str(text),
        false => folded.extend(text.split(is_dropped)),
    }
    if let Some(new) = folded.get_mut(start..) {
        new.make_ascii_lowercase();
    }
}

/// Whether `text` has so many characters that its folded form must be longer than `length` bytes.
#[must_use]
pub(crate) fn is_much_longer(text: &str, length: usize) -> bool {
    /// No character is composed of as many.
    const LETTERS: usize = 16;
    let mut letters = text.chars().filter(|letter| !is_dropped(*letter));
    letters.nth(LETTERS * (length + LETTERS)).is_some()
}

fn is_dropped(character: char) -> bool {
    (character.is_control() && !character.is_whitespace()) || is_invisible(character)
}

/// Whether `character` is invisible.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    let code = u32::from(character);
    code >= 0xAD && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The fast path for ASCII gives the same result as the general one.
        #[test]
        fn ascii_fast_path_agrees_with_folding_the_whole_word(
            word in "([aA é\u{e9}\0\t\u{7f}\u{200b}\u{301}\u{344}\u{fb01}\u{130}\u{df}\u{1100}\u{1161}\u{2126}]|\\PC){0,16}",
        ) {
            prop_assert_eq!(fold_once(&word), fold_chars(&word).collect::<String>());
        }

        #[test]
        fn much_longer_words_fold_to_longer_words(
            word in "[ae\u{301}\u{328}\u{345}\u{1100}\u{1161}\u{11a8}]{0,200}|\\PC{0,200}",
            length in 0..4_usize,
        ) {
            prop_assert!(!is_much_longer(&word, length) || fold(&word).len() > length);
            prop_assert!(!is_much_longer(&word, length) || fold_text(&word).len() > length);
        }
    }

    #[test]
    fn plain_words_are_not_copied() {
        assert!(matches!(fold("tools/call"), Cow::Borrowed("tools/call")));
        assert!(matches!(fold("read_file-2.0"), Cow::Borrowed(_)));
    }

    #[test]
    fn disguises_are_removed() {
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
    fn folded_texts_keep_leading_and_trailing_space() {
        for (text, loose) in
            [(" DROP table", " drop table"), ("a\0B", "ab"), ("Ｅ\u{301}", "é"), ("x ", "x ")]
        {
            assert_eq!(fold_text(text), loose, "{text:?}");
        }
    }

    #[test]
    fn different_words_stay_different() {
        assert_ne!(fold("delete_file"), fold("delete-file"));
        assert_ne!(fold("name"), fold("nаme"), "Cyrillic is no compatibility form");
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(word in "\\PC{0,12}") {
            let once = fold(&word).into_owned();
            prop_assert_eq!(fold(&once), once.as_str());
        }

        #[test]
        fn words_that_go_treats_as_equal_fold_alike(word in "[a-z_/]{1,12}", upper in any::<u16>()) {
            let variant: String = word.chars().enumerate().map(|(index, letter)| {
                if upper >> (index % 16) & 1 == 0 { return letter }
                match letter { 's' => 'ſ', 'k' => '\u{212a}', other => other.to_ascii_uppercase() }
            }).collect();
            prop_assert_eq!(fold(&variant), fold(&word));
        }
    }
}
