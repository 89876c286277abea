//! Strict parsing of what a client sends.
//!
//! The gate forwards bytes, so what the server's parser makes of them must be what was judged here.
//! A message that some parser could read as another one is refused: duplicate keys, keys and
//! methods that look like known ones (see [`crate::fold`]), arrays in place of objects, ids other
//! than strings and integers, a carriage return inside a line. The result borrows from the bytes,
//! which are never rewritten. Pure.

mod framing;

pub use framing::Framing;

use super::codes;
use super::era::{self, Batches};
use super::scan::{MAX_TOKEN, Outline, is_id, outline};
use crate::fold::{duplicate_keys, fold};
use crate::json::{self, Json, JsonError, Object, PROTOTYPE, Reader};
use crate::terminal::brief;

/// Maximum number of messages in a batch.
pub const MAX_BATCH: usize = 1_000;

/// Maximum length of an id as raw JSON, in bytes. The scanner keeps that much, and the
/// separator after it.
pub const MAX_ID: usize = MAX_TOKEN - 1;

/// Maximum length of a member's name, in bytes. Even with every character escaped the scanner
/// keeps it, so that parser and scanner always see the same id.
const MAX_KEY: usize = MAX_TOKEN / 8;

/// Members that determine what a message is.
const ENVELOPE_KEYS: [&str; 7] =
    ["jsonrpc", "id", "method", "params", "result", "error", PROTOTYPE];

/// Members that determine what a `tools/call` does.
const CALL_KEYS: [&str; 7] =
    ["name", "arguments", era::META, "task", "inputResponses", "requestState", PROTOTYPE];

/// Whether messages come, or are answered, each by itself or as a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One message, or one per line.
    Single,
    /// An array.
    Batch,
}

/// A line from a client.
#[derive(Debug)]
pub enum Frame<'f> {
    /// Only white space.
    Blank,
    /// One message.
    Single(Message<'f>),
    /// A JSON-RPC batch, in the revision that has them.
    Batch(Vec<Message<'f>>),
}

/// A message from a client.
#[derive(Debug)]
pub struct Message<'f> {
    /// The id as raw JSON; `None` for a notification.
    pub id: Option<&'f [u8]>,
    /// What the message is.
    pub content: Content<'f>,
}

/// Content of a message.
#[derive(Debug)]
pub enum Content<'f> {
    /// A `tools/call`.
    Call(Call),
    /// Any other request, or a notification.
    Other(Other<'f>),
    /// The response to a request of the peer.
    Response {
        /// Whether it is an error.
        is_error: bool,
    },
}

/// The parts of a `tools/call` that the gate needs.
#[derive(Debug)]
pub struct Call {
    /// The tool's name as sent; never empty.
    pub name: String,
    /// The arguments; empty if there are none.
    pub arguments: Object,
    /// `_meta`; empty if there is none.
    pub meta: Object,
    /// Whether `params.task` is present: the result comes later (2025-11-25).
    pub task: bool,
    /// The other members of `params`.
    pub others: Object,
}

/// A request or a notification other than `tools/call`.
#[derive(Debug)]
pub struct Other<'f> {
    /// The method as sent.
    pub method: String,
    params: Option<&'f [u8]>,
}

/// A message that is refused because it cannot be parsed unambiguously.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Ids to respond to, as raw JSON. A single `None` if no id can be read for certain.
    pub ids: Vec<Option<Vec<u8>>>,
    /// The id of the server's request that it responds to.
    pub answered: Option<Vec<u8>>,
    /// How it has to be answered.
    pub layout: Layout,
    /// The method, if it is a known one.
    pub method: Option<&'static str>,
    /// The error.
    pub fault: Fault,
}

/// An error in a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    /// JSON-RPC error code (JSON-RPC 2.0, section 5.1).
    pub code: i64,
    /// Description for the sender.
    pub what: String,
}

