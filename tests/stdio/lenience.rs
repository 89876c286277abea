//! Real servers of the Python and the TypeScript SDK, which read values of other types and
//! in other spellings as they please: what they do must not be what the policy denies.

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Sandbox, Wrap, argv, helper, real};

/// What is forbidden is denied, and the rest is let through.
const DENYING: &str = "name: p
rules:
  - { tool: act, args: { branch: main }, effect: deny }
  - { tool: act, when: 'has(args.owner) && args.owner == \"acme\"', effect: deny }
  - { tool: act, args: { count: 22 }, effect: deny }
  - { tool: act, args: { loose: 22 }, effect: deny }
  - { tool: act, args: { force: true }, effect: deny }
  - { tool: act, args: { dry_run: false }, effect: deny }
  - { tool: act, args: { 'tags[any]': prod }, effect: deny }
  - { tool: act, args: { to: evil }, effect: deny }
  - { tool: act, args: { uri: { prefix: 'file:///etc/' } }, effect: deny }
  - { tool: act, args: { path: { prefix: /etc/ } }, effect: deny }
  - { tool: act, when: 'has(args.file) && args.file.startsWith(\"/etc/\")', effect: deny }
  - { tool: act, args: { rel: { prefix: secrets/ } }, effect: deny }
  - { tool: act, args: { home: { prefix: /home/me/.ssh/ } }, effect: deny }
  - { tool: act, args: { mail: evil@x.org }, effect: deny }
  - { tool: act, when: 'has(args.labels) && \"prod\" in args.labels', effect: deny }
  - { tool: act, args: { name: { regex: '^main$' } }, effect: deny }
  - { tool: act, args: { limit: 22 }, effect: deny }
  - { tool: act, args: { size: { gt: 100 } }, effect: deny }
  - { tool: act, when: 'has(args.uid) && args.uid < 1000', effect: deny }
  - { tool: act, args: { host: 127.0.0.1 }, effect: deny }
  - { tool: act, args: { net: { glob: '127.*' } }, effect: deny }
  - { tool: act, args: { site: { prefix: 'https://evil.example/' } }, effect: deny }
  - { tool: act, args: { sql: { contains: 'drop table' } }, effect: deny }
  - { tool: act, args: { query: { regex: '(?i)\\bdrop\\s+table\\b' } }, effect: deny }
  - { tool: act, args: { dot: [~/.netrc, ~/.npmrc] }, effect: deny }
  - { tool: act, args: { keys: { prefix: ~/.ssh/ } }, effect: deny }
default_effect: allow
";

/// What is not forbidden is let through, and the rest is denied.
const ALLOWING: &str = "name: p
rules:
  - { tool: act, args: { branch: { exists: true, ne: main } }, effect: allow }
  - { tool: act, when: 'has(args.owner) && args.owner != \"acme\"', effect: allow }
  - { tool: act, args: { count: { exists: true, ne: 22 } }, effect: allow }
  - { tool: act, args: { loose: { exists: true, not_in: [22] } }, effect: allow }
  - { tool: act, args: { force: { exists: true, ne: true } }, effect: allow }
  - { tool: act, args: { 'tags[all]': { exists: true, ne: prod } }, effect: allow }
  - { tool: act, args: { to: { exists: true, ne: evil } }, effect: allow }
  - { tool: act, args: { uri: { prefix: 'file:///srv/' } }, effect: allow }
  - { tool: act, args: { path: { prefix: /srv/ } }, effect: allow }
  - { tool: act, when: 'has(args.file) && args.file.startsWith(\"/srv/\")', effect: allow }
  - { tool: act, args: { rel: { prefix: src/ } }, effect: allow }
  - { tool: act, args: { mail: { suffix: '@acme.example' } }, effect: allow }
  - { tool: act, when: 'has(args.labels) && !(\"prod\" in args.labels)', effect: allow }
  - { tool: act, args: { limit: { exists: true, ne: 22 } }, effect: allow }
  - { tool: act, args: { size: { lte: 100 } }, effect: allow }
  - { tool: act, when: 'has(args.uid) && args.uid >= 1000', effect: allow }
  - { tool: act, args: { host: { exists: true, ne: 127.0.0.1 } }, effect: allow }
  - { tool: act, args: { site: { prefix: 'https://good.example/' } }, effect: allow }
  - { tool: act, args: { sql: { prefix: select } }, effect: allow }
  - { tool: act, args: { dot: { prefix: ~/notes } }, effect: allow }
  - { tool: act, args: { keys: { exists: true } }, conditions: { not: { args: { keys: { prefix: ~/.ssh/ } } } }, effect: allow }
