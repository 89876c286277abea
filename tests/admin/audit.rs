//! The log through the API.

use std::thread;
use std::time::{Duration, Instant};

use agentgate::verdict::{Decision, Stage};
use serde_json::Value;

use crate::support::Gate;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn filled() -> Gate {
    let gate = Gate::start();
    gate.post("/agents", r#"{"name": "bot"}"#);
    for index in 0..5 {
        gate.record("bot", &format!("/repos/{index}"), Decision::Allow, Stage::Policy);
    }
    gate.record("bot", "/repos/x", Decision::Deny, Stage::Policy);
    gate.record("else", "=cmd()", Decision::Deny, Stage::RateLimit);
    gate
}

fn paths(page: &Value) -> Vec<&str> {
    page["logs"].as_array().unwrap().iter().map(|row| row["path"].as_str().unwrap()).collect()
}

#[test]
fn rows_have_the_names_of_the_log_and_those_that_scripts_know() {
    let gate = filled();
    let page = gate.get("/audit/logs?agent=bot&decision=allow&limit=1").json();
    let row = &page["logs"][0];
    assert_eq!((&page["total"], &row["resource"]), (&5.into(), &"/repos/4".into()));
    for (name, value) in [
        ("agent", "bot"),
        ("agent_name", "bot"),
        ("provider", "github"),
        ("method", "GET"),
        ("path", "/repos/4"),
        ("decision", "allow"),
        ("outcome", "forwarded"),
        ("transport", "rest"),
        ("session", "s1"),
        ("stage", "policy"),
    ] {
        assert_eq!(row[name], *value, "{name}");
    }
    assert_eq!(row["id"], row["request_id"]);
    assert_eq!(row["agent_id"], gate.get("/agents/bot").json()["agent_id"]);
    assert!(row["deny_reason"].is_null() && row["server"].is_null() && row["tool"].is_null());
    assert!(row["timestamp"].as_str().unwrap().len() == 19);
    let denied = gate.get("/audit/logs?decision=deny&agent=bot").json();
    assert_eq!(denied["logs"][0]["deny_reason"], "because, \"so\"");
}

#[test]
fn pages_are_newest_first_and_filters_select() {
    let gate = filled();
    let id = gate.get("/agents/bot").json()["agent_id"].as_str().unwrap().to_owned();
    for (query, expected) in [
        ("limit=2".to_owned(), vec!["=cmd()", "/repos/x"]),
        ("limit=2&offset=1".to_owned(), vec!["/repos/x", "/repos/4"]),
        ("decision=rate_limited".to_owned(), vec!["=cmd()"]),
        ("decision=deny".to_owned(), vec!["=cmd()", "/repos/x"]),
        ("decision=error".to_owned(), vec![]),
        ("provider=mcp".to_owned(), vec![]),
        (format!("agent_id={id}&decision=deny"), vec!["/repos/x"]),
        ("agent_id=nobody".to_owned(), vec![]),
        ("provider=github&resource=/repos/3".to_owned(), vec!["/repos/3"]),
        ("provider=slack".to_owned(), vec![]),
        ("session=s2".to_owned(), vec![]),
        ("session=s1&limit=1".to_owned(), vec!["=cmd()"]),
        ("since=1h&until=2099-01-01&limit=1".to_owned(), vec!["=cmd()"]),
        ("until=2h".to_owned(), vec![]),
    ] {
        assert_eq!(paths(&gate.get(&format!("/audit/logs?{query}")).json()), expected, "{query}");
    }
    let first = gate.get("/audit/logs?limit=4").json();
    let next = first["next"].as_str().unwrap();
    let second = gate.get(&format!("/audit/logs?limit=4&before={next}")).json();
    assert_eq!(paths(&second), ["/repos/2", "/repos/1", "/repos/0"]);
    assert!(second["next"].is_null());
    for bad in [
        "limit=0",
        "limit=10001",
        "limit=x",
        "before=1",
        "since=then",
        "decision=no",
        "agnet=x",
        "offset=-1",
    ] {
        assert_eq!(gate.get(&format!("/audit/logs?{bad}")).status, 422, "{bad}");
    }
}

#[test]
fn pretty_is_indented() {
    let gate = filled();
    let pretty = gate.get("/audit/logs?pretty=true&limit=1");
    assert!(pretty.body.starts_with("{\n  \"logs\": [\n    {\n      \"id\""), "{pretty:?}");
    assert!(!gate.get("/audit/logs?limit=1").body.contains('\n'));
}

#[test]
fn figures_count_what_a_filter_selects() {
    let gate = filled();
    let all = gate.get("/audit/stats").json();
    assert_eq!((&all["total_requests"], &all["rate_limited"]), (&7.into(), &1.into()));
    assert_eq!(
        (&all["by_decision"]["deny"], &all["by_provider"]["github"]),
        (&1.into(), &7.into())
    );
    let one = gate.get("/audit/stats?agent=else").json();
    assert_eq!((&one["total_requests"], &one["deny_rate"]), (&1.into(), &1.0.into()));
}

/// Scripts there are that ask for `rate_limited` and `error` as for a decision, and
/// expect each row under one of them.
#[test]
fn what_failed_and_what_a_limit_denied_are_found_by_these_names() {
    let gate = filled();
    for index in 0..3 {
        gate.record_failed("bot", &format!("/failed/{index}"));
    }
    let deadline = Instant::now() + PATIENCE;
    // Results are written a moment later.
    while gate.get("/audit/logs?decision=error").json()["total"] != 3 {
        assert!(Instant::now() < deadline, "the results never come");
        thread::sleep(Duration::from_millis(5));
    }
    let failed = gate.get("/audit/logs?decision=error&limit=2").json();
    assert_eq!((paths(&failed), &failed["total"]), (vec!["/failed/2", "/failed/1"], &3.into()));
    let row = &failed["logs"][0];
    assert_eq!((&row["decision"], &row["outcome"]), (&"allow".into(), &"error".into()));
    let next = failed["next"].as_str().unwrap();
    let rest = gate.get(&format!("/audit/logs?decision=error&before={next}")).json();
    assert_eq!((paths(&rest), &rest["total"]), (vec!["/failed/0"], &3.into()));
    let offset = gate.get("/audit/logs?decision=error&offset=1&agent=bot").json();
    assert_eq!(paths(&offset), ["/failed/1", "/failed/0"]);
    assert_eq!(gate.get("/audit/logs?decision=allow").json()["total"], 8, "they were allowed");
    let export = gate.get("/audit/export?decision=error").json();
    assert_eq!((&export["count"], paths(&export)[0]), (&3.into(), "/failed/0"));
    let none = gate.get("/audit/logs?decision=error&agent=else").json();
    assert_eq!((paths(&none).len(), &none["total"]), (0, &0.into()));

    let stats = gate.get("/audit/stats").json();
    let expected = serde_json::json!({"allow": 5, "deny": 1, "rate_limited": 1, "error": 3});
    assert_eq!(stats["by_decision"], expected, "each row once");
    assert_eq!((&stats["failed"], &stats["rate_limited"]), (&3.into(), &1.into()));
    assert_eq!((&stats["total_requests"], &stats["deny_rate"]), (&10.into(), &0.2.into()));
    assert_eq!(gate.get("/audit/stats?decision=error").status, 422);
    let limited = gate.get("/audit/stats?decision=rate_limited").json();
    assert_eq!(limited["by_decision"], serde_json::json!({"rate_limited": 1}));
}

#[test]
fn exports_are_whole_and_harmless() {
    let gate = filled();
    let json = gate.get("/audit/export?agent=bot");
    assert_eq!(json.header("content-disposition"), Some("attachment; filename=audit_logs.json"));
    let json = json.json();
    assert_eq!((&json["count"], paths(&json)[0], paths(&json).len()), (&6.into(), "/repos/0", 6));
    let csv = gate.get("/audit/export?format=csv");
    assert_eq!(csv.header("content-disposition"), Some("attachment; filename=audit_logs.csv"));
    let lines: Vec<_> = csv.body.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 8, "{csv:?}");
    assert!(lines[0].starts_with("id,time,session,agent,") && lines[0].ends_with(",request_id"));
    let columns = lines[0].split(',').count();
    assert_eq!(columns, 32);
    assert!(lines[7].contains(",'=cmd(),") && lines[7].contains("\"because, \"\"so\"\"\""));
    assert_eq!(gate.get("/audit/export?format=csv&agent_id=nobody").body.lines().count(), 1);
    assert_eq!(gate.get("/audit/export?agent_id=nobody").json()["count"], 0);
    assert_eq!(gate.get("/audit/export?format=xml").status, 422);
}

#[test]
fn a_purge_takes_only_what_is_old() {
    let gate = filled();
    let purged = gate.post("/audit/purge?retention_days=1", "").json();
    assert_eq!((&purged["purged"], &purged["retention_days"]), (&0.into(), &1.into()));
    assert_eq!(gate.post("/audit/purge", "").json()["retention_days"], 90);
    for bad in ["retention_days=0", "retention_days=-1", "retention_day=1", "retention_days=99999"]
    {
        assert_eq!(gate.post(&format!("/audit/purge?{bad}"), "").status, 422, "{bad}");
    }
    assert_eq!(gate.get("/audit/logs").json()["total"], 7);
}
