//! The servers, each in its smallest useful setting.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{Era, Server};
use crate::support::argv;

const TOOLS: &[&str] = &["--method", "tools/list"];

fn npm(installed: &Path, name: &str) -> OsString {
    installed.join("node_modules/.bin").join(name).into()
}

fn pip(installed: &Path, environment: &str, name: &str) -> OsString {
    installed.join(environment).join("bin").join(name).into()
}

/// server-everything; its `get-env` would show where the gate's home is.
pub(super) fn everything() -> Server {
    Server {
        name: "everything",
        era: Era::Handshake,
        command: |installed, _| argv([npm(installed, "mcp-server-everything")]),
        plan: || {
            json!({
                // The long one first: the server asks for roots on a timer of
                // its own, and where that falls must not differ between runs.
                "calls": [
                    ["trigger-long-running-operation", {"duration": 0.8, "steps": 2}],
                    ["echo", {"message": "line separator \u{2028}, é, \u{1f600}"}],
                    ["get-sum", {"a": 9_007_199_254_740_993_i64, "b": 1.5}],
                    ["trigger-sampling-request", {"prompt": "say something"}],
                    ["trigger-elicitation-request", {}],
                    ["get-roots-list", {}],
                    ["get-structured-content", {"location": "Chicago"}],
                    ["get-tiny-image", {}],
                    ["no-such-tool", {}],
                ],
                "prompts": [["simple-prompt", {}], ["args-prompt", {"city": "Kyōto"}]],
                "resources": ["demo://resource/static/document/features.md", "demo://none"],
            })
        },
        inspect: &[
            TOOLS,
            &["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hello"],
            &["--method", "prompts/list"],
        ],
    }
}

pub(super) fn filesystem() -> Server {
    Server {
        name: "filesystem",
        era: Era::Handshake,
        command: |installed, dir| {
            std::fs::write(dir.join("big.txt"), "0123456789abcde\n".repeat(65_536)).unwrap();
            argv([npm(installed, "mcp-server-filesystem"), dir.into()])
        },
        plan: || {
            json!({"calls": [
                ["write_file", {"path": "{dir}/a.txt", "content": "one\r\ntwo"}],
                ["read_text_file", {"path": "{dir}/a.txt"}],
                ["read_text_file", {"path": "{dir}/big.txt"}],
                ["list_directory", {"path": "{dir}"}],
                ["read_text_file", {"path": "/etc/passwd"}],
            ]})
        },
        inspect: &[
            TOOLS,
            &[
                "--method",
                "tools/call",
                "--tool-name",
                "list_directory",
                "--tool-arg",
                "path={dir}",
            ],
        ],
    }
}

pub(super) fn memory() -> Server {
    Server {
        name: "memory",
        era: Era::Handshake,
        command: |installed, dir| {
            let mut file = OsString::from("MEMORY_FILE_PATH=");
            file.push(dir.join("memory.jsonl"));
            argv(["env".into(), file, npm(installed, "mcp-server-memory")])
        },
        plan: || {
            json!({"calls": [
                ["create_entities", {"entities": [
                    {"name": "Ada", "entityType": "person", "observations": ["writes"]},
                ]}],
                ["read_graph", {}],
                ["delete_entities", {"entityNames": ["Ada"]}],
            ]})
        },
        inspect: &[TOOLS],
    }
}

pub(super) fn thinking() -> Server {
    Server {
        name: "thinking",
        era: Era::Handshake,
        command: |installed, _| argv([npm(installed, "mcp-server-sequential-thinking")]),
        plan: || {
            json!({"calls": [["sequentialthinking", {
                "thought": "what passes a gate?", "nextThoughtNeeded": false,
                "thoughtNumber": 1, "totalThoughts": 1,
            }]]})
        },
        inspect: &[TOOLS],
    }
}

pub(super) fn time() -> Server {
    Server {
        name: "time",
        era: Era::Stateless,
        command: |installed, _| argv([pip(installed, "python", "mcp-server-time")]),
        plan: || {
            json!({"calls": [
                ["convert_time", {
                    "source_timezone": "Asia/Tokyo", "time": "12:00",
                    "target_timezone": "Europe/Paris",
                }],
                ["convert_time", {
                    "source_timezone": "Mars/Olympus", "time": "12:00",
                    "target_timezone": "Europe/Paris",
                }],
            ]})
        },
        inspect: &[TOOLS],
    }
}

pub(super) fn git() -> Server {
    Server {
        name: "git",
        era: Era::Stateless,
        command: |installed, dir| {
            repository(dir);
            argv([pip(installed, "python", "mcp-server-git"), "--repository".into(), dir.into()])
        },
        plan: || {
            json!({"calls": [
                ["git_status", {"repo_path": "{dir}"}],
                ["git_log", {"repo_path": "{dir}", "max_count": 3}],
                ["git_show", {"repo_path": "{dir}", "revision": "HEAD"}],
                ["git_status", {"repo_path": "/nowhere"}],
            ]})
        },
        inspect: &[TOOLS],
    }
}

/// A repository with one commit, the same to the hash each time.
fn repository(dir: &Path) {
    std::fs::write(dir.join("file.txt"), "content\n").unwrap();
    let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
    let steps: [&[&str]; 3] =
        [&["init", "-q", "-b", "main"], &["add", "."], &["commit", "-q", "-m", "First"]];
    for step in steps {
        let done = Command::new("git")
            .current_dir(dir)
            .args(who)
            .args(step)
            .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
            .status()
            .unwrap();
        assert!(done.success());
    }
}

pub(super) fn fetch() -> Server {
    Server {
        name: "fetch",
        era: Era::Stateless,
        command: |installed, _| argv([pip(installed, "python", "mcp-server-fetch")]),
        plan: || json!({"calls": [["fetch", {"url": "http://127.0.0.1:1/"}]]}),
        inspect: &[TOOLS],
    }
}

pub(super) fn sqlite() -> Server {
    Server {
        name: "sqlite",
        era: Era::Handshake,
        command: |installed, dir| {
            let program = pip(installed, "python-sqlite", "mcp-server-sqlite");
            argv([program, "--db-path".into(), dir.join("test.db").into()])
        },
        plan: || {
            json!({
                "calls": [
                    ["create_table", {"query": "CREATE TABLE t (a INTEGER, b TEXT)"}],
                    ["write_query", {"query": "INSERT INTO t VALUES (1, 'x')"}],
                    ["read_query", {"query": "SELECT * FROM t"}],
                ],
                "resources": ["memo://insights"],
            })
        },
        inspect: &[TOOLS],
    }
}
