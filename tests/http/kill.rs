//! The death of the gate, and of what it leans on, under load over HTTP: every
//! call that reached the server is in the log, and the log verifies.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::support::scripted::{STREAM, Scripted, json_answer, message_of, never, result, usual};
use crate::support::{Answer, Gate, agentgate, call, eventually, log_of, whole};

/// How often the gate is killed.
const ROUNDS: usize = 4;

/// Clients at a time.
const CLIENTS: usize = 8;

const JSON: &str =
    "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

/// A POST whose gate may die at any moment; `None` where it did.
fn try_post(address: SocketAddr, headers: &str, message: &Value) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    let bytes = whole(address, "POST", "/mcp", &format!("{JSON}{headers}"), &message.to_string());
    stream.write_all(&bytes).ok()?;
    let answer = crate::support::rest(stream);
    (answer.status != 0).then_some(answer)
}

fn signal(gate: &Gate, signal: Signal) {
    let pid = Pid::from_raw(gate.process.0.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Calls without end from all clients, each with a token of its own; kills the
/// gate after so many answers.
fn flood_and_kill(gate: &mut Gate, round: usize, with_sessions: bool) {
    let after = 20 + 37 * round;
    let session = || format!("Mcp-Session-Id: {}\r\n", gate.session(""));
    let sessions: Vec<String> =
        (0..CLIENTS).map(|_| if with_sessions { session() } else { String::new() }).collect();
    let (answers, dead) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (client, session) in sessions.iter().enumerate() {
            let (address, answers, dead) = (gate.address, &answers, &dead);
            scope.spawn(move || {
                for number in 0.. {
                    let text = format!("call-{round}-{client}-{number}");
                    let message = call(number, "read_note", json!({"text": text}));
                    match try_post(address, session, &message) {
                        Some(answer) => {
                            assert_eq!(answer.status, 200, "{answer:?}");
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        None if dead.load(Ordering::Relaxed) => return,
                        None => {}
                    }
                }
            });
        }
        eventually("answers come", || answers.load(Ordering::Relaxed) >= after);
        signal(gate, Signal::KILL);
        dead.store(true, Ordering::Relaxed);
    });
    gate.process.0.wait().unwrap();
}

/// A gate whose home outlives it.
fn gate_at(home: &Path, target: &[std::ffi::OsString]) -> Gate {
    Gate::listen_with(&["--policy", "allow_all"], target, |command| {
        command.env("AGENTGATE_HOME", home);
    })
}

fn assert_all_logged(home: &Path, reached: &HashSet<String>) {
    assert!(!reached.is_empty(), "no call reached the server, so nothing is shown");
    let logged: HashSet<String> = log_of(home)
        .iter()
        .filter_map(|row| row["args"]["text"].as_str().map(str::to_owned))
        .collect();
    let missing: Vec<_> = reached.difference(&logged).collect();
    assert!(
        missing.is_empty(),
        "{} of {} are not in the log: {missing:?}",
        missing.len(),
        reached.len()
    );
    let verified = agentgate(home).args(["audit", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn every_call_that_reached_a_url_is_in_the_log() {
    let upstream = Scripted::start(|request| {
        let message = message_of(request);
        usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")))
    });
    let home = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let mut gate = gate_at(home.path(), &[upstream.url.clone().into()]);
        flood_and_kill(&mut gate, round, false);
    }
    let tokens = upstream.requests();
    let tokens = tokens.iter().map(|request| message_of(request));
    let tokens = tokens
        .filter_map(|message| message["params"]["arguments"]["text"].as_str().map(str::to_owned));
    assert_all_logged(home.path(), &tokens.collect());
}

#[test]
fn every_call_that_reached_a_command_is_in_the_log() {
    let home = tempfile::tempdir().unwrap();
    let record = home.path().join("received");
    let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stdio/helpers/recorder.py");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let command = [python, helper.into(), record.clone().into()];
    for round in 0..ROUNDS {
        let mut gate = gate_at(home.path(), &command);
        flood_and_kill(&mut gate, round, true);
    }
    let received = std::fs::read(record).unwrap();
    let messages = received.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let tokens = messages
        .filter_map(|message| message["params"]["arguments"]["text"].as_str().map(str::to_owned));
    assert_all_logged(home.path(), &tokens.collect());
}

/// A gate that is told to stop lets calls under way end, takes no others, and is
/// gone with its children.
#[test]
fn calls_under_way_end_before_the_gate_does() {
    let release = std::sync::Arc::new(Mutex::new(false));
    let released = std::sync::Arc::clone(&release);
    let upstream = Scripted::serving(move |request, stream| {
        let message = message_of(request);
        if message["method"] == "tools/call" {
            eventually("it is let go", || *released.lock().unwrap());
        }
        let answer = usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")));
        stream.write_all(&answer).is_ok()
    });
    let mut gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let address = gate.address;
    std::thread::scope(|scope| {
        let under_way = scope.spawn(move || try_post(address, "", &call(1, "look", json!({}))));
        let arrived = || upstream.requests().iter().any(|it| it.contains("tools/call"));
        eventually("the call arrives", arrived);
        signal(&gate, Signal::TERM);
        eventually("nobody else is let in", || TcpStream::connect(address).is_err());
        *release.lock().unwrap() = true;
        let answer = under_way.join().unwrap().expect("an answer");
        assert_eq!(answer.message(), result(&json!(1), "done"));
    });
    assert!(eventually("the gate ends", || gate.process.0.try_wait().unwrap()).success());
    assert_eq!(gate.log()[0]["status"], "ok");
}

/// What cannot be recorded is not forwarded; as soon as it can be, it is.
#[test]
fn without_a_log_nothing_passes() {
    let upstream = Scripted::start(|request| {
        let message = message_of(request);
        usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")))
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let ask = || gate.post("", &call(1, "look", json!({}))).message();
    assert_eq!(ask(), result(&json!(1), "done"));
    let calls = || {
        let all = upstream.requests();
        all.iter().filter(|request| request.contains("tools/call")).count()
    };
    let database = rusqlite::Connection::open(gate.home.path().join("agentgate.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = ask();
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    assert!(refused.to_string().contains("recorded"), "{refused}");
    assert_eq!(calls(), 1, "nothing is forwarded");
    database.execute_batch("ROLLBACK").unwrap();
    eventually("it is recorded again", || ask() == result(&json!(1), "done"));
}

/// What is broken off at the end has a result, too, and an answer: amid a stream, and
/// before any answer of the server's.
#[test]
fn shutdown_records_aborted_calls() {
    for streams in [true, false] {
        let upstream = Scripted::serving(move |request, stream| {
            if let Some(answer) = usual(request) {
                return stream.write_all(&answer).is_ok();
            }
            if streams {
                stream.write_all(STREAM).unwrap();
                stream.write_all(b": it goes on\n\n").unwrap();
            }
            never()
        });
        let arguments = ["--policy", "allow_all", "--shutdown-timeout", "1s"];
        let mut gate = Gate::listen(&arguments, &[upstream.url.clone().into()]);
        std::thread::scope(|scope| {
            let under_way: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let (address, message) = (gate.address, call(number as u64, "look", json!({})));
                    scope.spawn(move || try_post(address, "", &message))
                })
                .collect();
            let calls =
                || upstream.requests().iter().filter(|one| one.contains("tools/call")).count();
            eventually("the calls arrive", || calls() == CLIENTS);
            signal(&gate, Signal::TERM);
            for (number, under_way) in under_way.into_iter().enumerate() {
                let answer = under_way.join().unwrap().expect("an answer");
                assert_eq!(answer.status, if streams { 200 } else { 503 }, "{answer:?}");
                let message = answer.message();
                assert_eq!(message["id"], number, "{answer:?}");
                let why = message["error"]["message"].as_str().unwrap_or_default();
                assert!(why.contains("the gate is being stopped"), "{answer:?}");
            }
        });
        assert!(gate.process.0.wait().unwrap().success());
        let log = gate.log();
        assert_eq!(log.len(), CLIENTS, "{log:?}");
        for row in log {
            assert_eq!(row["outcome"], "error", "{streams}: {row}");
            let status = row["status"].as_str().unwrap_or_default();
            assert!(status.contains("the gate is being stopped"), "{streams}: {row}");
        }
    }
}
