//! Agents and their keys.

use agentgate::verdict::{Decision, Stage};

use crate::support::Gate;

#[test]
fn an_agent_is_registered_listed_without_its_key_rotated_and_removed() {
    let gate = Gate::start();
    let made =
        gate.post("/agents", r#"{"name": "bot", "policy": "read_only", "provider": "github"}"#);
    assert_eq!(made.status, 200, "{made:?}");
    let made = made.json();
    let key = made["api_key"].as_str().unwrap();
    assert!(key.starts_with("ag_") && key.len() == 67, "{key}");
    let id = made["agent_id"].as_str().unwrap();
    assert_eq!((&made["policy"], &made["provider"]), (&"read_only".into(), &"github".into()));
    assert_eq!(*gate.directory.identify(key).unwrap().id, *id, "it is good at once");

    let list = gate.get("/agents");
    assert_eq!(list.json().as_array().unwrap().len(), 1);
    assert!(!list.body.contains("ag_") && !list.body.contains("api_key"), "{list:?}");

    let rotated = gate.post(&format!("/agents/{id}/rotate-key"), "").json();
    let new_key = rotated["api_key"].as_str().unwrap();
    assert!(gate.directory.identify(key).is_none());
    assert!(gate.directory.identify(new_key).is_some());
    let graced = gate.post(&format!("/agents/{id}/rotate-key?grace=10m"), "").json();
    assert!(gate.directory.identify(new_key).is_some());
    let graced_key = graced["api_key"].as_str().unwrap();
    assert!(gate.directory.identify(graced_key).is_some());
    gate.post(&format!("/agents/{id}/rotate-key?grace_seconds=600"), "");
    assert!(gate.directory.identify(graced_key).is_some());
    gate.post(&format!("/agents/{id}/rotate-key?grace_seconds=0"), "");
    assert!(gate.directory.identify(graced_key).is_none());

    // The same in a body, which used to be ignored.
    let rotate =
        |query: &str, body: &str| gate.post(&format!("/agents/{id}/rotate-key{query}"), body);
    let last = rotate("", r#"{"grace": "10m"}"#).json();
    let last = last["api_key"].as_str().unwrap();
    rotate("", r#"{"grace_seconds": 600}"#);
    assert!(gate.directory.identify(last).is_some());
    for (query, body, status) in [
        ("", r#"{"grase": "10m"}"#, 422),
        ("", r#"{"grace": 600}"#, 422),
        ("", r#"{"grace": "8d"}"#, 422),
        ("", "garbage", 400),
        ("?grace=10m", r#"{"grace": "10m"}"#, 422),
    ] {
        assert_eq!(rotate(query, body).status, status, "{query} {body}");
    }
    assert!(gate.directory.identify(last).is_some(), "what was refused did nothing");
    rotate("", "{}");
    assert!(gate.directory.identify(last).is_none());

    let removed = gate.send("DELETE", &format!("/agents/{id}"), "");
    assert_eq!((removed.status, &removed.json()["status"]), (200, &"deleted".into()));
    assert!(gate.directory.identify(new_key).is_none());
    for (method, path) in [
        ("GET", format!("/agents/{id}")),
        ("DELETE", format!("/agents/{id}")),
        ("GET", format!("/agents/{id}/stats")),
        ("POST", format!("/agents/{id}/rotate-key")),
    ] {
        assert_eq!(gate.send(method, &path, "").status, 404, "{method} {path}");
    }
}

#[test]
fn log_matches_what_agents_did() {
    let gate = Gate::start();
    let made = gate.post("/agents", r#"{"name": "bot"}"#).json();
    assert_eq!((&made["policy"], &made["request_count"]), (&serde_json::Value::Null, &0.into()));
    for _ in 0..3 {
        gate.record("bot", "/user", Decision::Allow, Stage::Policy);
    }
    gate.record("bot", "/user", Decision::Deny, Stage::Policy);
    gate.record("other", "/user", Decision::Deny, Stage::Policy);
    let stats = gate.get("/agents/bot/stats").json();
    assert_eq!((&stats["request_count"], &stats["deny_count"]), (&4.into(), &1.into()));
    assert_eq!(stats["deny_rate"], 0.25);
    assert!(stats["last_request_at"].is_string());
    assert_eq!(gate.get("/agents").json()[0]["request_count"], 4);
}

#[test]
fn invalid_input_is_refused_with_the_reason() {
    let gate = Gate::start();
    gate.post("/agents", r#"{"name": "bot"}"#);
    for (body, status, error, words) in [
        ("{", 400, "invalid_json", "not JSON"),
        ("", 400, "invalid_json", "not JSON"),
        ("[]", 422, "invalid_request", "list"),
        (r#"["x", "y"]"#, 422, "invalid_request", "list"),
        ("{}", 422, "invalid_request", "name"),
        (r#"{"name": 1}"#, 422, "invalid_request", "string"),
        (r#"{"name": "x", "polcy": "default"}"#, 422, "invalid_request", "polcy"),
        (r#"{"name": "a\nb"}"#, 422, "invalid_request", "name"),
        (r#"{"name": "bot"}"#, 409, "name_taken", "already"),
        (r#"{"name": "x", "policy": "../x"}"#, 400, "unknown_policy", "read_only"),
        (r#"{"name": "x", "provider": "gogle"}"#, 400, "unknown_provider", "mean `google`"),
        (r#"{"name": "x", "policy": "defualt"}"#, 400, "unknown_policy", "mean `default`"),
    ] {
        let answer = gate.post("/agents", body);
        let json = answer.json();
        assert_eq!((answer.status, &json["error"]), (status, &error.into()), "{body}: {answer:?}");
        assert!(json["detail"].as_str().unwrap().contains(words), "{body}: {answer:?}");
        assert!(json["request_id"].is_string());
    }
    for query in [
        "grace=x",
        "grace=-1m",
        "grace=8d",
        "grace=200h",
        "grace_seconds=-1",
        "grace_seconds=604801",
        "grace=1m&grace_seconds=60",
    ] {
        let path = format!("/agents/bot/rotate-key?{query}");
        assert_eq!(gate.post(&path, "").status, 422, "{query}");
    }
    assert_eq!(gate.get("/agents").json().as_array().unwrap().len(), 1);
}
