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

/// The default of `--max-message`, in bytes.
pub const MAX_MESSAGE: usize = 128 << 20;

/// The default of `--max-sessions`, and of `--session-idle`.
const MAX_SESSIONS: usize = 64;
const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);

/// The default of `--shutdown-timeout`: what follows, servers' ends above all, takes three
/// seconds at most, and whoever starts a gate may give it no more than five.
const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Where things live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Configuration, and `policies/` below it.
    pub config: PathBuf,
    /// The database and its key.
    pub data: PathBuf,
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither `AGENTGATE_HOME` nor a home directory.
    #[error("no home directory; set AGENTGATE_HOME to a folder for configuration and data")]
    NoHome,
    /// A relative `AGENTGATE_HOME` would be looked up in the working directory.
    #[error("AGENTGATE_HOME is `{0}`; it must be an absolute path")]
    RelativeHome(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file says something that it may not: all of it, each with its place.
    #[error("the configuration does not load\n{0}")]
    Invalid(Diagnostics),
    /// Flags or the environment say what cannot be.
    #[error("the configuration is wrong: {0}")]
    Wrong(String),
}

/// What the configuration file may say; every key is optional and each is the
/// flag of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// Policy files or names, joined in order.
    pub policy: Vec<String>,
    /// Where policy names are looked up.
    pub policy_dir: Option<PathBuf>,
    /// Who asks.
    pub agent: Option<String>,
    /// Overrides every policy's own mode.
    pub mode: Option<Mode>,
    /// The database.
    pub db: Option<PathBuf>,
    /// The largest message passed on, in bytes.
    pub max_message: Option<usize>,
    /// What happens to an allowed call that cannot be recorded.
    pub audit_failure: Option<OnAuditFailure>,
    /// What a committed row survives.
    pub audit_sync: Option<AuditSync>,
    /// Whether clients of one era are served in front of servers of the other.
    pub bridge: Option<Bridge>,
    /// Plain HTTP to another machine will do, whatever the server.
    pub allow_http: bool,
    /// Tools that would be denied are left out of tools/list, whatever the server.
    pub hide_denied: bool,
    /// How long a call may wait for a person; nobody can be asked yet.
    pub ask_timeout: Option<Duration>,
    /// Sessions at once in front of a command that `wrap` shows.
    pub max_sessions: Option<u16>,
    /// How long such a session may be idle.
    pub session_idle: Option<Duration>,
    /// How long requests under way may take once the gate was told to stop.
    pub shutdown_timeout: Option<Duration>,
    /// What holds for one server, by its name.
    pub servers: BTreeMap<String, Server>,
    /// Where `serve` listens.
    pub listen: Option<SocketAddr>,
    /// Where clients see `serve`, where something stands in front of it.
    pub public_url: Option<Upstream>,
    /// The largest body that `serve` holds, in bytes.
    pub max_body: Option<usize>,
    /// How long a provider may take to begin its answer to `serve`.
    pub upstream_timeout: Option<Duration>,
    /// Origins of pages that may call the admin API of `serve`.
    pub cors_origins: Vec<String>,
    /// Rows of the log older than so many days are removed by `serve`.
    pub retention_days: Option<u32>,
    /// What holds for one provider.
    pub providers: Vec<(Provider, ProviderFile)>,
    /// Where policies and servers are named.
    pub spans: Spans,
    /// It says nothing at all: it is not there, or holds nothing but space and comments.
    pub is_blank: bool,
}

/// What holds for one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// Whether its hints may loosen what is decided.
    pub trust: Option<Trust>,
    /// Policies for this server instead of the general ones.
    pub policy: Vec<String>,
    /// Where it is: `serve` shows it at `/mcp/{name}`.
    pub endpoint: Option<Endpoint>,
    /// Headers that the gate puts in, each from `{env: NAME}` or `{file: PATH}`.
    pub headers: BTreeMap<String, credentials::Source>,
    /// A bearer token that the gate puts in, from `{env: NAME}` or `{file: PATH}`.
    pub credential: Option<credentials::Source>,
    /// Plain HTTP to another machine will do.
    pub allow_http: bool,
    /// Tools that would be denied are left out of tools/list.
    pub hide_denied: bool,
}

impl Home {
    /// `AGENTGATE_HOME` for both, else the platform's folders (XDG on Unix).
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

    /// The database, unless one is named.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("agentgate.db")
    }

    /// Where the user's own policies are looked up by name.
    #[must_use]
    pub fn policies(&self) -> PathBuf {
        self.config.join("policies")
    }
}

impl File {
    /// Reads `named`, or the user's own file where none is named and one exists.
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

/// Flags, environment and file laid over each other.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where things live.
    pub home: Home,
    /// Policy files or names, joined in order; empty if none is named.
    pub policies: Vec<String>,
    /// Where policy names are looked up besides [`Home::policies`].
    pub policy_dir: Option<PathBuf>,
    /// Who asks.
    pub agent: Agent,
    /// Overrides every policy's own mode.
    pub mode: Option<Mode>,
    file: File,
}

impl Settings {
    /// Lays `flags` (clap has merged the environment into them) over the file.
    ///
    /// # Errors
    /// If the file or the home cannot be had.
    pub fn resolve(flags: &DecideArgs) -> Result<Self, ConfigError> {
        Self::resolve_in(Home::find()?, flags)
    }

