//! `agentgate wrap URL` that is told to stop while calls are under way: each is answered,
//! its row says why, and the server hears of the end.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;

use crate::support::pipes::Pipes;
use crate::support::scripted::{
    STREAM, Scripted, accepted, json_answer, message_of, never, result, usual, whole_answer,
};
use crate::support::{TIMEOUT, call, eventually};

/// What a server has said of an answer when its client is told to stop.
type Half = fn(&mut TcpStream);

const SAID: [(&str, Half); 4] = [
    ("nothing", |_| {}),
    ("half a message", |stream| {
        let head =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{";
        stream.write_all(head).unwrap();
    }),
    ("a stream", |stream| stream.write_all(STREAM).unwrap()),
    ("a stream that can be resumed", |stream| {
        stream.write_all(STREAM).unwrap();
        stream.write_all(b"id: 1\ndata:\n\n").unwrap();
    }),
];

/// A session, as `usual` has none.
fn in_session(answer: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(answer).replacen("\r\n", "\r\nMcp-Session-Id: s\r\n", 1).into_bytes()
}

fn start(drain: &str, url: &str) -> Pipes {
    let mut pipes = Pipes::start_with(&["--shutdown-timeout", drain], url, |_| ());
    pipes.handshake();
    pipes
}

#[test]
fn requests_in_flight_are_answered_and_recorded() {
    for (said, say) in SAID {
        let upstream = Scripted::serving(move |request, stream| match usual(request) {
            Some(answer) => stream.write_all(&in_session(&answer)).is_ok(),
            None => {
                say(stream);
                never()
            }
        });
        let mut pipes = start("100ms", &upstream.url);
        pipes.send(&call(1, "look", json!({})));
        eventually("the call arrives", || {
            upstream.requests().iter().any(|one| one.contains("tools/call")).then_some(())
        });
        let began = Instant::now();
        pipes.signal(Signal::TERM);
        let answer = pipes.answer(&json!(1));
        assert!(answer["error"].to_string().contains("being stopped"), "{said}: {answer}");
        assert_eq!(pipes.next(), None, "{said}: one answer, and the end");
        assert_eq!(pipes.wait().code(), Some(0), "{said}");
        assert!(began.elapsed().as_secs() < 5, "{said}: {:?}", began.elapsed());
        let row = pipes.log().pop().unwrap();
        assert_eq!((&row["tool"], &row["outcome"]), (&json!("look"), &json!("error")), "{said}");
        assert_eq!(upstream.count("DELETE"), 1, "{said}: the server hears of the end");
    }
}

#[test]
fn an_answer_that_comes_soon_enough_is_passed_on() {
    let (answer_now, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let upstream = Scripted::start(move |request| {
        usual(request).unwrap_or_else(|| {
            told.lock().unwrap().recv_timeout(TIMEOUT).unwrap();
            json_answer(&result(&message_of(request)["id"], "done"))
        })
    });
    let mut pipes = start("20s", &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    eventually("the call arrives", || {
        upstream.requests().iter().any(|one| one.contains("tools/call")).then_some(())
    });
    pipes.signal(Signal::TERM);
    answer_now.send(()).unwrap();
    assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "done"));
    assert_eq!(pipes.wait().code(), Some(0));
    assert_eq!(pipes.log().pop().unwrap()["outcome"], "forwarded");
}

/// A client that ends its input, and then sends the signal, will send another soon.
#[test]
fn stop_after_the_end_of_the_input_does_not_wait() {
    let upstream = Scripted::start(|request| usual(request).unwrap_or_else(|| never()));
    let mut pipes = start("20s", &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    eventually("the call arrives", || {
        upstream.requests().iter().any(|one| one.contains("tools/call")).then_some(())
    });
    pipes.hang_up();
    let began = Instant::now();
    pipes.signal(Signal::TERM);
    assert!(pipes.answer(&json!(1))["error"].to_string().contains("being stopped"));
    pipes.wait();
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert_eq!(pipes.log().pop().unwrap()["outcome"], "error");
}

#[test]
fn requests_awaiting_the_http_sse_stream_are_answered_at_shutdown() {
    let (tell, told) = mpsc::channel::<String>();
    let told = Mutex::new(told);
    let called = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&called);
    let upstream = Scripted::serving(move |request, stream| {
        if request.starts_with("GET") {
            stream.write_all(STREAM).unwrap();
            stream.write_all(b"event: endpoint\ndata: /messages\n\n").unwrap();
            while let Ok(message) = told.lock().unwrap().recv() {
                stream.write_all(format!("data: {message}\n\n").as_bytes()).unwrap();
            }
            return false;
        }
        if !request.starts_with("POST /messages") {
            return stream.write_all(&whole_answer("405 Method Not Allowed", "", "")).is_ok();
        }
        match usual(request) {
            Some(usual) => {
                let usual = String::from_utf8(usual).unwrap();
                let answer = usual.split_once("\r\n\r\n").unwrap().1;
                if !answer.is_empty() {
                    tell.send(answer.to_owned()).unwrap();
                }
            }
            None => seen.store(true, Ordering::SeqCst),
        }
        stream.write_all(&accepted()).is_ok()
    });
    let mut pipes = start("100ms", &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    eventually("the call arrives", || called.load(Ordering::SeqCst).then_some(()));
    pipes.signal(Signal::TERM);
    assert!(pipes.answer(&json!(1))["error"].to_string().contains("being stopped"));
    assert_eq!(pipes.next(), None);
    assert_eq!(pipes.wait().code(), Some(0));
    assert_eq!(pipes.log().pop().unwrap()["outcome"], "error");
}
