//! `agentgate audit …` as a user runs it, on a log that the library wrote.

#![cfg(test)]

use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use agentgate::action::{Agent, Transport};
use agentgate::intent::Intent;
use agentgate::store::audit::{Completion, Draft, Outcome, RowId};
use agentgate::store::{Options, Store};
use agentgate::verdict::{Decision, Stage};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

fn draft(tool: &str, decision: Decision) -> Draft {
    let allowed = decision == Decision::Allow;
    Draft {
        at: Timestamp::now(),
        session: "s1".into(),
        agent: "default".into(),
        transport: Transport::Stdio,
        server: "files".into(),
        method: "tools/call".to_owned(),
        tool: tool.to_owned(),
        intent: Intent::Read,
        decision,
        outcome: if allowed { Outcome::Forwarded } else { Outcome::Refused },
        policy: "default".into(),
        rule: "default#1".into(),
        reason: "=HYPERLINK(\"x\")".to_owned(),
        stage: Stage::Policy,
        args: r#"{"path":"/srv, and more"}"#.to_owned(),
        canonical_args: r#"{"path":"/srv, and more"}"#.to_owned(),
        decision_took: Duration::from_micros(3),
        observing: false,
        takes_slot_of: Vec::new(),
    }
}

fn record(store: &Store, draft: Draft) -> RowId {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let agent = Agent::default();
    let recorded = store.record(&agent, &[], |_| (draft, ()));
    runtime.block_on(recorded).unwrap().0.id
}

/// A log of 100 rows, an hour apart, the newest just now; every tenth denied.
fn log() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = Store::open(&path, &Options::default()).unwrap();
    for index in 0..100_i64 {
        let decision = if index % 10 == 0 { Decision::Deny } else { Decision::Allow };
        let at = Timestamp::now() - SignedDuration::from_hours(99 - index);
        let id = record(&store, Draft { at, ..draft("read_file", decision) });
        if decision == Decision::Allow {
            let upstream = Duration::from_millis(5);
            let status = "ok".to_owned();
            store.complete(&id, Completion { outcome: Outcome::Forwarded, upstream, status });
        }
    }
    store.close();
    (folder, path)
}

fn command(db: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentgate"));
    command.arg("audit").args(arguments).arg("--db").arg(db).env("TZ", "UTC");
    command
}

fn audit(db: &Path, arguments: &[&str]) -> Output {
    command(db, arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn list_shows_the_newest_fifty_newest_last() {
    let (_folder, db) = log();
    let shown = text(&audit(&db, &["list", "--json"]));
    let rows: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 50);
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted());
    assert_eq!(rows[49]["status"], "ok");
    assert_eq!(text(&audit(&db, &["list", "--json", "--limit", "0"])).lines().count(), 100);

    let page = text(&audit(&db, &["list", "--json", "--limit", "0", "--before", ids[0]]));
    assert_eq!(page.lines().count(), 50);
    let denied = text(&audit(&db, &["list", "--json", "--decision", "deny", "--since", "2d"]));
    assert_eq!(denied.lines().count(), 4);
}

