//! The log through the API.

use agentgate::store::Options;
use agentgate::store::purge::{Proof, purge};
use agentgate::verdict::{Decision, Stage};
use serde_json::Value;

use crate::support::{Gate, eventually};

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
        "limit=1&limit=2",
        "format=csv",
    ] {
        assert_eq!(gate.get(&format!("/audit/logs?{bad}")).status, 422, "{bad}");
    }
}

/// It used to be said that the database cannot be had, and an export broke off.
#[test]
fn unknown_id_is_refused_and_paging_continues_after_a_purged_one() {
    let gate = filled();
    let other = filled().get("/audit/logs?limit=1").json()["logs"][0]["id"].clone();
    for stranger in ["01a21c9f-125f-7682-ba92-e7f834aa92a5", other.as_str().unwrap()] {
        for call in ["/audit/logs", "/audit/export"] {
            let answer = gate.get(&format!("{call}?before={stranger}"));
            assert_eq!((answer.status, &answer.json()["error"]), (422, &"invalid_request".into()));
        }
    }
    let all = gate.get("/audit/logs").json();
    let id = |index: usize| all["logs"][index]["id"].as_str().unwrap().to_owned();
    let (newest, purged) = (id(0), id(6));
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    let what = (later, Proof::Required);
    purge(&gate.database(), what, &Options::default(), |_| {}).unwrap();
    gate.record("bot", "/after", Decision::Allow, Stage::Policy);
    let before = |id: &str| gate.get(&format!("/audit/logs?before={id}")).json();
    assert_eq!(paths(&before(&purged)), Vec::<&str>::new());
    assert_eq!(paths(&before(&newest)), Vec::<&str>::new());
    let after = gate.get("/audit/logs").json();
    assert_eq!(paths(&after), ["/after"]);
}

/// A parameter that changes nothing is a mistake that nobody sees.
#[test]
fn each_call_takes_the_parameters_that_mean_something_to_it() {
    let gate = filled();
    let document = gate.get("/openapi.json").json();
    let every = ["session", "limit", "offset", "before", "pretty", "format", "agent", "since"];
    let value = |name: &str| match name {
        "limit" | "offset" => "1".to_owned(),
        "pretty" => "true".to_owned(),
        "format" => "json".to_owned(),
        "since" => "1h".to_owned(),
        "before" => gate.get("/audit/logs?limit=1").json()["logs"][0]["id"].to_string(),
        _ => "x".to_owned(),
    };
    for (call, takes) in [
        ("/audit/logs", &["session", "limit", "offset", "before", "pretty", "agent", "since"][..]),
        ("/audit/stats", &["pretty", "agent", "since"]),
        ("/audit/export", &["session", "limit", "before", "format", "agent", "since"]),
    ] {
        let described = document["paths"][call]["get"]["parameters"].as_array().unwrap();
        for name in every {
            let value = value(name).replace('"', "");
            let status = gate.get(&format!("{call}?{name}={value}")).status;
            assert_eq!(status == 200, takes.contains(&name), "{call} {name}: {status}");
            assert!(status == 200 || status == 422, "{call} {name}: {status}");
            let is_described = described.iter().any(|parameter| parameter["name"] == name);
            assert_eq!(is_described, takes.contains(&name), "{call} {name}");
        }
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
fn failed_and_rate_limited_rows_are_found_by_filters() {
    let gate = filled();
    for index in 0..3 {
        gate.record_failed("bot", &format!("/failed/{index}"));
    }
    // Results are written a moment later.
    eventually("the results come", || gate.get("/audit/logs?decision=error").json()["total"] == 3);
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
    assert_eq!(stats["by_outcome"]["error"], 3);
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
    let by_body = gate.post("/audit/purge", r#"{"retention_days": 7}"#).json();
    assert_eq!(by_body["retention_days"], 7);
    for (target, body, status) in [
        ("", r#"{"retention_days": 0}"#, 422),
        ("", r#"{"retention_day": 7}"#, 422),
        ("", r#"{"retention_days": "7"}"#, 422),
        ("", "[7]", 422),
        ("", "garbage", 400),
        ("?retention_days=7", r#"{"retention_days": 7}"#, 422),
        ("?retention_days=7", "{}", 200),
    ] {
        assert_eq!(gate.post(&format!("/audit/purge{target}"), body).status, status, "{body}");
    }
    for bad in ["retention_days=0", "retention_days=-1", "retention_day=1", "retention_days=99999"]
    {
        assert_eq!(gate.post(&format!("/audit/purge?{bad}"), "").status, 422, "{bad}");
    }
    assert_eq!(gate.get("/audit/logs").json()["total"], 7);
}

#[test]
fn purge_of_a_log_that_does_not_verify_removes_nothing() {
    let gate = filled();
    let all = gate.get("/audit/logs").json()["total"].clone();
    let outsider = rusqlite::Connection::open(gate.database()).unwrap();
    let ten_days = 10 * 24 * 3600 * 1_000_000_i64;
    outsider.execute("UPDATE entry SET at = at - ?1", [ten_days]).unwrap();
    let refused = gate.post("/audit/purge?retention_days=1", "");
    assert_eq!((refused.status, &refused.json()["error"]), (409, &"log_does_not_hold".into()));
    assert_eq!(gate.get("/audit/logs").json()["total"], all);
}
