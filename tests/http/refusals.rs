//! What a listening gate refuses, and that it says so.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{
    Answer, Gate, Server, agentgate, call, eventually, exchange, initialize, installed, over_pipes,
    stateless_call, whole,
};

const JSON: &str =
    "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

/// A gate in front of a URL where nobody listens: what arrives there would be
/// answered with 502.
fn in_front_of_nothing(arguments: &[&str]) -> Gate {
    Gate::listen(arguments, &["http://127.0.0.1:9/mcp".into()])
}

#[test]
fn invalid_requests_are_not_forwarded() {
    let gate = in_front_of_nothing(&["--policy", "allow_all", "--max-message", "1KiB"]);
    let body = call(1, "x", json!({})).to_string();
    let host = |host: &str| {
        let whole = String::from_utf8(whole(gate.address, "POST", "/mcp", JSON, &body)).unwrap();
        let own = format!("Host: {}\r\n", gate.address);
        exchange(gate.address, whole.replace(&own, host).as_bytes())
    };
    let absolute =
        |target: &str| exchange(gate.address, &whole(gate.address, "POST", target, JSON, &body));
    let old = |host: &str| {
        let length = body.len();
        let head = format!("POST /mcp HTTP/1.0\r\n{host}{JSON}Content-Length: {length}\r\n\r\n");
        exchange(gate.address, format!("{head}{body}").as_bytes())
    };
    let long = call(1, "x", json!({"text": "x".repeat(2_000)})).to_string();
    let with = |headers: &str| gate.request("POST", headers, &body);
    let chunked = |rest: &str| {
        let head = format!("POST /mcp HTTP/1.1\r\nHost: {}\r\n{JSON}", gate.address);
        exchange(
            gate.address,
            format!("{head}Connection: close\r\nTransfer-Encoding: chunked\r\n{rest}").as_bytes(),
        )
    };
    let cases: Vec<(&str, Answer, &[u16])> = vec![
        ("another host", host("Host: evil.example\r\n"), &[403]),
        ("another host, our port", host("Host: evil.example:80\r\n"), &[403]),
        ("no host", host(""), &[400, 403]),
        ("two hosts", host(&format!("Host: {0}\r\nHost: {0}\r\n", gate.address)), &[400]),
        ("a page", with(&format!("{JSON}Origin: https://evil.example\r\n")), &[403]),
        ("a file", with(&format!("{JSON}Origin: null\r\n")), &[403]),
        ("no type", with(""), &[415]),
        ("a form", with("Content-Type: application/x-www-form-urlencoded\r\n"), &[415]),
        ("plain text", with("Content-Type: text/plain\r\n"), &[415]),
        ("two types", with(&format!("{JSON}Content-Type: text/plain\r\n")), &[415]),
        ("another alphabet", with("Content-Type: application/json; charset=utf-7\r\n"), &[415]),
        (
            "packed at the second look",
            with(&format!("{JSON}Content-Encoding: identity\r\nContent-Encoding: gzip\r\n")),
            &[415],
        ),
        (
            "two sessions",
            with(&format!("{JSON}Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n")),
            &[400],
        ),
        ("a session that is none", with(&format!("{JSON}Mcp-Session-Id: a b\r\n")), &[400]),
        (
            "two revisions",
            with(&format!(
                "{JSON}MCP-Protocol-Version: 2025-06-18\r\nMCP-Protocol-Version: 2026-07-28\r\n"
            )),
            &[400],
        ),
        (
            "two credentials",
            with(&format!("{JSON}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n")),
            &[400],
        ),
        (
            "a page among others",
            with(&format!("{JSON}Origin: http://localhost\r\nOrigin: https://evil.example\r\n")),
            &[403],
        ),
        ("another place", with(&format!("{JSON}X-Original-URL: /admin\r\n")), &[400]),
        ("another method by a header", with(&format!("{JSON}X-HTTP-Method: GET\r\n")), &[400]),
        ("a session in disguise", with(&format!("{JSON}Mcp_Session_Id: a\r\n")), &[400]),
        ("a name in disguise", with(&format!("{JSON}MCP_Name: x\r\n")), &[400]),
        ("a key in disguise", with(&format!("{JSON}X-Agent_Key: x\r\n")), &[400]),
        ("a session for one hop", with(&format!("{JSON}Connection: mcp-session-id\r\n")), &[400]),
        ("a type for one hop", with(&format!("{JSON}Connection: TE, Content-Type\r\n")), &[400]),
        ("another host in the request line", absolute("http://evil.example/mcp"), &[400]),
        ("a query", absolute("/mcp?read_only=true"), &[400]),
        ("an old client without a host", old(""), &[403]),
        ("packed", with(&format!("{JSON}Content-Encoding: gzip\r\n")), &[415]),
        ("too long", gate.request("POST", JSON, &long), &[413]),
        ("another method", gate.request("PUT", JSON, &body), &[405]),
        ("two lengths", chunked("Content-Length: 5\r\n\r\n0\r\n\r\n"), &[400]),
        ("nonsense in chunks", chunked("\r\nzz\r\nno\r\n0\r\n\r\n"), &[400]),
        ("half a chunk", chunked("\r\nffffffffffffffffff\r\n"), &[400]),
    ];
    for (what, answer, statuses) in cases {
        assert!(statuses.contains(&answer.status), "{what}: {answer:?}");
        assert!(!answer.body.contains("reached"), "{what}: {answer:?}");
    }
    let rows = gate.log();
    let strangers = rows.iter().filter(|row| row["agent"] == "unidentified").count();
    assert_eq!(strangers, 1, "whoever knocks at the wrong door shares a row: {rows:?}");
    let (of_agent, refused) = (rows.len() - strangers, |row: &Value| row["decision"] == "deny");
    assert!(of_agent >= 12 && rows.iter().all(refused), "each of the others has one: {rows:?}");
    for target in ["/elsewhere", "/", "/mcp/", "/mcp2", "/.well-known/oauth-protected-resource"] {
        let elsewhere = exchange(gate.address, &whole(gate.address, "POST", target, JSON, &body));
        let row = elsewhere.header("x-agentgate-decision");
        assert_eq!((elsewhere.status, row.is_some()), (404, true), "{target}");
    }
    assert!(gate.log().len() <= rows.len() + 1, "they are at the wrong door, too");
    let own = format!("http://{}/mcp", gate.address);
    assert_eq!(absolute(&own).status, 502, "named twice, and the same");
    assert_eq!(absolute("/mcp?sessionId=1").status, 502, "as clients of HTTP+SSE append it");
    assert_eq!(old(&format!("Host: {}\r\n", gate.address)).status, 502, "old, and right");
    assert_eq!(with(JSON).status, 502, "what is right gets as far as the server");
}

