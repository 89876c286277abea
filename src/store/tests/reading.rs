//! Reading what the writer wrote.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::{completion, draft, record, store};
use crate::action::Transport;
use crate::store::StoreError;
use crate::store::audit::{Completion, Draft, Outcome};
use crate::store::read::{Filter, Reader};
use crate::store::row::Row;
use crate::store::verify::Broken;
use crate::verdict::Decision;

pub(super) fn rows(path: &Path, filter: &Filter, limit: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    Reader::open(path)
        .unwrap()
        .rows(filter, limit, |row| {
            rows.push(row);
            Ok::<_, StoreError>(())
        })
        .unwrap();
    rows
}

pub(super) fn broken(path: &Path) -> Option<Broken> {
    Reader::open(path).unwrap().verify(None, |_, _| ()).unwrap().broken
}

pub(super) fn tamper(path: &Path, sql: &str) {
    let changed = rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap();
    assert!(changed > 0, "{sql}");
}

pub(super) fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A log of `count` decisions a second apart by three agents. Every seventh is
/// denied; the others are each followed by their result.
pub(super) fn log(count: usize) -> (TempDir, PathBuf) {
    let (folder, store) = store();
    for index in 0..count {
        let at = start() + SignedDuration::from_secs(index as i64);
        let denied = index % 7 == 0;
        let id = record(
            &store,
            Draft {
                at,
                agent: ["alice", "bob", "carol"][index % 3].into(),
                decision: if denied { Decision::Deny } else { Decision::Allow },
                outcome: if denied { Outcome::Refused } else { Outcome::Forwarded },
                reason: format!("reason {index}"),
                ..draft(["read_file", "write_file"][index % 2])
            },
        )
        .unwrap();
        if !denied {
            store.complete(&id, completion());
        }
    }
    store.close();
    let path = folder.path().join("audit.db");
    (folder, path)
}

#[test]
fn row_contains_the_decision_and_its_result() {
    let (_folder, path) = log(2);
    let rows = rows(&path, &Filter::default(), 50);
    assert_eq!(rows.len(), 2);
    let json: serde_json::Value = serde_json::to_value(&rows[1]).unwrap();
    for (name, value) in [
        ("time", "2026-01-01T00:00:01.000000Z"),
        ("session", "s1"),
        ("agent", "bob"),
        ("transport", "stdio"),
        ("server", "files"),
        ("method", "tools/call"),
        ("tool", "write_file"),
        ("intent", "read"),
        ("decision", "allow"),
        ("outcome", "forwarded"),
        ("policy", "default"),
        ("rule", "default#1"),
        ("reason", "reason 1"),
        ("stage", "policy"),
        ("status", "ok"),
        ("mode", "enforce"),
    ] {
        assert_eq!(json[name], value, "{name}");
    }
    assert_eq!(json["args"], serde_json::json!({"path": "/srv"}));
    assert_eq!(json["decision_us"], 3);
    assert_eq!(json["upstream_ms"], 12.0);
    assert_eq!(json["args_digest"].as_str().unwrap().len(), 64);
    assert_eq!(rows[0].prev_hash, "0".repeat(64));
    assert_eq!(rows[1].prev_hash, rows[0].hash, "a refused action has no result in between");
    assert_eq!(rows[0].status, None);
}

#[test]
fn every_filter_finds_what_a_scan_finds() {
    // Enough that some rows are indexed and some are not.
    let (_folder, path) = log(1500);
    let all = rows(&path, &Filter::default(), 0);
    assert_eq!(all.len(), 1500);
    let at = |seconds| Some(start() + SignedDuration::from_secs(seconds));
    let text = |text: &str| Some(text.to_owned());
    type Test = fn(&Row) -> bool;
    let cases: [(Filter, Test); 9] = [
        (Filter { agent: text("bob"), ..Filter::default() }, |row| row.agent == "bob"),
        (Filter { agent: text("*o?"), ..Filter::default() }, |row| row.agent != "alice"),
        (Filter { decision: text("deny"), ..Filter::default() }, |row| row.decision == "deny"),
        (Filter { tool: text("write_file"), ..Filter::default() }, |row| row.tool == "write_file"),
        (Filter { server: text("nowhere"), ..Filter::default() }, |_| false),
        (
            Filter {
                agent: text("bob"),
                decision: text("deny"),
                tool: text("read*"),
                ..Filter::default()
            },
            |row| row.agent == "bob" && row.decision == "deny" && row.tool == "read_file",
        ),
        (Filter { since: at(300), until: at(1450), ..Filter::default() }, |row| {
            ("2026-01-01T00:05:00"..="2026-01-01T00:24:10.000000Z")
                .contains(&row.time_text().as_str())
        }),
        (Filter { since: at(1400), decision: text("deny"), ..Filter::default() }, |row| {
            row.time_text().as_str() >= "2026-01-01T00:23:20" && row.decision == "deny"
        }),
        (Filter { agent: text("carol"), text: text("REASON 7"), ..Filter::default() }, |row| {
            row.agent == "carol" && row.reason.starts_with("reason 7")
        }),
    ];
    for (filter, test) in cases {
        let expected: Vec<&Row> = all.iter().filter(|row| test(row)).collect();
        let found = rows(&path, &filter, 0);
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
        let newest = rows(&path, &filter, 50);
        let skipped = expected.len().saturating_sub(50);
        assert_eq!(newest.iter().collect::<Vec<_>>(), expected[skipped..], "{filter:?}");
    }
}

