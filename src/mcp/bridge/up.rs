//! A client that starts with `initialize`, in front of a server that supports only stateless
//! requests (2026-07-28). Pure.
//!
//! The handshake is answered from `server/discover`; each request gets the members of `_meta` that
//! the server requires, and is otherwise forwarded as it was judged. The client is introduced as
//! one without capabilities, so that the server never requests what could not be bridged.

use bytes::Bytes;

use super::{FromClient, splice, splice::raw};
use crate::mcp::answer;
use crate::mcp::codes::{INVALID_PARAMS, INVALID_REQUEST};
use crate::mcp::era;

/// State of the handshake with a bridged client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    /// The revision offered to the client.
    revision: &'static str,
    /// Its `clientInfo`, as raw JSON.
    info: Option<String>,
    /// Its log level.
    level: Option<&'static str>,
}

/// Members of `_meta` that only the bridge writes.
const OURS: [&str; 4] =
    [era::PROTOCOL_VERSION, era::CLIENT_CAPABILITIES, era::CLIENT_INFO, era::LOG_LEVEL];

impl Up {
    /// Starts a handshake: the state for this `initialize`, and the `server/discover` to send
    /// in its place, with the same id.
    #[must_use]
    pub fn open(initialize: &[u8]) -> Option<(Self, Bytes)> {
        let id = raw(initialize, &["id"])?;
        let wanted = raw(initialize, &["params", "protocolVersion"]).and_then(answer::string)?;
        let newest = era::HANDSHAKE.last().copied()?;
        let revision = era::HANDSHAKE.into_iter().find(|known| *known == wanted);
        let info = raw(initialize, &["params", "clientInfo"])
            .filter(|info| info.starts_with(b"{") && info.len() <= era::MAX_INTRODUCTION);
        let info = info.map(|info| String::from_utf8_lossy(info).into_owned());
        let up = Self { revision: revision.unwrap_or(newest), info, level: None };
        let id = String::from_utf8_lossy(id);
        let discover = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"server/discover\",\"params\":{{\"{}\":{{{}}}}}}}",
            era::META,
            up.meta()
        );
        Some((up, discover.into()))
    }

    /// The response to `initialize`, made from that to `server/discover`. `None` if the server
    /// does not support the revision.
    #[must_use]
    pub fn opened(&self, discovered: &[u8]) -> Option<Bytes> {
        let id = raw(discovered, &["id"])?;
        let result = raw(discovered, &["result"])?;
        let versions = crate::json::parse(raw(result, &["supportedVersions"])?).ok()?;
        let crate::json::Json::Array(versions) = versions else { return None };
        if !versions.iter().any(|version| version.as_str() == Some(era::STATELESS)) {
            return None;
        }
        let capabilities = super::capabilities(raw(result, &["capabilities"]), true);
        let unknown = &b"{\"name\":\"unknown\",\"version\":\"0\"}"[..];
        let server = raw(result, &[era::META, era::SERVER_INFO]).unwrap_or(unknown);
        let server = String::from_utf8_lossy(server);
        let instructions = raw(result, &["instructions"]).map(String::from_utf8_lossy);
        let instructions =
            instructions.map(|said| format!(",\"instructions\":{said}")).unwrap_or_default();
        let revision = self.revision;
        Some(super::result(
            id,
            &format!(
                "{{\"protocolVersion\":\"{revision}\",\"capabilities\":{capabilities},\"serverInfo\":{server}{instructions}}}"
            ),
        ))
    }

    /// Translates a message from the client, after its `initialize`.
    pub fn translate_from_client(&mut self, message: &[u8]) -> FromClient {
        if message.trim_ascii_start().starts_with(b"[") {
            return refused_batch(message);
        }
        let (Some(method), id) = super::method_and_id(message) else {
            // A response: but the server has sent no request.
            return FromClient::Drop;
        };
        let Some(id) = id else {
            let cancelled = raw(message, &["params", "requestId"]).map(<[u8]>::to_vec);
            return match cancelled.filter(|_| method == "notifications/cancelled") {
                Some(id) => FromClient::Cancel(id),
                None => FromClient::Drop,
            };
        };
        match method.as_str() {
            "ping" => FromClient::Answer(super::result(id, "{}")),
            "logging/setLevel" => {
                let level = raw(message, &["params", "level"]).and_then(answer::string);
                let level =
                    era::LOG_LEVELS.into_iter().find(|known| level.as_deref() == Some(known));
                self.level = level.or(self.level);
                FromClient::Answer(match level {
                    Some(_) => super::result(id, "{}"),
                    None => {
                        super::error(id, INVALID_PARAMS, "`level` is not a level of log messages")
                    }
                })
            }
            other if era::is_handshake_only(other) || era::is_stateless_only(other) => {
                super::not_bridged(Some(id), other)
            }
            _ => match splice::with_meta(message, &OURS, &self.meta()) {
                Some(message) => FromClient::Forward(message),
                None => {
                    let text = "`params._meta` speaks of another era of MCP than this session's";
                    FromClient::Answer(super::error(id, INVALID_PARAMS, text))
                }
            },
        }
    }

    /// Translates a message from the server: unchanged, except for a result that asks the
    /// client for input. `method` is that of the request it responds to.
    #[must_use]
    pub fn translate_from_server(method: &str, message: &Bytes) -> Bytes {
        let Some(id) = raw(message, &["id"]).filter(|_| needs_input(message)) else {
            return message.clone();
        };
        let text = "The server asks the user or the model for something before it goes on \
                     (`input_required`). AgentGate does not bridge that to a client of an \
                     older era of MCP; nothing was asked, and the call is not finished.";
        if method == "tools/call" {
            let content = serde_json::json!({
                "content": [{ "type": "text", "text": text }], "isError": true,
            });
            return super::result(id, &content.to_string());
        }
        super::error(id, INVALID_REQUEST, text)
    }

    fn meta(&self) -> String {
        let mut meta = format!(
            "\"{}\":\"{}\",\"{}\":{{}}",
            era::PROTOCOL_VERSION,
            era::STATELESS,
            era::CLIENT_CAPABILITIES
        );
        if let Some(info) = &self.info {
            meta.push_str(&format!(",\"{}\":{info}", era::CLIENT_INFO));
        }
        if let Some(level) = self.level {
            meta.push_str(&format!(",\"{}\":\"{level}\"", era::LOG_LEVEL));
        }
        meta
    }
}

