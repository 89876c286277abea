//! Whether rows can be written: what came of the last commit, and a try where that
//! says too little.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::super::ledger::Ledger;
use super::super::read::Reader;
use super::super::{Options, StoreError};
use super::{Shared, Writer};

/// How long what came of a commit stands for what would come of another.
const FRESH: Duration = Duration::from_secs(1);

/// How long a try waits for others that write: who asks wants an answer soon.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pauses between two looks at who has the ledger.
const PAUSE: Duration = Duration::from_millis(1);

/// What came of the last try to write, and what is wrong with the key: rows are written
/// without a look at its file.
#[derive(Debug, Default)]
pub(super) struct Standing {
    last: Mutex<Option<(Instant, Result<(), StoreError>)>>,
    key: Mutex<Option<StoreError>>,
}

impl Standing {
    /// Notes what came of a try.
    pub(super) fn note(&self, came: Result<(), StoreError>) {
        *self.last() = Some((Instant::now(), came));
    }

    /// Notes what came of a look at the key.
    pub(super) fn note_key(&self, came: Result<(), StoreError>) {
        *self.key() = came.err();
    }

    fn key(&self) -> MutexGuard<'_, Option<StoreError>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Result<(), StoreError>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of the last try, where it is not older than `fresh`; `None`, too, where
    /// something was wrong with the key: it is looked at again.
    fn within(&self, fresh: Duration) -> Option<Result<(), StoreError>> {
        if self.key().is_some() {
            return None;
        }
        let last = self.last();
        let (_, came) = last.as_ref().filter(|(at, _)| at.elapsed() < fresh)?;
        Some(came.clone())
    }

    fn has_failed(&self) -> bool {
        matches!(&*self.last(), Some((_, Err(_))))
    }
}

impl Writer {
    /// See [`Store::check`](super::super::Store::check).
    pub(in crate::store) fn check(&self) -> Result<(), StoreError> {
        self.shared.check(FRESH)
    }

    /// See [`Ledger::look_every`](super::super::ledger::Ledger::look_every).
    #[cfg(test)]
    pub(in crate::store) fn look_every(&self, time: Duration) {
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner).look_every(time);
    }

    /// What is done every two seconds where rows are written.
    #[cfg(test)]
    pub(in crate::store) fn look_and_note(&self) {
        self.shared.note_newest();
    }

    /// Sets the clock so many hours ahead.
    #[cfg(test)]
    pub(in crate::store) fn set_clock(&self, hours: i64) {
        let mut ledger = self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.set_clock(hours * 3_600_000_000);
    }
}

impl Shared {
    fn check(&self, fresh: Duration) -> Result<(), StoreError> {
        if let Some(came) = self.standing.within(fresh) {
            return came;
        }
        let Some(mut ledger) = self.ledger_within(PATIENCE) else {
            return Err(StoreError::busy(&self.path, PATIENCE));
        };
        // Somebody else may have tried meanwhile.
        if let Some(came) = self.standing.within(fresh) {
            return came;
        }
        let came = self.try_to_write(&mut ledger);
        self.standing.note(came.clone());
        came
    }

    /// Does what a row does. Where the last one failed that is to write as well: a full
    /// disk does not show before.
    fn try_to_write(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        self.mend(ledger, PATIENCE)?;
        ledger.set_patience(PATIENCE);
        if self.standing.has_failed() {
            ledger.transact(PATIENCE, |transaction| transaction.put_trial())?;
            ledger.transact(PATIENCE, |transaction| transaction.remove_trial())?;
        }
        let key = ledger.transact(PATIENCE, |transaction| transaction.keep_key());
        self.standing.note_key(key.clone());
        key?;
        // By another connection, which remembers no page.
        Reader::open(&self.path)?.newest_id().map(drop)
    }

    /// Opens the log again, where it is broken. One that was cut short is left alone:
    /// what is in its write-ahead log does not fit to what is left of it. So is one whose
    /// index was removed: it is shared as long as this program has it open anywhere.
    pub(super) fn mend(&self, ledger: &mut Ledger, patience: Duration) -> Result<(), StoreError> {
        if ledger.is_broken() {
            if let Err(error) = ledger.check_files()
                && matches!(error, StoreError::Cut { .. } | StoreError::Torn { .. })
            {
                return Err(error);
            }
            let options = Options { patience, ..self.options.clone() };
            *ledger = Ledger::open(&self.path, &options, Some(&*ledger))?;
            tracing::warn!(path = %self.path.display(), "the audit log was opened again");
            self.keys.store(Arc::clone(ledger.keys()));
        }
        Ok(())
    }

