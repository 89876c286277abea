//! The server's requests that the client has not answered yet: the counterpart of
//! [`super::pending`]. Each request gets one answer, the client's or the gate's.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::pending::Key;
use crate::gate::Receipt;

/// Maximum number of requests remembered. Beyond it the oldest is forgotten; if servers'
/// requests are judged, its response is refused then.
pub const MAX_OPEN: usize = 4_096;

/// Hash of a message.
pub type Fingerprint = [u8; 32];

/// Hashes a message.
#[must_use]
pub fn fingerprint(message: &[u8]) -> Fingerprint {
    Sha256::digest(message.trim_ascii()).into()
}

/// The server's requests, by id.
#[derive(Debug, Default)]
pub struct OpenRequests {
    known: HashMap<Key, Request>,
    /// Number of requests so far.
    count: u64,
}

#[derive(Debug)]
struct Request {
    number: u64,
    fingerprint: Fingerprint,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Being decided.
    Judged,
    /// Sent to the client, which has to respond; with a receipt if it was decided.
    Open(Option<Receipt>),
    /// Refused: the gate has responded.
    Refused,
}

/// Result of [`OpenRequests::begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// It has to be decided. Also if the client has it already, which a resumed stream repeats:
    /// the policy may have changed.
    New,
    /// It repeats a request that was refused and answered.
    Refused,
    /// Another request with this id is unanswered: a second response would be ambiguous.
    IdInUse,
}

/// A request that the client responds to.
#[derive(Debug)]
pub struct Answered {
    fingerprint: Fingerprint,
    /// Set if the request was decided.
    pub receipt: Option<Receipt>,
}

impl OpenRequests {
    /// Registers a request that is to be decided, if it is new.
    pub fn begin(&mut self, id: &Key, fingerprint: Fingerprint) -> Registration {
        match self.known.get(id) {
            Some(known) if known.fingerprint == fingerprint => match known.state {
                State::Open(_) => {}
                State::Refused => return Registration::Refused,
                State::Judged => return Registration::IdInUse,
            },
            Some(Request { state: State::Open(_) | State::Judged, .. }) => {
                return Registration::IdInUse;
            }
            _ => {}
        }
        self.insert(id.clone(), fingerprint, State::Judged);
        Registration::New
    }

    /// Whether exactly this request is being decided.
    #[must_use]
    pub fn is_judged(&self, id: &Key, fingerprint: Fingerprint) -> bool {
        let judged = |known: &Request| {
            matches!(known.state, State::Judged) && known.fingerprint == fingerprint
        };
        self.known.get(id).is_some_and(judged)
    }

    /// Records that the client is sent the request.
    pub fn open(&mut self, id: Key, fingerprint: Fingerprint, receipt: Option<Receipt>) {
        self.insert(id, fingerprint, State::Open(receipt));
    }

    /// Records that the gate refuses the request.
    pub fn refuse(&mut self, id: Key, fingerprint: Fingerprint) {
        self.insert(id, fingerprint, State::Refused);
    }

    /// Takes the request that a response of the client is for; `None` if it is not open.
    pub fn answer(&mut self, id: &Key) -> Option<Answered> {
        let is_open = |known: &Request| matches!(known.state, State::Open(_));
        self.known.get(id).filter(|known| is_open(known))?;
        match self.known.remove(id)? {
            Request { state: State::Open(receipt), fingerprint, .. } => {
                Some(Answered { fingerprint, receipt })
            }
            _ => None,
        }
    }

    /// Reopens a request whose response was not passed on.
    pub fn reopen(&mut self, id: Key, answered: Answered) {
        self.open(id, answered.fingerprint, answered.receipt);
    }

    /// Takes the receipts of all unanswered requests, at the end of the connection.
    pub fn drain(&mut self) -> Vec<Receipt> {
        let receipts = self.known.drain().filter_map(|(_, known)| match known.state {
            State::Open(receipt) => receipt,
            State::Judged | State::Refused => None,
        });
        receipts.collect()
    }

    fn insert(&mut self, id: Key, fingerprint: Fingerprint, state: State) {
        if self.known.len() >= MAX_OPEN && !self.known.contains_key(&id) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.number);
            let oldest = oldest.map(|(id, _)| id.clone());
            oldest.and_then(|oldest| self.known.remove(&oldest));
        }
        self.count += 1;
        self.known.insert(id, Request { number: self.count, fingerprint, state });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: usize) -> Key {
        Key::new(id.to_string().as_bytes())
    }

    #[test]
    fn a_request_has_one_answer() {
        let mut open = OpenRequests::default();
        let (one, other) = (fingerprint(b"{\"id\":1}\n"), fingerprint(b"{\"id\":1,\"x\":1}"));
        assert_eq!(one, fingerprint(b"{\"id\":1}"));
        assert!(open.answer(&key(1)).is_none(), "nobody asked");
        assert_eq!(open.begin(&key(1), one), Registration::New);
        assert!(open.answer(&key(1)).is_none(), "the client has not seen it");
        assert_eq!(open.begin(&key(1), one), Registration::IdInUse);
        open.open(key(1), one, None);
        assert_eq!(open.begin(&key(1), other), Registration::IdInUse);
        assert_eq!(open.begin(&key(1), one), Registration::New, "it comes again");
        open.open(key(1), one, None);
        let answered = open.answer(&key(1)).unwrap();
        assert!(open.answer(&key(1)).is_none(), "it is answered");
        open.reopen(key(1), answered);
        assert!(open.answer(&key(1)).is_some());
        assert_eq!(open.begin(&key(1), one), Registration::New, "ids may be used again");
        open.refuse(key(1), one);
        assert!(open.answer(&key(1)).is_none(), "the gate has answered it");
        assert_eq!(open.begin(&key(1), one), Registration::Refused);
        assert_eq!(open.begin(&key(1), other), Registration::New);
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_limit() {
        let mut open = OpenRequests::default();
        (0..=MAX_OPEN).for_each(|id| open.open(key(id), fingerprint(b"x"), None));
        assert!(open.answer(&key(0)).is_none());
        assert!(open.answer(&key(1)).is_some() && open.answer(&key(MAX_OPEN)).is_some());
    }
}
