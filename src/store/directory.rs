//! The directory of agents' keys, in memory and kept up to date.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::StoreError;
use super::agents::{AgentRecord, KeyDeriver, KeyEntry, KeyRing, Registry};
use super::chain::Hash;
use super::read::Reader;

/// Interval of polling for changes by other processes.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The agents and keys of one database, in memory. If the database disappears, the keys read
/// last stay valid; nothing can be recorded then anyway.
#[derive(Debug)]
pub struct Directory {
    registry: Registry,
    current: ArcSwap<Snapshot>,
    polled: Mutex<Option<PolledDb>>,
}

#[derive(Debug)]
struct Snapshot {
    keys: KeyDeriver,
    by_hash: HashMap<Hash, KeyEntry>,
    by_aws_id: HashMap<Arc<str>, Hash>,
    by_name: HashMap<Arc<str>, Arc<AgentRecord>>,
}

/// The agent that holds a valid key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// The agent.
    pub agent: Arc<AgentRecord>,
    /// Public id of the key: its AWS access-key id.
    pub key_id: Arc<str>,
}

/// The open database and its version when last polled.
#[derive(Debug)]
struct PolledDb {
    reader: Reader,
    /// SQLite's `data_version`.
    version: i64,
    /// The registry's generation counter.
    generation: i64,
}

impl Directory {
    /// Loads all keys of `registry` and follows changes on a thread that runs until the
    /// directory is dropped.
    ///
    /// # Errors
    /// If the database cannot be opened.
    pub fn open(registry: Registry) -> Result<Arc<Self>, StoreError> {
        registry.prepare()?;
        let (polled, snapshot) = PolledDb::begin(registry.reader()?)?;
        let directory = Arc::new(Self {
            registry,
            current: ArcSwap::from_pointee(snapshot),
            polled: Mutex::new(Some(polled)),
        });
        let weak = Arc::downgrade(&directory);
        let thread = thread::Builder::new().name("agents".to_owned());
        thread
            .spawn(move || follow(&weak))
            .map_err(|error| StoreError::open(std::path::Path::new("agents"), error))?;
        Ok(directory)
    }

