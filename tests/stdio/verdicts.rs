//! However a decision is asked for, it is the same: of the running gate, of `explain`, of
//! `test` and of `replay`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Sandbox, recorder};

/// Rules, with whatever looks at them, that a call can try to pass in disguise.
const POLICIES: [&str; 6] = [
    "default_effect: allow
rules:
  - { name: shadow, tool: write, args: { path: { prefix: /etc } }, effect: deny }
  - { name: nested, tool: write, args: { 'to[any].userId': root }, effect: deny }",
    "default_effect: deny
rules:
  - { name: not-main, tool: '*', args: { branch: { ne: main } }, effect: allow }
  - { name: asked, tool: 'pay*', effect: ask }",
    "default_effect: allow
rules:
  - { name: no-deleting, tool: 'delete*', effect: deny }
  - { name: sums, tool: pay, when: 'has(args.sum) && args.sum > 100', effect: deny }
  - { name: private, when: 'method == \"resources/read\" && args.uri.startsWith(\"x://private\")', effect: deny }",
    "default_effect: deny
rules:
  - { name: docs, methods: [resources/read], args: { uri: { prefix: 'x://docs/' } }, effect: allow }
  - { name: prompts, methods: [prompts/get], effect: ask }",
    "mode: observe
rules:
  - { name: shadow, tool: write, args: { path: { prefix: /etc } }, effect: deny }",
    "default_effect: annotations",
];

/// Calls of tools that the server does not list, and other requests.
fn requests() -> Vec<Value> {
    let tool = |tool: &str, args: Value| json!({"server": "s", "tool": tool, "args": args});
    let method = |method: &str, args: Value| json!({"server": "s", "method": method, "args": args});
    vec![
        tool("write", json!({"path": "/etc/shadow"})),
        tool("write", json!({"path": "/srv/a", "to": [{"userId": "me"}]})),
        tool("write", json!({"Path": "/etc/shadow"})),
        tool("write", json!({"path\u{200b}": "/etc/shadow"})),
        tool("write", json!({"path": "/srv/a", "to": [{"userid": "root"}]})),
        tool("write", json!({"a": 1, "A": 2})),
        tool("write", json!({"branch": "main"})),
        tool("write", json!({"branch": "dev", "Branch": "main"})),
        tool("Delete_all", json!({})),
        tool("delete_all", json!({})),
        tool("pay", json!({"sum": 7})),
        tool("pay", json!({"sum": 700})),
        tool("pay", json!({"Sum": 700})),
        tool("pay", json!({"sum": "700"})),
        tool("Pay", json!({"branch": "x"})),
        method("resources/read", json!({"uri": "x://docs/a"})),
        method("resources/read", json!({"uri": "x://private/a"})),
        method("resources/read", json!({"uri": "x://docs/a", "Uri": "x://private/a"})),
        method("resources/read", json!({"URI": "x://private/a"})),
        method("prompts/get", json!({"name": "p"})),
    ]
}

/// What was decided, in the words that all have in common.
fn brief(verdict: &Value) -> String {
    format!("{} {}", verdict["decision"].as_str().unwrap(), verdict["rule"].as_str().unwrap())
}

fn of_gate(client: &mut Client, id: usize, request: &Value) -> Option<String> {
    let args = &request["args"];
    let (method, params) = match request["tool"].as_str() {
        Some(tool) => ("tools/call", json!({"name": tool, "arguments": args})),
        None => (request["method"].as_str().unwrap(), args.clone()),
    };
    client
        .send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
    let reply = client.reply(&json!(id));
    let place = [&reply["result"]["_meta"], &reply["error"]["data"]];
    place.into_iter().find_map(|place| place.get("agentgate/decision")).map(brief)
}

fn run(sandbox: &Sandbox, args: &[&str], input: &str) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_agentgate"))
        .args(args)
        .env("AGENTGATE_HOME", sandbox.path("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let parsed = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    let parsed: Vec<Value> = parsed.collect();
    assert!(!parsed.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    parsed
}

#[test]
fn every_way_of_asking_gives_the_same_verdict() {
    let requests = requests();
    let mut refused = 0;
    for (index, rules) in POLICIES.iter().enumerate() {
        let sandbox = Sandbox::new();
        let tests: Vec<Value> =
            requests.iter().map(|request| json!({"request": request, "expect": "deny"})).collect();
        let text = format!("name: p\n{rules}\ntests: {}\n", json!(tests));
        let policy = sandbox.write("p.yaml", text);
        let file = policy.to_str().unwrap();

        let trace: Vec<String> = requests
            .iter()
            .map(|request| json!({"session": "s", "request": request}).to_string() + "\n")
            .collect();
        let replayed = run(&sandbox, &["replay", "--policy", file, "-"], &trace.concat());
        let tested = run(&sandbox, &["test", "--json", file], "");
        assert_eq!((replayed.len(), tested.len()), (requests.len(), requests.len()));

        let wrap = sandbox.wrap().policy(file).option("--name", "s");
        let mut client = Client::spawn(&wrap.command(recorder(&sandbox.path("received"))));
        client.initialize();
        for (at, request) in requests.iter().enumerate() {
            let what = format!("policy {index}: {request}");
            let explain = ["explain", "--json", "--policy", file, "--request", "-"];
            let explained = run(&sandbox, &explain, &request.to_string()).remove(0);
            let words = brief(&explained);
            assert_eq!(brief(&replayed[at]), words, "replay, {what}");
            assert_eq!(brief(&tested[at]), words, "test, {what}");
            let lets_through =
                explained["decision"] == "allow" || explained["observed"] == json!(true);
            let expected = (!lets_through).then_some(words);
            refused += usize::from(expected.is_some());
            assert_eq!(of_gate(&mut client, at, request), expected, "the gate, {what}");
        }
        assert!(client.close().success());
        // The log, replayed, says what it says.
        let recorded: Vec<String> = sandbox.rows().iter().map(brief).collect();
        for format in ["json", "jsonl", "csv"] {
            let export = sandbox.agentgate(&["audit", "export", "--format", format]).stdout;
            let export = String::from_utf8(export).unwrap();
            let again = run(&sandbox, &["replay", "--policy", file, "-"], &export);
            let again: Vec<String> = again.iter().map(brief).collect();
            assert_eq!(again, recorded, "policy {index}, {format}");
        }
    }
    assert!(refused > 40, "{refused} of {} were refused", requests.len() * POLICIES.len());
}
