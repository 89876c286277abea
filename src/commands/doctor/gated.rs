//! A gate as a client's configuration starts it, and whether it would start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use serde_json::Value;

use super::clients::own_path;
use super::program::on_path;
use super::state::rules;
use crate::cli::{self, Cli, DecideArgs, TrailingOptions, WrapArgs};
use crate::commands::remote;
use crate::config::{File, Home};
use crate::policy::lookup::{Lookup, is_path};
use crate::terminal;

/// Detail of a finding about a gate that would not start.
const NO_START: &str = "is gated, but the gate would not start";

/// A gate in a client's configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// The command for agentgate.
    program: String,
    /// The arguments, from `wrap` on.
    words: Vec<String>,
    /// Environment variables set by the client.
    env: Vec<(String, String)>,
}

impl Gate {
    /// Finds a gate in the command `words`.
    pub(super) fn read(words: &[&str], env: Option<&Value>) -> Option<Self> {
        let mut pairs = words.iter().zip(words.iter().skip(1));
        let at = pairs.position(|(program, word)| is_gate(program) && *word == "wrap")?;
        let env = env.and_then(Value::as_object).into_iter().flatten();
        let env = env.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        Some(Self {
            program: words.get(at).copied()?.to_owned(),
            words: words.iter().skip(at + 1).map(|word| (*word).to_owned()).collect(),
            env: env.collect(),
        })
    }

    /// Why it would not start, and what to do. `lookup` is where it looks up policies by
    /// default.
    pub(super) fn problem(&self, lookup: &Lookup) -> Option<(String, String)> {
        if !can_start(&self.program) {
            let program = terminal::escaped(&self.program);
            let detail = format!("is gated by `{program}`, which does not exist");
            return Some((detail, format!("write {} instead", own_path())));
        }
        let typed = match self.typed() {
            Ok(typed) => typed,
            // The value that the client substitutes is unknown here.
            Err(_) if self.words.iter().any(|word| is_filled_in(word)) => return None,
            Err(wrong) => {
                let detail = format!("{NO_START}: {wrong}");
                return Some((detail, "agentgate wrap --help".to_owned()));
            }
        };
        let decide = &typed.decide;
        let of_order = || self.order_problem(&typed);
        let of_policies = || {
            let lookup = self.lookup(decide, lookup);
            decide.policies.iter().find_map(|name| policy_problem(&lookup, name))
        };
        self.home_problem()
            .or_else(of_order)
            .or_else(|| config_problem(decide))
            .or_else(of_policies)
            .or_else(|| self.connection_problem(&typed))
    }

    fn home_problem(&self) -> Option<(String, String)> {
        let home = self.variable("AGENTGATE_HOME").filter(|home| !home.is_empty())?;
        if is_filled_in(home) || Path::new(home).is_absolute() {
            return None;
        }
        let detail = format!("{NO_START}: AGENTGATE_HOME is `{}`", terminal::escaped(home));
        Some((detail, "write the absolute path of the folder".to_owned()))
    }

    /// Reports gate options after the server's command, with which `wrap` does not start.
    fn order_problem(&self, typed: &WrapArgs) -> Option<(String, String)> {
        let words: Vec<OsString> =
            std::iter::once("agentgate".into()).chain(self.words.iter().map(Into::into)).collect();
        let TrailingOptions { option, decides } =
            cli::trailing_options("wrap", &typed.command, &words)?;
        let detail = format!("{NO_START}: `{option}` comes after the server's command");
        let fix = format!(
            "put `{option}` before the command, or `--` before the command if it is the server's \
             own option"
        );
        decides.then_some((detail, fix))
    }

    /// Whether the client has to find it in PATH, which may differ from ours.
    pub(super) fn is_looked_up(&self) -> bool {
        Path::new(&self.program).components().count() == 1 && !is_filled_in(&self.program)
    }

    /// Reports an invalid server or listener.
    fn connection_problem(&self, typed: &WrapArgs) -> Option<(String, String)> {
        let words = typed.command.iter().map(|word| word.to_string_lossy());
        if words.chain(typed.remote.typed().into_iter().map(Into::into)).any(|it| is_filled_in(&it))
        {
            return None;
        }
        // Clients have variables besides those in their configuration.
        let variables =
            |name: &str| Some(self.variable(name).unwrap_or("not known here").to_owned());
        let checked = || -> anyhow::Result<()> {
            if let Some(address) = typed.listen.listen {
                remote::may_listen(typed, address, &variables)?;
            }
            if let Some(url) = remote::url(&typed.command, &typed.remote)? {
                // Plain HTTP may be allowed by the configuration.
                remote::usable(url, true)?;
                remote::headers(&typed.remote, &variables)?;
                return Ok(());
            }
            let program = typed.command.first().map(|word| word.to_string_lossy());
            let program = program.unwrap_or_default();
            // Bare names are looked up by the client.
            let is_path = Path::new(&*program).components().count() > 1;
            anyhow::ensure!(
                !is_path || can_start(&program),
                "the server `{program}` does not exist"
            );
            Ok(())
        };
        let wrong = checked().err()?;
        let detail = format!("{NO_START}: {}", terminal::escaped(&format!("{wrong:#}")));
        Some((detail, "correct the entry; `agentgate inspect` tries a server out".to_owned()))
    }

