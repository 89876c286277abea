//! `kill -9` of the gate at any moment, under load: every call that reached the
//! server is in the log, and the log verifies.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::processes::Mark;
use crate::support::{Sandbox, TIMEOUT, recorder};

/// How often all gates are killed.
const ROUNDS: u64 = 8;

/// Gates at a time, all on one database.
const CLIENTS: u64 = 3;

/// Calls of one client that are unanswered at a time.
const IN_FLIGHT: u64 = 16;

/// A gate is killed after fewer answers than this, none included.
const MOST_ANSWERS: u64 = 300;

#[test]
fn every_call_that_reached_the_server_is_in_the_log() {
    let sandbox = Sandbox::new();
    let mark = Mark::new(&sandbox);
    let chance = RandomState::new();
    let mut reached = HashSet::new();

    for round in 0..ROUNDS {
        let records: Vec<PathBuf> =
            (0..CLIENTS).map(|client| sandbox.path(&format!("{round}-{client}"))).collect();
        thread::scope(|scope| {
            for (client, record) in records.iter().enumerate() {
                let answers = chance.hash_one((round, client)) % MOST_ANSWERS;
                let command =
                    sandbox.wrap().policy("allow_all").command(mark.put_on(recorder(record)));
                scope.spawn(move || {
                    flood_and_kill(&command, &format!("call-{round}-{client}"), answers);
                });
            }
        });
        mark.await_deaths();
        reached.extend(records.iter().flat_map(|record| tokens(record)));
    }

    assert!(!reached.is_empty(), "no call reached the server, so nothing is shown");
    let logged: HashSet<String> =
        sandbox.rows().iter().filter_map(|row| token(&arguments(row))).collect();
    let missing: Vec<_> = reached.difference(&logged).collect();
    assert!(
        missing.is_empty(),
        "{} of {} are not in the log: {missing:?}",
        missing.len(),
        reached.len()
    );
    sandbox.assert_log_verifies();

    // What comes after such a death is chained to what came before it.
    let mut client =
        Client::spawn(&sandbox.wrap().policy("allow_all").command(recorder(&sandbox.path("last"))));
    client.initialize();
    client.call(1, "read_note", &json!({"text": "afterwards"}));
    assert!(client.close().success());
    sandbox.assert_log_verifies();
}

/// Calls without end, and kills the gate after so many answers.
#[track_caller]
fn flood_and_kill(command: &[std::ffi::OsString], prefix: &str, answers: u64) {
    let mut client = Client::spawn(command);
    let call = |number: u64| {
        json!({"jsonrpc": "2.0", "id": number, "method": "tools/call",
               "params": {"name": "read_note", "arguments": {"text": format!("{prefix}-{number}")}}})
        .to_string()
            + "\n"
    };
    for number in 0..IN_FLIGHT + answers {
        client.send_bytes(call(number).as_bytes());
        if number >= IN_FLIGHT {
            client.next_line(TIMEOUT).expect("an answer");
        }
    }
    client.signal(Signal::KILL);
    assert!(client.wait(TIMEOUT).is_some());
}

/// The tokens of the calls that a server received.
fn tokens(record: &Path) -> Vec<String> {
    let Ok(received) = std::fs::read(record) else { return Vec::new() };
    received
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["method"] == "tools/call")
        .filter_map(|message| token(&message["params"]["arguments"]))
        .collect()
}

fn token(arguments: &Value) -> Option<String> {
    arguments["text"].as_str().map(str::to_owned)
}

/// A row's arguments, whether the export has them as JSON or as a string of it.
fn arguments(row: &Value) -> Value {
    match &row["args"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    }
}
