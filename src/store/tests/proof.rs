//! Proving that a log is whole, and purging it so that the rest stays so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::reading::{broken, log, rows, start, tamper};
use super::{completion, draft, open, record, store};
use crate::store::Options;
use crate::store::audit::{Completion, Draft};
use crate::store::purge::{Proof, purge, would_purge};
use crate::store::read::{Filter, Reader};
use crate::store::verify::Broken;

#[test]
fn a_whole_log_verifies_and_contains_its_heads() {
    let (_folder, path) = log(700);
    let reader = Reader::open(&path).unwrap();
    let whole = reader.verify(None, |_, _| ()).unwrap();
    assert_eq!((whole.broken, whole.decisions, whole.entries), (None, 700, 1300));
    let kept = whole.head;
    drop(record(&open(&path), draft("later")));
    let again = Reader::open(&path).unwrap().verify(Some(&kept), |_, _| ()).unwrap();
    assert_eq!(again.broken, None);
    assert_ne!(again.head, kept);
}

#[test]
fn changed_entries_are_detected_and_named() {
    for (sql, entry) in [
        ("UPDATE entry SET args = '{}' WHERE seq = 6", 6),
        ("UPDATE entry SET at = at + 1 WHERE seq = 6", 6),
        ("UPDATE entry SET session = 's2' WHERE seq = 6", 6),
        ("UPDATE entry SET reason = 'oh' WHERE seq = 6", 6),
        ("UPDATE entry SET reason = NULL WHERE seq = 15", 15),
        ("UPDATE entry SET tool = 'x' WHERE seq = 6", 6),
        ("UPDATE entry SET facet = 1 WHERE seq = 6", 6),
        ("UPDATE entry SET facet = 99 WHERE seq = 6", 6),
        ("UPDATE entry SET decision_us = 4 WHERE seq = 6", 6),
        ("UPDATE entry SET digest = zeroblob(32) WHERE seq = 6", 6),
        ("UPDATE entry SET digest = x'00' WHERE seq = 6", 6),
        ("UPDATE entry SET kind = 9 WHERE seq = 6", 6),
        ("UPDATE entry SET hash = zeroblob(32) WHERE seq = 6", 6),
        ("UPDATE entry SET status = 'error' WHERE seq = 5", 5),
        ("UPDATE entry SET upstream_us = 1 WHERE seq = 5", 5),
        ("UPDATE entry SET ref = 1 WHERE seq = 5", 5),
        ("UPDATE facet SET decision = 'allow' WHERE id = 1", 1),
        ("UPDATE facet SET agent = 'mallory' WHERE id = 3", 4),
        ("DELETE FROM facet WHERE id = 2", 2),
    ] {
        let (_folder, path) = log(20);
        assert_eq!(broken(&path), None);
        tamper(&path, sql);
        let found = broken(&path);
        assert!(
            matches!(found, Some(Broken::Changed { seq, .. }) if seq == entry),
            "{sql}: {found:?}"
        );
    }
}

#[test]
fn removed_or_reordered_entries_are_detected() {
    let (_folder, path) = log(20);
    tamper(&path, "DELETE FROM entry WHERE seq IN (5, 6)");
    assert_eq!(broken(&path), Some(Broken::Missing { from: 5, to: 6 }));

    let (_folder, path) = log(20);
    tamper(&path, "DELETE FROM entry WHERE seq < 4");
    assert_eq!(broken(&path), Some(Broken::Missing { from: 1, to: 3 }));

    let (_folder, path) = log(20);
    tamper(&path, "UPDATE entry SET seq = -1 WHERE seq = 5");
    tamper(&path, "UPDATE entry SET seq = 5 WHERE seq = 7");
    tamper(&path, "UPDATE entry SET seq = 7 WHERE seq = -1");
    assert!(matches!(broken(&path), Some(Broken::Changed { seq: 5, .. })));
}