    /// Parses its options, else the client's variables. Variables of this process do not apply.
    fn typed(&self) -> Result<WrapArgs, String> {
        let typed = self.parsed(&[])?;
        let of_variables = options().filter_map(|option| {
            let is_named_by = typed
                .value_source(option.get_id().as_str())
                .is_some_and(|source| source == ValueSource::CommandLine);
            let value =
                self.variable(option.get_env()?.to_str()?).filter(|it| !is_filled_in(it))?;
            let long = option.get_long().filter(|_| !is_named_by)?;
            match option.get_action().takes_values() {
                true => Some(format!("--{long}={value}")),
                false => is_truthy(value).then(|| format!("--{long}")),
            }
        });
        let typed = self.parsed(&of_variables.collect::<Vec<_>>())?;
        let args = WrapArgs::from_arg_matches(&typed);
        args.map_err(|error| first_line(&error.to_string()))
    }

    /// Parses the options, with `before` in front of the given ones.
    fn parsed(&self, before: &[String]) -> Result<ArgMatches, String> {
        let (wrap, rest) = self.words.split_at(1.min(self.words.len()));
        let own = wrap.iter().chain(before).chain(rest).map(String::as_str);
        let matches =
            without_variables().try_get_matches_from(std::iter::once("agentgate").chain(own));
        let matches = matches.map_err(|error| first_line(&error.to_string()))?;
        Ok(matches.subcommand_matches("wrap").cloned().unwrap_or_default())
    }

