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

/// As how many requests an action counts: a batch as many as it carries.
#[must_use]
pub fn requests(action: &Action) -> u32 {
    let members = action.target.http().and_then(batch::members).and_then(Result::ok);
    members.map_or(1, |members| u32::try_from(members.len()).unwrap_or(u32::MAX))
}

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Looks and changes nothing.
    Read,
    /// A read that carries its question in a body.
    Query,
    /// Makes something new.
    Create,
    /// Changes what is there.
    Update,
    /// Removes.
    Delete,
    /// Carries something to other people.
    Send,
    /// Runs something.
    Execute,
    /// Changes who may do what.
    Admin,
    /// Nobody can say: never taken for a read.
    Unknown,
}

impl Intent {
    /// Every intent, in the order that documents list them.
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

    /// The name that policies and the log use.
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

    /// Whether nothing is changed; every other intent is a `write`.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::Query)
    }

    /// Which of several intents stands for all of them: the highest.
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

/// How deep the analysis had to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// By the method or the hint alone.
    L1,
    /// By knowledge of the provider, or of words in a tool's name.
    L2,
    /// Unsure: a person should say.
    L3,
}

impl Level {
    /// The name in answers and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
        }
    }
}

/// An intent, how it was found and how sure it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// What the action does.
    pub intent: Intent,
    /// How deep the analysis looked.
    pub level: Level,
    /// From 0 to 1.
    pub confidence: f64,
    /// What it was found by.
    pub why: &'static str,
    /// The kind of thing acted on (`issue`, `file`, …), or the tool's name.
    pub resource: String,
    /// The provider's own name of the operation, where it has one.
    pub operation: Option<String>,
}

/// What is found before anything is looked up for people: it costs no
/// allocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// What the action does.
    pub intent: Intent,
    /// How deep the analysis looked.
    pub level: Level,
    /// From 0 to 1.
    pub confidence: f64,
    /// What it was found by.
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

    /// Of two that both hold, the one that is stricter or, being equal, less sure.
    fn or_stricter(self, other: Self) -> Self {
        let strict = |judgement: &Self| judgement.intent.strictness();
        let other_holds = match strict(&other).cmp(&strict(&self)) {
            Ordering::Equal => other.confidence < self.confidence,
            order => order.is_gt(),
        };
        if other_holds { other } else { self }
    }
}

/// What `action` amounts to, and why. Pure.
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

/// The intent alone.
#[must_use]
pub fn of(action: &Action) -> Intent {
    judge(action).intent
}

/// What can be said without the allocations of [`analyse`]: the hot path's form.
#[must_use]
pub fn judge(action: &Action) -> Judgement {
    match &action.target {
        Target::Tool(call) => tool::judge(call),
        Target::Method(request) => mcp_method(&request.method),
        Target::Http(request) => http::judge(request),
        Target::Malformed(_) => Judgement::unsure("a request that could not be read"),
    }
}

/// MCP requests other than `tools/call`, by the specification's own words.
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
        // What a server asks of its client: to run the model, to put words before the user.
        "sampling/createMessage" => Judgement::l1(Intent::Execute, WHY),
        "elicitation/create" => Judgement::l1(Intent::Send, WHY),
        _ => Judgement::unsure("no method that the MCP specification names"),
    }
}
