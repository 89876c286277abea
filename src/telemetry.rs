//! Talk goes to standard error, by `tracing`; standard output is for output.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What would write secrets into the log below the level named: rmcp's OAuth
/// client shows codes and what else came with a token.
const SECRETIVE: &str = "rmcp::transport::auth=warn";

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
        .with_env_filter(discreet(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        Format::Text => lines.init(),
        Format::Json => lines.json().init(),
    }
}

/// `filter` without what it would let through of [`SECRETIVE`].
fn discreet(filter: EnvFilter) -> EnvFilter {
    if filter.max_level_hint().is_some_and(|most| most <= LevelFilter::WARN) {
        return filter;
    }
    match SECRETIVE.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => EnvFilter::new("warn"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_lets_codes_into_the_log() {
        for wish in ["trace", "debug", "info,rmcp=trace", "rmcp::transport::auth=trace"] {
            let filter = discreet(EnvFilter::new(wish)).to_string();
            assert!(filter.split(',').any(|part| part == SECRETIVE), "{wish}: {filter}");
            assert!(!filter.contains("rmcp::transport::auth=trace"), "{filter}");
        }
        assert_eq!(discreet(EnvFilter::new("error")).to_string(), "error");
    }
}
