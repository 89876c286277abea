use super::*;
use crate::mcp::http::fixture::relays;

/// What those who ask, each for one of `asked`, are told where the child says `said`.
async fn told(asked: &[&'static str], said: &[&str]) -> Vec<Option<Bytes>> {
    let folder = tempfile::tempdir().unwrap();
    let (input, _unwritten) = tokio::io::duplex(1 << 10);
    let relay = relays(folder.path(), "allow_all")();
    let session = Session::new("one".into(), relay, false, (input, Ready::at_once()));
    let expect = |asked: &&'static str| {
        let id = outline(asked.as_bytes()).id.unwrap_or_else(|| BATCH.to_vec());
        session.expect(id, Bytes::from_static(asked.as_bytes())).unwrap()
    };
    let waiting: Vec<_> = asked.iter().map(expect).collect();
    let says = Queue::new();
    for said in said {
        says.push(Bytes::copy_from_slice(said.as_bytes()).into()).await.unwrap();
    }
    says.close();
    Arc::clone(&session).distribute(says).await.unwrap();
    session.ended();
    let mut told = Vec::new();
    for (.., mut receiver) in waiting {
        told.push(receiver.recv().await.map(|told| told.bytes));
    }
    told
}

#[tokio::test]
async fn an_array_goes_to_who_sent_the_batch_or_in_parts_to_who_asked() {
    let (one, other) = (r#"{"id":1,"result":{}}"#, r#"{"id":"b","result":{}}"#);
    let array = format!("[{one}, {other}]\n");
    let (ask_one, ask_other) = (r#"{"id":1,"method":"x"}"#, r#"{"id":"b","method":"x"}"#);
    let single = |message: &str| Some(Bytes::copy_from_slice(message.as_bytes()));
    let answers = told(&[ask_one, ask_other], &[&array]).await;
    assert_eq!(answers, [single(one), single(other)]);
    let batch = r#"[{"id":1,"method":"x"},{"id":"b","method":"x"}]"#;
    assert_eq!(told(&[batch], &[&array]).await, [single(array.trim())]);
    let third = r#"{"id":3,"method":"x"}"#;
    let answers = told(&[batch, third], &["[{\"id\":3,\"result\":{}}]", &array]).await;
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
        session.expect(b"1".to_vec(), br#"{"id":1,"method":"x"}"#.as_slice().into()).unwrap();
    let note = format!("{{\"method\":\"n\",\"params\":\"{}\"}}\n", "x".repeat(1 << 20));
    let (told, began) = (Queue::new(), tokio::time::Instant::now());
    let says = async {
        for said in [&note, &note, &note, &note, "{\"id\":1,\"result\":{}}\n"] {
            told.push(Bytes::copy_from_slice(said.as_bytes()).into()).await.unwrap();
        }
        told.close();
    };
    let ((), heard) = tokio::join!(says, Arc::clone(&session).distribute(told.clone()));
    heard.unwrap();
    assert!(answers.recv().await.is_some_and(|answer| is_answer(&answer.bytes)));
    assert!(began.elapsed() < UNREAD_TIMEOUT * 2, "{:?}", began.elapsed());
}