#[test]
fn list_for_people_is_a_line_a_row_without_colours_where_nobody_looks() {
    let (_folder, db) = log();
    let shown = text(&audit(&db, &["list", "--limit", "3"]));
    assert_eq!(shown.lines().count(), 4, "{shown}");
    assert!(shown.starts_with("TIME"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert_eq!(text(&audit(&db, &["list", "--agent", "nobody"])), "no rows\n");
}

#[test]
fn export_writes_one_json_array_lines_or_csv() {
    let (_folder, db) = log();
    let rows: Vec<Value> = serde_json::from_str(&text(&audit(&db, &["export"]))).unwrap();
    assert_eq!(rows.len(), 100);
    let none: Vec<Value> =
        serde_json::from_str(&text(&audit(&db, &["export", "--tool", "x"]))).unwrap();
    assert!(none.is_empty());

    let lines = text(&audit(&db, &["export", "--format", "jsonl"]));
    let lines: Vec<Value> = lines.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(lines, rows);

    let csv = text(&audit(&db, &["export", "--format", "csv"]));
    assert_eq!(csv.lines().count(), 101);
    assert!(csv.starts_with("id,time,session,agent,"), "{csv}");
    assert!(csv.contains(r#""{""path"":""/srv, and more""}""#));
    assert!(csv.contains(r#","'=HYPERLINK(""x"")","#));
}

#[test]
fn stats_count() {
    let (_folder, db) = log();
    let stats: Value = serde_json::from_str(&text(&audit(&db, &["stats", "--json"]))).unwrap();
    assert_eq!(stats["decisions"], 100);
    assert_eq!(stats["by_decision"]["deny"], 10);
    assert_eq!(stats["answered"], 90);
    let shown = text(&audit(&db, &["stats"]));
    assert!(shown.contains("100 decisions") && shown.contains("read_file"), "{shown}");
}

#[test]
fn verify_says_by_its_exit_code_whether_the_log_holds() {
    let (_folder, db) = log();
    let whole = audit(&db, &["verify", "--json"]);
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    let found: Value = serde_json::from_str(&text(&whole)).unwrap();
    assert_eq!((&found["ok"], &found["rows"]), (&Value::Bool(true), &Value::from(100)));
    let head = found["head"].as_str().unwrap();
    assert_eq!(audit(&db, &["verify", "--head", head]).status.code(), Some(0));
    assert_eq!(audit(&db, &["verify", "--head", "12"]).status.code(), Some(2));

    let outsider = rusqlite::Connection::open(&db).unwrap();
    outsider.execute("DELETE FROM entry WHERE seq = 190", []).unwrap();
    let cut = audit(&db, &["verify", "--head", head]);
    assert_eq!(cut.status.code(), Some(1));
    outsider.execute("UPDATE entry SET args = '{}' WHERE seq = 2", []).unwrap();
    let broken = audit(&db, &["verify"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(text(&broken).starts_with("BROKEN: entry 2 ("), "{broken:?}");
}

#[test]
fn a_damaged_log_does_not_hold() {
    let (_folder, db) = log();
    let whole = fs::read(&db).unwrap();
    for page in 1..whole.len() / 4096 {
        let mut damaged = whole.clone();
        damaged[page * 4096..][..4096].fill(0xa5);
        fs::write(&db, damaged).unwrap();
        let found = audit(&db, &["verify"]);
        assert_eq!(found.status.code(), Some(1), "page {page}: {found:?}");
        assert!(text(&found).starts_with("BROKEN: "), "page {page}: {found:?}");
        let found: Value = serde_json::from_str(&text(&audit(&db, &["verify", "--json"]))).unwrap();
        assert_eq!(found["ok"], false, "page {page}");
    }
}

#[test]
fn purge_refuses_a_log_that_does_not_verify_unless_forced() {
    let (_folder, db) = log();
    let outsider = rusqlite::Connection::open(&db).unwrap();
    outsider.execute("UPDATE entry SET args = '{}' WHERE seq = 2", []).unwrap();
    let refused = audit(&db, &["purge", "--older-than", "50h30m"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("entry 2 (") && why.contains("--unverified"), "{why}");
    assert_eq!(text(&audit(&db, &["list", "--json", "--limit", "0"])).lines().count(), 100);
    let done = audit(&db, &["purge", "--older-than", "50h30m", "--unverified"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(text(&audit(&db, &["list", "--json", "--limit", "0"])).lines().count(), 51);
    assert_eq!(audit(&db, &["verify"]).status.code(), Some(0));
}

#[test]
fn truncated_log_is_usable_after_the_loss_is_accepted() {
    let (_folder, db) = log();
    let none = audit(&db, &["accept-loss"]);
    assert!(text(&none).contains("nothing is missing"), "{none:?}");
    let outsider = rusqlite::Connection::open(&db).unwrap();
    outsider.execute("DELETE FROM entry WHERE seq > 180", []).unwrap();
    let found = audit(&db, &["verify"]);
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found).contains("entry 190 was written"), "{found:?}");
    let refused = || Store::open(&db, &Options::default()).unwrap_err().to_string();
    // As long as they are gone in the `-wal` only, the database has them.
    assert!(refused().contains("move it away"), "{}", refused());
    drop(outsider);
    assert!(refused().contains("agentgate audit accept-loss"), "{}", refused());
    let done = audit(&db, &["accept-loss"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    record(&Store::open(&db, &Options::default()).unwrap(), draft("one", Decision::Allow));
    assert_eq!(audit(&db, &["verify"]).status.code(), Some(0));
}

#[test]
fn purge_removes_what_is_old_and_the_rest_verifies() {
    let (_folder, db) = log();
    let dry = text(&audit(&db, &["purge", "--older-than", "50h30m", "--dry-run", "--json"]));
    assert!(text(&audit(&db, &["stats", "--json"])).contains("\"decisions\":100"));
    let done = text(&audit(&db, &["purge", "--older-than", "50h30m", "--json"]));
    let count = |line: &str| serde_json::from_str::<Value>(line).unwrap()["removed"].clone();
    assert_eq!((count(&dry), count(&done)), (Value::from(49), Value::from(49)));
    assert_eq!(text(&audit(&db, &["list", "--json", "--limit", "0"])).lines().count(), 51);
    assert_eq!(audit(&db, &["verify"]).status.code(), Some(0));
    assert_eq!(audit(&db, &["purge", "--older-than", "2999-01-01"]).status.code(), Some(2));
}

#[test]
fn a_log_that_cannot_be_read_is_exit_code_2_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let missing = audit(&folder.path().join("none.db"), &["list"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("none yet"), "{missing:?}");
    let nonsense = folder.path().join("nonsense.db");
    fs::write(&nonsense, "nonsense ".repeat(1000)).unwrap();
    let refused = audit(&nonsense, &["verify"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not a database"), "{refused:?}");
}

#[test]
fn closed_output_is_no_error() {
    let (_folder, db) = log();
    for arguments in [&["export"][..], &["list", "--limit", "0", "--json"]] {
        let mut child =
            command(&db, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 1];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn tail_follows_and_continues_with_a_replaced_log() {
    let (folder, db) = log();
    let mut child = command(&db, &["tail", "-f", "--limit", "2", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut tool = || {
        let row: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        row["tool"].as_str().unwrap().to_owned()
    };
    assert_eq!([tool(), tool()], ["read_file", "read_file"]);
    let store = Store::open(&db, &Options::default()).unwrap();
    record(&store, draft("one", Decision::Allow));
    assert_eq!(tool(), "one");
    record(&store, draft("two", Decision::Deny));
    assert_eq!(tool(), "two");
    store.close();
    drop(store);

    if cfg!(unix) {
        let next = folder.path().join("next");
        fs::create_dir(&next).unwrap();
        let store = Store::open(&next.join("audit.db"), &Options::default()).unwrap();
        record(&store, draft("three", Decision::Allow));
        drop(store);
        for name in ["audit.db-wal", "audit.db-shm"] {
            let _ = fs::remove_file(folder.path().join(name));
        }
        fs::rename(next.join("audit.db"), &db).unwrap();
        assert_eq!(tool(), "three");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
