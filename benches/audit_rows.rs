//! Fills a log through the real writer and measures its readers.
//!
//! `cargo bench --bench audit_rows -- 10000000` (default: 1,000,000 rows, each with its result).
//! `AGENTGATE_BENCH_DB` is the path of a database to keep; if it exists, it is used as it is.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agentgate::action::{Agent, Transport};
use agentgate::intent::Intent;
use agentgate::store::audit::{Completion, Draft, Outcome};
use agentgate::store::read::{Filter, Reader};
use agentgate::store::{Options, Store, StoreError};
use agentgate::verdict::{Decision, Stage};
use jiff::{SignedDuration, Timestamp};

type Failure = Box<dyn Error>;

/// Default number of rows.
const DEFAULT_ROWS: u64 = 1_000_000;

/// The period over which rows are distributed.
const SPREAD: SignedDuration = SignedDuration::from_hours(30 * 24);

fn main() -> Result<(), Failure> {
    let rows = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(DEFAULT_ROWS);
    let folder = tempfile::tempdir()?;
    let named = std::env::var_os("AGENTGATE_BENCH_DB").map(PathBuf::from);
    let path = named.unwrap_or_else(|| folder.path().join("audit.db"));
    let mut out = std::io::stdout().lock();
    if !path.exists() {
        let began = Instant::now();
        fill(&path, rows)?;
        let took = began.elapsed();
        let each = took.as_secs_f64() * 1e6 / rows as f64;
        let size = std::fs::metadata(&path)?.len() >> 20;
        writeln!(
            out,
            "filled {rows} rows in {:.1} s, {each:.1} µs each, {size} MiB",
            took.as_secs_f64()
        )?;
    }
    for (name, filter) in filters()? {
        let mut times: Vec<Duration> =
            (0..5).map(|_| list(&path, &filter)).collect::<Result<_, _>>()?;
        report(&mut out, &format!("list {name}"), &mut times)?;
        let mut times: Vec<Duration> =
            (0..5).map(|_| stats(&path, &filter)).collect::<Result<_, _>>()?;
        report(&mut out, &format!("stats {name}"), &mut times)?;
    }
    // No index helps, so it is measured once, where every row has to be read.
    let missing = Filter { text: Some("in no row".to_owned()), ..Filter::default() };
    writeln!(out, "list --text, nothing found: {:.1} s", list(&path, &missing)?.as_secs_f64())?;
    let began = Instant::now();
    let found = Reader::open(&path)?.verify(None, |_, _| ())?;
    let holds = found.broken.is_none();
    writeln!(
        out,
        "verify {} entries: {:.1} s, holds: {holds}",
        found.entries,
        began.elapsed().as_secs_f64()
    )?;
    Ok(())
}

fn fill(path: &Path, rows: u64) -> Result<(), Failure> {
    let store = Store::open(path, &Options::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let start = Timestamp::now() - SPREAD;
    let step = SPREAD.as_micros() / i128::from(rows);
    for index in 0..rows {
        let at = start + SignedDuration::from_micros(i64::try_from(step * i128::from(index))?);
        let (draft, agent) = draft(index, at);
        let allowed = draft.decision == Decision::Allow;
        let (row, ()) = runtime.block_on(store.record(&agent, &[], |_| (draft, ())))?;
        if allowed {
            let failed = index % 97 == 0;
            store.complete(
                &row.id,
                Completion {
                    outcome: if failed { Outcome::Error } else { Outcome::Forwarded },
                    upstream: Duration::from_micros(500 + index % 40_000),
                    status: if failed { "-32000" } else { "ok" }.to_owned(),
                },
            );
        }
    }
    store.close();
    Ok(())
}

/// Twenty agents, five servers and forty tools each: four thousand combinations. A tenth is denied.
/// One row in a thousand is of a rare agent.
fn draft(index: u64, at: Timestamp) -> (Draft, Agent) {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let name = if index % 1000 == 999 { "rare".to_owned() } else { format!("agent{}", mixed % 20) };
    let agent = Agent::named(name);
    let denied = mixed.is_multiple_of(10);
    let args = format!(r#"{{"path":"/srv/project/src/file{index}.rs","mode":"r"}}"#);
    let draft = Draft {
        at,
        session: format!("session{}", index / 500).into(),
        agent: agent.name.clone(),
        transport: Transport::Stdio,
        server: format!("server{}", mixed / 20 % 5).into(),
        method: "tools/call".to_owned(),
        tool: format!("tool{}", mixed / 100 % 40),
        intent: if (mixed / 100).is_multiple_of(2) { Intent::Update } else { Intent::Read },
        decision: if denied { Decision::Deny } else { Decision::Allow },
        outcome: if denied { Outcome::Refused } else { Outcome::Forwarded },
        policy: "default".into(),
        rule: format!("default#{}", mixed / 100 % 10).into(),
        reason: if denied { "denied by a rule" } else { "allowed by a rule" }.to_owned(),
        stage: Stage::Policy,
        canonical_args: args.clone(),
        args,
        decision_took: Duration::from_micros(2),
        observing: false,
        takes_slot_of: Vec::new(),
    };
    (draft, agent)
}

fn filters() -> Result<Vec<(&'static str, Filter)>, Failure> {
    let text = |text: &str| Some(text.to_owned());
    let base = Filter::default;
    let ago = |hours| Some(Timestamp::now() - SignedDuration::from_hours(hours));
    Ok(vec![
        ("all", base()),
        ("--agent agent7", Filter { agent: text("agent7"), ..base() }),
        ("--agent rare", Filter { agent: text("rare"), ..base() }),
        ("--agent nobody", Filter { agent: text("nobody"), ..base() }),
        ("--agent 'agent*'", Filter { agent: text("agent*"), ..base() }),
        ("--decision deny", Filter { decision: text("deny"), ..base() }),
        ("--decision ask", Filter { decision: text("ask"), ..base() }),
        ("--server server3", Filter { server: text("server3"), ..base() }),
        ("--tool tool17", Filter { tool: text("tool17"), ..base() }),
        ("--since 2h", Filter { since: ago(2), ..base() }),
        ("--until 20d", Filter { until: ago(480), ..base() }),
        ("--agent rare --until 29d", Filter { agent: text("rare"), until: ago(696), ..base() }),
        (
            "--agent agent7 --decision deny --server server3 --tool tool17 --since 25d --until 5d",
            Filter {
                agent: text("agent7"),
                decision: text("deny"),
                server: text("server3"),
                tool: text("tool17"),
                since: ago(600),
                until: ago(120),
                ..base()
            },
        ),
    ])
}

fn list(path: &Path, filter: &Filter) -> Result<Duration, StoreError> {
    let began = Instant::now();
    Reader::open(path)?.rows(filter, 50, |row| {
        std::hint::black_box(row);
        Ok::<_, StoreError>(())
    })?;
    Ok(began.elapsed())
}

fn stats(path: &Path, filter: &Filter) -> Result<Duration, StoreError> {
    let began = Instant::now();
    std::hint::black_box(Reader::open(path)?.stats(filter)?);
    Ok(began.elapsed())
}

fn report(out: &mut impl Write, name: &str, times: &mut [Duration]) -> std::io::Result<()> {
    times.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let (median, worst) = (millis(times.get(times.len() / 2)), millis(times.last()));
    writeln!(out, "{name}: median {median:.1} ms, worst {worst:.1} ms")
}
