//! From the client to the server: parse strictly, decide, and only then forward.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout_at};

use super::cleared::Cleared;
use super::server_requests::AnsweredRequest;
use super::{HANDSHAKE_TIMEOUT, Held, LIST_TIMEOUT, Relay};
use crate::action::{Listing, Malformed, McpRequest, Target, ToolCall};
use crate::gate::{Permit, Receipt};
use crate::json::{Json, Object};
use crate::mcp::envelope::{self, Call, Content, Fault, Layout, Message, Other, Unreadable};
use crate::mcp::era;
use crate::mcp::frames::{Frame, Frames};
use crate::mcp::pending::{Key, MAX_PENDING, PendingRequest, RequestKind};
use crate::mcp::reply::{self, Reply};
use crate::mcp::tools::MAX_LISTS;
use crate::verdict::{Denial, Reason, Stage, Verdict};

/// What to do with a call of a tool that the server has not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unlisted {
    /// Hold it until the list arrives.
    Hold,
    /// Decide by what is known.
    Decide,
}

/// The decision about one message of a line.
pub(super) enum Judged {
    /// It may be sent; with a receipt if it was decided.
    Cleared(Cleared, Option<Receipt>),
    /// The same for a response to a request of the server.
    Answers(Cleared, Option<AnsweredRequest>),
    /// It is refused; with a response if it is a request.
    Refused(Option<Reply>),
}

/// A state change to apply once a message is allowed.
enum Change {
    Nothing,
    /// It introduces its client (2026-07-28).
    ObserveMeta(Object),
    /// It starts a handshake.
    BeginHandshake,
    /// It cancels this request.
    Cancel(Key),
}

impl Relay {
    /// Reads the client's input to its end.
    pub(super) async fn read_client<R: AsyncRead + Unpin>(
        &self,
        mut frames: Frames<R>,
    ) -> std::io::Result<()> {
        while let Some(frame) = frames.next().await? {
            match frame {
                Frame::Line(line) => self.process_line(line, Unlisted::Hold).await,
                Frame::Oversize(outline) | Frame::Crowded(outline) => {
                    let max = self.settings.max_message;
                    let what = format!("larger than {max} bytes, the most that is passed on");
                    let fault = Fault::request(what);
                    self.refuse(Unreadable::outlined(outline, fault)).await;
                }
            }
        }
        Ok(())
    }

    /// Processes one line.
    pub(super) async fn process_line(&self, line: Bytes, unlisted: Unlisted) {
        let batches = self.state().era.batches();
        let frame = match envelope::read(&line, batches, self.framing) {
            Ok(frame) => frame,
            Err(unreadable) => return Box::pin(self.refuse(unreadable)).await,
        };
        let (messages, layout) = match frame {
            envelope::Frame::Blank => return self.send_to_server(Cleared::blank(line)).await,
            envelope::Frame::Single(message) => (vec![message], Layout::Single),
            envelope::Frame::Batch(messages) => (messages, Layout::Batch),
        };
        if unlisted == Unlisted::Hold && self.hold(&line, &messages).await {
            return;
        }
        self.decide(&line, messages, layout).await;
    }

    /// Judges every message of `line` and sends it whole or not at all: batches are never
    /// split.
    async fn decide(&self, line: &Bytes, messages: Vec<Message<'_>>, layout: Layout) {
        let ids: Vec<_> = messages.iter().map(Message::request_id).collect();
        let handshake_over = messages.iter().any(Message::is_initialized);
        let mut outgoing = None;
        let mut pending: Vec<(Key, PendingRequest)> = Vec::new();
        let mut answered = Vec::new();
        let mut changes = Vec::new();
        for (index, message) in messages.into_iter().enumerate() {
            let key = message.request_id().map(|id| self.key(id));
            let (mut kind, change) = self.classify(&message);
            changes.push(change);
            let (round_trip, judged) = match self.begin_round_trip(&message) {
                Ok(round_trip) => (round_trip, self.judge(line, message).await),
                Err(error) => (None, Box::pin(self.refuse_round_trip(&message, error)).await),
            };
            match judged {
                Judged::Cleared(line, receipt) => {
                    outgoing = Some(line);
                    kind = receipt.map_or(kind, RequestKind::Admitted);
                }
                Judged::Answers(line, request) => {
                    outgoing = Some(line);
                    answered.extend(request);
                }
                Judged::Refused(answer) => {
                    self.reopen_input_requests(round_trip);
                    for (_, PendingRequest { kind, round_trip }) in pending {
                        self.fail(Some(kind), "its batch was refused");
                        self.reopen_input_requests(round_trip);
                    }
                    self.reopen_requests(answered);
                    return self.answer_refused(&ids, index, answer, layout).await;
                }
            }
            pending.extend(key.map(|key| (key, PendingRequest { kind, round_trip })));
        }
        // Applied before sending, so that no response can arrive earlier.
        changes.into_iter().for_each(|change| self.apply(change));
        for (key, request) in pending {
            let earlier = self.state().pending.insert(key, request);
            self.fail(earlier.ok().flatten(), "its id was used again");
        }
        self.complete_requests(answered);
        self.send_to_server(outgoing).await;
        if handshake_over {
            self.state().era.initialized();
            self.shared.changed.notify_waiters();
        }
    }

