//! What the contract promises about a decision, seen from the client, from the
//! server, and in the log.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Sandbox, Wrap, argv, eventually, real, recorder, shell};

const POLICY: &str = r#"
name: notes
rules:
  - name: no-deleting
    tool: delete_note
    effect: deny
    reason: notes are kept
    suggestion: Archive the note.
  - tool: write_note
    effect: ask
default_effect: allow
"#;

/// The decision as the refused model is shown it.
fn decision(reply: &Value) -> &Value {
    &reply["result"]["_meta"]["agentgate/decision"]
}

fn passed(reply: &Value) -> bool {
    reply["result"]["content"][0]["text"] == "done"
}

/// A recorder behind the gate, its session opened.
fn open(sandbox: &Sandbox, wrap: Wrap) -> (Client, PathBuf) {
    let record = sandbox.path("received");
    let mut client = Client::spawn(&wrap.command(recorder(&record)));
    client.initialize();
    (client, record)
}

fn received(record: &PathBuf) -> String {
    std::fs::read_to_string(record).unwrap()
}

#[test]
fn denial_contains_subject_reason_and_suggestion() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap().policy(sandbox.write("p.yaml", POLICY)).option("--name", "notes");
    let (mut client, record) = open(&sandbox, wrap.option("--agent", "ada"));
    let reply = client.call(1, "delete_note", &json!({"id": 7}));
    assert!(client.close().success());

    assert_eq!(reply["result"]["isError"], true, "{reply}");
    assert!(
        reply["result"].get("resultType").is_none(),
        "the request was of no stateless revision"
    );
    let words = reply["result"]["content"][0]["text"].as_str().unwrap();
    for said in ["delete_note", "notes are kept", "Archive the note."] {
        assert!(words.contains(said), "`{said}` is not in: {words}");
    }
    let decision = decision(&reply);
    for (field, expected) in [
        ("decision", "deny"),
        ("policy", "notes"),
        ("rule", "no-deleting"),
        ("reason", "notes are kept"),
        ("suggestion", "Archive the note."),
        ("intent", "delete"),
        ("stage", "policy"),
    ] {
        assert_eq!(decision[field], expected, "{field}: {decision}");
    }
    assert!(!received(&record).contains("delete_note"));

    let rows = sandbox.rows();
    let row = rows.iter().find(|row| row["tool"] == "delete_note").expect("a row");
    assert_eq!(row["id"], decision["request_id"]);
    for (field, expected) in [
        ("agent", "ada"),
        ("server", "notes"),
        ("transport", "stdio"),
        ("method", "tools/call"),
        ("decision", "deny"),
        ("outcome", "refused"),
        ("mode", "enforce"),
    ] {
        assert_eq!(row[field], expected, "{field}: {row}");
    }
}

#[test]
fn ask_without_a_person_suggests_a_rule() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap().policy(sandbox.write("p.yaml", POLICY));
    let (mut client, record) = open(&sandbox, wrap);
    let reply = client.call(1, "write_note", &json!({}));
    assert!(client.close().success());
    assert_eq!(decision(&reply)["decision"], "ask", "{reply}");
    let words = reply["result"]["content"][0]["text"].as_str().unwrap();
    assert!(words.contains("effect: allow"), "no rule that would allow it in: {words}");
    assert!(!received(&record).contains("write_note"));
    let rows = sandbox.rows();
    assert!(rows.iter().any(|row| row["decision"] == "ask" && row["outcome"] == "refused"));
}

#[test]
fn denials_have_the_shape_of_the_request() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap().policy(sandbox.write("p.yaml", POLICY));
    let (mut client, _) = open(&sandbox, wrap);
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                      "io.modelcontextprotocol/clientCapabilities": {}});
    for (id, extra, is_result) in
        [(1, json!({"_meta": meta}), true), (2, json!({"task": {"ttl": 1}}), false)]
    {
        let mut params = json!({"name": "delete_note", "arguments": {}});
        params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        client.send(
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
                .to_string(),
        );
        let reply = client.reply(&json!(id));
        if is_result {
            assert_eq!(reply["result"]["resultType"], "complete", "{reply}");
        } else {
            let code = reply["error"]["code"].as_i64().expect("an error for a task");
            assert!(
                !(-32768..=-32000).contains(&code) || [-32600, -32602].contains(&code),
                "{code}"
            );
        }
    }
    assert!(client.close().success());
}

