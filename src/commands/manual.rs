//! `agentgate completions` and `agentgate man`, generated from the command line parser. There is
//! one page, with a section for each command.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::Done;
use crate::cli::{Cli, CompletionsArgs};

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<Done> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "agentgate", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Done::Success)
}

pub(super) fn page() -> anyhow::Result<Done> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    let mut page = String::from_utf8(page)?;
    for command in command.get_subcommands().map(clap::Command::get_name) {
        // clap_mangen refers to pages of subcommands, which are not installed.
        let own_page = format!("agentgate\\-{}(1)", command.replace('-', "\\-"));
        page = page.replace(&own_page, &format!("\\fBagentgate {command}\\fR"));
    }
    add_sections(&command, &mut page)?;
    io::stdout().write_all(page.as_bytes())?;
    Ok(Done::Success)
}

/// Appends a section for each subcommand.
fn add_sections(command: &clap::Command, page: &mut String) -> anyhow::Result<()> {
    let shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    for command in command.get_subcommands().filter(shown) {
        if command.has_subcommands() {
            add_sections(command, page)?;
            continue;
        }
        let (man, mut section) = (Man::new(command.clone()), Vec::new());
        man.render_synopsis_section(&mut section)?;
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_uppercase();
        let section = String::from_utf8(section)?.replace(".SH ", ".SS ");
        page.push_str(&format!(".SH \"{name}\"\n{section}"));
    }
    Ok(())
}
