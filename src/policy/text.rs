//! A text as written and as lenient readers may see it. Matches that only they would see are
//! unknown. Pure.

use std::borrow::Cow;
use std::cell::OnceCell;

use regex::Regex;

use super::alternate_spellings::LONGEST_NAME;
use super::glob::{Glob, GlobError};
use super::relative_path::{begins_homes, below_homes, below_tilde, relative, tails};
use super::ternary::Ternary;
use super::{host, whitespace};
use crate::fold::fold_text;

/// A text and its other forms, computed when needed.
#[derive(Debug)]
pub(super) struct Text<'t> {
    written: Cow<'t, str>,
    /// Loosened; `None` if that changes nothing.
    loose: OnceCell<Option<String>>,
    /// With runs of white space collapsed, and comments, as far as that changes it.
    spaced: OnceCell<Vec<Spaced>>,
    /// If it is relative to a folder that only the server knows: the rest after that, without and
    /// with a trailing slash.
    relative: OnceCell<Option<[String; 2]>>,
    /// If it is an address in another notation: the usual one.
    address: OnceCell<Option<String>>,
    /// If it names the local machine: with its other names.
    local_names: OnceCell<Vec<String>>,
    /// If it is a host without a scheme: URLs made of it.
    urls: OnceCell<Option<[String; 2]>>,
    /// With a trailing slash.
    folder: OnceCell<Option<String>>,
}

/// A text with runs of white space collapsed.
#[derive(Debug)]
struct Spaced {
    written: String,
    loose: OnceCell<String>,
}

/// A pattern (text or glob) to search for, as written and in forms that match the other forms of a
/// text.
#[derive(Debug, Clone)]
pub(super) struct Part<P> {
    written: P,
    /// Loosened; `None` if nothing remains to search for.
    loose: Option<P>,
    /// Suffixes after a folder that only the server may know.
    tails: Box<[P]>,
    /// Whether anything below `~` may match.
    of_homes: bool,
    /// The rest after a home directory.
    at_home: Option<P>,
    /// With runs of white space collapsed, if there is any.
    spaced: Option<P>,
    topics: Topics,
}

/// What a pattern may be about.
#[derive(Debug, Clone, Copy)]
struct Topics {
    /// The content of a folder: it ends in a slash.
    folder: bool,
    /// Network addresses.
    addresses: bool,
    /// The local machine.
    local: bool,
    /// URLs of a host.
    urls: bool,
}

impl Topics {
    fn of(pattern: &str) -> Self {
        let folder = pattern.trim_end_matches('*');
        Self {
            folder: folder.len() > 1 && folder.ends_with('/'),
            addresses: host::is_of_addresses(pattern),
            local: host::is_of_local(pattern),
            urls: host::is_of_urls(pattern),
        }
    }

    fn is_of_hosts(self) -> bool {
        self.addresses || self.local || self.urls
    }
}

impl Part<Box<str>> {
    /// A prefix.
    pub(super) fn prefix(text: &str) -> Self {
        // A suffix that is only part of a name would match too much.
        let whole = |tail: &str| if tail.contains('/') { tail.into() } else { format!("{tail}/") };
        let tails = tails(text).map(|tail| fold_text(&whole(tail)).into()).collect();
        let at_home = at_home(text).map(|below| fold_text(below).into());
        Self { tails, at_home, of_homes: begins_homes(text), ..Self::plain(text) }
    }

    pub(super) fn plain(text: &str) -> Self {
        // If only rare white space remains, nothing may match loosely.
        let loose = Some(fold_text(text)).filter(|loose| !loose.trim().is_empty());
        let spaced =
            loose.as_deref().filter(|loose| whitespace::is_in(loose)).map(whitespace::collapsed);
        Self {
            written: text.into(),
            loose: loose.map(Into::into),
            tails: Box::default(),
            of_homes: false,
            at_home: None,
            spaced: spaced.map(Into::into),
            topics: Topics::of(text),
        }
    }
}

impl Part<Glob> {
    pub(super) fn glob(text: &str) -> Result<Self, GlobError> {
        let tails = tails(text).filter_map(|tail| Glob::new(&fold_text(tail)).ok()).collect();
        let loose = fold_text(text);
        let spaced =
            whitespace::is_in(&loose).then(|| Glob::new(&whitespace::collapsed(&loose)).ok());
        Ok(Self {
            written: Glob::new(text)?,
            loose: Glob::new(&loose).ok(),
            tails,
            of_homes: begins_homes(text),
            at_home: at_home(text).and_then(|below| Glob::new(&fold_text(below)).ok()),
            spaced: spaced.flatten().filter(|glob| !glob.matches(" ")),
            topics: Topics::of(text),
        })
    }
}

/// `str::contains`, but faster for long texts.
pub(super) fn holds(text: &str, part: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some()
}

/// Whether `part` holds for a text, or for the text without surrounding white space.
fn holds_trimmed<P>(text: &str, part: &P, holds: fn(&str, &P) -> bool) -> bool {
    let bare = text.trim();
    holds(text, part) || bare.len() < text.len() && holds(bare, part)
}

/// The rest of a rule's path after the home directory that it begins with.
fn at_home(path: &str) -> Option<&str> {
    below_tilde(path).map(|below| below.trim_start_matches(['/', '\\']))
}

impl<'t> Text<'t> {
    pub(super) fn new(written: &'t str) -> Self {
        Self::of(Cow::Borrowed(written))
    }

    fn of(written: Cow<'t, str>) -> Self {
        Self {
            written,
            loose: OnceCell::new(),
            spaced: OnceCell::new(),
            relative: OnceCell::new(),
            address: OnceCell::new(),
            local_names: OnceCell::new(),
            urls: OnceCell::new(),
            folder: OnceCell::new(),
        }
    }

