//! A server that answers by script.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::TIMEOUT;

/// A server that answers by script, and remembers what it was sent.
pub(crate) struct Scripted {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Bytes for the text of a request; none close the connection.
    pub(crate) fn start(script: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serving(move |request, stream| {
            let answer = script(request);
            let closes = answer.is_empty() || has(&answer, b"Connection: close");
            stream.write_all(&answer).is_ok() && !closes
        })
    }

    /// Whatever `handler` does with a request; `false` closes the connection.
    pub(crate) fn serving(
        handler: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (seen, handler) = (Arc::clone(&requests), Arc::new(handler));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                std::thread::spawn(move || serve(stream, &seen, &*handler));
            }
        });
        Self { url, requests }
    }

    /// The requests so far, heads and bodies.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// How many of them begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.requests().iter().filter(|request| request.starts_with(start)).count()
    }
}

/// What a server does that never answers.
pub(crate) fn never() -> ! {
    loop {
        std::thread::park();
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    handler: &dyn Fn(&str, &mut TcpStream) -> bool,
) {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let request = head + &String::from_utf8_lossy(&body);
        seen.lock().unwrap().push(request.clone());
        if !handler(&request, &mut stream) {
            return;
        }
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The message in a request.
pub(crate) fn message_of(request: &str) -> Value {
    let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_default()
}

/// A whole answer of this status, with these header lines.
pub(crate) fn whole_answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

pub(crate) fn answer(kind: &str, body: &str) -> Vec<u8> {
    whole_answer("200 OK", &format!("Content-Type: {kind}\r\n"), body)
}

pub(crate) fn json_answer(message: &Value) -> Vec<u8> {
    answer("application/json", &message.to_string())
}

pub(crate) fn accepted() -> Vec<u8> {
    whole_answer("202 Accepted", "", "")
}

/// The head of a stream of events that ends with its connection.
pub(crate) const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// Answers with a stream of these events, which ends with its connection.
pub(crate) fn tells(stream: &mut TcpStream, events: &str) -> bool {
    stream.write_all(STREAM).unwrap();
    stream.write_all(events.as_bytes()).unwrap();
    false
}

/// Answers the handshake, the list, and notifications; `None` for all else.
pub(crate) fn usual(request: &str) -> Option<Vec<u8>> {
    let message = message_of(request);
    let result = match message["method"].as_str() {
        Some("initialize") => {
            json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                   "serverInfo": {"name": "scripted", "version": "1"}})
        }
        Some("tools/list") => {
            let look = json!({"name": "look", "inputSchema": {"type": "object"},
                              "annotations": {"readOnlyHint": true}});
            json!({"tools": [look], "resultType": "complete"})
        }
        Some("notifications/initialized") => return Some(accepted()),
        None if request.starts_with("DELETE") => return Some(whole_answer("200 OK", "", "")),
        None if request.starts_with("GET") => {
            return Some(whole_answer("405 Method Not Allowed", "", ""));
        }
        _ => return None,
    };
    Some(json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result})))
}

pub(crate) fn result(id: &Value, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
}
