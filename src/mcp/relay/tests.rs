//! The relay between two ends of pipes in memory, with a real gate and a real
//! log. What needs processes is tested from the outside, under `tests/`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf};
use tokio::task::JoinHandle;

use super::*;
use crate::gate::AuditFailure;
use crate::mcp::tools::MAX_LISTS;
use crate::policy::{Policy, load_str};
use crate::store::{Options, Store};

mod endings;
mod holding;
mod round_trips;
mod server_requests;

const POLICY: &str = "
name: test
rules:
  - { tool: 'denied*', effect: deny, reason: no }
  - { tool: push, args: { branch: main }, effect: deny }
  - { methods: [resources/read], args: { uri: 'file:///secret' }, effect: deny }
  - { annotations: { readOnlyHint: true }, effect: allow }
  - { tool: push, effect: allow }
  - { methods: [resources/read], effect: allow }
  - { methods: [notifications/cancelled], args: { reason: refused }, effect: deny }
  - { methods: [notifications/cancelled], effect: allow }
default_effect: deny
";

/// One end of the relay, as the peer there sees it.
struct End {
    lines: BufReader<ReadHalf<DuplexStream>>,
    sink: Option<tokio::io::WriteHalf<DuplexStream>>,
}

struct Session {
    client: End,
    server: End,
    relay: Arc<Relay>,
    policy: Arc<ArcSwap<Policy>>,
    running: JoinHandle<io::Result<()>>,
    _folder: tempfile::TempDir,
}

impl End {
    fn new(stream: DuplexStream) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self { lines: BufReader::new(read), sink: Some(write) }
    }

    async fn send_line(&mut self, line: &str) {
        self.write(line).await;
        self.write("\n").await;
    }

    async fn write(&mut self, text: &str) {
        self.sink.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    async fn send(&mut self, message: Value) {
        self.send_line(&message.to_string()).await;
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).await.unwrap();
        line
    }

    async fn receive(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }
}

impl Session {
    fn start(change: impl FnOnce(&mut Settings)) -> Self {
        Self::under(POLICY, change)
    }

    fn under(policy: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("log.db"), &Options::default()).unwrap();
        let policy = Policy::from_file(load_str("test", policy).unwrap());
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let gate = Gate::new(Arc::clone(&policy), store, AuditFailure::Refuse);
        let mut settings = Settings {
            server: Arc::from("srv"),
            agent: Agent::default(),
            transport: Transport::Stdio,
            session: Arc::from("session"),
            trusted: true,
            first_seen: FirstSeen::default(),
            hide_denied: false,
            max_message: 1 << 20,
            answer_memory: None,
        };
        change(&mut settings);
        let relay = Arc::new(Relay::new(gate, settings));
        let (client, near) = tokio::io::duplex(64 << 10);
        let (server, far) = tokio::io::duplex(64 << 10);
        let running = {
            let relay = Arc::clone(&relay);
            let (input, output) = tokio::io::split(near);
            let client = (input, relay.write_client(output));
            tokio::spawn(async move { relay.run(client, tokio::io::split(far)).await })
        };
        Self {
            client: End::new(client),
            server: End::new(server),
            relay,
            policy,
            running,
            _folder: folder,
        }
    }

    async fn initialize(&mut self, version: &str) {
        self.client.send(json!({"id": "i", "method": "initialize", "params": {}})).await;
        self.server.line().await;
        self.server.send(json!({"id": "i", "result": {"protocolVersion": version}})).await;
        self.client.line().await;
        self.client.send(json!({"method": "notifications/initialized"})).await;
        self.server.line().await;
    }

    /// A session in which the server has listed these tools.
    async fn listed(tools: Value, change: impl FnOnce(&mut Settings)) -> Self {
        let mut session = Self::start(change);
        session.initialize("2025-11-25").await;
        session.client.send(json!({"id": "l", "method": "tools/list"})).await;
        session.server.line().await;
        session.server.send(json!({"id": "l", "result": {"tools": tools}})).await;
        session
    }

    /// A session whose list has changed, and what the gate asks the server because of
    /// the call of `look` that follows.
    async fn called_after_a_change() -> (Self, Value) {
        let mut session = Self::listed(json!([reader("look")]), |_| {}).await;
        session.client.line().await;
        session.server.send(json!({"method": "notifications/tools/list_changed"})).await;
        session.client.line().await;
        session.client.send(call(1, "look")).await;
        let list = session.server.receive().await;
        (session, list)
    }
}