#[test]
fn a_tail_cut_off_shows_by_its_head() {
    let (_folder, path) = log(20);
    let reader = Reader::open(&path).unwrap();
    let head = reader.verify(None, |_, _| ()).unwrap().head;
    tamper(&path, "DELETE FROM entry WHERE seq > 30");
    std::fs::remove_file(path.with_extension("db-head")).unwrap();
    std::fs::write(path.with_extension("lock"), "").unwrap();
    assert_eq!(broken(&path), None, "without a head nobody can tell");
    let found = reader.verify(Some(&head), |_, _| ()).unwrap();
    assert_eq!(found.broken, Some(Broken::HeadNotFound));
    assert!(reader.verify(Some("abc"), |_, _| ()).is_err());
}

/// Changes, each with the table and row that must be reported.
const CHANGES: [(&str, &str); 27] = [
    ("DELETE FROM posting WHERE seq = 6", "posting (4, 6) is missing"),
    ("UPDATE posting SET facet = 2 WHERE seq = 6", "posting (2, 6) should not be there"),
    ("INSERT INTO posting VALUES (1, 3)", "posting (1, 3) should not be there"),
    ("DELETE FROM answer WHERE decision = 2", "answer (2) is missing"),
    ("UPDATE answer SET seq = 5 WHERE decision = 2", "answer (2): `seq` is 5, and should be 3"),
    ("INSERT INTO answer VALUES (1, 3)", "answer (1) should not be there"),
    ("UPDATE tally SET decided = 0 WHERE span = 0", "tally (0, 0, 1): `decided` is 0"),
    ("UPDATE tally SET decision_us = 1 WHERE span = 0", "tally (0, 0, 1): `decision_us` is 1"),
    ("UPDATE tally SET answered = 1 WHERE span = 0", "tally (0, 0, 1): `answered` is 1"),
    ("UPDATE tally SET failed = 9 WHERE span = 0", "tally (0, 0, 1): `failed` is 9"),
    ("UPDATE tally SET upstream_us = 9 WHERE span = 0", "tally (0, 0, 1): `upstream_us` is 9"),
    ("UPDATE tally SET upstream_max_us = 9 WHERE span = 0", "tally (0, 0, 1): `upstream_max_us`"),
    ("UPDATE tally SET last = 9 WHERE span = 0", "tally (0, 0, 1): `last` is 9"),
    ("UPDATE tally SET decided = 9 WHERE span = 3600", "tally (3600, 1767225600, 1): `decided`"),
    ("UPDATE tally SET decided = 9 WHERE span = 86400", "tally (86400, 1767225600, 1): `decided`"),
    ("UPDATE tally SET span = 7 WHERE span = 0", "tally (0, 0, 1) is missing"),
    ("DELETE FROM tally WHERE span = 86400 AND facet = 2", "tally (86400, 1767225600, 2) is miss"),
    ("UPDATE session SET first = first + 1", "session (`s1`): `first` is 2, and should be 1"),
    ("UPDATE session SET last = last - 1", "session (`s1`): `last` is"),
    ("DELETE FROM session", "session (`s1`) is missing"),
    ("INSERT INTO session VALUES ('s2', 1, 9)", "session (`s2`) should not be there"),
    ("UPDATE facet SET key = zeroblob(32) WHERE id = 3", "facet 3: `key` is not its own"),
    ("UPDATE meta SET value = value + 1 WHERE name = 'salt'", "meta `salt`: "),
    ("UPDATE meta SET value = 99999 WHERE name = 'folded'", "meta `folded`: 99999 is beyond"),
    ("UPDATE meta SET value = 999 WHERE name = 'folded'", "should not be there"),
    ("UPDATE meta SET value = value + 1 WHERE name = 'folded'", "is missing"),
    ("UPDATE entry SET facet = 2 WHERE seq = 6", "entry 6"),
];

#[test]
fn changes_in_the_index_are_named() {
    let (_folder, path) = log(1500);
    assert_eq!(broken(&path), None);
    let copy = path.with_file_name("copy.db");
    std::fs::copy(path.with_extension("key"), copy.with_extension("key")).unwrap();
    for (sql, named) in CHANGES {
        std::fs::copy(&path, &copy).unwrap();
        tamper(&copy, sql);
        let found = broken(&copy).map(|broken| broken.to_string()).unwrap_or_default();
        assert!(found.contains(named), "{sql}: {found}");
        assert!(found.lines().count() < 25, "{found}");
    }
}

