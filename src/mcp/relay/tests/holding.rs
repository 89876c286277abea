//! Calls that wait for the server's list of tools.

use super::*;

#[test]
fn a_call_that_comes_before_any_list_waits_for_one_and_holds_up_nothing() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        session.client.say(call(1, "look")).await;
        let list = session.server.hear().await;
        assert_eq!(list["method"], "tools/list");
        session.client.say(call(2, "look")).await;
        session.client.say(json!({"id": 3, "method": "ping"})).await;
        assert_eq!(session.server.hear().await["id"], 3);
        // The server asks the client before it answers the gate.
        session.server.say(json!({"id": 0, "method": "roots/list"})).await;
        assert_eq!(session.client.hear().await["method"], "roots/list");
        session.client.say(json!({"id": 0, "result": {"roots": []}})).await;
        assert!(session.server.hear().await.get("result").is_some());
        let page = json!({"id": list["id"], "result": {"tools": [], "nextCursor": "2"}});
        session.server.say(page).await;
        let next = session.server.hear().await;
        assert_eq!(next["params"]["cursor"], "2");
        session.server.say(json!({"id": next["id"], "result": {"tools": [reader("look")]}})).await;
        assert_eq!(session.server.hear().await, call(1, "look"));
        assert_eq!(session.server.hear().await, call(2, "look"));
        session.server.say(json!({"id": 1, "result": {}})).await;
        assert_eq!(session.client.hear().await["id"], 1, "the lists were swallowed");
    });
}

#[test]
fn a_client_that_does_not_wait_for_the_handshake_is_served_all_the_same() {
    run(async {
        let mut session = Session::start(|_| {});
        session.client.say(json!({"id": 0, "method": "initialize", "params": {}})).await;
        session.client.say(json!({"method": "notifications/initialized"})).await;
        session.client.say(call(1, "look")).await;
        session.server.line().await;
        session.server.line().await;
        session.server.say(json!({"id": 0, "result": {"protocolVersion": "2025-06-18"}})).await;
        let list = session.server.hear().await;
        session.server.say(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        assert_eq!(session.server.hear().await, call(1, "look"));
    });
}

#[test]
fn a_stateless_call_lends_its_meta_to_the_list() {
    run(async {
        let mut session = Session::start(|_| {});
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}});
        let mut asked = call(1, "denied");
        asked["params"]["_meta"] = meta.clone();
        session.client.say(asked).await;
        let list = session.server.hear().await;
        assert_eq!(list["params"]["_meta"], meta);
        session.server.say(json!({"id": list["id"], "error": {"code": -32601}})).await;
        let denial = session.client.hear().await;
        assert!(is_denial(&denial));
        assert_eq!(denial["result"]["resultType"], "complete");
    });
}

#[test]
fn a_list_that_does_not_come_leaves_the_worst_case() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        session.client.say(call(1, "look")).await;
        let list = session.server.hear().await;
        assert!(is_denial(&session.client.hear().await));
        // Late, and swallowed all the same.
        session.server.say(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        session.server.say(json!({"method": "x"})).await;
        assert_eq!(session.client.hear().await["method"], "x");
        session.client.say(call(2, "look")).await;
        assert_eq!(session.server.hear().await["id"], 2);
    });
}

#[test]
fn a_changed_list_is_asked_for_again_and_tightens() {
    run(async {
        let (mut session, list) = Session::called_after_a_change().await;
        let tools = json!([{"name": "look", "annotations": {"readOnlyHint": false}}]);
        session.server.say(json!({"id": list["id"], "result": {"tools": tools}})).await;
        assert!(is_denial(&session.client.hear().await));
    });
}

#[test]
fn a_list_that_changes_whenever_it_is_asked_for_is_the_worst_case() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        let changed = json!({"method": "notifications/tools/list_changed"});
        session.client.say(call(1, "look")).await;
        for _ in 0..MAX_LISTS {
            let list = session.server.hear().await;
            assert_eq!(list["method"], "tools/list");
            session.server.say(changed.clone()).await;
            let result = json!({"tools": [reader("look")]});
            session.server.say(json!({"id": list["id"], "result": result})).await;
            assert_eq!(session.client.hear().await, changed);
        }
        assert!(is_denial(&session.client.hear().await));
        session.server.say(changed.clone()).await;
        session.client.line().await;
        session.client.say(call(2, "look")).await;
        let list = session.server.hear().await;
        session.server.say(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        assert_eq!(session.server.hear().await, call(2, "look"), "a list that holds");
    });
}

#[test]
fn a_list_that_changed_and_does_not_come_is_not_decided_by() {
    run(async {
        let (mut session, list) = Session::called_after_a_change().await;
        session.server.say(json!({"id": list["id"], "error": {"code": -32603}})).await;
        assert!(is_denial(&session.client.hear().await));
    });
}

#[test]
fn a_held_call_that_is_cancelled_is_never_sent() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        session.client.say(call(1, "look")).await;
        let list = session.server.hear().await;
        let cancels = json!({"method": "notifications/cancelled", "params": {"requestId": 1}});
        session.client.say(cancels).await;
        assert_eq!(session.server.hear().await["method"], "notifications/cancelled");
        session.server.say(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        session.client.say(call(2, "look")).await;
        assert_eq!(session.server.hear().await["id"], 2);
        assert!(!session.relay.is_idle());
        session.server.say(json!({"id": 2, "result": {}})).await;
        session.client.line().await;
        assert!(session.relay.is_idle());
    });
}

#[test]
fn of_two_held_calls_with_one_id_both_are_decided() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        session.client.say(call(1, "look")).await;
        session.client.say(call(1, "denied")).await;
        let list = session.server.hear().await;
        session.server.say(json!({"id": list["id"], "result": {"tools": [reader("look")]}})).await;
        assert_eq!(session.server.hear().await, call(1, "look"));
        assert!(is_denial(&session.client.hear().await));
    });
}
