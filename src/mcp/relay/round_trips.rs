//! A client's `inputResponses` (2026-07-28). If servers' requests are judged, only those to input
//! requests that it was sent may pass; else a client could send the server the response to a
//! request that was refused.

use std::sync::Arc;

use super::Relay;
use super::inward::Judged;
use crate::mcp::envelope::{Content, Fault, Message};
use crate::mcp::reply;
use crate::mcp::round_trips::RoundTrip;
use crate::policy::Mode;
use crate::verdict::Reason;

/// Why a message is refused because of its input responses.
#[derive(Debug)]
pub(super) enum RoundTripError {
    /// It is ambiguous which input requests they are for.
    Ambiguous(Fault),
    /// An input request is not open.
    NotAsked,
}

/// Reason for [`RoundTripError::NotAsked`].
const NOT_ASKED: &str = "`inputResponses` answers what the server has not asked for this request, \
                       or what is answered already; AgentGate knows of no such question";

/// Advice for the client.
const RESEND: &str = "Send the request without `inputResponses` and `requestState`: the server \
                     then asks anew.";

impl Relay {
    /// The round of a client's message; `None` if servers' requests are not judged. Closes the
    /// input requests that it responds to.
    ///
    /// # Errors
    /// [`RoundTripError`] if it must be refused.
    pub(super) fn begin_round_trip(
        &self,
        message: &Message<'_>,
    ) -> Result<Option<RoundTrip>, RoundTripError> {
        let Some(policy) = self.gate.policy_for_servers() else { return Ok(None) };
        let enforced = policy.server_message_mode() == Some(Mode::Enforce);
        match RoundTrip::of(message) {
            Ok(Some(mut round_trip))
                if !self.state().input_requests.take(&round_trip.responses) =>
            {
                round_trip.responses.clear();
                if enforced { Err(RoundTripError::NotAsked) } else { Ok(Some(round_trip)) }
            }
            // In observe mode nothing is refused.
            Err(_) if !enforced => Ok(None),
            other => other.map_err(RoundTripError::Ambiguous),
        }
    }

    /// Refuses and records a message because of its input responses.
    pub(super) async fn refuse_round_trip(
        &self,
        message: &Message<'_>,
        error: RoundTripError,
    ) -> Judged {
        let (method, call) = match &message.content {
            Content::Call(call) => ("tools/call", Some(call)),
            Content::Other(other) => (other.method.as_str(), None),
            Content::Response { .. } => ("", None),
        };
        if let RoundTripError::Ambiguous(fault) = error {
            return self.refuse_fault(message.id, method, fault).await;
        }
        let mut denial = self.record_malformed(method, &Fault::request(NOT_ASKED)).await;
        if matches!(denial.verdict.reason, Reason::Malformed(_)) {
            denial.verdict.suggestion = Some(Arc::from(RESEND));
        }
        let id = message.id;
        Judged::Refused(match call {
            Some(call) => Some(reply::refused_call(id, call, &denial)),
            None => id.map(|_| reply::refused_method(id, method, &denial)),
        })
    }

    /// Reopens the input requests of a request that was not passed on, or failed.
    pub(super) fn reopen_input_requests(&self, round_trip: Option<RoundTrip>) {
        if let Some(round_trip) = round_trip.filter(|it| !it.responses.is_empty()) {
            self.state().input_requests.open(round_trip.responses);
        }
    }
}
