//! A text that is looked into, as it is written and as lenient readers may see it: a match
//! that only they see is unjudged. Pure.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::glob::{Glob, GlobError};
use super::truth::Truth;
use crate::fold::loosen;

/// A text, and how it may be seen, made where it is needed.
#[derive(Debug)]
pub(super) struct Text<'t> {
    pub(super) written: &'t str,
    loose: OnceCell<Cow<'t, str>>,
}

/// What a text is asked for: as the policy writes it, and loosened.
#[derive(Debug, Clone)]
pub(super) struct Part<P> {
    written: P,
    /// `None` where that can be nothing to ask for.
    loose: Option<P>,
}

impl Part<Box<str>> {
    pub(super) fn plain(text: &str) -> Self {
        let loose = loosen(text);
        Self { written: text.into(), loose: (!loose.is_empty()).then(|| loose.into()) }
    }
}

impl Part<Glob> {
    pub(super) fn glob(text: &str) -> Result<Self, GlobError> {
        Ok(Self { written: Glob::new(text)?, loose: Glob::new(&loosen(text)).ok() })
    }
}

impl<'t> Text<'t> {
    pub(super) fn new(written: &'t str) -> Self {
        Self { written, loose: OnceCell::new() }
    }

    /// Whether the text is, or has, any of `parts`.
    pub(super) fn any_of<P>(&self, parts: &[Part<P>], holds: fn(&str, &P) -> bool) -> Truth {
        if parts.iter().any(|part| holds(self.written, &part.written)) {
            return Truth::Yes;
        }
        let loose = |part: &P| holds(self.loose(), part) || holds(self.loose().trim(), part);
        match parts.iter().filter_map(|part| part.loose.as_ref()).any(loose) {
            true => Truth::Unjudged,
            false => Truth::No,
        }
    }

    /// The same where the text may end at a NUL.
    pub(super) fn any_at_an_end<P>(&self, parts: &[Part<P>], holds: fn(&str, &P) -> bool) -> Truth {
        match (self.any_of(parts, holds), self.written.split_once('\0')) {
            (Truth::No, Some((shown, _))) => match Text::new(shown).any_of(parts, holds) {
                Truth::No => Truth::No,
                _ => Truth::Unjudged,
            },
            (judged, _) => judged,
        }
    }

    fn loose(&self) -> &str {
        self.loose.get_or_init(|| loosen(self.written))
    }
}
