//! A server that speaks over pipes, exposed over Streamable HTTP: one child per session of the
//! handshake era, and one per principal of the stateless era.

mod shares;

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::header::ALLOW;
use http::{HeaderValue, Method, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use shares::Shares;

use super::child::Session;
use super::front::Incoming;
use super::pipe::{Bridge, Ready};
use super::secrets::Secrets;
use super::{SESSION, header_check, headers};
use super::{problem, refusal};
use crate::mcp::codes::{INVALID_REQUEST, UPSTREAM};
use crate::mcp::relay::Relay;
use crate::mcp::session;
use crate::net::Body;
use crate::os::{self, Stop, StopRequests};

/// Capacity of the pipe between a session and its relay, in bytes.
const PIPE: usize = 256 << 10;

/// How long a new session waits for another one to end, and how often, before it is refused.
const WAIT_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_WAITS: usize = 10;

/// If the limit is reached, sessions idle for this fraction of [`Limits::idle`] are ended.
const IDLE_DIVISOR: u32 = 30;

/// Interval of checking for idle sessions.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Time limit for ending all children.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Limits of the children of one command.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum length of a message, in bytes.
    pub max_message: usize,
    /// Maximum number of children. Beyond it new sessions are refused, unless an idle one can
    /// be ended.
    pub children: usize,
    /// Maximum number of children per principal.
    pub each: usize,
    /// How long a session may be idle before it is ended.
    pub idle: Duration,
}

/// The child processes of one command.
pub struct Children {
    command: Vec<OsString>,
    /// Environment variables removed from theirs.
    secrets: Secrets,
    limits: Limits,
    begin: Arc<dyn Fn(&Incoming) -> Relay + Send + Sync>,
    permits: Arc<Semaphore>,
    shares: Arc<Shares>,
    /// The bridge between each child and its relay.
    bridge: Option<Bridge>,
    /// Including bridged ones.
    open: Arc<Mutex<HashMap<Key, Arc<Session>>>>,
    /// Held while a shared child is started, so that it is started only once.
    starting: tokio::sync::Mutex<()>,
    running: Mutex<JoinSet<()>>,
    /// Tells all children to stop.
    stop: watch::Sender<Option<Stop>>,
}

/// Identifies a session: by its id, or the shared one of a principal; and by its bridge.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Session(Direction, String),
    Shared(Direction, Arc<str>),
}

/// How a child is bridged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Direction {
    Unbridged,
    Up,
    Down,
}

impl std::fmt::Debug for Children {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Children").field("command", &self.command).finish_non_exhaustive()
    }
}

impl Children {
    /// Runs children of `command`; `begin` creates the relay of each.
    #[must_use]
    pub fn new(
        command: &[OsString],
        limits: Limits,
        begin: impl Fn(&Incoming) -> Relay + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::without(Secrets::default(), command, limits, begin)
    }