fn call(id: u64, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool}})
}

fn reader(name: &str) -> Value {
    json!({"name": name, "annotations": {"readOnlyHint": true}})
}

fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(test);
}

fn is_denial(message: &Value) -> bool {
    message["result"]["isError"] == true
        && message["result"]["_meta"]["agentgate/decision"]["decision"] == "deny"
}

#[test]
fn messages_pass_unchanged_and_in_order() {
    run(async {
        let mut session = Session::listed(json!([reader("look")]), |_| {}).await;
        session.client.line().await;
        let lines = [
            "  {\"id\":1e0}\r",
            "",
            " \t ",
            r#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"vendor/x","params":{"n":1.50e+3},"x":[]}"#,
            "{\"id\":2 , \"params\" : {\"name\":\"look\",\"arguments\":{\"a\":1.0}},\"method\":\"tools/call\"}\r",
            r#"{"id":"s","result":{"roots":[]}}"#,
        ];
        for line in &lines[1..] {
            session.client.send_line(line).await;
        }
        for line in &lines[1..] {
            assert_eq!(session.server.line().await, format!("{line}\n"));
        }
        for line in
            ["log line", "{\"id\":2,\"result\":{ \"x\":1.0}}\r", "[1,", "{\"method\":\"x\"}"]
        {
            session.server.send_line(line).await;
            assert_eq!(session.client.line().await, format!("{line}\n"));
        }
        session.client.write("{\"id\":3,\"method\":\"ping\"}").await;
        session.client.sink.take();
        drop(session.client);
        assert_eq!(session.server.line().await, "{\"id\":3,\"method\":\"ping\"}");
    });
}

#[test]
fn a_denied_call_is_answered_and_never_sent() {
    run(async {
        let mut session =
            Session::listed(json!([reader("look"), reader("denied_x")]), |_| {}).await;
        session.client.line().await;
        for refused in [
            call(1, "denied_x"),
            json!({"id": 1, "method": "tools/call", "params": {"name": "push", "arguments": {"branch": "main"}}}),
            call(1, "unlisted"),
        ] {
            session.client.send(refused).await;
            assert!(is_denial(&session.client.receive().await));
        }
        for refused in [
            json!({"id": 1, "method": "resources/read", "params": {"uri": "file:///secret"}}),
            call(1, "Look"),
            call(1, "look "),
            json!({"id": 1, "method": "Tools/Call", "params": {"name": "denied_x"}}),
        ] {
            session.client.send(refused).await;
            assert!(session.client.receive().await["error"]["code"].is_i64());
        }
        let last = json!({"id": 2, "method": "resources/read", "params": {"uri": "file:///x"}});
        session.client.send(last.clone()).await;
        assert_eq!(session.server.receive().await, last, "the first that reaches the server");
    });
}

#[test]
fn a_task_keeps_its_call_open_until_its_result_has_come() {
    run(async {
        let mut session = Session::listed(json!([reader("look")]), |_| {}).await;
        session.client.line().await;
        let open = |session: &Session| session.relay.state().pending.open_tasks();
        let mut request = call(1, "look");
        request["params"]["task"] = json!({"ttl": 60_000});
        session.client.send(request).await;
        session.server.line().await;
        let begun = json!({"id": 1, "result": {"task": {"taskId": "t", "status": "working"}}});
        session.server.send(begun).await;
        session.client.line().await;
        for (id, method, status, left) in
            [(2, "tasks/get", "working", 1), (3, "tasks/get", "completed", 0)]
        {
            let request = json!({"id": id, "method": method, "params": {"taskId": "t"}});
            session.client.send(request).await;
            session.server.line().await;
            let message = json!({"id": id, "result": {"taskId": "t", "status": status}});
            session.server.send(message).await;
            session.client.line().await;
            assert_eq!(open(&session), left, "{status}");
        }
    });
}

