//! A text that is looked into, as it is written and as lenient readers may see it: a match
//! that only they see is unjudged. Pure.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::glob::{Glob, GlobError};
use super::place::{begins_homes, below_tilde, relative, tails};
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
    /// What it has behind a folder that only the server knows.
    tails: Box<[P]>,
    /// Whether whatever is below `~` may match.
    of_homes: bool,
}

impl Part<Box<str>> {
    /// What texts begin with.
    pub(super) fn prefix(text: &str) -> Self {
        // Half of a name alone is that of many things.
        let whole = |tail: &str| if tail.contains('/') { tail.into() } else { format!("{tail}/") };
        let tails = tails(text).map(|tail| loosen(&whole(tail)).into()).collect();
        Self { tails, of_homes: begins_homes(text), ..Self::plain(text) }
    }

    pub(super) fn plain(text: &str) -> Self {
        // White space of a rare kind is not any white space.
        let loose = Some(loosen(text)).filter(|loose| !loose.trim().is_empty());
        let (written, loose) = (text.into(), loose.map(Into::into));
        Self { written, loose, tails: Box::default(), of_homes: false }
    }
}

impl Part<Glob> {
    pub(super) fn glob(text: &str) -> Result<Self, GlobError> {
        let tails = tails(text).filter_map(|tail| Glob::new(&loosen(tail)).ok()).collect();
        let loose = Glob::new(&loosen(text)).ok();
        Ok(Self { written: Glob::new(text)?, loose, tails, of_homes: begins_homes(text) })
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
        let is_below_home = below_tilde(self.written).is_some();
        let has_tails = parts.iter().any(|part| !part.tails.is_empty());
        let relative = has_tails.then(|| relative(self.loose())).flatten();
        let relative = relative.map(|path| [path.to_owned(), format!("{path}/")]);
        let at_work = |part: &P| relative.iter().flatten().any(|path| holds(path, part));
        let is_alike = |part: &Part<P>| {
            part.loose.as_ref().is_some_and(loose)
                || part.of_homes && is_below_home
                || part.tails.iter().any(at_work)
        };
        Truth::from(parts.iter().any(is_alike)).in_doubt()
    }

    /// The same where the text may end at a NUL.
    pub(super) fn any_at_an_end<P>(&self, parts: &[Part<P>], holds: fn(&str, &P) -> bool) -> Truth {
        match (self.any_of(parts, holds), self.written.split_once('\0')) {
            (Truth::No, Some((shown, _))) => Text::new(shown).any_of(parts, holds).in_doubt(),
            (judged, _) => judged,
        }
    }

    fn loose(&self) -> &str {
        self.loose.get_or_init(|| loosen(self.written))
    }
}
