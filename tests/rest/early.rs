//! Answers that come before a request's body was read reach clients that are still
//! sending it, and nothing behind such a body is taken for another request.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::sdks;
use crate::support::{Recorder, Serve, TIMEOUT, helper};

/// More than what sockets hold on their own.
const LARGE: usize = 20 << 20;

/// What is thrown away of a body at most, and what sockets may hold beyond that.
const DISCARDED: usize = 64 << 20;
const SOCKETS: usize = 32 << 20;

fn connect(gate: &Serve) -> TcpStream {
    let stream = TcpStream::connect(gate.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

fn head(target: &str, headers: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

fn read(mut stream: &TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Requests that are refused unread: target, header lines, status.
fn refused(gate: &Serve) -> Vec<(&'static str, String, &'static str)> {
    let agent = gate.agent("early", "google_readonly");
    let key = format!("X-Agent-Key: {}\r\n", agent.key);
    vec![
        ("/proxy/github/user", "X-Agent-Key: wrong\r\n".to_owned(), "401"),
        ("/proxy/google/upload/drive/v3/files?uploadType=media", key.clone(), "403"),
        ("/proxy/github/repos/a/b/issues", key.clone(), "413"),
        ("/elsewhere", key, "404"),
        ("/mcp/nothing", "Content-Type: application/json\r\n".to_owned(), "401"),
    ]
}

#[test]
fn client_that_sends_everything_before_reading_is_answered() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    for (target, headers, status) in refused(&gate) {
        for chunked in [false, true] {
            let mut stream = connect(&gate);
            let framing = match chunked {
                true => "Transfer-Encoding: chunked\r\n".to_owned(),
                false => format!("Content-Length: {LARGE}\r\n"),
            };
            let head = head(target, &format!("{headers}{framing}"));
            stream.write_all(head.as_bytes()).unwrap();
            let piece = match chunked {
                true => [&b"100000\r\n"[..], &[b'x'; 1 << 20], b"\r\n"].concat(),
                false => vec![b'x'; 1 << 20],
            };
            for _ in 0..LARGE >> 20 {
                stream.write_all(&piece).unwrap_or_else(|error| panic!("{target}: {error}"));
            }
            let answer = read(&stream);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{target}: {answer}");
        }
    }
    assert_eq!(recorder.requests(), Vec::<Value>::new());
}

#[test]
fn a_head_that_is_too_long_is_answered() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let mut stream = connect(&gate);
    stream.write_all(head("/", &"X: y\r\n".repeat(1 << 20)).as_bytes()).unwrap();
    let answer = read(&stream);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn expect_continue_is_answered_at_once() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    for (target, headers, status) in refused(&gate) {
        let mut stream = connect(&gate);
        let headers = format!("{headers}Expect: 100-continue\r\nContent-Length: {LARGE}\r\n");
        stream.write_all(head(target, &headers).as_bytes()).unwrap();
        // The gate has ended its side, and the answer is the first that it said.
        let answer = read(&stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        // A client that goes on all the same does no harm.
        stream.write_all(&vec![b'x'; LARGE]).unwrap();
    }
    assert_eq!(recorder.requests(), Vec::<Value>::new());
}

#[test]
fn nothing_behind_a_refused_body_is_a_request() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("smuggler", "github_readonly");
    let behind =
        format!("GET /proxy/github/user HTTP/1.1\r\nHost: x\r\nX-Agent-Key: {}\r\n\r\n", agent.key);
    for (target, headers, status) in refused(&gate) {
        for framing in
            [format!("Content-Length: {LARGE}\r\n"), "Transfer-Encoding: chunked\r\n".to_owned()]
        {
            let mut stream = connect(&gate);
            let head = head(target, &format!("{headers}{framing}"));
            stream.write_all(head.as_bytes()).unwrap();
            // In place of the body, within it, and behind it.
            let chunk = format!("{:x}\r\n{behind}\r\n", behind.len());
            let within = [behind.as_str(), &chunk, "0\r\n\r\n", &behind].concat();
            let padding = "x".repeat(LARGE - within.len());
            stream.write_all(format!("{within}{padding}{behind}").as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let answer = read(&stream);
            // What is in place of chunks may be looked at, and found to be none.
            let status = if answer.contains("broken_body") { "400" } else { status };
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{target}: {answer}");
        }
    }
    assert_eq!(recorder.requests(), Vec::<Value>::new());
    assert!(gate.log().iter().all(|row| row["agent"] != "smuggler"));
}

#[test]
fn endless_request_is_cut_off() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    for framing in ["Content-Length: 1000000000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut stream = connect(&gate);
        stream.write_all(head("/proxy/github/user", framing).as_bytes()).unwrap();
        let piece = vec![b'x'; 1 << 20];
        let mut sent = 0;
        while stream.write_all(&piece).is_ok() {
            sent += piece.len();
            assert!(sent < DISCARDED + SOCKETS, "{framing}");
        }
        assert!(sent > DISCARDED / 2, "{framing}{sent}");
    }
    // Nobody else notices.
    assert_eq!(gate.request("GET", "/health", "", "").status, 200);
}

/// Runs one of the scripts with clients that send large bodies, and gives what each saw.
fn clients(script: &str, gate: &Serve) -> Option<Vec<Value>> {
    let python = sdks::python()?;
    let modules = Path::new(&python).ancestors().nth(3).unwrap().join("node_modules");
    let agent = gate.agent(&script.replace('.', "-"), "google_readonly");
    let mut command = match script.ends_with(".py") {
        true => Command::new(&python),
        false => Command::new("node"),
    };
    command.arg(helper(script)).arg(format!("http://{}", gate.address)).arg(&agent.key);
    let output = command.args(&agent.aws).arg(modules).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    Some(said.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// HTTP/2 has a way to say that no more of a body is wanted, and not every client reads
/// its answer then.
#[test]
fn real_clients_see_the_status_and_the_reason() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let mut reports = Vec::new();
    for (script, count) in [("early.py", 54), ("early.mjs", 16)] {
        let Some(reported) = clients(script, &gate) else { return };
        assert_eq!(reported.len(), count, "{script}");
        reports.extend(reported);
    }
    reports.retain(|report| report["status"] != report["expected"] || report["reason"] == "");
    assert!(reports.is_empty(), "{reports:#?}");
    assert_eq!(recorder.requests(), Vec::<Value>::new());
}
