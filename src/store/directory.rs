//! Who a key belongs to: every key in memory, kept up to date.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::StoreError;
use super::agents::{AgentRecord, KeyEntry, KeyKeys, Registry};
use super::chain::Hash;

/// How often changes by other processes are looked for.
pub const POLL: Duration = Duration::from_millis(500);

/// The keys of one database, in memory.
#[derive(Debug)]
pub struct Directory {
    registry: Registry,
    current: ArcSwap<Snapshot>,
}

#[derive(Debug)]
struct Snapshot {
    generation: i64,
    keys: KeyKeys,
    by_hash: HashMap<Hash, KeyEntry>,
    by_aws_id: HashMap<String, Hash>,
}

impl Directory {
    /// Reads every key of `registry`, and follows changes on a thread of its own
    /// for as long as it is in use.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn open(registry: Registry) -> Result<Arc<Self>, StoreError> {
        let current = ArcSwap::from_pointee(Snapshot::take(&registry)?);
        let directory = Arc::new(Self { registry, current });
        let followed = Arc::downgrade(&directory);
        let thread = thread::Builder::new().name("agents".to_owned());
        thread
            .spawn(move || follow(&followed))
            .map_err(|error| StoreError::open(std::path::Path::new("agents"), error))?;
        Ok(directory)
    }

    /// Where agents are registered.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Reads again, where something has changed.
    ///
    /// # Errors
    /// Where the database cannot be read; what was read last stays in force.
    pub fn refresh(&self) -> Result<(), StoreError> {
        if self.registry.generation()? != self.current.load().generation {
            self.current.store(Arc::new(Snapshot::take(&self.registry)?));
        }
        Ok(())
    }

    /// The agent whose key this is. A wrong key takes as long as a right one.
    #[must_use]
    pub fn identify(&self, presented: &str) -> Option<Arc<AgentRecord>> {
        let snapshot = self.current.load();
        // The hash is keyed: what a lookup by it betrays is of no use.
        let hash = snapshot.keys.hash(presented);
        let entry = snapshot.by_hash.get(&hash);
        let entry = entry.filter(|entry| bool::from(entry.hash.ct_eq(&hash)))?;
        entry.is_in_force().then(|| Arc::clone(&entry.agent))
    }

    /// The agent that this AWS access-key id was issued to, and the secret that
    /// goes with it. Knowing the id proves nothing: the signature does.
    #[must_use]
    pub fn aws_secret(&self, aws_id: &str) -> Option<(Arc<AgentRecord>, Zeroizing<String>)> {
        let snapshot = self.current.load();
        let entry = snapshot.by_hash.get(snapshot.by_aws_id.get(aws_id)?)?;
        let secret = snapshot.keys.aws_secret(aws_id);
        entry.is_in_force().then(|| (Arc::clone(&entry.agent), secret))
    }

    /// How many agents have a key.
    #[must_use]
    pub fn len(&self) -> usize {
        let snapshot = self.current.load();
        let live = snapshot.by_hash.values().filter(|entry| entry.expires_at.is_none());
        live.count()
    }

    /// Whether no agent has a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Snapshot {
    fn take(registry: &Registry) -> Result<Self, StoreError> {
        // Before the keys: what changes in between is read again.
        let generation = registry.generation()?;
        let ring = registry.keys()?;
        let by_aws_id =
            ring.entries.iter().map(|entry| (entry.aws_id.clone(), entry.hash)).collect();
        let by_hash = ring.entries.into_iter().map(|entry| (entry.hash, entry)).collect();
        Ok(Self { generation, keys: ring.keys, by_hash, by_aws_id })
    }
}

impl KeyEntry {
    fn is_in_force(&self) -> bool {
        self.expires_at.is_none_or(|until| Timestamp::now() < until)
    }
}