#[test]
fn unknown_schema_objects_are_named() {
    for (sql, named) in [
        ("CREATE TABLE more (x)", "schema: the table `more` is not ours"),
        ("CREATE INDEX more ON entry (at)", "schema: the index `more` is not ours"),
        ("CREATE VIEW more AS SELECT 1", "schema: the view `more` is not ours"),
        (
            "CREATE TRIGGER more BEFORE INSERT ON entry BEGIN SELECT raise(ignore); END",
            "schema: the trigger `more` is not ours",
        ),
        ("DROP INDEX agent_key_agent", "schema: the index `agent_key_agent` is missing"),
        ("ALTER TABLE slot_window ADD COLUMN x TEXT", "schema: the table `slot_window` is another"),
    ] {
        let (_folder, path) = log(3);
        let outsider = rusqlite::Connection::open(&path).unwrap();
        outsider.execute_batch("ANALYZE").unwrap();
        assert_eq!(broken(&path), None);
        outsider.execute_batch(sql).unwrap();
        let found = broken(&path).map(|broken| broken.to_string()).unwrap_or_default();
        assert!(found.contains(named), "{sql}: {found}");
    }
}

#[test]
fn a_purge_leaves_a_log_that_verifies_lists_and_counts() {
    let (_folder, path) = log(1500);
    let all = rows(&path, &Filter::default(), 0);
    let before = start() + SignedDuration::from_secs(1000);
    let foreseen = would_purge(&path, before).unwrap();
    let purged = purge(&path, (before, Proof::Required), &Options::default(), |_| ()).unwrap();
    assert_eq!(purged, foreseen);
    assert_eq!(purged.decisions, 1000);
    assert_eq!(broken(&path), None);
    assert_eq!(rows(&path, &Filter::default(), 0), all[1000..]);
    let stats = Reader::open(&path).unwrap().stats(&Filter::default()).unwrap();
    assert_eq!(stats.decisions, 500);
    assert_eq!(stats.by_decision["deny"], 72);
    assert_eq!(stats.answered, 428);

    // The second purge removes older rows and the entry of the first.
    let later = Timestamp::now() + SignedDuration::from_secs(1);
    assert_eq!(
        purge(&path, (later, Proof::Required), &Options::default(), |_| ()).unwrap().decisions,
        500
    );
    assert_eq!(broken(&path), None);
    assert_eq!(rows(&path, &Filter::default(), 0), []);
    record(&open(&path), draft("after")).unwrap();
    assert_eq!(broken(&path), None);
    assert_eq!(rows(&path, &Filter::default(), 0).len(), 1);
}

/// Of the remaining rows: of the hour in which the log now begins, its day, and the whole log.
#[test]
fn a_purge_leaves_the_longest_answer_of_those_that_are_left() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    for n in 0..3_000_i64 {
        let at = start() + SignedDuration::from_secs(20 * n);
        let id = record(&store, Draft { at, ..draft(["a", "b"][n as usize % 2]) }).unwrap();
        let upstream = Duration::from_millis(10_000 - n as u64);
        store.complete(&id, Completion { upstream, ..completion() });
    }
    drop(store);
    let longest = |since: i64, until: i64| {
        let at = |seconds| Some(start() + SignedDuration::from_secs(seconds));
        let filter = Filter { since: at(since), until: at(until), ..Filter::default() };
        Reader::open(&path).unwrap().stats(&filter).unwrap().upstream_ms_max
    };
    assert_eq!(longest(0, 86_400), 10_000.0);
    for gone in [7, 100, 701] {
        let before = start() + SignedDuration::from_secs(20 * gone);
        purge(&path, (before, Proof::Required), &Options::default(), |_| ()).unwrap();
        let left = (10_000 - gone) as f64;
        let all = Reader::open(&path).unwrap().stats(&Filter::default()).unwrap();
        assert_eq!(all.upstream_ms_max, left);
        let hour = 20 * gone / 3_600 * 3_600;
        assert_eq!(longest(hour, hour + 3_599), left, "of the hour");
        assert_eq!(longest(0, 86_400), left, "of the day");
        assert_eq!(broken(&path), None);
    }
}

