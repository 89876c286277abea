//! The program as somebody meets it in a terminal: what is typed wrongly, what the
//! environment says, what comes out where.

#![cfg(test)]
#![cfg(unix)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const AGENTGATE: &str = env!("CARGO_BIN_EXE_agentgate");

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(AGENTGATE);
        let own = std::env::vars_os().map(|(name, _)| name);
        for name in own.filter(|name| name.to_string_lossy().starts_with("AGENTGATE_")) {
            command.env_remove(name);
        }
        for name in ["MASTER_API_KEY", "TEST_MODE", "JOURNAL_STREAM"] {
            command.env_remove(name);
        }
        command.env("AGENTGATE_HOME", self.path()).current_dir(self.path());
        command.args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::by(self.command(args).output().unwrap())
    }
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn by(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// What keeps a gate from starting is named once, with where it is.
#[test]
fn cause_is_reported_once() {
    let home = Home::new();
    let mut wrap = home.command(&["wrap", "https://mcp.example.com/mcp"]);
    let nowhere = home.path().join("nowhere");
    wrap.env("SSL_CERT_FILE", &nowhere).env("SSL_CERT_DIR", &nowhere);
    let rootless = Said::by(wrap.output().unwrap());
    assert_eq!(rootless.code, Some(2), "{rootless:?}");
    assert_eq!(rootless.err.matches("certificates found").count(), 1, "{rootless:?}");
    fs::write(home.path().join("mcp-servers.json"), "nonsense").unwrap();
    let damaged = home.run(&["serve", "--test-mode", "--listen", "127.0.0.1:0"]);
    assert_eq!(damaged.code, Some(2), "{damaged:?}");
    assert!(damaged.err.contains("mcp-servers.json: expected"), "{damaged:?}");
    assert_eq!(damaged.err.matches("expected").count(), 1, "{damaged:?}");
}

// === What is typed ===

#[test]
fn options_behind_the_command_do_not_go_unnoticed() {
    let home = Home::new();
    let echo = ["sh", "-c", "echo got $* >&2", "sh"];
    let run = |before: &[&str], behind: &[&str]| {
        home.run(&[&["wrap"], before, &echo[..], behind].concat())
    };
    // Another policy would decide than was typed: the server is not started.
    let refused = run(&[], &["--policy", "deny_all"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("`--policy` comes after the command"), "{refused:?}");
    assert!(!refused.err.contains("got"), "{refused:?}");
    let warned = run(&[], &["--name", "x"]);
    assert_eq!(warned.code, Some(0), "{warned:?}");
    assert!(warned.err.contains("warning: `--name` comes after"), "{warned:?}");
    assert!(warned.err.contains("got --name x"), "the server has its arguments: {warned:?}");
    for (before, behind) in [
        (&["--"][..], &["--policy", "x"][..]),
        (&["--policy", "deny_all"], &["--other"]),
        (&[], &["--", "--policy", "x"]),
    ] {
        let said = run(before, behind);
        assert_eq!(said.err, format!("got {}\n", behind.join(" ")), "{said:?}");
    }
}

#[test]
fn invalid_options_are_refused_with_a_message() {
    let home = Home::new();
    home.run(&["agents", "create", "bot"]);
    for (args, expected) in [
        (&["audit", "verify", "--head", "zz"][..], "64 hexadecimal digits"),
        (&["wrap", "--name", "", "--", "true"], "a name cannot be empty"),
        (&["wrap", "--agent", " ", "--", "true"], "a name cannot be empty"),
        (&["agents", "rotate-key", "bot", "--grace", "8d"], "a week"),
        (&["agents", "rotate-key", "bot", "--grace", "soon"], "write 45s, 2m, 1h30m or 7d"),
        (&["wrap", "--max-sessions", "2", "--", "true"], "--listen"),
        (&["wrap", "--token-env", "T", "--", "true"], "--listen"),
        (&["wrap", "--shutdown-timeout", "1s", "--", "true"], "--listen"),
        (&["audit", "stats", "--outcome", "refused"], "--outcome"),
        (&["audit", "list", "--outcome", "lost"], "forwarded, refused"),
        (&["wrap", "--db", "/dev/null/log", "--", "true"], "--db FILE or AGENTGATE_HOME"),
        (&["serve", "--db", "/dev/null/log"], "--db FILE or AGENTGATE_HOME"),
    ] {
        let said = home.run(args);
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.err.contains(expected), "{args:?}: {said:?}");
    }
    let here = home.path().canonicalize().unwrap();
    let here = here.to_str().unwrap();
    for (args, expected) in [
        (&["check", "./no.yaml"][..], format!("the path is relative to {here}\n")),
        (&["wrap", "--config", "no.yaml", "--", "true"], format!("file {here}/no.yaml")),
        (&["audit", "list", "--db", "no.db"], format!("`{here}/no.db`")),
        (&["replay", "no.jsonl"], format!("cannot read {here}/no.jsonl")),
        (
            &["explain", "--request", r#"{"provider":"githb","method":"GET","path":"/user"}"#],
            "did you mean `github`?".to_owned(),
        ),
    ] {
        let said = home.run(args);
        assert!(said.code == Some(2) && said.err.contains(&expected), "{args:?}: {said:?}");
    }
    let rotated = home.run(&["agents", "rotate-key", "bot", "--grace", "7d"]);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
}

#[test]
fn a_policy_that_somebody_edited_is_not_overwritten() {
    let home = Home::new();
    let write = ["inspect", "--write-policy", "p.yaml", "--", AGENTGATE, "demo-server"];
    assert_eq!(home.run(&write).code, Some(0));
    fs::write(home.path().join("p.yaml"), "mine").unwrap();
    let again = home.run(&write);
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(
        again.err.contains("p.yaml is not overwritten; remove it or name another"),
        "{again:?}"
    );
    assert_eq!(fs::read_to_string(home.path().join("p.yaml")).unwrap(), "mine");
}

/// An option stands under the heading of its kind, not under that of what comes before it.
#[test]
fn help_has_each_option_under_its_heading() {
    let home = Home::new();
    for (command, option, heading) in [
        (&["wrap"][..], "--max-message", "Options:"),
        (&["wrap"], "<COMMAND|URL>...", "Arguments:"),
        (&["wrap"], "--hide-denied", "Deciding:"),
        (&["wrap"], "--db", "The log:"),
        (&["inspect"], "--json", "Options:"),
        (&["explain"], "--request", "Options:"),
        (&["replay"], "<TRACE>", "Arguments:"),
        (&["doctor"], "--db", "Options:"),
        (&["serve"], "--audit-sync", "The log:"),
        (&["serve"], "--max-body", "Requests:"),
        (&["audit", "list"], "--json", "Options:"),
    ] {
        let said = home.run(&[command, &["-h"]].concat()).out;
        let starts = |line: &&str| line.trim_start().split(' ').next() == Some(option);
        let before = said.lines().take_while(|line| !starts(line));
        let is_heading = |line: &&str| !line.starts_with(' ') && line.ends_with(':');
        assert_eq!(
            before.filter(is_heading).last(),
            Some(heading),
            "{command:?} {option}:\n{said}"
        );
    }
}

// === What the environment says ===

#[test]
fn boolean_variables_are_on_unless_false() {
    let home = Home::new();
    for on in ["1", "0", "yes", ""] {
        let mut login = home.command(&["login", "http://127.0.0.1:9/mcp"]);
        let said = Said::by(login.env("AGENTGATE_NO_BROWSER", on).output().unwrap());
        assert!(said.err.contains("the login to http://127.0.0.1:9/mcp failed"), "{said:?}");
    }
}

#[test]
fn settings_that_do_not_apply_are_no_mistake_in_the_environment() {
    let home = Home::new();
    let mut wrap = home.command(&["wrap", "--", "true"]);
    for (name, value) in [
        ("AGENTGATE_MAX_SESSIONS", "3"),
        ("AGENTGATE_SESSION_IDLE", "1d"),
        ("AGENTGATE_TOKEN_ENV", "TOKEN"),
        ("AGENTGATE_TRANSPORT", "sse"),
        ("AGENTGATE_HEADER", "A: b\nC: d"),
        ("AGENTGATE_BEARER_ENV", "TOKEN"),
    ] {
        wrap.env(name, value);
    }
    let said = Said::by(wrap.output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    wrap.env("AGENTGATE_MAX_SESSIONS", "none");
    assert_eq!(wrap.output().unwrap().status.code(), Some(2), "it is read");
}

#[test]
fn variables_that_are_read_nowhere_are_named() {
    let home = Home::new();
    let mut list = home.command(&["agents", "list"]);
    list.env("AGENTGATE_POLCY", "x").env("AGENTGATE_FROBNICATE", "x");
    list.env("AGENTGATE_GITHUB_TOKEN", "x").env("AGENTGATE_HIDE_DENIED", "1");
    let said = Said::by(list.output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
    let slip = "agentgate: warning: there is no variable AGENTGATE_POLCY; \
                did you mean AGENTGATE_POLICY?\n";
    assert_eq!(said.err, slip, "what may be another program's is none of ours");
    let said = Said::by(list.env("AGENTGATE_LOG", "info").output().unwrap());
    assert!(said.err.contains("AGENTGATE_FROBNICATE is not a setting"), "{said:?}");
    assert!(!said.err.contains("GITHUB_TOKEN"), "{said:?}");
}

/// What the demo's server, gated by `wrap`, answers to a request.
fn asked(wrap: &mut Command, method: &str, params: &Value) -> Value {
    wrap.args(["--", AGENTGATE, "demo-server"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut gate = wrap.spawn().unwrap();
    let (mut input, output) = (gate.stdin.take().unwrap(), gate.stdout.take().unwrap());
    let mut lines = BufReader::new(output).lines();
    let mut ask = |id: u32, method: &str, params: &Value| -> Value {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        writeln!(input, "{call}").unwrap();
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    let client = json!({"name": "test", "version": "0"});
    let begin = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    ask(1, "initialize", &begin);
    let answer = ask(2, method, params);
    drop(input);
    gate.wait().unwrap();
    answer
}

#[test]
fn denied_tools_are_hidden_by_a_variable_too() {
    let home = Home::new();
    let listed = |hide: &str| {
        let mut wrap = home.command(&["wrap", "--policy", "deny_all"]);
        let answer = asked(wrap.env("AGENTGATE_HIDE_DENIED", hide), "tools/list", &json!({}));
        answer["result"]["tools"].as_array().unwrap().len()
    };
    assert!(listed("0") > 0);
    assert_eq!(listed("1"), 0);
}

#[test]
fn suggested_rule_names_its_position() {
    let home = Home::new();
    let file = home.path().join("team.yaml");
    let file = file.to_str().unwrap();
    let told = |policy: &str, text: &str| {
        fs::write(file, text).unwrap();
        let mut wrap = home.command(&["wrap", "--name", "notes", "--policy", policy]);
        let call = json!({"name": "delete_note", "arguments": {"id": 1}});
        let answer = asked(&mut wrap, "tools/call", &call);
        answer["result"]["content"][0]["text"].as_str().unwrap().to_owned()
    };
    let rule = r#"{ server: "notes", tool: "delete_note", effect: allow }"#;
    for (policy, text, place) in [
        (
            file,
            "name: team\nrules: []\ndefault_effect: ask\n",
            "in the policy `team`, or in one that is named before it:",
        ),
        (
            file,
            "name: team\nrules: [{name: care, tool: 'delete_*', effect: ask}]\n",
            "above `care` in the policy `team`, or in one named before it:",
        ),
        // Nobody can edit a built-in policy.
        (
            "annotations",
            "",
            "in a policy file that comes before `annotations` (--policy FILE --policy annotations):",
        ),
    ] {
        let told = told(policy, text);
        assert!(told.contains(&format!("{place} {rule}")), "{told}");
        assert!(!told.contains(file), "an agent may be able to write it: {told}");
    }
}

// === What comes out where ===

#[test]
fn inspect_shows_stderr_only_on_failure() {
    let home = Home::new();
    let noisy = format!("echo noise >&2; exec {AGENTGATE} demo-server");
    let listed = home.run(&["inspect", "--", "sh", "-c", &noisy]);
    assert_eq!((listed.code, listed.err.as_str()), (Some(0), ""), "{listed:?}");
    let failed = home.run(&["inspect", "--", "sh", "-c", "echo noise >&2; exit 3"]);
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.err.starts_with("noise\nagentgate: "), "{failed:?}");
}

/// It answers what it is asked, and ends before its answer is read.
const HASTY_SERVER: &str = r#"
while read -r line; do
  id=$(printf %s "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
  answer() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }
  case $line in
    *'"method":"initialize"'*) answer '"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},
      "serverInfo":{"name":"hasty","version":"1"}}' | tr -d '\n'; echo ;;
    *'"method":"tools/list"'*) answer '"result":{"tools":[{"name":"look","inputSchema":{"type":"object"}}]}'; exit 7 ;;
    *'"id":'*) answer '"error":{"code":-32601,"message":"no such method"}' ;;
  esac
done"#;

#[test]
fn a_server_that_ends_once_it_has_answered_is_inspected() {
    let home = Home::new();
    for _ in 0..20 {
        let listed = home.run(&["inspect", "--", "sh", "-c", HASTY_SERVER]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        assert!(listed.out.contains("look"), "{listed:?}");
    }
}

/// Starts `serve` with its standard error where `stderr` says, lets it serve, stops it.
fn served(home: &Home, args: &[&str], stderr: Stdio) -> Vec<String> {
    let mut command = home.command(&["serve", "--test-mode", "--listen", "127.0.0.1:0"]);
    let mut serve = command.args(args).stderr(stderr).spawn().unwrap();
    let mut said = Vec::new();
    if let Some(stderr) = serve.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            said.push(line.unwrap());
            if said.last().unwrap().contains("serving on") {
                stop(&serve);
            }
        }
    } else {
        let log = home.path().join("serve.log");
        while !fs::read_to_string(&log).unwrap().contains("serving on") {
            assert!(serve.try_wait().unwrap().is_none(), "it ended");
            std::thread::yield_now();
        }
        stop(&serve);
        said.extend(fs::read_to_string(&log).unwrap().lines().map(str::to_owned));
    }
    serve.wait().unwrap();
    said
}

fn stop(child: &std::process::Child) {
    let stopped = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(stopped.success());
}

#[test]
fn master_key_is_not_printed_to_logs() {
    let key = |said: &[String]| said.iter().any(|line| line.contains("agm_"));
    let path = |said: &[String]| said.iter().any(|line| line.contains("master.key"));
    let shown = served(&Home::new(), &[], Stdio::piped());
    assert!(key(&shown) && path(&shown), "{shown:?}");
    let in_json = served(&Home::new(), &["--log-format", "json"], Stdio::piped());
    assert!(!key(&in_json) && path(&in_json), "{in_json:?}");
    let home = Home::new();
    let log = File::create(home.path().join("serve.log")).unwrap();
    let in_file = served(&home, &[], log.into());
    assert!(!key(&in_file) && path(&in_file), "{in_file:?}");
}

#[test]
fn json_log_format_applies_to_all_output() {
    let home = Home::new();
    let config = home.path().join("config.yaml");
    let check = |said: &[String], expected: &str| {
        for line in said {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{said:?}"));
            assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
        }
        assert!(said.iter().any(|line| line.contains(expected)), "{expected}: {said:?}");
    };
    check(&served(&home, &["--log-format", "json"], Stdio::piped()), "no agents yet");
    fs::write(&config, "polcy: x\n").unwrap();
    let mut serve = home.command(&["serve", "--log-format", "json"]);
    let said = Said::by(serve.env("AGENTGATE_FROBNICATE", "1").output().unwrap());
    assert_eq!(said.code, Some(2));
    let lines: Vec<String> = said.err.lines().map(str::to_owned).collect();
    check(&lines, "did you mean `policy`?");
    check(&lines, "AGENTGATE_FROBNICATE");
}

#[test]
fn a_server_behind_a_service_speaks_in_json_too() {
    let home = Home::new();
    let server = format!("echo noise >&2; exec {AGENTGATE} demo-server");
    let config = json!({ "servers": { "notes": { "command": ["sh", "-c", server] } } });
    fs::write(home.path().join("config.yaml"), config.to_string()).unwrap();
    let mut command = home.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.env("AGENTGATE_MASTER_KEY", "a master key for tests").stderr(Stdio::piped());
    let mut serve = command.spawn().unwrap();
    let mut heard = false;
    for line in BufReader::new(serve.stderr.take().unwrap()).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        if let Some(address) = message.strip_prefix("serving on http://") {
            let key = home.run(&["agents", "create", "bot", "--json"]).out;
            let key: Value = serde_json::from_str(&key).unwrap();
            ask(address, key["api_key"].as_str().unwrap());
        } else if message == "noise" {
            heard = true;
            assert_eq!(line["fields"]["program"], "sh", "{line}");
            stop(&serve);
        }
    }
    serve.wait().unwrap();
    assert!(heard);
}

