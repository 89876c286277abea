//! The decision on an action: a [`Verdict`], and its reason.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::intent::Intent;

/// The decision on an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// It goes through.
    Allow,
    /// A person decides.
    Ask,
    /// It does not go through.
    Deny,
}

impl Decision {
    /// The name that policies and the log use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// The stage of the pipeline that decided. Those behind `Policy` are part of the public
/// vocabulary, and nothing decides there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The request itself is not well-formed.
    Validation,
    /// The sender is unidentified.
    Authentication,
    /// Too many, too fast.
    RateLimit,
    /// A rule, a default, or the hours.
    Policy,
    /// A sequence of actions.
    Workflow,
    /// A person.
    Approval,
    /// What came back.
    Response,
    /// A tool that is not what it was.
    Pin,
}

impl Stage {
    /// The name in decisions and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Authentication => "authentication",
            Self::RateLimit => "rate_limit",
            Self::Policy => "policy",
            Self::Workflow => "workflow",
            Self::Approval => "approval",
            Self::Response => "response",
            Self::Pin => "pin",
        }
    }
}

/// Why: the one vocabulary of everything the gate can answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The words a rule or a default gives.
    Written(Arc<str>),
    /// A rule without words of its own matched.
    Rule(Decision),
    /// No rule matched and the default has no words of its own.
    NoRule(Decision),
    /// The hints of the tool decided.
    Annotations(HintsReason),
    /// A `when` could not be evaluated.
    ConditionFailed(Arc<str>),
    /// The hour or the day is outside what the policy allows.
    OutsideHours,
    /// A limit is used up.
    RateLimited {
        /// Requests that the limit allows.
        limit: u32,
        /// The window's length.
        window: Duration,
        /// As how many requests the action counts.
        requests: u32,
        /// What is left all the same, and when there is room.
        full: Full,
    },
    /// No key, or an unknown one.
    Unidentified(String),
    /// The agent is bound to another provider.
    BoundElsewhere {
        /// The one it may use.
        bound_to: &'static str,
    },
    /// The message is not one that all parsers read alike.
    Malformed(String),
    /// The decision could not be recorded, so nothing was forwarded.
    AuditUnavailable(String),
    /// The gate itself failed.
    Internal(String),
}

/// What the hints of a tool say, in words that a person understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintsReason {
    /// `readOnlyHint: true`
    ReadOnly,
    /// `destructiveHint: false`
    NotDestructive,
    /// Destructive, by hint or by the specification's default.
    Destructive,
    /// The server gives no annotations for the tool.
    NoAnnotations,
}

impl Reason {
    /// What is left of the limit that refuses, where one does.
    #[must_use]
    pub fn used_up(&self) -> Option<Quota> {
        let Self::RateLimited { limit, window, full, .. } = *self else { return None };
        Some(Quota { limit, window, remaining: full.remaining, reset: full.reset })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(words) => formatter.write_str(words),
            Self::Rule(Decision::Allow) => formatter.write_str("allowed by a rule"),
            Self::Rule(Decision::Ask) => formatter.write_str("a person has to approve this"),
            Self::Rule(Decision::Deny) => formatter.write_str("denied by a rule"),
            Self::NoRule(Decision::Allow) => {
                formatter.write_str("no rule matches, and the default is to allow")
            }
            Self::NoRule(Decision::Ask) => {
                formatter.write_str("no rule matches, and the default is to ask a person")
            }
            Self::NoRule(Decision::Deny) => {
                formatter.write_str("no rule matches, and the default is to deny")
            }
            Self::Annotations(hints) => formatter.write_str(match hints {
                HintsReason::ReadOnly => "the server declares the tool read-only",
                HintsReason::NotDestructive => "the server declares the tool not destructive",
                HintsReason::Destructive => "the tool may destroy, by its hints or by default",
                HintsReason::NoAnnotations => {
                    "the server says nothing about what the tool does, so the worst is assumed"
                }
            }),
            Self::ConditionFailed(error) => {
                write!(formatter, "the rule's condition could not be evaluated: {error}")
            }
            Self::OutsideHours => {
                formatter.write_str("outside the hours in which the policy allows requests")
            }
            Self::RateLimited { limit, window, requests, full } => {
                let window = window.as_secs();
                let after = full.retry_after.map(|after| after.as_secs_f64().ceil());
                match after {
                    Some(after) if *requests == 1 => write!(
                        formatter,
                        "{limit} requests in {window} seconds are used up; the next is free in \
                         {after} seconds"
                    ),
                    Some(after) => write!(
                        formatter,
                        "{} of {limit} requests in {window} seconds are left, and this counts as \
                         {requests}; there is room for it in {after} seconds",
                        full.remaining
                    ),
                    None => write!(
                        formatter,
                        "this counts as {requests} requests, and the limit is {limit} in {window} \
                         seconds: it can never pass"
                    ),
                }
            }
            Self::Unidentified(what) => formatter.write_str(what),
            Self::BoundElsewhere { bound_to } => {
                write!(formatter, "this agent may use {bound_to} only")
            }
            Self::Malformed(what) => write!(formatter, "malformed: {what}"),
            Self::AuditUnavailable(why) => {
                write!(formatter, "the decision could not be recorded: {why}")
            }
            Self::Internal(why) => write!(formatter, "the gate failed: {why}"),
        }
    }
}

