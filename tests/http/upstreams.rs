//! Servers that misbehave: the client is told what happened, nothing hangs, the
//! row in the log is complete, and no credential goes to another host.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::pipes::Pipes;
use crate::support::scripted::{
    STREAM, Scripted, answer, json_answer, message_of, result, usual, whole_answer,
};
use crate::support::{Gate, agentgate, call, eventually, initialize};

/// Answers the handshake and the list; `call` says what comes of a call.
fn server(call: fn() -> Vec<u8>) -> Scripted {
    Scripted::start(move |request| usual(request).unwrap_or_else(call))
}

/// A name, what is answered, and words of what the client is told.
type Fault = (&'static str, fn() -> Vec<u8>, &'static str);

const FAULTS: [Fault; 18] = [
    ("a page", || answer("text/html", "<html>Sign in</html>"), "text/html"),
    ("nothing", || answer("application/json", ""), "none to this request"),
    ("nothing of no type", || whole_answer("200 OK", "", ""), "nothing, not with a message"),
    ("no JSON", || answer("application/json", "<html>"), "none to this request: <html>"),
    ("an answer to somebody else", || json_answer(&result(&json!(7), "x")), "none to this request"),
    (
        "an answer to nobody",
        || {
            json_answer(
                &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -1, "message": "who?"}}),
            )
        },
        "who?",
    ),
    ("no answer", || whole_answer("202 Accepted", "", ""), "did not answer it"),
    (
        "a redirect",
        || whole_answer("307 Temporary Redirect", "Location: http://127.0.0.2:9/mcp\r\n", ""),
        "redirect",
    ),
    ("a connection that closes", Vec::new, "could not be reached"),
    (
        "half an answer",
        || {
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\nConnection: close\r\n\r\n{\"jsonrpc\""
                .to_vec()
        },
        "broke off",
    ),
    (
        "half an answer in chunks",
        || {
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n9\r\n{\"jsonrpc\r\nzz\r\n"
                .to_vec()
        },
        "broke off",
    ),
    (
        "a stream that ends too soon",
        || {
            answer(
                "text/event-stream",
                ": hello\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n",
            )
        },
        "ended without an answer",
    ),
    (
        "a stream that breaks in the middle of an event",
        || {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n10\r\ndata: {\"jsonrpc\"\r\n"
                .to_vec()
        },
        "broke off",
    ),
    (
        "a stream with an answer to somebody else",
        || answer("text/event-stream", &format!("data: {}\n\n", result(&json!(7), "x"))),
        "ended without an answer",
    ),
    (
        "an event that is too large",
        || [STREAM, b"data: ", &[b'x'; 100_000]].concat(),
        "larger than",
    ),
    (
        "an answer that nobody asked to be packed",
        || {
            let packed = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
            whole_answer("200 OK", packed, "\u{1f}x")
        },
        "gzip",
    ),
    (
        "an error of its own",
        || {
            whole_answer(
                "500 Internal Server Error",
                "Content-Type: text/html\r\n",
                "<h1>oops</h1>",
            )
        },
        "oops",
    ),
    (
        "too many",
        || {
            whole_answer(
                "429 Too Many Requests",
                "Retry-After: 17\r\nContent-Type: text/plain\r\n",
                "slow down",
            )
        },
        "slow down",
    ),
];

#[test]
fn a_client_over_pipes_gets_an_error_for_each_fault() {
    for (what, fault, says) in FAULTS {
        let upstream = server(fault);
        let arguments = ["--bearer-env", "SECRET", "--max-message", "64KiB"];
        let mut pipes = Pipes::start_with(&arguments, &upstream.url, |command| {
            command.env("SECRET", "a-secret-token");
        });
        pipes.handshake();
        pipes.send(&call(1, "look", json!({})));
        let answer = pipes.answer(&json!(1));
        assert!(answer["error"].is_object(), "{what}: {answer}");
        assert!(answer.to_string().contains(says), "{what}: {answer}");
        assert!(!answer.to_string().contains("a-secret-token"), "{what}: {answer}");
        if what == "too many" {
            assert!(answer.to_string().contains("after 17"), "{answer}");
        }
        pipes.hang_up();
        assert!(pipes.wait().success(), "{what}");
        assert!(upstream.requests().iter().all(|request| request.contains("a-secret-token")));
        let rows = pipes.log();
        assert_eq!((rows.len(), &rows[0]["outcome"]), (1, &json!("error")), "{what}: {rows:?}");
    }
}

#[test]
fn a_client_over_http_gets_an_answer_for_each_fault() {
    for (what, fault, says) in FAULTS {
        let upstream = server(fault);
        let arguments = ["--policy", "allow_all", "--max-message", "64KiB"];
        let gate = Gate::listen(&arguments, &[upstream.url.clone().into()]);
        let answer = gate.post("", &call(1, "look", json!({})));
        let passed = matches!(answer.status, 429 | 500);
        if !passed {
            let message = answer.message();
            assert_eq!(message["id"], 1, "{what}: {answer:?}");
            assert!(message["error"]["message"].is_string(), "{what}: {answer:?}");
        }
        assert!(answer.body.contains(says), "{what}: {answer:?}");
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), Some("17"));
        }
        // The result is added to its row when it comes, and nobody waits for that.
        let is_complete = |rows: &Vec<Value>| rows[0]["outcome"] == "error" && rows.len() == 1;
        eventually(&format!("a complete row: {what}"), || Some(gate.log()).filter(is_complete));
    }
}

