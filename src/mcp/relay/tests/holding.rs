//! Calls that wait for the server's list of tools.

use super::*;

#[test]
fn call_before_the_first_list_waits_without_blocking_others() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        session.client.send(call(1, "look")).await;
        let list = session.server.receive().await;
        assert_eq!(list["method"], "tools/list");
        session.client.send(call(2, "look")).await;
        session.client.send(json!({"id": 3, "method": "ping"})).await;
        assert_eq!(session.server.receive().await["id"], 3);
        // The server asks the client before it answers the gate.
        session.server.send(json!({"id": 0, "method": "roots/list"})).await;
        assert_eq!(session.client.receive().await["method"], "roots/list");
        session.client.send(json!({"id": 0, "result": {"roots": []}})).await;
        assert!(session.server.receive().await.get("result").is_some());
        let page = json!({"id": list["id"], "result": {"tools": [], "nextCursor": "2"}});
        session.server.send(page).await;
        let next = session.server.receive().await;
        assert_eq!(next["params"]["cursor"], "2");
        session.server.send(json!({"id": next["id"], "result": {"tools": [reader("look")]}})).await;
        assert_eq!(session.server.receive().await, call(1, "look"));
        assert_eq!(session.server.receive().await, call(2, "look"));
        session.server.send(json!({"id": 1, "result": {}})).await;
        assert_eq!(session.client.receive().await["id"], 1, "the lists were swallowed");
    });
}

#[test]
fn a_client_that_does_not_wait_for_the_handshake_is_served_all_the_same() {
    run(async {
        let mut session = Session::start(|_| {});
        session.client.send(json!({"id": 0, "method": "initialize", "params": {}})).await;
        session.client.send(json!({"method": "notifications/initialized"})).await;
        session.client.send(call(1, "look")).await;
        session.server.line().await;
        session.server.line().await;
        session.server.send(json!({"id": 0, "result": {"protocolVersion": "2025-06-18"}})).await;
        let list = session.server.receive().await;
        session.server.send(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        assert_eq!(session.server.receive().await, call(1, "look"));
    });
}

#[test]
fn list_request_uses_the_meta_of_a_stateless_call() {
    run(async {
        let mut session = Session::start(|_| {});
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}});
        let mut request = call(1, "denied");
        request["params"]["_meta"] = meta.clone();
        session.client.send(request).await;
        let list = session.server.receive().await;
        assert_eq!(list["params"]["_meta"], meta);
        session.server.send(json!({"id": list["id"], "error": {"code": -32601}})).await;
        let denial = session.client.receive().await;
        assert!(is_denial(&denial));
        assert_eq!(denial["result"]["resultType"], "complete");
    });
}

#[test]
fn a_list_that_does_not_come_leaves_the_worst_case() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        session.client.send(call(1, "look")).await;
        let list = session.server.receive().await;
        assert!(is_denial(&session.client.receive().await));
        // Late, and swallowed all the same.
        session.server.send(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        session.server.send(json!({"method": "x"})).await;
        assert_eq!(session.client.receive().await["method"], "x");
        session.client.send(call(2, "look")).await;
        assert_eq!(session.server.receive().await["id"], 2);
    });
}

#[test]
fn changed_list_is_requested_again_and_can_only_tighten() {
    run(async {
        let (mut session, list) = Session::called_after_a_change().await;
        let tools = json!([{"name": "look", "annotations": {"readOnlyHint": false}}]);
        session.server.send(json!({"id": list["id"], "result": {"tools": tools}})).await;
        assert!(is_denial(&session.client.receive().await));
    });
}

#[test]
fn list_that_changes_on_every_request_is_treated_as_destructive() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        let changed = json!({"method": "notifications/tools/list_changed"});
        session.client.send(call(1, "look")).await;
        for _ in 0..MAX_LISTS {
            let list = session.server.receive().await;
            assert_eq!(list["method"], "tools/list");
            session.server.send(changed.clone()).await;
            let result = json!({"tools": [reader("look")]});
            session.server.send(json!({"id": list["id"], "result": result})).await;
            assert_eq!(session.client.receive().await, changed);
        }
        assert!(is_denial(&session.client.receive().await));
        session.server.send(changed.clone()).await;
        session.client.line().await;
        session.client.send(call(2, "look")).await;
        let list = session.server.receive().await;
        session.server.send(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        assert_eq!(session.server.receive().await, call(2, "look"), "a list that holds");
    });
}

#[test]
fn a_list_that_changed_and_does_not_come_is_not_decided_by() {
    run(async {
        let (mut session, list) = Session::called_after_a_change().await;
        session.server.send(json!({"id": list["id"], "error": {"code": -32603}})).await;
        assert!(is_denial(&session.client.receive().await));
    });
}

#[test]
fn a_held_call_that_is_cancelled_is_never_sent() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        session.client.send(call(1, "look")).await;
        let list = session.server.receive().await;
        let cancels = json!({"method": "notifications/cancelled", "params": {"requestId": 1}});
        session.client.send(cancels).await;
        assert_eq!(session.server.receive().await["method"], "notifications/cancelled");
        session.server.send(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        session.client.send(call(2, "look")).await;
        assert_eq!(session.server.receive().await["id"], 2);
        assert!(!session.relay.is_idle());
        session.server.send(json!({"id": 2, "result": {}})).await;
        session.client.line().await;
        assert!(session.relay.is_idle());
    });
}

#[test]
fn of_two_held_calls_with_one_id_both_are_decided() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        session.client.send(call(1, "look")).await;
        session.client.send(call(1, "denied")).await;
        let list = session.server.receive().await;
        session.server.send(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        assert_eq!(session.server.receive().await, call(1, "look"));
        assert!(is_denial(&session.client.receive().await));
    });
}
