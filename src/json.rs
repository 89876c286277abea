//! Strict JSON: one reader for every byte that is judged.
//!
//! `serde_json::Value` keeps the last of two equal keys and turns long numbers
//! into floats, so what it shows is not always what the next parser reads.
//! This tree refuses what parsers disagree on (duplicate keys at any depth,
//! lone surrogates, invalid UTF-8, a BOM, absurd depth) and keeps every number
//! as it was written. Tokens come from `jiter`, a pull parser, in one pass.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};

use jiter::{Jiter, Peek};

/// Nesting beyond which a document is refused. Peers give up between 64
/// (some Go and C parsers) and 1,000; nothing legitimate comes near.
pub const MAX_DEPTH: usize = 128;

/// In JavaScript, naively assigning or merging this key changes an object's prototype.
pub const PROTOTYPE: &str = "__proto__";

/// A JSON value whose numbers are still the text they were sent as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, unparsed.
    Number(Number),
    /// A string, its escapes resolved.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, its keys unique and in the order sent.
    Object(Object),
}

/// A JSON number as it was written: `1`, `1.0` and `1e0` stay three texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(Box<str>);

/// Key–value pairs in the order sent; no key occurs twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object(Vec<(String, Json)>);

/// Why a text is not JSON that every parser reads alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON at all, or JSON that parsers read differently.
    #[error("{message} at byte {at}")]
    Syntax {
        /// What is wrong, in the parser's words.
        message: String,
        /// Offset into the text, in bytes.
        at: usize,
    },
    /// An object gives one key twice; parsers differ on which counts.
    #[error("duplicate key `{key}` at byte {at}")]
    DuplicateKey {
        /// The key, escapes resolved.
        key: String,
        /// Offset just behind the second key, in bytes.
        at: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Why a text is not the object that is wanted.
#[derive(Debug, thiserror::Error)]
pub enum NotWanted {
    /// A list, which would be taken for the members in order.
    #[error("the body must be an object, not a list")]
    List,
    /// No JSON, or other members than are wanted.
    #[error("{0}")]
    Otherwise(serde_json::Error),
}

/// Reads an object from the gate's own operator into `T`.
///
/// # Errors
/// See [`NotWanted`].
pub fn object<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, NotWanted> {
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(NotWanted::List);
    }
    serde_json::from_slice(text).map_err(NotWanted::Otherwise)
}

/// Reads one JSON document; nothing but white space may follow it.
///
/// # Errors
/// Any [`JsonError`]; the text is then not to be trusted in any part.
pub fn parse(text: &[u8]) -> Result<Json, JsonError> {
    let mut reader = Reader::new(text)?;
    let value = reader.value()?;
    reader.finish()?;
    Ok(value)
}

/// A pull reader over one document, for callers that want the raw bytes of
/// some members and the tree of others.
#[derive(Debug)]
pub struct Reader<'j> {
    text: &'j [u8],
    tokens: Jiter<'j>,
    /// Room for keys: most objects are read for a few of them, which need not be allocated
    /// one by one.
    spare: Vec<String>,
}

impl<'j> Reader<'j> {
    /// Starts at the first byte of `text`.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] where `text` is not UTF-8.
    pub fn new(text: &'j [u8]) -> Result<Self, JsonError> {
        std::str::from_utf8(text).map_err(|error| JsonError::Syntax {
            message: "invalid UTF-8".to_owned(),
            at: error.valid_up_to(),
        })?;
        Ok(Self { text, tokens: Jiter::new(text), spare: Vec::new() })
    }

    /// Visits the members of the object that starts here, in order. `visit`
    /// gets the key and must consume the value (by [`Reader::value`] or
    /// [`Reader::raw`]); its error ends the walk.
    ///
    /// # Errors
    /// Where no object starts here, where it is malformed, or what `visit`
    /// returns. Duplicate keys are `visit`'s to judge.
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

    /// Whether the value that starts here is an object.
    ///
    /// # Errors
    /// Where no value starts here.
    pub fn at_object(&mut self) -> Result<bool, JsonError> {
        self.checked(Jiter::peek).map(|peek| peek == Peek::Object)
    }

    /// Visits the elements of the array that starts here, in order.
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

    /// Reads the value that starts here into a tree.
    ///
    /// # Errors
    /// Any [`JsonError`].
    pub fn value(&mut self) -> Result<Json, JsonError> {
        self.value_at(MAX_DEPTH)
    }

    /// Checks the syntax of the value that starts here and returns its bytes
    /// without white space around them. Keys within it are not compared.
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
    /// [`JsonError::Syntax`] where anything but white space is left.
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
                // Room for four, in each of a million lists, is more than what is said.
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

/// Pairs below this number are compared with each other; more go through a set.
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

impl Number {
    /// Takes a number's text, where it is one by JSON's grammar.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        match parse(text.as_bytes()) {
            Ok(Json::Number(number)) if &*number.0 == text => Some(number),
            _ => None,
        }
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Object {
    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value under `key`, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Json> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The members in the order sent.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Json)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes and returns the value under `key`; the others keep their order.
    pub fn take(&mut self, key: &str) -> Option<Json> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    /// Puts `value` under `key`, in the place of the one that is there.
    pub fn put(&mut self, key: &str, value: Json) {
        match self.get_mut(key) {
            Some(there) => *there = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// The text that a digest is taken over; see [`Json::canonical`].
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, true);
        out
    }

    /// Builds an object; `None` where a key occurs twice.
    #[must_use]
    pub fn from_members(members: Vec<(String, Json)>) -> Option<Self> {
        first_duplicate(&members).is_none().then_some(Self(members))
    }

    /// Builds an object of parameters, which may be repeated: such a one has all
    /// its values, in an array.
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
    /// The object, where this is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The string, where this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text that a digest is taken over: keys sorted by their bytes at
    /// every level, no white space, numbers as they were written.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, true);
        out
    }

    fn write(&self, out: &mut String, sorted: bool) {
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
                    item.write(out, sorted);
                }
                out.push(']');
            }
            Self::Object(object) => object.write(out, sorted),
        }
    }
}

impl Object {
    fn write(&self, out: &mut String, sorted: bool) {
        let mut members: Vec<&(String, Json)> = self.0.iter().collect();
        if sorted {
            members.sort_unstable_by_key(|(key, _)| key.as_bytes());
        }
        out.push('{');
        for (index, (key, value)) in members.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_string(out, key);
            out.push(':');
            value.write(out, sorted);
        }
        out.push('}');
    }
}

/// Writes `text` as a JSON string: only what RFC 8259 (section 7) obliges is escaped.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    // What is escaped is ASCII, so what stands between is whole characters.
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
        self.write(&mut out, false);
        formatter.write_str(&out)
    }
}

#[cfg(test)]
mod tests;
