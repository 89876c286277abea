//! The way of a request: who asks, what is decided, what is told and logged.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{CREDENTIAL, MASTER, Recorder, Serve, TIMEOUT, command, eventually};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

fn key(key: &str) -> String {
    format!("X-Agent-Key: {key}\r\n")
}

#[test]
fn unauthenticated_requests_get_one_message_and_are_counted_together() {
    let gate = Serve::start("", &["--test-mode"]);
    let mut answers = Vec::new();
    for headers in ["", "X-Agent-Key: ag_0\r\n", "Authorization: Bearer nobody\r\n"] {
        let answer = gate.request("GET", "/proxy/github/user", headers, "");
        assert_eq!(answer.status, 401);
        answers.push(answer.body);
    }
    assert!(answers.iter().all(|body| *body == answers[0]), "{answers:?}");
    assert_eq!(gate.log().len(), 1, "one row a minute and source");
}

#[cfg(unix)]
#[test]
fn unauthenticated_requests_are_counted_and_written_at_shutdown() {
    let mut gate = Serve::start("", &["--test-mode"]);
    for _ in 0..20 {
        assert_eq!(
            gate.request("GET", "/proxy/notion/users", "X-Agent-Key: ag_0\r\n", "").status,
            401
        );
    }
    let metrics = gate.request("GET", "/metrics", "", "").body;
    let counted = "agentgate_requests_total{provider=\"notion\",decision=\"unauthenticated\"} 20\n";
    assert!(metrics.contains(counted), "{metrics}");
    let pid = rustix::process::Pid::from_child(gate.process());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(gate.process().wait().unwrap().success());
    let listed = command(gate.home.path()).args(["audit", "list", "--json"]).output().unwrap();
    let rows = String::from_utf8(listed.stdout).unwrap();
    let rows: Vec<Value> = rows.lines().map(parsed).collect();
    let reasons: Vec<_> = rows.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[1].ends_with("; 19 in the minute before"), "{reasons:?}");
}

#[test]
fn denial_contains_subject_reason_and_row() {
    let gate = Serve::start("", &["--test-mode"]);
    let agent = gate.agent("a", "default");
    let answer = gate.request("DELETE", "/proxy/google/calendars/x/events/1", &key(&agent.key), "");
    assert_eq!(answer.status, 403);
    let body = parsed(&answer.body);
    assert_eq!(body["error"], "access_denied");
    assert_eq!(body["intent"]["type"], "delete");
    assert_eq!((&body["policy"], &body["stage"]), (&json!("default"), &json!("policy")));
    for part in ["reason", "suggestion", "rule", "request_id"] {
        assert!(body[part].as_str().is_some_and(|text| !text.is_empty()), "{part}: {body}");
    }
    let row = &gate.log()[0];
    assert_eq!(row["id"], body["request_id"]);
    assert!(
        answer.head.contains(&format!("x-agentgate-decision: {}", row["id"].as_str().unwrap()))
    );
}

#[test]
fn a_full_window_is_answered_with_when_to_come_back() {
    let gate = Serve::start("", &["--test-mode"]);
    let limited = "name: two\nrules:\n  - {intent: read, effect: allow}\nrate_limit: {requests_per_minute: 2}\n";
    let put = gate.admin("POST", "/policies", &json!({"name": "two", "yaml": limited}).to_string());
    assert_eq!(put.status, 200, "{put:?}");
    let agent = gate.agent("a", "two");
    let get = || gate.request("GET", "/proxy/github/user", &key(&agent.key), "");
    assert_eq!((get().status, get().status), (200, 200));
    let refused = get();
    assert_eq!(refused.status, 429);
    let body = parsed(&refused.body);
    assert_eq!(body["error"], "rate_limited");
    let after = body["retry_after"].as_u64().unwrap();
    assert!((1..=60).contains(&after), "{body}");
    assert!(refused.head.contains(&format!("retry-after: {after}")), "{}", refused.head);
    assert!(refused.head.contains("ratelimit-limit: 2"));
}

