//! The store as its callers see it, with other processes played by other stores.

mod head_records;
mod indexing;
mod losses;
mod overwritten;
mod paging;
mod proof;
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
use crate::store::{Options, Store, StoreError};
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

/// A temporary folder with a store.
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

/// Number of rows, counted through another connection.
pub(super) fn rows(path: &Path) -> i64 {
    let outsider = rusqlite::Connection::open(path).unwrap();
    outsider.query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).unwrap()
}

/// Whether verification succeeds.
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
fn foreign_databases_are_refused_with_the_reason() {
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

/// Its key is written first.
#[test]
fn log_being_created_is_not_reported_as_having_another_key() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    drop(store);
    let outsider = rusqlite::Connection::open(&path).unwrap();
    outsider.execute("DELETE FROM meta WHERE name = 'fingerprint'", []).unwrap();
    let error = Reader::open(&path).unwrap().verify(None, |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("only just being begun"), "{error}");
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
fn a_lock_that_is_never_given_back_fails_rows_after_the_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let options = Options { lock_timeout: Duration::from_millis(50), ..Options::default() };
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
    let options = Options { lock_timeout: Duration::from_millis(50), ..Options::default() };
    let store = Store::open(&path, &options).unwrap();
    let outsider = rusqlite::Connection::open(&path).unwrap();
    outsider.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = record(&store, draft("a")).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    outsider.execute_batch("ROLLBACK").unwrap();
    record(&store, draft("a")).unwrap();
}