/// What was decided about an action, by which rule, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What is to happen.
    pub decision: Decision,
    /// The policy that decided.
    pub policy: Arc<str>,
    /// The rule's name, `<policy>#<n>` counted from 1, or `default`.
    pub rule: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// What to do instead, where the policy says.
    pub suggestion: Option<Arc<str>>,
    /// What the action amounts to.
    pub intent: Intent,
    /// The intent is not certain.
    pub unsure: bool,
    /// The stage that decided.
    pub stage: Stage,
    /// The policy only observes: recorded as it stands, but let through.
    pub observed: bool,
}

impl Verdict {
    /// A refusal by the gate itself, before or beside every policy.
    #[must_use]
    pub fn refusal(stage: Stage, policy: &str, reason: Reason) -> Self {
        Self {
            decision: Decision::Deny,
            policy: Arc::from(policy),
            rule: Arc::from(stage.as_str()),
            reason,
            suggestion: None,
            intent: Intent::Unknown,
            unsure: false,
            stage,
            observed: false,
        }
    }

    /// Whether the action goes through: allowed, or refused by a policy that
    /// only observes.
    #[must_use]
    pub fn lets_through(&self) -> bool {
        self.decision == Decision::Allow || self.observed
    }

    /// Whether the action counts to the limits of rate: what cannot be read, what nobody
    /// known has sent and what a limit refuses does not.
    #[must_use]
    pub fn takes_slot(&self) -> bool {
        match self.stage {
            Stage::Validation | Stage::Authentication => false,
            Stage::RateLimit => self.observed,
            _ => true,
        }
    }
}

/// The object in responses and in the output of `explain`.
impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("decision", self.decision.as_str())?;
        object.serialize_entry("policy", &*self.policy)?;
        object.serialize_entry("rule", &*self.rule)?;
        object.serialize_entry("reason", &self.reason.to_string())?;
        if let Some(suggestion) = &self.suggestion {
            object.serialize_entry("suggestion", &**suggestion)?;
        }
        object.serialize_entry("intent", self.intent.as_str())?;
        object.serialize_entry("stage", self.stage.as_str())?;
        object.end()
    }
}

/// A window that an action does not fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Until the action fits in; `None` where it never does.
    pub retry_after: Option<Duration>,
    /// Requests that would fit in now.
    pub remaining: u32,
    /// Until one more than these fits in.
    pub reset: Duration,
}

/// What is left of a rate limit, for callers that pace themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests that fit into any window.
    pub limit: u32,
    /// The window's length.
    pub window: Duration,
    /// Requests that fit in now.
    pub remaining: u32,
    /// When the oldest request leaves the window, and one more fits in, from now.
    pub reset: Duration,
}

/// What a refused caller is told: the verdict, and where to find it in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .verdict.reason)]
pub struct Denial {
    /// What was decided.
    pub verdict: Box<Verdict>,
    /// The audit row's id; `None` where the log could not be written.
    pub request_id: Option<String>,
    /// What is left of the limit that is nearest to being used up, where one
    /// counted the request, or of the one that refused it.
    pub quota: Option<Quota>,
}
