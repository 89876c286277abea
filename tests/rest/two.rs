//! HTTP/2 by hand: floods, clients that take nothing, heads that HTTP/1 could not
//! carry. The connection is cut off, and other clients are served.

use std::future::pending;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use agentgate::net::server::{Limits, serve};
use agentgate::net::workers::Workers;

use crate::support::{Recorder, Serve, TIMEOUT};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Far beyond what any flood is put up with.
const ENOUGH: usize = 50_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as literals without indexing (RFC 7541, section 6.2.2), of less than 127
/// bytes each.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "{text}");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A connection over HTTP/2.
struct Two {
    stream: TcpStream,
    key: String,
    began: Instant,
}

impl Two {
    fn connect(address: SocketAddr, key: &str, settings: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT * 2)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, settings)).unwrap();
        stream.write_all(&frame(SETTINGS, ACK, 0, b"")).unwrap();
        Self { stream, key: key.to_owned(), began: Instant::now() }
    }

    fn head(&self, more: &[(&str, &str)]) -> Vec<u8> {
        let mut block = fields(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "gate"),
            (":path", "/proxy/github/user"),
            ("x-agent-key", &self.key),
        ]);
        block.extend(fields(more));
        block
    }

    /// Writes what `flood` makes of a number until the other side hangs up.
    fn is_cut_off(&mut self, flood: impl Fn(u32) -> Vec<u8>) -> bool {
        let mut numbers = 0..u32::try_from(ENOUGH).unwrap();
        numbers.any(|number| self.stream.write_all(&flood(number)).is_err())
    }

    /// The next frame that is neither settings nor a window: kind, stream, payload.
    /// Pings are answered.
    fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if head[3] == PING && head[4] != ACK {
                assert!(self.began.elapsed() < TIMEOUT * 2, "it is never cut off");
                let _ = self.stream.write_all(&frame(PING, ACK, 0, &payload));
            }
            if matches!(head[3], DATA | HEADERS | RST_STREAM | GOAWAY) {
                return Some((head[3], stream, payload));
            }
        }
    }
}

#[test]
fn floods_are_cut_off_and_others_are_served() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "allow_all").key;
    let connect = || Two::connect(gate.address, &key, b"");
    let head = connect().head(&[]);
    let rapid_reset = |number: u32| {
        let stream = 2 * number + 1;
        let mut request = frame(HEADERS, END_STREAM | END_HEADERS, stream, &head);
        request.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        request
    };
    assert!(connect().is_cut_off(rapid_reset), "requests that are taken back at once");
    let more = fields(&[("x-more", "y")]);
    for (what, more) in [("headers without end", &more[..]), ("frames of nothing", b"")] {
        let mut client = connect();
        client.stream.write_all(&frame(HEADERS, END_STREAM, 1, &head)).unwrap();
        assert!(client.is_cut_off(|_| frame(CONTINUATION, 0, 1, more)), "{what}");
    }
    let headers = format!("X-Agent-Key: {key}\r\n");
    assert_eq!(gate.request("GET", "/proxy/github/user", &headers, "").status, 200);
}

/// The program's own listener, in front of an answer, with these timeouts.
fn listener(timeout: Duration) -> SocketAddr {
    let limits = Limits { write_timeout: timeout, drain: timeout, ..Limits::default() };
    let (told, address) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            let app = axum::Router::new().fallback(|| async { "an answer" });
            serve(listener, app, limits, &Workers::this_runtime(), pending()).await;
        });
    });
    address.recv().unwrap()
}

/// A window of nothing, by a client that is otherwise alive.
#[test]
fn client_that_does_not_read_is_cut_off() {
    let no_window = [&[0, 4][..], &0_u32.to_be_bytes()].concat();
    let mut client = Two::connect(listener(Duration::from_secs(1)), "any", &no_window);
    let head = client.head(&[]);
    client.stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head)).unwrap();
    assert_eq!(client.next().map(|(kind, stream, _)| (kind, stream)), Some((HEADERS, 1)));
    let (kind, _, payload) = client.next().unwrap();
    assert_eq!((kind, &payload[4..8]), (GOAWAY, &[0; 4][..]), "{payload:?}");
    // What follows is the end.
    while client.next().is_some() {}
    assert_eq!(client.stream.read(&mut [0]).unwrap_or_default(), 0);
}

/// HTTP/1 has no way to say them, so upstream would be told something else.
#[test]
fn values_in_white_space_never_arrive() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "allow_all").key;
    for (value, status) in [("x", "200"), (" x", "400"), ("x\t", "400"), ("a b", "200")] {
        recorder.forget();
        let mut client = Two::connect(gate.address, &key, b"");
        let head = client.head(&[("x-environment", value)]);
        client.stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head)).unwrap();
        let (kind, _, answer) = client.next().unwrap();
        assert_eq!(kind, HEADERS, "{value:?}");
        // 200 and 400 have places of their own in the table (RFC 7541, appendix A).
        let expected = if status == "200" { 0x88 } else { 0x8c };
        assert_eq!(answer.first(), Some(&expected), "{value:?}");
        assert_eq!(recorder.requests().len(), usize::from(status == "200"), "{value:?}");
    }
}

#[test]
fn nothing_behind_a_tunnel_is_a_request() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "allow_all").key;
    let behind =
        format!("GET /proxy/github/user HTTP/1.1\r\nHost: gate\r\nX-Agent-Key: {key}\r\n\r\n");
    let answer = gate.raw(format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n{behind}").as_bytes());
    assert_eq!((answer.status, answer.body.contains("HTTP/1.1")), (404, false), "{answer:?}");
    assert_eq!(recorder.requests().len(), 0);
}
