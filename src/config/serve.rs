//! The configuration of `serve`: flags over environment over the file.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::read::origin;
use super::{ConfigError, Home, Server, Settings};
use crate::action::Provider;
use crate::cli::{AuditSync, OnAuditFailure, ServeArgs};
use crate::mcp::bridge::Bridging;
use crate::rest::credentials::{Credential, Source};
use crate::rest::hosts::HostOverrides;
use crate::rest::proxy::ProviderConfig;
use crate::rest::route::Upstream;

/// Default of `--listen`.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8100);

/// Default policy of agents without one.
pub const POLICY: &str = "default";

/// Default of `upstream_timeout`.
const DEFAULT_UPSTREAM_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProviderFile {
    /// Base URL replacing the vendor's hosts.
    pub upstream: Option<Upstream>,
    /// Base URLs replacing single hosts of the vendor, or services of Google and AWS. They take
    /// precedence over `upstream`.
    pub hosts: HostOverrides,
    /// Credential added by the gate: `{env: NAME}` or `{file: PATH}`.
    pub credential: Option<Source>,
    /// Address of a listener of its own, without a path prefix.
    pub listen: Option<SocketAddr>,
    /// Public URL of that listener behind a reverse proxy.
    pub public_url: Option<Upstream>,
}

/// The resolved configuration of `serve`.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The general settings.
    pub settings: Settings,
    /// The database.
    pub database: PathBuf,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Public URL behind a reverse proxy.
    pub public_url: Option<Upstream>,
    /// Whether responses are mocked and nothing is sent to providers.
    pub test_mode: bool,
    /// When to bridge between protocol eras.
    pub bridging: Bridging,
    /// Whether registered MCP servers may use plain HTTP on other machines.
    pub allow_http: bool,
    /// Maximum size of a held body, in bytes.
    pub max_body: usize,
    /// Maximum length of an MCP message, in bytes.
    pub max_message: usize,
    /// Timeout for the start of a provider's response.
    pub upstream_timeout: Duration,
    /// How long requests in flight may take after the gate was told to stop.
    pub shutdown_timeout: Duration,
    /// Rows older than this many days are removed; `None`: never.
    pub retention_days: Option<u32>,
    /// Origins of web pages that may call the admin API.
    pub cors_origins: Vec<String>,
    /// What to do with an allowed call that cannot be recorded.
    pub audit_failure: OnAuditFailure,
    /// Durability of a committed row.
    pub audit_sync: AuditSync,
    /// Settings of single providers.
    pub providers: Vec<(Provider, ProviderFile)>,
    /// Settings of single MCP servers, by name.
    pub servers: BTreeMap<String, Server>,
}

/// Keys in which two plans differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that a running gate applies.
    pub live: Vec<String>,
    /// Those that need a restart.
    pub restart: Vec<String>,
}

/// Environment variables of the original product that `serve` still supports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Legacy {
    /// `TEST_MODE`
    pub test_mode: bool,
    /// `POLICY_DIR`
    pub policy_dir: Option<PathBuf>,
    /// `CORS_ORIGINS`
    pub cors_origins: Vec<String>,
}

impl Legacy {
    /// Reads the environment.
    #[must_use]
    pub fn from_env() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let origins = text("CORS_ORIGINS").unwrap_or_default();
        Self {
            test_mode: text("TEST_MODE").is_some_and(is_true),
            policy_dir: text("POLICY_DIR").map(Into::into),
            cors_origins: origins
                .split(',')
                .map(|origin| origin.trim().to_owned())
                .filter(|origin| !origin.is_empty())
                .collect(),
        }
    }
}

