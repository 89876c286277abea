//! The decision on an action: a [`Verdict`], and its reason.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::intent::Intent;
use crate::terminal::brief;

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// Forward the action.
    Allow,
    /// Have a person decide.
    Ask,
    /// Refuse the action.
    Deny,
}

impl Decision {
    /// The name in policies and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// The stage of the pipeline that decided. Those after `Policy` are part of the public
/// vocabulary, but not used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The request is malformed.
    Validation,
    /// The sender is unidentified.
    Authentication,
    /// A rate limit is exceeded.
    RateLimit,
    /// A rule, the default, or the hours.
    Policy,
    /// A sequence of actions.
    Workflow,
    /// A person's approval.
    Approval,
    /// The content of a response.
    Response,
    /// A tool's definition differs from its pin.
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

/// Why a decision was made: all reasons the gate can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The text of a rule or default.
    Written(Arc<str>),
    /// A rule without a text.
    Rule(Decision),
    /// The default, without a text.
    NoRule(Decision),
    /// The tool's hints.
    Annotations(HintsReason),
    /// The condition `when` could not be evaluated.
    ConditionFailed(Arc<str>),
    /// Outside of the policy's hours or days.
    OutsideHours,
    /// A rate limit is exceeded.
    RateLimited {
        /// Maximum number of requests in a window.
        limit: u32,
        /// The window's length.
        window: Duration,
        /// Number of requests that the action counts as.
        requests: u32,
        /// What remains, and when there will be room.
        full: Full,
    },
    /// No key, or an unknown one.
    Unidentified(String),
    /// The agent is bound to another provider.
    BoundElsewhere {
        /// Its provider.
        bound_to: &'static str,
    },
    /// The message is ambiguous.
    Malformed(String),
    /// The decision could not be recorded, so nothing was forwarded.
    AuditUnavailable(String),
    /// The gate itself failed.
    Internal(String),
}

/// What a tool's hints say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HintsReason {
    /// `readOnlyHint: true`
    ReadOnly,
    /// `destructiveHint: false`
    NotDestructive,
    /// Destructive, by hint or by the specification's default.
    Destructive,
    /// The server gives no annotations for the tool.
    NoAnnotations,
    /// The server does not list the tool; with the most similar name, if any is similar.
    NotListed(Option<Arc<str>>),
}

impl Reason {
    /// What remains of the rate limit that refused, if one did.
    #[must_use]
    pub fn exhausted_quota(&self) -> Option<Quota> {
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
            Self::Annotations(hints) => hints.fmt(formatter),
            Self::ConditionFailed(error) => {
                write!(formatter, "the rule's condition could not be evaluated: {error}")
            }
            Self::OutsideHours => {
                formatter.write_str("outside the hours in which the policy allows requests")
            }
            Self::RateLimited { limit, window, requests, full } => {
                write_rate_limited(formatter, (*limit, *window), *requests, full)
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

impl fmt::Display for HintsReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => formatter.write_str("the server declares the tool read-only"),
            Self::NotDestructive => {
                formatter.write_str("the server declares the tool not destructive")
            }
            Self::Destructive => {
                formatter.write_str("the tool may destroy, by its hints or by default")
            }
            Self::NoAnnotations => formatter.write_str(
                "the server says nothing about what the tool does, so the worst is assumed",
            ),
            Self::NotListed(None) => formatter.write_str("the server does not list this tool"),
            Self::NotListed(Some(near)) => {
                let near = brief(near);
                write!(formatter, "the server does not list this tool; did you mean `{near}`?")
            }
        }
    }
}

fn write_rate_limited(
    formatter: &mut fmt::Formatter<'_>,
    (limit, window): (u32, Duration),
    requests: u32,
    full: &Full,
) -> fmt::Result {
    let window = window.as_secs();
    let Some(after) = full.retry_after.map(|after| after.as_secs_f64().ceil()) else {
        return write!(
            formatter,
            "this counts as {requests} requests, and the limit is {limit} in {window} seconds: it \
             can never pass"
        );
    };
    if requests == 1 {
        return write!(
            formatter,
            "{limit} requests in {window} seconds are used up; the next is free in {after} seconds"
        );
    }
    write!(
        formatter,
        "{} of {limit} requests in {window} seconds are left, and this counts as {requests}; there \
         is room for it in {after} seconds",
        full.remaining
    )
}

/// The decision about an action, with its origin and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// The policy it is from.
    pub policy: Arc<str>,
    /// The rule it is from: its name, or `<policy>#<n>` counted from 1, or `default`.
    pub rule: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// What to do instead, if the policy says.
    pub suggestion: Option<Arc<str>>,
    /// The classified intent.
    pub intent: Intent,
    /// Whether the intent is uncertain.
    pub unsure: bool,
    /// The stage that decided.
    pub stage: Stage,
    /// Whether the policy is in observe mode: the decision is recorded but not enforced.
    pub observed: bool,
}

impl Verdict {
    /// A refusal by the gate itself rather than a rule.
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

    /// Whether the action is forwarded: allowed, or refused only in observe mode.
    #[must_use]
    pub fn lets_through(&self) -> bool {
        self.decision == Decision::Allow || self.observed
    }

    /// Whether the action counts against rate limits. Ambiguous, unauthenticated and
    /// rate-limited requests do not.
    #[must_use]
    pub fn takes_slot(&self) -> bool {
        match self.stage {
            Stage::Validation | Stage::Authentication => false,
            Stage::RateLimit => self.observed,
            _ => true,
        }
    }
}

/// The public form in responses and in the output of `explain`.
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

/// A rate-limit window that an action does not fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Time until the action fits; `None` if it never does.
    pub retry_after: Option<Duration>,
    /// Requests that would fit now.
    pub remaining: u32,
    /// Time until one more fits.
    pub reset: Duration,
}

/// What remains of a rate limit, for clients that pace themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Maximum number of requests in a window.
    pub limit: u32,
    /// The window's length.
    pub window: Duration,
    /// Requests that fit now.
    pub remaining: u32,
    /// Time until the oldest request leaves the window, so that one more fits.
    pub reset: Duration,
}

/// A refusal as reported to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .verdict.reason)]
pub struct Denial {
    /// The verdict.
    pub verdict: Box<Verdict>,
    /// Id of the audit row; `None` if it could not be written.
    pub request_id: Option<String>,
    /// What remains of the rate limit that refused the request, or else of the one nearest to
    /// exhaustion that counted it.
    pub quota: Option<Quota>,
}
