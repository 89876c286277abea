//! `agentgate test`: the policies' own tests.

use std::io::{self, Write};
use std::sync::Arc;

use anstyle::AnsiColor;

use super::{Done, pluralize, policies};
use crate::cli::{DecideArgs, TestArgs};
use crate::config::Settings;
use crate::gate::pipeline::{self, Facts};
use crate::policy::lookup::{Found, Lookup};
use crate::policy::{Policy, PolicyFile, Test};
use crate::request::{self, UnknownKeys};
use crate::terminal;
use crate::verdict::Verdict;

/// The outcome of a test.
struct Outcome<'t> {
    test: &'t Test,
    /// The verdict, or why the request is invalid.
    verdict: Result<Verdict, String>,
}

/// An output line of `--json`.
#[derive(Debug, serde::Serialize)]
struct Line<'o> {
    policy: &'o str,
    file: &'o str,
    line: u32,
    test: &'o str,
    passed: bool,
    expected: &'o str,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `agentgate test`: tests the given policies, each on its own, or those of the configuration.
///
/// # Errors
/// If a policy cannot be found or read, or the output cannot be written.
pub(super) fn run(args: &TestArgs) -> anyhow::Result<Done> {
    let mut output = anstream::stdout().lock();
    let (names, lookup) = match args.files.as_slice() {
        [] => {
            let (names, lookup) = of_configuration(args)?;
            if !args.json {
                writeln!(output, "{}", terminal::escaped(&told(&names, &lookup)))?;
            }
            (names, lookup)
        }
        typed => {
            let lookup = policies::lookup_in(args.policy_dir.as_deref());
            (policies::expanded(typed, &lookup)?, lookup)
        }
    };
    let (mut run, mut failed) = (0_usize, 0_usize);
    for name in &names {
        let file = match policies::compiled(name, &lookup)? {
            Ok(file) => Arc::new(file),
            Err(found) => {
                failed += 1;
                anstream::eprintln!("{}", found.coloured());
                continue;
            }
        };
        let outcomes = outcomes(&file);
        run += outcomes.len();
        failed += outcomes.iter().filter(|outcome| !outcome.passed()).count();
        if args.json {
            write_json(&mut output, &file, &outcomes)?;
        } else {
            write_text(&mut output, &file, &outcomes)?;
        }
    }
    if !args.json {
        let (tests, files) = (pluralize(run, "test"), pluralize(names.len(), "file"));
        writeln!(output, "{tests} in {files}, {failed} failed")?;
    }
    Ok(if failed == 0 { Done::Success } else { Done::DoesNotHold })
}

/// The policies in the configuration and in its folders, as paths.
fn of_configuration(args: &TestArgs) -> anyhow::Result<(Vec<String>, Lookup)> {
    let (policy_dir, config) = (args.policy_dir.clone(), args.config.clone());
    let flags = DecideArgs { policy_dir, config, ..DecideArgs::default() };
    let settings = Settings::resolve(&flags)?;
    let lookup = policies::lookup(&settings);
    let files = lookup.files();
    let mut names: Vec<String> = Vec::new();
    for name in settings.policies_named() {
        let is_in_folder =
            matches!(lookup.find(name), Ok(Found::File(path)) if files.contains(&path));
        if !is_in_folder && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names.extend(files.iter().map(|path| path.display().to_string()));
    Ok((names, lookup))
}

/// Describes what is tested if no policies are given.
fn told(names: &[String], lookup: &Lookup) -> String {
    let folders: Vec<String> =
        lookup.folders().map(|folder| folder.display().to_string()).collect();
    let folders = folders.join(" and ");
    match names {
        [] => format!(
            "Nothing to test: the configuration names no policy, and there is none in {folders}. \
             To see the built-in ones: agentgate policies list"
        ),
        _ => format!("Testing what the configuration names, and what is in {folders}:"),
    }
}

fn outcomes(file: &Arc<PolicyFile>) -> Vec<Outcome<'_>> {
    let joined = || Policy::join(&[Arc::clone(file)], None);
    // A test without a time concerns the rules, whenever it is run.
    let (dated, undated) = (joined(), joined().at_any_time());
    let judge = |test: &Test| {
        let action = request::parse(&test.request, UnknownKeys::Refuse);
        let action = action.map_err(|error| error.to_string())?;
        let is_dated =
            test.request.as_object().is_some_and(|request| request.get("time").is_some());
        let policy = if is_dated { &dated } else { &undated };
        Ok(pipeline::decide(&action, policy, &Facts::default()))
    };
    file.tests().iter().map(|test| Outcome { test, verdict: judge(test) }).collect()
}

