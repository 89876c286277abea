//! Where logins rest: one file a server, its owner's only, below `logins` in the
//! data folder, and a lock beside it that renewals and logins of all processes
//! queue on.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};
use url::Url;
use zeroize::Zeroizing;

use super::record::Record;
use crate::os::files::{FileId, create_private_folder, exposure, private, replace};

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// How often a lock that another has is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// The files of one server's login.
#[derive(Debug, Clone)]
pub(super) struct Vault {
    server: String,
    file: PathBuf,
    lock: PathBuf,
}

/// Tells one content of the file from the next, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    id: FileId,
    modified: Option<SystemTime>,
}

/// The lock, taken; given back when dropped, or when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Vault {
    /// The files of `server`'s login below `folder`, whether or not they exist.
    pub(super) fn of(folder: &Path, server: &Url) -> Self {
        let server = server.to_string();
        let digest = Sha256::digest(server.as_bytes());
        let name = hex::encode(digest.get(..16).unwrap_or_default());
        let folder = folder.join("logins");
        Self {
            server,
            file: folder.join(format!("{name}.json")),
            lock: folder.join(format!("{name}.lock")),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    /// What the file is right now; `None` where there is none.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let modified = fs::metadata(&self.file).ok()?.modified().ok();
        FileId::of(&self.file).map(|id| Stamp { id, modified })
    }

    /// The login, where there is one.
    ///
    /// # Errors
    /// Where the file cannot be read, or is not what [`Vault::save`] writes.
    pub(super) fn load(&self) -> io::Result<Option<Record>> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(exposure) = exposure(&self.file) {
            let path = self.file.display();
            tracing::warn!(%path, "others can read this login: its {exposure}");
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(MAX_FILE).read_to_end(&mut text)?;
        match serde_json::from_slice::<Record>(&text) {
            Ok(record) if record.is_for(&self.server) => Ok(Some(record)),
            // What serde says may quote what it read.
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged")),
        }
    }

    /// Keeps `record` so that no reader ever sees half of it. The lock must be held.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn save(&self, _held: &Lock, record: &Record) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(record)?);
        replace(&self.file, &text, private(&mut OpenOptions::new()))
    }

    /// Forgets the login. The lock must be held.
    ///
    /// # Errors
    /// Where the file cannot be removed.
    pub(super) fn remove(&self, _held: &Lock) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the lock within `patience`; `None` where another has it that long.
    ///
    /// # Errors
    /// Where there can be no lock.
    pub(super) async fn lock(&self, patience: Duration) -> io::Result<Option<Lock>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(Some(lock));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            sleep(RETRY).await;
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// Where there can be no lock.
    pub(super) fn try_lock(&self) -> io::Result<Option<Lock>> {
        if let Some(folder) = self.lock.parent().filter(|folder| !folder.exists()) {
            create_private_folder(folder)?;
        }
        let file = private(OpenOptions::new().write(true).create(true)).open(&self.lock)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::error!(%error, "the lock of a login could not be released");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn vault() -> (tempfile::TempDir, Vault) {
        let folder = tempfile::tempdir().unwrap();
        let server = Url::parse("https://mcp.example.com/mcp").unwrap();
        let vault = Vault::of(&folder.path().join("data"), &server);
        (folder, vault)
    }

    #[test]
    fn a_login_is_kept_for_its_owner_only_and_forgotten() {
        let (_folder, vault) = vault();
        assert_eq!(vault.load().unwrap(), None);
        let lock = vault.try_lock().unwrap().unwrap();
        let login = record("token", Some(60), 0);
        vault.save(&lock, &login).unwrap();
        assert_eq!(vault.load().unwrap(), Some(login));
        assert_eq!(exposure(vault.path()), None);
        let before = vault.stamp();
        vault.save(&lock, &record("other", Some(60), 0)).unwrap();
        assert_ne!(vault.stamp(), before);
        vault.remove(&lock).unwrap();
        vault.remove(&lock).unwrap();
        assert_eq!((vault.load().unwrap(), vault.stamp()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lock_is_one_at_a_time() {
        let (_folder, vault) = vault();
        let first = vault.try_lock().unwrap();
        assert!(first.is_some() && vault.try_lock().unwrap().is_none());
        assert!(vault.lock(Duration::from_secs(1)).await.unwrap().is_none());
        drop(first);
        assert!(vault.lock(Duration::ZERO).await.unwrap().is_some());
    }

    #[test]
    fn a_damaged_file_and_another_servers_are_errors_that_quote_nothing() {
        let (_folder, vault) = vault();
        let lock = vault.try_lock().unwrap().unwrap();
        let mut other = record("tok3n", Some(60), 0);
        other.server = "https://other.example.com/".to_owned();
        vault.save(&lock, &other).unwrap();
        assert!(vault.load().is_err());
        fs::write(vault.path(), r#"{"version": "tok3n"}"#).unwrap();
        let error = vault.load().unwrap_err().to_string();
        assert!(!error.contains("tok3n"), "{error}");
    }
}
