//! Requests of the server to the client. If a rule refers to them, they are decided, and answered
//! here if refused. Otherwise they pass unread, and only their ids are remembered, so that each
//! gets one response.

use std::sync::Arc;

use bytes::Bytes;

use super::Relay;
use super::cleared::Cleared;
use super::inward::Judged;
use super::outward::{AnsweredIds, Disposition, Processed, passed};
use crate::action::{McpRequest, Target};
use crate::gate::Receipt;
use crate::json::Object;
use crate::mcp::answer::{self, Message};
use crate::mcp::envelope::{Content, Fault, Layout, Other, Unreadable, likely_method};
use crate::mcp::open_requests::{self, Fingerprint, Registration, fingerprint};
use crate::mcp::pending::Key;
use crate::mcp::reply::{self, Form, Reply, Responder};
use crate::mcp::round_trips::input_requests;
use crate::mcp::scan::{is_id, outline};
use crate::mcp::server_requests::{self, ServerRequest};
use crate::policy::{Mode, Policy};
use crate::store::audit::Outcome;
use crate::verdict::Denial;

/// Error for a response that matches no open request.
const NO_OPEN_REQUEST: &str = "it answers no request of the server's that waits for an answer";

/// Error for a request with the id of another open one.
const ID_IN_USE: &str = "the server uses the id of a request that has no answer yet for another";

/// A request that the client has responded to.
pub(super) struct AnsweredRequest {
    id: Key,
    request: open_requests::Answered,
    /// Whether the response is an error.
    is_error: bool,
}

/// A message from the server that is being judged.
struct Judging<'m> {
    policy: &'m Arc<Policy>,
    raw: &'m [u8],
    /// The id, if it is a request.
    id: Option<&'m [u8]>,
    /// Whether what cannot be judged is refused.
    enforced: bool,
}

impl Relay {
    /// Updates the state from a line of the server. If the policy has rules about servers'
    /// requests, judges it.
    pub(super) async fn process(&self, line: &Bytes) -> Processed {
        let Some(policy) = self.gate.policy_for_servers() else {
            let mut processed = self.observe(line);
            if processed.passed.is_some() {
                for (id, fingerprint) in processed.server_requests.drain(..) {
                    self.state().open_requests.open(id, fingerprint, None);
                }
            }
            return processed;
        };
        Box::pin(self.process_judging(&policy, line)).await
    }

    async fn process_judging(&self, policy: &Arc<Policy>, line: &Bytes) -> Processed {
        let messages = answer::messages(line);
        let mut processed = Processed::default();
        let (mut answered, mut dispositions) = (AnsweredIds::of(&messages), Vec::new());
        for message in &messages {
            let disposition = match answered.is_repeated(message) {
                true => Disposition::Drop,
                false => self.process_message(message, &mut processed),
            };
            dispositions.push(match disposition {
                Disposition::Drop => Disposition::Drop,
                disposition => self
                    .judge_server_message(policy, message, &mut processed)
                    .await
                    .unwrap_or(disposition),
            });
        }
        processed.passed = passed(line, &messages, dispositions);
        processed
    }

    /// The [`Disposition`] of a message that is refused; `None` if it is allowed.
    async fn judge_server_message(
        &self,
        policy: &Arc<Policy>,
        raw: &[u8],
        processed: &mut Processed,
    ) -> Option<Disposition> {
        let enforced = policy.server_message_mode() == Some(Mode::Enforce);
        let message = match server_requests::read(raw, self.framing) {
            Ok(message) => message?,
            Err(fault) if enforced => {
                return Some(self.refuse_server_message(raw, fault, processed).await);
            }
            // In observe mode nothing is refused.
            Err(_) => {
                if let Message::Request { id } = answer::single(raw) {
                    self.state().open_requests.open(Key::new(id), fingerprint(raw), None);
                }
                return None;
            }
        };
        let requests = &message.requests;
        let message = &message.message;
        let judging = Judging { policy, raw, id: message.request_id(), enforced };
        match &message.content {
            Content::Response { .. } => {
                let id = message.id.unwrap_or(b"null");
                self.judge_within(judging, id, requests, processed).await
            }
            Content::Other(other) => self.judge_request(judging, other, requests, processed).await,
            Content::Call(_) if enforced => {
                let fault = Fault::request("a server calls no tools of its client");
                Some(self.refuse_server_message(raw, fault, processed).await)
            }
            Content::Call(_) => None,
        }
    }

