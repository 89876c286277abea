//! Globs: `*` matches any text, `?` one character, `{a,b}` either alternative.
//!
//! In a [`Glob`] over names, `*` crosses everything. A [`PathGlob`] matches by segment: `*` stays
//! within one, `**` stands for any number of segments, including none. Braces are expanded when the
//! glob is built. Each of the resulting patterns is matched in time linear in the text (only the
//! last `*` is ever retried), most of them by a single comparison.

use std::fmt;

/// Maximum length of a glob, in bytes.
pub const MAX_LENGTH: usize = 1_024;
/// Maximum number of alternatives that the braces of a glob expand to.
pub const MAX_ALTERNATIVES: usize = 256;

/// Why a text is not a glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// An unmatched `{` or `}`.
    #[error("unbalanced braces in the glob `{0}`")]
    UnbalancedBraces(String),
    /// `[`: character classes are not supported.
    #[error("`[` has no meaning in a glob; write the alternatives as `{{a,b}}`")]
    CharacterClass,
    /// `**` next to other characters in a segment.
    #[error("`**` stands for whole segments: write it between two `/`")]
    PartialDoubleStar,
    /// A path glob that begins with neither `/` nor `**`.
    #[error("a resource starts with `/` or `**`")]
    NotRooted,
    /// Longer than [`MAX_LENGTH`].
    #[error("a glob may have at most {MAX_LENGTH} bytes")]
    TooLong,
    /// The braces expand to more than [`MAX_ALTERNATIVES`].
    #[error("the braces of a glob may stand for at most {MAX_ALTERNATIVES} alternatives")]
    TooManyAlternatives,
    /// Empty.
    #[error("an empty glob matches nothing")]
    Empty,
}

/// A glob over names; `*` crosses everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    alternatives: Box<[Pattern]>,
}

/// A pattern without braces, in the form that is cheapest to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// No wildcards.
    Literal(Box<str>),
    /// `text*`
    Prefix(Box<str>),
    /// `*text`
    Suffix(Box<str>),
    /// `*text*`; `*` alone has an empty text.
    Contains(Box<str>),
    /// Anything else.
    General(Box<str>),
}

/// A glob over normalized paths, matched by segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGlob {
    text: Box<str>,
    alternatives: Box<[PathPattern]>,
    /// The same in lower case (ASCII).
    loose: Box<[PathPattern]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathPattern {
    /// No wildcards.
    Literal(Box<str>),
    /// Matched segment by segment.
    Segments {
        /// The literal prefix of all paths that match.
        prefix: Box<str>,
        segments: Box<[Segment]>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// `**`
    AnyNumber,
    One(Pattern),
}

// === impl Glob ===

impl Glob {
    /// Parses a glob.
    ///
    /// # Errors
    /// Any [`GlobError`] except for those of paths.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        let alternatives = expand(text)?.iter().map(|text| Pattern::new(text)).collect();
        Ok(Self { text: text.into(), alternatives })
    }

    /// Whether the whole `name` matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.alternatives.iter().any(|pattern| pattern.matches(name))
    }

    /// The glob as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The patterns that the braces expand to.
    pub(crate) fn alternatives(&self) -> &[Pattern] {
        &self.alternatives
    }

    /// Whether this glob surely matches everything that `other` matches. May be false although it
    /// does.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.alternatives.iter().all(|narrow| {
            self.alternatives.iter().any(|wide| wide == narrow || wide.covers(narrow))
        })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

// === impl Pattern ===

