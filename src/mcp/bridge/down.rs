//! A stateless client (2026-07-28) in front of a server that requires `initialize`. Pure.
//!
//! The gate performs the handshake, as a client without capabilities, so that the server never
//! requests what could not be bridged. `server/discover` is answered from it; requests are
//! forwarded as they were judged (unknown members of `_meta` are legal in every revision), and
//! results get the members that the newer revision requires.

use bytes::Bytes;

use super::{FromClient, splice, splice::raw};
use crate::mcp::answer;
use crate::mcp::codes::{
    self, HEADER_MISMATCH, METHOD_NOT_FOUND, MISSING_CAPABILITY, UNSUPPORTED_VERSION,
};
use crate::mcp::era;

/// State of the handshake with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// The negotiated revision.
    pub revision: String,
    /// The response to `server/discover`.
    discovered: String,
}

/// What to do with a message from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// Send this to the client.
    Forward(Bytes),
    /// Send this to the server, and nothing to the client.
    Answer(Bytes),
    /// Drop it: the newer revision has no equivalent.
    Drop,
}

/// A request by which the gate finds out a server's era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `server/discover`: whether it speaks the newer era.
    Discover,
    /// `initialize`: whether it supports a handshake.
    Initialize,
}

/// What a response to a [`Probe`] shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The server supports the handshake: bridge to it.
    Handshake(Down),
    /// The server speaks the newer era, or neither: do not bridge.
    NoBridge,
    /// Nothing: send the next probe.
    Nothing,
}

/// The notification that completes the handshake.
pub const INITIALIZED: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";

impl Probe {
    /// All probes, in the order to send them.
    pub const ALL: [Self; 2] = [Self::Discover, Self::Initialize];

    /// The JSON-RPC id, distinct from those of clients on the same connection.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Discover => "\"agentgate-probe\"",
            Self::Initialize => "\"agentgate-handshake\"",
        }
    }

    /// The probe that `message` responds to.
    #[must_use]
    pub fn answered_by(message: &[u8]) -> Option<Self> {
        let id = raw(message, &["id"])?;
        Self::ALL.into_iter().find(|probe| probe.id().as_bytes() == id)
    }

    /// The request.
    #[must_use]
    pub fn message(self) -> Bytes {
        let (method, params) = match self {
            Self::Discover => (
                "server/discover",
                format!(
                    "\"{}\":{{\"{}\":\"{}\",\"{}\":{{}}}}",
                    era::META,
                    era::PROTOCOL_VERSION,
                    era::STATELESS,
                    era::CLIENT_CAPABILITIES
                ),
            ),
            Self::Initialize => (
                "initialize",
                format!(
                    "\"protocolVersion\":\"{}\",\"capabilities\":{{}},\
                     \"clientInfo\":{{\"name\":\"agentgate\",\"version\":\"{}\"}}",
                    era::HANDSHAKE.last().copied().unwrap_or_default(),
                    env!("CARGO_PKG_VERSION")
                ),
            ),
        };
        let id = self.id();
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{params}}}}}"
        )
        .into()
    }

    /// Evaluates a response. An error to [`Self::Discover`] shows nothing, as servers of either
    /// era may refuse it.
    #[must_use]
    pub fn evaluate(self, answer: &[u8]) -> Finding {
        match self {
            Self::Discover if is_discovered(answer) => Finding::NoBridge,
            Self::Discover => Finding::Nothing,
            Self::Initialize => Down::opened(answer).map_or(Finding::NoBridge, Finding::Handshake),
        }
    }
}

/// Whether the response to `initialize` is a successful handshake, on any revision.
#[must_use]
pub fn accepts_handshake(answer: &[u8]) -> bool {
    raw(answer, &["result"]).is_some()
}

/// Whether the response to `server/discover` is successful: the server speaks the newer era.
fn is_discovered(answer: &[u8]) -> bool {
    let versions = raw(answer, &["result", "supportedVersions"]);
    versions.is_some_and(|versions| versions.starts_with(b"[")) || is_modern_error(answer)
}

