//! Clients of one era in front of servers of the other: real SDKs on both sides,
//! in front of a URL, of a command, and over pipes.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::scripted::{Scripted, answer, json_answer};
use crate::support::{
    Gate, Process, TIMEOUT, agentgate, call, eventually, initialize, installed, stateless_call,
    whole,
};

/// A server of one era alone, over HTTP or as a command, and what it was called.
pub(crate) struct Lone {
    folder: TempDir,
    pub(crate) command: Vec<OsString>,
    _process: Option<Process>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Speaks {
    Stateless,
    Handshake,
}

/// How the gate stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    Url,
    Command,
    Pipes,
}

impl Lone {
    /// The server's own address or command is its target.
    pub(crate) fn start(installed: &Path, speaks: Speaks, place: Place) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let helpers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/helpers");
        let mut command: Vec<OsString> = match speaks {
            Speaks::Stateless => {
                let mut root = OsString::from("AGENTGATE_REAL=");
                root.push(installed);
                let script = helpers.join("stateless.mjs");
                vec!["env".into(), root, "node".into(), script.into()]
            }
            Speaks::Handshake => {
                let python = installed.join("python-sqlite/bin/python");
                vec![python.into(), helpers.join("handshake.py").into()]
            }
        };
        command.push(folder.path().join("calls").into());
        if place == Place::Command {
            command.push("stdio".into());
            return Self { folder, command, _process: None };
        }
        let port = folder.path().join("port");
        command.push(port.clone().into());
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]).stderr(Stdio::null());
        let process = Process(process.spawn().unwrap());
        let port = eventually("the server listens", || std::fs::read_to_string(&port).ok());
        let url = format!("http://127.0.0.1:{port}/mcp");
        Self { folder, command: vec![url.into()], _process: Some(process) }
    }

    /// The calls that arrived, a line each.
    fn arrived(&self) -> String {
        std::fs::read_to_string(self.calls()).unwrap_or_default()
    }

    fn calls(&self) -> PathBuf {
        self.folder.path().join("calls")
    }
}

