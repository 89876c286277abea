//! Differences between the protocol's revisions.

use crate::action::McpRequest;
use crate::json::{Json, Object};

/// Key of metadata in parameters and results.
pub const META: &str = "_meta";

/// The member of `_meta` that only stateless requests have.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// Maximum length of each member of a client's introduction, in bytes. It is stored per
/// conversation, and sent with each request of the gate.
pub const MAX_INTRODUCTION: usize = 16 << 10;

/// Members of `_meta` in every stateless request, and the one that introduces the client.
const STATELESS_META: [&str; 3] = [PROTOCOL_VERSION, CLIENT_CAPABILITIES, CLIENT_INFO];

/// The client's capabilities, in `_meta` of stateless requests.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Name and version of the client, in `_meta` of stateless requests.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";

/// Requested level of the server's log messages, in `_meta` of stateless requests.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// Name and version of the server, in `_meta` of its results.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// The stateless revision that the gate itself speaks.
pub const STATELESS: &str = "2026-07-28";

/// Revisions with a handshake, oldest first.
pub const HANDSHAKE: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// Log levels (RFC 5424), in all revisions.
pub const LOG_LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Methods that the stateless era lacks, or defines differently.
const HANDSHAKE_ONLY: [&str; 9] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/list",
    "tasks/get",
    "tasks/result",
    "tasks/cancel",
];

/// Methods that exist only in the stateless era.
const STATELESS_ONLY: [&str; 3] = ["server/discover", "subscriptions/listen", "tasks/update"];

/// Methods with caching hints in their results (2026-07-28).
const CACHEABLE: [&str; 6] = [
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
];

/// The only revision with JSON-RPC batches.
const BATCH_REVISION: &str = "2025-03-26";

/// A revision without batches.
const NO_BATCHES: &str = "2025-06-18";

/// Whether an array of messages is a batch, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batches {
    /// The revision has batches.
    Allowed,
    /// It has none.
    Refused,
}

/// State of version negotiation on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Era {
    /// Whether `initialize` was sent and has not failed.
    handshake_begun: bool,
    /// The revision agreed on by `initialize`.
    agreed: Option<String>,
    /// Whether `notifications/initialized` was sent.
    initialized: bool,
    /// Since 2026-07-28 there is no handshake: the `_meta` that each request needs.
    stateless: Option<Object>,
}

impl Era {
    /// Whether the client may send batches.
    #[must_use]
    pub fn batches(&self) -> Batches {
        match self.agreed.as_deref() {
            Some(BATCH_REVISION) => Batches::Allowed,
            _ => Batches::Refused,
        }
    }

    /// Initial parameters of a request of the gate itself; `None` while the server must not be
    /// sent any.
    #[must_use]
    pub fn own_params(&self) -> Option<Vec<(String, Json)>> {
        match &self.stateless {
            Some(meta) => Some(vec![(META.to_owned(), Json::Object(meta.clone()))]),
            None => (self.agreed.is_some() && self.initialized).then(Vec::new),
        }
    }

    /// Whether the server can be sent requests, now or after its pending responses.
    #[must_use]
    pub fn will_listen(&self) -> bool {
        self.stateless.is_some() || (self.handshake_begun && self.initialized)
    }

    /// Records that the client sent `initialize`.
    pub fn begin_handshake(&mut self) {
        *self = Self { handshake_begun: true, ..Self::default() };
    }

    /// Records the response to `initialize`: the version, or `None` for an error.
    pub fn end_handshake(&mut self, version: Option<String>) {
        self.handshake_begun = version.is_some();
        self.agreed = version;
    }

    /// Records that the client sent `notifications/initialized`.
    pub fn initialized(&mut self) {
        self.initialized = self.handshake_begun;
    }

    /// Assumes a completed handshake, for a session that outlived its gate.
    pub fn assume_handshake(&mut self) {
        *self = Self {
            handshake_begun: true,
            agreed: Some(NO_BATCHES.to_owned()),
            initialized: true,
            stateless: None,
        };
    }

    /// Whether the era is still undetermined.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.handshake_begun && self.stateless.is_none()
    }

    /// Records the `_meta` of a request.
    pub fn observe_meta(&mut self, meta: &Object) {
        if self.is_open() && is_stateless(meta) {
            self.stateless = Some(stateless_part(meta));
        }
    }
}

/// Whether a request with this `_meta` is stateless, so that its result has a `resultType`.
#[must_use]
pub fn is_stateless(meta: &Object) -> bool {
    meta.get(PROTOCOL_VERSION).and_then(Json::as_str).is_some_and(is_stateless_revision)
}