/// Whether the error is specific to the newer era: version, headers or capabilities are
/// rejected, not the era.
#[must_use]
pub fn is_modern_error(answer: &[u8]) -> bool {
    matches!(codes::of(answer), Some(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION))
}

impl Down {
    /// Parses the response to `initialize`; `None` if it is not successful, or agrees on an
    /// unknown revision.
    fn opened(initialized: &[u8]) -> Option<Self> {
        let result = raw(initialized, &["result"])?;
        let revision = raw(result, &["protocolVersion"]).and_then(answer::string)?;
        if !era::HANDSHAKE.contains(&revision.as_str()) {
            return None;
        }
        let mut discovered = format!(
            "{{\"resultType\":\"complete\",\"supportedVersions\":[\"{}\"],\"capabilities\":{},\"ttlMs\":0,\"cacheScope\":\"private\"",
            era::STATELESS,
            super::capabilities(raw(result, &["capabilities"]), false)
        );
        for (name, member) in [("instructions", "instructions"), (era::META, "serverInfo")] {
            let Some(said) = raw(result, &[member]).map(String::from_utf8_lossy) else { continue };
            discovered.push_str(&match name {
                era::META => format!(",\"{name}\":{{\"{}\":{said}}}", era::SERVER_INFO),
                _ => format!(",\"{name}\":{said}"),
            });
        }
        discovered.push('}');
        Some(Self { revision, discovered })
    }

    /// Translates a message from the client.
    #[must_use]
    pub fn translate_from_client(&self, message: &Bytes) -> FromClient {
        let (Some(method), id) = super::method_and_id(message) else {
            // A response: but the client was never sent a request.
            return FromClient::Drop;
        };
        match (method.as_str(), id) {
            ("server/discover", Some(id)) => {
                FromClient::Answer(super::result(id, &self.discovered))
            }
            ("notifications/cancelled", None) => {
                let id = raw(message, &["params", "requestId"]).map(<[u8]>::to_vec);
                id.map_or(FromClient::Drop, FromClient::Cancel)
            }
            (_, None) => FromClient::Drop,
            (other, Some(_)) if era::is_handshake_only(other) || era::is_stateless_only(other) => {
                super::not_bridged(id, other)
            }
            _ => FromClient::Forward(message.clone()),
        }
    }

    /// Translates a message from the server. `method` is that of the request it may respond to.
    #[must_use]
    pub fn translate_from_server(method: &str, message: &Bytes) -> FromServer {
        match super::method_and_id(message) {
            (Some(from_server), Some(id)) => FromServer::Answer(match from_server.as_str() {
                "ping" => super::result(id, "{}"),
                _ => super::error(id, METHOD_NOT_FOUND, "this client takes no requests"),
            }),
            // The handshake is shared by all clients, so it is unknown which of them wants log
            // messages.
            (Some(said), None) if said == "notifications/message" => FromServer::Drop,
            (Some(_), None) => FromServer::Forward(message.clone()),
            (None, _) => FromServer::Forward(Self::result(method, message)),
        }
    }