/// A policy that allows everything but `remove`.
fn policy(home: &Path) -> String {
    let path = home.join("no-remove.yaml");
    let text = "name: careful\nrules:\n  - name: no-remove\n    tool: remove\n    effect: deny\n    \
                reason: nothing is removed here\ndefault_effect: allow\ndefault_reason: the rest\n";
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn plan(server: &Lone) -> Value {
    json!({
        "arrived": server.calls(),
        "calls": [["echo", {"text": "hi"}], ["steps", {}], ["fail", {}], ["remove", {"path": "/x"}],
                  ["absent", {}], ["asks", {}]],
        "together": [["echo", {"text": "1"}], ["echo", {"text": "2"}], ["echo", {"text": "3"}]],
        "prompts": [["greet", {}]],
        "resources": ["note://one", "note://absent"],
    })
}

/// What a client is run as: `old python`, or a mode of client.py or client.mjs.
fn client(installed: &Path, kind: &str) -> Command {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
    let (program, script, mode) = match kind.split_once(' ').unwrap() {
        ("old", _) => ("python-sqlite/bin/python", "client_before_2.py", None),
        ("python", mode) => ("python/bin/python", "client.py", Some(mode)),
        (_, mode) => ("", "client.mjs", Some(mode)),
    };
    let mut command = match program {
        "" => Command::new("node"),
        program => Command::new(installed.join(program)),
    };
    command.arg(real.join(script)).args(mode).env("AGENTGATE_REAL", installed);
    command
}

/// What a client reports, by question; `None` where it fails, with its own words in the
/// test's output.
fn report(mut client: Command, plan: &Value, server: &[OsString]) -> Option<String> {
    let output = client.arg(plan.to_string()).args(server).output().unwrap();
    if !output.status.success() {
        eprintln!("the client fails: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(String::from_utf8(output.stdout).unwrap())
}

fn answers(report: &str, question: &str) -> Vec<Value> {
    let lines = report.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line[0] == question).map(|line| line[1].clone()).collect()
}

fn one(report: &str, question: &str) -> Value {
    let mut answers = answers(report, question);
    assert_eq!(answers.len(), 1, "{question} in {report}");
    answers.remove(0)
}

/// The gate in front of `server`, as a target for clients, and its log.
struct Between {
    home: TempDir,
    target: Vec<OsString>,
    _gate: Option<Gate>,
}

impl Between {
    fn new(place: Place, server: &Lone, bridge: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let policy = policy(home.path());
        let arguments = ["--policy", &policy, "--bridge", bridge];
        if place == Place::Pipes {
            let mut home_is = OsString::from("AGENTGATE_HOME=");
            home_is.push(home.path());
            let gate = env!("CARGO_BIN_EXE_agentgate");
            let mut target: Vec<OsString> = vec!["env".into(), home_is, gate.into()];
            target.extend(["wrap", "--name", "server"].iter().chain(&arguments).map(Into::into));
            target.extend(server.command.clone());
            return Self { home, target, _gate: None };
        }
        let gate = Gate::listen_with(&arguments, &server.command, |command| {
            command.env("AGENTGATE_HOME", home.path());
        });
        Self { home, target: vec![gate.url().into()], _gate: Some(gate) }
    }

    /// Tool and outcome of each row, oldest first.
    fn rows(&self) -> Vec<(String, String)> {
        let listed = agentgate(self.home.path())
            .args(["audit", "list", "--json", "--limit", "0"])
            .output()
            .unwrap();
        let rows = String::from_utf8(listed.stdout).unwrap();
        let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rows.map(|row| (text(&row["tool"]), text(&row["outcome"]))).collect()
    }
}

#[track_caller]
fn is_denied(answer: &Value) {
    assert_eq!(answer["isError"], true, "{answer}");
    assert_eq!(answer["_meta"]["agentgate/decision"]["rule"], "no-remove", "{answer}");
}

fn says(answer: &Value) -> &str {
    answer["content"][0]["text"].as_str().unwrap_or_default()
}

#[track_caller]
fn every_call_has_its_row(between: &Between, server: &Lone, calls: &[&str]) {
    assert!(!server.arrived().contains("remove"), "{}", server.arrived());
    let rows = eventually("every row is complete", || {
        let rows = between.rows();
        rows.iter().all(|(_, outcome)| outcome != "pending" && !outcome.is_empty()).then_some(rows)
    });
    let mut tools: Vec<&str> = rows.iter().map(|(tool, _)| tool.as_str()).collect();
    let mut calls = calls.to_vec();
    tools.sort_unstable();
    calls.sort_unstable();
    assert_eq!(tools, calls, "{rows:?}");
}

fn old_in_front_of_new(place: Place) {
    let Some(installed) = installed() else { return };
    let server = Lone::start(&installed, Speaks::Stateless, place);
    let between = Between::new(place, &server, "auto");
    let mut plan = plan(&server);
    plan["calls"].as_array_mut().unwrap().push(json!(["region", {"where": "S\u{fc}d"}]));
    plan["cancelled"] = json!([["wait", {"seconds": 300}]]);
    let direct = report(client(&installed, "old python"), &plan, &server.command);
    assert_eq!(direct, None, "without the gate they do not understand each other");
    let said = report(client(&installed, "old python"), &plan, &between.target);
    let said = said.expect("the client fails");
    assert_eq!(one(&said, "version"), "2025-11-25");
    assert_eq!(one(&said, "server"), "stateless");
    assert_eq!(one(&said, "instructions"), "Ask before you remove.");
    let offers = json!({"tools": {}, "prompts": {}, "resources": {}, "logging": {}});
    assert_eq!(one(&said, "capabilities"), offers, "only what is bridged");
    assert_eq!((one(&said, "ping"), one(&said, "level")), (json!({}), json!({})));
    assert_eq!(one(&said, "tools")["tools"][0]["name"], "echo");
    assert_eq!(one(&said, "prompts")["prompts"][0]["name"], "greet");
    assert_eq!(one(&said, "subscribe")["code"], -32601);
    assert_eq!(says(&one(&said, "echo")), "echo: hi");
    assert_eq!(says(&one(&said, "region")), "S\u{fc}d", "an argument that is a header, too");
    assert_eq!(one(&said, "progress"), json!([[1.0, 2.0], [2.0, 2.0]]));
    assert_eq!(one(&said, "logged"), json!(["step 1", "step 2"]));
    assert_eq!(one(&said, "fail")["isError"], true);
    is_denied(&one(&said, "remove"));
    assert!(one(&said, "remove").get("resultType").is_none(), "a denial in the client's era");
    assert_eq!(one(&said, "absent")["code"], -32602);
    assert_eq!(one(&said, "asks")["code"], -32021, "the server is told that nobody can be asked");
    let together: Vec<_> =
        answers(&said, "together").iter().map(|it| says(it).to_owned()).collect();
    assert_eq!(together, ["echo: 1", "echo: 2", "echo: 3"]);
    assert_eq!(one(&said, "note://one")["contents"][0]["text"], "a note");
    assert_eq!(one(&said, "note://absent")["code"], -32602);
    assert_eq!(one(&said, "cancelled"), "arrived");
    let calls = ["echo", "steps", "fail", "remove", "absent", "asks", "region"];
    let calls = [&calls[..], &["echo", "echo", "echo", "wait"]].concat();
    every_call_has_its_row(&between, &server, &calls);

    let said = report(client(&installed, "node v1"), &plan, &between.target).expect("v1 fails");
    assert_eq!(says(&one(&said, "echo")), "echo: hi");
    is_denied(&one(&said, "remove"));
    assert_eq!(one(&said, "note://one")["contents"][0]["text"], "a note");
}

#[test]
fn old_clients_in_front_of_a_new_server_behind_a_url() {
    old_in_front_of_new(Place::Url);
}

#[test]
fn old_clients_in_front_of_a_new_server_that_is_a_command() {
    old_in_front_of_new(Place::Command);
}

#[test]
fn old_clients_over_pipes_in_front_of_a_new_server_behind_a_url() {
    old_in_front_of_new(Place::Pipes);
}

fn new_in_front_of_old(place: Place) {
    let Some(installed) = installed() else { return };
    let server = Lone::start(&installed, Speaks::Handshake, place);
    let between = Between::new(place, &server, "always");
    let plan = plan(&server);
    let direct = report(client(&installed, "node v2-2026"), &plan, &server.command);
    assert_eq!(direct, None, "without the gate they do not understand each other");
    for kind in ["node v2-2026", "python 2026-07-28"] {
        let said = report(client(&installed, kind), &plan, &between.target);
        let said = said.unwrap_or_else(|| panic!("{kind} fails"));
        assert_eq!(says(&one(&said, "echo")), "echo: hi", "{kind}");
        assert_eq!(says(&one(&said, "steps")), "stepped", "{kind}");
        assert_eq!(one(&said, "fail")["isError"], true, "{kind}");
        is_denied(&one(&said, "remove"));
        assert_eq!(says(&one(&said, "absent")), "Unknown tool: absent", "{kind}");
        assert_eq!(one(&said, "asks")["isError"], true, "{kind}: {}", one(&said, "asks"));
        let prompt = one(&said, "greet");
        assert_eq!(prompt["messages"][0]["content"]["text"], "Say hello.", "{kind}");
        assert_eq!(one(&said, "note://one")["contents"][0]["text"], "a note", "{kind}");
        assert!(one(&said, "note://absent")["error"].is_string(), "{kind}");
    }
    // So has what `asks` asks for, which is no tool.
    let calls = ["echo", "steps", "fail", "remove", "absent", "asks", ""];
    every_call_has_its_row(&between, &server, &[calls, calls].concat());
}

#[test]
fn new_clients_in_front_of_an_old_server_behind_a_url() {
    new_in_front_of_old(Place::Url);
}

#[test]
fn new_clients_in_front_of_an_old_server_that_is_a_command() {
    new_in_front_of_old(Place::Command);
}

#[test]
fn new_clients_over_pipes_in_front_of_an_old_server_behind_a_url() {
    new_in_front_of_old(Place::Pipes);
}

/// Clients of both eras find the server's own by themselves, and go on to do so
/// next to a client that cannot and is bridged in the end.
fn falls_back_by_itself(place: Place) {
    let Some(installed) = installed() else { return };
    let server = Lone::start(&installed, Speaks::Handshake, place);
    let between = Between::new(place, &server, "auto");
    let mut plan = plan(&server);
    plan["calls"] = json!([["echo", {"text": "hi"}], ["fail", {}]]);
    for _ in 0..2 {
        for kind in ["python auto", "node v2-auto"] {
            let direct = report(client(&installed, kind), &plan, &server.command).unwrap();
            let gated = report(client(&installed, kind), &plan, &between.target).unwrap();
            assert_eq!(direct, gated, "{kind}");
        }
        let said = eventually("a client of one era is served", || {
            report(client(&installed, "node v2-2026"), &plan, &between.target)
        });
        assert_eq!(says(&one(&said, "echo")), "echo: hi");
    }
}

#[test]
fn clients_of_both_eras_fall_back_by_themselves_in_front_of_a_url() {
    falls_back_by_itself(Place::Url);
}

#[test]
fn clients_of_both_eras_fall_back_by_themselves_in_front_of_a_command() {
    falls_back_by_itself(Place::Command);
}

/// In front of a server of the new era they stay there.
#[test]
fn clients_of_both_eras_stay_in_the_new_one() {
    let Some(installed) = installed() else { return };
    for place in [Place::Url, Place::Command] {
        let server = Lone::start(&installed, Speaks::Stateless, place);
        let between = Between::new(place, &server, "auto");
        let mut plan = plan(&server);
        // Nor what never ends to ask.
        let kept = |call: &Value| call[0] != "remove" && call[0] != "asks";
        plan["calls"].as_array_mut().unwrap().retain(kept);
        for kind in ["python auto", "node v2-auto"] {
            let direct = report(client(&installed, kind), &plan, &server.command).unwrap();
            let gated = report(client(&installed, kind), &plan, &between.target).unwrap();
            assert_eq!(direct, gated, "{kind}, {place:?}");
        }
    }
}

/// A server of the stateless era by script; tools/call answers what `call` says.
pub(crate) fn stateless_server(call: fn(&Value) -> Vec<u8>) -> Scripted {
    Scripted::start(move |request| {
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let stateless = head_of(request).contains("mcp-protocol-version: 2026-07-28");
        let result = match message["method"].as_str().unwrap_or_default() {
            _ if !stateless => return refusal(&message),
            "server/discover" => {
                json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "public",
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
            }
            "tools/list" => json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "public",
                "tools": [{"name": "look", "inputSchema": {"type": "object"}}]}),
            "tools/call" => return call(&message),
            _ => return unknown(&message),
        };
        json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    })
}

