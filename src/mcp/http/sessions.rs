//! The conversations that a gate has: by session, or by who asks where the era
//! or the server knows no sessions. Bounded; the one not used for longest goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mcp::relay::Relay;

/// Conversations kept at once.
pub const MAX_SESSIONS: usize = 20_000;

/// How long a conversation is kept that nobody uses.
pub const IDLE: Duration = Duration::from_secs(3_600);

/// Whose conversation, and by which session id.
type Key = (Arc<str>, Option<Arc<str>>);

/// Conversations.
#[derive(Debug, Default)]
pub struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<Key, Open>,
    /// Who opened a session.
    owners: HashMap<Arc<str>, Arc<str>>,
}

#[derive(Debug)]
struct Open {
    relay: Arc<Relay>,
    used: Instant,
}

/// The session is another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotYours;

impl Sessions {
    /// The conversation of `principal` in `session`; begins one where there is
    /// none.
    ///
    /// # Errors
    /// [`NotYours`] where another principal opened the session.
    pub fn find(
        &self,
        principal: &Arc<str>,
        session: Option<&str>,
        begin: impl FnOnce() -> Arc<Relay>,
    ) -> Result<Arc<Relay>, NotYours> {
        let mut inner = self.inner();
        let session: Option<Arc<str>> = session.map(Arc::from);
        if let Some(session) = &session {
            let owner =
                inner.owners.entry(Arc::clone(session)).or_insert_with(|| Arc::clone(principal));
            if owner != principal {
                return Err(NotYours);
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

    /// A conversation has got its session id.
    pub fn opened(&self, principal: &Arc<str>, session: &str, relay: Arc<Relay>) {
        let mut inner = self.inner();
        let session: Arc<str> = Arc::from(session);
        inner.owners.entry(Arc::clone(&session)).or_insert_with(|| Arc::clone(principal));
        inner.insert((Arc::clone(principal), Some(session)), relay, Instant::now());
    }

    /// A conversation of `principal` with a server that knows no sessions begins
    /// anew.
    pub fn replaced(&self, principal: &Arc<str>, relay: Arc<Relay>) {
        self.inner().insert((Arc::clone(principal), None), relay, Instant::now());
    }

    /// The session is over.
    pub fn closed(&self, principal: &Arc<str>, session: &str) {
        let mut inner = self.inner();
        inner.remove(&(Arc::clone(principal), Some(Arc::from(session))));
    }

    /// Ends every conversation.
    pub fn close_all(&self) {
        let open = std::mem::take(&mut *self.inner());
        open.open.values().for_each(|open| open.relay.over_and_out("no answer"));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(&mut self, key: Key, relay: Arc<Relay>, now: Instant) {
        if self.open.len() >= MAX_SESSIONS {
            self.make_room(now);
        }
        self.open.insert(key, Open { relay, used: now });
    }

    fn make_room(&mut self, now: Instant) {
        let idle = |open: &Open| now.duration_since(open.used) >= IDLE;
        let mut gone: Vec<Key> =
            self.open.iter().filter(|(_, open)| idle(open)).map(|(key, _)| key.clone()).collect();
        if gone.is_empty() {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
            gone.extend(oldest.map(|(key, _)| key.clone()));
        }
        for key in gone {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(session) = &key.1 {
            self.owners.remove(session);
        }
        if let Some(open) = self.open.remove(key) {
            open.relay.over_and_out("its session is over");
        }
    }
}
