//! Streams that stay open, answers that nobody waits for any more, and peers that
//! are gone without a word.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use crate::support::pipes::Pipes;
use crate::support::scripted::{
    STREAM, Scripted, accepted, answer, json_answer, message_of, result, usual, whole_answer,
};
use crate::support::{Gate, TIMEOUT, call, eventually};

/// What a server does with the connection of a call.
type End = fn(&mut TcpStream);

/// A server that keeps a call until it is cancelled, and then does this.
fn cancellable(then: End) -> Scripted {
    let cancelled = Arc::new((Mutex::new(false), Condvar::new()));
    Scripted::serving(move |request, stream| {
        let (is_cancelled, news) = &*cancelled;
        match message_of(request)["method"].as_str() {
            Some("tools/call") => {
                let waiting = is_cancelled.lock().unwrap();
                let ended = news.wait_timeout_while(waiting, TIMEOUT, |it| !*it).unwrap();
                drop(ended);
                then(stream);
                false
            }
            Some("notifications/cancelled") => {
                *is_cancelled.lock().unwrap() = true;
                news.notify_all();
                stream.write_all(&accepted()).is_ok()
            }
            _ => stream.write_all(&usual(request).unwrap()).is_ok(),
        }
    })
}

/// Nobody is told of an answer that did not come to what they gave up: some clients
/// fail on it.
#[test]
fn cancelled_requests_are_not_answered() {
    let ends: [(&str, End); 4] = [
        ("a stream without it", |stream| {
            let _ = stream.write_all(STREAM);
        }),
        ("a connection that closes", |_| {}),
        ("taken and not answered", |stream| {
            let _ = stream.write_all(&accepted());
        }),
        ("nothing", |stream| {
            let _ = stream.write_all(&whole_answer("200 OK", "", ""));
        }),
    ];
    for (what, end) in ends {
        let upstream = cancellable(end);
        let mut pipes = Pipes::open(&[], &upstream.url);
        pipes.send(&call(1, "look", json!({})));
        eventually("the call arrives", || {
            let calls = |it: &String| message_of(it)["method"] == "tools/call";
            upstream.requests().iter().any(calls)
        });
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
                            "params": {"requestId": 1, "reason": "enough"}});
        pipes.send(&cancel);
        pipes.hang_up();
        assert_eq!(pipes.next(), None, "{what}: nothing comes any more");
        assert!(pipes.wait().success(), "{what}");
        let rows = pipes.log();
        assert_eq!((rows.len(), &rows[0]["status"]), (1, &json!("cancelled")), "{what}: {rows:?}");
    }
}

/// What a POST is answered with, by the request's id.
type Then = fn(&Value) -> Vec<u8>;

/// A server that answers a call on the stream on which it speaks first, and once that is
/// `heard` its POST with this.
fn answers_elsewhere(then: Then, heard: Arc<AtomicBool>) -> Scripted {
    let (own, opened) = (Mutex::new(None::<TcpStream>), Condvar::new());
    Scripted::serving(move |request, stream| {
        if request.starts_with("GET") {
            stream.write_all(STREAM).unwrap();
            *own.lock().unwrap() = Some(stream.try_clone().unwrap());
            opened.notify_all();
            let _ = stream.read(&mut [0; 1]);
            return false;
        }
        let message = message_of(request);
        let Some(usual) = usual(request) else {
            let own = own.lock().unwrap();
            let mut own = opened.wait_while(own, |own| own.is_none()).unwrap();
            let answer = result(&message["id"], "first");
            write!(own.as_mut().unwrap(), "data: {answer}\n\n").unwrap();
            eventually("it is heard", || heard.load(Ordering::Relaxed));
            return stream.write_all(&then(&message["id"])).is_ok();
        };
        stream.write_all(&usual).is_ok()
    })
}

#[test]
fn response_delivered_on_another_stream_is_not_repeated() {
    let second: [(&str, Then); 4] = [
        ("a message", |id| json_answer(&result(id, "second"))),
        ("an event", |id| {
            answer("text/event-stream", &format!("data: {}\n\n", result(id, "second")))
        }),
        ("nothing", |_| accepted()),
        ("an error", |_| whole_answer("500 Oops", "", "")),
    ];
    for (what, then) in second {
        let heard = Arc::new(AtomicBool::new(false));
        let upstream = answers_elsewhere(then, Arc::clone(&heard));
        let mut pipes = Pipes::open(&[], &upstream.url);
        pipes.send(&call(1, "look", json!({})));
        assert_eq!(pipes.next(), Some(result(&json!(1), "first")), "{what}");
        heard.store(true, Ordering::Relaxed);
        pipes.hang_up();
        assert_eq!(pipes.next(), None, "{what}");
    }
}

