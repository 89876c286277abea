//! Server-sent events, parsed without changing a byte. Pure.
//!
//! Source: HTML Living Standard, "Interpreting an event stream". An event keeps its bytes, comments
//! and retry times included, so that it can be forwarded unchanged.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

/// An event, or anything else that ends with an empty line (a comment, a retry time).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The unchanged bytes, including the empty line.
    pub raw: Bytes,
    /// The `data` lines, joined by line feeds; `None` if there are none. A single one is not
    /// copied.
    pub data: Option<Bytes>,
    /// `event`; empty means `message`.
    pub kind: String,
    /// `id`, if present.
    pub id: Option<String>,
    /// `retry`, in milliseconds.
    pub retry: Option<u64>,
}

/// An event exceeds the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {max} bytes")]
pub struct TooLarge {
    /// The limit in bytes.
    pub max: usize,
}

/// Incremental parser of server-sent events.
#[derive(Debug)]
pub struct Parser {
    buffer: BytesMut,
    /// Start of the current line in `buffer`; no event ends before it.
    line: usize,
    /// Length of the prefix of `buffer` known not to end that line.
    searched: usize,
    max: usize,
    begun: bool,
    /// The last event ended with `\r`: a following `\n` belongs to that line end.
    after_cr: bool,
}

impl Parser {
    /// A parser of events of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { buffer: BytesMut::new(), line: 0, searched: 0, max, begun: false, after_cr: false }
    }

    /// Adds input.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event.
    ///
    /// # Errors
    /// [`TooLarge`]; the stream cannot be parsed further.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLarge> {
        if let Some(half) = self.second_half() {
            return Ok(Some(half));
        }
        let Some(end) = self.end_of_event() else {
            let too_large = self.buffer.len() > self.max;
            return if too_large { Err(TooLarge { max: self.max }) } else { Ok(None) };
        };
        let raw = self.buffer.split_to(end).freeze();
        (self.line, self.searched) = (0, 0);
        self.after_cr = raw.ends_with(b"\r");
        if raw.len() > self.max {
            return Err(TooLarge { max: self.max });
        }
        let text = match raw.strip_prefix(b"\xef\xbb\xbf") {
            Some(text) if !self.begun => text,
            _ => &raw,
        };
        self.begun = true;
        let (mut event, mut data) = (Event::default(), None);
        for line in lines(text) {
            event.line(line, &mut data);
        }
        event.data = data.map(|data| match data {
            Cow::Borrowed(line) => raw.slice_ref(line),
            Cow::Owned(lines) => lines.into(),
        });
        event.raw = raw;
        Ok(Some(event))
    }

    /// Number of bytes not yet returned in an event.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.buffer.len()
    }

    /// The incomplete event at the end of the stream, which the standard discards.
    #[must_use]
    pub fn rest(self) -> Bytes {
        self.buffer.freeze()
    }

    /// A `\n` that completes the line end of the previous event. Returned at once, as the
    /// reader may be waiting for it.
    fn second_half(&mut self) -> Option<Event> {
        let first = *self.buffer.first()?;
        (std::mem::take(&mut self.after_cr) && first == b'\n')
            .then(|| Event { raw: self.buffer.split_to(1).freeze(), ..Event::default() })
    }

    /// End of the first empty line. A `\r` at the very end of the input completes an empty
    /// line; otherwise it may be half of a line end, and has to wait.
    fn end_of_event(&mut self) -> Option<usize> {
        let bytes: &[u8] = &self.buffer;
        loop {
            let Some(found) = memchr::memchr2(b'\n', b'\r', bytes.get(self.searched..)?) else {
                self.searched = bytes.len();
                return None;
            };
            let end = self.searched + found;
            let after = match (bytes.get(end), bytes.get(end + 1)) {
                (Some(b'\r'), None) if end > self.line => {
                    self.searched = end;
                    return None;
                }
                (Some(b'\r'), Some(b'\n')) => end + 2,
                _ => end + 1,
            };
            if end == self.line {
                return Some(after);
            }
            (self.line, self.searched) = (after, after);
        }
    }
}