    async fn answer_refused(
        &self,
        ids: &[Option<&[u8]>],
        refused: usize,
        answer: Option<Reply>,
        layout: Layout,
    ) {
        let mut answer = answer;
        let others = ids.iter().enumerate().filter_map(|(index, id)| {
            if index == refused {
                answer.take()
            } else {
                id.map(reply::batch_refused).map(Reply::from)
            }
        });
        let answers: Vec<_> = others.collect();
        self.answer(&answers, layout).await;
    }

    async fn judge(&self, line: &Bytes, message: Message<'_>) -> Judged {
        let undecided = Cleared::undecided(line, &message.content);
        match message.content {
            Content::Call(call) => self.judge_call(line, message.id, call).await,
            Content::Other(other) => {
                Box::pin(self.judge_method(line, message.id, &other, undecided)).await
            }
            Content::Response { is_error } => {
                Box::pin(self.judge_answer(message.id, is_error, undecided)).await
            }
        }
    }

    async fn judge_call(&self, line: &Bytes, id: Option<&[u8]>, mut call: Call) -> Judged {
        let (annotations, listing, full) = {
            let state = self.state();
            let (name, tools) = (&call.name, &state.tools);
            (tools.hints(name), tools.listing(name), state.pending.is_full())
        };
        if full {
            let fault = Fault::request(reply::in_flight(MAX_PENDING));
            let denial = self.record_malformed(McpRequest::CALL, &fault).await;
            return Judged::Refused(Some(reply::too_many_calls(id, MAX_PENDING, &denial)));
        }
        let target = Target::Tool(ToolCall {
            server: Arc::clone(&self.settings.server),
            tool: call.name.clone(),
            args: std::mem::take(&mut call.arguments),
            annotations,
            listing: self.without_hidden(listing),
        });
        match self.gate.admit(self.action(target), line.clone()).await {
            Ok(permit) => admitted(permit),
            Err(denial) => {
                let answer = lookalike_reply(id, Fault::params, &denial);
                Judged::Refused(answer.or_else(|| Some(reply::refused_call(id, &call, &denial))))
            }
        }
    }

    /// `listing` without the name of a tool that is hidden from the client.
    fn without_hidden(&self, listing: Listing) -> Listing {
        match listing {
            Listing::Absent(Some(near)) if self.settings.hide_denied && self.is_denied(&near) => {
                Listing::Absent(None)
            }
            listing => listing,
        }
    }

    /// Methods other than `tools/call` are judged only if a rule refers to them.
    async fn judge_method(
        &self,
        line: &Bytes,
        id: Option<&[u8]>,
        other: &Other<'_>,
        undecided: Option<Cleared>,
    ) -> Judged {
        let policy = self.gate.policy();
        if !policy.concerns_method(&other.method) {
            return cleared_or_refused(undecided);
        }
        let params = match other.params() {
            Ok(params) => params,
            Err(fault) => return self.refuse_fault(id, &other.method, fault).await,
        };
        let fault = match policy.names_method(&other.method) {
            true => Fault::params,
            false => Fault::request,
        };
        let target = Target::Method(McpRequest {
            server: Arc::clone(&self.settings.server),
            method: other.method.clone(),
            params,
        });
        match self.gate.admit_by(policy, self.action(target), line.clone()).await {
            Ok(permit) => admitted(permit),
            Err(denial) => {
                let refusal = || id.map(|_| reply::refused_method(id, &other.method, &denial));
                Judged::Refused(lookalike_reply(id, fault, &denial).or_else(refusal))
            }
        }
    }

