//! The cost of one decision on a parsed request, by the pipeline and by the policy alone; it does
//! not grow with rules for other tools.
//!
//! `cargo bench --bench decision`

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot start measures nothing"
)]

use std::fmt::Write as _;

use agentgate::action::Action;
use agentgate::gate::pipeline::{Facts, decide};
use agentgate::intent::{self, Intent};
use agentgate::policy::{self, Policy};
use agentgate::request::{self, UnknownKeys};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// Typical rules: by tool, glob and arguments. The last three are for the tool that is called.
fn rules(count: usize) -> Policy {
    let mut text = String::from("name: bench\nrules:\n");
    for number in 0..count - 3 {
        let rule = match number % 4 {
            0 => format!("{{ tool: tool_{number}, effect: allow }}"),
            1 => format!("{{ tool: 'group_{number}_*', server: s{number}, effect: ask }}"),
            2 => format!(
                "{{ tool: write_{number}, args: {{ path: {{ under: /srv/p{number} }} }}, effect: allow }}"
            ),
            _ => format!(
                "{{ server: server_{number}, annotations: {{ readOnlyHint: true }}, effect: allow }}"
            ),
        };
        writeln!(text, "  - {rule}").unwrap();
    }
    text.push_str(
        "  - { tool: 'push_*', server: github, args: { branch: main }, effect: deny }
  - { tool: push_files, args: { 'files[any].path': { glob: '*.env' } }, effect: deny }
  - { tool: push_files, server: github, args: { branch: { prefix: agent/ } }, effect: allow }
",
    );
    load(&text)
}

fn load(text: &str) -> Policy {
    Policy::from_file(
        policy::load_str("bench.yaml", text).unwrap_or_else(|found| panic!("{found}")),
    )
}

fn action(request: &str) -> Action {
    request::parse_text(request.as_bytes(), UnknownKeys::Refuse).expect("a request")
}

fn push() -> Action {
    action(
        r#"{"server":"github","tool":"push_files","args":{"owner":"acme","repo":"site",
            "branch":"agent/fix","message":"Fix the typo","files":[{"path":"README.md",
            "content":"hello"},{"path":"src/lib.rs","content":"//! hi"}]}}"#,
    )
}

/// The policy alone.
#[divan::bench(args = [10, 100, 1_000])]
fn judge_tool_glob_args(bencher: Bencher, count: usize) {
    let (policy, action) = (rules(count), push());
    bencher.bench_local(|| black_box(&policy).judge(black_box(&action), Intent::Update));
}

/// The whole pipeline, including the analysis of intent.
#[divan::bench(args = [10, 100, 1_000])]
fn decide_tool_glob_args(bencher: Bencher, count: usize) {
    let (policy, action) = (rules(count), push());
    bencher.bench_local(|| decide(black_box(&action), black_box(&policy), &Facts::default()));
}

/// No rule matches, so all candidates are tried.
#[divan::bench(args = [10, 100, 1_000])]
fn judge_default(bencher: Bencher, count: usize) {
    let policy = rules(count);
    let action = action(r#"{"server":"elsewhere","tool":"unheard_of","args":{"a":1}}"#);
    bencher.bench_local(|| black_box(&policy).judge(black_box(&action), Intent::Update));
}

#[divan::bench(args = [10, 100, 1_000])]
fn judge_rest(bencher: Bencher, count: usize) {
    let mut text = String::from("name: bench\nrules:\n");
    for number in 0..count - 1 {
        writeln!(text, "  - {{ resource: '/repos/o{number}/*/issues/**', effect: allow }}")
            .unwrap();
    }
    text.push_str("  - { provider: github, resource: '/repos/acme/*/issues/**', methods: [GET], effect: allow }\n");
    let policy = load(&text);
    let action = action(
        r#"{"provider":"github","method":"GET","path":"/repos/acme/site/issues/7/comments"}"#,
    );
    bencher.bench_local(|| black_box(&policy).judge(black_box(&action), Intent::Read));
}

/// A CEL condition, for comparison.
#[divan::bench]
fn judge_when(bencher: Bencher) {
    let policy = load(
        "name: bench\nrules:\n  - { tool: push_files, when: 'args.branch.startsWith(\"agent/\")', effect: allow }\n",
    );
    let action = push();
    bencher.bench_local(|| black_box(&policy).judge(black_box(&action), Intent::Update));
}

/// Rules that all read the same text, but do not match it.
fn rules_on_a_text(count: usize) -> Policy {
    let mut text = String::from("name: bench\nrules:\n");
    for number in 0..count {
        let operator = match number % 5 {
            0 => format!("{{ contains: 'DROP TABLE t{number}' }}"),
            1 => format!("{{ prefix: /srv/secrets{number}/ }}"),
            2 => format!("{{ glob: '*/.ssh/key{number}*' }}"),
            3 => format!("{{ regex: 'rm -rf /srv{number}' }}"),
            _ => format!("{{ eq: /etc/shadow{number} }}"),
        };
        writeln!(text, "  - {{ tool: write, args: {{ text: {operator} }}, effect: deny }}")
            .unwrap();
    }
    load(&text)
}

fn write(text: &str) -> Action {
    let text = serde_json::to_string(text).unwrap();
    action(&format!(r#"{{"server":"files","tool":"write","args":{{"text":{text}}}}}"#))
}

/// 64 KiB of source code.
#[divan::bench(args = [1, 5, 25])]
fn judge_a_long_text(bencher: Bencher, count: usize) {
    let line = "    let path = Path::new(\"/srv/Site/index.html\"); // as in a/b\n";
    let (policy, action) = (rules_on_a_text(count), write(&line.repeat((64 << 10) / line.len())));
    bencher.bench_local(|| black_box(&policy).judge(black_box(&action), Intent::Update));
}

#[divan::bench(args = [1, 5, 25])]
fn judge_a_short_text(bencher: Bencher, count: usize) {
    let (policy, action) = (rules_on_a_text(count), write("Fix the typo in a/b.md"));
    bencher.bench_local(|| black_box(&policy).judge(black_box(&action), Intent::Update));
}

#[divan::bench(args = [1, 5, 25])]
fn judge_a_plain_name(bencher: Bencher, count: usize) {
    let (policy, action) = (rules_on_a_text(count), write("src/lib.rs"));
    bencher.bench_local(|| black_box(&policy).judge(black_box(&action), Intent::Update));
}

#[divan::bench]
fn intent_of_a_tool(bencher: Bencher) {
    let action = push();
    bencher.bench_local(|| intent::of(black_box(&action)));
}

#[divan::bench(args = [100, 1_000])]
fn load_policy(bencher: Bencher, count: usize) {
    let mut text = String::from("name: bench\nrules:\n");
    for number in 0..count {
        writeln!(text, "  - {{ tool: 'tool_{number}_*', args: {{ a: {number} }}, effect: allow }}")
            .unwrap();
    }
    bencher.bench_local(|| load(black_box(&text)));
}
