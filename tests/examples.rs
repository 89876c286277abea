//! Everything under `examples/` works with this version: configurations start
//! what they say, policies load without a warning and pass their own tests.
//! The bundled policies are held to the same.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentgate::cli::{self, Cli};
use agentgate::policy;
use clap::Parser as _;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no .{extension}");
    found
}

/// The servers of a client's configuration, whichever of the two keys it uses.
fn servers(path: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(path).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let servers = config.get("mcpServers").or(config.get("servers")).expect("servers");
    servers.as_object().unwrap().clone().into_iter().collect()
}

#[test]
fn client_configurations_start_a_gated_server() {
    for path in files("examples", "json") {
        for (name, server) in servers(&path) {
            let what = format!("{}: {name}", path.display());
            assert_eq!(server["command"], "agentgate", "{what}");
            let args = server["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
            let typed = std::iter::once("agentgate").chain(args);
            let cli = Cli::try_parse_from(typed).unwrap_or_else(|error| panic!("{what}: {error}"));
            let cli::Command::Wrap(wrap) = cli.command else { panic!("{what}: not wrap") };
            assert_eq!(wrap.server.name.as_deref(), Some(name.as_str()), "{what}");
            for policy in &wrap.decide.policies {
                assert!(policy::bundled(policy).is_some(), "{what}: no policy `{policy}`");
            }
        }
    }
}

#[test]
fn the_readme_leads_to_every_example() {
    let readme = fs::read_to_string(root().join("examples/README.md")).unwrap();
    let all = files("examples", "json").into_iter().chain(files("examples", "yaml"));
    for path in all {
        let path = path.strip_prefix(root().join("examples")).unwrap().display().to_string();
        assert!(readme.contains(&format!("({path})")), "{path} is not in examples/README.md");
    }
}

#[test]
fn policies_pass_their_own_tests_and_earn_no_warning() {
    for (command, extra) in [("test", None), ("check", Some("--strict"))] {
        let policies =
            files("examples/policies", "yaml").into_iter().chain(files("policies", "yaml"));
        let output = Command::new(env!("CARGO_BIN_EXE_agentgate"))
            .arg(command)
            .args(extra)
            .args(policies)
            .env("AGENTGATE_HOME", std::env::temp_dir().join("agentgate-no-such-home"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{command}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }
}

#[test]
fn every_policy_tests_both_what_passes_and_what_does_not() {
    for path in files("examples/policies", "yaml").into_iter().chain(files("policies", "yaml")) {
        let text = fs::read_to_string(&path).unwrap();
        for expected in ["expect: allow", "expect: deny", "description: |"] {
            assert!(text.contains(expected), "{} has no `{expected}`", path.display());
        }
    }
}