impl Event {
    /// The message of the event; `None` for comments, other kinds of events, and empty data.
    #[must_use]
    pub fn message(&self) -> Option<&[u8]> {
        let is_message = self.kind.is_empty() || self.kind == "message";
        let data = self.data.as_deref().filter(|_| is_message)?;
        (!data.trim_ascii().is_empty()).then_some(data)
    }

    /// This event's id and retry time, with `message` as its data.
    #[must_use]
    pub fn with_data(&self, message: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        if !self.kind.is_empty() {
            field(&mut out, "event", self.kind.as_bytes());
        }
        if let Some(id) = &self.id {
            field(&mut out, "id", id.as_bytes());
        }
        if let Some(retry) = self.retry {
            field(&mut out, "retry", retry.to_string().as_bytes());
        }
        for line in lines(message) {
            field(&mut out, "data", line);
        }
        out.extend_from_slice(b"\n");
        out.freeze()
    }

    /// The event in a form that all readers split alike, with `message` as its data; `None` if
    /// nothing is left. Some readers end lines where the standard does not, and could find a
    /// message in a comment.
    #[must_use]
    pub fn unambiguous(&self, message: Option<&[u8]>) -> Option<Bytes> {
        if !ends_elsewhere(&self.raw) {
            return Some(self.raw.clone());
        }
        let id = self.id.clone().filter(|id| !ends_elsewhere(id.as_bytes()));
        let kind = Some(&self.kind).filter(|kind| !ends_elsewhere(kind.as_bytes()));
        let event = Self { id, kind: kind.cloned().unwrap_or_default(), ..self.clone() };
        message.map(|message| event.with_data(message))
    }

    fn line<'l>(&mut self, line: &'l [u8], all_data: &mut Option<Cow<'l, [u8]>>) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"data" => match all_data {
                Some(data) => {
                    data.to_mut().push(b'\n');
                    data.to_mut().extend_from_slice(value);
                }
                None => *all_data = Some(Cow::Borrowed(value)),
            },
            b"event" => self.kind = text(),
            b"id" if !value.contains(&0) => self.id = Some(text()),
            b"retry" if value.iter().all(u8::is_ascii_digit) => self.retry = text().parse().ok(),
            _ => {}
        }
    }
}

/// Whether some readers end a line within `text` (Python's `splitlines`, used by older versions
/// of httpx).
fn ends_elsewhere(text: &[u8]) -> bool {
    let is_control = |byte: &u8| matches!(byte, 0x0b | 0x0c | 0x1c..=0x1e);
    text.iter().any(is_control)
        || ["\u{85}", "\u{2028}", "\u{2029}"]
            .iter()
            .any(|end| memchr::memmem::find(text, end.as_bytes()).is_some())
}

/// Splits `text` at any line end; an empty last line is dropped.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let after = after.strip_prefix(b"\r\n").or_else(|| after.get(1..)).unwrap_or_default();
        rest = after;
        Some(line)
    })
}

fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> (Vec<Event>, Bytes) {
        let mut parser = Parser::new(1 << 20);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece);
            while let Some(event) = parser.next_event().unwrap() {
                events.push(event);
            }
        }
        (events, parser.rest())
    }

    #[test]
    fn fields_are_read_as_the_standard_has_them() {
        let text = b"\xef\xbb\xbf: hello\n\nevent: message\nid: 7\nretry: 250\ndata: {\"a\":\ndata:1}\n\ndata\n\nevent: ping\r\ndata: x\r\n\r\n";
        let (events, rest) = events(&[text]);
        assert!(rest.is_empty());
        assert_eq!(events.len(), 4);
        assert_eq!(events[0].message(), None);
        assert_eq!(events[1].message(), Some(&b"{\"a\":\n1}"[..]));
        assert_eq!((events[1].id.as_deref(), events[1].retry), (Some("7"), Some(250)));
        assert_eq!(events[2].message(), None);
        assert_eq!((events[3].message(), events[3].kind.as_str()), (None, "ping"));
    }

    #[test]
    fn a_line_of_data_is_no_copy() {
        let (events, _) = events(&[b"id: 1\ndata: {}\n\n"]);
        let (raw, data) = (&events[0].raw, events[0].data.as_ref().unwrap());
        assert_eq!(data.as_ptr(), raw[b"id: 1\ndata: ".len()..].as_ptr());
    }

    /// The data of the events of a whole stream, as the standard says it.
    fn by_the_standard(stream: &str) -> Vec<String> {
        let text = stream.strip_prefix('\u{feff}').unwrap_or(stream);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        // What no line end follows is no line; what no empty line follows, no event.
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let (mut events, mut data) = (Vec::new(), None::<String>);
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name {
                "" if line.is_empty() => events.extend(data.take()),
                "data" => {
                    let value = value.strip_prefix(' ').unwrap_or(value);
                    data = Some(data.map_or(value.to_owned(), |data| format!("{data}\n{value}")));
                }
                _ => {}
            }
        }
        events
    }

    fn data(events: &[Event]) -> Vec<String> {
        let data = events.iter().filter_map(|event| event.data.clone());
        data.map(|data| String::from_utf8(data.into()).unwrap()).collect()
    }

    /// A line end that was cut in two, made one.
    fn joined_line_ends(events: Vec<Event>) -> Vec<Event> {
        let mut joined: Vec<Event> = Vec::new();
        for event in events {
            match joined.last_mut() {
                Some(before) if event.raw == "\n" && before.raw.ends_with(b"\r") => {
                    before.raw = [&before.raw[..], b"\n"].concat().into();
                }
                _ => joined.push(event),
            }
        }
        joined
    }

    #[test]
    fn events_end_at_an_empty_line_with_any_line_ending() {
        for end in ["\n\n", "\r\r", "\r\n\r\n", "\r\n\r", "\n\r", "\r\n\n", "\n\r\n"] {
            let stream = format!("data: 1{end}");
            let (events, rest) = events(&[stream.as_bytes()]);
            assert_eq!(data(&events), ["1"], "{end:?}");
            assert!(rest.is_empty(), "{end:?}");
        }
    }

    /// A client may hold a `\r` until it sees what follows.
    #[test]
    fn the_second_half_of_a_line_end_is_passed_on_at_once() {
        let mut parser = Parser::new(100);
        parser.feed(b"data: 1\r\n\r");
        assert!(parser.next_event().unwrap().is_some());
        parser.feed(b"\n");
        assert_eq!(parser.next_event().unwrap().unwrap().raw, "\n");
        parser.feed(b"data: 2\r\n\r\n");
        assert_eq!(data(parser.next_event().unwrap().as_slice()), ["2"]);
    }

    #[test]
    fn an_event_that_does_not_end_is_not_held_for_ever() {
        let mut parser = Parser::new(10);
        parser.feed(b"data: 0123456789");
        assert_eq!(parser.next_event(), Err(TooLarge { max: 10 }));
    }

    #[test]
    fn a_rewritten_event_keeps_its_place() {
        let (events, _) = events(&[b"id: 3\nevent: message\ndata: {}\n\n"]);
        assert_eq!(
            events[0].with_data(b"[1,\n2]"),
            "event: message\nid: 3\ndata: [1,\ndata: 2]\n\n"
        );
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_events_and_loses_no_byte(
            text in "\u{feff}?(data: ?[a:]{0,3}|data|id: 1|: c|event: x|retry: 5|\r|\n|\r\n){0,20}", cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let (cut, rest) = events(&pieces);
            let mut joined: Vec<u8> = cut.iter().flat_map(|event| event.raw.to_vec()).collect();
            joined.extend_from_slice(&rest);
            prop_assert_eq!(&joined, bytes);
            let (whole, _) = events(&[bytes]);
            prop_assert_eq!(data(&whole), by_the_standard(&text));
            prop_assert_eq!(joined_line_ends(cut), whole);
        }
    }
}
