//! What every request goes through: decide, record, and only then create a [`Permit`], which
//! alone opens the way to the server.

pub mod escalate;
mod lookalike;
pub mod metrics;
pub mod pipeline;
pub mod refusals;
#[cfg(test)]
mod tests;
mod unauthenticated;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::action::{Action, Payload, Target, Transport};
use crate::intent::{self, Intent};
use crate::policy::{Mode, Policy, annotations};
use crate::rate::{Demand, Usage};
use crate::store::audit::{Completion, Draft, Outcome, Recorded, RowId};
use crate::store::{Store, StoreError, redact};
use crate::verdict::{Decision, Denial, Quota, Reason, Stage, Verdict};

use escalate::Escalator;
use metrics::{InFlight, Metrics};
use pipeline::{Facts, decide};

/// What happens to an allowed action that cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditFailure {
    /// Deny it.
    #[default]
    Refuse,
    /// Forward it unrecorded: an explicit opt-out.
    Allow,
}

/// Combines policy and audit log; the only way to obtain a [`Permit`].
#[derive(Debug, Clone)]
pub struct Gate {
    policy: Arc<ArcSwap<Policy>>,
    store: Store,
    audit_failure: AuditFailure,
    hooks: Hooks,
}

/// Components notified of each decision. They cannot change it.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// Counts decisions, responses and latencies.
    pub metrics: Option<Arc<Metrics>>,
    /// Queues actions of uncertain intent for a person.
    pub escalator: Option<Arc<Escalator>>,
}

/// Proof that an action was allowed and recorded. Owns the message that was judged; only
/// [`Gate::admit`] creates one.
#[derive(Debug)]
#[must_use = "an admitted action is recorded as forwarded"]
pub struct Permit<M> {
    message: M,
    receipt: Receipt,
}

/// Links a forwarded action to its audit row, so that its result can be added.
#[derive(Debug, Clone)]
pub struct Receipt {
    row: Option<RowId>,
    quota: Option<Quota>,
    is_call: bool,
    sent: Instant,
    /// Time from sending to the start of the answer, if [`Receipt::answered`] was called.
    answered: Option<Duration>,
    in_flight: Option<Arc<InFlight>>,
}

impl Gate {
    /// A gate that always decides by the current content of `policy`.
    #[must_use]
    pub fn new(policy: Arc<ArcSwap<Policy>>, store: Store, audit_failure: AuditFailure) -> Self {
        Self { policy, store, audit_failure, hooks: Hooks::default() }
    }

    /// The same gate with `hooks` in place of its own.
    #[must_use]
    pub fn with_hooks(self, hooks: Hooks) -> Self {
        Self { hooks, ..self }
    }

    /// The same gate with another policy.
    #[must_use]
    pub fn with_policy(&self, policy: Arc<ArcSwap<Policy>>) -> Self {
        Self { policy, ..self.clone() }
    }

    /// The current policy.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The current policy, if it has rules about requests from servers to clients.
    #[must_use]
    pub fn policy_for_servers(&self) -> Option<Arc<Policy>> {
        let policy = self.policy.load();
        policy.server_message_mode().is_some().then(|| arc_swap::Guard::into_inner(policy))
    }

    /// Whether a server's message that cannot be judged has to be refused.
    #[must_use]
    pub fn enforces_on_servers(&self) -> bool {
        self.policy.load().server_message_mode() == Some(Mode::Enforce)
    }

    /// Whether the policy denies `action` whatever its arguments, so that it need not be offered.
    /// Not recorded.
    #[must_use]
    pub fn never_admits(&self, action: &Action) -> bool {
        pipeline::never_admits(action, &self.policy())
    }

    /// Decides about `action` and records the decision. If it is allowed, the permit contains
    /// `message`, unchanged.
    ///
    /// # Errors
    /// The [`Denial`] to send to the caller: the pipeline refused the action, or the decision
    /// could not be recorded.
    pub async fn admit<M>(&self, action: Arc<Action>, message: M) -> Result<Permit<M>, Denial> {
        self.admit_by(self.policy(), action, message).await
    }

