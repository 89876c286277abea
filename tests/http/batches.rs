//! Batches, which one revision has: an answer names the rows of all that it answers.

use std::ffi::OsString;

use serde_json::{Value, json};

use crate::support::scripted::{Scripted, accepted, json_answer, message_of, result};
use crate::support::{Answer, Gate, call, initialize};

const REVISION: &str = "2025-03-26";

/// A server that answers the calls 1 and 2 of a batch.
const BATCHER: &str = r#"while IFS= read -r line; do
  case $line in
    '['*) echo '[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"result":{}}]' ;;
    *'"initialize"'*) echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-03-26","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}}' ;;
    *'"tools/list"'*) id=${line#*'"id":'}
      echo '{"jsonrpc":"2.0","id":'"${id%%,*}"',"result":{"tools":[{"name":"look","inputSchema":{"type":"object"}}]}}' ;;
  esac
done"#;

#[test]
fn an_answer_of_a_command_names_the_rows_of_all() {
    names_all(&["sh", "-c", BATCHER].map(Into::into));
}

#[test]
fn an_answer_of_a_url_names_the_rows_of_all() {
    let upstream = Scripted::start(|request| {
        let message = message_of(request);
        let tools = json!([{"name": "look", "inputSchema": {"type": "object"}}]);
        let said = match message["method"].as_str() {
            Some("initialize") => {
                json!({"protocolVersion": REVISION, "capabilities": {"tools": {}},
                                         "serverInfo": {"name": "s", "version": "1"}})
            }
            Some("tools/list") => json!({"tools": tools}),
            Some(_) => return accepted(),
            None => return json_answer(&json!([result(&json!(2), "b"), result(&json!(1), "a")])),
        };
        json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "result": said}))
    });
    names_all(&[upstream.url.clone().into()]);
}

#[test]
fn exit_during_a_batch_is_reported() {
    let ends = BATCHER.replace("'['*) echo", "'['*) exit 0; echo");
    let (_gate, answer) = batch(&["sh", "-c", &ends].map(Into::into));
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.message()["id"], Value::Null, "{answer:?}");
}

/// What comes of a batch of two calls.
fn batch(target: &[OsString]) -> (Gate, Answer) {
    let gate = Gate::listen(&["--policy", "allow_all"], target);
    let mut opening = initialize();
    opening["params"]["protocolVersion"] = json!(REVISION);
    let opened = gate.post("", &opening);
    let session = opened.header("mcp-session-id");
    let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
    gate.post(&session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let calls = json!([call(1, "look", json!({})), call(2, "look", json!({"deep": true}))]);
    let answer = gate.post(&session, &calls);
    (gate, answer)
}

fn names_all(target: &[OsString]) {
    let (gate, answer) = batch(target);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.message().as_array().map(Vec::len), Some(2), "{answer:?}");
    let rows = gate.log();
    let ids: Vec<&str> = rows.iter().filter_map(|row: &Value| row["id"].as_str()).collect();
    assert_eq!(ids.len(), 2, "{rows:?}");
    assert_eq!(answer.header("x-agentgate-decision"), Some(ids.join(", ").as_str()), "{answer:?}");
}
