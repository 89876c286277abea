//! Servers that misbehave: the client is told, nothing hangs, and no credential
//! goes to another host.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Gate, PATIENCE, agentgate, call, initialize};

/// A server that answers by script: bytes for the text of a request.
pub(crate) struct Scripted {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(crate) fn start(script: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (seen, script) = (Arc::clone(&requests), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                std::thread::spawn(move || serve(&stream, &seen, &*script));
            }
        });
        Self { url, requests }
    }

    /// The requests so far, heads and bodies.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: &TcpStream, seen: &Mutex<Vec<String>>, script: &dyn Fn(&str) -> Vec<u8>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let request = head + &String::from_utf8_lossy(&body);
        seen.lock().unwrap().push(request.clone());
        let answer = script(&request);
        let closes = answer.is_empty() || memchr(&answer, b"Connection: close");
        if stream.write_all(&answer).is_err() || closes {
            return;
        }
    }
}

fn memchr(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

pub(crate) fn answer(kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

pub(crate) fn json_answer(message: &Value) -> Vec<u8> {
    answer("application/json", &message.to_string())
}

/// Answers the handshake and the list; `call` says what comes of a call.
fn server(call: fn() -> Vec<u8>) -> Scripted {
    Scripted::start(move |request| {
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                                   "serverInfo": {"name": "scripted", "version": "1"}}),
            "tools/list" => json!({"tools": [{"name": "look", "inputSchema": {"type": "object"},
                                              "annotations": {"readOnlyHint": true}}]}),
            "tools/call" => return call(),
            _ => return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec(),
        };
        json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    })
}

fn result(id: u64, text: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
        .to_string()
}

/// A name, what is answered, and words of what the client is told.
type Fault = (&'static str, fn() -> Vec<u8>, &'static str);

/// What is wrong, and what the client is told of it.
const FAULTS: [Fault; 7] = [
    ("a page", || answer("text/html", "<html>Sign in</html>"), "text/html"),
    ("nothing", || answer("application/json", ""), ""),
    (
        "a redirect",
        || {
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.2:9/mcp\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        },
        "redirect",
    ),
    ("a connection that closes", Vec::new, ""),
    (
        "half an answer",
        || {
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\nConnection: close\r\n\r\n{\"jsonrpc\""
                .to_vec()
        },
        "",
    ),
    (
        "a stream that ends too soon",
        || {
            answer(
                "text/event-stream",
                ": hello\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n",
            )
        },
        "",
    ),
    (
        "an error of its own",
        || {
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\noops".to_vec()
        },
        "",
    ),
];

#[test]
fn a_client_over_pipes_gets_an_error_for_each_fault() {
    for (what, fault, says) in FAULTS {
        let upstream = server(fault);
        let home = tempfile::tempdir().unwrap();
        let mut process = agentgate(home.path())
            .args(["wrap", "--policy", "allow_all", "--bearer-env", "SECRET", &upstream.url])
            .env("SECRET", "a-secret-token")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        writeln!(input, "{}", initialize()).unwrap();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("scripted"), "{first}");
        writeln!(input, "{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .unwrap();
        writeln!(input, "{}", call(1, "look", json!({}))).unwrap();
        let mut answer = Value::Null;
        while answer["id"] != 1 {
            let line = lines.next().unwrap_or_else(|| panic!("{what}: no answer")).unwrap();
            answer = serde_json::from_str(&line).unwrap();
        }
        assert!(answer["error"].is_object(), "{what}: {answer}");
        assert!(answer.to_string().contains(says), "{what}: {answer}");
        assert!(!answer.to_string().contains("a-secret-token"), "{what}: {answer}");
        drop(input);
        assert!(process.wait().unwrap().success(), "{what}");
        assert!(upstream.requests().iter().all(|request| request.contains("a-secret-token")));
    }
}

#[test]
fn a_client_over_http_gets_an_answer_for_each_fault() {
    for (what, fault, _) in FAULTS {
        let upstream = server(fault);
        let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
        let answer = gate.post("", &call(1, "look", json!({})));
        // A stream that ends without the answer ends as it did; the rest is told.
        let told =
            answer.status >= 400 || what == "a stream that ends too soon" || what == "nothing";
        assert!(told, "{what}: {answer:?}");
        let rows = gate.log();
        assert_eq!(rows.len(), 1, "{what}: {rows:?}");
    }
}

#[test]
fn the_first_of_two_results_counts() {
    let upstream = server(|| {
        let twice = format!("data: {}\n\ndata: {}\n\n", result(1, "first"), result(1, "second"));
        answer("text/event-stream", &twice)
    });
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let messages = gate.post("", &call(1, "look", json!({}))).messages();
    assert_eq!(messages.first().unwrap()["result"]["content"][0]["text"], "first");
    assert_eq!(gate.log().len(), 1);
}

/// Comments, ids, pauses and unknown fields of a stream, line ends and all.
#[test]
fn events_pass_as_they_came() {
    const STREAM: &str = ": a comment\r\n\r\nid: 7\nretry: 1500\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\ndata:  \"method\":\"notifications/message\",\"params\":{}}\n\nnew: field\nevent: other\ndata: not json\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[],\"x\":1.50}}\n\n: bye\n\n";
    let upstream = server(|| answer("text/event-stream", STREAM));
    let gate = Gate::listen(&["--policy", "allow_all"], &[upstream.url.clone().into()]);
    let passed = gate.post("", &call(1, "look", json!({})));
    assert_eq!(passed.body, STREAM);
}

#[test]
fn a_server_that_is_not_there_is_told_of() {
    let gate = Gate::listen(&["--policy", "allow_all"], &["http://127.0.0.1:9/mcp".into()]);
    let answer = gate.post("", &call(3, "look", json!({})));
    assert_eq!((answer.status, &answer.message()["id"]), (502, &json!(3)));
    assert!(answer.body.contains("could not be reached"), "{answer:?}");
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
