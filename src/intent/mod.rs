//! What a request amounts to, however it is spelt.

use crate::action::{Action, Target};

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
}

/// How deep the analysis had to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// By the method or the hint alone.
    L1,
    /// By knowledge of the provider, or of words in a tool's name.
    L2,
    /// Unsure: a person should say.
    L3,
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
    /// The kind of thing acted on (`issue`, `file`, …), or the tool's name.
    pub resource: String,
    /// The provider's own name of the operation, where it has one.
    pub operation: Option<String>,
}

/// What `action` amounts to, and why. Pure.
#[must_use]
pub fn analyse(action: &Action) -> Analysis {
    let _ = matches!(action.target, Target::Tool(_));
    Analysis {
        intent: Intent::Unknown,
        level: Level::L3,
        confidence: 0.0,
        resource: String::new(),
        operation: None,
    }
}

/// The intent alone, without the allocations of [`analyse`]: the hot path's form.
#[must_use]
pub fn of(action: &Action) -> Intent {
    analyse(action).intent
}
