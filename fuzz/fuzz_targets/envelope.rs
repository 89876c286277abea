//! Property of the JSON-RPC envelope: a message that is accepted is the same call to any parser.
//! The oracle is `serde_json::Value` as a lenient parser: it keeps the last of two equal keys.

#![no_main]

use agentgate::mcp::envelope::{self, Content, Frame, Framing, Message};
use agentgate::mcp::era::Batches;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|input: &[u8]| {
    // Input: a byte for whether the revision has batches, then a line.
    let Some((first, line)) = input.split_first() else { return };
    if line.contains(&b'\n') {
        return;
    }
    let batches = if first % 2 == 1 { Batches::Allowed } else { Batches::Refused };
    let Ok(frame) = envelope::read(line, batches, Framing::Lines) else { return };
    match (frame, serde_json::from_slice::<Value>(line)) {
        (Frame::Blank, other) => assert!(other.is_err()),
        (Frame::Single(message), Ok(value)) => same(&message, &value),
        (Frame::Batch(messages), Ok(Value::Array(values))) => {
            assert_eq!(messages.len(), values.len());
            messages.iter().zip(&values).for_each(|(message, value)| same(message, value));
        }
        // Such as numbers that `serde_json` cannot represent.
        (Frame::Single(_), Err(_)) => {}
        (Frame::Batch(_), other) => assert!(other.is_err(), "a batch read as {other:?}"),
    }
});

/// Asserts that `message` is the call that a lenient parser finds in `value`.
fn same(message: &Message<'_>, value: &Value) {
    let object = value.as_object().expect("a message is an object");
    let calls = lenient(object, "method").any(|method| {
        method.as_str().is_some_and(|method| method.trim().eq_ignore_ascii_case("tools/call"))
    });
    match &message.content {
        Content::Call(call) => {
            assert!(calls);
            let params = lenient(object, "params").next().expect("a call has params");
            assert_eq!(params["name"], call.name.as_str());
            if let Some(arguments) = params.get("arguments").and_then(Value::as_object) {
                let keys: Vec<_> = call.arguments.iter().map(|(key, _)| key).collect();
                assert_eq!(keys, arguments.keys().collect::<Vec<_>>());
            }
        }
        Content::Other(_) | Content::Response { .. } => assert!(!calls, "an undecided call"),
    }
}

/// The members that case-insensitive parsers may take for `wanted`.
fn lenient<'v>(
    object: &'v Map<String, Value>,
    wanted: &'static str,
) -> impl Iterator<Item = &'v Value> {
    object.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}
