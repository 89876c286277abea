//! Servers of HTTP+SSE (2024-11-05), and sessions that end or begin anew while
//! something is under way.

use std::io::Write as _;
use std::sync::{Condvar, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::pipes::Pipes;
use crate::support::scripted::{
    STREAM, Scripted, accepted, json_answer, message_of, result, tells, usual, whole_answer,
};
use crate::support::{Server, TIMEOUT, call, eventually, initialize, installed};

/// What a server does with the second call: it ends the stream.
const LAST: u64 = 2;

/// A server of HTTP+SSE with this endpoint. An answer comes by the stream before its
/// POST is accepted; a call of the id [`LAST`] ends the stream.
fn sse(endpoint: &'static str) -> Scripted {
    let (tell, told) = mpsc::channel::<Option<String>>();
    let (wrote, written) = mpsc::channel();
    let (told, written) = (Mutex::new((told, wrote)), Mutex::new(written));
    Scripted::serving(move |request, stream| {
        if request.starts_with("GET") {
            stream.write_all(STREAM).unwrap();
            stream.write_all(format!("event: endpoint\ndata: {endpoint}\n\n").as_bytes()).unwrap();
            let (told, wrote) = &*told.lock().unwrap();
            while let Ok(Some(message)) = told.recv() {
                stream.write_all(format!("data: {message}\n\n").as_bytes()).unwrap();
                wrote.send(()).unwrap();
            }
            return false;
        }
        if !request.starts_with("POST /messages") {
            return stream.write_all(&whole_answer("405 Method Not Allowed", "", "")).is_ok();
        }
        let message = message_of(request);
        let answer = usual(request).map(|usual| {
            let usual = String::from_utf8(usual).unwrap();
            usual.split_once("\r\n\r\n").unwrap().1.to_owned()
        });
        let answer = answer.unwrap_or_else(|| result(&message["id"], "done").to_string());
        if message["id"] == LAST {
            tell.send(None).unwrap();
        } else if !answer.is_empty() {
            tell.send(Some(answer)).unwrap();
            written.lock().unwrap().recv().unwrap();
        }
        stream.write_all(&accepted()).is_ok()
    })
}

/// An answer that opens a session.
fn in_session(answer: &[u8], session: &str) -> Vec<u8> {
    let header = format!("\r\nMcp-Session-Id: {session}\r\n");
    String::from_utf8_lossy(answer).replacen("\r\n", &header, 1).into_bytes()
}

#[test]
fn a_server_of_http_and_sse_may_be_named_as_one() {
    for transport in ["sse", "auto"] {
        let upstream = sse("/messages");
        let mut pipes = Pipes::open(&["--transport", transport], &upstream.url);
        pipes.send(&call(1, "look", json!({})));
        assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "done"), "{transport}");
        // A client may begin anew; the stream is the same.
        pipes.handshake();
        assert_eq!(upstream.count("GET"), 1, "{transport}");
        pipes.send(&call(LAST, "look", json!({})));
        let rest: Vec<Value> = std::iter::from_fn(|| pipes.next()).collect();
        assert_eq!(rest.len(), 1, "only what had no answer yet: {transport}: {rest:?}");
        assert!(rest[0]["id"] == LAST && rest[0].to_string().contains("ended the stream"));
        assert_eq!(pipes.wait().code(), Some(1), "{transport}");
    }
}

#[test]
fn the_real_server_of_http_and_sse_may_be_named_as_one() {
    let Some(installed) = installed() else { return };
    let server = Server::everything(&installed, "sse", "/sse");
    let mut pipes = Pipes::open(&["--transport", "sse"], &server.url);
    pipes.send(&call(1, "echo", json!({"message": "hello"})));
    assert!(pipes.answer(&json!(1)).to_string().contains("hello"));
    pipes.hang_up();
    assert!(pipes.wait().success());
}

