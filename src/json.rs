//! Strict JSON: the one parser for everything that is judged.
//!
//! `serde_json::Value` keeps the last of two equal keys and converts long numbers to floats, so its
//! content may differ from what the next parser sees. This one refuses what parsers disagree on
//! (duplicate keys at any depth, lone surrogates, invalid UTF-8, a BOM, excessive depth) and keeps
//! numbers as they were written. Tokens come from `jiter`, a pull parser, in one pass.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};

use jiter::{Jiter, Peek};

/// Maximum nesting depth. Other parsers give up between 64 (some in Go and C) and 1,000; legitimate
/// documents are far below.
pub const MAX_DEPTH: usize = 128;

/// In JavaScript, naively assigning or merging this key changes an object's prototype.
pub const PROTOTYPE: &str = "__proto__";

/// A JSON value; numbers keep their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, unparsed.
    Number(Number),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: unique keys, in the order sent.
    Object(Object),
}

/// A JSON number as it was written: `1`, `1.0` and `1e0` are different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(Box<str>);

/// Members in the order sent; keys are unique.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object(Vec<(String, Json)>);

/// Why a text is not JSON that all parsers interpret alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Invalid JSON, or JSON that parsers interpret differently.
    #[error("{message} at byte {at}")]
    Syntax {
        /// The parser's message.
        message: String,
        /// Offset into the text, in bytes.
        at: usize,
    },
    /// A duplicate key; parsers differ on which one counts.
    #[error("duplicate key `{key}` at byte {at}")]
    DuplicateKey {
        /// The key, unescaped.
        key: String,
        /// Offset after the second key, in bytes.
        at: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Why a text cannot be read as a given type.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// An array: serde would assign its elements to fields by position.
    #[error("the body must be an object, not a list")]
    Array,
    /// Invalid JSON, or members other than those of the type.
    #[error("{0}")]
    Invalid(serde_json::Error),
}

/// Parses an object that the gate's own operator sent.
///
/// # Errors
/// See [`ObjectError`].
pub fn object<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, ObjectError> {
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(ObjectError::Array);
    }
    serde_json::from_slice(text).map_err(ObjectError::Invalid)
}

/// Parses one JSON document. Only white space may follow it.
///
/// # Errors
/// Any [`JsonError`]; no part of the text can be trusted then.
pub fn parse(text: &[u8]) -> Result<Json, JsonError> {
    let mut reader = Reader::new(text)?;
    let value = reader.value()?;
    reader.finish()?;
    Ok(value)
}

/// A pull parser over one document, for callers that need some members as raw bytes and others as
/// values.
#[derive(Debug)]
pub struct Reader<'j> {
    text: &'j [u8],
    tokens: Jiter<'j>,
    /// Buffers for keys, reused so that not every key is allocated.
    spare: Vec<String>,
}

impl<'j> Reader<'j> {
    /// A reader at the start of `text`.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] if `text` is not UTF-8.
    pub fn new(text: &'j [u8]) -> Result<Self, JsonError> {
        std::str::from_utf8(text).map_err(|error| JsonError::Syntax {
            message: "invalid UTF-8".to_owned(),
            at: error.valid_up_to(),
        })?;
        Ok(Self { text, tokens: Jiter::new(text), spare: Vec::new() })
    }

