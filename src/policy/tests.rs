//! Tests of the policy language as users see it: a policy, a request, a verdict.

mod methods;
mod spelling;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::request::{self, UnknownKeys};

/// The example of the language's documentation.
pub(super) const SAMPLE: &str = r#"
name: default
description: "Read-only access"
rules:
  - resource: "/calendars/*/events"
    methods: ["GET"]
    effect: allow
  - resource: "/calendars/*/events"
    methods: ["POST", "DELETE"]
    effect: deny
    reason: "Write operations not permitted"
  - intent: ["read", "query"]
    effect: allow
  - resource: "/sensitive/*"
    effect: allow
    conditions:
      and:
        - intent: read
        - methods: ["GET"]
  - name: no-push-to-main
    server: github
    tool: "push_*"
    args: { branch: main }
    effect: deny
    reason: "main is protected"
    suggestion: "Push to a branch and open a pull request."
  - tool: write_file
    args: { path: { under: "/srv/project" } }
    effect: allow
  - annotations: { destructiveHint: true }
    effect: ask
  - provider: salesforce
    when: 'body.Amount > 10000.0 && agent.name != "finance"'
    effect: ask
default_effect: deny
default_reason: "Not permitted by default"
time_restrictions:
  enabled: true
  timezone: "Asia/Tokyo"
  allowed_hours: { start: "09:00", end: "18:00" }
  allowed_days: [mon, tue, wed, thu, fri]
rate_limit:
  enabled: true
  requests_per_minute: 30
  requests_per_hour: 500
mode: enforce
tests:
  - name: main is protected
    request: { server: github, tool: push_files, args: { branch: main } }
    expect: deny
"#;

/// Monday noon in Tokyo.
const NOON: &str = "2026-11-23T03:00:00Z";

fn action(json: &str) -> Action {
    let mut action = request::parse_text(json.as_bytes(), UnknownKeys::Refuse).unwrap();
    if !json.contains("\"time\"") {
        action.at = NOON.parse::<Timestamp>().unwrap();
    }
    action
}

fn policy(text: &str) -> Policy {
    Policy::from_file(load_str("p.yaml", text).unwrap_or_else(|found| panic!("{found}")))
}

/// A policy with these rules that denies by default.
fn rules(rules: &str) -> Policy {
    policy(&format!("name: p\nrules:\n{rules}\ndefault_effect: deny\n"))
}

#[track_caller]
fn decided(policy: &Policy, json: &str, intent: Intent, expected: &str) {
    let verdict = policy.judge(&action(json), intent);
    let found = format!("{} {}", verdict.decision.as_str(), verdict.rule);
    assert_eq!(found, expected, "{json}");
}