/// In small letters.
fn head_of(request: &str) -> String {
    request.split_once("\r\n\r\n").map_or("", |(head, _)| head).to_ascii_lowercase()
}

fn with_status(status: &str, message: &Value) -> Vec<u8> {
    let body = message.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn refusal(message: &Value) -> Vec<u8> {
    with_status(
        "400 Bad Request",
        &json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32022,
            "message": "Unsupported protocol version", "data": {"supported": ["2026-07-28"]}}}),
    )
}

fn unknown(message: &Value) -> Vec<u8> {
    let error = json!({"code": -32601, "message": "no such method"});
    with_status("404 Not Found", &json!({"jsonrpc": "2.0", "id": message["id"], "error": error}))
}

pub(crate) fn looked(message: &Value) -> Vec<u8> {
    let content = json!([{"type": "text", "text": "looked"}]);
    let result = json!({"resultType": "complete", "content": content});
    json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
}

#[test]
fn the_arguments_that_were_judged_are_the_bytes_that_go() {
    const CALL: &str = r#"{"jsonrpc":"2.0", "id":7,"method":"tools/call","params":{"name":"l\u006fok","arguments":{"n":1.50,"big":123456789012345678901234567890, "deep":[ {} ]}}}"#;
    let upstream = stateless_server(looked);
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let session = gate.session("");
    let headers = format!(
        "Mcp-Session-Id: {session}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
    );
    let answer = gate.request("POST", &headers, CALL);
    assert_eq!(answer.message()["result"]["content"][0]["text"], "looked", "{answer:?}");
    let requests = upstream.requests();
    let sent = requests.iter().find(|request| request.contains("tools/call")).unwrap();
    let body = sent.split_once("\r\n\r\n").unwrap().1;
    let start = r#"{"jsonrpc":"2.0", "id":7,"method":"tools/call","params":{"_meta":{"#;
    let end = r#""name":"l\u006fok","arguments":{"n":1.50,"big":123456789012345678901234567890, "deep":[ {} ]}}}"#;
    assert!(body.starts_with(start) && body.ends_with(end), "{body}");
    let head = head_of(sent);
    for header in ["mcp-protocol-version: 2026-07-28", "mcp-method: tools/call", "mcp-name: look"] {
        assert!(head.contains(header), "{head}");
    }
    assert!(!head.contains("mcp-session-id"), "the server knows no sessions: {head}");
}