    /// Calls `visit` with each key of the object at the current position, in order. `visit` must
    /// consume the value (by [`Reader::value`] or [`Reader::raw`]); its error ends the walk.
    ///
    /// # Errors
    /// If there is no valid object at this position, or `visit` fails. Duplicate keys are left to
    /// `visit`.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut visit: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut name = self.spare.pop().unwrap_or_default();
        let mut key = self.tokens.next_object();
        while let Some(next) = key.map_err(|error| syntax(self.text, &error))? {
            name.clear();
            name.push_str(next);
            visit(self, &name)?;
            key = self.tokens.next_key();
        }
        self.spare.push(name);
        Ok(())
    }

    /// Whether the value at the current position is an object.
    ///
    /// # Errors
    /// If there is no value.
    pub fn at_object(&mut self) -> Result<bool, JsonError> {
        self.checked(Jiter::peek).map(|peek| peek == Peek::Object)
    }

    /// Calls `visit` for each element of the array at the current position, in order.
    ///
    /// # Errors
    /// As [`Reader::object`].
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut visit: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = self.tokens.next_array();
        while next.map_err(|error| self.syntax(&error))?.is_some() {
            visit(self)?;
            next = self.tokens.array_step();
        }
        Ok(())
    }

    /// Parses the value at the current position.
    ///
    /// # Errors
    /// Any [`JsonError`].
    pub fn value(&mut self) -> Result<Json, JsonError> {
        self.value_at(MAX_DEPTH)
    }

    /// Checks the syntax of the value at the current position and returns its bytes, without
    /// surrounding white space. Does not check for duplicate keys within it.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] or [`JsonError::TooDeep`].
    pub fn raw(&mut self) -> Result<&'j [u8], JsonError> {
        let peek = self.tokens.peek().map_err(|error| self.syntax(&error))?;
        let start = self.tokens.current_index();
        self.tokens.known_skip(peek).map_err(|error| self.syntax(&error))?;
        Ok(self.tokens.slice_to_current(start))
    }

    /// Ends the document.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] if anything except white space is left.
    pub fn finish(mut self) -> Result<(), JsonError> {
        self.tokens.finish().map_err(|error| self.syntax(&error))
    }

    fn value_at(&mut self, depth_left: usize) -> Result<Json, JsonError> {
        let peek = self.tokens.peek().map_err(|error| self.syntax(&error))?;
        match peek {
            Peek::Null => self.checked(|tokens| tokens.known_null()).map(|()| Json::Null),
            Peek::True | Peek::False => {
                self.checked(|tokens| tokens.known_bool(peek)).map(Json::Bool)
            }
            Peek::String => {
                self.checked(|tokens| tokens.known_str().map(str::to_owned)).map(Json::String)
            }
            Peek::Array | Peek::Object if depth_left == 0 => Err(JsonError::TooDeep),
            Peek::Array => {
                let mut items = Vec::new();
                self.array(|reader| {
                    items.push(reader.value_at(depth_left - 1)?);
                    Ok::<_, JsonError>(())
                })?;
                // A vector's first allocation has room for four, which adds up over many small
                // arrays.
                items.shrink_to_fit();
                Ok(Json::Array(items))
            }
            Peek::Object => self.object_at(depth_left - 1),
            _ => self.number(),
        }
    }

    fn object_at(&mut self, depth_left: usize) -> Result<Json, JsonError> {
        let mut members = Vec::new();
        self.object(|reader, key| {
            members.push((key.to_owned(), reader.value_at(depth_left)?));
            Ok::<_, JsonError>(())
        })?;
        match first_duplicate(&members) {
            Some(key) => Err(JsonError::DuplicateKey { key, at: self.tokens.current_index() }),
            None => {
                members.shrink_to_fit();
                Ok(Json::Object(Object(members)))
            }
        }
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let at = self.tokens.current_index();
        let text = self.checked(|tokens| tokens.next_number_bytes().map(<[u8]>::to_vec))?;
        String::from_utf8(text)
            .map(|text| Json::Number(Number(text.into())))
            .map_err(|_| JsonError::Syntax { message: "invalid number".to_owned(), at })
    }

    fn checked<T>(
        &mut self,
        read: impl FnOnce(&mut Jiter<'j>) -> Result<T, jiter::JiterError>,
    ) -> Result<T, JsonError> {
        read(&mut self.tokens).map_err(|error| self.syntax(&error))
    }

    fn syntax(&self, error: &jiter::JiterError) -> JsonError {
        syntax(self.text, error)
    }
}

fn syntax(text: &[u8], error: &jiter::JiterError) -> JsonError {
    let message = error.error_type.to_string();
    if message.contains("recursion limit") {
        return JsonError::TooDeep;
    }
    JsonError::Syntax { message, at: error.index.min(text.len()) }
}

