//! The thin binary: parse, run, exit code.

use std::process::ExitCode;

use agentgate::{cli::Cli, commands, os, telemetry};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (level, format) = cli.command.logs();
    telemetry::init(level, format);
    if let Err(error) = os::outlive_full_files() {
        tracing::warn!(%error, "a limit on the size of files would end this process");
    }
    commands::run(cli.command)
}
