//! What is known of a server's tools.
//!
//! It is learned from responses to `tools/list` that pass, and from lists that the gate itself
//! requests if a call comes first. The hints first seen in this run count: later ones can only
//! tighten them. Pure: bytes in, bytes out.

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
use crate::policy::diagnostic::nearest;

/// Maximum number of tools remembered; further ones count as not listed.
pub const MAX_TOOLS: usize = 10_000;

/// Maximum number of pages that the gate itself requests of one list.
pub const MAX_PAGES: usize = 100;

/// Maximum number of lists that the gate requests for one call: a server may announce a change
/// before each has arrived.
pub const MAX_LISTS: usize = 10;

/// Maximum number of tools, and length of a name in bytes, for a search for similar names. The
/// specification's names have at most 128 characters.
const MAX_COMPARED: usize = 1_000;
const MAX_COMPARED_NAME: usize = 128;

/// The tools of one server.
#[derive(Debug)]
pub struct Tools {
    /// Whether hints, as first seen, may loosen decisions.
    trusted: bool,
    known: HashMap<String, Tool>,
    /// The hints of the tools.
    first_seen: FirstSeen,
    /// Names by their folded form.
    folded: HashMap<String, Arc<str>>,
    coverage: Coverage,
    /// Whether the server may list tools that are not in `known`: some were unreadable or too many.
    overlooks: bool,
    generation: u64,
    /// Cursor of the next page of the current list.
    next_page: Option<Key>,
    own: Option<OwnList>,
}

/// A tool in this conversation.
#[derive(Debug, Clone, Default)]
struct Tool {
    arguments: Arc<[String]>,
    /// Arguments that are also sent as headers, by the latest list.
    headers: Arc<[ParamHeader]>,
    /// Generation of the list that last contained it.
    seen: u64,
}

/// How much of the list has arrived since it last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coverage {
    Partial,
    Complete,
    /// It was requested and did not arrive: unknown tools are treated as destructive.
    Missing,
}

/// A list requested by the gate.
#[derive(Debug)]
struct OwnList {
    /// The unguessable id, as raw JSON.
    id: String,
    cursor: Option<Key>,
    generation: u64,
    pages: usize,
}

/// What is known of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The effective hints; `None` if the server declares none.
    Known(Option<Hints>),
    /// The list must be requested first.
    ListNeeded,
}

/// Result of a response to the gate's own request.
#[derive(Debug, PartialEq, Eq)]
pub enum ListProgress {
    /// The request for the next page.
    NextPage(Vec<u8>),
    /// The list is complete, or has failed.
    Ended,
}

impl Tools {
    /// An empty record. `trusted`: whether hints may loosen decisions.
    #[must_use]
    pub fn new(trusted: bool) -> Self {
        Self::after(FirstSeen::default(), trusted)
    }

    /// As [`Tools::new`], sharing hints with other conversations with this server.
    #[must_use]
    pub fn after(first_seen: FirstSeen, trusted: bool) -> Self {
        Self {
            trusted,
            known: HashMap::new(),
            first_seen,
            folded: HashMap::new(),
            coverage: Coverage::Partial,
            overlooks: false,
            generation: 0,
            next_page: None,
            own: None,
        }
    }