/// Maximum number of keys that are compared pairwise; more are put into a set.
const FEW_KEYS: usize = 16;

fn first_duplicate(members: &[(String, Json)]) -> Option<String> {
    if members.len() <= FEW_KEYS {
        let earlier = |(index, (key, _)): (usize, &(String, Json))| {
            members.iter().take(index).any(|(other, _)| other == key).then(|| key.clone())
        };
        return members.iter().enumerate().find_map(earlier);
    }
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().find(|(key, _)| !seen.insert(key.as_str())).map(|(key, _)| key.clone())
}

/// The order of keys in JSON that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    AsSent,
    Sorted,
}

impl Number {
    /// Parses a number; `None` if `text` is not exactly a JSON number.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        match parse(text.as_bytes()) {
            Ok(Json::Number(number)) if &*number.0 == text => Some(number),
            _ => None,
        }
    }

    /// The number as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Object {
    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of `key`, mutable.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Json> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The members in the order sent.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Json)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes and returns the value of `key`, keeping the order of the others.
    pub fn take(&mut self, key: &str) -> Option<Json> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    /// Sets the value of `key`, in place if it exists.
    pub fn put(&mut self, key: &str, value: Json) {
        match self.get_mut(key) {
            Some(there) => *there = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// The canonical form, for digests; see [`Json::canonical`].
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Order::Sorted);
        out
    }

    /// Builds an object; `None` if a key occurs twice.
    #[must_use]
    pub fn from_members(members: Vec<(String, Json)>) -> Option<Self> {
        first_duplicate(&members).is_none().then_some(Self(members))
    }

    /// Builds an object from parameters. The values of a repeated parameter become an array.
    #[must_use]
    pub fn from_parameters<T: AsRef<str>>(pairs: &[(T, T)]) -> Self {
        let mut places = HashMap::with_capacity(pairs.len());
        let mut members: Vec<(String, Json)> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), Json::String(value.as_ref().to_owned()));
            let place = *places.entry(name).or_insert(members.len());
            match members.get_mut(place) {
                None => members.push((name.to_owned(), value)),
                Some((_, Json::Array(values))) => values.push(value),
                Some((_, first)) => {
                    let earlier = std::mem::replace(first, Json::Null);
                    *first = Json::Array(vec![earlier, value]);
                }
            }
        }
        Self(members)
    }
}

impl Json {
    /// The object, if it is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The canonical form, for digests: keys sorted by their bytes at every level, no white space,
    /// numbers as they were written.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Order::Sorted);
        out
    }

    fn write(&self, out: &mut String, order: Order) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(number) => out.push_str(&number.0),
            Self::String(text) => write_string(out, text),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out, order);
                }
                out.push(']');
            }
            Self::Object(object) => object.write(out, order),
        }
    }
}

impl Object {
    fn write(&self, out: &mut String, order: Order) {
        let mut members: Vec<&(String, Json)> = self.0.iter().collect();
        if order == Order::Sorted {
            members.sort_unstable_by_key(|(key, _)| key.as_bytes());
        }
        out.push('{');
        for (index, (key, value)) in members.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_string(out, key);
            out.push(':');
            value.write(out, order);
        }
        out.push('}');
    }
}

/// Writes `text` as a JSON string. Escapes only what RFC 8259, section 7, requires.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    // Escaped bytes are ASCII, so the slices between them are valid UTF-8.
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if !matches!(byte, ..b' ' | b'"' | b'\\') {
            continue;
        }
        out.push_str(text.get(plain..at).unwrap_or_default());
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                // INVARIANT (infallible): writing to a String cannot fail.
                let _ = write!(out, "\\u{control:04x}");
            }
        }
    }
    out.push_str(text.get(plain..).unwrap_or_default());
    out.push('"');
}

/// Compact JSON with keys in the order sent.
impl fmt::Display for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out, Order::AsSent);
        formatter.write_str(&out)
    }
}

#[cfg(test)]
mod tests;
