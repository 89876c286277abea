//! Talk goes to standard error, by `tracing`; standard output is for output.

use std::io::{IsTerminal, Write as _};
use std::sync::OnceLock;

use anstream::adapter::strip_str;
use tracing::level_filters::STATIC_MAX_LEVEL;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::terminal;

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

/// How everything looks that this process says.
static FORMAT: OnceLock<Format> = OnceLock::new();

/// Starts logging to standard error, from `level` up unless `AGENTGATE_LOG` says
/// otherwise (`info`, `agentgate=debug`, …).
pub fn init(level: &str, format: Format) {
    let _ = FORMAT.set(format);
    let asked = std::env::var("AGENTGATE_LOG").ok();
    let asked = asked.map(|asked| capped(&asked, STATIC_MAX_LEVEL));
    let filter = asked.and_then(|asked| EnvFilter::try_new(asked).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(discreet(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // The library would say so there as well, and end the process where that fails: the
        // disk is full that its file is on, or nobody reads a pipe any more.
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

/// `directives` without what this program cannot show, of which the library would warn in
/// lines of its own.
fn capped(directives: &str, most: LevelFilter) -> String {
    if most == LevelFilter::TRACE {
        return directives.to_owned();
    }
    let is_too_fine =
        |level: &str| level.trim().parse().is_ok_and(|level: LevelFilter| level > most);
    let capped = directives.split(',').map(|directive| match directive.rsplit_once('=') {
        Some((target, level)) if is_too_fine(level) => format!("{target}={most}"),
        None if is_too_fine(directive) => most.to_string(),
        // A target alone stands for all that it has to say.
        None if directive.trim().parse::<LevelFilter>().is_err()
            && !directive.trim().is_empty() =>
        {
            format!("{directive}={most}")
        }
        _ => directive.to_owned(),
    });
    capped.collect::<Vec<_>>().join(",")
}

/// Whether every line on standard error is a JSON object.
#[must_use]
pub fn is_json() -> bool {
    FORMAT.get() == Some(&Format::Json)
}

/// Tells a person what they need to know, whatever the level of the log.
pub fn say(words: &str) {
    tell("INFO", words);
}

/// Warns of what probably is not meant, whatever the level of the log.
pub fn warn(words: &str) {
    match is_json() {
        true => tell("WARN", words),
        false => tell("WARN", &format!("warning: {words}")),
    }
}

/// Says why it does not go on, whatever the level of the log.
pub fn complain(words: &str) {
    tell("ERROR", words);
}

fn tell(level: &str, words: &str) {
    // Nobody may be there to read it.
    if !is_json() {
        let _ = writeln!(anstream::stderr().lock(), "agentgate: {words}");
        return;
    }
    let line = serde_json::json!({
        "timestamp": format!("{:.6}", jiff::Timestamp::now()),
        "level": level,
        "fields": { "message": strip_str(words).to_string() },
    });
    let _ = terminal::json_line(std::io::stderr().lock(), &line);
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

    #[test]
    fn what_a_release_cannot_show_is_not_asked_for() {
        let debug = LevelFilter::DEBUG;
        for (wish, asked) in [
            ("trace", "debug"),
            ("TRACE,h2=trace", "debug,h2=debug"),
            ("5, agentgate=info", "debug, agentgate=info"),
            ("agentgate", "agentgate=debug"),
            ("warn,rmcp=off,", "warn,rmcp=off,"),
        ] {
            assert_eq!(capped(wish, debug), asked);
            assert_eq!(capped(wish, LevelFilter::TRACE), wish);
        }
    }
}
