//! Renewals when something goes wrong or away meanwhile: no token is lost, and the
//! right one is blamed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use agentgate::oauth::{Challenge, LoginError};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::attacks::agree;
use crate::mock_servers::{MockServer, Received, Reply, answer, challenge, resource, token, with};
use crate::stage::{Stage, text};
use crate::{LONG, refusal};

/// Something that is waited for, once and for all.
#[derive(Clone, Default)]
struct Signalled(Arc<(Mutex<bool>, Condvar)>);

impl Signalled {
    fn give(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let given = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(given, LONG, |given| !*given).unwrap());
    }
}

async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < LONG, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_renewal(asked: &Received) -> bool {
    asked.target == "/token" && asked.whole.contains("grant_type=refresh_token")
}

/// What is given for a refresh token.
fn renewed() -> Reply {
    answer(&with(token(), json!({"access_token": "another", "refresh_token": "another-one"})))
}

/// One that gives a new token only when it may.
fn slow(may: &Signalled) -> MockServer {
    let may = may.clone();
    MockServer::replying(move |_, asked| {
        is_renewal(asked).then(|| {
            may.wait();
            renewed()
        })
    })
}

/// `agentgate wrap` in front of a server, with a client that writes and reads lines.
struct Wrapped {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Wrapped {
    fn start(server: &MockServer) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentgate"));
        command
            .args(["wrap", "--policy", "allow_all", server.url.as_str()])
            .env("AGENTGATE_HOME", server.home())
            .env("PATH", "/nothing/opens/a/browser")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take(), process.stdout.take().unwrap());
        Self { process, input, output: BufReader::new(output) }
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    fn ask(&mut self, id: u64, method: &str, params: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    }

