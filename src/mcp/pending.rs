//! What the client asked and the server has not answered yet.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use super::reply::Mark;
use super::round_trips::RoundTrip;
use crate::gate::Receipt;
use crate::json::{self, Json};

/// Maximum number of requests in flight; beyond it calls are refused. Some servers never
/// respond to some requests, but legitimate use stays far below.
pub const MAX_PENDING: usize = 16_384;

/// Maximum number of tasks with an outstanding result; beyond it the oldest is written off.
pub const MAX_TASKS: usize = 1_024;

/// A request in flight.
#[derive(Debug)]
pub enum Asked {
    /// An admitted `tools/call` or other method.
    Admitted(Receipt),
    /// `tools/list` for the page after `cursor`.
    Tools {
        /// `None` for the first page.
        cursor: Option<Key>,
        /// See [`super::tools::Tools::generation`].
        generation: u64,
    },
    /// `initialize`.
    Initialize,
    /// `tasks/result`, `tasks/get` or `tasks/cancel` for this task.
    Task(String),
    /// Anything else.
    Other,
}

impl Asked {
    /// What is known of its response already.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let Self::Admitted(receipt) = self else { return Mark::default() };
        let rows = receipt.request_id().map(str::to_owned).into_iter().collect();
        Mark { rows, quota: receipt.quota(), ..Mark::default() }
    }
}

/// A request in flight, and its round trip if it is one of several.
#[derive(Debug)]
pub struct Waiting {
    /// The request.
    pub asked: Asked,
    /// `None` if it need not be known.
    pub round_trip: Option<RoundTrip>,
}

impl From<Asked> for Waiting {
    fn from(asked: Asked) -> Self {
        Self { asked, round_trip: None }
    }
}

/// The client's requests in flight, by id. Ids of the server's requests are independent.
#[derive(Debug, Default)]
pub struct Pending {
    asked: HashMap<Key, Waiting>,
    tasks: HashMap<String, Receipt>,
    /// Tasks, oldest first.
    order: VecDeque<String>,
}

/// An id or cursor in canonical form, so that strings compare equal however they are escaped.
/// Short and frequently created, hence `SmallVec`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(SmallVec<[u8; 32]>);

