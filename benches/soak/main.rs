//! Memory and latency under sustained load: does resident memory stay flat?
//!
//! `cargo bench --bench soak [-- calls=1000000 sessions=10000 children=500 large=20000]`
//!
//! Each step starts a gate and prints its resident memory at the start and after each tenth; 0
//! skips a step. `calls` are `tools/call` over [`CONNECTIONS`] connections to an HTTP server;
//! `sessions` are opened, used and closed with the same server; `children` are the same with a
//! command (a process per session); `large` are calls of [`LARGE`] bytes over [`LARGE_CONNECTIONS`]
//! connections. The longest response time is printed, too.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

#[path = "../roundtrip/echo.rs"]
mod echo;
#[path = "../proxy/load.rs"]
#[expect(dead_code, reason = "the bench of proxies uses the rest")]
mod load;
#[path = "../proxy/upstream.rs"]
mod upstream;

use load::Connection;

/// Number of connections of `calls` and `sessions`.
const CONNECTIONS: usize = 32;
/// Number of connections of `large`, and length of its argument in bytes.
const LARGE_CONNECTIONS: usize = 8;
const LARGE: usize = 64 << 10;
/// Number of concurrent sessions of `children`.
const CHILDREN: usize = 8;
/// Number of measurements of memory after the start.
const MARKS: usize = 10;
/// Pause before the last measurement.
const REST: Duration = Duration::from_secs(2);

const JSON: &str =
    "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running gate.
struct Gate {
    process: Running,
    address: SocketAddr,
    _home: tempfile::TempDir,
}

/// What each connection of a step repeats.
#[derive(Clone, Copy)]
enum Step {
    Call,
    Session,
    Large,
}

fn main() -> anyhow::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("upstream") => return upstream::run(),
        Some("child") => return Ok(echo::run()?),
        _ => {}
    }
    let counts = counts()?;
    let count = |name| counts.get(name).copied().unwrap_or_default();
    let server =
        Command::new(env::current_exe()?).arg("upstream").stdout(Stdio::piped()).spawn()?;
    let mut server = Running(server);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().context("no pipe")?).read_line(&mut line)?;
    let url: OsString = format!("http://127.0.0.1:{}/mcp", line.trim()).into();
    let command = [env::current_exe()?.into(), OsString::from("child")];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = io::stdout();
    write!(out, "{:<22}{:>11}", "resident, MiB", "start")?;
    (1..=MARKS).try_for_each(|mark| write!(out, "{:>7}", format!("{} %", mark * 10)))?;
    writeln!(out, "{:>8}", "at rest")?;
    for (name, step, target, connections) in [
        ("calls", Step::Call, std::slice::from_ref(&url), CONNECTIONS),
        ("sessions", Step::Session, std::slice::from_ref(&url), CONNECTIONS),
        ("children", Step::Session, &command[..], CHILDREN),
        ("large", Step::Large, std::slice::from_ref(&url), LARGE_CONNECTIONS),
    ] {
        if count(name) > 0 {
            let row = runtime.block_on(soak(step, count(name), connections, target))?;
            writeln!(out, "{:<22}{row}", format!("{} {name}", count(name)))?;
        }
    }
    Ok(())
}

/// Number of repetitions per step.
fn counts() -> anyhow::Result<BTreeMap<String, usize>> {
    let defaults =
        [("calls", 1_000_000), ("sessions", 10_000), ("children", 500), ("large", 20_000)];
    let mut counts: BTreeMap<String, usize> =
        defaults.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    for argument in env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        let (name, count) = argument.split_once('=').context("write STEP=COUNT")?;
        let known = counts.get_mut(name).with_context(|| format!("there is no step `{name}`"))?;
        *known = count.parse()?;
    }
    Ok(counts)
}

