//! What keeps the log's files in order, on the store's own thread.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::files::{Files, Held};
use super::super::ledger::{Ledger, Mark};
use super::super::{StoreError, schema};
use super::Shared;

/// How often the newest entry is noted at most, however much is written: the write-ahead
/// log is synced each time.
const NOTE_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// Brings the index nearer to the log, and the log out of the write-ahead
    /// log: whoever does the one does the other, so that of many processes one
    /// at a time does.
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
        match wal.and_then(|wal| wal.copied_back(&files)) {
            Ok(wal) if wal.is_too_long() => self.checkpoint_alone(&files),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the audit log's checkpoint failed"),
        }
        let noted = self.queue().noted;
        if noted.is_none_or(|noted| noted.elapsed() >= NOTE_EVERY) {
            self.note(&files, &mark);
        }
    }

    /// Notes the newest entry beside the log, once all of the write-ahead log was looked at.
    pub(super) fn note_newest(&self) {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, mark, walk) = (ledger.files().clone(), ledger.mark(), ledger.walk());
        drop(ledger);
        if walk.is_some_and(|walk| !walk.is_whole()) {
            self.look_at_all();
        }
        self.note(&files, &mark);
    }

    /// Under the lock nobody but a stranger writes meanwhile.
    fn look_at_all(&self) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(_held)) = ledger.lock().take(self.options.patience) {
            ledger.look_at_all();
        }
    }

    /// Not under the lock: nobody waits for the disk.
    fn note(&self, files: &Files, mark: &Mark) {
        self.queue().noted = Some(Instant::now());
        if synced(files) {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(Some(_held)) = ledger.lock().take(self.options.patience) {
                self.standing.note_key(ledger.keep(mark));
            }
        }
    }

    /// Under the lock nobody adds to the write-ahead log meanwhile, so that it
    /// can start over. Most of the work was done before.
    fn checkpoint_alone(&self, files: &Files) {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(_held)) = ledger.lock().take(self.options.patience)
            && let Err(error) = schema::checkpoint(files)
        {
            tracing::warn!(%error, "the audit log's checkpoint failed");
        }
    }

    /// Notes the newest entry once more at the end. The caller holds the lock.
    pub(super) fn note_end(&self, ledger: &mut Ledger) {
        let mark = ledger.mark();
        if synced(ledger.files()) {
            self.standing.note_key(ledger.keep(&mark));
        }
    }
}

/// Whether what is in the write-ahead log is on the disk.
fn synced(files: &Files) -> bool {
    let synced = files.sync_wal();
    if let Err(error) = &synced {
        tracing::warn!(%error, "the audit log's `-wal` cannot be synced");
    }
    synced.is_ok()
}
