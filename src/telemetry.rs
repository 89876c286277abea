//! Logging to standard error by `tracing`. Standard output is for output only.

use std::io::{IsTerminal, Write as _};
use std::sync::OnceLock;

use anstream::adapter::strip_str;
use tracing::level_filters::STATIC_MAX_LEVEL;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::terminal;

/// Directive for a target that would log secrets below this level: rmcp's OAuth client logs
/// authorization codes and token responses.
const SECRET_TARGET: &str = "rmcp::transport::auth=warn";

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people, with colour on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// The format that this process uses.
static FORMAT: OnceLock<Format> = OnceLock::new();

/// Initializes logging to standard error. The level is `level` unless `AGENTGATE_LOG` is set
/// (`info`, `agentgate=debug`, …).
pub fn init(level: &str, format: Format) {
    let _ = FORMAT.set(format);
    let requested = std::env::var("AGENTGATE_LOG").ok();
    let requested = requested.map(|requested| cap_levels(&requested, STATIC_MAX_LEVEL));
    let filter = requested.and_then(|requested| EnvFilter::try_new(requested).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(without_secrets(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // The library would report such errors to standard error, too, and panic if that fails
        // (full disk, closed pipe).
        .log_internal_errors(false)
        .with_target(false);
    match format {
        Format::Text => lines.init(),
        Format::Json => {
            lines.json().init();
            std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        }
    }
}

/// `directives` with levels above `most` lowered to it: those are compiled out, and the library
/// would print warnings about them.
fn cap_levels(directives: &str, most: LevelFilter) -> String {
    if most == LevelFilter::TRACE {
        return directives.to_owned();
    }
    let is_too_fine =
        |level: &str| level.trim().parse().is_ok_and(|level: LevelFilter| level > most);
    let directives = directives.split(',').map(|directive| match directive.rsplit_once('=') {
        Some((target, level)) if is_too_fine(level) => format!("{target}={most}"),
        None if is_too_fine(directive) => most.to_string(),
        // A target without a level enables all levels.
        None if directive.trim().parse::<LevelFilter>().is_err()
            && !directive.trim().is_empty() =>
        {
            format!("{directive}={most}")
        }
        _ => directive.to_owned(),
    });
    directives.collect::<Vec<_>>().join(",")
}

/// Whether every line on standard error is a JSON object.
#[must_use]
pub fn is_json() -> bool {
    FORMAT.get() == Some(&Format::Json)
}

/// Prints a message for the user, whatever the log's level.
pub fn info(message: &str) {
    print("INFO", message);
}

/// Prints a warning for the user, whatever the log's level.
pub fn warn(message: &str) {
    match is_json() {
        true => print("WARN", message),
        false => print("WARN", &format!("warning: {message}")),
    }
}

/// Prints an error for the user, whatever the log's level.
pub fn error(message: &str) {
    print("ERROR", message);
}

fn print(level: &str, message: &str) {
    // Errors are ignored: standard error may be closed.
    if !is_json() {
        let _ = writeln!(anstream::stderr().lock(), "agentgate: {message}");
        return;
    }
    let line = serde_json::json!({
        "timestamp": format!("{:.6}", jiff::Timestamp::now()),
        "level": level,
        "fields": { "message": strip_str(message).to_string() },
    });
    let _ = terminal::json_line(std::io::stderr().lock(), &line);
}

/// `filter` with [`SECRET_TARGET`] added where it would log more.
fn without_secrets(filter: EnvFilter) -> EnvFilter {
    if filter.max_level_hint().is_some_and(|most| most <= LevelFilter::WARN) {
        return filter;
    }
    match SECRET_TARGET.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => EnvFilter::new("warn"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_logs_authorization_codes() {
        for wish in ["trace", "debug", "info,rmcp=trace", "rmcp::transport::auth=trace"] {
            let filter = without_secrets(EnvFilter::new(wish)).to_string();
            assert!(filter.split(',').any(|part| part == SECRET_TARGET), "{wish}: {filter}");
            assert!(!filter.contains("rmcp::transport::auth=trace"), "{filter}");
        }
        assert_eq!(without_secrets(EnvFilter::new("error")).to_string(), "error");
    }

    #[test]
    fn levels_that_are_compiled_out_are_capped() {
        let debug = LevelFilter::DEBUG;
        for (wish, requested) in [
            ("trace", "debug"),
            ("TRACE,h2=trace", "debug,h2=debug"),
            ("5, agentgate=info", "debug, agentgate=info"),
            ("agentgate", "agentgate=debug"),
            ("warn,rmcp=off,", "warn,rmcp=off,"),
        ] {
            assert_eq!(cap_levels(wish, debug), requested);
            assert_eq!(cap_levels(wish, LevelFilter::TRACE), wish);
        }
    }
}
