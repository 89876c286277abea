//! Events are the same however a stream of them is cut, and every byte of it is
//! in one of them or left over.

#![no_main]

use agentgate::mcp::http::sse::{Event, Parser};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 1 << 10;

// The first byte says how long the pieces are.
fuzz_target!(|input: &[u8]| {
    let Some((length, stream)) = input.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    assert_eq!(whole, read(stream, usize::from(*length).max(1)));
    let Some((events, rest)) = whole else { return };
    let mut passed: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
    passed.extend_from_slice(&rest);
    assert_eq!(passed, stream);
});

/// The events and what is left; `None` where one is too large.
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
