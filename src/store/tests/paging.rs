//! Pages of the log, newest first, and what each agent has done.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::{completion, draft, record, store};
use crate::store::audit::{Draft, Outcome};
use crate::store::read::{Filter, Reader};
use crate::verdict::{Decision, Stage};

/// A log of `count` decisions by `a` and `b` in turn, a second apart. Every
/// fourth is denied by a rate limit; the others are answered.
fn log(count: usize) -> (TempDir, PathBuf) {
    let (folder, store) = store();
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for index in 0..count {
        let denied = index % 4 == 0;
        let (decision, outcome, stage) = match denied {
            true => (Decision::Deny, Outcome::Refused, Stage::RateLimit),
            false => (Decision::Allow, Outcome::Forwarded, Stage::Policy),
        };
        let at = start + SignedDuration::from_secs(index as i64);
        let agent = ["a", "b"][index % 2].into();
        let session = if index < 10 { "first" } else { "second" }.into();
        let reason = index.to_string();
        let row = Draft { at, agent, session, reason, decision, outcome, stage, ..draft("t") };
        let id = record(&store, row).unwrap();
        if !denied {
            store.complete(&id, completion());
        }
    }
    store.close();
    let path = folder.path().join("audit.db");
    (folder, path)
}

fn reasons(reader: &Reader, filter: &Filter, offset: u64, limit: u64) -> (Vec<usize>, Option<i64>) {
    let page = reader.page(filter, offset, limit).unwrap();
    (page.rows.iter().map(|row| row.reason.parse().unwrap()).collect(), page.total)
}

#[test]
fn pages_are_newest_first_and_follow_each_other() {
    let (_folder, path) = log(1_500);
    let reader = Reader::open(&path).unwrap();
    let all = Filter::default();
    assert_eq!(reasons(&reader, &all, 0, 3), (vec![1_499, 1_498, 1_497], Some(1_500)));
    assert_eq!(reasons(&reader, &all, 1_498, 9), (vec![1, 0], Some(1_500)));
    assert_eq!(reasons(&reader, &all, 2_000, 9), (vec![], Some(1_500)));
    let limited = Filter { stage: Some("rate_limit".to_owned()), ..Filter::default() };
    assert_eq!(reasons(&reader, &limited, 1, 2), (vec![1_492, 1_488], Some(375)));
    let first = Filter { session: Some("first".to_owned()), ..Filter::default() };
    assert_eq!(reasons(&reader, &first, 2, 3), (vec![7, 6, 5], None));
}

#[test]
fn page_before_a_row_continues_after_the_previous_page() {
    let (_folder, path) = log(50);
    let reader = Reader::open(&path).unwrap();
    let page = reader.page(&Filter::default(), 0, 10).unwrap();
    let before = page.rows.last().map(|row| row.id);
    let next = Filter { before, ..Filter::default() };
    assert_eq!(reasons(&reader, &next, 0, 2), (vec![39, 38], Some(50)));
}

#[test]
fn each_agent_is_counted_in_the_index_and_beyond_it() {
    let (_folder, path) = log(1_500);
    let counts = Reader::open(&path).unwrap().counts_by_agent(None).unwrap();
    assert_eq!((counts["a"].requests, counts["a"].denied), (750, 375));
    assert_eq!((counts["b"].requests, counts["b"].denied), (750, 0));
    assert_eq!(counts["b"].last.unwrap().to_string(), "2026-01-01T00:24:59Z");
    assert!((counts["a"].deny_rate() - 0.5).abs() < 1e-9);
    let one = Reader::open(&path).unwrap().counts_by_agent(Some("a")).unwrap();
    assert_eq!((one.len(), one["a"]), (1, counts["a"]));
}
