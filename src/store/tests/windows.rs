//! Rate limits: which slots are taken, whoever took them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{alice, completion, draft, holds, open, record, rows, store, wait};
use crate::action::Agent;
use crate::policy::Limit;
use crate::rate::{Demand, Usage};
use crate::store::audit::Draft;
use crate::store::{Store, schema};
use crate::verdict::Quota;

pub(super) fn limit(policy: &str, seconds: u64, max: u32) -> Limit {
    Limit { policy: policy.into(), window: Duration::from_secs(seconds), max, observed: false }
}

/// Whether a slot is free at `at`; takes it.
fn take_slot(store: &Store, limits: &[Limit], at: Timestamp) -> bool {
    take_slots(store, &alice(), Demand { limits, requests: 1 }, at)
}

fn take_slots(store: &Store, agent: &Agent, demand: Demand<'_>, at: Timestamp) -> bool {
    let name = Arc::clone(&agent.name);
    let policies: Vec<Arc<str>> =
        demand.limits.iter().map(|limit| Arc::clone(&limit.policy)).take(1).collect();
    let decide = move |usage: Vec<Usage>| {
        let free = usage.iter().all(|usage| usage.retry_after(at).is_none());
        let slots = if free { policies } else { Vec::new() };
        (Draft { at, agent: name, takes_slot_of: slots, ..draft("t") }, free)
    };
    wait(store.record_all(agent, demand, decide)).unwrap().1
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
        let free =
            take_slots(&store, &alice(), Demand { limits: &limits, requests }, after(second));
        assert_eq!(free, fits, "{requests} at {second}");
    }
}

#[test]
fn no_window_ever_holds_more_than_its_limit() {
    let (_folder, store) = store();
    let limits = [limit("p", 60, 5), limit("p", 3600, 12)];
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut granted: Vec<Timestamp> = Vec::new();
    // Irregular steps over two hours, with twelve times too many requests.
    let mut at = start;
    for step in 0..1500_i64 {
        at += SignedDuration::from_millis(200 + (step * 7919) % 9000);
        if take_slot(&store, &limits, at) {
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
    let path = folder.path().join("audit.db");
    let limits = [limit("p", 60, 1000)];
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for minute in 0..400 {
        assert!(take_slot(&store, &limits, start + SignedDuration::from_mins(minute)));
    }
    let db = rusqlite::Connection::open(path).unwrap();
    let numbers = "SELECT min(n), max(n), count(*) FROM
                   (SELECT n FROM slot_window UNION SELECT n FROM slot_queue)";
    let row = db.query_row(numbers, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (oldest, newest, count): (i64, i64, i64) = row.unwrap();
    // Kept for an hour, trimmed once in sixteen slots.
    assert_eq!((newest, count), (400, newest - oldest + 1));
    assert!((60..60 + 16).contains(&count), "{count}");
}

#[test]
fn remaining_quota_is_reported_for_a_batch_that_does_not_fit() {
    let (_folder, store) = store();
    let limits = [limit("p", 60, 5)];
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for second in [0, 10, 20] {
        assert!(take_slot(&store, &limits, start + SignedDuration::from_secs(second)));
    }
    let full = |requests: u32, second: i64| {
        let at = start + SignedDuration::from_secs(second);
        let decide = move |usage: Vec<Usage>| (Draft { at, ..draft("t") }, usage[0].full(at));
        let full = wait(store.record_all(&alice(), Demand { limits: &limits, requests }, decide))
            .unwrap()
            .1?;
        let after = full.retry_after.map(|after| after.as_secs());
        Some((after, full.remaining, full.reset.as_secs()))
    };
    assert_eq!(full(2, 30), None);
    assert_eq!(full(3, 30), Some((Some(30), 2, 30)));
    assert_eq!(full(5, 30), Some((Some(50), 2, 30)));
    assert_eq!(full(5, 60), Some((Some(20), 3, 10)));
    assert_eq!(full(6, 60), Some((None, 3, 10)));
    assert_eq!(full(6, 80), Some((None, 5, 0)));
    assert_eq!(full(5, 80), None);
}

#[test]
fn remaining_quota_is_that_of_the_nearest_limit() {
    let (_folder, store) = store();
    let observed = Limit { observed: true, ..limit("p", 60, 2) };
    let limits = [limit("p", 60, 7), limit("p", 3600, 40), observed];
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut taken: Vec<Timestamp> = Vec::new();
    let mut reported = std::collections::BTreeSet::new();
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
        reported.insert((left[0].limit, left[0].remaining));
    }
    for seen in [(7, 6), (7, 0), (40, 1), (40, 0)] {
        assert!(reported.contains(&seen), "{seen:?} of {reported:?}");
    }
}

/// A store caches where windows begin, while other stores take slots, stores are reopened, and
/// limits change.
#[test]
fn remaining_quota_is_exact_across_processes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut stores = [0, 1].map(|_| open(&path));
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
        // Sometimes the limit is lower: then it is exceeded, and the next is as before.
        let max = if step % 37 < 5 { 3 } else { 100 };
        let which = usize::from(step % 7 < 3);
        let at = start + SignedDuration::from_secs(second);
        match step % 29 {
            11 => stores[which] = open(&path),
            // Rows in between that take no slots.
            17 => drop(record(&stores[which], Draft { at, ..draft("t") }).unwrap()),
            _ => {}
        }
        let left = take(&stores[which], max, at);
        assert_eq!(left, max.saturating_sub(u32::try_from(used).unwrap()), "{step}");
    }
    assert!(holds(&path));
}

