//! MCP servers behind `agentgate serve`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::scripted::{
    STREAM, Scripted, answer, json_answer, message_of, never, result, usual, whole_answer,
};
use crate::support::{
    Answer, Process, Server, TIMEOUT, agentgate, call, eventually, exchange, initialize, installed,
    listening, over_pipes, stateless_call, whole,
};

pub(crate) const MASTER: &str = "X-Master-Key: a master key for tests\r\n";
const JSON: &str =
    "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

pub(crate) struct Serve {
    home: tempfile::TempDir,
    pub(crate) address: std::net::SocketAddr,
    _process: Process,
}

impl Serve {
    pub(crate) fn start(home: tempfile::TempDir) -> Self {
        Self::start_with(home, |_| {})
    }

    pub(crate) fn start_with(home: tempfile::TempDir, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = agentgate(home.path());
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("AGENTGATE_MASTER_KEY", "a master key for tests");
        prepare(&mut command);
        let (process, address) = listening(command, "agentgate: serving on http://");
        Self { home, address, _process: process }
    }

    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &str,
        body: &Value,
    ) -> Answer {
        let headers = format!("{JSON}{headers}");
        exchange(self.address, &whole(self.address, method, target, &headers, &body.to_string()))
    }

    pub(crate) fn key(&self, agent: &Value) -> String {
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
        let message = answer.message();
        let told = message["error"]["message"].as_str().unwrap();
        assert!(told.contains("invalid agent key"), "MCP clients show only this: {message}");
    }
    let absent = gate.request("POST", "/mcp/absent", &own, &initialize());
    assert_eq!(absent.status, 404);
    let told = "AgentGate: there is no MCP server `absent`";
    assert_eq!(absent.message()["error"]["message"], told, "{absent:?}");
    // Who posts by hand gets the gate's own form.
    let by_hand = whole(gate.address, "POST", "/mcp/absent", &own, &initialize().to_string());
    let by_hand = exchange(gate.address, &by_hand).message();
    assert_eq!(by_hand["error"], "unknown_server", "{by_hand}");

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
    assert_eq!(rows.len(), 7, "{log}");
    let of_ann = rows.iter().filter(|row| row["agent_name"] == "ann").count();
    assert_eq!(of_ann, 6, "strangers share a row: {log}");

    // It is there again after a restart, and gone once it is deleted.
    let Serve { home, .. } = gate;
    let gate = Serve::start(home);
    let listed = gate.request("GET", "/mcp/servers", MASTER, &Value::Null).message();
    assert_eq!(listed["servers"][0]["name"], "notes", "{listed}");
    assert_eq!(gate.request("DELETE", "/mcp/servers/notes", MASTER, &Value::Null).status, 200);
    assert_eq!(gate.request("POST", "/mcp/notes", &own, &initialize()).status, 404);
    drop(gate.home);
}

/// As on a disk that is full: the request is not at fault, and what holds until the gate
/// ends is told.
#[test]
fn unstorable_registration_is_distinguished_from_an_invalid_one() {
    let gate = Serve::start(tempfile::tempdir().unwrap());
    let in_the_way = gate.home.path().join("mcp-servers.json");
    std::fs::create_dir(&in_the_way).unwrap();
    let registration = json!({"name": "s", "url": "http://127.0.0.1:9/mcp"});
    let unkept = gate.request("POST", "/mcp/servers", MASTER, &registration);
    assert_eq!(
        (unkept.status, &unkept.message()["error"]),
        (500, &json!("not_kept")),
        "{unkept:?}"
    );
    let detail = unkept.message()["detail"].to_string();
    assert!(detail.contains("mcp-servers.json") && detail.contains("until the gate ends"));
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &registration).status, 200);
    let wrong = json!({"name": "s", "url": "ftp://127.0.0.1"});
    assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &wrong).status, 400);
}

