//! Room for what is held in memory: bodies of requests, and answers of servers. So much
//! for all senders together, and for one of them half of what the others leave, so that
//! nobody takes the others' place; a single body may take all that is left, and so may
//! one of those answers that come in part and wait for more. Where nothing is left, one of
//! all these goes beyond the room.
//!
//! A request is counted with the tree that its JSON becomes, which may be many times as
//! large, and refused where there is no room. An answer waits for room, and its server
//! with it: what it tells has been done already. The two have a room each: a request
//! keeps its place until it is answered, and would wait for itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes that bodies take together, at most; twice the largest body where that is more.
pub(crate) const ROOM: usize = 256 << 20;

/// Bodies up to this size, in bytes, are not counted: connections bound them.
pub(crate) const SMALL: usize = 64 << 10;

/// What a value of JSON takes in a tree, at most, in bytes.
const VALUE: usize = 128;

/// How long an answer waits for room; longer than a client may take nothing of those
/// that are in its place.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Counts what is held. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Room(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<Taken>,
    /// Some of it was given back.
    given_back: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_sender: HashMap<Arc<str>, usize>,
    /// Senders of whose answers one goes first.
    first: HashSet<Arc<str>>,
    /// An answer goes beyond the room.
    is_exceeded: bool,
}

/// The part of a room that answers to one sender's requests have.
#[derive(Debug, Clone)]
pub struct Share {
    room: Room,
    sender: Arc<str>,
}

/// What a body takes; dropped, it gives that back.
#[derive(Debug)]
pub struct Place {
    room: Room,
    sender: Arc<str>,
    holds: Holds,
    bytes: usize,
    /// It may have more than its sender's part.
    goes_first: bool,
    /// It may have more than there is.
    goes_beyond: bool,
}

/// What is held in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// It is refused where there is no room.
    Request,
    /// It waits for room.
    Answer,
}

impl Room {
    /// A place for the body of a request of `sender`, which takes nothing yet.
    #[must_use]
    pub fn place(&self, sender: &Arc<str>) -> Place {
        self.begin(sender, Holds::Request)
    }

    /// Where answers to `sender` are held.
    #[must_use]
    pub fn share(&self, sender: &Arc<str>) -> Share {
        Share { room: self.clone(), sender: Arc::clone(sender) }
    }

    /// All the room there is, taken by somebody else.
    #[cfg(test)]
    pub(crate) fn all(&self) -> Place {
        let mut place = self.place(&"somebody else".into());
        assert!(place.fits(ROOM, 0));
        place
    }

    fn begin(&self, sender: &Arc<str>, holds: Holds) -> Place {
        let (room, sender) = (self.clone(), Arc::clone(sender));
        Place { room, sender, holds, bytes: 0, goes_first: false, goes_beyond: false }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// A place for an answer, which takes nothing yet.
    #[must_use]
    pub fn place(&self) -> Place {
        self.room.begin(&self.sender, Holds::Answer)
    }

    /// `answer` in a place of its own; `max` are the bytes of the largest that there may be.
    /// `None` where there was no room for too long.
    pub(crate) async fn keep(&self, answer: Bytes, max: usize) -> Option<Bytes> {
        let mut place = self.place();
        place.take(answer.len(), max).await.then(|| place.hold(answer))
    }
}

/// `answer` in a place of its own, where answers are counted; else as it is. See
/// [`Share::keep`].
pub(crate) async fn keep(share: Option<&Share>, answer: Bytes, max: usize) -> Option<Bytes> {
    match share {
        Some(share) => share.keep(answer, max).await,
        None => Some(answer),
    }
}

/// The place of what comes in pieces and is handed out whole, one after the other. Without
/// a share, nothing is counted.
#[derive(Debug)]
pub(crate) struct Arriving(Option<(Share, Place)>);

impl Arriving {
    /// Nothing has come yet.
    pub(crate) fn new(share: Option<&Share>) -> Self {
        Self(share.map(|share| (share.clone(), share.place())))
    }

    /// Whether what has come may be so many bytes; see [`Place::take`].
    pub(crate) async fn take(&mut self, bytes: usize, max: usize) -> bool {
        match &mut self.0 {
            Some((_, place)) => place.take(bytes, max).await,
            None => true,
        }
    }