#[test]
fn a_bridged_session_is_its_owners_and_ends() {
    let upstream = stateless_server(looked);
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let (ann, bob) = ("Authorization: Bearer ann\r\n", "Authorization: Bearer bob\r\n");
    let id = gate.session(ann);
    let of = |who: &str| format!("{who}Mcp-Session-Id: {id}\r\n");
    let look = call(1, "look", json!({}));
    assert_eq!(gate.post(&of(ann), &look).status, 200);
    assert_eq!(gate.post(&of(bob), &look).status, 404);
    assert_eq!(gate.post(&of(""), &look).status, 404);
    // Errors are answers like any other in the older era: a 404 would end the session.
    let absent = json!({"jsonrpc": "2.0", "id": 2, "method": "completion/complete", "params": {}});
    let answer = gate.post(&of(ann), &absent);
    assert_eq!((answer.status, &answer.message()["error"]["code"]), (200, &json!(-32601)));
    assert_eq!(gate.request("GET", &of(ann), "").status, 405);
    assert_eq!(gate.request("DELETE", &of(bob), "").status, 404);
    assert_eq!(gate.post(&of(ann), &look).status, 200);
    assert_eq!(gate.request("DELETE", &of(ann), "").status, 204);
    assert_eq!(gate.post(&of(ann), &look).status, 404);
    let unknown = "Mcp-Session-Id: agentgate-0\r\n";
    assert_eq!(gate.post(unknown, &look).status, 404);
    let calls = upstream.requests().iter().filter(|it| it.contains("\"look\"")).count();
    assert!(calls >= 2);
}

