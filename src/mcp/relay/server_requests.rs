//! What the server asks of the client: decided where a rule speaks of it, and answered
//! here where it is refused. Where none does, it passes unread, and only its ids are
//! kept, so that each request gets one answer.

use std::sync::Arc;

use bytes::Bytes;

use super::Relay;
use super::cleared::Cleared;
use super::inward::Judged;
use super::outward::{Answered, Fate, Heard, passed};
use crate::action::{McpRequest, Target};
use crate::gate::Receipt;
use crate::json::Object;
use crate::mcp::answer::{self, Message};
use crate::mcp::envelope::{Content, Fault, Other, Unreadable, likely_method};
use crate::mcp::open_requests::{self, Fingerprint, Place, fingerprint};
use crate::mcp::pending::Key;
use crate::mcp::reply::{self, Form, Reply, Speaker};
use crate::mcp::round_trips::questions;
use crate::mcp::scan::{is_id, outline};
use crate::mcp::server_requests::{self, Asked};
use crate::policy::{Mode, Policy};
use crate::store::audit::Outcome;
use crate::verdict::Denial;

/// Error for a response that matches no open request.
const UNASKED: &str = "it answers no request of the server's that waits for an answer";

/// Error for a request with the id of another open one.
const TAKEN: &str = "the server uses the id of a request that has no answer yet for another";

/// A request that the client has responded to.
pub(super) struct Settled {
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
    pub(super) async fn hear(&self, line: &Bytes) -> Heard {
        let Some(policy) = self.gate.policy_on_servers() else {
            let mut heard = self.observe(line);
            if heard.passed.is_some() {
                for (id, fingerprint) in heard.asks.drain(..) {
                    self.state().open_requests.open(id, fingerprint, None);
                }
            }
            return heard;
        };
        Box::pin(self.hear_judging(&policy, line)).await
    }

    async fn hear_judging(&self, policy: &Arc<Policy>, line: &Bytes) -> Heard {
        let messages = answer::messages(line);
        let mut heard = Heard::default();
        let (mut answered, mut fates) = (Answered::of(&messages), Vec::new());
        for message in &messages {
            let fate = match answered.again(message) {
                true => Fate::Swallowed,
                false => self.settle(message, &mut heard),
            };
            fates.push(match fate {
                Fate::Swallowed => Fate::Swallowed,
                fate => self.judge_said(policy, message, &mut heard).await.unwrap_or(fate),
            });
        }
        heard.passed = passed(line, &messages, fates);
        heard
    }

    /// The [`Fate`] of a message that is refused; `None` if it is allowed.
    async fn judge_said(
        &self,
        policy: &Arc<Policy>,
        raw: &[u8],
        heard: &mut Heard,
    ) -> Option<Fate> {
        let enforced = policy.judges_servers() == Some(Mode::Enforce);
        let said = match server_requests::read(raw, self.framing) {
            Ok(said) => said?,
            Err(fault) if enforced => return Some(self.refuse_said(raw, fault, heard).await),
            // In observe mode nothing is refused.
            Err(_) => {
                if let Message::Request { id } = answer::single(raw) {
                    self.state().open_requests.open(Key::new(id), fingerprint(raw), None);
                }
                return None;
            }
        };
        let judging = Judging { policy, raw, id: said.message.asking(), enforced };
        match &said.message.content {
            Content::Response { .. } => {
                let id = said.message.id.unwrap_or(b"null");
                self.judge_within(judging, id, &said.asked, heard).await
            }
            Content::Other(other) => self.judge_request(judging, other, &said.asked, heard).await,
            Content::Call(_) if enforced => {
                let fault = Fault::request("a server calls no tools of its client");
                Some(self.refuse_said(raw, fault, heard).await)
            }
            Content::Call(_) => None,
        }
    }

    /// Judges a request or notification of the server.
    async fn judge_request(
        &self,
        judging: Judging<'_>,
        other: &Other<'_>,
        within: &[Asked],
        heard: &mut Heard,
    ) -> Option<Fate> {
        let fingerprint = fingerprint(judging.raw);
        let key = judging.id.map(Key::new);
        if let (Some(key), true) = (&key, judging.enforced) {
            // Bound first, so that the lock is not held across the await.
            let place = self.state().open_requests.begin(key, fingerprint);
            match place {
                Place::New => {}
                Place::Refused => return Some(Fate::Swallowed),
                Place::Taken => {
                    self.record_malformed(&other.method, &Fault::request(TAKEN)).await;
                    return Some(Fate::Swallowed);
                }
            }
        }
        let own = match is_judged(judging.policy, &other.method).then(|| other.params()) {
            Some(Ok(params)) => Some(Asked { method: other.method.clone(), params, name: None }),
            Some(Err(fault)) => return Some(self.refuse_said(judging.raw, fault, heard).await),
            None => None,
        };
        match self.decide_about(judging.policy, own.iter().chain(within)).await {
            Ok(receipts) => {
                self.state().questions.open(questions(judging.raw, within, None));
                if let Some(key) = key {
                    let receipt = receipts.into_iter().next().filter(|_| own.is_some());
                    self.state().open_requests.open(key, fingerprint, receipt);
                }
                None
            }
            Err((method, denial)) => {
                if let (Some(id), Some(key)) = (judging.id, key) {
                    self.state().open_requests.refuse(key, fingerprint);
                    heard.replies.push(reply::refused_method(Some(id), &method, &denial));
                }
                Some(Fate::Swallowed)
            }
        }
    }

