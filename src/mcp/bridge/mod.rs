//! Bridges between the eras of the protocol: for a client of one era in front of a server that
//! speaks only the other.
//!
//! ```text
//! client ──► relay (judges and records the client's own message) ──► bridge ──► server
//! client ◄── relay (learns, completes the row) ◄─────────────────── bridge ◄── server
//! ```
//!
//! The bridge is behind the gate, so whatever reaches it was judged and recorded as the client
//! wrote it. It translates bytes: it inserts members into `_meta` ([`up`]) or into results
//! ([`down`]), and every byte that was judged (`params.name`, `params.arguments`, …) is
//! forwarded unchanged. A method without a clear equivalent on the other side is answered with
//! the error "method not found", and its capability is not announced. Pure.
//!
//! [`crate::mcp::http`] has the two transports: `link` to a server behind a URL, `pipe` to a
//! command. Over HTTP each request has a stream of its own, whose end cancels it, and a session
//! is a header; over pipes there is one stream for all, so responses are matched by id, and a
//! session is the process. What does not depend on that is here: when to bridge ([`eras`]), how
//! the gate itself finds out a server's era ([`down::Probe`]), and the translation of each
//! message.
//!
//! A server that speaks the client's era is never bridged: the client's request is first sent
//! unchanged, and a bridge is used only if the server refuses the era ([`eras`]). Nor is a
//! client bridged that is known to speak the server's era ([`client_eras`]).

pub mod client_eras;
pub mod down;
pub mod eras;
mod splice;
pub mod up;

use bytes::Bytes;

use super::codes::METHOD_NOT_FOUND;
use super::server_requests::MAX_REQUESTS;
use crate::json::{self, Json};

pub use splice::raw;

/// When to bridge between eras.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bridging {
    /// If the server refuses the client's era and the client does not fall back.
    #[default]
    Auto,
    /// If the server refuses the client's era, without waiting for a fallback.
    Always,
    /// Not at all.
    Never,
}

/// What to do with a message from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// Send this to the server.
    Forward(Bytes),
    /// Send this response to the client, and nothing to the server.
    Answer(Bytes),
    /// Cancel the request with this id (raw JSON).
    Cancel(Vec<u8>),
    /// Drop it.
    Drop,
}

/// A response with `result`, which is raw JSON.
fn result(id: &[u8], result: &str) -> Bytes {
    let id = String::from_utf8_lossy(id);
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}").into()
}

fn error(id: &[u8], code: i64, text: &str) -> Bytes {
    let id = String::from_utf8_lossy(id);
    let error = serde_json::json!({ "code": code, "message": text });
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into()
}

/// The error for a method that cannot be bridged.
fn not_bridged(id: Option<&[u8]>, method: &str) -> FromClient {
    let Some(id) = id else { return FromClient::Drop };
    let text = format!(
        "Method not found: the server speaks another era of MCP, and AgentGate does not bridge `{}`",
        crate::terminal::brief(method)
    );
    FromClient::Answer(error(id, METHOD_NOT_FOUND, &text))
}

/// Translates a server's capabilities into the other era: those that both have and the bridge
/// supports, without `listChanged` and `subscribe`.
fn capabilities(announced: Option<&[u8]>, logging: bool) -> String {
    let mut kept = Vec::new();
    for name in ["tools", "prompts", "resources", "completions"] {
        if announced.and_then(|announced| raw(announced, &[name])).is_some_and(|it| it != b"null") {
            kept.push(format!("\"{name}\":{{}}"));
        }
    }
    if logging && announced.and_then(|announced| raw(announced, &["logging"])).is_some() {
        kept.push("\"logging\":{}".to_owned());
    }
    format!("{{{}}}", kept.join(","))
}

/// Why a server's request to its client is refused.
pub const NOT_BRIDGED: &str = "the server asks this of a client of another era of MCP, and \
                               AgentGate does not bridge it";

/// Methods of the requests to the client in a server's message, which the bridge refuses; at
/// most [`MAX_REQUESTS`].
#[must_use]
pub fn refused(message: &[u8]) -> Vec<String> {
    match method_and_id(message) {
        (Some(method), Some(_)) if method != "ping" => return vec![method],
        (None, Some(_)) if up::needs_input(message) => {}
        _ => return Vec::new(),
    }
    let requests =
        raw(message, &["result", "inputRequests"]).and_then(|asked| json::parse(asked).ok());
    let Some(Json::Object(requests)) = requests else { return Vec::new() };
    let methods =
        requests.iter().filter_map(|(_, request)| request.as_object()?.get("method")?.as_str());
    methods.take(MAX_REQUESTS).map(str::to_owned).collect()
}

/// Method and id of a message, if readable.
fn method_and_id(message: &[u8]) -> (Option<String>, Option<&[u8]>) {
    let method = raw(message, &["method"]).and_then(super::answer::string);
    (method, raw(message, &["id"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_methods_are_named() {
        for (message, methods) in [
            (r#"{"id":1,"method":"roots/list"}"#, &["roots/list"][..]),
            (
                r#"{"id":1,"result":{"resultType":"input_required","inputRequests":{
                    "a":{"method":"roots/list"},"b":{"method":"x"},"c":1}}}"#,
                &["roots/list", "x"],
            ),
            (r#"{"id":1,"method":"ping"}"#, &[]),
            (r#"{"method":"notifications/message"}"#, &[]),
            (r#"{"id":1,"result":{"resultType":"input_required","requestState":"s"}}"#, &[]),
            (r#"{"id":1,"result":{"inputRequests":{"a":{"method":"roots/list"}}}}"#, &[]),
            ("[]", &[]),
        ] {
            assert_eq!(refused(message.as_bytes()), methods, "{message}");
        }
    }
}
