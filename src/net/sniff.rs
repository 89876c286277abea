//! What the HTTP parser drops silently: repeated `Content-Length` headers (RFC 9112, section
//! 6.3, allows it), and the fragment of a target. Neither can mislead a server behind the
//! gate, but both suggest an attack, and such requests are refused.
//!
//! The bytes of a connection are tracked from head to head, so that pipelined requests are
//! told apart: a declared length is counted off, and a chunked body is the connection's
//! last, because the listener closes after it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::TRANSFER_ENCODING;
use http::{Request, Version};

use super::Body;

/// Request extension: its length was declared more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoLengths;

/// Request extension: its target contains a `#`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment;

/// An anomaly that the HTTP parser hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anomaly {
    TwoLengths,
    Fragment,
}

/// Maximum bytes of a head to inspect; the parser refuses longer ones.
const MAX_HEAD: usize = 128 << 10;

/// Follows the request heads on one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads(Arc<Mutex<HeadParser>>);

/// Parser state of a connection.
#[derive(Debug, Default)]
struct HeadParser {
    position: Position,
    /// The current head so far.
    head: Vec<u8>,
    /// Anomalies of the heads that the HTTP parser has not handed on yet.
    anomalies: VecDeque<Option<Anomaly>>,
    /// HTTP version of the first complete head.
    version: Option<Version>,
}

/// What comes next on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Position {
    #[default]
    Head,
    /// A body with this many bytes left.
    Body(u64),
    /// Nothing that can be followed: chunks, HTTP/2, or what the parser refuses.
    Rest,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The first request, of which nothing has arrived.
    Anything,
    /// The rest of the first head.
    FirstHead,
    /// The rest of a later head.
    Head,
    /// Nothing, or the body of a request.
    Nothing,
}

impl Heads {
    fn parser(&self) -> MutexGuard<'_, HeadParser> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes bytes read from the connection.
    pub(super) fn read(&self, bytes: &[u8]) {
        self.parser().follow(bytes);
    }

    pub(super) fn awaits(&self) -> Awaits {
        let parser = self.parser();
        match (parser.position, parser.version.is_some(), parser.head.is_empty()) {
            (Position::Head, false, true) => Awaits::Anything,
            (Position::Head, false, false) => Awaits::FirstHead,
            (Position::Head, true, false) => Awaits::Head,
            _ => Awaits::Nothing,
        }
    }

    /// The HTTP version, once a complete head has arrived.
    pub(super) fn version(&self) -> Option<Version> {
        self.parser().version
    }

    /// Whether the body of the last request is incomplete.
    pub(super) fn is_body_incomplete(&self) -> bool {
        let parser = self.parser();
        parser.anomalies.is_empty() && matches!(parser.position, Position::Body(_))
    }

    /// Whether a head or body is incomplete. Over HTTP/2 this is determined by other means.
    pub(super) fn is_incomplete(&self) -> bool {
        let parser = self.parser();
        let is_between = parser.position == Position::Head && parser.head.is_empty();
        parser.version != Some(Version::HTTP_2) && !(is_between && parser.anomalies.is_empty())
    }

    /// Marks `request` if its head had an anomaly.
    pub(super) fn annotate(&self, mut request: Request<Body>) -> Request<Body> {
        if request.version() >= Version::HTTP_2 {
            return request;
        }
        let chunked = request.headers().contains_key(TRANSFER_ENCODING);
        // If the parser found a head that was not found here, assume the worst.
        let unseen = chunked.then_some(Anomaly::TwoLengths);
        match self.parser().anomalies.pop_front().unwrap_or(unseen) {
            Some(Anomaly::TwoLengths) => drop(request.extensions_mut().insert(TwoLengths)),
            Some(Anomaly::Fragment) => drop(request.extensions_mut().insert(Fragment)),
            None => {}
        }
        request
    }
}

impl HeadParser {
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.position {
                Position::Rest => return,
                Position::Head => bytes = self.take_head(bytes),
                Position::Body(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = bytes.get(taken..).unwrap_or_default();
                    self.position = body(left - taken as u64);
                }
            }
        }
    }

    /// Consumes what belongs to the current head; returns the rest.
    fn take_head<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut bytes = bytes;
        if self.head.is_empty() {
            // The parser skips empty lines before a request.
            let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
            bytes = bytes.get(start.unwrap_or(bytes.len())..).unwrap_or_default();
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        // The end may have begun in the previous bytes.
        let from = before.saturating_sub(2);
        let end = end_of_head(self.head.get(from..).unwrap_or_default()).map(|end| from + end);
        match end {
            Some(end) => {
                self.head.truncate(end);
                self.end_head();
                bytes.get(end - before..).unwrap_or_default()
            }
            None => {
                if self.head.len() > MAX_HEAD {
                    self.head = Vec::new();
                    self.position = Position::Rest;
                }
                &[]
            }
        }
    }

    fn end_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        if first.starts_with(b"PRI * HTTP/2") {
            self.version = Some(Version::HTTP_2);
            self.position = Position::Rest;
            return;
        }
        self.version = Some(Version::HTTP_11);
        let (mut lengths, mut chunked, mut length) = (0, first.starts_with(b"CONNECT "), Some(0));
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = line.split_at(colon);
            if name.eq_ignore_ascii_case(b"content-length") {
                lengths += 1;
                length = number(value.get(1..).unwrap_or_default());
            }
            chunked |= name.eq_ignore_ascii_case(b"transfer-encoding");
        }
        let two_lengths = lengths > 1 || (lengths > 0 && chunked);
        let two_lengths = two_lengths.then_some(Anomaly::TwoLengths);
        self.anomalies
            .push_back(two_lengths.or(first.contains(&b'#').then_some(Anomaly::Fragment)));
        self.position = match length {
            Some(length) if !chunked => body(length),
            _ => Position::Rest,
        };
        // The next head is likely to have the same size.
        self.head = head;
        self.head.clear();
    }
}

