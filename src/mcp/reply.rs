//! Responses of the gate itself: to a denied call a result, which a model can read; to everything
//! else a JSON-RPC error.

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::codes::{REFUSED, TOO_MUCH, UPSTREAM};
use super::envelope::{Call, Fault, Layout, Unreadable};
use super::era;
use super::queue::Weight;
use crate::net::body::NO_ANSWER_MEMORY;
use crate::terminal::brief;
use crate::verdict::{Decision, Denial, Quota, Reason};

/// Key of the decision in `_meta`.
const DECISION: &str = "agentgate/decision";

/// Who sent an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Responder {
    /// The server.
    #[default]
    Server,
    /// The gate.
    Gate,
    /// The gate, to an ambiguous message.
    GateToUnreadable,
}

/// Metadata of an answer, for HTTP headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseMetadata {
    /// The sender.
    pub responder: Responder,
    /// Ids of the audit rows of the requests it answers; a batch may have several.
    pub rows: Vec<String>,
    /// What remains of a rate limit after them.
    pub quota: Option<Quota>,
}

/// A response of the gate to one message.
#[derive(Debug, Clone)]
pub struct Reply {
    line: String,
    metadata: ResponseMetadata,
}

/// Bytes for the client: lines of the server, or responses of the gate.
#[derive(Debug, Clone)]
pub struct ToClient {
    /// The bytes, as they are sent.
    pub bytes: Bytes,
    /// Their metadata.
    pub metadata: ResponseMetadata,
}

impl Reply {
    fn refusal(line: String, responder: Responder, denial: &Denial) -> Self {
        let (rows, quota) = (denial.request_id.iter().cloned().collect(), denial.quota);
        Self { line, metadata: ResponseMetadata { responder, rows, quota } }
    }

    /// The response as a line for the server, which needs no metadata.
    #[must_use]
    pub fn into_line(self) -> Bytes {
        (self.line + "\n").into()
    }
}

/// A response without an audit row.
impl From<String> for Reply {
    fn from(line: String) -> Self {
        Self {
            line,
            metadata: ResponseMetadata {
                responder: Responder::Gate,
                ..ResponseMetadata::default()
            },
        }
    }
}

/// The server's own bytes, without metadata.
impl From<Bytes> for ToClient {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, metadata: ResponseMetadata::default() }
    }
}

impl From<ToClient> for Bytes {
    fn from(message: ToClient) -> Self {
        message.bytes
    }
}

impl Weight for ToClient {
    fn weight(&self) -> usize {
        self.bytes.len()
    }
}

/// A response with the given `id` (null if `None`), as a line.
fn line(id: Option<&[u8]>, member: &str, value: &Value) -> String {
    let id = id.and_then(|id| std::str::from_utf8(id).ok());
    // INVARIANT (JSON): the id was parsed as a JSON string or integer before.
    let id = id.filter(|id| serde_json::from_str::<&RawValue>(id).is_ok()).unwrap_or("null");
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{value}}}")
}

fn error(id: Option<&[u8]>, code: i64, message: &str, data: Option<Value>) -> String {
    let mut error = json!({ "code": code, "message": message });
    if let (Some(data), Some(object)) = (data, error.as_object_mut()) {
        object.insert("data".to_owned(), data);
    }
    line(id, "error", &error)
}

/// The decision in its public form.
fn decision(denial: &Denial) -> Value {
    let mut decision = serde_json::to_value(&denial.verdict).unwrap_or_default();
    if let Some(object) = decision.as_object_mut() {
        object.insert("request_id".to_owned(), denial.request_id.clone().into());
    }
    json!({ DECISION: decision })
}

/// The response to a refused `tools/call`, without a line end.
#[must_use]
pub fn refused_call(id: Option<&[u8]>, call: &Call, denial: &Denial) -> Reply {
    let text = refusal_message(&format!("`{}`", brief(&call.name)), denial);
    if call.task {
        // A client that asked for a task expects a task, not a result.
        let line = error(id, REFUSED, &text, Some(decision(denial)));
        return Reply::refusal(line, Responder::Gate, denial);
    }
    let form = match era::is_stateless(&call.meta) {
        true => Form::StatelessResult,
        false => Form::Result,
    };
    let result = refused_result(&text, form, denial);
    Reply::refusal(line(id, "result", &result), Responder::Gate, denial)
}

