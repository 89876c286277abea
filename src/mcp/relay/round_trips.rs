//! The answers that a client sends with a request (2026-07-28): where what servers ask is
//! judged, only to questions that it was given.

use std::sync::Arc;

use super::Relay;
use super::inward::Judged;
use crate::mcp::envelope::{Content, Fault, Message};
use crate::mcp::reply;
use crate::mcp::round_trips::RoundTrip;
use crate::policy::Mode;
use crate::verdict::Reason;

/// What is wrong with an answer to a question that is not open.
const UNASKED: &str = "`inputResponses` answers what the server has not asked for this request, \
                       or what is answered already; AgentGate knows of no such question";

/// What the client may do.
const AGAIN: &str = "Send the request without `inputResponses` and `requestState`: the server \
                     then asks anew.";

impl Relay {
    /// What a message of the client's is among several that are the same but for their
    /// answers, where that has to be known; takes the questions that it answers.
    pub(super) fn begin_round_trip(
        &self,
        message: &Message<'_>,
    ) -> Result<Option<RoundTrip>, Fault> {
        let Some(policy) = self.gate.policy_on_servers() else { return Ok(None) };
        let enforced = policy.judges_servers() == Some(Mode::Enforce);
        match RoundTrip::of(message) {
            Ok(Some(mut round_trip)) if !self.state().questions.answer(&round_trip.answers) => {
                round_trip.answers.clear();
                if enforced { Err(Fault::request(UNASKED)) } else { Ok(Some(round_trip)) }
            }
            // What only observes changes nothing.
            Err(_) if !enforced => Ok(None),
            other => other,
        }
    }

    /// Refuses and records a message that answers what it must not.
    pub(super) async fn refuse_round_trip(&self, message: &Message<'_>, fault: Fault) -> Judged {
        let (method, call) = match &message.content {
            Content::Call(call) => ("tools/call", Some(call)),
            Content::Other(other) => (other.method.as_str(), None),
            Content::Response { .. } => ("", None),
        };
        if fault.what != UNASKED {
            return self.unreadable(message.id, method, fault).await;
        }
        let mut denial = self.record_malformed(method, &fault).await;
        if matches!(denial.verdict.reason, Reason::Malformed(_)) {
            denial.verdict.suggestion = Some(Arc::from(AGAIN));
        }
        let id = message.id;
        Judged::Refused(match call {
            Some(call) => Some(reply::refused_call(id, call, &denial)),
            None => id.map(|_| reply::refused_method(id, method, &denial)),
        })
    }

    /// A request was not passed on, or failed: its questions wait for another answer.
    pub(super) fn reopen_questions(&self, round_trip: Option<RoundTrip>) {
        if let Some(round_trip) = round_trip.filter(|it| !it.answers.is_empty()) {
            self.state().questions.open(round_trip.answers);
        }
    }
}