/// Slots of all agents share a queue, from which each store moves them when it likes.
#[test]
fn each_of_many_agents_has_its_window_whoever_took_the_slots() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut stores = [0, 1, 2].map(|_| open(&path));
    let limits = [limit("p", 60, 20), limit("p", 3600, 50)];
    let now = Timestamp::now();
    let mut taken: Vec<Vec<Timestamp>> = vec![Vec::new(); 60];
    let mut at = now;
    for step in 0..6_000_usize {
        // A third of the agents makes most requests.
        let which = (step * 7919 + step / 11) % 131 % taken.len();
        at += SignedDuration::from_millis((step as i64 * 104_729) % 400);
        let store = step / 7 % 3;
        if step % 501 == 500 {
            stores[store] = open(&path);
        }
        let agent = Agent::named(format!("agent {which}"));
        let used = |window: i64| {
            let begin = at - SignedDuration::from_secs(window);
            taken[which].iter().filter(|taken| **taken > begin).count()
        };
        let fits = used(60) < 20 && used(3600) < 50;
        assert_eq!(
            take_slots(&stores[store], &agent, Demand { limits: &limits, requests: 1 }, at),
            fits,
            "{step}"
        );
        if fits {
            taken[which].push(at);
        }
    }
    let db = rusqlite::Connection::open(&path).unwrap();
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        db.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert!((1..=400).contains(&count("slot_queue")), "{}", count("slot_queue"));
    assert!(count("slot_window") > 1_000, "{}", count("slot_window"));
    assert!(holds(&path));
}

#[test]
fn slots_that_an_older_version_counted_count() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    store.close();
    let outsider = rusqlite::Connection::open(&path).unwrap();
    schema::make_older(&outsider, 5);
    let now = Timestamp::now();
    let insert = "INSERT INTO slot VALUES ('alice', 'p', 7, ?1)";
    outsider.execute(insert, [now.as_microsecond()]).unwrap();
    let store = open(&path);
    let limits = [limit("p", 60, 2)];
    assert_eq!([0, 1].map(|_| take_slot(&store, &limits, now)), [true, false]);
    // The older slot still exists, but is never read.
    let insert = outsider.execute(insert, [now.as_microsecond()]).unwrap_err();
    assert!(insert.to_string().contains("no such table: slot"), "{insert}");
    assert!(holds(&path));
}

#[test]
fn slots_of_more_agents_than_a_writer_remembers_count() {
    let (_folder, store) = store();
    let now = Timestamp::now();
    let limits = [limit("p", 60, 1)];
    for expected in [true, false] {
        for n in 0..4_500 {
            let agent = Agent::named(format!("agent {n}"));
            assert_eq!(
                take_slots(&store, &agent, Demand { limits: &limits, requests: 1 }, now),
                expected,
                "{n}"
            );
        }
    }
}

#[test]
fn an_agent_with_a_long_name_has_one_window_in_all_processes() {
    let (folder, store) = store();
    let agent = Agent::named("long ".repeat(500));
    let limits = [limit("p", 60, 2)];
    let now = Timestamp::now();
    assert!(take_slots(&store, &agent, Demand { limits: &limits, requests: 1 }, now));
    let other = open(&folder.path().join("audit.db"));
    assert!(take_slots(&other, &agent, Demand { limits: &limits, requests: 1 }, now));
    assert!(!take_slots(&other, &agent, Demand { limits: &limits, requests: 1 }, now));
    assert!(!take_slots(&store, &agent, Demand { limits: &limits, requests: 1 }, now));
}

#[test]
fn remaining_quota_of_a_very_long_window_is_reported() {
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
                    (0..20).filter(|_| take_slot(&store, limits, at)).count()
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
    assert!(!take_slot(&store, &[limit("none", 60, 0)], now));
    assert!(take_slot(&store, &[limit("p", 60, 1)], now));
    assert!(!take_slot(&store, &[limit("p", 60, 1)], now));
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
        store.writer.set_clock(10);
        assert!(take_slot(&store, &limits, now + SignedDuration::from_hours(9)));
        store.writer.set_clock(0);
        let soon = now + SignedDuration::from_secs(5);
        let free = (0..max).take_while(|_| take_slot(&store, &limits, soon)).count();
        assert_eq!(free, max as usize - 1);
        assert!(take_slot(&store, &limits, now + SignedDuration::from_secs(70)));
    }
}

/// Actions read before the clock was set back are recorded after it, with the timestamps of
/// their results.
#[test]
fn clock_set_back_during_a_transaction_frees_no_slot() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let limits = [limit("p", 60, 5)];
    let now = Timestamp::now();
    let take = |at: Timestamp| {
        let decide = move |usage: Vec<Usage>| {
            let free = usage.iter().all(|usage| usage.retry_after(at).is_none());
            let takes_slot_of = if free { vec!["p".into()] } else { Vec::new() };
            (Draft { at, takes_slot_of, ..draft("t") }, free)
        };
        let (row, free) = wait(store.record(&alice(), &limits, decide)).unwrap();
        store.complete(&row.id, completion());
        free
    };
    store.writer.set_clock(9);
    let mut granted = usize::from(take(now + SignedDuration::from_hours(9)));
    store.writer.set_clock(0);
    granted += (0..40).filter(|_| take(now)).count();
    store.close();
    assert_eq!(granted, 5);
    let outsider = rusqlite::Connection::open(&path).unwrap();
    let mended = "SELECT count(*) FROM entry WHERE kind = 3";
    assert_eq!(outsider.query_row(mended, [], |row| row.get::<_, i64>(0)), Ok(1));
    assert!(holds(&path));
}
