//! The conversations with one server: by session, or by principal if the era or the server has no
//! sessions. Bounded: the least recently used is removed, but one with a request in flight only if
//! there is no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mcp::relay::Relay;

/// Maximum number of conversations.
pub const MAX_SESSIONS: usize = 20_000;

/// How long an unused conversation is kept.
pub const IDLE: Duration = Duration::from_secs(3_600);

/// Minimum interval of checking for unused conversations: most clients disappear without ending
/// theirs.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Principal and session id.
type Key = (Arc<str>, Option<Arc<str>>);

/// The conversations with one server.
#[derive(Debug, Default)]
pub struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<Key, Open>,
    /// Principals that opened the sessions.
    owners: HashMap<Arc<str>, Arc<str>>,
    /// Time of the last check for unused conversations.
    checked_at: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    relay: Arc<Relay>,
    used: Instant,
}

/// The session belongs to another principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOwner;

impl Sessions {
    /// The conversation of `principal` in `session`; starts one if necessary.
    ///
    /// # Errors
    /// [`NotOwner`] if another principal opened the session.
    pub fn find(
        &self,
        principal: &Arc<str>,
        session: Option<&str>,
        begin: impl FnOnce() -> Arc<Relay>,
    ) -> Result<Arc<Relay>, NotOwner> {
        let mut inner = self.inner();
        let session: Option<Arc<str>> = session.map(Arc::from);
        if let Some(session) = &session {
            let owner =
                inner.owners.entry(Arc::clone(session)).or_insert_with(|| Arc::clone(principal));
            if owner != principal {
                return Err(NotOwner);
            }
        }
        let key = (Arc::clone(principal), session);
        let now = Instant::now();
        if let Some(open) = inner.open.get_mut(&key) {
            open.used = now;
            return Ok(Arc::clone(&open.relay));
        }
        let relay = begin();
        inner.insert(key, Arc::clone(&relay), now);
        Ok(relay)
    }

    /// Records that a conversation has been assigned its session id. Conversations that used
    /// the id before are removed.
    pub fn register(&self, principal: &Arc<str>, session: &str, relay: Arc<Relay>) {
        let mut inner = self.inner();
        let session: Arc<str> = Arc::from(session);
        let owner = inner.owners.insert(Arc::clone(&session), Arc::clone(principal));
        if let Some(other) = owner.filter(|owner| owner != principal) {
            inner.end(&(other, Some(Arc::clone(&session))));
        }
        inner.insert((Arc::clone(principal), Some(session)), relay, Instant::now());
    }

    /// Replaces the conversation of `principal` with a server without sessions.
    pub fn replace_sessionless(&self, principal: &Arc<str>, relay: Arc<Relay>) {
        self.inner().insert((Arc::clone(principal), None), relay, Instant::now());
    }

    /// Removes a session that has ended.
    pub fn remove(&self, principal: &Arc<str>, session: &str) {
        let mut inner = self.inner();
        inner.remove(&(Arc::clone(principal), Some(Arc::from(session))));
    }

    /// Ends all conversations.
    pub fn close_all(&self) {
        let open = std::mem::take(&mut *self.inner());
        open.open.values().for_each(|open| open.relay.close_exchange("no answer"));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(&mut self, key: Key, relay: Arc<Relay>, now: Instant) {
        let is_full = self.open.len() >= MAX_SESSIONS;
        let checked_at = *self.checked_at.get_or_insert(now);
        if is_full || now.duration_since(checked_at) >= CHECK_INTERVAL {
            self.evict(now, if is_full { MAX_SESSIONS / 20 } else { 0 });
            self.checked_at = Some(now);
        }
        self.open.insert(key, Open { relay, used: now });
    }

    /// Removes unused conversations, then the least recently used ones, at least `wanted` in
    /// all: several at once, so that a flood of sessions does not cost a scan each time.
    fn evict(&mut self, now: Instant, wanted: usize) {
        let mut by_age: Vec<(bool, Instant, &Key)> =
            (self.open.iter()).map(|(key, open)| (!open.relay.is_idle(), open.used, key)).collect();
        by_age.sort_unstable_by_key(|(works, used, _)| (*works, *used));
        let is_unused = |used: &Instant| now.duration_since(*used) >= IDLE;
        let idle = by_age.partition_point(|(works, used, _)| !works && is_unused(used));
        let gone: Vec<Key> =
            by_age.into_iter().take(idle.max(wanted)).map(|(.., key)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        // It may belong to another principal by now.
        if let (principal, Some(session)) = key
            && self.owners.get(session) == Some(principal)
        {
            self.owners.remove(session);
        }
        self.end(key);
    }

    fn end(&mut self, key: &Key) {
        if let Some(open) = self.open.remove(key) {
            open.relay.close_exchange("its session is over");
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mcp::http::fixture::relays;
    use crate::mcp::relay::exchange::{Outgoing, OwnRequestSender, Posted};

    struct AsksNothing;

    impl OwnRequestSender for AsksNothing {
        async fn send(&self, _: Outgoing) -> Option<Vec<Bytes>> {
            Some(Vec::new())
        }
    }

    #[tokio::test]
    async fn sessions_are_bounded_and_bound_to_their_principal() {
        let folder = tempfile::tempdir().unwrap();
        let begin = &relays(folder.path(), "deny_all");
        let sessions = Sessions::default();
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let at_work = sessions.find(&other, Some("at work"), begin).unwrap();
        let ping = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        let sent = at_work.exchange("x".into()).post(ping, &AsksNothing).await;
        assert!(matches!(sent, Posted::Forward(_)));
        for n in 0..MAX_SESSIONS + 10 {
            sessions.find(&one, Some(&n.to_string()), begin).unwrap();
        }
        {
            let inner = sessions.inner();
            assert!(inner.open.len() <= MAX_SESSIONS && inner.owners.len() == inner.open.len());
        }
        assert!(sessions.find(&one, Some("at work"), begin).is_err(), "it was the oldest");
        let last = (MAX_SESSIONS + 9).to_string();
        assert!(sessions.find(&other, Some(&last), begin).is_err());
        sessions.remove(&one, &last);
        assert!(sessions.find(&other, Some(&last), begin).is_ok(), "it is nobody's any more");
        sessions.register(&one, &last, begin());
        assert!(sessions.find(&other, Some(&last), begin).is_err(), "the server gave it to one");
        assert!(sessions.find(&one, Some(&last), begin).is_ok());
        let (later, key) = (Instant::now() + IDLE, (Arc::clone(&one), None));
        sessions.inner().insert(key, begin(), later);
        assert_eq!(sessions.inner().open.len(), 2, "the call under way, and this one");
    }
}
