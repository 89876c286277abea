//! Requests that one server ends elsewhere than the next, and headers that mean
//! more than they say: raw bytes in, and what arrives upstream is what was
//! judged, or nothing.

use serde_json::Value;

use crate::support::{MASTER, Recorder, Serve};

/// What arrived: method, target and body's length.
fn arrived(recorder: &Recorder) -> Vec<(String, String)> {
    let requests = recorder.requests();
    recorder.forget();
    let text = |request: &Value, name: &str| request[name].as_str().unwrap().to_owned();
    requests.iter().map(|one| (text(one, "method"), text(one, "target"))).collect()
}

fn statuses(answer: &str) -> Vec<u16> {
    let heads = answer.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head[..3].parse().unwrap()).collect()
}

#[test]
fn ambiguous_framing_is_refused_anywhere() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "allow_all").key;
    let head = |method: &str, more: &str| {
        format!(
            "{method} /proxy/github/user HTTP/1.1\r\nHost: gate\r\nX-Agent-Key: {key}\r\n{more}"
        )
    };
    let get = head("GET", "\r\n");
    let json = "Content-Type: application/json\r\n";
    let post = head("POST", &format!("{json}Content-Length: 2\r\n\r\n{{}}"));
    let both = head("POST", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let chunked = head(
        "POST",
        &format!(
            "{json}Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n{{}}\r\n0\r\nX-Sum: 1\r\nX-Agent-Key: zz\r\n\r\n"
        ),
    );
    let last = get.replace("Host: gate", "Connection: close\r\nHost: gate");
    for (what, bytes, expected, arrives) in [
        ("behind a request", format!("{get}{both}"), vec![200, 400], 1),
        ("behind a body", format!("{post}{get}{both}"), vec![200, 200, 400], 2),
        ("nothing behind chunks is a request", format!("{chunked}{last}"), vec![200], 1),
        ("pipelined", format!("\r\n{get}{post}{last}"), vec![200, 200, 200], 3),
        (
            "a body that looks like a request",
            format!(
                "{}{last}{last}",
                head(
                    "POST",
                    &format!("Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n", last.len())
                )
            ),
            vec![200, 200],
            2,
        ),
    ] {
        let answer = gate.raw(bytes.as_bytes());
        let all = format!("{}\r\n\r\n{}", answer.head.replace("http/1.1", "HTTP/1.1"), answer.body);
        assert_eq!(statuses(&all), expected, "{what}: {all}");
        assert_eq!(arrived(&recorder).len(), arrives, "{what}");
    }
}

#[test]
fn heads_that_two_servers_take_differently_never_arrive() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "allow_all").key;
    let post = |more: &str| {
        format!(
            "POST /proxy/github/user HTTP/1.1\r\nHost: gate\r\nX-Agent-Key: {key}\r\nConnection: close\r\n{more}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        )
    };
    for more in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked;x=1",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding : chunked",
        "Transfer_Encoding: chunked\r\nContent-Length: 2",
        "X: y\rTransfer-Encoding: chunked",
        "Content-Length: +2",
        "Content-Length: 0x2",
        "Content-Length: 2, 2",
        "Content-Length: -1",
        "Content-Length: 2\r\nContent-Length: 2",
        "Content-Length: 99999999999999999999",
        "Content-Length: ",
        "Content_Length: 2\r\nContent-Length: 2",
        "X-Agent_Key: x\r\nContent-Length: 2",
        "X_HTTP_Method_Override: DELETE\r\nContent-Length: 2",
        "X-HTTP-Method: DELETE\r\nContent-Length: 2",
        "X-Original-URL: /admin\r\nContent-Length: 2",
        "X-HTTP-Verb-Override: DELETE\r\nContent-Length: 2",
        "_method: DELETE\r\nContent-Length: 2",
        "Expect: 200-ok\r\nContent-Length: 2",
        "Expect: y 100-continue\r\nContent-Length: 2",
        "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 2",
        "Authorization: Bearer a\r\nAuthorization: Bearer b\r\nContent-Length: 2",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2",
        "Content-Type: application/json, text/plain\r\nContent-Length: 2",
        "X-A: a\0b\r\nContent-Length: 2",
        "X A: b\r\nContent-Length: 2",
    ] {
        let answer = gate.raw(post(more).as_bytes());
        assert_eq!(answer.status, 400, "{more:?}: {answer:?}");
        assert_eq!(arrived(&recorder), [], "{more:?}");
    }
    for target in
        ["/proxy/github/user#/../x", "/proxy/github/user?q=%ff", "/proxy/github/user?q=%00"]
    {
        let answer = gate.request("GET", target, &format!("X-Agent-Key: {key}\r\n"), "");
        assert_eq!(answer.status, 400, "{target}");
    }
    for host in ["", "Host: gate:99999\r\n", "Host: gate:x\r\n"] {
        let odd = format!(
            "GET /proxy/github/user HTTP/1.1\r\n{host}Connection: close\r\nX-Agent-Key: {key}\r\n\r\n"
        );
        assert_eq!(gate.raw(odd.as_bytes()).status, 400, "{host}");
    }
    assert_eq!(arrived(&recorder), []);
}

