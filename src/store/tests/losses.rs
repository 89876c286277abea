//! Files that are removed, replaced, cut short or lost their end.

use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::{completion, draft, holds, open, record, rows, store};
use crate::store::audit::Draft;
use crate::store::purge::{Proof, purge};
use crate::store::read::Reader;
use crate::store::verify::Broken;
use crate::store::{Options, Store, StoreError, accept_loss};

#[cfg(unix)]
#[test]
fn an_unlinked_log_refuses_one_row_and_recovers() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let first = record(&store, draft("a")).unwrap();
    for name in ["audit.db", "audit.db-wal", "audit.db-shm"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let error = record(&store, draft("b")).unwrap_err();
    assert!(matches!(error, StoreError::Lost { .. }), "{error}");
    record(&store, draft("c")).unwrap();
    // The new log starts with an entry that says that it was recreated.
    assert_eq!(rows(&path), 2);
    // The result of a lost row must not be attached to another.
    store.complete(&first, completion());
    store.close();
    assert_eq!(rows(&path), 2);
}

/// As by `copytruncate` of logrotate.
#[cfg(unix)]
#[test]
fn a_log_that_is_cut_short_takes_no_row_that_is_lost() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    for _ in 0..3 {
        record(&store, draft("a")).unwrap();
    }
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    for _ in 0..3 {
        let error = record(&store, draft("b")).unwrap_err();
        assert!(matches!(error, StoreError::Cut { .. }), "{error}");
        // SQLite removes the write-ahead log of what it finds empty.
        assert!(Reader::open(&path).is_err());
    }
    for name in ["audit.db", "audit.db-wal", "audit.db-shm"] {
        let _ = fs::rename(folder.path().join(name), folder.path().join(format!("{name}.away")));
    }
    record(&store, draft("c")).unwrap();
    assert_eq!(rows(&path), 2, "a note that it is a new one, and the row");
    assert!(holds(&path));
}

#[cfg(unix)]
#[test]
fn a_replaced_log_is_noticed() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    record(&store, draft("a")).unwrap();
    let other = folder.path().join("other.db");
    drop(open(&other));
    fs::rename(&other, &path).unwrap();
    assert!(matches!(record(&store, draft("b")), Err(StoreError::Lost { .. })));
}

/// Records rows until one is refused for `why`: at most one fails, and none is written into
/// what is lost.
#[cfg(unix)]
fn refused_for_good(store: &Store, why: impl Fn(&StoreError) -> bool) {
    for _ in 0..3 {
        let error = record(store, draft("b")).unwrap_err();
        assert!(why(&error), "{error}");
        assert!(store.check().is_err());
    }
}

#[cfg(unix)]
#[test]
fn a_write_ahead_log_that_is_cut_short_takes_no_row_that_is_lost() {
    for len in [0, 32, 4096, 20_000] {
        let (folder, store) = store();
        let (path, wal) = (folder.path().join("audit.db"), folder.path().join("audit.db-wal"));
        for _ in 0..9 {
            record(&store, draft("a")).unwrap();
        }
        let whole = fs::read(&wal).unwrap();
        assert!(whole.len() > 20_000);
        fs::File::options().write(true).open(&wal).unwrap().set_len(len).unwrap();
        refused_for_good(&store, |error| matches!(error, StoreError::Cut { .. }));
        // Opening the log meanwhile fails, too.
        Store::open(&path, &Options::default()).unwrap_err();
        fs::write(&wal, whole).unwrap();
        record(&store, draft("c")).unwrap();
        drop(store);
        assert_eq!(rows(&path), 10);
        assert!(holds(&path));
    }
}

/// To reclaim space after a purge. A truncation afterwards must still be noticed.
#[cfg(unix)]
#[test]
fn a_log_that_is_vacuumed_is_whole() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    for n in 0..300 {
        record(&store, Draft { reason: format!("{n} ").repeat(1000), ..draft("a") }).unwrap();
    }
    let outsider = rusqlite::Connection::open(&path).unwrap();
    let checkpoint = || {
        let done = outsider.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        assert_eq!(done, Ok(0_i64));
        fs::metadata(&path).unwrap().len()
    };
    let before = checkpoint();
    record(&store, draft("b")).unwrap();
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    purge(&path, (tomorrow, Proof::Required), &Options::default(), |_| ()).unwrap();
    outsider.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(())).unwrap();
    for _ in 0..2 {
        outsider.execute_batch("VACUUM").unwrap();
        // The rewritten pages are in the write-ahead log; the file has its old length.
        let other = open(&path);
        assert!(checkpoint() < before / 2);
        for store in [&store, &other, &store] {
            record(store, draft("c")).unwrap();
        }
    }
    assert!(holds(&path));
    checkpoint();
    record(&store, draft("c")).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    refused_for_good(&store, |error| matches!(error, StoreError::Cut { .. }));
}