/// Those who purge are often short of space.
#[test]
fn purge_needs_less_space_than_it_frees() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    for n in 0..6_000 {
        record(&store, Draft { args: format!("{n:04090}"), ..draft("t") }).unwrap();
    }
    drop(store);
    let wal = folder.path().join("audit.db-wal");
    let mut longest = 0;
    let later = Timestamp::now() + SignedDuration::from_secs(1);
    let purged = purge(&path, (later, Proof::Required), &Options::default(), |_| {
        longest = longest.max(std::fs::metadata(&wal).unwrap().len());
    });
    assert_eq!(purged.unwrap().decisions, 6_000);
    assert!((1..16 << 20).contains(&longest), "{longest}");
    assert_eq!(broken(&path), None);
}

#[test]
fn a_purge_removes_nothing_that_does_not_hold() {
    let (_folder, path) = log(100);
    let before = start() + SignedDuration::from_secs(50);
    tamper(&path, "UPDATE entry SET args = '{}' WHERE seq = 19");
    let refused = purge(&path, (before, Proof::Required), &Options::default(), |_| ());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("entry 19 ("), "{refused}");
    assert_eq!(rows(&path, &Filter::default(), 0).len(), 100);
    // The remaining rows are not verified.
    let earlier = start() + SignedDuration::from_secs(5);
    let purged = purge(&path, (earlier, Proof::Required), &Options::default(), |_| ()).unwrap();
    assert_eq!(purged.decisions, 5);
    purge(&path, (before, Proof::Waived), &Options::default(), |_| ()).unwrap();
    assert_eq!(rows(&path, &Filter::default(), 0).len(), 50);
    assert_eq!(broken(&path), None);
}

#[test]
fn a_purge_hides_no_removal_of_more() {
    let (_folder, path) = log(100);
    let before = start() + SignedDuration::from_secs(50);
    purge(&path, (before, Proof::Required), &Options::default(), |_| ()).unwrap();
    let first = rows(&path, &Filter::default(), 0)[0].clone();
    tamper(&path, "DELETE FROM entry WHERE seq = (SELECT min(seq) FROM entry)");
    assert!(matches!(broken(&path), Some(Broken::Missing { from: 1, .. })), "{first:?}");
}

#[test]
fn a_purge_that_was_killed_is_finished_by_the_next() {
    let (_folder, path) = log(1500);
    let before = start() + SignedDuration::from_secs(1000);
    // Interrupted, as by a signal: what is committed remains.
    let killed = std::panic::catch_unwind(|| {
        purge(&path, (before, Proof::Required), &Options::default(), |gone| {
            assert!(gone < 900, "killed")
        })
    });
    assert!(killed.is_err());
    assert_eq!(broken(&path), None);
    purge(&path, (start(), Proof::Required), &Options::default(), |_| ()).unwrap();
    assert_eq!(rows(&path, &Filter::default(), 0).len(), 500);
    assert_eq!(broken(&path), None);
}

#[test]
fn writers_go_on_during_a_purge_and_after_it() {
    let (_folder, path) = log(1500);
    let writer = open(&path);
    record(&writer, draft("read_file")).unwrap();
    let later = Timestamp::now() + SignedDuration::from_secs(1);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for _ in 0..200 {
                record(&writer, draft("read_file")).unwrap();
            }
        });
        purge(&path, (later, Proof::Required), &Options::default(), |_| ()).unwrap();
        writing.join().unwrap();
    });
    // The facet that the writer has cached may be gone from the dictionary.
    record(&writer, draft("read_file")).unwrap();
    writer.close();
    assert_eq!(broken(&path), None);
    for row in rows(&path, &Filter::default(), 0) {
        assert_eq!(row.tool, "read_file");
    }
}
