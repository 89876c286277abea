//! Real clients, with the gate and without: they have to see the same.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Gate, Server, agentgate, installed, over_pipes};

/// What the clients do.
fn plan() -> Value {
    json!({
        "calls": [["test_simple_text", {}], ["test_tool_with_progress", {}],
                  ["test_error_handling", {}], ["long_text", {"length": 300_000}]],
        "prompts": [["test_simple_prompt", {}]],
        "resources": ["test://static-text", "test://absent"],
    })
}

/// What a client reports, in front of a command or a URL.
fn report(installed: &Path, client: &str, server: &[OsString]) -> String {
    report_of(installed, client, &plan(), server)
}

/// What a client that follows `plan` reports.
pub(crate) fn report_of(
    installed: &Path,
    client: &str,
    plan: &Value,
    server: &[OsString],
) -> String {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
    let (kind, mode) = client.split_once(' ').unwrap();
    let mut command = match kind {
        "python" => {
            let mut command = Command::new(installed.join("python/bin/python"));
            command.arg(real.join("client.py"));
            command
        }
        _ => {
            let mut command = Command::new("node");
            command.arg(real.join("client.mjs"));
            command
        }
    };
    let output = command
        .arg(mode)
        .arg(plan.to_string())
        .args(server)
        .env("AGENTGATE_REAL", installed)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client}: {said}\n{errors}");
    said
}

/// A stdio gate in front of a URL, as a command line.
fn wrap(home: &Path, url: &str) -> Vec<OsString> {
    let mut home_is = OsString::from("AGENTGATE_HOME=");
    home_is.push(home);
    let gate = env!("CARGO_BIN_EXE_agentgate");
    let words = ["wrap", "--name", "server", "--policy", "allow_all", url];
    let mut line: Vec<OsString> = vec!["env".into(), home_is, gate.into()];
    line.extend(words.map(OsString::from));
    line
}

#[track_caller]
fn same(what: &str, direct: &str, gated: &str) {
    let (mut direct, mut gated) = (direct.lines(), gated.lines());
    loop {
        match (direct.next(), gated.next()) {
            (None, None) => return,
            (one, other) => assert_eq!(one, other, "{what}"),
        }
    }
}

fn sees_the_same(client: &str) {
    let Some(installed) = installed() else { return };
    let server = Server::start(&installed);
    let direct = report(&installed, client, &[server.url.clone().into()]);
    assert!(direct.contains("This is a simple text response"), "{direct}");

    let gate = Gate::listen(&["--policy", "allow_all"], &[server.url.clone().into()]);
    same("in front of a URL", &direct, &report(&installed, client, &[gate.url().into()]));
    assert_eq!(gate.log().len(), 4, "one row a call");

    let gate = Gate::listen(&["--policy", "allow_all"], &over_pipes(&installed));
    same("in front of a command", &direct, &report(&installed, client, &[gate.url().into()]));
    assert_eq!(gate.log().len(), 4, "one row a call");

    let home = tempfile::tempdir().unwrap();
    let through = report(&installed, client, &wrap(home.path(), &server.url));
    let direct = report(&installed, client, &over_pipes(&installed));
    same("over pipes, in front of a URL", &direct, &through);
}

#[test]
fn python_with_a_handshake() {
    sees_the_same("python legacy");
}

#[test]
fn python_without_one() {
    sees_the_same("python auto");
}

#[test]
fn typescript_1() {
    sees_the_same("node v1");
}

#[test]
fn typescript_2() {
    sees_the_same("node v2");
}

#[test]
fn typescript_2_without_a_handshake() {
    sees_the_same("node v2-2026");
}

/// The transport of 2024-11-05, behind a URL that says nothing of it.
#[test]
fn a_server_of_the_oldest_transport_is_found_out_by_trying() {
    let Some(installed) = installed() else { return };
    let server = Server::everything(&installed, "sse", "/sse");
    let home = tempfile::tempdir().unwrap();
    let output = agentgate(home.path()).args(["inspect", "--json", &server.url]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("\"echo\""), "{output:?}");
}

/// As `npx` does on its first run: the probe is answered when nobody waits for it.
#[test]
fn a_server_that_takes_long_to_start_is_inspected_all_the_same() {
    let Some(installed) = installed() else { return };
    let home = tempfile::tempdir().unwrap();
    let (store, server) =
        (home.path().join("memory.json"), installed.join("node_modules/.bin/mcp-server-memory"));
    let output = agentgate(home.path())
        .args(["inspect", "--json", "--timeout", "60s", "--", "sh", "-c", "sleep 11; exec \"$0\""])
        .arg(server)
        .env("MEMORY_FILE_PATH", store)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("\"create_entities\""), "{output:?}");
}
