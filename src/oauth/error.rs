//! Errors of logins.

use std::error::Error;
use std::fmt::Display;
use std::path::Path;

use url::Url;

use crate::terminal::needs_escape;

/// Why there is no login. Messages are for the user and contain no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The user has to act; the login continues meanwhile.
    #[error("a login to {server} is waiting: {}; log in, then retry", where_to(.url.as_deref()))]
    Waiting {
        /// The server that requires it.
        server: String,
        /// The page to open; `None` if another process opened it.
        url: Option<String>,
    },
    /// The user or the authorization server refused.
    #[error("the login to {server} was refused: {why}")]
    Denied {
        /// The server that required it.
        server: String,
        /// The authorization server's message.
        why: String,
    },
    /// Nobody logged in in time.
    #[error("nobody logged in to {server} within {minutes} minutes")]
    TimedOut {
        /// The server that required it.
        server: String,
        /// The time limit.
        minutes: u64,
    },
    /// The server does not say how to log in.
    #[error("{server} wants a login, but does not say where: {why}")]
    Undiscovered {
        /// The server.
        server: String,
        /// What was missing.
        why: String,
    },
    /// The server's metadata or response is not trusted; no credential was sent.
    #[error("the login to {server} was broken off: {why}")]
    Untrusted {
        /// The server.
        server: String,
        /// What was wrong.
        why: String,
    },
    /// The server refuses a token that its authorization server has just issued.
    #[error("{server} refuses the token of a login just made: {why}")]
    TokenRejected {
        /// The server.
        server: String,
        /// What it asks for.
        why: String,
    },
    /// The server refuses the stored login, which cannot be renewed.
    #[error("{server} refuses the login, and it cannot be renewed: run `agentgate login {server}`")]
    Over {
        /// The server.
        server: String,
    },
    /// Another failure, which may be temporary.
    #[error("the login to {server} failed: {why}")]
    Failed {
        /// The server.
        server: String,
        /// What went wrong.
        why: String,
    },
    /// The login file cannot be used.
    #[error("the login cannot be kept in `{path}`: {why}")]
    Storage {
        /// The file.
        path: String,
        /// What went wrong.
        why: String,
    },
}

fn where_to(url: Option<&str>) -> String {
    match url {
        Some(url) => format!("open {url}"),
        None => "another agentgate has opened it in a browser".to_owned(),
    }
}

/// Maximum length of a quoted message, in characters.
const MAX_MESSAGE: usize = 300;

impl LoginError {
    pub(super) fn failed(server: &Url, why: impl Display) -> Self {
        Self::Failed { server: display_url(server), why: sanitize(&why.to_string()) }
    }

    pub(super) fn untrusted(server: &Url, why: impl Display) -> Self {
        Self::Untrusted { server: display_url(server), why: sanitize(&why.to_string()) }
    }

    pub(super) fn undiscovered(server: &Url, why: impl Display) -> Self {
        Self::Undiscovered { server: display_url(server), why: sanitize(&why.to_string()) }
    }

    pub(super) fn token_rejected(server: &Url, why: impl Display) -> Self {
        Self::TokenRejected { server: display_url(server), why: sanitize(&why.to_string()) }
    }

    pub(super) fn denied(server: &Url, why: impl Display) -> Self {
        Self::Denied { server: display_url(server), why: sanitize(&why.to_string()) }
    }

    pub(super) fn storage(path: &Path, why: impl Display) -> Self {
        Self::Storage { path: path.display().to_string(), why: sanitize(&why.to_string()) }
    }

    /// Whether the user has answered or let it time out, and should not be asked again at once.
    pub(super) fn is_an_answer(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::TimedOut { .. })
    }
}

/// A server's URL for display: without its query, which may contain a key.
pub(super) fn display_url(server: &Url) -> String {
    format!("{}{}", server.origin().ascii_serialization(), server.path())
}

/// An error and its causes on one line.
pub(super) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Untrusted text, truncated, without control and invisible characters that could deceive on a
/// terminal.
fn sanitize(words: &str) -> String {
    let plain = words.chars().map(|c| if needs_escape(c) { ' ' } else { c });
    let mut short: String = plain.take(MAX_MESSAGE).collect();
    if words.chars().nth(MAX_MESSAGE).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_messages_are_truncated_and_sanitized() {
        let server = Url::parse("https://mcp.example.com/mcp?key=hunter2").unwrap();
        let long = format!("\u{1b}[2J\u{9b}\u{202e}\u{200b}{}", "x".repeat(MAX_MESSAGE));
        let error = LoginError::failed(&server, long).to_string();
        assert!(!error.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{200b}']), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.ends_with('…') && error.chars().count() < MAX_MESSAGE + 100, "{error}");
    }
}
