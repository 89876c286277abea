//! Who gets in, and what everybody gets.

use agentgate::verdict::{Decision, Stage};

use crate::support::{Gate, KEY, eventually};

#[test]
fn without_the_key_every_guarded_call_is_refused_alike() {
    let gate = Gate::start();
    let document = gate.send_with("GET", "/openapi.json", "", "").json();
    let mut guarded = 0;
    // The MCP servers' calls are not part of what runs here.
    let paths = document["paths"].as_object().unwrap().iter();
    for (path, item) in paths.filter(|(path, _)| !path.starts_with("/mcp/")) {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"].as_array().unwrap().is_empty() {
                continue;
            }
            guarded += 1;
            let (method, path) = (method.to_uppercase(), path.replace(['{', '}'], "x"));
            let mut bodies = Vec::new();
            for headers in [
                String::new(),
                "X-Master-Key: wrong\r\n".to_owned(),
                "X-Master-Key:\r\n".to_owned(),
                format!("X-Master-Key: {KEY}x\r\n"),
                format!("X-Master-Key: {KEY}\r\nX-Master-Key: {KEY}\r\n"),
                format!("Authorization: Bearer {KEY}\r\n"),
            ] {
                let answer = gate.send_with(&method, &path, &headers, "");
                assert_eq!(answer.status, 401, "{method} {path} {headers}");
                bodies.push((answer.json()["error"].clone(), answer.json()["detail"].clone()));
            }
            bodies.dedup();
            assert_eq!(bodies.len(), 1);
        }
    }
    assert!(guarded > 10, "{guarded}");
}

#[test]
fn public_endpoints_need_no_key() {
    let gate = Gate::start();
    let health = gate.send_with("GET", "/health", "", "");
    assert_eq!((health.status, &health.json()["status"]), (200, &"ok".into()));
    assert_eq!(health.json()["audit_db"], "ok");
    assert_eq!(gate.send_with("GET", "/", "", "").json()["service"], "AgentGate");
    let providers = gate.send_with("GET", "/providers", "", "").json();
    assert_eq!(providers["providers"].as_array().unwrap().len(), 10);
    let head = gate.send_with("HEAD", "/health", "", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

/// The log can be read all the while, and yet every request is refused.
#[test]
fn unwritable_log_is_reported_until_it_is_writable() {
    let gate = Gate::start();
    gate.record("bot", "/user", Decision::Allow, Stage::Policy);
    let other = rusqlite::Connection::open(gate.database()).unwrap();
    let becomes = |status: u16| {
        eventually("its health changes", || gate.get("/health").status == status);
    };
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    becomes(503);
    assert_eq!(gate.get("/health").json()["audit_db"], "error");
    assert_eq!(gate.get("/audit/logs").status, 200);
    other.execute_batch("ROLLBACK").unwrap();
    becomes(200);
}

#[test]
fn missing_database_is_reported_until_it_is_back() {
    let gate = Gate::start();
    gate.post("/agents", r#"{"name": "bot"}"#);
    let away = gate.folder.path().join("away.db");
    std::fs::rename(gate.database(), &away).unwrap();
    assert_eq!(gate.get("/health").status, 503);
    assert_eq!(gate.get("/health").json()["audit_db"], "error");
    for path in ["/audit/logs", "/audit/stats", "/agents", "/audit/export"] {
        let answer = gate.get(path);
        assert_eq!((answer.status, &answer.json()["error"]), (503, &"store_unavailable".into()));
    }
    std::fs::rename(&away, gate.database()).unwrap();
    assert_eq!(gate.get("/health").status, 200);
    assert_eq!(gate.get("/agents").json().as_array().unwrap().len(), 1);
}

#[test]
fn every_answer_is_json_and_bears_the_headers() {
    let gate = Gate::start();
    let large = "x".repeat((1 << 20) + 1);
    for (method, path, body, status) in [
        ("GET", "/agents", "", 200),
        ("GET", "/nowhere", "", 404),
        ("PATCH", "/agents", "", 405),
        ("DELETE", "/audit/logs", "", 405),
        ("POST", "/agents", large.as_str(), 413),
        ("GET", "/agents/%ff", "", 400),
    ] {
        let answer = gate.send(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}");
        answer.json();
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.header("cache-control").unwrap().contains("no-store"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[test]
fn only_pages_that_are_named_may_call() {
    let gate = Gate::start_for(&["https://console.example", "*"]);
    let preflight = |origin: &str| {
        let headers = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\n\
             Access-Control-Request-Headers: x-master-key\r\n"
        );
        gate.send_with("OPTIONS", "/agents", &headers, "")
    };
    let named = preflight("https://console.example");
    let origin = named.header("access-control-allow-origin");
    assert_eq!((named.status, origin), (200, Some("https://console.example")));
    assert_eq!(preflight("https://evil.example").header("access-control-allow-origin"), None);
}