#[test]
fn keys_end_when_they_are_rotated_or_deleted_also_from_another_process() {
    let gate = Serve::start("", &["--test-mode"]);
    let agent = gate.agent("a", "default");
    let status = |which: &str| gate.request("GET", "/proxy/github/user", &key(which), "").status;
    assert_eq!(status(&agent.key), 200);
    let rotated = command(gate.home.path())
        .args(["agents", "rotate-key", "a", "--json"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let fresh = parsed(&String::from_utf8(rotated.stdout).unwrap());
    let fresh = fresh["api_key"].as_str().unwrap();
    eventually("the new key is good", || status(fresh) == 200);
    assert_eq!(status(&agent.key), 401);
    let agents = parsed(&gate.admin("GET", "/agents", "").body);
    assert!(!agents.to_string().contains(fresh), "a key is shown once");
    let id = agents[0]["agent_id"].as_str().unwrap().to_owned();
    assert_eq!(gate.admin("DELETE", &format!("/agents/{id}"), "").status, 200);
    assert_eq!(status(fresh), 401);
}

#[test]
fn an_agent_bound_to_a_provider_gets_no_other() {
    let gate = Serve::start("", &["--test-mode"]);
    let made = gate.admin("POST", "/agents", r#"{"name":"a","provider":"github"}"#);
    let agent = parsed(&made.body)["api_key"].as_str().unwrap().to_owned();
    assert_eq!(gate.request("GET", "/proxy/github/user", &key(&agent), "").status, 200);
    let refused = gate.request("GET", "/proxy/slack/users.list", &key(&agent), "");
    assert_eq!(
        (refused.status, &parsed(&refused.body)["error"]),
        (403, &json!("provider_mismatch"))
    );
}

#[test]
fn the_agents_key_stays_here_and_the_credential_goes_there() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let sent = gate.request(
        "POST",
        "/proxy/notion/v1/pages?x=%2F&y",
        &format!("Authorization: Bearer {}\r\nX-Custom: kept\r\nConnection: X-Hop\r\nX-Hop: gone\r\nContent-Type: application/json\r\n", agent.key),
        r#"{ "n": 1.50 }"#,
    );
    assert_eq!(sent.status, 200, "{sent:?}");
    let [arrived] = <[Value; 1]>::try_from(recorder.requests()).unwrap();
    assert_eq!(arrived["target"], "/v1/pages?x=%2F&y");
    assert_eq!(arrived["body"], "eyAibiI6IDEuNTAgfQ==", "byte for byte");
    let text = arrived.to_string();
    assert!(text.contains(CREDENTIAL) && text.contains("kept"));
    assert!(!text.contains(&agent.key) && !text.contains("x-hop"));
    let log = serde_json::to_string(&gate.log()).unwrap();
    assert!(!log.contains(CREDENTIAL) && !log.contains(&agent.key));
}

#[test]
fn misplaced_key_is_refused() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let own = format!("X-Agent-Key: {}\r\n", agent.key);
    let (path, in_query) = ("/proxy/notion/v1/users", format!("?key={}", agent.key));
    let escaped = format!("?key={}", agent.key.replace('_', "%5F"));
    let in_path = format!("/{}", agent.key);
    for (query, header) in [
        ("", format!("Authorization: Bearer\t{}\r\n", agent.key)),
        ("", format!("Cookie: a=b; key={}\r\n", agent.key)),
        (&*in_query, String::new()),
        (&*escaped, String::new()),
        (&*in_path, String::new()),
        ("", format!("{}: a\r\n", agent.key)),
    ] {
        let answer = gate.request("GET", &format!("{path}{query}"), &format!("{own}{header}"), "");
        assert_eq!(answer.status, 400, "{query} {header}: {answer:?}");
        assert!(answer.body.contains("key of the gate") && !answer.body.contains(&agent.key));
    }
    assert!(recorder.requests().is_empty());
    assert!(!serde_json::to_string(&gate.log()).unwrap().contains(&agent.key));
}

/// To a client the gate is one origin for all providers.
#[test]
fn cookies_stay_with_their_provider() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let own = key(&gate.agent("a", "allow_all").key);
    let cookies = "Cookie: a=b\r\nCookie: c=d\r\n";
    let answer = gate.request("GET", "/proxy/notion/v1/cookies", &format!("{own}{cookies}"), "");
    for browsers in ["set-cookie", "alt-svc", "clear-site-data"] {
        assert!(!answer.head.to_ascii_lowercase().contains(browsers), "{answer:?}");
    }
    let next = format!("location: http://{}/proxy/notion/v1/next\r\n", gate.address);
    assert!(answer.head.contains("x-kept: 1\r\n") && answer.head.contains(&next), "{answer:?}");
    assert!(!recorder.requests()[0].to_string().contains("a=b"), "{:?}", recorder.requests());

    recorder.forget();
    let passing =
        format!("providers: {{notion: {{upstream: 'http://127.0.0.1:{}'}}}}", recorder.port);
    let gate = Serve::start(&passing, &[]);
    let own = key(&gate.agent("a", "allow_all").key);
    let own = format!("{own}Authorization: Bearer of-the-client\r\n{cookies}");
    assert_eq!(gate.request("GET", "/proxy/notion/v1/users", &own, "").status, 200);
    assert!(recorder.requests()[0].to_string().contains("a=b; c=d"), "{:?}", recorder.requests());
}

