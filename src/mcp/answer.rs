//! Lenient parsing of what a server sends.
//!
//! Nothing is refused here: what cannot be read is forwarded, and the gate learns nothing from it.
//! Only the outline is read, and of a result only the members that say what became of a call or
//! which tools there are. Pure.

use super::scan::outline;
use crate::json::{JsonError, Reader};

/// A message from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'f> {
    /// The response to a request of the client or the gate.
    Response {
        /// The id, as raw JSON.
        id: &'f [u8],
        /// What it says.
        answer: Answer<'f>,
    },
    /// A request to the client.
    Request {
        /// The id, as raw JSON.
        id: &'f [u8],
    },
    /// A notification.
    Notification {
        /// The method.
        method: String,
    },
    /// Anything else, such as a stray log line or an unreadable message.
    Opaque,
}

/// Content of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'f> {
    /// A result.
    Result(Box<Shape<'f>>),
    /// An error, with its raw code if it has one.
    Error(Option<&'f [u8]>),
    /// Beyond reading.
    Unreadable,
}

/// The members of a result that the gate looks at, as raw JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape<'f> {
    /// `isError` is true.
    pub is_error: bool,
    /// `resultType` (2026): `complete`, `input_required`, `task`.
    pub result_type: Option<&'f [u8]>,
    /// `protocolVersion`, of `initialize`.
    pub protocol_version: Option<&'f [u8]>,
    /// `tools`, of `tools/list`.
    pub tools: Option<&'f [u8]>,
    /// `nextCursor`, of `tools/list`.
    pub next_cursor: Option<&'f [u8]>,
    /// `task`, of a call whose result comes later (2025-11-25).
    pub task: Option<&'f [u8]>,
    /// `taskId`, in a task.
    pub task_id: Option<&'f [u8]>,
    /// `status`, in a task.
    pub status: Option<&'f [u8]>,
}

/// Splits a line into messages: the elements of a batch, or the line itself. A batch that
/// cannot be parsed is one message.
#[must_use]
pub fn messages(line: &[u8]) -> Vec<&[u8]> {
    if line.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return vec![line];
    }
    let mut elements = Vec::new();
    let whole = Reader::new(line).and_then(|mut reader| {
        reader.array(|reader| {
            elements.push(reader.raw()?);
            Ok::<_, JsonError>(())
        })?;
        reader.finish()
    });
    if whole.is_ok() { elements } else { vec![line] }
}

/// Parses one message.
#[must_use]
pub fn single(message: &[u8]) -> Message<'_> {
    match Parts::read(message) {
        Ok(parts) => parts.into_message(),
        Err(_) => Message::Opaque,
    }
}

/// The id of a response, even if [`single`] could not parse the rest. For bookkeeping only:
/// nothing else of such a message is used.
#[must_use]
pub fn id_of_response(message: &[u8]) -> Option<Vec<u8>> {
    let outline = outline(message);
    outline.id.filter(|_| outline.is_response && !outline.has_method)
}

#[derive(Debug, Default)]
struct Parts<'f> {
    id: Option<&'f [u8]>,
    method: Option<String>,
    answer: Option<Answer<'f>>,
}

impl<'f> Parts<'f> {
    fn read(message: &'f [u8]) -> Result<Self, JsonError> {
        let mut parts = Self::default();
        let mut reader = Reader::new(message)?;
        reader.object(|reader, key| {
            match key {
                "id" => parts.id = Some(reader.raw()?),
                "method" => parts.method = reader.value()?.as_str().map(str::to_owned),
                "result" => {
                    let shape = Shape::read(reader)?;
                    // With duplicate members, parsers disagree on which one counts.
                    let twice = parts.answer.is_some();
                    parts.answer = Some(if twice {
                        Answer::Unreadable
                    } else {
                        Answer::Result(Box::new(shape))
                    });
                }
                "error" => parts.answer = Some(Answer::Error(error_code(reader)?)),
                _ => drop(reader.raw()?),
            }
            Ok::<_, JsonError>(())
        })?;
        reader.finish()?;
        Ok(parts)
    }

    fn into_message(self) -> Message<'f> {
        match (self.method, self.answer, self.id) {
            (None, Some(answer), Some(id)) => Message::Response { id, answer },
            (Some(_), _, Some(id)) => Message::Request { id },
            (Some(method), _, None) => Message::Notification { method },
            _ => Message::Opaque,
        }
    }
}

