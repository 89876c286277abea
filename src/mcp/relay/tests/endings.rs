//! How a conversation ends.

use super::*;
use crate::mcp::session::overdue;

#[test]
fn the_end_of_either_side_ends_the_other_and_loses_nothing() {
    run(async {
        let mut session = Session::listed(json!([]), |_| {}).await;
        session.client.line().await;
        session.client.send_line("{\"id\":1,\"method\":\"ping\"}").await;
        session.client.sink.as_mut().unwrap().shutdown().await.unwrap();
        session.relay.client_ended().await;
        assert_eq!(session.server.receive().await["id"], 1);
        assert_eq!(session.server.line().await, "", "the server sees the end");
        session.server.send(json!({"id": 1, "result": {}})).await;
        session.server.sink.as_mut().unwrap().shutdown().await.unwrap();
        assert_eq!(session.client.receive().await["id"], 1);
        assert_eq!(session.client.line().await, "");
        session.running.await.unwrap().unwrap();
    });
}

#[test]
fn responses_missing_long_after_the_input_ended_are_reported() {
    run(async {
        let mut session = Session::listed(json!([reader("look")]), |_| {}).await;
        session.client.line().await;
        session.client.send(json!({"id": "p", "method": "ping"})).await;
        session.client.send(call(1, "look")).await;
        session.client.sink.take();
        for _ in 0..2 {
            session.server.line().await;
        }
        overdue(&session.relay, std::future::ready(())).await;
        assert!(!session.relay.is_idle(), "a client that is gone gets nothing");
        overdue(&session.relay, std::future::pending()).await;
        let mut message = [session.client.receive().await, session.client.receive().await];
        message.sort_by_key(|answer| answer["id"].is_string());
        for (answer, id) in message.iter().zip([json!(1), json!("p")]) {
            let why = answer["error"]["message"].as_str().unwrap();
            assert!(answer["id"] == id && why.contains("end of the input"), "{answer}");
        }
        assert!(session.relay.is_idle());
    });
}

#[test]
fn a_call_that_waits_for_a_handshake_is_decided_some_time_after_the_end_of_the_input() {
    run(async {
        let mut session = Session::start(|_| {});
        session.client.send(json!({"id": 0, "method": "initialize", "params": {}})).await;
        session.client.send(json!({"method": "notifications/initialized"})).await;
        for (id, tool) in [(1, "denied"), (2, "push")] {
            session.client.send(call(id, tool)).await;
        }
        session.client.sink.as_mut().unwrap().shutdown().await.unwrap();
        for _ in 0..2 {
            session.server.line().await;
        }
        let message = session.client.receive().await;
        assert_eq!(
            (&message["id"], &message["result"]["isError"]),
            (&json!(1), &json!(true)),
            "{message}"
        );
        assert_eq!(session.server.receive().await, call(2, "push"), "what is allowed is not lost");
        assert!(!session.relay.is_idle(), "its answer is due, and so is the handshake's");
    });
}

#[test]
fn a_list_that_the_gate_does_not_get_either_is_not_waited_for_after_the_end_of_the_input() {
    run(async {
        let mut session = Session::start(|_| {});
        session.initialize("2025-11-25").await;
        session.client.send(json!({"id": "l", "method": "tools/list"})).await;
        session.client.send(call(1, "denied")).await;
        session.client.sink.as_mut().unwrap().shutdown().await.unwrap();
        overdue(&session.relay, std::future::pending()).await;
        assert_eq!(session.client.receive().await["id"], 1);
        let message = session.client.receive().await;
        let why = message["error"]["message"].as_str().unwrap();
        assert!(message["id"] == "l" && why.contains("does not list"), "{message}");
    });
}
