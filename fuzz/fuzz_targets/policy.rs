//! Property of policy files: any text is either refused with errors, or compiles to a policy with
//! deterministic decisions; without panics, and quickly.

#![no_main]

use std::sync::Arc;

use agentgate::action::{Action, Listing, Target, ToolCall, Transport};
use agentgate::gate::pipeline::{Facts, decide};
use agentgate::json::{self, Json};
use agentgate::policy::{self, Policy};
use agentgate_fuzz::action;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match policy::load_str("fuzz.yaml", text) {
        Ok(file) => {
            let policy = Policy::from_file(file);
            let action = call();
            let first = decide(&action, &policy, &Facts::default());
            let second = decide(&action, &policy, &Facts::default());
            assert_eq!(first.decision, second.decision);
            assert_eq!(first.rule, second.rule);
        }
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            assert!(!diagnostics.to_string().is_empty());
        }
    }
});

fn call() -> Action {
    let args = br#"{"path":"/srv/a/../b","n":1.50,"list":[{"k":"v"},null],"branch":"main"}"#;
    let Ok(Json::Object(args)) = json::parse(args) else { unreachable!("it is an object") };
    action(
        Transport::Stdio,
        Target::Tool(ToolCall {
            server: Arc::from("github"),
            tool: "push_files".to_owned(),
            args,
            annotations: None,
            listing: Listing::Unknown,
        }),
    )
}