impl Outcome<'_> {
    fn passed(&self) -> bool {
        self.verdict.as_ref().is_ok_and(|verdict| {
            verdict.decision == self.test.expect
                && self.test.rule.as_ref().is_none_or(|rule| **rule == *verdict.rule)
        })
    }

    /// Describes the difference between expected and actual verdict.
    fn difference(&self) -> String {
        let by = |rule: &str| format!(" by `{rule}`");
        let expected = self.test.expect.as_str();
        let rule = self.test.rule.as_deref().map(by).unwrap_or_default();
        match &self.verdict {
            Err(error) => error.clone(),
            Ok(verdict) => format!(
                "expected {expected}{rule}, got {}{}: {} (intent {})",
                verdict.decision.as_str(),
                by(&verdict.rule),
                verdict.reason,
                verdict.intent.as_str(),
            ),
        }
    }
}

fn write_json(
    output: &mut impl Write,
    file: &PolicyFile,
    outcomes: &[Outcome<'_>],
) -> io::Result<()> {
    for outcome in outcomes {
        let verdict = outcome.verdict.as_ref();
        let line = Line {
            policy: file.name(),
            file: file.origin(),
            line: outcome.test.line,
            test: &outcome.test.name,
            passed: outcome.passed(),
            expected: outcome.test.expect.as_str(),
            decision: verdict.ok().map(|verdict| verdict.decision.as_str()),
            rule: verdict.ok().map(|verdict| &*verdict.rule),
            reason: Some(match verdict {
                Ok(verdict) => verdict.reason.to_string(),
                Err(error) => error.clone(),
            }),
        };
        terminal::json_line(&mut *output, &line)?;
    }
    Ok(())
}

fn write_text(
    output: &mut impl Write,
    file: &PolicyFile,
    outcomes: &[Outcome<'_>],
) -> io::Result<()> {
    let none = if outcomes.is_empty() { ": no tests" } else { "" };
    writeln!(output, "{} ({}){none}", file.name(), file.origin())?;
    let (good, bad) = (AnsiColor::Green.on_default(), AnsiColor::Red.on_default().bold());
    for outcome in outcomes {
        let name = &outcome.test.name;
        if outcome.passed() {
            writeln!(output, "  {good}ok{good:#}    {name}")?;
        } else {
            writeln!(output, "  {bad}FAIL{bad:#}  {name} (line {})", outcome.test.line)?;
            writeln!(output, "        {}", outcome.difference())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{self, BUNDLED};

    fn results(text: &str) -> Vec<(bool, String)> {
        let file = Arc::new(policy::load_str("p.yaml", text).unwrap());
        let outcomes = outcomes(&file);
        outcomes.iter().map(|outcome| (outcome.passed(), outcome.difference())).collect()
    }

    #[test]
    fn every_bundled_policy_passes_its_tests() {
        for (name, text) in BUNDLED {
            let file = Arc::new(policy::load_str(name, text).unwrap());
            for outcome in outcomes(&file) {
                let test = outcome.test;
                assert!(outcome.passed(), "{name}: {}: {}", test.name, outcome.difference());
            }
        }
    }

    #[test]
    fn decision_and_rule_must_both_be_as_expected() {
        let found = results(
            "name: p
rules: [ { name: r, tool: a, effect: deny } ]
tests:
  - { request: { tool: a }, expect: deny }
  - { request: { tool: a }, expect: deny, rule: r }
  - { request: { tool: a }, expect: deny, rule: default }
  - { request: { tool: a }, expect: allow }
  - { request: { tol: a }, expect: deny }",
        );
        let passed: Vec<bool> = found.iter().map(|(passed, _)| *passed).collect();
        assert_eq!(passed, [true, true, false, false, false]);
        assert!(
            found[2].1.contains("expected deny by `default`, got deny by `r`"),
            "{}",
            found[2].1
        );
        assert!(found[4].1.contains("did you mean `tool`"), "{}", found[4].1);
    }

    #[test]
    fn hours_count_only_where_a_test_names_a_time() {
        let found = results(
            "name: p
default_effect: allow
time_restrictions: { allowed_hours: { start: '09:00', end: '10:00' } }
tests:
  - { request: { tool: a }, expect: allow }
  - { request: { tool: a, time: '2026-11-22T12:00:00Z' }, expect: deny, rule: time_restrictions }
  - { request: { tool: a, time: '2026-11-22T09:30:00Z' }, expect: allow }",
        );
        assert!(found.iter().all(|(passed, _)| *passed), "{found:?}");
    }
}