#[test]
fn headers_that_contradict_the_message_are_refused_and_logged() {
    let gate = in_front_of_nothing(&[]);
    let (headers, message) = stateless_call(1, "remove", json!({}));
    for forged in [
        headers.replace("Mcp-Name: remove", "Mcp-Name: look"),
        headers.replace("Mcp-Method: tools/call", "Mcp-Method: tools/list"),
        headers.replace("Mcp-Name: remove", "Mcp-Name: remove\r\nMcp-Name: look"),
        headers.replace("Mcp-Name: remove\r\n", ""),
        headers.replace("2026-07-28", "2027-01-01"),
        "Mcp-Name: look\r\n".to_owned(),
    ] {
        let answer = gate.post(&forged, &message);
        assert_eq!(answer.status, 400, "{forged}: {answer:?}");
        assert_eq!(answer.message()["error"]["code"], -32_020, "{forged}");
        assert_eq!(answer.message()["id"], 1);
    }
    let rows = gate.log();
    assert_eq!(rows.len(), 6, "{rows:?}");
    assert!(rows.iter().all(|row| row["decision"] == "deny"), "{rows:?}");
}

/// The frames that parsers read differently, over HTTP.
#[test]
fn ambiguous_messages_are_refused() {
    let Some(installed) = installed() else { return };
    let gate = Gate::listen(&["--policy", "allow_all"], &over_pipes(&installed));
    let session = format!("{JSON}Mcp-Session-Id: {}\r\n", gate.session(""));
    for message in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","name":"remove_everything"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping","params":{"name":"remove_everything"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"Method":"tools/call","method":"ping","params":{"name":"remove_everything"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"remove_everything","arguments":[1]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"remove_everything"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"remove_everything"}}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"remove_everything"}}]"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\\u0000\",\"params\":{\"name\":\"remove_everything\"}}",
        "not json",
        "",
    ] {
        let answer = gate.request("POST", &session, message);
        assert!(!answer.body.contains("removed"), "{message}: {answer:?}");
        assert!(matches!(answer.status, 200 | 202 | 400), "{message}: {answer:?}");
    }
    let allowed = |row: &&Value| row["decision"] == "allow";
    assert_eq!(gate.log().iter().filter(allowed).count(), 0, "{:?}", gate.log());
}

