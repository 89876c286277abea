//! Talk goes to standard error, by `tracing`; standard output is for output.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people, with colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error, from `level` up unless `AGENTGATE_LOG` says
/// otherwise (`info`, `agentgate=debug`, …).
pub fn init(level: &str, format: Format) {
    let filter = EnvFilter::try_from_env("AGENTGATE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        Format::Text => lines.init(),
        Format::Json => lines.json().init(),
    }
}