/// Whoever is not let in any more does not listen on either, to a server that says
/// nothing just then as to any other.
#[test]
fn a_stream_ends_with_the_key_that_opened_it() {
    let upstream = Scripted::serving(|request, stream| {
        if !request.starts_with("GET") {
            return stream.write_all(&usual(request).unwrap()).is_ok();
        }
        stream.write_all(STREAM).unwrap();
        stream.write_all(b"data: {\"method\":\"n\"}\n\n").unwrap();
        never()
    });
    let gate = Serve::start(tempfile::tempdir().unwrap());
    let registration = json!({"name": "s", "url": upstream.url});
    assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &registration).status, 200);
    for (method, way) in [("POST", "/rotate-key"), ("DELETE", "")] {
        let made = gate.request("POST", "/agents", MASTER, &json!({"name": "ann"})).message();
        let headers = format!("{JSON}X-Agent-Key: {}\r\n", made["api_key"].as_str().unwrap());
        let mut stream = TcpStream::connect(gate.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(&whole(gate.address, "GET", "/mcp/s", &headers, "")).unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("data: ")), "it listens");
        let agent = format!("/agents/{}{way}", made["agent_id"].as_str().unwrap());
        assert_eq!(gate.request(method, &agent, MASTER, &json!({})).status, 200);
        assert!(lines.all(|line| line.is_ok()), "it listens on after {method}");
        gate.request("DELETE", "/agents/ann", MASTER, &Value::Null);
    }
}

/// The gate's own keys stay with the gate; other bearers are the server's.
#[test]
fn keys_of_the_gate_go_no_further() {
    let upstream =
        Scripted::start(|_| json_answer(&json!({"jsonrpc": "2.0", "id": 0, "result": {}})));
    let gate = Serve::start(tempfile::tempdir().unwrap());
    let registration = json!({"name": "s", "url": upstream.url});
    assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &registration).status, 200);
    let key = gate.key(&json!({"name": "ann"}));
    let headers = format!("X-Agent-Key: {key}\r\nAuthorization: Bearer of-the-server\r\n");
    assert_eq!(gate.request("POST", "/mcp/s", &headers, &initialize()).status, 200);
    let headers = format!("Authorization: Bearer {key}\r\n");
    assert_eq!(gate.request("POST", "/mcp/s", &headers, &initialize()).status, 200);
    let headers = format!("X-Agent-Key: {key}\r\nCookie: key={key}\r\n");
    assert_eq!(gate.request("POST", "/mcp/s", &headers, &initialize()).status, 400);
    let seen = upstream.requests();
    assert!(seen[0].contains("of-the-server"), "{seen:?}");
    assert!(seen.iter().all(|request| !request.contains(&key)), "{seen:?}");
    assert!(!seen[1].to_ascii_lowercase().contains("authorization"), "{seen:?}");
}

/// What the original's clients send: no handshake, no session, and no types.
#[test]
fn plain_posts_work() {
    let answer_in = |kind: &'static str| {
        Scripted::start(move |request| {
            let head = request.to_ascii_lowercase();
            // As the servers of both SDKs have it.
            if !(head.contains("application/json, text/event-stream")) {
                return whole_answer("406 Not Acceptable", "", "");
            }
            let message = message_of(request);
            let body = match message["method"].as_str() {
                Some("tools/list") => String::from_utf8(usual(request).unwrap())
                    .unwrap()
                    .split_once("\r\n\r\n")
                    .unwrap()
                    .1
                    .to_owned(),
                _ => result(&message["id"], "done").to_string(),
            };
            match kind {
                "text/event-stream" => answer(kind, &format!(": hello\n\ndata: {body}\n\n")),
                _ => answer(kind, &body),
            }
        })
    };
    for kind in ["application/json", "text/event-stream"] {
        let upstream = answer_in(kind);
        let gate = Serve::start(tempfile::tempdir().unwrap());
        let registration = json!({"url": upstream.url, "tools": [
            {"name": "look", "annotations": {"readOnlyHint": true}},
            {"name": "drop", "annotations": {"destructiveHint": true}}]});
        let registered = gate.request("POST", "/mcp/servers", MASTER, &registration).message();
        assert_eq!(registered["name"], json!(upstream.url), "the URL is the name");
        assert_eq!(registered["tools_registered"], 2);
        let key = gate.key(&json!({"name": "ann"}));
        let target = format!("/mcp/{}", upstream.url.replace(':', "%3A").replace('/', "%2F"));
        for target in [target, format!("/mcp/{}", upstream.url)] {
            for accept in ["", "Accept: */*\r\n"] {
                let post = |tool: &str| {
                    let headers =
                        format!("Content-Type: application/json\r\n{accept}X-Agent-Key: {key}\r\n");
                    let body = call(5, tool, json!({})).to_string();
                    exchange(gate.address, &whole(gate.address, "POST", &target, &headers, &body))
                };
                let read = post("look");
                assert_eq!(
                    (read.status, read.header("content-type")),
                    (200, Some("application/json"))
                );
                assert_eq!(
                    serde_json::from_str::<Value>(&read.body).unwrap(),
                    result(&json!(5), "done")
                );
                assert!(read.header("x-agentgate-decision").is_some(), "{read:?}");
                let dropped = post("drop");
                assert_eq!(dropped.message()["result"]["isError"], true, "{dropped:?}");
                assert!(dropped.header("x-agentgate-decision").is_some(), "{dropped:?}");
            }
        }
        let dropped = |request: &String| message_of(request)["params"]["name"] == "drop";
        assert!(!upstream.requests().iter().any(dropped));
    }
}