    /// As [`Children::new`], removing `secrets` from the children's environment.
    #[must_use]
    pub fn without(
        secrets: Secrets,
        command: &[OsString],
        limits: Limits,
        begin: impl Fn(&Incoming) -> Relay + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            command: command.to_vec(),
            secrets,
            limits,
            begin: Arc::new(begin),
            permits: Arc::new(Semaphore::new(limits.children)),
            shares: Arc::new(Shares::new(limits.each)),
            bridge: None,
            open: Arc::default(),
            starting: tokio::sync::Mutex::default(),
            running: Mutex::default(),
            stop: watch::Sender::new(None),
        })
    }

    /// Bridged children of the same command, which count against the same limits.
    pub(super) fn bridged(&self, bridge: Bridge) -> Arc<Self> {
        Arc::new(Self {
            command: self.command.clone(),
            secrets: self.secrets.clone(),
            limits: self.limits,
            begin: Arc::clone(&self.begin),
            permits: Arc::clone(&self.permits),
            shares: Arc::clone(&self.shares),
            bridge: Some(bridge),
            open: Arc::clone(&self.open),
            starting: tokio::sync::Mutex::default(),
            running: Mutex::default(),
            stop: watch::Sender::new(None),
        })
    }

    /// Whether `principal` has a session with this id.
    pub(super) fn knows(&self, id: &str, principal: &Arc<str>) -> bool {
        self.find(id, principal).is_some()
    }

    /// Maximum length of a message, in bytes.
    pub(super) fn max_message(&self) -> usize {
        self.limits.max_message
    }

    /// Ends idle sessions, until `children` is dropped.
    pub async fn reap(children: Weak<Self>) {
        let mut checks = interval(IDLE_CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            checks.tick().await;
            let Some(children) = children.upgrade() else { return };
            for (_, key, session) in children.idle(children.limits.idle) {
                children.end(&key, &session);
            }
        }
    }

    /// Responds to one request.
    pub async fn answer(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        let id = incoming.headers.get(SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let stateless = header_check::is_stateless(&incoming.headers);
        let session = match (&id, stateless) {
            (Some(id), false) => self.find(id, &incoming.principal),
            _ => None,
        };
        match (&incoming.method, session) {
            (&Method::POST, Some(session)) => self.post(&session, incoming).await,
            (&Method::GET, Some(session)) => session.listen(),
            (&Method::DELETE, Some(session)) => {
                self.end(&Key::Session(self.direction(), id.unwrap_or_default()), &session);
                problem::empty(StatusCode::NO_CONTENT)
            }
            (&Method::POST, None) if stateless => {
                let key = Key::Shared(self.direction(), Arc::clone(&incoming.principal));
                match self.begin(key, &incoming).await {
                    Ok(session) => self.post(&session, incoming).await,
                    Err(refused) => *refused,
                }
            }
            (&Method::POST, None)
                if id.is_none() && header_check::has_method(&incoming.body, "initialize") =>
            {
                self.initialize(incoming).await
            }
            (_, None) if id.is_some() => {
                refusal::no_such_session(&(self.begin)(&incoming), &incoming).await
            }
            (&Method::POST, None) => {
                let what = "there is no session: send initialize first";
                let status = StatusCode::BAD_REQUEST;
                let answer = problem::error(status, None, INVALID_REQUEST, what);
                self.refused(&incoming, what, answer).await
            }
            _ => {
                let mut answer = problem::empty(StatusCode::METHOD_NOT_ALLOWED);
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                self.refused(&incoming, "it names no session", answer).await
            }
        }
    }

    /// Starts the child for a stateless request if it is not running, without sending it
    /// anything, and waits until it is ready. `false` if it turns out not to need a bridge.
    ///
    /// # Errors
    /// The response if no child can be started.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        incoming: &Incoming,
    ) -> Result<bool, Box<Response<Body>>> {
        let key = Key::Shared(self.direction(), Arc::clone(&incoming.principal));
        Ok(self.begin(key, incoming).await?.ready.is_ready().await)
    }

    /// Refuses and records a request.
    async fn refused(
        &self,
        incoming: &Incoming,
        what: &str,
        answer: Response<Body>,
    ) -> Response<Body> {
        let relay = (self.begin)(incoming);
        refusal::recorded(&relay, incoming.method.as_str(), what, answer).await
    }

    /// Tells every child to stop.
    pub(super) fn abort_all(&self) {
        self.permits.close();
        self.stop.send_replace(Some(Stop::Terminate));
    }

    /// Stops every child; waits for 3 s at most.
    pub async fn close(&self) {
        self.abort_all();
        let running = &self.running;
        let mut running =
            std::mem::take(&mut *running.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while running.join_next().await.is_some() {} };
        let _ = timeout(CLOSE_TIMEOUT, ended).await;
    }

    async fn initialize(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        let id = uuid::Uuid::new_v4().to_string();
        let key = Key::Session(self.direction(), id.clone());
        let session = match self.begin(key.clone(), &incoming).await {
            Ok(session) => session,
            Err(refused) => return *refused,
        };
        // If this is dropped early, the client never learns the session's id: end the session.
        let mut unknown = Unknown { children: self, key, session, is_known: false };
        let mut response = self.post(&unknown.session, incoming).await;
        if response.status().is_success()
            && let Ok(id) = HeaderValue::from_str(&id)
        {
            response.headers_mut().insert(SESSION, id);
            unknown.is_known = true;
        }
        response
    }

    fn direction(&self) -> Direction {
        match self.bridge {
            None => Direction::Unbridged,
            Some(Bridge::Up) => Direction::Up,
            Some(Bridge::Down(_)) => Direction::Down,
        }
    }

    fn find(&self, id: &str, principal: &Arc<str>) -> Option<Arc<Session>> {
        let open = self.open();
        let session = open.get(&Key::Session(self.direction(), id.to_owned()))?;
        (session.principal == *principal).then(|| Arc::clone(session))
    }

    /// The session with this key; starts its child if there is none.
    async fn begin(
        self: &Arc<Self>,
        key: Key,
        incoming: &Incoming,
    ) -> Result<Arc<Session>, Box<Response<Body>>> {
        let is_there = || self.open().get(&key).cloned();
        if let Some(session) = is_there() {
            return Ok(session);
        }
        let Some(permits) = self.acquire(&incoming.principal).await else {
            let what =
                "there are as many sessions as are allowed at once, or as one agent may have";
            return Err(self.unavailable(incoming, what).await);
        };
        let _starting = self.starting.lock().await;
        if let Some(session) = is_there() {
            return Ok(session);
        }
        let relay = Arc::new((self.begin)(incoming));
        match self.start(key.clone(), relay, Arc::clone(&incoming.principal), permits) {
            Ok(session) => Ok(session),
            Err(error) => {
                tracing::error!(%error, "a server was not started");
                Err(self.unavailable(incoming, "the server cannot be started").await)
            }
        }
    }

    /// Acquires the permits for one more child: of the total, and of the principal's share.
    async fn acquire(&self, principal: &Arc<str>) -> Option<Permits> {
        let share = self.shares.of(principal);
        let (own, any) = (Arc::clone(&share), Arc::clone(&self.permits));
        if let (Ok(own), Ok(any)) = (own.try_acquire_owned(), any.try_acquire_owned()) {
            return Some((own, any));
        }
        let mut is_ready = false;
        for _ in 0..MAX_WAITS {
            let from = match share.available_permits() {
                0 => EvictFrom::Principal,
                _ => EvictFrom::All,
            };
            is_ready = is_ready || self.evict_idle(principal, from);
            let (own, any) = (Arc::clone(&share), Arc::clone(&self.permits));
            let both = async { tokio::try_join!(own.acquire_owned(), any.acquire_owned()) };
            if let Ok(permits) = timeout(WAIT_TIMEOUT, both).await {
                return permits.ok();
            }
        }
        None
    }

    /// Ends a session to make room for another, since many clients never end theirs: one that
    /// has been idle for a while, preferably of the same principal, the longest idle first. Failing
    /// that, if other principals' may be ended, one of the principal with the most. `false` if
    /// there is none.
    fn evict_idle(&self, principal: &Arc<str>, from: EvictFrom) -> bool {
        let only_own = from == EvictFrom::Principal;
        let mut idle = self.idle(self.limits.idle / IDLE_DIVISOR);
        idle.retain(|(.., session)| !only_own || session.principal == *principal);
        let rank = |(idle, _, session): &(Duration, _, Arc<Session>)| {
            (session.principal == *principal, *idle)
        };
        let longest_idle = idle.into_iter().max_by_key(rank);
        let of_busiest = || self.of_principal_with_most(principal).filter(|_| !only_own);
        let Some((_, key, session)) = longest_idle.or_else(of_busiest) else { return false };
        self.end(&key, &session);
        true
    }

    /// The session to end although it may be in use: of the principal with most sessions (at
    /// least two more than the newcomer), without a request in flight, and the longest quiet.
    fn of_principal_with_most(&self, newcomer: &Arc<str>) -> Option<(Duration, Key, Arc<Session>)> {
        let enough = self.shares.taken(newcomer) + 2;
        let open = self.open();
        let quiet = open.iter().filter_map(|(key, session)| {
            let quiet = session.without_requests_for().filter(|quiet| *quiet >= WAIT_TIMEOUT)?;
            let has = self.shares.taken(&session.principal);
            (has >= enough).then(|| (has, quiet, key.clone(), Arc::clone(session)))
        });
        let most = quiet.max_by_key(|(has, quiet, ..)| (*has, *quiet));
        most.map(|(_, quiet, key, session)| (quiet, key, session))
    }

    /// Sessions idle for at least `at_least`, with their idle times.
    fn idle(&self, at_least: Duration) -> Vec<(Duration, Key, Arc<Session>)> {
        let open = self.open();
        let idle = open
            .iter()
            .filter_map(|(key, session)| Some((session.idle()?, key.clone(), Arc::clone(session))));
        idle.filter(|(idle, ..)| *idle >= at_least).collect()
    }

    async fn unavailable(&self, incoming: &Incoming, what: &str) -> Box<Response<Body>> {
        let answer = problem::error(StatusCode::SERVICE_UNAVAILABLE, None, UPSTREAM, what);
        Box::new(self.refused(incoming, what, answer).await)
    }

    fn start(
        self: &Arc<Self>,
        key: Key,
        relay: Arc<Relay>,
        principal: Arc<str>,
        permits: Permits,
    ) -> std::io::Result<Arc<Session>> {
        let stop = StopRequests::of(self.stop.subscribe());
        let (program, rest) = self.command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let (child, streams) = os::Child::spawn_without(&self.secrets.names(), program, rest)?;
        let (streams, ready) = match &self.bridge {
            None => (streams, Ready::at_once()),
            Some(bridge) => bridge.across(streams, self.limits.max_message, Arc::downgrade(&relay)),
        };
        let server = (child, streams);
        let (to_relay, from_session) = tokio::io::duplex(PIPE);
        let shared = matches!(key, Key::Shared(..));
        let session = Session::new(principal, Arc::clone(&relay), shared, (to_relay, ready));
        self.open().insert(key.clone(), Arc::clone(&session));
        let (children, of_child) = (Arc::clone(self), Arc::clone(&session));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            let client = session::Client {
                input: Box::new(from_session),
                writer: Arc::clone(&of_child).distribute(relay.client_queue()),
                gone: Arc::clone(&of_child).until_answered(),
            };
            if let Err(error) = session::run(&relay, client, server, stop).await {
                tracing::warn!(%error, "a session broke");
            }
            of_child.ended();
            children.forget(&key, &of_child);
            drop(permits);
        });
        Ok(session)
    }

    fn end(&self, key: &Key, session: &Arc<Session>) {
        self.forget(key, session);
        session.end();
    }

    /// Only if the key still refers to this session.
    fn forget(&self, key: &Key, session: &Arc<Session>) {
        let mut open = self.open();
        if open.get(key).is_some_and(|there| Arc::ptr_eq(there, session)) {
            open.remove(key);
        }
    }

    async fn post(&self, session: &Arc<Session>, incoming: Incoming) -> Response<Body> {
        let declared = |tool: &str| session.relay.param_headers(tool);
        match header_check::check(&incoming.headers, &incoming.body, declared) {
            Ok(()) => session.post(incoming.body, headers::names_types(&incoming.headers)).await,
            Err(mismatch) => refusal::contradicted(&session.relay, &mismatch, &incoming.body).await,
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Key, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose sessions may be ended for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EvictFrom {
    /// Those of the newcomer's principal, whose share is exhausted.
    Principal,
    /// Any.
    All,
}

/// Permits for a child: of the principal's share, and of the total.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Guard of a session whose id its client has not been told; ends it when dropped.
struct Unknown<'c> {
    children: &'c Children,
    key: Key,
    session: Arc<Session>,
    is_known: bool,
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.children.end(&self.key, &self.session);
        }
    }
}

#[cfg(test)]
mod tests;
