//! Connections on which no request is under way. Where places are short, those that are
//! idle longest are asked to leave; who asks for something meanwhile is answered first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Body;
use super::sniff::Heads;

/// How long a connection must have been idle: a client that has just come is about to ask.
const SETTLED: Duration = Duration::from_secs(1);

/// How long one that was asked to leave may take, before another one is asked.
pub(super) const LEAVE: Duration = Duration::from_secs(1);

/// The connections that there are; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    open: HashMap<u64, Presence>,
    next: u64,
}

/// A connection among them, until this is dropped.
#[derive(Debug)]
pub(super) struct Present {
    id: u64,
    connections: Connections,
    presence: Presence,
}

/// A connection; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Presence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    heads: Heads,
    state: Mutex<State>,
    leave: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests that are being answered.
    under_way: usize,
    /// Bytes wait for a client that takes none.
    is_stuck: bool,
    /// Since when no request is under way.
    idle: Instant,
    /// When it was asked to leave.
    asked: Option<Instant>,
}

/// A request under way on a connection.
#[derive(Debug)]
pub(super) struct Busy(Presence);

impl Connections {
    /// A new one.
    pub(super) fn enter(&self, presence: &Presence) -> Present {
        let mut all = self.all();
        let id = all.next;
        all.next += 1;
        all.open.insert(id, presence.clone());
        Present { id, connections: self.clone(), presence: presence.clone() }
    }

    /// Asks so many to leave, those included that are about to; gives how many are.
    pub(super) fn ask(&self, wanted: usize) -> usize {
        let all = self.all();
        let leaving = all.open.values().filter(|one| one.is_leaving()).count();
        let idle = all.open.values().filter_map(|one| Some((one.idle_since()?, one)));
        let mut idle: Vec<_> = idle.filter(|(since, _)| since.elapsed() >= SETTLED).collect();
        idle.sort_unstable_by_key(|(since, _)| *since);
        let asked = idle.into_iter().take(wanted.saturating_sub(leaving));
        leaving + asked.map(|(_, one)| one.ask()).count()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    /// Resolves once the connection is to leave.
    pub(super) async fn is_asked(&self) {
        self.presence.0.leave.notified().await;
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.connections.all().open.remove(&self.id);
    }
}

impl Presence {
    /// A connection whose heads are followed.
    pub(super) fn new(heads: Heads) -> Self {
        let idle = Instant::now();
        let state = State { under_way: 0, is_stuck: false, idle, asked: None };
        Self(Arc::new(Inner { heads, state: Mutex::new(state), leave: Notify::new() }))
    }

    /// A request that is under way until this is dropped.
    pub(super) fn begin(&self) -> Busy {
        self.state().under_way += 1;
        Busy(self.clone())
    }

    /// Whether a request is under way, or something waits to be taken.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        state.under_way > 0 || state.is_stuck
    }

    /// Whether the client takes nothing of what is there for it.
    pub(super) fn is_stuck(&self, is_stuck: bool) {
        self.state().is_stuck = is_stuck;
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        let is_idle = state.under_way == 0 && !state.is_stuck && state.asked.is_none();
        let since = is_idle.then_some(state.idle)?;
        drop(state);
        (!self.0.heads.is_amid()).then_some(since)
    }

    fn is_leaving(&self) -> bool {
        self.state().asked.is_some_and(|asked| asked.elapsed() < LEAVE)
    }

    fn ask(&self) {
        self.state().asked = Some(Instant::now());
        self.0.leave.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy {
    /// The body of the answer: the request is under way until it is over.
    pub(super) fn until_over(self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        // The function lives as long as the body, and has it.
        Body::new(body.map_err(move |error| {
            let Self(_) = &self;
            error
        }))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        state.idle = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    /// So many connections, each idle a second longer than the next.
    async fn idle(connections: &Connections, count: usize) -> Vec<(Presence, Present)> {
        let mut all = Vec::new();
        for _ in 0..count {
            let presence = Presence::new(Heads::default());
            let present = connections.enter(&presence);
            all.push((presence, present));
            advance(SETTLED).await;
        }
        all
    }

    fn is_asked((_, present): &(Presence, Present)) -> bool {
        present.is_asked().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_longest_is_asked_and_whoever_is_busy_is_not() {
        let connections = Connections::default();
        let all = idle(&connections, 5).await;
        let busy = all[0].0.begin();
        all[1].0.is_stuck(true);
        all[2].0.0.heads.read(b"GET / HT");
        assert_eq!(connections.ask(1), 1);
        assert_eq!(
            all.iter().map(is_asked).collect::<Vec<_>>(),
            [false, false, false, true, false]
        );
        assert_eq!(connections.ask(1), 1, "one is leaving");
        assert!(!all.iter().any(is_asked));
        let body = busy.until_over(Body::from("answer"));
        advance(LEAVE).await;
        assert_eq!(connections.ask(3), 1, "only one of them is idle: another does not leave");
        assert!(is_asked(&all[4]));
        drop(body);
        assert_eq!(connections.ask(3), 1, "it has just been answered");
        advance(SETTLED).await;
        assert_eq!(connections.ask(3), 1);
        assert!(is_asked(&all[0]));
        drop(all);
        assert!(connections.all().open.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_is_not_sent_away() {
        let connections = Connections::default();
        let presence = Presence::new(Heads::default());
        let _present = connections.enter(&presence);
        assert_eq!(connections.ask(1), 0);
        advance(SETTLED).await;
        assert_eq!(connections.ask(1), 1);
    }
}