    fn ledger_within(&self, patience: Duration) -> Option<MutexGuard<'_, Ledger>> {
        let began = Instant::now();
        loop {
            match self.ledger.try_lock() {
                Ok(ledger) => return Some(ledger),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if began.elapsed() >= patience => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{completion, draft, holds, open, record, rows};

    const ALWAYS: Duration = Duration::ZERO;

    #[test]
    fn a_full_disk_shows_until_there_is_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let store = open(&path);
        let shared = &store.writer.shared;
        let ledger = || shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        record(&store, draft("a")).unwrap();
        assert_eq!(shared.check(ALWAYS), Ok(()));
        ledger().grow_to(1);
        // Nobody has found out yet, and to look changes nothing.
        assert_eq!(shared.check(ALWAYS), Ok(()));
        let refused = std::iter::repeat_with(|| record(&store, draft("b")))
            .take(1_000)
            .find_map(Result::err)
            .expect("it is full at some time");
        let written = rows(&path);
        assert!(refused.to_string().contains("full"), "{refused}");
        assert_eq!(shared.check(FRESH), Err(refused.clone()), "as the last row fared");
        assert_eq!(shared.check(ALWAYS), Err(refused.clone()), "and as one would now");
        assert_eq!(shared.check(ALWAYS), Err(refused), "still");
        ledger().grow_to(u32::MAX - 1);
        assert_eq!(shared.check(ALWAYS), Ok(()), "nobody has to be refused for that");
        assert_eq!(rows(&path), written, "a look leaves no row");
        record(&store, draft("c")).unwrap();
    }

    #[test]
    fn a_log_that_cannot_be_read_is_not_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let store = open(&path);
        record(&store, draft("a")).unwrap();
        assert_eq!(store.writer.shared.check(ALWAYS), Ok(()));
        let outsider = rusqlite::Connection::open(&path).unwrap();
        let sql = "PRAGMA writable_schema = ON;
            UPDATE sqlite_master SET rootpage = 99 WHERE name = 'entry'";
        outsider.execute_batch(sql).unwrap();
        assert!(store.writer.shared.check(ALWAYS).is_err());
    }

    #[test]
    fn a_key_that_is_gone_is_put_back_and_another_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("audit.db"), folder.path().join("audit.key"));
        let store = open(&path);
        record(&store, draft("a")).unwrap();
        let secret = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        record(&store, draft("b")).unwrap();
        assert_eq!(store.writer.shared.check(ALWAYS), Ok(()));
        assert_eq!(std::fs::read(&key).unwrap(), secret);
        for other in [&[1; 32][..], b"short"] {
            std::fs::write(&key, other).unwrap();
            let wrong = store.writer.shared.check(ALWAYS).unwrap_err().to_string();
            assert!(wrong.contains("audit.key"), "{wrong}");
            assert_eq!(std::fs::read(&key).unwrap(), other);
        }
        // What is written meanwhile goes on with the key that the log was begun with.
        record(&store, draft("c")).unwrap();
        std::fs::remove_file(&key).unwrap();
        drop(store);
        assert_eq!(std::fs::read(&key).unwrap(), secret, "at the end, too");
        assert!(holds(&path));
        assert_eq!(rows(&path), 3);
    }

    #[test]
    fn another_key_shows_while_rows_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("audit.db"), folder.path().join("audit.key"));
        let store = open(&path);
        record(&store, draft("a")).unwrap();
        let secret = std::fs::read(&key).unwrap();
        std::fs::write(&key, [1; 32]).unwrap();
        store.writer.look_and_note();
        record(&store, draft("b")).unwrap();
        let wrong = store.check().unwrap_err().to_string();
        assert!(wrong.contains("audit.key"), "{wrong}");
        std::fs::write(&key, secret).unwrap();
        assert_eq!(store.check(), Ok(()), "it is looked at again");
    }

    /// Nothing that is in the file runs; were it to, no row would be taken for written.
    #[test]
    fn a_trigger_in_the_file_makes_no_row_vanish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let store = open(&path);
        let outsider = rusqlite::Connection::open(&path).unwrap();
        let trigger = "CREATE TRIGGER t BEFORE INSERT ON entry BEGIN SELECT raise(ignore); END";
        outsider.execute_batch(trigger).unwrap();
        let id = record(&store, draft("a")).unwrap();
        store.complete(&id, completion());
        record(&store, draft("b")).unwrap();
        assert_eq!(rows(&path), 3);
        let shared = &store.writer.shared;
        shared.ledger.lock().unwrap().run_triggers();
        record(&store, draft("c")).unwrap_err();
        assert_eq!(rows(&path), 3);
        record(&store, draft("d")).unwrap();
        assert_eq!(rows(&path), 4, "opened again, it runs none");
    }

    #[test]
    fn a_log_that_another_program_has_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let store = open(&path);
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert!(store.writer.shared.check(ALWAYS).is_err());
        assert!(store.check().is_err(), "for a second it stands");
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(store.writer.shared.check(ALWAYS), Ok(()));
        assert_eq!(store.check(), Ok(()));
    }
}
