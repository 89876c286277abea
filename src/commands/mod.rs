//! The commands, one file each: parsed arguments in, text out.

mod agents;
mod audit;
mod check;
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
mod serve;
mod supervise;
mod test;
mod tool_cache;
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

/// How a command ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It is done, or what was checked holds: 0.
    Success,
    /// What was checked does not hold: 1.
    DoesNotHold,
    /// `explain`: the request would be denied: 3.
    Denied,
    /// `explain`: a person would be asked: 4.
    Asked,
    /// `wrap`: the server's own exit code.
    Exit(u8),
}

/// Runs a command; every error is wrong usage or configuration and exits with 2.
/// A reader that went away (`| head`) is no error.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    environment::warn_of_typos(&command);
    match dispatch(command) {
        Ok(done) => done.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::complain(&format!("{error:#}"));
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
        Command::Supervise(args) => supervise::run(&args),
        Command::Wrap(args) => wrap::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Login(args) => login::log_in(&args),
        Command::Logout(args) => login::log_out(&args),
    }
}

/// Options of ours behind a server's command go to the server, which is hardly meant.
///
/// # Errors
/// If something else would decide than was typed.
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

/// What the server is called: as was said, as the configuration file calls it, or after
/// what was typed.
///
/// # Errors
/// If the file has several of that command or URL.
fn name_of(
    said: Option<&str>,
    command: &[OsString],
    url: Option<&str>,
    settings: &Settings,
) -> anyhow::Result<String> {
    let of_file = settings.server_at(command, said)?.map(|(name, _)| name);
    let made = || url.map_or_else(|| server_name(command), remote::name);
    Ok(said.or(of_file).map_or_else(made, str::to_owned))
}

/// Opens the log, or says what to do.
fn open_log(path: &Path, options: &store::Options) -> anyhow::Result<Store> {
    Store::open(path, options).map_err(|error| {
        let advice = "`agentgate doctor` looks into it; --db FILE or AGENTGATE_HOME names another \
                      place";
        anyhow::anyhow!("{error}\n   help: {advice}")
    })
}

/// `1 test`, `2 tests`.
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
