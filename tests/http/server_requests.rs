//! What servers ask of their clients, over every transport of HTTP: real servers and
//! clients, and servers that try to ask all the same.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Sender};

use serde_json::{Value, json};

use crate::clients::report_of;
use crate::eras::{Lone, Place, Speaks};
use crate::hosted::{MASTER, Serve};
use crate::support::pipes::Pipes;
use crate::support::scripted::{
    STREAM, Scripted, accepted, answer, message_of, result, usual, whole_answer,
};
use crate::support::{
    Gate, Server, TIMEOUT, call, eventually, initialize, installed, over_pipes, stateless_call,
    whole,
};

const POLICY: &str = "
name: asks
rules:
  - { methods: [sampling/createMessage], effect: EFFECT, reason: no models here }
  - { methods: [elicitation/create], effect: allow }
  - { methods: [roots/list], effect: deny, reason: no folders here }
default_effect: allow
";

const JSON: &str =
    "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

/// The policy, in a folder of its own; `effect` is what it says of sampling.
struct Policy {
    folder: tempfile::TempDir,
}

impl Policy {
    fn of(effect: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("asks.yaml"), POLICY.replace("EFFECT", effect)).unwrap();
        Self { folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("asks.yaml").to_str().unwrap().to_owned()
    }
}

fn sample(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "sampling/createMessage", "params": {}})
}

/// Methods other than `tools/call` in the log, and what was decided about them.
fn decided(log: &[Value]) -> Vec<String> {
    let others = log.iter().filter(|row| row["method"] != "tools/call");
    others.map(|row| format!("{} {}", row["method"], row["decision"]).replace('"', "")).collect()
}

/// The messages that come of a call by which the server samples, at `path` and with these
/// headers; whoever is asked for a sample gives one.
fn sampled(address: SocketAddr, path: &str, headers: &str) -> Vec<Value> {
    let post = |headers: &str, message: &Value| {
        let headers = format!("{JSON}{headers}");
        let bytes = whole(address, "POST", path, &headers, &message.to_string());
        crate::support::exchange(address, &bytes)
    };
    let mut opening = initialize();
    opening["params"]["capabilities"] = json!({"sampling": {}});
    let opened = post(headers, &opening);
    let id = opened.header("mcp-session-id").unwrap_or_else(|| panic!("{opened:?}"));
    let session = format!("{headers}Mcp-Session-Id: {id}\r\n");
    post(&session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let (said, messages) = mpsc::channel();
    let open = |method: &str, body: &str| {
        let stream = TcpStream::connect(address).unwrap();
        let request = whole(address, method, path, &format!("{JSON}{session}"), body);
        (&stream).write_all(&request).unwrap();
        hears(stream, said.clone());
    };
    // Some servers ask on the stream of their own, others on that of the call.
    open("GET", "");
    assert_eq!(messages.recv_timeout(TIMEOUT).unwrap(), Value::Null, "it listens");
    open("POST", &call(1, "test_sampling", json!({"prompt": "hello"})).to_string());
    let mut all = Vec::new();
    loop {
        let message = messages.recv_timeout(TIMEOUT).unwrap_or_else(|_| panic!("{all:?}"));
        all.push(message.clone());
        if message["method"] == "sampling/createMessage" {
            let reply = json!({"jsonrpc": "2.0", "id": message["id"], "result": {
                "role": "assistant", "model": "none",
                "content": {"type": "text", "text": "a sample"}}});
            assert_eq!(post(&session, &reply).status, 202);
            // It is answered.
            post(&session, &reply);
        } else if message["id"] == 1 {
            return all;
        }
    }
}

/// Hands on the messages of a stream, and first of all null once it is there.
fn hears(stream: TcpStream, said: Sender<Value>) {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        let _ = said.send(Value::Null);
        for line in lines {
            let data = line.strip_prefix("data: ").unwrap_or(&line);
            let message = serde_json::from_str(data).unwrap_or_default();
            if Value::is_object(&message) && said.send(message).is_err() {
                return;
            }
        }
    });
}

#[track_caller]
fn is_refused(messages: &[Value]) {
    let asked = messages.iter().any(|message| message["method"] == "sampling/createMessage");
    assert!(!asked, "the client was asked: {messages:?}");
    // Whether the tool fails or its server hands on the refusal is the server's affair.
    let answer = messages.last().unwrap();
    assert!(answer.to_string().contains("no models here"), "{answer}");
    assert!(answer["error"].is_object() || answer["result"]["isError"] == true, "{answer}");
}