default_effect: deny
";

/// For each argument values that are denied, or that some server takes for those, and
/// then others.
fn calls() -> Vec<Value> {
    let texts = [
        "main",
        " main",
        "main\n",
        "Main",
        "m\u{200b}ain",
        "dev",
        "mainframe",
        "acme",
        "Acme",
        "ACME",
        "acme2",
        "22",
        " 22 ",
        "+22",
        "022",
        "22.0",
        "22.9",
        "2.2e1",
        "0x16",
        "0b10110",
        "0o26",
        "2_2",
        "２２",
        "٢٢",
        "22abc",
        "22,0",
        "23",
        "220",
        "true",
        "yes",
        "on",
        "1",
        "t",
        "false",
        "no",
        "off",
        "0",
        "",
        "x",
        "prod",
        "[\"prod\"]",
        "[\"dev\"]",
        "evil",
        "[\"evil\"]",
        "evil,b",
        "good",
        "file:///etc/passwd",
        "file:///etc/%70asswd",
        "file:///%65tc/passwd",
        "file:///etc%2Fpasswd",
        "file:///srv/../etc/passwd",
        "file:///srv/%2e%2e/etc/passwd",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "file://localhost/etc/passwd",
        " file:///etc/passwd",
        "fi\tle:///etc/passwd",
        "file:\\\\\\etc\\passwd",
        "file:///srv/a.md",
        "file:///srv/a%20b",
        "x://a/b",
        "/etc/passwd",
        "//etc/passwd",
        "/./etc//passwd",
        "/srv/../etc/passwd",
        "/srv/../../etc/passwd",
        " /etc/passwd",
        "\"/etc/passwd\"",
        "'/etc/passwd'",
        "/srv/a\n/../../etc/passwd",
        "/srv/a.md",
        "/srv/./a",
        "secrets/a",
        "./secrets/a",
        "src/../secrets/a",
        "secrets//a",
        "src/a",
        "src/./a//b",
        "etc/passwd",
        "../etc/passwd",
        "~/.ssh/id",
        "~/../me/.ssh/id",
        "~/a/../.ssh/id",
        "~/../../home/me/.ssh/id",
        "/home/me/./.ssh/id",
        "~/notes",
        "evil@x.org",
        "Bob <evil@x.org>",
        "evil@x.org,bob@acme.example",
        "evil@x.org; bob@acme.example",
        "bob@acme.example",
        "bob@acme.example, eve@acme.example",
        "file:///srv/?/../../etc/passwd",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "::ffff:127.0.0.1",
        "10.0.0.1",
        "https://evil.example",
        "https://evil.example/x",
        "https://evil.example./x",
        "https://me:you@evil.example/x",
        "HTTPS://EVIL.example?x",
        "evil.example/x",
        "https://good.example/x",
        "https://good.example@evil.example/x",
        "drop table t",
        "DROP  TABLE t",
        "drop\ttable t",
        "drop\n  table t",
        "drop/**/table t",
        "drop -- why\ntable t",
        "select 1",
        "~/.netrc",
        "/home/me/.netrc",
        "/home/you/../me/.netrc",
        "$HOME/.netrc",
        "${HOME}/.ssh/id",
        "/home/me/.ssh",
        "file:///home/me/.ssh/id",
        "/home/me/notes/a",
    ];
    let others = [
        json!(22),
        json!(22.0),
        json!(22.5),
        json!(23),
        json!(1),
        json!(0),
        json!(-1),
        json!(true),
        json!(false),
        json!(null),
        json!([]),
        json!({}),
        json!(["main"]),
        json!(["prod"]),
        json!(["dev"]),
        json!(["evil", "b"]),
        json!([22]),
        json!(["22"]),
        json!(["acme"]),
        json!(["PROD"]),
        json!((1_i64 << 32) + 22),
        json!(1_i64 << 32),
        json!(1_000 - (1_i64 << 32)),
        json!(101),
        json!(5_000),
    ];
    let values: Vec<Value> = texts.into_iter().map(Value::from).chain(others).collect();
    let names = [
        "branch", "owner", "count", "loose", "force", "dry_run", "tags", "to", "uri", "path",
        "file", "rel", "home", "mail", "labels", "name", "limit", "size", "uid", "host", "net",
        "site", "sql", "query", "dot", "keys",
    ];
    let calls =
        names.iter().flat_map(|name| values.iter().map(move |value| json!({ *name: value })));
    calls.collect()
}