    fn result(method: &str, message: &Bytes) -> Bytes {
        let mut added = vec![("resultType", "\"complete\"")];
        if era::is_cacheable(method) {
            added.extend([("ttlMs", "0"), ("cacheScope", "\"private\"")]);
        }
        splice::with_result(message, &added).unwrap_or_else(|| message.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","id":"agentgate-handshake","result":{
        "protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"logging":{},
        "prompts":{}},"serverInfo":{"name":"s","version":"2"},"instructions":"Be kind."}}"#;

    fn down() -> Down {
        Down::opened(INITIALIZED).unwrap()
    }

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn handshake_declares_no_capabilities() {
        for (probe, method) in
            [(Probe::Discover, "server/discover"), (Probe::Initialize, "initialize")]
        {
            let request = parsed(&probe.message());
            assert_eq!((&request["method"], &request["jsonrpc"]), (&json!(method), &json!("2.0")));
            assert_eq!(Probe::answered_by(&probe.message()), Some(probe));
        }
        let initialize = parsed(&Probe::Initialize.message());
        assert_eq!(initialize["params"]["capabilities"], json!({}));
        assert!(parsed(super::INITIALIZED.as_bytes())["id"].is_null());
    }

    #[test]
    fn discovery_is_answered_from_the_handshake() {
        let discover = Bytes::from_static(br#"{"id":"d","method":"server/discover","params":{}}"#);
        let FromClient::Answer(answer) = down().translate_from_client(&discover) else { panic!() };
        assert_eq!(
            parsed(&answer),
            json!({"jsonrpc": "2.0", "id": "d", "result": {"resultType": "complete",
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "prompts": {}},
                "ttlMs": 0, "cacheScope": "private", "instructions": "Be kind.",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "2"}}}})
        );
        assert_eq!(Probe::Discover.evaluate(&answer), Finding::NoBridge);
        for other in [&br#"{"id":1,"result":{"protocolVersion":"2099-01-01"}}"#[..], b"{}", b"x"] {
            assert_eq!(Down::opened(other), None);
        }
    }

    #[test]
    fn requests_are_forwarded_as_judged() {
        let down = down();
        let call = Bytes::from_static(
            br#"{"id": 1,"method":"tools/call","params":{"name":"x","arguments":{"n":1e0},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
        );
        assert_eq!(down.translate_from_client(&call), FromClient::Forward(call.clone()));
        for method in ["initialize", "ping", "subscriptions/listen", "logging/setLevel"] {
            let message = json!({"id": 1, "method": method}).to_string();
            let FromClient::Answer(answer) = down.translate_from_client(&message.into()) else {
                panic!("{method}")
            };
            assert_eq!(parsed(&answer)["error"]["code"], -32601, "{method}");
        }
        let cancel = br#"{"method":"notifications/cancelled","params":{"requestId":9}}"#;
        assert_eq!(
            down.translate_from_client(&Bytes::from_static(cancel)),
            FromClient::Cancel(b"9".to_vec())
        );
        assert_eq!(
            down.translate_from_client(&Bytes::from_static(br#"{"id":1,"result":{}}"#)),
            FromClient::Drop
        );
    }

    #[test]
    fn results_get_what_the_newer_revision_demands() {
        let back = |method: &str, message: &'static str| match Down::translate_from_server(
            method,
            &message.into(),
        ) {
            FromServer::Forward(passed) => String::from_utf8(passed.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            back("tools/call", r#"{"id":1,"result":{"content":[ ],"n":1.0}}"#),
            r#"{"id":1,"result":{"resultType":"complete","content":[ ],"n":1.0}}"#
        );
        assert_eq!(
            back("tools/list", r#"{"id":1,"result":{"tools":[]}}"#),
            r#"{"id":1,"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[]}}"#
        );
        let error = r#"{"id":1,"error":{"code":-32602,"message":"no"}}"#;
        assert_eq!(back("tools/call", error), error);
        let progress = r#"{"method":"notifications/progress","params":{"progressToken":1}}"#;
        assert_eq!(back("tools/call", progress), progress);
    }

    #[test]
    fn requests_of_the_server_are_answered_by_the_gate() {
        let from_server =
            |message: &'static str| Down::translate_from_server("tools/call", &message.into());
        let FromServer::Answer(pong) = from_server(r#"{"id":5,"method":"ping"}"#) else { panic!() };
        assert_eq!(parsed(&pong), json!({"jsonrpc": "2.0", "id": 5, "result": {}}));
        let FromServer::Answer(no) = from_server(r#"{"id":5,"method":"sampling/createMessage"}"#)
        else {
            panic!()
        };
        assert_eq!(parsed(&no)["error"]["code"], -32601);
        assert_eq!(
            from_server(r#"{"method":"notifications/message","params":{}}"#),
            FromServer::Drop
        );
    }
}