impl<'f> Shape<'f> {
    /// The task that will deliver the actual result: `task.taskId` (2025-11-25), or `taskId` in
    /// a result of type `task` (2026).
    #[must_use]
    pub fn begun_task(&self) -> Option<String> {
        if self.result_type == Some(b"\"task\"") {
            return self.task_id.and_then(string);
        }
        let task = crate::json::parse(self.task?).ok()?;
        task.as_object()?.get("taskId")?.as_str().map(str::to_owned)
    }

    fn read(reader: &mut Reader<'f>) -> Result<Self, JsonError> {
        let mut shape = Self::default();
        if !reader.at_object()? {
            reader.raw()?;
            return Ok(shape);
        }
        let mut lists = 0;
        reader.object(|reader, key| {
            let value = reader.raw()?;
            match key {
                "isError" => shape.is_error = value == b"true",
                "resultType" => shape.result_type = Some(value),
                "protocolVersion" => shape.protocol_version = Some(value),
                "tools" => {
                    shape.tools = Some(value);
                    lists += 1;
                }
                "nextCursor" => shape.next_cursor = Some(value).filter(|raw| *raw != b"null"),
                "task" => shape.task = Some(value),
                "taskId" => shape.task_id = Some(value),
                "status" => shape.status = Some(value),
                _ => {}
            }
            Ok::<_, JsonError>(())
        })?;
        if lists > 1 {
            shape.tools = None;
        }
        Ok(shape)
    }
}

fn error_code<'f>(reader: &mut Reader<'f>) -> Result<Option<&'f [u8]>, JsonError> {
    let mut code = None;
    if !reader.at_object()? {
        reader.raw()?;
        return Ok(code);
    }
    reader.object(|reader, key| {
        let value = reader.raw()?;
        if key == "code" {
            code = Some(value);
        }
        Ok::<_, JsonError>(())
    })?;
    Ok(code)
}

/// Parses `raw` as a JSON string.
#[must_use]
pub fn string(raw: &[u8]) -> Option<String> {
    crate::json::parse(raw).ok()?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_requests_and_notifications_are_distinguished() {
        let response =
            single(br#"{"result":{"isError":true,"content":[]},"jsonrpc":"2.0","id":"a"}"#);
        let Message::Response { id, answer: Answer::Result(shape) } = response else { panic!() };
        assert!(id == b"\"a\"" && shape.is_error);
        let error = single(br#"{"id":1,"error":{"code":-32601,"message":"id"}}"#);
        assert_eq!(error, Message::Response { id: b"1", answer: Answer::Error(Some(b"-32601")) });
        assert_eq!(single(br#"{"id":1,"method":"roots/list"}"#), Message::Request { id: b"1" });
        let changed = single(br#"{"method":"notifications/tools/list_changed"}"#);
        assert_eq!(
            changed,
            Message::Notification { method: "notifications/tools/list_changed".into() }
        );
    }

    #[test]
    fn unparsable_messages_are_opaque() {
        for line in
            ["listening on stdio", "{", "", "{}", "{\"id\":1}", "{\"id\":1,\"result\":{}} x"]
        {
            assert_eq!(single(line.as_bytes()), Message::Opaque, "{line}");
        }
        let surrogate = br#"{"id":4,"result":{"content":"\ud800"}}"#;
        assert_eq!(single(surrogate), Message::Opaque);
        assert_eq!(id_of_response(surrogate), Some(b"4".to_vec()));
    }

    #[test]
    fn ambiguous_list_is_not_learned_from() {
        let Message::Response { answer: Answer::Result(shape), .. } =
            single(br#"{"id":1,"result":{"tools":[],"tools":[{"name":"x"}]}}"#)
        else {
            panic!()
        };
        assert_eq!(shape.tools, None);
        let twice = single(br#"{"id":1,"result":{"tools":[]},"result":{}}"#);
        assert!(matches!(twice, Message::Response { answer: Answer::Unreadable, .. }));
    }

    #[test]
    fn a_batch_is_several_messages() {
        let batch = messages(br#" [{"id":1,"result":{}}, {"method":"x"}]"#);
        assert_eq!(batch, [&br#"{"id":1,"result":{}}"#[..], br#"{"method":"x"}"#]);
        for one in ["{}", "[1", "[1] 2", "log"] {
            assert_eq!(messages(one.as_bytes()), [one.as_bytes()]);
        }
    }
}
