//! `agentgate serve` and `agentgate agents`, each in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use agentgate::action::Agent;
use agentgate::store::{Options, Store};
use agentgate::verdict::{Decision, Stage};
use serde_json::Value;

use crate::real;
use crate::support::{Answer, KEY, eventually, row, send};

struct Home(tempfile::TempDir);

struct Serve {
    child: Child,
    address: SocketAddr,
    /// What it said until it served.
    said: Vec<String>,
}

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentgate"));
        let own = std::env::vars_os().map(|(name, _)| name);
        for name in own.filter(|name| name.to_string_lossy().starts_with("AGENTGATE_")) {
            command.env_remove(name);
        }
        command.env_remove("MASTER_API_KEY").env_remove("TEST_MODE");
        command.env("AGENTGATE_HOME", self.0.path()).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn serve(&self, key: Option<&str>, args: &[&str]) -> Serve {
        let mut command = self.command(&["serve", "--test-mode", "--listen", "127.0.0.1:0"]);
        if let Some(key) = key {
            command.env("AGENTGATE_MASTER_KEY", key);
        }
        let mut child = command.args(args).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said:?}")).unwrap();
            if let Some(address) = line.strip_prefix("agentgate: serving on http://") {
                break address.parse().unwrap();
            }
            said.push(line);
        };
        // Somebody has to read what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        Serve { child, address, said }
    }
}

impl Serve {
    fn proxied(&self, method: &str, path: &str, key: &str) -> Answer {
        send(self.address, method, path, &format!("X-Agent-Key: {key}\r\n"), "")
    }

    fn admin(&self, path: &str) -> Value {
        send(self.address, "GET", path, &format!("X-Master-Key: {KEY}\r\n"), "").json()
    }

    fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn running_gate_follows_changes_of_agents() {
    let home = Home::new();
    let serve = home.serve(Some(KEY), &[]);
    let made = home.json(&["agents", "create", "bot", "--policy", "read_only", "--json"]);
    let key = made["api_key"].as_str().unwrap();
    // A key that is good may still have used its limit up.
    let is_good = |key: &str| serve.proxied("GET", "/proxy/github/user", key).status != 401;
    eventually("the new key is good", || is_good(key));
    assert_eq!(serve.proxied("DELETE", "/proxy/github/repos/a/b", key).status, 403);

    let rotated = home.json(&["agents", "rotate-key", "bot", "--grace", "1h", "--json"]);
    let new_key = rotated["api_key"].as_str().unwrap();
    eventually("the rotated key is good", || is_good(new_key));
    assert!(is_good(key), "the old one is good for an hour");
    home.json(&["agents", "rotate-key", "bot", "--json"]);
    eventually("both are dead", || !is_good(key) && !is_good(new_key));

    let stats = home.json(&["agents", "stats", "bot", "--json"]);
    assert!(stats["deny_count"].as_i64().unwrap() >= 1, "{stats}");
    assert_eq!(stats, serve.admin("/agents/bot/stats"));
    assert_eq!(home.json(&["agents", "list", "--json"])["name"], "bot");
    home.json(&["agents", "delete", "bot", "--json"]);
    assert_eq!(home.run(&["agents", "delete", "bot"]).status.code(), Some(2));
    assert_eq!(home.run(&["agents", "create", "x", "--policy", "nope"]).status.code(), Some(2));
    eventually("it is gone", || serve.admin("/health")["agents_count"] == 0);
}

/// The last good text decides meanwhile, so the gate itself is as well as before.
#[test]
fn health_reports_a_policy_that_differs_from_its_file() {
    let home = Home::new();
    let folder = home.0.path().join("policies");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let good = "name: own\ndefault_effect: allow\n";
    write("own.yaml", good);
    write("team.yaml", good);
    let serve = home.serve(Some(KEY), &["--policy", "own"]);
    let made = home.json(&["agents", "create", "bot", "--policy", "team", "--json"]);
    let key = made["api_key"].as_str().unwrap();
    eventually("the policy is in use", || {
        serve.proxied("GET", "/proxy/github/user", key).status == 200
    });
    let is_loaded = |loaded: bool| {
        let health = serve.admin("/health");
        health["policy_loaded"] == loaded && health["status"] == "ok"
    };
    assert!(is_loaded(true));
    for name in ["own.yaml", "team.yaml"] {
        write(name, "name: own\nrule: []\n");
        eventually("it is told", || is_loaded(false));
        write(name, good);
        eventually("it is mended", || is_loaded(true));
    }
}

#[test]
fn agents_registered_by_many_processes_at_once_are_all_there() {
    let home = Home::new();
    let serve = home.serve(Some(KEY), &[]);
    let children: Vec<Child> = (0..12)
        .map(|index| {
            let name = format!("bot-{}", index % 10);
            home.command(&["agents", "create", &name]).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let made = children.into_iter().filter_map(|mut child| child.wait().unwrap().code());
    assert_eq!(made.filter(|code| *code == 0).count(), 10, "two names are taken twice");
    eventually("all are there", || serve.admin("/health")["agents_count"] == 10);
}

#[test]
fn uncertain_intents_are_escalated_once_resolved_and_kept() {
    let home = Home::new();
    let made = home.json(&["agents", "create", "bot", "--policy", "readwrite", "--json"]);
    let key = made["api_key"].as_str().unwrap();
    {
        let serve = home.serve(Some(KEY), &[]);
        for _ in 0..3 {
            assert_eq!(serve.proxied("POST", "/proxy/github/frobnicate/it", key).status, 201);
        }
        serve.proxied("GET", "/proxy/github/user", key);
        let count = || serve.admin("/l3/escalations")["escalations"][0]["count"].clone();
        eventually("three of the like are one", || count() == 3);
        let body = r#"{"resolution": "an update"}"#;
        let headers = format!("X-Master-Key: {KEY}\r\n");
        let resolve = |id: &str| {
            send(serve.address, "POST", &format!("/l3/resolve/{id}"), &headers, body).status
        };
        assert_eq!((resolve("1"), resolve("2"), resolve("x")), (200, 404, 404));
        let metrics = send(serve.address, "GET", "/metrics", "", "");
        let line = "agentgate_requests_total{provider=\"github\",decision=\"allow\"} 4";
        assert!(metrics.body.contains(line) && metrics.body.ends_with("# EOF\n"), "{metrics:?}");
        assert!(!metrics.body.contains("bot") && !metrics.body.contains("frobnicate"));
    }
    let listed = home.serve(Some(KEY), &[]).admin("/l3/escalations");
    assert_eq!(listed["stats"]["resolved"], 1, "{listed}");
    assert_eq!(listed["escalations"][0]["resolution"], "an update");
    assert_eq!(listed["escalations"][0]["why"], "POST and no other sign");
}

#[test]
fn a_master_key_is_made_and_shown_once_and_a_weak_one_stays_on_this_machine() {
    let home = Home::new();
    let shown = |serve: &Serve| serve.said.join("\n").contains("agm_");
    let first = home.serve(None, &[]);
    assert!(shown(&first), "{:?}", first.said);
    let key = std::fs::read_to_string(home.0.path().join("master.key")).unwrap();
    drop(first);
    let second = home.serve(None, &[]);
    assert!(!shown(&second), "{:?}", second.said);
    let headers = format!("X-Master-Key: {}\r\n", key.trim());
    assert_eq!(send(second.address, "GET", "/agents", &headers, "").status, 200);
    for weak in ["ag_dev_change_me_in_production", "0123456789"] {
        let mut command = home.command(&["serve", "--test-mode", "--listen", "0.0.0.0:0"]);
        let output = command.env("AGENTGATE_MASTER_KEY", weak).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains(weak), "{output:?}");
    }
}

#[test]
fn rows_beyond_the_retention_go_by_themselves() {
    let home = Home::new();
    let database = home.0.path().join("agentgate.db");
    let store = Store::open(&database, &Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for days in [9_i64, 8, 1] {
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
        let row = row("bot", "/user", Decision::Allow, Stage::Policy);
        let row = agentgate::store::audit::Draft { at, ..row };
        runtime.block_on(store.record(&Agent::named("bot"), &[], |_| (row, ()))).unwrap();
    }
    store.close();
    let serve = home.serve(Some(KEY), &["--retention-days", "7"]);
    eventually("two rows are gone", || serve.admin("/audit/logs")["total"] == 1);
    assert!(home.run(&["audit", "verify"]).status.success());
}

#[test]
fn the_document_is_true_to_what_is_answered() {
    let Some(real) = real::installed() else { return };
    let home = Home::new();
    let made = home.json(&["agents", "create", "bot", "--policy", "readwrite", "--json"]);
    let serve = home.serve(Some(KEY), &[]);
    serve.proxied("POST", "/proxy/github/frobnicate", made["api_key"].as_str().unwrap());
    eventually("something is raised", || {
        serve.admin("/l3/escalations")["stats"]["total_escalations"] == 1
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/openapi.py");
    let mut command = Command::new(real.join("python/bin/python"));
    let output = command.arg(script).arg(serve.base()).arg(KEY).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
