//! What the proxy refuses for its method, its path, its query or its headers, `explain` and `test`
//! refuse too, and say so in the same words.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Serve, command};

const METHODS: [&str; 3] = ["TRACE", "PROPFIND", "LINK"];

const PATHS: [&str; 15] = [
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
    "/a#b",
];

const QUERIES: [&str; 15] = [
    "_method=DELETE",
    "a=1;_METHOD=DELETE",
    "a=1&%5fmethod=DELETE",
    "+_method=DELETE",
    "_method[]=DELETE",
    ".method=DELETE",
    "$httpMethod=DELETE",
    "%24httpHeaders=x",
    "X-HTTP-Method-Override=DELETE",
    "q=%ff",
    "q=%c0%ae",
    "q=a%00b",
    "%00",
    "a=b#c",
    "key=ag_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];

const HEADERS: [&[(&str, &str)]; 7] = [
    &[("X-HTTP-Method-Override", "DELETE")],
    &[("X-Original-URL", "/v1/users")],
    &[("X_HTTP_Method", "DELETE")],
    &[("Content_Type", "text/plain")],
    &[("X_Forwarded_For", "127.0.0.1")],
    &[("Upgrade", "websocket")],
    &[("Content-Type", "text/plain"), ("Content-Type", "application/json")],
];

/// Odd, and the same to everybody.
const PASSED: [(&str, &[(&str, &str)]); 6] = [
    ("/a?q=100%", &[]),
    ("/a?q=%zz&&=", &[]),
    ("/a?method=DELETE&a=_method&a[_method]=b", &[]),
    ("/a?q=SELECT+Id%0AFROM+Account&name=caf%C3%A9", &[]),
    ("/a?a=1&a=2", &[("Accept", "text/plain"), ("Accept", "text/html")]),
    ("/a", &[("X_Trace", "1"), ("Upgrade", "h2c")]),
];

/// A request for a target with further headers.
#[derive(Debug)]
struct Asked {
    method: &'static str,
    target: String,
    headers: &'static [(&'static str, &'static str)],
}

impl Asked {
    fn get(target: impl Into<String>, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { method: "GET", target: target.into(), headers }
    }
}

/// As people write it down.
fn written(Asked { method, target, headers }: &Asked) -> Value {
    let mut map = serde_json::Map::new();
    for (name, value) in *headers {
        let values = map.entry(*name).or_insert_with(|| json!([]));
        values.as_array_mut().unwrap().push(json!(value));
    }
    json!({ "provider": "notion", "method": method, "path": target, "headers": map })
}

/// The status, and what is said of it.
fn proxied(gate: &Serve, key: &str, asked: &Asked) -> (u16, Option<String>) {
    let Asked { method, target, headers } = asked;
    let mut lines = format!("X-Agent-Key: {key}\r\n");
    for (name, value) in *headers {
        lines.push_str(&format!("{name}: {value}\r\n"));
    }
    let answer = gate.request(method, &format!("/proxy/notion{target}"), &lines, "");
    let body: Option<Value> = serde_json::from_str(&answer.body).ok();
    let detail = body.and_then(|body| body["detail"].as_str().map(str::to_owned));
    (answer.status, detail)
}

fn explained(gate: &Serve, asked: &Asked) -> (Option<i32>, Value) {
    let output = command(gate.home.path())
        .args(["explain", "--json", "--policy", "allow_all", "--request"])
        .arg(written(asked).to_string())
        .output()
        .unwrap();
    (output.status.code(), serde_json::from_str(&said(&output)).unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn explain_and_test_refuse_like_the_proxy() {
    let gate = Serve::start("", &["--test-mode"]);
    let key = gate.agent("a", "allow_all").key;
    let methods = METHODS.iter().map(|method| Asked { method, ..Asked::get("/a", &[]) });
    let paths = PATHS.iter().map(|path| Asked::get(*path, &[]));
    let queries = QUERIES.iter().map(|query| Asked::get(format!("/a?{query}"), &[]));
    let headers = HEADERS.iter().map(|headers| Asked::get("/a", headers));
    let asked: Vec<Asked> = methods.chain(paths).chain(queries).chain(headers).collect();
    let refused: Vec<String> = asked
        .iter()
        .map(|asked| {
            let (status, detail) = proxied(&gate, &key, asked);
            assert!([400, 405].contains(&status), "{asked:?}: {status} {detail:?}");
            format!("malformed: {}", detail.unwrap_or_else(|| panic!("{asked:?}")))
        })
        .collect();
    for (asked, reason) in asked.iter().zip(&refused) {
        let (code, verdict) = explained(&gate, asked);
        assert_eq!(code, Some(3), "{asked:?}: {verdict}");
        assert_eq!(verdict["reason"], **reason, "{asked:?}");
    }
    let tests: Vec<Value> = asked
        .iter()
        .map(|asked| json!({ "request": written(asked), "expect": "deny", "rule": "validation" }))
        .collect();
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

#[test]
fn explain_accepts_what_the_proxy_accepts() {
    let gate = Serve::start("", &["--test-mode"]);
    let key = gate.agent("a", "allow_all").key;
    for (target, headers) in PASSED {
        let asked = Asked::get(target, headers);
        let (status, detail) = proxied(&gate, &key, &asked);
        assert_ne!(status, 400, "{asked:?}: {detail:?}");
        let (code, verdict) = explained(&gate, &asked);
        assert_eq!(code, Some(0), "{asked:?}: {verdict}");
    }
}
