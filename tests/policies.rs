//! `check`, `test`, `explain` and `replay` as scripts use them: exit codes,
//! places, one JSON object a line.

#![cfg(test)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const POLICY: &str = "name: p
rules:
  - name: reads
    tool: 'get_*'
    effect: allow
  - name: main
    tool: push
    args: { branch: main }
    effect: deny
    reason: main is protected
    suggestion: Push to a branch.
default_effect: ask
tests:
  - request: { server: s, tool: get_x, args: {} }
    expect: allow
";

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str], input: &str) -> Output {
        let work = self.0.path().join("work");
        fs::create_dir_all(&work).unwrap();
        self.run_in(&work, args, input)
    }

    fn run_in(&self, work: &Path, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agentgate"))
            .args(args)
            .current_dir(work)
            .env("AGENTGATE_HOME", self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

#[track_caller]
fn code(output: &Output, expected: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(expected), "{out}{err}");
    out + &err
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn check_tells_place_line_and_caret_and_exits_1() {
    let home = Home::new();
    let good = home.file("good.yaml", POLICY);
    let bad = home.file("bad.yaml", "name: p\nrules:\n  - tol: x\n    effect: deny\n");
    let warned = home.file("warned.yaml", &POLICY.replace("tool: push", "tool: get_push"));
    code(&home.run(&["check", &good], ""), 0);
    let told = code(&home.run(&["check", &good, &bad], ""), 1);
    let place = format!("{bad}:3:5: error: unknown key `tol`");
    for expected in [&place, " 3 |   - tol: x", "   |     ^^^", "did you mean `tool`?"] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    assert!(code(&home.run(&["check", &warned], ""), 0).contains("warning"));
    code(&home.run(&["check", "--strict", &warned], ""), 1);
    let found = lines(&code(&home.run(&["check", "--json", &bad, &warned], ""), 1));
    assert_eq!(found[0]["line"], 3);
    assert_eq!(found[1]["severity"], "warning");
    code(&home.run(&["check", "no-such.yaml"], ""), 2);
    let told = code(&home.run(&["check", "gti"], ""), 2);
    assert!(told.contains("did you mean `git`?"), "{told}");
    home.file("work/team.yaml", POLICY);
    let told = code(&home.run(&["check", "team"], ""), 2);
    assert!(told.contains("write ./team.yaml"), "{told}");
}

#[test]
fn seen_tools_are_used_only_with_the_option() {
    let home = Home::new();
    let policy = home.file("p.yaml", POLICY);
    home.file("seen/other.json", r#"{"server":"other","tools":["look"]}"#);
    assert!(code(&home.run(&["check", "--strict", &policy, "git"], ""), 0).contains(": ok ("));
    let told = code(&home.run(&["check", "--strict", "--seen", &policy], ""), 1);
    assert!(told.contains("no tool seen so far matches `push`"), "{told}");
}

#[test]
fn misspelt_variable_is_reported_once() {
    let home = Home::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentgate"));
    command.args(["check", "git"]).env("AGENTGATE_HOME", home.0.path());
    let output = command.env("AGENTGATE_POLCY", "x").env("AGENTGATE_MY_TOKEN", "x").output();
    let told = String::from_utf8(output.unwrap().stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("did you mean AGENTGATE_POLICY?"), "{told}");
}

#[test]
fn test_exits_1_where_one_fails() {
    let home = Home::new();
    let good = home.file("good.yaml", POLICY);
    let bad = home.file("bad.yaml", &POLICY.replace("expect: allow", "expect: deny"));
    assert!(code(&home.run(&["test", &good], ""), 0).contains("1 test in 1 file, 0 failed"));
    let told = code(&home.run(&["test", &good, &bad], ""), 1);
    assert!(told.contains("expected deny, got allow by `reads`"), "{told}");
    let found = lines(&code(&home.run(&["test", "--json", &bad], ""), 1));
    assert_eq!((&found[0]["passed"], &found[0]["rule"]), (&false.into(), &"reads".into()));
}

#[test]
fn test_without_arguments_runs_the_configured_policies() {
    let home = Home::new();
    let nothing = code(&home.run(&["test"], ""), 0);
    assert!(nothing.starts_with("Nothing to test: the configuration names no policy"), "{nothing}");
    assert!(nothing.ends_with("0 tests in 0 files, 0 failed\n"), "{nothing}");

    home.file("policies/own.yaml", &POLICY.replace("expect: allow", "expect: ask"));
    home.file("team.yaml", &POLICY.replace("name: p", "name: team"));
    home.file(
        "config.yaml",
        "policy: [own, ./team.yaml]\nservers:\n  git: { policy: [git, ./team.yaml] }\n",
    );
    let told = code(&home.run(&["test"], ""), 1);
    assert!(told.starts_with("Testing what the configuration names, and what is in "), "{told}");
    for tested in ["/own.yaml", "/team.yaml", "<git>"] {
        assert_eq!(told.matches(tested).count(), 1, "{tested}: {told}");
    }
    assert!(told.contains(" in 3 files, 1 failed"), "{told}");
}

#[test]
fn a_folder_stands_for_the_policies_in_it() {
    let home = Home::new();
    let one = home.file("set/one.yaml", POLICY);
    home.file("set/two.yml", &POLICY.replace("name: p", "name: two"));
    home.file("set/notes.txt", "not a policy");
    let folder = Path::new(&one).parent().unwrap().to_str().unwrap();
    assert!(code(&home.run(&["test", folder], ""), 0).contains("2 tests in 2 files, 0 failed"));
    assert!(code(&home.run(&["check", folder], ""), 0).contains("two.yml: ok"));
    home.file("work/none/a.txt", "");
    code(&home.run(&["test", "./none"], ""), 2);
}

#[test]
fn policies_are_listed_and_shown() {
    let home = Home::new();
    let own = home.file("policies/git.yaml", "name: git\ndefault_effect: allow\n");
    let listed = lines(&code(&home.run(&["policies", "list", "--json"], ""), 0));
    let place =
        |name: &str| listed.iter().find(|line| line["name"] == name).unwrap()["file"].clone();
    assert_eq!((place("annotations"), place("filesystem")), (Value::Null, Value::Null));
    assert_eq!(place("git"), own.as_str());
    let table = code(&home.run(&["policies", "list"], ""), 0);
    assert!(table.contains(&own), "{table}");
    assert!(table.contains("\nlinear_readonly      Read Linear.\n"), "{table}");
    let shown = code(&home.run(&["policies", "show", "filesystem"], ""), 0);
    let again = home.file("again.yaml", &shown);
    code(&home.run(&["test", &again], ""), 0);
    assert!(
        code(&home.run(&["policies", "show", "annotations"], ""), 0).contains("name: annotations")
    );
    code(&home.run(&["policies", "show", "annotation"], ""), 2);
}

/// A broken file is an invalid policy, not a wrong command line, and the next is checked.
#[test]
fn binary_file_is_an_invalid_policy() {
    let home = Home::new();
    let good = home.file("good.yaml", POLICY);
    let bad = home.0.path().join("bad.yaml");
    fs::write(&bad, b"name: p\ndescription: caf\xe9\n").unwrap();
    let bad = bad.to_str().unwrap();
    for command in ["check", "test"] {
        let output = home.run(&[command, bad, &good], "");
        assert_eq!(output.status.code(), Some(1), "{command}");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8(told).unwrap();
        assert!(
            told.contains("bad.yaml:2:17: error: not UTF-8: the byte 0xe9 at offset 24"),
            "{told}"
        );
        assert!(told.contains("good.yaml"), "{told}");
        code(&home.run(&[command, "missing.yaml"], ""), 2);
    }
}

#[test]
fn explain_exits_by_decision_and_names_the_place() {
    let home = Home::new();
    let policy = home.file("p.yaml", POLICY);
    let explain = |request: &str, json: bool| {
        let mut args = vec!["explain", "--policy", &policy, "--request", request];
        args.extend(json.then_some("--json"));
        home.run(&args, "")
    };
    code(&explain(r#"{"tool":"get_x"}"#, false), 0);
    let denied = code(&explain(r#"{"tool":"push","args":{"branch":"main"}}"#, false), 3);
    assert!(denied.contains(&format!("{policy}:6")), "{denied}");
    let asked = code(&explain(r#"{"tool":"push","args":{"branch":"x"}}"#, true), 4);
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(asked["rule"], "default");
    assert_eq!(asked["near_misses"][0]["key"], "args.branch");
    assert_eq!(asked["near_misses"][0]["line"], 6);
    let by_hints = |request: &str| {
        let explain = ["explain", "--policy", "annotations", "--request", request];
        home.run(&explain, "")
    };
    let unknown = code(&by_hints(r#"{"tool":"push"}"#), 4);
    assert!(unknown.contains("the request has no `annotations`"), "{unknown}");
    let known = code(&by_hints(r#"{"tool":"push","annotations":{"readOnlyHint":true}}"#), 0);
    assert!(!known.contains("`annotations`; add"), "{known}");
    let misspelt = code(&by_hints(r#"{"tool":"push","annotations":{"readonlyHint":true}}"#), 2);
    assert!(misspelt.contains("did you mean `readOnlyHint`?"), "{misspelt}");
    code(&explain(r#"{"tol":"push"}"#, false), 2);
    let nonsense = explain("nonsense", false);
    code(&nonsense, 2);
    assert!(String::from_utf8_lossy(&nonsense.stderr).contains("write '{…}', or -"));
    let from_stdin = ["explain", "--policy", &policy, "--request", "-"];
    code(&home.run(&from_stdin, r#"{"tool":"get_x"}"#), 0);
}

#[test]
fn replay_answers_each_line_in_order() {
    let home = Home::new();
    let policy = home.file("p.yaml", POLICY);
    let trace = home.file(
        "trace.jsonl",
        "{\"session\":\"a\",\"request\":{\"tool\":\"get_x\"},\"result\":{}}\n\
         {\"session\":\"b\",\"seq\":2,\"request\":{\"tool\":\"push\",\"args\":{\"branch\":\"main\"}}}\n",
    );
    let answers = lines(&code(&home.run(&["replay", "--policy", &policy, &trace], ""), 0));
    assert_eq!((&answers[0]["session"], &answers[0]["decision"]), (&"a".into(), &"allow".into()));
    assert_eq!(
        (&answers[1]["rule"], &answers[1]["reason"]),
        (&"main".into(), &"main is protected".into())
    );
}

#[test]
fn replay_shows_what_another_policy_would_decide_differently() {
    let home = Home::new();
    let old = home.file("old.yaml", POLICY);
    let new = home.file("new.yaml", &POLICY.replace("tool: 'get_*'", "tool: get_x"));
    let trace = home.file(
        "trace.jsonl",
        "{\"session\":\"a\",\"request\":{\"server\":\"s\",\"tool\":\"get_x\"}}\n\
         {\"session\":\"b\",\"request\":{\"server\":\"s\",\"tool\":\"get_y\"}}\n",
    );
    let compared =
        |old: &str, new: &str| home.run(&["replay", "--against", old, "--policy", new, &trace], "");
    let changes = lines(&code(&compared(&old, &new), 1));
    assert_eq!(changes.len(), 1, "{changes:?}");
    for (key, value) in [
        ("session", "b"),
        ("server", "s"),
        ("subject", "get_y"),
        ("before", "allow"),
        ("decision", "ask"),
    ] {
        assert_eq!(changes[0][key], value, "{key}");
    }
    assert_eq!(code(&compared(&old, &old), 0), "");
    code(&compared("no.yaml", &new), 2);
}

/// Without a policy on the command line: what `wrap` and `serve` would go by.
#[test]
fn configured_policies_decide_in_explain_and_replay() {
    let home = Home::new();
    let (rest, tool) = (
        r#"{"provider":"github","method":"GET","path":"/user"}"#,
        r#"{"server":"git","tool":"look"}"#,
    );
    let trace = [rest, tool].map(|request| format!("{{\"request\":{request}}}\n")).concat();
    let trace = home.file("trace.jsonl", &trace);
    let decided = |of_rest: &str, of_tool: &str| {
        for (request, policy) in [(rest, of_rest), (tool, of_tool)] {
            let explained = home.run(&["explain", "--json", "--request", request], "");
            let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
            assert_eq!(explained["policy"], policy, "{explained}");
        }
        lines(&code(&home.run(&["replay", &trace], ""), 0))
    };
    let answers = decided("default", "annotations");
    assert_eq!([&answers[0]["decision"], &answers[1]["decision"]], ["allow", "ask"]);
    home.file("config.yaml", "servers: { git: { policy: [allow_all] } }\n");
    let answers = decided("default", "allow_all");
    assert_eq!([&answers[0]["decision"], &answers[1]["decision"]], ["allow", "allow"]);
    home.file("config.yaml", "policy: [deny_all]\nservers: { git: { policy: [allow_all] } }\n");
    let answers = decided("deny_all", "allow_all");
    assert_eq!([&answers[0]["decision"], &answers[1]["decision"]], ["deny", "allow"]);
}

#[test]
fn names_are_never_looked_up_in_the_working_directory() {
    let home = Home::new();
    let work = home.0.path().join("project");
    home.file("project/mine.yaml", "name: mine\ndefault_effect: allow\n");
    home.file("project/deny_all.yaml", "name: deny_all\ndefault_effect: allow\n");
    let explain = |policy: &str| {
        home.run_in(&work, &["explain", "--policy", policy, "--request", r#"{"tool":"x"}"#], "")
    };
    code(&explain("mine"), 2);
    code(&explain("deny_all"), 3);
    // A path is what somebody typed.
    code(&explain("mine.yaml"), 0);
    home.file("policies/mine.yaml", "name: mine\ndefault_effect: deny\n");
    code(&explain("mine"), 3);
}
