//! The server behind the proxies: answers MCP and REST requests at once.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Length of REST responses, that of a small record.
const RECORD: usize = 1_000;

/// Number of sessions opened.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// Prints its port and serves until it is killed.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        io::Write::write_all(&mut io::stdout(), format!("{port}\n").as_bytes())?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream));
        }
    })
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(128 << 10);
    loop {
        let Some((head, length)) = read(&mut stream, &mut buffer).await? else { return Ok(()) };
        let body = buffer.get(head..head + length).unwrap_or_default();
        let answer = answer(body);
        stream.write_all(&answer).await?;
        buffer.drain(..head + length);
    }
}

/// Reads one request; returns the lengths of its head and body.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(usize, usize)>> {
    loop {
        if let Some(head) = memchr::memmem::find(buffer, b"\r\n\r\n").map(|at| at + 4) {
            let length = content_length(buffer.get(..head).unwrap_or_default());
            if buffer.len() >= head + length {
                return Ok(Some((head, length)));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The `Content-Length` of a head; 0 if missing.
pub(crate) fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn answer(body: &[u8]) -> Vec<u8> {
    let message: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let result = match message.get("method").and_then(serde_json::Value::as_str) {
        None => return whole(&format!("{{\"record\":\"{}\"}}", "x".repeat(RECORD))),
        Some("tools/list") => {
            r#"{"tools":[{"name":"echo","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}]}"#
        }
        Some("initialize") => {
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}"#
        }
        Some(_) => r#"{"content":[{"type":"text","text":"done"}]}"#,
    };
    let id = message.get("id").cloned().unwrap_or_default();
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    match message.get("method").and_then(serde_json::Value::as_str) {
        Some("initialize") => {
            let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
            with(&format!("Mcp-Session-Id: session-{session}\r\n"), &body)
        }
        _ => whole(&body),
    }
}

fn whole(body: &str) -> Vec<u8> {
    with("", body)
}

fn with(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
