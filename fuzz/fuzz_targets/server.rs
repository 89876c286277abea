//! Properties of messages from servers: every request that some client may find in a message is
//! found, or the message is refused; and what is read from a response is in it. The oracle is
//! `serde_json::Value`, with keys in any case, as a lenient client.

#![no_main]

use agentgate::json;
use agentgate::mcp::answer::{self, Answer, Message};
use agentgate::mcp::envelope::{Content, Framing};
use agentgate::mcp::server_requests;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|line: &[u8]| {
    if line.contains(&b'\n') {
        return;
    }
    let value = serde_json::from_slice::<Value>(line).ok();
    for message in answer::messages(line) {
        check_response(message);
    }
    let Ok(read) = server_requests::read(line, Framing::Lines) else { return };
    let Some(Value::Object(value)) = value else { return };
    let mut found: Vec<String> = Vec::new();
    if let Some(read) = read {
        match &read.message.content {
            Content::Other(other) => found.push(other.method.clone()),
            // Clients have no tools.
            Content::Call(_) => return,
            Content::Response { .. } => {}
        }
        found.extend(read.requests.into_iter().map(|request| request.method));
    }
    for method in asked(&value) {
        assert!(found.contains(&method), "`{method}` is asked unseen: {found:?}");
    }
});

/// The methods that a lenient client finds.
fn asked(message: &Map<String, Value>) -> Vec<String> {
    let own = member(message, "method").and_then(Value::as_str).map(str::to_owned);
    let of = |name| member(message, name).and_then(Value::as_object);
    let answers = own.is_none();
    let results = [of("result").filter(|_| answers), of("params").filter(|_| !answers)];
    let tasks = results.map(|result| member(result?, "task")?.as_object());
    let places = results.into_iter().chain(tasks).flatten();
    let requests = places.filter_map(|place| member(place, "inputRequests")?.as_object());
    let methods = requests
        .flat_map(Map::values)
        .filter_map(|request| Some(member(request.as_object()?, "method")?.as_str()?.to_owned()));
    methods.chain(own).collect()
}

fn member<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Asserts that the members read from a response are those that `serde_json` finds.
fn check_response(message: &[u8]) {
    let Message::Response { id, answer } = answer::single(message) else { return };
    // Parsers differ on duplicate members.
    if json::parse(message).is_err() {
        return;
    }
    let Ok(value) = serde_json::from_slice::<Value>(message) else { return };
    let same = |raw: &[u8], there: &Value| {
        let Ok(raw) = serde_json::from_slice::<Value>(raw) else { return };
        assert_eq!(&raw, there);
    };
    same(id, &value["id"]);
    if let Answer::Result(shape) = answer {
        let result = &value["result"];
        assert_eq!(shape.is_error, result["isError"] == true);
        for (raw, name) in [
            (shape.tools, "tools"),
            (shape.next_cursor, "nextCursor"),
            (shape.task_id, "taskId"),
            (shape.protocol_version, "protocolVersion"),
        ] {
            raw.into_iter().for_each(|raw| same(raw, &result[name]));
        }
    }
}
