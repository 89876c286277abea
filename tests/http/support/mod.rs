//! Listening gates, real servers behind them, and raw requests.

pub(crate) mod pipes;
pub(crate) mod scripted;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chunks::unchunked;

pub(crate) use crate::raw::Answer;
pub(crate) use crate::real::installed;
pub(crate) use crate::wait::{TIMEOUT, eventually};

/// A process, killed at the end of the test.
pub(crate) struct Process(pub(crate) Child);

/// A gate that listens, with a home of its own.
pub(crate) struct Gate {
    pub(crate) home: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

/// A real server over HTTP.
pub(crate) struct Server {
    _folder: TempDir,
    _process: Process,
    pub(crate) url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The server of `helpers/server.py` over pipes.
pub(crate) fn over_pipes(installed: &Path) -> Vec<OsString> {
    let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/helpers/server.py");
    vec![installed.join("python/bin/python").into(), helper.into(), "-".into(), "stdio".into()]
}

impl Server {
    /// `helpers/server.py`.
    pub(crate) fn start(installed: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = folder.path().join("port");
        let mut command = Command::new(installed.join("python/bin/python"));
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/helpers/server.py"))
            .arg(&port)
            .stderr(Stdio::null());
        let process = Process(command.spawn().unwrap());
        let port = eventually("the server listens", || {
            std::fs::read_to_string(&port).ok().filter(|port| !port.is_empty())
        });
        Self { _folder: folder, _process: process, url: format!("http://127.0.0.1:{port}/mcp") }
    }

    /// server-everything, by one of its transports. It takes no port 0 and does not
    /// tell its port: where somebody else was faster, it ends, and another is tried.
    pub(crate) fn everything(installed: &Path, transport: &str, path: &str) -> Self {
        let script = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
        loop {
            let port = quiet_port();
            let mut command = Command::new("node");
            command
                .arg(installed.join(script))
                .arg(transport)
                .env("PORT", port.to_string())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut process = Process(command.spawn().unwrap());
            let listens =
                eventually("the server listens", || match process.0.try_wait().unwrap() {
                    Some(_) => Some(false),
                    None => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
                });
            if listens {
                let url = format!("http://127.0.0.1:{port}{path}");
                return Self { _folder: tempfile::tempdir().unwrap(), _process: process, url };
            }
        }
    }
}

/// A port that nobody listens on, below those that systems give away by themselves.
fn quiet_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// `agentgate` with a home of its own.
pub(crate) fn agentgate(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentgate"));
    command.env("AGENTGATE_HOME", home);
    command
}

impl Gate {
    /// `agentgate wrap --listen 127.0.0.1:0 …`
    pub(crate) fn listen(arguments: &[&str], target: &[OsString]) -> Self {
        Self::listen_with(arguments, target, |_| {})
    }

    pub(crate) fn listen_with(
        arguments: &[&str],
        target: &[OsString],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = agentgate(home.path());
        command.args(["wrap", "--name", "server", "--listen", "127.0.0.1:0"]).args(arguments);
        match target {
            [url] if url.to_string_lossy().starts_with("http") => command.arg(url),
            _ => command.arg("--").args(target),
        };
        prepare(&mut command);
        let (process, address) = listening(command, "agentgate: listening on http://");
        Self { home, address, process }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// A POST of one message with these header lines besides the usual ones.
    pub(crate) fn post(&self, headers: &str, message: &Value) -> Answer {
        self.post_text(headers, &message.to_string())
    }

    pub(crate) fn post_text(&self, headers: &str, message: &str) -> Answer {
        let usual =
            "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
        self.request("POST", &format!("{usual}{headers}"), message)
    }

    /// A request with these header lines; Host, length and close are added.
    pub(crate) fn request(&self, method: &str, headers: &str, body: &str) -> Answer {
        exchange(self.address, &whole(self.address, method, "/mcp", headers, body))
    }

    /// Opens a session of the handshake era; gives its id.
    pub(crate) fn session(&self, headers: &str) -> String {
        let opened = self.post(headers, &initialize());
        assert_eq!(opened.status, 200, "{opened:?}");
        let id = opened.header("mcp-session-id").expect("a session id").to_owned();
        let with = format!("{headers}Mcp-Session-Id: {id}\r\n");
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(self.post(&with, &initialized).status, 202);
        id
    }

    /// The rows of the log, oldest first.
    pub(crate) fn log(&self) -> Vec<Value> {
        log_of(self.home.path())
    }
}

/// The rows of the log in `home`, oldest first.
pub(crate) fn log_of(home: &Path) -> Vec<Value> {
    let listed =
        agentgate(home).args(["audit", "list", "--json", "--limit", "0"]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Starts what says on standard error where it listens.
pub(crate) fn listening(mut command: Command, says: &str) -> (Process, SocketAddr) {
    let mut process = Process(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let address = loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended: {said}")).unwrap();
        if let Some(rest) = line.strip_prefix(says) {
            let address = rest.split('/').next().unwrap();
            break address.parse().unwrap();
        }
        said.push_str(&line);
    };
    std::thread::spawn(move || lines.for_each(drop));
    (process, address)
}

/// The bytes of a request.
pub(crate) fn whole(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Vec<u8> {
    let length = body.len();
    let start = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    format!("{start}{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Sends bytes as they are and reads to the end.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    unchunked(crate::raw::exchange(address, bytes))
}

/// What comes, to the end.
pub(crate) fn rest(stream: TcpStream) -> Answer {
    unchunked(crate::raw::rest(stream))
}

impl Answer {
    /// The messages, of a JSON body or of an event stream.
    pub(crate) fn messages(&self) -> Vec<Value> {
        if let Ok(message) = serde_json::from_str(&self.body) {
            return vec![message];
        }
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// The last message.
    #[track_caller]
    pub(crate) fn message(&self) -> Value {
        self.messages().pop().unwrap_or_else(|| panic!("no message: {self:?}"))
    }
}

pub(crate) fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"}}})
}

pub(crate) fn call(id: u64, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
           "params": {"name": tool, "arguments": arguments}})
}

/// The same in the stateless era, and the headers that go with it.
pub(crate) fn stateless_call(id: u64, tool: &str, arguments: Value) -> (String, Value) {
    let mut call = call(id, tool, arguments);
    call["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"}});
    let headers = format!(
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
    );
    (headers, call)
}
