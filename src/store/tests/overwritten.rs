//! A write-ahead log that is overwritten while in use, or is of another database.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{draft, holds, open, record, rows, store};
use crate::store::audit::Draft;
use crate::store::read::Reader;
use crate::store::{Options, Store, StoreError, accept_loss};

const HOUR: Duration = Duration::from_secs(3_600);

/// Overwrites the existing file, as `cp` does.
fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// A write-ahead log of another database, at least `len` bytes long.
fn wal_of_another(len: usize) -> Vec<u8> {
    let (folder, store) = store();
    let wal = folder.path().join("audit.db-wal");
    while fs::metadata(&wal).unwrap().len() < len as u64 {
        record(&store, draft("other")).unwrap();
    }
    fs::read(&wal).unwrap()
}

fn checkpoint(path: &Path, mode: &str) {
    let outsider = rusqlite::Connection::open(path).unwrap();
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    // The store may be checkpointing.
    while outsider.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() != 0 {}
}

#[test]
fn a_write_ahead_log_that_is_overwritten_takes_no_row() {
    for what in ["zeros", "another's", "its beginning", "its end", "longer"] {
        let (folder, store) = store();
        let (path, wal) = (folder.path().join("audit.db"), folder.path().join("audit.db-wal"));
        for _ in 0..9 {
            record(&store, draft("a")).unwrap();
        }
        let whole = fs::read(&wal).unwrap();
        match what {
            "zeros" => overwrite(&wal, 0, &vec![0; whole.len()]),
            "another's" => overwrite(&wal, 0, &wal_of_another(whole.len())[..whole.len()]),
            "its beginning" => overwrite(&wal, 0, &[0; 32]),
            "its end" => overwrite(&wal, whole.len() as u64 - 4120, &[0; 4120]),
            _ => overwrite(&wal, 0, &wal_of_another(2 * whole.len())),
        }
        for _ in 0..3 {
            let error = record(&store, draft("b")).expect_err(what);
            assert!(matches!(error, StoreError::Cut { .. }), "{what}: {error}");
            assert!(store.check().is_err());
        }
        overwrite(&wal, 0, &whole);
        record(&store, draft("c")).unwrap();
        drop(store);
        assert_eq!(rows(&path), 10, "{what}");
        assert!(holds(&path), "{what}");
    }
}

/// Damage in the middle is noticed by the periodic verification, two seconds after rows were
/// written.
#[test]
fn a_write_ahead_log_that_is_overwritten_in_its_middle_takes_no_row() {
    for at in [32 + 24 + 100, 32 + 2 * (24 + 4096) + 8, 24] {
        let (folder, store) = store();
        let (path, wal) = (folder.path().join("audit.db"), folder.path().join("audit.db-wal"));
        for _ in 0..9 {
            record(&store, draft("a")).unwrap();
        }
        store.writer.verify_and_record_head();
        record(&store, draft("a")).unwrap();
        let whole = fs::read(&wal).unwrap();
        overwrite(&wal, at, b"overwritten");
        store.writer.verify_and_record_head();
        for _ in 0..3 {
            let error = record(&store, draft("b")).expect_err("it is overwritten");
            assert!(matches!(error, StoreError::Cut { .. }), "{at}: {error}");
        }
        overwrite(&wal, 0, &whole);
        record(&store, draft("c")).unwrap();
        store.writer.verify_and_record_head();
        drop(store);
        assert_eq!(rows(&path), 11, "{at}");
        assert!(holds(&path), "{at}");
    }
}

/// The file keeps its former length, so an older copy fits into it.
#[test]
fn an_older_copy_of_a_write_ahead_log_takes_no_row() {
    let (folder, store) = store();
    let (path, wal) = (folder.path().join("audit.db"), folder.path().join("audit.db-wal"));
    for _ in 0..50 {
        record(&store, draft("a")).unwrap();
    }
    checkpoint(&path, "RESTART");
    record(&store, draft("b")).unwrap();
    let older = fs::read(&wal).unwrap();
    for _ in 0..5 {
        record(&store, draft("c")).unwrap();
    }
    overwrite(&wal, 0, &older);
    let error = record(&store, draft("d")).unwrap_err();
    assert!(matches!(error, StoreError::Cut { .. }), "{error}");
    // Closing must not checkpoint it into the database.
    drop(store);
    let refused = Store::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(refused, StoreError::EntriesLost { recorded: 56, .. }), "{refused}");
    assert_eq!(accept_loss(&path, &Options::default()), Ok(Some(56)));
    record(&open(&path), draft("e")).unwrap();
    assert!(holds(&path));
}

/// Another gate has written since, without noticing.
#[test]
fn gates_that_share_a_log_notice_that_its_write_ahead_log_is_overwritten() {
    for first in [0, 1] {
        let (folder, store) = store();
        let (path, wal) = (folder.path().join("audit.db"), folder.path().join("audit.db-wal"));
        let stores = [store, open(&path)];
        for n in 0..20 {
            record(&stores[n % 2], draft("a")).unwrap();
        }
        let whole = fs::read(&wal).unwrap();
        overwrite(&wal, 0, &wal_of_another(whole.len())[..whole.len()]);
        for n in 0..6 {
            record(&stores[(first + n) % 2], draft("b")).expect_err(&format!("{first} {n}"));
        }
        overwrite(&wal, 0, &whole);
        for store in &stores {
            record(store, draft("c")).unwrap();
        }
        drop(stores);
        assert_eq!(rows(&path), 22);
        assert!(holds(&path));
    }
}

