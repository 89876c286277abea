//! Policies by name, for a gate with many agents: loaded on first use, reloaded when files change,
//! added and removed at run time.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arc_swap::ArcSwap;

use super::diagnostic::{Diagnostics, Source};
use super::live::{POLL, Policies};
use super::lookup::{Found, Lookup};
use super::yaml::MAX_FILE;
use super::{BUNDLED, Mode, Policy, PolicyFile, annotations};
use crate::os::files::is_device;

/// The policies that agents can have.
#[derive(Debug)]
pub struct PolicyCatalog {
    view: ArcSwap<View>,
    own: Arc<Policies>,
    loaded: ArcSwap<HashMap<Arc<str>, Loaded>>,
    /// Held while [`Self::loaded`] is replaced or the folder is written.
    writing: Mutex<()>,
}

/// Where names are looked up, and the mode of all policies.
#[derive(Debug)]
struct View {
    lookup: Lookup,
    mode: Option<Mode>,
}

/// A name that is in use.
#[derive(Debug, Clone)]
struct Loaded {
    /// Its policies; they deny everything if the policy is missing.
    policies: Arc<Policies>,
    /// Why the policy is missing. Loading is retried by [`PolicyCatalog::poll`], not by requests of
    /// its agents, so that these do not read the disk.
    missing: Option<Arc<str>>,
}

/// Maximum number of names cached as missing; others are looked up each time.
const MAX_MISSING: usize = 256;

/// A policy in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Its file; `None` if it is part of the program.
    pub file: Option<PathBuf>,
}

