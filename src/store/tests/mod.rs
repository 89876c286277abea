//! The store as its callers see it, with other processes played by other stores.

mod paging;
mod reading;
mod sessions;
mod sharing;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::action::{Agent, Transport};
use crate::intent::Intent;
use crate::policy::Limit;
use crate::rate::Usage;
use crate::store::audit::{Completion, Draft, Outcome, RowId};
use crate::store::{Options, Store, StoreError};
use crate::verdict::{Decision, Quota, Stage};

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
fn rows(path: &Path) -> i64 {
    let outsider = rusqlite::Connection::open(path).unwrap();
    outsider.query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).unwrap()
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
    let limits = [limit("p", 60, 5)];
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

// === rate windows ===

fn limit(policy: &str, seconds: u64, max: u32) -> Limit {
    Limit { policy: policy.into(), window: Duration::from_secs(seconds), max, observed: false }
}

/// Asks for a slot at `at`; whether there was one.
fn ask(store: &Store, limits: &[Limit], at: Timestamp) -> bool {
    ask_for(store, (limits, 1), at)
}

fn ask_for(store: &Store, (limits, requests): (&[Limit], u32), at: Timestamp) -> bool {
    let policies: Vec<Arc<str>> =
        limits.iter().map(|limit| Arc::clone(&limit.policy)).take(1).collect();
    let decide = move |usage: Vec<Usage>| {
        let free = usage.iter().all(|usage| usage.retry_after(at).is_none());
        let slots = if free { policies } else { Vec::new() };
        (Draft { at, takes_slot_of: slots, ..draft("t") }, free)
    };
    wait(store.record_all(&alice(), (limits, requests), decide)).unwrap().1
}

#[test]
fn an_action_that_counts_as_many_takes_all_its_slots_or_none() {
    let (_folder, store) = store();
    let limits = [limit("p", 60, 5), limit("p", 3600, 9)];
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let after = |seconds| start + SignedDuration::from_secs(seconds);
    for (second, requests, fits) in [
        (0, 6, false), // More than ever fit in.
        (0, 3, true),
        (1, 3, false),
        (2, 2, true),
        (3, 1, false),
        (60, 4, false), // Those of second 2 still count.
        (60, 3, true),
        (70, 2, false), // The hour has one left.
        (71, 1, true),
        (3600, 3, true),
    ] {
        let free = ask_for(&store, (&limits, requests), after(second));
        assert_eq!(free, fits, "{requests} at {second}");
    }
}

#[test]
fn no_window_ever_holds_more_than_its_limit() {
    let (_folder, store) = store();
    let limits = [limit("p", 60, 5), limit("p", 3600, 12)];
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut granted: Vec<Timestamp> = Vec::new();
    // Irregular steps over two hours, twelve-fold too many requests.
    let mut at = start;
    for step in 0..1500_i64 {
        at += SignedDuration::from_millis(200 + (step * 7919) % 9000);
        if ask(&store, &limits, at) {
            granted.push(at);
        }
    }
    for (window, max) in [(60, 5), (3600, 12)] {
        let ends = granted.iter().zip(granted.iter().skip(max));
        for (first, beyond) in ends {
            assert!(beyond.duration_since(*first) >= SignedDuration::from_secs(window));
        }
    }
    assert!(granted.len() > 12, "a second hour brings new slots: {}", granted.len());
}