/// Parses a line (with or without its end) or a body.
///
/// # Errors
/// [`Unreadable`] for everything that two parsers might read differently.
pub fn read(line: &[u8], batches: Batches, framing: Framing) -> Result<Frame<'_>, Unreadable> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(first) = line.iter().find(|byte| !byte.is_ascii_whitespace()) else {
        return Ok(Frame::Blank);
    };
    match first {
        b'[' => read_batch(line, batches, framing),
        _ => read_single(line, framing).map(Frame::Single).map_err(|fault| unreadable(line, fault)),
    }
}

fn read_single(line: &[u8], framing: Framing) -> Result<Message<'_>, Fault> {
    if framing.breaks(line) {
        return Err(Fault::request("a carriage return inside a message"));
    }
    let mut reader = Reader::new(line)?;
    let message = Parts::read(&mut reader)?;
    reader.finish()?;
    message.into_message()
}

fn read_batch(line: &[u8], batches: Batches, framing: Framing) -> Result<Frame<'_>, Unreadable> {
    let elements = split_batch(line).map_err(|fault| unreadable(line, fault))?;
    let layout = match batches {
        Batches::Allowed => Layout::Batch,
        Batches::Refused => Layout::Single,
    };
    let refuse = |fault| {
        let ids = elements.iter().map(|element| outline(element)).collect::<Vec<_>>();
        let asking = ids.into_iter().filter(|outline| !outline.is_response && outline.id.is_some());
        let mut ids: Vec<_> = asking.map(|outline| outline.id).collect();
        if ids.is_empty() {
            ids.push(None);
        }
        Unreadable { ids, answered: None, layout, method: None, fault }
    };
    if batches == Batches::Refused {
        let what = "an array of messages: the revision agreed on has no batches";
        return Err(refuse(Fault::request(what)));
    }
    if elements.is_empty() {
        return Err(refuse(Fault::request("an empty batch")));
    }
    let messages: Result<Vec<_>, _> =
        elements.iter().map(|element| read_single(element, framing)).collect();
    messages.map(Frame::Batch).map_err(refuse)
}

fn split_batch(line: &[u8]) -> Result<Vec<&[u8]>, Fault> {
    let mut elements = Vec::new();
    let mut reader = Reader::new(line)?;
    reader.array(|reader| {
        if elements.len() == MAX_BATCH {
            return Err(Fault::request(format!("a batch of more than {MAX_BATCH} messages")));
        }
        elements.push(reader.raw()?);
        Ok(())
    })?;
    reader.finish()?;
    Ok(elements)
}

fn unreadable(line: &[u8], fault: Fault) -> Unreadable {
    Unreadable { method: likely_method(line), ..Unreadable::outlined(outline(line), fault) }
}

impl Unreadable {
    /// A message of which only the outline is known.
    #[must_use]
    pub fn outlined(outline: Outline, fault: Fault) -> Self {
        let (id, answered) = if outline.is_response && !outline.has_method {
            // A response: its id is the server's, and the client would mistake it for its own.
            (None, outline.id)
        } else {
            (outline.id, None)
        };
        Self { ids: vec![id], answered, layout: Layout::Single, method: None, fault }
    }

    /// A request that was parsed, but is not what it seems.
    #[must_use]
    pub fn answering(id: Option<&[u8]>, fault: Fault) -> Self {
        let ids = vec![id.map(<[u8]>::to_vec)];
        Self { ids, answered: None, layout: Layout::Single, method: None, fault }
    }
}

impl<'f> Message<'f> {
    /// The id, if the message is a request.
    #[must_use]
    pub fn request_id(&self) -> Option<&'f [u8]> {
        self.id.filter(|_| !matches!(self.content, Content::Response { .. }))
    }

    /// The content of a `tools/call`.
    #[must_use]
    pub fn call(&self) -> Option<&Call> {
        match &self.content {
            Content::Call(call) => Some(call),
            _ => None,
        }
    }

    /// Whether it is `notifications/initialized`.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        matches!(&self.content, Content::Other(other) if other.method == "notifications/initialized")
    }
}

/// The known method that the text contains, if any. For logging only.
pub(super) fn likely_method(line: &[u8]) -> Option<&'static str> {
    let mentions = |method: &&str| memchr::memmem::find(line, method.as_bytes()).is_some();
    era::methods().find(mentions)
}

