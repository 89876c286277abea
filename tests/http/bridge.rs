//! A remote server behind a client's pipes: sessions that end, streams that are
//! taken up again, requests that are given up.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::pipes::Pipes;
use crate::support::scripted::{
    STREAM, Scripted, accepted, json_answer, message_of, never, result, tells, usual, whole_answer,
};
use crate::support::{call, eventually, initialize, stateless_call};

/// Answers `initialize` with a session of this name; `None` for the rest.
fn opening(request: &str, session: &str) -> Option<Vec<u8>> {
    let message = message_of(request);
    if message["method"] != "initialize" {
        return None;
    }
    let opened = json!({"jsonrpc": "2.0", "id": message["id"], "result": {
        "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "scripted", "version": "1"}}});
    let headers = format!("Content-Type: application/json\r\nMcp-Session-Id: {session}\r\n");
    Some(whole_answer("200 OK", &headers, &opened.to_string()))
}

fn session_of(request: &str) -> Option<&str> {
    request.lines().find_map(|line| line.strip_prefix("mcp-session-id: "))
}

/// The answer of both SDKs' servers to a session that they do not know.
fn unknown_session(id: &Value) -> Vec<u8> {
    let error = json!({"jsonrpc": "2.0", "id": id,
                       "error": {"code": -32_600, "message": "Session not found"}});
    whole_answer("404 Not Found", "Content-Type: application/json\r\n", &error.to_string())
}

#[test]
fn a_session_that_is_over_leads_to_another_one() {
    for id in [Value::Null, json!("server-error")] {
        let openings = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&openings);
        let upstream = Scripted::start(move |request| {
            let known = counter.load(Ordering::Relaxed);
            if message_of(request)["method"] == "initialize" {
                assert_eq!(session_of(request), None, "a new one is asked for");
                let session = format!("s{}", counter.fetch_add(1, Ordering::Relaxed) + 1);
                return opening(request, &session).unwrap();
            }
            // It restarted after the first call.
            if session_of(request) == Some("s1") && message_of(request)["id"] == 2 {
                return unknown_session(&id);
            }
            assert_eq!(session_of(request), Some(&*format!("s{known}")));
            let message = message_of(request);
            usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")))
        });
        let mut pipes = Pipes::open(&[], &upstream.url);
        pipes.send(&call(1, "look", json!({})));
        assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "done"));
        pipes.send(&call(2, "look", json!({})));
        let told = pipes.answer(&json!(2));
        assert!(told["error"]["message"].as_str().unwrap().contains("initialize again"), "{told}");
        pipes.handshake();
        pipes.send(&call(3, "look", json!({})));
        assert_eq!(pipes.answer(&json!(3)), result(&json!(3), "done"));
        pipes.hang_up();
        assert!(pipes.wait().success());
        // The stream of news may be asked for after it.
        let requests = upstream.requests();
        let farewells = requests.iter().filter(|request| request.starts_with("DELETE"));
        assert_eq!(farewells.map(|it| session_of(it)).collect::<Vec<_>>(), [Some("s2")]);
        let outcomes: Vec<_> = pipes.log().iter().map(|row| row["outcome"].clone()).collect();
        assert_eq!(outcomes, ["forwarded", "error", "forwarded"]);
    }
}

