//! The latency that `agentgate wrap` adds to a round trip, compared with a plain byte relay.
//!
//! `cargo bench --bench roundtrip [-- --json]`
//!
//! The same server is used directly, through the relay and through the gate (100 rules, log
//! enabled), pinned to one core and measured in turns, so that other load affects all of them
//! alike. Figures are medians over the rounds of the time added to the direct round trip of the
//! same round.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

mod echo;
mod relay;
mod session;

use session::{Session, call};

/// Number of rounds.
const ROUNDS: usize = 41;
/// Number of round trips per turn.
const CALLS: usize = 250;
/// Number of rounds that measure start-up.
const STARTS: usize = 21;
/// Throughput turns: number of calls, of those in flight, and length of their text in bytes.
const FLOOD: (u64, u64, usize) = (400, 8, 64 * 1024);
const FLOOD_ROUNDS: usize = 5;
/// Number of rules in the policy.
const RULES: usize = 100;

/// A way to reach the server.
struct Way {
    name: &'static str,
    command: Vec<OsString>,
}

/// Measurements of a way, one entry per round; times in nanoseconds.
#[derive(Default)]
struct Measured {
    call_p50: Vec<f64>,
    call_p99: Vec<f64>,
    ping_p50: Vec<f64>,
    ping_p99: Vec<f64>,
    flood_mib_per_s: Vec<f64>,
    start: Vec<f64>,
    resident_kib: Option<u64>,
    resident_after_flood_kib: Option<u64>,
    resident_with_kin_kib: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match arguments.first().and_then(|role| role.to_str()) {
        Some("echo") => Ok(echo::run()?),
        Some("relay") => relay::run(arguments.get(1..).unwrap_or_default()),
        _ => bench(arguments.iter().any(|argument| argument == "--json")),
    }
}

fn bench(as_json: bool) -> anyhow::Result<()> {
    let pinned = pin_to_one_core();
    let home = tempfile::tempdir()?;
    let ways = ways(home.path())?;
    let measured = measure(&ways, home.path())?;
    let size = fs::metadata(env!("CARGO_BIN_EXE_agentgate"))?.len();
    let text = if as_json {
        to_json(&ways, &measured, pinned, size)
    } else {
        to_table(&ways, &measured, pinned, size)?
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Pins this process and its children to the current core. Whether that succeeded.
fn pin_to_one_core() -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
        let mut core = CpuSet::new();
        core.set(sched_getcpu());
        sched_setaffinity(None, &core).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    false
}

fn ways(home: &Path) -> anyhow::Result<Vec<Way>> {
    let this: OsString = env::current_exe()?.into();
    let policy = home.join("policy.yaml");
    fs::write(&policy, hundred_rules()?)?;
    let server = [this.clone(), "echo".into()];
    let relay = [this, "relay".into()];
    let wrap = [
        env!("CARGO_BIN_EXE_agentgate").into(),
        "wrap".into(),
        "--policy".into(),
        policy.into(),
        "--db".into(),
        home.join("agentgate.db").into(),
        "--".into(),
    ];
    let through = |name, prefix: &[OsString]| Way {
        name,
        command: prefix.iter().chain(&server).cloned().collect(),
    };
    Ok(vec![through("direct", &[]), through("relay", &relay), through("wrap", &wrap)])
}

/// Rules of several kinds; the last one allows the calls.
fn hundred_rules() -> anyhow::Result<String> {
    let mut policy = String::from("name: hundred\nrules:\n");
    for number in 1..RULES {
        match number % 4 {
            0 => writeln!(policy, "  - {{ tool: tool_{number}, effect: deny }}")?,
            1 => writeln!(policy, "  - {{ tool: 'other_{number}_*', effect: allow }}")?,
            2 => writeln!(policy, "  - {{ server: server_{number}, tool: '*', effect: deny }}")?,
            _ => writeln!(
                policy,
                "  - {{ tool: echo, args: {{ text: {{ prefix: 'no such text {number}' }} }}, effect: deny }}"
            )?,
        }
    }
    policy.push_str("  - { tool: echo, args: { text: { exists: true } }, effect: allow }\n");
    policy.push_str("default_effect: deny\n");
    Ok(policy)
}

fn measure(ways: &[Way], home: &Path) -> anyhow::Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = ways.iter().map(|_| Measured::default()).collect();
    for _ in 0..STARTS {
        for (way, found) in ways.iter().zip(&mut measured) {
            let session = open(way, home)?;
            found.start.push(nanoseconds(session.start));
            session.close()?;
        }
    }
    let mut sessions =
        ways.iter().map(|way| open(way, home)).collect::<anyhow::Result<Vec<_>>>()?;
    let short = call("hello");
    for _ in 0..ROUNDS {
        for (session, found) in sessions.iter_mut().zip(&mut measured) {
            let (p50, p99) = turn(session, "tools/call", &short)?;
            found.call_p50.push(p50);
            found.call_p99.push(p99);
            let (p50, p99) = turn(session, "ping", "{}")?;
            found.ping_p50.push(p50);
            found.ping_p99.push(p99);
        }
    }
    for (session, found) in sessions.iter().zip(&mut measured) {
        found.resident_kib = session.resident();
    }
    let (count, window, length) = FLOOD;
    let text = "x".repeat(length);
    for _ in 0..FLOOD_ROUNDS {
        for (session, found) in sessions.iter_mut().zip(&mut measured) {
            let took = session.flood(&text, count, window)?.as_secs_f64();
            let both_ways = 2.0 * (count as f64) * (length as f64) / (1024.0 * 1024.0);
            found.flood_mib_per_s.push(both_ways / took);
        }
    }
    for (session, found) in sessions.into_iter().zip(&mut measured) {
        found.resident_after_flood_kib = session.resident();
        found.resident_with_kin_kib = session.resident_with_kin();
        session.close()?;
    }
    Ok(measured)
}

