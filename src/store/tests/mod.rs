//! The store as its callers see it, with other processes played by other stores.

mod paging;
mod reading;
mod sessions;
mod sharing;
mod windows;

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use crate::action::{Agent, Transport};
use crate::intent::Intent;
use crate::store::audit::{Completion, Draft, Outcome, RowId};
use crate::store::read::Reader;
use crate::store::verify::Broken;
use crate::store::{Options, Store, StoreError, accept_loss};
use crate::verdict::{Decision, Stage};

pub(super) fn draft(tool: &str) -> Draft {
    Draft {
        at: Timestamp::now(),
        session: "s1".into(),
        agent: "alice".into(),
        transport: Transport::Stdio,
        server: "files".into(),
        method: "tools/call".to_owned(),
        tool: tool.to_owned(),
        intent: Intent::Read,
        decision: Decision::Allow,
        outcome: Outcome::Forwarded,
        policy: "default".into(),
        rule: "default#1".into(),
        reason: "allowed by a rule".to_owned(),
        stage: Stage::Policy,
        args: r#"{"path":"/srv"}"#.to_owned(),
        canonical_args: r#"{"path":"/srv"}"#.to_owned(),
        decision_took: Duration::from_micros(3),
        observing: false,
        takes_slot_of: Vec::new(),
    }
}

pub(super) fn alice() -> Agent {
    Agent::named("alice")
}

pub(super) fn completion() -> Completion {
    Completion {
        outcome: Outcome::Forwarded,
        upstream: Duration::from_millis(12),
        status: "ok".to_owned(),
    }
}

/// A folder and a store in it.
pub(super) fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("audit.db"));
    (folder, store)
}

pub(super) fn open(path: &Path) -> Store {
    Store::open(path, &Options::default()).unwrap()
}

/// Waits for a future on this thread, as `wrap` does.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) fn record(store: &Store, draft: Draft) -> Result<RowId, StoreError> {
    wait(store.record(&alice(), &[], |_| (draft, ()))).map(|(row, ())| row.id)
}

/// How many rows there are, by an outsider's reading.
pub(super) fn rows(path: &Path) -> i64 {
    let outsider = rusqlite::Connection::open(path).unwrap();
    outsider.query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).unwrap()
}

/// Whether every entry holds, and the index agrees.
pub(super) fn holds(path: &Path) -> bool {
    Reader::open(path).unwrap().verify(None, |_, _| ()).unwrap().broken.is_none()
}

fn error_of(path: &Path) -> String {
    Store::open(path, &Options::default()).unwrap_err().to_string()
}

#[test]
fn a_recorded_row_is_there_at_once_and_its_result_after_closing() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let id = record(&store, draft("read_file")).unwrap();
    assert_eq!(rows(&path), 1);
    store.complete(&id, completion());
    store.close();
    assert_eq!(rows(&path), 2);
    assert_eq!(record(&store, draft("read_file")), Err(StoreError::Closed));
}

#[test]
fn a_result_is_written_without_anybody_calling_again() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let id = record(&store, draft("read_file")).unwrap();
    store.complete(&id, completion());
    while rows(&path) < 2 {
        std::thread::yield_now();
    }
}

#[cfg(unix)]
#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a/b");
    let store = open(&data.join("agentgate.db"));
    record(&store, draft("read_file")).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in ["agentgate.db", "agentgate.db-wal", "agentgate.key", "agentgate.lock"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
}

#[test]
fn what_is_no_log_of_ours_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    fs::write(&path, "this is not a database, and long enough to be sure of that".repeat(20))
        .unwrap();
    assert!(error_of(&path).contains("not a database"), "{}", error_of(&path));

    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(error_of(&foreign).contains("another program"), "{}", error_of(&foreign));

    assert!(error_of(folder.path()).contains("cannot open"), "{}", error_of(folder.path()));
}

#[test]
fn a_newer_schema_is_refused() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    drop(store);
    let outsider = rusqlite::Connection::open(&path).unwrap();
    outsider.pragma_update(None, "user_version", 99).unwrap();
    assert!(error_of(&path).contains("newer AgentGate (schema 99"), "{}", error_of(&path));
}

#[test]
fn a_missing_or_foreign_key_is_an_error_and_never_a_new_key() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let key = folder.path().join("audit.key");
    record(&store, draft("read_file")).unwrap();
    drop(store);
    let secret = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(error_of(&path).contains("is missing"), "{}", error_of(&path));
    assert!(!key.exists());
    fs::write(&key, [1; 32]).unwrap();
    assert!(error_of(&path).contains("not the key"), "{}", error_of(&path));
    fs::write(&key, [1; 31]).unwrap();
    assert!(error_of(&path).contains("32 bytes"), "{}", error_of(&path));
    fs::write(&key, secret).unwrap();
    record(&open(&path), draft("read_file")).unwrap();
    assert_eq!(rows(&path), 2);
}

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
    // The new log begins with a note that it is one.
    assert_eq!(rows(&path), 2);
    // A result of a row that is gone is not put under another.
    store.complete(&first, completion());
    store.close();
    assert_eq!(rows(&path), 2);
}