    /// The same, in a home of the caller's.
    ///
    /// # Errors
    /// If the file cannot be had.
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

    /// The policies for `server`: those named by flag, else the server's own,
    /// else the general ones.
    #[must_use]
    pub fn policies_for(&self, server: &str, flags: &DecideArgs) -> Vec<String> {
        match self.file.servers.get(server) {
            Some(own) if flags.policies.is_empty() && !own.policy.is_empty() => own.policy.clone(),
            _ => self.policies.clone(),
        }
    }

    /// Every policy that the configuration names, for all servers or for one.
    pub fn policies_named(&self) -> impl Iterator<Item = &str> {
        let of_servers = self.file.servers.values().flat_map(|server| &server.policy);
        self.policies.iter().chain(of_servers).map(String::as_str)
    }

    /// Whether `server`'s hints may loosen.
    #[must_use]
    pub fn trust(&self, server: &str, flag: Option<Trust>) -> Trust {
        let own = || self.file.servers.get(server).and_then(|server| server.trust);
        flag.or_else(own).unwrap_or_default()
    }

    /// Whether plain HTTP to another machine will do for `server`.
    #[must_use]
    pub fn allow_http(&self, server: &str, flag: bool) -> bool {
        let own = |server: &Server| server.allow_http;
        flag || self.file.allow_http || self.file.servers.get(server).is_some_and(own)
    }

    /// Whether tools that would be denied are left out of what `server` lists.
    #[must_use]
    pub fn hide_denied(&self, server: &str, flag: bool) -> bool {
        let own = |server: &Server| server.hide_denied;
        flag || self.file.hide_denied || self.file.servers.get(server).is_some_and(own)
    }

    /// Whether clients of one era are served in front of servers of the other.
    #[must_use]
    pub fn bridge(&self, flag: Option<Bridge>) -> Bridge {
        flag.or(self.file.bridge).unwrap_or_default()
    }

    /// Sessions at once in front of a command, and how long each may be idle.
    #[must_use]
    pub fn sessions(&self, args: &ListenArgs) -> (usize, Duration) {
        let most = args.max_sessions.or(self.file.max_sessions);
        let idle = args.session_idle.or(self.file.session_idle);
        (most.map_or(MAX_SESSIONS, usize::from), idle.unwrap_or(SESSION_IDLE))
    }

    /// How long requests under way may take once the gate was told to stop.
    #[must_use]
    pub fn shutdown_timeout(&self, flag: Option<Duration>) -> Duration {
        flag.or(self.file.shutdown_timeout).unwrap_or(DEFAULT_SHUTDOWN_TIMEOUT)
    }

    /// The database.
    #[must_use]
    pub fn database(&self, flags: &StoreArgs) -> PathBuf {
        let named = flags.db.as_ref().or(self.file.db.as_ref());
        named.map_or_else(|| self.home.database(), |named| whole(named))
    }

    /// The largest message passed on, in bytes.
    #[must_use]
    pub fn max_message(&self, flag: Option<usize>) -> usize {
        flag.or(self.file.max_message).unwrap_or(MAX_MESSAGE)
    }

    /// The MCP servers that `serve` shows, by name: those with a URL or a command.
    pub fn hosted(&self) -> impl Iterator<Item = (&str, &Server, &Endpoint)> {
        let servers = self.file.servers.iter();
        servers.filter_map(|(name, server)| Some((&**name, server, server.endpoint.as_ref()?)))
    }

    /// Every server of the file, by name.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &Server)> {
        self.file.servers.iter().map(|(name, server)| (&**name, server))
    }

    /// The server of the file that `words`, a command or a URL, lead to: the one of
    /// that name, where one is said.
    ///
    /// # Errors
    /// If they lead to several.
    pub fn server_at(
        &self,
        words: &[OsString],
        name: Option<&str>,
    ) -> Result<Option<(&str, &Server)>, ConfigError> {
        let mut meant = self.hosted().filter(|(own, _, endpoint)| {
            name.is_none_or(|name| name == *own) && endpoint.is_typed(words)
        });
        match (meant.next(), meant.next()) {
            (Some((one, ..)), Some((other, ..))) => Err(ConfigError::Wrong(format!(
                "the servers `{one}` and `{other}` are the same; say which is meant by --name"
            ))),
            (one, _) => Ok(one.map(|(name, server, _)| (name, server))),
        }
    }

    /// What the file says of the providers.
    #[must_use]
    pub fn providers(&self) -> &[(Provider, ProviderFile)] {
        &self.file.providers
    }

    /// Where the file names policies and servers.
    #[must_use]
    pub fn spans(&self) -> &Spans {
        &self.file.spans
    }

    /// What happens to an allowed call that cannot be recorded.
    #[must_use]
    pub fn audit_failure(&self, flag: Option<OnAuditFailure>) -> OnAuditFailure {
        flag.or(self.file.audit_failure).unwrap_or_default()
    }

    /// What a committed row survives.
    #[must_use]
    pub fn audit_sync(&self, flag: Option<AuditSync>) -> AuditSync {
        flag.or(self.file.audit_sync).unwrap_or_default()
    }
}

/// A path that says where it leads, whatever folder a client started the gate in.
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
