//! `agentgate completions` and `agentgate man`: made from what the parser knows. There
//! is one page; the commands have their `--help`.

use std::io::{self, Write as _};

use clap::CommandFactory as _;

use super::Done;
use crate::cli::{Cli, CompletionsArgs};

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<Done> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "agentgate", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Done::Success)
}

pub(super) fn page() -> anyhow::Result<Done> {
    let command = Cli::command().disable_help_subcommand(true);
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    let mut page = String::from_utf8(page)?;
    for command in command.get_subcommands().map(clap::Command::get_name) {
        // Pages of their own are named there, which nobody installs.
        let own_page = format!("agentgate\\-{}(1)", command.replace('-', "\\-"));
        page = page.replace(&own_page, &format!("\\fBagentgate {command}\\fR"));
    }
    io::stdout().write_all(page.as_bytes())?;
    Ok(Done::Success)
}
