//! Policies by name, as every command that decides finds them; and `agentgate policies`,
//! which shows them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::Done;
use crate::action::Transport;
use crate::cli::{self, PoliciesCommand};
use crate::config::{Home, Settings, serve};
use crate::policy::diagnostic::Diagnostics;
use crate::policy::live::Policies;
use crate::policy::lookup::{Found, Lookup, files_in, is_path};
use crate::policy::{BUNDLED, Mode, PolicyFile, schema};
use crate::terminal;

/// The default policy.
const DEFAULT: &str = "annotations";

/// Where policy names are looked up.
pub(super) fn lookup(settings: &Settings) -> Lookup {
    Lookup { named: settings.policy_dir.clone(), own: Some(settings.home.policies()) }
}

/// The mode that overrides that of every policy.
pub(super) fn mode(settings: &Settings) -> Option<Mode> {
    settings.mode.map(|mode| match mode {
        cli::Mode::Enforce => Mode::Enforce,
        cli::Mode::Observe => Mode::Observe,
    })
}

/// Loads the given policies, or the default.
///
/// # Errors
/// All findings of all policies.
pub(super) fn load(names: &[String], settings: &Settings) -> anyhow::Result<Arc<Policies>> {
    let names = names_or_default(names.to_vec(), Transport::Stdio);
    let policies = Policies::load(&names, &lookup(settings), mode(settings));
    policies.map(Arc::new).map_err(|found| load_error(&found, settings))
}

/// The given policies, or the default for requests of this transport: that of `wrap` or of
/// `serve`.
pub(super) fn names_or_default(names: Vec<String>, transport: Transport) -> Vec<String> {
    match (names.is_empty(), transport) {
        (false, _) => names,
        (true, Transport::Rest) => vec![serve::POLICY.to_owned()],
        (true, Transport::Stdio | Transport::Http) => vec![DEFAULT.to_owned()],
    }
}

/// Adds positions in the configuration to errors of loading policies.
pub(super) fn load_error(found: &Diagnostics, settings: &Settings) -> anyhow::Error {
    let found = settings.spans().point_out(found);
    anyhow::anyhow!("the policy does not load\n{}", found.coloured())
}

/// Where policy names are looked up by commands that read no configuration.
pub(super) fn lookup_in(policy_dir: Option<&Path>) -> Lookup {
    let own = Home::find().ok().map(|home| home.policies());
    Lookup { named: policy_dir.map(Path::to_owned), own }
}

/// Replaces folders by the policy files in them.
///
/// # Errors
/// If a folder contains no policy.
pub(super) fn expanded(typed: &[String], lookup: &Lookup) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for name in typed {
        let is_folder = Path::new(name).is_dir() && (is_path(name) || lookup.find(name).is_err());
        if !is_folder {
            names.push(name.clone());
            continue;
        }
        let files = files_in(Path::new(name));
        if files.is_empty() {
            anyhow::bail!(
                "there is no policy file in the folder {name}; policies end in .yaml or .yml"
            );
        }
        names.extend(files.iter().map(|path| path.display().to_string()));
    }
    Ok(names)
}

/// Reads and compiles a policy. Errors in its text are the inner result.
///
/// # Errors
/// If it cannot be read.
pub(super) fn compiled(
    name: &str,
    lookup: &Lookup,
) -> anyhow::Result<Result<PolicyFile, Diagnostics>> {
    let source = lookup.find(name).and_then(|found| found.read());
    match source {
        Ok(source) => Ok(PolicyFile::load(source)),
        // Findings with a position concern the text.
        Err(finding) if finding.span.line > 0 => Ok(Err(finding.into())),
        Err(finding) => Err(anyhow::anyhow!("{finding}")),
    }
}

/// `agentgate policies`: lists policies, or prints the text of one.
///
/// # Errors
/// If there is no such policy, or the output cannot be written.
pub(super) fn run(command: &PoliciesCommand) -> anyhow::Result<Done> {
    let mut output = anstream::stdout().lock();
    match command {
        PoliciesCommand::List(args) => {
            let lookup = lookup_in(args.policy_dir.as_deref());
            let named = named(&lookup);
            let width = named.keys().map(|name| name.chars().count()).max().unwrap_or_default();
            for (name, place) in &named {
                let about = description(&lookup, name);
                if args.json {
                    let line =
                        serde_json::json!({ "name": name, "file": place, "description": about });
                    terminal::json_line(&mut output, &line)?;
                    continue;
                }
                let about = about.as_deref().map(first_sentence).unwrap_or_default();
                let place = place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
                let line = format!("{name:width$}  {about}{place}");
                writeln!(output, "{}", terminal::escaped(line.trim_end()))?;
            }
        }
        PoliciesCommand::Show(args) => {
            let lookup = lookup_in(args.policy_dir.as_deref());
            let source = lookup.find(&args.name).and_then(|found| found.read());
            let source = source.map_err(|finding| anyhow::anyhow!("{finding}"))?;
            output.write_all(source.text.as_bytes())?;
        }
        PoliciesCommand::Schema => {
            writeln!(output, "{}", serde_json::to_string_pretty(&schema::schema())?)?;
        }
    }
    Ok(Done::Success)
}

/// All policies that can be used by name, with their files unless built in.
fn named(lookup: &Lookup) -> BTreeMap<String, Option<String>> {
    let inside = BUNDLED.iter().map(|(name, _)| (*name).to_owned());
    let inside = inside.chain(crate::policy::annotations::built_in_names().map(str::to_owned));
    let files = lookup.files();
    let own = files.iter().filter_map(|path| path.file_stem()?.to_str().map(str::to_owned));
    let place = |name: String| match lookup.find(&name).ok()? {
        Found::Built(_) => Some((name, None)),
        Found::File(path) => Some((name, Some(path.display().to_string()))),
    };
    inside.chain(own).filter_map(place).collect()
}

/// What a policy says about itself, if it can be read.
fn description(lookup: &Lookup, name: &str) -> Option<String> {
    let source = lookup.find(name).and_then(|found| found.read()).ok()?;
    PolicyFile::description_in(&source)
}

fn first_sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = text.find(". ").map_or(text.len(), |end| end + 1);
    text.get(..end).unwrap_or_default().to_owned()
}
