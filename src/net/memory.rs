//! A budget for the memory that held bodies take: bodies of requests, and answers of servers.
//!
//! One budget is shared by all senders. A sender may take half of what the others leave, so
//! that none crowds out the rest; its only body may take all that is left. So may one of a
//! sender's partly received answers (`exceeds_share`), and one of all those may exceed the
//! budget itself (an overdraft): without that, partly received answers could deadlock, each
//! waiting for the memory of the others.
//!
//! While somebody waits, an answer cannot occupy memory for as long as its client or server
//! likes: one that is not read in time is dropped (`delivery.rs`), and so is an overdraft that
//! has not arrived in time. Its sender gets no other overdraft before others that wait have
//! had one.
//!
//! A request is counted with its parsed JSON, which may be many times as large, and is refused
//! if memory is short. An answer waits for memory, and its server with it: the action has
//! already been carried out, so a refusal would lose its result. Requests and answers have
//! separate budgets: a request keeps its reservation until it is answered, so with one budget
//! answers could wait for their own requests.

mod stream;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::delivery::{Held, READ_TIMEOUT, address};
pub(crate) use stream::StreamReservation;

/// Maximum total size of held bodies, in bytes; more if two of the largest allowed body exceed
/// it.
pub(crate) const BUDGET: usize = 256 << 20;

/// Bodies up to this size, in bytes, are not counted: the number of connections bounds them.
pub(crate) const SMALL: usize = 64 << 10;

/// Upper bound of the size of a parsed JSON value, in bytes.
const JSON_VALUE: usize = 128;

/// Interval between two answers being dropped.
const RECLAIM_PAUSE: Duration = Duration::from_millis(100);

/// How long an answer waits for memory: longer than a client may leave the answers unread that
/// occupy it.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(90);

/// Counts the bytes held. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct MemoryBudget(Arc<State>);

#[derive(Debug, Default)]
struct State {
    usage: Mutex<Usage>,
    /// Notified when memory is released or may be.
    released: Notify,
}

#[derive(Debug, Default)]
struct Usage {
    all: usize,
    by_sender: HashMap<Arc<str>, usize>,
    /// Senders with an answer beyond their share.
    over_share: HashSet<Arc<str>>,
    /// The answer beyond the whole budget, if any.
    overdraft: Option<Overdraft>,
    /// Number of answers waiting for memory, per sender.
    waiting: HashMap<Arc<str>, usize>,
    /// Complete answers that have not been read by their clients.
    held: Held,
    /// Senders an answer of which was dropped, and when.
    reclaimed_from: HashMap<Arc<str>, Instant>,
    /// Time when an answer was last dropped: releasing its memory takes a moment.
    reclaimed: Option<Instant>,
}

/// The answer that exceeds the budget.
#[derive(Debug, Clone, Copy)]
struct Overdraft {
    since: Instant,
    has_arrived: bool,
    /// Whether it has to be dropped.
    is_revoked: bool,
}

/// The budget for answers to one sender's requests.
#[derive(Debug, Clone)]
pub struct SenderBudget {
    budget: MemoryBudget,
    sender: Arc<str>,
}

/// Bytes reserved for one body; released when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    sender: Arc<str>,
    purpose: Purpose,
    bytes: usize,
    /// Whether it may exceed its sender's share.
    exceeds_share: bool,
    /// Whether it may exceed the budget.
    is_overdraft: bool,
}

/// What a reservation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A request: refused when memory is short.
    Request,
    /// An answer: waits for memory.
    Answer,
}

impl MemoryBudget {
    /// An empty reservation for a request of `sender`.
    #[must_use]
    pub fn reservation(&self, sender: &Arc<str>) -> Reservation {
        self.begin(sender, Purpose::Request)
    }

    /// The budget for answers to `sender`.
    #[must_use]
    pub fn for_sender(&self, sender: &Arc<str>) -> SenderBudget {
        SenderBudget { budget: self.clone(), sender: Arc::clone(sender) }
    }

    /// Reserves the whole budget.
    #[cfg(test)]
    pub(crate) fn all(&self) -> Reservation {
        let mut reservation = self.reservation(&"somebody else".into());
        assert!(reservation.try_reserve(BUDGET, 0));
        reservation
    }

