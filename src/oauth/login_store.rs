//! Stored logins: one file per server in the folder `logins` of the data folder, readable
//! by its owner only, with a lock file beside it that serializes renewals and logins of all
//! processes.

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

/// Maximum size of the file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Interval of polling for a lock held by another process.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// The login file of one server, and its lock file.
#[derive(Debug, Clone)]
pub(super) struct LoginStore {
    server: String,
    file: PathBuf,
    lock: PathBuf,
}

/// Identifies a version of the file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileVersion {
    id: FileId,
    modified: Option<SystemTime>,
}

/// A held lock; released when dropped, or when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl LoginStore {
    /// The files for the login to `server` below `folder`, which need not exist.
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

    /// The current version of the file; `None` if there is none.
    pub(super) fn version(&self) -> Option<FileVersion> {
        let modified = fs::metadata(&self.file).ok()?.modified().ok();
        FileId::of(&self.file).map(|id| FileVersion { id, modified })
    }

    /// Loads the login, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read, or was not written by [`LoginStore::save`].
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
            // serde's message may quote secrets.
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged")),
        }
    }

    /// Atomically replaces the file by `record`. Requires the lock.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn save(&self, _held: &Lock, record: &Record) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(record)?);
        replace(&self.file, &text, private(&mut OpenOptions::new()))
    }

    /// Removes the login. Requires the lock.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub(super) fn remove(&self, _held: &Lock) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits up to `max_wait` for the lock; `None` on timeout.
    ///
    /// # Errors
    /// If the lock file cannot be opened or locked.
    pub(super) async fn lock(&self, max_wait: Duration) -> io::Result<Option<Lock>> {
        let deadline = Instant::now() + max_wait;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(Some(lock));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            sleep(LOCK_POLL).await;
        }
    }

    /// Acquires the lock if it is free.
    ///
    /// # Errors
    /// If the lock file cannot be opened or locked.
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

    fn store() -> (tempfile::TempDir, LoginStore) {
        let folder = tempfile::tempdir().unwrap();
        let server = Url::parse("https://mcp.example.com/mcp").unwrap();
        let store = LoginStore::of(&folder.path().join("data"), &server);
        (folder, store)
    }

    #[test]
    fn login_file_is_private_and_can_be_removed() {
        let (_folder, store) = store();
        assert_eq!(store.load().unwrap(), None);
        let lock = store.try_lock().unwrap().unwrap();
        let login = record("token", Some(60), 0);
        store.save(&lock, &login).unwrap();
        assert_eq!(store.load().unwrap(), Some(login));
        assert_eq!(exposure(store.path()), None);
        let before = store.version();
        store.save(&lock, &record("other", Some(60), 0)).unwrap();
        assert_ne!(store.version(), before);
        store.remove(&lock).unwrap();
        store.remove(&lock).unwrap();
        assert_eq!((store.load().unwrap(), store.version()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lock_is_one_at_a_time() {
        let (_folder, store) = store();
        let first = store.try_lock().unwrap();
        assert!(first.is_some() && store.try_lock().unwrap().is_none());
        assert!(store.lock(Duration::from_secs(1)).await.unwrap().is_none());
        drop(first);
        assert!(store.lock(Duration::ZERO).await.unwrap().is_some());
    }

    #[test]
    fn a_damaged_file_and_another_servers_are_errors_that_quote_nothing() {
        let (_folder, store) = store();
        let lock = store.try_lock().unwrap().unwrap();
        let mut other = record("tok3n", Some(60), 0);
        other.details.server = "https://other.example.com/".to_owned();
        store.save(&lock, &other).unwrap();
        assert!(store.load().is_err());
        fs::write(store.path(), r#"{"version": "tok3n"}"#).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(!error.contains("tok3n"), "{error}");
    }
}
