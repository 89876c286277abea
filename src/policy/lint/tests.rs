use super::super::load_str;
use super::*;

fn lint(text: &str) -> Vec<String> {
    let seen = Seen::new(vec![("github".to_owned(), "push_files".to_owned())]);
    let file = load_str("p.yaml", text).unwrap_or_else(|found| panic!("{found}"));
    file.lint(&seen)
        .iter()
        .map(|finding| format!("{}: {}", finding.span.line, finding.message))
        .collect()
}

/// The warnings about these rules in a policy that allows by default.
fn rules(rules: &str) -> Vec<String> {
    let file = load_str("p.yaml", &format!("name: p\ndefault_effect: allow\nrules:\n{rules}"));
    let file = file.unwrap_or_else(|found| panic!("{found}"));
    let found = file.lint(&Seen::default());
    found.iter().map(|finding| format!("{}: {}", finding.span.line, finding.message)).collect()
}

#[test]
fn test_with_an_invalid_request_is_reported() {
    let found = lint(
        "name: p\ndefault_effect: allow\ntests:\n  - { request: { tool: x }, expect: allow }\n  \
             - { request: { toll: x }, expect: allow }\n  \
             - { name: b, request: { provider: github, path: /user }, expect: deny }\n",
    );
    assert_eq!(
        found,
        [
            "5: the request of `test 2` cannot be read: unknown key `toll`; did you mean `tool`?",
            "6: the request of `b` cannot be read: `method` is missing",
        ]
    );
}

#[test]
fn sample_has_exactly_one_warning() {
    let file = load_str("p.yaml", super::super::tests::SAMPLE).unwrap();
    let found = file.lint(&Seen::default()).to_string();
    assert_eq!(file.lint(&Seen::default()).iter().len(), 1, "{found}");
    assert!(found.contains("`default#3` on line 12 takes all that it would"), "{found}");
    assert!(found.starts_with("p.yaml:14:5: warning"), "{found}");
}

#[test]
fn shadowed_rules_are_reported() {
    for (text, expected) in [
        (
            "  - { tool: 'a*', effect: deny }\n  - { tool: ab, effect: allow }",
            "5: this rule can never match: `p#1` on line 4 takes",
        ),
        (
            "  - { tool: 'a*', effect: allow }\n  - { tool: ab, effect: deny }",
            "5: this rule never gets to deny: `p#1` on line 4 already allows",
        ),
        (
            "  - { tool: a, effect: deny }\n  - { tool: a, effect: deny }",
            "5: this rule repeats `p#1`",
        ),
        (
            "  - { intent: read, effect: deny }\n  - { intent: [query, write], effect: deny }\n  - { tool: a, effect: ask }",
            "6: this rule can never match: `p#1` on line 4 and `p#2` on line 5 take",
        ),
        (
            "  - { resource: '/a/**', effect: deny }\n  - { resource: '/a/{b,c}/*', methods: [GET], effect: allow }",
            "5: this rule can never match",
        ),
        (
            "  - { methods: [GET], effect: deny }\n  - { methods: [POST], effect: deny }\n  - { methods: [GET, POST], provider: aws, effect: allow }",
            "6: this rule can never match",
        ),
        (
            "  - { annotations: { destructiveHint: false }, effect: deny }\n  - { annotations: { readOnlyHint: true }, effect: allow }",
            "5: this rule can never match",
        ),
        (
            "  - { effect: ask }\n  - { args: { a: 1 }, effect: allow }",
            "5: this rule can never match",
        ),
        (
            "  - { args: { a: 1 }, effect: deny }\n  - { tool: x, args: { a: 1 }, effect: allow }",
            "5: this rule can never match",
        ),
    ] {
        let found = rules(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}\n{found:?}");
    }
}

#[test]
fn rules_with_contradictory_keys_are_reported() {
    for (text, expected) in [
        (
            "  - { tool: a, resource: '/a', effect: deny }",
            "4: this rule can never match: only MCP requests have `tool`, and only REST requests `resource`",
        ),
        (
            "  - { provider: aws, args: { a: 1 }, effect: deny }",
            "4: this rule can never match: only MCP requests have `args.a`",
        ),
        (
            "  - { server: s, conditions: { or: [{ query: { a: b } }, { resource: '/a' }] }, effect: ask }",
            "4: this rule can never match: only MCP requests have `server`",
        ),
    ] {
        let found = rules(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}\n{found:?}");
    }
}

#[test]
fn uncertain_findings_are_not_reported() {
    for text in [
        "  - { tool: a, conditions: { not: { resource: '/a' } }, effect: deny }",
        "  - { conditions: { or: [{ tool: a }, { resource: '/a' }] }, server: s, effect: deny }",
        "  - { agent: a, methods: [GET], resource: '/a', effect: deny }",
        "  - { tool: ab, effect: deny }\n  - { tool: 'a*', effect: allow }",
        "  - { tool: a, server: s, effect: deny }\n  - { tool: a, effect: allow }",
        "  - { args: { a: 1 }, effect: allow }\n  - { args: { a: 1 }, effect: deny }",
        "  - { args: { a: 1 }, effect: deny }\n  - { args: { a: 2 }, effect: allow }",
        "  - { intent: read, effect: deny }\n  - { tool: a, effect: ask }",
        "  - { when: 'true', effect: deny }\n  - { tool: a, effect: ask }",
        "  - { provider: aws, effect: deny }\n  - { resource: '/a', effect: ask }",
    ] {
        assert_eq!(rules(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn unknown_names_are_reported() {
    let found = lint(
        "name: p
rules:
  - { provider: gogle, effect: allow }
  - { methods: [FETCH, get, resources/raed, notifications/progress, roots/list], effect: allow }
  - { conditions: { not: { provider: gitlab } }, server: github, effect: deny }
  - { tool: 'pull_*', effect: ask }
  - { query: { force: true }, effect: deny }",
    );
    assert_eq!(
        found,
        [
            "3: there is no provider `gogle`",
            "4: there is no method `FETCH`",
            "4: there is no method `resources/raed`",
            "5: there is no provider `gitlab`",
            "6: no tool seen so far matches `pull_*`, so the rule has never matched",
            "7: `query.force` is always text; write the value in quotes",
        ]
    );
}

#[test]
fn words_that_are_no_booleans_are_reported() {
    let found = rules(
        "  - { tool: a, args: { a: yes, b: 'no', c: [on, x], d: { ne: Off } }, effect: deny }
  - { tool: b, args: { yes: true, a: \"on\" }, effect: deny }",
    );
    let expected = ["yes", "on", "Off"]
        .map(|word| format!("4: `{word}` is text here, neither true nor false"));
    assert_eq!(found, expected);
}

#[test]
fn policy_that_allows_nothing_is_reported() {
    for text in [
        "name: p",
        "name: p\nrules: [ { tool: a, effect: deny } ]",
        "name: p\nrules: [ { effect: deny }, { tool: a, effect: allow } ]",
    ] {
        let found = lint(text);
        assert!(found.iter().any(|warning| warning.contains("nothing is ever allowed")), "{text}");
    }
    assert!(lint("name: p\ndefault_effect: annotations").is_empty());
}