#[test]
fn pages_follow_each_other_without_gap_or_overlap() {
    let (_folder, path) = log(120);
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let page = rows(&path, &Filter { before, ..Filter::default() }, 50);
        let Some(first) = page.first() else { break };
        before = Some(first.id);
        pages.splice(0..0, page);
    }
    assert_eq!(pages, rows(&path, &Filter::default(), 0));
    let after = Some(pages[99].id);
    assert_eq!(rows(&path, &Filter { after, ..Filter::default() }, 0), pages[100..]);
}

#[test]
fn figures_are_exact_with_and_without_a_window() {
    let (_folder, path) = log(1500);
    let reader = Reader::open(&path).unwrap();
    let stats = reader.stats(&Filter::default()).unwrap();
    assert_eq!(stats.decisions, 1500);
    assert_eq!(stats.by_decision["deny"], 215);
    assert_eq!((stats.answered, stats.failed), (1285, 0));
    assert_eq!(stats.upstream_ms_max, 12.0);
    assert_eq!(stats.by_agent.iter().map(|agent| agent.decisions).sum::<i64>(), 1500);
}

#[test]
fn figures_of_a_window_are_those_of_its_rows() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    // Over four days, so that day, hour and row counts are all needed.
    for index in 0..1300_i64 {
        let at = start() + SignedDuration::from_secs(index * 271);
        let id = record(&store, Draft { at, ..draft("t") }).unwrap();
        if index % 2 == 0 {
            store.complete(&id, completion());
        }
    }
    store.close();
    let reader = Reader::open(&path).unwrap();
    for (since, until) in
        [(0, 400_000), (100, 3000), (1, 90_000), (3600, 345_600), (50_000, 340_001)]
    {
        let at = |seconds| Some(start() + SignedDuration::from_secs(seconds));
        let filter = Filter { since: at(since), until: at(until), ..Filter::default() };
        let expected = rows(&path, &filter, 0);
        let stats = reader.stats(&filter).unwrap();
        let answered = expected.iter().filter(|row| row.status.is_some()).count();
        assert_eq!((stats.decisions, stats.answered), (expected.len() as i64, answered as i64));
    }
}

#[test]
fn times_are_found_across_a_clock_that_was_set_back() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let now = Timestamp::now();
    let ahead = now + SignedDuration::from_hours(9);
    for (at, tool) in [(now, "a"), (ahead, "b"), (now, "c"), (ahead, "d"), (now, "e")] {
        store.writer.set_clock(if at == ahead { 10 } else { 0 });
        record(&store, Draft { at, ..draft(tool) }).unwrap();
    }
    store.close();
    assert_eq!(broken(&path), None);
    let tools = |filter: Filter| -> Vec<String> {
        rows(&path, &filter, 50).into_iter().map(|row| row.tool).collect()
    };
    assert_eq!(tools(Filter { since: Some(ahead), ..Filter::default() }), ["b", "d"]);
    let until = now + SignedDuration::from_hours(1);
    assert_eq!(tools(Filter { until: Some(until), ..Filter::default() }), ["a", "c", "e"]);
}