/// Why a policy could not be written or removed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not a valid name, or that of a built-in policy.
    #[error(
        "`{0}` cannot be the name of a policy here: letters, digits, `_` and `-`, none of annotations, allow_all, deny_all, and no device of Windows (con, nul)"
    )]
    Name(String),
    /// The text is not a valid policy.
    #[error("the policy does not load\n{0}")]
    Invalid(Diagnostics),
    /// There is no such file.
    #[error("there is no policy file named `{0}` to remove")]
    Unknown(String),
    /// The file cannot be written or removed.
    #[error("the policy file cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl PolicyCatalog {
    /// A catalog of the policies that `lookup` finds. `own` are used where no name is given.
    #[must_use]
    pub fn new(lookup: Lookup, mode: Option<Mode>, own: Arc<Policies>) -> Arc<Self> {
        let (loaded, view) = (ArcSwap::default(), ArcSwap::from_pointee(View { lookup, mode }));
        Arc::new(Self { view, own, loaded, writing: Mutex::default() })
    }

    /// Replaces `own` by `names`, looked up in `lookup`, and reloads all other policies. Handles
    /// stay valid and return the new policies.
    ///
    /// # Errors
    /// All errors in `names`; nothing is changed then.
    pub fn reload(
        &self,
        names: &[String],
        lookup: Lookup,
        mode: Option<Mode>,
    ) -> Result<(), Diagnostics> {
        self.own.replace_with(Policies::load(names, &lookup, mode)?);
        self.view.store(Arc::new(View { lookup, mode }));
        let loaded = self.loaded.load_full();
        for name in loaded.keys() {
            self.refresh(name);
        }
        Ok(())
    }

    /// Reloads `name`. If it is not found, its agents are refused until it is.
    fn refresh(&self, name: &str) {
        let Err(found) = self.load(name) else { return };
        if let Some(Loaded { policies, missing: None }) = self.entry(name) {
            policies.replace_with(Policies::missing(name));
            self.record_missing(name, &found, policies);
        }
    }

    /// Watches the files of all policies in use on a thread, until the catalog is dropped.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn watch(self: &Arc<Self>) -> io::Result<()> {
        let catalog = Arc::downgrade(self);
        let follow = move || {
            loop {
                thread::sleep(POLL);
                let Some(catalog) = catalog.upgrade() else { return };
                catalog.poll();
            }
        };
        thread::Builder::new().name("policy-files".to_owned()).spawn(follow).map(drop)
    }

    /// A handle to the current policy called `name`. While it is missing or does not load,
    /// everything is denied.
    #[must_use]
    pub fn handle(&self, name: &str) -> Arc<ArcSwap<Policy>> {
        if let Some(entry) = self.loaded.load().get(name) {
            return entry.policies.handle();
        }
        self.load(name).unwrap_or_else(|found| {
            let policies = Arc::new(Policies::missing(name));
            let handle = policies.handle();
            self.record_missing(name, &found, policies);
            handle
        })
    }

    /// Checks the files of all policies in use once, and retries missing ones.
    fn poll(&self) {
        self.own.poll();
        for (name, entry) in self.loaded.load().iter() {
            let Some(why) = &entry.missing else {
                entry.policies.poll();
                continue;
            };
            let again = self.load(name).err();
            if let Some(found) = again.filter(|found| *found.to_string() != **why) {
                self.record_missing(name, &found, Arc::clone(&entry.policies));
            }
        }
    }

    /// Whether all policies in use are those of their files. If a file does not load, its last
    /// valid policy stays in use.
    #[must_use]
    pub fn is_as_written(&self) -> bool {
        let loaded = self.loaded.load();
        self.own.is_as_written() && loaded.values().all(|entry| entry.policies.is_as_written())
    }

    /// Logs why a policy in use is missing, and caches that.
    fn record_missing(&self, name: &str, found: &Diagnostics, policies: Arc<Policies>) {
        tracing::error!(policy = name, "agents that have this policy are refused:\n{found}");
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut loaded = HashMap::clone(&self.loaded.load());
        // Another thread may have added or missed it in the meantime.
        if loaded.get(name).is_some_and(|entry| !Arc::ptr_eq(&entry.policies, &policies)) {
            return;
        }
        loaded.remove(name);
        if loaded.values().filter(|entry| entry.missing.is_some()).count() < MAX_MISSING {
            let missing = Some(found.to_string().into());
            loaded.insert(name.into(), Loaded { policies, missing });
        }
        self.loaded.store(Arc::new(loaded));
    }

    /// All policies, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<Entry> {
        let built = annotations::built_in_names().chain(BUNDLED.iter().map(|(name, _)| *name));
        let mut all: BTreeMap<String, Option<PathBuf>> =
            built.map(|name| (name.to_owned(), None)).collect();
        let view = self.view.load();
        for file in view.lookup.files() {
            if let Some(name) = file.file_stem().and_then(|stem| stem.to_str())
                && matches!(view.lookup.find(name), Ok(Found::File(found)) if found == file)
            {
                all.insert(name.to_owned(), Some(file.clone()));
            }
        }
        all.into_iter().map(|(name, file)| Entry { name, file }).collect()
    }

    /// The text of a policy.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let found = is_name(name).then(|| self.view.load().lookup.find(name).ok()).flatten()?;
        found.read().ok().map(|source| source.text.to_string())
    }

    /// Whether a policy exists.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        is_name(name) && self.view.load().lookup.find(name).is_ok()
    }

    /// Compiles `text`, writes it to the policy folder as `name`, and uses it from now on,
    /// replacing one of the same name.
    ///
    /// # Errors
    /// See [`CatalogError`]; the policy in use is unchanged then.
    pub fn put(&self, name: &str, text: &str) -> Result<PathBuf, CatalogError> {
        let is_built_in = || annotations::built_in_names().any(|built| built == name);
        if !is_name(name) || is_device(name) || is_built_in() {
            return Err(CatalogError::Name(name.to_owned()));
        }
        PolicyFile::load(Source::new(name, text)).map_err(CatalogError::Invalid)?;
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.folder().ok_or_else(|| io::Error::other("there is no policy folder"))?;
        fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{name}.yaml"));
        replace(&file, text)?;
        drop(writing);
        self.load(name).map_err(CatalogError::Invalid)?;
        self.own.shadow(name, &file);
        Ok(file)
    }

    /// Removes the file of a policy from the policy folder. If no other policy has the name, its
    /// agents are refused from now on.
    ///
    /// # Errors
    /// See [`CatalogError`].
    pub fn delete(&self, name: &str) -> Result<(), CatalogError> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || CatalogError::Unknown(name.to_owned());
        let found = is_name(name).then(|| self.view.load().lookup.find(name).ok()).flatten();
        let Some(Found::File(file)) = found else { return Err(unknown()) };
        fs::remove_file(file)?;
        drop(writing);
        self.refresh(name);
        Ok(())
    }

    fn folder(&self) -> Option<PathBuf> {
        let view = self.view.load();
        view.lookup.named.clone().or_else(|| view.lookup.own.clone())
    }

    fn load(&self, name: &str) -> Result<Arc<ArcSwap<Policy>>, Diagnostics> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let view = self.view.load();
        let policies = Policies::load(&[name.to_owned()], &view.lookup, view.mode)?;
        let mut loaded = HashMap::clone(&self.loaded.load());
        let policies = match loaded.get(name) {
            Some(entry) => {
                entry.policies.replace_with(policies);
                Arc::clone(&entry.policies)
            }
            None => Arc::new(policies),
        };
        let handle = policies.handle();
        loaded.insert(name.into(), Loaded { policies, missing: None });
        self.loaded.store(Arc::new(loaded));
        Ok(handle)
    }

    fn entry(&self, name: &str) -> Option<Loaded> {
        self.loaded.load().get(name).cloned()
    }
}

/// Whether a name is valid; it cannot lead out of a folder.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=128).contains(&name.len()) && name.bytes().all(fits)
}

