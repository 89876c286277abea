//! MCP servers behind `agentgate serve`.

use serde_json::{Value, json};

use crate::support::{
    Answer, Process, Server, agentgate, call, eventually, initialize, installed, listening, raw,
    stateless_call, whole,
};

const MASTER: &str = "X-Master-Key: a master key for tests\r\n";
const JSON: &str =
    "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

struct Serve {
    home: tempfile::TempDir,
    address: std::net::SocketAddr,
    _process: Process,
}

impl Serve {
    fn start(home: tempfile::TempDir) -> Self {
        let mut command = agentgate(home.path());
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("AGENTGATE_MASTER_KEY", "a master key for tests");
        let (process, address) = listening(command, "agentgate: serving on http://");
        Self { home, address, _process: process }
    }

    fn request(&self, method: &str, target: &str, headers: &str, body: &Value) -> Answer {
        let headers = format!("{JSON}{headers}");
        raw(self.address, &whole(self.address, method, target, &headers, &body.to_string()))
    }

    fn key(&self, agent: &Value) -> String {
        let made = self.request("POST", "/agents", MASTER, agent);
        assert_eq!(made.status, 200, "{made:?}");
        made.message()["api_key"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_registered_server_is_gated_for_agents() {
    let Some(installed) = installed() else { return };
    let server = Server::start(&installed);
    let gate = Serve::start(tempfile::tempdir().unwrap());
    let registration = json!({"name": "notes", "url": server.url, "tools": [
        {"name": "test_simple_text", "annotations": {"readOnlyHint": true}},
        {"name": "remove_everything", "annotations": {"destructiveHint": true}}]});
    assert_eq!(gate.request("POST", "/mcp/servers", "", &registration).status, 401);
    let registered = gate.request("POST", "/mcp/servers", MASTER, &registration);
    assert_eq!(registered.status, 200, "{registered:?}");
    assert_eq!(registered.message()["auto_policy"], "mcp_notes");

    let key = gate.key(&json!({"name": "ann"}));
    let own = format!("X-Agent-Key: {key}\r\n");
    let bearer = format!("Authorization: Bearer {key}\r\n");
    for (what, headers) in [("none", ""), ("a wrong one", "X-Agent-Key: ag_wrong\r\n")] {
        let answer = gate.request("POST", "/mcp/notes", headers, &initialize());
        assert_eq!(answer.status, 401, "{what}");
    }
    assert_eq!(gate.request("POST", "/mcp/absent", &own, &initialize()).status, 404);

    for headers in [&own, &bearer] {
        let opened = gate.request("POST", "/mcp/notes", headers, &initialize());
        assert_eq!(opened.status, 200, "{opened:?}");
        let session =
            format!("{headers}Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        gate.request("POST", "/mcp/notes", &session, &initialized);
        let ask = |tool| gate.request("POST", "/mcp/notes", &session, &call(1, tool, json!({})));
        let read = ask("test_simple_text").message();
        assert_eq!(read["result"]["isError"], false, "{read}");
        let removed = ask("remove_everything").message();
        assert_eq!(removed["result"]["isError"], true, "{removed}");
        assert!(!removed.to_string().contains("removed"));
    }
    let log = gate.request("GET", "/audit/logs", MASTER, &Value::Null).message();
    let rows = log["logs"].as_array().unwrap();
    assert_eq!(rows.len(), 4, "{log}");
    assert!(rows.iter().all(|row| row["agent_name"] == "ann"), "{log}");

    // It is there again after a restart, and gone once it is deleted.
    let Serve { home, .. } = gate;
    let gate = Serve::start(home);
    let listed = gate.request("GET", "/mcp/servers", MASTER, &Value::Null).message();
    assert_eq!(listed["servers"][0]["name"], "notes", "{listed}");
    assert_eq!(gate.request("DELETE", "/mcp/servers/notes", MASTER, &Value::Null).status, 200);
    assert_eq!(gate.request("POST", "/mcp/notes", &own, &initialize()).status, 404);
    drop(gate.home);
}

/// The gate's own keys stay with the gate; other bearers are the server's.
#[test]
fn keys_of_the_gate_go_no_further() {
    let upstream = crate::upstreams::Scripted::start(|_| {
        crate::upstreams::json_answer(&json!({"jsonrpc": "2.0", "id": 0, "result": {}}))
    });
    let gate = Serve::start(tempfile::tempdir().unwrap());
    let registration = json!({"name": "s", "url": upstream.url});
    assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &registration).status, 200);
    let key = gate.key(&json!({"name": "ann"}));
    let headers = format!("X-Agent-Key: {key}\r\nAuthorization: Bearer of-the-server\r\n");
    assert_eq!(gate.request("POST", "/mcp/s", &headers, &initialize()).status, 200);
    let headers = format!("Authorization: Bearer {key}\r\n");
    assert_eq!(gate.request("POST", "/mcp/s", &headers, &initialize()).status, 200);
    let seen = upstream.requests();
    assert!(seen[0].contains("of-the-server"), "{seen:?}");
    assert!(seen.iter().all(|request| !request.contains(&key)), "{seen:?}");
    assert!(!seen[1].to_ascii_lowercase().contains("authorization"), "{seen:?}");
}

#[test]
fn registrations_that_cannot_be_used_are_refused() {
    let gate = Serve::start(tempfile::tempdir().unwrap());
    for (body, status) in [
        (json!({"name": "../x", "url": "https://a.example/mcp"}), 400),
        (json!({"name": "servers", "url": "https://a.example/mcp"}), 400),
        (json!({"name": "x", "url": "http://a.example/mcp"}), 400),
        (json!({"name": "x", "url": "file:///etc/passwd"}), 400),
        (json!({"name": "x"}), 400),
        (json!([]), 400),
    ] {
        let answer = gate.request("POST", "/mcp/servers", MASTER, &body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    let listed = gate.request("GET", "/mcp/servers", MASTER, &Value::Null).message();
    assert_eq!(listed["servers"], json!([]));
}

/// Both eras at `/mcp/{name}`, whichever the server speaks.
#[test]
fn hosted_servers_are_bridged() {
    let gate = Serve::start(tempfile::tempdir().unwrap());
    let key = gate.key(&json!({"name": "ann"}));
    let own = format!("X-Agent-Key: {key}\r\n");
    let tools = json!([{"name": "look", "annotations": {"readOnlyHint": true}},
                       {"name": "remove", "annotations": {"destructiveHint": true}}]);
    let new = crate::eras::stateless_server(crate::eras::looked);
    let old = crate::eras::handshake_server(99);
    for (name, url) in [("new", &new.url), ("old", &old.url)] {
        let registration = json!({"name": name, "url": url, "tools": tools});
        assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &registration).status, 200);
    }

    let opened = gate.request("POST", "/mcp/new", &own, &initialize());
    assert_eq!(opened.message()["result"]["protocolVersion"], "2025-11-25", "{opened:?}");
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let session = format!("{own}Mcp-Session-Id: {session}\r\n");
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(gate.request("POST", "/mcp/new", &session, &initialized).status, 202);
    let ask = |tool| gate.request("POST", "/mcp/new", &session, &call(1, tool, json!({})));
    assert_eq!(ask("look").message()["result"]["content"][0]["text"], "looked");
    assert_eq!(ask("remove").message()["result"]["isError"], true);
    let bob = gate.key(&json!({"name": "bob"}));
    let of_another = session.replace(&key, &bob);
    let refused = gate.request("POST", "/mcp/new", &of_another, &call(1, "look", json!({})));
    assert_eq!(refused.status, 404, "a session of another agent's: {refused:?}");

    // Refused in the server's own words, until it is clear that it has no other era.
    let ask = |tool| {
        let (headers, call) = stateless_call(1, tool, json!({}));
        gate.request("POST", "/mcp/old", &format!("{own}{headers}"), &call)
    };
    let first = ask("look");
    assert_eq!((first.status, &first.message()["error"]["code"]), (400, &json!(-32000)));
    let answer = eventually("the client is bridged", || {
        let answer = ask("look");
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.message()["result"]["content"][0]["text"], "s1", "{answer:?}");
    let removed = ask("remove").message();
    assert_eq!(removed["result"]["isError"], true, "{removed}");
    assert_eq!(removed["result"]["resultType"], "complete", "{removed}");
    for upstream in [&new, &old] {
        let requests = upstream.requests();
        let arrived = requests.iter().any(|it| it.contains("\"remove\""));
        assert!(!arrived && requests.iter().all(|it| !it.contains(&key)), "{requests:?}");
    }
}