    fn begin(&self, sender: &Arc<str>, purpose: Purpose) -> Reservation {
        let (budget, sender) = (self.clone(), Arc::clone(sender));
        Reservation { budget, sender, purpose, bytes: 0, exceeds_share: false, is_overdraft: false }
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.0.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accesses the complete but unread answers.
    pub(super) fn with_held<T>(&self, access: impl FnOnce(&mut Held) -> T) -> T {
        access(&mut self.usage().held)
    }

    /// Drops an overdue answer for `sender`, which waits for memory. If there is none, returns
    /// the time to try again.
    fn reclaim(&self, sender: &Arc<str>) -> Option<Instant> {
        let mut usage = self.usage();
        let now = Instant::now();
        if let Some(again) = usage.reclaimed.map(|at| at + RECLAIM_PAUSE).filter(|at| *at > now) {
            return Some(again);
        }
        let Usage { by_sender, held, overdraft, .. } = &mut *usage;
        let of = |sender: &str| by_sender.get(sender).copied().unwrap_or_default();
        let arriving = overdraft.as_mut().filter(|one| !one.has_arrived && !one.is_revoked);
        let due = arriving.as_ref().map(|one| one.since + READ_TIMEOUT);
        let (sender_of_dropped, overdue) = match (arriving, held.reclaim((sender, of(sender)), of))
        {
            (Some(arriving), _) if due.is_some_and(|due| due <= now) => {
                arriving.is_revoked = true;
                (None, None)
            }
            (_, Ok(overdue)) => (Some(overdue.sender()), Some(overdue)),
            (_, Err(next)) => return [due, next].into_iter().flatten().min(),
        };
        usage.reclaimed = Some(now);
        if let Some(sender_of_dropped) = sender_of_dropped {
            usage.record_reclaimed(sender_of_dropped, now);
        }
        drop(usage);
        if let Some(overdue) = overdue {
            overdue.drop_rest();
        }
        self.0.released.notify_waiters();
        Some(now + RECLAIM_PAUSE)
    }
}

impl Usage {
    fn record_reclaimed(&mut self, sender: Arc<str>, now: Instant) {
        self.reclaimed_from.retain(|_, at| now.duration_since(*at) < MAX_WAIT);
        self.reclaimed_from.insert(sender, now);
    }

    /// Whether `sender` has to leave the overdraft to others, because one of its answers was
    /// dropped lately.
    fn yields_overdraft(&self, sender: &Arc<str>) -> bool {
        let lately = self.reclaimed_from.get(sender).is_some_and(|at| at.elapsed() < MAX_WAIT);
        lately && self.waiting.keys().any(|other| other != sender)
    }

    fn is_revoked(&self) -> bool {
        self.overdraft.is_some_and(|overdraft| overdraft.is_revoked)
    }
}

/// Counts an answer as waiting until dropped.
struct Waiting {
    budget: MemoryBudget,
    sender: Arc<str>,
}

impl Waiting {
    fn begin(budget: &MemoryBudget, sender: &Arc<str>) -> Self {
        *budget.usage().waiting.entry(Arc::clone(sender)).or_default() += 1;
        Self { budget: budget.clone(), sender: Arc::clone(sender) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut usage = self.budget.usage();
        if let Some(count) = usage.waiting.get_mut(&self.sender) {
            *count -= 1;
            if *count == 0 {
                usage.waiting.remove(&self.sender);
            }
        }
    }
}

impl SenderBudget {
    /// The budget it is a part of.
    #[must_use]
    pub fn whole(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Completes once `answer`, which is held, has to be dropped.
    pub(crate) async fn reclaimed(&self, answer: &Bytes) {
        loop {
            let released = self.budget.0.released.notified();
            if self.budget.with_held(|held| held.is_reclaimed(answer)) {
                return;
            }
            released.await;
        }
    }

    /// An empty reservation for an answer.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        self.budget.begin(&self.sender, Purpose::Answer)
    }

    /// Attaches a reservation to `answer`, whose limit is `max` bytes. `None` if memory was
    /// short for [`MAX_WAIT`].
    pub(crate) async fn reserve(&self, answer: Bytes, max: usize) -> Option<Bytes> {
        let mut reservation = self.reservation();
        reservation.reserve(answer.len(), max).await.then(|| reservation.attach(answer))
    }
}

/// [`SenderBudget::reserve`] if there is a budget; else returns `answer`.
pub(crate) async fn reserve(
    budget: Option<&SenderBudget>,
    answer: Bytes,
    max: usize,
) -> Option<Bytes> {
    match budget {
        Some(budget) => budget.reserve(answer, max).await,
        None => Some(answer),
    }
}

impl Reservation {
    /// Grows the reservation to `bytes` of a body with the limit `max`. `false` if memory is
    /// short.
    #[must_use]
    pub(crate) fn try_reserve(&mut self, bytes: usize, max: usize) -> bool {
        if bytes <= SMALL.max(self.bytes) {
            return true;
        }
        let more = bytes - self.bytes;
        let budget = BUDGET.max(max.saturating_mul(2));
        let mut usage = self.budget.usage();
        let own = usage.by_sender.get(&self.sender).copied().unwrap_or_default();
        let left_by_others = budget.saturating_sub(usage.all - own);
        let is_only_one = own == self.bytes;
        let (all, own) = (usage.all.saturating_add(more), own.saturating_add(more));
        // Partly received answers could wait for each other: one of a sender may exceed its
        // share, and one of all the budget, by what has yet to arrive.
        let may_exceed = self.bytes > 0 && self.purpose == Purpose::Answer;
        let exceeds_budget = all > budget;
        let may_overdraw = match self.is_overdraft {
            true => !usage.is_revoked(),
            false => usage.overdraft.is_none() && !usage.yields_overdraft(&self.sender),
        };
        if exceeds_budget && !(may_exceed && may_overdraw) {
            return false;
        }
        if !is_only_one && own > left_by_others / 2 {
            if !may_exceed || !self.exceeds_share && !usage.over_share.insert(self.sender.clone()) {
                return false;
            }
            self.exceeds_share = true;
        }
        if exceeds_budget && !self.is_overdraft {
            self.is_overdraft = true;
            let since = Instant::now();
            usage.overdraft = Some(Overdraft { since, has_arrived: false, is_revoked: false });
        }
        usage.all = all;
        usage.by_sender.insert(Arc::clone(&self.sender), own);
        self.bytes = bytes;
        true
    }

