//! Policies in files, watched and replaced as a whole.
//!
//! A changed file is used once two consecutive reads agree, so that half-written files are not. If
//! it does not load, the last valid policy stays in use, and an error is logged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::diagnostic::{Diagnostics, Source};
use super::lookup::{Found, Lookup, read};
use super::{Mode, Policy, PolicyFile};

/// Interval of reading files. A change takes effect after about two of them.
pub(super) const POLL: Duration = Duration::from_millis(500);

/// Joined policies that follow their files.
#[derive(Debug)]
pub struct Policies {
    current: Arc<ArcSwap<Policy>>,
    followed: Mutex<Followed>,
}

/// The files of the current policy.
#[derive(Debug)]
struct Followed {
    mode: Option<Mode>,
    files: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    /// `None` if it is part of the program.
    path: Option<PathBuf>,
    /// The version in use.
    file: Arc<PolicyFile>,
    /// A changed text that was read once.
    pending: Option<String>,
    /// The last error logged, so that it is not repeated.
    logged: Option<String>,
}

impl Policies {
    /// Finds, reads and joins policies by name or path, in the given order.
    ///
    /// # Errors
    /// All errors in all of them.
    pub fn load(
        names: &[String],
        lookup: &Lookup,
        mode: Option<Mode>,
    ) -> Result<Self, Diagnostics> {
        let mut found = Diagnostics::default();
        let mut files = Vec::new();
        for name in names {
            let loaded = match lookup.find(name) {
                Ok(place) => place.load().map(|file| (place, file)),
                Err(finding) => Err(finding.into()),
            };
            match loaded {
                Ok((place, file)) => files.push(Watched::new(place, file)),
                Err(findings) => found.extend(findings),
            }
        }
        if !found.is_empty() {
            return Err(found);
        }
        let followed = Followed { mode, files };
        let current = Arc::new(ArcSwap::from_pointee(followed.join()));
        Ok(Self { current, followed: Mutex::new(followed) })
    }

    /// Policies for a name that does not exist: everything is denied.
    pub(super) fn missing(name: &str) -> Self {
        let current = Arc::new(ArcSwap::from_pointee(Policy::missing(name)));
        Self { current, followed: Mutex::new(Followed { mode: None, files: Vec::new() }) }
    }

    /// Replaces these policies by `other`, also for existing handles.
    pub(super) fn replace_with(&self, other: Self) {
        let Self { current, followed } = other;
        let mut present = self.lock();
        *present = followed.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.current.store(current.load_full());
    }

    fn lock(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current policy.
    #[must_use]
    pub fn current(&self) -> Arc<Policy> {
        self.current.load_full()
    }

    /// Whether the policies in use were those of their files when last read.
    #[must_use]
    pub fn is_as_written(&self) -> bool {
        self.lock().files.iter().all(|file| file.logged.is_none())
    }

    /// A handle that always returns the current policy.
    #[must_use]
    pub fn handle(&self) -> Arc<ArcSwap<Policy>> {
        Arc::clone(&self.current)
    }

    /// Watches the files on a thread until these policies are dropped. Does nothing if there are no
    /// files.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn watch(self: &Arc<Self>) -> io::Result<()> {
        if self.lock().files.iter().all(|file| file.path.is_none()) {
            return Ok(());
        }
        let policies = Arc::downgrade(self);
        let follow = move || {
            loop {
                thread::sleep(POLL);
                let Some(policies) = policies.upgrade() else { return };
                policies.poll();
            }
        };
        thread::Builder::new().name("policy-files".to_owned()).spawn(follow).map(drop)
    }

    /// If the policy `name` that is part of the program is in use, replaces it by `file` and
    /// follows that.
    pub(super) fn shadow(&self, name: &str, file: &Path) {
        let mut followed = self.lock();
        let origin = format!("<{name}>");
        let mut changed = false;
        for watched in &mut followed.files {
            if watched.path.is_none() && watched.file.origin() == origin {
                let place = Found::File(file.to_owned());
                match place.load() {
                    Ok(loaded) => *watched = Watched::new(place, loaded),
                    Err(found) => watched.log_error(found.to_string()),
                }
                changed = true;
            }
        }
        if changed {
            self.current.store(Arc::new(followed.join()));
        }
    }