#[test]
fn a_real_server_is_refused_in_front_of_a_url_and_of_a_command() {
    let Some(installed) = installed() else { return };
    let server = Server::start(&installed);
    for target in [vec![server.url.clone().into()], over_pipes(&installed)] {
        let policy = Policy::of("deny");
        let gate = Gate::listen(&["--policy", &policy.path()], &target);
        is_refused(&sampled(gate.address, "/mcp", ""));
        assert_eq!(decided(&gate.log()), ["sampling/createMessage deny"]);
        let policy = Policy::of("allow");
        let gate = Gate::listen(&["--policy", &policy.path()], &target);
        let messages = sampled(gate.address, "/mcp", "");
        assert!(messages.last().unwrap().to_string().contains("LLM response: a sample"));
        let rows = gate.log();
        assert!(decided(&rows).contains(&"sampling/createMessage allow".to_owned()), "{rows:?}");
        let row = rows.iter().find(|row| row["method"] == "sampling/createMessage").unwrap();
        eventually("the answer is in its row", || {
            let rows = gate.log();
            rows.iter()
                .any(|other| other["id"] == row["id"] && other["status"] == "ok")
                .then_some(())
        });
    }
}

#[test]
fn a_hosted_server_is_refused_for_each_agent() {
    let Some(installed) = installed() else { return };
    let server = Server::start(&installed);
    let home = tempfile::tempdir().unwrap();
    let policies = home.path().join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    std::fs::write(policies.join("asks.yaml"), POLICY.replace("EFFECT", "deny")).unwrap();
    let gate = Serve::start(home);
    let registration = json!({"name": "s", "url": server.url});
    assert_eq!(gate.request("POST", "/mcp/servers", MASTER, &registration).status, 200);
    let key = gate.key(&json!({"name": "ann", "policy": "asks"}));
    is_refused(&sampled(gate.address, "/mcp/s", &format!("X-Agent-Key: {key}\r\n")));
}

/// SDKs at both ends: what is refused is an error to the server's, and nothing to the
/// client's.
#[test]
fn sdk_continues_after_a_refused_server_request() {
    let Some(installed) = installed() else { return };
    let server = Server::everything(&installed, "streamableHttp", "/mcp");
    let plan = json!({"calls": [["trigger-sampling-request", {"prompt": "x"}],
                                ["trigger-elicitation-request", {}], ["echo", {"message": "hi"}]]});
    for client in ["node v1", "node v2", "python legacy"] {
        let policy = Policy::of("deny");
        let gate = Gate::listen(&["--policy", &policy.path()], &[server.url.clone().into()]);
        let said = report_of(&installed, client, &plan, &[gate.url().into()]);
        let lines: Vec<&str> = said.lines().collect();
        let of = |tool: &str| {
            let start = format!("[\"{tool}\"");
            *lines.iter().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{said}"))
        };
        let refused = of("trigger-sampling-request");
        assert!(refused.contains("no models here") && !refused.contains("sampled"), "{refused}");
        assert!(of("trigger-elicitation-request").contains("Ada"), "{client}: {said}");
        assert!(of("echo").contains("Echo: hi"), "{client}: {said}");
        let decided = decided(&gate.log());
        assert!(decided.contains(&"sampling/createMessage deny".to_owned()), "{decided:?}");
        assert!(decided.contains(&"elicitation/create allow".to_owned()), "{decided:?}");
    }
}

/// The transport of 2024-11-05, whose one stream carries what the server asks.
#[test]
fn a_server_of_the_oldest_transport_is_refused() {
    let Some(installed) = installed() else { return };
    let server = Server::everything(&installed, "sse", "/sse");
    let policy = Policy::of("deny");
    let path = policy.path();
    let arguments = ["--policy", &path, "--transport", "sse"];
    let mut pipes = Pipes::start_alone(&arguments, &server.url, |_| {});
    let mut opening = initialize();
    opening["params"]["capabilities"] = json!({"sampling": {}, "roots": {}});
    pipes.send(&opening);
    assert!(pipes.answer(&json!(0))["result"].is_object());
    pipes.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    pipes.send(&call(1, "trigger-sampling-request", json!({"prompt": "x"})));
    let answer = loop {
        let message = pipes.next().unwrap();
        assert!(message["method"] != "sampling/createMessage" && message["method"] != "roots/list");
        if message["id"] == 1 {
            break message;
        }
    };
    assert!(answer.to_string().contains("no models here"), "{answer}");
}