/// Whether `revision` is of the stateless era, known or not: revisions are dates, and compare
/// as text.
#[must_use]
pub fn is_stateless_revision(revision: &str) -> bool {
    is_revision(revision) && revision >= STATELESS
}

/// Whether `text` has the form `YYYY-MM-DD`.
#[must_use]
pub fn is_revision(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 10 && text.bytes().enumerate().all(fits)
}

/// Whether the stateless era lacks `method`, or defines it differently.
#[must_use]
pub fn is_handshake_only(method: &str) -> bool {
    HANDSHAKE_ONLY.contains(&method)
}

/// Whether `method` exists only in the stateless era.
#[must_use]
pub fn is_stateless_only(method: &str) -> bool {
    STATELESS_ONLY.contains(&method)
}

/// Whether results of `method` must have caching hints.
#[must_use]
pub fn is_cacheable(method: &str) -> bool {
    CACHEABLE.contains(&method)
}

/// Whether any revision defines `method`.
#[must_use]
pub fn is_known(method: &str) -> bool {
    methods().any(|known| known == method)
}

/// Methods of all revisions, in either direction. A client's method that equals one of them
/// only after folding is refused.
pub fn methods() -> impl Iterator<Item = &'static str> {
    let all = [McpRequest::METHODS, McpRequest::NOTIFICATIONS, McpRequest::OF_SERVERS];
    all.into_iter().flatten().copied()
}

fn stateless_part(meta: &Object) -> Object {
    let fits = |value: &Json| value.to_string().len() <= MAX_INTRODUCTION;
    let kept = meta.iter().filter(|(key, value)| STATELESS_META.contains(key) && fits(value));
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
    fn a_revision_is_a_date_and_nothing_else() {
        for (revision, stateless) in [
            ("2026-07-28", true),
            ("2027-01-01", true),
            ("2025-11-25", false),
            ("2024-11-05", false),
        ] {
            assert!(is_revision(revision), "{revision}");
            assert_eq!(is_stateless_revision(revision), stateless, "{revision}");
        }
        for text in [
            "",
            "DRAFT-2026-v1",
            "latest",
            "zzz",
            "2026",
            "2026-7-28",
            "2026-07-28 ",
            "2026-07-28x",
            "2026/07/28",
            "2026-07-2\u{662}",
            "20260-7-28",
        ] {
            assert!(!is_revision(text) && !is_stateless_revision(text), "{text}");
            let meta = format!(r#"{{"{PROTOCOL_VERSION}":"{text}"}}"#);
            assert!(!is_stateless(&object(&meta)), "{text}");
        }
    }

    #[test]
    fn list_is_not_requested_before_the_handshake_ends() {
        let mut era = Era::default();
        era.initialized();
        assert!(era.own_params().is_none() && !era.will_listen());
        era.begin_handshake();
        assert!(!era.will_listen());
        era.end_handshake(Some("2025-11-25".to_owned()));
        assert!(era.own_params().is_none() && !era.will_listen());
        era.initialized();
        assert_eq!(era.own_params(), Some(Vec::new()));
    }

    #[test]
    fn a_client_that_does_not_wait_for_answers_is_waited_for() {
        let mut era = Era::default();
        era.begin_handshake();
        era.initialized();
        assert!(era.own_params().is_none() && era.will_listen());
        let mut refused = era.clone();
        refused.end_handshake(None);
        assert!(!refused.will_listen());
        era.end_handshake(Some("2025-11-25".to_owned()));
        assert!(era.own_params().is_some());
    }

    #[test]
    fn a_client_that_probes_and_falls_back_is_in_the_older_era() {
        let mut era = Era::default();
        era.observe_meta(&object(r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#));
        assert!(era.will_listen());
        era.begin_handshake();
        assert!(era.own_params().is_none() && !era.will_listen());
    }

    #[test]
    fn batches_are_of_one_revision() {
        let mut era = Era::default();
        assert_eq!(era.batches(), Batches::Refused);
        era.end_handshake(Some("2025-03-26".to_owned()));
        assert_eq!(era.batches(), Batches::Allowed);
        era.end_handshake(Some("2025-06-18".to_owned()));
        assert_eq!(era.batches(), Batches::Refused);
    }

    #[test]
    fn list_request_copies_only_the_introduction_of_a_stateless_request() {
        let mut era = Era::default();
        era.observe_meta(&object(
            &r#"{"progressToken":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28",
               "io.modelcontextprotocol/clientInfo":{"name":"@"},
               "io.modelcontextprotocol/clientCapabilities":{"x":1}}"#
                .replace('@', &"x".repeat(MAX_INTRODUCTION)),
        ));
        let params = era.own_params().unwrap();
        assert_eq!(
            Json::Object(Object::from_members(params).unwrap()).to_string(),
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"x":1}}}"#
        );
    }
}