#[test]
fn client_gets_the_reason_for_a_missing_stream() {
    let no_endpoint = Scripted::start(|_| [STREAM, b": nothing\n\n"].concat());
    let no_stream = Scripted::start(|_| whole_answer("403 Forbidden", "", "not you"));
    let elsewhere = sse("http://127.0.0.2:9/messages");
    for (url, transport, words) in [
        (&elsewhere.url, "sse", "another host: http://127.0.0.2:9/messages"),
        (&elsewhere.url, "auto", "another host: http://127.0.0.2:9/messages"),
        (&no_endpoint.url, "sse", "names no endpoint"),
        (&no_stream.url, "sse", "HTTP 403 Forbidden: not you"),
    ] {
        let mut pipes = Pipes::start(&["--transport", transport], url);
        pipes.send(&initialize());
        let answer = pipes.answer(&json!(0));
        assert!(answer["error"].to_string().contains(words), "{transport}: {answer}");
        pipes.hang_up();
        assert!(pipes.wait().success(), "{transport}");
    }
}

/// A client begins another session while a call of the first is under way: that the
/// server knows the first no more says nothing of the second.
#[test]
fn refusal_in_an_old_session_does_not_end_the_new_one() {
    let (is_new, news) = (Mutex::new(0), Condvar::new());
    let upstream = Scripted::serving(move |request, stream| {
        let message = message_of(request);
        match message["method"].as_str() {
            Some("initialize") => {
                let mut sessions = is_new.lock().unwrap();
                *sessions += 1;
                news.notify_all();
                let session = format!("session-{sessions}");
                stream.write_all(&in_session(&usual(request).unwrap(), &session)).is_ok()
            }
            Some("tools/call") if request.to_lowercase().contains("mcp-session-id: session-1") => {
                let waiting = is_new.lock().unwrap();
                drop(news.wait_timeout_while(waiting, TIMEOUT, |it| *it < 2).unwrap());
                stream.write_all(&whole_answer("404 Not Found", "", "")).is_ok()
            }
            Some("tools/call") => {
                stream.write_all(&json_answer(&result(&message["id"], "done"))).is_ok()
            }
            _ => stream.write_all(&usual(request).unwrap()).is_ok(),
        }
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    eventually("the call arrives", || {
        let calls = |it: &String| message_of(it)["method"] == "tools/call";
        upstream.requests().iter().any(calls)
    });
    pipes.send(&initialize());
    let (mut lost, mut begun) = (None, None);
    while lost.is_none() || begun.is_none() {
        let message = pipes.next().expect("both are answered");
        let place = if message["id"] == 1 { &mut lost } else { &mut begun };
        *place = Some(message);
    }
    assert!(lost.unwrap()["error"].to_string().contains("session"));
    assert!(begun.unwrap()["result"].is_object());
    pipes.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    pipes.send(&call(3, "look", json!({})));
    assert_eq!(pipes.answer(&json!(3)), result(&json!(3), "done"));
    pipes.hang_up();
    assert!(pipes.wait().success());
}

/// Another try would be redirected, too: the client is told at once.
#[test]
fn a_stream_that_is_resumed_elsewhere_is_given_up() {
    let upstream = Scripted::serving(|request, stream| {
        if request.starts_with("GET") && request.to_lowercase().contains("last-event-id") {
            let place = "Location: http://127.0.0.2:9/mcp\r\n";
            return stream.write_all(&whole_answer("307 Temporary Redirect", place, "")).is_ok();
        }
        match usual(request) {
            Some(usual) => stream.write_all(&in_session(&usual, "s")).is_ok(),
            None => tells(stream, "id: 1\nretry: 100\ndata:\n\n"),
        }
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    assert!(pipes.answer(&json!(1))["error"].to_string().contains("without an answer"));
    let resumed = |it: &&String| it.to_lowercase().contains("last-event-id");
    assert_eq!(upstream.requests().iter().filter(resumed).count(), 1);
    pipes.hang_up();
    assert!(pipes.wait().success());
}

/// A script that pipes its calls in ends at once, and a call may take long.
#[test]
fn requests_before_the_end_of_the_input_are_answered() {
    let upstream = Scripted::start(|request| {
        usual(request).unwrap_or_else(|| {
            std::thread::sleep(Duration::from_secs(9));
            json_answer(&result(&message_of(request)["id"], "late"))
        })
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    pipes.hang_up();
    assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "late"));
    assert!(pipes.wait().success());
}
