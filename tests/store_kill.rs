//! A writer killed at any moment loses no row that it said was committed, and
//! leaves a log that verifies.

#![cfg(test)]
#![cfg(unix)]

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentgate::action::{Agent, Transport};
use agentgate::intent::Intent;
use agentgate::store::audit::{Completion, Draft, Outcome};
use agentgate::store::read::{Filter, Reader};
use agentgate::store::{Options, Store, StoreError};
use agentgate::verdict::{Decision, Stage};
use jiff::Timestamp;

/// Names the database to the child that [`the_writer`] is in.
const DATABASE: &str = "STORE_KILL_DATABASE";

/// How many writers die, one after the other and two at a time.
const ROUNDS: usize = 12;

/// Rows that a writer reports before it is killed.
const ROWS_BEFORE_DEATH: usize = 150;

fn draft(tool: String) -> Draft {
    Draft {
        at: Timestamp::now(),
        session: "s1".into(),
        agent: "default".into(),
        transport: Transport::Stdio,
        server: "files".into(),
        method: "tools/call".to_owned(),
        tool,
        intent: Intent::Read,
        decision: Decision::Allow,
        outcome: Outcome::Forwarded,
        policy: "default".into(),
        rule: "default#1".into(),
        reason: "allowed by a rule".to_owned(),
        stage: Stage::Policy,
        args: "{}".to_owned(),
        canonical_args: "{}".to_owned(),
        decision_took: Duration::from_micros(3),
        observing: false,
        takes_slot_of: Vec::new(),
    }
}

/// Not a test of its own: what the child does. It says each id once it is
/// committed, as fast as it can, until it is killed.
#[test]
fn the_writer() {
    let Some(database) = std::env::var_os(DATABASE) else { return };
    let store = Store::open(Path::new(&database), &Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut out = std::io::stdout().lock();
    let agent = Agent::default();
    for index in 0.. {
        let draft = draft(format!("tool{}", index % 7));
        let (row, ()) = runtime.block_on(store.record(&agent, &[], |_| (draft, ()))).unwrap();
        writeln!(out, "committed {}", row.id.as_str()).unwrap();
        let completion = Completion {
            outcome: Outcome::Forwarded,
            upstream: Duration::from_millis(1),
            status: "ok".to_owned(),
        };
        store.complete(&row.id, completion);
    }
}

fn spawn(database: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_writer", "--nocapture"])
        .env(DATABASE, database)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills `child` in full flight; every id it said, also while it died.
fn kill(mut child: Child) -> Vec<String> {
    let mut said = Vec::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut killed = false;
    for line in lines {
        let line = line.unwrap();
        // The last line may have been cut off by death.
        let id = line.split("committed ").nth(1).filter(|id| id.len() == 36);
        said.extend(id.map(str::to_owned));
        if said.len() >= ROWS_BEFORE_DEATH && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the writer ended by itself");
    said
}

#[test]
fn a_killed_writer_loses_nothing_that_it_had_committed() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("audit.db");
    let mut said = Vec::new();
    for round in 0..ROUNDS {
        // Every other round with a second writer that lives on for a while.
        let other = (round % 2 == 1).then(|| spawn(&database));
        said.extend(kill(spawn(&database)));
        said.extend(other.map(kill).unwrap_or_default());
        let found = Reader::open(&database).unwrap().verify(None, |_, _| ()).unwrap();
        assert_eq!(found.broken, None, "round {round}");
    }
    let mut there = HashSet::new();
    let reader = Reader::open(&database).unwrap();
    reader
        .rows(&Filter::default(), 0, |row| {
            there.insert(row.id.as_str().to_owned());
            Ok::<_, StoreError>(())
        })
        .unwrap();
    let lost: Vec<_> = said.iter().filter(|id| !there.contains(*id)).collect();
    assert!(lost.is_empty(), "{} of {} rows are lost: {lost:?}", lost.len(), said.len());
    assert!(said.len() >= ROUNDS * ROWS_BEFORE_DEATH);
}