#[test]
fn upstream_failures_are_distinguished() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let configuration = format!(
        "providers:\n  github: {{upstream: 'http://{gone}'}}\n  slack: {{upstream: 'http://{}'}}\n",
        silent.local_addr().unwrap()
    );
    let gate = Serve::start(&configuration, &["--upstream-timeout", "1s"]);
    let key = key(&gate.agent("a", "allow_all").key);
    let refused = gate.request("GET", "/proxy/github/user", &key, "");
    assert_eq!((refused.status, &parsed(&refused.body)["error"]), (502, &json!("proxy_error")));
    assert_eq!(gate.request("GET", "/proxy/slack/users.list", &key, "").status, 504);
    assert_eq!(gate.request("GET", "/proxy/jira/issue/X-1", &key, "").status, 503, "no upstream");
    let unknown = gate.request("GET", "/proxy/gihub/user", &key, "");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("did you mean `github`"), "{}", unknown.body);
}

#[test]
fn without_its_log_the_gate_refuses_and_comes_back_by_itself() {
    let gate = Serve::start("", &["--test-mode"]);
    let key = key(&gate.agent("a", "default").key);
    let status = || gate.request("GET", "/proxy/github/user", &key, "").status;
    assert_eq!(status(), 200);
    let database = gate.home.path().join("agentgate.db");
    let aside = gate.home.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    for entry in std::fs::read_dir(gate.home.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().unwrap().to_string_lossy().starts_with("agentgate.db")
        {
            std::fs::rename(&path, aside.join(path.file_name().unwrap())).unwrap();
        }
    }
    assert!(!database.exists());
    assert_eq!(status(), 503);
    eventually("the gate has a log again", || status() == 200);
}

#[test]
fn the_admin_api_takes_the_master_key_and_nothing_else() {
    let gate = Serve::start("", &["--test-mode"]);
    for target in ["/agents", "/policies", "/audit/logs", "/audit/stats", "/audit/export"] {
        for headers in
            ["", "X-Master-Key: wrong\r\n", &format!("Authorization: Bearer {MASTER}\r\n")]
        {
            assert_eq!(gate.request("GET", target, headers, "").status, 401, "{target}");
        }
        let answer = gate.admin("GET", target, "");
        assert!(matches!(answer.status, 200 | 503), "{target}: {answer:?}");
    }
    for body in ["", "{", "[1]", "{\"name\":1}", "{}"] {
        let answer = gate.admin("POST", "/agents", body);
        assert!(matches!(answer.status, 400 | 422), "{body}: {answer:?}");
        parsed(&answer.body);
    }
    let bad = json!({"name": "../x", "yaml": "name: x\nrules: []\n"}).to_string();
    assert_eq!(gate.admin("POST", "/policies", &bad).status, 422);
    let bad = json!({"name": "x", "yaml": "rules: nonsense"}).to_string();
    assert_eq!(gate.admin("POST", "/policies", &bad).status, 422);
}