    /// The registry this directory reads.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Reloads if something has changed. Blocks on the database.
    ///
    /// # Errors
    /// If the database cannot be read; the previous content stays in force.
    pub fn refresh(&self) -> Result<(), StoreError> {
        let mut polled = self.polled.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match polled.as_mut().filter(|polled| polled.reader.is_current()) {
            Some(db) => db.poll(),
            None => PolledDb::begin(self.registry.reader()?).map(|(begun, snapshot)| {
                *polled = Some(begun);
                Some(snapshot)
            }),
        };
        match changed {
            Ok(Some(snapshot)) => self.current.store(Arc::new(snapshot)),
            Ok(None) => {}
            Err(error) => {
                *polled = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The agent with this key. Valid and invalid keys take the same time.
    #[must_use]
    pub fn identify(&self, presented: &str) -> Option<Arc<AgentRecord>> {
        self.holder(presented).map(|holder| holder.agent)
    }

    /// As [`Directory::identify`], with the key's id.
    #[must_use]
    pub fn holder(&self, presented: &str) -> Option<KeyHolder> {
        let snapshot = self.current.load();
        // The hash is keyed, so timing of the lookup reveals nothing useful.
        let hash = snapshot.keys.hash(presented);
        let found = snapshot.by_hash.get(&hash);
        let expected = found.map_or(&NO_HASH, |entry| &entry.hash);
        let is_equal = bool::from(expected.ct_eq(&hash));
        found.filter(|_| is_equal)?.holder()
    }

    /// The holder of the key with this id, while it is valid. The id is public and proves
    /// nothing.
    #[must_use]
    pub fn holder_of(&self, key_id: &str) -> Option<KeyHolder> {
        let snapshot = self.current.load();
        snapshot.by_hash.get(snapshot.by_aws_id.get(key_id)?)?.holder()
    }

    /// The agent with this AWS access-key id, and the secret access key. The id is public: only
    /// the signature authenticates.
    #[must_use]
    pub fn aws_secret(&self, aws_id: &str) -> Option<(Arc<AgentRecord>, Zeroizing<String>)> {
        let snapshot = self.current.load();
        let entry = snapshot.by_hash.get(snapshot.by_aws_id.get(aws_id)?)?;
        let secret = snapshot.keys.aws_secret(aws_id);
        entry.is_in_force().then(|| (Arc::clone(&entry.agent), secret))
    }

    /// The key that seals paths standing for pre-authenticated URLs.
    #[must_use]
    pub fn path_key(&self) -> Zeroizing<[u8; 32]> {
        self.current.load().keys.paths()
    }

    /// Finds an agent by name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Arc<AgentRecord>> {
        self.current.load().by_name.get(name).cloned()
    }

    /// Number of agents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.current.load().by_name.len()
    }

    /// Whether there are no agents.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Compared against if no key has the hash, to take the same time.
const NO_HASH: Hash = [0; 32];

impl PolledDb {
    fn begin(reader: Reader) -> Result<(Self, Snapshot), StoreError> {
        // Read before the keys, so that a change in between triggers another reload.
        let version = reader.version()?;
        let generation = reader.agents_generation()?;
        let snapshot = Snapshot::of(reader.key_ring()?);
        Ok((Self { reader, version, generation }, snapshot))
    }

    /// Reloads the keys if they have changed.
    fn poll(&mut self) -> Result<Option<Snapshot>, StoreError> {
        let version = self.reader.version()?;
        if version == self.version {
            return Ok(None);
        }
        let generation = self.reader.agents_generation()?;
        let changed = match generation == self.generation {
            true => None,
            false => Some(Snapshot::of(self.reader.key_ring()?)),
        };
        (self.version, self.generation) = (version, generation);
        Ok(changed)
    }
}

impl Snapshot {
    fn of(ring: KeyRing) -> Self {
        let entries = || ring.entries.iter();
        Self {
            by_aws_id: entries().map(|entry| (Arc::clone(&entry.aws_id), entry.hash)).collect(),
            by_name: entries()
                .map(|entry| (Arc::clone(&entry.agent.name), Arc::clone(&entry.agent)))
                .collect(),
            by_hash: entries().map(|entry| (entry.hash, entry.clone())).collect(),
            keys: ring.keys,
        }
    }
}

impl KeyEntry {
    fn is_in_force(&self) -> bool {
        self.expires_at.is_none_or(|until| Timestamp::now() < until)
    }

    fn holder(&self) -> Option<KeyHolder> {
        let holder =
            || KeyHolder { agent: Arc::clone(&self.agent), key_id: Arc::clone(&self.aws_id) };
        self.is_in_force().then(holder)
    }
}

fn follow(directory: &Weak<Directory>) {
    let mut complaint = None;
    loop {
        thread::sleep(POLL_INTERVAL);
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
    use crate::store::agents::{AgentError, NewAgent};
    use crate::store::{Options, schema};

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
        for issued in [&first, &second] {
            let holder = directory.holder(&issued.api_key).unwrap();
            assert_eq!(*holder.key_id, *issued.aws_access_key_id);
            assert_eq!(directory.holder_of(&holder.key_id), Some(holder));
        }
        registry.rotate("a", Duration::ZERO).unwrap();
        directory.refresh().unwrap();
        for issued in [&first, &second] {
            assert!(directory.identify(&issued.api_key).is_none());
            assert_eq!(directory.holder_of(&issued.aws_access_key_id), None);
        }
        assert_eq!(directory.holder_of(&first.api_key), None, "a key is not its id");
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
    fn a_database_that_is_gone_is_not_made_again_and_its_keys_stay_until_it_is_back() {
        let (folder, registry) = registry();
        let issued = registry.create(&named("a")).unwrap();
        let directory = Directory::open(registry.clone()).unwrap();
        let (here, away) = (folder.path().join("a.db"), folder.path().join("b.db"));
        std::fs::rename(&here, &away).unwrap();
        assert!(directory.refresh().is_err() && directory.refresh().is_err());
        assert!(registry.list().is_err());
        assert!(!here.exists());
        assert!(directory.identify(&issued.api_key).is_some());
        std::fs::rename(&away, &here).unwrap();
        directory.refresh().unwrap();
        assert!(directory.identify(&issued.api_key).is_some());
    }

    #[test]
    fn a_database_of_an_older_version_is_brought_up_to_date() {
        let (folder, registry) = registry();
        crate::store::Store::open(&folder.path().join("a.db"), &Options::default()).unwrap();
        let older = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
        schema::make_older(&older, 1);
        assert_eq!(registry.list().unwrap(), []);
        registry.create(&named("a")).unwrap();
        assert_eq!(registry.list().unwrap().len(), 1);
    }

    #[test]
    fn keys_in_grace_are_bounded() {
        let (_folder, registry) = registry();
        let hour = Duration::from_secs(3_600);
        let first = registry.create(&named("a")).unwrap();
        for _ in 0..20 {
            registry.rotate("a", hour).unwrap();
        }
        let ring = registry.reader().unwrap().key_ring().unwrap();
        assert_eq!(ring.entries.len(), 9);
        let directory = Directory::open(registry).unwrap();
        assert!(directory.identify(&first.api_key).is_none());
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
        for name in ["", " a", "a\n", "a\u{0}", "Unidentified", &"x".repeat(129)] {
            assert!(matches!(registry.create(&named(name)), Err(AgentError::Name(_))), "{name:?}");
        }
        assert!(matches!(registry.delete("b"), Err(AgentError::Unknown(_))));
        assert_eq!(registry.list().unwrap().len(), 1);
    }

    /// What may be done to agents, by their numbers.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Create(u8),
        Rotate(u8),
        RotateWithGrace(u8),
        Delete(u8),
    }

    fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
        use proptest::prelude::*;
        let step = (0..4_u8, 0..3_u8).prop_map(|(what, who)| match what {
            0 => Step::Create(who),
            1 => Step::Rotate(who),
            2 => Step::RotateWithGrace(who),
            _ => Step::Delete(who),
        });
        prop::collection::vec(step, 1..12)
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

        /// Whatever is done in whatever order: exactly the keys that should be
        /// good are good, each for its own agent, and no key is issued twice.
        #[test]
        fn exactly_the_keys_in_force_are_good(steps in steps()) {
            let (_folder, registry) = registry();
            let directory = Directory::open(registry.clone()).unwrap();
            let hour = Duration::from_secs(3_600);
            let mut good: HashMap<u8, Vec<String>> = HashMap::new();
            let mut all: Vec<String> = Vec::new();
            for step in steps {
                let (who, issued, keeps) = match step {
                    Step::Create(who) => (who, registry.create(&named(&who.to_string())), false),
                    Step::Rotate(who) => {
                        (who, registry.rotate(&who.to_string(), Duration::ZERO), false)
                    }
                    Step::RotateWithGrace(who) => {
                        (who, registry.rotate(&who.to_string(), hour), true)
                    }
                    Step::Delete(who) => {
                        let gone = registry.delete(&who.to_string());
                        assert_eq!(gone.is_ok(), good.remove(&who).is_some());
                        continue;
                    }
                };
                let known = good.contains_key(&who);
                assert_eq!(issued.is_ok(), known != matches!(step, Step::Create(_)));
                if let Ok(issued) = issued {
                    let key = issued.api_key.to_string();
                    assert!(!all.contains(&key));
                    all.push(key.clone());
                    let keys = good.entry(who).or_default();
                    if !keeps {
                        keys.clear();
                    }
                    keys.push(key);
                }
            }
            directory.refresh().unwrap();
            for key in &all {
                let owner = good.iter().find(|(_, keys)| keys.contains(key));
                let owner = owner.map(|(who, _)| who.to_string());
                let found = directory.identify(key).map(|agent| agent.name.to_string());
                assert_eq!(found, owner);
            }
        }
    }
}
