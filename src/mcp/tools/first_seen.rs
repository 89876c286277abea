//! The hints of one server's tools, kept for a whole run of the gate: an agent can
//! begin a new conversation whenever it likes, and must not loosen a hint by that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{MAX_TOOLS, strictest};
use crate::action::DeclaredHints;

/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 1 << 10;

/// The strictest hints that any conversation with one server has seen of each tool. Holds at
/// most [`MAX_TOOLS`]; further tools, and those with very long names, count as listed without
/// hints. Handles are cheap to clone and share the content.
#[derive(Debug, Clone, Default)]
pub struct FirstSeen(Arc<Mutex<HashMap<String, DeclaredHints>>>);

impl FirstSeen {
    /// The effective hints of `name`.
    pub(super) fn hints(&self, name: &str) -> DeclaredHints {
        self.tools().get(name).copied().unwrap_or_default()
    }

    /// Records a declaration of hints for `name`.
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