/// The response to any other refused request, without a line end.
#[must_use]
pub fn refused_method(id: Option<&[u8]>, method: &str, denial: &Denial) -> Reply {
    let text = refusal_message(&format!("`{}`", brief(method)), denial);
    Reply::refusal(error(id, REFUSED, &text, Some(decision(denial))), Responder::Gate, denial)
}

/// Form of a response that replaces one in which the server asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The result of a call.
    Result,
    /// The result of a call in the stateless era.
    StatelessResult,
    /// A JSON-RPC error, for other methods.
    Error,
}

/// The response to a request of the client whose own response asks for `method`, which is
/// refused; without a line end.
#[must_use]
pub fn refused_within(id: &[u8], method: &str, form: Form, denial: &Denial) -> Reply {
    let what = format!("`{}`, which the server asks for before it goes on,", brief(method));
    let text = refusal_message(&what, denial);
    let line = match form {
        Form::Error => error(Some(id), REFUSED, &text, Some(decision(denial))),
        form => line(Some(id), "result", &refused_result(&text, form, denial)),
    };
    Reply::refusal(line, Responder::Gate, denial)
}

/// The response to a request whose own response is ambiguous, without a line end.
#[must_use]
pub fn withheld(id: &[u8], fault: &Fault, denial: &Denial) -> Reply {
    let text = format!("AgentGate did not pass the server's answer on: {fault}");
    Reply::refusal(
        error(Some(id), UPSTREAM, &text, Some(decision(denial))),
        Responder::Gate,
        denial,
    )
}

fn refused_result(text: &str, form: Form, denial: &Denial) -> Value {
    let mut result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        era::META: decision(denial),
    });
    if let Some(result) = result.as_object_mut().filter(|_| form == Form::StatelessResult) {
        result.insert("resultType".to_owned(), "complete".into());
    }
    result
}

/// The responses to a message that was refused as ambiguous, one for each id, without line
/// ends.
#[must_use]
pub fn unreadable(message: &Unreadable, denial: &Denial) -> Vec<Reply> {
    let text = format!("AgentGate did not pass this message on: {}", message.fault.what);
    let code = message.fault.code;
    let answer = |id: &Option<Vec<u8>>| {
        let line = error(id.as_deref(), code, &text, Some(decision(denial)));
        Reply::refusal(line, Responder::GateToUnreadable, denial)
    };
    message.ids.iter().map(answer).collect()
}

/// Tells the server that a response of the client was unreadable.
#[must_use]
pub fn unreadable_response(id: &[u8]) -> String {
    error(Some(id), REFUSED, "AgentGate could not read the client's answer for certain", None)
}

/// Tells the server that the request with this id was cancelled.
#[must_use]
pub fn cancelled(id: &[u8]) -> String {
    let id = String::from_utf8_lossy(id);
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\
         \"params\":{{\"requestId\":{id}}}}}"
    )
}

/// The response to a request in the same batch as a refused one.
#[must_use]
pub fn batch_refused(id: &[u8]) -> String {
    let text = "AgentGate refused another request of this batch, and a batch goes as a whole; \
                 send this request by itself";
    error(Some(id), REFUSED, text, None)
}

/// The response to a message over the size limit.
#[must_use]
pub fn too_large(id: Option<&[u8]>, max: usize) -> String {
    let text = format!("the message is larger than {max} bytes (agentgate wrap --max-message)");
    error(id, TOO_MUCH, &text, None)
}

/// The response to a request whose own response did not fit into memory.
#[must_use]
pub fn no_memory(id: Option<&[u8]>) -> String {
    error(id, TOO_MUCH, NO_ANSWER_MEMORY, None)
}

/// The response to a request whose server is unreachable or failed.
#[must_use]
pub fn upstream_failed(id: Option<&[u8]>, text: &str) -> String {
    error(id, UPSTREAM, text, None)
}

/// The response to a request while too many are in flight.
#[must_use]
pub fn too_many(id: Option<&[u8]>, max: usize) -> String {
    error(id, TOO_MUCH, &in_flight(max), None)
}

/// As [`too_many`], for a call, which has an audit row.
#[must_use]
pub fn too_many_calls(id: Option<&[u8]>, max: usize, denial: &Denial) -> Reply {
    let line = error(id, TOO_MUCH, &in_flight(max), Some(decision(denial)));
    Reply::refusal(line, Responder::Gate, denial)
}

/// Describes that more than `max` requests are in flight.
pub(super) fn in_flight(max: usize) -> String {
    format!("more than {max} requests are in flight")
}

