//! Much at once: large messages, many in flight, and readers that do not read.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Pid;
use serde_json::json;

use crate::support::client::Client;
use crate::support::processes::{Mark, peak_resident, written};
use crate::support::{Sandbox, argv, eventually, python, recorder, shell};

/// What a gate may have resident with a client that does not read, in KiB. It
/// holds what its queues hold, whatever the server would like to say.
const BOUND: u64 = 48 * 1024;

/// What the server would like to say, in bytes: more than the bound.
const SPEECH: usize = 96 * 1024 * 1024;

#[test]
fn memory_is_bounded_where_the_client_does_not_read() {
    let sandbox = Sandbox::new();
    let mark = Mark::new(&sandbox);
    let server = shell(&format!(
        r#"yes '{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{}"}}}}' | head -c {SPEECH}"#,
        "x".repeat(4000)
    ));
    let command = sandbox.wrap().policy("allow_all").command(mark.put_on(server));
    let (program, arguments) = command.split_first().unwrap();
    let mut gate = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&gate);

    // Until nobody moves any more: the client does not read, so the gate must
    // have stopped reading, and the server writing.
    mark.await_births(2);
    let mut before = 0;
    eventually("the server is stopped by back-pressure", || {
        let now: u64 = mark.alive().into_iter().map(written).sum();
        let still = now == before && now > 0;
        before = now;
        std::thread::sleep(Duration::from_millis(200));
        still
    });
    // Both write all that comes through: what the gate holds, and what the pipes do.
    assert!(before < 2 * BOUND * 1024, "the gate took all of it: {before}");

    let mut read = 0;
    let mut chunk = vec![0; 1024 * 1024];
    let mut stdout = gate.stdout.take().unwrap();
    while let Ok(length @ 1..) = stdout.read(&mut chunk) {
        read += length;
        if read < SPEECH / 2 {
            // The process may be gone once all is read.
            assert!(peak_resident(pid) < BOUND, "{} KiB", peak_resident(pid));
        }
        if read >= SPEECH {
            break;
        }
    }
    assert_eq!(read, SPEECH);
    drop((gate.stdin.take(), stdout));
    gate.wait().unwrap();
}

#[test]
fn memory_is_bounded_where_the_server_does_not_read() {
    let sandbox = Sandbox::new();
    let mark = Mark::new(&sandbox);
    let go = sandbox.path("go");
    let counted = sandbox.path("counted");
    let server = shell(&format!(
        "until [ -e {} ]; do sleep 0.05; done; wc -c > {}",
        go.display(),
        counted.display()
    ));
    let mut client =
        Client::spawn(&sandbox.wrap().policy("allow_all").command(mark.put_on(server)));
    mark.await_births(1);
    let pid = client.pid();
    let line = format!(
        "{}\n",
        json!({"jsonrpc": "2.0", "method": "notifications/x", "params": {"data": "x".repeat(4000)}})
    );
    let total = SPEECH / line.len() * line.len();
    let block = line.repeat(250);
    let writer = std::thread::spawn(move || {
        let mut left = total;
        while left > 0 {
            let part = left.min(block.len());
            client.send_bytes(&block.as_bytes()[..part]);
            left -= part;
        }
        client
    });
    let mut before = 0;
    eventually("the client is stopped by back-pressure", || {
        let now = written(Pid::from_raw(std::process::id().cast_signed()).unwrap());
        let still = now == before;
        before = now;
        std::thread::sleep(Duration::from_millis(200));
        still
    });
    assert!(peak_resident(pid) < BOUND, "{} KiB", peak_resident(pid));
    std::fs::write(go, "").unwrap();
    let client = writer.join().unwrap();
    assert!(peak_resident(pid) < BOUND, "{} KiB", peak_resident(pid));
    client.close();
    let arrived: usize = std::fs::read_to_string(counted).unwrap().trim().parse().unwrap();
    assert_eq!(arrived, total);
}

