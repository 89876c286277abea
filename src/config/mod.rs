//! Configuration: flag over environment over the file, every error reported
//! together. clap has already laid flags over the environment.
//!
//! No file is ever picked up from the working directory: an agent may write there.

pub mod serve;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::Deserialize;

use serve::ProviderFile;

use crate::action::Agent;
use crate::cli::{AuditSync, DecideArgs, Mode, OnAuditFailure, StoreArgs, Trust};
use crate::rest::credentials::Source;
use crate::rest::inbound::Limits;

/// The default of `--max-message`, in bytes.
pub const MAX_MESSAGE: usize = 128 << 20;

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
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file says something that it may not.
    #[error("{path}: {error}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, column, the line itself and what is wrong.
        error: String,
    },
    /// It can be read, and says what cannot be.
    #[error("the configuration is wrong:\n{0}")]
    Wrong(String),
}

/// What the configuration file may say; every key is optional and each is the
/// flag of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
    /// What holds for one server, by its name.
    pub servers: BTreeMap<String, Server>,
    /// Where `serve` listens.
    pub listen: Option<SocketAddr>,
    /// The largest body that `serve` holds, in bytes.
    pub max_body: Option<usize>,
    /// Origins of pages that may call the admin API of `serve`.
    pub cors_origins: Vec<String>,
    /// Rows of the log older than so many days are removed by `serve`.
    pub retention_days: Option<u32>,
    /// What holds for one provider, by its name.
    pub providers: BTreeMap<String, ProviderFile>,
}

/// What holds for one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Whether its hints may loosen what is decided.
    pub trust: Option<Trust>,
    /// Policies for this server instead of the general ones.
    pub policy: Vec<String>,
    /// Where it is: `serve` shows it at `/mcp/{name}`.
    pub url: Option<String>,
    /// What is run instead, with its arguments: a child for each session.
    pub command: Vec<String>,
    /// Variables that the command is given though they hold a credential of the
    /// gate's.
    pub env: Vec<String>,
    /// Headers that the gate puts in, each from `{env: NAME}` or `{file: PATH}`.
    pub headers: BTreeMap<String, Source>,
    /// A bearer token that the gate puts in, from `{env: NAME}` or `{file: PATH}`.
    pub credential: Option<Source>,
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
                return Ok(Self::default());
            }
            Err(error) => return Err(ConfigError::Unreadable { path: path.to_owned(), error }),
        };
        serde_yaml::from_str(&text).map_err(|error| ConfigError::Invalid {
            path: path.to_owned(),
            error: error.to_string(),
        })
    }
}

/// Flags, environment and file laid over each other.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where things live.
    pub home: Home,
    /// Policy files or names, joined in order; empty where none is named.
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
    /// Where the file or the home cannot be had.
    pub fn resolve(flags: &DecideArgs) -> Result<Self, ConfigError> {
        let home = Home::find()?;
        let file = File::load(flags.config.as_deref(), &home)?;
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

    /// Whether `server`'s hints may loosen.
    #[must_use]
    pub fn trust(&self, server: &str, flag: Option<Trust>) -> Trust {
        let own = || self.file.servers.get(server).and_then(|server| server.trust);
        flag.or_else(own).unwrap_or_default()
    }

    /// The database.
    #[must_use]
    pub fn database(&self, flags: &StoreArgs) -> PathBuf {
        let named = flags.db.clone().or_else(|| self.file.db.clone());
        named.unwrap_or_else(|| self.home.database())
    }

    /// The largest message passed on, in bytes.
    #[must_use]
    pub fn max_message(&self, flag: Option<usize>) -> usize {
        flag.or(self.file.max_message).unwrap_or(MAX_MESSAGE)
    }

    /// Where `serve` listens, where somebody says so.
    #[must_use]
    pub fn listen(&self, flag: Option<SocketAddr>) -> Option<SocketAddr> {
        flag.or(self.file.listen)
    }

    /// The largest body that `serve` holds, in bytes.
    #[must_use]
    pub fn max_body(&self, flag: Option<usize>) -> usize {
        flag.or(self.file.max_body).unwrap_or(Limits::default().max_body)
    }

    /// Origins of pages that may call the admin API; none unless somebody says so.
    #[must_use]
    pub fn cors_origins(&self, flags: &[String]) -> Vec<String> {
        if flags.is_empty() { self.file.cors_origins.clone() } else { flags.to_vec() }
    }

    /// After how many days rows are removed; `None` for never.
    #[must_use]
    pub fn retention_days(&self, flag: Option<u32>) -> Option<u32> {
        flag.or(self.file.retention_days).filter(|days| *days > 0)
    }

    /// The MCP servers that `serve` shows, by name: those with a URL or a command.
    pub fn hosted(&self) -> impl Iterator<Item = (&str, &Server)> {
        let named = self.file.servers.iter().map(|(name, server)| (name.as_str(), server));
        named.filter(|(_, server)| server.url.is_some() || !server.command.is_empty())
    }

    /// What the file says of the providers.
    #[must_use]
    pub fn providers(&self) -> &BTreeMap<String, ProviderFile> {
        &self.file.providers
    }

    /// Whether both come from a file that says the same.
    #[must_use]
    pub fn same_file(&self, other: &Self) -> bool {
        self.file == other.file
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<File, ConfigError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).expect("written");
        let home = Home { config: folder.path().to_owned(), data: folder.path().to_owned() };
        File::load(None, &home)
    }

    #[test]
    fn a_missing_or_empty_file_says_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home { config: folder.path().to_owned(), data: folder.path().to_owned() };
        assert_eq!(File::load(None, &home).expect("no file"), File::default());
        assert_eq!(load("").expect("empty"), File::default());
        assert_eq!(load("# nothing yet\n").expect("a comment"), File::default());
    }

    #[test]
    fn a_named_file_must_exist() {
        let home = Home { config: PathBuf::from("/"), data: PathBuf::from("/") };
        let missing = Path::new("/nonexistent/config.yaml");
        assert!(matches!(File::load(Some(missing), &home), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn unknown_and_duplicate_keys_are_errors_with_their_line() {
        let error = load("mode: enforce\npolcy: [x]\n").expect_err("a typo").to_string();
        assert!(error.contains("polcy") && error.contains('2'), "{error}");
        load("mode: enforce\nmode: observe\n").expect_err("twice");
        load("mode: sometimes\n").expect_err("no such mode");
    }

    #[test]
    fn every_key_is_read() {
        let file = load(
            "policy: [default]\npolicy_dir: /p\nagent: ci\nmode: observe\ndb: /d\n\
             max_message: 1000\naudit_failure: allow\naudit_sync: full\n\
             cors_origins: ['https://console.example']\nretention_days: 30\n\
             servers:\n  git: {trust: none, policy: [git]}\n",
        )
        .expect("valid");
        assert_eq!(file.mode, Some(Mode::Observe));
        assert_eq!((file.cors_origins.len(), file.retention_days), (1, Some(30)));
        assert_eq!(file.audit_sync, Some(AuditSync::Full));
        let git = file.servers.get("git").expect("git");
        assert_eq!((git.trust, git.policy.len()), (Some(Trust::None), 1));
    }
}
