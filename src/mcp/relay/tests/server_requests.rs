//! What servers ask of their clients.

use super::*;
use crate::mcp::codes::{REFUSED, UPSTREAM};
use crate::store::StoreError;
use crate::store::read::{Filter, Reader};

const SPEAKS_OF_SERVERS: &str = "
name: test
rules:
  - { methods: [sampling/createMessage], effect: deny, reason: no models }
  - { methods: [elicitation/create], args: { mode: url }, effect: deny, reason: no links }
  - { methods: [elicitation/create], effect: allow }
  - { methods: [notifications/message], args: { level: debug }, effect: deny }
  - { methods: [vendor/ask], effect: ask }
default_effect: allow
";

fn sample(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "sampling/createMessage", "params": {"maxTokens": 1}})
}

fn form(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {"message": "m"}})
}

fn result(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept"}})
}

impl Session {
    pub(super) fn asking() -> Self {
        Self::under(SPEAKS_OF_SERVERS, |_| {})
    }

    /// Method, decision, outcome and status of each row.
    pub(super) fn rows(&self) -> Vec<String> {
        let reader = Reader::open(&self._folder.path().join("log.db")).unwrap();
        let mut rows = Vec::new();
        let visited: Result<(), StoreError> = reader.rows(&Filter::default(), 0, |row| {
            let (decision, outcome) = (row.decision.as_str(), row.outcome.as_str());
            rows.push(format!("{} {decision} {outcome}", row.method));
            Ok(())
        });
        visited.unwrap();
        rows
    }

    /// The next of either side, which has to be a message that only then was sent: what
    /// came before it and did not pass is seen missing.
    pub(super) async fn nothing_but(&mut self, id: u64) {
        self.server.send(json!({"method": "notifications/x", "params": {"n": id}})).await;
        assert_eq!(self.client.receive().await["params"]["n"], id);
        self.client.send(json!({"method": "notifications/x", "params": {"n": id}})).await;
        assert_eq!(self.server.receive().await["params"]["n"], id);
    }
}

fn is_refusal(message: &Value, id: u64, words: &str) -> bool {
    message["id"] == id
        && message["error"]["code"] == REFUSED
        && message["error"]["message"].as_str().is_some_and(|message| message.contains(words))
        && message["error"]["data"]["agentgate/decision"]["request_id"].is_string()
}

