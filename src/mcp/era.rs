//! What differs between the protocol's revisions, said once.

use crate::action::McpRequest;
use crate::json::{Json, Object};

/// What a message says of itself, in its parameters or its result.
pub const META: &str = "_meta";

/// The first member of `_meta` that only requests of the stateless era carry.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// The most of one member of a client's introduction that is kept, in bytes: it is
/// kept for each conversation, and said in each request of the gate's own.
pub const MAX_INTRODUCTION: usize = 16 << 10;

/// The members of `_meta` that every request of the stateless era must carry,
/// and the one that introduces the client.
const STATELESS_META: [&str; 3] = [PROTOCOL_VERSION, CLIENT_CAPABILITIES, CLIENT_INFO];

/// What the client can do, in each request of the stateless era.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Who the client is, there.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";

/// How much of what the server logs the client wants, there.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// Who the server is, in the `_meta` of its results.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// The revision of the stateless era that the gate can speak itself.
pub const STATELESS: &str = "2026-07-28";

/// The revisions with a handshake, oldest first.
pub const HANDSHAKE: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// Levels of log messages (RFC 5424), in every revision.
pub const LOG_LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Methods that the stateless era does not have, or not with the same meaning.
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

/// Methods that the era of handshakes does not have.
const STATELESS_ONLY: [&str; 3] = ["server/discover", "subscriptions/listen", "tasks/update"];

/// Methods whose results say how long they may be kept (2026-07-28).
const CACHEABLE: [&str; 6] = [
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
];

/// The one revision in which a message may be an array (JSON-RPC batches).
const BATCH_REVISION: &str = "2025-03-26";

/// A revision without anything of its own.
const NO_BATCHES: &str = "2025-06-18";

/// How far a connection has come in agreeing on a revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Era {
    /// The client asked `initialize`, and was not refused.
    asked: bool,
    /// What `initialize` agreed on.
    agreed: Option<String>,
    /// The client said `notifications/initialized`.
    initialized: bool,
    /// 2026-07-28 and later: each request stands for itself, and this is what
    /// its `_meta` has to say.
    stateless: Option<Object>,
}

impl Era {
    /// Whether a client may send an array of messages.
    #[must_use]
    pub fn allows_batches(&self) -> bool {
        self.agreed.as_deref() == Some(BATCH_REVISION)
    }

    /// The parameters that a request of the gate's own begins with; `None` as
    /// long as the server must not be asked anything.
    #[must_use]
    pub fn own_params(&self) -> Option<Vec<(String, Json)>> {
        match &self.stateless {
            Some(meta) => Some(vec![(META.to_owned(), Json::Object(meta.clone()))]),
            None => (self.agreed.is_some() && self.initialized).then(Vec::new),
        }
    }

    /// Whether the server may be asked now, or as soon as it has answered what
    /// is under way.
    #[must_use]
    pub fn will_listen(&self) -> bool {
        self.stateless.is_some() || (self.asked && self.initialized)
    }

    /// The client asked `initialize`.
    pub fn asked(&mut self) {
        *self = Self { asked: true, ..Self::default() };
    }

    /// The server answered `initialize`: with a version, or not at all.
    pub fn answered(&mut self, version: Option<String>) {
        self.asked = version.is_some();
        self.agreed = version;
    }

    /// The client said `notifications/initialized`.
    pub fn initialized(&mut self) {
        self.initialized = self.asked;
    }

    /// The handshake was made elsewhere: a session that outlived its gate.
    pub fn presume(&mut self) {
        *self = Self {
            asked: true,
            agreed: Some(NO_BATCHES.to_owned()),
            initialized: true,
            stateless: None,
        };
    }

    /// Whether a request's `_meta` could still say something new.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.asked && self.stateless.is_none()
    }

    /// The client sent a request with this `_meta`.
    pub fn seen(&mut self, meta: &Object) {
        if self.is_open() && is_stateless(meta) {
            self.stateless = Some(stateless_part(meta));
        }
    }
}

/// Whether a request with this `_meta` belongs to the stateless era: its results
/// carry `resultType`.
#[must_use]
pub fn is_stateless(meta: &Object) -> bool {
    meta.get(PROTOCOL_VERSION).and_then(Json::as_str).is_some_and(is_stateless_revision)
}

/// Whether a revision is one of the stateless era, known yet or not: they are dates,
/// and sort as text. Nothing else is a revision.
#[must_use]
pub fn is_stateless_revision(revision: &str) -> bool {
    is_revision(revision) && revision >= STATELESS
}

/// Whether a text has the form of a revision, `YYYY-MM-DD`.
#[must_use]
pub fn is_revision(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 10 && text.bytes().enumerate().all(fits)
}

/// Whether `method` means something else, or nothing, in the stateless era.
#[must_use]
pub fn is_handshake_only(method: &str) -> bool {
    HANDSHAKE_ONLY.contains(&method)
}

/// Whether `method` means nothing in the era of handshakes.
#[must_use]
pub fn is_stateless_only(method: &str) -> bool {
    STATELESS_ONLY.contains(&method)
}

/// Whether the results of `method` have to say how long they may be kept.
#[must_use]
pub fn is_cacheable(method: &str) -> bool {
    CACHEABLE.contains(&method)
}

/// Whether `method` is one that some revision defines.
#[must_use]
pub fn is_known(method: &str) -> bool {
    methods().any(|known| known == method)
}

/// Methods of every revision, whoever sends them. One of a client's that equals a known one
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
    fn nothing_is_asked_before_the_handshake_is_over() {
        let mut era = Era::default();
        era.initialized();
        assert!(era.own_params().is_none() && !era.will_listen());
        era.asked();
        assert!(!era.will_listen());
        era.answered(Some("2025-11-25".to_owned()));
        assert!(era.own_params().is_none() && !era.will_listen());
        era.initialized();
        assert_eq!(era.own_params(), Some(Vec::new()));
    }

    #[test]
    fn a_client_that_does_not_wait_for_answers_is_waited_for() {
        let mut era = Era::default();
        era.asked();
        era.initialized();
        assert!(era.own_params().is_none() && era.will_listen());
        let mut refused = era.clone();
        refused.answered(None);
        assert!(!refused.will_listen());
        era.answered(Some("2025-11-25".to_owned()));
        assert!(era.own_params().is_some());
    }

    #[test]
    fn a_client_that_probes_and_falls_back_is_in_the_older_era() {
        let mut era = Era::default();
        era.seen(&object(r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#));
        assert!(era.will_listen());
        era.asked();
        assert!(era.own_params().is_none() && !era.will_listen());
    }

    #[test]
    fn batches_are_of_one_revision() {
        let mut era = Era::default();
        assert!(!era.allows_batches());
        era.answered(Some("2025-03-26".to_owned()));
        assert!(era.allows_batches());
        era.answered(Some("2025-06-18".to_owned()));
        assert!(!era.allows_batches());
    }

    #[test]
    fn a_stateless_request_lends_its_introduction_and_nothing_else() {
        let mut era = Era::default();
        era.seen(&object(
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
