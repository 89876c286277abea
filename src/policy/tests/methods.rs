//! MCP methods besides `tools/call` that policies judge.

use super::*;

#[test]
fn condition_names_methods_that_it_distinguishes_from_calls() {
    let named = |when: &str| {
        let policy = rules(&format!("  - {{ when: '{when}', effect: deny }}"));
        let methods = ["resources/read", "resources/list", "prompts/get", "custom/x", "ping"];
        let named = methods.into_iter().filter(|method| policy.names_method(method));
        named.collect::<Vec<_>>().join(" ")
    };
    for (when, expected) in [
        (r#"method == "resources/read""#, "resources/read"),
        (r#"method == "custom/x" && args.a == 1"#, "custom/x"),
        (r#"args.a == 1 || method in ["ping", "prompts/get"]"#, "prompts/get ping"),
        (
            r#"method.startsWith("resources/") && !(server in ["a"])"#,
            "resources/read resources/list",
        ),
        (r#"method.matches("^res.*list$")"#, "resources/list"),
        (r#"["a", "ping"].exists(one, one == method)"#, "ping"),
        (r#"method == "GET""#, ""),
        (r#"method != "GET" && args.a == 1"#, ""),
        (r#"args.method == "ping""#, ""),
        (r#"method == server"#, "resources/read resources/list prompts/get custom/x ping"),
    ] {
        assert_eq!(named(when), expected, "{when}");
    }
    let of_calls = rules("  - { tool: a, when: 'method == \"ping\"', effect: deny }");
    assert!(!of_calls.names_method("ping"));
}

/// Messages from servers are only read if this is so.
#[test]
fn policy_reports_whether_it_has_rules_for_servers() {
    let judges =
        |rule: &str| rules(&format!("  - {{ {rule}, effect: deny }}")).server_message_mode();
    for rule in [
        "methods: [sampling/createMessage]",
        "methods: [GET, roots/list]",
        "methods: [vendor/ask]",
        "methods: [notifications/message]",
        "conditions: { not: { methods: [elicitation/create] } }",
        r#"when: 'method == "elicitation/create"'"#,
        r#"when: 'method.startsWith("sampling/")'"#,
        r#"when: 'method == "vendor/ask" || args.a == 1'"#,
        r#"when: 'method in ["resources/read", "vendor/ask"]'"#,
        "when: 'method == server'",
    ] {
        assert_eq!(judges(rule), Some(Mode::Enforce), "{rule}");
    }
    for rule in [
        "tool: a",
        "methods: [GET, tools/call, resources/read, notifications/initialized]",
        "methods: [ping, tasks/get, notifications/cancelled, notifications/progress]",
        r#"when: 'method == "GET"'"#,
        r#"when: 'method == "resources/read" && args.uri == "roots/list"'"#,
        r#"tool: a, when: 'method == "roots/list"'"#,
        "when: 'args.a == 1'",
    ] {
        assert_eq!(judges(rule), None, "{rule}");
    }
    let file = |text: &str| std::sync::Arc::new(load_str("p.yaml", text).unwrap());
    let trial = "name: t\nmode: observe\nrules:\n  - { methods: [roots/list], effect: deny }\n";
    let strict = file("name: strict\nrules: []\n");
    assert_eq!(
        Policy::join(&[file(trial), strict], None).server_message_mode(),
        Some(Mode::Observe)
    );
    assert_eq!(Policy::missing("gone").server_message_mode(), Some(Mode::Enforce));
}

#[test]
fn methods_must_not_be_globs() {
    let found = |method: &str| {
        let text = format!("name: p\nrules:\n  - {{ methods: ['{method}'], effect: deny }}");
        load_str("p.yaml", &text).unwrap_err().to_string()
    };
    let error = found("resources/{read,list}");
    assert!(
        error.contains("p.yaml:3:17: error: `methods` are written out, without globs"),
        "{error}"
    );
    assert!(error.contains("write `[resources/list, resources/read]`"), "{error}");
    assert!(found("*").contains("leave `methods` out"), "{}", found("*"));
    assert!(found("x/*").contains("known are `GET`"), "{}", found("x/*"));
}

/// An observing file that names a method does not make the others judge it.
#[test]
fn method_named_by_an_observing_file_passes_the_others() {
    let file = |text: &str| std::sync::Arc::new(load_str("p.yaml", text).unwrap());
    let strict = file("name: strict\nrules: []\n");
    let trial = file("name: trial\nmode: observe\nrules:\n  - { methods: [ping], effect: deny }\n");
    let policy = Policy::join(&[strict, trial], None);
    let ping = br#"{"server":"s","method":"ping","args":{}}"#;
    let action = crate::request::parse_documented(ping).unwrap();
    let verdict = policy.judge(&action, Intent::Read);
    assert_eq!((verdict.decision, verdict.observed), (Decision::Deny, true), "{verdict:?}");
}
