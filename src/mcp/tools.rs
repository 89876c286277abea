//! What is known of a server's tools.
//!
//! Learned from the tools/list answers that pass, and from lists that the gate
//! asks for itself where a call comes first. A hint counts as it was first seen
//! in this run: later it can only tighten. Pure: bytes in, bytes out.

mod first_seen;

pub use first_seen::FirstSeen;

use std::collections::HashMap;
use std::sync::Arc;

use super::answer::{Answer, Shape};
use super::era::Era;
use super::listing::{Listed, MAX_ARGUMENTS, entries};
use super::params::ParamHeader;
use super::pending::Key;
use crate::action::{DeclaredHints, Hints, Listing};
use crate::fold::fold;
use crate::json::{self, Json, Object};

/// Tools of one server that are remembered; further ones count as never listed.
pub const MAX_TOOLS: usize = 10_000;

/// Pages of one list that the gate itself asks for.
pub const MAX_PAGES: usize = 100;

/// Lists that the gate itself asks for because of one call: a server may say of
/// each, before it has come, that it has changed.
pub const MAX_LISTS: usize = 10;

/// What one server offers.
#[derive(Debug)]
pub struct Tools {
    /// Hints may loosen, as first seen.
    trusted: bool,
    known: HashMap<String, Tool>,
    /// The hints of all of them.
    first_seen: FirstSeen,
    /// Names by their folded form.
    folded: HashMap<String, Arc<str>>,
    coverage: Coverage,
    generation: u64,
    /// The page that the list under way goes on with.
    next_page: Option<Key>,
    own: Option<OwnList>,
}

/// One tool, as this conversation knows it.
#[derive(Debug, Clone, Default)]
struct Tool {
    arguments: Arc<[String]>,
    /// The arguments that travel as headers too, by the newest list.
    headers: Arc<[ParamHeader]>,
    /// The generation of the list in which it was last seen.
    seen: u64,
}

/// How much of the server's list has been seen since it last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coverage {
    Partial,
    Complete,
    /// It was asked for and did not come: what is not known is the worst case.
    Missing,
}

/// A list that the gate asked for.
#[derive(Debug)]
struct OwnList {
    /// The unguessable id, as it is written.
    id: String,
    cursor: Option<Key>,
    generation: u64,
    pages: usize,
}

/// What is known of a tool that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The hints in force; `None` if the server gives none.
    Known(Option<Hints>),
    /// The list has to be asked for first.
    ListNeeded,
}

/// What an answer to the gate's own request leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Swallowed {
    /// This request for the next page.
    Next(Vec<u8>),
    /// The list is complete, or will not come.
    Settled,
}

impl Tools {
    /// Nothing is known yet. `trusted` says whether hints may loosen.
    #[must_use]
    pub fn new(trusted: bool) -> Self {
        Self::after(FirstSeen::default(), trusted)
    }

    /// The same, in a run in which other conversations have seen, or will see, the
    /// hints of this server.
    #[must_use]
    pub fn after(first_seen: FirstSeen, trusted: bool) -> Self {
        Self {
            trusted,
            known: HashMap::new(),
            first_seen,
            folded: HashMap::new(),
            coverage: Coverage::Partial,
            generation: 0,
            next_page: None,
            own: None,
        }
    }

