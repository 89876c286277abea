//! Properties of event streams: the events do not depend on how the stream is cut, except for a
//! `\r\n` at the end of an event that is cut in two; every byte is in an event or left over; and
//! their data are those that a naive parser by the standard finds (HTML, "Interpreting an event
//! stream").

#![no_main]

use agentgate::mcp::http::sse::{Event, Parser};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 1 << 10;

// Input: a byte for the length of pieces, then the stream.
fuzz_target!(|input: &[u8]| {
    let Some((length, stream)) = input.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    let cut = read(stream, usize::from(*length).max(1));
    // Half a line end may make an event too large.
    let (Some((events, rest)), Some((cut, cut_rest))) = (whole, cut) else { return };
    assert_eq!((&events, &rest), (&joined(cut), &cut_rest));
    let mut passed: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
    passed.extend_from_slice(&rest);
    assert_eq!(passed, stream);
    for (at, event) in events.iter().enumerate() {
        let data = event.data.as_deref().map(|data| String::from_utf8_lossy(data).into_owned());
        assert_eq!(data, data_of(&event.raw, at == 0));
    }
});

/// The values of the `data` lines, joined by line feeds.
fn data_of(raw: &[u8], is_first: bool) -> Option<String> {
    let text = raw.strip_prefix(b"\xef\xbb\xbf").filter(|_| is_first).unwrap_or(raw);
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n");
    let value = |line: &str| {
        let value = line.strip_prefix("data")?;
        let of_field = value.strip_prefix(':').map(|rest| rest.strip_prefix(' ').unwrap_or(rest));
        of_field.or_else(|| value.is_empty().then_some("")).map(str::to_owned)
    };
    let values: Vec<String> = text.split('\n').filter_map(value).collect();
    (!values.is_empty()).then(|| values.join("\n"))
}

/// The events and the rest; `None` if an event is too large.
fn read(stream: &[u8], length: usize) -> Option<(Vec<Event>, Vec<u8>)> {
    let mut parser = Parser::new(MAX);
    let mut events = Vec::new();
    for piece in stream.chunks(length) {
        parser.feed(piece);
        while let Some(event) = parser.next_event().ok()? {
            events.push(event);
        }
    }
    Some((events, parser.rest().to_vec()))
}

/// Joins line ends that were cut in two.
fn joined(events: Vec<Event>) -> Vec<Event> {
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