/// As `copytruncate` of a log rotation does it.
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

#[test]
fn a_decision_that_panics_fails_only_itself() {
    let (_folder, store) = store();
    let limits = [windows::limit("p", 60, 5)];
    for limits in [&[][..], &limits] {
        let failed = wait(store.record(&alice(), limits, |_| -> (Draft, ()) { panic!("oh no") }));
        assert_eq!(failed.map(drop), Err(StoreError::Undecided));
        record(&store, draft("read_file")).unwrap();
    }
}

#[test]
fn a_lock_that_is_never_given_back_fails_rows_after_the_patience() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let options = Options { patience: Duration::from_millis(50), ..Options::default() };
    let store = Store::open(&path, &options).unwrap();
    let lock = fs::File::open(folder.path().join("audit.lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(record(&store, draft("a")), Err(StoreError::Busy { .. })));
    lock.unlock().unwrap();
    record(&store, draft("a")).unwrap();
}

#[test]
fn a_program_that_writes_without_our_lock_is_waited_for_as_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let options = Options { patience: Duration::from_millis(50), ..Options::default() };
    let store = Store::open(&path, &options).unwrap();
    let outsider = rusqlite::Connection::open(&path).unwrap();
    outsider.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = record(&store, draft("a")).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    outsider.execute_batch("ROLLBACK").unwrap();
    record(&store, draft("a")).unwrap();
}

/// Rows up to the one that is refused for `why`: at most one is, and none is written into
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
        // Whoever opens the log meanwhile is refused as well.
        Store::open(&path, &Options::default()).unwrap_err();
        fs::write(&wal, whole).unwrap();
        record(&store, draft("c")).unwrap();
        drop(store);
        assert_eq!(rows(&path), 10);
        assert!(holds(&path));
    }
}

/// It grows again only by what is written, and not all of its file is in use.
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
fn what_is_in_a_write_ahead_log_that_is_unlinked_is_saved() {
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
fn a_log_whose_index_is_gone_is_written_by_nobody_who_had_it_open() {
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

/// What is done to a closed log, and which entry it ends with then.
type Damage = (&'static str, fn(&Path), i64);

/// Removes the newest two of five rows.
fn forget_two(path: &Path) {
    let outsider = rusqlite::Connection::open(path).unwrap();
    assert_eq!(outsider.execute("DELETE FROM entry WHERE seq > 3", []).unwrap(), 2);
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
            let expected = StoreError::Behind { path: path.clone(), last: left, noted: 5 };
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
    assert_eq!(found.broken, Some(Broken::Behind { last: 3, noted: 5 }));
}

/// As its documents say: whoever moves it away begins another.
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

/// The note is of a while ago, is gone, or was not written to the end: nobody is locked out.
#[test]
fn a_note_that_lags_behind_or_is_lost_locks_nobody_out() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let head = folder.path().join("audit.db-head");
    record(&store, draft("a")).unwrap();
    assert!(!head.exists(), "nobody waits for the disk");
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

/// A gate that was killed has noted nothing since, but one that has seen it has.
#[cfg(unix)]
#[test]
fn what_a_running_gate_saw_being_lost_is_refused_after_it_too() {
    let (folder, store) = store();
    let (path, wal) = (folder.path().join("audit.db"), folder.path().join("audit.db-wal"));
    for _ in 0..9 {
        record(&store, draft("a")).unwrap();
    }
    fs::File::options().write(true).open(&wal).unwrap().set_len(20_000).unwrap();
    refused_for_good(&store, |error| matches!(error, StoreError::Cut { .. }));
    drop(store);
    let refused = Store::open(&path, &Options::default()).unwrap_err();
    assert!(matches!(refused, StoreError::Behind { noted: 9, .. }), "{refused}");
    assert_eq!(accept_loss(&path, &Options::default()), Ok(Some(9)));
    record(&open(&path), draft("c")).unwrap();
    assert!(holds(&path));
}

/// One that was put in the place of the log while a gate has it open: from before.
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
    refused_for_good(&store, |error| matches!(error, StoreError::Behind { last: 1, noted: 2, .. }));
    accept_loss(&path, &Options::default()).unwrap();
    record(&store, draft("b")).unwrap();
    drop(store);
    assert_eq!(rows(&path), 3);
    assert!(holds(&path));
}
