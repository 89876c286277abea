//! Answers that clients do not take: the gate holds so much of them and no more, its
//! server is held up, and whoever reads at last gets all that was said.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::scripted::{STREAM, Scripted, answer, message_of, result, usual};
use crate::support::{Answer, Gate, TIMEOUT, call, eventually, installed, rest, whole};

/// How many ask, and how much each is answered; all of it would be 384 MiB.
const CLIENTS: usize = 48;
const LARGE: usize = 8 << 20;

/// What the gate may hold for one credential, and as much for itself, in KiB.
const BOUND: u64 = 2 * (128 << 10);

/// What it may hold while it is held up, in KiB: what is counted, and half as much.
const HELD: u64 = 192 << 10;

/// How long the gate must have said nothing more to count as held up.
const STILL: Duration = Duration::from_secs(2);

/// A connection on which the system itself holds next to nothing.
fn connect(address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// The memory of the gate that is in use, in KiB.
fn resident(gate: &Gate) -> u64 {
    let path = format!("/proc/{}/status", gate.process.0.id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Waits until `count` has begun and says the same for a while.
fn settled(count: impl Fn() -> usize) {
    let (mut last, mut since) = (count(), Instant::now());
    eventually("nothing moves any more", || {
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (now > 0 && since.elapsed() >= STILL).then_some(())
    });
}

/// What all ask and nobody reads; then all read, each the answer that its request is owed,
/// and all of it. Gives how much more memory was in use than at first, in KiB.
fn unread(gate: &Gate, requests: Vec<Vec<u8>>, written: impl Fn() -> usize) -> u64 {
    let before = resident(gate);
    let streams: Vec<TcpStream> = requests
        .into_iter()
        .map(|request| {
            let mut stream = connect(gate.address);
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    settled(written);
    let mut most = resident(gate);
    let held = most.saturating_sub(before);
    assert!(held < HELD, "{held} KiB are held");
    let readers: Vec<_> =
        streams.into_iter().map(|stream| thread::spawn(move || told(&rest(stream)))).collect();
    eventually("all is read", || {
        most = most.max(resident(gate));
        readers.iter().all(|reader| reader.is_finished()).then_some(())
    });
    for (id, reader) in readers.into_iter().enumerate() {
        assert_eq!(reader.join().unwrap(), (200, json!(id), LARGE));
    }
    most.saturating_sub(before)
}

/// The status of an answer, the id of the request that it answers, and how much it says.
fn told(answer: &Answer) -> (u16, Value, usize) {
    let last = answer.messages().pop().unwrap_or_default();
    let text = last["result"]["content"][0]["text"].as_str().unwrap_or_default();
    (answer.status, last["id"].clone(), text.len())
}

/// Calls with ids of their own.
fn calls(gate: &Gate, headers: &str) -> Vec<Vec<u8>> {
    let headers = format!(
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{headers}"
    );
    let message = |id| call(id, "look", json!({})).to_string();
    (0..CLIENTS as u64)
        .map(|id| whole(gate.address, "POST", "/mcp", &headers, &message(id)))
        .collect()
}

/// A large answer. It is there at once: nothing is still while it is made.
fn large(id: &Value) -> String {
    result(id, "@").to_string().replace('@', &"x".repeat(LARGE))
}

#[test]
#[cfg(target_os = "linux")]
fn unread_answers_slow_a_remote_server_down() {
    for streams in [false, true] {
        let written = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&written);
        let upstream = Scripted::serving(move |request, stream| {
            let said = usual(request).unwrap_or_else(|| {
                let large = large(&message_of(request)["id"]);
                match streams {
                    true => [STREAM, b"data: ", large.as_bytes(), b"\n\n"].concat(),
                    false => answer("application/json", &large),
                }
            });
            said.chunks(64 << 10).all(|piece| {
                count.fetch_add(1, Ordering::Relaxed);
                stream.write_all(piece).is_ok()
            }) && !streams
        });
        let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
        assert_eq!(gate.post("", &crate::support::initialize()).status, 200);
        let more = unread(&gate, calls(&gate, ""), || written.load(Ordering::Relaxed));
        // What comes of an event grows in a buffer that doubles.
        let bound = if streams { BOUND / 2 * 3 } else { BOUND };
        assert!(more < bound, "in streams: {streams}: {more} KiB");
        let log = gate.log();
        assert!(log.len() == CLIENTS && log.iter().all(|row| row["status"] == "ok"), "{log:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn unread_answers_slow_a_command_down() {
    let Some(installed) = installed() else { return };
    let helper = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/helpers/large.py");
    let python = installed.join("python/bin/python");
    let size = LARGE.to_string();
    let gate =
        Gate::listen(&["--policy", "allow_all"], &[python.into(), helper.into(), size.into()]);
    let session = format!("Mcp-Session-Id: {}\r\n", gate.session(""));
    let before = resident(&gate);
    let written = || usize::try_from(resident(&gate).saturating_sub(before) >> 10).unwrap();
    let more = unread(&gate, calls(&gate, &session), written);
    assert!(more < BOUND, "{more} KiB");
}

/// Streams on which the server speaks and nobody listens, each with as much in them as the
/// gate lets pass: little for each, however many there are.
#[test]
#[cfg(target_os = "linux")]
fn unread_stream_uses_little_memory() {
    const STREAMS: usize = 60;
    const EACH: u64 = 1 << 10;
    let written = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&written);
    let upstream = Scripted::serving(move |request, stream| {
        if !request.starts_with("GET") {
            return usual(request).is_some_and(|answer| stream.write_all(&answer).is_ok());
        }
        let text = "x".repeat(16 << 10);
        let event = json!({"jsonrpc": "2.0", "method": "notifications/message",
                           "params": {"level": "info", "data": text}});
        let event = format!("data: {event}\n\n");
        stream.write_all(STREAM).unwrap();
        while stream.write_all(event.as_bytes()).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        false
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let before = resident(&gate);
    let request = whole(gate.address, "GET", "/mcp", "Accept: text/event-stream\r\n", "");
    let streams: Vec<TcpStream> = (0..STREAMS)
        .map(|_| {
            let mut stream = connect(gate.address);
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    eventually("all are open", || (upstream.count("GET") == STREAMS).then_some(()));
    settled(|| written.load(Ordering::Relaxed));
    let each = resident(&gate).saturating_sub(before) / STREAMS as u64;
    assert!(each < EACH, "{each} KiB for each");
    drop(streams);
}
