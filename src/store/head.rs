//! The newest entry, noted beside the database: what tells a log whose end is lost from one
//! that ends there.
//!
//! The note may lag behind the log and never runs ahead of it, whatever dies: it is written
//! only once the entry is on the disk. So it proves that an end was lost, and not that none
//! was. Whoever can write the folder can remove it; a head kept elsewhere is proof against
//! that (`audit verify --head`).
//!
//! A second note, in the file of the lock, is written with every commit, and holds until the
//! machine starts again: what a process has written is there whatever becomes of the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension as _};

use super::chain::{Hash, kind};
use super::files::{Files, WriteLock, with_suffix};
use crate::os::files::{FileId, belong_with, private};

/// Bytes of a note, at most.
const MAX_LEN: u64 = 256;

/// Digits of an entry's number: a note that is written over another is as long.
const MAX_DIGITS: usize = 19;

/// Bytes of what is noted of an entry, where a note is written over another.
const TEXT_LEN: usize = MAX_DIGITS + 1 + 2 * size_of::<Hash>() + 1 + MAX_DIGITS;

/// Where Linux says which start of the machine this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// An entry that the log has, or had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept {
    pub(super) seq: i64,
    pub(super) hash: Hash,
    /// The newest entry before it that says that a loss was accepted; 0 where there is none.
    pub(super) accepted: i64,
}

impl Kept {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (seq, hex) = (words.next()?.parse().ok()?, words.next()?);
        let mut hash = Hash::default();
        hex::decode_to_slice(hex, &mut hash).ok()?;
        // Older versions did not say.
        let accepted = words.next().map_or(Ok(0), str::parse).ok()?;
        Some(Self { seq, hash, accepted })
    }

    fn text(&self) -> String {
        let Self { seq, hash, accepted } = self;
        format!("{seq:>MAX_DIGITS$} {} {accepted:>MAX_DIGITS$}", hex::encode(hash))
    }

    /// The newest of what was `noted` that is not [in](Self::is_in) this log.
    pub(super) fn lost(noted: &[Self], connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let mut lost = None;
        for noted in noted {
            if !noted.is_in(connection)? {
                lost = lost.max(Some(*noted));
            }
        }
        Ok(lost)
    }

    /// Whether it is an entry of this log, or one that was purged, or whose loss was
    /// accepted.
    pub(super) fn is_in(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut hash = connection.prepare_cached("SELECT hash FROM entry WHERE seq = ?1")?;
        let hash = hash.query_row([self.seq], |row| row.get::<_, Hash>(0)).optional()?;
        if let Some(hash) = hash {
            return Ok(self.hash == hash || self.is_accepted(connection)?);
        }
        let first = "SELECT min(seq) FROM entry";
        let first: Option<i64> = connection.query_row(first, [], |row| row.get(0))?;
        Ok(first.is_some_and(|first| self.seq < first) || self.is_accepted(connection)?)
    }

    fn is_accepted(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM entry WHERE kind = ?1 AND kind >= 2 AND seq > ?2 AND ref >= ?3";
        connection.prepare_cached(sql)?.exists([kind::LOSS, self.accepted, self.seq])
    }
}

/// What the note in the lock's file holds for: a file, until the machine starts again.
#[derive(Debug)]
pub(super) struct Scope(String);

impl Scope {
    /// That of `database`; `None` where the system does not tell one start from another.
    pub(super) fn of(database: Option<FileId>) -> Option<Self> {
        static BOOT: LazyLock<Option<String>> = LazyLock::new(|| {
            let boot = fs::read_to_string(BOOT_ID).ok()?;
            Some(boot.trim().to_owned()).filter(|boot| !boot.is_empty())
        });
        Some(Self(format!("{} {:?}", BOOT.as_deref()?, database?)))
    }

    /// The note that `kept` is the newest entry.
    pub(super) fn note(&self, kept: &Kept) -> String {
        format!("{} {}\n", kept.text(), self.0)
    }
}

impl Files {
    /// What was noted, in both places.
    pub(super) fn noted(&self) -> io::Result<Vec<Kept>> {
        Ok(self.kept()?.into_iter().chain(self.kept_since_boot()).collect())
    }

    /// What the file of the lock says of this database. Somebody may be writing there.
    fn kept_since_boot(&self) -> Option<Kept> {
        let Scope(scope) = Scope::of(self.database_id())?;
        let read = || {
            let mut note = String::new();
            let file = File::open(&self.lock).ok()?;
            file.take(MAX_LEN).read_to_string(&mut note).ok().map(|_| note)
        };
        let note = read().filter(|note| read().as_ref() == Some(note))?;
        // One of another file, which it was written over, may have been longer.
        let note = note.lines().next()?;
        let (kept, of) = note.split_at_checked(TEXT_LEN)?;
        Kept::parse(kept).filter(|_| of.trim() == scope)
    }

    /// What was noted; `None` where nothing was, or nothing that makes sense: a note is not
    /// synced, and may be lost with the power.
    pub(super) fn kept(&self) -> io::Result<Option<Kept>> {
        let mut bytes = Vec::new();
        let read =
            File::open(&self.head).and_then(|file| file.take(MAX_LEN).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let named = format!("`{}`: {error}", self.head.display());
                return Err(io::Error::new(error.kind(), named));
            }
        }
        Ok(std::str::from_utf8(&bytes).ok().and_then(Kept::parse))
    }

    /// Notes `kept`. The caller holds the write lock.
    pub(super) fn keep(&self, kept: &Kept) -> io::Result<()> {
        let draft = with_suffix(&self.head, "-new");
        let _ = fs::remove_file(&draft);
        let mut options = OpenOptions::new();
        let mut file = private(options.write(true).create_new(true)).open(&draft)?;
        belong_with(&file, &self.db);
        writeln!(file, "{}", kept.text().trim_start())?;
        fs::rename(&draft, &self.head)
    }

    /// Forgets what was noted: it was of a log that is gone.
    pub(super) fn forget(&self, lock: &WriteLock) -> io::Result<()> {
        lock.note("")?;
        match fs::remove_file(&self.head) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until what is in the write-ahead log is on the disk. What is in it no more is
    /// in the database, and on the disk: SQLite syncs it before the log starts over.
    pub(super) fn sync_wal(&self) -> io::Result<()> {
        // SQLite's locks are on the database and the index, so that opening this drops none.
        match OpenOptions::new().write(true).open(&self.wal) {
            Ok(wal) => wal.sync_data(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::locate(&folder.path().join("a.db")).unwrap();
        assert_eq!(files.kept().unwrap(), None);
        for seq in [7, 1 << 47] {
            let kept = Kept { seq, hash: [9; 32], accepted: seq - 7 };
            assert_eq!(kept.text().len(), TEXT_LEN);
            files.keep(&kept).unwrap();
            assert_eq!(files.kept().unwrap(), Some(kept));
        }
        let older = format!("7 {}", "09".repeat(32));
        fs::write(&files.head, older).unwrap();
        assert_eq!(files.kept().unwrap(), Some(Kept { seq: 7, hash: [9; 32], accepted: 0 }));
        let zeros = vec![0; 4096];
        for half in [&b""[..], b"7", b"7 ", b"7 0909", b"x 09", b"\xff", &zeros] {
            fs::write(&files.head, half).unwrap();
            assert_eq!(files.kept().unwrap(), None);
        }
        let lock = WriteLock::open(&files.lock).unwrap();
        files.forget(&lock).unwrap();
        files.forget(&lock).unwrap();
    }
}
