//! Trailing options: options of `agentgate` typed after a server's command, where they are
//! passed to the server.

use std::ffi::OsString;

use clap::CommandFactory as _;

use super::Cli;

/// Options without which something else decides than the one who typed them believes.
const DECIDING: [&str; 4] = ["policy", "policy-dir", "agent", "trust"];

/// An option of `agentgate` after the command, with no `--` in front of the command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TrailingOptions {
    /// As it is typed: `--policy`.
    pub(crate) option: String,
    /// Whether what is decided depends on it.
    pub(crate) decides: bool,
}

/// The first option of `subcommand` (`wrap`) after `command`, which `typed` ends with.
/// With `--` in front of the command everything after it is the server's.
pub(crate) fn trailing_options(
    subcommand: &str,
    command: &[OsString],
    typed: &[OsString],
) -> Option<TrailingOptions> {
    let (before, rest) = typed.split_at_checked(typed.len().checked_sub(command.len())?)?;
    if rest != command || before.last().is_some_and(|word| word == "--") {
        return None;
    }
    let ours = Cli::command();
    let ours = ours.find_subcommand(subcommand)?;
    let words = command.iter().skip(1).take_while(|word| *word != "--");
    words.filter_map(|word| word.to_str()?.strip_prefix("--")).find_map(|word| {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        let known = ours.get_arguments().filter_map(clap::Arg::get_long).any(|long| long == name);
        known.then(|| TrailingOptions {
            option: format!("--{name}"),
            decides: DECIDING.contains(&name),
        })
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Command;
    use super::*;

    fn found(line: &str) -> Option<(String, bool)> {
        let typed: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let Command::Wrap(args) = Cli::parse_from(&typed).command else { panic!("{line}") };
        trailing_options("wrap", &args.command, &typed).map(|it| (it.option, it.decides))
    }

    #[test]
    fn options_behind_a_command_are_noticed_unless_they_are_meant_for_it() {
        let deciding = |name: &str| Some((name.to_owned(), true));
        for (line, expected) in [
            ("agentgate wrap npx server --policy x", deciding("--policy")),
            ("agentgate wrap npx server --policy=x", deciding("--policy")),
            ("agentgate wrap --name a npx server --trust none", deciding("--trust")),
            ("agentgate wrap npx server --name x", Some(("--name".to_owned(), false))),
            (
                "agentgate wrap npx server --other --hide-denied",
                Some(("--hide-denied".into(), false)),
            ),
            ("agentgate wrap --policy x npx server", None),
            ("agentgate wrap -- npx server --policy x", None),
            ("agentgate wrap --name a -- npx --policy x", None),
            ("agentgate wrap npx server -- --policy x", None),
            ("agentgate wrap npx server --polic", None),
            ("agentgate wrap npx", None),
        ] {
            assert_eq!(found(line), expected, "{line}");
        }
    }
}
