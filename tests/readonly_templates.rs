//! The read-only templates on operations that their vendors labelled: they let
//! the reads of their provider through, and nothing else.
#![expect(clippy::expect_used, reason = "a template that does not load ends the test")]

mod truth;

use std::sync::Arc;

use agentgate::action::Provider;
use agentgate::intent;
use agentgate::policy::{self, Policy};
use agentgate::verdict::Decision;

use truth::{http, text, truth};

fn template(provider: Provider) -> Policy {
    let file = format!("policies/{}_readonly.yaml", provider.as_str());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    let yaml = std::fs::read_to_string(path).unwrap_or_default();
    let loaded = policy::load_str(&file, &yaml).map_err(|errors| errors.to_string());
    Policy::join(&[Arc::new(loaded.expect(&file))], None)
}

/// Reads let through, reads refused, and anything else let through.
#[derive(Default)]
struct Tally {
    passed: usize,
    refused: Vec<String>,
    leaked: Vec<String>,
}

impl Tally {
    fn count(&mut self, policy: &Policy, file: &str, key: &str) -> Option<()> {
        for row in truth(file)? {
            let Some(path) = row.get(key).and_then(|path| path.as_str()) else { continue };
            let action = http(&row, path);
            let verdict = policy.judge(&action, intent::of(&action));
            let reads = text(&row, "label") == "read" || text(&row, "action") == "read";
            let what = || format!("{} {path} ({})", text(&row, "method"), verdict.rule);
            match (reads, verdict.decision == Decision::Allow) {
                (true, true) => self.passed += 1,
                (true, false) => self.refused.push(what()),
                (false, true) => self.leaked.push(what()),
                (false, false) => {}
            }
        }
        Some(())
    }
}

#[test]
fn a_template_lets_the_reads_of_its_provider_through_and_nothing_else() {
    for provider in Provider::ALL {
        let policy = template(provider);
        let mut tally = Tally::default();
        let mut files = vec![provider.as_str()];
        files.extend((provider == Provider::Github).then_some("github_graphql"));
        for file in files {
            for key in ["example_path", "hard_path"] {
                if tally.count(&policy, &format!("ops/{file}.jsonl"), key).is_none() {
                    return;
                }
            }
        }
        let share = tally.passed as f64 / (tally.passed + tally.refused.len()) as f64;
        let name = provider.as_str();
        println!("{name:<12} {:>6.2} % of the reads pass", 100.0 * share);
        assert!(share >= 0.99, "{name}: {share}: {:#?}", tally.refused);
        assert!(tally.leaked.is_empty(), "{name}: {:#?}", tally.leaked);
    }
}

#[test]
fn a_template_refuses_batches_that_hold_more_than_reads() {
    let Some(rows) = truth("ops/batch.jsonl") else { return };
    for row in rows {
        let Some(provider) = Provider::from_name(text(&row, "provider")) else { continue };
        let action = http(&row, text(&row, "path"));
        let verdict = template(provider).judge(&action, intent::of(&action));
        assert_eq!(verdict.decision == Decision::Allow, text(&row, "label") == "read", "{row}");
    }
}
