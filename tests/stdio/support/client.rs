//! A raw client: it writes the lines it is told to and reads what comes back,
//! with nothing between the test and the bytes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::TIMEOUT;

/// A client in front of a command that speaks MCP over its pipes.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    answers: HashMap<String, Value>,
    parked: Vec<Value>,
}

impl Client {
    /// Starts `command`. The read ends are drained by threads of their own, so
    /// nothing that the test does not read can hold the command up.
    pub(crate) fn spawn(command: &[OsString]) -> Self {
        let (program, arguments) = command.split_first().unwrap();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let mut pipe = child.stderr.take().unwrap();
        let collected = Arc::clone(&stderr);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut chunk) {
                collected.lock().unwrap().extend_from_slice(&chunk[..read]);
            }
        });
        Self { child, stdin, lines, stderr, answers: HashMap::new(), parked: Vec::new() }
    }

    /// Answers the server's own requests for `method` with `result` from now on.
    pub(crate) fn answer(&mut self, method: &str, result: Value) {
        self.answers.insert(method.to_owned(), result);
    }

    /// The process that was started; with a tee in front that is the tee.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Writes the bytes as they are.
    #[track_caller]
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let sent = self.try_send_bytes(bytes);
        assert!(sent, "the command closed its input; it said: {}", self.stderr());
    }

    /// Writes the bytes as they are, unless the command is gone.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).and_then(|()| stdin.flush()).is_ok()
    }

    /// Writes one line.
    #[track_caller]
    pub(crate) fn send(&mut self, line: impl AsRef<[u8]>) {
        let mut bytes = line.as_ref().to_vec();
        bytes.push(b'\n');
        self.send_bytes(&bytes);
    }

    /// Initialises the session the 2025 way, under the id `init`.
    #[track_caller]
    pub(crate) fn initialize(&mut self) -> Value {
        self.send(
            r#"{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#,
        );
        let reply = self.reply(&json!("init"));
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        reply
    }

    /// Calls a tool and gives the reply.
    #[track_caller]
    pub(crate) fn call(&mut self, id: u64, tool: &str, arguments: &Value) -> Value {
        self.send(
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                   "params": {"name": tool, "arguments": arguments}})
            .to_string(),
        );
        self.reply(&json!(id))
    }

    /// The reply to the request `id`, whenever it comes.
    #[track_caller]
    pub(crate) fn reply(&mut self, id: &Value) -> Value {
        self.wait_for(&format!("the reply to {id}"), |message| {
            message.get("method").is_none() && message.get("id") == Some(id)
        })
    }

    /// The first message not yet waited for that `fits`. The server's requests
    /// are answered on the way.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        if let Some(at) = self.parked.iter().position(&fits) {
            return self.parked.remove(at);
        }
        loop {
            match self.next_line(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let message = serde_json::from_slice(&line).unwrap_or(Value::Null);
                    self.answer_to(&message);
                    if fits(&message) {
                        return message;
                    }
                    self.parked.push(message);
                }
                Err(error) => panic!(
                    "{what}: {error}; unclaimed so far: [{}]; the command said: {}",
                    self.parked.iter().map(brief).collect::<Vec<_>>().join(", "),
                    self.stderr()
                ),
            }
        }
    }

    /// The first message that came and was not waited for.
    pub(crate) fn take_unclaimed(&mut self) -> Option<Value> {
        (!self.parked.is_empty()).then(|| self.parked.remove(0))
    }

    /// Drops the messages that came and were not waited for.
    pub(crate) fn forget_unclaimed(&mut self) {
        self.parked.clear();
    }

    /// The next line of output, its end included.
    pub(crate) fn next_line(&mut self, within: Duration) -> Result<Vec<u8>, RecvTimeoutError> {
        self.lines.recv_timeout(within)
    }

    /// All that the command has said on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Closes the command's input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal to the command.
    pub(crate) fn signal(&self, signal: Signal) {
        // It may be gone already; that is for `wait` to tell.
        let _ = kill_process(self.pid(), signal);
    }

    /// How the command ended, if it did within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(crate::wait::POLL_INTERVAL);
        }
    }

    /// Closes the input and waits for the end, which must come by itself.
    #[track_caller]
    pub(crate) fn close(mut self) -> ExitStatus {
        self.end_input();
        self.wait(TIMEOUT).unwrap_or_else(|| panic!("no end after EOF: {}", self.stderr()))
    }

    fn answer_to(&mut self, message: &Value) {
        let Some(method) = message.get("method").and_then(Value::as_str) else { return };
        let (Some(id), Some(result)) = (message.get("id"), self.answers.get(method)) else {
            return;
        };
        let reply = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        self.send(reply);
    }
}

/// Nothing that a failing test started outlives it.
impl Drop for Client {
    fn drop(&mut self) {
        self.stdin = None;
        if self.child.try_wait().ok().flatten().is_none() {
            self.signal(Signal::TERM);
            if self.wait(Duration::from_secs(6)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

/// Enough of a message to recognise it by.
fn brief(message: &Value) -> String {
    message.to_string().chars().take(200).collect()
}
