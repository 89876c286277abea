//! Whether rows can be written: the result of the last commit, or of a trial write if that
//! is too old.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::super::ledger::Ledger;
use super::super::read::Reader;
use super::super::{Options, StoreError};
use super::{Shared, Writer};

/// How long the result of the last commit is reported as the present one.
const FRESH: Duration = Duration::from_secs(1);

/// How long a trial write waits for other writers.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval of polling for the ledger.
const PAUSE: Duration = Duration::from_millis(1);

/// Result of the last write, and of the last check of the key file, which writing does not
/// read.
#[derive(Debug, Default)]
pub(super) struct WriteHealth {
    last: Mutex<Option<(Instant, Result<(), StoreError>)>>,
    key: Mutex<Option<StoreError>>,
}

impl WriteHealth {
    /// Sets the result of a write.
    pub(super) fn set_last(&self, result: Result<(), StoreError>) {
        *self.last() = Some((Instant::now(), result));
    }

    /// Sets the result of a check of the key.
    pub(super) fn set_key(&self, result: Result<(), StoreError>) {
        *self.key() = result.err();
    }

    fn key(&self) -> MutexGuard<'_, Option<StoreError>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Result<(), StoreError>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last result, if it is not older than `fresh`. `None` also if the key was wrong, to
    /// check it again.
    fn within(&self, fresh: Duration) -> Option<Result<(), StoreError>> {
        if self.key().is_some() {
            return None;
        }
        let last = self.last();
        let (_, result) = last.as_ref().filter(|(at, _)| at.elapsed() < fresh)?;
        Some(result.clone())
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

    /// See [`Ledger::set_recheck_interval`](super::super::ledger::Ledger::set_recheck_interval).
    #[cfg(test)]
    pub(in crate::store) fn set_recheck_interval(&self, time: Duration) {
        self.shared
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set_recheck_interval(time);
    }

    /// Runs the periodic verification and recording of the head at once.
    #[cfg(test)]
    pub(in crate::store) fn verify_and_record_head(&self) {
        self.shared.verify_and_record();
    }

    /// Shifts the clock by `hours`.
    #[cfg(test)]
    pub(in crate::store) fn set_clock(&self, hours: i64) {
        let mut ledger = self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.set_clock(hours * 3_600_000_000);
    }
}

impl Shared {
    fn check(&self, fresh: Duration) -> Result<(), StoreError> {
        if let Some(result) = self.health.within(fresh) {
            return result;
        }
        let Some(mut ledger) = self.ledger_within(LOCK_TIMEOUT) else {
            return Err(StoreError::busy(&self.path, LOCK_TIMEOUT));
        };
        // Another caller may have tried meanwhile.
        if let Some(result) = self.health.within(fresh) {
            return result;
        }
        let result = self.try_to_write(&mut ledger);
        self.health.set_last(result.clone());
        result
    }

    /// Does what recording a row does. After a failure also writes test data: otherwise a full
    /// disk would go unnoticed.
    fn try_to_write(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        self.mend(ledger, LOCK_TIMEOUT)?;
        ledger.set_busy_timeout(LOCK_TIMEOUT);
        if self.health.has_failed() {
            ledger.transact(LOCK_TIMEOUT, |transaction| transaction.put_trial())?;
            ledger.transact(LOCK_TIMEOUT, |transaction| transaction.remove_trial())?;
        }
        let key = ledger.transact(LOCK_TIMEOUT, |transaction| transaction.restore_key());
        self.health.set_key(key.clone());
        key?;
        // Through a new connection, which has no cached pages.
        Reader::open(&self.path)?.newest_id().map(drop)
    }

    /// Reopens a broken log. Not if it was truncated: its write-ahead log does not match what
    /// is left. Nor if its shared index was removed: this process may have it open elsewhere.
    pub(super) fn mend(&self, ledger: &mut Ledger, timeout: Duration) -> Result<(), StoreError> {
        if ledger.is_broken() {
            if let Err(error) = ledger.check_files()
                && matches!(error, StoreError::Cut { .. } | StoreError::Torn { .. })
            {
                return Err(error);
            }
            let options = Options { lock_timeout: timeout, ..self.options.clone() };
            *ledger = Ledger::open(&self.path, &options, Some(&*ledger))?;
            tracing::warn!(path = %self.path.display(), "the audit log was opened again");
            self.keys.store(Arc::clone(ledger.keys()));
        }
        Ok(())
    }

    fn ledger_within(&self, timeout: Duration) -> Option<MutexGuard<'_, Ledger>> {
        let began = Instant::now();
        loop {
            match self.ledger.try_lock() {
                Ok(ledger) => return Some(ledger),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if began.elapsed() >= timeout => return None,
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
    fn full_disk_is_reported_until_space_is_free() {
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
    fn missing_key_is_restored_and_a_different_one_is_kept() {
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
        store.writer.verify_and_record_head();
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