fn follow(directory: &Weak<Directory>) {
    let mut complaint = None;
    loop {
        thread::sleep(POLL);
        let Some(directory) = directory.upgrade() else { return };
        let wrong = directory.refresh().err();
        if wrong != complaint
            && let Some(error) = &wrong
        {
            tracing::error!(%error, "the agents' keys could not be read again");
        }
        complaint = wrong;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Options;
    use crate::store::agents::{AgentError, NewAgent};

    fn registry() -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(&folder.path().join("a.db"), &Options::default());
        (folder, registry)
    }

    fn named(name: &str) -> NewAgent {
        NewAgent { name: name.to_owned(), ..NewAgent::default() }
    }

    #[test]
    fn a_key_names_its_agent_until_it_is_rotated_or_deleted() {
        let (_folder, registry) = registry();
        let first = registry.create(&named("a")).unwrap();
        let other = registry.create(&named("b")).unwrap();
        let directory = Directory::open(registry.clone()).unwrap();
        assert_eq!(directory.identify(&first.api_key).unwrap().name, "a".into());
        assert_eq!(directory.identify(&other.api_key).unwrap().name, "b".into());
        assert!(directory.identify("ag_0").is_none() && directory.identify("").is_none());
        let second = registry.rotate("a", Duration::ZERO).unwrap();
        directory.refresh().unwrap();
        assert!(directory.identify(&first.api_key).is_none());
        assert_eq!(directory.identify(&second.api_key).unwrap().id, first.agent.id);
        registry.delete(&first.agent.id).unwrap();
        directory.refresh().unwrap();
        assert!(directory.identify(&second.api_key).is_none());
        assert_eq!(directory.len(), 1);
    }

    #[test]
    fn a_rotated_key_may_be_good_for_a_while() {
        let (_folder, registry) = registry();
        let first = registry.create(&named("a")).unwrap();
        let second = registry.rotate("a", Duration::from_secs(3_600)).unwrap();
        let directory = Directory::open(registry.clone()).unwrap();
        assert!(directory.identify(&first.api_key).is_some());
        assert!(directory.identify(&second.api_key).is_some());
        registry.rotate("a", Duration::ZERO).unwrap();
        directory.refresh().unwrap();
        assert!(directory.identify(&first.api_key).is_none());
        assert!(directory.identify(&second.api_key).is_none());
    }

    #[test]
    fn the_aws_secret_is_derived_and_dies_with_the_key() {
        let (_folder, registry) = registry();
        let issued = registry.create(&named("a")).unwrap();
        assert_eq!(issued.aws_access_key_id.len(), 20);
        assert_eq!(issued.aws_secret_access_key.len(), 40);
        let directory = Directory::open(registry.clone()).unwrap();
        let (agent, secret) = directory.aws_secret(&issued.aws_access_key_id).unwrap();
        assert_eq!((agent.name.as_ref(), &secret), ("a", &issued.aws_secret_access_key));
        assert!(directory.identify(&issued.aws_access_key_id).is_none(), "an id is no secret");
        registry.rotate("a", Duration::ZERO).unwrap();
        directory.refresh().unwrap();
        assert!(directory.aws_secret(&issued.aws_access_key_id).is_none());
    }

    #[test]
    fn neither_keys_nor_secrets_are_in_the_database() {
        let (folder, registry) = registry();
        let issued = registry.create(&named("a")).unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            for secret in [&issued.api_key, &issued.aws_secret_access_key] {
                assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none());
            }
        }
        assert!(!format!("{issued:?}").contains(issued.api_key.as_str()));
    }

    #[test]
    fn names_are_unique_and_plain() {
        let (_folder, registry) = registry();
        registry.create(&named("team a/bot-1")).unwrap();
        assert!(matches!(registry.create(&named("team a/bot-1")), Err(AgentError::Taken(_))));
        for name in ["", " a", "a\n", "a\u{0}", &"x".repeat(129)] {
            assert!(matches!(registry.create(&named(name)), Err(AgentError::Name(_))), "{name:?}");
        }
        assert!(matches!(registry.delete("b"), Err(AgentError::Unknown(_))));
        assert_eq!(registry.list().unwrap().len(), 1);
    }
}
