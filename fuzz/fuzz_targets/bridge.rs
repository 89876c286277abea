//! Properties of the bridges between eras: what was judged is what the server gets, but for the
//! bridge's own members of `_meta`; what a server said is what the client gets, but for the members
//! that the newer revision requires; what is answered has the id of what was asked; nothing is
//! announced that the server did not announce. Messages that the gate refuses are left out.

#![no_main]

use agentgate::json::{self, Json, Object};
use agentgate::mcp::bridge::down::{Down, Finding, FromServer, Probe};
use agentgate::mcp::bridge::up::Up;
use agentgate::mcp::bridge::{self, FromClient};
use agentgate::mcp::envelope::{self, Content, Frame, Framing, Message};
use agentgate::mcp::era::{self, Batches};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Members of `_meta` that the bridge writes.
const OURS: [&str; 4] =
    [era::PROTOCOL_VERSION, era::CLIENT_CAPABILITIES, era::CLIENT_INFO, era::LOG_LEVEL];

/// Members of results that it writes.
const ADDED: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

const METHODS: [&str; 4] = ["tools/call", "tools/list", "prompts/get", "resources/read"];

// Input: a byte for the method that the server responds to; then lines: the client's `initialize`,
// the server's answer to the handshake, a message from the client, and one from the server.
fuzz_target!(|input: &[u8]| {
    let Some((method, text)) = input.split_first() else { return };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let mut lines = text.splitn(4, |byte| *byte == b'\n').map(Bytes::copy_from_slice);
    let [initialize, opening, asked, said] = [(); 4].map(|()| lines.next().unwrap_or_default());
    if let Some((mut up, discover)) = opened(&initialize) {
        if let Some(answer) = up.opened(&opening) {
            let result = read(&opening).and_then(|opening| member(&opening, "result").cloned());
            assert_told(&answer, &opening, result.as_ref());
        }
        assert_eq!(id(&discover), id(&initialize));
        judge(&asked, |asked| up.translate_from_client(asked), true);
        assert_returned_up(&Up::translate_from_server(method, &said), &said);
    }
    if let Finding::Handshake(down) = Probe::Initialize.evaluate(&opening) {
        assert!(era::HANDSHAKE.contains(&down.revision.as_str()));
        judge(&asked, |asked| down.translate_from_client(asked), false);
        if let FromClient::Answer(answer) =
            down.translate_from_client(&Bytes::from_static(DISCOVER))
        {
            let result = read(&opening).and_then(|opening| member(&opening, "result").cloned());
            assert_told(&answer, DISCOVER, result.as_ref());
        }
    }
    assert_returned_down(&Down::translate_from_server(method, &said), &said);
    assert_refused(&said);
});

const DISCOVER: &[u8] = br#"{"jsonrpc":"2.0","id":"d","method":"server/discover"}"#;

fn opened(initialize: &[u8]) -> Option<(Up, Bytes)> {
    accepted(initialize).and_then(|_| Up::open(initialize))
}

/// The message, if the gate lets it through.
fn accepted(message: &[u8]) -> Option<Message<'_>> {
    match envelope::read(message, Batches::Refused, Framing::Bodies) {
        Ok(Frame::Single(message)) => Some(message),
        _ => None,
    }
}

/// Asserts that a client's message is forwarded as it was judged, or answered.
fn judge(asked: &Bytes, mut translate: impl FnMut(&Bytes) -> FromClient, adds: bool) {
    let Some(judged) = accepted(asked) else { return };
    let method = match &judged.content {
        Content::Call(_) => "tools/call",
        Content::Other(other) => other.method.as_str(),
        Content::Response { .. } => return assert_eq!(translate(asked), FromClient::Drop),
    };
    match translate(asked) {
        FromClient::Forward(sent) => {
            assert!(id(asked).is_some(), "a notification is forwarded");
            assert!(!era::is_handshake_only(method) && !era::is_stateless_only(method));
            if adds {
                assert_only_inserted(asked, &sent);
                assert!(accepted(&sent).is_some());
                assert_eq!(without_ours(&sent), without_ours(asked));
            } else {
                assert_eq!(&sent, asked);
            }
        }
        FromClient::Answer(answer) => {
            assert!(id(asked).is_some());
            assert_eq!(id(&answer), id(asked));
        }
        FromClient::Cancel(_) => assert_eq!(method, "notifications/cancelled"),
        FromClient::Drop => assert_eq!(id(asked), None),
    }
}

/// Asserts that `sent` is `before` with something inserted at one place, or in place of a `null`.
fn assert_only_inserted(before: &[u8], sent: &[u8]) {
    let prefix = before.iter().zip(sent).take_while(|(a, b)| a == b).count();
    let (rest, sent) = (&before[prefix..], &sent[prefix..]);
    let suffix = rest.iter().rev().zip(sent.iter().rev()).take_while(|(a, b)| a == b).count();
    let replaced = &rest[..rest.len() - suffix];
    assert!(replaced.is_empty() || replaced == b"null", "{}", String::from_utf8_lossy(replaced));
}