#[test]
fn eight_large_calls_in_flight_never_stall() {
    let sandbox = Sandbox::new();
    let mut client = Client::spawn(
        &sandbox.wrap().policy("allow_all").command(recorder(&sandbox.path("received"))),
    );
    client.initialize();
    let text = "x".repeat(64 * 1024);
    let call = |id: u64| {
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
               "params": {"name": "echo", "arguments": {"text": text}}})
        .to_string()
    };
    for id in 0..8 {
        client.send(call(id));
    }
    for id in 0..200 {
        let reply = client.reply(&json!(id));
        assert_eq!(reply["result"]["content"][0]["text"].as_str().map(str::len), Some(text.len()));
        client.send(call(id + 8));
    }
    assert!(client.close().success());
}

#[test]
fn a_message_of_64_mib_passes_both_ways() {
    let sandbox = Sandbox::new();
    let record = sandbox.path("received");
    let mut client = Client::spawn(&sandbox.wrap().policy("allow_all").command(recorder(&record)));
    client.initialize();
    let text = "x".repeat(64 * 1024 * 1024 - 1024);
    let reply = client.call(1, "echo", &json!({"text": text}));
    assert_eq!(reply["result"]["content"][0]["text"].as_str().map(str::len), Some(text.len()));
    assert!(client.close().success());
    assert!(std::fs::metadata(record).unwrap().len() > text.len() as u64);
}

#[test]
fn a_message_over_the_cap_is_answered_with_an_error() {
    let sandbox = Sandbox::new();
    let record = sandbox.path("received");
    let wrap = sandbox.wrap().policy("allow_all").option("--max-message", "64KiB");
    let mut client = Client::spawn(&wrap.command(recorder(&record)));
    client.initialize();

    let text = "x".repeat(65 * 1024);
    client.send(
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
               "params": {"name": "read_note", "arguments": {"text": text}}})
        .to_string(),
    );
    let reply = client.wait_for("an error", |message| message.get("error").is_some());
    assert!(reply["id"] == json!(1) || reply["id"].is_null(), "{reply}");
    assert!(reply["error"]["message"].as_str().is_some_and(|words| !words.is_empty()));

    // A line of which no end is in sight is answered as well, and held by nobody.
    client.send_bytes(&vec![b'x'; 32 * 1024 * 1024]);
    client.send("");
    client.wait_for("an error", |message| message.get("error").is_some());
    assert!(peak_resident(client.pid()) < BOUND, "{} KiB", peak_resident(client.pid()));

    // An answer that is too large is an error to whoever asked.
    let half = "y".repeat(40 * 1024);
    let reply = client.call(2, "read_note", &json!({"text": half}));
    assert_eq!(reply["result"]["content"][0]["text"], "done");
    assert!(client.close().success());
    let received = std::fs::read(record).unwrap();
    assert!(!received.windows(66).any(|window| window == "x".repeat(66).as_bytes()));
}

/// Says more than fits anywhere before it reads: requests of an id of 900 bytes that are too
/// large to be passed on, so that the gate itself has to answer each. Then it counts.
const WRITES_FIRST: &str = r#"
import json, sys

def say(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

for number in range(int(sys.argv[1])):
    say({"id": "i" * 900 + str(number), "method": "sampling/createMessage", "params": {"x": "x" * 200}})
say({"method": "notifications/message", "params": {"data": "written"}})
answers = 0
for line in sys.stdin:
    message = json.loads(line)
    answers += "error" in message
    if message.get("method") == "ping":
        say({"id": message["id"], "result": {"answers": answers}})
"#;

#[test]
fn a_server_that_writes_before_it_reads_is_read() {
    for (requests, all) in [(6_000, true), (12_000, false)] {
        let sandbox = Sandbox::new();
        let server =
            argv([python(), "-c".into(), WRITES_FIRST.into(), requests.to_string().into()]);
        let wrap = sandbox.wrap().policy("allow_all").option("--max-message", "1KiB");
        let mut client = Client::spawn(&wrap.command(server));
        client.wait_for("it has written all", |said| said["params"]["data"] == "written");
        client.send(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        let answers = client.reply(&json!(1))["result"]["answers"].as_u64().unwrap();
        // What the gate cannot keep for it is lost, and nothing else is.
        assert_eq!(answers == requests, all, "{answers}");
        assert!(answers > 6_000 - 1, "{answers}");
        assert_eq!(client.stderr().contains("the server reads nothing"), !all);
        assert!(client.close().success());
    }
}