/// Those of the configuration: a command, headers of the gate's own, a policy.
#[test]
fn servers_of_the_configuration_are_shown_as_it_says() {
    let Some(installed) = installed() else { return };
    let upstream = Scripted::start(|request| {
        let message = message_of(request);
        usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")))
    });
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("secret"), "from-a-file\n").unwrap();
    std::fs::create_dir(home.path().join("policies")).unwrap();
    let strict =
        "name: strict\nrules: [{ tool: remove_everything, effect: deny }]\ndefault_effect: allow\n";
    std::fs::write(home.path().join("policies/strict.yaml"), strict).unwrap();
    let command: Vec<_> =
        over_pipes(&installed).iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let config = json!({
        "policy": ["deny_all"],
        "servers": {
            "local": {"command": command, "policy": ["strict"], "hide_denied": true},
            "remote": {"url": upstream.url, "policy": ["allow_all"],
                       "credential": {"env": "TOKEN"},
                       "headers": {"X-Api-Key": {"file": home.path().join("secret")}}},
            "denied": {"url": upstream.url},
            "only-trust": {"trust": "none"}}});
    std::fs::write(home.path().join("config.yaml"), config.to_string()).unwrap();
    let gate = Serve::start_with(home, |command| {
        command.env("TOKEN", "from-the-environment");
    });
    let listed = gate.request("GET", "/mcp/servers", MASTER, &Value::Null);
    assert!(!listed.body.contains("from-"), "{listed:?}");
    assert_eq!(listed.message()["servers"].as_array().unwrap().len(), 3);
    let key = gate.key(&json!({"name": "ann"}));
    let own = format!("X-Agent-Key: {key}\r\n");

    let opened = gate.request("POST", "/mcp/local", &own, &initialize());
    let session = format!("{own}Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    let post = |message: Value| gate.request("POST", "/mcp/local", &session, &message);
    post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let tools = post(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).message();
    let tools = tools["result"]["tools"].to_string();
    assert!(tools.contains("test_simple_text") && !tools.contains("remove_everything"), "{tools}");
    let text = post(call(2, "test_simple_text", json!({}))).message();
    assert_eq!(text["result"]["isError"], false, "{text}");
    assert_eq!(post(call(3, "remove_everything", json!({}))).message()["result"]["isError"], true);
    // Another agent's session is none.
    let other = gate.key(&json!({"name": "bob"}));
    let theirs = session.replace(&key, &other);
    for method in ["POST", "GET", "DELETE"] {
        let body =
            if method == "POST" { call(4, "test_simple_text", json!({})) } else { Value::Null };
        let answer = gate.request(method, "/mcp/local", &theirs, &body);
        assert_eq!(answer.status, 404, "{method}: {answer:?}");
        assert!(answer.header("x-agentgate-decision").is_some(), "{method}: {answer:?}");
    }

    let more = format!("{own}X_Api_Key: forged\r\nX_Other: another\r\n");
    let done = gate.request("POST", "/mcp/remote", &more, &call(1, "look", json!({}))).message();
    assert_eq!(done, result(&json!(1), "done"));
    let seen = upstream.requests().join("\n");
    assert!(seen.contains("authorization: Bearer from-the-environment"), "{seen}");
    assert!(seen.contains("x-api-key: from-a-file") && !seen.contains("forged"), "{seen}");
    assert!(seen.contains("x_other: another"), "{seen}");
    let denied = gate.request("POST", "/mcp/denied", &own, &call(1, "look", json!({}))).message();
    assert_eq!(denied["result"]["isError"], true, "{denied}");
}