impl Pattern {
    fn new(text: &str) -> Self {
        let plain = |text: &str| !text.contains(['*', '?']);
        let without_last = text.trim_end_matches('*');
        let inner = without_last.trim_start_matches('*');
        let leading = inner.len() < without_last.len();
        let trailing = without_last.len() < text.len();
        match (leading, trailing) {
            _ if !plain(inner) => Self::General(text.into()),
            (false, false) => Self::Literal(text.into()),
            (false, true) if !inner.is_empty() => Self::Prefix(inner.into()),
            (true, false) => Self::Suffix(inner.into()),
            _ => Self::Contains(inner.into()),
        }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Contains(inner) => inner.is_empty() || text.contains(&**inner),
            Self::General(pattern) => wild(pattern, text),
        }
    }

    /// As [`Glob::covers`]. Wildcards of `other` match any character, so comparing its literal ends
    /// is enough.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Contains(inner), _) if inner.is_empty() => true,
            (_, Self::Literal(literal)) => self.matches(literal),
            (Self::Prefix(wide), _) => other.literal_prefix().starts_with(&**wide),
            (Self::Suffix(wide), Self::Suffix(narrow)) => narrow.ends_with(&**wide),
            (
                Self::Contains(wide),
                Self::Prefix(narrow) | Self::Suffix(narrow) | Self::Contains(narrow),
            ) => narrow.contains(&**wide),
            _ => false,
        }
    }

    /// The literal prefix of all texts that match.
    pub(crate) fn literal_prefix(&self) -> &str {
        match self {
            Self::Literal(text) | Self::Prefix(text) => text,
            Self::Suffix(_) | Self::Contains(_) => "",
            Self::General(text) => text.split(['*', '?']).next().unwrap_or_default(),
        }
    }
}

/// Matches `*` and `?` by backtracking: on a mismatch, the last `*` takes one more character.
fn wild(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut retry = None;
    loop {
        let text_here = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                retry = Some((pattern.clone(), text_here.clone()));
                text = text_here;
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                let Some((after_star, from)) = retry.as_mut() else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), from.clone());
            }
        }
    }
}

// === impl PathGlob ===

impl PathGlob {
    /// Parses a path glob.
    ///
    /// # Errors
    /// Any [`GlobError`].
    pub fn new(text: &str) -> Result<Self, GlobError> {
        let patterns = |text: &str| -> Result<Box<[_]>, _> {
            expand(text)?.iter().map(|text| PathPattern::new(text)).collect()
        };
        let loose = patterns(&text.to_ascii_lowercase())?;
        Ok(Self { text: text.into(), alternatives: patterns(text)?, loose })
    }

    /// Whether the whole `path`, normalized, matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.alternatives.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether `path`, in lower case, matches regardless of the glob's case.
    pub(crate) fn matches_loosely(&self, path: &str) -> bool {
        self.loose.iter().any(|pattern| pattern.matches(path))
    }

    /// The glob as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The patterns that the braces expand to, in lower case.
    pub(crate) fn loose_alternatives(&self) -> &[PathPattern] {
        &self.loose
    }

    /// As [`Glob::covers`].
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other
            .alternatives
            .iter()
            .all(|narrow| self.alternatives.iter().any(|wide| wide.covers(narrow)))
    }
}

impl PathPattern {
    fn new(text: &str) -> Result<Self, GlobError> {
        let rooted = match text.strip_prefix('/') {
            Some(rest) => rest,
            None if text == "**" || text.starts_with("**/") => text,
            None => return Err(GlobError::NotRooted),
        };
        if !text.contains(['*', '?']) {
            return Ok(Self::Literal(text.into()));
        }
        let segment = |text: &str| match text {
            "**" => Ok(Segment::AnyNumber),
            partial if partial.contains("**") => Err(GlobError::PartialDoubleStar),
            one => Ok(Segment::One(Pattern::new(one))),
        };
        let segments: Result<Box<[_]>, _> = rooted.split('/').map(segment).collect();
        let segments = segments?;
        Ok(Self::Segments { prefix: path_prefix(&segments).into(), segments })
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *path,
            Self::Segments { prefix, segments } => {
                path.starts_with(&**prefix)
                    && path.strip_prefix('/').is_some_and(|path| by_segment(segments, path))
            }
        }
    }

    /// The literal prefix of all paths that match.
    pub(crate) fn literal_prefix(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::Segments { prefix, .. } => prefix,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Literal(path)) => self.matches(path),
            (Self::Literal(_), _) => false,
            (Self::Segments { segments: wide, .. }, Self::Segments { segments: narrow, .. }) => {
                segments_cover(wide, narrow)
            }
        }
    }
}