#[test]
fn headers_named_by_connection_are_removed_before_judging() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let policy = "name: p\nrules:\n  - {intent: [read, query], effect: allow}\n";
    let put = serde_json::json!({"name": "p", "yaml": policy}).to_string();
    assert_eq!(gate.admin("POST", "/policies", &put).status, 200);
    let key = gate.agent("a", "p").key;
    let body = r#"{"TableName":"t"}"#;
    let target =
        "X-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Type: application/x-amz-json-1.0\r\n";
    let read = |more: &str| {
        let headers = format!("X-Agent-Key: {key}\r\n{target}{more}");
        gate.request("POST", "/proxy/aws/dynamodb/", &headers, body).status
    };
    assert_eq!(read(""), 200);
    assert_eq!(arrived(&recorder).len(), 1);
    // Without the header that makes it a read, it is none.
    assert_eq!(read("Connection: X-Amz-Target\r\n"), 403);
    assert_eq!(arrived(&recorder), []);
    // A form may hide another document behind an `&`.
    let both = r#"{"query":"query{a}","variables":{"x":"&query=mutation{b}#"}}"#;
    let headers = format!("X-Agent-Key: {key}\r\n");
    for (kind, body, status) in [
        ("", both, 403),
        ("Content-Type: application/json\r\n", both, 200),
        ("Content-Type: application/json; charset=utf-16\r\n", both, 415),
        ("Content-Type: text/plain\r\n", both, 403),
        ("Content-Type: application/octet-stream\r\n", both, 403),
        ("Content-Type: multipart/form-data; boundary=b\r\n", both, 403),
        ("Content-Type: application/x-www-form-urlencoded\r\n", "query=query{a}", 403),
        ("Content-Type: application/json\r\n", r#"{"_method":"DELETE"}"#, 400),
        ("", "_method=DELETE", 400),
        ("Content-Type: application/x-www-form-urlencoded\r\n", "a=%ff&_method=DELETE", 400),
    ] {
        let answer =
            gate.request("POST", "/proxy/github/graphql", &format!("{headers}{kind}"), body);
        assert_eq!(answer.status, status, "{kind}{body}: {answer:?}");
        assert_eq!(arrived(&recorder).len(), usize::from(status == 200), "{kind}{body}");
    }
}