#[test]
fn a_denial_is_a_result_that_a_model_can_read() {
    let Some(installed) = installed() else { return };
    let server = Server::start(&installed);
    for target in [over_pipes(&installed), vec![server.url.clone().into()]] {
        let gate = Gate::listen(&[], &target);
        let session = format!("Mcp-Session-Id: {}\r\n", gate.session(""));
        let denied = gate.post(&session, &call(7, "remove_everything", json!({})));
        assert_eq!(denied.status, 200, "{denied:?}");
        let message = denied.message();
        assert_eq!((&message["id"], &message["result"]["isError"]), (&json!(7), &json!(true)));
        assert!(!denied.body.contains("removed"));
        let allowed = gate.post(&session, &call(8, "test_simple_text", json!({})));
        assert_eq!(allowed.message()["id"], 8);

        let (headers, message) = stateless_call(9, "remove_everything", json!({}));
        let denied = gate.post(&headers, &message).message();
        assert_eq!(denied["result"]["resultType"], "complete", "{denied}");
        assert_eq!(denied["result"]["isError"], true);
        let decisions: Vec<_> = gate.log().iter().map(|row| row["decision"].clone()).collect();
        assert_eq!(decisions, ["ask", "allow", "ask"]);
    }
}

#[test]
fn sessions_that_are_not_there_or_not_yours_are_not_found() {
    let Some(installed) = installed() else { return };
    let server = Server::start(&installed);
    for target in [over_pipes(&installed), vec![server.url.clone().into()]] {
        let gate = Gate::listen(&["--policy", "allow_all"], &target);
        let mine = "Authorization: Bearer mine\r\n";
        let session = gate.session(mine);
        let look = call(1, "test_simple_text", json!({}));
        let ask = |headers: &str, session: &str| {
            gate.post(&format!("{headers}Mcp-Session-Id: {session}\r\n"), &look).status
        };
        assert_eq!(ask(mine, &session), 200);
        let other = gate
            .post(&format!("Authorization: Bearer other\r\nMcp-Session-Id: {session}\r\n"), &look);
        assert_eq!(other.status, 404, "{other:?}");
        assert_eq!(ask("", &session), 404);
        assert_eq!(ask(mine, "00000000-0000-4000-8000-000000000000"), 404);
        let theirs = format!("Authorization: Bearer other\r\nMcp-Session-Id: {session}\r\n");
        assert_eq!(gate.request("GET", &theirs, "").status, 404);
        assert_eq!(gate.request("DELETE", &theirs, "").status, 404);
        assert_eq!(ask(mine, &session), 200, "nobody else has ended it");
        let mine_and_session = format!("{mine}Mcp-Session-Id: {session}\r\n");
        assert!(gate.request("DELETE", &mine_and_session, "").status < 300);
        assert_eq!(ask(mine, &session), 404, "it is over");
    }
}

