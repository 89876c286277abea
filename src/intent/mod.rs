//! What a request amounts to, however it is spelt.
//!
//! The analysis goes as deep as it has to: a hint or an HTTP method that says
//! all (L1), the words of a name or the ways of a provider (L2), or the
//! admission that nobody can say (L3). Whatever is unsure is not a read.

pub mod batch;
mod graphql;
mod http;
mod lexicon;
mod providers;
pub mod readings;
mod tool;
mod words;

use std::cmp::Ordering;

pub use graphql::is_endpoint as takes_documents;
pub use providers::aws::{answers_in_xml, is_region as is_aws_region};

use crate::action::{Action, Target};

/// Number of requests that an action counts as: those of a batch, else 1.
#[must_use]
pub fn requests(action: &Action) -> u32 {
    let members = action.target.http().and_then(batch::members).and_then(Result::ok);
    members.map_or(1, |members| u32::try_from(members.len()).unwrap_or(u32::MAX))
}

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Reads without changing anything.
    Read,
    /// A read whose parameters are in the body.
    Query,
    /// Creates something.
    Create,
    /// Changes something that exists.
    Update,
    /// Deletes something.
    Delete,
    /// Sends something to other people.
    Send,
    /// Runs code or a process.
    Execute,
    /// Changes permissions.
    Admin,
    /// Unknown: never treated as a read.
    Unknown,
}

impl Intent {
    /// All intents, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Query,
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Send,
        Self::Execute,
        Self::Admin,
        Self::Unknown,
    ];

    /// The name in policies and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Query => "query",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Send => "send",
            Self::Execute => "execute",
            Self::Admin => "admin",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it changes nothing; all other intents have the class `write`.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::Query)
    }

    /// Order of precedence: of several intents, the highest determines the whole.
    fn strictness(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Query => 1,
            Self::Create => 2,
            Self::Update => 3,
            Self::Execute => 4,
            Self::Send => 5,
            Self::Admin => 6,
            Self::Delete => 7,
            Self::Unknown => 8,
        }
    }
}

/// Depth of the analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// By the HTTP method or the tool's hints alone.
    L1,
    /// By knowledge of the provider's API, or words in the tool's name.
    L2,
    /// Uncertain: to be reviewed by a person.
    L3,
}

impl Level {
    /// The name in responses and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
        }
    }
}

/// An intent with its evidence and confidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// What the action does.
    pub intent: Intent,
    /// Depth of the analysis.
    pub level: Level,
    /// Confidence, from 0 to 1.
    pub confidence: f64,
    /// The evidence.
    pub why: &'static str,
    /// The resource type (`issue`, `file`, …), or the tool's name.
    pub resource: String,
    /// The provider's name of the operation, if it has one.
    pub operation: Option<String>,
}

/// The part of an [`Analysis`] that decisions need; computed without allocations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// What the action does.
    pub intent: Intent,
    /// Depth of the analysis.
    pub level: Level,
    /// Confidence, from 0 to 1.
    pub confidence: f64,
    /// The evidence.
    pub why: &'static str,
}

impl Judgement {
    const fn unsure(why: &'static str) -> Self {
        Self { intent: Intent::Unknown, level: Level::L3, confidence: 0.2, why }
    }

    const fn l1(intent: Intent, why: &'static str) -> Self {
        Self { intent, level: Level::L1, confidence: 0.9, why }
    }

    const fn l2(intent: Intent, why: &'static str) -> Self {
        Self { intent, level: Level::L2, confidence: 0.85, why }
    }

    /// Combines two judgements that both apply: the stricter one, or the less certain if equal.
    fn or_stricter(self, other: Self) -> Self {
        let strict = |judgement: &Self| judgement.intent.strictness();
        let other_holds = match strict(&other).cmp(&strict(&self)) {
            Ordering::Equal => other.confidence < self.confidence,
            order => order.is_gt(),
        };
        if other_holds { other } else { self }
    }
}

/// Analyses `action` completely, for display.
#[must_use]
pub fn analyse(action: &Action) -> Analysis {
    let Judgement { intent, level, confidence, why } = judge(action);
    let (resource, operation) = match &action.target {
        Target::Tool(call) => (tool::resource(call), None),
        Target::Method(request) => (request.method.clone(), None),
        Target::Http(request) => http::described(request),
        Target::Malformed(malformed) => (malformed.method.clone(), None),
    };
    Analysis { intent, level, confidence, why, resource, operation }
}

/// The intent of `action`.
#[must_use]
pub fn of(action: &Action) -> Intent {
    judge(action).intent
}

/// Judges `action` without allocating; used on the hot path.
#[must_use]
pub fn judge(action: &Action) -> Judgement {
    match &action.target {
        Target::Tool(call) => tool::judge(call),
        Target::Method(request) => mcp_method(&request.method),
        Target::Http(request) => http::judge(request),
        Target::Malformed(_) => Judgement::unsure("a request that could not be read"),
    }
}

/// Judges MCP requests other than `tools/call`, by the specification.
fn mcp_method(method: &str) -> Judgement {
    const WHY: &str = "a method of the MCP specification";
    match method {
        "resources/read"
        | "resources/list"
        | "resources/templates/list"
        | "prompts/get"
        | "prompts/list"
        | "tools/list"
        | "tasks/get"
        | "tasks/list"
        | "tasks/result"
        | "roots/list"
        | "completion/complete"
        | "server/discover"
        | "ping" => Judgement::l1(Intent::Read, WHY),
        "resources/subscribe"
        | "resources/unsubscribe"
        | "logging/setLevel"
        | "tasks/cancel"
        | "tasks/update"
        | "subscriptions/listen" => Judgement::l1(Intent::Update, WHY),
        // Requests of servers to clients: to run the model, or to show text to the user.
        "sampling/createMessage" => Judgement::l1(Intent::Execute, WHY),
        "elicitation/create" => Judgement::l1(Intent::Send, WHY),
        _ => Judgement::unsure("no method that the MCP specification names"),
    }
}