    /// Counts how often the list has changed. What was asked in an older
    /// generation does not complete the list.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What is known of `name`.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Lookup {
        let tool = self.known.get(name);
        let fresh = tool.is_some_and(|tool| tool.seen == self.generation);
        match self.coverage {
            Coverage::Partial if !fresh => Lookup::ListNeeded,
            _ => Lookup::Known(self.hints(name)),
        }
    }

    /// The hints in force as far as they are known now; `None` if the tool was
    /// never listed, or was listed without any, and where the list has changed
    /// since and no whole one has come.
    #[must_use]
    pub fn hints(&self, name: &str) -> Option<Hints> {
        let tool = self.known.get(name)?;
        if self.coverage != Coverage::Complete && tool.seen != self.generation {
            return None;
        }
        let declared = self.first_seen.hints(name);
        (!declared.is_empty()).then(|| declared.filled_in())
    }

    /// The arguments of `name` that travel as headers too.
    #[must_use]
    pub fn param_headers(&self, name: &str) -> Arc<[ParamHeader]> {
        self.known.get(name).map(|tool| Arc::clone(&tool.headers)).unwrap_or_default()
    }

    /// Whether the server listed a tool of exactly this name.
    #[must_use]
    pub fn offers(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// What the server lists under `name`.
    #[must_use]
    pub fn listing(&self, name: &str) -> Listing {
        if let Some(tool) = self.known.get(name) {
            return Listing::Exact(Arc::clone(&tool.arguments));
        }
        let meant = self.folded.get(&*fold(name));
        meant.map_or(Listing::Unknown, |meant| Listing::Alike(Arc::clone(meant)))
    }

    /// The names that the server listed, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(AsRef::as_ref)
    }

    /// A page of the server's list that passed: the answer to a request for the
    /// page after `cursor`, asked in `generation`.
    pub fn page(&mut self, cursor: Option<&Key>, generation: u64, shape: &Shape<'_>) {
        let Some(entries) = shape.tools.and_then(|tools| entries(tools).ok()) else { return };
        let current = generation == self.generation;
        for listed in entries.into_iter().filter_map(|entry| entry.listed) {
            self.learn(listed, generation);
        }
        let in_sequence = cursor.is_none() || cursor == self.next_page.as_ref();
        if current && in_sequence {
            self.next_page = shape.next_cursor.map(Key::new);
            if self.next_page.is_none() {
                self.coverage = Coverage::Complete;
            }
        }
    }

    /// The server said `notifications/tools/list_changed`.
    pub fn changed(&mut self) {
        self.generation += 1;
        self.coverage = Coverage::Partial;
        self.next_page = None;
    }

    /// A request for the list, of the gate's own, as a line; `None` while one is
    /// under way or the revision does not allow to ask yet.
    pub fn ask(&mut self, era: &Era) -> Option<Vec<u8>> {
        if self.own.is_some() {
            return None;
        }
        let own = OwnList { id: fresh_id()?, cursor: None, generation: self.generation, pages: 1 };
        let line = own.line(era)?;
        self.own = Some(own);
        Some(line)
    }

    /// Whether a list that the gate asked for is under way.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.own.is_some()
    }

    /// The list did not come in time. Its answer is swallowed all the same.
    pub fn give_up(&mut self) {
        if self.coverage == Coverage::Partial {
            self.coverage = Coverage::Missing;
        }
    }

    /// The request for the list failed. The next call asks again.
    pub fn withdraw(&mut self) {
        self.own = None;
    }

    /// Takes the answer to a request of the gate's own; `None` if `id` is not
    /// one of them and the answer must be passed on.
    pub fn swallow(&mut self, id: &[u8], answer: &Answer<'_>, era: &Era) -> Option<Swallowed> {
        let mut own = self.own.take_if(|own| own.id.as_bytes() == id)?;
        if let Answer::Result(shape) = answer {
            self.page(own.cursor.as_ref(), own.generation, shape);
            let more = shape.next_cursor.filter(|_| shape.tools.is_some());
            if let (Some(cursor), Some(id)) = (more, fresh_id())
                && own.pages < MAX_PAGES
            {
                own = OwnList { id, cursor: Some(Key::new(cursor)), pages: own.pages + 1, ..own };
                if let Some(line) = own.line(era) {
                    self.own = Some(own);
                    return Some(Swallowed::Next(line));
                }
            }
        }
        if own.generation == self.generation {
            self.give_up();
        }
        Some(Swallowed::Settled)
    }

    /// Takes one entry of a list, asked for in `generation`.
    pub fn learn(&mut self, listed: Listed, generation: u64) {
        let worst = DeclaredHints::default();
        let hints = if self.trusted { listed.hints } else { strictest(worst, listed.hints) };
        self.first_seen.tighten(&listed.name, hints);
        if let Some(tool) = self.known.get_mut(&listed.name) {
            tool.seen = tool.seen.max(generation);
            tool.headers = listed.headers.into();
            let new = |argument: &String| !tool.arguments.contains(argument);
            let new: Vec<String> = listed.arguments.into_iter().filter(new).collect();
            if !new.is_empty() {
                let all = tool.arguments.iter().cloned().chain(new);
                tool.arguments = all.take(MAX_ARGUMENTS).collect();
            }
        } else if self.known.len() < MAX_TOOLS {
            self.folded.insert(fold(&listed.name).into_owned(), listed.name.as_str().into());
            let Listed { name, arguments, headers, .. } = listed;
            let (arguments, headers) = (arguments.into(), headers.into());
            let tool = Tool { arguments, headers, seen: generation };
            self.known.insert(name, tool);
        }
    }
}

impl OwnList {
    fn line(&self, era: &Era) -> Option<Vec<u8>> {
        let mut params = era.own_params()?;
        if let Some(cursor) = &self.cursor {
            params.push(("cursor".to_owned(), json::parse(cursor.as_bytes()).ok()?));
        }
        let params = Json::Object(Object::from_members(params)?);
        let id = &self.id;
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\",\"params\":{params}}}\n"
        );
        Some(line.into_bytes())
    }
}

/// An id that no client guesses or happens to use: 128 random bits.
fn fresh_id() -> Option<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    Some(format!("\"agentgate-{}\"", hex::encode(random)))
}

/// Hint by hint, the stricter of what two definitions say; what only one of them
/// loosens is not loosened.
#[must_use]
pub fn strictest(one: DeclaredHints, other: DeclaredHints) -> DeclaredHints {
    let pick = |one: Option<bool>, other: Option<bool>, worst: bool| match (one, other) {
        _ if one == Some(worst) || other == Some(worst) => Some(worst),
        (Some(_), Some(_)) => Some(!worst),
        _ => None,
    };
    let worst = Hints::default();
    DeclaredHints {
        read_only: pick(one.read_only, other.read_only, worst.read_only),
        destructive: pick(one.destructive, other.destructive, worst.destructive),
        idempotent: pick(one.idempotent, other.idempotent, worst.idempotent),
        open_world: pick(one.open_world, other.open_world, worst.open_world),
    }
}

#[cfg(test)]
mod tests;
