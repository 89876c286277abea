//! `agentgate check`: validates and lints policies.

use std::io::{self, Write};

use super::{Done, pluralize, policies, seen_tools};
use crate::cli::CheckArgs;
use crate::config::Home;
use crate::policy::PolicyFile;
use crate::policy::diagnostic::Diagnostics;
use crate::terminal;

/// `agentgate check`: validates and lints the given policies.
///
/// # Errors
/// If a policy cannot be found or read, or the output cannot be written.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<Done> {
    let home = Home::find().ok();
    let lookup = policies::lookup_in(args.policy_dir.as_deref());
    // Opt-in: the result must not depend on the machine by default.
    let seen = home.as_ref().filter(|_| args.seen).map(seen_tools::load).unwrap_or_default();
    let mut output = anstream::stdout().lock();
    let mut holds = true;
    for name in &policies::expanded(&args.files, &lookup)? {
        let loaded = policies::compiled(name, &lookup)?;
        let found = match &loaded {
            Ok(file) => file.lint(&seen),
            Err(found) => found.clone(),
        };
        holds &= !found.has_errors() && (found.is_empty() || !args.strict);
        if args.json {
            write_json(&mut output, &found)?;
        } else {
            write_text(&mut output, loaded.as_ref().ok(), &found)?;
        }
    }
    Ok(if holds { Done::Success } else { Done::DoesNotHold })
}

fn write_json(output: &mut impl Write, found: &Diagnostics) -> io::Result<()> {
    for finding in found.iter() {
        terminal::json_line(&mut *output, finding)?;
    }
    Ok(())
}

fn write_text(
    output: &mut impl Write,
    file: Option<&PolicyFile>,
    found: &Diagnostics,
) -> io::Result<()> {
    if !found.is_empty() {
        writeln!(output, "{}", found.coloured())?;
    }
    let Some(file) = file else { return Ok(()) };
    let warnings = match found.iter().len() {
        0 => "ok".to_owned(),
        some => pluralize(some, "warning"),
    };
    let (rules, tests) =
        (pluralize(file.rule_count(), "rule"), pluralize(file.tests().len(), "test"));
    writeln!(output, "{}: {warnings} ({rules}, {tests})", file.origin())
}