/// The check of the files stays valid until another process writes.
#[test]
fn file_check_is_valid_until_another_process_writes() {
    let (folder, store) = store();
    let (path, wal) = (folder.path().join("audit.db"), folder.path().join("audit.db-wal"));
    store.writer.set_recheck_interval(HOUR);
    let other = open(&path);
    for _ in 0..9 {
        record(&store, draft("a")).unwrap();
    }
    record(&other, draft("b")).unwrap();
    let whole = fs::read(&wal).unwrap();
    overwrite(&wal, 0, &wal_of_another(whole.len())[..whole.len()]);
    record(&store, draft("c")).unwrap_err();
    overwrite(&wal, 0, &whole);
    record(&store, draft("d")).unwrap();
    drop((store, other));
    assert_eq!(rows(&path), 11);
    assert!(holds(&path));
}

/// Legitimate operations of other programs must not cause refusals.
#[test]
fn a_write_ahead_log_that_others_start_over_is_whole() {
    for recheck_interval in [Duration::ZERO, HOUR] {
        start_over_and_over(recheck_interval);
    }
}

fn start_over_and_over(recheck_interval: Duration) {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let other = open(&path);
    for store in [&store, &other] {
        store.writer.set_recheck_interval(recheck_interval);
    }
    let outsider = rusqlite::Connection::open(&path).unwrap();
    let mut written = 0;
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"].iter().cycle().take(60) {
        for store in [&store, &other, &other, &store] {
            record(store, draft("a")).unwrap();
            written += 1;
        }
        checkpoint(&path, mode);
        if written % 3 == 0 {
            outsider
                .execute_batch(
                    "INSERT INTO meta VALUES ('x', 1); DELETE FROM meta WHERE name = 'x'",
                )
                .unwrap();
            record(&store, draft("a")).unwrap();
            written += 1;
        }
    }
    assert_eq!(rows(&path), written);
    assert!(holds(&path));
}

/// A writer that waited for another program finds the log restarted.
#[test]
fn a_log_that_others_rewrite_all_the_time_refuses_no_row() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let stores = [store, open(&path)];
    record(&stores[0], draft("a")).unwrap();
    let written = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let rewriting = scope.spawn(|| {
            let outsider = rusqlite::Connection::open(&path).unwrap();
            let mut seen = 0;
            while seen < 300 {
                // It may be busy.
                let _ = outsider.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
                while written.load(Ordering::Relaxed) == seen {
                    std::thread::yield_now();
                }
                seen = written.load(Ordering::Relaxed);
            }
        });
        for n in 0..300 {
            if n % 7 == 0 {
                stores[n % 2].writer.verify_and_record_head();
            }
            let recorded = record(&stores[n % 2], draft("a"));
            // Also on failure, so that the loop ends.
            written.fetch_add(if recorded.is_ok() { 1 } else { 300 }, Ordering::Relaxed);
            recorded.unwrap();
        }
        rewriting.join().unwrap();
    });
    assert_eq!(rows(&path), 301);
    assert!(holds(&path));
}

/// What a killed gate leaves: its database, and the files beside it.
fn killed(count: usize, long: &str) -> tempfile::TempDir {
    let (folder, store) = store();
    let copy = tempfile::tempdir().unwrap();
    for n in 0..count {
        record(&store, Draft { args: format!("\"{n}{long}\""), ..draft("a") }).unwrap();
        if n == count / 2 {
            checkpoint(&folder.path().join("audit.db"), "TRUNCATE");
        }
    }
    for name in ["audit.db", "audit.db-wal", "audit.key"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[test]
fn a_log_that_was_killed_is_opened_with_its_write_ahead_log() {
    let folder = killed(40, "");
    let path = folder.path().join("audit.db");
    record(&open(&path), draft("b")).unwrap();
    assert_eq!(rows(&path), 41);
    assert!(holds(&path));
}

#[test]
fn a_write_ahead_log_of_another_database_is_refused_and_changes_nothing() {
    let (mine, other) = (killed(200, ""), killed(300, ""));
    let path = mine.path().join("audit.db");
    let wal = mine.path().join("audit.db-wal");
    let (before, own) = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());
    fs::copy(other.path().join("audit.db-wal"), &wal).unwrap();
    for _ in 0..2 {
        let error = Store::open(&path, &Options::default()).unwrap_err();
        assert!(error.to_string().contains("-wal"), "{error}");
        accept_loss(&path, &Options::default()).unwrap_err();
        let _ = Reader::open(&path).map(|reader| reader.verify(None, |_, _| ()));
        assert!(fs::read(&path).unwrap() == before, "the database is as it was");
    }
    fs::write(&wal, own).unwrap();
    record(&open(&path), draft("b")).unwrap();
    assert_eq!(rows(&path), 201);
    assert!(holds(&path));
}

/// As if a backup of the database were restored without all files beside it.
#[test]
fn the_write_ahead_log_of_a_later_time_is_refused_beside_an_older_copy() {
    let long = "x".repeat(2000);
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let write = |rows: usize| {
        for n in 0..rows {
            record(&store, Draft { args: format!("\"{n}{long}\""), ..draft("a") }).unwrap();
        }
    };
    write(50);
    checkpoint(&path, "TRUNCATE");
    let older = fs::read(&path).unwrap();
    write(2_500);
    checkpoint(&path, "TRUNCATE");
    write(50);
    let copy = tempfile::tempdir().unwrap();
    for name in ["audit.db-wal", "audit.key"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let path = copy.path().join("audit.db");
    fs::write(&path, &older).unwrap();
    let error = Store::open(&path, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("-wal"), "{error}");
    assert!(fs::read(&path).unwrap() == older, "the database is as it was");
    for name in ["audit.db-wal", "audit.db-shm"] {
        let _ = fs::remove_file(copy.path().join(name));
    }
    record(&open(&path), draft("b")).unwrap();
    assert!(holds(&path));
}
