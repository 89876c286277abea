//! The cost of the gate over HTTP, compared with nginx in front of the same server.
//!
//! `cargo bench --bench proxy [-- mcp|rest|agents]`
//!
//! The server is used directly, through nginx (if installed), through a proxy on the same
//! libraries, and through the gate (100 rules, log enabled), measured in turns. Figures are medians
//! over the rounds. `agents` sends the same requests for one agent and for a thousand, each with
//! rate limits.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

mod bare;
mod load;
mod upstream;

use load::Load;

/// Number of rounds.
const ROUNDS: usize = 15;
/// Number of requests per turn over one connection.
const REQUESTS: usize = 1_000;
/// Duration of a turn over [`CONNECTIONS`] connections.
const TURN: Duration = Duration::from_millis(700);
const CONNECTIONS: usize = 32;
/// Number of rules in the policy.
const RULES: usize = 100;
/// Number of agents in `agents`.
const AGENTS: usize = 1_000;
/// The key of the gate's admin API.
const MASTER: &str = "a master key for the bench";

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // nginx only ends its workers on `SIGTERM`.
        let id = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        let asked = id.map(|id| rustix::process::kill_process(id, rustix::process::Signal::TERM));
        if !matches!(asked, Some(Ok(()))) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// A way to reach the server.
struct Way {
    name: &'static str,
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    process: Option<Running>,
}

/// Measurements of a way, one entry per round.
#[derive(Default)]
struct Measured {
    p50: Vec<f64>,
    rate: Vec<f64>,
    /// CPU time of the proxy per call, in microseconds, with [`CONNECTIONS`].
    cpu: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let argument = env::args().nth(1).unwrap_or_default();
    match argument.as_str() {
        "upstream" => return upstream::run(),
        "bare" => return bare::run(&env::args().nth(2).context("in front of what?")?),
        _ => {}
    }
    let home = tempfile::tempdir()?;
    let (_running, server) = own(&["upstream"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (what, ways) in [("mcp", mcp as fn(_, &_) -> _), ("rest", rest), ("agents", agents)] {
        if matches!(argument.as_str(), "mcp" | "rest" | "agents") && argument != what {
            continue;
        }
        let ways: Vec<Way> = ways(server, home.path())?;
        let measured = runtime.block_on(measure(&ways))?;
        io::stdout().write_all(table(what, &ways, &measured)?.as_bytes())?;
    }
    Ok(())
}

async fn measure(ways: &[Way]) -> anyhow::Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = ways.iter().map(|_| Measured::default()).collect();
    let mut loads = Vec::new();
    for way in ways {
        let one = Load::open(way.address, 1, &way.requests).await?;
        let many = Load::open(way.address, CONNECTIONS, &way.requests).await?;
        loads.push((one, Some(many)));
    }
    for round in 0..=ROUNDS {
        for ((measured, way), (one, many)) in measured.iter_mut().zip(ways).zip(&mut loads) {
            let p50 = one.p50(REQUESTS).await?;
            let before = way.process.as_ref().map(|it| busy(it.0.id()));
            let (load, rate) = many.take().context("no load")?.throughput(TURN).await?;
            *many = Some(load);
            let after = way.process.as_ref().map(|it| busy(it.0.id()));
            // The first round is a warm-up.
            if round > 0 {
                measured.p50.push(p50);
                measured.rate.push(rate);
                let busy = after.zip(before).map(|(after, before)| after - before);
                let calls = rate * TURN.as_secs_f64();
                measured.cpu.extend(busy.map(|busy| busy.as_secs_f64() * 1e6 / calls));
            }
        }
    }
    Ok(measured)
}

fn table(what: &str, ways: &[Way], measured: &[Measured]) -> anyhow::Result<String> {
    let mut out = format!(
        "{what}: {RULES} rules, log on, {ROUNDS} rounds\n{:<10}{:>14}{:>14}{:>14}{:>12}\n",
        "", "p50, 1 conn.", "calls/s, 32", "CPU/call, 32", "RSS"
    );
    for (way, measured) in ways.iter().zip(measured) {
        let p50 = median(&mut measured.p50.clone()) / 1_000.0;
        let rate = median(&mut measured.rate.clone());
        let rss = way.process.as_ref().and_then(|it| resident(it.0.id())).unwrap_or_default();
        let cpu = median(&mut measured.cpu.clone());
        writeln!(out, "{:<10}{p50:>11.1} µs{rate:>14.0}{cpu:>11.1} µs{rss:>8} KiB", way.name)?;
    }
    Ok(out)
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// CPU time of a process and its children (nginx works in children).
fn busy(pid: u32) -> Duration {
    let Ok(processes) = fs::read_dir("/proc") else { return Duration::ZERO };
    let stats = processes.flatten().filter_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        // The name in parentheses may contain anything.
        let (head, fields) = stat.rsplit_once(')')?;
        let fields: Vec<u64> =
            fields.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
        let own: u32 = head.split_whitespace().next()?.parse().ok()?;
        let [_, parent, .., _] = *fields.as_slice() else { return None };
        (own == pid || parent == u64::from(pid)).then(|| fields.get(11..13).map(<[u64]>::to_vec))?
    });
    // Ticks of 10 ms: `getconf CLK_TCK` is 100 on Linux.
    Duration::from_millis(stats.flatten().sum::<u64>() * 10)
}