#[test]
fn a_weak_master_key_guards_no_more_than_this_machine() {
    let home = tempfile::tempdir().unwrap();
    let output = command(home.path())
        .env("AGENTGATE_MASTER_KEY", "ag_dev_change_me_in_production")
        .args(["serve", "--listen", "0.0.0.0:0", "--test-mode"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("master key"));
}

#[cfg(unix)]
#[test]
fn shutdown_finishes_requests_in_flight_and_exits() {
    let mut gate = Serve::start("", &["--test-mode"]);
    let pid = rustix::process::Pid::from_child(gate.process());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let began = Instant::now();
    let mut ended = None;
    eventually("it is gone", || {
        ended = gate.process().try_wait().unwrap();
        ended.is_some()
    });
    assert!(began.elapsed() < TIMEOUT);
    assert_eq!(ended.unwrap().code(), Some(0));
}

/// What was judged is what arrives, whatever the method.
#[test]
fn the_body_of_a_get_arrives_though_its_length_is_open() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    for kind in ["application/octet-stream", "application/json"] {
        recorder.forget();
        let request = format!(
            "GET /proxy/github/x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}\
             Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             7\r\n{{\"a\":1}}\r\n0\r\nX-Sum: 1\r\n\r\n",
            gate.address,
            key(&agent.key)
        );
        assert_eq!(gate.raw(request.as_bytes()).status, 200);
        // {"a":1} in base64.
        assert_eq!(recorder.requests()[0]["body"], "eyJhIjoxfQ==", "{kind}");
    }
}

/// An upstream whose answers begin, and go on with `rest`; with nothing, they stay open.
fn beginning_an_answer(rest: Option<&'static str>) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            match rest {
                Some(rest) => drop(stream.write_all(rest.as_bytes())),
                None => open.push(stream),
            }
        }
    });
    address
}

/// An answer that cannot be read to its end is an error in the log as well.
#[test]
fn an_answer_that_breaks_off_is_logged_as_it_was_answered() {
    let upstream = beginning_an_answer(Some("{"));
    let gate =
        Serve::start(&format!("providers: {{slack: {{upstream: 'http://{upstream}'}}}}"), &[]);
    let agent = gate.agent("a", "allow_all");
    let answer = gate.request("GET", "/proxy/slack/api/users.list", &key(&agent.key), "");
    assert_eq!(answer.status, 502, "{answer:?}");
    eventually("the row says so", || gate.log()[0]["outcome"] == "error");
}

/// An answer that is the gate's is not taken for the provider's.
#[test]
fn an_answer_that_the_gate_does_not_pass_on_is_logged_as_its_own() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let gate =
        Serve::start(&format!("providers: {{slack: {{upstream: 'http://{upstream}'}}}}"), &[]);
    let agent = gate.agent("a", "allow_all");
    let answer = gate.request("GET", "/proxy/slack/api/users.list", &key(&agent.key), "");
    assert_eq!(answer.status, 502, "{answer:?}");
    eventually("the row says so", || gate.log()[0]["outcome"] == "error");
    let status = gate.log()[0]["status"].to_string();
    assert!(status.contains("the gate answered 502: the provider encoded"), "{status}");
}

#[test]
fn answer_to_a_disconnected_client_is_logged_with_its_status() {
    let upstream = beginning_an_answer(None);
    let gate =
        Serve::start(&format!("providers: {{slack: {{upstream: 'http://{upstream}'}}}}"), &[]);
    let agent = gate.agent("a", "allow_all");
    let request = format!(
        "GET /proxy/slack/api/users.list HTTP/1.1\r\nHost: {}\r\n{}\r\n",
        gate.address,
        key(&agent.key)
    );
    // Again where the client was gone before the gate had seen the answer's head.
    eventually("a row says so", || {
        let rows = gate.log().len();
        let mut client = std::net::TcpStream::connect(gate.address).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        eventually("it is under way", || gate.log().len() > rows);
        drop(client);
        gate.log().iter().any(|row| row["status"] == "200")
    });
}