#[test]
fn a_batch_with_a_refused_element_is_refused_whole() {
    let sandbox = Sandbox::new();
    let record = sandbox.path("received");
    let policy = sandbox.write("p.yaml", POLICY);
    let mut client = Client::spawn(&sandbox.wrap().policy(policy).command(recorder(&record)));
    client.send(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#);
    client.reply(&json!(0));
    client.send(r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_note"}},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"delete_note"}},{"jsonrpc":"2.0","method":"notifications/x"}]"#);
    let replies = client.wait_for("answers to the batch", Value::is_array);
    let answered = |id: u64| {
        replies.as_array().unwrap().iter().find(|reply| reply["id"] == json!(id)).unwrap().clone()
    };
    assert_eq!(replies.as_array().unwrap().len(), 2, "{replies}");
    assert!(answered(1).get("error").is_some() || answered(1)["result"]["isError"] == true);
    assert_eq!(decision(&answered(2))["decision"], "deny", "{replies}");
    client.send(r#"[{"jsonrpc":"2.0","id":3,"method":"ping"}]"#);
    assert!(client.close().success());
    let received = received(&record);
    assert!(!received.contains("read_note") && !received.contains("delete_note"), "{received}");
    assert!(received.contains(r#"[{"jsonrpc":"2.0","id":3,"method":"ping"}]"#), "{received}");
}

#[test]
fn annotations_are_learned_even_before_any_list() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap();
    let (mut client, record) = open(&sandbox, wrap);
    assert!(passed(&client.call(1, "read_note", &json!({}))));
    for (id, tool) in [(2, "delete_note"), (3, "write_note"), (4, "never_listed")] {
        let reply = client.call(id, tool, &json!({}));
        assert_eq!(decision(&reply)["decision"], "ask", "{tool}: {reply}");
    }
    client.forget_unclaimed();
    assert!(client.close().success());
    let received = received(&record);
    assert!(received.contains("tools/list"), "the gate asks by itself");
    assert!(!received.contains("delete_note") && !received.contains("never_listed"));
}

#[test]
fn no_hint_loosens_where_the_server_is_not_trusted() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap().option("--trust", "none");
    let (mut client, _) = open(&sandbox, wrap);
    let reply = client.call(1, "read_note", &json!({}));
    assert_eq!(decision(&reply)["decision"], "ask", "{reply}");
    assert!(client.close().success());
}

#[test]
fn hidden_tools_are_refused_all_the_same() {
    let by_flag = |wrap: Wrap, _: &Sandbox| wrap.flag("--hide-denied");
    let by_key = |wrap: Wrap, sandbox: &Sandbox| {
        sandbox.write("home/config.yaml", "servers: {notes: {hide_denied: true}}\n");
        wrap.option("--name", "notes")
    };
    hides_and_refuses(by_flag);
    hides_and_refuses(by_key);
}

fn hides_and_refuses(told: impl Fn(Wrap, &Sandbox) -> Wrap) {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap().policy(sandbox.write("p.yaml", POLICY));
    let (mut client, record) = open(&sandbox, told(wrap, &sandbox));
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let listed = client.reply(&json!(1));
    let names: Vec<_> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert!(names.contains(&&json!("read_note")) && !names.contains(&&json!("delete_note")));
    let reply = client.call(2, "delete_note", &json!({}));
    assert_eq!(decision(&reply)["decision"], "deny", "{reply}");
    assert!(client.close().success());
    assert!(!received(&record).contains("delete_note"));
}

#[test]
fn observing_lets_through_and_records() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap().policy(sandbox.write("p.yaml", POLICY)).option("--mode", "observe");
    let (mut client, record) = open(&sandbox, wrap);
    assert!(passed(&client.call(1, "delete_note", &json!({}))));
    // What cannot be read for certain is not let through by observing.
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read_note","name":"delete_note"}}"#);
    client.wait_for("an error", |message| message.get("error").is_some());
    assert!(client.close().success());
    assert_eq!(received(&record).matches("delete_note").count(), 1);
    let rows = sandbox.rows();
    let row = rows.iter().find(|row| row["tool"] == "delete_note").unwrap();
    assert_eq!((&row["decision"], &row["outcome"]), (&json!("deny"), &json!("observed")), "{row}");
    assert_eq!(row["mode"], "observe");
}

#[test]
fn a_rate_limit_is_shared_by_all_gates_on_one_database() {
    let sandbox = Sandbox::new();
    let policy = sandbox.write(
        "p.yaml",
        "name: limited\ndefault_effect: allow\nrate_limit: { enabled: true, requests_per_minute: 5 }\n",
    );
    let wrap = || sandbox.wrap().policy(&policy);
    let record = |name: &str| recorder(&sandbox.path(name));
    let mut clients = [
        Client::spawn(&wrap().command(record("one"))),
        Client::spawn(&wrap().command(record("two"))),
    ];
    clients.iter_mut().for_each(|client| drop(client.initialize()));
    let replies: Vec<_> = (0..12)
        .map(|number| clients[number % 2].call(number as u64, "read_note", &json!({})))
        .collect();
    assert_eq!(replies.iter().filter(|reply| passed(reply)).count(), 5);
    let refused = replies.last().unwrap();
    assert_eq!(decision(refused)["stage"], "rate_limit", "{refused}");
}

#[test]
fn a_changed_policy_holds_at_once_and_a_broken_one_never() {
    let sandbox = Sandbox::new();
    let policy = sandbox.write("p.yaml", "name: p\ndefault_effect: allow\n");
    let wrap = sandbox.wrap().policy(&policy);
    let (mut client, _) = open(&sandbox, wrap);
    assert!(passed(&client.call(0, "read_note", &json!({}))));

    let mut id = 0;
    let mut passes = |client: &mut Client| {
        id += 1;
        passed(&client.call(id, "read_note", &json!({})))
    };
    sandbox.write("p.yaml", "name: p\ndefault_effect: deny\n");
    eventually("the change is in force", || !passes(&mut client));
    sandbox.write("p.yaml", "name: p\ndefault_effect: alow\n");
    eventually("the mistake is told", || client.stderr().contains("alow"));
    assert!(!passes(&mut client), "the last good policy denies");
    sandbox.write("p.yaml", "name: p\ndefault_effect: allow\n");
    eventually("the next good one is in force", || passes(&mut client));
    assert!(client.close().success());
}

#[test]
fn the_gates_own_variables_never_reach_the_server() {
    let sandbox = Sandbox::new();
    let seen = sandbox.path("seen");
    let wrap = sandbox.wrap().policy("allow_all");
    let status = Client::spawn(&wrap.command(shell(&format!("env > {}", seen.display())))).close();
    assert!(status.success());
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("PATH=") && !seen.contains("AGENTGATE_"), "{seen}");
}

#[test]
fn files_with_arguments_or_secrets_are_for_their_owner_alone() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap().policy("allow_all");
    let (mut client, _) = open(&sandbox, wrap);
    let secret = "hunter2-and-more";
    client.call(1, "read_note", &json!({"password": secret, "text": "plain"}));
    assert!(client.close().success());
    for entry in std::fs::read_dir(sandbox.path("home")).unwrap().map(Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        if metadata.is_file() {
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{}", entry.path().display());
            let content = std::fs::read(entry.path()).unwrap();
            let text = String::from_utf8_lossy(&content);
            assert!(!text.contains(secret), "a secret in {}", entry.path().display());
        }
    }
}

#[test]
fn a_tool_that_a_real_server_does_not_list_is_refused_for_that() {
    let Some(installed) = real::installed() else { return };
    let sandbox = Sandbox::new();
    let server = argv([installed.join("node_modules/.bin/mcp-server-everything")]);
    let mut client = Client::spawn(&sandbox.wrap().flag("--hide-denied").command(server));
    client.initialize();
    let typo = client.call(1, "get_summ", &json!({"a": 1, "b": 2}));
    let unlike = client.call(2, "format_disk", &json!({}));
    drop(client);
    for (reply, reason) in [
        (&typo, "the server does not list this tool; did you mean `get-sum`?"),
        (&unlike, "the server does not list this tool"),
    ] {
        assert_eq!(decision(reply)["decision"], "ask", "{reply}");
        assert_eq!(decision(reply)["reason"], reason);
    }
}