/// `tools/call` over Streamable HTTP.
fn mcp(server: SocketAddr, home: &Path) -> anyhow::Result<Vec<Way>> {
    let policy = home.join("policy.yaml");
    fs::write(&policy, hundred_rules("tool", "other_", "tool: echo"))?;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                      "params": {"name": "echo", "arguments": {"text": "hello"}}});
    let headers = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMcp-Session-Id: bench\r\n";
    let request = |address| vec![request(address, "POST", "/mcp", headers, &call.to_string())];
    let mut gate = Command::new(env!("CARGO_BIN_EXE_agentgate"));
    gate.args(["wrap", "--name", "bench", "--listen", "127.0.0.1:0", "--policy"])
        .arg(&policy)
        .arg(format!("http://{server}/mcp"));
    let gate = gate_that(gate, home, "agentgate: listening on http://")?;
    ways(server, home, request, gate)
}

/// A read of GitHub's API with an agent's key.
fn rest(server: SocketAddr, home: &Path) -> anyhow::Result<Vec<Way>> {
    let (gate, address) = serve(server, home, "")?;
    let key = register(home, "bench")?;
    known(address, &read_by(&key, address))?;
    let request = |address| vec![read_by(&key, address)];
    ways(server, home, request, (gate, address))
}

/// The same reads under a rate limit, by one agent and by many.
fn agents(server: SocketAddr, home: &Path) -> anyhow::Result<Vec<Way>> {
    let limit = "rate_limit:\n  requests_per_minute: 100000000\n  requests_per_hour: 100000000\n";
    let mut ways = Vec::new();
    for (name, count) in [("1 agent", 1), ("1000 agents", AGENTS)] {
        let home = home.join(name);
        fs::create_dir(&home)?;
        let (gate, address) = serve(server, &home, limit)?;
        let keys = (0..count).map(|number| register(&home, &format!("agent-{number}")));
        let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
        let requests: Vec<_> = keys.iter().map(|key| read_by(key, address)).collect();
        known(address, requests.last().context("no agent")?)?;
        ways.push(Way { name, address, requests, process: Some(gate) });
    }
    Ok(ways)
}

/// Waits until the gate, which polls for new agents, knows the agent of `request`.
fn known(address: SocketAddr, request: &[u8]) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut answer = [0; 12];
    while Instant::now() < deadline {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request)?;
        stream.read_exact(&mut answer)?;
        if answer.ends_with(b"200") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("the gate does not learn of its agents")
}

/// Starts a gate with the server in place of GitHub. `more` is appended to its policy.
fn serve(server: SocketAddr, home: &Path, more: &str) -> anyhow::Result<(Running, SocketAddr)> {
    let policy = home.join("policy.yaml");
    fs::write(&policy, hundred_rules("resource", "/other/", "intent: read") + more)?;
    let config = format!(
        "policy: ['{}']\nproviders: {{github: {{upstream: 'http://{server}'}}}}\n",
        policy.display()
    );
    fs::write(home.join("config.yaml"), config)?;
    let mut gate = Command::new(env!("CARGO_BIN_EXE_agentgate"));
    gate.args(["serve", "--listen", "127.0.0.1:0"]).env("AGENTGATE_MASTER_KEY", MASTER);
    gate_that(gate, home, "agentgate: serving on http://")
}

