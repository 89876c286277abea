//! The cost of recording a row while other processes write the same log.
//!
//! `cargo bench --bench contention -- 10` (seconds per run; default 5). Runs one and ten processes
//! that record 100 rows per second each, with their results, without and with a rate limit; then
//! one that records without pauses, likewise; then four of these.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agentgate::action::{Agent, Transport};
use agentgate::intent::Intent;
use agentgate::policy::Limit;
use agentgate::store::audit::{Completion, Draft, Outcome};
use agentgate::store::{Options, Store};
use agentgate::verdict::{Decision, Stage};
use jiff::Timestamp;

type Failure = Box<dyn Error>;

/// Environment variable: the database of a child process.
const DATABASE: &str = "CONTENTION_DATABASE";

/// Environment variable: the pause between two rows, in milliseconds.
const PAUSE: &str = "CONTENTION_PAUSE";

/// Environment variable: whether rows take slots of a rate limit.
const LIMITED: &str = "CONTENTION_LIMITED";

fn main() -> Result<(), Failure> {
    let seconds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(5);
    if let Some(database) = std::env::var_os(DATABASE) {
        return child(Path::new(&database), Duration::from_secs(seconds));
    }
    let mut out = std::io::stdout().lock();
    for (processes, pause, limited) in [
        (1, 10, false),
        (10, 10, false),
        (1, 10, true),
        (10, 10, true),
        (1, 0, false),
        (1, 0, true),
        (4, 0, false),
    ] {
        let folder = tempfile::tempdir()?;
        let database = folder.path().join("audit.db");
        drop(Store::open(&database, &Options::default())?);
        let children: Vec<Child> = (0..processes)
            .map(|_| spawn(&database, pause, limited, seconds))
            .collect::<Result<_, _>>()?;
        let mut times = Vec::new();
        for child in children {
            times.extend(collect(child)?);
        }
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default() as f64
                / 1e3
        };
        let pace =
            if pause == 0 { "without a pause".to_owned() } else { format!("every {pause} ms") };
        let limits = if limited { ", rate-limited" } else { "" };
        writeln!(
            out,
            "{processes} process(es) {pace}{limits}: {} rows, p50 {:.1} µs, p99 {:.1}, p99.9 {:.1}, worst {:.1}",
            times.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        )?;
    }
    Ok(())
}

fn spawn(database: &Path, pause: u64, limited: bool, seconds: u64) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(seconds.to_string())
        .env(DATABASE, database)
        .env(PAUSE, pause.to_string())
        .env(LIMITED, limited.to_string())
        .stdout(Stdio::piped())
        .spawn()
}

fn collect(mut child: Child) -> Result<Vec<u64>, Failure> {
    let output = child.stdout.take().ok_or("no output")?;
    let mut times = Vec::new();
    for line in BufReader::new(output).lines() {
        times.push(line?.parse()?);
    }
    if child.wait()?.success() { Ok(times) } else { Err("a child failed".into()) }
}

fn child(database: &Path, length: Duration) -> Result<(), Failure> {
    let pause: u64 = std::env::var(PAUSE)?.parse()?;
    let limited: bool = std::env::var(LIMITED)?.parse()?;
    let limit = |seconds, max| Limit {
        policy: "default".into(),
        window: Duration::from_secs(seconds),
        max,
        observed: false,
    };
    let limits = [limit(60, 1_000_000), limit(3600, 10_000_000)];
    let limits = if limited { &limits[..] } else { &[] };
    let store = Store::open(database, &Options::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let agent = Agent::named(format!("agent{}", std::process::id()));
    let mut times: Vec<u64> = Vec::new();
    let began = Instant::now();
    runtime.block_on(async {
        for index in 0_u64.. {
            if pause > 0 {
                // Jitter, so that processes do not write in lockstep.
                let jitter = Duration::from_micros(index.wrapping_mul(7919) % 2000);
                let due = Duration::from_millis(pause * index) + jitter;
                tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            }
            if began.elapsed() > length {
                break;
            }
            let (draft, name) = (draft(&agent, limited), agent.clone());
            let asked = Instant::now();
            let (row, ()) = store.record(&name, limits, |_| (draft, ())).await?;
            times.push(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
            let upstream = Duration::from_millis(1);
            let status = "ok".to_owned();
            store.complete(&row.id, Completion { outcome: Outcome::Forwarded, upstream, status });
        }
        Ok::<_, Failure>(())
    })?;
    store.close();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for time in times {
        writeln!(out, "{time}")?;
    }
    Ok(out.flush()?)
}

fn draft(agent: &Agent, limited: bool) -> Draft {
    let args = r#"{"path":"/srv/project/src/main.rs","mode":"r"}"#;
    Draft {
        at: Timestamp::now(),
        session: "01968d0c-6c1e-7b3a-9d5e-2f3c4b5a6978".into(),
        agent: agent.name.clone(),
        transport: Transport::Stdio,
        server: "files".into(),
        method: "tools/call".to_owned(),
        tool: "read_file".to_owned(),
        intent: Intent::Read,
        decision: Decision::Allow,
        outcome: Outcome::Forwarded,
        policy: "default".into(),
        rule: "default#1".into(),
        reason: "allowed by a rule".to_owned(),
        stage: Stage::Policy,
        args: args.to_owned(),
        canonical_args: args.to_owned(),
        decision_took: Duration::from_micros(2),
        observing: false,
        takes_slot_of: if limited { vec!["default".into()] } else { Vec::new() },
    }
}