/// The restarted log is shorter than its file.
#[test]
fn a_write_ahead_log_that_starts_over_is_whole() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    record(&store, draft("a")).unwrap();
    let outsider = rusqlite::Connection::open(&path).unwrap();
    let checkpoint = |mode: &str| {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        outsider.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    for mode in ["RESTART", "TRUNCATE", "FULL", "PASSIVE", "TRUNCATE", "RESTART"] {
        assert_eq!(checkpoint(mode), 0);
        record(&store, draft("b")).unwrap();
        record(&store, draft("c")).unwrap();
    }
    store.close();
    assert_eq!(rows(&path), 13);
}

#[cfg(unix)]
#[test]
fn content_of_an_unlinked_write_ahead_log_is_saved() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let reader = Reader::open(&path).unwrap();
    for _ in 0..5 {
        record(&store, draft("a")).unwrap();
    }
    fs::remove_file(folder.path().join("audit.db-wal")).unwrap();
    assert!(matches!(record(&store, draft("b")), Err(StoreError::Lost { .. })));
    record(&store, draft("c")).unwrap();
    drop(reader);
    drop(store);
    assert_eq!(rows(&path), 6);
    assert!(holds(&path));
}

#[cfg(unix)]
#[test]
fn log_without_its_shm_file_is_not_written_by_open_processes() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let reader = Reader::open(&path).unwrap();
    record(&store, draft("a")).unwrap();
    fs::remove_file(folder.path().join("audit.db-shm")).unwrap();
    refused_for_good(&store, |error| matches!(error, StoreError::Torn { .. }));
    drop(reader);
    drop(store);
    record(&open(&path), draft("c")).unwrap();
    assert_eq!(rows(&path), 2);
    assert!(holds(&path));
}

/// Damage to a closed log, and the sequence number of its last entry then.
type Damage = (&'static str, fn(&Path), i64);

/// Removes all but the oldest three rows.
pub(super) fn forget_two(path: &Path) {
    let outsider = rusqlite::Connection::open(path).unwrap();
    assert!(outsider.execute("DELETE FROM entry WHERE seq > 3", []).unwrap() >= 2);
}

const DAMAGES: [Damage; 3] = [
    ("rows are removed", forget_two, 3),
    ("the database is emptied", |path| fs::write(path, "").unwrap(), 0),
    (
        "the newest row is another",
        |path| {
            let outsider = rusqlite::Connection::open(path).unwrap();
            outsider.execute("UPDATE entry SET hash = zeroblob(32) WHERE seq = 5", []).unwrap();
        },
        5,
    ),
];

#[test]
fn a_log_that_has_lost_its_end_is_refused_until_that_is_accepted() {
    for (what, damage, left) in DAMAGES {
        let (folder, store) = store();
        let path = folder.path().join("audit.db");
        for _ in 0..5 {
            record(&store, draft("a")).unwrap();
        }
        drop(store);
        assert_eq!(accept_loss(&path, &Options::default()), Ok(None));
        damage(&path);
        for _ in 0..2 {
            let error = Store::open(&path, &Options::default()).unwrap_err();
            let expected = StoreError::EntriesLost { path: path.clone(), last: left, recorded: 5 };
            assert_eq!(error, expected, "{what}");
            assert!(error.to_string().contains("audit accept-loss"), "{error}");
        }
        assert_eq!(accept_loss(&path, &Options::default()), Ok(Some(5)), "{what}");
        assert_eq!(accept_loss(&path, &Options::default()), Ok(None), "{what}");
        let store = open(&path);
        record(&store, draft("b")).unwrap();
        store.close();
        assert_eq!(rows(&path), left + 2, "{what}: an entry that says so, and the row");
        assert_eq!(holds(&path), left != 5, "{what}");
    }
}

#[test]
fn a_log_that_loses_its_end_while_in_use_is_refused_until_that_is_accepted() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    for _ in 0..5 {
        record(&store, draft("a")).unwrap();
    }
    let other = open(&path);
    record(&other, draft("a")).unwrap();
    forget_two(&path);
    for store in [&store, &other] {
        for _ in 0..2 {
            let error = record(store, draft("b")).unwrap_err();
            assert!(matches!(error, StoreError::EntriesLost { last: 3, .. }), "{error}");
            assert!(store.check().is_err());
        }
    }
    let error = Store::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::EntriesLost { last: 3, recorded: 6, .. }), "{error}");
    accept_loss(&path, &Options::default()).unwrap();
    for store in [&store, &other] {
        record(store, draft("b")).unwrap();
    }
    assert_eq!(rows(&path), 3 + 1 + 2);
    assert!(holds(&path));
}

/// Later entries reuse the sequence numbers of lost ones.
#[test]
fn a_loss_that_was_accepted_hides_no_other() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    for _ in 0..9 {
        record(&store, draft("a")).unwrap();
    }
    drop(store);
    forget_two(&path);
    assert_eq!(accept_loss(&path, &Options::default()), Ok(Some(9)));
    for _ in 0..2 {
        record(&open(&path), draft("b")).unwrap();
    }
    assert!(holds(&path));
    let outsider = rusqlite::Connection::open(&path).unwrap();
    outsider.execute("DELETE FROM entry WHERE seq > 5", []).unwrap();
    drop(outsider);
    let error = Store::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::EntriesLost { last: 5, recorded: 6, .. }), "{error}");
    assert_eq!(accept_loss(&path, &Options::default()), Ok(Some(6)));
    record(&open(&path), draft("c")).unwrap();
    assert!(holds(&path));
}

