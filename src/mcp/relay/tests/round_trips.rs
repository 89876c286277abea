//! Answers that come with a request (2026-07-28).

use super::*;

fn meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"})
}

/// A call of `look`, with what is put beside its name.
fn look(id: u64, beside: &Value) -> Value {
    let mut call = call(id, "look");
    call["params"]["_meta"] = meta();
    for (key, value) in beside.as_object().unwrap() {
        call["params"][key] = value.clone();
    }
    call
}

fn answer(names: &[&str], state: &str) -> Value {
    let answers: serde_json::Map<_, _> =
        names.iter().map(|name| (name.to_string(), json!({"action": "accept"}))).collect();
    json!({"inputResponses": answers, "requestState": state})
}

/// The server's answer, which asks for a form under each of these names.
fn asks(id: u64, names: &[&str], state: &str) -> Value {
    let form = json!({"method": "elicitation/create", "params": {"message": "m"}});
    let requests: serde_json::Map<_, _> =
        names.iter().map(|name| (name.to_string(), form.clone())).collect();
    json!({"id": id, "result": {"resultType": "input_required", "requestState": state,
           "inputRequests": requests}})
}

impl Session {
    async fn with_look(policy: Option<&str>) -> Self {
        let mut session = match policy {
            Some(policy) => Self::under(policy, |_| {}),
            None => Self::asking(),
        };
        let list = json!({"id": "l", "method": "tools/list", "params": {"_meta": meta()}});
        session.client.send(list).await;
        session.server.line().await;
        session.server.send(json!({"id": "l", "result": {"tools": [reader("look")]}})).await;
        session.client.line().await;
        session
    }

    /// What the client says reaches the server as it is, and the server answers.
    async fn exchange(&mut self, request: &Value, answer: Value) {
        self.client.send(request.clone()).await;
        assert_eq!(self.server.receive().await, *request);
        self.server.send(answer.clone()).await;
        assert_eq!(self.client.receive().await, answer);
    }

    /// What the client says is refused, and the server hears nothing of it.
    async fn refused(&mut self, request: Value, words: &str) {
        self.client.send(request.clone()).await;
        let message = self.client.receive().await;
        assert!(message.to_string().contains(words), "{request}: {message}");
        assert!(message["result"]["isError"] == true || message["error"].is_object(), "{message}");
        self.nothing_but(99).await;
    }
}

const UNASKED: &str = "knows of no such question";

#[tokio::test]
async fn each_open_request_gets_one_response() {
    let mut session = Session::with_look(None).await;
    session.refused(look(1, &answer(&["a"], "s")), UNASKED).await;
    session.exchange(&look(2, &json!({})), asks(2, &["a", "b"], "s")).await;
    for beside in [
        answer(&["a", "c"], "s"),
        answer(&["a"], "t"),
        json!({"inputResponses": {"a": 1}}),
        json!({"inputResponses": {"a": 1}, "requestState": "s", "arguments": {"x": 1}}),
    ] {
        session.refused(look(3, &beside), UNASKED).await;
    }
    let mut other = look(3, &answer(&["a"], "s"));
    other["params"]["name"] = "look2".into();
    session.refused(other, UNASKED).await;
    for (method, id) in [("prompts/get", json!(3)), ("vendor/x", json!(3))] {
        let mut other = look(3, &answer(&["a"], "s"));
        (other["method"], other["id"]) = (method.into(), id);
        session.refused(other, UNASKED).await;
    }
    let done = json!({"id": 4, "result": {"resultType": "complete", "content": []}});
    session.exchange(&look(4, &answer(&["b", "a"], "s")), done).await;
    session.refused(look(5, &answer(&["a"], "s")), UNASKED).await;
    let rows = session.rows();
    assert!(rows.contains(&"tools/call deny refused".to_owned()), "{rows:?}");
    assert!(rows.contains(&"prompts/get deny refused".to_owned()), "{rows:?}");
}