#[test]
fn a_real_server_without_sessions_is_refused_by_its_result() {
    let Some(installed) = installed() else { return };
    for place in [Place::Url, Place::Command] {
        let server = Lone::start(&installed, Speaks::Stateless, place);
        let policy = Policy::of("deny");
        let gate = Gate::listen(&["--policy", &policy.path()], &server.command);
        let ask = || {
            let (headers, mut message) = stateless_call(1, "asks", json!({}));
            let able = json!({"roots": {}});
            message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = able;
            gate.post(&headers, &message).message()
        };
        let told = ask();
        assert_eq!(told["result"]["isError"], true, "{place:?}: {told}");
        assert_eq!(told["result"]["resultType"], "complete", "{told}");
        assert!(told.to_string().contains("no folders here"), "{told}");
        assert!(told["result"].get("inputRequests").is_none(), "{told}");
        assert_eq!(decided(&gate.log()), ["roots/list deny"]);

        let allowing = Policy::of("deny");
        let text = std::fs::read_to_string(allowing.path()).unwrap();
        let text = text.replace("roots/list], effect: deny", "roots/list], effect: allow");
        std::fs::write(allowing.path(), text).unwrap();
        let gate = Gate::listen(&["--policy", &allowing.path()], &server.command);
        let (headers, mut message) = stateless_call(1, "asks", json!({}));
        message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
            json!({"roots": {}});
        let mut answering = message.clone();
        answering["params"]["inputResponses"] = json!({"sure": {"roots": []}});
        let unasked = |gate: &Gate, message: &Value| {
            let told = gate.post(&headers, message).message();
            assert_eq!(told["result"]["isError"], true, "{place:?}: {told}");
            assert!(told.to_string().contains("no such question"), "{told}");
        };
        unasked(&gate, &answering);
        let asks = |message: &Value| {
            let told = gate.post(&headers, message).message();
            assert_eq!(told["result"]["inputRequests"]["sure"]["method"], "roots/list", "{told}");
            told
        };
        if let Some(state) = asks(&message)["result"].get("requestState") {
            answering["params"]["requestState"] = state.clone();
        }
        // As after a restart between question and answer.
        let other = Gate::listen(&["--policy", &allowing.path()], &server.command);
        unasked(&other, &answering);
        // This server asks each time.
        asks(&answering);
    }
}

/// A server that answers a call so, and whatever it listens to with `listens`.
fn asking(call: Vec<u8>, listens: Vec<u8>) -> Scripted {
    Scripted::serving(move |request, stream| {
        let answer = match message_of(request)["method"].as_str() {
            Some("tools/call") => call.clone(),
            _ if request.starts_with("GET") => listens.clone(),
            Some("initialize") => {
                let answer = String::from_utf8(usual(request).unwrap()).unwrap();
                answer.replacen("\r\n", "\r\nMcp-Session-Id: s\r\n", 1).into_bytes()
            }
            _ => usual(request).unwrap_or_else(accepted),
        };
        stream.write_all(&answer).is_ok() && !answer.starts_with(STREAM)
    })
}

fn events(events: &str) -> Vec<u8> {
    [STREAM, events.as_bytes()].concat()
}

/// The refusals that reached the server, each in a POST of its own.
fn refusals(server: &Scripted) -> Vec<Value> {
    let posted = server.requests().into_iter().filter(|request| request.starts_with("POST"));
    let posted: Vec<String> = posted.collect();
    let refusing = posted.iter().filter(|request| message_of(request)["error"].is_object());
    let refusing = refusing.inspect(|request| {
        assert!(request.to_ascii_lowercase().contains("mcp-session-id: s\r\n"), "{request}");
        assert!(!request.to_ascii_lowercase().contains("last-event-id"), "{request}");
    });
    refusing.map(|request| message_of(request)).collect()
}

#[test]
fn refused_server_requests_are_answered_in_every_form() {
    let policy = Policy::of("deny");
    let last = result(&json!(1), "done");
    let ask = sample(7);
    for (what, answer) in [
        ("an event", events(&format!("id: 1\ndata: {ask}\n\ndata: {last}\n\n"))),
        ("another kind", events(&format!("event: ask\ndata: {ask}\n\ndata: {last}\n\n"))),
        ("a batch in an event", events(&format!("data: [{ask},{last}]\n\n"))),
        ("a batch", answer("application/json", &format!("[{ask}, {last}]"))),
    ] {
        let server = asking(answer, whole_answer("405 Method Not Allowed", "", ""));
        let gate = Gate::listen(&["--policy", &policy.path()], &[server.url.clone().into()]);
        let session = format!("Mcp-Session-Id: {}\r\n", gate.session(""));
        let told = gate.post(&session, &call(1, "look", json!({})));
        assert!(!told.body.contains("sampling"), "{what}: {told:?}");
        assert!(told.body.contains("done"), "{what}: {told:?}");
        let refused = eventually("the server is told", || {
            Some(refusals(&server)).filter(|refusals| !refusals.is_empty())
        });
        assert_eq!((refused.len(), &refused[0]["id"]), (1, &json!(7)), "{what}: {refused:?}");
        assert_eq!(refused[0]["error"]["code"], -31_403, "{what}: {refused:?}");
        // Nor does a client answer it that guesses its id.
        let guessed = json!({"jsonrpc": "2.0", "id": 7, "result": {"role": "assistant"}});
        assert_eq!(gate.post(&session, &guessed).status, 400, "{what}");
        let reached = server.requests().iter().any(|request| request.contains("assistant"));
        assert!(!reached, "{what}");
    }
}

