//! White space in texts, and SQL comments, which databases treat as white space
//! (`DROP/**/TABLE`). Pure.

/// The delimiters of SQL comments.
const COMMENTS: [&str; 3] = ["/*", "*/", "--"];

/// Whether a text contains white space.
pub(super) fn is_in(text: &str) -> bool {
    text.contains(char::is_whitespace)
}

/// Whether a regex may require white space.
pub(super) fn is_matched_by(pattern: &str) -> bool {
    [" ", r"\s", "[:space:]", "[:blank:]"].iter().any(|blank| pattern.contains(blank))
}

/// `text` with runs of white space replaced by one space, and with comments replaced, too; without
/// those equal to `text`.
pub(super) fn readings(text: &str) -> Vec<String> {
    if !has_more(text) {
        return Vec::new();
    }
    let has_comments = COMMENTS.iter().any(|sign| text.contains(sign));
    let with_comments = has_comments.then(|| replaced(text, skip_blank));
    let mut all = vec![collapsed(text)];
    all.extend(with_comments);
    all.retain(|reading| reading != text);
    all.dedup();
    all
}

/// `text` with runs of white space replaced by one space.
pub(super) fn collapsed(text: &str) -> String {
    replaced(text, str::trim_start)
}

/// Whether [`readings`] may find anything. Works on chunks, so that it vectorizes: every rule with
/// white space checks every text.
fn has_more(text: &str) -> bool {
    const CHUNK: usize = 256;
    let is_other = |byte: u8| !byte.is_ascii() | (b'\t'..=b'\r').contains(&byte);
    let is_pair = |first: u8, second: u8| {
        (first == b' ') & (second == b' ')
            | (first == b'-') & (second == b'-')
            | (first == b'/') & (second == b'*')
            | (first == b'*') & (second == b'/')
    };
    let bytes = text.as_bytes();
    let Some((first, rest)) = bytes.split_first() else { return false };
    let mut chunks = bytes.chunks(CHUNK).zip(rest.chunks(CHUNK));
    is_other(*first)
        || chunks.any(|(bytes, rest)| {
            let pairs = bytes.iter().zip(rest);
            pairs.fold(false, |found, (byte, next)| found | is_other(*next) | is_pair(*byte, *next))
        })
}

/// `text` with every run that `skip` skips replaced by one space.
fn replaced(text: &str, skip: fn(&str) -> &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = skip(rest);
        if after.len() == rest.len() {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        } else {
            if !out.ends_with(' ') {
                out.push(' ');
            }
            rest = after;
        }
    }
    out
}

/// The rest of a text after white space or a comment; the text itself if it starts with neither.
fn skip_blank(text: &str) -> &str {
    let trimmed = text.trim_start();
    if trimmed.len() < text.len() {
        return trimmed;
    }
    let inner = text.get(2..).unwrap_or_default();
    let after = match text.get(..2) {
        // MySQL executes the content of `/*! … */`.
        Some("/*") if inner.starts_with('!') => {
            let is_version = |c: char| c == '!' || c.is_ascii_digit();
            Some(inner.trim_start_matches(is_version))
        }
        Some("*/") => Some(inner),
        Some("/*") => inner.split_once("*/").map(|(_, after)| after),
        Some("--") => inner.split_once('\n').map(|(_, after)| after),
        _ => None,
    };
    // A comment without an end is no separator.
    after.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_runs_become_one_space() {
        for (text, expected) in [
            ("DROP  TABLE\tx", &["DROP TABLE x"][..]),
            ("DROP\r\n TABLE", &["DROP TABLE"]),
            ("DROP\u{a0}TABLE", &["DROP TABLE"]),
            ("DROP/**/TABLE", &["DROP TABLE"]),
            ("DROP /* a */ /* b */TABLE", &["DROP TABLE"]),
            ("DROP -- why not\nTABLE", &["DROP -- why not TABLE", "DROP TABLE"]),
            ("rm  --force  x", &["rm --force x"]),
            ("fix--bug", &[]),
            ("/*!50000 DROP*/ TABLE x", &[" DROP TABLE x"]),
            ("a /* b", &[]),
            ("a-b/c*d e", &[]),
            ("", &[]),
        ] {
            assert_eq!(readings(text), expected, "{text:?}");
        }
    }

    #[test]
    fn white_space_is_found_anywhere_in_a_long_text() {
        for blank in ["  ", "\t", "--", "/*", "*/", "\u{a0}"] {
            for at in 0..600 {
                let text = format!("{}{blank}{}", "a".repeat(at), "b".repeat(600 - at));
                assert!(has_more(&text), "{blank:?} at {at}");
            }
        }
        assert!(!has_more(&"a - b / c * d".repeat(100)));
    }

    proptest::proptest! {
        #[test]
        fn fast_check_misses_nothing(text in "[a \\t\\n*/!é\u{a0}-]{0,12}") {
            let all = [collapsed(&text), replaced(&text, skip_blank)];
            let differs = all.iter().any(|reading| *reading != text);
            proptest::prop_assert_eq!(differs, !readings(&text).is_empty());
        }
    }
}