/// A client that cannot begin anew over the same pipes is sent away.
#[test]
fn client_that_continues_without_a_session_is_disconnected() {
    let upstream = Scripted::start(|request| {
        opening(request, "s").unwrap_or_else(|| match message_of(request)["method"].as_str() {
            Some("tools/call") => unknown_session(&Value::Null),
            _ => usual(request).unwrap_or_else(accepted),
        })
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    for id in 1..=4 {
        pipes.send(&call(id, "look", json!({})));
        assert!(pipes.answer(&json!(id))["error"].is_object());
    }
    assert_eq!(pipes.next(), None);
    assert_eq!(pipes.wait().code(), Some(1));
    let calls = upstream.requests();
    let calls = calls.iter().filter(|request| message_of(request)["method"] == "tools/call");
    assert_eq!(calls.count(), 1, "the server is not asked in vain");
}

/// 2025-11-25: a server may end a stream before the answer, where its events had
/// ids; the rest is asked for with `Last-Event-ID`.
#[test]
fn a_stream_that_ends_before_the_answer_is_taken_up_again() {
    let upstream = Scripted::serving(|request, stream| {
        if let Some(opened) = opening(request, "s") {
            return stream.write_all(&opened).is_ok();
        }
        let events = match message_of(request)["method"].as_str() {
            Some("tools/call") => "id: 1\nretry: 10\ndata:\n\n".to_owned(),
            None if request.contains("last-event-id: 1\r\n") => {
                let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "half"}});
                format!("id: 2\ndata: {note}\n\n")
            }
            None if request.contains("last-event-id: 2\r\n") => {
                format!("id: 3\ndata: {}\n\n", result(&json!(1), "whole"))
            }
            _ => return stream.write_all(&usual(request).unwrap()).is_ok(),
        };
        tells(stream, &events)
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    assert_eq!(pipes.next().unwrap()["params"]["data"], "half");
    assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "whole"));
    pipes.hang_up();
    assert!(pipes.wait().success());
    let rows = pipes.log();
    assert_eq!((rows.len(), &rows[0]["status"]), (1, &json!("ok")), "{rows:?}");
}

/// A server may ask for no pause at all, and does not get that.
#[test]
fn streams_are_not_opened_again_without_a_pause() {
    let gets = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&gets);
    let upstream = Scripted::serving(move |request, stream| {
        if let Some(opened) = opening(request, "s") {
            return stream.write_all(&opened).is_ok();
        }
        let resumes = request.contains("last-event-id: 1\r\n");
        let resumed = || {
            let mut gets = times.lock().unwrap();
            gets.push(Instant::now());
            gets.len()
        };
        let events = match message_of(request)["method"].as_str() {
            Some("tools/call") => "id: 1\nretry: 0\ndata:\n\n".to_owned(),
            None if resumes && resumed() == 4 => {
                format!("data: {}\n\n", result(&json!(1), "whole"))
            }
            None if resumes => "retry: 0\n\n".to_owned(),
            _ => return stream.write_all(&usual(request).unwrap()).is_ok(),
        };
        tells(stream, &events)
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "whole"));
    let gets = gets.lock().unwrap();
    let pauses: Vec<_> = gets.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect();
    assert!(pauses.iter().zip([200, 400, 800]).all(|(pause, least)| *pause >= least), "{pauses:?}");
}

