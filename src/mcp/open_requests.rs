//! What the server asked and the client has not answered yet: the other half of
//! [`super::pending`]. Each request gets one answer, the client's or the gate's.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::pending::Key;
use crate::gate::Receipt;

/// Requests that are remembered at most. Beyond it the oldest is forgotten, and what
/// answers it is refused where what servers ask is judged.
pub const MAX_OPEN: usize = 4_096;

/// A message by its bytes.
pub type Print = [u8; 32];

/// The print of a message.
#[must_use]
pub fn print(message: &[u8]) -> Print {
    Sha256::digest(message.trim_ascii()).into()
}

/// Requests of the server's, by its own ids.
#[derive(Debug, Default)]
pub struct OpenRequests {
    known: HashMap<Key, Request>,
    /// How many there have been.
    count: u64,
}

#[derive(Debug)]
struct Request {
    number: u64,
    print: Print,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is being judged.
    Judged,
    /// The client has it, and owes the answer; a receipt where it was decided.
    Open(Option<Receipt>),
    /// The gate has answered it.
    Refused,
}

/// What a request of the server's is, among those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is to be decided. So is the very message that the client has already, which a
    /// stream that was resumed brings again: the policy may be another one by now.
    New,
    /// The very message that was refused and answered.
    Refused,
    /// Another request of that id has no answer yet: one of two answers would be too many.
    Taken,
}

/// A request that the client answers.
#[derive(Debug)]
pub struct Answered {
    print: Print,
    /// Where it was decided.
    pub receipt: Option<Receipt>,
}

impl OpenRequests {
    /// A request has come, and is about to be decided where it is new.
    pub fn begin(&mut self, id: &Key, print: Print) -> Place {
        match self.known.get(id) {
            Some(known) if known.print == print => match known.state {
                State::Open(_) => {}
                State::Refused => return Place::Refused,
                State::Judged => return Place::Taken,
            },
            Some(Request { state: State::Open(_) | State::Judged, .. }) => return Place::Taken,
            _ => {}
        }
        self.note(id.clone(), print, State::Judged);
        Place::New
    }

    /// Whether this very request is being decided.
    #[must_use]
    pub fn is_judged(&self, id: &Key, print: Print) -> bool {
        let judged = |known: &Request| matches!(known.state, State::Judged) && known.print == print;
        self.known.get(id).is_some_and(judged)
    }

    /// The client is given it.
    pub fn open(&mut self, id: Key, print: Print, receipt: Option<Receipt>) {
        self.note(id, print, State::Open(receipt));
    }

    /// The gate answers it.
    pub fn refuse(&mut self, id: Key, print: Print) {
        self.note(id, print, State::Refused);
    }

    /// Takes the request that an answer of the client's is for; `None` if it has none,
    /// or none any more.
    pub fn answer(&mut self, id: &Key) -> Option<Answered> {
        let is_open = |known: &Request| matches!(known.state, State::Open(_));
        self.known.get(id).filter(|known| is_open(known))?;
        match self.known.remove(id)? {
            Request { state: State::Open(receipt), print, .. } => Some(Answered { print, receipt }),
            _ => None,
        }
    }

    /// The answer was not passed on: the request waits for another.
    pub fn reopen(&mut self, id: Key, answered: Answered) {
        self.open(id, answered.print, answered.receipt);
    }

    /// Takes the receipts of all that was decided and has no answer: the connection is
    /// over.
    pub fn drain(&mut self) -> Vec<Receipt> {
        let receipts = self.known.drain().filter_map(|(_, known)| match known.state {
            State::Open(receipt) => receipt,
            State::Judged | State::Refused => None,
        });
        receipts.collect()
    }

    fn note(&mut self, id: Key, print: Print, state: State) {
        if self.known.len() >= MAX_OPEN && !self.known.contains_key(&id) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.number);
            let oldest = oldest.map(|(id, _)| id.clone());
            oldest.and_then(|oldest| self.known.remove(&oldest));
        }
        self.count += 1;
        self.known.insert(id, Request { number: self.count, print, state });
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
        let (one, other) = (print(b"{\"id\":1}\n"), print(b"{\"id\":1,\"x\":1}"));
        assert_eq!(one, print(b"{\"id\":1}"));
        assert!(open.answer(&key(1)).is_none(), "nobody asked");
        assert_eq!(open.begin(&key(1), one), Place::New);
        assert!(open.answer(&key(1)).is_none(), "the client has not seen it");
        assert_eq!(open.begin(&key(1), one), Place::Taken);
        open.open(key(1), one, None);
        assert_eq!(open.begin(&key(1), other), Place::Taken);
        assert_eq!(open.begin(&key(1), one), Place::New, "it comes again");
        open.open(key(1), one, None);
        let answered = open.answer(&key(1)).unwrap();
        assert!(open.answer(&key(1)).is_none(), "it is answered");
        open.reopen(key(1), answered);
        assert!(open.answer(&key(1)).is_some());
        assert_eq!(open.begin(&key(1), one), Place::New, "ids may be used again");
        open.refuse(key(1), one);
        assert!(open.answer(&key(1)).is_none(), "the gate has answered it");
        assert_eq!(open.begin(&key(1), one), Place::Refused);
        assert_eq!(open.begin(&key(1), other), Place::New);
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_limit() {
        let mut open = OpenRequests::default();
        (0..=MAX_OPEN).for_each(|id| open.open(key(id), print(b"x"), None));
        assert!(open.answer(&key(0)).is_none());
        assert!(open.answer(&key(1)).is_some() && open.answer(&key(MAX_OPEN)).is_some());
    }
}
