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
        self.server.say(json!({"method": "notifications/x", "params": {"n": id}})).await;
        assert_eq!(self.client.hear().await["params"]["n"], id);
        self.client.say(json!({"method": "notifications/x", "params": {"n": id}})).await;
        assert_eq!(self.server.hear().await["params"]["n"], id);
    }
}

fn is_refusal(message: &Value, id: u64, words: &str) -> bool {
    message["id"] == id
        && message["error"]["code"] == REFUSED
        && message["error"]["message"].as_str().is_some_and(|told| told.contains(words))
        && message["error"]["data"]["agentgate/decision"]["request_id"].is_string()
}

#[tokio::test]
async fn what_is_refused_is_answered_and_the_client_never_sees_it() {
    let mut session = Session::asking();
    let url = json!({"id": 8, "method": "elicitation/create", "params": {"mode": "url"}});
    for (asks, words) in [
        (sample(7), "no models"),
        (url, "no links"),
        (json!({"id": 9, "method": "vendor/ask"}), "needs a person's approval"),
    ] {
        session.server.say(asks.clone()).await;
        let told = session.server.hear().await;
        assert!(is_refusal(&told, asks["id"].as_u64().unwrap(), words), "{told}");
    }
    let debug = json!({"method": "notifications/message", "params": {"level": "debug"}});
    session.server.say(debug).await;
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
async fn what_is_allowed_passes_byte_for_byte_and_is_answered_once() {
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
        session.server.send(line).await;
        assert_eq!(session.client.line().await, format!("{line}\n"));
    }
    for answer in ["{\"id\":1,\"result\":{ \"a\":1.0}}", "{\"id\":\"\\u0061\",\"error\":{}}"] {
        session.client.send(answer).await;
        assert_eq!(session.server.line().await, format!("{answer}\n"));
        session.client.send(answer).await;
        let told = session.client.hear().await;
        assert!(told["id"].is_null() && told["error"].is_object(), "{told}");
    }
    session.nothing_but(1).await;
    assert_eq!(session.rows()[0], "elicitation/create allow forwarded");
}

/// Ids of servers are easy to guess.
#[tokio::test]
async fn a_client_answers_nothing_that_it_was_not_asked() {
    let mut session = Session::asking();
    // Before it is asked, after it was refused, and under ids that some take for the same.
    session.client.say(result(7)).await;
    assert!(session.client.hear().await["error"].is_object());
    session.server.say(sample(7)).await;
    assert!(is_refusal(&session.server.hear().await, 7, "no models"));
    for id in ["7", "7.0", "\"7\"", "7e0", "null"] {
        session.client.send(&format!("{{\"id\":{id},\"result\":{{}}}}")).await;
        assert!(session.client.hear().await["error"].is_object(), "{id}");
    }
    session.nothing_but(1).await;
    session.server.say(form(7)).await;
    assert_eq!(session.client.hear().await, form(7), "an id may be used again");
    // Another request under its id would have two answers.
    for taken in [sample(7), json!({"id": 7, "method": "roots/list"})] {
        session.server.say(taken).await;
    }
    session.nothing_but(2).await;
    session.client.say(result(7)).await;
    assert_eq!(session.server.hear().await, result(7));
    // The parse error of a client that has no id to name.
    session.client.say(json!({"id": null, "error": {"code": -32700}})).await;
    assert_eq!(session.server.hear().await["error"]["code"], -32700);
}

