//! What keeps the log's files in order, on the store's own thread.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::files::{Files, Held};
use super::super::ledger::{Ledger, Mark};
use super::super::{StoreError, schema};
use super::Shared;

/// Minimum interval of recording the head, which syncs the write-ahead log.
const NOTE_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// Indexes a batch and checkpoints. Both under the same lock, so that only one of several
    /// processes does it.
    pub(super) fn index(&self, mut ledger: MutexGuard<'_, Ledger>, held: Held) {
        let indexed = ledger.begin().map_err(StoreError::from).and_then(|mut transaction| {
            transaction.index()?;
            transaction.commit()
        });
        let behind = ledger.wants_indexing();
        let (wal, files, mark) = (ledger.wal(), ledger.files().clone(), ledger.mark());
        drop(held);
        drop(ledger);
        if let Err(error) = indexed {
            return tracing::error!(%error, "the audit log's index could not be brought up to date");
        }
        if behind {
            self.queue().urgent = true;
        }
        match wal.and_then(|wal| wal.after_checkpoint(&files)) {
            Ok(wal) if wal.is_too_long() => self.checkpoint_alone(&files),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the audit log's checkpoint failed"),
        }
        let noted = self.queue().noted;
        if noted.is_none_or(|noted| noted.elapsed() >= NOTE_EVERY) {
            self.note(&files, &mark);
        }
    }

    /// Verifies the write-ahead log and records the head.
    pub(super) fn note_newest(&self) {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, mark, scan) = (ledger.files().clone(), ledger.mark(), ledger.wal_scan());
        drop(ledger);
        if scan.is_some_and(|scan| !scan.is_whole()) {
            self.verify_wal();
        }
        self.note(&files, &mark);
    }

    /// The write lock keeps other gates from writing meanwhile.
    fn verify_wal(&self) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(_held)) = ledger.lock().take(self.options.lock_timeout) {
            ledger.verify_wal();
        }
    }

    /// Without the write lock, so that nobody waits for the disk.
    fn note(&self, files: &Files, mark: &Mark) {
        self.queue().noted = Some(Instant::now());
        if synced(files) {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(Some(_held)) = ledger.lock().take(self.options.lock_timeout) {
                self.health.note_key(ledger.keep(mark));
            }
        }
    }

    /// The write lock keeps the write-ahead log from growing meanwhile, so that it can restart.
    /// Most of the work was done before.
    fn checkpoint_alone(&self, files: &Files) {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(_held)) = ledger.lock().take(self.options.lock_timeout)
            && let Err(error) = schema::checkpoint(files)
        {
            tracing::warn!(%error, "the audit log's checkpoint failed");
        }
    }

    /// Records the head once more when closing. The caller holds the write lock.
    pub(super) fn note_end(&self, ledger: &mut Ledger) {
        let mark = ledger.mark();
        if synced(ledger.files()) {
            self.health.note_key(ledger.keep(&mark));
        }
    }
}

/// Whether the write-ahead log could be synced.
fn synced(files: &Files) -> bool {
    let synced = files.sync_wal();
    if let Err(error) = &synced {
        tracing::warn!(%error, "the audit log's `-wal` cannot be synced");
    }
    synced.is_ok()
}