/// Joins responses for the client: one per line, or as a batch.
#[must_use]
pub fn lines(answers: &[Reply], layout: Layout) -> ToClient {
    let lines: Vec<&str> = answers.iter().map(|answer| answer.line.as_str()).collect();
    let text = match layout {
        Layout::Batch => format!("[{}]\n", lines.join(",")),
        Layout::Single => lines.join("\n") + "\n",
    };
    let all = || answers.iter().map(|answer| &answer.metadata);
    let unreadable = all().any(|metadata| metadata.responder == Responder::GateToUnreadable);
    let metadata = ResponseMetadata {
        responder: if unreadable { Responder::GateToUnreadable } else { Responder::Gate },
        rows: all().flat_map(|metadata| metadata.rows.iter().cloned()).collect(),
        quota: all().find_map(|metadata| metadata.quota),
    };
    ToClient { bytes: text.into(), metadata }
}

/// Describes for a model what was refused, why, and what to do instead.
fn refusal_message(what: &str, denial: &Denial) -> String {
    let verdict = &denial.verdict;
    let (policy, rule, reason) = (&verdict.policy, &verdict.rule, &verdict.reason);
    let opening = match verdict.decision {
        Decision::Ask => "needs a person's approval, and was not run",
        _ => "was refused by AgentGate, and was not run",
    };
    let advice = verdict.suggestion.as_deref().unwrap_or(match reason {
        Reason::RateLimited { full, .. } if full.retry_after.is_some() => "Wait, then call again.",
        Reason::AuditUnavailable(_) | Reason::Internal(_) => {
            "This says nothing about the call itself; it may pass later."
        }
        _ => "Calling again the same way will be refused again: go another way, or tell the user.",
    });
    format!("{what} {opening}. Reason: {reason} (policy `{policy}`, rule `{rule}`). {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, Object};
    use crate::verdict::{Stage, Verdict};
    use std::sync::Arc;

    fn denial() -> Denial {
        let mut verdict = Verdict::refusal(
            Stage::Policy,
            "team",
            Reason::Written(Arc::from("main is protected")),
        );
        verdict.suggestion = Some(Arc::from("Open a pull request."));
        Denial { verdict: Box::new(verdict), request_id: Some("row".to_owned()), quota: None }
    }

    fn call(meta: &str, task: bool) -> Call {
        let meta = json::parse(meta.as_bytes()).unwrap().as_object().unwrap().clone();
        let others = Object::default();
        Call { name: "push".to_owned(), arguments: Object::default(), meta, task, others }
    }

    fn parsed(line: &str) -> Value {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_model_reads_what_was_refused_why_and_what_to_do() {
        let refusal = refused_call(Some(b"\"a\""), &call("{}", false), &denial());
        let rows = vec!["row".to_owned()];
        assert_eq!(
            refusal.metadata,
            ResponseMetadata { responder: Responder::Gate, rows, quota: None }
        );
        let answer = parsed(&refusal.line);
        assert_eq!(answer["id"], "a");
        let result = &answer["result"];
        assert_eq!(result["isError"], true);
        assert!(result.get("resultType").is_none());
        let text = result["content"][0]["text"].as_str().unwrap();
        for part in ["`push`", "main is protected", "Open a pull request.", "team"] {
            assert!(text.contains(part), "{text}");
        }
        let decision = &result["_meta"]["agentgate/decision"];
        assert_eq!(decision["request_id"], "row");
        assert_eq!(decision["decision"], "deny");
    }

    #[test]
    fn a_stateless_call_gets_a_result_type_and_a_task_gets_an_error() {
        let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        let answer = parsed(&refused_call(Some(b"1"), &call(meta, false), &denial()).line);
        assert_eq!(answer["result"]["resultType"], "complete");
        let answer = parsed(&refused_call(Some(b"1"), &call("{}", true), &denial()).line);
        assert_eq!(answer["error"]["code"], REFUSED);
        assert_eq!(answer["error"]["data"]["agentgate/decision"]["rule"], "policy");
    }

    #[test]
    fn answers_are_lines_or_one_array() {
        let answers = [too_large(None, 5), too_large(Some(b"18446744073709551616"), 5)];
        let answers = answers.map(Reply::from);
        let lines = lines(&answers, Layout::Single).bytes;
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 2);
        let text = String::from_utf8(super::lines(&answers, Layout::Batch).bytes.to_vec()).unwrap();
        assert!(text.contains(r#""id":18446744073709551616"#));
        assert_eq!(parsed(&text).as_array().unwrap().len(), 2);
    }
}