/// A process that had not noticed the loss goes on, too.
#[test]
fn a_loss_that_was_accepted_refuses_no_row() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    for _ in 0..5 {
        record(&store, draft("a")).unwrap();
    }
    drop(open(&path));
    forget_two(&path);
    assert_eq!(accept_loss(&path, &Options::default()), Ok(Some(5)));
    record(&store, draft("b")).unwrap();
    assert!(holds(&path));
}

#[test]
fn verify_says_that_the_end_is_lost() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    for _ in 0..5 {
        record(&store, draft("a")).unwrap();
    }
    drop(store);
    assert!(holds(&path));
    forget_two(&path);
    let found = Reader::open(&path).unwrap().verify(None, |_, _| ()).unwrap();
    assert_eq!(found.broken, Some(Broken::EntriesLost { last: 3, recorded: 5 }));
}

/// As documented: moving it away starts another.
#[test]
fn a_log_that_is_moved_away_makes_place_for_another() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    for _ in 0..5 {
        record(&store, draft("a")).unwrap();
    }
    drop(store);
    fs::rename(&path, folder.path().join("away.db")).unwrap();
    let store = open(&path);
    record(&store, draft("b")).unwrap();
    drop(store);
    assert_eq!(rows(&path), 2, "a note that it is a new one, and the row");
    assert!(holds(&path));
    drop(open(&path));
}

/// A gate that was killed has recorded no head since, but one that noticed the loss has.
#[cfg(unix)]
#[test]
fn loss_seen_by_a_running_gate_is_still_refused_after_a_restart() {
    let (folder, store) = store();
    let (path, wal) = (folder.path().join("audit.db"), folder.path().join("audit.db-wal"));
    for _ in 0..9 {
        record(&store, draft("a")).unwrap();
    }
    fs::File::options().write(true).open(&wal).unwrap().set_len(20_000).unwrap();
    refused_for_good(&store, |error| matches!(error, StoreError::Cut { .. }));
    drop(store);
    let refused = Store::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(refused, StoreError::EntriesLost { recorded: 9, .. }), "{refused}");
    assert_eq!(accept_loss(&path, &Options::default()), Ok(Some(9)));
    record(&open(&path), draft("c")).unwrap();
    assert!(holds(&path));
}

/// The files beside it belong to the previous log, which is saved.
#[cfg(unix)]
#[test]
fn a_log_that_takes_the_place_of_another_in_use_is_not_mixed_with_it() {
    let (folder, store) = store();
    let (path, away) = (folder.path().join("audit.db"), folder.path().join("away.db"));
    let copy = folder.path().join("copy.db");
    record(&store, draft("a")).unwrap();
    drop(store);
    fs::copy(&path, &copy).unwrap();
    let stores = [open(&path), open(&path)];
    for n in 0..300 {
        record(&stores[n % 2], draft(&format!("tool {n}"))).unwrap();
    }
    fs::rename(&path, &away).unwrap();
    fs::rename(&copy, &path).unwrap();
    for store in &stores {
        assert!(matches!(record(store, draft("b")), Err(StoreError::Lost { .. })));
        record(store, draft("b")).unwrap();
    }
    drop(stores);
    assert_eq!(rows(&path), 1 + 2);
    assert!(holds(&path));
    fs::copy(folder.path().join("audit.key"), away.with_extension("key")).unwrap();
    assert_eq!(rows(&away), 1 + 300);
    assert!(holds(&away));
}

/// A gate was killed before it recorded the head, and the rest of its log is gone.
#[test]
fn new_log_with_the_key_of_another_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    for _ in 0..2 {
        // A log without rows has lost nothing.
        drop(open(&path));
        assert_eq!(rows(&path), 0);
    }
    fs::remove_file(&path).unwrap();
    drop(open(&path));
    assert_eq!(rows(&path), 1, "a note that it is a new one");
    assert!(holds(&path));
}

/// An older copy was put in place of the log while a gate has it open.
#[cfg(unix)]
#[test]
fn an_older_copy_that_takes_the_place_of_the_log_is_refused() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    record(&store, draft("a")).unwrap();
    drop(store);
    let copy = folder.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    let store = open(&path);
    record(&store, draft("a")).unwrap();
    drop(store);
    let store = open(&path);
    for name in ["audit.db-wal", "audit.db-shm"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    fs::rename(&copy, &path).unwrap();
    record(&store, draft("b")).unwrap_err();
    refused_for_good(&store, |error| {
        matches!(error, StoreError::EntriesLost { last: 1, recorded: 2, .. })
    });
    accept_loss(&path, &Options::default()).unwrap();
    record(&store, draft("b")).unwrap();
    drop(store);
    assert_eq!(rows(&path), 3);
    assert!(holds(&path));
}