#[test]
fn bridged_input_request_becomes_an_error_for_the_client() {
    let upstream = stateless_server(|message| {
        let asked =
            json!({"a": {"method": "roots/list"}, "b": {"method": "sampling/createMessage"}});
        let result = json!({"resultType": "input_required", "inputRequests": asked});
        json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let session = format!("Mcp-Session-Id: {}\r\n", gate.session(""));
    let told = gate.post(&session, &call(1, "look", json!({}))).message();
    assert_eq!(told["result"]["isError"], true, "{told}");
    assert!(told.to_string().contains("does not bridge"), "{told}");
    eventually("what was refused is in the log", || {
        (refused(&gate) == ["roots/list", "sampling/createMessage"]).then_some(())
    });
}

/// The methods that were not bridged, in the log.
fn refused(gate: &Gate) -> Vec<String> {
    let log = gate.log();
    let refused = log.iter().filter(|row| {
        let reason = row["reason"].as_str().unwrap_or_default();
        row["decision"] == "deny" && reason.contains("does not bridge")
    });
    refused.map(|row| row["method"].as_str().unwrap().to_owned()).collect()
}

/// Which child it goes to is settled first: each try would take a slot.
#[test]
fn call_is_judged_once_in_every_era() {
    let Some(installed) = installed() else { return };
    for speaks in [Speaks::Handshake, Speaks::Stateless] {
        let server = Lone::start(&installed, speaks, Place::Command);
        let home = tempfile::tempdir().unwrap();
        let policy = home.path().join("once.yaml");
        let text = "name: once\nrate_limit: { enabled: true, requests_per_minute: 1 }\nrules: []\n\
                    default_effect: allow\n";
        std::fs::write(&policy, text).unwrap();
        let arguments = ["--bridge", "always", "--policy", policy.to_str().unwrap()];
        let gate = Gate::listen(&arguments, &server.command);
        let ask = || {
            let (headers, call) = stateless_call(1, "echo", json!({"text": "hi"}));
            gate.post(&headers, &call).message()
        };
        assert_eq!(says(&ask()["result"]), "echo: hi");
        assert_eq!(ask()["result"]["isError"], true, "the second of two");
        assert_eq!(server.arrived().matches("echo").count(), 1, "{}", server.arrived());
        let decisions: Vec<_> = gate.log().iter().map(|row| row["decision"].clone()).collect();
        assert_eq!(decisions, ["allow", "deny"]);
    }
}

#[test]
fn without_bridges_each_gets_the_others_own_error() {
    let upstream = stateless_server(looked);
    let arguments = ["--policy", "allow_all", "--bridge", "never"];
    let gate = Gate::listen(&arguments, &[upstream.url.clone().into()]);
    let refused = gate.post("", &initialize());
    assert_eq!((refused.status, &refused.message()["error"]["code"]), (400, &json!(-32022)));
}

/// A server of the older era by script: its sessions are over after `lasts` calls.
pub(crate) fn handshake_server(lasts: usize) -> Scripted {
    let state = Mutex::new((0, 0));
    Scripted::start(move |request| {
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let (sessions, calls) = &mut *state.lock().unwrap();
        let head = head_of(request);
        let method = message["method"].as_str().unwrap_or_default();
        if method == "initialize" {
            (*sessions, *calls) = (*sessions + 1, 0);
            let result = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                                "serverInfo": {"name": "old", "version": "1"}});
            let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
            let length = body.len();
            return format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s{sessions}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes();
        }
        if !head.contains(&format!("mcp-session-id: s{sessions}")) || *sessions == 0 {
            let error = json!({"code": -32000, "message": "Bad Request: no session"});
            return with_status(
                "400 Bad Request",
                &json!({"jsonrpc": "2.0", "id": null, "error": error}),
            );
        }
        assert!(!head.contains("2026-07-28"), "another era's header: {head}");
        let result = match method {
            "tools/list" => json!({"tools": [{"name": "look", "inputSchema": {"type": "object"}}]}),
            "tools/call" if *calls == lasts => {
                let error = json!({"code": -32001, "message": "Session not found"});
                return with_status(
                    "404 Not Found",
                    &json!({"jsonrpc": "2.0", "id": null, "error": error}),
                );
            }
            "tools/call" if message["params"]["arguments"]["slowly"] == true => {
                // A stream on which the server asks, and never answers.
                let ping = "data: {\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\n\n\
                            data: {\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"roots/list\"}\n\n";
                return format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nMcp-Session-Id: s{sessions}\r\nContent-Length: 100000\r\n\r\n: here\n\n{ping}").into_bytes();
            }
            "tools/call" => {
                *calls += 1;
                json!({"content": [{"type": "text", "text": format!("s{sessions}")}]})
            }
            _ => return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec(),
        };
        let message = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        answer("application/json", &message.to_string())
    })
}