    /// Judges a request or notification of the server.
    async fn judge_request(
        &self,
        judging: Judging<'_>,
        other: &Other<'_>,
        within: &[ServerRequest],
        processed: &mut Processed,
    ) -> Option<Disposition> {
        let fingerprint = fingerprint(judging.raw);
        let key = judging.id.map(Key::new);
        if let (Some(key), true) = (&key, judging.enforced) {
            // Bound first, so that the lock is not held across the await.
            let registration = self.state().open_requests.begin(key, fingerprint);
            match registration {
                Registration::New => {}
                Registration::Refused => return Some(Disposition::Drop),
                Registration::IdInUse => {
                    self.record_malformed(&other.method, &Fault::request(ID_IN_USE)).await;
                    return Some(Disposition::Drop);
                }
            }
        }
        let own = match is_judged(judging.policy, &other.method).then(|| other.params()) {
            Some(Ok(params)) => {
                Some(ServerRequest { method: other.method.clone(), params, name: None })
            }
            Some(Err(fault)) => {
                return Some(self.refuse_server_message(judging.raw, fault, processed).await);
            }
            None => None,
        };
        match self.decide_about(judging.policy, own.iter().chain(within)).await {
            Ok(receipts) => {
                self.state().input_requests.open(input_requests(judging.raw, within, None));
                if let Some(key) = key {
                    let receipt = receipts.into_iter().next().filter(|_| own.is_some());
                    self.state().open_requests.open(key, fingerprint, receipt);
                }
                None
            }
            Err((method, denial)) => {
                if let (Some(id), Some(key)) = (judging.id, key) {
                    self.state().open_requests.refuse(key, fingerprint);
                    processed.replies.push(reply::refused_method(Some(id), &method, &denial));
                }
                Some(Disposition::Drop)
            }
        }
    }

    /// Judges what the server asks for within a response.
    async fn judge_within(
        &self,
        judging: Judging<'_>,
        id: &[u8],
        requests: &[ServerRequest],
        processed: &mut Processed,
    ) -> Option<Disposition> {
        let answers_call = processed.answers_call;
        let (method, denial) = match self.decide_about(judging.policy, requests.iter()).await {
            Ok(_) => {
                let opened = input_requests(judging.raw, requests, processed.round_trip.as_ref());
                self.state().input_requests.open(opened);
                return None;
            }
            Err(refused) => refused,
        };
        let result = answer::single(judging.raw);
        let is_stateless = matches!(
            result,
            Message::Response { answer: answer::Answer::Result(shape), .. }
                if shape.result_type.is_some()
        );
        let form = match (answers_call, is_stateless) {
            (true, true) => Form::StatelessResult,
            (true, false) => Form::Result,
            (false, _) => Form::Error,
        };
        let answer = reply::refused_within(id, &method, form, &denial);
        Some(replace(judging.raw, answer, processed))
    }

