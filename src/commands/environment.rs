//! Warnings about `AGENTGATE_` variables that nothing reads: probably misspelt settings.

use std::collections::BTreeSet;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command};
use crate::os::VARIABLE_PREFIX;
use crate::policy::diagnostic::nearest;
use crate::{telemetry, terminal};

/// Variables without a flag.
const OTHERS: [&str; 3] = ["AGENTGATE_HOME", "AGENTGATE_LOG", "AGENTGATE_MASTER_KEY"];

/// Words in names of variables with credentials, which a configuration may refer to.
const CREDENTIALS: [&str; 7] =
    ["TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL", "CREDENTIALS", "BEARER"];

/// Warns of unknown variables on standard error. Not in a supervisor, whose gate has warned
/// already.
pub(super) fn warn_of_typos(command: &Command) {
    if matches!(command, Command::Supervise(_) | Command::DemoServer) {
        return;
    }
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours: Vec<String> = names.filter(|name| name.starts_with(VARIABLE_PREFIX)).collect();
    if ours.is_empty() {
        return;
    }
    let known = known();
    for name in ours.iter().filter(|name| !known.contains(*name)) {
        let shown = terminal::escaped(name);
        match meant(name, &known) {
            Some(meant) => {
                telemetry::warn(&format!("there is no variable {shown}; did you mean {meant}?"))
            }
            None if is_credential(name) => {}
            // It may belong to another program.
            None => {
                tracing::info!("{shown} is not a setting of AgentGate; it has no effect by itself")
            }
        }
    }
}

/// Variables with credentials may have any name.
fn is_credential(name: &str) -> bool {
    name.split('_').any(|word| CREDENTIALS.contains(&word))
}

/// The known variable that was probably meant.
fn meant<'k>(name: &str, known: &'k BTreeSet<String>) -> Option<&'k str> {
    if known.contains(name) {
        return None;
    }
    // The common prefix must not count as similarity.
    let rest = |name: &'k str| name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name);
    let near = nearest(name.strip_prefix(VARIABLE_PREFIX)?, known.iter().map(|known| rest(known)))?;
    known.iter().map(String::as_str).find(|known| rest(known) == near)
}

fn known() -> BTreeSet<String> {
    fn gather(command: &clap::Command, known: &mut BTreeSet<String>) {
        let names = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
        known.extend(names.map(str::to_owned));
        command.get_subcommands().for_each(|command| gather(command, known));
    }
    let mut known = BTreeSet::from(OTHERS.map(str::to_owned));
    gather(&Cli::command(), &mut known);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_likely_typos_are_reported() {
        let known = known();
        for (name, expected) in [
            ("AGENTGATE_POLCY", Some("AGENTGATE_POLICY")),
            ("AGENTGATE_AUDIT_SNYC", Some("AGENTGATE_AUDIT_SYNC")),
            ("AGENTGATE_MOD", Some("AGENTGATE_MODE")),
            ("AGENTGATE_HOEM", Some("AGENTGATE_HOME")),
            ("AGENTGATE_POLICY", None),
            ("AGENTGATE_UPSTREAM_TIMEOUT", None),
            ("AGENTGATE_GITHUB_TOKEN", None),
            ("AGENTGATE_", None),
            ("PATH", None),
        ] {
            assert_eq!(meant(name, &known), expected, "{name}");
        }
    }
}