#[test]
fn requests_on_the_listening_stream_are_refused() {
    let policy = Policy::of("deny");
    let listens = events(&format!("id: 4\ndata: {}\n\ndata: {{\"method\":\"n\"}}\n\n", sample(7)));
    let server = asking(accepted(), listens);
    let gate = Gate::listen(&["--policy", &policy.path()], &[server.url.clone().into()]);
    let session = format!("Mcp-Session-Id: {}\r\nLast-Event-ID: 3\r\n", gate.session(""));
    let told = gate.request("GET", &format!("Accept: text/event-stream\r\n{session}"), "");
    assert_eq!(told.messages(), [json!({"method": "n"})]);
    eventually("the server is told", || (refusals(&server).len() == 1).then_some(()));
    // A stream that is resumed brings it again: it has its answer.
    let told = gate.request("GET", &format!("Accept: text/event-stream\r\n{session}"), "");
    assert_eq!(told.messages(), [json!({"method": "n"})]);
    assert_eq!(refusals(&server).len(), 1);
    assert_eq!(decided(&gate.log()), ["sampling/createMessage deny"]);
}

/// Bytes in which only some clients would find a message.
#[test]
fn nothing_gets_through_where_no_message_should_be() {
    let policy = Policy::of("deny");
    let (ask, last) = (sample(7), result(&json!(1), "done"));
    let separator = '\u{2028}';
    let message = format!("data: {last}\n\n");
    for (what, stream) in [
        ("a comment", format!(": x{separator}data: {ask}{separator}{separator}\n\n{message}")),
        ("an id", format!("id: x{separator}data: {ask}{separator}{separator}\n{message}")),
        ("half an event", format!("{message}data: {ask}\n")),
    ] {
        let server = asking(events(&stream), accepted());
        let gate = Gate::listen(&["--policy", &policy.path()], &[server.url.clone().into()]);
        let session = format!("Mcp-Session-Id: {}\r\n", gate.session(""));
        let told = gate.post(&session, &call(1, "look", json!({})));
        assert!(!told.body.contains("sampling"), "{what}: {told:?}");
        assert!(told.body.contains("done"), "{what}: {told:?}");
    }
    let text = format!("data: {ask}\n\n");
    for answer in [
        answer("text/plain", &text),
        answer("application/json", &ask.to_string()),
        whole_answer("202 Accepted", "Content-Type: application/json\r\n", &ask.to_string()),
        whole_answer("400 Bad Request", "Content-Type: text/plain\r\n", &ask.to_string()),
    ] {
        let server = asking(accepted(), answer);
        let gate = Gate::listen(&["--policy", &policy.path()], &[server.url.clone().into()]);
        let session = format!("Mcp-Session-Id: {}\r\n", gate.session(""));
        let told = gate.request("GET", &format!("Accept: text/event-stream\r\n{session}"), "");
        assert!(!told.body.contains("sampling"), "{told:?}");
    }
}

/// Under a policy that speaks of nothing that servers ask, every byte of it passes.
#[test]
fn without_such_a_rule_streams_pass_byte_for_byte() {
    let hidden = ": x\u{2028}data: {\"a\":1}\n\nevent: ask\ndata: {\"id\":7,\"method\":\"sampling/\
                  createMessage\"}\n\n";
    let all = format!("{hidden}data: {}\n\n", result(&json!(1), "done"));
    let server = asking(events(&all), answer("text/plain", "{\"method\":\"x\"}"));
    let gate = Gate::listen(&["--policy", "allow_all"], &[server.url.clone().into()]);
    let session = format!("Mcp-Session-Id: {}\r\n", gate.session(""));
    assert_eq!(gate.post(&session, &call(1, "look", json!({}))).body, all);
    let told = gate.request("GET", &format!("Accept: text/event-stream\r\n{session}"), "");
    assert_eq!(told.body, "{\"method\":\"x\"}");
    let any = json!({"jsonrpc": "2.0", "id": 9, "result": {}});
    assert_eq!(gate.post(&session, &any).status, 202);
}
