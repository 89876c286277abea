//! Disguised dot segments and path separators: characters that some server normalizes to
//! `.`, `/` or `\`. Pure.

use unicode_normalization::UnicodeNormalization as _;

use crate::fold::is_invisible;

/// Whether some server treats a path segment as `.` or `..`: because it cuts segments at `;`, `?`
/// or `#`, trims them, drops invisible characters, or normalizes look-alikes of the dot.
#[must_use]
pub fn is_dots(segment: &str) -> bool {
    // The first character rules out most segments.
    if segment.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return false;
    }
    let name = segment.split([';', '?', '#', '\u{37e}', '\u{ff1b}']).next().unwrap_or_default();
    let seen: Vec<char> =
        name.chars().filter(|c| !shows_nothing(*c) && !c.is_whitespace()).take(3).collect();
    (1..=2).contains(&seen.len()) && seen.into_iter().all(looks_like_a_dot)
}

/// Whether a character renders as nothing of its own: invisible, a combining mark, or the blank
/// braille pattern.
fn shows_nothing(c: char) -> bool {
    is_invisible(c) || matches!(c, '\u{300}'..='\u{36f}' | '\u{20d0}'..='\u{20ff}' | '\u{2800}')
}

/// Whether `c` is a dot, or is drawn or typed like one (Unicode TR 39, confusables; UTS 46 maps the
/// ideographic full stop). Names may contain such characters, but not consist of them.
fn looks_like_a_dot(c: char) -> bool {
    matches!(
        c,
        '.' | '\u{3002}'
            | '\u{ff61}'
            | '\u{701}'
            | '\u{702}'
            | '\u{a60e}'
            | '\u{a4f8}'
            | '\u{10a50}'
            | '\u{1d16d}'
            | '\u{b7}'
            | '\u{2022}'
            | '\u{2219}'
            | '\u{22c5}'
            | '\u{30fb}'
            | '\u{ff65}'
    )
}

/// Whether some server maps `c` to `/`, `\` or `.`: by compatibility decomposition (NFKC), or
/// because it looks alike (Unicode TR 39, confusables).
#[must_use]
pub fn looks_like_a_separator(c: char) -> bool {
    const BY_LOOKS: &str = "\u{1735}\u{2041}\u{2044}\u{2215}\u{2216}\u{2571}\u{2572}\u{27cb}\u{27cd}\
        \u{29f5}\u{29f8}\u{29f9}\u{3033}\u{31d3}\u{31d4}\u{a789}\u{1d20f}\u{1d23a}\u{1d23b}";
    !c.is_ascii()
        && (BY_LOOKS.contains(c)
            || std::iter::once(c).nfkc().any(|part| matches!(part, '/' | '\\' | '.')))
}