/// Members of a message, collected before its kind is known.
#[derive(Debug, Default)]
struct Parts<'f> {
    seen: Vec<&'static str>,
    id: Option<&'f [u8]>,
    method: Option<String>,
    params: Option<Params<'f>>,
    answers: bool,
    fails: bool,
}

#[derive(Debug)]
enum Params<'f> {
    Call(Call),
    Raw(&'f [u8]),
}

impl<'f> Parts<'f> {
    fn read(reader: &mut Reader<'f>) -> Result<Self, Fault> {
        let mut parts = Self::default();
        let mut others = Vec::new();
        reader.object(|reader, key| match exact(&ENVELOPE_KEYS, key, "the message")? {
            Some(known) => parts.member(known, reader),
            None if key.len() > MAX_KEY => {
                let what = format!("a key of more than {MAX_KEY} bytes in the message");
                Err(Fault::request(what))
            }
            None => {
                others.push(key.to_owned());
                reader.value().map(drop).map_err(Fault::from)
            }
        })?;
        others.sort_unstable();
        match others.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(pair) => Err(twice(pair.first().map_or("", String::as_str), "the message")),
            None => Ok(parts),
        }
    }

    fn member(&mut self, key: &'static str, reader: &mut Reader<'f>) -> Result<(), Fault> {
        if self.seen.contains(&key) {
            return Err(twice(key, "the message"));
        }
        self.seen.push(key);
        match key {
            "id" => self.id = Some(reader.raw()?),
            "method" => match reader.value()? {
                Json::String(method) => self.method = Some(known_method(method)?),
                _ => return Err(Fault::request("`method` is not a string")),
            },
            "params" if self.method.as_deref() == Some("tools/call") => {
                self.params = Some(Params::Call(Call::read(reader)?));
            }
            "params" => self.params = Some(Params::Raw(reader.raw()?)),
            "result" | "error" => {
                self.answers = true;
                self.fails |= key == "error";
                reader.raw()?;
            }
            _ => drop(reader.value()?),
        }
        Ok(())
    }

    fn into_message(self) -> Result<Message<'f>, Fault> {
        let Some(method) = self.method else {
            return self.into_response();
        };
        if self.answers {
            return Err(Fault::request("both a request and a response"));
        }
        if self.id.is_some_and(|id| !is_id(id)) {
            return Err(Fault::request("`id` is neither a string nor an integer"));
        }
        if self.id.is_some_and(|id| id.len() > MAX_ID) {
            return Err(Fault::request(format!("`id` is longer than {MAX_ID} bytes")));
        }
        let content = if method == "tools/call" {
            let call = match self.params {
                Some(Params::Call(call)) => call,
                Some(Params::Raw(raw)) => Call::read(&mut Reader::new(raw)?)?,
                None => return Err(Fault::params("`params.name` is missing")),
            };
            // Servers that ignore the missing id would execute it all the same.
            if self.id.is_none() {
                return Err(Fault::request("`tools/call` without an `id`"));
            }
            Content::Call(call)
        } else {
            let params = match self.params {
                Some(Params::Raw(raw)) => Some(raw),
                Some(Params::Call(_)) | None => None,
            };
            params.map(|raw| check_params(&method, raw)).transpose()?;
            Content::Other(Other { method, params })
        };
        Ok(Message { id: self.id, content })
    }

    fn into_response(self) -> Result<Message<'f>, Fault> {
        if !self.answers {
            return Err(Fault::request("neither a request nor a response"));
        }
        Ok(Message { id: self.id, content: Content::Response { is_error: self.fails } })
    }
}

