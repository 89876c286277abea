//! An MCP session over pipes, for measurements.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// A running command after initialization.
pub(crate) struct Session {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
    next_id: u64,
    /// Time from starting the command to the start of the server.
    pub(crate) start: Duration,
}

impl Session {
    /// Starts `command` with `home` as the gate's home, and initializes.
    pub(crate) fn open(command: &[OsString], home: &Path) -> anyhow::Result<Self> {
        let (program, arguments) = command.split_first().context("no command")?;
        let started = super::echo::now();
        let mut child = Command::new(program)
            .args(arguments)
            .env("AGENTGATE_HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = child.stdin.take().context("no pipe")?;
        let stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut session =
            Self { child, stdin, stdout, line: Vec::new(), next_id: 0, start: Duration::ZERO };
        session.ask("initialize", r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}"#)?;
        let reply: serde_json::Value = serde_json::from_slice(&session.line)?;
        let server_started: u128 = reply
            .pointer("/result/serverInfo/version")
            .and_then(serde_json::Value::as_str)
            .context("no start time in the reply")?
            .parse()?;
        session.start = Duration::from_nanos(u64::try_from(server_started - started)?);
        session
            .stdin
            .write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")?;
        session.ask("tools/list", "{}")?;
        Ok(session)
    }

    /// Sends a request and waits for its response; returns the time taken.
    pub(crate) fn ask(&mut self, method: &str, params: &str) -> anyhow::Result<Duration> {
        let request = request(self.next_id, method, params);
        self.next_id += 1;
        let asked = Instant::now();
        self.stdin.write_all(request.as_bytes())?;
        self.line.clear();
        self.stdout.read_until(b'\n', &mut self.line)?;
        let took = asked.elapsed();
        ensure!(
            memchr::memmem::find(&self.line, b"\"result\"").is_some()
                && memchr::memmem::find(&self.line, b"\"isError\"").is_none(),
            "not an answer: {}",
            String::from_utf8_lossy(&self.line)
        );
        Ok(took)
    }

    /// Sends `count` calls with `text`, up to `window` of them in flight; returns the total time.
    pub(crate) fn flood(
        &mut self,
        text: &str,
        count: u64,
        window: u64,
    ) -> anyhow::Result<Duration> {
        let first = self.next_id;
        self.next_id += count;
        let (slots, free) = std::sync::mpsc::channel::<()>();
        for _ in 0..window {
            slots.send(())?;
        }
        let began = Instant::now();
        thread::scope(|scope| -> anyhow::Result<()> {
            let stdin = &mut self.stdin;
            let writer = scope.spawn(move || -> anyhow::Result<()> {
                for id in first..first + count {
                    free.recv()?;
                    stdin.write_all(request(id, "tools/call", &call(text)).as_bytes())?;
                }
                Ok(())
            });
            for _ in 0..count {
                self.line.clear();
                self.stdout.read_until(b'\n', &mut self.line)?;
                ensure!(self.line.len() > text.len(), "a short answer");
                // The writer may have ended.
                let _ = slots.send(());
            }
            writer.join().map_err(|_| anyhow::anyhow!("the writing thread panicked"))?
        })?;
        Ok(began.elapsed())
    }

    /// Resident memory of the command, in KiB; `None` without /proc.
    pub(crate) fn resident(&self) -> Option<u64> {
        resident(self.child.id())
    }

    /// Like [`Self::resident`], including descendants that run the same program. Shared pages count
    /// for each.
    pub(crate) fn resident_with_kin(&self) -> Option<u64> {
        let own = program(self.child.id())?;
        let kin = family(self.child.id()).filter(|&pid| program(pid).as_ref() == Some(&own));
        Some(kin.filter_map(resident).sum())
    }

    /// Closes the input and waits for the command to end.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        self.child.wait()?;
        Ok(())
    }
}

/// Parameters of a call of the tool `echo`.
pub(crate) fn call(text: &str) -> String {
    format!(r#"{{"name":"echo","arguments":{{"text":"{text}"}}}}"#)
}

fn request(id: u64, method: &str, params: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n")
}

fn program(pid: u32) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// A process and its descendants.
fn family(pid: u32) -> Box<dyn Iterator<Item = u32>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children: Vec<u32> = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect();
    Box::new(std::iter::once(pid).chain(children.into_iter().flat_map(family)))
}
