//! From the server to the client: everything is forwarded unchanged, except responses to the gate's
//! own requests, refused requests of the server ([`super::server_requests`]) and, if configured,
//! tools that would be denied.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::Relay;
use super::cleared::Cleared;
use crate::action::{Target, ToolCall};
use crate::gate::Receipt;
use crate::json::Object;
use crate::mcp::answer::{self, Answer, Message, Shape};
use crate::mcp::envelope::Layout;
use crate::mcp::frames::{Frame, Frames};
use crate::mcp::listing::{self, Listed};
use crate::mcp::open_requests::{Fingerprint, fingerprint};
use crate::mcp::pending::{Key, PendingRequest, RequestKind};
use crate::mcp::reply::{self, Reply, ResponseMetadata, ToClient};
use crate::mcp::round_trips::RoundTrip;
use crate::mcp::scan::Outline;
use crate::mcp::tools::ListProgress;
use crate::net::body::NO_ANSWER_MEMORY;
use crate::store::audit::Outcome;

/// Log message for a duplicate response.
pub(in crate::mcp) const TWICE: &str =
    "the server answered one request twice; the first answer counts";

/// What to do with one message from a server.
pub(super) enum Disposition {
    /// Forward it unchanged.
    Forward,
    /// Forward this instead: a filtered list, or an error.
    Replace(Vec<u8>),
    /// Drop it: it was for the gate, is a duplicate response, or is refused.
    Drop,
}

/// Result of processing a line from the server.
#[derive(Default)]
pub(super) struct Processed {
    /// To be sent to the client.
    pub(super) passed: Option<Bytes>,
    /// Requests of the gate to be sent now.
    pub(super) own_requests: Vec<Bytes>,
    /// Responses to refused requests of the server.
    pub(super) replies: Vec<Reply>,
    /// Requests of the server to the client.
    pub(super) server_requests: Vec<(Key, Fingerprint)>,
    /// Whether the last response was to a call.
    pub(super) answers_call: bool,
    /// The request that was answered, if it may get input requests that have to be remembered.
    pub(super) round_trip: Option<RoundTrip>,
    /// [`ResponseMetadata`] of the response in it.
    pub(super) metadata: ResponseMetadata,
}

impl Relay {
    /// Reads the server's output to its end.
    pub(super) async fn read_server<R: AsyncRead + Unpin>(
        &self,
        mut frames: Frames<R>,
    ) -> std::io::Result<()> {
        while let Some(frame) = frames.next().await? {
            match frame {
                Frame::Line(line) => self.process_server_line(line).await,
                Frame::Oversize(outline) => {
                    let max = self.settings.max_message;
                    tracing::warn!(max, "a message of the server's is too large to be passed on");
                    self.answer_dropped(outline, "unreadable", |id| reply::too_large(id, max))
                        .await;
                }
                Frame::Crowded(outline) => {
                    tracing::warn!(
                        "a message of the server's is not passed on: {NO_ANSWER_MEMORY}"
                    );
                    self.answer_dropped(outline, "no room to hold the answer", reply::no_memory)
                        .await;
                }
            }
        }
        Ok(())
    }

    async fn process_server_line(&self, line: Bytes) {
        let Processed { passed, own_requests, replies, metadata, .. } = self.process(&line).await;
        // An error means that the client is gone; the server may still finish.
        if let Some(bytes) = passed {
            let _ = self.to_client.push(ToClient { bytes, metadata }).await;
        }
        for request in own_requests {
            self.queue_to_server(request);
        }
        for reply in replies {
            self.queue_to_server(reply.into_line());
        }
    }

    /// Queues a message of the gate to the server without waiting: a server that is writing may
    /// not read until we have read.
    fn queue_to_server(&self, line: impl Into<Bytes>) {
        if self.to_server.try_push(Cleared::own(line)).is_err() {
            tracing::warn!("the server reads nothing: what the gate itself had to say is dropped");
        }
    }

    /// Updates the state from a line.
    pub(super) fn observe(&self, line: &Bytes) -> Processed {
        let messages = answer::messages(line);
        let mut processed = Processed::default();
        let mut answered = AnsweredIds::of(&messages);
        let dispositions = messages.iter().map(|message| match answered.is_repeated(message) {
            true => Disposition::Drop,
            false => self.process_message(message, &mut processed),
        });
        let dispositions: Vec<_> = dispositions.collect();
        processed.passed = passed(line, &messages, dispositions);
        processed
    }

