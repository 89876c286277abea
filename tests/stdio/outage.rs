//! A log that cannot be written, and a gate that cannot start.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Sandbox, TIMEOUT, Wrap, argv, eventually, real, recorder};

/// A gated recorder, and how many calls it made.
struct Session {
    sandbox: Sandbox,
    client: Client,
    calls: u64,
}

impl Session {
    fn new(sandbox: Sandbox, wrap: Wrap) -> Self {
        let record = sandbox.path("received");
        let mut client = Client::spawn(&wrap.policy("allow_all").command(recorder(&record)));
        client.initialize();
        Self { sandbox, client, calls: 0 }
    }

    /// Makes one call, with an argument that is found again in what was received.
    #[track_caller]
    fn call(&mut self) -> Value {
        self.calls += 1;
        self.client.call(self.calls, "read_note", &json!({"text": format!("call-{}", self.calls)}))
    }

    /// Makes calls until one passes.
    #[track_caller]
    fn await_recovery(&mut self) {
        eventually("a call passes again", || passed(&self.call()));
    }

    /// Whether the server got the latest call.
    fn arrived(&self) -> bool {
        let received = std::fs::read_to_string(self.sandbox.path("received")).unwrap();
        received.contains(&format!("\"call-{}\"", self.calls))
    }
}

/// The gate takes the log's files for unchanged for a millisecond after it has checked them
/// (docs/audit.md). A call after this is checked anew.
fn outlast_the_last_check() {
    std::thread::sleep(Duration::from_millis(2));
}

fn passed(reply: &Value) -> bool {
    reply["result"]["content"][0]["text"] == "done"
}

/// As where its file is on the disk that is full, or its reader has gone.
#[cfg(target_os = "linux")]
#[test]
fn gate_with_closed_stderr_continues() {
    let sandbox = Sandbox::new();
    let record = sandbox.path("received");
    let gate = sandbox.wrap().policy("allow_all").command(recorder(&record));
    let mute = argv(["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"]);
    let mut client = Client::spawn(&[mute, gate].concat());
    client.initialize();
    let mut session = Session { sandbox, client, calls: 0 };
    assert!(passed(&session.call()));
    std::fs::remove_file(session.sandbox.database()).unwrap();
    outlast_the_last_check();
    assert_refused_for_the_log(&session.call());
    session.await_recovery();
    assert!(session.client.close().success());
}

/// Fails unless the reply is a refusal that says that the log is why.
#[track_caller]
fn assert_refused_for_the_log(reply: &Value) {
    assert_eq!(reply["result"]["isError"], true, "{reply}");
    let words = reply["result"]["content"][0]["text"].as_str().unwrap();
    assert!(words.contains("recorded"), "{words}");
}

#[test]
fn an_unlinked_database_refuses_calls_until_it_is_back() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap();
    let mut session = Session::new(sandbox, wrap);
    assert!(passed(&session.call()));

    let database = session.sandbox.database();
    std::fs::remove_file(&database).unwrap();
    let reply = session.call();
    if !passed(&reply) {
        assert_refused_for_the_log(&reply);
        assert!(!session.arrived());
    }
    // A new file may be begun at once, but not a call passed on unrecorded.
    session.await_recovery();
    let last = session.calls;
    assert!(session.client.close().success());
    let rows = session.sandbox.rows();
    let text = json!(rows).to_string();
    assert!(text.contains(&format!("call-{last}")), "not in the log: {text}");
}

#[test]
fn calls_are_refused_while_the_folder_is_missing() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap();
    let mut session = Session::new(sandbox, wrap);
    assert!(passed(&session.call()));

    let home = session.sandbox.path("home");
    let aside = session.sandbox.path("aside");
    std::fs::rename(&home, &aside).unwrap();
    std::fs::write(&home, "in the way").unwrap();
    outlast_the_last_check();
    for _ in 0..3 {
        assert_refused_for_the_log(&session.call());
        assert!(!session.arrived());
    }
    std::fs::remove_file(&home).unwrap();
    std::fs::rename(&aside, &home).unwrap();
    session.await_recovery();
    assert!(session.client.close().success());
    session.sandbox.assert_log_verifies();
}

/// Whoever starts anew does not take what is left for all that there was.
#[test]
fn a_write_ahead_log_that_is_cut_refuses_calls_also_after_a_restart() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap();
    let mut session = Session::new(sandbox, wrap);
    for _ in 0..3 {
        assert!(passed(&session.call()));
    }
    let database = session.sandbox.database();
    let wal = database.with_extension("db-wal");
    std::fs::File::options().write(true).open(wal).unwrap().set_len(0).unwrap();
    outlast_the_last_check();
    for _ in 0..3 {
        assert_refused_for_the_log(&session.call());
        assert!(!session.arrived());
    }
    session.client.close();

    let audit = |command: &str| {
        let agentgate = env!("CARGO_BIN_EXE_agentgate");
        Command::new(agentgate).args(["audit", command, "--db"]).arg(&database).output().unwrap()
    };
    let record = session.sandbox.path("never");
    let wrap = session.sandbox.wrap().policy("allow_all");
    let mut client = Client::spawn(&wrap.command(recorder(&record)));
    assert_eq!(client.wait(TIMEOUT).and_then(|status| status.code()), Some(2));
    assert!(!record.exists(), "the server was started");
    assert!(audit("accept-loss").status.success());
    let Session { sandbox, .. } = session;
    let wrap = sandbox.wrap();
    let mut session = Session::new(sandbox, wrap);
    assert!(passed(&session.call()));
    assert!(session.client.close().success());
    session.sandbox.assert_log_verifies();
}