    /// `whole` takes along the place of what has come, where it is large.
    pub(crate) fn hand_out(&mut self, whole: Bytes) -> Bytes {
        match &mut self.0 {
            Some((share, place)) if whole.len() > SMALL => {
                std::mem::replace(place, share.place()).hold(whole)
            }
            _ => whole,
        }
    }

    /// What has come is held no more.
    pub(crate) fn give_back(&mut self) {
        if let Some((_, place)) = &mut self.0 {
            place.give_back();
        }
    }
}

impl Place {
    /// Takes room for `bytes` of a body, where the largest there may be has `max`; `false`
    /// where there is none.
    #[must_use]
    pub(crate) fn fits(&mut self, bytes: usize, max: usize) -> bool {
        if bytes <= SMALL.max(self.bytes) {
            return true;
        }
        let more = bytes - self.bytes;
        let room = ROOM.max(max.saturating_mul(2));
        let mut taken = self.room.taken();
        let own = taken.by_sender.get(&self.sender).copied().unwrap_or_default();
        let left_by_others = room.saturating_sub(taken.all - own);
        let is_only_one = own == self.bytes;
        let (all, own) = (taken.all.saturating_add(more), own.saturating_add(more));
        // Answers that have come in part would wait for each other: one of a sender's goes
        // first, and one of all beyond the room, by what is left of it to come.
        let may_go_first = self.bytes > 0 && self.holds == Holds::Answer;
        let is_beyond = all > room;
        if is_beyond && !(may_go_first && (self.goes_beyond || !taken.is_exceeded)) {
            return false;
        }
        if !is_only_one && own > left_by_others / 2 {
            if !may_go_first || !self.goes_first && !taken.first.insert(self.sender.clone()) {
                return false;
            }
            self.goes_first = true;
        }
        if is_beyond {
            (self.goes_beyond, taken.is_exceeded) = (true, true);
        }
        taken.all = all;
        taken.by_sender.insert(Arc::clone(&self.sender), own);
        self.bytes = bytes;
        true
    }

    /// The same, for an answer after waiting for room; `false` where none came in
    /// [`PATIENCE`]. Cancel-safe.
    pub(crate) async fn take(&mut self, bytes: usize, max: usize) -> bool {
        if self.fits(bytes, max) {
            return true;
        }
        if self.holds == Holds::Request {
            return false;
        }
        let shared = Arc::clone(&self.room.0);
        let room_is_there = async {
            loop {
                // Registered before the look, so that nothing is given back in between.
                let given_back = shared.given_back.notified();
                if self.fits(bytes, max) {
                    return;
                }
                given_back.await;
            }
        };
        timeout(PATIENCE, room_is_there).await.is_ok()
    }

    /// Takes room for all of an answer of this length before it comes. Two that have half
    /// of theirs might wait for each other.
    pub(super) async fn reserve(&mut self, length: u64, max: usize) -> bool {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.holds == Holds::Request || self.take(length, max).await
    }

    /// Whether who finds no room has waited for it.
    pub(super) fn waits(&self) -> bool {
        self.holds == Holds::Answer
    }

    /// `bytes`, of which `max` may come; they keep their place, where they are a request's
    /// with that of the tree they may become, for as long as there is a copy of them.
    /// `None` where there is no room.
    pub(super) fn keep(mut self, bytes: Bytes, max: usize) -> Option<Bytes> {
        if self.holds == Holds::Request && !self.fits(weight(&bytes), max) {
            return None;
        }
        Some(self.hold(bytes))
    }

    /// `bytes`, for which room was taken; they keep it for as long as there is a copy of
    /// them.
    pub(crate) fn hold(mut self, bytes: Bytes) -> Bytes {
        if self.holds == Holds::Answer {
            self.shrink(if bytes.len() > SMALL { bytes.len() } else { 0 });
        }
        match self.bytes {
            0 => bytes,
            _ => Bytes::from_owner(Kept { bytes, _place: self }),
        }
    }

    /// Gives back all that was taken.
    pub(crate) fn give_back(&mut self) {
        self.shrink(0);
    }