#[tokio::test]
async fn each_round_trip_has_its_own_input_requests() {
    let mut session = Session::with_look(None).await;
    session.exchange(&look(1, &json!({})), asks(1, &["a"], "s")).await;
    session.exchange(&look(2, &answer(&["a"], "s")), asks(2, &["a"], "t")).await;
    session.refused(look(3, &answer(&["a"], "s")), UNASKED).await;
    // The request failed, and is sent again as it was.
    let failed = json!({"id": 4, "error": {"code": -32020, "message": "m"}});
    session.exchange(&look(4, &answer(&["a"], "t")), failed).await;
    let done = json!({"id": 5, "result": {"resultType": "complete", "content": []}});
    session.exchange(&look(5, &answer(&["a"], "t")), done).await;
    session.refused(look(6, &answer(&["a"], "t")), UNASKED).await;
    // Two calls that are alike have two answers.
    for id in [7, 8] {
        session.exchange(&look(id, &json!({})), asks(id, &["a"], "s")).await;
    }
    for id in [9, 10] {
        let done = json!({"id": id, "result": {"resultType": "complete", "content": []}});
        session.exchange(&look(id, &answer(&["a"], "s")), done).await;
    }
    session.refused(look(11, &answer(&["a"], "s")), UNASKED).await;
}

#[tokio::test]
async fn refused_input_requests_cannot_be_answered() {
    let mut session = Session::with_look(None).await;
    session.client.send(look(1, &json!({}))).await;
    session.server.line().await;
    let mut refused = asks(1, &["a", "b"], "s");
    refused["result"]["inputRequests"]["b"]["method"] = "sampling/createMessage".into();
    session.server.send(refused).await;
    assert!(is_denial(&session.client.receive().await));
    for beside in [answer(&["a"], "s"), answer(&["b"], "s"), json!({"inputResponses": {"b": 1}})] {
        session.refused(look(2, &beside), UNASKED).await;
    }
}

/// A request that the policy refuses has answered nothing.
#[tokio::test]
async fn refused_request_keeps_its_input_requests_open() {
    let policy = "name: t\nrules:\n  - { methods: [roots/list], effect: deny }\n  \
                  - { tool: look, effect: allow }\ndefault_effect: deny\n";
    let mut session = Session::with_look(Some(policy)).await;
    session.exchange(&look(1, &json!({})), asks(1, &["a"], "s")).await;
    let strict = policy.replace("{ tool: look, effect: allow }", "{ tool: look, effect: deny }");
    let stored = |text: &str| Arc::new(Policy::from_file(load_str("test", text).unwrap()));
    session.policy.store(stored(&strict));
    session.refused(look(2, &answer(&["a"], "s")), "denied by a rule").await;
    session.policy.store(stored(policy));
    let done = json!({"id": 3, "result": {"resultType": "complete", "content": []}});
    session.exchange(&look(3, &answer(&["a"], "s")), done).await;
}

#[tokio::test]
async fn a_task_is_answered_by_its_updates() {
    let mut session = Session::with_look(None).await;
    let request = |id: u64, method: &str, beside: Value| {
        let mut params = beside;
        params["_meta"] = meta();
        json!({"id": id, "method": method, "params": params})
    };
    let update = |id: u64, task: &str| {
        request(id, "tasks/update", json!({"taskId": task, "inputResponses": {"a": {}}}))
    };
    session.refused(update(1, "t"), UNASKED).await;
    let mut asks = asks(2, &["a"], "");
    asks["result"] = json!({"resultType": "complete", "taskId": "t", "status": "input_required",
                            "inputRequests": asks["result"]["inputRequests"]});
    session.exchange(&request(2, "tasks/get", json!({"taskId": "t"})), asks).await;
    session.refused(update(3, "u"), UNASKED).await;
    session.refused(look(3, &json!({"taskId": "t", "inputResponses": {"a": {}}})), UNASKED).await;
    session.exchange(&update(4, "t"), json!({"id": 4, "result": {}})).await;
    session.refused(update(5, "t"), UNASKED).await;
}

#[tokio::test]
async fn without_a_rule_that_is_enforced_answers_pass() {
    let observed = "name: t\nrules:\n  - { methods: [roots/list], effect: deny }\n\
                    default_effect: allow\nmode: observe\n";
    let silent = "name: t\nrules: []\ndefault_effect: allow\n";
    for policy in [observed, silent] {
        let mut session = Session::with_look(Some(policy)).await;
        let done = json!({"id": 1, "result": {"resultType": "complete", "content": []}});
        session.exchange(&look(1, &answer(&["a"], "s")), done).await;
    }
}
