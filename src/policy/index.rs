//! An index of rules by the names they require, so that not every rule is tried.
//!
//! Each rule has one place: under the names, prefixes and suffixes that its most selective key
//! requires, or among the rest. A lookup costs one hash per length of prefix or suffix in use,
//! however many rules there are.

use std::collections::HashMap;

use super::clause::{Clause, Key};
use super::glob::{Glob, PathGlob, PathPattern, Pattern};
use crate::action::{Action, Provider};

/// Indices of rules, ascending.
type Numbers = Vec<u32>;

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Index {
    tools: Names,
    servers: Names,
    /// In lower case.
    paths: Names,
    providers: HashMap<&'static str, Numbers>,
    /// Rules that have no such key.
    rest: Numbers,
}

/// Rules by exact names, prefixes and suffixes.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<Box<str>, Numbers>,
    prefixes: ByLength,
    suffixes: ByLength,
}

/// By length in bytes.
type ByLength = Vec<(usize, HashMap<Box<str>, Numbers>)>;

/// The index entry of a pattern.
enum Entry<'p> {
    Exact(&'p str),
    Prefix(&'p str),
    Suffix(&'p str),
}

impl Index {
    pub(crate) fn new<'c>(clauses: impl Iterator<Item = &'c Clause>) -> Self {
        let mut index = Self::default();
        for (number, clause) in (0..).zip(clauses) {
            if !index.place(number, clause) {
                index.rest.push(number);
            }
        }
        index
    }

    /// Rules that may match, as several ascending lists.
    pub(crate) fn candidates<'i>(&'i self, action: &'i Action) -> impl Iterator<Item = &'i [u32]> {
        let mut by_path = Vec::new();
        let target = &action.target;
        if let Some(http) = target.http() {
            by_path = self.by_path(http.provider, &http.path);
        }
        let by_name = target.call().into_iter().flat_map(|call| self.tools.candidates(&call.tool));
        let by_server =
            target.server().into_iter().flat_map(|server| self.servers.candidates(server));
        let by_provider =
            target.http().into_iter().filter_map(|http| self.providers.get(http.provider.as_str()));
        by_name
            .chain(by_path)
            .chain(by_server)
            .chain(by_provider.map(Vec::as_slice))
            .chain(std::iter::once(self.rest.as_slice()))
    }

    /// Rules whose `resource` may match any spelling of `path`.
    fn by_path(&self, provider: Provider, path: &str) -> Vec<&[u32]> {
        let mut found = Vec::new();
        let mut look_up = |path: &str| {
            let short = provider.short_form(path);
            for path in std::iter::once(path).chain(short) {
                found.extend(self.paths.candidates(path));
            }
        };
        let written = path.to_ascii_lowercase();
        look_up(&written);
        // Most loose forms only differ in case, and are looked up already.
        for loose in provider.loose_forms(path).filter(|loose| *loose != written) {
            look_up(&loose);
        }
        found
    }

    /// Inserts a rule under its most selective key; false if none is selective enough.
    fn place(&mut self, number: u32, clause: &Clause) -> bool {
        let find = |wanted: fn(&Key) -> bool| clause.keys.iter().find(|key| wanted(key));
        if let Some(Key::Tool(globs)) = find(|key| matches!(key, Key::Tool(_)))
            && self.tools.insert(number, name_entries(globs))
        {
            return true;
        }
        if let Some(Key::Resource(globs)) = find(|key| matches!(key, Key::Resource(_)))
            && self.paths.insert(number, path_entries(globs))
        {
            return true;
        }
        if let Some(Key::Server(globs)) = find(|key| matches!(key, Key::Server(_)))
            && self.servers.insert(number, name_entries(globs))
        {
            return true;
        }
        if let Some(Key::Provider(providers)) = find(|key| matches!(key, Key::Provider(_))) {
            for provider in providers {
                self.providers.entry(Provider::as_str(*provider)).or_default().push(number);
            }
            return true;
        }
        false
    }
}

impl Names {
    /// Inserts a rule under all entries; false, without inserting any, if there are none to use.
    fn insert(&mut self, number: u32, entries: Option<Vec<Entry<'_>>>) -> bool {
        let Some(entries) = entries else { return false };
        for entry in entries {
            let numbers = match entry {
                Entry::Exact(name) => self.exact.entry(name.into()).or_default(),
                Entry::Prefix(part) => by_length(&mut self.prefixes, part),
                Entry::Suffix(part) => by_length(&mut self.suffixes, part),
            };
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
        true
    }

    fn candidates<'i, 'n>(
        &'i self,
        name: &'n str,
    ) -> impl Iterator<Item = &'i [u32]> + use<'i, 'n> {
        let exact = self.exact.get(name).into_iter();
        let prefixes = self
            .prefixes
            .iter()
            .filter_map(|(length, parts)| name.get(..*length).and_then(|part| parts.get(part)));
        let suffixes = self.suffixes.iter().filter_map(|(length, parts)| {
            let start = name.len().checked_sub(*length)?;
            name.get(start..).and_then(|part| parts.get(part))
        });
        exact.chain(prefixes).chain(suffixes).map(Vec::as_slice)
    }
}

fn by_length<'l>(lengths: &'l mut ByLength, part: &str) -> &'l mut Numbers {
    let position = match lengths.iter().position(|(length, _)| *length == part.len()) {
        Some(position) => position,
        None => {
            lengths.push((part.len(), HashMap::new()));
            lengths.len() - 1
        }
    };
    #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
    lengths[position].1.entry(part.into()).or_default()
}

fn name_entries(globs: &[Glob]) -> Option<Vec<Entry<'_>>> {
    globs.iter().flat_map(Glob::alternatives).map(name_entry).collect()
}

fn name_entry(pattern: &Pattern) -> Option<Entry<'_>> {
    match pattern {
        Pattern::Literal(name) => Some(Entry::Exact(name)),
        Pattern::Suffix(part) => Some(Entry::Suffix(part)),
        other => Some(other.literal_prefix()).filter(|part| !part.is_empty()).map(Entry::Prefix),
    }
}

fn path_entries(globs: &[PathGlob]) -> Option<Vec<Entry<'_>>> {
    globs.iter().flat_map(PathGlob::loose_alternatives).map(path_entry).collect()
}

fn path_entry(pattern: &PathPattern) -> Option<Entry<'_>> {
    match pattern {
        PathPattern::Literal(path) => Some(Entry::Exact(path)),
        // Every path begins with `/`, so that is not selective.
        other => Some(other.literal_prefix()).filter(|part| part.len() > 1).map(Entry::Prefix),
    }
}
