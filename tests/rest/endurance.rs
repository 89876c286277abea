//! Upstreams that fail, a gate that is killed, a log that is taken away: nothing
//! is sent twice, nothing goes unrecorded, and half an answer looks like half.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{Recorder, Serve, command, eventually};

/// An upstream that answers each request on a connection with `answer`, as it
/// is, until that is empty; the targets that arrived, in order.
fn upstream(
    answer: impl Fn(&str, usize) -> (&'static str, bool) + Send + Sync + 'static,
) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let (seen, answer) = (Arc::clone(&arrived), Arc::new(answer));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            thread::spawn(move || serve(stream, &seen, &*answer));
        }
    });
    (port, arrived)
}

fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    answer: &(dyn Fn(&str, usize) -> (&'static str, bool) + Sync),
) {
    let mut out = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream);
    for count in 0.. {
        let (mut target, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if target.is_empty() {
                target = line.split(' ').nth(1).unwrap_or("/").to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if lines.read_exact(&mut body).is_err() {
            return;
        }
        seen.lock().unwrap().push(target.clone());
        let (text, goes_on) = answer(&target, count);
        if out.write_all(text.as_bytes()).is_err() || !goes_on {
            return;
        }
    }
}

fn in_front_of(port: u16, arguments: &[&str]) -> Serve {
    Serve::start(
        &format!("providers:\n  github: {{upstream: 'http://127.0.0.1:{port}'}}\n"),
        arguments,
    )
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn half_an_answer_looks_like_half_and_nonsense_is_a_502() {
    let (port, _) = upstream(|target, _| match target {
        "/half" => (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf",
            false,
        ),
        "/chunks" => (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            false,
        ),
        "/json" => (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":",
            false,
        ),
        "/garbage" => ("\x00\x01garbage\r\n\r\n", false),
        "/nothing" => ("", false),
        "/101" => {
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", true)
        }
        "/lengths" => {
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nhello", false)
        }
        "/both" => (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            true,
        ),
        "/trailers" => (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: abc\r\n\r\n",
            true,
        ),
        "/away" => (
            "HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/evil\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        "/early" => (
            "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            true,
        ),
        _ => (OK, true),
    });
    let gate = in_front_of(port, &[]);
    let key = gate.agent("a", "allow_all").key;
    let get = |path: &str| {
        let headers = format!("X-Agent-Key: {key}\r\nTE: trailers\r\n");
        gate.request("GET", &format!("/proxy/github{path}"), &headers, "")
    };
    let half = get("/half");
    assert!(half.head.contains("content-length: 100") && half.body == "half", "{half:?}");
    let chunks = get("/chunks");
    assert!(chunks.body.contains("half") && !chunks.body.ends_with("0\r\n\r\n"), "{chunks:?}");
    for path in ["/json", "/garbage", "/nothing", "/101", "/lengths"] {
        let answer = get(path);
        assert_eq!(answer.status, 502, "{path}: {answer:?}");
        assert!(answer.body.contains("proxy_error") && answer.body.contains("request_id"));
    }
    let both = get("/both");
    assert!(!both.head.contains("content-length") && both.body.contains("hello"), "{both:?}");
    assert!(get("/trailers").body.ends_with("x-sum: abc\r\n\r\n"));
    let away = get("/away");
    assert_eq!((away.status, away.head.contains("127.0.0.1:1/evil")), (307, true));
    assert_eq!(get("/early").status, 200);
}

#[test]
fn nothing_is_sent_twice_by_connections_that_were_closed_meanwhile() {
    // Each connection is good for one request, and does not say so.
    let (port, arrived) = upstream(|_, _| (OK, false));
    let gate = in_front_of(port, &[]);
    let key = gate.agent("a", "allow_all").key;
    let answered = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..4 {
            let (gate, key, answered) = (&gate, &key, &answered);
            scope.spawn(move || {
                for number in 0..25 {
                    let target = format!("/x?{worker}-{number}");
                    let headers =
                        format!("X-Agent-Key: {key}\r\nContent-Type: application/json\r\n");
                    let answer =
                        gate.request("POST", &format!("/proxy/github{target}"), &headers, "{}");
                    assert!(matches!(answer.status, 200 | 502), "{answer:?}");
                    if answer.status == 200 {
                        answered.lock().unwrap().push(target);
                    }
                }
            });
        }
    });
    let mut arrived = arrived.lock().unwrap().clone();
    let all = arrived.len();
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived.len(), all, "something arrived twice");
    assert!(answered.lock().unwrap().iter().all(|target| arrived.contains(target)));
}

#[cfg(unix)]
#[test]
fn killed_gate_has_recorded_every_forwarded_call() {
    let (port, arrived) = upstream(|_, _| (OK, true));
    let mut gate = in_front_of(port, &[]);
    let key = gate.agent("a", "allow_all").key;
    let (address, over) = (gate.address, AtomicBool::new(false));
    thread::scope(|scope| {
        for worker in 0..8 {
            let (key, over) = (&key, &over);
            scope.spawn(move || {
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let Ok(mut stream) = TcpStream::connect(address) else { return };
                    let request = format!("POST /proxy/github/w{worker}/n{number} HTTP/1.1\r\nHost: g\r\nX-Agent-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
                    let _ = stream.write_all(request.as_bytes());
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            });
        }
        eventually("there is load", || arrived.lock().unwrap().len() > 200);
        gate.process().kill().unwrap();
        gate.process().wait().unwrap();
        over.store(true, Ordering::Relaxed);
    });
    let listed = command(gate.home.path())
        .args(["audit", "list", "--limit", "0", "--json"])
        .output()
        .unwrap();
    let log = String::from_utf8(listed.stdout).unwrap();
    let recorded: std::collections::HashSet<String> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|row| {
            Some(row["resource"].as_str().or_else(|| row["tool"].as_str())?.to_owned())
        })
        .collect();
    let arrived = arrived.lock().unwrap();
    let lost: Vec<&String> = arrived.iter().filter(|target| !recorded.contains(*target)).collect();
    assert!(lost.is_empty(), "{} of {} unrecorded: {lost:?}", lost.len(), arrived.len());
    let verified = command(gate.home.path()).args(["audit", "verify"]).status().unwrap();
    assert!(verified.success());
}

/// Before its answer, in the middle of one, and between two requests.
#[test]
fn killed_upstream_is_recorded_and_nothing_is_sent_twice() {
    let mut recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "allow_all").key;
    let headers = format!("X-Agent-Key: {key}\r\nContent-Type: application/json\r\n");
    let post = |path: &str| gate.request("POST", &format!("/proxy/github{path}"), &headers, "{}");
    for (path, status) in [("/stalls/before", 502), ("/stalls/half", 200)] {
        recorder.forget();
        let answer = thread::scope(|scope| {
            let asked = scope.spawn(|| post(path));
            eventually("it arrives", || !recorder.requests().is_empty());
            recorder.kill();
            asked.join().unwrap()
        });
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(status != 200 || answer.body == "half", "{answer:?}");
        let row = || gate.log().into_iter().find(|row| row["resource"] == path).unwrap();
        eventually("the log has it", || row()["outcome"] == "error");
        assert_eq!(post("/user").status, 502, "nobody is there");
        recorder.revive();
        assert_eq!(post("/user").status, 200);
        recorder.kill();
        recorder.revive();
        assert_eq!(post("/user").status, 200, "on no connection of before");
        assert_eq!(recorder.requests().len(), 3, "{path}");
    }
}