    /// Updates the state from one message, and completes the request it responds to.
    pub(super) fn process_message(&self, raw: &[u8], processed: &mut Processed) -> Disposition {
        processed.round_trip = None;
        match answer::single(raw) {
            Message::Response { id, answer } => self.process_response(raw, id, &answer, processed),
            Message::Notification { method } => {
                if method == "notifications/tools/list_changed" {
                    self.state().tools.changed();
                    self.shared.changed.notify_waiters();
                }
                Disposition::Forward
            }
            Message::Request { id } => {
                processed.server_requests.push((Key::new(id), fingerprint(raw)));
                Disposition::Forward
            }
            Message::Opaque => {
                let kind = answer::id_of_response(raw)
                    .and_then(|id| self.state().pending.take(&self.key(&id)));
                self.complete_request(kind, &Answer::Unreadable);
                Disposition::Forward
            }
        }
    }

    fn process_response(
        &self,
        raw: &[u8],
        id: &[u8],
        answer: &Answer<'_>,
        processed: &mut Processed,
    ) -> Disposition {
        let pending = {
            let mut state = self.state();
            let state = &mut *state;
            if let Some(progress) = state.tools.consume(id, answer, &state.era) {
                match progress {
                    ListProgress::NextPage(request) => processed.own_requests.push(request.into()),
                    ListProgress::Ended => self.shared.changed.notify_waiters(),
                }
                return Disposition::Drop;
            }
            state.pending.take_request(&self.key(id))
        };
        let (kind, round_trip) = match pending {
            Some(PendingRequest { kind, round_trip }) => (Some(kind), round_trip),
            None => (None, None),
        };
        match answer {
            // It failed: it may be sent again as it was.
            Answer::Error(_) => self.reopen_input_requests(round_trip),
            _ => processed.round_trip = round_trip,
        }
        let is_list = matches!(kind, Some(RequestKind::Tools { .. }));
        // A batch has the rows of all requests, and the quota of the last one.
        let metadata = kind.as_ref().map(RequestKind::metadata).unwrap_or_default();
        processed.metadata.rows.extend(metadata.rows);
        processed.metadata.quota = metadata.quota.or(processed.metadata.quota);
        processed.answers_call =
            matches!(&kind, Some(RequestKind::Admitted(receipt)) if receipt.is_call());
        self.complete_request(kind, answer);
        match answer {
            Answer::Result(shape) if is_list && self.settings.hide_denied => {
                self.hide_denied_tools(raw, shape)
            }
            _ => Disposition::Forward,
        }
    }

    /// Completes a request: updates the state from the response, and completes the row.
    fn complete_request(&self, kind: Option<RequestKind>, answer: &Answer<'_>) {
        match kind {
            Some(RequestKind::Admitted(receipt)) => self.complete_action(receipt, answer),
            Some(RequestKind::Tools { cursor, generation }) => {
                if let Answer::Result(shape) = answer {
                    self.state().tools.page(cursor.as_ref(), generation, shape);
                    self.shared.changed.notify_waiters();
                }
            }
            Some(RequestKind::Initialize) => {
                let version = match answer {
                    Answer::Result(shape) => shape.protocol_version.and_then(answer::string),
                    _ => None,
                };
                self.state().era.end_handshake(version);
                self.shared.changed.notify_waiters();
            }
            Some(RequestKind::Task(task)) => self.complete_task(&task, answer),
            Some(RequestKind::Other) | None => {}
        }
    }

    /// Completes the row of a call, unless a task will deliver its result.
    fn complete_action(&self, receipt: Receipt, answer: &Answer<'_>) {
        if let Answer::Result(shape) = answer
            && let Some(task) = shape.begun_task()
        {
            let written_off = self.state().pending.begin_task(task, receipt);
            if let Some(receipt) = written_off {
                self.fail_receipt(&receipt, "its task was lost sight of");
            }
            return;
        }
        let (outcome, status) = outcome(answer);
        self.gate.release(&receipt, outcome, status.into_owned());
    }

    fn complete_task(&self, task: &str, answer: &Answer<'_>) {
        let Answer::Result(shape) = answer else { return };
        let status = shape.status.and_then(answer::string);
        if matches!(status.as_deref(), Some("working" | "input_required" | "submitted")) {
            return;
        }
        if let Some(receipt) = self.state().pending.end_task(task) {
            let (outcome, status_of_answer) = outcome(answer);
            let status =
                status.filter(|status| status != "completed").map_or(status_of_answer, Cow::Owned);
            self.gate.release(&receipt, outcome, status.into_owned());
        }
    }

    fn hide_denied_tools(&self, raw: &[u8], shape: &Shape<'_>) -> Disposition {
        let Some(tools) = shape.tools else { return Disposition::Forward };
        let rewritten = listing::without(raw, tools, |listed| self.is_hidden(listed));
        rewritten.map_or(Disposition::Forward, Disposition::Replace)
    }