    /// Number of changes of the list. Pages requested in an older generation do not complete
    /// it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Looks up a tool.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Lookup {
        let tool = self.known.get(name);
        let fresh = tool.is_some_and(|tool| tool.seen == self.generation);
        match self.coverage {
            Coverage::Partial if !fresh => Lookup::ListNeeded,
            _ => Lookup::Known(self.hints(name)),
        }
    }

    /// The effective hints. `None` if the tool was never listed, has no hints, or the list has
    /// changed and not arrived completely since.
    #[must_use]
    pub fn hints(&self, name: &str) -> Option<Hints> {
        let tool = self.known.get(name)?;
        if self.coverage != Coverage::Complete && tool.seen != self.generation {
            return None;
        }
        let declared = self.first_seen.hints(name);
        (!declared.is_empty()).then(|| declared.filled_in())
    }

    /// Arguments of `name` that are also sent as headers.
    #[must_use]
    pub fn param_headers(&self, name: &str) -> Arc<[ParamHeader]> {
        self.known.get(name).map(|tool| Arc::clone(&tool.headers)).unwrap_or_default()
    }

    /// Whether the server listed a tool of exactly this name.
    #[must_use]
    pub fn offers(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// How the server's list refers to `name`.
    #[must_use]
    pub fn listing(&self, name: &str) -> Listing {
        if let Some(tool) = self.known.get(name) {
            return Listing::Exact(Arc::clone(&tool.arguments));
        }
        match self.folded.get(&*fold(name)) {
            Some(meant) => Listing::Alike(Arc::clone(meant)),
            None if self.coverage == Coverage::Complete && !self.overlooks => {
                Listing::Absent(self.nearest(name).map(Arc::from))
            }
            None => Listing::Unknown,
        }
    }

    /// The listed name that is most similar to `name`, if any is.
    fn nearest(&self, name: &str) -> Option<&str> {
        let fits = |name: &&str| name.len() <= MAX_COMPARED_NAME;
        let compared = fits(&name) && self.known.len() <= MAX_COMPARED;
        compared.then(|| nearest(name, self.names().filter(fits)))?
    }

    /// Names of the listed tools, in any order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(AsRef::as_ref)
    }

    /// Processes a page of the list: the response to a request for the page after `cursor`,
    /// sent in `generation`.
    pub fn page(&mut self, cursor: Option<&Key>, generation: u64, shape: &Shape<'_>) {
        let Some(entries) = shape.tools.and_then(|tools| entries(tools).ok()) else { return };
        let current = generation == self.generation;
        for entry in entries {
            match entry.listed {
                Some(listed) => self.learn(listed, generation),
                None => self.overlooks = true,
            }
        }
        let in_sequence = cursor.is_none() || cursor == self.next_page.as_ref();
        if current && in_sequence {
            self.next_page = shape.next_cursor.map(Key::new);
            if self.next_page.is_none() {
                self.coverage = Coverage::Complete;
            }
        }
    }

    /// Processes `notifications/tools/list_changed`.
    pub fn changed(&mut self) {
        self.generation += 1;
        self.coverage = Coverage::Partial;
        self.next_page = None;
    }

    /// The gate's own request for the list, as a line. `None` while one is in flight, or if the
    /// revision does not allow it yet.
    pub fn request_list(&mut self, era: &Era) -> Option<Vec<u8>> {
        if self.own.is_some() {
            return None;
        }
        let own = OwnList { id: fresh_id()?, cursor: None, generation: self.generation, pages: 1 };
        let line = own.line(era)?;
        self.own = Some(own);
        Some(line)
    }

    /// Whether a list requested by the gate is in flight.
    #[must_use]
    pub fn is_list_requested(&self) -> bool {
        self.own.is_some()
    }

    /// Whether the list was requested and did not arrive.
    #[must_use]
    pub fn is_list_missing(&self) -> bool {
        self.coverage == Coverage::Missing
    }

    /// Records that the list did not arrive in time. A late response is still consumed.
    pub fn list_timed_out(&mut self) {
        if self.coverage == Coverage::Partial {
            self.coverage = Coverage::Missing;
        }
    }

    /// Records that the request failed. The next call sends another.
    pub fn withdraw_list_request(&mut self) {
        self.own = None;
    }

    /// Consumes the response to a request of the gate; `None` if `id` is not one of these, so
    /// that the response has to be forwarded.
    pub fn consume(&mut self, id: &[u8], answer: &Answer<'_>, era: &Era) -> Option<ListProgress> {
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
                    return Some(ListProgress::NextPage(line));
                }
            }
        }
        if own.generation == self.generation {
            self.list_timed_out();
        }
        Some(ListProgress::Ended)
    }

    /// Processes one entry of a list requested in `generation`.
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
        } else {
            self.overlooks = true;
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

/// A random id of 128 bits, which no client guesses.
fn fresh_id() -> Option<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    Some(format!("\"agentgate-{}\"", hex::encode(random)))
}

/// Combines two declarations, taking the stricter value of each hint. A hint that only one of
/// them loosens is not loosened.
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
