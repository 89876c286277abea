//! Why there is no login.

use std::error::Error;
use std::fmt::Display;
use std::path::Path;

use url::Url;

use crate::terminal::is_trick;

/// Why there is no login. The words are for the person; none holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// A person has to act, and has not yet: the login goes on meanwhile.
    #[error("a login to {server} is waiting: {}; log in, then retry", where_to(.url.as_deref()))]
    Waiting {
        /// The server that wants it.
        server: String,
        /// The page to open; `None` where another process opened it.
        url: Option<String>,
    },
    /// The person, or the authorization server in their name, said no.
    #[error("the login to {server} was refused: {why}")]
    Denied {
        /// The server that wanted it.
        server: String,
        /// In the authorization server's words.
        why: String,
    },
    /// Nobody logged in in time.
    #[error("nobody logged in to {server} within {minutes} minutes")]
    TimedOut {
        /// The server that wanted it.
        server: String,
        /// How long it waited.
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
    /// Something said by a server is not to be trusted; no credential was sent.
    #[error("the login to {server} was broken off: {why}")]
    Untrusted {
        /// The server.
        server: String,
        /// What was wrong.
        why: String,
    },
    /// The server refuses what its own authorization server just gave.
    #[error("{server} refuses the token of a login just made: {why}")]
    Useless {
        /// The server.
        server: String,
        /// What it asks for.
        why: String,
    },
    /// The server refuses the login that is kept, and it cannot be renewed.
    #[error("{server} refuses the login, and it cannot be renewed: run `agentgate login {server}`")]
    Over {
        /// The server.
        server: String,
    },
    /// It did not work; it may later.
    #[error("the login to {server} failed: {why}")]
    Failed {
        /// The server.
        server: String,
        /// What went wrong.
        why: String,
    },
    /// The file of the login cannot be used.
    #[error("the login cannot be kept in `{path}`: {why}")]
    Unkept {
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

/// The most of a server's words that are repeated, in characters.
const MAX_WORDS: usize = 300;

impl LoginError {
    pub(super) fn failed(server: &Url, why: impl Display) -> Self {
        Self::Failed { server: shown(server), why: clean(&why.to_string()) }
    }

    pub(super) fn untrusted(server: &Url, why: impl Display) -> Self {
        Self::Untrusted { server: shown(server), why: clean(&why.to_string()) }
    }

    pub(super) fn undiscovered(server: &Url, why: impl Display) -> Self {
        Self::Undiscovered { server: shown(server), why: clean(&why.to_string()) }
    }

    pub(super) fn useless(server: &Url, why: impl Display) -> Self {
        Self::Useless { server: shown(server), why: clean(&why.to_string()) }
    }

    pub(super) fn denied(server: &Url, why: impl Display) -> Self {
        Self::Denied { server: shown(server), why: clean(&why.to_string()) }
    }

    pub(super) fn unkept(path: &Path, why: impl Display) -> Self {
        Self::Unkept { path: path.display().to_string(), why: clean(&why.to_string()) }
    }

    /// Whether asking the person again at once would only annoy.
    pub(super) fn is_an_answer(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::TimedOut { .. })
    }
}

/// A server's URL as it is told: its query may hold a key.
pub(super) fn shown(server: &Url) -> String {
    format!("{}{}", server.origin().ascii_serialization(), server.path())
}

/// An error with its causes, in words.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A stranger's words without what could play tricks on a terminal, and not many.
fn clean(words: &str) -> String {
    let plain = words.chars().map(|c| if is_trick(c) { ' ' } else { c });
    let mut short: String = plain.take(MAX_WORDS).collect();
    if words.chars().nth(MAX_WORDS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_servers_are_cut_and_cleaned() {
        let server = Url::parse("https://mcp.example.com/mcp?key=hunter2").unwrap();
        let long = format!("\u{1b}[2J\u{9b}\u{202e}\u{200b}{}", "x".repeat(MAX_WORDS));
        let told = LoginError::failed(&server, long).to_string();
        assert!(!told.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{200b}']), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
        assert!(told.ends_with('…') && told.chars().count() < MAX_WORDS + 100, "{told}");
    }
}
