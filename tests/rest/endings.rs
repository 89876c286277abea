//! How a gate ends, and what it outlives: told to stop amid an answer, out of room for its
//! log, with more clients than it has places for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::support::{Recorder, Serve, TIMEOUT, command, eventually, sites};

/// An upstream whose answer goes on until nobody takes it.
fn endless() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || go_on(&stream));
        }
    });
    port
}

fn go_on(mut stream: &TcpStream) {
    let head = BufReader::new(stream).lines().map_while(Result::ok);
    head.take_while(|line| !line.is_empty()).for_each(drop);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut written = stream.write_all(head.as_bytes());
    while written.is_ok() {
        written = stream.write_all(b"5\r\nagain\r\n");
        thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn connect(gate: &Serve) -> TcpStream {
    let stream = TcpStream::connect(gate.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// The rows of a log that nobody has open, newest first.
fn rows(gate: &Serve) -> Vec<Value> {
    let listed = command(gate.home.path()).args(["audit", "list", "--json"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let verified = command(gate.home.path()).args(["audit", "verify"]).status().unwrap();
    assert!(verified.success());
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn shutdown_records_aborted_answers() {
    const CALLS: usize = 8;
    let providers =
        format!("providers:\n  github: {{upstream: 'http://127.0.0.1:{}'}}\n", endless());
    let mut gate = Serve::start(&providers, &[]);
    let key = gate.agent("a", "allow_all").key;
    let mut streams = Vec::new();
    for number in 0..CALLS {
        let mut stream = connect(&gate);
        let request =
            format!("GET /proxy/github/{number} HTTP/1.1\r\nHost: g\r\nX-Agent-Key: {key}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while !line.contains("again") {
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0);
        }
        streams.push(stream);
    }
    let pid = gate.process().id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    // The clients read on, so that what ends the answers is the gate.
    for mut stream in streams {
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(gate.process().wait().unwrap().success());
    let rows = rows(&gate);
    assert_eq!(rows.len(), CALLS, "{rows:?}");
    for row in rows {
        assert_eq!(row["outcome"], "error", "{row}");
        let status = row["status"].as_str().unwrap();
        assert!(status.contains("broke off: the gate is being stopped"), "{row}");
    }
}

/// What has no answer by the end of the time that it is given gets one of the gate's own.
#[test]
fn shutdown_answers_requests_that_the_provider_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap();
    let providers = format!("providers:\n  github: {{upstream: 'http://{upstream}'}}\n");
    let mut gate = Serve::start(&providers, &["--shutdown-timeout", "1s"]);
    let key = gate.agent("a", "allow_all").key;
    let mut client = connect(&gate);
    write!(client, "GET /proxy/github/user HTTP/1.1\r\nHost: g\r\nX-Agent-Key: {key}\r\n\r\n")
        .unwrap();
    let (silent, _) = listener.accept().unwrap();
    let head = BufReader::new(&silent).lines().map_while(Result::ok);
    head.take_while(|line| !line.is_empty()).for_each(drop);
    let pid = gate.process().id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("the gate is being stopped"), "{answer}");
    assert!(gate.process().wait().unwrap().success());
    let rows = rows(&gate);
    assert_eq!((rows.len(), &rows[0]["outcome"]), (1, &"error".into()), "{rows:?}");
    assert!(rows[0]["status"].as_str().unwrap().contains("the gate is being stopped"), "{rows:?}");
}

/// `SIGXFSZ` ends whoever does not care for it.
#[test]
fn a_log_that_may_not_grow_is_no_end_but_a_refusal() {
    let recorder = Recorder::start();
    // In units of 512 bytes: room for a database that is empty, and some rows.
    let mut gate = Serve::under("ulimit -f 1000", &sites(&recorder), &[]);
    let key = gate.agent("a", "allow_all").key;
    let headers = format!("X-Agent-Key: {key}\r\n");
    let long = "x".repeat(8_000);
    let get = || gate.request("GET", &format!("/proxy/github/user?q={long}"), &headers, "");
    let mut passed = 0;
    let refused = loop {
        match get() {
            answer if answer.status == 200 => passed += 1,
            answer => break answer,
        }
        assert!(passed < 1_000, "it grows for ever");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("recorded"), "{refused:?}");
    assert_eq!(recorder.requests().len(), passed);
    assert_eq!(gate.request("GET", "/health", "", "").status, 503, "and that is not well");
    assert!(gate.process().try_wait().unwrap().is_none());
}

#[test]
fn connections_beyond_the_limit_get_503() {
    // 256 for itself and three for a client.
    let places = 20;
    let (gate, key) = small(places);
    let get = || gate.request("GET", "/nowhere", "", "");
    assert_eq!(get().status, 404);
    let mut taken = Vec::new();
    eventually("all places are taken", || {
        let mut stream = connect(&gate);
        write!(stream, "GET /proxy/github/a HTTP/1.1\r\nHost: g\r\nX-Agent-Key: {key}\r\n\r\n")
            .unwrap();
        let status = status_of(&stream);
        taken.push(stream);
        status.starts_with("HTTP/1.1 503 ")
    });
    assert!((places..=places + 2).contains(&(taken.len() - 1)), "{}", taken.len());
    for _ in 0..100 {
        let full = get();
        assert_eq!(full.status, 503, "{full:?}");
        assert!(full.body.contains("too_many_connections"), "{full:?}");
        assert!(full.head.contains("retry-after: 1") && full.head.contains("connection: close"));
    }
    let health = gate.request("GET", "/health", "", "");
    assert_eq!(health.status, 200, "whether it is well is told to everybody");
    // The connections that were there first are served as ever.
    let first = taken.remove(0);
    let mut lines = BufReader::new(&first).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "again"));
    drop(first);
    eventually("its place is free again", || get().status == 404);
    drop(taken);
    eventually("it is said once", || gate.said().contains("all 20 places are taken"));
    assert_eq!(gate.said().matches("places are taken").count(), 1);
}

/// Who has been answered and stays gives its place, and who is being answered does not.
/// As `nc -N` and scripts do.
#[test]
fn half_closed_clients_are_answered() {
    let (gate, _) = small(4);
    let health = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned();
    let wrong = "/proxy/github/user HTTP/1.1\r\nHost: localhost\r\nX-Agent-Key: wrong\r\n";
    let refused = format!("GET {wrong}\r\n");
    let chunked = format!("POST {wrong}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    for (asked, statuses) in [
        (health.clone(), vec!["200"]),
        (refused.clone(), vec!["401"]),
        (chunked, vec!["401"]),
        (health.repeat(3), vec!["200", "200", "200"]),
        (format!("{health}{refused}"), vec!["200", "401"]),
        (format!("{health}GET /hea"), vec!["200"]),
    ] {
        let mut stream = connect(&gate);
        stream.write_all(asked.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let answers = answer.split("HTTP/1.1 ").skip(1);
        let found: Vec<&str> = answers.map(|answer| &answer[..3]).collect();
        assert_eq!(found, statuses, "{asked}: {answer}");
    }
}

#[test]
fn idle_connection_is_closed_for_a_new_one() {
    let places = 20;
    let (gate, key) = small(places);
    let busy = connect(&gate);
    write!(&busy, "GET /proxy/github/a HTTP/1.1\r\nHost: g\r\nX-Agent-Key: {key}\r\n\r\n").unwrap();
    assert_eq!(status_of(&busy), "HTTP/1.1 200 OK\r\n");
    let idle: Vec<TcpStream> = (1..places)
        .map(|_| {
            let mut stream = connect(&gate);
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: g\r\n\r\n").unwrap();
            assert_eq!(status_of(&stream), "HTTP/1.1 200 OK\r\n");
            stream
        })
        .collect();
    // As many again come and stay.
    let later: Vec<TcpStream> = (1..places)
        .map(|_| {
            eventually("a newcomer finds a place", || {
                gate.request("GET", "/nowhere", "", "").status == 404
            });
            connect(&gate)
        })
        .collect();
    let (mut first, mut left) = (&idle[0], Vec::new());
    first.read_to_end(&mut left).expect("it is closed, and not reset");
    let mut lines = BufReader::new(&busy).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "again") && lines.any(|line| line == "again"));
    drop(later);
}

/// A gate of so many places in front of what never ends, and the key of an agent.
fn small(places: usize) -> (Serve, String) {
    let providers =
        format!("providers:\n  github: {{upstream: 'http://127.0.0.1:{}'}}\n", endless());
    let gate = Serve::under(&format!("ulimit -n {}", 256 + 3 * places), &providers, &[]);
    let key = gate.agent("a", "allow_all").key;
    (gate, key)
}

/// The first line of what comes; byte by byte, so that nothing behind it is read.
fn status_of(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

/// Over HTTP/2 a request takes a place as a connection does.
#[test]
fn http_2_streams_take_a_slot_each() {
    let Some(python) = crate::sdks::python() else { return };
    let providers =
        format!("providers:\n  github: {{upstream: 'http://127.0.0.1:{}'}}\n", endless());
    let gate = Serve::under("ulimit -n 316", &providers, &[]);
    let key = gate.agent("a", "allow_all").key;
    let url = format!("http://{}", gate.address);
    let script = crate::support::helper("streams.py");
    let output = Command::new(python).arg(script).args([&url, &key]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "served 19, refused 21, well 200, afterwards 200\n", "{errors}");
}
