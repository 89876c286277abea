//! Idle connections. Where slots are short, those that have been idle longest are asked to
//! close; a request that arrives meanwhile is answered first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Body;
use super::connection_limit::Peer;
use super::sniff::Heads;

/// Minimum idle time before a connection is closed: a new client is about to send.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// Time for a connection to close before another one is asked to.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The registry of open connections; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    open: HashMap<u64, (Peer, Activity)>,
    next: u64,
}

/// A connection's entry in the registry, until this is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    id: u64,
    connections: Connections,
    activity: Activity,
}

/// What happens on a connection; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    heads: Heads,
    state: Mutex<State>,
    close: Notify,
}

#[derive(Debug)]
struct State {
    /// Number of requests in flight.
    in_flight: usize,
    /// Whether the client does not read what is sent.
    is_stuck: bool,
    /// Whether the client has closed its side.
    is_half_closed: bool,
    /// Whether the current response is an event stream.
    is_event_stream: bool,
    /// Time since when no request is in flight.
    idle: Instant,
    /// Time when it was asked to close.
    close_requested: Option<Instant>,
}

/// Guard of a request in flight.
#[derive(Debug)]
pub(super) struct ActiveRequest(Activity);

impl Connections {
    /// Registers a connection of `peer`.
    pub(super) fn register(&self, peer: Peer, activity: &Activity) -> Registered {
        let mut all = self.all();
        let id = all.next;
        all.next += 1;
        all.open.insert(id, (peer, activity.clone()));
        Registered { id, connections: self.clone(), activity: activity.clone() }
    }

    /// Asks idle connections to close until `wanted` are closing, including earlier ones;
    /// returns how many are. The peer with most connections goes first, and of its connections
    /// the longest idle.
    pub(super) fn request_close(&self, wanted: usize) -> usize {
        let all = self.all();
        let closing = all.open.values().filter(|(_, one)| one.is_closing()).count();
        if closing >= wanted {
            return closing;
        }
        let mut by_peer = HashMap::new();
        all.open.values().for_each(|(peer, _)| *by_peer.entry(*peer).or_insert(0_usize) += 1);
        let count = |peer: &Peer| by_peer.get(peer).copied().unwrap_or_default();
        let mut idle: Vec<_> =
            all.idle().map(|(peer, since, one)| (Reverse(count(&peer)), since, one)).collect();
        idle.sort_unstable_by_key(|(count, since, _)| (*count, *since));
        let requested = idle.into_iter().take(wanted - closing);
        closing + requested.map(|(_, _, one)| one.request_close()).count()
    }

    /// Asks the longest idle connection of `peer` to close.
    pub(super) fn request_close_of_one(&self, peer: Peer) {
        let all = self.all();
        let idle = all.idle().filter(|(whose, _, _)| *whose == peer);
        if let Some((_, _, longest)) = idle.min_by_key(|(_, since, _)| *since) {
            longest.request_close();
        }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// Idle connections, each with the time since when.
    fn idle(&self) -> impl Iterator<Item = (Peer, Instant, &Activity)> {
        let idle =
            self.open.values().filter_map(|(peer, one)| Some((*peer, one.idle_since()?, one)));
        idle.filter(|(_, since, _)| since.elapsed() >= MIN_IDLE)
    }
}

impl Registered {
    /// Resolves once the connection is asked to close.
    pub(super) async fn close_requested(&self) {
        self.activity.0.close.notified().await;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.all().open.remove(&self.id);
    }
}

impl Activity {
    /// The activity of a connection with these request heads.
    pub(super) fn new(heads: Heads) -> Self {
        let idle = Instant::now();
        let state = State {
            in_flight: 0,
            is_stuck: false,
            is_half_closed: false,
            is_event_stream: false,
            idle,
            close_requested: None,
        };
        Self(Arc::new(Inner { heads, state: Mutex::new(state), close: Notify::new() }))
    }

