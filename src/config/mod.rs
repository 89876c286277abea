//! Configuration: flag over environment over the file, every error reported
//! together. clap has already laid flags over the environment.
//!
//! No file is ever picked up from the working directory: an agent may write there.

mod read;
pub mod serve;
pub mod spans;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;

use serve::ProviderFile;
use spans::Spans;

use crate::action::{Agent, Provider};
use crate::cli::{
    AuditSync, Bridge, DecideArgs, ListenArgs, Mode, OnAuditFailure, StoreArgs, Trust,
};
use crate::hosted::Endpoint;
use crate::policy::diagnostic::{Diagnostics, Source};
use crate::rest::credentials;
use crate::rest::route::Upstream;
use crate::store;

/// Default of `--max-message`, in bytes.
pub const MAX_MESSAGE: usize = 128 << 20;

/// Defaults of `--max-sessions` and `--session-idle`.
const MAX_SESSIONS: usize = 64;
const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);

/// Default of `--shutdown-timeout`. What follows, mainly stopping child processes, takes three
/// seconds at most, and a process manager may allow only five in all.
const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Base directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Configuration; contains `policies/`.
    pub config: PathBuf,
    /// Database and key.
    pub data: PathBuf,
}

/// Error of loading the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither `AGENTGATE_HOME` nor a home directory is set.
    #[error("no home directory; set AGENTGATE_HOME to a folder for configuration and data")]
    NoHome,
    /// `AGENTGATE_HOME` is relative, so would depend on the working directory.
    #[error("AGENTGATE_HOME is `{0}`; it must be an absolute path")]
    RelativeHome(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The file is invalid; contains all findings with their positions.
    #[error("the configuration does not load\n{0}")]
    Invalid(Diagnostics),
    /// Flags or environment variables contradict each other.
    #[error("the configuration is wrong: {0}")]
    Wrong(String),
}

/// The configuration file. Every key is optional and named after its flag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// Policy files or names, in order.
    pub policy: Vec<String>,
    /// Directory to look up policy names in.
    pub policy_dir: Option<PathBuf>,
    /// The agent's name.
    pub agent: Option<String>,
    /// Overrides the mode of every policy.
    pub mode: Option<Mode>,
    /// The database.
    pub db: Option<PathBuf>,
    /// Maximum length of a message, in bytes.
    pub max_message: Option<usize>,
    /// What to do with an allowed call that cannot be recorded.
    pub audit_failure: Option<OnAuditFailure>,
    /// Durability of a committed row.
    pub audit_sync: Option<AuditSync>,
    /// Whether to bridge between protocol eras.
    pub bridge: Option<Bridge>,
    /// Whether plain HTTP to other machines is allowed for all servers.
    pub allow_http: bool,
    /// Whether denied tools are removed from `tools/list` of all servers.
    pub hide_denied: bool,
    /// How long a call may wait for a person. Not used yet.
    pub ask_timeout: Option<Duration>,
    /// Maximum number of sessions in front of a command that `wrap` serves over HTTP.
    pub max_sessions: Option<u16>,
    /// Idle timeout of such a session.
    pub session_idle: Option<Duration>,
    /// How long requests in flight may take after the gate was told to stop.
    pub shutdown_timeout: Option<Duration>,
    /// Settings of single servers, by name.
    pub servers: BTreeMap<String, Server>,
    /// Address that `serve` listens on.
    pub listen: Option<SocketAddr>,
    /// Public URL of `serve` behind a reverse proxy.
    pub public_url: Option<Upstream>,
    /// Maximum size of a body that `serve` holds, in bytes.
    pub max_body: Option<usize>,
    /// Timeout for the start of a provider's response.
    pub upstream_timeout: Option<Duration>,
    /// Origins of web pages that may call the admin API.
    pub cors_origins: Vec<String>,
    /// `serve` removes rows older than this many days.
    pub retention_days: Option<u32>,
    /// Settings of single providers.
    pub providers: Vec<(Provider, ProviderFile)>,
    /// Positions of policies and servers in the file.
    pub spans: Spans,
    /// Whether the file is missing, or contains only white space and comments.
    pub is_blank: bool,
}

/// Settings of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// Whether its hints may loosen decisions.
    pub trust: Option<Trust>,
    /// Policies for this server, replacing the general ones.
    pub policy: Vec<String>,
    /// Its URL or command; `serve` exposes it at `/mcp/{name}`.
    pub endpoint: Option<Endpoint>,
    /// Headers added by the gate, each from `{env: NAME}` or `{file: PATH}`.
    pub headers: BTreeMap<String, credentials::Source>,
    /// A bearer token added by the gate, from `{env: NAME}` or `{file: PATH}`.
    pub credential: Option<credentials::Source>,
    /// Whether plain HTTP to other machines is allowed.
    pub allow_http: bool,
    /// Whether denied tools are removed from `tools/list`.
    pub hide_denied: bool,
}

