//! `agentgate wrap URL` with a client at its pipes that writes and reads lines.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::{Process, TIMEOUT, agentgate, eventually, initialize};

/// A client over pipes, the gate, and the gate's home.
pub(crate) struct Pipes {
    pub(crate) home: tempfile::TempDir,
    pub(crate) process: Process,
    input: Option<ChildStdin>,
    output: Receiver<String>,
}

impl Pipes {
    /// `agentgate wrap --policy allow_all … URL`
    pub(crate) fn start(arguments: &[&str], url: &str) -> Self {
        Self::start_with(arguments, url, |_| {})
    }

    pub(crate) fn start_with(
        arguments: &[&str],
        url: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let arguments = [&["--policy", "allow_all"], arguments].concat();
        Self::start_alone(&arguments, url, prepare)
    }

    /// `agentgate wrap … URL`
    pub(crate) fn start_alone(
        arguments: &[&str],
        url: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = agentgate(home.path());
        command.arg("wrap").args(arguments).arg(url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        prepare(&mut command);
        let mut process = Process(command.spawn().unwrap());
        let input = process.0.stdin.take();
        let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let (heard, output) = mpsc::channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| heard.send(line))
        });
        Self { home, process, input, output }
    }

    /// With a session of the handshake era.
    pub(crate) fn open(arguments: &[&str], url: &str) -> Self {
        let mut pipes = Self::start(arguments, url);
        pipes.handshake();
        pipes
    }

    pub(crate) fn handshake(&mut self) {
        self.send(&initialize());
        let answer = self.answer(&json!(0));
        assert!(answer["result"].is_object(), "{answer}");
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    pub(crate) fn send(&mut self, message: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    /// The next message; `None` at the end. Fails the test if neither comes.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Value> {
        let line = match self.output.recv_timeout(TIMEOUT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("neither a message nor the end"),
        };
        Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
    }

    /// The next message that answers `id`.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: &Value) -> Value {
        loop {
            let message = self.next().unwrap_or_else(|| panic!("no answer to {id}"));
            if message["id"] == *id && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// The end of the input.
    pub(crate) fn hang_up(&mut self) {
        self.input = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.0.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the gate ends", || self.process.0.try_wait().unwrap())
    }

    /// The rows of the log, oldest first.
    pub(crate) fn log(&self) -> Vec<Value> {
        super::log_of(self.home.path())
    }
}
