//! What differs between the protocol's revisions, said once.

use crate::json::{Json, Object};

/// The first member of `_meta` that only requests of the stateless era carry.
const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// The members of `_meta` that every request of the stateless era must carry,
/// and the one that introduces the client.
const STATELESS_META: [&str; 3] = [
    PROTOCOL_VERSION,
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
];

/// The one revision in which a message may be an array (JSON-RPC batches).
const BATCH_REVISION: &str = "2025-03-26";

/// Methods of every revision, clients' and servers' alike. A method that equals
/// one of them only after folding is refused.
const METHODS: &[&str] = &[
    "tools/call",
    "tools/list",
    "initialize",
    "ping",
    "server/discover",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
    "tasks/update",
    "subscriptions/listen",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/roots/list_changed",
    "notifications/tools/list_changed",
    "notifications/tasks/status",
];

/// How far a connection has come in agreeing on a revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Era {
    /// Nothing is agreed on; the server must not be asked anything.
    #[default]
    Unknown,
    /// `initialize` was answered with this revision; the client has not said
    /// `notifications/initialized` yet.
    Negotiated(String),
    /// The handshake is over: both sides may ask.
    Initialized(String),
    /// 2026-07-28 and later: each request stands for itself, and this is what
    /// its `_meta` has to say.
    Stateless(Object),
}

impl Era {
    /// Whether a client may send an array of messages.
    #[must_use]
    pub fn allows_batches(&self) -> bool {
        matches!(self, Self::Negotiated(version) | Self::Initialized(version) if version == BATCH_REVISION)
    }

    /// The parameters that a request of the gate's own begins with; `None` as
    /// long as the server must not be asked anything.
    #[must_use]
    pub fn own_params(&self) -> Option<Vec<(String, Json)>> {
        match self {
            Self::Unknown | Self::Negotiated(_) => None,
            Self::Initialized(_) => Some(Vec::new()),
            Self::Stateless(meta) => Some(vec![("_meta".to_owned(), Json::Object(meta.clone()))]),
        }
    }

    /// The server answered `initialize`.
    pub fn negotiated(&mut self, version: String) {
        *self = Self::Negotiated(version);
    }

    /// The client said `notifications/initialized`.
    pub fn initialized(&mut self) {
        match std::mem::take(self) {
            Self::Negotiated(version) => *self = Self::Initialized(version),
            other => *self = other,
        }
    }

    /// The client sent a request with this `_meta`.
    pub fn seen(&mut self, meta: &Object) {
        if !matches!(self, Self::Negotiated(_) | Self::Initialized(_)) && is_stateless(meta) {
            *self = Self::Stateless(stateless_part(meta));
        }
    }
}

/// Whether a request with this `_meta` belongs to the stateless era: its results
/// carry `resultType`.
#[must_use]
pub fn is_stateless(meta: &Object) -> bool {
    meta.get(PROTOCOL_VERSION).is_some_and(|version| version.as_str().is_some())
}

/// Whether `method` is one that some revision defines.
#[must_use]
pub fn is_known(method: &str) -> bool {
    METHODS.contains(&method)
}

/// Methods of every revision.
pub fn methods() -> impl Iterator<Item = &'static str> {
    METHODS.iter().copied()
}

fn stateless_part(meta: &Object) -> Object {
    let kept = meta.iter().filter(|(key, _)| STATELESS_META.contains(key));
    let kept = kept.map(|(key, value)| (key.to_owned(), value.clone())).collect();
    Object::from_members(kept).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        match crate::json::parse(text.as_bytes()).unwrap() {
            Json::Object(object) => object,
            _ => panic!("not an object"),
        }
    }

    #[test]
    fn nothing_is_asked_before_the_handshake_is_over() {
        let mut era = Era::default();
        assert_eq!(era.own_params(), None);
        era.initialized();
        assert_eq!(era, Era::Unknown);
        era.negotiated("2025-11-25".to_owned());
        assert_eq!(era.own_params(), None);
        era.initialized();
        assert_eq!(era.own_params(), Some(Vec::new()));
    }

    #[test]
    fn batches_are_of_one_revision() {
        let mut era = Era::default();
        assert!(!era.allows_batches());
        era.negotiated("2025-03-26".to_owned());
        assert!(era.allows_batches());
        era.negotiated("2025-06-18".to_owned());
        assert!(!era.allows_batches());
    }

    #[test]
    fn a_stateless_request_lends_its_introduction_and_nothing_else() {
        let mut era = Era::default();
        era.seen(&object(
            r#"{"progressToken":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28",
               "io.modelcontextprotocol/clientCapabilities":{"x":1}}"#,
        ));
        let params = era.own_params().unwrap();
        assert_eq!(
            Json::Object(Object::from_members(params).unwrap()).to_string(),
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"x":1}}}"#
        );
    }
}