#[test]
fn example_policy_decides_as_documented() {
    let sample = policy(SAMPLE);
    let calendar = r#"{"provider":"google","method":"GET","path":"/calendars/me/events"}"#;
    decided(&sample, calendar, Intent::Read, "allow default#1");
    let post = r#"{"provider":"google","method":"POST","path":"/calendars/me/events"}"#;
    decided(&sample, post, Intent::Create, "deny default#2");
    let query = r#"{"provider":"google","method":"POST","path":"/freeBusy"}"#;
    decided(&sample, query, Intent::Query, "allow default#3");
    decided(&sample, query, Intent::Create, "deny default");
    let push = r#"{"server":"github","tool":"push_files","args":{"branch":"main"}}"#;
    decided(&sample, push, Intent::Update, "deny no-push-to-main");
    let push = r#"{"server":"github","tool":"push_files","args":{"branch":"topic"}}"#;
    decided(&sample, push, Intent::Update, "ask default#7");
    let write = r#"{"server":"fs","tool":"write_file","args":{"path":"/srv/project/a"}}"#;
    decided(&sample, write, Intent::Update, "allow default#6");
    let write = r#"{"server":"fs","tool":"write_file","args":{"path":"/srv/project/../a"}}"#;
    decided(&sample, write, Intent::Update, "ask default#7");
    for (body, agent, expected) in [
        (r#"{"Amount":10000.5}"#, "sales", "ask default#8"),
        (r#"{"Amount":10001}"#, "sales", "ask default#8"),
        (r#"{"Amount":10001}"#, "finance", "deny default"),
        (r#"{"Amount":10000}"#, "sales", "deny default"),
        (r#"{"Amount":"many"}"#, "sales", "deny default#8"),
        ("{}", "sales", "deny default#8"),
    ] {
        let json = format!(
            r#"{{"provider":"salesforce","method":"POST","path":"/x","agent":"{agent}","body":{body}}}"#
        );
        decided(&sample, &json, Intent::Create, expected);
    }
    let limits: Vec<(u64, u32)> =
        sample.limits().iter().map(|limit| (limit.window.as_secs(), limit.max)).collect();
    assert_eq!(limits, [(60, 30), (3_600, 500)]);
}

#[test]
fn everything_is_denied_outside_the_hours() {
    let sample = policy(SAMPLE);
    let late = r#"{"server":"s","tool":"t","time":"2026-11-23T09:00:00Z"}"#;
    let verdict = sample.judge(&action(late), Intent::Read);
    assert_eq!((&*verdict.rule, verdict.reason), ("time_restrictions", Reason::OutsideHours));
}

#[test]
fn failing_condition_denies_and_names_the_rule() {
    let policy = rules("  - name: big\n    when: args.amount > 10\n    effect: allow");
    decided(&policy, r#"{"tool":"t","args":{"amount":11}}"#, Intent::Update, "allow big");
    decided(&policy, r#"{"tool":"t","args":{"amount":1}}"#, Intent::Update, "deny default");
    decided(&policy, r#"{"tool":"t","args":{"amount":"11"}}"#, Intent::Update, "deny big");
    decided(
        &policy,
        r#"{"tool":"t","args":{"amount":99999999999999999999}}"#,
        Intent::Update,
        "deny big",
    );
    let verdict = policy.judge(&action(r#"{"tool":"t"}"#), Intent::Update);
    assert!(matches!(verdict.reason, Reason::ConditionFailed(_)));
}

#[test]
fn wrong_type_matches_deny_rules_but_not_allow_rules() {
    let wrong = r#"{"tool":"t","args":{"n":"5"}}"#;
    for (effect, matcher, expected) in [
        ("deny", "{ n: { gt: 10 } }", "deny r"),
        ("ask", "{ n: { gt: 10 } }", "ask r"),
        ("allow", "{ n: { gt: 1 } }", "deny default"),
    ] {
        let plain = format!("  - {{ name: r, args: {matcher}, effect: {effect} }}");
        decided(&rules(&plain), wrong, Intent::Read, expected);
        let negated = format!(
            "  - {{ name: r, conditions: {{ not: {{ args: {matcher} }} }}, effect: {effect} }}"
        );
        decided(&rules(&negated), wrong, Intent::Read, expected);
        let either = format!(
            "  - {{ name: r, conditions: {{ or: [ {{ tool: x }}, {{ args: {matcher} }} ] }}, \
             effect: {effect} }}"
        );
        decided(&rules(&either), wrong, Intent::Read, expected);
    }
}

#[test]
fn allow_rule_must_match_both_values_of_a_repeated_parameter() {
    let twice = r#"{"provider":"github","method":"GET","path":"/x?force=no&force=yes"}"#;
    let rule = |effect: &str, value: &str| {
        rules(&format!("  - {{ name: r, query: {{ force: '{value}' }}, effect: {effect} }}"))
    };
    decided(&rule("deny", "yes"), twice, Intent::Read, "deny r");
    decided(&rule("allow", "no"), twice, Intent::Read, "deny default");
    let both = r#"{"provider":"github","method":"GET","path":"/x?force=no&force=no"}"#;
    decided(&rule("allow", "no"), both, Intent::Read, "allow r");
}

#[test]
fn conditions_nest() {
    let policy = rules(
        "  - name: r
    conditions:
      or:
        - and: [ { server: a }, { not: { tool: x } } ]
        - not: { server: [a, b] }
    effect: allow",
    );
    for (server, tool, expected) in [
        ("a", "y", "allow r"),
        ("a", "x", "deny default"),
        ("b", "y", "deny default"),
        ("c", "x", "allow r"),
    ] {
        let json = format!(r#"{{"server":"{server}","tool":"{tool}"}}"#);
        decided(&policy, &json, Intent::Read, expected);
    }
}

#[test]
fn hints_decide_if_the_policy_delegates_to_them() {
    for policy in
        [Policy::built_in("annotations").unwrap(), policy("name: p\ndefault_effect: annotations")]
    {
        for (hints, decision, reason) in [
            (r#"{"readOnlyHint":true}"#, Decision::Allow, "read-only"),
            (r#"{"readOnlyHint":true,"destructiveHint":true}"#, Decision::Allow, "read-only"),
            (r#"{"destructiveHint":false}"#, Decision::Allow, "not destructive"),
            (r#"{"readOnlyHint":false}"#, Decision::Ask, "may destroy"),
            ("null", Decision::Ask, "says nothing"),
        ] {
            let json = format!(r#"{{"tool":"t","annotations":{hints}}}"#);
            let verdict = policy.judge(&action(&json), Intent::Unknown);
            assert_eq!(verdict.decision, decision, "{hints}");
            assert!(verdict.reason.to_string().contains(reason), "{hints}: {}", verdict.reason);
        }
    }
}

#[test]
fn the_built_in_policies_load() {
    for name in annotations::built_in_names() {
        assert!(Policy::built_in(name).is_some(), "{name}");
    }
    let call = r#"{"tool":"t"}"#;
    decided(&Policy::built_in("allow_all").unwrap(), call, Intent::Admin, "allow default");
    decided(&Policy::built_in("deny_all").unwrap(), call, Intent::Read, "deny default");
    decided(&Policy::join(&[], None), call, Intent::Read, "deny default");
}

#[test]
fn mcp_methods_pass_unless_a_rule_names_them() {
    let policy = rules(
        "  - { name: r, methods: [resources/read], args: { uri: { prefix: 'file:' } }, effect: allow }",
    );
    assert!(policy.names_method("resources/read") && !policy.names_method("prompts/get"));
    let read = |uri: &str| {
        format!(r#"{{"server":"s","method":"resources/read","args":{{"uri":"{uri}"}}}}"#)
    };
    decided(&policy, &read("file:///a"), Intent::Read, "allow r");
    decided(&policy, &read("http://a"), Intent::Read, "deny default");
    decided(&policy, r#"{"server":"s","method":"prompts/get"}"#, Intent::Read, "allow default");
}

fn file(text: &str) -> Arc<PolicyFile> {
    Arc::new(load_str("p.yaml", text).unwrap_or_else(|found| panic!("{found}")))
}

#[test]
fn files_are_joined_and_the_last_default_counts() {
    let one = file("name: one\nrules: [ { tool: a, effect: allow } ]\ndefault_effect: allow");
    let two = file("name: two\nrules: [ { tool: [a, b], effect: deny } ]\ndefault_effect: ask");
    let three = file("name: three\nrules: []");
    let joined = Policy::join(&[one, two, three], None);
    decided(&joined, r#"{"tool":"a"}"#, Intent::Read, "allow one#1");
    decided(&joined, r#"{"tool":"b"}"#, Intent::Read, "deny two#1");
    let verdict = joined.judge(&action(r#"{"tool":"c"}"#), Intent::Read);
    assert_eq!((verdict.decision, &*verdict.policy), (Decision::Ask, "two"));
}

#[test]
fn observing_file_does_not_affect_the_others() {
    let watching = |effect: &str| {
        file(&format!("name: w\nmode: observe\nrules: [ {{ tool: t, effect: {effect} }} ]"))
    };
    let strict = |effect: &str| {
        file(&format!("name: s\nrules: [ {{ tool: t, effect: {effect} }} ]\ndefault_effect: allow"))
    };
    let call = action(r#"{"tool":"t"}"#);
    for (watched, enforced, expected, observed) in [
        ("deny", "deny", "deny s#1", false),
        ("allow", "deny", "deny s#1", false),
        ("deny", "allow", "deny w#1", true),
        ("ask", "allow", "ask w#1", true),
        ("allow", "allow", "allow w#1", false),
    ] {
        let joined = Policy::join(&[watching(watched), strict(enforced)], None);
        let verdict = joined.judge(&call, Intent::Read);
        let found = format!("{} {}", verdict.decision.as_str(), verdict.rule);
        assert_eq!(
            (found.as_str(), verdict.observed),
            (expected, observed),
            "{watched} {enforced}"
        );
    }
    let alone = Policy::join(&[strict("deny")], Some(Mode::Observe)).judge(&call, Intent::Read);
    assert!(alone.observed && alone.lets_through());
    let forced = Policy::join(&[watching("deny")], Some(Mode::Enforce)).judge(&call, Intent::Read);
    assert!(!forced.lets_through());
}

#[test]
fn first_match_decides_wherever_it_is_indexed() {
    let policy = rules(
        "  - { name: one, tool: get_x, args: { a: 1 }, effect: allow }
  - { name: two, tool: 'get_*', args: { a: 2 }, effect: allow }
  - { name: three, args: { a: 3 }, effect: allow }
  - { name: four, tool: '*_x', effect: ask }
  - { name: five, server: s, effect: allow }
  - { name: six, tool: '{get,put}_x', effect: deny }",
    );
    for (args, expected) in
        [("1", "allow one"), ("2", "allow two"), ("3", "allow three"), ("4", "ask four")]
    {
        let json = format!(r#"{{"server":"s","tool":"get_x","args":{{"a":{args}}}}}"#);
        decided(&policy, &json, Intent::Read, expected);
    }
    decided(&policy, r#"{"server":"s","tool":"other"}"#, Intent::Read, "allow five");
}

#[test]
fn all_errors_are_reported_at_once_with_their_places() {
    let text = "name: Bad Name
rules:
  - tol: push_*
    effect: deny
  - tool: \"[ab]\"
    effect: allov
  - tool: a
    tool: b
    intent: reed
    effect: deny
  - resource: a/b
    args: { x: { regex: '(' }, 'y[*]': 1 }
    when: 'tool = 1'
    effect: ask
default_efect: deny
time_restrictions: { timezone: Mars/Base, allowed_hours: { start: 9, end: '25:00' } }
rate_limit: { requests_per_minute: 0 }
";
    let found = load_str("bad.yaml", text).expect_err("must be refused").to_string();
    for expected in [
        "bad.yaml:1:7: error: a policy's name",
        "bad.yaml:3:5: error: unknown key `tol`",
        "help: did you mean `tool`?",
        "bad.yaml:6:13: error: unknown effect `allov`",
        "help: did you mean `allow`?",
        "bad.yaml:8:5: error: duplicate key `tool`, first given on line 7",
        "bad.yaml:9:13: error: unknown intent `reed`",
        "bad.yaml:15:1: error: unknown key `default_efect`",
        " 3 |   - tol: push_*",
        "   |     ^^^",
        "bad.yaml:5:11: error: `[` has no meaning",
        "bad.yaml:11:15: error: a resource starts with",
        "bad regex `(`",
        "`y[any]` or `y[all]`",
        "bad.yaml:13:11: error: bad `when`",
        "unknown time zone `Mars/Base`",
        "not a time of day",
        "`requests_per_minute` needs a whole number of at least 1",
    ] {
        assert!(found.contains(expected), "{expected}\n---\n{found}");
    }
}

fn explained(policy: &Policy, action: &Action, intent: Intent) -> Explanation {
    policy.explain(action, intent, policy.judge(action, intent))
}

#[test]
fn explanations_have_place_and_near_misses() {
    let sample = policy(SAMPLE);
    let push = r#"{"server":"github","tool":"push_files","args":{"branch":"topic"}}"#;
    let explanation = explained(&sample, &action(push), Intent::Update);
    assert_eq!(&*explanation.verdict.rule, "default#7");
    assert_eq!(explanation.place.map(|place| place.line), Some(30));
    let near = explanation.near_misses.iter().find(|near| &*near.rule == "no-push-to-main");
    let near = near.expect("a near miss");
    assert_eq!((near.key.as_str(), near.found.as_deref()), ("args.branch", Some("\"topic\"")));
    assert_eq!((near.effect, near.place.line), (Decision::Deny, 20));
    // A rule for another tool is no near miss.
    assert!(explanation.near_misses.iter().all(|near| &*near.rule != "default#6"));

    let outside = r#"{"server":"fs","tool":"write_file","args":{"path":"/etc/x"}}"#;
    let explanation = explained(&sample, &action(outside), Intent::Update);
    assert!(explanation.near_misses.iter().any(|near| near.key == "args.path"));

    let nothing = r#"{"provider":"salesforce","method":"POST","path":"/x","body":{"Amount":1}}"#;
    let explanation = explained(&sample, &action(nothing), Intent::Create);
    assert_eq!((&*explanation.verdict.rule, explanation.place), ("default", None));
    assert!(explanation.near_misses.iter().any(|near| near.key == "when"));
}

#[test]
fn invalid_files_are_refused() {
    for text in [
        "",
        "[]",
        "42",
        "name: p\nname: q",
        "rules: []",
        "name: p\nrules: { a: 1 }",
        "name: p\nrules: [ 1 ]",
        "name: p\nrules: [ { effect: deny, methods: [] } ]",
        "name: p\nrules: [ { effect: deny, conditions: {} } ]",
        "name: p\nrules: [ { effect: deny, conditions: { or: [] } } ]",
        "name: p\nrules: [ { effect: deny, args: {} } ]",
        "name: p\nrules: [ { tool: 1, effect: deny } ]",
        "name: p\nrules: [ { annotations: { readOnlyHint: yes }, effect: deny } ]",
        "name: p\nrules: [ { name: a, effect: deny }, { name: a, effect: allow } ]",
        "name: p\nmode: watch",
        "name: p\ntests: [ { expect: deny } ]",
        "name: p\n<<: { mode: observe }",
    ] {
        assert!(load_str("p.yaml", text).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn loading_never_panics(text in ".{0,200}") {
        let _ = load_str("p.yaml", &text);
    }

    /// Replaces some bytes of the sample, so that texts are nearly valid.
    #[test]
    fn loading_a_mutated_sample_never_panics(
        edits in prop::collection::vec((0usize..SAMPLE.len(), "[-a-z:{}\\[\\],'\"&*!|>#?% \n0-9]{0,3}"), 1..6),
    ) {
        let mut text = SAMPLE.to_owned();
        for (at, replacement) in edits {
            if text.is_char_boundary(at) && at < text.len() {
                let end = (at + replacement.len()).min(text.len());
                text.replace_range(at..end, &replacement);
            }
        }
        if let Ok(file) = load_str("p.yaml", &text) {
            let _ = Policy::from_file(file).judge(&action(r#"{"tool":"t"}"#), Intent::Read);
        }
    }

    /// The index finds the same rule as trying all of them.
    #[test]
    fn index_agrees_with_trying_every_rule(
        globs in prop::collection::vec(r"[ab]{0,2}[*?]?[ab]{0,2}[ab*]", 1..12),
        tool in "[ab]{0,5}",
    ) {
        let lines: Vec<String> =
            globs.iter().map(|glob| format!("  - {{ tool: '{glob}', effect: allow }}")).collect();
        let policy = rules(&lines.join("\n"));
        let verdict = policy.judge(&action(&format!(r#"{{"tool":"{tool}"}}"#)), Intent::Read);
        let first = globs.iter().position(|glob| glob::Glob::new(glob).unwrap().matches(&tool));
        let expected = first.map_or("default".to_owned(), |at| format!("p#{}", at + 1));
        prop_assert_eq!(&*verdict.rule, expected);
    }
}