#[test]
fn the_first_of_two_results_counts() {
    let upstream = server(|| {
        let (first, second) = (result(&json!(1), "first"), result(&json!(1), "second"));
        answer("text/event-stream", &format!("data: {first}\n\ndata: {second}\n\n"))
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let messages = gate.post("", &call(1, "look", json!({}))).messages();
    assert_eq!(messages, [result(&json!(1), "first")]);
    eventually("the row is complete", || gate.log()[0]["status"] == "ok");

    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", json!({})));
    assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "first"));
    pipes.hang_up();
    assert_eq!(pipes.next(), None, "and nothing after it");
}

#[test]
fn the_first_of_two_results_in_one_body_counts() {
    let upstream = server(|| {
        let (first, second) = (result(&json!(1), "first"), result(&json!(1), "second"));
        json_answer(&json!([first, result(&json!(7), "other"), second]))
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let passed = gate.post("", &call(1, "look", json!({}))).message();
    assert_eq!(passed, json!([result(&json!(1), "first"), result(&json!(7), "other")]));
}

/// Unless it resumes another, when the gate may not know what was asked.
#[test]
fn a_second_result_does_not_come_by_the_stream_that_listens() {
    let news = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}});
    let events = format!("data: {}\n\ndata: {news}\n\n", result(&json!(1), "second"));
    let upstream = Scripted::start(move |request| match request.starts_with("GET") {
        true => answer("text/event-stream", &events),
        false => usual(request).unwrap_or_else(|| json_answer(&result(&json!(1), "first"))),
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    assert_eq!(gate.post("", &call(1, "look", json!({}))).message(), result(&json!(1), "first"));
    let listen = |headers| gate.request("GET", headers, "").messages();
    assert_eq!(listen("Accept: text/event-stream\r\n"), std::slice::from_ref(&news));
    let resumed = listen("Accept: text/event-stream\r\nLast-Event-ID: 1\r\n");
    assert_eq!(resumed, [result(&json!(1), "second"), news]);
}

/// As some write it, PowerShell among them.
#[test]
fn a_body_may_have_line_ends_of_two_characters() {
    let upstream = server(|| json_answer(&result(&json!(1), "done")));
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let body = serde_json::to_string_pretty(&call(1, "look", json!({"a": 1}))).unwrap();
    let body = body.replace('\n', "\r\n");
    let answer = gate.post_text("", &body);
    assert_eq!(answer.message(), result(&json!(1), "done"));
    assert!(upstream.requests().iter().any(|request| request.ends_with(&body)), "byte for byte");
}

/// The gate asks for the list of tools first: what it asked took the room of the call
/// that waited for the answer.
#[test]
fn a_first_call_may_be_large() {
    let upstream = server(|| json_answer(&result(&json!(1), "done")));
    let large = json!({"text": "y".repeat(5 << 20)});
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let answer = gate.post("", &call(1, "look", large.clone()));
    assert_eq!(answer.message(), result(&json!(1), "done"));

    let mut pipes = Pipes::open(&[], &upstream.url);
    pipes.send(&call(1, "look", large));
    assert_eq!(pipes.answer(&json!(1)), result(&json!(1), "done"));
}

/// Comments, ids, pauses and unknown fields of a stream, line ends and all.
#[test]
fn events_pass_as_they_came() {
    const EVENTS: &str = ": a comment\r\n\r\nid: 7\nretry: 1500\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\ndata:  \"method\":\"notifications/message\",\"params\":{}}\n\nnew: field\nevent: other\ndata: not json\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[],\"x\":1.50}}\n\n: bye\n\n";
    let upstream = server(|| answer("text/event-stream", EVENTS));
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let passed = gate.post("", &call(1, "look", json!({})));
    assert_eq!(passed.body, EVENTS);
}

/// A client that does not read holds up the server: the gate does not take in
/// what nobody takes from it.
#[test]
fn back_pressure_reaches_the_server() {
    const EVENT: usize = 64 << 10;
    const EVENTS: usize = 2_000;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let upstream = Scripted::serving(move |request, stream| {
        if let Some(usual) = usual(request) {
            return stream.write_all(&usual).is_ok();
        }
        stream.write_all(STREAM).unwrap();
        let note = json!({"jsonrpc": "2.0", "method": "notifications/message",
                          "params": {"level": "info", "data": "x".repeat(EVENT)}});
        let event = format!("data: {note}\n\n");
        for _ in 0..EVENTS {
            if stream.write_all(event.as_bytes()).is_err() {
                return false;
            }
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let _ = stream.write_all(format!("data: {}\n\n", result(&json!(1), "last")).as_bytes());
        false
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let headers =
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
    let body = call(1, "look", json!({})).to_string();
    let mut client = std::net::TcpStream::connect(gate.address).unwrap();
    let request = crate::support::whole(gate.address, "POST", "/mcp", headers, &body);
    client.write_all(&request).unwrap();
    // It comes to rest far from the end: what is under way fits into buffers.
    let mut before = usize::MAX;
    let rest = eventually("the server is held up", || {
        let now = sent.load(Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let came_to_rest = now > 0 && now == std::mem::replace(&mut before, now);
        came_to_rest.then_some(now)
    });
    assert!(rest < EVENTS / 2, "the gate took in {rest} events");
    // And nothing is lost once it is read.
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(sent.load(Ordering::Relaxed), EVENTS);
    let text = String::from_utf8_lossy(&all);
    assert_eq!(text.matches("notifications/message").count(), EVENTS);
    assert!(text.contains("\"last\""));
}

#[test]
fn unreachable_server_is_reported() {
    let gate = Gate::listen(&["--policy", "allow_all"], &["http://127.0.0.1:9/mcp".into()]);
    let answer = gate.post("", &call(3, "look", json!({})));
    assert_eq!((answer.status, &answer.message()["id"]), (502, &json!(3)));
    assert!(answer.body.contains("could not be reached"), "{answer:?}");
}

/// Whoever is redirected to gets nothing, least of all a credential.
#[test]
fn nothing_follows_a_redirect() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = elsewhere.local_addr().unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let upstream = Scripted::start(move |_| {
            whole_answer(status, &format!("Location: http://{place}/mcp\r\n"), "")
        });
        let mut pipes = Pipes::start_with(&["--bearer-env", "SECRET"], &upstream.url, |command| {
            command.env("SECRET", "a-secret-token");
        });
        pipes.send(&initialize());
        let answer = pipes.answer(&json!(0));
        assert!(answer.to_string().contains("redirect"), "{answer}");
        pipes.hang_up();
        assert!(pipes.wait().success());
        assert!(elsewhere.accept().is_err(), "{status}");
    }
}

/// An HTTP+SSE server names the endpoint itself: on its own host, or not at all.
#[test]
fn an_endpoint_on_another_host_gets_nothing() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = elsewhere.local_addr().unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let upstream = Scripted::serving(move |request, stream| {
        if request.starts_with("POST") {
            return stream.write_all(&whole_answer("405 Method Not Allowed", "", "")).is_ok();
        }
        let event = format!("event: endpoint\ndata: http://{place}/messages\n\n");
        stream.write_all(STREAM).unwrap();
        stream.write_all(event.as_bytes()).unwrap();
        false
    });
    let mut pipes = Pipes::start_with(&["--bearer-env", "SECRET"], &upstream.url, |command| {
        command.env("SECRET", "a-secret-token");
    });
    pipes.send(&initialize());
    let answer = pipes.answer(&json!(0));
    assert!(answer["error"].is_object(), "{answer}");
    pipes.hang_up();
    pipes.wait();
    assert!(elsewhere.accept().is_err());
}

/// What the configuration says of a server goes to its URL and to no other, and what is
/// typed comes before it.
#[test]
fn a_server_of_the_configuration_has_its_name_and_its_headers() {
    let done = || {
        Scripted::start(|request| {
            let message = message_of(request);
            usual(request).unwrap_or_else(|| json_answer(&result(&message["id"], "done")))
        })
    };
    let (upstream, other) = (done(), done());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let config = json!({"servers": {"tracker": {
        "url": upstream.url, "credential": {"env": "TRACKER"}, "headers": {"X-Team": {"env": "TEAM"}}}}});
    std::fs::write(&file, config.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let name_of = |url: &str, typed: &[&str], team: Option<&str>| {
        let arguments = [&["--config", file], typed].concat();
        let mut pipes = Pipes::start_with(&arguments, url, |command| {
            command.env("TRACKER", "a-secret").env("OTHER", "another");
            team.map(|team| command.env("TEAM", team));
        });
        pipes.handshake();
        pipes.send(&call(1, "look", json!({})));
        assert!(pipes.answer(&json!(1))["result"].is_object());
        pipes.log()[0]["server"].as_str().unwrap().to_owned()
    };
    let sent = |upstream: &Scripted| upstream.requests().join("\n").to_lowercase();

    assert_eq!(name_of(&upstream.url, &[], Some("blue")), "tracker");
    let requests = sent(&upstream);
    assert!(requests.contains("authorization: bearer a-secret"), "{requests}");
    assert!(requests.contains("x-team: blue"), "{requests}");

    let typed = ["--bearer-env", "OTHER", "--header", "X-Team: red"];
    assert_eq!(name_of(&upstream.url, &typed, None), "tracker");
    let requests = sent(&upstream);
    assert!(requests.contains("authorization: bearer another"), "{requests}");
    assert!(requests.contains("x-team: red"), "{requests}");

    let mut bare = agentgate(folder.path());
    let output = bare.args(["wrap", "--config", file, &upstream.url]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("config.yaml:1:") && said.contains("TRACKER is not set"), "{said}");

    // A name alone is not enough: the address is somebody else's.
    assert_eq!(name_of(&other.url, &["--name", "tracker"], Some("blue")), "tracker");
    assert_eq!(name_of(&other.url, &[], Some("blue")), "127.0.0.1");
    let requests = sent(&other);
    assert!(!requests.contains("a-secret") && !requests.contains("x-team"), "{requests}");
}

#[test]
fn plain_http_goes_to_this_machine_only() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = agentgate(home.path()).arg("wrap").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&["http://mcp.example.com/mcp"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--allow-http"), "{said}");
    let (code, said) = run(&["--header", "Authorization: Bearer abc", "http://127.0.0.1:9/mcp"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--header-env") && !said.contains("abc"), "{said}");
    let (code, said) = run(&["--bearer-env", "NOT_THERE", "http://127.0.0.1:9/mcp"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("NOT_THERE"), "{said}");
}

/// Options that would do nothing, and words that are nearly a URL.
#[test]
fn invalid_options_are_refused_at_once() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    for (arguments, says) in [
        (&["wrap", "--listen", &taken, "--", "true"][..], "stop what is using port"),
        (&["wrap", "example.com/mcp"], "write https://example.com/mcp"),
        (&["serve", "--agent", "ann"], "agentgate agents create"),
        (&["login", "foo"], "`foo` is not an http or https URL; write https://"),
        (&["audit", "purge", "--older-than", "90"], "write 90d, 90h"),
        (&["agents", "rotate-key", "x", "--grace", "8d"], "a week"),
        (&["wrap", "--policy", "", "--", "true"], "AGENTGATE_POLICY"),
        (&["wrap", "--bearer-env", "PATH", "--", "true"], "--bearer-env is only for a server"),
        (&["wrap", "--header", "X-Team: a", "--", "true"], "--header is only for"),
        (&["wrap", "--transport", "http", "--", "true"], "--transport is only for"),
        (&["inspect", "--header-env", "X-Team=PATH", "--", "true"], "--header-env is only for"),
        (&["wrap", "https://me:secret@mcp.example.com/mcp"], "use --header-env Authorization="),
        (&["wrap", "htps://mcp.example.com/mcp"], "write https://mcp.example.com/mcp"),
        (&["wrap", "https//mcp.example.com/mcp"], "write https://mcp.example.com/mcp"),
        (&["wrap", "https://mcp.example.com/mcp", "--verbose"], "`--verbose` follows"),
        (
            &["wrap", "--listen", "127.0.0.1:0", "--transport", "sse", "http://127.0.0.1:9/sse"],
            "omit --listen",
        ),
        (&["wrap", "--listen", "8099", "--", "true"], "write 127.0.0.1:"),
        (
            &["wrap", "--listen", "127.0.0.1:0", "--token-env", "BLANK", "--", "true"],
            "BLANK is empty",
        ),
        (&["wrap", "--bearer-env", "BLANK", "http://127.0.0.1:9/mcp"], "BLANK is empty"),
    ] {
        let output = agentgate(home.path()).args(arguments).env("BLANK", " \n").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

#[test]
fn an_inspection_that_fails_names_the_cause() {
    let home = tempfile::tempdir().unwrap();
    let inspect = |target: &[&str]| {
        let output = agentgate(home.path()).arg("inspect").args(target).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{target:?}: {said}");
        said
    };
    let page = |status: &'static str| {
        Scripted::start(move |_| {
            whole_answer(status, "Content-Type: text/html\r\n", "<html>\u{1b}[2J</html>")
        })
    };
    let (away, absent, other) = (page("401 Unauthorized"), page("404 Not Found"), page("200 OK"));
    let here = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, words) in [
        (&format!("http://{here}/mcp"), ["onnection refused", "nothing listens there"]),
        (&away.url, ["wants a login", "--bearer-env"]),
        (&absent.url, ["HTTP 404", "/mcp or /sse"]),
        (&other.url, ["text/html", "/mcp or /sse"]),
        (&other.url.replace("http:", "https:"), ["could not be reached", "certificate"]),
    ] {
        let said = inspect(&[url]);
        assert!(words.iter().all(|word| said.contains(word)), "{url}: {said}");
        assert!(!said.contains("legacy") && !said.contains('\u{1b}'), "{said}");
    }
    let said = inspect(&["--", "sh", "-c", "echo no licence >&2; exit 3"]);
    assert!(said.contains("no licence") && said.contains("ended with exit status 3"), "{said}");
}

/// A schema says which arguments are headers too. The first call of a tool is
/// checked like any other, though the gate has to ask for the list first.
#[test]
fn a_forged_header_of_an_argument_never_arrives() {
    let upstream = Scripted::start(|request| {
        let message = message_of(request);
        if message["method"] != "tools/list" {
            return json_answer(&result(&message["id"], "done"));
        }
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"}}});
        let tools = json!([{"name": "look", "inputSchema": schema}]);
        let list = json!({"tools": tools, "resultType": "complete"});
        json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "result": list}))
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let (headers, message) = crate::support::stateless_call(1, "look", json!({"region": "eu"}));
    let with =
        |value: &str| gate.post(&format!("{headers}Mcp-Param-Region: {value}\r\n"), &message);
    let forged = with("us");
    assert_eq!(forged.status, 400, "{forged:?}");
    assert_eq!(forged.message()["error"]["code"], -32_020);
    assert_eq!(with("us").status, 400);
    let calls = |request: &String| message_of(request)["method"] == "tools/call";
    assert_eq!(upstream.requests().iter().filter(|request| calls(request)).count(), 0);
    assert_eq!(with("eu").message(), result(&Value::from(1), "done"));
    assert_eq!(with("=?base64?ZXU=?=").message(), result(&Value::from(1), "done"));
    assert!(gate.log().iter().filter(|row| row["outcome"] != "forwarded").count() >= 2);
}
