//! The files of a store: the database, the key and the lock beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::os::files::{FileId, create_private_folder, private, replace, write_at};

/// Length of the key file, in bytes.
pub(super) const SECRET_LEN: usize = 32;

/// Bounds of the backoff while waiting for the lock.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// Paths of a store's files.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// The database as named by the user: watched for being replaced.
    pub(super) named: PathBuf,
    /// The database with links resolved, so that all its names share one key and one lock.
    pub(super) db: PathBuf,
    /// SQLite's write-ahead log.
    pub(super) wal: PathBuf,
    /// Shared-memory index of the write-ahead log.
    shm: PathBuf,
    /// The secret key of the hash chain.
    pub(super) key: PathBuf,
    /// The file locked while writing.
    pub(super) lock: PathBuf,
    /// The recorded head of the log (see `head.rs`).
    pub(super) head: PathBuf,
}

impl Files {
    /// The files of the database at `named`. Creates its folder with mode 0700 if necessary.
    pub(super) fn prepare(named: &Path) -> io::Result<Self> {
        let named = std::path::absolute(named)?;
        if let Some(folder) = named.parent().filter(|folder| !folder.exists()) {
            create_private_folder(folder)?;
        }
        Self::locate(&named)
    }

    /// The files of the database at `named`, which need not exist.
    pub(super) fn locate(named: &Path) -> io::Result<Self> {
        let named = std::path::absolute(named)?;
        let db = match (fs::canonicalize(&named), named.parent(), named.file_name()) {
            (Ok(db), _, _) => db,
            (Err(_), Some(folder), Some(name)) => fs::canonicalize(folder)?.join(name),
            (Err(error), _, _) => return Err(error),
        };
        Ok(Self {
            key: sibling(&db, "key"),
            lock: sibling(&db, "lock"),
            wal: with_suffix(&db, "-wal"),
            shm: with_suffix(&db, "-shm"),
            head: with_suffix(&db, "-head"),
            db,
            named,
        })
    }

    /// Creates an empty database file with mode 0600; SQLite uses the same mode for the files
    /// it adds. `false` if it exists.
    pub(super) fn create_db(&self) -> io::Result<bool> {
        // INVARIANT (locks): closing any descriptor of a file drops this
        // process's POSIX locks on it, and SQLite's are of that kind. So the
        // database is only ever opened here when it did not exist.
        match private(OpenOptions::new().write(true).create_new(true)).open(&self.db) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the key file, if it exists.
    pub(super) fn read_secret(&self) -> io::Result<Option<[u8; SECRET_LEN]>> {
        let mut file = match File::open(&self.key) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut secret = [0; SECRET_LEN];
        let mut rest = [0; 1];
        let whole = file.read_exact(&mut secret).is_ok() && file.read(&mut rest)? == 0;
        if !whole {
            let what = format!("`{}` does not hold {SECRET_LEN} bytes", self.key.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Some(secret))
    }

    /// Writes the key file atomically.
    pub(super) fn write_secret(&self, secret: &[u8; SECRET_LEN]) -> io::Result<()> {
        replace(&self.key, secret, private(&mut OpenOptions::new()))
    }

    /// Identity and sizes of the files at this moment.
    pub(super) fn state(&self) -> FilesState {
        let (db, len) = FileId::and_len(&self.named).unzip();
        let (wal, wal_len) = FileId::and_len(&self.wal).unzip();
        let identity = Identity { db, wal, shm: FileId::of(&self.shm) };
        let (len, wal_len) = (len.unwrap_or_default(), wal_len.unwrap_or_default());
        FilesState { identity, len, wal_len }
    }

    /// Removes the write-ahead log and its index. The caller has checkpointed them.
    pub(super) fn remove_wal(&self) -> io::Result<()> {
        fs::remove_file(&self.wal)?;
        fs::remove_file(&self.shm)
    }

    /// Length of the write-ahead log in bytes; 0 if it does not exist.
    pub(super) fn wal_len(&self) -> u64 {
        FileId::and_len(&self.wal).map_or(0, |(_, len)| len)
    }

    /// Identity of the database file.
    pub(super) fn database_id(&self) -> Option<FileId> {
        FileId::of(&self.named)
    }
}

fn sibling(path: &Path, extension: &str) -> PathBuf {
    if path.extension().is_some_and(|present| present == extension) {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        return name.into();
    }
    path.with_extension(extension)
}

/// `path` with `suffix` appended to the whole file name, as SQLite names its files.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Identities (such as inodes) of the files; `None` for missing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    db: Option<FileId>,
    wal: Option<FileId>,
    shm: Option<FileId>,
}

impl Identity {
    /// Whether the database is the same file.
    pub(super) fn is_database_of(&self, other: &Self) -> bool {
        self.db.is_some() && self.db == other.db
    }

    /// Whether the write-ahead log is the same file.
    pub(super) fn shares_wal_with(&self, other: &Self) -> bool {
        self.wal.is_some() && self.wal == other.wal
    }

    /// Whether the index of the write-ahead log is the same file.
    pub(super) fn shares_index_with(&self, other: &Self) -> bool {
        self.shm.is_some() && self.shm == other.shm
    }

    /// Whether all files exist.
    pub(super) fn is_whole(&self) -> bool {
        self.db.is_some() && self.wal.is_some() && self.shm.is_some()
    }
}

/// Identity and sizes of the files at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct FilesState {
    pub(super) identity: Identity,
    /// Length of the database in bytes.
    pub(super) len: u64,
    /// Length of the write-ahead log in bytes.
    pub(super) wal_len: u64,
}

/// Inter-process lock of writers. SQLite's own busy handler sleeps too long and is unfair.
#[derive(Debug, Clone)]
pub(super) struct WriteLock {
    file: Arc<File>,
}

/// Guard of a [`WriteLock`]; releases it when dropped.
#[derive(Debug)]
pub(super) struct Held {
    file: Arc<File>,
}

impl WriteLock {
    /// Opens the lock file without taking the lock.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = private(options.read(true).write(true).create(true)).open(path)?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Writes `record` to the lock file. It must be as long as the present content, or empty. The
    /// caller holds the lock.
    pub(super) fn write(&self, record: &str) -> io::Result<()> {
        match record.is_empty() {
            true => self.file.set_len(0),
            false => write_at(&self.file, record.as_bytes(), 0),
        }
    }

    /// Acquires the lock if it is free.
    pub(super) fn try_take(&self) -> io::Result<Option<Held>> {
        match self.file.try_lock() {
            Ok(()) => Ok(Some(Held { file: Arc::clone(&self.file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Acquires the lock, polling for at most `timeout`; `None` if that elapses.
    pub(super) fn take(&self, timeout: Duration) -> io::Result<Option<Held>> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(held) = self.try_take()? {
                return Ok(Some(held));
            }
            if started.elapsed() >= timeout {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::error!(%error, "the audit log's lock could not be released");
        }
    }
}