    pub(super) async fn refuse_fault(
        &self,
        id: Option<&[u8]>,
        method: &str,
        fault: Fault,
    ) -> Judged {
        let denial = self.record_malformed(method, &fault).await;
        let message = Unreadable::answering(id, fault);
        Judged::Refused(reply::unreadable(&message, &denial).into_iter().next())
    }

    async fn refuse(&self, message: Unreadable) {
        let layout = message.layout;
        let answers = self.record_unreadable(message).await;
        self.answer(&answers, layout).await;
    }

    /// Records an unreadable message. Returns the responses for its sender.
    pub(super) async fn record_unreadable(&self, message: Unreadable) -> Vec<Reply> {
        let denial =
            self.record_malformed(message.method.unwrap_or_default(), &message.fault).await;
        if let Some(id) = &message.answered {
            // Otherwise the server would wait forever.
            let _ = self
                .to_server
                .push(Cleared::own(Reply::from(reply::unreadable_response(id)).into_line()))
                .await;
        }
        reply::unreadable(&message, &denial)
    }

    pub(super) async fn record_malformed(&self, method: &str, fault: &Fault) -> Denial {
        let malformed = Malformed::ambiguous(&self.settings.server, method, fault.what.clone());
        match self.gate.admit(self.action(Target::Malformed(malformed)), ()).await {
            Err(denial) => denial,
            // What is unreadable must not pass, whatever was decided.
            Ok(_) => Denial {
                verdict: Box::new(Verdict::refusal(
                    Stage::Validation,
                    "gate",
                    Reason::Malformed(fault.what.clone()),
                )),
                request_id: None,
                quota: None,
            },
        }
    }

    /// What kind of request `message` is, and the state change it implies if it is allowed.
    fn classify(&self, message: &Message<'_>) -> (RequestKind, Change) {
        let state = self.state();
        let introduced = |meta: &Object| match state.era.is_open() {
            true => Change::ObserveMeta(meta.clone()),
            false => Change::Nothing,
        };
        let other = match &message.content {
            Content::Call(call) => return (RequestKind::Other, introduced(&call.meta)),
            Content::Other(other) => other,
            Content::Response { .. } => return (RequestKind::Other, Change::Nothing),
        };
        let params = || other.params().unwrap_or_default();
        match other.method.as_str() {
            "initialize" => return (RequestKind::Initialize, Change::BeginHandshake),
            "notifications/cancelled" => {
                let id = params().get("requestId").map(|id| self.key(id.to_string().as_bytes()));
                return (RequestKind::Other, id.map_or(Change::Nothing, Change::Cancel));
            }
            _ => {}
        }
        let change = match state.era.is_open().then(params) {
            Some(params) => match params.get(era::META) {
                Some(Json::Object(meta)) => introduced(meta),
                _ => Change::Nothing,
            },
            None => Change::Nothing,
        };
        let kind = match other.method.as_str() {
            "tools/list" => RequestKind::Tools {
                cursor: cursor(&params()),
                generation: state.tools.generation(),
            },
            "tasks/result" | "tasks/get" | "tasks/cancel" => task(&params()),
            _ => RequestKind::Other,
        };
        (kind, change)
    }

    /// Applies a state change.
    fn apply(&self, change: Change) {
        let mut state = self.state();
        match change {
            Change::Nothing => {}
            Change::ObserveMeta(meta) => state.era.observe_meta(&meta),
            Change::BeginHandshake => state.era.begin_handshake(),
            Change::Cancel(id) => {
                state.held.remove(&id);
                let kind = state.pending.take(&id);
                drop(state);
                self.shared.changed.notify_waiters();
                self.fail(kind, "cancelled");
            }
        }
    }

