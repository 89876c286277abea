//! The hints of one server's tools, kept for a whole run of the gate: an agent can
//! begin a new conversation whenever it likes, and must not loosen a hint by that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{MAX_TOOLS, strictest};
use crate::action::DeclaredHints;

/// The longest name that is remembered, in bytes.
const MAX_NAME: usize = 1 << 10;

/// What every conversation with one server has seen of its tools' hints, the
/// strictest of each. At most [`MAX_TOOLS`]; further ones, and those of very long
/// names, count as listed without any. Handles are cheap to clone and share it.
#[derive(Debug, Clone, Default)]
pub struct FirstSeen(Arc<Mutex<HashMap<String, DeclaredHints>>>);

impl FirstSeen {
    /// The hints of `name` that are in force.
    pub(super) fn hints(&self, name: &str) -> DeclaredHints {
        self.tools().get(name).copied().unwrap_or_default()
    }

    /// The server declares these hints of `name`, for the first time or once more.
    pub(super) fn tighten(&self, name: &str, declared: DeclaredHints) {
        let mut tools = self.tools();
        if let Some(hints) = tools.get_mut(name) {
            *hints = strictest(*hints, declared);
        } else if tools.len() < MAX_TOOLS && name.len() <= MAX_NAME {
            tools.insert(name.to_owned(), declared);
        }
    }

    fn tools(&self) -> MutexGuard<'_, HashMap<String, DeclaredHints>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
