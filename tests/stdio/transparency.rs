//! Real clients and real servers, with the gate between them and without.
//!
//! Two things must hold, line by line. Within one session every line that the
//! client sent is a line that the server received, byte for byte and in order,
//! and the other way round; nothing about that is random, so nothing is
//! normalised. And the session with the gate is the session without it, once
//! what no two runs have in common (see [`normalised`]) is taken out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use regex::bytes::Regex;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Sandbox, TIMEOUT, argv, real, teed};

mod servers;

/// A server to be gated, and what its clients ask of it.
struct Server {
    name: &'static str,
    /// Which protocol the SDKs are to speak with it.
    era: Era,
    /// Prepares `dir` and gives the command that serves it.
    command: fn(installed: &Path, dir: &Path) -> Vec<OsString>,
    /// What the SDK clients do, as `client.py` says; `{dir}` is replaced.
    plan: fn() -> Value,
    /// What the inspector asks, one invocation each.
    inspect: &'static [&'static [&'static str]],
}

/// The two protocol eras.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Era {
    Handshake,
    Stateless,
}

/// Somebody who speaks MCP to a command.
#[derive(Clone, Copy)]
enum Peer {
    Raw,
    Python,
    TypeScript1,
    TypeScript2,
    Inspector,
}

/// What was said in one session.
struct Recording {
    /// What the client itself reported.
    report: Vec<u8>,
    /// Every process that the client started, in the order started.
    client_side: Vec<Pipes>,
    /// Every server behind the gate; empty where there was no gate.
    server_side: Vec<Pipes>,
}

/// What passed through one process's pipes.
#[derive(Default)]
struct Pipes {
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// One test for each client, in front of one server.
macro_rules! transparent {
    ($($server:ident),+ $(,)?) => {
        $(mod $server {
            use super::{Peer, check, servers};

            #[test]
            fn raw() { check(&servers::$server(), Peer::Raw); }

            #[test]
            fn python() { check(&servers::$server(), Peer::Python); }

            #[test]
            fn typescript_1() { check(&servers::$server(), Peer::TypeScript1); }

            #[test]
            fn typescript_2() { check(&servers::$server(), Peer::TypeScript2); }

            #[test]
            fn inspector() { check(&servers::$server(), Peer::Inspector); }
        })+
    };
}

transparent!(everything, filesystem, memory, thinking, time, git, fetch, sqlite);

#[track_caller]
fn check(server: &Server, peer: Peer) {
    let Some(installed) = real::installed() else { return };
    let direct = record(&installed, server, peer, false);
    let gated = record(&installed, server, peer, true);

    assert_eq!(gated.client_side.len(), gated.server_side.len(), "as many servers as sessions");
    for (outer, inner) in gated.client_side.iter().zip(&gated.server_side) {
        let (received, said) = without_own_questions(outer, inner);
        assert_same("what the server received", &lines(&outer.sent), &received);
        assert_same("what the client received", &said, &lines(&outer.received));
    }

    assert_same("what the client reports", &lines(&direct.report), &lines(&gated.report));
    assert_eq!(direct.client_side.len(), gated.client_side.len(), "sessions");
    for (without, with) in direct.client_side.iter().zip(&gated.client_side) {
        assert_same(
            "sent, without and with the gate",
            &normalised(&without.sent),
            &normalised(&with.sent),
        );
        assert_same(
            "received, without and with",
            &normalised(&without.received),
            &normalised(&with.received),
        );
    }
}

/// Runs one session, in a sandbox of its own.
fn record(installed: &Path, server: &Server, peer: Peer, gated: bool) -> Recording {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("work");
    std::fs::create_dir(&dir).unwrap();
    let mut command = (server.command)(installed, &dir);
    let (outer, inner) = (sandbox.path("outer"), sandbox.path("inner"));
    if gated {
        command = sandbox.wrap().policy("allow_all").command(teed(&inner, command));
    }
    let report = peer.converse(installed, server, &dir, teed(&outer, command));
    let place = dir.display().to_string();
    Recording {
        report: report.replace(&place, "{dir}").into_bytes(),
        client_side: pipes(&outer, &place),
        server_side: if gated { pipes(&inner, &place) } else { Vec::new() },
    }
}

/// What the tees in `record` wrote, by start.
fn pipes(record: &Path, place: &str) -> Vec<Pipes> {
    let mut starts: Vec<PathBuf> = std::fs::read_dir(record)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "in"))
        .collect();
    starts.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        Regex::new(&regex::escape(place)).unwrap().replace_all(&bytes, &b"{dir}"[..]).into_owned()
    };
    starts
        .into_iter()
        .map(|path| Pipes { received: read(path.with_extension("out")), sent: read(path) })
        .collect()
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// What passed between gate and server, without the gate's own `tools/list` and
/// their replies: those whose ids the client never used.
fn without_own_questions(outer: &Pipes, inner: &Pipes) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let asked = lines(&outer.sent);
    let (own, received): (Vec<_>, Vec<_>) = lines(&inner.sent).into_iter().partition(|line| {
        !asked.contains(line) && parsed(line).get("method") == Some(&json!("tools/list"))
    });
    let own: Vec<Value> = own.iter().filter_map(|line| parsed(line).get("id").cloned()).collect();
    let said = lines(&inner.received)
        .into_iter()
        .filter(|line| !parsed(line).get("id").is_some_and(|id| own.contains(id)))
        .collect();
    (received, said)
}

fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap_or(Value::Null)
}

/// The lines of a session without what differs between any two runs of it:
/// ids that a server draws at random, times of day, how long something took, and
/// the order in which a server answers what was asked at once. Nor with what
/// server-everything asks of its clients some time after the start, which may be after
/// the end. Within one session all of it is held to the byte.
fn normalised(bytes: &[u8]) -> Vec<Vec<u8>> {
    let random = [
        // UUIDs, and the task ids of server-everything.
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}",
        // RFC 3339.
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?",
    ];
    let random = Regex::new(&random.join("|")).unwrap();
    let mut lines: Vec<_> = lines(bytes)
        .into_iter()
        .filter(|line| !is_about_roots(&parsed(line)))
        .map(|line| random.replace_all(&line, &b"?"[..]).into_owned())
        .collect();
    lines.sort();
    lines
}

/// Whether a message asks for the roots of a client, has them, or says that they came.
fn is_about_roots(message: &Value) -> bool {
    message["method"] == "roots/list"
        || message["result"].get("roots").is_some()
        || message["params"]["data"].as_str().is_some_and(|data| data.contains("roots"))
}

#[track_caller]
fn assert_same(what: &str, expected: &[Vec<u8>], found: &[Vec<u8>]) {
    if expected == found {
        return;
    }
    let at = expected.iter().zip(found).take_while(|(left, right)| left == right).count();
    let show = |lines: &[Vec<u8>]| {
        lines.get(at).map_or("(nothing)".into(), |line| {
            String::from_utf8_lossy(&line[..line.len().min(2000)]).into_owned()
        })
    };
    panic!(
        "{what}: {} lines expected, {} found; the first to differ is number {at}:\n{}\n{}",
        expected.len(),
        found.len(),
        show(expected),
        show(found)
    );
}

// === impl Peer ===

impl Peer {
    /// Holds the session and gives what the client reports of it.
    #[track_caller]
    fn converse(
        self,
        installed: &Path,
        server: &Server,
        dir: &Path,
        command: Vec<OsString>,
    ) -> String {
        let place = dir.display().to_string();
        let plan = (server.plan)().to_string().replace("{dir}", &place);
        let stateless = server.era == Era::Stateless;
        let driver =
            |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(name);
        let mut client = match self {
            Self::Raw => return raw(server, &place, &command),
            Self::Inspector => return inspect(installed, server, &place, &command),
            Self::Python => {
                let mode = if stateless { "auto" } else { "legacy" };
                argv([installed.join("python/bin/python"), driver("client.py"), mode.into()])
            }
            Self::TypeScript1 => argv(["node".into(), driver("client.mjs"), "v1".into()]),
            Self::TypeScript2 => {
                let sdk = if stateless { "v2-2026" } else { "v2" };
                argv(["node".into(), driver("client.mjs"), sdk.into()])
            }
        };
        client.push(plan.into());
        client.extend(command);
        run(installed, client)
    }
}

/// Asks the inspector, one invocation a question. It swallows the `--` before the
/// server's command, and the gate has to do without.
#[track_caller]
fn inspect(installed: &Path, server: &Server, place: &str, command: &[OsString]) -> String {
    let inspector = argv([installed.join("node_modules/.bin/mcp-inspector"), "--cli".into()]);
    let asked = server.inspect.iter().map(|question| {
        let question = question.iter().map(|word| word.replace("{dir}", place).into());
        run(installed, inspector.iter().chain(command).cloned().chain(question).collect())
    });
    asked.collect()
}

/// Runs a client to its end and gives what it printed.
#[track_caller]
fn run(installed: &Path, command: Vec<OsString>) -> String {
    let (program, arguments) = command.split_first().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .env("AGENTGATE_REAL", installed)
        .env("MCP_INSPECTOR_SECRET_STORE", "memory")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{} {}: {}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Follows the server's `.session`: `> LINE` sends (`>crlf LINE` ends it in CR
/// LF), `< ID` awaits a reply, `~ TEXT` any message that contains the text, and
/// `= METHOD RESULT` answers the server's requests from then on.
#[track_caller]
fn raw(server: &Server, place: &str, command: &[OsString]) -> String {
    let file =
        format!("{}/tests/real/sessions/{}.session", env!("CARGO_MANIFEST_DIR"), server.name);
    let script = std::fs::read_to_string(&file).unwrap().replace("{dir}", place);
    let mut client = Client::spawn(command);
    for step in script.split('\n').filter(|step| !step.is_empty() && !step.starts_with('#')) {
        let (verb, rest) = step.split_once(' ').unwrap();
        match verb {
            ">" => client.send(rest),
            ">crlf" => client.send(format!("{rest}\r")),
            "<" => drop(client.reply(&serde_json::from_str(rest).unwrap())),
            "~" => drop(client.wait_for(rest, |message| message.to_string().contains(rest))),
            "=" => {
                let (method, result) = rest.split_once(' ').unwrap();
                client.answer(method, serde_json::from_str(result).unwrap());
            }
            other => panic!("{file}: what is `{other}`?"),
        }
    }
    client.end_input();
    // Some servers outstay their input, as every client has to know.
    if client.wait(Duration::from_secs(3)).is_none() {
        client.signal(Signal::TERM);
        assert!(client.wait(TIMEOUT).is_some(), "no end after SIGTERM");
    }
    String::new()
}