/// Those registered while the gate runs are treated as it is told, by a flag, a key for all
/// or keys under their names, also by keys that change.
#[test]
fn registered_servers_are_treated_as_the_configuration_says() {
    let upstream = Scripted::start(|request| {
        let message = message_of(request);
        usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")))
    });
    let registration = json!({"name": "notes", "url": upstream.url});
    let policy = "name: hints\nrules: [{ annotations: { readOnlyHint: true }, effect: allow }]\n";
    let shows = |gate: &Serve, own: &str| {
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let (listed, called) = (
            gate.request("POST", "/mcp/notes", own, &list).message(),
            gate.request("POST", "/mcp/notes", own, &call(2, "look", json!({}))).message(),
        );
        let is_listed = !listed["result"]["tools"].as_array().unwrap().is_empty();
        (is_listed, called["result"]["isError"] != true)
    };
    for (flags, config, expected) in [
        (&[][..], json!({"policy": ["hints"]}), (true, true)),
        (&[], json!({"policy": ["deny_all"]}), (true, false)),
        (&["--hide-denied"], json!({"policy": ["deny_all"]}), (false, false)),
        (&[], json!({"policy": ["deny_all"], "hide_denied": true}), (false, false)),
        (
            &[],
            json!({"policy": ["deny_all"], "servers": {"notes": {"hide_denied": true}}}),
            (false, false),
        ),
        (&[], json!({"policy": ["hints"], "servers": {"notes": {"trust": "none"}}}), (true, false)),
    ] {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("policies")).unwrap();
        std::fs::write(home.path().join("policies/hints.yaml"), policy).unwrap();
        std::fs::write(home.path().join("config.yaml"), config.to_string()).unwrap();
        let gate = Serve::start_with(home, |command| {
            command.args(flags);
        });
        assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &registration).status, 200);
        let own = format!("X-Agent-Key: {}\r\n", gate.key(&json!({"name": "ann"})));
        assert_eq!(shows(&gate, &own), expected, "{flags:?} {config}");
        if config["policy"] == json!(["deny_all"]) && expected.0 {
            let config = json!({"policy": ["deny_all"], "hide_denied": true});
            std::fs::write(gate.home.path().join("config.yaml"), config.to_string()).unwrap();
            eventually("a changed key holds", || (!shows(&gate, &own).0).then_some(()));
        }
    }
}

/// Nor one that the configuration names only later.
#[test]
#[cfg(unix)]
fn a_command_is_given_none_of_the_gates_credentials() {
    let home = tempfile::tempdir().unwrap();
    let (file, environment) = (home.path().join("config.yaml"), home.path().join("environment"));
    let whole_at_once = "env > \"$0.new\" && mv \"$0.new\" \"$0\"; cat > /dev/null";
    let command = json!({"command": ["sh", "-c", whole_at_once, environment], "env": ["GIVEN"]});
    let credential =
        |name: &str| json!({"url": "http://127.0.0.1:9/mcp", "credential": {"env": name}});
    let configure = |late: &str| {
        let config = json!({"servers": {
            "local": command, "remote": credential("FIRST"), "late": credential(late)}});
        std::fs::write(&file, config.to_string()).unwrap();
    };
    configure("GIVEN");
    let gate = Serve::start_with(home, |command| {
        for name in ["FIRST", "LATE", "GIVEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            command.env(name, format!("secret {name}"));
        }
    });
    let own = format!("X-Agent-Key: {}\r\n", gate.key(&json!({"name": "ann"})));
    let given = || {
        // Nobody answers: the child's environment is all that is asked for.
        let body = whole(
            gate.address,
            "POST",
            "/mcp/local",
            &format!("{JSON}{own}"),
            &initialize().to_string(),
        );
        let mut stream = std::net::TcpStream::connect(gate.address).unwrap();
        std::io::Write::write_all(&mut stream, &body).unwrap();
        let given = eventually("the child has an environment", || {
            std::fs::read_to_string(&environment).ok()
        });
        std::fs::remove_file(&environment).unwrap();
        let mut names: Vec<String> = given
            .lines()
            .filter_map(|line| line.split_once("=secret ").map(|(name, _)| name.to_owned()))
            .collect();
        names.sort();
        names
    };
    assert_eq!(given(), ["GIVEN", "LATE"]);
    configure("LATE");
    eventually("what the configuration names later is kept back", || given() == ["GIVEN"]);
}