#[test]
fn a_result_that_failed_shows_and_an_observed_row_stays_observed() {
    let (folder, store) = store();
    let failed = record(&store, draft("a")).unwrap();
    let observed = Draft { outcome: Outcome::Observed, observing: true, ..draft("b") };
    let observed = record(&store, observed).unwrap();
    let error = Completion {
        outcome: Outcome::Error,
        upstream: Duration::from_secs(1),
        status: "-32000".to_owned(),
    };
    store.complete(&failed, error);
    store.complete(&observed, completion());
    store.close();
    let outcomes: Vec<_> = rows(&folder.path().join("audit.db"), &Filter::default(), 0)
        .into_iter()
        .map(|row| (row.outcome, row.mode, row.status))
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        outcomes,
        [
            ("error".to_owned(), "enforce".to_owned(), some("-32000")),
            ("observed".to_owned(), "observe".to_owned(), some("ok")),
        ]
    );
}

#[test]
fn failed_rows_are_found_with_and_without_the_index() {
    let (folder, store) = store();
    for index in 0..1300 {
        let id = record(&store, draft("t")).unwrap();
        let outcome = if index % 97 == 5 { Outcome::Error } else { Outcome::Forwarded };
        store.complete(&id, Completion { outcome, ..completion() });
    }
    store.close();
    let path = folder.path().join("audit.db");
    let failed: Vec<Row> = rows(&path, &Filter::default(), 0)
        .into_iter()
        .filter(|row| row.outcome == "error")
        .collect();
    let by_outcome = Reader::open(&path).unwrap().stats(&Filter::default()).unwrap().by_outcome;
    let (all, failures) = (1300, failed.len() as i64);
    let expected = [("error", failures), ("forwarded", all - failures)];
    assert_eq!(by_outcome, expected.map(|(outcome, count)| (outcome.to_owned(), count)).into());
    let filter = Filter { failed: true, ..Filter::default() };
    assert_eq!((failed.len(), &rows(&path, &filter, 0)), (14, &failed));
    let reader = Reader::open(&path).unwrap();
    let page = reader.page(&filter, 1, 3).unwrap();
    assert_eq!((page.total, page.rows.len()), (Some(14), 3));
    assert_eq!(page.rows[0], failed[12]);
    let stats = reader.stats(&Filter::default()).unwrap();
    let kinds: Vec<_> = stats.by_kind.into_iter().collect();
    assert_eq!(kinds, [("allow".to_owned(), 1286), ("error".to_owned(), 14)]);
    let outcome = Filter { outcome: Some("error".to_owned()), ..Filter::default() };
    assert_eq!(rows(&path, &outcome, 0), failed);
    assert_eq!(reader.page(&outcome, 1, 3).unwrap().rows, page.rows);
    let none = Filter { agent: Some("nobody".to_owned()), ..filter };
    assert_eq!(reader.page(&none, 0, 3).unwrap().total, Some(0));
}

#[test]
fn mcp_rows_are_distinguished_from_rest_rows() {
    let (folder, store) = store();
    for transport in [Transport::Stdio, Transport::Rest, Transport::Http] {
        record(&store, Draft { transport, ..draft("t") }).unwrap();
    }
    store.close();
    let filter = Filter { mcp: true, ..Filter::default() };
    let found = rows(&folder.path().join("audit.db"), &filter, 0);
    assert_eq!(found.iter().map(|row| &*row.transport).collect::<Vec<_>>(), ["stdio", "http"]);
}

#[test]
fn there_is_nothing_to_read_before_the_first_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    assert!(Reader::open(&path).unwrap_err().to_string().contains("none yet"));
    assert!(!path.exists());
}

#[test]
fn a_full_dictionary_takes_no_more_tools_and_loses_none() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    record(&store, draft("known")).unwrap();
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
             INSERT INTO facet SELECT NULL, CAST('k' || i AS BLOB), 'flood', '', '', '',
               't' || i, '', '', '', '', '', '', '', '' FROM n",
        )
        .unwrap();
    for index in 0..1200 {
        record(&store, draft(["known", "new1", "new2"][index % 3])).unwrap();
    }
    store.close();
    let named = |tool: &str| {
        let filter = Filter { tool: Some(tool.to_owned()), ..Filter::default() };
        let found = rows(&path, &filter, 0);
        assert!(found.iter().all(|row| row.tool == tool));
        found.len()
    };
    assert_eq!([named("known"), named("new1"), named("new2")], [401, 400, 400]);
    assert_eq!(broken(&path), None);
    let count = "SELECT count(*) FROM facet WHERE agent <> 'flood'";
    let outsider = rusqlite::Connection::open(&path).unwrap();
    let own: i64 = outsider.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(own, 2, "the known tool's, and one for all the others");
}
