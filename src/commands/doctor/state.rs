//! Checks what decisions depend on: policies, credentials and the log.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Finding, shown};
use crate::commands::pluralize;
use crate::config::serve::missing_credentials;
use crate::config::{File, Home};
use crate::os::files::is_full;
use crate::policy::lookup::Lookup;
use crate::store::read::Reader;
use crate::terminal;

/// Maximum size of a database to verify, in bytes: takes about a second.
const MAX_EXAMINED: u64 = 64 << 20;

/// Checks all policies in the configuration and in the user's folder.
pub(super) fn policies(
    file: &File,
    flags: &[String],
    lookup: &Lookup,
    home: &Home,
) -> Vec<Finding> {
    let servers = file.servers.values().flat_map(|server| &server.policy);
    let mut names: BTreeSet<String> =
        flags.iter().chain(&file.policy).chain(servers).cloned().collect();
    names.extend(in_folder(&home.policies()));
    names.iter().map(|name| policy(lookup, name)).collect()
}

fn in_folder(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let is_policy = |path: &Path| {
        path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
    };
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| is_policy(path));
    paths.map(|path| path.to_string_lossy().into_owned()).collect()
}

fn policy(lookup: &Lookup, name: &str) -> Finding {
    let subject = terminal::escaped(name);
    match rules(lookup, name) {
        Ok(rules) => {
            Finding::good("policy", subject, format!("loads, {}", pluralize(rules, "rule")))
        }
        Err(wrong) => {
            let advice = format!("agentgate check '{subject}'");
            Finding::bad("policy", subject, wrong, advice)
        }
    }
}

/// Number of rules of a policy, or why it cannot be used.
pub(super) fn rules(lookup: &Lookup, name: &str) -> Result<usize, String> {
    let found = lookup.find(name).map_err(|finding| terminal::escaped(&finding.message))?;
    let file = found.load().map_err(|wrong| {
        let first = wrong.iter().next().map(|finding| finding.message.as_str());
        format!("does not load: {}", terminal::escaped(first.unwrap_or_default()))
    })?;
    Ok(file.rule_count())
}

/// Credentials of providers that cannot be read. A service may have another environment.
pub(super) fn credentials(file: &File) -> Vec<Finding> {
    let advice =
        "set it where `agentgate serve` runs, or change `providers` in the configuration file";
    let missing = missing_credentials(&file.providers).into_iter();
    missing
        .map(|why| {
            Finding::note("credential", "here".to_owned(), terminal::escaped(&why)).with_fix(advice)
        })
        .collect()
}

/// Checks that the log can be opened, and verifies it if it is small.
pub(super) fn log(database: &Path) -> Finding {
    let subject = shown(database);
    let Ok(metadata) = fs::metadata(database) else {
        return Finding::note("log", subject, "none yet; the first recorded call creates it");
    };
    let whole = "agentgate audit verify";
    let reader = match Reader::open(database) {
        Ok(reader) => reader,
        Err(error) => {
            let fix = match is_full(database) {
                true => "make room on that disk: until then, nothing can be recorded or allowed",
                false => "put the database back, or name another with --db",
            };
            return Finding::bad("log", subject, terminal::escaped(&error.to_string()), fix);
        }
    };
    if metadata.len() > MAX_EXAMINED {
        return Finding::note("log", subject, "opens; too large to examine here").with_fix(whole);
    }
    match reader.verify(None, |_, _| {}) {
        Ok(found) => match found.broken {
            None => Finding::good("log", subject, format!("whole, {} entries", found.entries)),
            Some(broken) => Finding::bad("log", subject, broken.to_string(), whole),
        },
        Err(error) => Finding::bad("log", subject, terminal::escaped(&error.to_string()), whole),
    }
}
