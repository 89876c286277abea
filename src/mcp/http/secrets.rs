//! Which variables of the environment a command is not given.

use std::ffi::OsString;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Names of variables that hold secrets of the gate's. Clones share them: what is put in
/// their place holds for every command that is started from then on.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    names: Arc<ArcSwap<Vec<OsString>>>,
    /// Those that one command is given all the same.
    given: Arc<[String]>,
}

impl Secrets {
    /// Secrets of these names.
    #[must_use]
    pub fn new(names: Vec<OsString>) -> Self {
        Self { names: Arc::new(ArcSwap::from_pointee(names)), given: Arc::default() }
    }

    /// The same, for a command that is `given` some of them.
    #[must_use]
    pub fn but_for(&self, given: &[String]) -> Self {
        Self { names: Arc::clone(&self.names), given: given.into() }
    }

    /// Puts other names in their place.
    pub fn replace(&self, names: Vec<OsString>) {
        self.names.store(Arc::new(names));
    }

    /// The names now.
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
        let given = secrets.but_for(&["B".to_owned(), "C".to_owned()]);
        assert_eq!(given.names(), ["A"]);
        secrets.replace(vec!["B".into(), "D".into()]);
        assert_eq!(given.names(), ["D"]);
        assert_eq!(secrets.names(), ["B", "D"]);
    }
}