/// The stream on which the server speaks first is opened again from where it
/// ended, also where the server is away for a while.
#[test]
fn the_servers_own_stream_is_opened_again() {
    let gets = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&gets);
    let upstream = Scripted::serving(move |request, stream| {
        if let Some(opened) = opening(request, "s") {
            return stream.write_all(&opened).is_ok();
        }
        if !request.starts_with("GET") {
            return stream.write_all(&usual(request).unwrap()).is_ok();
        }
        let note = |n: usize| {
            let note =
                json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": n}});
            format!("id: {n}\nretry: 10\ndata: {note}\n\n")
        };
        match counter.fetch_add(1, Ordering::Relaxed) {
            0 => tells(stream, &note(1)),
            1 => stream.write_all(&whole_answer("503 Service Unavailable", "", "")).is_ok(),
            2 => {
                assert!(request.contains("last-event-id: 1\r\n"), "{request}");
                tells(stream, &note(2))
            }
            _ => stream.write_all(&whole_answer("405 Method Not Allowed", "", "")).is_ok(),
        }
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    assert_eq!(pipes.next().unwrap()["params"]["data"], 1);
    assert_eq!(pipes.next().unwrap()["params"]["data"], 2);
    pipes.hang_up();
    assert!(pipes.wait().success());
}

/// In the stateless era a request is cancelled by closing its stream, whatever
/// `_meta` the notification has.
#[test]
fn cancelling_over_pipes_closes_the_stream() {
    let closed = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&closed);
    let upstream = Scripted::serving(move |request, stream| {
        let message = message_of(request);
        if message["params"]["name"] != "wait" {
            let answer =
                usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")));
            return stream.write_all(&answer).is_ok();
        }
        stream.write_all(STREAM).unwrap();
        stream.write_all(b": begun\n\n").unwrap();
        let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "begun"}});
        stream.write_all(format!("data: {note}\n\n").as_bytes()).unwrap();
        // Nothing comes from the other side but its end.
        *seen.lock().unwrap() = matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_));
        false
    });
    let mut pipes = Pipes::start(&[], &upstream.url);
    pipes.send(&stateless_call(1, "wait", json!({})).1);
    assert_eq!(pipes.next().unwrap()["params"]["data"], "begun");
    pipes.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
                       "params": {"requestId": 1, "reason": "enough"}}));
    eventually("the stream is closed", || *closed.lock().unwrap());
    pipes.send(&stateless_call(2, "look", json!({})).1);
    assert_eq!(pipes.answer(&json!(2))["result"]["content"][0]["text"], "done");
    pipes.hang_up();
    assert!(pipes.wait().success());
    let cancelled = |request: &String| request.contains("notifications/cancelled");
    assert!(!upstream.requests().iter().any(cancelled));
    assert_eq!(pipes.log()[0]["status"], "cancelled");
}

/// Ids of the server's requests are a world of their own.
#[test]
fn an_answer_that_the_server_refuses_is_no_answer_of_the_servers() {
    let refusals = AtomicUsize::new(0);
    let upstream = Scripted::serving(move |request, stream| {
        let message = message_of(request);
        if let Some(opened) = opening(request, "s") {
            return stream.write_all(&opened).is_ok();
        }
        if message["method"] == "tools/call" {
            let asks = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"});
            stream.write_all(STREAM).unwrap();
            stream.write_all(format!("data: {asks}\n\n").as_bytes()).unwrap();
            let refused = || refusals.load(Ordering::Relaxed) > 0;
            eventually("the answer to it is refused", refused);
            let _ = stream.write_all(format!("data: {}\n\n", result(&json!(1), "done")).as_bytes());
            return false;
        }
        if let Some(usual) = usual(request) {
            return stream.write_all(&usual).is_ok();
        }
        let refused = whole_answer("500 Internal Server Error", "", "no roots for me");
        let sent = stream.write_all(&refused).is_ok();
        refusals.fetch_add(1, Ordering::Relaxed);
        sent
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    assert_eq!(pipes.next().unwrap()["method"], "roots/list");
    pipes.send(&json!({"jsonrpc": "2.0", "id": 1, "result": {"roots": []}}));
    assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "done"));
    pipes.hang_up();
    assert!(pipes.wait().success());
}

/// A client that leaves, or a person who stops the gate, waits for no server.
#[test]
fn unresponsive_server_does_not_prevent_exit() {
    for signal in [None, Some(Signal::TERM), Some(Signal::INT)] {
        let upstream = Scripted::serving(|request, stream| {
            if request.starts_with("DELETE") || message_of(request)["method"] != "tools/call" {
                let answer = opening(request, "s").or_else(|| usual(request));
                return stream.write_all(&answer.unwrap()).is_ok();
            }
            never()
        });
        let mut pipes = Pipes::open(&[], &upstream.url);
        pipes.send(&call(1, "look", json!({})));
        eventually("the call arrived", || {
            upstream.requests().iter().any(|it| it.contains("tools/call"))
        });
        match signal {
            None => pipes.hang_up(),
            Some(signal) => pipes.signal(signal),
        }
        assert!(pipes.wait().success());
        assert_eq!(upstream.count("DELETE"), 1, "the session is ended: {signal:?}");
        assert_eq!(pipes.log()[0]["outcome"], "error");
    }
}