/// Replaces a file atomically.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    if text.len() > MAX_FILE {
        return Err(io::Error::other("it is too long"));
    }
    crate::os::files::replace(file, text.as_bytes(), &mut fs::OpenOptions::new())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::call;
    use super::*;
    use crate::action::{Action, McpRequest, Target};
    use crate::intent::Intent;
    use crate::json::Object;
    use crate::verdict::Decision;

    const ALLOW: &str = "name: team\nrules:\n  - effect: allow\n    tool: '*'\n";

    fn catalog(folder: &Path) -> Arc<PolicyCatalog> {
        let lookup = Lookup { named: Some(folder.to_owned()), own: None };
        let own = Policies::load(&["deny_all".to_owned()], &lookup, None).unwrap();
        PolicyCatalog::new(lookup, None, Arc::new(own))
    }

    fn is_missing(catalog: &PolicyCatalog, name: &str) -> bool {
        passes_nothing(&catalog.handle(name))
    }

    /// Whether everything is denied, including methods that rules would have to name.
    fn passes_nothing(handle: &ArcSwap<Policy>) -> bool {
        let policy = handle.load();
        let call = call("look", "{}");
        let (server, method) = (Arc::from("files"), "resources/read".to_owned());
        let read = Target::Method(McpRequest { server, method, params: Object::default() });
        [&call, &Action { target: read, ..call.clone() }].into_iter().all(|action| {
            let verdict = policy.judge(action, Intent::Read);
            verdict.decision == Decision::Deny && verdict.reason.to_string().contains("not found")
        }) && policy.concerns_method("resources/read")
    }

    #[test]
    fn a_policy_is_put_found_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog(folder.path());
        assert!(is_missing(&catalog, "team"));
        catalog.put("team", ALLOW).unwrap();
        assert_eq!(&*catalog.handle("team").load().names()[0], "team");
        assert!(catalog.list().iter().any(|entry| entry.name == "team" && entry.file.is_some()));
        assert_eq!(catalog.text("team").unwrap(), ALLOW);
        catalog.delete("team").unwrap();
        assert!(is_missing(&catalog, "team") && !catalog.knows("team"));
        assert!(matches!(catalog.delete("default"), Err(CatalogError::Unknown(_))), "built in");
    }

    #[test]
    fn invalid_policies_and_names_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog(folder.path());
        assert!(matches!(catalog.put("team", "rules: 1"), Err(CatalogError::Invalid(_))));
        for name in ["", "../x", "a/b", "a.yaml", "allow_all", "a b", "con", "NUL", "com1"] {
            assert!(matches!(catalog.put(name, ALLOW), Err(CatalogError::Name(_))), "{name}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn missing_policy_is_found_once_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog(folder.path());
        assert!(is_missing(&catalog, "late"));
        fs::write(folder.path().join("late.yaml"), "rules: 1").unwrap();
        catalog.poll();
        assert!(is_missing(&catalog, "late"));
        fs::write(folder.path().join("late.yaml"), "name: late\n").unwrap();
        catalog.poll();
        assert_eq!(&*catalog.handle("late").load().names()[0], "late");
    }

    #[test]
    fn agents_of_a_deleted_policy_are_refused_until_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog(folder.path());
        let held = catalog.handle("team");
        assert!(passes_nothing(&held));
        catalog.put("team", ALLOW).unwrap();
        assert_eq!(&*held.load().names()[0], "team");
        catalog.delete("team").unwrap();
        assert!(passes_nothing(&held) && is_missing(&catalog, "team"));
        catalog.put("team", "name: again\n").unwrap();
        assert_eq!(&*held.load().names()[0], "again");
        for n in 0..2 * MAX_MISSING {
            assert!(is_missing(&catalog, &format!("absent-{n}")));
        }
        assert!(catalog.loaded.load().len() <= MAX_MISSING + 1);
    }

    #[test]
    fn file_replaces_a_built_in_policy_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let lookup = Lookup { named: Some(folder.path().to_owned()), own: None };
        let own = Policies::load(&["default".to_owned()], &lookup, None).unwrap();
        let catalog = PolicyCatalog::new(lookup, None, Arc::new(own));
        let handle = catalog.own.handle();
        catalog.put("default", "name: ours\n").unwrap();
        assert_eq!(&*handle.load().names()[0], "ours");
        catalog.put("default", "name: ours-again\n").unwrap();
        (0..2).for_each(|_| catalog.own.poll());
        assert_eq!(&*handle.load().names()[0], "ours-again");
    }

    #[test]
    fn handles_return_the_current_policy() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let catalog = catalog(one.path());
        catalog.put("team", ALLOW).unwrap();
        let (team, own) = (catalog.handle("team"), catalog.own.handle());
        catalog.put("team", "name: again\n").unwrap();
        assert_eq!(&*team.load().names()[0], "again");
        fs::write(other.path().join("team.yaml"), "name: elsewhere\n").unwrap();
        let lookup = || Lookup { named: Some(other.path().to_owned()), own: None };
        let wrong = ["read_only".to_owned(), "nope".to_owned()];
        catalog.reload(&wrong, lookup(), None).unwrap_err();
        assert_eq!((&*team.load().names()[0], &*own.load().names()[0]), ("again", "deny_all"));
        catalog.reload(&["read_only".to_owned()], lookup(), None).unwrap();
        assert_eq!((&*team.load().names()[0], &*own.load().names()[0]), ("elsewhere", "read_only"));
        catalog.delete("team").unwrap();
        assert!(passes_nothing(&team));
    }

    #[test]
    fn no_name_leads_out_of_the_folders() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_missing(&catalog(folder.path()), "../../etc/passwd"));
    }
}
