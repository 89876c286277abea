//! The outline of a message that is too large or too malformed to be parsed: its id and kind, found
//! in one pass over bytes that need not be kept.

use crate::fold::fold;
use crate::json::{self, Json};

/// Maximum length of a key or id, in bytes; after a longer one the message's id is in doubt.
pub const MAX_TOKEN: usize = 1 << 10;

/// Incremental scanner for messages of any size. Never fails: what is uncertain is not
/// reported.
#[derive(Debug, Default)]
pub struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// What the next token at the top level is.
    expects: Expects,
    /// Whether the current token has to be kept.
    keeps: bool,
    token: Vec<u8>,
    ids: Vec<Vec<u8>>,
    methods: usize,
    answers: usize,
    doubtful: bool,
}

/// Result of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The id as raw JSON (integer or string); `None` unless exactly one can be read for
    /// certain.
    pub id: Option<Vec<u8>>,
    /// Whether it has a `method`, so is a request or notification.
    pub has_method: bool,
    /// Whether it has a `result` or `error`, so is a response.
    pub is_response: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expects {
    #[default]
    Start,
    Key,
    Value(Meant),
    End,
}

/// Meaning of a key at the top level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meant {
    Id,
    /// Some parsers read it as `id`.
    LikeId,
    Method,
    Answer,
    Other,
}

impl Meant {
    /// Meaning of the key with the raw text `token`; `None` if it is not a string.
    fn by(token: &[u8]) -> Option<Self> {
        let parsed;
        let key = match plain(token) {
            Some(key) => key,
            None => {
                let Ok(Json::String(key)) = json::parse(token) else { return None };
                parsed = key;
                &parsed
            }
        };
        Some(match (key, &*fold(key)) {
            ("id", _) => Self::Id,
            (_, "id") => Self::LikeId,
            (_, "method") => Self::Method,
            (_, "result" | "error") => Self::Answer,
            _ => Self::Other,
        })
    }
}

/// The text of a string without escapes.
fn plain(token: &[u8]) -> Option<&str> {
    let text = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_plain = text.iter().all(u8::is_ascii_alphanumeric);
    is_plain.then(|| std::str::from_utf8(text).ok()).flatten()
}

/// Whether a message may contain the string `text`. With any escape in it, it may.
#[must_use]
pub fn may_hold(message: &[u8], text: &str) -> bool {
    memchr::memmem::find(message, text.as_bytes()).is_some() || message.contains(&b'\\')
}

/// Scans a whole message.
#[must_use]
pub fn outline(message: &[u8]) -> Outline {
    let mut scan = Scan::default();
    scan.feed(message);
    scan.finish()
}

impl Scan {
    /// Processes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            if self.in_string && !self.keeps && !self.escaped {
                // The rest of the string is irrelevant.
                let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                rest = rest.get(end..).unwrap_or_default();
            }
            let Some((byte, behind)) = rest.split_first() else { return };
            match self.in_string {
                true => self.inside_string(*byte),
                false => self.outside_string(*byte),
            }
            rest = behind;
        }
    }

    /// Ends the scan.
    #[must_use]
    pub fn finish(self) -> Outline {
        let closed = self.expects == Expects::End && !self.doubtful;
        let id = match self.ids.as_slice() {
            [id] if closed => is_id(id).then(|| id.clone()),
            _ => None,
        };
        Outline { id, has_method: self.methods > 0, is_response: self.answers > 0 }
    }

    fn inside_string(&mut self, byte: u8) {
        self.keep(byte);
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => {
                self.in_string = false;
                if self.depth == 1 && self.expects == Expects::Key {
                    self.key();
                }
            }
            _ => {}
        }
    }

    fn outside_string(&mut self, byte: u8) {
        match byte {
            // White space separates tokens (`1 2` is not 12); a run of it is kept as one.
            b' ' | b'\t' | b'\r' | b'\n' if matches!(self.token.last(), None | Some(b' ')) => {}
            b' ' | b'\t' | b'\r' | b'\n' => self.keep(b' '),
            _ if self.expects == Expects::End => self.doubtful = true,
            b'"' => {
                self.in_string = true;
                let key = self.depth == 1 && self.expects == Expects::Key;
                self.keeps |= key;
                self.keep(byte);
            }
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(),
            b',' if self.depth == 1 => self.end_value(),
            b':' if self.depth == 1 => {}
            _ if self.depth == 0 => self.doubtful = true,
            _ => self.keep(byte),
        }
    }

    fn open(&mut self, byte: u8) {
        match (self.depth, byte) {
            (0, b'{') => self.expects = Expects::Key,
            (0, _) => self.doubtful = true,
            _ => self.keep(byte),
        }
        self.depth += 1;
    }

    fn close(&mut self) {
        match self.depth {
            0 => self.doubtful = true,
            1 => {
                self.end_value();
                self.expects = Expects::End;
                self.depth = 0;
            }
            _ => self.depth -= 1,
        }
    }

    fn key(&mut self) {
        let meant = Meant::by(&self.token);
        self.forget_token();
        let Some(meant) = meant else {
            self.doubtful = true;
            return;
        };
        match meant {
            Meant::LikeId => self.doubtful = true,
            Meant::Method => self.methods += 1,
            Meant::Answer => self.answers += 1,
            Meant::Id | Meant::Other => {}
        }
        self.keeps = meant == Meant::Id;
        self.expects = Expects::Value(meant);
    }

    fn end_value(&mut self) {
        if self.expects == Expects::Value(Meant::Id) {
            self.ids.push(self.token.trim_ascii_end().to_vec());
        }
        self.forget_token();
        self.expects = Expects::Key;
    }

    fn forget_token(&mut self) {
        self.keeps = false;
        self.token.clear();
    }

    fn keep(&mut self, byte: u8) {
        if !self.keeps {
            return;
        }
        if self.token.len() < MAX_TOKEN {
            self.token.push(byte);
        } else {
            self.doubtful = true;
            self.keeps = false;
        }
    }
}

