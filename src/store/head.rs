//! Records of the head, the newest entry, outside the log. They distinguish a log whose end
//! is lost from one that ends there.
//!
//! The record in the `-head` file may lag behind the log but is never ahead of it, whatever
//! crashes: it is written only once the entry is on the disk. So it can prove that the end was
//! lost, but not that nothing was. Whoever can write to the folder can remove it; a head kept
//! elsewhere protects against that (`audit verify --head`).
//!
//! A second record, in the lock file, is written with every commit and valid until the next
//! boot: what a process has written survives the process, though not a power failure.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension as _};

use super::chain::{Hash, kind};
use super::files::{Files, WriteLock, with_suffix};
use crate::os::files::{FileId, belong_with, private};

/// Maximum length of a record, in bytes.
const MAX_LEN: u64 = 256;

/// Width of sequence numbers: records have a fixed length, so that one can overwrite another.
const MAX_DIGITS: usize = 19;

/// Length of an entry's text in a fixed-length record, in bytes.
const TEXT_LEN: usize = MAX_DIGITS + 1 + 2 * size_of::<Hash>() + 1 + MAX_DIGITS;

/// Linux's id of the current boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// An entry recorded outside the log, which the log must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HeadRecord {
    pub(super) seq: i64,
    pub(super) hash: Hash,
    /// Sequence number of the newest loss entry at that time; 0 if there is none.
    pub(super) accepted: i64,
}

impl HeadRecord {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (seq, hex) = (words.next()?.parse().ok()?, words.next()?);
        let mut hash = Hash::default();
        hex::decode_to_slice(hex, &mut hash).ok()?;
        // Missing in records of older versions.
        let accepted = words.next().map_or(Ok(0), str::parse).ok()?;
        Some(Self { seq, hash, accepted })
    }

    fn text(&self) -> String {
        let Self { seq, hash, accepted } = self;
        format!("{seq:>MAX_DIGITS$} {} {accepted:>MAX_DIGITS$}", hex::encode(hash))
    }

    /// The newest of `recorded` that is [missing](Self::is_in) in this log.
    pub(super) fn lost(
        recorded: &[Self],
        connection: &Connection,
    ) -> rusqlite::Result<Option<Self>> {
        let mut lost = None;
        for head in recorded {
            if !head.is_in(connection)? {
                lost = lost.max(Some(*head));
            }
        }
        Ok(lost)
    }

    /// Whether the log contains the entry, has purged it, or its loss was accepted.
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

/// What a record in the lock file is valid for: one database file, until the next boot.
#[derive(Debug)]
pub(super) struct BootScope(String);

impl BootScope {
    /// `None` if the system has no boot id.
    pub(super) fn of(database: Option<FileId>) -> Option<Self> {
        static BOOT: LazyLock<Option<String>> = LazyLock::new(|| {
            let boot = fs::read_to_string(BOOT_ID).ok()?;
            Some(boot.trim().to_owned()).filter(|boot| !boot.is_empty())
        });
        Some(Self(format!("{} {:?}", BOOT.as_deref()?, database?)))
    }

    /// The lock file's content that records `head`.
    pub(super) fn record(&self, head: &HeadRecord) -> String {
        format!("{} {}\n", head.text(), self.0)
    }
}

impl Files {
    /// The records in both places.
    pub(super) fn recorded_heads(&self) -> io::Result<Vec<HeadRecord>> {
        Ok(self.read_head()?.into_iter().chain(self.read_head_since_boot()).collect())
    }

    /// The record in the lock file, if it is for this database and boot. Read twice, as a
    /// writer may be active.
    fn read_head_since_boot(&self) -> Option<HeadRecord> {
        let BootScope(scope) = BootScope::of(self.database_id())?;
        let read = || {
            let mut text = String::new();
            let file = File::open(&self.lock).ok()?;
            file.take(MAX_LEN).read_to_string(&mut text).ok().map(|_| text)
        };
        let text = read().filter(|text| read().as_ref() == Some(text))?;
        // The record overwritten by this one may have been longer.
        let record = text.lines().next()?;
        let (head, scope_text) = record.split_at_checked(TEXT_LEN)?;
        HeadRecord::parse(head).filter(|_| scope_text.trim() == scope)
    }

    /// The record in the `-head` file; `None` if it is missing or unreadable: it is not synced,
    /// and a power failure may damage it.
    pub(super) fn read_head(&self) -> io::Result<Option<HeadRecord>> {
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
        Ok(std::str::from_utf8(&bytes).ok().and_then(HeadRecord::parse))
    }

    /// Writes the record atomically. The caller holds the write lock.
    pub(super) fn write_head(&self, head: &HeadRecord) -> io::Result<()> {
        let draft = with_suffix(&self.head, "-new");
        let _ = fs::remove_file(&draft);
        let mut options = OpenOptions::new();
        let mut file = private(options.write(true).create_new(true)).open(&draft)?;
        belong_with(&file, &self.db);
        writeln!(file, "{}", head.text().trim_start())?;
        fs::rename(&draft, &self.head)
    }

    /// Deletes both records, which belong to a log that is gone.
    pub(super) fn forget(&self, lock: &WriteLock) -> io::Result<()> {
        lock.write("")?;
        match fs::remove_file(&self.head) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Syncs the write-ahead log. Content checkpointed before is durable already: SQLite syncs
    /// the database before it restarts the log.
    pub(super) fn sync_wal(&self) -> io::Result<()> {
        // SQLite's POSIX locks are on the database and the `-shm` file, so closing this drops
        // none.
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
    fn head_record_is_read_exactly_or_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::locate(&folder.path().join("a.db")).unwrap();
        assert_eq!(files.read_head().unwrap(), None);
        for seq in [7, 1 << 47] {
            let kept = HeadRecord { seq, hash: [9; 32], accepted: seq - 7 };
            assert_eq!(kept.text().len(), TEXT_LEN);
            files.write_head(&kept).unwrap();
            assert_eq!(files.read_head().unwrap(), Some(kept));
        }
        let older = format!("7 {}", "09".repeat(32));
        fs::write(&files.head, older).unwrap();
        assert_eq!(
            files.read_head().unwrap(),
            Some(HeadRecord { seq: 7, hash: [9; 32], accepted: 0 })
        );
        let zeros = vec![0; 4096];
        for half in [&b""[..], b"7", b"7 ", b"7 0909", b"x 09", b"\xff", &zeros] {
            fs::write(&files.head, half).unwrap();
            assert_eq!(files.read_head().unwrap(), None);
        }
        let lock = WriteLock::open(&files.lock).unwrap();
        files.forget(&lock).unwrap();
        files.forget(&lock).unwrap();
    }
}