/// The literal segments before the first wildcard, and the literal prefix of the segment with it.
/// `**` may match nothing, so the slash before it is not included.
fn path_prefix(segments: &[Segment]) -> String {
    let mut prefix = String::new();
    for segment in segments {
        let Segment::One(pattern) = segment else { break };
        prefix.push('/');
        prefix.push_str(pattern.literal_prefix());
        if !matches!(pattern, Pattern::Literal(_)) {
            break;
        }
    }
    prefix
}

/// Like [`wild`], for segments and `**`.
fn by_segment(pattern: &[Segment], path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.iter(), Segments(Some(path)));
    let mut retry = None;
    loop {
        let here = path;
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(Segment::AnyNumber), _) => {
                retry = Some((pattern.clone(), here));
                path = here;
            }
            (Some(Segment::One(wanted)), Some(found)) if wanted.matches(found) => {}
            _ => {
                let Some((after_stars, from)) = retry.as_mut() else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, path) = (after_stars.clone(), *from);
            }
        }
    }
}

/// An iterator over segments that can be copied to backtrack.
#[derive(Debug, Clone, Copy)]
struct Segments<'p>(Option<&'p str>);

impl<'p> Iterator for Segments<'p> {
    type Item = &'p str;

    fn next(&mut self) -> Option<&'p str> {
        let rest = self.0?;
        match rest.split_once('/') {
            Some((first, rest)) => {
                self.0 = Some(rest);
                Some(first)
            }
            None => {
                self.0 = None;
                Some(rest)
            }
        }
    }
}

/// Whether the segments of `wide` cover those of `narrow`. Only `**` covers `**`.
fn segments_cover(wide: &[Segment], narrow: &[Segment]) -> bool {
    match (wide.split_first(), narrow.split_first()) {
        (None, None) => true,
        (Some((Segment::AnyNumber, [])), _) => true,
        (Some((Segment::AnyNumber, wide)), Some((Segment::AnyNumber, narrow))) => {
            segments_cover(wide, narrow)
        }
        (Some((Segment::One(one), wide)), Some((Segment::One(other), narrow))) => {
            (one == other || one.covers(other)) && segments_cover(wide, narrow)
        }
        _ => false,
    }
}

/// Expands the braces of `text`, in order.
fn expand(text: &str) -> Result<Vec<String>, GlobError> {
    if text.len() > MAX_LENGTH {
        return Err(GlobError::TooLong);
    }
    if text.contains('[') {
        return Err(GlobError::CharacterClass);
    }
    let mut done = Vec::new();
    let mut todo = vec![text.to_owned()];
    while let Some(next) = todo.pop() {
        match innermost(&next).map_err(|()| GlobError::UnbalancedBraces(text.to_owned()))? {
            None => done.push(next),
            Some((before, choices, after)) => {
                // In reverse, since they are popped.
                todo.extend(choices.rsplit(',').map(|choice| format!("{before}{choice}{after}")));
            }
        }
        if done.len() + todo.len() > MAX_ALTERNATIVES {
            return Err(GlobError::TooManyAlternatives);
        }
    }
    done.dedup();
    Ok(done)
}

/// The first innermost pair of braces: the texts before, within and after it.
fn innermost(text: &str) -> Result<Option<(&str, &str, &str)>, ()> {
    let Some(close) = text.find('}') else {
        return if text.contains('{') { Err(()) } else { Ok(None) };
    };
    let (head, tail) = text.split_at(close);
    let (before, choices) = head.rsplit_once('{').ok_or(())?;
    Ok(Some((before, choices, tail.strip_prefix('}').ok_or(())?)))
}

#[cfg(test)]
mod tests;