/// Whether a server's response asks for input first.
pub(super) fn needs_input(message: &[u8]) -> bool {
    let kind = raw(message, &["result", "resultType"]).and_then(answer::string);
    kind.as_deref() == Some("input_required")
}

/// Responds to every request of a batch with an error.
fn refused_batch(batch: &[u8]) -> FromClient {
    let text = "AgentGate does not bridge batches: send each request by itself";
    let asking = answer::messages(batch).into_iter().filter_map(|message| {
        let (method, id) = super::method_and_id(message);
        id.filter(|_| method.is_some())
    });
    let answers: Vec<Bytes> = asking.map(|id| super::error(id, INVALID_REQUEST, text)).collect();
    match answers.is_empty() {
        true => FromClient::Drop,
        false => {
            FromClient::Answer([b"[", answers.join(&b","[..]).as_slice(), b"]"].concat().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const DISCOVERED: &[u8] = br#"{"jsonrpc":"2.0","id":"a","result":{"resultType":"complete",
        "supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},
        "resources":{"subscribe":true},"logging":{},"extensions":{"x":{}}},"instructions":"Be kind.",
        "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"2"}}}}"#;

    fn opened(version: &str) -> (Up, Value) {
        let initialize = json!({"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": {
            "protocolVersion": version, "capabilities": {"sampling": {}},
            "clientInfo": {"name": "c", "version": "1"}}});
        let (up, discover) = Up::open(initialize.to_string().as_bytes()).unwrap();
        (up, serde_json::from_slice(&discover).unwrap())
    }

    fn answered(step: FromClient) -> Value {
        match step {
            FromClient::Answer(answer) => serde_json::from_slice(&answer).unwrap(),
            other => panic!("not an answer: {other:?}"),
        }
    }

    #[test]
    fn handshake_is_answered_from_server_discover() {
        let (up, discover) = opened("2025-06-18");
        assert_eq!(
            (&discover["id"], &discover["method"]),
            (&json!("a"), &json!("server/discover"))
        );
        let meta = &discover["params"]["_meta"];
        assert_eq!(
            meta[era::CLIENT_CAPABILITIES],
            json!({}),
            "what cannot be carried is not claimed"
        );
        assert_eq!(meta[era::CLIENT_INFO]["name"], "c");
        let answer: Value = serde_json::from_slice(&up.opened(DISCOVERED).unwrap()).unwrap();
        assert_eq!(
            answer,
            json!({"jsonrpc": "2.0", "id": "a", "result": {"protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}, "resources": {}, "logging": {}},
                "serverInfo": {"name": "s", "version": "2"}, "instructions": "Be kind."}})
        );
        let (up, _) = opened("2099-01-01");
        assert_eq!(up.revision, "2025-11-25", "the newest there is");
        let other = br#"{"id":1,"result":{"supportedVersions":["2030-01-01"],"capabilities":{}}}"#;
        for refusal in [&other[..], br#"{"id":1,"error":{"code":-32601}}"#, b"", b"<html>"] {
            assert_eq!(up.opened(refusal), None);
        }
    }

    #[test]
    fn calls_get_the_required_meta_and_are_otherwise_unchanged() {
        let (mut up, _) = opened("2025-11-25");
        let call = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a\u0062","arguments":{"n":1.50,"deep":[ ]},"_meta":{"progressToken":7}}}"#;
        let FromClient::Forward(sent) = up.translate_from_client(call) else { panic!() };
        let text = String::from_utf8(sent.to_vec()).unwrap();
        assert!(text.contains(r#""name":"a\u0062","arguments":{"n":1.50,"deep":[ ]}"#), "{text}");
        let meta = "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{},\"io.modelcontextprotocol/clientInfo\":{\"name\":\"c\",\"version\":\"1\"},";
        assert_eq!(text.replace(meta, ""), String::from_utf8_lossy(call));
    }

    #[test]
    fn methods_the_server_does_not_need_are_answered_by_the_bridge() {
        let (mut up, _) = opened("2025-11-25");
        let ask = |up: &mut Up, method: &str, params: Value| {
            let message = json!({"jsonrpc": "2.0", "id": 3, "method": method, "params": params});
            up.translate_from_client(message.to_string().as_bytes())
        };
        assert_eq!(answered(ask(&mut up, "ping", json!({})))["result"], json!({}));
        let bad = answered(ask(&mut up, "logging/setLevel", json!({"level": "loud"})));
        assert_eq!(bad["error"]["code"], -32602);
        let set = answered(ask(&mut up, "logging/setLevel", json!({"level": "info"})));
        assert_eq!(set["result"], json!({}));
        let FromClient::Forward(sent) = ask(&mut up, "tools/list", json!({})) else { panic!() };
        assert_eq!(raw(&sent, &["params", "_meta", era::LOG_LEVEL]), Some(&b"\"info\""[..]));
        for method in ["resources/subscribe", "tasks/list", "subscriptions/listen", "initialize"] {
            assert_eq!(answered(ask(&mut up, method, json!({})))["error"]["code"], -32601);
        }
        let claims = json!({"_meta": {era::PROTOCOL_VERSION: "2026-07-28"}});
        assert_eq!(answered(ask(&mut up, "tools/list", claims))["error"]["code"], -32602);
        let batch = br#" [{"id":1,"method":"ping"},{"method":"x"},{"id":"b","method":"x"}]"#;
        let refused = answered(up.translate_from_client(batch));
        assert_eq!((&refused[0]["id"], &refused[1]["id"]), (&json!(1), &json!("b")));
        assert_eq!(refused[1]["error"]["code"], -32600);
        assert_eq!(up.translate_from_client(b"[{}]"), FromClient::Drop);
        for nothing in [
            &br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#[..],
            br#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            br#"{"method":"tools/call","params":{}}"#,
        ] {
            assert_eq!(up.translate_from_client(nothing), FromClient::Drop);
        }
        let cancel = br#"{"method":"notifications/cancelled","params":{"requestId":"x"}}"#;
        assert_eq!(up.translate_from_client(cancel), FromClient::Cancel(b"\"x\"".to_vec()));
    }

    #[test]
    fn only_input_requests_are_translated_back() {
        let plain = Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[],"x":1.0}}"#,
        );
        assert_eq!(Up::translate_from_server("tools/call", &plain), plain);
        let asks = Bytes::from_static(
            br#"{"id":1,"result":{"resultType":"input_required","inputRequests":{}}}"#,
        );
        let answer: Value =
            serde_json::from_slice(&Up::translate_from_server("tools/call", &asks)).unwrap();
        assert_eq!(answer["result"]["isError"], true);
        assert!(answer.to_string().contains("does not bridge"));
        let answer: Value =
            serde_json::from_slice(&Up::translate_from_server("prompts/get", &asks)).unwrap();
        assert_eq!(answer["error"]["code"], -32600);
    }
}