/// Agents on one server, each under a policy of its own and its own limit.
#[test]
fn each_agent_has_its_own_policy() {
    let Some(installed) = installed() else { return };
    let server = Server::start(&installed);
    let gate = Serve::start(tempfile::tempdir().unwrap());
    gate.request("POST", "/mcp/servers", MASTER, &json!({"name": "s", "url": server.url}));
    let limited = "name: limited\ndefault_effect: allow\nrate_limit: { requests_per_minute: 2 }\n";
    let put = json!({"name": "limited", "yaml": limited});
    assert!(gate.request("POST", "/policies", MASTER, &put).status < 300);
    let ask = |name: &str, policy: &str| {
        let key = gate.key(&json!({"name": name, "policy": policy, "provider": "github"}));
        let own = format!("X-Agent-Key: {key}\r\n");
        let (headers, message) = stateless_call(1, "remove_everything", json!({}));
        let ask = || gate.request("POST", "/mcp/s", &format!("{own}{headers}"), &message);
        [ask(), ask(), ask()].map(|answer| {
            let left = answer.header("ratelimit-remaining").map(str::to_owned);
            (answer.message()["result"]["isError"] == true, left)
        })
    };
    let left = |remaining: &str| Some(remaining.to_owned());
    assert_eq!(ask("open", "allow_all"), [(false, None), (false, None), (false, None)]);
    assert_eq!(ask("shut", "deny_all"), [(true, None), (true, None), (true, None)]);
    assert_eq!(ask("slow", "limited"), [(false, left("1")), (false, left("0")), (true, left("0"))]);
}

/// Strangers learn nothing and cannot flood the log; what an agent sends that
/// cannot be read has a row each, and so has the master key no way out.
#[test]
fn refusals_are_logged() {
    let upstream =
        Scripted::start(|_| json_answer(&json!({"jsonrpc": "2.0", "id": 0, "result": {}})));
    let gate = Serve::start(tempfile::tempdir().unwrap());
    gate.request("POST", "/mcp/servers", MASTER, &json!({"name": "s", "url": upstream.url}));
    let mut answers = std::collections::HashSet::new();
    for target in ["/mcp/s", "/mcp/absent", "/mcp/https%3A%2F%2Fx"] {
        for headers in ["", "X-Agent-Key: ag_no\r\n", "Authorization: Bearer ag_no\r\n"] {
            let answer = gate.request("POST", target, headers, &initialize());
            assert_eq!(answer.status, 401);
            answers.insert(answer.body);
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let key = gate.key(&json!({"name": "ann"}));
    let own = format!("X-Agent-Key: {key}\r\n");
    let body = initialize().to_string();
    for headers in [
        "Content-Type: text/plain\r\n".to_owned(),
        "Content-Type: application/json; charset=utf-7\r\n".to_owned(),
        format!("{JSON}Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"),
        format!("{JSON}Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n"),
        format!("{JSON}MCP-Protocol-Version: 2025-11-25\r\nMCP-Protocol-Version: 2026-07-28\r\n"),
    ] {
        let bytes = whole(gate.address, "POST", "/mcp/s", &format!("{own}{headers}"), &body);
        let answer = exchange(gate.address, &bytes);
        assert!(matches!(answer.status, 400 | 415), "{answer:?}");
        assert!(answer.header("x-agentgate-decision").is_some(), "{answer:?}");
    }
    let answer = gate.request("POST", "/mcp/s?read_only=true", &own, &initialize());
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.header("x-agentgate-decision").is_some(), "{answer:?}");
    assert!(upstream.requests().is_empty());
    let all = format!("{own}{MASTER}");
    assert_eq!(gate.request("POST", "/mcp/s", &all, &initialize()).status, 200);
    assert!(!upstream.requests()[0].contains("a master key"), "{:?}", upstream.requests());
    let log = gate.request("GET", "/audit/logs", MASTER, &Value::Null).message();
    let of = |agent: &str| {
        log["logs"].as_array().unwrap().iter().filter(|row| row["agent_name"] == agent).count()
    };
    assert_eq!((of("unidentified"), of("ann")), (1, 6), "{log}");
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

/// What was registered when plain HTTP to other machines would do holds up nobody
/// where it will not, is told of, and is not lost.
#[test]
fn registration_that_is_no_longer_allowed_does_not_block() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mcp-servers.json");
    let far = json!({"name": "far", "url": "http://mcp.example.com/mcp", "tools": []});
    let near = json!({"name": "near", "url": "http://127.0.0.1:9/mcp", "tools": []});
    std::fs::write(&file, json!([far, near]).to_string()).unwrap();
    let names = || {
        let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let names = kept.as_array().unwrap().iter().map(|it| it["name"].clone());
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let gate = Serve::start(home);
    let own = format!("X-Agent-Key: {}\r\n", gate.key(&json!({"name": "ann"})));
    let refused = gate.request("POST", "/mcp/far", &own, &initialize());
    assert_eq!(refused.status, 404, "{refused:?}");
    assert!(refused.body.contains("allow_http"), "{refused:?}");
    assert_eq!(gate.request("POST", "/mcp/near", &own, &initialize()).status, 502);
    let listed = gate.request("GET", "/mcp/servers", MASTER, &Value::Null).message();
    let problems = listed["servers"].as_array().unwrap().iter();
    let problems: Vec<_> =
        problems.filter(|it| it["problem"].is_string()).map(|it| &it["name"]).collect();
    assert_eq!(problems, ["far"], "{listed}");
    let other = json!({"name": "other", "url": "http://127.0.0.1:9/mcp"});
    assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &other).status, 200);
    assert_eq!(names().len(), 3, "{:?}", names());
    let mended = json!({"name": "near", "url": "http://127.0.0.1:9/mcp"});
    assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &mended).status, 200);
    assert_eq!(gate.request("DELETE", "/mcp/servers/far", MASTER, &Value::Null).status, 200);
    assert_eq!(gate.request("DELETE", "/mcp/servers/far", MASTER, &Value::Null).status, 404);
    assert_eq!(names(), ["near".to_owned(), "other".to_owned()].into());
}