/// [`MAX_PENDING`] requests are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Key {
    /// The key of an id in raw JSON.
    #[must_use]
    pub fn new(raw: &[u8]) -> Self {
        Self(SmallVec::from_slice(&spelt(raw)))
    }

    /// The key of an id within one of several exchanges.
    #[must_use]
    pub fn scoped(scope: &str, raw: &[u8]) -> Self {
        if scope.is_empty() {
            return Self::new(raw);
        }
        // A scope begins with a letter, and no id does.
        let mut key = SmallVec::from_slice(scope.as_bytes());
        key.push(b'/');
        key.extend_from_slice(&spelt(raw));
        Self(key)
    }

    /// Whether it belongs to `scope`.
    #[must_use]
    pub fn is_of(&self, scope: &str) -> bool {
        self.0.strip_prefix(scope.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// The key as JSON.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// `raw` with only the necessary escapes, if it is a string.
fn spelt(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.contains(&b'\\')
        && let Ok(text @ Json::String(_)) = json::parse(raw)
    {
        return text.to_string().into_bytes().into();
    }
    raw.into()
}

impl Pending {
    /// Adds a request. If one with this id is in flight, it is written off and returned: it is
    /// unclear which one the next response is for.
    ///
    /// # Errors
    /// [`Full`]; nothing was added.
    pub fn ask(&mut self, id: Key, waiting: impl Into<Waiting>) -> Result<Option<Asked>, Full> {
        if self.is_full() && !self.asked.contains_key(&id) {
            return Err(Full);
        }
        let mut waiting = waiting.into();
        let earlier = self.asked.remove(&id).map(|earlier| earlier.asked);
        if earlier.is_some() {
            // A response that may be for another request must not update the tools or the era.
            waiting.round_trip = None;
            if matches!(waiting.asked, Asked::Tools { .. } | Asked::Initialize) {
                waiting.asked = Asked::Other;
            }
        }
        self.asked.insert(id, waiting);
        Ok(earlier)
    }

    /// Whether no more requests can be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.asked.len() >= MAX_PENDING
    }

    /// Whether the request is in flight.
    #[must_use]
    pub fn contains(&self, id: &Key) -> bool {
        self.asked.contains_key(id)
    }

    /// [`Mark`] of the response to a request in flight.
    #[must_use]
    pub fn mark_of(&self, id: &Key) -> Mark {
        self.asked.get(id).map(|waiting| waiting.asked.mark()).unwrap_or_default()
    }

    /// Combined [`Mark`] of all requests in flight of `scope`.
    #[must_use]
    pub fn mark_of_scope(&self, scope: &str) -> Mark {
        let of_scope = self.asked.iter().filter(|(key, _)| key.is_of(scope));
        let mut marks: Vec<Mark> = of_scope.map(|(_, waiting)| waiting.asked.mark()).collect();
        // Row ids sort by time.
        marks.sort_unstable_by(|one, other| one.rows.cmp(&other.rows));
        let quota = marks.iter().rev().find_map(|mark| mark.quota);
        Mark {
            rows: marks.into_iter().flat_map(|mark| mark.rows).collect(),
            quota,
            ..Mark::default()
        }
    }

    /// Whether the request is in flight in any exchange.
    #[must_use]
    pub fn contains_anywhere(&self, id: &Key) -> bool {
        self.contains(id) || self.elsewhere(id).is_some()
    }

    /// Removes the request that was answered or cancelled.
    pub fn take(&mut self, id: &Key) -> Option<Asked> {
        self.take_waiting(id).map(|waiting| waiting.asked)
    }

    /// As [`Pending::take`], with the round trip.
    pub fn take_waiting(&mut self, id: &Key) -> Option<Waiting> {
        self.asked.remove(id).or_else(|| {
            let asked = self.elsewhere(id)?.clone();
            self.asked.remove(&asked)
        })
    }

    /// The request of any exchange with this unscoped id: its stream broke and was resumed.
    fn elsewhere(&self, id: &Key) -> Option<&Key> {
        let is_scoped = |key: &Key| !matches!(key.0.first(), Some(b'"' | b'-' | b'0'..=b'9'));
        if is_scoped(id) {
            return None;
        }
        let suffix = [b"/", id.as_bytes()].concat();
        self.asked.keys().find(|key| is_scoped(key) && key.0.ends_with(&suffix))
    }

    /// Registers a task that will deliver a call's result. Returns the receipt of a task that
    /// was written off.
    pub fn begin_task(&mut self, task: String, receipt: Receipt) -> Option<Receipt> {
        let replaced = self.tasks.insert(task.clone(), receipt);
        if replaced.is_some() {
            return replaced;
        }
        self.order.push_back(task);
        if self.order.len() <= MAX_TASKS {
            return None;
        }
        let oldest = self.order.pop_front()?;
        self.tasks.remove(&oldest)
    }

    /// Removes a task that has ended.
    pub fn end_task(&mut self, task: &str) -> Option<Receipt> {
        let receipt = self.tasks.remove(task)?;
        self.order.retain(|other| other != task);
        Some(receipt)
    }

    /// Number of calls waiting for the result of a task.
    #[must_use]
    pub fn open_tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no requests are in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Takes all receipts in `scope`, at the end of the exchange.
    pub fn drain_scope(&mut self, scope: &str) -> Vec<Receipt> {
        let of_scope = |key: &Key, _: &mut Waiting| key.is_of(scope);
        let over = self.asked.extract_if(of_scope).filter_map(|(_, waiting)| match waiting.asked {
            Asked::Admitted(receipt) => Some(receipt),
            _ => None,
        });
        over.collect()
    }

    /// Takes all requests in flight.
    pub fn take_all(&mut self) -> Vec<(Key, Asked)> {
        self.asked.drain().map(|(id, waiting)| (id, waiting.asked)).collect()
    }

    /// Takes all receipts, at the end of the connection.
    pub fn drain(&mut self) -> Vec<Receipt> {
        let asked = self.asked.drain().filter_map(|(_, waiting)| match waiting.asked {
            Asked::Admitted(receipt) => Some(receipt),
            _ => None,
        });
        let receipts = asked.chain(self.tasks.drain().map(|(_, receipt)| receipt)).collect();
        self.order.clear();
        receipts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_however_it_is_escaped() {
        assert_eq!(Key::new(br#""a""#), Key::new(br#""\u0061""#));
        assert_ne!(Key::new(b"1"), Key::new(br#""1""#));
    }

    #[test]
    fn an_answer_to_one_of_two_requests_is_not_learned_from() {
        let list = || Asked::Tools { cursor: None, generation: 0 };
        for (first, second) in [(list(), Asked::Other), (Asked::Other, list()), (list(), list())] {
            let mut pending = Pending::default();
            pending.ask(Key::new(b"1"), first).unwrap();
            pending.ask(Key::new(b"1"), second).unwrap();
            assert!(matches!(pending.take(&Key::new(b"1")), Some(Asked::Other)));
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let mut pending = Pending::default();
        for id in 0..MAX_PENDING {
            pending.ask(Key::new(id.to_string().as_bytes()), Asked::Other).unwrap();
        }
        assert!(pending.ask(Key::new(b"\"x\""), Asked::Other).is_err());
        pending.take(&Key::new(b"0"));
        assert!(pending.ask(Key::new(b"\"x\""), Asked::Other).is_ok());
    }
}
