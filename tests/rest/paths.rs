//! What the proxy refuses for its path, `explain` and `test` refuse too, and say so
//! in the same words.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Serve, command};

const PATHS: [&str; 14] = [
    "/a/../b",
    "/%2e%2e/b",
    "/a//b",
    "/a;b",
    "/a%5Cb",
    "/a%00b",
    "/a%",
    "/%252e%252e/b",
    "/%c0%ae/b",
    "/a%EF%BC%8Fb",
    "/.%E2%80%8B./b",
    "/a{b}",
    "/caf\u{e9}",
    "/pages/a%2Fb",
];

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn what_the_proxy_refuses_explain_and_test_refuse_in_the_same_words() {
    let gate = Serve::start("", &["--test-mode"]);
    let key = gate.agent("a", "allow_all").key;
    let refused = PATHS.map(|path| {
        let answer = gate.request(
            "GET",
            &format!("/proxy/notion{path}"),
            &format!("X-Agent-Key: {key}\r\n"),
            "",
        );
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        format!("malformed: {}", body["detail"].as_str().unwrap())
    });
    let request = |path: &str| json!({ "provider": "notion", "method": "GET", "path": path });
    for (path, reason) in PATHS.iter().zip(&refused) {
        let explained = command(gate.home.path())
            .args(["explain", "--json", "--policy", "allow_all", "--request"])
            .arg(request(path).to_string())
            .output()
            .unwrap();
        assert_eq!(explained.status.code(), Some(3), "{path}: {explained:?}");
        let verdict: Value = serde_json::from_str(&said(&explained)).unwrap();
        assert_eq!(verdict["reason"], **reason, "{path}");
    }
    let tests = PATHS
        .map(|path| json!({ "request": request(path), "expect": "deny", "rule": "validation" }));
    let policy = json!({ "name": "p", "default_effect": "allow", "tests": tests }).to_string();
    let file = gate.home.path().join("p.yaml");
    std::fs::write(&file, policy).unwrap();
    let tested = command(gate.home.path()).args(["test", "--json"]).arg(&file).output().unwrap();
    assert!(tested.status.success(), "{tested:?}");
    let reasons: Vec<String> = said(&tested)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].as_str().unwrap().into())
        .collect();
    assert_eq!(reasons, refused);
}