#[test]
fn forwarding_headers_and_keys_are_not_sent_upstream() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "allow_all").key;
    let request = format!(
        "POST /proxy/github/user HTTP/1.1\r\nHost: gate\r\nX-Agent-Key: {key}\r\nConnection: close\r\n\
         X-Forwarded-Host: evil\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: host=evil\r\nX-Host: evil\r\nX-Real-IP: 1.2.3.4\r\nX-HTTP-Host-Override: evil\r\nProxy: http://evil\r\n\
         TE: trailers\r\nTrailer: X-Sum, X-Agent-Key, Authorization\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nX-Sum: 1\r\nX-Agent-Key: {key}\r\nAuthorization: Bearer evil\r\n\r\n"
    );
    assert_eq!(gate.raw(request.as_bytes()).status, 200);
    let [one] = <[Value; 1]>::try_from(recorder.requests()).unwrap();
    let text = one.to_string().to_ascii_lowercase();
    assert!(!text.contains("evil") && !text.contains("1.2.3.4") && !text.contains(&key), "{text}");
    assert!(text.contains(r#"["trailer","x-sum"]"#), "{text}");
}

#[test]
fn refused_request_gets_no_100_continue() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "github_readonly").key;
    let ask = |key: &str, length: usize| {
        gate.raw(format!("POST /proxy/github/repos/a/b/issues HTTP/1.1\r\nHost: gate\r\nX-Agent-Key: {key}\r\nConnection: close\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n").as_bytes())
    };
    assert_eq!(ask("ag_0", 2).status, 401);
    assert_eq!(ask(&key, 2 << 20).status, 413);
    assert!(recorder.requests().is_empty());
}

#[test]
fn a_head_that_does_not_end_gets_408() {
    let gate = Serve::start("", &["--test-mode"]);
    let answer = gate.raw(b"GET /proxy/github/user HTTP/1.1\r\nHost: ga");
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(answer.body.contains("slow_head"));
}

#[test]
fn a_body_that_does_not_end_gets_408_from_the_admin_api_too() {
    let gate = Serve::start("", &["--test-mode"]);
    std::thread::scope(|scope| {
        for target in ["/agents", "/policies", "/mcp/servers"] {
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: gate\r\nX-Master-Key: {MASTER}\r\nContent-Length: 9\r\n\r\n{{"
            );
            let gate = &gate;
            scope.spawn(move || {
                let answer = gate.raw(head.as_bytes());
                assert_eq!(answer.status, 408, "{target}: {answer:?}");
            });
        }
    });
}

/// Naughty strings wherever a client can put one: never an error of the gate's
/// own, and what arrives is what the log says.
#[test]
fn naughty_strings_arrive_as_they_were_judged_or_not_at_all() {
    let root = std::env::var_os("AGENTGATE_TRUTH").map_or_else(
        || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/truth"),
        std::path::PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(root.join("corpora/blns.jsonl")) else {
        eprintln!("skipped: the naughty strings are not here");
        return;
    };
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let key = gate.agent("a", "allow_all").key;
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let mut sent = 0;
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let naughty =
            row["text"].as_str().or_else(|| row["string"].as_str()).or_else(|| row.as_str());
        let Some(naughty) = naughty else { continue };
        sent += 1;
        let target = format!("/proxy/github/repos/{}/x?q={}", encode(naughty), encode(naughty));
        let header = naughty.replace(['\r', '\n', '\0'], " ");
        let headers =
            format!("X-Agent-Key: {key}\r\nX-Naughty: {header}\r\nContent-Type: text/plain\r\n");
        let answer = gate.request("POST", &target, &headers, naughty);
        assert!((200..500).contains(&answer.status), "{naughty:?}: {answer:?}");
        let raw = format!("/proxy/github/repos/{naughty}/x");
        let answer = gate.request("GET", &raw, &format!("X-Agent-Key: {key}\r\n"), "");
        assert!(
            (200..500).contains(&answer.status) || answer.status == 0,
            "{naughty:?}: {answer:?}"
        );
    }
    assert!(sent > 100, "{sent}");
    for one in recorder.requests() {
        let path = one["target"].as_str().unwrap().split('?').next().unwrap();
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
        let bad = |part: &str| matches!(part.trim(), "." | "..") || part.contains('\\');
        assert!(!decoded.split('/').any(bad) && !decoded.contains(char::is_control), "{path}");
    }
}
