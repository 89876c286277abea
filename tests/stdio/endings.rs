//! However a session ends, nothing is left behind and the exit code is told.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::Client;
use crate::support::processes::Mark;
use crate::support::{Sandbox, TIMEOUT, argv, eventually, python, recorder, shell};

/// In which a program told to stop must be gone.
const TOLD_TO_STOP: Duration = Duration::from_secs(5);

/// For how long a client that reads on is owed its answers.
const A_CLIENT_THAT_READS: Duration = Duration::from_secs(30);

/// A server as `npx` makes them, and worse: it and its children ignore the end of
/// input and every polite signal, and one has a session of its own.
const STUBBORN: &str = "trap '' TERM INT HUP
    sh -c \"trap '' TERM INT HUP; sleep 1000; :\" &
    setsid sh -c \"trap '' TERM INT HUP; sleep 1000; :\" &
    sleep 1000
    sleep 1000";

/// The shell and the three that sleep or wait for a sleeper.
const STUBBORN_PROCESSES: usize = 4;

#[track_caller]
fn gated(sandbox: &Sandbox, server: Vec<std::ffi::OsString>) -> Client {
    Client::spawn(&sandbox.wrap().policy("allow_all").command(server))
}

#[track_caller]
fn stubborn(sandbox: &Sandbox) -> (Client, Mark) {
    let mark = Mark::new(sandbox);
    let client = gated(sandbox, mark.put_on(shell(STUBBORN)));
    mark.await_births(STUBBORN_PROCESSES);
    (client, mark)
}

#[test]
fn a_killed_gate_leaves_no_orphan() {
    let sandbox = Sandbox::new();
    let (mut client, mark) = stubborn(&sandbox);
    client.signal(Signal::KILL);
    assert!(client.wait(TIMEOUT).is_some());
    mark.await_deaths();
}

#[test]
fn stopped_gate_exits_in_time_without_orphans() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let sandbox = Sandbox::new();
        let (mut client, mark) = stubborn(&sandbox);
        client.signal(signal);
        assert!(client.wait(TOLD_TO_STOP).is_some(), "still there after {signal:?}");
        mark.await_deaths();
    }
}

#[test]
fn the_end_of_input_ends_even_a_stubborn_server() {
    let sandbox = Sandbox::new();
    let (client, mark) = stubborn(&sandbox);
    client.close();
    mark.await_deaths();
}

#[test]
fn disconnected_client_is_not_waited_for() {
    let sandbox = Sandbox::new();
    let mark = Mark::new(&sandbox);
    let owing = mark.put_on(shell("cat > /dev/null; sleep 1000"));
    let line = sandbox.wrap().policy("allow_all").command(owing);
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut gate = command.spawn().unwrap();
    mark.await_births(1);
    writeln!(gate.stdin.take().unwrap(), r#"{{"jsonrpc":"2.0","id":1,"method":"ping"}}"#).unwrap();
    drop(gate.stdout.take());
    let died = Instant::now();
    gate.wait().unwrap();
    assert!(died.elapsed() < A_CLIENT_THAT_READS / 2, "{:?}", died.elapsed());
    mark.await_deaths();
}

#[test]
fn grandchild_that_keeps_the_pipes_open_does_not_block() {
    let sandbox = Sandbox::new();
    let mark = Mark::new(&sandbox);
    let mut client = gated(&sandbox, mark.put_on(shell("sleep 1000 & exit 4")));
    let status = client.wait(TIMEOUT).expect("an end");
    assert_eq!(status.code(), Some(4));
    mark.await_deaths();
}

#[test]
fn a_server_that_closes_its_input_and_lives_on_is_ended() {
    let sandbox = Sandbox::new();
    let mark = Mark::new(&sandbox);
    let deaf = r#"read line; exec <&-; echo '{"method":"deaf"}'; sleep 1000"#;
    let mut client = gated(&sandbox, mark.put_on(shell(deaf)));
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    client.next_line(TIMEOUT).expect("a line");
    // The first may still find the supervisor's end of the pipe open.
    eventually("the end of a server that takes nothing more", || {
        let gone = !client.try_send_bytes(b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n");
        gone || client.wait(Duration::from_millis(50)).is_some()
    });
    assert!(client.wait(TIMEOUT).is_some(), "nobody answers, and nobody says so");
    mark.await_deaths();
}

#[test]
fn exit_codes_are_passed_on() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("cat > /dev/null; exit 3", 3),
        ("kill -9 $$", 128 + 9),
        ("kill -TERM $$", 128 + 15),
        ("echo last words >&2; exit 255", 255),
    ] {
        let sandbox = Sandbox::new();
        let status = gated(&sandbox, shell(script)).close();
        assert_eq!(status.code(), Some(code), "{script}");
    }
}