    /// Whether the policy denies every call of this tool. Unreadable entries are hidden, too.
    fn is_hidden(&self, listed: Option<&Listed>) -> bool {
        listed.is_none_or(|listed| self.is_denied(&listed.name))
    }

    /// Whether the policy denies every call of `tool`.
    pub(super) fn is_denied(&self, tool: &str) -> bool {
        let (annotations, listing) = {
            let state = self.state();
            (state.tools.hints(tool), state.tools.listing(tool))
        };
        let action = self.action(Target::Tool(ToolCall {
            server: Arc::clone(&self.settings.server),
            tool: tool.to_owned(),
            args: Object::default(),
            annotations,
            listing,
        }));
        self.gate.never_admits(&action)
    }

    /// Responds to the requests of a message that is dropped, on either side, with the response
    /// that `refuse` creates.
    async fn answer_dropped(
        &self,
        outline: Outline,
        status: &str,
        refuse: impl Fn(Option<&[u8]>) -> String,
    ) {
        let Some(id) = outline.id else { return };
        if outline.has_method {
            self.queue_to_server(Reply::from(refuse(Some(&id))).into_line());
        } else if outline.is_response {
            let (own, kind) = {
                let mut state = self.state();
                let state = &mut *state;
                let own = state.tools.consume(&id, &Answer::Unreadable, &state.era).is_some();
                (own, state.pending.take(&self.key(&id)))
            };
            self.shared.changed.notify_waiters();
            match kind {
                Some(RequestKind::Admitted(receipt)) => self.fail_receipt(&receipt, status),
                other => self.complete_request(other, &Answer::Unreadable),
            }
            if !own {
                self.answer(&[refuse(Some(&id)).into()], Layout::Single).await;
            }
        }
    }
}

/// Ids that messages of one line have responded to.
pub(super) struct AnsweredIds {
    /// `None` if there is only one message.
    ids: Option<HashSet<Vec<u8>>>,
}

impl AnsweredIds {
    pub(super) fn of(messages: &[&[u8]]) -> Self {
        Self { ids: (messages.len() > 1).then(HashSet::new) }
    }

    /// Whether an earlier message responded to the same request.
    pub(super) fn is_repeated(&mut self, message: &[u8]) -> bool {
        let Some(ids) = &mut self.ids else { return false };
        let is_repeated = answer::id_of_response(message).is_some_and(|id| !ids.insert(id));
        if is_repeated {
            tracing::warn!("{TWICE}");
        }
        is_repeated
    }
}

/// The part of a line that is forwarded.
pub(super) fn passed(
    line: &Bytes,
    messages: &[&[u8]],
    mut dispositions: Vec<Disposition>,
) -> Option<Bytes> {
    match dispositions.as_mut_slice() {
        [Disposition::Forward] => Some(line.clone()),
        [Disposition::Drop] => None,
        [Disposition::Replace(line)] => Some(std::mem::take(line).into()),
        all if all.iter().all(|disposition| matches!(disposition, Disposition::Forward)) => {
            Some(line.clone())
        }
        some => rejoin(messages, some),
    }
}

/// A batch without dropped messages; `None` if nothing is left.
fn rejoin(messages: &[&[u8]], dispositions: &[Disposition]) -> Option<Bytes> {
    let kept: Vec<&[u8]> = messages
        .iter()
        .zip(dispositions)
        .filter_map(|(message, disposition)| match disposition {
            Disposition::Forward => Some(*message),
            Disposition::Replace(line) => Some(line.as_slice()),
            Disposition::Drop => None,
        })
        .collect();
    let joined = kept.join(&b","[..]);
    (!kept.is_empty()).then(|| [&b"["[..], &joined, b"]\n"].concat().into())
}

/// Outcome and status of a response in the audit log.
fn outcome(answer: &Answer<'_>) -> (Outcome, Cow<'static, str>) {
    match answer {
        Answer::Result(shape) if shape.is_error => (Outcome::Forwarded, "error".into()),
        Answer::Result(shape) => {
            let kind = shape.result_type.and_then(answer::string);
            let kind = kind.filter(|kind| kind != "complete");
            (Outcome::Forwarded, kind.map_or("ok".into(), Cow::Owned))
        }
        Answer::Error(code) => {
            let code = code.map(|code| String::from_utf8_lossy(code).into_owned());
            (Outcome::Error, code.map_or("error".into(), Cow::Owned))
        }
        Answer::Unreadable => (Outcome::Error, "unreadable".into()),
    }
}