#[test]
fn slots_that_are_in_no_window_any_more_go_and_no_others() {
    let (folder, store) = store();
    let limits = [limit("p", 60, 1000)];
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for minute in 0..400 {
        assert!(ask(&store, &limits, start + SignedDuration::from_mins(minute)));
    }
    let db = rusqlite::Connection::open(folder.path().join("audit.db")).unwrap();
    let numbers = "SELECT min(n), max(n), count(*) FROM slot";
    let row = db.query_row(numbers, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (oldest, newest, count): (i64, i64, i64) = row.unwrap();
    // Kept for an hour, looked at once in sixteen.
    assert_eq!((newest, count), (400, newest - oldest + 1));
    assert!((60..60 + 16).contains(&count), "{count}");
}

#[test]
fn what_is_left_is_that_of_the_nearest_limit_at_every_moment() {
    let (_folder, store) = store();
    let observed = Limit { observed: true, ..limit("p", 60, 2) };
    let limits = [limit("p", 60, 7), limit("p", 3600, 40), observed];
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut taken: Vec<Timestamp> = Vec::new();
    let mut told = std::collections::BTreeSet::new();
    let mut at = start;
    for step in 0..900_i64 {
        at += SignedDuration::from_millis(300 + (step * 7919) % 17_000);
        let free = move |usage: Vec<Usage>| {
            let is_full = |usage: &Usage| !usage.limit.observed && usage.retry_after(at).is_some();
            let free = !usage.iter().any(is_full);
            let takes_slot_of = if free { vec!["p".into()] } else { Vec::new() };
            (Draft { at, takes_slot_of, ..draft("t") }, free)
        };
        let (row, free) = wait(store.record(&alice(), &limits, free)).unwrap();
        if !free {
            assert_eq!(row.quota, None);
            continue;
        }
        taken.push(at);
        let age = |taken: &Timestamp| at.duration_since(*taken).unsigned_abs();
        let mut left: Vec<Quota> = Vec::new();
        for limit in &limits[..2] {
            let counted: Vec<_> = taken.iter().map(age).filter(|age| *age < limit.window).collect();
            left.push(Quota {
                limit: limit.max,
                window: limit.window,
                remaining: limit.max - u32::try_from(counted.len()).unwrap(),
                reset: limit.window - *counted.first().unwrap(),
            });
        }
        left.sort_by_key(|quota| (quota.remaining, std::cmp::Reverse(quota.reset)));
        assert_eq!(row.quota.as_ref(), left.first(), "{step}");
        told.insert((left[0].limit, left[0].remaining));
    }
    for seen in [(7, 6), (7, 0), (40, 1), (40, 0)] {
        assert!(told.contains(&seen), "{seen:?} of {told:?}");
    }
}

/// A store remembers where windows begin; others take slots, clocks are set back, and
/// limits are changed all the same.
#[test]
fn what_is_left_is_exact_whoever_took_the_slots() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [0, 1].map(|_| open(&folder.path().join("audit.db")));
    let take = |store: &Store, max: u32, at: Timestamp| {
        let decide = move |_| (Draft { at, takes_slot_of: vec!["p".into()], ..draft("t") }, ());
        let limits = [limit("p", 60, max)];
        wait(store.record(&alice(), &limits, decide)).unwrap().0.quota.unwrap().remaining
    };
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut taken: Vec<i64> = Vec::new();
    let mut second = 0;
    for step in 0..600_u32 {
        second += i64::from((step * 7919) % 23) / 4;
        taken.push(second);
        let used = taken.iter().filter(|at| second - **at < 60).count();
        // Too few, at times: then it is full, and the next is as before.
        let max = if step % 37 < 5 { 3 } else { 100 };
        let store = &stores[usize::from(step % 7 < 3)];
        let left = take(store, max, start + SignedDuration::from_secs(second));
        assert_eq!(left, max.saturating_sub(u32::try_from(used).unwrap()), "{step}");
    }
}

#[test]
fn what_is_left_of_a_limit_without_end_is_told_too() {
    let (_folder, store) = store();
    let limits = [limit("p", 60, u32::MAX)];
    let take = |at| {
        let decide = move |_| (Draft { at, takes_slot_of: vec!["p".into()], ..draft("t") }, ());
        wait(store.record(&alice(), &limits, decide)).unwrap().0.quota.unwrap()
    };
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for n in 1..=70_u32 {
        let quota = take(start + SignedDuration::from_secs(i64::from(n)));
        let used = n.min(60);
        assert_eq!(quota.remaining, u32::MAX - used);
        assert_eq!(quota.reset, Duration::from_secs(60 - u64::from(used - 1)));
    }
}

#[test]
fn stores_of_one_database_share_their_windows() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let limits = [limit("p", 60, 30)];
    let at = Timestamp::now();
    let granted: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (path, limits) = (&path, &limits);
                scope.spawn(move || {
                    let store = open(path);
                    (0..20).filter(|_| ask(&store, limits, at)).count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(granted, 30);
    drop(store);
    assert_eq!(rows(&path), 80);
}

#[test]
fn a_limit_of_none_is_always_full_and_other_agents_have_their_own() {
    let (_folder, store) = store();
    let now = Timestamp::now();
    assert!(!ask(&store, &[limit("none", 60, 0)], now));
    assert!(ask(&store, &[limit("p", 60, 1)], now));
    assert!(!ask(&store, &[limit("p", 60, 1)], now));
    let bob = Agent::named("bob");
    let free = move |usage: Vec<Usage>| (draft("t"), usage[0].retry_after(now).is_none());
    assert!(wait(store.record(&bob, &[limit("p", 60, 1)], free)).unwrap().1);
}

#[test]
fn a_clock_set_back_frees_no_slot_and_blocks_none_for_long() {
    let now = Timestamp::now();
    for max in [1, 3] {
        let (_folder, store) = store();
        let limits = [limit("p", 60, max)];
        assert!(ask(&store, &limits, now + SignedDuration::from_hours(9)));
        let soon = now + SignedDuration::from_secs(5);
        let free = (0..max).take_while(|_| ask(&store, &limits, soon)).count();
        assert_eq!(free, max as usize - 1);
        assert!(ask(&store, &limits, now + SignedDuration::from_secs(70)));
    }
}