    fn lookup(&self, decide: &DecideArgs, usual: &Lookup) -> Lookup {
        let home = self.variable("AGENTGATE_HOME").map(|home| Path::new(home).join("policies"));
        Lookup {
            named: decide.policy_dir.clone().or_else(|| usual.named.clone()),
            own: home.or_else(|| usual.own.clone()),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn config_problem(decide: &DecideArgs) -> Option<(String, String)> {
    let path = decide.config.as_deref()?;
    let shown = terminal::escaped(&path.to_string_lossy());
    if is_filled_in(&path.to_string_lossy()) {
        return None;
    }
    if !path.is_file() {
        let detail = format!("{NO_START}: there is no configuration file `{shown}`");
        return Some((detail, "write the absolute path of the file".to_owned()));
    }
    // Only the default file is in the home folder.
    let nowhere = Home { config: PathBuf::new(), data: PathBuf::new() };
    File::load(Some(path), &nowhere).err()?;
    let detail = format!("{NO_START}: its configuration file `{shown}` does not load");
    Some((detail, format!("agentgate doctor --config '{shown}'")))
}

fn policy_problem(lookup: &Lookup, name: &str) -> Option<(String, String)> {
    if is_filled_in(name) {
        return None;
    }
    if name.is_empty() {
        let detail = format!("{NO_START}: --policy or AGENTGATE_POLICY is empty");
        return Some((detail, "name a policy, or leave it out".to_owned()));
    }
    let wrong = rules(lookup, name).err()?;
    let shown = terminal::escaped(name);
    let fix = match is_path(name) && Path::new(name).is_relative() {
        true => "write the absolute path of the policy: clients start in folders of their own, \
                 and no shell expands `~`"
            .to_owned(),
        false => format!("agentgate check '{shown}'"),
    };
    Some((format!("{NO_START}: policy `{shown}`: {wrong}"), fix))
}

/// Whether this program is AgentGate, by its name.
pub(in crate::commands) fn is_gate(program: &str) -> bool {
    let stem = program.rsplit(['/', '\\']).next().unwrap_or(program);
    matches!(stem, "agentgate" | "agentgate.exe")
}

fn can_start(program: &str) -> bool {
    // The client resolves `~`, not the gate.
    let resolved_by_client = program.starts_with('~') || is_filled_in(program);
    let path = Path::new(program);
    resolved_by_client
        || if path.components().count() > 1 { path.is_file() } else { on_path(program).is_some() }
}

/// Whether the client substitutes a variable.
fn is_filled_in(word: &str) -> bool {
    word.starts_with(['$', '%']) || word.contains("${")
}

/// Whether a variable sets a flag, as clap parses it.
fn is_truthy(value: &str) -> bool {
    let no = ["", "n", "no", "f", "false", "off", "0"];
    !no.iter().any(|no| value.eq_ignore_ascii_case(no))
}

/// The options of `wrap`.
fn options() -> impl Iterator<Item = Arg> {
    let wrap = Cli::command().find_subcommand("wrap").cloned();
    let options: Vec<Arg> = wrap.iter().flat_map(Command::get_arguments).cloned().collect();
    options.into_iter()
}

fn without_variables() -> Command {
    Cli::command().mut_subcommand("wrap", |wrap| wrap.mut_args(|arg| arg.env(Resettable::Reset)))
}

fn first_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    terminal::escaped(line.strip_prefix("error: ").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(words: &[&str], env: &Value) -> Option<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("agentgate");
        std::fs::write(&program, "").unwrap();
        let program = program.to_str().unwrap();
        let words: Vec<&str> = [program, "wrap"].iter().chain(words).copied().collect();
        Gate::read(&words, Some(env)).unwrap().problem(&Lookup::default())
    }

    #[test]
    fn gates_that_cannot_start_are_detected() {
        let none = json!({});
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("config.yaml");
        std::fs::write(&broken, "polcy: x\n").unwrap();
        let broken = broken.to_str().unwrap();
        for words in [
            &["--", "npx"][..],
            &["--policy", "read_only", "--", "npx", "--policy", "the server's own"],
            &["--policy=${workspaceFolder}/p.yaml", "--", "npx"],
            &["--listen", "${ADDRESS}", "--", "npx"],
            &["--bearer-env", "TOKEN", "https://mcp.example.com/mcp"],
            &["--header", "X-Team: ${TEAM}", "http://127.0.0.1:3000/mcp"],
            &["${SERVER}"],
            &["npx", "--name", "the server's own"],
        ] {
            assert_eq!(fault(words, &none), None, "{words:?}");
        }
        let fine = json!({"AGENTGATE_MODE": "observe", "AGENTGATE_ALLOW_HTTP": "0",
                          "AGENTGATE_POLICY": "read_only,annotations"});
        assert_eq!(fault(&["--", "a-name-for-the-client-to-find"], &fine), None);
        for (words, env, detail, fix) in [
            (&["--policy", "read_onyl", "--", "npx"][..], &none, "read_onyl", "agentgate check"),
            (
                &["--policy", "/no/such.yaml", "--", "npx"],
                &none,
                "/no/such.yaml",
                "agentgate check",
            ),
            (&["--policy=~/no.yaml", "--", "npx"], &none, "~/no.yaml", "absolute path"),
            (&["--config", "no/such.yaml", "--", "npx"], &none, "no/such.yaml", "absolute path"),
            (&["npx", "--policy", "git"], &none, "`--policy` comes after", "`--` before"),
            (&["--polcy", "x", "--", "npx"], &none, "--polcy", "--help"),
            (&["--", "npx"], &json!({"AGENTGATE_POLICY": "gone"}), "gone", "agentgate check"),
            (&["--", "npx"], &json!({"AGENTGATE_POLICY": ""}), "is empty", "leave it out"),
            (&["--", "npx"], &json!({"AGENTGATE_MODE": "obsrve"}), "obsrve", "--help"),
            (&["--", "npx"], &json!({"AGENTGATE_HOME": "here"}), "AGENTGATE_HOME", "absolute"),
            (&["--", "/no/such/server"], &none, "`/no/such/server` does not exist", "inspect"),
            (&["mcp.example.com/mcp"], &none, "https://mcp.example.com/mcp", "inspect"),
            (&["htps://mcp.example.com/mcp"], &none, "neither a command nor", "inspect"),
            (&["https://u:p@mcp.example.com/"], &none, "a user or a password", "inspect"),
            (&["https://mcp.example.com/", "x"], &none, "takes no arguments", "inspect"),
            (
                &["--header", "Authorization: Bearer abc", "https://mcp.example.com/"],
                &none,
                "anyone on this machine can read it",
                "inspect",
            ),
            (
                &["--bearer-env", "TOKEN", "https://mcp.example.com/"],
                &json!({"TOKEN": " "}),
                "the variable TOKEN is empty",
                "inspect",
            ),
            (&["--listen", "0.0.0.0:1", "--", "npx"], &none, "other machines", "inspect"),
            (
                &["--transport", "sse", "--", "npx"],
                &none,
                "--transport is only for a server behind a URL",
                "inspect",
            ),
            (&["--config", broken, "--", "npx"], &none, "does not load", "agentgate doctor"),
            (&["--", "npx"], &json!({"AGENTGATE_CONFIG": broken}), "does not load", "doctor"),
        ] {
            let found = fault(words, env).unwrap_or_else(|| panic!("{words:?}"));
            assert!(found.0.contains(detail) && found.1.contains(fix), "{words:?}: {found:?}");
        }
    }

    #[test]
    fn program_that_is_not_on_path_is_reported() {
        let gate = Gate::read(&["no/such/agentgate", "wrap", "--", "npx"], None).unwrap();
        assert!(gate.problem(&Lookup::default()).unwrap().0.contains("does not exist"));
    }
}