/// Runs a step; returns its row of the table.
async fn soak(
    step: Step,
    count: usize,
    connections: usize,
    target: &[OsString],
) -> anyhow::Result<String> {
    let gate = Gate::start(target)?;
    // The start includes connections and the server's resources for them.
    let (done, mut turns) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let mut row = format!("{:>11.1}", gate.resident()?);
    for _ in 0..connections {
        let (address, done) = (gate.address, Arc::clone(&done));
        turns.spawn(async move { turn(step, address, &done, count).await });
    }
    let mut longest = Duration::ZERO;
    let began = Instant::now();
    for mark in 1..=MARKS {
        while done.load(Ordering::Relaxed) < (count * mark).div_ceil(MARKS) && !turns.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            while let Some(ended) = turns.try_join_next() {
                longest = longest.max(ended??);
            }
        }
        row.push_str(&format!("{:>7.1}", gate.resident()?));
    }
    while let Some(ended) = turns.join_next().await {
        longest = longest.max(ended??);
    }
    let took = began.elapsed();
    tokio::time::sleep(REST).await;
    row.push_str(&format!("{:>8.1}", gate.resident()?));
    let rate = count as f64 / took.as_secs_f64();
    row.push_str(&format!("   {rate:.0} a second, longest {} ms", longest.as_millis()));
    Ok(row)
}

/// Runs the share of one connection in `count`; returns the longest response time.
async fn turn(
    step: Step,
    address: SocketAddr,
    done: &AtomicUsize,
    count: usize,
) -> anyhow::Result<Duration> {
    let text = if matches!(step, Step::Large) { "x".repeat(LARGE) } else { "hello".to_owned() };
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                      "params": {"name": "echo", "arguments": {"text": text}}});
    let one_for_all = post(address, "Mcp-Session-Id: soak\r\n", &call);
    let mut connection = Connection::open(address, [one_for_all.clone()].into()).await?;
    let mut longest = Duration::ZERO;
    while done.fetch_add(1, Ordering::Relaxed) < count {
        let asked = Instant::now();
        match step {
            Step::Call | Step::Large => connection.ask().await?,
            Step::Session => session(&mut connection, address, &call).await?,
        }
        longest = longest.max(asked.elapsed());
    }
    Ok(longest)
}

/// Opens a session, makes a call, and closes the session.
async fn session(
    connection: &mut Connection,
    address: SocketAddr,
    call: &Value,
) -> anyhow::Result<()> {
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "soak", "version": "1"}}});
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let opened = connection.exchange(&post(address, "", &initialize)).await?;
    let opened = String::from_utf8_lossy(opened).into_owned();
    let session = opened.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("mcp-session-id").then_some(value)
    });
    let session = format!("Mcp-Session-Id: {}\r\n", session.with_context(|| opened.clone())?);
    connection.exchange(&post(address, &session, &initialized)).await?;
    let called = connection.exchange(&post(address, &session, call)).await?;
    ensure!(called.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(called));
    let over = format!("DELETE /mcp HTTP/1.1\r\nHost: {address}\r\n{session}\r\n");
    let over = connection.exchange(over.as_bytes()).await?;
    ensure!(over.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(over));
    Ok(())
}

fn post(address: SocketAddr, headers: &str, message: &Value) -> Vec<u8> {
    let body = message.to_string();
    let length = body.len();
    format!("POST /mcp HTTP/1.1\r\nHost: {address}\r\n{JSON}{headers}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// For `load`, whose medians are not used here.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl Gate {
    fn start(target: &[OsString]) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentgate"));
        command
            .args(["wrap", "--name", "soak", "--policy", "allow_all", "--listen", "127.0.0.1:0"])
            .env("AGENTGATE_HOME", home.path())
            .env("AGENTGATE_LOG", "error")
            .stderr(Stdio::piped());
        match target {
            [url] => command.arg(url),
            _ => command.arg("--").args(target),
        };
        let mut process = Running(command.spawn()?);
        let mut lines = BufReader::new(process.0.stderr.take().context("no pipe")?).lines();
        let address = loop {
            let line = lines.next().context("the gate ended")??;
            if let Some(rest) = line.strip_prefix("agentgate: listening on http://") {
                break rest.split('/').next().unwrap_or_default().parse()?;
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, address, _home: home })
    }

    /// Resident memory in MiB.
    fn resident(&self) -> anyhow::Result<f64> {
        let status = Path::new("/proc").join(self.process.0.id().to_string()).join("status");
        let status = fs::read_to_string(status)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1_024.0)
    }
}