impl Home {
    /// `AGENTGATE_HOME` for both directories, else the platform's defaults (XDG on Unix).
    ///
    /// # Errors
    /// [`ConfigError::NoHome`], [`ConfigError::RelativeHome`].
    pub fn find() -> Result<Self, ConfigError> {
        if let Some(home) = std::env::var_os("AGENTGATE_HOME").filter(|home| !home.is_empty()) {
            let home = PathBuf::from(home);
            if !home.is_absolute() {
                return Err(ConfigError::RelativeHome(home));
            }
            return Ok(Self { config: home.clone(), data: home });
        }
        let base = etcetera::choose_base_strategy().map_err(|_| ConfigError::NoHome)?;
        Ok(Self {
            config: base.config_dir().join("agentgate"),
            data: base.data_dir().join("agentgate"),
        })
    }

    /// Default path of the database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("agentgate.db")
    }

    /// Directory of the user's policies.
    #[must_use]
    pub fn policies(&self) -> PathBuf {
        self.config.join("policies")
    }
}

impl File {
    /// Loads `named`, or the user's default file if it exists.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], [`ConfigError::Invalid`].
    pub fn load(named: Option<&Path>, home: &Home) -> Result<Self, ConfigError> {
        let own = home.config.join("config.yaml");
        let path = named.unwrap_or(&own);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { is_blank: true, ..Self::default() });
            }
            Err(error) => return Err(ConfigError::Unreadable { path: whole(path), error }),
        };
        let source = Source::new(&path.display().to_string(), &text);
        let whole = whole(path);
        let folder = whole.parent().unwrap_or(&home.config);
        read::read(&source, folder).map_err(ConfigError::Invalid)
    }
}

/// The effective settings: flags override the environment, which overrides the file.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base directories.
    pub home: Home,
    /// Policy files or names, in order; empty if none is configured.
    pub policies: Vec<String>,
    /// Directory to look up policy names in, besides [`Home::policies`].
    pub policy_dir: Option<PathBuf>,
    /// The agent.
    pub agent: Agent,
    /// Overrides the mode of every policy.
    pub mode: Option<Mode>,
    file: File,
}

impl Settings {
    /// Merges `flags` (which include the environment) with the file.
    ///
    /// # Errors
    /// If the file cannot be loaded, or there is no home directory.
    pub fn resolve(flags: &DecideArgs) -> Result<Self, ConfigError> {
        Self::resolve_in(Home::find()?, flags)
    }

    /// As [`Settings::resolve`], with the given base directories.
    ///
    /// # Errors
    /// If the file cannot be loaded.
    pub fn resolve_in(home: Home, flags: &DecideArgs) -> Result<Self, ConfigError> {
        let file = File::load(flags.config.as_deref(), &home)?;
        if flags.policies.iter().any(String::is_empty) {
            let advice = "--policy or AGENTGATE_POLICY names a policy with no name; leave it out \
                          or unset it where none is meant";
            return Err(ConfigError::Wrong(advice.to_owned()));
        }
        let named = flags.agent.clone().or_else(|| file.agent.clone());
        Ok(Self {
            policies: if flags.policies.is_empty() {
                file.policy.clone()
            } else {
                flags.policies.clone()
            },
            policy_dir: flags.policy_dir.clone().or_else(|| file.policy_dir.clone()),
            agent: named.map(Agent::named).unwrap_or_default(),
            mode: flags.mode.or(file.mode),
            home,
            file,
        })
    }

    /// The policies for `server`: those of the flags, else the server's own, else the general
    /// ones.
    #[must_use]
    pub fn policies_for(&self, server: &str, flags: &DecideArgs) -> Vec<String> {
        match self.file.servers.get(server) {
            Some(own) if flags.policies.is_empty() && !own.policy.is_empty() => own.policy.clone(),
            _ => self.policies.clone(),
        }
    }

    /// All policies in the configuration.
    pub fn policies_named(&self) -> impl Iterator<Item = &str> {
        let of_servers = self.file.servers.values().flat_map(|server| &server.policy);
        self.policies.iter().chain(of_servers).map(String::as_str)
    }