#[test]
fn a_session_that_the_server_ended_is_opened_again() {
    let upstream = handshake_server(2);
    let arguments = ["--policy", "allow_all", "--bridge", "always"];
    let gate = Gate::listen(&arguments, &[upstream.url.clone().into()]);
    let mut sessions = Vec::new();
    for id in 0..5 {
        // The same id every time, as several clients would use it.
        let (headers, call) = stateless_call(id % 2, "look", json!({"id": 9}));
        let answer = gate.post(&headers, &call);
        let message = answer.message();
        assert_eq!((answer.status, &message["id"]), (200, &json!(id % 2)), "{answer:?}");
        assert_eq!(message["result"]["resultType"], "complete");
        assert_eq!(answer.header("mcp-session-id"), None, "the gate's session is its own");
        sessions.push(message["result"]["content"][0]["text"].as_str().unwrap().to_owned());
    }
    assert_eq!(sessions, ["s1", "s1", "s2", "s2", "s3"]);
    assert_eq!(gate.log().len(), 5, "one row a call");
    let (_, mut ping) = stateless_call(1, "look", json!({}));
    ping["method"] = "ping".into();
    let headers = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: ping\r\n";
    let answer = gate.post(headers, &ping);
    assert_eq!((answer.status, &answer.message()["error"]["code"]), (404, &json!(-32601)));
}

/// Clients that differ in a credential share neither session nor credential.
#[test]
fn no_clients_credential_goes_along_with_another_ones_call() {
    let upstream = handshake_server(9);
    let arguments = ["--policy", "allow_all", "--bridge", "always"];
    let gate = Gate::listen(&arguments, &[upstream.url.clone().into()]);
    for (number, secret) in ["one", "two", "one"].iter().enumerate() {
        for more in ["", "X-Trace: 1\r\n", "X-Trace: 2\r\n"] {
            let (headers, call) =
                stateless_call(1, "look", json!({"of": format!("{secret}{number}")}));
            gate.post(&format!("{headers}X-Api-Key: {secret}\r\n{more}"), &call);
        }
    }
    let requests = upstream.requests();
    let of = |secret: &str| {
        let key = format!("x-api-key: {secret}\r\n");
        requests.iter().filter(|it| format!("{}\r\n", head_of(it)).contains(&key)).count()
    };
    assert_eq!(of("one") + of("two"), requests.len(), "{requests:?}");
    for request in requests.iter().filter(|it| it.contains("\"of\"")) {
        let other = if request.contains("\"of\":\"one") { "two" } else { "one" };
        assert!(!head_of(request).contains(&format!("x-api-key: {other}")), "{request}");
    }
}