impl Call {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut members = match reader.value()? {
            Json::Object(object) => object,
            _ => return Err(Fault::params("`params` is not an object")),
        };
        for (key, _) in members.iter() {
            exact(&CALL_KEYS, key, "`params`")?;
        }
        let name = match members.take("name") {
            Some(Json::String(name)) if !name.is_empty() => name,
            Some(Json::String(_)) => return Err(Fault::params("`params.name` is empty")),
            Some(_) => return Err(Fault::params("`params.name` is not a string")),
            None => return Err(Fault::params("`params.name` is missing")),
        };
        let task = members.get("task").is_some_and(|task| *task != Json::Null);
        let arguments = object_or_none(members.take("arguments"), "arguments")?;
        if arguments.get(PROTOTYPE).is_some() {
            return Err(Fault::params("`__proto__` in `params.arguments`"));
        }
        let meta = object_or_none(members.take(era::META), era::META)?;
        Ok(Self { name, arguments, meta, task, others: members })
    }
}

impl Other<'_> {
    /// Parses the parameters; empty if there are none.
    ///
    /// # Errors
    /// If they are not an object.
    pub fn params(&self) -> Result<Object, Fault> {
        let tree = self.params.map(json::parse).transpose()?;
        object_or_none(tree, "params")
    }
}

pub(super) fn object_or_none(value: Option<Json>, what: &str) -> Result<Object, Fault> {
    match value {
        Some(Json::Object(object)) => Ok(object),
        // Several SDKs serialise absent parameters as null, and all servers accept that.
        Some(Json::Null) | None => Ok(Object::default()),
        Some(_) => Err(Fault::params(format!("`{what}` is not an object"))),
    }
}

/// Checks the parameters of a method other than `tools/call`: no duplicate or lookalike keys at
/// any depth, and an object if the method is known.
fn check_params(method: &str, raw: &[u8]) -> Result<(), Fault> {
    match json::parse(raw)? {
        Json::Object(params) => match duplicate_keys(&params) {
            Some((one, other)) => Err(Fault::params(format!(
                "`params` has both `{}` and `{}`, which some parsers read as one key",
                brief(one),
                brief(other)
            ))),
            None => Ok(()),
        },
        Json::Null => Ok(()),
        _ if !era::is_known(method) => Ok(()),
        _ => Err(Fault::params("`params` is not an object")),
    }
}

/// The known key equal to `key`; an error if `key` is only a lookalike of one.
pub(super) fn exact(
    known: &'static [&'static str],
    key: &str,
    place: &str,
) -> Result<Option<&'static str>, Fault> {
    if let Some(same) = known.iter().find(|name| **name == key) {
        if *same == PROTOTYPE {
            return Err(Fault::request(format!("`{PROTOTYPE}` in {place}")));
        }
        return Ok(Some(same));
    }
    let folded = fold(key);
    match known.iter().find(|name| fold(name) == folded) {
        Some(near) => Err(Fault::request(format!(
            "the key `{}` in {place} is not `{near}`, but some parsers read it so",
            brief(key)
        ))),
        None => Ok(None),
    }
}

/// Returns `method`; an error if it is a lookalike of a known one.
pub(super) fn known_method(method: String) -> Result<String, Fault> {
    if era::is_known(&method) {
        return Ok(method);
    }
    let folded = fold(&method);
    match era::methods().find(|known| fold(known) == folded) {
        Some(near) => Err(Fault::request(format!(
            "the method `{}` is not `{near}`, but some parsers read it so",
            brief(&method)
        ))),
        None => Ok(method),
    }
}

pub(super) fn twice(key: &str, place: &str) -> Fault {
    Fault::request(format!("the key `{}` stands twice in {place}", brief(key)))
}

impl Fault {
    /// An invalid request.
    pub fn request(what: impl Into<String>) -> Self {
        Self { code: codes::INVALID_REQUEST, what: what.into() }
    }

    /// Invalid parameters.
    pub fn params(what: impl Into<String>) -> Self {
        Self { code: codes::INVALID_PARAMS, what: what.into() }
    }
}

impl From<JsonError> for Fault {
    fn from(error: JsonError) -> Self {
        let code = match error {
            JsonError::Syntax { .. } => codes::PARSE_ERROR,
            JsonError::DuplicateKey { .. } | JsonError::TooDeep => codes::INVALID_REQUEST,
        };
        Self { code, what: error.to_string() }
    }
}

#[cfg(test)]
mod tests;
