//! Maintenance of the log's files, on the store's own thread.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::files::{Files, Held};
use super::super::ledger::{HeadSnapshot, Ledger};
use super::super::{StoreError, schema};
use super::Shared;

/// Minimum interval of recording the head, which syncs the write-ahead log.
const MIN_RECORD_INTERVAL: Duration = Duration::from_secs(1);

impl Shared {
    /// Indexes a batch and checkpoints. Both under the same lock, so that only one of several
    /// processes does it.
    pub(super) fn index(&self, mut ledger: MutexGuard<'_, Ledger>, held: Held) {
        let indexed = ledger.begin().map_err(StoreError::from).and_then(|mut transaction| {
            transaction.index()?;
            transaction.commit()
        });
        let behind = ledger.wants_indexing();
        let (wal, files, head) = (ledger.wal(), ledger.files().clone(), ledger.head_snapshot());
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
        let recorded_at = self.queue().recorded_at;
        if recorded_at.is_none_or(|at| at.elapsed() >= MIN_RECORD_INTERVAL) {
            self.record_head(&files, &head);
        }
    }

    /// Verifies the write-ahead log and records the head.
    pub(super) fn verify_and_record(&self) {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, head, scan) =
            (ledger.files().clone(), ledger.head_snapshot(), ledger.wal_scan());
        drop(ledger);
        if scan.is_some_and(|scan| !scan.is_whole()) {
            self.verify_wal();
        }
        self.record_head(&files, &head);
    }

    /// Verifies the write-ahead log again, under the write lock, so that no other gate writes
    /// meanwhile.
    fn verify_wal(&self) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(_held)) = ledger.lock().take(self.options.lock_timeout) {
            ledger.verify_wal();
        }
    }

    /// Records `head`. Syncs the write-ahead log first, without the write lock, so that nobody
    /// waits for the disk.
    fn record_head(&self, files: &Files, head: &HeadSnapshot) {
        self.queue().recorded_at = Some(Instant::now());
        if synced(files) {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(Some(_held)) = ledger.lock().take(self.options.lock_timeout) {
                self.health.set_key(ledger.record_head(head));
            }
        }
    }

    /// Checkpoints under the write lock: the write-ahead log can only restart while nobody
    /// appends to it. Most of the work was done before.
    fn checkpoint_alone(&self, files: &Files) {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(_held)) = ledger.lock().take(self.options.lock_timeout)
            && let Err(error) = schema::checkpoint(files)
        {
            tracing::warn!(%error, "the audit log's checkpoint failed");
        }
    }

    /// Records the head once more when closing. The caller holds the write lock.
    pub(super) fn record_final_head(&self, ledger: &mut Ledger) {
        let head = ledger.head_snapshot();
        if synced(ledger.files()) {
            self.health.set_key(ledger.record_head(&head));
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