/// The message without the bridge's members; without an empty `_meta`, and without empty `params`.
fn without_ours(message: &[u8]) -> Option<Json> {
    let mut message = read(message)?;
    let object = as_object(&mut message)?;
    let Some(mut params) = object.take("params").filter(|params| *params != Json::Null) else {
        return Some(message);
    };
    if let Json::Object(own) = &mut params
        && let Some(mut meta) = own.take(era::META)
    {
        if let Json::Object(meta) = &mut meta {
            OURS.iter().for_each(|name| drop(meta.take(name)));
        }
        if !is_empty(&meta) {
            own.put(era::META, meta);
        }
    }
    if !is_empty(&params) {
        as_object(&mut message)?.put("params", params);
    }
    Some(message)
}

/// Asserts that the answer to a handshake has the id of `asked`, and says nothing that the server
/// did not say in `result`.
fn assert_told(answer: &[u8], asked: &[u8], result: Option<&Json>) {
    let Some(result) = result else { return };
    let answer = read(answer).expect("as readable as the server's");
    assert_eq!(member(&answer, "id").cloned(), id(asked));
    let told = member(&answer, "result").expect("a result");
    if let Some(version) = member(told, "protocolVersion") {
        assert!(era::HANDSHAKE.contains(&version.as_str().expect("a revision")));
    }
    assert_eq!(member(told, "instructions"), member(result, "instructions"));
    let told = member(told, "capabilities").and_then(Json::as_object).expect("capabilities");
    for (name, capability) in told.iter() {
        assert_eq!(capability.to_string(), "{}");
        let announced = member(result, "capabilities").and_then(|all| member(all, name));
        assert!(announced.is_some_and(|announced| *announced != Json::Null || name == "logging"));
    }
}

/// Asserts that a server's message reaches the older client unchanged, unless it asks for input.
fn assert_returned_up(told: &Bytes, said: &Bytes) {
    if told == said {
        return;
    }
    let Some(message) = read(said) else { return };
    let kind = member(&message, "result").and_then(|result| member(result, "resultType"));
    assert_eq!(kind.and_then(Json::as_str), Some("input_required"));
    assert_eq!(id(told), id(said));
}

/// Asserts that a server's message reaches the newer client unchanged, but for added members.
fn assert_returned_down(back: &FromServer, said: &Bytes) {
    match back {
        FromServer::Forward(told) if told == said => {}
        FromServer::Forward(told) => {
            assert_only_inserted(said, told);
            if let Some(said) = read(said) {
                assert_added(read(told).expect("as readable as before"), said);
            }
        }
        FromServer::Answer(reply) => assert!(read(said).is_none() || id(reply) == id(said)),
        FromServer::Drop => assert!(read(said).is_none() || id(said).is_none()),
    }
}

fn assert_added(mut told: Json, said: Json) {
    let before = member(&said, "result").and_then(Json::as_object).expect("a result");
    let Some(Json::Object(after)) = as_object(&mut told).and_then(|told| told.get_mut("result"))
    else {
        panic!("no result");
    };
    for name in ADDED.iter().filter(|name| before.get(name).is_none()) {
        after.take(name);
    }
    assert_eq!(told, said);
}

/// Asserts that every request of a server that is not bridged is reported.
fn assert_refused(said: &[u8]) {
    let Some(message) = read(said).filter(|_| id(said).is_some()) else { return };
    let result = member(&message, "result").filter(|_| member(&message, "method").is_none());
    let kind = result.and_then(|result| member(result, "resultType")).and_then(Json::as_str);
    if kind != Some("input_required") {
        return;
    }
    let asked = result.and_then(|result| member(result, "inputRequests")?.as_object());
    let methods = asked.into_iter().flat_map(Object::iter);
    let methods: Vec<&str> =
        methods.filter_map(|(_, asked)| member(asked, "method")?.as_str()).collect();
    assert_eq!(bridge::refused(said), methods);
}

fn read(message: &[u8]) -> Option<Json> {
    json::parse(message).ok()
}

fn id(message: &[u8]) -> Option<Json> {
    read(message).and_then(|message| member(&message, "id").cloned())
}

fn member<'j>(value: &'j Json, name: &str) -> Option<&'j Json> {
    value.as_object().and_then(|object| object.get(name))
}

fn as_object(value: &mut Json) -> Option<&mut Object> {
    match value {
        Json::Object(object) => Some(object),
        _ => None,
    }
}

fn is_empty(value: &Json) -> bool {
    *value == Json::Null || value.as_object().is_some_and(Object::is_empty)
}