fn body(left: u64) -> Position {
    if left == 0 { Position::Head } else { Position::Body(left) }
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

/// The offset after the empty line that ends a head.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab\n\nc";
    const BOTH: &str =
        "POST / HTTP/1.1\r\ncontent-LENGTH:3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    const TWICE: &str = "POST / HTTP/1.1\nContent-Length: 1\nContent-Length: 1\n\nx";

    fn declared(pieces: &[&[u8]]) -> Vec<bool> {
        let mut parser = HeadParser::default();
        pieces.iter().for_each(|piece| parser.follow(piece));
        parser.anomalies.iter().map(|anomaly| *anomaly == Some(Anomaly::TwoLengths)).collect()
    }

    #[test]
    fn lengths_are_found_in_heads_and_nowhere_else() {
        for (bytes, expected) in [
            (GET.to_owned(), vec![false]),
            (BOTH.to_owned(), vec![true]),
            (TWICE.to_owned(), vec![true]),
            ("POST / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n".to_owned(), vec![false]),
            (format!("{GET}{BOTH}"), vec![false, true]),
            (
                format!("\r\n\r\n{POST}{POST}\r\n{TWICE}{GET}{BOTH}"),
                vec![false, false, true, false, true],
            ),
            (format!("{BOTH}{BOTH}"), vec![true]),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), vec![]),
            ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n".to_owned(), vec![false]),
            (String::new(), vec![]),
        ] {
            assert_eq!(declared(&[bytes.as_bytes()]), expected, "{bytes}");
        }
    }

    #[test]
    fn fragments_in_request_targets_are_detected() {
        let mut parser = HeadParser::default();
        parser.follow(b"GET /a#b HTTP/1.1\r\nX: #\r\n\r\nGET /a HTTP/1.1\r\nX: #\r\n\r\n");
        assert_eq!(parser.anomalies, [Some(Anomaly::Fragment), None]);
    }

    #[test]
    fn awaited_part_of_a_request_is_known() {
        let heads = Heads::default();
        for (bytes, awaits) in [
            ("", Awaits::Anything),
            ("\r\n", Awaits::Anything),
            ("GE", Awaits::FirstHead),
            ("T / HTTP/1.1\r\n\r\n", Awaits::Nothing),
            ("POST", Awaits::Head),
            (" / HTTP/1.1\r\nContent-Length: 2\r\n\r\n", Awaits::Nothing),
            ("a", Awaits::Nothing),
            ("bG", Awaits::Head),
        ] {
            heads.read(bytes.as_bytes());
            assert_eq!(heads.awaits(), awaits, "{bytes}");
        }
    }

    #[test]
    fn incomplete_requests_are_detected() {
        for (bytes, amid, amid_body) in [
            ("", false, false),
            ("GE", true, false),
            (GET, true, false),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc", true, true),
            (POST, true, false),
            (BOTH, true, false),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, false),
        ] {
            let heads = Heads::default();
            heads.read(bytes.as_bytes());
            assert_eq!(heads.is_incomplete(), amid, "{bytes}");
            heads.parser().anomalies.pop_front();
            assert_eq!(heads.is_body_incomplete(), amid_body, "{bytes}");
            let whole = [GET, POST].contains(&bytes);
            assert_eq!(heads.is_incomplete(), amid && !whole, "{bytes}");
            // The next request is in front of the parser: its body is not this one's.
            heads.parser().anomalies.push_back(None);
            assert!(!heads.is_body_incomplete(), "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn how_reads_are_cut_makes_no_difference(
            which in prop::collection::vec(0_usize..4, 0..6),
            cuts in prop::collection::vec(1_usize..9, 1..40),
        ) {
            let all: String = which.iter().map(|at| [GET, POST, TWICE, "\r\n"][*at]).collect();
            let all = format!("{all}{BOTH}");
            let mut pieces: Vec<&[u8]> = Vec::new();
            let mut rest = all.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            let expected: Vec<bool> = which.iter().filter(|at| **at < 3).map(|at| *at == 2).chain([true]).collect();
            prop_assert_eq!(declared(&pieces), expected);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            declared(&[&bytes]);
        }
    }
}
