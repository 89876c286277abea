use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::*;
use crate::mcp::bridge::Bridging;
use crate::mcp::http::fixture::relays;
use crate::mcp::http::remote::Target;
use crate::net::client::Client;

/// Takes connections and answers nothing.
async fn silent() -> (tokio::net::TcpListener, Arc<Remote>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target {
        uri: format!("http://{}/mcp", listener.local_addr().unwrap()).parse().unwrap(),
        login: None,
        headers: HeaderMap::new(),
        keeps_authorization: false,
        adds_param_headers: true,
        plain: false,
        bridging: Bridging::Never,
        max_message: 4 << 20,
    };
    let relay = relays(folder.path(), "allow_all");
    let begin = move |_: &Incoming| Arc::into_inner(relay()).unwrap();
    (listener, Remote::new(Client::without_roots().unwrap(), target, begin), folder)
}

#[tokio::test]
async fn requests_unanswered_long_after_the_input_ended_are_reported() {
    let (listener, remote, _folder) = silent().await;
    let arrived = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 64]).await;
            open.push(stream);
        }
    });
    let mut piped = PipedClient::new(
        remote,
        Agent::default(),
        Transport::Streamable,
        (4 << 20, Duration::ZERO),
    );
    Arc::get_mut(&mut piped).unwrap().last_answers = Duration::from_millis(200);
    let (client, gate) = tokio::io::duplex(1 << 16);
    let (read, write) = tokio::io::split(gate);
    let running = tokio::spawn(async move {
        let pipes = Pipes { input: read, output: write, gone: std::future::pending() };
        piped.run(pipes, std::future::pending()).await
    });
    let (read, mut write) = tokio::io::split(client);
    write
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{}}\n")
        .await
        .unwrap();
    write
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"resources/list\"}\n")
        .await
        .unwrap();
    write.shutdown().await.unwrap();
    let mut received = Vec::new();
    let mut lines = BufReader::new(read).lines();
    while received.len() < 2 {
        received.push(lines.next_line().await.unwrap().unwrap());
    }
    received.sort();
    for (line, id) in received.iter().zip(["\"id\":0", "\"id\":7"]) {
        assert!(line.contains(id) && line.contains("after the end of the input"), "{line}");
    }
    assert_eq!(running.await.unwrap(), End::Client);
    arrived.abort();
}