fn read_by(key: &str, address: SocketAddr) -> Vec<u8> {
    let target = "/proxy/github/repos/octocat/hello/issues";
    let headers = format!("X-Agent-Key: {key}\r\nAccept: application/json\r\n");
    request(address, "GET", target, &headers, "")
}

fn register(home: &Path, name: &str) -> anyhow::Result<String> {
    let made = Command::new(env!("CARGO_BIN_EXE_agentgate"))
        .args(["agents", "create", name, "--json"])
        .env("AGENTGATE_HOME", home)
        .output()?;
    let made: Value = serde_json::from_slice(&made.stdout)?;
    Ok(made.get("api_key").and_then(Value::as_str).context("no key")?.to_owned())
}

fn ways(
    server: SocketAddr,
    home: &Path,
    requests: impl Fn(SocketAddr) -> Vec<Vec<u8>>,
    gate: (Running, SocketAddr),
) -> anyhow::Result<Vec<Way>> {
    let way = |name, address, process| Way { name, address, requests: requests(address), process };
    let mut ways = vec![way("direct", server, None)];
    if let Some((process, address)) = nginx(server, home)? {
        ways.push(way("nginx", address, Some(process)));
    }
    let (process, address) = own(&["bare", &server.to_string()])?;
    ways.push(way("libraries", address, Some(process)));
    let (process, address) = gate;
    ways.push(way("agentgate", address, Some(process)));
    Ok(ways)
}

/// Starts this program as a server; returns its address.
fn own(arguments: &[&str]) -> anyhow::Result<(Running, SocketAddr)> {
    let mut command = Command::new(env::current_exe()?);
    let mut process = Running(command.args(arguments).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().context("no pipe")?).read_line(&mut line)?;
    Ok((process, format!("127.0.0.1:{}", line.trim()).parse()?))
}

/// Starts the gate and waits for its address.
fn gate_that(
    mut command: Command,
    home: &Path,
    says: &str,
) -> anyhow::Result<(Running, SocketAddr)> {
    let command = command.env("AGENTGATE_HOME", home).env("AGENTGATE_LOG", "warn,agentgate=warn");
    let mut process = Running(command.stderr(Stdio::piped()).spawn()?);
    let mut lines = BufReader::new(process.0.stderr.take().context("no pipe")?).lines();
    let address = loop {
        let line = lines.next().context("the gate ended")??;
        if let Some(rest) = line.strip_prefix(says) {
            break rest.split('/').next().unwrap_or_default().parse()?;
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    Ok((process, address))
}

/// nginx with keep-alive on both sides, configured for throughput.
fn nginx(server: SocketAddr, home: &Path) -> anyhow::Result<Option<(Running, SocketAddr)>> {
    let folder = home.join("nginx");
    fs::create_dir_all(&folder)?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let place = folder.display();
    let config = format!(
        "worker_processes 2; pid {place}/pid; error_log stderr error; daemon off;
         events {{ worker_connections 1024; }}
         http {{
           access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b;
           fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
           keepalive_requests 100000000; tcp_nodelay on;
           upstream server {{ server {server}; keepalive 64; keepalive_requests 100000000; }}
           server {{ listen 127.0.0.1:{port};
             location / {{ proxy_pass http://server; proxy_http_version 1.1;
                           proxy_set_header Connection ''; }} }}
         }}"
    );
    fs::write(folder.join("nginx.conf"), config)?;
    let path = env::var("PATH").unwrap_or_default();
    let started = Command::new("nginx")
        .env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"))
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .stderr(Stdio::null())
        .spawn();
    let Ok(process) = started else {
        io::stderr().write_all(b"nginx is not installed: it is left out\n")?;
        return Ok(None);
    };
    let process = Running(process);
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    for _ in 0..500 {
        if TcpStream::connect(address).is_ok() {
            return Ok(Some((process, address)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure!(false, "nginx does not listen");
    Ok(None)
}

fn request(address: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n{headers}{length}\r\n{body}")
        .into_bytes()
}

fn hundred_rules(key: &str, prefix: &str, last: &str) -> String {
    let mut text = String::from("name: bench\nrules:\n");
    for n in 1..RULES {
        // INVARIANT (infallible): writing to a String cannot fail.
        let _ = writeln!(text, "  - {{ {key}: \"{prefix}{n}*\", effect: deny }}");
    }
    let _ = writeln!(text, "  - {{ {last}, effect: allow }}\ndefault_effect: deny");
    text
}
