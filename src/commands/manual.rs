//! `agentgate completions` and `agentgate man`: made from what the parser knows.

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
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    io::stdout().write_all(&page)?;
    Ok(Done::Success)
}