    /// Holds a line with a call that needs the server's list of tools. Returns `false` if there
    /// is none.
    async fn hold(&self, line: &Bytes, messages: &[Message<'_>]) -> bool {
        let calls = || messages.iter().filter_map(Message::call);
        let held = {
            let mut state = self.state();
            let waits = calls().any(|call| state.needs_list(&call.name));
            calls().for_each(|call| state.era.observe_meta(&call.meta));
            if !waits || !state.era.will_listen() {
                return false;
            }
            // Batches cannot be cancelled in part.
            let single = messages.first().filter(|_| messages.len() == 1);
            let id = single.and_then(Message::request_id).map(|id| self.key(id));
            // Neither can a second call with an id that is held already.
            let id = id.filter(|id| state.held.insert(id.clone()));
            Held { line: line.clone(), id, tools: calls().map(|call| call.name.clone()).collect() }
        };
        let _ = self.held.push(held).await;
        true
    }

    /// Resumes held lines one after the other, each once the list has arrived or failed.
    pub(super) async fn release_held(&self) {
        while let Some(held) = self.held.next().await {
            let size = held.line.len();
            self.wait_and_resume(held).await;
            self.held.done(size);
        }
    }

    /// Waits for what one held line needs, and resumes it.
    pub(super) async fn wait_and_resume(&self, held: Held) {
        self.list_tools(&held).await;
        self.resume(held).await;
    }

    /// Resumes one held line by what is known now.
    pub(super) async fn resume(&self, held: Held) {
        let cancelled = held.id.is_some_and(|id| !self.state().held.remove(&id));
        if !cancelled {
            self.process_line(held.line, Unlisted::Decide).await;
        }
    }

    /// Waits for the handshake (once the client's input has ended, for at most
    /// [`HANDSHAKE_TIMEOUT`]), then requests the list and waits for it, for at most
    /// [`LIST_TIMEOUT`]; up to [`MAX_LISTS`] times, if it changes meanwhile.
    async fn list_tools(&self, held: &Held) {
        let (mut deadline, mut lists) = (None, 0);
        loop {
            let changed = self.shared.changed.notified();
            let (request, asking, input_ended) = {
                let mut state = self.state();
                let state = &mut *state;
                let cancelled = held.id.as_ref().is_some_and(|id| !state.held.contains(id));
                let waits = held.tools.iter().any(|tool| state.needs_list(tool));
                if cancelled || !waits || !state.era.will_listen() {
                    return;
                }
                if lists == MAX_LISTS && !state.tools.is_list_requested() {
                    tracing::warn!(
                        "the server's tools change as they are listed; assuming the worst"
                    );
                    return state.tools.list_timed_out();
                }
                let request = state.tools.request_list(&state.era);
                (request, state.tools.is_list_requested(), state.input_ended)
            };
            if let Some(request) = request {
                lists += 1;
                self.send_to_server(Some(Cleared::own(request))).await;
            }
            if asking {
                deadline.get_or_insert_with(|| Instant::now() + LIST_TIMEOUT);
            }
            match deadline.or_else(|| input_ended.map(|ended| ended + HANDSHAKE_TIMEOUT)) {
                // Until the server responds to the handshake, it responds to nothing else either.
                None => changed.await,
                Some(deadline) => {
                    if timeout_at(deadline, changed).await.is_err() {
                        tracing::warn!("the server does not list its tools; assuming the worst");
                        return self.state().tools.list_timed_out();
                    }
                }
            }
        }
    }

    /// Sends a line to the server. If the server is gone, the conversation ends by other means.
    async fn send_to_server(&self, line: Option<Cleared>) {
        if let Some(line) = line {
            let _ = self.to_server.push(line).await;
        }
    }
}

/// The response to a request that is refused as a lookalike.
fn lookalike_reply(
    id: Option<&[u8]>,
    fault: fn(String) -> Fault,
    denial: &Denial,
) -> Option<Reply> {
    let Reason::Malformed(what) = &denial.verdict.reason else { return None };
    let message = Unreadable::answering(id, fault(what.clone()));
    reply::unreadable(&message, denial).into_iter().next()
}

fn admitted(permit: Permit<Bytes>) -> Judged {
    let (line, receipt) = Cleared::admitted(permit);
    Judged::Cleared(line, Some(receipt))
}

/// The result for a message that is not subject to a decision. Only a call is not cleared
/// without one.
fn cleared_or_refused(undecided: Option<Cleared>) -> Judged {
    undecided.map_or(Judged::Refused(None), |line| Judged::Cleared(line, None))
}

fn cursor(params: &Object) -> Option<Key> {
    let cursor = params.get("cursor").filter(|cursor| **cursor != Json::Null)?;
    Some(Key::new(cursor.to_string().as_bytes()))
}

fn task(params: &Object) -> RequestKind {
    let id = params.get("taskId").and_then(Json::as_str);
    id.map_or(RequestKind::Other, |id| RequestKind::Task(id.to_owned()))
}
