//! The files of a store: the database, the key and the lock beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::os::files::{FileId, create_private_folder, private, replace, write_at};

/// Length of the secret in the key file, in bytes.
pub(super) const SECRET_LEN: usize = 32;

/// Pauses between two tries for the lock: the first and the longest.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// Where a store's files are.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// The database as it was named: what is watched for being replaced.
    pub(super) named: PathBuf,
    /// The database with links resolved, so that all names of one database
    /// share one key and one lock.
    pub(super) db: PathBuf,
    /// SQLite's write-ahead log.
    pub(super) wal: PathBuf,
    /// SQLite's index of it, which its users share.
    shm: PathBuf,
    /// The secret of the hash chain.
    pub(super) key: PathBuf,
    /// Held while writing.
    pub(super) lock: PathBuf,
    /// The newest entry, as far as it was noted (`head.rs`).
    pub(super) head: PathBuf,
}

impl Files {
    /// The files of the database at `named`; makes its folder, for the owner
    /// only, where there is none.
    pub(super) fn prepare(named: &Path) -> io::Result<Self> {
        let named = std::path::absolute(named)?;
        if let Some(folder) = named.parent().filter(|folder| !folder.exists()) {
            create_private_folder(folder)?;
        }
        Self::locate(&named)
    }

    /// The files of the database at `named`, whether or not they exist.
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

    /// Makes an empty database file that only its owner may read. SQLite gives
    /// the files it adds the same permissions. Answers whether there was none.
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

    /// The secret, where there is one.
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

    /// Writes the secret so that no reader ever sees half of it.
    pub(super) fn write_secret(&self, secret: &[u8; SECRET_LEN]) -> io::Result<()> {
        replace(&self.key, secret, private(&mut OpenOptions::new()))
    }

    /// What the database's files are right now.
    pub(super) fn look(&self) -> Look {
        let (db, len) = FileId::and_len(&self.named).unzip();
        let (wal, wal_len) = FileId::and_len(&self.wal).unzip();
        let identity = Identity { db, wal, shm: FileId::of(&self.shm) };
        let (len, wal_len) = (len.unwrap_or_default(), wal_len.unwrap_or_default());
        Look { identity, len, wal_len }
    }

    /// Removes the write-ahead log and its index; what they say is in the database.
    pub(super) fn remove_wal(&self) -> io::Result<()> {
        fs::remove_file(&self.wal)?;
        fs::remove_file(&self.shm)
    }

    /// How many bytes the write-ahead log has; none where there is none.
    pub(super) fn wal_len(&self) -> u64 {
        FileId::and_len(&self.wal).map_or(0, |(_, len)| len)
    }

    /// What the database alone is right now.
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

/// `path` with something behind its whole name, as SQLite names what is beside a
/// database.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Which files the names stand for; `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    db: Option<FileId>,
    wal: Option<FileId>,
    shm: Option<FileId>,
}

impl Identity {
    /// Whether the database is the same file, whatever is beside it.
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

    /// Whether every name stands for a file.
    pub(super) fn is_whole(&self) -> bool {
        self.db.is_some() && self.wal.is_some() && self.shm.is_some()
    }
}

/// How the files were at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) identity: Identity,
    /// Bytes of the database.
    pub(super) len: u64,
    /// Bytes of its write-ahead log.
    pub(super) wal_len: u64,
}

/// The lock that writers of different processes queue on. SQLite's own busy
/// handler sleeps too long and too unfairly for that.
#[derive(Debug, Clone)]
pub(super) struct WriteLock {
    file: Arc<File>,
}

/// The lock, taken; given back when dropped.
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

    /// Writes `note` into its file, in place of one that is as long, or of any where it is
    /// empty. The caller holds the lock.
    pub(super) fn note(&self, note: &str) -> io::Result<()> {
        match note.is_empty() {
            true => self.file.set_len(0),
            false => write_at(&self.file, note.as_bytes(), 0),
        }
    }

    /// Takes the lock if it is free.
    pub(super) fn try_take(&self) -> io::Result<Option<Held>> {
        match self.file.try_lock() {
            Ok(()) => Ok(Some(Held { file: Arc::clone(&self.file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes the lock, sleeping between tries; `None` where it was not to be
    /// had within `patience`.
    pub(super) fn take(&self, patience: Duration) -> io::Result<Option<Held>> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(held) = self.try_take()? {
                return Ok(Some(held));
            }
            if started.elapsed() >= patience {
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
