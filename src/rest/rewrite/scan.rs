//! A streaming JSON scanner: strings where a URL is expected are passed to an [`Editor`],
//! which may replace them. No other byte changes; what is not JSON passes, too. Pure.

use std::borrow::Cow;

use memchr::memchr2;

/// Maximum length of a member name to match, in raw bytes.
const MAX_NAME: usize = 64;

/// Maximum length of a string to edit, in raw bytes. Providers' URLs are far shorter.
pub(super) const MAX_URL: usize = 16 << 10;

/// Maximum nesting depth at which names are matched.
const MAX_DEPTH: usize = 256;

/// Edits strings.
pub(super) trait Editor {
    /// What a member's name says about its value.
    type Member: Copy;

    /// Whether the value of `name`, or the strings in its array, may be URLs.
    fn member(&self, name: &str) -> Option<Self::Member>;

    /// As [`Editor::member`], for other names, and those too long or too deep.
    fn unnamed(&self) -> Option<Self::Member>;

    /// Whether a string with the raw prefix `start` may be a URL.
    fn may_begin(&self, start: &[u8]) -> bool;

    /// The replacement, if any.
    fn edit(&self, member: Self::Member, text: &str) -> Option<Edit>;
}

/// An edit of a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// Replaces the first `until` bytes, which are ASCII, by `to`.
    Prefix {
        /// Offset in the unescaped string.
        until: usize,
        /// ASCII without quotes and backslashes.
        to: String,
    },
    /// Replaces the whole string. ASCII without quotes and backslashes.
    Whole(String),
}

#[derive(Debug, Clone, Copy)]
enum Frame<M> {
    /// In an object: next is a name, or the value of `member`.
    Object { expects_name: bool, member: Option<M> },
    /// In an array, whose strings are values of `member`.
    Array { member: Option<M> },
}

#[derive(Debug, Clone, Copy)]
enum Inside<M> {
    /// Outside strings, or in one that is not edited.
    Plain,
    /// In a name, which passes unchanged.
    Name,
    /// In a string that is held until it is complete.
    Url(M),
}

/// The state of the scanner.
#[derive(Debug)]
pub(super) struct Scanner<E: Editor> {
    editor: E,
    frames: Vec<Frame<E::Member>>,
    in_string: bool,
    escaped: bool,
    inside: Inside<E::Member>,
    /// The current name, or the held string.
    held: Vec<u8>,
    changed: bool,
    /// Levels beyond [`MAX_DEPTH`].
    beyond: usize,
}

impl<E: Editor> Scanner<E> {
    pub(super) fn new(editor: E) -> Self {
        Self {
            editor,
            frames: Vec::new(),
            in_string: false,
            escaped: false,
            inside: Inside::Plain,
            held: Vec::new(),
            changed: false,
            beyond: 0,
        }
    }

    /// Whether anything was changed so far.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// Scans the next piece; output is appended to `out`.
    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some((first, after)) = rest.split_first() {
            if self.in_string {
                rest = self.string(rest, out);
            } else {
                out.push(*first);
                self.structure(*first);
                rest = after;
            }
        }
    }

    /// Ends the input. What is held is output unchanged.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if matches!(self.inside, Inside::Url(_)) {
            out.append(&mut self.held);
        }
    }

    fn structure(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.in_string = true;
                self.inside = match self.frames.last() {
                    Some(Frame::Object { expects_name: true, .. }) if self.beyond == 0 => {
                        Inside::Name
                    }
                    _ => self.member().map_or(Inside::Plain, Inside::Url),
                };
            }
            b'{' => self.nest(Frame::Object { expects_name: true, member: None }),
            b'[' => self.nest(Frame::Array { member: self.member() }),
            b'}' | b']' if self.beyond > 0 => self.beyond -= 1,
            b'}' | b']' => {
                self.frames.pop();
            }
            b',' | b':' if self.beyond == 0 => {
                if let Some(Frame::Object { expects_name, .. }) = self.frames.last_mut() {
                    *expects_name = byte == b',';
                }
            }
            _ => {}
        }
    }

    fn nest(&mut self, frame: Frame<E::Member>) {
        match self.frames.len() < MAX_DEPTH {
            true => self.frames.push(frame),
            false => self.beyond += 1,
        }
    }

    /// The meaning of the current name.
    fn member(&self) -> Option<E::Member> {
        let member = match self.frames.last() {
            Some(Frame::Object { member, .. } | Frame::Array { member }) if self.beyond == 0 => {
                *member
            }
            _ => None,
        };
        member.or_else(|| self.editor.unnamed())
    }

    /// Consumes the rest of the current string; returns what follows it.
    fn string<'p>(&mut self, rest: &'p [u8], out: &mut Vec<u8>) -> &'p [u8] {
        if std::mem::take(&mut self.escaped) {
            let (escape, after) = rest.split_at(1);
            self.keep(escape, out);
            return after;
        }
        let at = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let (text, end) = rest.split_at(at);
        self.keep(text, out);
        match end.split_first() {
            Some((b'\\', after)) => {
                self.keep(b"\\", out);
                self.escaped = true;
                after
            }
            Some((_, after)) => {
                self.close(out);
                out.push(b'"');
                after
            }
            None => end,
        }
    }

    fn keep(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.inside {
            Inside::Plain => out.extend_from_slice(bytes),
            Inside::Name => {
                out.extend_from_slice(bytes);
                let room = (MAX_NAME + 1).saturating_sub(self.held.len());
                self.held.extend(bytes.iter().take(room));
            }
            Inside::Url(_) => {
                let start = if self.held.is_empty() { bytes } else { self.held.as_slice() };
                if !self.editor.may_begin(start) || self.held.len() + bytes.len() > MAX_URL {
                    out.append(&mut self.held);
                    out.extend_from_slice(bytes);
                    self.inside = Inside::Plain;
                    return;
                }
                self.held.extend_from_slice(bytes);
            }
        }
    }

    /// Ends the current string.
    fn close(&mut self, out: &mut Vec<u8>) {
        self.in_string = false;
        let raw = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.inside, Inside::Plain) {
            Inside::Plain => {}
            Inside::Name => {
                let name = unescape(&raw).filter(|_| raw.len() <= MAX_NAME);
                let value = name.and_then(|name| self.editor.member(&name));
                if let Some(Frame::Object { member, .. }) = self.frames.last_mut() {
                    *member = value;
                }
            }
            Inside::Url(member) => {
                let edit = unescape(&raw).and_then(|text| self.editor.edit(member, &text));
                match edit.and_then(|edit| apply_edit(&raw, edit)) {
                    Some(text) => {
                        self.changed = true;
                        out.extend_from_slice(&text);
                    }
                    None => out.extend_from_slice(&raw),
                }
            }
        }
    }
}