#[test]
fn unanswered_handshake_does_not_prevent_exit() {
    let upstream = Scripted::serving(|_, _| never());
    let mut pipes = Pipes::start(&[], &upstream.url);
    pipes.send(&initialize());
    pipes.send(&call(1, "look", json!({})));
    pipes.hang_up();
    pipes.wait();
}

/// A notification that the server does not take holds up nothing for long.
#[test]
fn a_notification_that_hangs_does_not_hold_up_calls() {
    let upstream = Scripted::serving(|request, stream| {
        let message = message_of(request);
        if message["method"] == "notifications/initialized" {
            never();
        }
        let answer = usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")));
        stream.write_all(&answer).is_ok()
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "done"));
}

/// HTTP+SSE: the one stream carries every answer; without it there are none.
#[test]
fn end_of_the_http_sse_stream_fails_all_waiting_requests() {
    let stop = Arc::new(AtomicUsize::new(0));
    let stopped = Arc::clone(&stop);
    let answers = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
    let upstream = Scripted::serving(move |request, stream| {
        if request.starts_with("POST /mcp") {
            return stream.write_all(&whole_answer("405 Method Not Allowed", "", "")).is_ok();
        }
        if request.starts_with("POST /messages") {
            let message = message_of(request);
            if message["method"] == "tools/call" {
                stopped.store(1, Ordering::Relaxed);
            } else if let Some(answer) = usual(request)
                && let Some(body) = String::from_utf8_lossy(&answer).split_once("\r\n\r\n")
                && body.1.starts_with('{')
            {
                let event = format!("event: message\ndata: {}\n\n", body.1);
                answers.lock().unwrap().push(event.into_bytes());
            }
            return stream.write_all(&accepted()).is_ok();
        }
        stream.write_all(STREAM).unwrap();
        stream.write_all(b"event: endpoint\ndata: /messages?s=1\n\n").unwrap();
        while stopped.load(Ordering::Relaxed) == 0 {
            for answer in answers.lock().unwrap().drain(..) {
                stream.write_all(&answer).unwrap();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        false
    });
    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    let told = pipes.answer(&json!(1));
    assert!(told["error"]["message"].as_str().unwrap().contains("ended the stream"), "{told}");
    assert_eq!(pipes.next(), None);
    assert_eq!(pipes.wait().code(), Some(1));
    assert_eq!(pipes.log()[0]["outcome"], "error");
    assert_eq!(stop.load(Ordering::Relaxed), 1);
}

/// However much is logged, no header's value is in it.
#[test]
fn no_credential_is_logged() {
    let upstream = Scripted::start(|request| {
        let message = message_of(request);
        usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")))
    });
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let arguments = [
        "--header-env",
        "X-Api-Key=KEY",
        "--header",
        "X-Other: a ${OTHER} b",
        "--bearer-env",
        "BEARER",
    ];
    let mut pipes = Pipes::start_with(&arguments, &upstream.url, |command| {
        command
            .envs([("KEY", "secret-one"), ("OTHER", "secret-two"), ("BEARER", "secret-three")])
            .env("AGENTGATE_LOG", "trace")
            .stderr(std::fs::File::create(&log).unwrap());
    });
    pipes.handshake();
    pipes.send(&call(1, "look", json!({})));
    pipes.answer(&json!(1));
    let command =
        std::fs::read(format!("/proc/{}/cmdline", pipes.process.0.id())).unwrap_or_default();
    pipes.hang_up();
    assert!(pipes.wait().success());
    let sent = upstream.requests().join("\n");
    let said = std::fs::read_to_string(&log).unwrap() + &String::from_utf8_lossy(&command);
    assert!(!said.is_empty());
    for secret in ["secret-one", "secret-two", "secret-three"] {
        assert!(sent.contains(secret), "{secret}");
        assert!(!said.contains(secret), "{secret}");
    }
}
