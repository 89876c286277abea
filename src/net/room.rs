//! Room for bodies that are held in memory: so much for all senders together, and half
//! of it for one of them, so that nobody takes the others' place. A body is counted with
//! the tree that its JSON becomes, which may be many times as large.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Bytes that bodies take together, at most; twice the largest body where that is more.
const ROOM: usize = 256 << 20;

/// Bodies up to this size, in bytes, are not counted: connections bound them.
const SMALL: usize = 64 << 10;

/// What a value of JSON takes in a tree, at most, in bytes.
const VALUE: usize = 128;

/// Counts what is held. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Room(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_sender: HashMap<Arc<str>, usize>,
}

/// What a body takes; dropped, it gives that back.
#[derive(Debug)]
pub struct Place {
    room: Room,
    sender: Arc<str>,
    bytes: usize,
}

impl Room {
    /// A place for a body of `sender`, which takes nothing yet.
    #[must_use]
    pub fn place(&self, sender: &Arc<str>) -> Place {
        Place { room: self.clone(), sender: Arc::clone(sender), bytes: 0 }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Takes room for `bytes` of a body of which `max` may come; `false` where there
    /// is none.
    #[must_use]
    pub(super) fn fits(&mut self, bytes: usize, max: usize) -> bool {
        if bytes <= SMALL.max(self.bytes) {
            return true;
        }
        let more = bytes - self.bytes;
        let mut taken = self.room.taken();
        let all = taken.all.saturating_add(more);
        let own = taken.by_sender.get(&self.sender).copied().unwrap_or_default() + more;
        if all > ROOM.max(max.saturating_mul(2)) || own > (ROOM / 2).max(max) {
            return false;
        }
        taken.all = all;
        taken.by_sender.insert(Arc::clone(&self.sender), own);
        self.bytes = bytes;
        true
    }

    /// `bytes`, of which `max` may come; they keep their place, with that of the tree
    /// they may become, for as long as there is a copy of them. `None` where there is no
    /// room.
    pub(super) fn keep(mut self, bytes: Bytes, max: usize) -> Option<Bytes> {
        if !self.fits(weight(&bytes), max) {
            return None;
        }
        Some(match self.bytes {
            0 => bytes,
            _ => Bytes::from_owner(Kept { bytes, _place: self }),
        })
    }
}

/// What `bytes` take with their tree, in bytes: no value stands without a comma or a
/// bracket in front, but for the one that is all of it.
fn weight(bytes: &[u8]) -> usize {
    let (mut values, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    bytes.len().saturating_add(values.saturating_mul(VALUE))
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut taken = self.room.taken();
        taken.all -= self.bytes;
        if let Some(own) = taken.by_sender.get_mut(&self.sender) {
            *own -= self.bytes;
            if *own == 0 {
                taken.by_sender.remove(&self.sender);
            }
        }
    }
}

struct Kept {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    #[test]
    fn one_sender_has_half_and_gives_it_back() {
        let room = Room::default();
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let mut places = Vec::new();
        loop {
            let mut place = room.place(&one);
            if !place.fits(MAX, MAX) {
                break;
            }
            places.push(place);
        }
        assert_eq!(places.len() * MAX, ROOM / 2);
        assert!(room.place(&one).fits(SMALL, MAX), "what is small is not counted");
        assert!(room.place(&other).fits(MAX, MAX));
        let place = places.pop().unwrap();
        let bytes = place.keep(Bytes::from_static(b"held"), MAX).unwrap();
        let copy = bytes.clone();
        drop(bytes);
        assert!(!room.place(&one).fits(MAX, MAX), "a copy is still there");
        drop(copy);
        assert!(room.place(&one).fits(MAX, MAX));
        drop(places);
        let taken = room.taken();
        assert!(taken.all == 0 && taken.by_sender.is_empty(), "{taken:?}");
    }

    #[test]
    fn what_stands_in_a_string_is_no_value() {
        for (text, values) in
            [("", 0), (r#"[1,{"a":[]}]"#, 4), (r#"{"a,b[":"c,\",{d\\"}"#, 1), (r#"["\\",","]"#, 2)]
        {
            assert_eq!(weight(text.as_bytes()), text.len() + values * VALUE, "{text}");
        }
    }

    #[test]
    fn a_body_is_counted_with_its_tree() {
        let room = Room::default();
        let sender = Arc::from("one");
        let nested = Bytes::from("[".repeat(SMALL));
        let kept = room.place(&sender).keep(nested.clone(), MAX);
        assert_eq!(room.taken().all, SMALL * (1 + VALUE));
        let more: Vec<_> =
            (0..1000).map_while(|_| room.place(&sender).keep(nested.clone(), MAX)).collect();
        assert_eq!(more.len() + 1, ROOM / 2 / (SMALL * (1 + VALUE)));
        drop((kept, more));
        assert_eq!(room.taken().all, 0);
    }

    #[test]
    fn the_largest_body_always_fits_an_empty_room() {
        let room = Room::default();
        let max = 2 * ROOM;
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let (mut first, mut second) = (room.place(&one), room.place(&other));
        assert!(first.fits(max / 2, max) && first.fits(max, max) && second.fits(max, max));
        assert!(!room.place(&"third".into()).fits(SMALL + 1, max));
    }
}