#[test]
fn last_output_of_the_server_is_delivered() {
    let sandbox = Sandbox::new();
    let mut client = gated(&sandbox, shell(r#"printf '{"method":"a"}\n{"method":"b"}'; exit 1"#));
    for expected in [&b"{\"method\":\"a\"}\n"[..], b"{\"method\":\"b\"}"] {
        let line = client.next_line(TIMEOUT).expect("a line");
        assert_eq!(line.trim_ascii_end(), expected.trim_ascii_end());
    }
    assert_eq!(client.close().code(), Some(1));
}

#[test]
fn missing_command_is_reported() {
    let sandbox = Sandbox::new();
    let mut client = gated(&sandbox, argv(["/no/such/command"]));
    let status = client.wait(TIMEOUT).expect("an end");
    assert!(!status.success());
    assert!(client.stderr().contains("/no/such/command"), "{}", client.stderr());
    let mut client = gated(&sandbox, argv(["no-such-command"]));
    assert_eq!(client.wait(TIMEOUT).expect("an end").code(), Some(127));
    assert!(client.stderr().contains("it is not on PATH: install it"), "{}", client.stderr());
    let mut client = gated(&sandbox, argv(["npx -y server /srv"]));
    assert_eq!(client.wait(TIMEOUT).expect("an end").code(), Some(127));
    assert!(client.stderr().contains("write each as a word of its own"), "{}", client.stderr());
}

#[test]
fn waiting_for_input_is_explained_on_a_terminal() {
    let sandbox = Sandbox::new();
    let in_terminal = "import pty, sys; pty.spawn(sys.argv[1:])";
    let mut command = Command::new(python());
    command.args(["-c", in_terminal]).args(sandbox.wrap().command(argv(["true"])));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("waiting for an MCP client"), "{said}");
    let mut client = gated(&sandbox, argv(["true"]));
    assert!(client.wait(TIMEOUT).is_some());
    assert!(!client.stderr().contains("waits for"), "{}", client.stderr());
}

#[test]
fn flood_on_stderr_does_not_block() {
    let sandbox = Sandbox::new();
    let record = sandbox.path("received");
    let mut server = shell("head -c 20000000 /dev/zero | tr '\\0' 'e' >&2; exec \"$@\"");
    server.push("sh".into());
    server.extend(recorder(&record));
    let mut client = gated(&sandbox, server);
    client.initialize();
    let reply = client.call(1, "read_note", &json!({}));
    assert_eq!(reply["result"]["content"][0]["text"], "done");
    assert!(client.close().success());
}

#[test]
fn a_call_that_is_never_answered_holds_no_other_up() {
    let sandbox = Sandbox::new();
    let mut client = gated(&sandbox, recorder(&sandbox.path("received")));
    client.initialize();
    client.send(r#"{"jsonrpc":"2.0","id":"never","method":"tools/call","params":{"name":"wait"}}"#);
    for id in 1..20 {
        let reply = client.call(id, "read_note", &json!({}));
        assert_eq!(reply["result"]["content"][0]["text"], "done");
    }
    assert!(client.close().success());
}

#[test]
fn a_server_that_never_reads_does_not_keep_the_gate() {
    let sandbox = Sandbox::new();
    let mark = Mark::new(&sandbox);
    let mut client = gated(&sandbox, mark.put_on(shell("sleep 1000")));
    mark.await_births(1);
    // More than the pipes hold, less than would block this test for good.
    client
        .send(format!(r#"{{"jsonrpc":"2.0","method":"x","params":["{}"]}}"#, "x".repeat(100_000)));
    client.signal(Signal::TERM);
    assert!(client.wait(TOLD_TO_STOP).is_some());
    mark.await_deaths();
}
