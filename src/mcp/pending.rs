//! The client's requests that the server has not answered yet.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use super::reply::ResponseMetadata;
use super::round_trips::RoundTrip;
use crate::gate::Receipt;
use crate::json::{self, Json};

/// Maximum number of requests in flight; beyond it calls are refused. Some servers never
/// respond to some requests, but legitimate use stays far below.
pub const MAX_PENDING: usize = 16_384;

/// Maximum number of tasks with an outstanding result; beyond it the oldest is written off.
pub const MAX_TASKS: usize = 1_024;

/// What the response to a request in flight changes.
#[derive(Debug)]
pub enum RequestKind {
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

impl RequestKind {
    /// What is known of its response already.
    #[must_use]
    pub fn metadata(&self) -> ResponseMetadata {
        let Self::Admitted(receipt) = self else { return ResponseMetadata::default() };
        let rows = receipt.request_id().map(str::to_owned).into_iter().collect();
        ResponseMetadata { rows, quota: receipt.quota(), ..ResponseMetadata::default() }
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct PendingRequest {
    /// What its response changes.
    pub kind: RequestKind,
    /// Its round of a multi round-trip request; `None` if servers' requests are not judged, or its
    /// response may be to another request.
    pub round_trip: Option<RoundTrip>,
}

impl From<RequestKind> for PendingRequest {
    fn from(kind: RequestKind) -> Self {
        Self { kind, round_trip: None }
    }
}

/// The client's requests in flight, by id. Ids of the server's requests are independent.
#[derive(Debug, Default)]
pub struct Pending {
    requests: HashMap<Key, PendingRequest>,
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
    pub fn insert(
        &mut self,
        id: Key,
        request: impl Into<PendingRequest>,
    ) -> Result<Option<RequestKind>, Full> {
        if self.is_full() && !self.requests.contains_key(&id) {
            return Err(Full);
        }
        let mut request = request.into();
        let earlier = self.requests.remove(&id).map(|earlier| earlier.kind);
        if earlier.is_some() {
            // A response that may be for another request must not update the tools or the era.
            request.round_trip = None;
            if matches!(request.kind, RequestKind::Tools { .. } | RequestKind::Initialize) {
                request.kind = RequestKind::Other;
            }
        }
        self.requests.insert(id, request);
        Ok(earlier)
    }

    /// Whether no more requests can be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.requests.len() >= MAX_PENDING
    }

    /// Whether the request is in flight.
    #[must_use]
    pub fn contains(&self, id: &Key) -> bool {
        self.requests.contains_key(id)
    }

    /// [`ResponseMetadata`] of the response to a request in flight.
    #[must_use]
    pub fn metadata_of(&self, id: &Key) -> ResponseMetadata {
        self.requests.get(id).map(|request| request.kind.metadata()).unwrap_or_default()
    }

    /// Combined [`ResponseMetadata`] of all requests in flight of `scope`.
    #[must_use]
    pub fn metadata_of_scope(&self, scope: &str) -> ResponseMetadata {
        let of_scope = self.requests.iter().filter(|(key, _)| key.is_of(scope));
        let mut all: Vec<ResponseMetadata> =
            of_scope.map(|(_, request)| request.kind.metadata()).collect();
        // Row ids sort by time.
        all.sort_unstable_by(|one, other| one.rows.cmp(&other.rows));
        let quota = all.iter().rev().find_map(|metadata| metadata.quota);
        ResponseMetadata {
            rows: all.into_iter().flat_map(|metadata| metadata.rows).collect(),
            quota,
            ..ResponseMetadata::default()
        }
    }

    /// Whether the request is in flight in any exchange.
    #[must_use]
    pub fn contains_anywhere(&self, id: &Key) -> bool {
        self.contains(id) || self.elsewhere(id).is_some()
    }

    /// Removes the request that was answered or cancelled.
    pub fn take(&mut self, id: &Key) -> Option<RequestKind> {
        self.take_request(id).map(|request| request.kind)
    }

    /// As [`Pending::take`], with the round trip.
    pub fn take_request(&mut self, id: &Key) -> Option<PendingRequest> {
        self.requests.remove(id).or_else(|| {
            let scoped = self.elsewhere(id)?.clone();
            self.requests.remove(&scoped)
        })
    }

    /// The request of any exchange with this unscoped id: its stream broke and was resumed.
    fn elsewhere(&self, id: &Key) -> Option<&Key> {
        let is_scoped = |key: &Key| !matches!(key.0.first(), Some(b'"' | b'-' | b'0'..=b'9'));
        if is_scoped(id) {
            return None;
        }
        let suffix = [b"/", id.as_bytes()].concat();
        self.requests.keys().find(|key| is_scoped(key) && key.0.ends_with(&suffix))
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
        self.requests.is_empty()
    }

    /// Whether all requests in flight are for lists of tools.
    #[must_use]
    pub fn holds_only_lists(&self) -> bool {
        let is_list = |request: &PendingRequest| matches!(request.kind, RequestKind::Tools { .. });
        self.requests.values().all(is_list)
    }

    /// Takes all receipts in `scope`, at the end of the exchange.
    pub fn drain_scope(&mut self, scope: &str) -> Vec<Receipt> {
        let of_scope = |key: &Key, _: &mut PendingRequest| key.is_of(scope);
        let over =
            self.requests.extract_if(of_scope).filter_map(|(_, request)| match request.kind {
                RequestKind::Admitted(receipt) => Some(receipt),
                _ => None,
            });
        over.collect()
    }

    /// Takes all requests in flight.
    pub fn take_all(&mut self) -> Vec<(Key, RequestKind)> {
        self.requests.drain().map(|(id, request)| (id, request.kind)).collect()
    }

    /// Takes all receipts, at the end of the connection.
    pub fn drain(&mut self) -> Vec<Receipt> {
        let drained = self.requests.drain().filter_map(|(_, request)| match request.kind {
            RequestKind::Admitted(receipt) => Some(receipt),
            _ => None,
        });
        let receipts = drained.chain(self.tasks.drain().map(|(_, receipt)| receipt)).collect();
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
        let list = || RequestKind::Tools { cursor: None, generation: 0 };
        for (first, second) in
            [(list(), RequestKind::Other), (RequestKind::Other, list()), (list(), list())]
        {
            let mut pending = Pending::default();
            pending.insert(Key::new(b"1"), first).unwrap();
            pending.insert(Key::new(b"1"), second).unwrap();
            assert!(matches!(pending.take(&Key::new(b"1")), Some(RequestKind::Other)));
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let mut pending = Pending::default();
        for id in 0..MAX_PENDING {
            pending.insert(Key::new(id.to_string().as_bytes()), RequestKind::Other).unwrap();
        }
        assert!(pending.insert(Key::new(b"\"x\""), RequestKind::Other).is_err());
        pending.take(&Key::new(b"0"));
        assert!(pending.insert(Key::new(b"\"x\""), RequestKind::Other).is_ok());
    }
}
