//! Why there is no login.

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
