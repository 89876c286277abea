//! Talk goes to standard error, by `tracing`; standard output is for output.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error: errors and warnings, unless `AGENTGATE_LOG`
/// says otherwise (`info`, `agentgate=debug`, …).
pub fn init() {
    let filter =
        EnvFilter::try_from_env("AGENTGATE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