#[tokio::test]
async fn what_some_client_could_read_as_another_request_is_refused() {
    let mut session = Session::asking();
    for (line, told) in [
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
        session.server.send(line).await;
        if told {
            let told = session.server.hear().await;
            assert!(told["id"].is_u64() && told["error"].is_object(), "{line}: {told}");
        }
        session.nothing_but(1).await;
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_one_that_says_so() {
    let mut session = Session::asking();
    for answer in [
        r#"{"id":1,"result":{"inputrequests":{}}}"#,
        r#"{"id":1,"result":{"inputRequests":{},"inputRequests":{}}}"#,
        r#"{"id":1,"result":{},"result":{}}"#,
        r#"{"id":0,"id":1,"result":{}}"#,
        r#"{"id":1,"result":"\ud800"}"#,
    ] {
        session.client.say(json!({"id": 1, "method": "prompts/list"})).await;
        session.server.line().await;
        session.server.send(answer).await;
        let told = session.client.hear().await;
        assert_eq!((&told["id"], &told["error"]["code"]), (&json!(1), &json!(UPSTREAM)), "{told}");
    }
}

#[tokio::test]
async fn of_a_batch_only_what_is_refused_is_taken_out() {
    let mut session = Session::asking();
    session.initialize("2025-03-26").await;
    let passing = json!({"method": "notifications/x"});
    session.server.say(json!([sample(1), form(2), passing, sample(3)])).await;
    assert_eq!(session.client.hear().await, json!([form(2), passing]));
    for id in [1, 3] {
        assert!(is_refusal(&session.server.hear().await, id, "no models"));
    }
    // What is refused with its batch has not answered.
    let disguised = json!({"id": 9, "method": "tools/call", "params": {"Name": "x"}});
    session.client.say(json!([result(2), disguised])).await;
    assert!(session.client.hear().await.is_array());
    session.client.say(json!([result(2), result(2)])).await;
    assert!(session.client.hear().await.to_string().contains("error"));
    session.client.say(result(2)).await;
    assert_eq!(session.server.hear().await, result(2));
    session.server.say(json!([sample(4)])).await;
    session.server.hear().await;
    session.nothing_but(1).await;
}

/// In 2026-07-28 a server asks by its result, in 2025-11-25 for a link by an error.
#[tokio::test]
async fn a_result_that_asks_for_what_is_refused_is_a_refusal() {
    let mut session = Session::asking();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let asks = |requests: Value| {
        json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "input_required",
               "requestState": "s", "inputRequests": requests}})
    };
    let request =
        |message: Value| json!({"method": message["method"], "params": message["params"]});
    let (form, sample) = (request(form(0)), request(sample(0)));
    session.client.say(json!({"id": "l", "method": "tools/list", "params": {"_meta": meta}})).await;
    session.server.line().await;
    session.server.say(json!({"id": "l", "result": {"tools": [reader("look")]}})).await;
    session.client.line().await;
    let mut call = call(1, "look");
    call["params"]["_meta"] = meta;
    let prompt = json!({"id": 1, "method": "prompts/get", "params": {"name": "x"}});

    session.client.say(call.clone()).await;
    session.server.line().await;
    session.server.say(asks(json!({"a": form}))).await;
    assert_eq!(session.client.line().await, format!("{}\n", asks(json!({"a": form}))));

    session.client.say(call.clone()).await;
    session.server.line().await;
    session.server.say(asks(json!({"a": form, "b": sample}))).await;
    let told = session.client.hear().await;
    assert!(is_denial(&told) && told["result"]["resultType"] == "complete", "{told}");
    let words = told["result"]["content"][0]["text"].as_str().unwrap();
    assert!(words.contains("no models") && !words.contains("requestState"), "{words}");
    assert!(told["result"].get("inputRequests").is_none());

    session.client.say(prompt).await;
    session.server.line().await;
    session.server.say(asks(json!({"b": sample}))).await;
    assert!(is_refusal(&session.client.hear().await, 1, "no models"));

    session.client.say(call.clone()).await;
    session.server.line().await;
    let link = json!({"mode": "url", "url": "https://example.com"});
    let needs = json!({"id": 1, "error": {"code": -32042, "message": "m", "data": {"elicitations": [link]}}});
    session.server.say(needs).await;
    let told = session.client.hear().await;
    assert!(is_denial(&told) && told.to_string().contains("no links"), "{told}");
    assert!(
        told["result"].get("resultType").is_none() && !told.to_string().contains("example.com")
    );

    let task = json!({"method": "notifications/tasks",
                      "params": {"taskId": "t", "inputRequests": {"a": sample}}});
    session.server.say(task).await;
    session.nothing_but(1).await;
    let rows = session.rows();
    let asked = rows.iter().filter(|row| !row.starts_with("tools/call"));
    let expected = [
        "elicitation/create allow forwarded",
        "elicitation/create allow error",
        "sampling/createMessage deny refused",
        "sampling/createMessage deny refused",
        "elicitation/create deny refused",
        "sampling/createMessage deny refused",
    ];
    assert_eq!(asked.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn what_only_observes_changes_nothing() {
    let mut session = Session::under(&format!("{SPEAKS_OF_SERVERS}mode: observe\n"), |_| {});
    for line in [
        sample(1).to_string(),
        sample(1).to_string(),
        r#"{"id":2,"Method":"sampling/createMessage"}"#.to_owned(),
        r#"{"id":3,"method":"ping","method":"sampling/createMessage"}"#.to_owned(),
        r#"{"id":4,"result":{"inputrequests":{}}}"#.to_owned(),
    ] {
        session.server.send(&line).await;
        assert_eq!(session.client.line().await, format!("{line}\n"));
    }
    for id in [1, 2, 9] {
        session.client.say(result(id)).await;
        assert_eq!(session.server.hear().await["id"], id);
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
        session.server.send(&line).await;
        assert_eq!(session.client.line().await, format!("{line}\n"));
    }
    session.client.say(result(77)).await;
    assert_eq!(session.server.hear().await["id"], 77);
    assert!(session.rows().is_empty());
}

#[tokio::test]
async fn what_servers_ask_counts_to_a_rate_limit() {
    let limited = "name: t\nrules:\n  - { methods: [roots/list], effect: allow }\n\
                   rate_limit: { enabled: true, requests_per_minute: 2 }\n";
    let mut session = Session::under(limited, |_| {});
    for id in 1..=2 {
        session.server.say(json!({"id": id, "method": "roots/list"})).await;
        assert_eq!(session.client.hear().await["id"], id);
    }
    session.server.say(json!({"id": 3, "method": "roots/list"})).await;
    assert!(is_refusal(&session.server.hear().await, 3, "2 "));
    session.nothing_but(1).await;
}

/// A policy may come into force while a client has a question: its answer still passes.
#[tokio::test]
async fn what_was_asked_before_a_policy_came_is_answered() {
    let mut session = Session::under("name: t\nrules: []\ndefault_effect: allow\n", |_| {});
    session.server.say(sample(1)).await;
    assert_eq!(session.client.hear().await, sample(1));
    let strict = Policy::from_file(load_str("test", SPEAKS_OF_SERVERS).unwrap());
    session.policy.store(Arc::new(strict));
    session.client.say(result(1)).await;
    assert_eq!(session.server.hear().await, result(1));
    session.client.say(result(1)).await;
    assert!(session.client.hear().await["error"].is_object());
}
