//! A line that passes the envelope's reader must not be another call to another
//! parser. `serde_json::Value` stands for the lenient ones: it keeps the last of
//! two equal keys and takes what it is given.

#![no_main]

use agentgate::mcp::envelope::{self, Content, Frame, Framing, Message};
use agentgate::mcp::era::Batches;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|input: &[u8]| {
    // The first byte says whether the revision has batches; lines hold no newline.
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
        // Numbers that serde_json cannot hold, for one.
        (Frame::Single(_), Err(_)) => {}
        (Frame::Batch(_), other) => assert!(other.is_err(), "a batch read as {other:?}"),
    }
});

/// What was read strictly is what others read.
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

/// What readers that fold case may take the member `wanted` for.
fn lenient<'v>(
    object: &'v Map<String, Value>,
    wanted: &'static str,
) -> impl Iterator<Item = &'v Value> {
    object.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}