/// The configuration's server comes first, and only for as long as it is there.
#[test]
fn a_registration_outlasts_a_configured_server_of_its_name() {
    let home = tempfile::tempdir().unwrap();
    let (file, kept) = (home.path().join("config.yaml"), home.path().join("mcp-servers.json"));
    let servers = |answers: &'static str| {
        Scripted::start(move |request| json_answer(&result(&message_of(request)["id"], answers)))
    };
    let (registered, configured) = (servers("registered"), servers("configured"));
    let gate = Serve::start(home);
    let own = format!("X-Agent-Key: {}\r\n", gate.key(&json!({"name": "ann"})));
    let register = |name: &str| {
        let body = json!({"name": name, "url": registered.url});
        assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &body).status, 200);
    };
    let configure = |servers: Value| {
        std::fs::write(&file, json!({"servers": servers}).to_string()).unwrap();
    };
    let answered_by = |who: &str| {
        eventually(who, || {
            let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
            gate.request("POST", "/mcp/s", &own, &ping).body.contains(who)
        });
    };
    register("s");
    answered_by("registered");
    configure(json!({"s": {"url": configured.url}}));
    answered_by("configured");
    register("other");
    let text = std::fs::read_to_string(kept).unwrap();
    assert!(text.contains("\"s\""), "{text}");
    configure(json!({}));
    answered_by("registered");
    let listed = gate.request("GET", "/mcp/servers", MASTER, &Value::Null);
    assert!(!listed.body.contains("problem"), "{listed:?}");
}