#[tokio::test]
async fn refused_server_requests_are_answered_and_not_forwarded() {
    let mut session = Session::asking();
    let url = json!({"id": 8, "method": "elicitation/create", "params": {"mode": "url"}});
    for (asks, words) in [
        (sample(7), "no models"),
        (url, "no links"),
        (json!({"id": 9, "method": "vendor/ask"}), "needs a person's approval"),
    ] {
        session.server.send(asks.clone()).await;
        let message = session.server.receive().await;
        assert!(is_refusal(&message, asks["id"].as_u64().unwrap(), words), "{message}");
    }
    let debug = json!({"method": "notifications/message", "params": {"level": "debug"}});
    session.server.send(debug).await;
    session.nothing_but(1).await;
    let rows = session.rows();
    let expected = [
        "sampling/createMessage deny refused",
        "elicitation/create deny refused",
        "vendor/ask ask refused",
        "notifications/message deny refused",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn allowed_calls_pass_unchanged_and_are_answered_once() {
    let mut session = Session::asking();
    let lines = [
        "{\"id\": 1e0 ,\"id2\":1.0}",
        "{ \"id\":1 , \"params\":{\"message\":\"\\u0061\",\"n\":1.50},\"method\":\"elicitation/create\"}\r",
        "{\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1.0}}",
        "{\"id\":\"a\",\"method\":\"roots/list\"}",
        "listening on stdio",
        "{\"level\":\"info\"}",
    ];
    for line in lines {
        session.server.send_line(line).await;
        assert_eq!(session.client.line().await, format!("{line}\n"));
    }
    for answer in ["{\"id\":1,\"result\":{ \"a\":1.0}}", "{\"id\":\"\\u0061\",\"error\":{}}"] {
        session.client.send_line(answer).await;
        assert_eq!(session.server.line().await, format!("{answer}\n"));
        session.client.send_line(answer).await;
        let message = session.client.receive().await;
        assert!(message["id"].is_null() && message["error"].is_object(), "{message}");
    }
    session.nothing_but(1).await;
    assert_eq!(session.rows()[0], "elicitation/create allow forwarded");
}

/// Ids of servers are easy to guess.
#[tokio::test]
async fn responses_without_an_open_request_are_refused() {
    let mut session = Session::asking();
    // Before it is asked, after it was refused, and under ids that some take for the same.
    session.client.send(result(7)).await;
    assert!(session.client.receive().await["error"].is_object());
    session.server.send(sample(7)).await;
    assert!(is_refusal(&session.server.receive().await, 7, "no models"));
    for id in ["7", "7.0", "\"7\"", "7e0", "null"] {
        session.client.send_line(&format!("{{\"id\":{id},\"result\":{{}}}}")).await;
        assert!(session.client.receive().await["error"].is_object(), "{id}");
    }
    session.nothing_but(1).await;
    session.server.send(form(7)).await;
    assert_eq!(session.client.receive().await, form(7), "an id may be used again");
    // Another request under its id would have two answers.
    for taken in [sample(7), json!({"id": 7, "method": "roots/list"})] {
        session.server.send(taken).await;
    }
    session.nothing_but(2).await;
    session.client.send(result(7)).await;
    assert_eq!(session.server.receive().await, result(7));
    // The parse error of a client that has no id to name.
    session.client.send(json!({"id": null, "error": {"code": -32700}})).await;
    assert_eq!(session.server.receive().await["error"]["code"], -32700);
}

#[tokio::test]
async fn ambiguous_server_messages_are_refused() {
    let mut session = Session::asking();
    for (line, message) in [
        (r#"{"id":1,"Method":"sampling/createMessage"}"#, true),
        (r#"{"id":2,"method":"ping","method":"sampling/createMessage"}"#, true),
        (r#"{"id":3,"method":"Sampling/createMessage"}"#, true),
        (r#"{"id":4,"method":["sampling/createMessage"]}"#, true),
        (r#"{"id":5,"method":"vendor/ASK"}"#, true),
        (r#"{"id":6,"method":"elicitation/create","params":{"Mode":"url"}}"#, true),
        (r#"{"id":7,"method":"elicitation/create","params":[]}"#, true),
        (r#"{"id":8,"method":"ping","result":{}}"#, true),
        (r#"{"id":9,"method":"tools/call","params":{"name":"x"}}"#, true),
        (r#"{"id":1,"id":2,"method":"sampling/createMessage"}"#, false),
        (r#"{"id":1.0,"method":"elicitation/create"}"#, false),
        (r#"{"method":"notifications/MESSAGE"}"#, false),
        (r#"{"id":1,"method":"sampling/createMessage"} {"#, false),
        (r#"[{"id":1,"method":"sampling/createMessage"},"#, false),
        ("{\"x\":\r{\"id\":1,\"method\":\"sampling/createMessage\"}\r,\"id\":2,\"x\":{}}", false),
    ] {
        session.server.send_line(line).await;
        if message {
            let message = session.server.receive().await;
            assert!(message["id"].is_u64() && message["error"].is_object(), "{line}: {message}");
        }
        session.nothing_but(1).await;
    }
}

#[tokio::test]
async fn ambiguous_answer_is_replaced_by_an_error() {
    let mut session = Session::asking();
    for answer in [
        r#"{"id":1,"result":{"inputrequests":{}}}"#,
        r#"{"id":1,"result":{"inputRequests":{},"inputRequests":{}}}"#,
        r#"{"id":1,"result":{},"result":{}}"#,
        r#"{"id":0,"id":1,"result":{}}"#,
        r#"{"id":1,"result":"\ud800"}"#,
    ] {
        session.client.send(json!({"id": 1, "method": "prompts/list"})).await;
        session.server.line().await;
        session.server.send_line(answer).await;
        let message = session.client.receive().await;
        assert_eq!(
            (&message["id"], &message["error"]["code"]),
            (&json!(1), &json!(UPSTREAM)),
            "{message}"
        );
    }
}

#[tokio::test]
async fn of_a_batch_only_what_is_refused_is_taken_out() {
    let mut session = Session::asking();
    session.initialize("2025-03-26").await;
    let passing = json!({"method": "notifications/x"});
    session.server.send(json!([sample(1), form(2), passing, sample(3)])).await;
    assert_eq!(session.client.receive().await, json!([form(2), passing]));
    for id in [1, 3] {
        assert!(is_refusal(&session.server.receive().await, id, "no models"));
    }
    // What is refused with its batch has not answered.
    let disguised = json!({"id": 9, "method": "tools/call", "params": {"Name": "x"}});
    session.client.send(json!([result(2), disguised])).await;
    assert!(session.client.receive().await.is_array());
    session.client.send(json!([result(2), result(2)])).await;
    assert!(session.client.receive().await.to_string().contains("error"));
    session.client.send(result(2)).await;
    assert_eq!(session.server.receive().await, result(2));
    session.server.send(json!([sample(4)])).await;
    session.server.receive().await;
    session.nothing_but(1).await;
}

/// In 2026-07-28 a server asks by its result, in 2025-11-25 for a link by an error.
#[tokio::test]
async fn result_with_a_refused_input_request_becomes_a_refusal() {
    let mut session = Session::asking();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let asks = |requests: Value| {
        json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "input_required",
               "requestState": "s", "inputRequests": requests}})
    };
    let request =
        |message: Value| json!({"method": message["method"], "params": message["params"]});
    let (form, sample) = (request(form(0)), request(sample(0)));
    session
        .client
        .send(json!({"id": "l", "method": "tools/list", "params": {"_meta": meta}}))
        .await;
    session.server.line().await;
    session.server.send(json!({"id": "l", "result": {"tools": [reader("look")]}})).await;
    session.client.line().await;
    let mut call = call(1, "look");
    call["params"]["_meta"] = meta;
    let prompt = json!({"id": 1, "method": "prompts/get", "params": {"name": "x"}});

    session.client.send(call.clone()).await;
    session.server.line().await;
    session.server.send(asks(json!({"a": form}))).await;
    assert_eq!(session.client.line().await, format!("{}\n", asks(json!({"a": form}))));

    session.client.send(call.clone()).await;
    session.server.line().await;
    session.server.send(asks(json!({"a": form, "b": sample}))).await;
    let message = session.client.receive().await;
    assert!(is_denial(&message) && message["result"]["resultType"] == "complete", "{message}");
    let words = message["result"]["content"][0]["text"].as_str().unwrap();
    assert!(words.contains("no models") && !words.contains("requestState"), "{words}");
    assert!(message["result"].get("inputRequests").is_none());

    session.client.send(prompt).await;
    session.server.line().await;
    session.server.send(asks(json!({"b": sample}))).await;
    assert!(is_refusal(&session.client.receive().await, 1, "no models"));

    session.client.send(call.clone()).await;
    session.server.line().await;
    let link = json!({"mode": "url", "url": "https://example.com"});
    let needs = json!({"id": 1, "error": {"code": -32042, "message": "m", "data": {"elicitations": [link]}}});
    session.server.send(needs).await;
    let message = session.client.receive().await;
    assert!(is_denial(&message) && message.to_string().contains("no links"), "{message}");
    assert!(
        message["result"].get("resultType").is_none()
            && !message.to_string().contains("example.com")
    );

    let task = json!({"method": "notifications/tasks",
                      "params": {"taskId": "t", "inputRequests": {"a": sample}}});
    session.server.send(task).await;
    session.nothing_but(1).await;
    let rows = session.rows();
    let judged = rows.iter().filter(|row| !row.starts_with("tools/call"));
    let expected = [
        "elicitation/create allow forwarded",
        "elicitation/create allow error",
        "sampling/createMessage deny refused",
        "sampling/createMessage deny refused",
        "elicitation/create deny refused",
        "sampling/createMessage deny refused",
    ];
    assert_eq!(judged.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn observing_rules_change_nothing() {
    let mut session = Session::under(&format!("{SPEAKS_OF_SERVERS}mode: observe\n"), |_| {});
    for line in [
        sample(1).to_string(),
        sample(1).to_string(),
        r#"{"id":2,"Method":"sampling/createMessage"}"#.to_owned(),
        r#"{"id":3,"method":"ping","method":"sampling/createMessage"}"#.to_owned(),
        r#"{"id":4,"result":{"inputrequests":{}}}"#.to_owned(),
    ] {
        session.server.send_line(&line).await;
        assert_eq!(session.client.line().await, format!("{line}\n"));
    }
    for id in [1, 2, 9] {
        session.client.send(result(id)).await;
        assert_eq!(session.server.receive().await["id"], id);
    }
    assert_eq!(session.rows(), ["sampling/createMessage deny observed"; 2]);
}

/// Where no rule speaks of what servers ask, none of it is read.
#[tokio::test]
async fn without_such_a_rule_everything_passes() {
    let silent = "name: t\nrules:\n  - { methods: [resources/read], effect: deny }\n";
    let mut session = Session::under(silent, |_| {});
    for line in [
        sample(1).to_string(),
        r#"{"id":1,"Method":"sampling/createMessage","x":1,"x":2}"#.to_owned(),
        r#"{"id":1,"result":{"inputRequests":{"a":{"method":"sampling/createMessage"}}}}"#
            .to_owned(),
        r#"[{"id":1,"method":"sampling/createMessage"},{"id":1,"method":1}]"#.to_owned(),
    ] {
        session.server.send_line(&line).await;
        assert_eq!(session.client.line().await, format!("{line}\n"));
    }
    session.client.send(result(77)).await;
    assert_eq!(session.server.receive().await["id"], 77);
    assert!(session.rows().is_empty());
}

#[tokio::test]
async fn server_requests_count_against_rate_limits() {
    let limited = "name: t\nrules:\n  - { methods: [roots/list], effect: allow }\n\
                   rate_limit: { enabled: true, requests_per_minute: 2 }\n";
    let mut session = Session::under(limited, |_| {});
    for id in 1..=2 {
        session.server.send(json!({"id": id, "method": "roots/list"})).await;
        assert_eq!(session.client.receive().await["id"], id);
    }
    session.server.send(json!({"id": 3, "method": "roots/list"})).await;
    assert!(is_refusal(&session.server.receive().await, 3, "2 "));
    session.nothing_but(1).await;
}

/// A policy may come into force while a client has a question: its answer still passes.
#[tokio::test]
async fn requests_from_before_a_policy_change_are_answered() {
    let mut session = Session::under("name: t\nrules: []\ndefault_effect: allow\n", |_| {});
    session.server.send(sample(1)).await;
    assert_eq!(session.client.receive().await, sample(1));
    let strict = Policy::from_file(load_str("test", SPEAKS_OF_SERVERS).unwrap());
    session.policy.store(Arc::new(strict));
    session.client.send(result(1)).await;
    assert_eq!(session.server.receive().await, result(1));
    session.client.send(result(1)).await;
    assert!(session.client.receive().await["error"].is_object());
}