    /// Gives back what is beyond `bytes`.
    fn shrink(&mut self, bytes: usize) {
        if self.bytes <= bytes {
            return;
        }
        let less = self.bytes - bytes;
        self.bytes = bytes;
        let mut taken = self.room.taken();
        taken.all -= less;
        if let Some(own) = taken.by_sender.get_mut(&self.sender) {
            *own -= less;
            if *own == 0 {
                taken.by_sender.remove(&self.sender);
            }
        }
        if bytes == 0 && std::mem::take(&mut self.goes_first) {
            taken.first.remove(&self.sender);
        }
        if bytes == 0 && std::mem::take(&mut self.goes_beyond) {
            taken.is_exceeded = false;
        }
        drop(taken);
        self.room.0.given_back.notify_waiters();
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
        self.shrink(0);
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
    fn everyone_leaves_half_to_the_others() {
        let room = Room::default();
        let mut places = Vec::new();
        for (sender, may) in [("one", ROOM / 2), ("two", ROOM / 4), ("three", ROOM / 8)] {
            let sender = Arc::from(sender);
            let all = std::iter::from_fn(|| {
                let mut place = room.place(&sender);
                place.fits(MAX, MAX).then_some(place)
            });
            let all: Vec<_> = all.collect();
            assert_eq!(all.len() * MAX, may, "{sender}");
            places.extend(all);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_room_and_not_for_ever() {
        let room = Room::default();
        let share = room.share(&"one".into());
        let mut held = Vec::new();
        for _ in 0..ROOM / 2 / MAX {
            held.push(share.keep(Bytes::from(vec![0; MAX]), MAX).await.unwrap());
        }
        let began = tokio::time::Instant::now();
        assert_eq!(share.keep(Bytes::from(vec![0; MAX]), MAX).await, None);
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(share.keep(Bytes::from(vec![0; SMALL]), MAX).await.is_some(), "it is small");
        let given_back = async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(held.pop());
        };
        let (kept, ()) = tokio::join!(share.keep(Bytes::from(vec![0; MAX]), MAX), given_back);
        assert!(kept.is_some());
        drop((held, kept));
        assert_eq!(room.taken().all, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_have_come_in_part_do_not_wait_for_each_other() {
        let room = Room::default();
        let share = room.share(&"one".into());
        let part = 2 * SMALL;
        let mut begun = Vec::new();
        loop {
            let mut place = share.place();
            if !place.fits(part, MAX) {
                break;
            }
            begun.push(place);
        }
        assert_eq!(begun.len() * part, ROOM / 2);
        // Each comes to its end, in turn, and is taken.
        let mut waiting: Vec<_> =
            begun.iter_mut().take(9).map(|place| place.take(MAX, MAX)).collect();
        assert!(waiting.remove(0).await);
        assert!(!waiting.remove(0).await, "the first one is still held");
        drop(waiting);
        drop(begun.remove(0));
        for mut place in begun.drain(..9) {
            assert!(place.take(MAX, MAX).await);
        }
        drop(begun);
        let taken = room.taken();
        assert!(taken.all == 0 && taken.first.is_empty(), "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nor_do_those_of_several_senders() {
        let room = Room::default();
        let part = 2 * SMALL;
        let of_sender = |sender: usize| {
            let share = room.share(&sender.to_string().into());
            std::iter::from_fn(|| {
                let mut place = share.place();
                place.fits(part, MAX).then_some(place)
            })
            .collect::<Vec<_>>()
        };
        let mut begun: Vec<Vec<Place>> =
            (0..).map(of_sender).take_while(|begun| !begun.is_empty()).collect();
        assert!(begun.len() > 5 && room.taken().all > ROOM - MAX);
        let beyond = begun.iter_mut().map(|of_one| of_one[0].take(MAX, MAX));
        let taken = futures_util::future::join_all(beyond).await;
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
        assert!(room.taken().all <= ROOM + MAX);
        // Each comes to its end, in turn, and is taken.
        for mut of_one in begun {
            assert!(of_one[0].take(MAX, MAX).await);
        }
        let taken = room.taken();
        assert!(taken.all == 0 && !taken.is_exceeded, "{taken:?}");
    }

    #[test]
    fn an_answer_gives_back_what_it_does_not_need() {
        let room = Room::default();
        let mut place = room.share(&"one".into()).place();
        assert!(place.fits(MAX, MAX));
        let kept = place.hold(Bytes::from(vec![0; SMALL + 1]));
        assert_eq!(room.taken().all, SMALL + 1, "without a tree");
        drop(kept);
        let mut place = room.share(&"one".into()).place();
        assert!(place.fits(MAX, MAX));
        let _small = place.hold(Bytes::from_static(b"small"));
        assert_eq!(room.taken().all, 0);
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