#[test]
fn denied_tools_are_hidden_if_configured() {
    run(async {
        let tools = json!([reader("look"), reader("denied_x"), {"name": "push"}]);
        let mut session = Session::listed(tools, |settings| settings.hide_denied = true).await;
        let list = session.client.receive().await;
        let names: Vec<_> =
            list["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
        assert_eq!(names, ["look", "push"]);
        session.client.send(call(1, "denied_x")).await;
        assert!(is_denial(&session.client.receive().await));
    });
}

#[test]
fn batches_are_forwarded_whole_or_not_at_all() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-03-26").await;
        session.client.send(json!([call(1, "look"), {"method": "x"}])).await;
        let list = session.server.receive().await;
        session.server.send(json!({"id": list["id"], "result": {"tools": [reader("look"), {"name": "denied"}]}})).await;
        assert_eq!(session.server.receive().await.as_array().unwrap().len(), 2);
        let batch = json!([call(2, "look"), call(3, "denied"), {"id": 4, "method": "ping"}]);
        session.client.send(batch).await;
        let answers = session.client.receive().await;
        let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| &answer["id"]).collect();
        assert_eq!(ids, [2, 3, 4]);
        assert!(is_denial(&answers[1]) && answers[0]["error"].is_object());
        session.client.send(json!([call(5, "look"), {"id": 6, "Method": "x"}])).await;
        assert_eq!(session.client.receive().await.as_array().unwrap().len(), 2);
        session.client.send(json!({"id": 7, "method": "ping"})).await;
        assert_eq!(session.server.receive().await["id"], 7);
    });
}

#[test]
fn oversize_messages_are_answered_in_both_directions_and_the_session_continues() {
    run(async {
        let mut session =
            Session::listed(json!([reader("look")]), |settings| settings.max_message = 1_000).await;
        session.client.line().await;
        let large = "x".repeat(2_000);
        session.client.send(json!({"id": 1, "method": "ping", "params": {"x": large}})).await;
        assert_eq!(session.client.receive().await["id"], 1);
        session.client.send(call(2, "look")).await;
        session.server.line().await;
        session.server.send(json!({"result": {"x": large}, "id": 2})).await;
        let answer = session.client.receive().await;
        assert!(answer["id"] == 2 && answer["error"].is_object());
        session.server.send(json!({"id": 9, "method": "roots/list", "params": {"x": large}})).await;
        let answer = session.server.receive().await;
        assert!(answer["id"] == 9 && answer["error"].is_object());
        session.client.send(json!({"id": 9, "result": {"x": large}})).await;
        let answer = session.server.receive().await;
        assert!(answer["id"] == 9 && answer["error"].is_object());
        assert_eq!(session.client.receive().await["id"], Value::Null);
        session.client.send(call(3, "look")).await;
        assert_eq!(session.server.receive().await["id"], 3);
    });
}

#[tokio::test]
async fn calls_beyond_the_limit_of_pending_requests_are_refused_and_recorded() {
    let mut session = Session::listed(json!([reader("look")]), |_| {}).await;
    session.client.line().await;
    for id in 0..crate::mcp::pending::MAX_PENDING {
        let key = session.relay.key(format!("\"{id}\"").as_bytes());
        session.relay.state().pending.insert(key, RequestKind::Other).unwrap();
    }
    session.client.send(call(1, "look")).await;
    let error = &session.client.receive().await["error"];
    assert!(error["message"].as_str().unwrap().contains("in flight"), "{error}");
    assert!(error["data"]["agentgate/decision"]["request_id"].is_string(), "{error}");
}

/// What is refused changes nothing: its request is still under way.
#[tokio::test]
async fn refused_cancellation_cancels_nothing() {
    let mut session = Session::listed(json!([]), |_| {}).await;
    session.client.send(json!({"id": 1, "method": "ping"})).await;
    assert_eq!(session.server.receive().await["id"], 1);
    let cancel = |reason: &str| {
        json!({"method": "notifications/cancelled",
               "params": {"requestId": 1, "reason": reason}})
    };
    session.client.send(cancel("refused")).await;
    session.client.send(json!({"id": 2, "method": "ping"})).await;
    assert_eq!(session.server.receive().await["id"], 2, "the cancellation went on");
    assert!(session.relay.state().pending.contains(&session.relay.key(b"1")));
    session.client.send(cancel("enough")).await;
    assert_eq!(session.server.receive().await["method"], "notifications/cancelled");
    assert!(!session.relay.state().pending.contains(&session.relay.key(b"1")));
}