/// Begins a session with the server `notes`, as soon as the gate knows the key.
fn ask(address: &str, key: &str) {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#;
    loop {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /mcp/notes HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             X-Agent-Key: {key}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status).unwrap();
        if !status.contains(" 401 ") {
            assert!(status.contains(" 200 "), "{status}");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    for line in [
        "--help",
        "man",
        "completions bash",
        "check read_only",
        "test filesystem",
        "policies list",
        "policies schema",
        "policies show git",
    ] {
        // Gone before anything is written.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = home.command(&line.split(' ').collect::<Vec<_>>());
        let said = Said::by(command.stdout(writer).output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{line}");
    }
}

// === Clients' configurations ===

#[test]
fn servers_of_clients_are_gated_and_are_as_they_were_when_that_is_undone() {
    let home = Home::new();
    let (cursor, link) = (home.path().join("dotfiles.json"), home.path().join(".cursor/mcp.json"));
    let text = "// mine\n{\"mcpServers\": {\n  \"notes\": {\"command\": \"npx\", \"args\": [\"-y\", \"a b\"]},\n  \
                \"far\": {\"url\": \"https://mcp.example.com/mcp\"}, }}\n";
    fs::write(&cursor, text).unwrap();
    fs::set_permissions(&cursor, PermissionsExt::from_mode(0o640)).unwrap();
    fs::create_dir(link.parent().unwrap()).unwrap();
    symlink(&cursor, &link).unwrap();
    let folder = home.path().join("project");
    fs::create_dir(&folder).unwrap();
    let run = |args: &[&str]| {
        let mut command = home.command(&[&["setup"], args].concat());
        command.env("HOME", home.path()).env_remove("XDG_CONFIG_HOME").current_dir(&folder);
        Said::by(command.output().unwrap())
    };
    let now = || fs::read_to_string(&cursor).unwrap();

    let tried = run(&["--dry-run"]);
    assert!(tried.out.contains("gated      Cursor `notes`"), "{tried:?}");
    assert!(tried.out.contains("1 would be"), "{tried:?}");
    assert_eq!((tried.code, now()), (Some(0), text.to_owned()));

    assert_eq!(run(&[]).code, Some(0));
    let gate = json!(AGENTGATE).to_string();
    let words = r#""wrap", "--name", "notes", "--agent", "cursor", "--", "npx", "-y", "a b""#;
    assert_eq!(now(), text.replace("\"npx\"", &gate).replace("\"-y\", \"a b\"", words));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&cursor).unwrap().permissions().mode() & 0o777, 0o640);
    let mut doctor = home.command(&["doctor"]);
    let doctor = Said::by(doctor.env("HOME", home.path()).current_dir(&folder).output().unwrap());
    assert!(doctor.out.contains("`notes`") && doctor.out.contains("is gated\n"), "{doctor:?}");

    let again = run(&["--json"]);
    let lines: Vec<Value> = again.out.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!([&lines[0]["outcome"], &lines[1]["outcome"]], ["unchanged", "unchanged"]);
    assert_eq!(run(&["--undo", "nots"]).code, Some(2));
    assert_eq!(run(&["--undo"]).code, Some(0));
    assert_eq!(now(), text);

    // A link on PATH outlives the file of one version.
    let linked = home.path().join("bin/agentgate");
    fs::create_dir(linked.parent().unwrap()).unwrap();
    symlink(AGENTGATE, &linked).unwrap();
    let mut setup = home.command(&["setup"]);
    setup.env("HOME", home.path()).env_remove("XDG_CONFIG_HOME").current_dir(&folder);
    assert!(setup.env("PATH", linked.parent().unwrap()).status().unwrap().success());
    assert!(now().contains(&json!(linked).to_string()), "{}", now());

    fs::write(&cursor, "{").unwrap();
    let failed = run(&[]);
    assert_eq!((failed.code, now().as_str()), (Some(1), "{"));
    assert!(failed.out.contains("failed     Cursor in "), "{failed:?}");
}