    /// Judges what the server asks for within a response.
    async fn judge_within(
        &self,
        judging: Judging<'_>,
        id: &[u8],
        asked: &[Asked],
        heard: &mut Heard,
    ) -> Option<Fate> {
        let answers_call = heard.answers_call;
        let (method, denial) = match self.decide_about(judging.policy, asked.iter()).await {
            Ok(_) => {
                let questions = questions(judging.raw, asked, heard.round_trip.as_ref());
                self.state().questions.open(questions);
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
        Some(answered_instead(judging.raw, answer, heard))
    }

    /// Judges each request that a rule refers to, up to the first that is refused; then none of
    /// them passes.
    async fn decide_about<'a>(
        &self,
        policy: &Arc<Policy>,
        asked: impl Iterator<Item = &'a Asked>,
    ) -> Result<Vec<Receipt>, (String, Denial)> {
        let mut receipts: Vec<Receipt> = Vec::new();
        for Asked { method, params, .. } in asked {
            if !is_judged(policy, method) {
                continue;
            }
            let target = self.asks_for(method, params.clone());
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

    fn asks_for(&self, method: &str, params: Object) -> Target {
        let (server, method) = (Arc::clone(&self.settings.server), method.to_owned());
        Target::Method(McpRequest { server, method, params })
    }

    /// Refuses and records an ambiguous message. Responds to whoever sent the request, or waits
    /// for the response.
    async fn refuse_said(&self, raw: &[u8], fault: Fault, heard: &mut Heard) -> Fate {
        tracing::warn!(%fault, "a message of the server's is not passed on");
        let outline = outline(raw);
        let denial = self.record_malformed(likely_method(raw).unwrap_or_default(), &fault).await;
        if outline.has_method {
            if let Some(id) = outline.id
                && self.refuses(Key::new(&id), fingerprint(raw))
            {
                let message = Unreadable::answering(Some(&id), fault);
                heard.replies.extend(reply::unreadable(&message, &denial));
            }
            return Fate::Swallowed;
        }
        // The id under which its request was removed from the pending ones, even if it is in
        // doubt.
        let id = match answer::single(raw) {
            Message::Response { id, .. } if is_id(id) => Some(id.to_vec()),
            _ => outline.id.filter(|_| outline.is_response),
        };
        match id {
            Some(id) => answered_instead(raw, reply::withheld(&id, &fault, &denial), heard),
            None => Fate::Swallowed,
        }
    }

    /// Whether to respond to a refused request: not if it was before, or if the client has an
    /// open request with this id.
    fn refuses(&self, id: Key, fingerprint: Fingerprint) -> bool {
        let mut state = self.state();
        let is_new = match state.open_requests.begin(&id, fingerprint) {
            Place::New => true,
            // `judge_request` got as far as registering it.
            Place::Taken => state.open_requests.is_judged(&id, fingerprint),
            Place::Refused => false,
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
                Judged::Answers(cleared, Some(Settled { id, request, is_error }))
            }
            _ if is_of_none || !self.gate.enforces_on_servers() => Judged::Answers(cleared, None),
            // Servers' ids are easy to guess.
            _ => self.unreadable(None, "", Fault::request(UNASKED)).await,
        }
    }

    /// Completes requests whose responses were forwarded.
    pub(super) fn settle_requests(&self, settled: Vec<Settled>) {
        for Settled { request, is_error, .. } in settled {
            let Some(receipt) = request.receipt else { continue };
            match is_error {
                true => self.fail_receipt(&receipt, "error"),
                false => self.gate.release(&receipt, Outcome::Forwarded, "ok".to_owned()),
            }
        }
    }

    /// Reopens requests whose responses were not forwarded.
    pub(super) fn unsettle(&self, settled: Vec<Settled>) {
        for Settled { id, request, .. } in settled {
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
fn answered_instead(raw: &[u8], answer: Reply, heard: &mut Heard) -> Fate {
    let told = reply::lines(&[answer], false);
    heard.mark.rows.extend(told.mark.rows);
    heard.mark.speaker = Speaker::Gate;
    let end: &[u8] = if raw.ends_with(b"\n") { b"\n" } else { b"" };
    Fate::Rewritten([told.bytes.trim_ascii_end(), end].concat())
}