#[test]
fn a_locked_database_refuses_calls_until_it_is_free() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap();
    let mut session = Session::new(sandbox, wrap);
    assert!(passed(&session.call()));

    let other = Connection::open(session.sandbox.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_refused_for_the_log(&session.call());
    assert!(!session.arrived());
    other.execute_batch("ROLLBACK").unwrap();
    session.await_recovery();
    assert!(session.client.close().success());
    session.sandbox.assert_log_verifies();
}

#[test]
fn the_opt_out_lets_calls_pass_unrecorded() {
    let sandbox = Sandbox::new();
    let wrap = sandbox.wrap().option("--audit-failure", "allow");
    let mut session = Session::new(sandbox, wrap);
    assert!(passed(&session.call()));

    let other = Connection::open(session.sandbox.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(passed(&session.call()));
    assert!(session.arrived());
    drop(other);
    assert!(session.client.close().success());
}

/// Makes `home` a small file system of its own, if one can be mounted here.
fn small_home(home: &Path) -> Option<Mounted<'_>> {
    std::fs::create_dir(home).unwrap();
    let mounted = Mounted::small(home);
    if mounted.is_none() {
        real::skip("no small file system can be mounted here");
    }
    mounted
}

#[test]
fn calls_are_refused_while_the_disk_is_full() {
    let sandbox = Sandbox::new();
    let home = sandbox.path("home");
    let Some(_mounted) = small_home(&home) else { return };
    let wrap = sandbox.wrap();
    let mut session = Session::new(sandbox, wrap);
    assert!(passed(&session.call()));

    let filler = home.join("filler");
    // Fills what is left; that it cannot be written whole is the point.
    let _ = std::fs::write(&filler, vec![0; 16 * 1024 * 1024]);
    eventually("a call is refused", || !passed(&session.call()));
    assert_refused_for_the_log(&session.call());
    assert!(!session.arrived());
    std::fs::remove_file(&filler).unwrap();
    session.await_recovery();
    assert!(session.client.close().success());
    session.sandbox.assert_log_verifies();
}

/// SQLite says only that there was an I/O error.
#[test]
fn a_gate_that_finds_a_full_disk_says_so() {
    let sandbox = Sandbox::new();
    let home = sandbox.path("home");
    let Some(_mounted) = small_home(&home) else { return };
    let record = sandbox.path("received");
    let client = Client::spawn(&sandbox.wrap().command(recorder(&record)));
    assert!(client.close().success());
    let _ = std::fs::write(home.join("filler"), vec![0; 16 * 1024 * 1024]);
    let mut client = Client::spawn(&sandbox.wrap().command(recorder(&record)));
    assert_eq!(client.wait(TIMEOUT).and_then(|status| status.code()), Some(2));
    eventually("the reason is given", || client.stderr().contains("the disk is full"));
    let doctor = Command::new(env!("CARGO_BIN_EXE_agentgate"))
        .arg("doctor")
        .env("AGENTGATE_HOME", &home)
        .output()
        .unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains("the disk is full") && doctor.contains("make room"), "{doctor}");
}

#[test]
fn a_gate_that_cannot_start_does_not_start_the_server() {
    let policy = |content: &str| {
        let content = content.to_owned();
        move |sandbox: &Sandbox| sandbox.wrap().policy(sandbox.write("policy.yaml", &content))
    };
    type Setting = Box<dyn Fn(&Sandbox) -> Wrap>;
    let settings: [(&str, Setting); 9] = [
        ("a duplicate key", Box::new(policy("name: a\nname: b\ndefault_effect: allow\n"))),
        ("an unknown key", Box::new(policy("name: a\nruels: []\n"))),
        ("a bad effect", Box::new(policy("name: a\ndefault_effect: alow\n"))),
        ("a bad glob", Box::new(policy("name: a\nrules: [{ tool: '{a', effect: allow }]\n"))),
        ("bad CEL", Box::new(policy("name: a\nrules: [{ when: '1 +', effect: allow }]\n"))),
        ("no YAML", Box::new(policy("a: [\n"))),
        ("no such policy", Box::new(|sandbox| sandbox.wrap().policy("/no/such/policy.yaml"))),
        (
            "a database that is none",
            Box::new(|sandbox| {
                sandbox.write(
                    "home/agentgate.db",
                    "not a database, and longer than a header is, so that it is read".repeat(20),
                );
                sandbox.wrap().policy("allow_all")
            }),
        ),
        (
            "a folder for a database",
            Box::new(|sandbox| {
                std::fs::create_dir_all(sandbox.database()).unwrap();
                sandbox.wrap().policy("allow_all")
            }),
        ),
    ];
    for (what, setting) in settings {
        let sandbox = Sandbox::new();
        let record = sandbox.path("received");
        let mut client = Client::spawn(&setting(&sandbox).command(recorder(&record)));
        let status = client.wait(TIMEOUT).unwrap_or_else(|| panic!("{what}: no end"));
        assert_eq!(status.code(), Some(2), "{what}: {}", client.stderr());
        eventually("the reason is given", || !client.stderr().is_empty());
        assert!(!record.exists(), "{what}: the server was started");
    }
}

/// A file system of its own, unmounted at the end.
struct Mounted<'p>(&'p Path);

impl<'p> Mounted<'p> {
    /// One of 2 MiB at `path`, where this user may mount.
    fn small(path: &'p Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(path)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: a failing test may still have the database open.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
