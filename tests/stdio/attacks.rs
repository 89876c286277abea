//! Frames made to be read one way by the gate and another way by the server.
//!
//! The gate stands in front of a server that writes down every byte it gets,
//! under a policy that denies one tool and one argument. Afterwards a reader
//! with all the bad habits of parsers (`helpers/lenient.py`) goes through what
//! the server got: it must not find a denied call in any reading of it. That the
//! reader is not blind is a test of its own: it must find one in every frame
//! made here.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::lenient::read_leniently;
use crate::support::client::Client;
use crate::support::{Sandbox, real, recorder};

mod frames;

use frames::Frame;

/// Allows all but one tool, one argument of another, and one method.
const POLICY: &str = r#"
name: attacked
rules:
  - methods: [resources/read]
    effect: deny
  - tool: delete_note
    effect: deny
    reason: notes are kept
  - tool: write_note
    args: { path: /etc/shadow }
    effect: deny
default_effect: allow
"#;

/// The same, the tool denied by a pattern.
const PATTERN_POLICY: &str = r#"
name: attacked
rules:
  - methods: [prompts/get, resources/read]
    effect: deny
  - tool: "d?lete_*"
    effect: deny
  - tool: "{write,overwrite}_*"
    args: { path: { prefix: /etc } }
    effect: deny
default_effect: allow
"#;

/// The revision that a session opens with; the stateless one opens with nothing.
#[derive(Clone, Copy)]
enum Opening {
    Revision(&'static str),
    Stateless,
}

#[test]
fn the_reader_sees_through_every_frame() {
    let frames = frames::forbidden();
    let readings = read_leniently(frames.iter().map(|frame| frame.bytes.as_slice()));
    let missed: Vec<_> = frames
        .iter()
        .zip(&readings)
        .filter(|(_, reading)| reading.as_str() == "harmless")
        .map(|(frame, _)| frame.label.as_str())
        .collect();
    assert!(missed.is_empty(), "taken for harmless: {missed:#?}");
    assert_eq!(readings.len(), frames.len());
}

#[test]
fn forbidden_frames_in_a_session_of_2025_11_25() {
    hold(Opening::Revision("2025-11-25"), POLICY, &frames::forbidden());
}

#[test]
fn forbidden_frames_where_batches_are_allowed() {
    hold(Opening::Revision("2025-03-26"), POLICY, &frames::forbidden());
}

#[test]
fn forbidden_frames_without_a_handshake() {
    hold(Opening::Stateless, POLICY, &frames::forbidden());
}

#[test]
fn forbidden_frames_where_patterns_deny() {
    hold(Opening::Revision("2025-06-18"), PATTERN_POLICY, &frames::forbidden());
}

#[test]
fn malformed_frames() {
    hold(Opening::Revision("2025-11-25"), POLICY, &frames::malformed());
}

#[test]
fn naughty_strings() {
    let Some(rows) = corpus("blns.jsonl") else { return };
    let texts = rows.iter().filter_map(|row| row["text"].as_str());
    hold(Opening::Revision("2025-11-25"), POLICY, &frames::from_strings(texts));
}

#[test]
fn json_test_suite() {
    let Some(rows) = corpus("jsontestsuite.jsonl") else { return };
    let documents = rows.iter().map(|row| {
        (
            row["name"].as_str().unwrap().to_owned(),
            STANDARD.decode(row["b64"].as_str().unwrap()).unwrap(),
        )
    });
    hold(Opening::Revision("2025-11-25"), POLICY, &frames::from_documents(documents));
}

/// Sends every frame, each followed by an allowed call that must be answered.
#[track_caller]
fn hold(opening: Opening, policy: &str, frames: &[Frame]) {
    let sandbox = Sandbox::new();
    let record = sandbox.path("received");
    let policy = sandbox.write("policy.yaml", policy);
    let mut client = Client::spawn(&sandbox.wrap().policy(policy).command(recorder(&record)));
    opening.open(&mut client);

    for (number, frame) in frames.iter().enumerate() {
        client.send(&frame.bytes);
        if frame.answered {
            client.wait_for(&format!("a refusal of: {}", frame.label), |message| {
                refuses(message, &frame.id)
            });
        }
        let probe = format!("probe-{number}");
        client.send(frames::allowed_call(&probe));
        let reply = client.wait_for(&format!("an answer after: {}", frame.label), |message| {
            message["id"] == json!(probe)
        });
        assert_eq!(reply["result"]["content"][0]["text"], "done", "after {}: {reply}", frame.label);
        client.forget_unclaimed();
    }
    assert!(client.close().success());

    let received = std::fs::read(record).unwrap();
    let readings = read_leniently([received.as_slice()]);
    assert_eq!(readings, ["harmless"], "what the server received");
}

/// Whether a message is an error or a denial, for the request `id` or for one
/// whose id could not be read.
fn refuses(message: &Value, id: &Value) -> bool {
    let addressed = &message["id"] == id || message["id"].is_null();
    let refused = message.get("error").is_some() || message["result"]["isError"] == json!(true);
    let batch =
        message.as_array().is_some_and(|replies| replies.iter().any(|one| refuses(one, id)));
    (addressed && refused) || batch
}

/// The rows of a corpus that lies beside the checkout, where it does.
fn corpus(name: &str) -> Option<Vec<Value>> {
    let folder = std::env::var_os("AGENTGATE_TRUTH").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/truth"),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(folder.join("corpora").join(name)) else {
        real::skip(&format!("no corpus {name}; AGENTGATE_TRUTH says where it is"));
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

// === impl Opening ===

impl Opening {
    fn open(self, client: &mut Client) {
        if let Self::Revision(revision) = self {
            client.send(
                json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
                    "protocolVersion": revision, "capabilities": {},
                    "clientInfo": {"name": "raw", "version": "1"}}})
                .to_string(),
            );
            client.reply(&json!("init"));
            client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        }
    }
}