    /// Reads every file once. A change is used if the previous read agrees.
    pub fn poll(&self) {
        let mut followed = self.lock();
        let mut changed = false;
        for file in &mut followed.files {
            changed |= file.poll();
        }
        if changed {
            self.current.store(Arc::new(followed.join()));
        }
    }
}

impl Followed {
    fn join(&self) -> Policy {
        let files: Vec<_> = self.files.iter().map(|file| Arc::clone(&file.file)).collect();
        Policy::join(&files, self.mode)
    }
}

impl Watched {
    fn new(place: Found, file: PolicyFile) -> Self {
        let path = match place {
            Found::Built(_) => None,
            Found::File(path) => Some(path),
        };
        Self { path, file: Arc::new(file), pending: None, logged: None }
    }

    /// Whether another version is in use now.
    fn poll(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        let text = match read(path, self.file.origin()) {
            Ok(text) => text,
            Err(finding) => {
                self.pending = None;
                self.log_error(finding.to_string());
                return false;
            }
        };
        if *text == *self.file.source.text {
            if self.logged.take().is_some() {
                tracing::info!(file = self.file.origin(), "the policy file is unchanged");
            }
            self.pending = None;
            return false;
        }
        if self.pending.as_ref() != Some(&text) {
            self.pending = Some(text);
            return false;
        }
        match PolicyFile::load(Source::new(self.file.origin(), &text)) {
            Ok(file) => {
                tracing::info!(file = file.origin(), "a changed policy is in force");
                self.file = Arc::new(file);
                (self.pending, self.logged) = (None, None);
                true
            }
            Err(found) => {
                self.log_error(found.to_string());
                false
            }
        }
    }

    fn log_error(&mut self, error: String) {
        if self.logged.as_ref() != Some(&error) {
            tracing::error!(
                "the changed policy is not used; the last good one stays in force:\n{error}"
            );
            self.logged = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(policies: &Policies) -> Vec<String> {
        policies.current().names().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn change_is_used_once_two_reads_agree_unless_invalid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        fs::write(&path, "name: first\n").unwrap();
        let name = path.display().to_string();
        let policies = Policies::load(&[name], &Lookup::default(), None).unwrap();
        assert_eq!(names(&policies), ["first"]);

        fs::write(&path, "name: second\n").unwrap();
        policies.poll();
        assert_eq!(names(&policies), ["first"]);
        fs::write(&path, "name: third\n").unwrap();
        policies.poll();
        assert_eq!(names(&policies), ["first"]);
        policies.poll();
        assert_eq!(names(&policies), ["third"]);

        for bad in ["name: third\nrule: []\n", "", "name: [", "\u{0}"] {
            fs::write(&path, bad).unwrap();
            policies.poll();
            policies.poll();
            assert_eq!(names(&policies), ["third"], "{bad:?}");
        }
        fs::remove_file(&path).unwrap();
        policies.poll();
        policies.poll();
        assert_eq!(names(&policies), ["third"]);
        fs::write(&path, "name: fourth\n").unwrap();
        policies.poll();
        policies.poll();
        assert_eq!(names(&policies), ["fourth"]);
    }

    #[test]
    fn errors_of_all_files_are_reported_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let names = [
            write("a.yaml", "nam: x\n"),
            "no-such".to_owned(),
            write("b.yaml", "name: b\nmode: x\n"),
            folder.path().join("missing.yaml").display().to_string(),
            folder.path().display().to_string(),
        ];
        let found = Policies::load(&names, &Lookup::default(), None).unwrap_err().to_string();
        for expected in
            ["a.yaml:1:1", "no-such: error", "b.yaml:2:7", "missing.yaml: error", "regular file"]
        {
            assert!(found.contains(expected), "{expected}\n{found}");
        }
    }
}