    /// As [`Reservation::try_reserve`], but an answer waits for memory; `false` after
    /// [`MAX_WAIT`]. Cancel safe.
    pub(crate) async fn reserve(&mut self, bytes: usize, max: usize) -> bool {
        if self.try_reserve(bytes, max) {
            return true;
        }
        if self.purpose == Purpose::Request {
            return false;
        }
        let budget = self.budget.clone();
        let reserving = async {
            let _waiting = Waiting::begin(&budget, &self.sender);
            loop {
                // Registered before the attempt, so that no release is missed.
                let released = budget.0.released.notified();
                if self.try_reserve(bytes, max) {
                    return true;
                }
                if self.is_revoked() {
                    return false;
                }
                match budget.reclaim(&self.sender) {
                    Some(again) => drop(timeout_at(again, released).await),
                    None => released.await,
                }
            }
        };
        timeout(MAX_WAIT, reserving).await.unwrap_or_default()
    }

    /// Completes once this exceeds the budget, has not completed for [`READ_TIMEOUT`], and
    /// others wait: it has to be released.
    pub(crate) async fn revoked(&self) {
        if !self.is_overdraft {
            return std::future::pending().await;
        }
        loop {
            let released = self.budget.0.released.notified();
            if self.is_revoked() {
                return;
            }
            released.await;
        }
    }

    fn is_revoked(&self) -> bool {
        self.is_overdraft && self.budget.usage().is_revoked()
    }

    /// Reserves an answer's declared length before it arrives: two half-received ones might
    /// wait for each other.
    pub(super) async fn reserve_declared(&mut self, length: u64, max: usize) -> bool {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.purpose == Purpose::Request || self.reserve(length, max).await
    }

    /// Whether it waits when memory is short.
    pub(super) fn waits(&self) -> bool {
        self.purpose == Purpose::Answer
    }

    /// Attaches the reservation to `bytes`, whose limit is `max`, so that it is released with
    /// their last clone. For a request it is first grown by the size of its parsed JSON; `None`
    /// if memory is short.
    pub(super) fn try_attach(mut self, bytes: Bytes, max: usize) -> Option<Bytes> {
        if self.purpose == Purpose::Request && !self.try_reserve(weight(&bytes), max) {
            return None;
        }
        Some(self.attach(bytes))
    }

    /// Attaches the reservation to `bytes`, so that it is released with their last clone.
    pub(crate) fn attach(mut self, bytes: Bytes) -> Bytes {
        if self.purpose == Purpose::Answer {
            self.shrink(if bytes.len() > SMALL { bytes.len() } else { 0 });
        }
        match self.bytes {
            0 => bytes,
            _ => {
                self.begin_holding(&bytes);
                Bytes::from_owner(Attached { bytes, reservation: self })
            }
        }
    }

    /// Records that an answer is complete and waits for its client.
    fn begin_holding(&self, bytes: &Bytes) {
        if self.purpose == Purpose::Answer {
            let mut usage = self.budget.usage();
            usage.held.add(bytes, &self.sender, self.is_overdraft);
            if let Some(overdraft) = usage.overdraft.as_mut().filter(|_| self.is_overdraft) {
                overdraft.has_arrived = true;
            }
        }
    }

    /// Releases all bytes.
    pub(crate) fn release(&mut self) {
        self.shrink(0);
    }

    /// Releases all but `bytes`.
    fn shrink(&mut self, bytes: usize) {
        if self.bytes <= bytes {
            return;
        }
        let less = self.bytes - bytes;
        self.bytes = bytes;
        let mut usage = self.budget.usage();
        usage.all -= less;
        if let Some(own) = usage.by_sender.get_mut(&self.sender) {
            *own -= less;
            if *own == 0 {
                usage.by_sender.remove(&self.sender);
            }
        }
        if bytes == 0 && std::mem::take(&mut self.exceeds_share) {
            usage.over_share.remove(&self.sender);
        }
        if bytes == 0 && std::mem::take(&mut self.is_overdraft) {
            if usage.is_revoked() {
                usage.record_reclaimed(Arc::clone(&self.sender), Instant::now());
            }
            usage.overdraft = None;
        }
        drop(usage);
        self.budget.0.released.notify_waiters();
    }
}

/// Upper bound of the size of `bytes` with their parsed JSON: every value but the outermost
/// follows a comma or bracket.
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
    bytes.len().saturating_add(values.saturating_mul(JSON_VALUE))
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

struct Attached {
    bytes: Bytes,
    reservation: Reservation,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.reservation.purpose == Purpose::Answer {
            self.reservation.budget.with_held(|held| held.remove(address(&self.bytes)));
        }
    }
}

impl AsRef<[u8]> for Attached {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