/// The hints decide, and the list that has them comes on a stream that does not end.
#[test]
fn a_list_is_taken_from_a_stream_that_stays_open() {
    let upstream = Scripted::serving(|request, stream| {
        let message = message_of(request);
        if message["method"] == "tools/list" {
            let list = String::from_utf8(usual(request).unwrap()).unwrap();
            let (_, list) = list.split_once("\r\n\r\n").unwrap();
            stream.write_all(STREAM).unwrap();
            stream.write_all(format!(": hello\n\ndata: {list}\n\n").as_bytes()).unwrap();
            // Until the gate closes it.
            let _ = stream.read(&mut [0; 1]);
            return false;
        }
        let done = || answer("application/json", &result(&message["id"], "done").to_string());
        stream.write_all(&usual(request).unwrap_or_else(done)).is_ok()
    });
    let gate = Gate::listen(&[], &[upstream.url.clone().into()]);
    let asked = gate.post("", &call(1, "look", json!({})));
    assert_eq!(asked.message(), result(&json!(1), "done"), "{asked:?}");
}

#[test]
fn media_types_are_the_same_in_capitals() {
    let upstream = Scripted::start(|request| {
        let message = message_of(request);
        let Some(usual) = usual(request) else {
            let data = format!("data: {}\n\n", result(&message["id"], "done"));
            return answer("Text/Event-Stream; Charset=UTF-8", &data);
        };
        String::from_utf8(usual).unwrap().replace("application/json", "Application/JSON").into()
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "done"));
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let asked = gate.post("", &call(1, "look", json!({})));
    assert_eq!(asked.message(), result(&json!(1), "done"), "{asked:?}");
}

/// The timer that the system runs for a connection, as `/proc/net/tcp` has it.
#[cfg(target_os = "linux")]
fn timer(local: Option<SocketAddr>, peer: SocketAddr) -> Option<String> {
    let written = |address: SocketAddr| match address.ip() {
        std::net::IpAddr::V4(ip) => {
            format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port())
        }
        std::net::IpAddr::V6(_) => panic!("tests listen at 127.0.0.1"),
    };
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = connections.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = fields.filter(|fields| {
        // Established; what is closed waits for a while, too.
        fields[3] == "01"
            && fields[2] == written(peer)
            && local.is_none_or(|local| fields[1] == written(local))
    });
    Some(found.next()?[5].split(':').next()?.to_owned())
}

/// A machine that lost its power closes nothing: only probes tell. On both sides of a
/// stream on which nobody speaks.
#[cfg(target_os = "linux")]
#[test]
fn tcp_keepalive_is_enabled() {
    const PROBES: &str = "02";
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let upstream = Scripted::serving(move |request, stream| {
        if !request.starts_with("GET") {
            return stream.write_all(&usual(request).unwrap()).is_ok();
        }
        stream.write_all(&[STREAM, b": here\n\n"].concat()).unwrap();
        eventually("the test is over", || over.load(Ordering::Relaxed));
        false
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let mut client = TcpStream::connect(gate.address).unwrap();
    let headers = "Accept: text/event-stream\r\n";
    let request = crate::support::whole(gate.address, "GET", "/mcp", headers, "");
    client.write_all(&request).unwrap();
    let mut read = Vec::new();
    while !read.windows(6).any(|window| window == b": here") {
        let mut piece = [0; 1024];
        let length = client.read(&mut piece).unwrap();
        assert!(length > 0, "it ended: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..length]);
    }
    let server = upstream.url.strip_prefix("http://").unwrap().trim_end_matches("/mcp");
    let (ours, server) = (client.local_addr().unwrap(), server.parse().unwrap());
    // What was just sent has a timer of its own until it is acknowledged.
    for (local, peer) in [(Some(gate.address), ours), (None, server)] {
        eventually("the connection is probed", || timer(local, peer).as_deref() == Some(PROBES));
    }
    is_over.store(true, Ordering::Relaxed);
}