    /// Judges each request that a rule refers to, up to the first that is refused; then none of
    /// them passes.
    async fn decide_about<'a>(
        &self,
        policy: &Arc<Policy>,
        requests: impl Iterator<Item = &'a ServerRequest>,
    ) -> Result<Vec<Receipt>, (String, Denial)> {
        let mut receipts: Vec<Receipt> = Vec::new();
        for ServerRequest { method, params, .. } in requests {
            if !is_judged(policy, method) {
                continue;
            }
            let target = self.target(method, params.clone());
            match self.gate.admit_by(Arc::clone(policy), self.action(target), ()).await {
                Ok(permit) => receipts.push(permit.redeem().1),
                Err(denial) => {
                    let status = "what was asked beside it was refused";
                    receipts.iter().for_each(|receipt| self.fail_receipt(receipt, status));
                    return Err((method.clone(), denial));
                }
            }
        }
        Ok(receipts)
    }

    fn target(&self, method: &str, params: Object) -> Target {
        let (server, method) = (Arc::clone(&self.settings.server), method.to_owned());
        Target::Method(McpRequest { server, method, params })
    }

    /// Refuses and records an ambiguous message. Responds to whoever sent the request, or waits
    /// for the response.
    async fn refuse_server_message(
        &self,
        raw: &[u8],
        fault: Fault,
        processed: &mut Processed,
    ) -> Disposition {
        tracing::warn!(%fault, "a message of the server's is not passed on");
        let outline = outline(raw);
        let denial = self.record_malformed(likely_method(raw).unwrap_or_default(), &fault).await;
        if outline.has_method {
            if let Some(id) = outline.id
                && self.register_refused(Key::new(&id), fingerprint(raw))
            {
                let message = Unreadable::answering(Some(&id), fault);
                processed.replies.extend(reply::unreadable(&message, &denial));
            }
            return Disposition::Drop;
        }
        // The id under which its request was removed from the pending ones, even if it is in
        // doubt.
        let id = match answer::single(raw) {
            Message::Response { id, .. } if is_id(id) => Some(id.to_vec()),
            _ => outline.id.filter(|_| outline.is_response),
        };
        match id {
            Some(id) => replace(raw, reply::withheld(&id, &fault, &denial), processed),
            None => Disposition::Drop,
        }
    }

    /// Whether to respond to a refused request: not if it was before, or if the client has an
    /// open request with this id.
    fn register_refused(&self, id: Key, fingerprint: Fingerprint) -> bool {
        let mut state = self.state();
        let is_new = match state.open_requests.begin(&id, fingerprint) {
            Registration::New => true,
            // `judge_request` got as far as registering it.
            Registration::IdInUse => state.open_requests.is_judged(&id, fingerprint),
            Registration::Refused => false,
        };
        if is_new {
            state.open_requests.refuse(id, fingerprint);
        }
        is_new
    }

    /// Judges a response of the client: if servers' requests are judged, only one response to
    /// each open request passes.
    pub(super) async fn judge_answer(
        &self,
        id: Option<&[u8]>,
        is_error: bool,
        undecided: Option<Cleared>,
    ) -> Judged {
        let Some(cleared) = undecided else { return Judged::Refused(None) };
        let key = id.map(Key::new);
        let request = key.as_ref().and_then(|key| self.state().open_requests.answer(key));
        let is_of_none = is_error && id.is_none_or(|id| id == b"null");
        match (key, request) {
            (Some(id), Some(request)) => {
                Judged::Answers(cleared, Some(AnsweredRequest { id, request, is_error }))
            }
            _ if is_of_none || !self.gate.enforces_on_servers() => Judged::Answers(cleared, None),
            // Servers' ids are easy to guess.
            _ => self.refuse_fault(None, "", Fault::request(NO_OPEN_REQUEST)).await,
        }
    }

    /// Completes requests whose responses were forwarded.
    pub(super) fn complete_requests(&self, answered: Vec<AnsweredRequest>) {
        for AnsweredRequest { request, is_error, .. } in answered {
            let Some(receipt) = request.receipt else { continue };
            match is_error {
                true => self.fail_receipt(&receipt, "error"),
                false => self.gate.release(&receipt, Outcome::Forwarded, "ok".to_owned()),
            }
        }
    }

    /// Reopens requests whose responses were not forwarded.
    pub(super) fn reopen_requests(&self, answered: Vec<AnsweredRequest>) {
        for AnsweredRequest { id, request, .. } in answered {
            self.state().open_requests.reopen(id, request);
        }
    }
}

/// Whether a rule refers to `method`, and it is one that servers send. Methods that clients
/// send, too (`ping`), are judged only for them.
fn is_judged(policy: &Policy, method: &str) -> bool {
    policy.concerns_method(method) && !McpRequest::is_of_clients(method)
}

/// Replaces the response `raw` (which may be a line) by `answer`.
fn replace(raw: &[u8], answer: Reply, processed: &mut Processed) -> Disposition {
    let answer = reply::lines(&[answer], Layout::Single);
    processed.metadata.rows.extend(answer.metadata.rows);
    processed.metadata.responder = Responder::Gate;
    let end: &[u8] = if raw.ends_with(b"\n") { b"\n" } else { b"" };
    Disposition::Replace([answer.bytes.trim_ascii_end(), end].concat())
}