    /// [`Gate::admit`] by a `policy` that the caller has already consulted, so that a policy
    /// swapped in meanwhile does not judge half of a request.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub async fn admit_by<M>(
        &self,
        policy: Arc<Policy>,
        action: Arc<Action>,
        message: M,
    ) -> Result<Permit<M>, Denial> {
        let judge = {
            let (action, policy) = (Arc::clone(&action), Arc::clone(&policy));
            move |usage| judge(&action, &policy, usage)
        };
        let began = Instant::now();
        let requests = if policy.limits().is_empty() { 1 } else { intent::requests(&action) };
        let demand = Demand { limits: policy.limits(), requests };
        let recorded = self.store.record_all(&action.agent, demand, judge).await;
        self.hooks.on_decision(&action, recorded.as_ref().ok(), began.elapsed());
        match recorded {
            Ok((row, verdict)) if verdict.lets_through() => {
                Ok(self.permit(&action, message, Some(row)))
            }
            Ok((row, verdict)) => Err(denial(&action, verdict, Some(row))),
            Err(error) => self.unrecorded(&action, &policy, message, &error),
        }
    }

    fn permit<M>(&self, action: &Action, message: M, row: Option<Recorded>) -> Permit<M> {
        let in_flight = self.hooks.metrics.as_ref().map(|metrics| metrics.sent(action));
        let in_flight = in_flight.map(Arc::new);
        let (quota, row) = (row.as_ref().and_then(|row| row.quota), row.map(|row| row.id));
        let is_call = matches!(action.target, Target::Tool(_));
        let sent = Instant::now();
        let receipt = Receipt { row, quota, is_call, sent, answered: None, in_flight };
        Permit { message, receipt }
    }

    /// Counts an unauthenticated request for `server` that has no audit row of its own.
    fn count_unauthenticated(&self, transport: Transport, server: &str) {
        if let Some(metrics) = &self.hooks.metrics {
            metrics.unauthenticated(transport, server);
        }
    }

    /// Adds the result of a forwarded action to its audit row, asynchronously. Errors are
    /// logged.
    pub fn release(&self, receipt: &Receipt, outcome: Outcome, status: String) {
        let upstream = receipt.answered.unwrap_or_else(|| receipt.sent.elapsed());
        if let Some(in_flight) = &receipt.in_flight {
            in_flight.answered(outcome, &status, upstream);
        }
        if let Some(row) = &receipt.row {
            self.store.complete(row, Completion { outcome, upstream, status });
        }
    }

    fn unrecorded<M>(
        &self,
        action: &Action,
        policy: &Policy,
        message: M,
        error: &StoreError,
    ) -> Result<Permit<M>, Denial> {
        tracing::error!(%error, "a decision could not be recorded");
        let verdict = decide_or_refuse(action, policy, &Facts::default());
        if !verdict.lets_through() {
            return Err(denial(action, verdict, None));
        }
        match self.audit_failure {
            // `Undecided` means that deciding panicked: the log is fine, and the action must
            // not pass.
            AuditFailure::Allow if !matches!(error, StoreError::Undecided) => {
                Ok(self.permit(action, message, None))
            }
            AuditFailure::Allow | AuditFailure::Refuse => {
                let reason = Reason::AuditUnavailable(error.to_string());
                Err(denial(action, failed(reason, verdict.intent), None))
            }
        }
    }
}

impl Hooks {
    /// `recorded` is `None` if the decision could not be recorded.
    fn on_decision(&self, action: &Action, recorded: Option<&(Recorded, Verdict)>, took: Duration) {
        if let Some(metrics) = &self.metrics {
            metrics.decided(action, recorded.map(|(_, verdict)| verdict), took);
        }
        if let Some(escalator) = &self.escalator
            && let Some((row, verdict)) = recorded
            // Refusals before the policy stage did not depend on the intent.
            && verdict.stage == Stage::Policy
            && verdict.unsure
        {
            escalator.raise(action, &row.id);
        }
    }
}

fn judge(action: &Action, policy: &Policy, usage: Vec<Usage>) -> (Draft, Verdict) {
    let started = Instant::now();
    let verdict = decide_or_refuse(action, policy, &Facts { usage });
    let draft = draft(action, policy, &verdict, started.elapsed());
    (draft, verdict)
}

/// A panic while deciding refuses only this action.
fn decide_or_refuse(action: &Action, policy: &Policy, facts: &Facts) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| decide(action, policy, facts))).unwrap_or_else(|_| {
        failed(Reason::Internal("a panic while deciding".to_owned()), Intent::Unknown)
    })
}

fn failed(reason: Reason, intent: Intent) -> Verdict {
    Verdict { intent, ..Verdict::refusal(Stage::Validation, "gate", reason) }
}