impl Plan {
    /// Merges flags over the file over the original product's variables.
    ///
    /// # Errors
    /// If the file cannot be loaded or is invalid.
    pub fn read(args: &ServeArgs, home: Home, legacy: &Legacy) -> Result<Self, ConfigError> {
        let mut settings = Settings::resolve_in(home, &args.decide)?;
        if settings.policies.is_empty() {
            settings.policies = vec![POLICY.to_owned()];
        }
        settings.policy_dir = settings.policy_dir.take().or_else(|| legacy.policy_dir.clone());
        settings.file.hide_denied |= args.hide_denied;
        let file = &settings.file;
        let origins = [&args.cors_origins, &file.cors_origins, &legacy.cors_origins];
        let origins = origins.into_iter().find(|origins| !origins.is_empty());
        let wrong = origins.into_iter().flatten().filter_map(|text| origin(text).err());
        let wrong: Vec<String> = wrong.map(|why| format!("cors origins: {why}")).collect();
        if !wrong.is_empty() {
            return Err(ConfigError::Wrong(wrong.join("\n")));
        }
        Ok(Self {
            database: settings.database(&args.store),
            listen: args.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN),
            public_url: file.public_url.clone(),
            test_mode: args.test_mode || legacy.test_mode,
            bridging: settings.bridge(args.requests.bridge).into(),
            allow_http: args.requests.allow_http || file.allow_http,
            max_body: args
                .requests
                .max_body
                .or(file.max_body)
                .unwrap_or(crate::rest::inbound::Limits::default().max_body),
            max_message: settings.max_message(args.requests.max_message),
            upstream_timeout: args
                .requests
                .upstream_timeout
                .or(file.upstream_timeout)
                .unwrap_or(DEFAULT_UPSTREAM_TIMEOUT),
            shutdown_timeout: settings.shutdown_timeout(args.requests.shutdown_timeout),
            retention_days: args.retention_days.or(file.retention_days).filter(|days| *days > 0),
            cors_origins: origins.cloned().unwrap_or_default(),
            audit_failure: settings.audit_failure(args.audit_failure),
            audit_sync: settings.audit_sync(args.audit_sync),
            providers: file.providers.clone(),
            servers: file.servers.clone(),
            settings,
        })
    }

    /// Upstreams and credentials of all providers.
    #[must_use]
    pub fn provider_configs(&self) -> HashMap<Provider, ProviderConfig> {
        let config = |name, hosts, upstream| match self.test_mode {
            true => ProviderConfig::mocked(name),
            false => ProviderConfig::new(name, hosts, upstream),
        };
        let vendors = Provider::ALL.into_iter();
        let vendors = vendors.map(|name| (name, config(name, HostOverrides::default(), None)));
        let mut configs: HashMap<Provider, ProviderConfig> = vendors.collect();
        for (provider, file) in &self.providers {
            let ProviderFile { upstream, hosts, public_url, credential, .. } = file.clone();
            let credential = credential.map(|source| Credential::new(*provider, source));
            let mut config = config(*provider, hosts, upstream);
            (config.public_url, config.credential) = (public_url, credential);
            configs.insert(*provider, config);
        }
        configs
    }

    /// Configured credentials that cannot be read.
    #[must_use]
    pub fn missing_credentials(&self) -> Vec<String> {
        match self.test_mode {
            true => Vec::new(),
            false => missing_credentials(&self.providers),
        }
    }

    /// Providers with a listener of their own.
    pub fn listeners(&self) -> impl Iterator<Item = (Provider, SocketAddr)> + '_ {
        self.providers.iter().filter_map(|(provider, file)| Some((*provider, file.listen?)))
    }

    fn provider(&self, provider: Provider) -> Option<&ProviderFile> {
        self.providers.iter().find(|(named, _)| *named == provider).map(|(_, file)| file)
    }

    /// Whether the configuration file contains only white space and comments.
    #[must_use]
    pub fn is_of_blank_file(&self) -> bool {
        self.settings.file.is_blank
    }

    /// The keys in which `after` differs.
    #[must_use]
    pub fn changes(&self, after: &Self) -> Changes {
        let mut changes = Changes::default();
        let (old, new) = (&self.settings, &after.settings);
        let live = [
            ("policy", old.policies != new.policies),
            ("policy_dir", old.policy_dir != new.policy_dir),
            ("mode", old.mode != new.mode),
            ("max_body", self.max_body != after.max_body),
            ("upstream_timeout", self.upstream_timeout != after.upstream_timeout),
            ("retention_days", self.retention_days != after.retention_days),
            ("cors_origins", self.cors_origins != after.cors_origins),
            ("servers", self.servers != after.servers),
            ("hide_denied", old.file.hide_denied != new.file.hide_denied),
        ];
        let restart = [
            ("listen", self.listen != after.listen),
            ("public_url", self.public_url != after.public_url),
            ("db", self.database != after.database),
            ("max_message", self.max_message != after.max_message),
            ("shutdown_timeout", self.shutdown_timeout != after.shutdown_timeout),
            ("audit_failure", self.audit_failure != after.audit_failure),
            ("audit_sync", self.audit_sync != after.audit_sync),
            ("bridge", self.bridging != after.bridging),
            ("allow_http", self.allow_http != after.allow_http),
        ];
        let changed = |keys: &[(&str, bool)]| -> Vec<String> {
            keys.iter().filter(|(_, changed)| *changed).map(|(key, _)| (*key).to_owned()).collect()
        };
        (changes.live, changes.restart) = (changed(&live), changed(&restart));
        let none = ProviderFile::default();
        for provider in Provider::ALL {
            let old = self.provider(provider).unwrap_or(&none);
            let new = after.provider(provider).unwrap_or(&none);
            let name = provider.as_str();
            let live = [
                ("upstream", old.upstream != new.upstream),
                ("hosts", old.hosts != new.hosts),
                ("public_url", old.public_url != new.public_url),
                ("credential", old.credential != new.credential),
            ];
            let restart = [("listen", old.listen != new.listen)];
            let full = |key: String| format!("providers.{name}.{key}");
            changes.live.extend(changed(&live).into_iter().map(full));
            changes.restart.extend(changed(&restart).into_iter().map(full));
        }
        changes
    }
}

