//! The commands, one file each: parsed arguments in, text out.

mod agents;
mod audit;
mod check;
mod client_files;
mod demo;
mod doctor;
mod environment;
mod explain;
mod hosting;
mod inspect;
mod intent;
mod jsonl;
mod listening;
mod login;
mod manual;
mod policies;
mod remote;
mod replay;
mod seen_tools;
mod serve;
mod setup;
mod supervise;
mod test;
mod wrap;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{self, Command, TrailingOptions};
use crate::config::Settings;
use crate::mcp::name::server_name;
use crate::store::{self, Store};
use crate::telemetry;

/// How a command ended, unless it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Success: exit code 0.
    Success,
    /// What was checked does not hold: exit code 1.
    DoesNotHold,
    /// `explain`: denied: exit code 3.
    Denied,
    /// `explain`: a person would be asked: exit code 4.
    Asked,
    /// `wrap`: the server's exit code.
    Exit(u8),
}

/// Runs a command. Errors mean wrong usage or configuration: exit code 2. A closed pipe (`|
/// head`) is not an error.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    environment::warn_of_typos(&command);
    match dispatch(command) {
        Ok(done) => done.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::error(&format!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<Done> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Agents(command) => agents::run(&command),
        Command::Demo(args) => demo::run(&args),
        Command::DemoServer => demo::serve(),
        Command::Intent(_) => intent::run(),
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Policies(command) => policies::run(&command),
        Command::Explain(args) => explain::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Audit(command) => audit::run(&command),
        Command::Completions(args) => manual::completions(&args),
        Command::Man => manual::page(),
        Command::Doctor(args) => doctor::run(&args),
        Command::Setup(args) => setup::run(&args),
        Command::Supervise(args) => supervise::run(&args),
        Command::Wrap(args) => wrap::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Login(args) => login::log_in(&args),
        Command::Logout(args) => login::log_out(&args),
    }
}

/// Warns of gate options after a server's command, which are passed to the server.
///
/// # Errors
/// If an option that affects decisions is among them.
fn check_trailing_options(subcommand: &str, command: &[OsString]) -> anyhow::Result<()> {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let Some(TrailingOptions { option, decides }) =
        cli::trailing_options(subcommand, command, &typed)
    else {
        return Ok(());
    };
    let program = command.first().map(|program| program.display().to_string()).unwrap_or_default();
    let advice = format!(
        "`{option}` comes after the command, so it goes to `{program}` and has no effect here; \
         put it before the command, or put `--` before the command if `{option}` is the server's \
         own option"
    );
    anyhow::ensure!(!decides, advice);
    telemetry::warn(&advice);
    Ok(())
}

/// The server's name: as given, else by the configuration file, else derived from the command
/// or URL.
///
/// # Errors
/// If the file contains several servers with that command or URL.
fn name_of(
    typed: Option<&str>,
    command: &[OsString],
    url: Option<&str>,
    settings: &Settings,
) -> anyhow::Result<String> {
    let of_file = settings.server_at(command, typed)?.map(|(name, _)| name);
    let made = || url.map_or_else(|| server_name(command), remote::name);
    Ok(typed.or(of_file).map_or_else(made, str::to_owned))
}

/// Opens the log, with advice in the error.
fn open_log(path: &Path, options: &store::Options) -> anyhow::Result<Store> {
    Store::open(path, options).map_err(|error| {
        let advice = "`agentgate doctor` looks into it; --db FILE or AGENTGATE_HOME names another \
                      place";
        anyhow::anyhow!("{error}\n   help: {advice}")
    })
}

/// Such as `1 test` and `2 tests`.
fn pluralize(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}

impl From<Done> for ExitCode {
    fn from(done: Done) -> Self {
        Self::from(match done {
            Done::Success => 0,
            Done::DoesNotHold => 1,
            Done::Denied => 3,
            Done::Asked => 4,
            Done::Exit(code) => code,
        })
    }
}
