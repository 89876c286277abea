use super::*;
use crate::mcp::http::fixture::relays;

/// The responses to `requests`, each sent by another client, if the child sends `sent`.
async fn responses(requests: &[&'static str], sent: &[&str]) -> Vec<Option<Bytes>> {
    let folder = tempfile::tempdir().unwrap();
    let (input, _unwritten) = tokio::io::duplex(1 << 10);
    let relay = relays(folder.path(), "allow_all")();
    let session = Session::new("one".into(), relay, false, (input, Ready::at_once()));
    let register = |request: &&'static str| {
        let id = outline(request.as_bytes()).id.unwrap_or_else(|| BATCH.to_vec());
        session.register(id, Bytes::from_static(request.as_bytes())).unwrap()
    };
    let waiting: Vec<_> = requests.iter().map(register).collect();
    let sending = Queue::new();
    for sent in sent {
        sending.push(Bytes::copy_from_slice(sent.as_bytes()).into()).await.unwrap();
    }
    sending.close();
    Arc::clone(&session).distribute(sending).await.unwrap();
    session.ended();
    let mut received = Vec::new();
    for (.., mut receiver) in waiting {
        received.push(receiver.recv().await.map(|received| received.bytes));
    }
    received
}

#[tokio::test]
async fn array_is_delivered_to_the_sender_of_the_batch_or_split_by_request() {
    let (one, other) = (r#"{"id":1,"result":{}}"#, r#"{"id":"b","result":{}}"#);
    let array = format!("[{one}, {other}]\n");
    let (ask_one, ask_other) = (r#"{"id":1,"method":"x"}"#, r#"{"id":"b","method":"x"}"#);
    let single = |message: &str| Some(Bytes::copy_from_slice(message.as_bytes()));
    let answers = responses(&[ask_one, ask_other], &[&array]).await;
    assert_eq!(answers, [single(one), single(other)]);
    let batch = r#"[{"id":1,"method":"x"},{"id":"b","method":"x"}]"#;
    assert_eq!(responses(&[batch], &[&array]).await, [single(array.trim())]);
    let third = r#"{"id":3,"method":"x"}"#;
    let answers = responses(&[batch, third], &["[{\"id\":3,\"result\":{}}]", &array]).await;
    assert_eq!(answers, [single(array.trim()), single(r#"{"id":3,"result":{}}"#)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_holds_up_the_others_once() {
    let folder = tempfile::tempdir().unwrap();
    let (input, _unwritten) = tokio::io::duplex(1 << 10);
    let relay = relays(folder.path(), "allow_all")();
    let session = Session::new("one".into(), relay, false, (input, Ready::at_once()));
    let _unread = session.listen();
    let (_, _waiting, mut answers) =
        session.register(b"1".to_vec(), br#"{"id":1,"method":"x"}"#.as_slice().into()).unwrap();
    let note = format!("{{\"method\":\"n\",\"params\":\"{}\"}}\n", "x".repeat(1 << 20));
    let (output, began) = (Queue::new(), tokio::time::Instant::now());
    let sending = async {
        for sent in [&note, &note, &note, &note, "{\"id\":1,\"result\":{}}\n"] {
            output.push(Bytes::copy_from_slice(sent.as_bytes()).into()).await.unwrap();
        }
        output.close();
    };
    let ((), distributed) = tokio::join!(sending, Arc::clone(&session).distribute(output.clone()));
    distributed.unwrap();
    assert!(answers.recv().await.is_some_and(|answer| is_answer(&answer.bytes)));
    assert!(began.elapsed() < UNREAD_TIMEOUT * 2, "{:?}", began.elapsed());
}