fn is_true(text: String) -> bool {
    matches!(&*text.to_lowercase(), "1" | "true" | "yes" | "on")
}

/// Credentials of `providers` that cannot be read; never contains their values.
#[must_use]
pub fn missing_credentials(providers: &[(Provider, ProviderFile)]) -> Vec<String> {
    let wrong = |(provider, file): &(Provider, ProviderFile)| {
        let credential = Credential::new(*provider, file.credential.clone()?);
        credential.header().err().map(|error| error.to_string())
    };
    providers.iter().filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::RequestArgs;

    fn plan(folder: &Path, yaml: &str, args: &ServeArgs) -> Plan {
        std::fs::write(folder.join("config.yaml"), yaml).unwrap();
        let home = Home { config: folder.to_owned(), data: folder.to_owned() };
        Plan::read(args, home, &Legacy::default()).unwrap()
    }

    #[test]
    fn the_keys_that_changed_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let requests = RequestArgs { max_body: Some(5), ..RequestArgs::default() };
        let args = ServeArgs { requests, ..ServeArgs::default() };
        let before = plan(folder.path(), "listen: 127.0.0.1:1\nmax_body: 1MiB\n", &args);
        let after = plan(
            folder.path(),
            "listen: 127.0.0.1:2\nmax_body: 2MiB\nretention_days: 3\nmode: observe\n\
             providers: {jira: {upstream: 'https://x.atlassian.net', listen: '127.0.0.1:3'}}\n",
            &args,
        );
        let Changes { live, restart } = before.changes(&after);
        // A flag holds whatever the file says.
        assert_eq!(live, ["mode", "retention_days", "providers.jira.upstream"]);
        assert_eq!(restart, ["listen", "providers.jira.listen"]);
        assert_eq!(before.changes(&before), Changes::default());
        assert_eq!(after.listeners().count(), 1);
        let configs = after.provider_configs();
        assert_eq!(configs.len(), Provider::ALL.len());
        assert!(configs[&Provider::Jira].upstream.is_some());
        assert!(configs[&Provider::Slack].upstream.is_none());
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_old_variables() {
        let folder = tempfile::tempdir().unwrap();
        let legacy = Legacy {
            test_mode: true,
            policy_dir: Some("/old".into()),
            cors_origins: vec!["http://old.example".to_owned()],
        };
        let home = || Home { config: folder.path().to_owned(), data: folder.path().to_owned() };
        let read = |args: &ServeArgs| Plan::read(args, home(), &legacy);
        let old = read(&ServeArgs::default()).unwrap();
        assert!(old.test_mode);
        assert_eq!(old.settings.policy_dir.as_deref(), Some(Path::new("/old")));
        assert_eq!(old.cors_origins, ["http://old.example"]);
        std::fs::write(folder.path().join("config.yaml"), "policy_dir: mine\n").unwrap();
        let own = read(&ServeArgs::default()).unwrap();
        assert_eq!(own.settings.policy_dir, Some(folder.path().join("mine")));
        assert!(!own.allow_http && !own.settings.hide_denied("git", false));
        let requests = RequestArgs { allow_http: true, ..RequestArgs::default() };
        let flags = ServeArgs { requests, hide_denied: true, ..ServeArgs::default() };
        let flagged = read(&flags).unwrap();
        assert!(flagged.allow_http && flagged.settings.hide_denied("git", false));
        let wrong = ServeArgs { cors_origins: vec!["*".to_owned()], ..ServeArgs::default() };
        assert!(read(&wrong).unwrap_err().to_string().contains("not an origin"));
    }
}