/// How many calls did what is forbidden, and how many anything at all.
fn done(command: &[OsString], record: &Path) -> (Vec<String>, usize) {
    let mut client = Client::spawn(command);
    client.initialize();
    let (mut forbidden, mut count) = (Vec::new(), 0);
    let mut seen = 0;
    for (id, args) in (1..).zip(calls()) {
        client.call(id, "act", &args);
        let text = std::fs::read_to_string(record).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[seen..] {
            count += 1;
            if !line.is_empty() {
                forbidden.push(format!("{args} did {line}"));
            }
        }
        seen = lines.len();
    }
    assert!(client.close().success());
    (forbidden, count)
}

fn check(server: impl Fn(&Path) -> Vec<OsString>, least: usize) {
    let sandbox = Sandbox::new();
    let (open, gated) = (sandbox.path("open"), sandbox.path("gated"));
    let (forbidden, all) = done(&server(&open), &open);
    assert!(forbidden.len() >= least, "only {} of {all}: {forbidden:#?}", forbidden.len());
    let gate = |name: &str, policy: &str, record: &Path| {
        let wrap: Wrap = sandbox.wrap().policy(sandbox.write(name, policy));
        let (passed, let_through) = done(&wrap.command(server(record)), record);
        assert!(passed.is_empty(), "{name}, {} of {}: {passed:#?}", passed.len(), forbidden.len());
        let_through
    };
    assert!(gate("allowing.yaml", ALLOWING, &sandbox.path("allowed")) > least);
    let let_through = gate("denying.yaml", DENYING, &gated);
    // Most of what does nothing forbidden is let through.
    let harmless = all - forbidden.len();
    assert!(let_through * 2 > harmless, "{let_through} of {harmless}");
}

#[test]
fn python_sdk() {
    let Some(installed) = real::installed() else { return };
    let python = installed.join("python/bin/python");
    check(|record| argv([python.as_os_str(), &helper("typed.py"), record.as_os_str()]), 30);
}

#[test]
fn python_sdk_before_2() {
    let Some(installed) = real::installed() else { return };
    let python = installed.join("python-sqlite/bin/python");
    check(|record| argv([python.as_os_str(), &helper("typed.py"), record.as_os_str()]), 30);
}

#[test]
fn typescript_sdk() {
    let Some(installed) = real::installed() else { return };
    let mut place = OsString::from("AGENTGATE_REAL=");
    place.push(&installed);
    let server = |record: &Path| {
        argv(["env".into(), place.clone(), "node".into(), helper("typed.mjs"), record.into()])
    };
    check(server, 60);
}