    fn initialize(&mut self) {
        let client = json!({"protocolVersion": "2025-11-25", "capabilities": {},
                            "clientInfo": {"name": "test", "version": "1"}});
        self.ask(0, "initialize", &client);
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no message: {line}"))
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What an MCP server says to a message of the handshake era in a session.
fn conversing(asked: &Received) -> Reply {
    let message: Value = serde_json::from_str(asked.body()).unwrap_or_default();
    let result = match message["method"].as_str() {
        Some("initialize") => json!({"protocolVersion": "2025-11-25", "capabilities": {},
                                     "serverInfo": {"name": "protected", "version": "1"}}),
        Some(_) if message.get("id").is_none() => {
            return Reply::Whole("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned());
        }
        _ => json!({"done": true}),
    };
    let message = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    Reply::Whole(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s\r\n\
         Content-Length: {}\r\n\r\n{message}",
        message.len()
    ))
}

fn bears(asked: &Received, token: &str) -> bool {
    asked.whole.to_lowercase().contains(&format!("authorization: bearer {token}\r\n"))
}

#[tokio::test]
async fn a_renewal_outlives_the_request_that_began_it() {
    let may = Signalled::default();
    let server = slow(&may);
    assert_eq!(server.login_with(&[], agree).status, Some(0));
    server.run_out();
    let session = server.session();
    tokio::select! {
        _ = session.authorization() => panic!("there is nothing yet"),
        () = eventually("it is renewed", || (server.asked("/token").len() == 2).then_some(())) => {}
    }
    may.give();
    let is_kept = || (server.kept()["refresh_token"] == "another-one").then_some(());
    eventually("the token is kept", is_kept).await;
}

#[tokio::test]
async fn renewal_in_progress_is_stored_at_shutdown() {
    let may = Signalled::default();
    let server = slow(&may);
    assert_eq!(server.login_with(&[], agree).status, Some(0));
    server.run_out();
    let mut gate = Wrapped::start(&server);
    gate.initialize();
    eventually("it is renewed", || (server.asked("/token").len() == 2).then_some(())).await;
    let pid = Pid::from_raw(gate.process.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    may.give();
    eventually("the gate ends", || gate.process.try_wait().unwrap()).await;
    assert_eq!(server.kept()["refresh_token"], "another-one");
}

/// The authorization server has forgotten the client that the gate registered itself.
#[tokio::test]
async fn lost_client_registration_is_renewed() {
    let Some(stage) = Stage::set("agree", json!({})) else { return };
    stage.login();
    stage.age(100);
    stage.change("client", |client| with(client.clone(), json!({"id": "gone"})));
    let session = stage.session(Duration::from_millis(100));
    let used = session.authorization().await;
    let challenge = refusal(used.as_ref());
    let started = Instant::now();
    let page = loop {
        match session.handle_challenge(&challenge).await {
            Err(LoginError::Waiting { url: Some(url), .. }) => break url,
            other => assert!(started.elapsed() < LONG, "nobody is asked: {other:?}"),
        }
    };
    assert_eq!(stage.asked("registration"), 2);
    let stage = Arc::new(stage);
    let person = Arc::clone(&stage);
    let visit = tokio::task::spawn_blocking(move || person.visit(&page));
    while session.handle_challenge(&challenge).await.is_err() {
        assert!(started.elapsed() < LONG, "the login never ends");
    }
    visit.await.unwrap();
    assert!(stage.call("read", session.authorization().await).await.is_ok());
}

/// One that a person registered cannot be made anew without them.
#[tokio::test]
async fn refused_preregistered_client_is_reported() {
    let Some(stage) = Stage::set("agree", json!({})) else { return };
    let url = stage.url.as_str();
    let options = ["login", "--client-id", "by-hand", "--client-secret-env", "SECRET", url];
    let output = stage.gate(&options).env("SECRET", "a-secret-made-by-hand").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    stage.age(100);
    stage.change("client", |client| with(client.clone(), json!({"secret": "an-older-one"})));
    let session = stage.session(LONG);
    let used = session.authorization().await;
    let refused = session.handle_challenge(&refusal(used.as_ref())).await.unwrap_err().to_string();
    for part in ["`by-hand`", "agentgate login --again --client-id ID", url] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(stage.opened().len(), 1);
}

/// Where people log in is said to a POST and nobody else, and at no well-known place.
#[tokio::test]
async fn login_challenge_may_come_only_in_response_to_a_message() {
    let login = MockServer::replying(|_, asked| is_renewal(asked).then(renewed));
    let there = login.url.join("/").unwrap();
    let server = MockServer::replying(move |base, asked| match asked.target.as_str() {
        "/mcp" if asked.method == "POST" => None,
        "/resource" => {
            let servers = json!({"authorization_servers": [there]});
            Some(answer(&with(resource(base), servers)))
        }
        _ => Some(Reply::Whole("HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n".to_owned())),
    });
    let ended = server.login_with(&[], agree);
    assert_eq!(ended.status, Some(0), "{}", ended.told);
    server.run_out();
    let renewed = server.session().authorization().await;
    assert_eq!(renewed, Some(HeaderValue::from_static("Bearer another")));
}

#[tokio::test]
async fn the_stream_that_listens_has_its_token_renewed() {
    let server = MockServer::replying(|_, asked| match asked.method.as_str() {
        _ if is_renewal(asked) => Some(renewed()),
        "GET" if asked.target == "/mcp" && bears(asked, "another") => {
            let news = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
            Some(Reply::Whole(format!("{head}\r\ndata: {news}\n\n")))
        }
        "POST" if ["an-access-token", "another"].iter().any(|token| bears(asked, token)) => {
            Some(conversing(asked))
        }
        _ => None,
    });
    assert_eq!(server.login_with(&[], agree).status, Some(0));
    server.age();
    let mut gate = Wrapped::start(&server);
    gate.initialize();
    assert!(gate.next()["result"].is_object());
    gate.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    assert_eq!(gate.next()["method"], "notifications/tools/list_changed");
    assert_eq!(server.asked("/register").len(), 1, "a person was asked");
}

/// Nobody is asked for what only listens, so the client is told what a person has to do.
#[tokio::test]
async fn stream_with_an_expired_login_reports_it() {
    let over = Arc::<AtomicBool>::default();
    let is_over = Arc::clone(&over);
    let server = MockServer::replying(move |_, asked| {
        if !is_over.load(Ordering::Relaxed) {
            return None;
        }
        if is_renewal(asked) {
            let refused = json!({"error": "invalid_grant"}).to_string();
            let length = refused.len();
            return Some(Reply::Whole(format!(
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{refused}"
            )));
        }
        (asked.target == "/mcp").then(|| challenge("Bearer error=\"invalid_token\""))
    });
    assert_eq!(server.login_with(&[], agree).status, Some(0));
    server.age();
    over.store(true, Ordering::Relaxed);
    let mut gate = Command::new(env!("CARGO_BIN_EXE_agentgate"))
        .args(["wrap", "--policy", "allow_all", "--listen", "127.0.0.1:0", server.url.as_str()])
        .env("AGENTGATE_HOME", server.home())
        .env("PATH", "/nothing/opens/a/browser")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    BufReader::new(gate.stderr.take().unwrap()).read_line(&mut told).unwrap();
    let (_, address) = told.trim().split_once("http://").unwrap();
    let address = address.trim_end_matches("/mcp");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET /mcp HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\
         Mcp-Session-Id: s\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let _ = (gate.kill(), gate.wait());
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let message: Value = serde_json::from_str(body).unwrap();
    let why = message["error"]["message"].as_str().unwrap();
    assert!(why.contains(&format!("run `agentgate login {}`", server.url)), "{why}");
    assert_eq!(server.asked("/register").len(), 1, "a person was asked");
}

/// What is refused is the token that was sent, not the one that came meanwhile.
#[tokio::test]
async fn a_late_refusal_is_not_blamed_on_a_newer_token() {
    let is_renewed = Signalled::default();
    let may = is_renewed.clone();
    let server = MockServer::replying(move |_, asked| {
        if is_renewal(asked) {
            return Some(renewed());
        }
        if asked.target != "/mcp" || asked.method != "POST" {
            return None;
        }
        if bears(asked, "another") {
            may.give();
            return Some(conversing(asked));
        }
        let message: Value = serde_json::from_str(asked.body()).unwrap_or_default();
        match message["id"].as_u64() {
            _ if !bears(asked, "an-access-token") => None,
            Some(1) => {
                may.wait();
                Some(challenge("Bearer error=\"invalid_token\""))
            }
            Some(2) => Some(challenge("Bearer error=\"invalid_token\"")),
            _ => Some(conversing(asked)),
        }
    });
    assert_eq!(server.login_with(&[], agree).status, Some(0));
    server.age();
    let mut gate = Wrapped::start(&server);
    gate.initialize();
    assert!(gate.next()["result"].is_object());
    gate.ask(1, "resources/list", &json!({}));
    let calls = |asked: &Received| asked.body().contains("resources/list");
    let arrived = || server.asked("/mcp").iter().any(calls).then_some(());
    eventually("the first arrives", arrived).await;
    gate.ask(2, "prompts/list", &json!({}));
    for _ in 0..2 {
        let message = gate.next();
        assert!(message["result"]["done"] == true, "{message}");
    }
    assert_eq!(server.asked("/register").len(), 1, "a person was asked");
    assert_eq!(server.asked("/token").iter().filter(|it| is_renewal(it)).count(), 1);
}

/// More scope cannot be had without a person who asks for it by its name.
#[tokio::test]
async fn missing_scope_is_reported_with_advice() {
    let server = MockServer::honest();
    assert_eq!(server.login_with(&["--scope", "read"], agree).status, Some(0));
    let session = server.session();
    let used = session.authorization().await;
    for (scope, words) in [
        ("", "agentgate login --again --scope SCOPE http://127.0.0.1"),
        (", scope=\"read\"", "agentgate login --again --scope 'read' http://127.0.0.1"),
    ] {
        let mut headers = HeaderMap::new();
        let header = format!("Bearer error=\"insufficient_scope\"{scope}");
        headers.insert(WWW_AUTHENTICATE, header.parse().unwrap());
        let challenge = Challenge::of(StatusCode::FORBIDDEN, &headers, used.as_ref()).unwrap();
        let refused = session.handle_challenge(&challenge).await.unwrap_err();
        assert!(matches!(refused, LoginError::TokenRejected { .. }), "{refused:?}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
}