/// What cannot be registered changes nothing, the policy of what is there least of all.
#[test]
fn a_registration_that_is_refused_changes_nothing() {
    let upstream = Scripted::start(|request| {
        usual(request).unwrap_or_else(|| json_answer(&result(&message_of(request)["id"], "ran")))
    });
    let home = tempfile::tempdir().unwrap();
    let config = json!({"servers": {"ours": {"url": upstream.url, "policy": ["deny_all"]}}});
    std::fs::write(home.path().join("config.yaml"), config.to_string()).unwrap();
    let gate = Serve::start(home);
    let register = |name: &str, url: &str, hint: &str| {
        let tools = json!([{"name": "look", "annotations": {hint: true}}]);
        let body = json!({"name": name, "url": url, "tools": tools});
        gate.request("POST", "/mcp/servers", MASTER, &body).status
    };
    assert_eq!(register("notes", &upstream.url, "destructiveHint"), 200);
    let own = format!("X-Agent-Key: {}\r\n", gate.key(&json!({"name": "ann"})));
    let is_refused = |target: &str| {
        let asked = gate.request("POST", target, &own, &call(1, "look", json!({}))).message();
        asked["result"]["isError"] == true
    };
    assert!(is_refused("/mcp/notes") && is_refused("/mcp/ours"));
    assert_eq!(register("notes", "ftp://a.example/mcp", "readOnlyHint"), 400);
    assert_eq!(register("ours", &upstream.url, "readOnlyHint"), 400);
    assert!(is_refused("/mcp/notes") && is_refused("/mcp/ours"));
    assert_eq!(register("notes", &upstream.url, "readOnlyHint"), 200);
    assert!(!is_refused("/mcp/notes"));
}

/// Whoever has a policy that is gone gets nothing, and all of it again once it is back.
#[test]
fn a_policy_that_comes_back_is_in_force_again() {
    let upstream = Scripted::start(|request| {
        usual(request).unwrap_or_else(|| json_answer(&result(&message_of(request)["id"], "ran")))
    });
    let gate = Serve::start(tempfile::tempdir().unwrap());
    gate.request("POST", "/mcp/servers", MASTER, &json!({"name": "s", "url": upstream.url}));
    let put = || {
        let policy = json!({"name": "team", "yaml": "name: team\ndefault_effect: allow\n"});
        assert!(gate.request("POST", "/policies", MASTER, &policy).status < 300);
    };
    let delete = || {
        assert!(gate.request("DELETE", "/policies/team", MASTER, &Value::Null).status < 300);
    };
    put();
    let keys = ["ann", "bob"].map(|name| {
        let key = gate.key(&json!({"name": name, "policy": "team"}));
        format!("X-Agent-Key: {key}\r\n")
    });
    // Nobody knows any more which methods it named.
    let read = json!({"jsonrpc": "2.0", "id": 2, "method": "resources/read",
                      "params": {"uri": "file:///srv/notes"}});
    let asked = [call(1, "look", json!({})), read];
    let runs = |own: &String| {
        let answers = asked.each_ref().map(|asked| gate.request("POST", "/mcp/s", own, asked));
        answers.map(|answer| answer.body.contains("ran"))
    };
    assert_eq!(runs(&keys[0]), [true; 2]);
    delete();
    // One that was here before, and one that comes now.
    assert_eq!(keys.each_ref().map(runs), [[false; 2]; 2]);
    put();
    assert_eq!(keys.each_ref().map(runs), [[true; 2]; 2]);
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

#[test]
fn a_changed_mode_reaches_servers_with_policies_of_their_own() {
    let upstream = Scripted::start(|request| {
        usual(request).unwrap_or_else(|| json_answer(&result(&message_of(request)["id"], "ran")))
    });
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("none.yaml"), "name: none\nrules: []\ndefault_effect: deny\n")
        .unwrap();
    let file = home.path().join("config.yaml");
    let configure = |mode: &str| {
        let server = format!("{{url: '{}', policy: [./none.yaml]}}", upstream.url);
        std::fs::write(&file, format!("mode: {mode}\nservers: {{notes: {server}}}\n")).unwrap();
    };
    configure("observe");
    let gate = Serve::start(home);
    let own = format!("X-Agent-Key: {}\r\n", gate.key(&json!({"name": "ann"})));
    let ask = || gate.request("POST", "/mcp/notes", &own, &call(1, "look", json!({})));
    assert!(ask().body.contains("ran"), "it is observed only");
    configure("enforce");
    let refused = eventually("the mode is taken up", || {
        Some(ask()).filter(|answer| answer.message()["result"]["isError"] == true)
    });
    assert_eq!(refused.message()["result"]["_meta"]["agentgate/decision"]["stage"], "policy");
    let before = upstream.requests().len();
    assert!(!ask().body.contains("ran"));
    assert_eq!(upstream.requests().len(), before, "nothing reaches the server any more");
}
