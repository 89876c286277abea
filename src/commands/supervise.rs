//! `agentgate supervise` (hidden): the process under which `wrap` runs its server.

use anyhow::Context as _;

use super::Done;
use crate::cli::SuperviseArgs;
use crate::os;

pub(super) fn run(args: &SuperviseArgs) -> anyhow::Result<Done> {
    let (program, rest) = args.command.split_first().context("no command is given")?;
    Ok(Done::Exit(os::supervise(args.parent, program, rest)?))
}
