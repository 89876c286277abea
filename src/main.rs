//! The thin binary: parse, run, exit code.

use std::process::ExitCode;

use agentgate::{cli::Cli, commands, telemetry};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init();
    commands::run(cli.command)
}
