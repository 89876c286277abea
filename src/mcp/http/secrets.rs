//! Environment variables that commands do not get.

use std::ffi::OsString;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Names of environment variables with secrets of the gate. Clones share the list; replacing it
/// applies to commands started later.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    names: Arc<ArcSwap<Vec<OsString>>>,
    /// Variables that this command gets nevertheless.
    given: Arc<[String]>,
}

impl Secrets {
    /// A list with these names.
    #[must_use]
    pub fn new(names: Vec<OsString>) -> Self {
        Self { names: Arc::new(ArcSwap::from_pointee(names)), given: Arc::default() }
    }

    /// The same list, for a command that gets the variables in `given`.
    #[must_use]
    pub fn except(&self, given: &[String]) -> Self {
        Self { names: Arc::clone(&self.names), given: given.into() }
    }

    /// Replaces the names.
    pub fn replace(&self, names: Vec<OsString>) {
        self.names.store(Arc::new(names));
    }

    /// The current names.
    #[must_use]
    pub fn names(&self) -> Vec<OsString> {
        let is_given = |name: &&OsString| self.given.iter().any(|given| **name == **given);
        self.names.load().iter().filter(|name| !is_given(name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_hold_for_whoever_shares_them() {
        let secrets = Secrets::new(vec!["A".into(), "B".into()]);
        let given = secrets.except(&["B".to_owned(), "C".to_owned()]);
        assert_eq!(given.names(), ["A"]);
        secrets.replace(vec!["B".into(), "D".into()]);
        assert_eq!(given.names(), ["D"]);
        assert_eq!(secrets.names(), ["B", "D"]);
    }
}