    /// Marks a request as in flight until the guard is dropped.
    pub(super) fn begin(&self) -> ActiveRequest {
        self.state().in_flight += 1;
        ActiveRequest(self.clone())
    }

    /// Whether a request is in flight, or unread data is pending.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        state.in_flight > 0 || state.is_stuck
    }

    /// Sets whether the client does not read what is sent.
    pub(super) fn set_stuck(&self, is_stuck: bool) {
        self.state().is_stuck = is_stuck;
    }

    /// Records that the client has closed its side.
    pub(super) fn set_half_closed(&self) {
        self.state().is_half_closed = true;
    }

    /// Whether the client has closed its side.
    pub(super) fn is_half_closed(&self) -> bool {
        self.state().is_half_closed
    }

    /// Sets whether the current response is an event stream.
    pub(super) fn set_event_stream(&self, is_event_stream: bool) {
        self.state().is_event_stream = is_event_stream;
    }

    /// Whether the current response is an event stream.
    pub(super) fn is_event_stream(&self) -> bool {
        self.state().is_event_stream
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        let is_idle = state.in_flight == 0 && !state.is_stuck && state.close_requested.is_none();
        let since = is_idle.then_some(state.idle)?;
        drop(state);
        (!self.0.heads.is_incomplete()).then_some(since)
    }

    fn is_closing(&self) -> bool {
        self.state().close_requested.is_some_and(|at| at.elapsed() < CLOSE_TIMEOUT)
    }

    fn request_close(&self) {
        self.state().close_requested = Some(Instant::now());
        self.0.close.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActiveRequest {
    /// Keeps the request in flight until `body` ends.
    pub(super) fn until_over(self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        // The closure lives as long as the body, and owns the guard.
        Body::new(body.map_err(move |error| {
            let Self(_) = &self;
            error
        }))
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_flight -= 1;
        state.idle = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    fn local() -> Peer {
        of("127.0.0.1:1")
    }

    fn of(address: &str) -> Peer {
        address.parse::<std::net::SocketAddr>().unwrap().into()
    }

    /// So many connections, each idle a second longer than the next.
    async fn idle(connections: &Connections, count: usize) -> Vec<(Activity, Registered)> {
        let mut all = Vec::new();
        for _ in 0..count {
            let activity = Activity::new(Heads::default());
            let registered = connections.register(local(), &activity);
            all.push((activity, registered));
            advance(MIN_IDLE).await;
        }
        all
    }

    fn close_requested((_, registered): &(Activity, Registered)) -> bool {
        registered.close_requested().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn longest_idle_connection_is_closed_first() {
        let connections = Connections::default();
        let all = idle(&connections, 5).await;
        let busy = all[0].0.begin();
        all[1].0.set_stuck(true);
        all[2].0.0.heads.read(b"GET / HT");
        assert_eq!(connections.request_close(1), 1);
        assert_eq!(
            all.iter().map(close_requested).collect::<Vec<_>>(),
            [false, false, false, true, false]
        );
        assert_eq!(connections.request_close(1), 1, "one is leaving");
        assert!(!all.iter().any(close_requested));
        let body = busy.until_over(Body::from("answer"));
        advance(CLOSE_TIMEOUT).await;
        assert_eq!(
            connections.request_close(3),
            1,
            "only one of them is idle: another does not leave"
        );
        assert!(close_requested(&all[4]));
        drop(body);
        assert_eq!(connections.request_close(3), 1, "it has just been answered");
        advance(MIN_IDLE).await;
        assert_eq!(connections.request_close(3), 1);
        assert!(close_requested(&all[0]));
        drop(all);
        assert!(connections.all().open.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_is_not_closed() {
        let connections = Connections::default();
        let activity = Activity::new(Heads::default());
        let _present = connections.register(local(), &activity);
        assert_eq!(connections.request_close(1), 0);
        advance(MIN_IDLE).await;
        assert_eq!(connections.request_close(1), 1);
    }
}
