//! Requests that upstream could read otherwise than the gate: refused, logged,
//! and never passed on.

use crate::support::{Recorder, Serve};

/// Paths below a provider, and the status that each gets.
const PATHS: &[(&str, &str)] = &[
    ("github", "/repos/a/b/../../admin"),
    ("github", "/repos/a/b/.."),
    ("github", "/./repos"),
    ("github", "/%2e%2e/admin"),
    ("github", "/.%2e/admin"),
    ("github", "/..%2fadmin"),
    ("github", "/repos%2f..%2f..%2fadmin"),
    ("github", "/%252e%252e/admin"),
    ("github", "/repos/%25%32%65/admin"),
    ("github", "/repos\\..\\admin"),
    ("github", "/repos/..%5cadmin"),
    ("github", "/repos/a%00b"),
    ("github", "/repos/a%0d%0aX-Injected:%20yes"),
    ("github", "/repos/a;admin=1/b"),
    ("github", "/repos/..;/admin"),
    ("github", "/repos/..%3b/admin"),
    ("github", "/repos//admin"),
    ("github", "//evil.example/admin"),
    ("github", "/%c0%ae%c0%ae/admin"),
    ("github", "/%e0%80%ae%e0%80%ae/admin"),
    ("github", "/%ef%bc%8e%ef%bc%8e/admin"),
    ("github", "/repos%ef%bc%8fadmin"),
    ("github", "/repos%e2%88%95admin"),
    ("github", "/repos/a%zz"),
    ("github", "/repos/a%"),
    ("github", "/repos/a%u002fb"),
    ("notion", "/v1/pages%2f..%2fusers"),
    ("notion", "/v1/pages%2fx"),
    ("slack", "/api/..%2f..%2fadmin"),
    ("google", "/calendar/v3/%2e%2e%2fx"),
    ("github", "/repos?_method=DELETE"),
    ("github", "/repos?a=1&_Method=DELETE"),
    ("github", "/repos?a=1;_method=DELETE"),
    ("google", "/calendar/v3/x?%24httpMethod=DELETE"),
    ("google", "/calendar/v3/x?$httpHeaders=X-HTTP-Method-Override:DELETE"),
    ("google", "/calendar/v3/x?x-http-method-override=DELETE"),
    ("google", "/calendar/v3/x?$req=e30&$ct=application/json"),
    ("google", "/calendar/v3/x?%24REQ=e30"),
];

#[test]
fn ambiguous_paths_are_refused_and_never_arrive() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let key = format!("X-Agent-Key: {}\r\n", agent.key);
    for (provider, path) in PATHS {
        let answer = gate.request("GET", &format!("/proxy/{provider}{path}"), &key, "");
        assert_eq!(answer.status, 400, "{provider}{path}: {answer:?}");
    }
    let long = format!("/proxy/github/{}", "a".repeat(3_000));
    assert_eq!(gate.request("GET", &long, &key, "").status, 414);
    assert_eq!(recorder.requests(), Vec::<serde_json::Value>::new());
    let refused = gate.log();
    assert!(refused.iter().all(|row| row["stage"] == "validation" && row["decision"] == "deny"));
    assert!(refused.len() > PATHS.len() - 3, "{} of {} are logged", refused.len(), PATHS.len());
}

#[test]
fn ambiguous_heads_and_bodies_are_refused_and_never_arrive() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "allow_all").key;
    let head = |method: &str, more: &str| {
        format!(
            "{method} /proxy/github/user HTTP/1.1\r\nHost: gate\r\nX-Agent-Key: {key}\r\nConnection: close\r\n{more}"
        )
    };
    let json = "Content-Type: application/json\r\n";
    for (what, request, status) in [
        (
            "length before chunked",
            head("POST", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("two lengths", head("POST", "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), 400),
        ("two hosts", head("GET", "Host: other\r\n\r\n"), 400),
        ("two types", head("POST", &format!("{json}{json}Content-Length: 2\r\n\r\n{{}}")), 400),
        (
            "an override",
            head("POST", "X-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n"),
            400,
        ),
        (
            "another override",
            head("POST", "X-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n"),
            400,
        ),
        (
            "a form that overrides",
            head(
                "POST",
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 14\r\n\r\n_method=DELETE",
            ),
            400,
        ),
        ("TRACE", head("TRACE", "\r\n"), 405),
        ("an unknown method", head("FROBNICATE", "\r\n"), 405),
        (
            "an encoded body",
            head("POST", &format!("{json}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}")),
            415,
        ),
        ("half a body of JSON", head("POST", &format!("{json}Content-Length: 1\r\n\r\n{{")), 400),
        (
            "a key twice",
            head("POST", &format!("{json}Content-Length: 15\r\n\r\n{{\"a\":1,\"a\":222}}")),
            400,
        ),
        ("no JSON", head("POST", &format!("{json}Content-Length: 3\r\n\r\nabc")), 400),
        ("a header that is folded", head("GET", "X-A: b\r\n c\r\n\r\n"), 400),
        ("a bare line feed in a header", head("GET", "X-A: b\nX-B: c\r\n\r\n"), 200),
        (
            "nonsense for chunks",
            head(
                "POST",
                "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            ),
            400,
        ),
        (
            "a target that is not a path",
            format!(
                "GET http://evil.example/proxy/github/user HTTP/1.1\r\nHost: gate\r\nX-Agent-Key: {key}\r\nConnection: close\r\n\r\n"
            ),
            400,
        ),
    ] {
        recorder.forget();
        let answer = gate.raw(request.as_bytes());
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(recorder.requests().is_empty(), status != 200, "{what}");
    }
    recorder.forget();
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20));
    let headers = format!("X-Agent-Key: {key}\r\n{json}");
    assert_eq!(gate.request("POST", "/proxy/github/user", &headers, &large).status, 413);
    let many: String = (0..200).map(|number| format!("X-H{number}: 1\r\n")).collect();
    let headers = format!("X-Agent-Key: {key}\r\n{many}");
    assert_eq!(gate.request("GET", "/proxy/github/user", &headers, "").status, 431);
    assert!(recorder.requests().is_empty());
}
