//! Frames made to be read one way by the gate and another way by the server.
//!
//! The gate stands in front of a server that writes down every byte it gets,
//! under a policy that denies one tool and one argument. Afterwards a reader
//! with all the bad habits of parsers (`helpers/lenient.py`) goes through what
//! the server got: it must not find a denied call in any reading of it. That the
//! reader is not blind is a test of its own: it must find one in every frame
//! made here.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Sandbox, helper, python, real, recorder};

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
        (row["name"].as_str().unwrap().to_owned(), from_base64(row["b64"].as_str().unwrap()))
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

/// What the lenient reader makes of each frame.
fn read_leniently<'f>(frames: impl IntoIterator<Item = &'f [u8]>) -> Vec<String> {
    let mut reader = Command::new(python())
        .arg(helper("lenient.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = String::new();
    for frame in frames {
        frame.iter().for_each(|byte| write!(input, "{byte:02x}").unwrap());
        input.push('\n');
    }
    let mut stdin = reader.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = reader.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
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

/// Standard base64 (RFC 4648, section 4).
fn from_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for digit in text.bytes().take_while(|&byte| byte != b'=') {
        let value = ALPHABET.iter().position(|&each| each == digit).unwrap();
        held = (held << 6 | u32::try_from(value).unwrap()) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
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
