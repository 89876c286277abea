//! The newest entry, noted beside the log.

use std::fs;
use std::time::{Duration, Instant};

use super::{completion, draft, holds, open, record, rows, store};
use crate::store::read::Reader;
use crate::store::tests::losses::forget_two;
use crate::store::verify::Broken;
use crate::store::{Options, Store, StoreError, accept_loss};

/// The record is old, incomplete or missing.
#[test]
fn outdated_or_missing_head_record_does_not_block_opening() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let head = folder.path().join("audit.db-head");
    record(&store, draft("a")).unwrap();
    drop(store);
    let before = fs::read(&head).unwrap();
    let store = open(&path);
    for _ in 0..5 {
        record(&store, draft("a")).unwrap();
    }
    drop(store);
    assert_ne!(fs::read(&head).unwrap(), before);
    for note in [before, Vec::new(), b"12".to_vec()] {
        fs::write(&head, note).unwrap();
        assert!(holds(&path));
        record(&open(&path), draft("b")).unwrap();
    }
    fs::remove_file(&head).unwrap();
    record(&open(&path), draft("b")).unwrap();
    assert_eq!(rows(&path), 10);
}

/// What a killed gate wrote is recorded until the next boot.
#[cfg(target_os = "linux")]
#[test]
fn head_is_recorded_with_every_commit() {
    let (folder, store) = store();
    let (path, lock) = (folder.path().join("audit.db"), folder.path().join("audit.lock"));
    for n in 1..=5 {
        record(&store, draft("a")).unwrap();
        assert!(fs::read_to_string(&lock).unwrap().trim_start().starts_with(&format!("{n} ")));
    }
    let note = fs::read_to_string(&lock).unwrap();
    assert!(holds(&path));
    forget_two(&path);
    // The other record lags behind.
    let _ = fs::remove_file(folder.path().join("audit.db-head"));
    let found = Reader::open(&path).unwrap().verify(None, |_, _| ()).unwrap();
    assert_eq!(found.broken, Some(Broken::EntriesLost { last: 3, recorded: 5 }));
    let error = Store::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::EntriesLost { last: 3, recorded: 5, .. }), "{error}");
    // A record of another boot or file, or an incomplete one, is ignored.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = note.replace(boot.trim(), "0b6d6b0e-0000-4000-8000-000000000000");
    for other in [&other, &note[..60], &note.replace("inode: ", "inode: 1"), ""] {
        fs::write(&lock, other).unwrap();
        assert!(holds(&path), "{other}");
    }
    fs::write(&lock, &note).unwrap();
    assert_eq!(accept_loss(&path, &Options::default()), Ok(Some(5)));
    record(&store, draft("b")).unwrap();
    assert!(holds(&path));
}

/// The database may be copied before, and the record after a write.
#[test]
fn a_copy_of_a_log_in_use_is_whole() {
    let (folder, store) = store();
    let copy = tempfile::tempdir().unwrap();
    for name in ["audit.db", "audit.db-wal", "audit.key", "audit.lock"] {
        for _ in 0..3 {
            record(&store, draft("a")).unwrap();
        }
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let path = copy.path().join("audit.db");
    assert!(holds(&path));
    record(&open(&path), draft("b")).unwrap();
    assert!(holds(&path));
}

/// Not only when the log is idle.
#[test]
fn head_is_recorded_during_steady_writes() {
    let (folder, store) = store();
    let head = folder.path().join("audit.db-head");
    let began = Instant::now();
    while !head.exists() {
        let id = record(&store, draft("a")).unwrap();
        store.complete(&id, completion());
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a gate wrote that is killed later is recorded.
#[test]
fn head_is_recorded_after_a_pause() {
    let (folder, store) = store();
    let (path, head) = (folder.path().join("audit.db"), folder.path().join("audit.db-head"));
    for seq in [5, 10] {
        for _ in 0..5 {
            record(&store, draft("a")).unwrap();
        }
        let noted = format!("{seq} ");
        while !fs::read_to_string(&head).is_ok_and(|head| head.starts_with(&noted)) {
            std::thread::yield_now();
        }
        assert!(holds(&path));
    }
}

#[test]
fn unreadable_head_record_is_named_in_the_error() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    fs::create_dir(folder.path().join("audit.db-head")).unwrap();
    record(&store, draft("a")).unwrap();
    drop(store);
    let error = Store::open(&path, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("audit.db-head`: "), "{error}");
}

/// As by `sudo agentgate audit purge`: the owner's gates must be able to read it.
#[cfg(unix)]
#[test]
fn head_record_written_by_root_belongs_to_the_owner_of_the_log() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    record(&store, draft("a")).unwrap();
    let me = fs::metadata(&path).unwrap().uid();
    let owner = if me == 0 { 1234 } else { me };
    chown(&path, Some(owner), None).unwrap();
    drop(store);
    assert_eq!(fs::metadata(folder.path().join("audit.db-head")).unwrap().uid(), owner);
}
