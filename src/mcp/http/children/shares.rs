//! How many children each principal has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

/// Semaphores of the principals that have children.
#[derive(Debug)]
pub(super) struct Shares {
    each: usize,
    pub(super) semaphores: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
}

impl Shares {
    pub(super) fn new(each: usize) -> Self {
        Self { each, semaphores: Mutex::default() }
    }

    /// The semaphore of a principal.
    pub(super) fn of(&self, principal: &Arc<str>) -> Arc<Semaphore> {
        let mut semaphores = self.semaphores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = semaphores.get(principal).and_then(Weak::upgrade) {
            return share;
        }
        semaphores.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.each));
        semaphores.insert(Arc::clone(principal), Arc::downgrade(&share));
        share
    }

    /// Number of children of the principal.
    pub(super) fn taken(&self, principal: &Arc<str>) -> usize {
        let semaphores = self.semaphores.lock().unwrap_or_else(PoisonError::into_inner);
        let share = semaphores.get(principal).and_then(Weak::upgrade);
        share.map_or(0, |share| self.each - share.available_permits())
    }
}