#[test]
fn closing_the_stream_cancels_and_the_servers_questions_are_answered() {
    let upstream = handshake_server(9);
    let arguments = ["--policy", "allow_all", "--bridge", "always"];
    let gate = Gate::listen(&arguments, &[upstream.url.clone().into()]);
    let (headers, call) = stateless_call(5, "look", json!({"slowly": true}));
    let headers = format!(
        "{headers}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
    );
    let request = whole(gate.address, "POST", "/mcp", &headers, &call.to_string());
    let mut stream = TcpStream::connect(gate.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(&request).unwrap();
    let mut read = Vec::new();
    while !read.windows(6).any(|window| window == b": here") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "it ended: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..length]);
    }
    eventually("the server's question is answered", || {
        let answered = |it: &String| it.contains(r#""id":"p","result":{}"#);
        upstream.requests().iter().any(answered)
    });
    eventually("what was refused is in the log", || {
        (refused(&gate) == ["roots/list"]).then_some(())
    });
    drop(stream);
    let cancelled = eventually("the cancellation arrives", || {
        upstream.requests().into_iter().find(|it| it.contains("notifications/cancelled"))
    });
    let requests = upstream.requests();
    let call = requests.iter().rfind(|it| it.contains("\"slowly\"")).unwrap();
    let id = |text: &str, key: &str| {
        let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        body.pointer(key).cloned().unwrap()
    };
    assert_eq!(id(&cancelled, "/params/requestId"), id(call, "/id"));
    assert!(!String::from_utf8_lossy(&read).contains("ping"), "the client is asked nothing");
}

#[test]
fn a_server_of_both_eras_is_never_bridged() {
    let Some(installed) = installed() else { return };
    let server = crate::support::Server::start(&installed);
    let arguments = ["--policy", "allow_all", "--bridge", "always"];
    let gate = Gate::listen(&arguments, &[server.url.clone().into()]);
    let id = gate.session("");
    assert!(!id.starts_with("agentgate-"), "{id}");
    // What the server refuses for another reason than its era does not change that.
    let (headers, mut odd) = stateless_call(1, "test_simple_text", json!({}));
    odd["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let direct = status_of(&server.url, &headers, &odd);
    for _ in 0..3 {
        assert_eq!(gate.post(&headers, &odd).status, direct);
        let (headers, call) = stateless_call(2, "test_simple_text", json!({}));
        let answer = gate.post(&headers, &call);
        assert_eq!(answer.status, 200, "{answer:?}");
        // The server's own results say who made them.
        assert!(answer.body.contains("serverInfo"), "{answer:?}");
    }
}

/// Nor is anybody else, because a client's `initialize` was refused for what it is.
#[test]
fn a_faulty_handshake_changes_nothing_for_others() {
    let Some(installed) = installed() else { return };
    let server = crate::support::Server::start(&installed);
    for target in [vec![server.url.clone().into()], crate::support::over_pipes(&installed)] {
        let gate = Gate::listen(&["--policy", "allow_all"], &target);
        let opened = || gate.post("", &initialize()).message()["result"].clone();
        let before = opened();
        assert!(before["capabilities"]["tools"]["listChanged"].is_boolean(), "{before}");
        let mut faulty = initialize();
        faulty["params"]["clientInfo"] = json!("nobody");
        let refused = gate.post("", &faulty);
        assert_eq!(refused.message()["error"]["code"], -32602, "{refused:?}");
        let types = "Content-Type: application/json\r\nAccept: text/plain\r\n";
        gate.request("POST", types, &initialize().to_string());
        assert_eq!(opened(), before, "{target:?}");
    }
}

fn status_of(url: &str, headers: &str, message: &Value) -> u16 {
    let address = url.strip_prefix("http://").unwrap().trim_end_matches("/mcp").parse().unwrap();
    let headers = format!(
        "{headers}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
    );
    crate::support::exchange(
        address,
        &whole(address, "POST", "/mcp", &headers, &message.to_string()),
    )
    .status
}