/// Whether `token` is an id that all parsers read alike: a string, or an integer without
/// fraction and exponent.
#[must_use]
pub fn is_id(token: &[u8]) -> bool {
    match token {
        [b'"', ..] => matches!(json::parse(token), Ok(Json::String(_))),
        [b'-', digits @ ..] => is_natural(digits) && digits != b"0",
        digits => is_natural(digits),
    }
}

fn is_natural(digits: &[u8]) -> bool {
    match digits {
        [] => false,
        [b'0', rest @ ..] => rest.is_empty(),
        all => all.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(message: &str) -> Option<String> {
        outline(message.as_bytes()).id.map(|id| String::from_utf8(id).unwrap())
    }

    #[test]
    fn id_is_found_at_any_position() {
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":7,"method":"x"}"#).as_deref(), Some("7"));
        assert_eq!(
            id(r#"{"result":{"id":3,"x":["id",{"id":4}]}, "id" : "a\"}b" }"#).as_deref(),
            Some(r#""a\"}b""#)
        );
        assert_eq!(id(" {\"id\":-12\r\n}\r\n").as_deref(), Some("-12"));
        assert_eq!(id(r#"{"\u0069d":1}"#).as_deref(), Some("1"));
        let apart = format!("{{\"id\":1{}}}", " ".repeat(2 * MAX_TOKEN));
        assert_eq!(id(&apart).as_deref(), Some("1"));
    }

    #[test]
    fn a_doubtful_id_is_none() {
        for doubtful in [
            r#"{"id":1,"id":2}"#,
            r#"{"id":1,"ID":2}"#,
            r#"{"id":1,"id\u0000":2}"#,
            r#"{"Id":1}"#,
            r#"{"id":1.0}"#,
            r#"{"id":1e3}"#,
            r#"{"id":null}"#,
            r#"{"id":true}"#,
            r#"{"id":[1]}"#,
            r#"{"id":{}}"#,
            r#"{"id":01}"#,
            r#"{"id":-0}"#,
            r#"{"id":1"#,
            r#"{"id":1}{"id":2}"#,
            r#"{"id":1} x"#,
            r#"[{"id":1}]"#,
            r#"{"id":}"#,
            r#"{"id":1 2}"#,
            "",
            "x",
            r#""id":1"#,
            r#"{"id":"\ud800"}"#,
            &format!(r#"{{"id\u0000{}":1,"id":2}}"#, "k".repeat(MAX_TOKEN)),
            &format!(r#"{{"id":"{}"}}"#, "k".repeat(MAX_TOKEN)),
        ] {
            assert_eq!(id(doubtful), None, "{doubtful}");
        }
    }

    #[test]
    fn requests_and_responses_are_distinguished() {
        let seen = outline(br#"{"id":1,"result":{"method":"x"}}"#);
        assert!(seen.is_response && !seen.has_method);
        let seen = outline(br#"{"id":1,"method":"x","params":{"error":1}}"#);
        assert!(!seen.is_response && seen.has_method);
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_does_not_matter(text in "[{}\\[\\]\",:a-z0-9\\\\ id]{0,60}", cut in 0usize..60) {
            let bytes = text.as_bytes();
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let mut scan = Scan::default();
            scan.feed(head);
            scan.feed(tail);
            prop_assert_eq!(scan.finish(), outline(bytes));
        }

        #[test]
        fn the_id_of_real_json_is_what_serde_reads(id in any::<i64>(), other in "\\PC{0,20}", nested in any::<bool>()) {
            let inner = if nested { serde_json::json!({"id": 0, "a": [other]}) } else { serde_json::json!(other) };
            let message = serde_json::json!({"params": inner, "id": id, "z": [1, {"id": 2}]}).to_string();
            prop_assert_eq!(outline(message.as_bytes()).id, Some(id.to_string().into_bytes()));
        }
    }
}