#[test]
fn required_token_is_checked_and_not_forwarded() {
    let home = tempfile::tempdir().unwrap();
    let refused = agentgate(home.path())
        .args(["wrap", "--listen", "0.0.0.0:0", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--token-env"), "{refused:?}");

    let upstream = crate::support::scripted::Scripted::start(|_| {
        crate::support::scripted::json_answer(&json!({"jsonrpc": "2.0", "id": 0, "result": {}}))
    });
    let gate = Gate::listen_with(
        &["--token-env", "THE_TOKEN"],
        &[upstream.url.clone().into()],
        |command| {
            command.env("THE_TOKEN", "the token of this listener");
        },
    );
    for wrong in ["", "Authorization: Bearer no\r\n", "Authorization: Basic the token\r\n"] {
        assert_eq!(gate.post(wrong, &initialize()).status, 401);
    }
    let right = "Authorization: Bearer the token of this listener\r\n";
    assert_eq!(gate.post(right, &initialize()).status, 200);
    let seen = upstream.requests().join("\n");
    assert!(seen.contains("initialize") && !seen.contains("the token"), "{seen}");
    let row_and_head = format!("{:?}", gate.log());
    assert!(!row_and_head.contains("the token"), "{row_and_head}");
}

/// HTTP/2 has no `Host`: `:authority` says who is spoken to.
#[test]
fn authority_is_the_host_of_http_2() {
    use http_body_util::{BodyExt as _, Full};
    let gate = in_front_of_nothing(&["--policy", "allow_all"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = |authority: String| {
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(gate.address).await.unwrap();
            let (executor, io) =
                (hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioIo::new(stream));
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(executor, io).await.unwrap();
            tokio::spawn(connection);
            let body = Full::new(bytes::Bytes::from(call(1, "x", json!({})).to_string()));
            let request = http::Request::post(format!("http://{authority}/mcp"))
                .header("content-type", "application/json")
                .body(body)
                .unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status().as_u16();
            let _ = answer.into_body().collect().await;
            status
        })
    };
    assert_eq!(ask(gate.address.to_string()), 502, "it gets as far as the server");
    assert_eq!(ask("evil.example".to_owned()), 403);
    assert_eq!(ask("127.0.0.1.evil.example:80".to_owned()), 403);
}

/// A flood of those whom nobody knows costs a row, not one each.
#[test]
fn unauthenticated_requests_cannot_flood_the_log() {
    let gate = Gate::listen_with(
        &["--token-env", "TOKEN"],
        &["http://127.0.0.1:9/mcp".into()],
        |command| {
            command.env("TOKEN", "a token");
        },
    );
    let mut rows = std::collections::HashSet::new();
    for n in 0..50 {
        let answer = gate.post(&format!("Authorization: Bearer {n}\r\n"), &initialize());
        assert_eq!(answer.status, 401);
        rows.insert(answer.header("x-agentgate-decision").map(str::to_owned));
    }
    let logged = gate.log().len();
    assert!(logged <= 2 && rows.len() <= 3, "{logged} rows, {rows:?}");
}

#[test]
fn sessions_of_others_leave_a_row() {
    let upstream = crate::support::scripted::Scripted::start(|request| {
        let headers = "Content-Type: application/json\r\nMcp-Session-Id: theirs\r\n";
        let message = crate::support::scripted::message_of(request);
        let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": {}}).to_string();
        crate::support::scripted::whole_answer("200 OK", headers, &body)
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    gate.post("Authorization: Bearer one\r\n", &initialize());
    let other = "Authorization: Bearer two\r\nMcp-Session-Id: theirs\r\n";
    let before = upstream.requests().len();
    for method in ["GET", "DELETE"] {
        let answer = gate.request(method, other, "");
        assert_eq!((answer.status, answer.header("x-agentgate-decision").is_some()), (404, true));
    }
    assert_eq!(gate.post(other, &call(1, "x", json!({}))).status, 404);
    assert_eq!(upstream.requests().len(), before, "nothing arrived");
    let rows = gate.log();
    assert_eq!(rows.iter().filter(|row| row["decision"] == "deny").count(), 3, "{rows:?}");
}

/// Whatever is refused of a known sender's is in the log, and its answer says where.
#[test]
fn requests_that_fit_no_session_leave_a_row() {
    let Some(installed) = installed() else { return };
    let gate = Gate::listen(&["--policy", "allow_all"], &over_pipes(&installed));
    let session = format!("{JSON}Mcp-Session-Id: {}\r\n", gate.session(""));
    let before = gate.log().len();
    // It answers when it is cancelled, or long after this test.
    let waits = call(7, "wait", json!({"seconds": 600})).to_string();
    let mut first = TcpStream::connect(gate.address).unwrap();
    first.write_all(&whole(gate.address, "POST", "/mcp", &session, &waits)).unwrap();
    let allowed = || gate.log().iter().filter(|row| row["decision"] == "allow").count();
    eventually("it is under way", || allowed() == 1);
    let (headers, message) = stateless_call(1, "wait", json!({}));
    let batch = format!("[{message}]");
    let cases: Vec<(&str, Answer, u16)> = vec![
        ("an id that is under way", gate.request("POST", &session, &waits), 409),
        ("no session", gate.request("POST", JSON, &waits), 400),
        ("no session to listen to", gate.request("GET", "", ""), 405),
        ("no session to end", gate.request("DELETE", "", ""), 405),
        (
            "a batch for a shared child",
            gate.request("POST", &format!("{JSON}{headers}"), &batch),
            400,
        ),
    ];
    for (what, answer, status) in &cases {
        assert_eq!(answer.status, *status, "{what}: {answer:?}");
        assert!(answer.header("x-agentgate-decision").is_some(), "{what}: {answer:?}");
    }
    let rows = gate.log();
    let refused: Vec<&Value> = rows.iter().filter(|row| row["decision"] == "deny").collect();
    assert_eq!((refused.len(), rows.len()), (cases.len(), before + cases.len() + 1), "{rows:?}");
}

/// It is answered before its body is read, and a client that sends all of it first
/// reads the answer.
#[test]
fn a_message_that_is_far_too_long_is_answered() {
    const LENGTH: usize = 20 << 20;
    let gate = in_front_of_nothing(&["--policy", "allow_all", "--max-message", "1MiB"]);
    let asked = [("/mcp", JSON, "413"), ("/mcp", "", "415"), ("/elsewhere", JSON, "404")];
    for (target, headers, status) in asked {
        for framing in [
            format!("Content-Length: {LENGTH}\r\n\r\n"),
            "Transfer-Encoding: chunked\r\n\r\n1400000\r\n".to_owned(),
        ] {
            let mut stream = TcpStream::connect(gate.address).unwrap();
            let head = format!("POST {target} HTTP/1.1\r\nHost: {}\r\n{headers}", gate.address);
            stream.write_all(format!("{head}{framing}").as_bytes()).unwrap();
            stream.write_all(&vec![b' '; LENGTH]).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        }
    }
}
