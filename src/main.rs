//! The thin binary: parse, run, exit code.

use std::process::ExitCode;

use agentgate::{cli::Cli, commands, telemetry};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (level, format) = cli.command.logs();
    telemetry::init(level, format);
    commands::run(cli.command)
}
