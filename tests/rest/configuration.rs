//! The configuration of a running gate: what changes is taken up, what is broken
//! is not, and both are said.

use std::process::Command;

use crate::support::{Agent, MASTER, Serve, command, eventually};

fn write(gate: &Serve, text: &str) {
    std::fs::write(gate.home.path().join("config.yaml"), text).unwrap();
}

fn hang_up(gate: &mut Serve) {
    let pid = gate.process().id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
}

/// The status of a write of `agent`'s.
fn writes(gate: &Serve, agent: &Agent, body: &str) -> u16 {
    let headers = format!("X-Agent-Key: {}\r\nContent-Type: application/json\r\n", agent.key);
    gate.request("POST", "/proxy/github/repos/a/b/issues", &headers, body).status
}

#[test]
fn running_gate_applies_changes() {
    let gate = Serve::start("policy: [read_only]\n", &["--test-mode"]);
    let made = gate.admin("POST", "/agents", r#"{"name":"bot"}"#);
    let made: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let agent =
        Agent { key: made["api_key"].as_str().unwrap().to_owned(), aws: Default::default() };
    let issue = format!(r#"{{"title":"{}"}}"#, "x".repeat(3000));
    assert_eq!(writes(&gate, &agent, &issue), 403);
    let preflight = |gate: &Serve| {
        let headers = "Origin: https://console.example\r\nAccess-Control-Request-Method: GET\r\n";
        gate.request("OPTIONS", "/agents", headers, "").head.contains("allow-origin: https://c")
    };
    assert!(!preflight(&gate));
    write(
        &gate,
        "policy: allow_all\ncors_origins: ['https://console.example']\n\
         servers: {tracker: {url: 'https://mcp.example.com/mcp'}}\nretention_days: 3\n",
    );
    eventually("the other policy decides", || writes(&gate, &agent, &issue) == 201);
    eventually("it is said", || {
        gate.said().contains("in force: policy, retention_days, cors_origins, servers")
    });
    assert!(preflight(&gate));
    let servers = |gate: &Serve| gate.admin("GET", "/mcp/servers", "").body;
    assert!(servers(&gate).contains("tracker"));
    write(&gate, "policy: allow_all\nmax_body: 1KiB\nmode: observe\n");
    eventually("the smaller limit holds", || writes(&gate, &agent, &issue) == 413);
    assert!(!servers(&gate).contains("tracker") && !preflight(&gate));
}

#[test]
fn invalid_registrations_are_refused_with_the_reason() {
    let gate = Serve::start("policy: [read_only]\n", &["--test-mode"]);
    let register = |body: &str| {
        let answer = gate.admin("POST", "/mcp/servers", body);
        (answer.status, answer.body)
    };
    for (body, said) in [
        (r#"{"name":"a"}"#, "'url' is required"),
        (r#"["a","https://a.example/"]"#, "not a list"),
        (r#"{"url":"https://a.example/","url":"https://b.example/"}"#, "duplicate field"),
        (r#"{"url":"https://a.example/","tool":[]}"#, "unknown field `tool`"),
        (r#"{"url":"https://a.example/","tools":[{"name":"t","name":"u"}]}"#, "duplicate field"),
        (r#"{"url":"https://a.example:99999/"}"#, "is not a URL of a server"),
        (r#"{"name":"..","url":"https://a.example/"}"#, "is not a name for a server"),
    ] {
        let (status, answer) = register(body);
        assert!(status == 400 && answer.contains(said), "{body}: {status} {answer}");
    }
    // As it stands in an answer to `tools/list`.
    let listed = r#"{"name":"t","title":"T","inputSchema":{},"annotations":{"title":"T"}}"#;
    let body = format!(r#"{{"name":"a","url":"https://a.example/","tools":[{listed}]}}"#);
    assert_eq!(register(&body).0, 200);
}

#[test]
fn invalid_file_changes_nothing_and_changes_that_need_a_restart_are_named() {
    let mut gate = Serve::start("policy: [read_only]\n", &["--test-mode"]);
    let made = gate.admin("POST", "/agents", r#"{"name":"bot"}"#);
    let made: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let agent =
        Agent { key: made["api_key"].as_str().unwrap().to_owned(), aws: Default::default() };
    for (broken, said) in [
        ("polcy: [allow_all]\n", "config.yaml:1:1: error: unknown key `polcy`"),
        ("policy: [allow_all\n", "config.yaml:1:9: error: unclosed bracket"),
        ("policy: [allow_al]\n", "config.yaml:1:10: error: policy `allow_al`"),
        ("policy: [allow_all]\nproviders: {githib: {}}\n", "did you mean `github`?"),
        (
            "policy: [allow_all]\nservers: {s: {url: 'http://mcp.example.com/mcp'}}\n",
            "config.yaml:2:20: error: servers.s: `http://mcp.example.com/mcp` is not a URL of a server",
        ),
        (
            "policy: [allow_all]\nservers: {s: {url: 'https://x/', credential: {file: ./none}}}\n",
            "servers.s",
        ),
    ] {
        write(&gate, broken);
        hang_up(&mut gate);
        eventually(said, || gate.said().contains(said));
        assert_eq!(writes(&gate, &agent, "{}"), 403, "{broken}");
    }
    write(
        &gate,
        "policy: [read_only]\naudit_sync: full\nproviders: {slack: {listen: '127.0.0.1:9'}}\n",
    );
    let restart = "these changes need a restart: audit_sync, providers.slack.listen";
    eventually(restart, || gate.said().contains(restart));
    assert_eq!(gate.said().matches("need a restart").count(), 1);
    assert!(gate.process().try_wait().unwrap().is_none(), "it serves on");
}

/// With the upstreams of a file that is just being written the credentials would go,
/// and requests to the vendors' own hosts.
#[test]
fn a_file_that_becomes_empty_changes_nothing() {
    let mut gate = Serve::start("policy: [allow_all]\n", &["--test-mode"]);
    let made = gate.admin("POST", "/agents", r#"{"name":"bot"}"#);
    let made: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let agent =
        Agent { key: made["api_key"].as_str().unwrap().to_owned(), aws: Default::default() };
    let said = "the configuration file is gone or empty";
    for (times, blank) in ["", " \n\n", "# policy: [deny_all]\n"].into_iter().enumerate() {
        write(&gate, blank);
        hang_up(&mut gate);
        eventually(said, || gate.said().matches(said).count() > times);
        assert_eq!(writes(&gate, &agent, "{}"), 201);
    }
    write(&gate, "{}\n");
    hang_up(&mut gate);
    eventually("what is meant is taken up", || writes(&gate, &agent, "{}") == 403);
}

#[test]
fn a_file_that_is_removed_changes_nothing() {
    let mut gate = Serve::start("policy: [read_only]\n", &["--test-mode"]);
    let made = gate.admin("POST", "/agents", r#"{"name":"bot"}"#);
    let made: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let agent =
        Agent { key: made["api_key"].as_str().unwrap().to_owned(), aws: Default::default() };
    assert_eq!(writes(&gate, &agent, "{}"), 403);
    std::fs::remove_file(gate.home.path().join("config.yaml")).unwrap();
    hang_up(&mut gate);
    let said = "the configuration file is gone or empty";
    eventually(said, || gate.said().contains(said));
    assert_eq!(writes(&gate, &agent, "{}"), 403);
    write(&gate, "policy: [allow_all]\n");
    hang_up(&mut gate);
    eventually("one that is back is taken up", || writes(&gate, &agent, "{}") == 201);
}

#[test]
fn unusable_file_or_port_is_reported_before_serving() {
    let gate = Serve::start("", &["--test-mode"]);
    let home = tempfile::tempdir().unwrap();
    let failed = |args: &[&str]| {
        let output = command(home.path()).arg("serve").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let taken = gate.address.to_string();
    let said = failed(&["--listen", &taken]);
    let port = format!("stop what is using port {}", gate.address.port());
    assert!(said.contains(&port) && said.contains("--listen"), "{said}");
    assert!(failed(&["--config", "/nonexistent/serve.yaml"]).contains("/nonexistent/serve.yaml"));
    assert!(failed(&["--listen", "8100"]).contains("write 127.0.0.1:8100"));
    let file = home.path().join("serve.yaml");
    let config = file.to_str().unwrap();
    for (text, place) in [
        ("agent: x\npolicy: [nope]\n", ":2:10: error: policy `nope`: there is no policy"),
        ("policy:\n  - ./gone.yaml\n", ":2:5: error: policy `"),
        ("servers:\n  s: {url: 'ftp://x/mcp'}\n", ":2:12: error: servers.s: `ftp://x/mcp` is not"),
        (
            "servers:\n  s: {trust: none, command: [x], url: 'https://x/'}\n",
            ":2:39: error: a server has a `url` or a `command`, not both",
        ),
        ("servers:\n  s: {url: 'https://x/', policy: nope}\n", ":2:34: error: policy `nope`"),
    ] {
        std::fs::write(&file, text).unwrap();
        let said = failed(&["--test-mode", "--config", config]);
        assert!(said.contains(&format!("{config}{place}")), "{place}\n{said}");
    }
    let several = "servers:
  a: {url: 'ftp://x/mcp'}
  b: {url: 'https://x/', credential: {env: NOT_SET}}
  c: {url: 'https://x/', policy: nope}
  servers: {url: 'https://x/'}\n";
    std::fs::write(&file, several).unwrap();
    let said = failed(&["--test-mode", "--config", config]);
    for wrong in
        ["servers.a: ", "servers.b: the variable NOT_SET", "servers.c: ", "servers.servers: "]
    {
        assert!(said.contains(wrong), "{wrong}: {said}");
    }
    let said = failed(&["--policy", "defualt"]);
    assert!(said.contains("did you mean `default`?") && !said.contains(MASTER), "{said}");
}

#[test]
fn variables_of_the_original_are_read_where_that_is_safe() {
    let home = tempfile::tempdir().unwrap();
    let policies = home.path().join("old");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(policies.join("old_team.yaml"), "name: old_team\n").unwrap();
    let mut create = command(home.path());
    create.args(["agents", "create", "bot", "--policy", "old_team"]);
    assert_eq!(create.output().unwrap().status.code(), Some(2));
    assert!(create.env("POLICY_DIR", &policies).output().unwrap().status.success());
    // A weak key of the original's name is named, and guards nothing but loopback.
    let output = command(home.path())
        .env_remove("AGENTGATE_MASTER_KEY")
        .env("MASTER_API_KEY", "ag_dev_change_me_in_production")
        .args(["serve", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("set MASTER_API_KEY") && !said.contains("ag_dev"), "{said}");
}
