//! One server's login, as its client sees it.

use std::path::Path;
use std::time::Duration;

use http::HeaderValue;
use url::Url;

use super::{Challenge, LoginError};
use crate::net::client::Client;

/// How a session behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether a browser is opened; the page's address is told in any case.
    pub browser: bool,
    /// How long a person may take to log in.
    pub patience: Duration,
    /// How long [`Session::challenged`] waits for the person before it answers
    /// [`LoginError::Waiting`]; shorter than clients wait for an answer.
    pub answer_within: Duration,
}

impl Options {
    /// The default of [`Options::patience`].
    pub const PATIENCE: Duration = Duration::from_secs(5 * 60);

    /// The default of [`Options::answer_within`]: SDKs give a call 60 seconds.
    pub const ANSWER_WITHIN: Duration = Duration::from_secs(45);
}

impl Default for Options {
    fn default() -> Self {
        Self { browser: true, patience: Self::PATIENCE, answer_within: Self::ANSWER_WITHIN }
    }
}

/// The login to one server. Cheap to clone; clones are one session.
#[derive(Debug, Clone)]
pub struct Session {
    server: Url,
}

impl Session {
    /// The login to the server at `server`, kept below `folder` (the data
    /// folder). Opens nothing and asks nobody.
    ///
    /// # Errors
    /// [`LoginError::Untrusted`] where tokens must not be sent to such a URL:
    /// another scheme than https, but for http on this very machine.
    pub fn for_url(
        server: &Url,
        folder: &Path,
        client: Client,
        options: Options,
    ) -> Result<Self, LoginError> {
        let _ = (folder, client, options);
        Ok(Self { server: server.clone() })
    }

    /// The `Authorization` header for the next request, renewed where it is
    /// about to expire; `None` where there is no login. To be asked before each
    /// request; never opens a browser.
    pub async fn authorization(&self) -> Option<HeaderValue> {
        None
    }

    /// Answers a server's refusal: renews the token, or has the person log in.
    /// After `Ok` the request is to be sent once more, with a new
    /// [`Session::authorization`]; a second refusal is the client's to report.
    /// Takes [`Options::answer_within`] at most, while the login itself goes on.
    ///
    /// # Errors
    /// See [`LoginError`]; its words are meant for the person or the model.
    pub async fn challenged(&self, challenge: &Challenge) -> Result<(), LoginError> {
        let _ = (challenge.header(), challenge.wants_scope(), challenge.refused());
        Err(LoginError::Failed {
            server: self.server.to_string(),
            why: "logins are not made yet".to_owned(),
        })
    }
}