    /// Whether hints of `server` may loosen decisions.
    #[must_use]
    pub fn trust(&self, server: &str, flag: Option<Trust>) -> Trust {
        let own = || self.file.servers.get(server).and_then(|server| server.trust);
        flag.or_else(own).unwrap_or_default()
    }

    /// Whether plain HTTP to other machines is allowed for `server`.
    #[must_use]
    pub fn allow_http(&self, server: &str, flag: bool) -> bool {
        let own = |server: &Server| server.allow_http;
        flag || self.file.allow_http || self.file.servers.get(server).is_some_and(own)
    }

    /// Whether denied tools are removed from the list of `server`.
    #[must_use]
    pub fn hide_denied(&self, server: &str, flag: bool) -> bool {
        let own = |server: &Server| server.hide_denied;
        flag || self.file.hide_denied || self.file.servers.get(server).is_some_and(own)
    }

    /// Whether to bridge between protocol eras.
    #[must_use]
    pub fn bridge(&self, flag: Option<Bridge>) -> Bridge {
        flag.or(self.file.bridge).unwrap_or_default()
    }

    /// Maximum number of sessions in front of a command, and their idle timeout.
    #[must_use]
    pub fn sessions(&self, args: &ListenArgs) -> (usize, Duration) {
        let most = args.max_sessions.or(self.file.max_sessions);
        let idle = args.session_idle.or(self.file.session_idle);
        (most.map_or(MAX_SESSIONS, usize::from), idle.unwrap_or(SESSION_IDLE))
    }

    /// How long requests in flight may take after the gate was told to stop.
    #[must_use]
    pub fn shutdown_timeout(&self, flag: Option<Duration>) -> Duration {
        flag.or(self.file.shutdown_timeout).unwrap_or(DEFAULT_SHUTDOWN_TIMEOUT)
    }

    /// Path of the database.
    #[must_use]
    pub fn database(&self, flags: &StoreArgs) -> PathBuf {
        let named = flags.db.as_ref().or(self.file.db.as_ref());
        named.map_or_else(|| self.home.database(), |named| whole(named))
    }

    /// Maximum length of a message, in bytes.
    #[must_use]
    pub fn max_message(&self, flag: Option<usize>) -> usize {
        flag.or(self.file.max_message).unwrap_or(MAX_MESSAGE)
    }

    /// The MCP servers that `serve` exposes: those with a URL or command.
    pub fn hosted(&self) -> impl Iterator<Item = (&str, &Server, &Endpoint)> {
        let servers = self.file.servers.iter();
        servers.filter_map(|(name, server)| Some((&**name, server, server.endpoint.as_ref()?)))
    }

    /// All servers in the file, by name.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &Server)> {
        self.file.servers.iter().map(|(name, server)| (&**name, server))
    }

    /// The server in the file with the command or URL `words`; the one called `name`, if given.
    ///
    /// # Errors
    /// If several match.
    pub fn server_at(
        &self,
        words: &[OsString],
        name: Option<&str>,
    ) -> Result<Option<(&str, &Server)>, ConfigError> {
        let mut meant = self.hosted().filter(|(own, _, endpoint)| {
            name.is_none_or(|name| name == *own) && endpoint.is_named_by(words)
        });
        match (meant.next(), meant.next()) {
            (Some((one, ..)), Some((other, ..))) => Err(ConfigError::Wrong(format!(
                "the servers `{one}` and `{other}` are the same; say which is meant by --name"
            ))),
            (one, _) => Ok(one.map(|(name, server, _)| (name, server))),
        }
    }

    /// Settings of providers.
    #[must_use]
    pub fn providers(&self) -> &[(Provider, ProviderFile)] {
        &self.file.providers
    }

    /// Positions of policies and servers in the file.
    #[must_use]
    pub fn spans(&self) -> &Spans {
        &self.file.spans
    }

    /// What to do with an allowed call that cannot be recorded.
    #[must_use]
    pub fn audit_failure(&self, flag: Option<OnAuditFailure>) -> OnAuditFailure {
        flag.or(self.file.audit_failure).unwrap_or_default()
    }

    /// Durability of a committed row.
    #[must_use]
    pub fn audit_sync(&self, flag: Option<AuditSync>) -> AuditSync {
        flag.or(self.file.audit_sync).unwrap_or_default()
    }
}

/// The absolute form of `path`, which does not depend on the folder the client started the gate
/// in.
pub(crate) fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl From<AuditSync> for store::Options {
    fn from(sync: AuditSync) -> Self {
        Self { sync_full: sync == AuditSync::Full, ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
