//! A gate as a client's configuration starts it, and whether it would start.

use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Command, CommandFactory as _, FromArgMatches as _};
use serde_json::Value;

use super::clients::own_path;
use super::program::on_path;
use super::state::rules;
use crate::cli::{Cli, DecideArgs, WrapArgs};
use crate::policy::live::{Lookup, is_path};
use crate::terminal;

/// What is so of a gate that stands there and would not start.
const NO_START: &str = "is gated, but not so that the gate starts";

/// A gate in front of a server, as it is written down.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// How agentgate is named.
    program: String,
    /// What follows, from `wrap` on.
    words: Vec<String>,
    /// Variables that the client sets for it.
    env: Vec<(String, String)>,
}

impl Gate {
    /// The gate in a command of these words, where there is one.
    pub(super) fn read(words: &[&str], env: Option<&Value>) -> Option<Self> {
        let is_gate = |program: &str, word: &str| {
            let stem = program.rsplit(['/', '\\']).next().unwrap_or(program);
            matches!(stem, "agentgate" | "agentgate.exe") && word == "wrap"
        };
        let at = words.iter().zip(words.iter().skip(1)).position(|(one, two)| is_gate(one, two))?;
        let env = env.and_then(Value::as_object).into_iter().flatten();
        let env = env.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        Some(Self {
            program: words.get(at).copied()?.to_owned(),
            words: words.iter().skip(at + 1).map(|word| (*word).to_owned()).collect(),
            env: env.collect(),
        })
    }

    /// What keeps it from starting and how to mend that. `lookup` is where it looks
    /// policies up, unless it is told otherwise.
    pub(super) fn fault(&self, lookup: &Lookup) -> Option<(String, String)> {
        if !can_start(&self.program) {
            let program = terminal::shown(&self.program);
            let detail = format!("is gated by `{program}`, which is not there");
            return Some((detail, format!("name {} instead", own_path())));
        }
        let decide = match self.typed() {
            Ok(typed) => typed.decide,
            // What the client puts in for a variable cannot be known here.
            Err(_) if self.words.iter().any(|word| is_filled_in(word)) => return None,
            Err(wrong) => {
                let detail = format!("{NO_START}: {wrong}");
                return Some((detail, "agentgate wrap --help".to_owned()));
            }
        };
        let of_policies = || {
            let lookup = self.lookup(&decide, lookup);
            self.policies(&decide).iter().find_map(|name| policy_fault(&lookup, name))
        };
        self.config_fault(&decide).or_else(of_policies)
    }

    fn config_fault(&self, decide: &DecideArgs) -> Option<(String, String)> {
        let typed = decide.config.as_deref().and_then(Path::to_str);
        let config = typed.or_else(|| self.variable("AGENTGATE_CONFIG"))?;
        if is_filled_in(config) || Path::new(config).is_file() {
            return None;
        }
        let config = terminal::shown(config);
        let detail = format!("{NO_START}: there is no configuration `{config}`");
        Some((detail, "write the file's whole path".to_owned()))
    }

    /// Its options, as they are typed: variables of this process's are not the client's.
    fn typed(&self) -> Result<WrapArgs, String> {
        let words = std::iter::once("agentgate").chain(self.words.iter().map(String::as_str));
        let matches = without_variables().try_get_matches_from(words);
        let typed = matches.and_then(|matches| {
            let matches = matches.subcommand_matches("wrap").cloned().unwrap_or_default();
            WrapArgs::from_arg_matches(&matches)
        });
        typed.map_err(|error| first_line(&error.to_string()))
    }

    fn lookup(&self, decide: &DecideArgs, usual: &Lookup) -> Lookup {
        let named = decide.policy_dir.clone();
        let named = named.or_else(|| self.variable("AGENTGATE_POLICY_DIR").map(PathBuf::from));
        let home = self.variable("AGENTGATE_HOME").map(|home| Path::new(home).join("policies"));
        Lookup {
            named: named.or_else(|| usual.named.clone()),
            own: home.or_else(|| usual.own.clone()),
        }
    }

    fn policies(&self, decide: &DecideArgs) -> Vec<String> {
        if !decide.policies.is_empty() {
            return decide.policies.clone();
        }
        let named = self.variable("AGENTGATE_POLICY").unwrap_or_default().split(',');
        named.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn policy_fault(lookup: &Lookup, name: &str) -> Option<(String, String)> {
    if is_filled_in(name) {
        return None;
    }
    let wrong = rules(lookup, name).err()?;
    let shown = terminal::shown(name);
    let fix = match is_path(name) && Path::new(name).is_relative() {
        true => "write the policy's whole path: clients start in folders of their own, and no \
                 shell puts the home folder in for `~`"
            .to_owned(),
        false => format!("agentgate check '{shown}'"),
    };
    Some((format!("{NO_START}: policy `{shown}`: {wrong}"), fix))
}

fn can_start(program: &str) -> bool {
    // A `~` is the client's to resolve, not ours.
    let resolved_by_client = program.starts_with('~') || is_filled_in(program);
    let path = Path::new(program);
    resolved_by_client
        || if path.components().count() > 1 { path.is_file() } else { on_path(program).is_some() }
}

/// Whether the client puts something in for a variable.
fn is_filled_in(word: &str) -> bool {
    word.starts_with(['$', '%']) || word.contains("${")
}

fn without_variables() -> Command {
    Cli::command().mut_subcommand("wrap", |wrap| wrap.mut_args(|arg| arg.env(Resettable::Reset)))
}

fn first_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    terminal::shown(line.strip_prefix("error: ").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(words: &[&str], env: &Value) -> Option<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("agentgate");
        std::fs::write(&program, "").unwrap();
        let words: Vec<&str> =
            [program.to_str().unwrap(), "wrap"].iter().chain(words).copied().collect();
        Gate::read(&words, Some(env)).unwrap().fault(&Lookup::default())
    }

    #[test]
    fn a_gate_that_would_not_start_is_told_from_one_that_would() {
        let none = json!({});
        for words in [
            &["--", "npx"][..],
            &["--policy", "read_only", "--", "npx", "--policy", "the server's own"],
            &["--policy=${workspaceFolder}/p.yaml", "--", "npx"],
            &["--listen", "${ADDRESS}", "--", "npx"],
        ] {
            assert_eq!(fault(words, &none), None, "{words:?}");
        }
        for (words, env, detail, fix) in [
            (&["--policy", "read_onyl", "--", "npx"][..], &none, "read_onyl", "agentgate check"),
            (
                &["--policy", "/no/such.yaml", "--", "npx"],
                &none,
                "/no/such.yaml",
                "agentgate check",
            ),
            (&["--policy=~/no.yaml", "--", "npx"], &none, "~/no.yaml", "whole path"),
            (&["--config", "no/such.yaml", "--", "npx"], &none, "no/such.yaml", "whole path"),
            (&["--polcy", "x", "--", "npx"], &none, "--polcy", "--help"),
            (&["--", "npx"], &json!({"AGENTGATE_POLICY": "gone"}), "gone", "agentgate check"),
        ] {
            let found = fault(words, env).unwrap_or_else(|| panic!("{words:?}"));
            assert!(found.0.contains(detail) && found.1.contains(fix), "{words:?}: {found:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_on_path_is_told() {
        let gate = Gate::read(&["no/such/agentgate", "wrap", "--", "npx"], None).unwrap();
        assert!(gate.fault(&Lookup::default()).unwrap().0.contains("is not there"));
    }
}