fn open(way: &Way, home: &Path) -> anyhow::Result<Session> {
    Session::open(&way.command, home).with_context(|| format!("the way `{}`", way.name))
}

/// The median and the 99th percentile of one turn.
fn turn(session: &mut Session, method: &str, params: &str) -> anyhow::Result<(f64, f64)> {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        times.push(nanoseconds(session.ask(method, params)?));
    }
    Ok((quantile(&mut times, 0.50), quantile(&mut times, 0.99)))
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// The nearest-rank quantile; 0 if there are no values.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn median(values: &[f64]) -> f64 {
    quantile(&mut values.to_vec(), 0.5)
}

/// The median over the rounds of the difference between `way` and `direct`.
fn added(way: &[f64], direct: &[f64]) -> f64 {
    let differences: Vec<f64> = way.iter().zip(direct).map(|(way, direct)| way - direct).collect();
    median(&differences)
}

/// The rows of the report: name, unit, and a figure per way. The first way is the baseline.
fn rows(measured: &[Measured]) -> Vec<(&'static str, &'static str, Vec<f64>)> {
    let Some(direct) = measured.first() else { return Vec::new() };
    let each = |figure: &dyn Fn(&Measured) -> f64| measured.iter().map(figure).collect();
    let micro = 1e-3;
    vec![
        ("tools/call, median", "us", each(&|way| micro * median(&way.call_p50))),
        (
            "tools/call, added at p50",
            "us",
            each(&|way| micro * added(&way.call_p50, &direct.call_p50)),
        ),
        (
            "tools/call, added at p99",
            "us",
            each(&|way| micro * added(&way.call_p99, &direct.call_p99)),
        ),
        ("ping, added at p50", "us", each(&|way| micro * added(&way.ping_p50, &direct.ping_p50))),
        ("ping, added at p99", "us", each(&|way| micro * added(&way.ping_p99, &direct.ping_p99))),
        ("8 x 64 KiB in flight, both ways", "MiB/s", each(&|way| median(&way.flood_mib_per_s))),
        ("start, to the server's", "ms", each(&|way| 1e-6 * median(&way.start))),
        ("resident, after the calls", "MiB", each(&|way| mib(way.resident_kib))),
        ("resident, after the 64 KiB", "MiB", each(&|way| mib(way.resident_after_flood_kib))),
        ("with the supervisor, then", "MiB", each(&|way| mib(way.resident_with_kin_kib))),
    ]
}

fn mib(kib: Option<u64>) -> f64 {
    kib.map_or(f64::NAN, |kib| kib as f64 / 1024.0)
}

/// The median latency that `wrap` adds to a call, relative to that of the relay.
fn ratio(measured: &[Measured]) -> Option<f64> {
    let [direct, relay, wrap] = measured else { return None };
    Some(added(&wrap.call_p50, &direct.call_p50) / added(&relay.call_p50, &direct.call_p50))
}

fn to_table(
    ways: &[Way],
    measured: &[Measured],
    pinned: bool,
    size: u64,
) -> anyhow::Result<String> {
    let mut text = String::new();
    write!(text, "\n{:<34}", "")?;
    ways.iter().try_for_each(|way| write!(text, "{:>10}", way.name))?;
    writeln!(text)?;
    for (name, unit, figures) in rows(measured) {
        write!(text, "{:<34}", format!("{name} [{unit}]"))?;
        figures.iter().try_for_each(|figure| write!(text, "{figure:>10.1}"))?;
        writeln!(text)?;
    }
    writeln!(
        text,
        "\nwrap adds {:.2} times what the relay adds to a call",
        ratio(measured).unwrap_or(f64::NAN)
    )?;
    writeln!(text, "the binary has {:.1} MiB", size as f64 / (1024.0 * 1024.0))?;
    writeln!(
        text,
        "{} rounds of {CALLS}; {}",
        ROUNDS,
        if pinned {
            "everything pinned to one core"
        } else {
            "NOT pinned to one core: this system has no way to, so expect noise"
        }
    )?;
    Ok(text)
}

fn to_json(ways: &[Way], measured: &[Measured], pinned: bool, size: u64) -> String {
    let rows: Vec<_> = rows(measured)
        .into_iter()
        .map(|(name, unit, figures)| {
            let figures: serde_json::Map<_, _> = ways
                .iter()
                .zip(figures)
                .map(|(way, figure)| (way.name.to_owned(), json!(figure)))
                .collect();
            json!({"name": name, "unit": unit, "figures": figures})
        })
        .collect();
    let report = json!({
        "rows": rows, "ratio_to_relay": ratio(measured), "binary_bytes": size, "pinned": pinned,
        "rounds": ROUNDS, "calls_a_round": CALLS,
    });
    format!("{report}\n")
}
