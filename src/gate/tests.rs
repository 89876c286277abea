//! What becomes of an action whose row cannot be drawn up, and what a row does not say.

use tempfile::TempDir;

use super::*;
use crate::policy::load_str;
use crate::request::parse_documented;
use crate::store::Options;

/// A gate that forwards actions even if they cannot be recorded.
fn lenient() -> (TempDir, Gate) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("log.db"), &Options::default()).unwrap();
    let policy = "name: test\ndefault_effect: allow\nrules: []\n";
    let policy = Policy::from_file(load_str("test", policy).unwrap());
    let policy = Arc::new(ArcSwap::from_pointee(policy));
    (folder, Gate::new(policy, store, AuditFailure::Allow))
}

fn action() -> Action {
    parse_documented(br#"{"server":"files","tool":"read_file","args":{}}"#).unwrap()
}

/// A panic is not a failure of the log, so `AuditFailure::Allow` does not apply.
#[test]
fn a_row_that_panics_while_it_is_drafted_never_permits() {
    let (_folder, gate) = lenient();
    let policy = gate.policy();
    let unrecorded = |error| gate.unrecorded(&action(), &policy, (), &error);
    assert!(unrecorded(StoreError::Closed).is_ok(), "a log that fails is what was allowed");
    let denial = unrecorded(StoreError::Undecided).unwrap_err();
    assert!(matches!(denial.verdict.reason, Reason::AuditUnavailable(_)), "{denial:?}");
}

/// Reasons may quote arguments or keys, so they are redacted like arguments.
#[test]
fn a_reason_is_recorded_without_the_credentials_in_it() {
    let (_folder, gate) = lenient();
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let reason = Reason::Written(format!("`{token}` is refused").into());
    let verdict = Verdict::refusal(Stage::Policy, "test", reason);
    let row = draft(&action(), &gate.policy(), &verdict, Duration::ZERO);
    assert!(row.reason.ends_with("is refused") && !row.reason.contains(&token), "{}", row.reason);
}

/// Rules in observe mode must not refuse, but be recorded.
#[test]
fn a_lookalike_that_only_observing_rules_name_passes() {
    let rules = "rules:
  - { tool: purge, effect: deny }
  - { tool: write, args: { path: x }, effect: deny }
  - { methods: [resources/read], effect: deny }
";
    let file = |name: &str, more: &str, rules: &str| {
        let text = format!("name: {name}\ndefault_effect: allow\n{more}{rules}");
        Arc::new(load_str(name, &text).unwrap())
    };
    let trial = file("trial", "mode: observe\n", rules);
    let open = file("open", "", "");
    let strict = file("strict", "", rules);
    for request in [
        r#"{"server":"s","tool":"Purge","args":{}}"#,
        r#"{"server":"s","tool":"write","args":{"Path":"x"}}"#,
        r#"{"server":"s","tool":"write","args":{"pa_th":"x"}}"#,
        r#"{"server":"s","method":"Resources/Read","args":{}}"#,
    ] {
        let action = parse_documented(request.as_bytes()).unwrap();
        let decided = |files: &[Arc<crate::policy::PolicyFile>]| {
            let verdict = decide(&action, &Policy::join(files, None), &Facts::default());
            (verdict.decision, verdict.observed)
        };
        let trial = || Arc::clone(&trial);
        assert_eq!(decided(&[trial()]), (Decision::Deny, true), "{request}");
        assert_eq!(decided(&[Arc::clone(&open), trial()]), (Decision::Deny, true), "{request}");
        assert_eq!(decided(&[Arc::clone(&strict), trial()]), (Decision::Deny, false), "{request}");
    }
}