/// The unescaped string; `None` if it is invalid.
fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    if !raw.contains(&b'\\') {
        return std::str::from_utf8(raw).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(&[b"\"", raw, b"\""].concat()).ok().map(Cow::Owned)
}

/// Applies an edit; the rest keeps its escapes.
fn apply_edit(raw: &[u8], edit: Edit) -> Option<Vec<u8>> {
    let (to, rest) = match edit {
        Edit::Whole(to) => (to, &[][..]),
        Edit::Prefix { until, to } => (to, raw.get(written_length(raw, until)?..)?),
    };
    let escapes = memchr::memmem::find(raw, b"\\/").is_some();
    let to = if escapes { to.replace('/', "\\/") } else { to };
    Some([to.as_bytes(), rest].concat())
}

/// Raw length of the first `characters` characters, in bytes.
fn written_length(raw: &[u8], characters: usize) -> Option<usize> {
    (0..characters).try_fold(0, |at, _| match (raw.get(at)?, raw.get(at + 1)) {
        (b'\\', Some(b'u')) => Some(at + 6),
        (b'\\', _) => Some(at + 2),
        _ => Some(at + 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Puts `X` in the place of `ab`, behind `url`.
    #[derive(Debug, Clone, Copy)]
    struct Shortens;

    impl Editor for Shortens {
        type Member = ();
        fn member(&self, name: &str) -> Option<()> {
            (name == "url").then_some(())
        }
        fn unnamed(&self) -> Option<()> {
            None
        }
        fn may_begin(&self, start: &[u8]) -> bool {
            matches!(start.first(), None | Some(b'a' | b'\\'))
        }
        fn edit(&self, (): (), text: &str) -> Option<Edit> {
            match text {
                "all/" => Some(Edit::Whole("//".to_owned())),
                _ => {
                    text.starts_with("a/b").then(|| Edit::Prefix { until: 3, to: "X/".to_owned() })
                }
            }
        }
    }

    /// Does so whatever the name.
    #[derive(Debug, Clone, Copy)]
    struct Everywhere;

    impl Editor for Everywhere {
        type Member = ();
        fn member(&self, _: &str) -> Option<()> {
            None
        }
        fn unnamed(&self) -> Option<()> {
            Some(())
        }
        fn may_begin(&self, start: &[u8]) -> bool {
            Shortens.may_begin(start)
        }
        fn edit(&self, (): (), text: &str) -> Option<Edit> {
            Shortens.edit((), text)
        }
    }

    fn scanned(pieces: &[&[u8]]) -> (String, bool) {
        scanned_by(Shortens, pieces)
    }

    fn scanned_by(editor: impl Editor, pieces: &[&[u8]]) -> (String, bool) {
        let (mut scanner, mut out) = (Scanner::new(editor), Vec::new());
        pieces.iter().for_each(|piece| scanner.push(piece, &mut out));
        scanner.finish(&mut out);
        (String::from_utf8(out).unwrap(), scanner.changed())
    }

    #[test]
    fn only_the_strings_behind_the_name_change() {
        for (text, expected) in [
            (r#"{"url":"a/bc"}"#, r#"{"url":"X/c"}"#),
            (r#"{ "url" : "a\/bc" , "n":1.50}"#, r#"{ "url" : "X\/c" , "n":1.50}"#),
            (r#"{"url":"a\u002fb\u00e9\n"}"#, r#"{"url":"X/\u00e9\n"}"#),
            (r#"{"\u0075rl":"a/b"}"#, r#"{"\u0075rl":"X/"}"#),
            (
                r#"{"url":["a/b",{"x":"a/b","url":"all/"},["a/b"]],"y":"a/b"}"#,
                r#"{"url":["X/",{"x":"a/b","url":"//"},["X/"]],"y":"a/b"}"#,
            ),
            (
                r#"[{"a":"\"url\":","b":"a/b","url":"\\a/b"}]"#,
                r#"[{"a":"\"url\":","b":"a/b","url":"\\a/b"}]"#,
            ),
            (
                r#"{"url":{"a":"a/b"},"b":{"url":null,"c":"a/b"}}"#,
                r#"{"url":{"a":"a/b"},"b":{"url":null,"c":"a/b"}}"#,
            ),
            (r#"{"url":"a/b"#, r#"{"url":"a/b"#),
            (r#"}]:,"url":"a/b"#, r#"}]:,"url":"a/b"#),
            (r#"{"url":"a/b\ud800"}"#, r#"{"url":"a/b\ud800"}"#),
            ("\"a/b\"", "\"a/b\""),
        ] {
            assert_eq!(
                scanned(&[text.as_bytes()]),
                (expected.to_owned(), text != expected),
                "{text}"
            );
        }
        let deep = format!("{}{{\"url\":\"a/b\"}}", "[".repeat(1_000));
        assert_eq!(scanned(&[deep.as_bytes()]).0, deep);
        let long = format!("{{\"url\":\"a/b{}\"}}", "x".repeat(MAX_URL));
        assert_eq!(scanned(&[long.as_bytes()]).0, long);
    }

    #[test]
    fn neither_a_name_nor_depth_hides_a_string() {
        let long = "x".repeat(MAX_NAME + 1);
        let deep = |inner: &str| {
            let (start, end) = ("[{\"x\":".repeat(MAX_DEPTH), "}]".repeat(MAX_DEPTH));
            format!("{{\"d\":{start}{inner}{end},\"e\":{inner},\"a/b\":1}}")
        };
        for (text, expected) in [
            (
                r#"{"u":"a/bc","a/b":["a/b",1,{"x":"\u0061\/b"}]}"#.to_owned(),
                r#"{"u":"X/c","a/b":["X/",1,{"x":"X\/"}]}"#.to_owned(),
            ),
            (format!(r#"{{"{long}":"a/b"}}"#), format!(r#"{{"{long}":"X/"}}"#)),
            ("\"a/b\"".to_owned(), "\"X/\"".to_owned()),
            (deep("\"a/b\""), deep("\"X/\"")),
            (
                r#"{"u":"b/a/b","v":" a/b","w":"A/b"}"#.to_owned(),
                r#"{"u":"b/a/b","v":" a/b","w":"A/b"}"#.to_owned(),
            ),
        ] {
            assert_eq!(scanned_by(Everywhere, &[text.as_bytes()]).0, expected);
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(scanned_by(Everywhere, &single).0, expected);
        }
    }

    proptest! {
        /// However it is cut, the same comes out; and what is not meant comes out
        /// as it went in.
        #[test]
        fn cuts_make_no_difference(
            text in r#"([\[\]{},:"\\]|url|"url"|"a/b|"x|\\u002f|[ab/ ]){0,40}"#,
            cut in 0..100_usize,
        ) {
            let bytes = text.as_bytes();
            let (one, other) = bytes.split_at(cut.min(bytes.len()));
            let whole = scanned(&[bytes]);
            prop_assert_eq!(&scanned(&[one, other]), &whole);
            prop_assert!(whole.1 || whole.0 == text);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&scanned(&single), &whole);
            let everywhere = scanned_by(Everywhere, &[bytes]);
            prop_assert_eq!(&scanned_by(Everywhere, &single), &everywhere);
            prop_assert!(everywhere.1 || everywhere.0 == text);
        }

        /// JSON stays JSON.
        #[test]
        fn json_stays_json(urls in prop::collection::vec("a/b|all/|[a-z/\"\\\\\u{e9}]{0,8}", 0..6)) {
            let text = serde_json::json!({ "url": urls, "other": urls }).to_string();
            let (out, _) = scanned(&[text.as_bytes()]);
            let out: serde_json::Value = serde_json::from_str(&out).unwrap();
            prop_assert_eq!(&out["other"], &serde_json::json!(urls));
        }
    }
}