    pub(super) fn written(&self) -> &str {
        &self.written
    }

    /// Whether any of `parts` holds for the text; unknown if only for another form of it.
    pub(super) fn any_of<P>(&self, parts: &[Part<P>], holds: fn(&str, &P) -> bool) -> Ternary {
        if parts.iter().any(|part| holds(self.written(), &part.written)) {
            return Ternary::True;
        }
        let loose = |part: &P| holds_trimmed(self.loose(), part, holds);
        let is_below_home = below_tilde(self.written()).is_some();
        let at_work = |part: &P| self.relative().iter().any(|path| holds(path, part));
        let below_home = |part: &P| {
            let names = std::iter::once(self.loose()).chain(self.as_folder());
            names.flat_map(below_homes).any(|path| holds(path, part))
        };
        let spaced = |part: &P| {
            let mut spaced = self.spaced().iter().map(Spaced::loose);
            spaced.any(|text| holds_trimmed(text, part, holds))
        };
        let as_folder = |part: &P| self.as_folder().is_some_and(|text| holds(text, part));
        let as_host = |part: &Part<P>| {
            let address = self.address().filter(|_| part.topics.addresses);
            let urls = self.urls().filter(|_| part.topics.urls);
            let local = part.topics.local.then(|| self.local_names()).into_iter().flatten();
            let mut all = address.into_iter().chain(urls).chain(local.map(String::as_str));
            part.loose.as_ref().is_some_and(|part| all.any(|text| holds(text, part)))
        };
        let is_alike = |part: &Part<P>| {
            part.loose.as_ref().is_some_and(loose)
                || part.of_homes && is_below_home
                || part.topics.folder && part.loose.as_ref().is_some_and(as_folder)
                || part.tails.iter().any(at_work)
                || part.at_home.as_ref().is_some_and(below_home)
                || part.spaced.as_ref().is_some_and(spaced)
                || part.topics.is_of_hosts() && as_host(part)
        };
        Ternary::from(parts.iter().any(is_alike)).uncertain()
    }

    /// Like [`Self::any_of`], also for a text cut at a NUL, which changes its end.
    pub(super) fn any_at_end<P>(&self, parts: &[Part<P>], holds: fn(&str, &P) -> bool) -> Ternary {
        match (self.any_of(parts, holds), self.written.split_once('\0')) {
            (Ternary::False, Some((shown, _))) => Text::new(shown).any_of(parts, holds).uncertain(),
            (judged, _) => judged,
        }
    }

    /// Whether any of `regexes` matches. Case is left to them (`(?i)`).
    pub(super) fn is_matched(&self, regexes: &[Regex]) -> Ternary {
        if regexes.iter().any(|regex| regex.is_match(self.written())) {
            return Ternary::True;
        }
        let is_alike = |regex: &Regex| {
            let pattern = regex.as_str();
            let matches = |text: &str| regex.is_match(text);
            // A regex that a single space matches is about the presence of white space.
            let asks_for_words = || whitespace::is_matched_by(pattern) && !matches(" ");
            asks_for_words() && self.spaced().iter().any(|text| matches(&text.written))
                || host::is_of_addresses(pattern) && self.address().is_some_and(matches)
                || host::is_of_local(pattern) && self.local_names().iter().any(|it| matches(it))
                || host::is_of_urls(pattern) && self.urls().any(matches)
        };
        Ternary::from(regexes.iter().any(is_alike)).uncertain()
    }

    /// The text with a trailing slash, if it may name a folder.
    fn as_folder(&self) -> Option<&str> {
        let name = || self.loose().trim();
        let may_be_one = || self.written.len() <= LONGEST_NAME && !name().ends_with('/');
        let folder = || may_be_one().then(|| format!("{}/", name()));
        self.folder.get_or_init(folder).as_deref()
    }

    /// The text with runs of white space collapsed, as far as that changes it.
    pub(super) fn readings_of_whitespace(&self) -> impl Iterator<Item = &str> {
        self.spaced().iter().map(|spaced| &*spaced.written)
    }

    fn spaced(&self) -> &[Spaced] {
        let spaced = |written| Spaced { written, loose: OnceCell::new() };
        let all = || whitespace::readings(self.written()).into_iter().map(spaced).collect();
        self.spaced.get_or_init(all)
    }

    fn relative(&self) -> &[String] {
        let both = |path: &str| [path.to_owned(), format!("{path}/")];
        let relative = self.relative.get_or_init(|| relative(self.loose()).map(both));
        relative.as_ref().map_or(&[], |both| both)
    }

    fn address(&self) -> Option<&str> {
        self.address.get_or_init(|| host::address(self.written())).as_deref()
    }

    fn local_names(&self) -> &[String] {
        self.local_names.get_or_init(|| host::local_names(self.written()))
    }

    fn urls(&self) -> impl Iterator<Item = &str> {
        let urls = self.urls.get_or_init(|| host::urls(self.written()));
        urls.iter().flatten().map(String::as_str)
    }

    fn loose(&self) -> &str {
        let other = || match fold_text(self.written()) {
            Cow::Borrowed(_) => None,
            Cow::Owned(loose) => Some(loose),
        };
        self.loose.get_or_init(other).as_deref().unwrap_or(self.written())
    }
}

impl Text<'static> {
    pub(super) fn owned(written: String) -> Self {
        Self::of(Cow::Owned(written))
    }
}

impl Spaced {
    fn loose(&self) -> &str {
        self.loose.get_or_init(|| fold_text(&self.written).into_owned())
    }
}