fn draft(action: &Action, policy: &Policy, verdict: &Verdict, took: Duration) -> Draft {
    let target = &action.target;
    let server = target.server().map_or_else(|| target.server_or_provider().into(), Arc::clone);
    let limits = policy.limits().iter().filter(|_| verdict.takes_slot());
    let slots = limits.map(|limit| Arc::clone(&limit.policy));
    let mut takes_slot_of: Vec<_> = slots.collect();
    takes_slot_of.dedup();
    let method = match target {
        Target::Method(request) => redact::text(&request.method).into_owned(),
        _ => target.method().to_owned(),
    };
    let payload = action.payload();
    Draft {
        at: action.at,
        session: Arc::clone(&action.session),
        agent: Arc::clone(&action.agent.name),
        transport: action.transport,
        server,
        method,
        tool: redact::subject(target.subject()).into_owned(),
        intent: verdict.intent,
        decision: verdict.decision,
        outcome: outcome(verdict),
        policy: Arc::clone(&verdict.policy),
        rule: Arc::clone(&verdict.rule),
        reason: redact::text(&verdict.reason.to_string()).into_owned(),
        stage: verdict.stage,
        args: payload.as_ref().map(redact::payload).unwrap_or_default(),
        canonical_args: payload.as_ref().map(Payload::canonical).unwrap_or_default(),
        decision_took: took,
        observing: verdict.observed,
        takes_slot_of,
    }
}

fn outcome(verdict: &Verdict) -> Outcome {
    match (verdict.decision, verdict.observed) {
        (Decision::Allow, _) => Outcome::Forwarded,
        (_, true) => Outcome::Observed,
        (_, false) => Outcome::Refused,
    }
}

/// The denial for the caller. For `ask`, suggests a rule that would allow the action.
fn denial(action: &Action, mut verdict: Verdict, row: Option<Recorded>) -> Denial {
    if verdict.decision == Decision::Ask && verdict.suggestion.is_none() {
        verdict.suggestion = how_to_allow(action, &verdict).map(Arc::from);
    }
    let counted = row.as_ref().and_then(|row| row.quota);
    let quota = verdict.reason.exhausted_quota().or(counted);
    let verdict = Box::new(verdict);
    Denial { verdict, request_id: row.map(|row| row.id.as_str().to_owned()), quota }
}

fn how_to_allow(action: &Action, verdict: &Verdict) -> Option<String> {
    // JSON strings are YAML strings, so a hostile name cannot break out of the rule.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let rule = match &action.target {
        Target::Tool(call) => {
            format!("server: {}, tool: {}", quoted(&call.server), quoted(&call.tool))
        }
        Target::Method(request) => {
            format!("server: {}, methods: [{}]", quoted(&request.server), quoted(&request.method))
        }
        Target::Http(request) => format!(
            "provider: {}, resource: {}, methods: [{}]",
            request.provider.as_str(),
            quoted(&request.path),
            quoted(&request.method)
        ),
        Target::Malformed(_) => return None,
    };
    let Verdict { policy: decided, rule: by, .. } = verdict;
    // The first matching rule wins, so the new one must come earlier. The file's path is left
    // out: the agent may be able to write to it.
    let place = if annotations::built_in_names().any(|built_in| *built_in == **decided) {
        format!("in a policy file that comes before `{decided}` (--policy FILE --policy {decided})")
    } else if **by == *"default" {
        format!("in the policy `{decided}`, or in one that is named before it")
    } else {
        format!("above `{by}` in the policy `{decided}`, or in one named before it")
    };
    Some(format!(
        "Nobody can be asked here. A person can allow it with this rule {place}: \
         {{ {rule}, effect: allow }}"
    ))
}

// === impl Receipt ===

impl Receipt {
    /// The id of the audit row; `None` if the action is not recorded.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.row.as_ref().map(RowId::as_str)
    }

    /// Whether the action was a tool call.
    #[must_use]
    pub fn is_call(&self) -> bool {
        self.is_call
    }

    /// Marks the start of the answer; the time after it does not count as upstream latency.
    pub fn answered(&mut self) {
        self.answered = Some(self.sent.elapsed());
    }

    /// What remains of the rate limit nearest to exhaustion, if the action counts against one.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        self.quota
    }
}

impl<M> Permit<M> {
    /// Splits the permit into the message to send and the receipt for its result.
    pub fn redeem(self) -> (M, Receipt) {
        (self.message, self.receipt)
    }
}
