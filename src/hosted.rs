//! MCP servers that `serve` exposes at `/mcp/{name}`: configured, or registered at run time.

pub(crate) mod api;
mod registration;
mod revocation;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use http::HeaderMap;

use crate::action::Transport;
use crate::gate::Gate;
use crate::gate::refusals::Refusals;
use crate::mcp::bridge::Bridging;
use crate::mcp::http::secrets::Secrets;
use crate::net::client::Client;
use crate::net::memory::MemoryBudget;
use crate::policy::catalog::PolicyCatalog;
use crate::policy::live::Policies;
use crate::policy::{Mode, ToolHints, write_policy};
use crate::store::directory::Directory;

pub use api::router;
pub use registration::{Annotations, Registration, RegistrationError, Tool};
use registration::{is_name, policy_of};
use server::{Origin, Server};

/// Maximum number of servers.
pub const MAX_SERVERS: usize = 1_000;

/// A server of the configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct Configured {
    /// Its name in the path.
    pub name: String,
    /// Its URL or command.
    pub endpoint: Endpoint,
    /// Headers added to requests, replacing the client's; values are marked sensitive.
    pub headers: HeaderMap,
    /// Whether plain HTTP to other machines is allowed.
    pub allow_http: bool,
    /// Policies for agents without one of their own.
    pub policies: Option<OwnPolicies>,
    /// Whether its hints may loosen decisions.
    pub trusted: bool,
    /// Whether denied tools are removed from `tools/list`.
    pub hide_denied: bool,
}

/// Location of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// At this URL.
    Url(String),
    /// A command on this machine, run once per session.
    Command {
        /// The command and its arguments.
        command: Vec<String>,
        /// Variables it inherits although they contain a credential of the gate.
        env: Vec<String>,
    },
}

impl Endpoint {
    /// Whether `words`, given as a command or URL, refer to it.
    #[must_use]
    pub fn is_named_by(&self, words: &[OsString]) -> bool {
        let url = |text: &str| text.parse::<url::Url>().ok();
        match (self, words) {
            (Self::Url(own), [word]) => {
                let typed = word.to_str().and_then(url);
                typed.is_some() && typed == url(own)
            }
            (Self::Url(_), _) => false,
            (Self::Command { command, .. }, words) => {
                words.iter().map(OsString::as_os_str).eq(command.iter().map(std::ffi::OsStr::new))
            }
        }
    }
}

/// Policies of one server, and how they were loaded.
#[derive(Debug, Clone)]
pub struct OwnPolicies {
    /// The loaded policies.
    pub policies: Arc<Policies>,
    /// Their files or names.
    pub names: Vec<String>,
    /// Overrides their mode.
    pub mode: Option<Mode>,
    /// Directory to look up names in.
    pub folder: Option<PathBuf>,
}

impl PartialEq for OwnPolicies {
    /// Equal if they were loaded in the same way: changes of the files are followed.
    fn eq(&self, other: &Self) -> bool {
        let Self { policies: _, names, mode, folder } = self;
        (names, mode, folder) == (&other.names, &other.mode, &other.folder)
    }
}

/// Parameters for hosting servers.
#[derive(Debug, Clone)]
pub struct Host {
    /// Decides if neither the agent nor the server has a policy.
    pub gate: Gate,
    /// Policies by name.
    pub catalog: Arc<PolicyCatalog>,
    /// The agents' keys.
    pub directory: Arc<Directory>,
    /// HTTP client for connections to servers.
    pub client: Client,
    /// When to bridge between protocol eras.
    pub bridging: Bridging,
    /// Memory budget for messages.
    pub request_memory: MemoryBudget,
    /// Memory budget for answers.
    pub answer_memory: MemoryBudget,
    /// Maximum length of a message, in bytes.
    pub max_message: usize,
    /// File with the registrations.
    pub file: PathBuf,
    /// Whether plain HTTP to other machines is allowed.
    pub allow_http: bool,
    /// Settings for registered servers, by name.
    pub defaults: Arc<ArcSwap<ServerDefaults>>,
    /// Variables with credentials of the gate, which commands do not inherit.
    pub secrets: Secrets,
}

/// Settings of servers that have none of their own in the configuration.
#[derive(Debug, Clone, Default)]
pub struct ServerDefaults {
    /// Whether denied tools are removed from `tools/list` of all servers.
    pub hide_denied: bool,
    /// Servers whose denied tools are removed in any case.
    pub hiding: BTreeSet<String>,
    /// Servers whose hints may only tighten decisions.
    pub untrusted: BTreeSet<String>,
}

impl ServerDefaults {
    /// For the server called `name`: whether its hints may loosen decisions, and whether denied
    /// tools are hidden.
    fn of(&self, name: &str) -> (bool, bool) {
        (!self.untrusted.contains(name), self.hide_denied || self.hiding.contains(name))
    }
}

/// The hosted servers.
pub struct Hosted {
    host: Host,
    open: ArcSwap<BTreeMap<String, Arc<Server>>>,
    /// Stored registrations that cannot be exposed now, and why.
    unavailable: Mutex<BTreeMap<String, Unavailable>>,
    writing: Mutex<()>,
    is_master: Box<dyn Fn(&HeaderMap) -> bool + Send + Sync>,
    refusals: Refusals,
}

impl std::fmt::Debug for Hosted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hosted").field("host", &self.host).finish_non_exhaustive()
    }
}

/// A stored registration that is not exposed, and why.
#[derive(Debug)]
struct Unavailable {
    registration: Registration,
    why: String,
}

/// Configured servers that are ready to replace the current ones.
pub struct Prepared<'h> {
    hosted: &'h Hosted,
    secrets: Vec<OsString>,
    open: BTreeMap<String, Arc<Server>>,
    _writing: MutexGuard<'h, ()>,
}

impl Prepared<'_> {
    /// Exposes them, and ends those that are no longer exposed. Must be called within a
    /// runtime.
    pub fn apply(self) {
        let before = self.hosted.open.load_full();
        let stays = |(name, server): &(&String, &Arc<Server>)| {
            self.open.get(*name).is_some_and(|now| Arc::ptr_eq(now, server))
        };
        for (_, server) in before.iter().filter(|one| !stays(one)) {
            end(server);
            if let Origin::Registered(displaced) = &server.origin {
                let why = "the configuration has a server of that name";
                self.hosted.mark_unavailable(displaced.clone(), why.to_owned());
            }
        }
        let is_registered = |server: &Arc<Server>| matches!(server.origin, Origin::Registered(_));
        self.hosted.unavailable().retain(|name, _| !self.open.get(name).is_some_and(is_registered));
        self.hosted.host.secrets.replace(self.secrets);
        self.hosted.open.store(Arc::new(self.open));
    }
}

impl Hosted {
    /// Loads the registered servers and those of the configuration. A registered server that
    /// cannot be exposed any more is only reported. `is_master` checks who may register. Must
    /// be called within a runtime.
    ///
    /// # Errors
    /// If the file cannot be read, or a configured server is invalid.
    pub fn open(
        host: Host,
        configured: Vec<Configured>,
        is_master: impl Fn(&HeaderMap) -> bool + Send + Sync + 'static,
    ) -> Result<Arc<Self>, RegistrationError> {
        let registrations = registration::read(&host.file)?;
        let hosted = Arc::new(Self {
            refusals: Refusals::new(
                host.gate.clone(),
                Transport::Http,
                uuid::Uuid::now_v7().to_string().into(),
            ),
            host,
            open: ArcSwap::default(),
            unavailable: Mutex::default(),
            writing: Mutex::default(),
            is_master: Box::new(is_master),
        });
        for registration in registrations {
            let added = hosted.add(
                registration.name.clone(),
                Origin::Registered(registration.clone()),
                || Ok(()),
            );
            if let Err(error) = added {
                hosted.mark_unavailable(registration, error.to_string());
            }
        }
        let secrets = hosted.host.secrets.names();
        hosted.prepare(configured, secrets)?.apply();
        Ok(hosted)
    }

    /// Prepares the servers of the configuration, replacing the earlier ones. Conversations
    /// with unchanged servers go on. Blocks registration until the result is applied or dropped.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// If one of them is invalid.
    pub fn prepare(
        &self,
        configured: Vec<Configured>,
        secrets: Vec<OsString>,
    ) -> Result<Prepared<'_>, RegistrationError> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.open.load_full();
        let mut open = BTreeMap::clone(&before);
        open.retain(|_, server| matches!(server.origin, Origin::Registered(_)));
        let mut wrong = Vec::new();
        for one in configured {
            let name = one.name.clone();
            let same = before.get(&name).filter(
                |before| matches!(&before.origin, Origin::Configured(before) if *before == one),
            );
            let server = match same {
                Some(server) => Ok(Arc::clone(server)),
                None => self.server(&name, Origin::Configured(one)),
            };
            match server {
                Ok(server) => drop(open.insert(name, server)),
                Err(error) => wrong.push((name, error)),
            }
        }
        if !wrong.is_empty() {
            return Err(RegistrationError::Servers(wrong));
        }
        if open.len() > MAX_SERVERS {
            return Err(RegistrationError::TooMany);
        }
        for (name, unavailable) in self.unavailable().iter() {
            // The server that had its name may be gone.
            if open.len() < MAX_SERVERS
                && !open.contains_key(name)
                && let Ok(server) =
                    self.server(name, Origin::Registered(unavailable.registration.clone()))
            {
                open.insert(name.clone(), server);
            }
        }
        Ok(Prepared { hosted: self, secrets, open, _writing: writing })
    }

    /// Registers a server, replacing an earlier registration of the same name. Returns its name
    /// and that of the policy made from its hints. Must be called within a runtime.
    ///
    /// # Errors
    /// See [`RegistrationError`]; nothing has changed then, except for
    /// [`RegistrationError::NotPersisted`].
    pub fn register(
        &self,
        mut registration: Registration,
    ) -> Result<(String, Option<String>), RegistrationError> {
        if registration.name.is_empty() {
            registration.name.clone_from(&registration.url);
        }
        let name = registration.name.clone();
        let origin = Origin::Registered(registration.clone());
        // The policy must be in force before the server is exposed, and only if it can be.
        let policy = self.add(name.clone(), origin, || self.put_policy(&registration))?;
        self.persist()?;
        Ok((name, policy))
    }

    /// Replaces the settings of registered servers. Conversations affected by the change end.
    /// Must be called within a runtime.
    pub fn set_defaults(&self, defaults: ServerDefaults) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Arc::new(defaults);
        let before = self.host.defaults.swap(Arc::clone(&now));
        let mut open = BTreeMap::clone(&self.open.load());
        for (name, server) in &mut open {
            if let Origin::Registered(registration) = &server.origin
                && before.of(name) != now.of(name)
                && let Ok(replacement) = self.server(name, Origin::Registered(registration.clone()))
            {
                end(&std::mem::replace(server, replacement));
            }
        }
        self.open.store(Arc::new(open));
    }

    /// Aborts requests in flight, responding with an error.
    pub fn abort_all(&self) {
        self.open.load().values().for_each(|server| server.backend.abort_all());
    }

    /// Ends all conversations and children.
    pub async fn close(&self) {
        let open = self.open.load_full();
        let all = open.values().map(|server| server.backend.close());
        futures_util::future::join_all(all).await;
        self.refusals.close().await;
    }

    fn put_policy(&self, registration: &Registration) -> Result<Option<String>, RegistrationError> {
        if registration.tools.is_empty() {
            return Ok(None);
        }
        let hints: Vec<ToolHints> = registration.tools.iter().map(Tool::hints).collect();
        let name = policy_of(&registration.name);
        let made = self.host.catalog.put(&name, &write_policy(&registration.name, &hints));
        made.map_err(RegistrationError::Policy)?;
        Ok(Some(name))
    }

    fn add<T>(
        &self,
        name: String,
        origin: Origin,
        before: impl FnOnce() -> Result<T, RegistrationError>,
    ) -> Result<T, RegistrationError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = BTreeMap::clone(&self.open.load());
        if open.len() >= MAX_SERVERS && !open.contains_key(&name) {
            return Err(RegistrationError::TooMany);
        }
        if open.get(&name).is_some_and(|there| matches!(there.origin, Origin::Configured(_))) {
            return Err(RegistrationError::Configured(name));
        }
        let server = self.server(&name, origin)?;
        let done = before()?;
        self.unavailable().remove(&name);
        if let Some(replaced) = open.insert(name, server) {
            end(&replaced);
        }
        self.open.store(Arc::new(open));
        Ok(done)
    }

    fn server(&self, name: &str, origin: Origin) -> Result<Arc<Server>, RegistrationError> {
        let url = match &origin {
            Origin::Registered(registration) => Some(registration.url.as_str()),
            Origin::Configured(Configured { endpoint: Endpoint::Url(url), .. }) => Some(&**url),
            Origin::Configured(_) => None,
        };
        if !is_name(name, url) {
            return Err(RegistrationError::Name(name.to_owned()));
        }
        let server = Arc::new(Server::new(&self.host, name, origin)?);
        server.reap();
        Ok(server)
    }

    fn mark_unavailable(&self, registration: Registration, why: String) {
        let name = registration.name.clone();
        tracing::warn!(
            "the registered MCP server `{name}` is not shown: {why}; register it anew, or remove \
             it with DELETE /mcp/servers/{name}"
        );
        self.unavailable().insert(name, Unavailable { registration, why });
    }

    fn unavailable(&self) -> MutexGuard<'_, BTreeMap<String, Unavailable>> {
        self.unavailable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a registered server; `false` if there is none.
    fn remove(&self, name: &str) -> Result<bool, RegistrationError> {
        let was_unavailable = self.unavailable().remove(name).is_some();
        if !was_unavailable {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut open = BTreeMap::clone(&self.open.load());
            let is_registered =
                |server: &Arc<Server>| matches!(server.origin, Origin::Registered(_));
            if !open.get(name).is_some_and(is_registered) {
                return Ok(false);
            }
            open.remove(name).iter().for_each(end);
            self.open.store(Arc::new(open));
        }
        self.persist()?;
        Ok(true)
    }

    fn persist(&self) -> Result<(), RegistrationError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.open.load();
        let exposed = open.values().filter_map(|server| match &server.origin {
            Origin::Registered(registration) => Some(registration),
            Origin::Configured(_) => None,
        });
        let unavailable = self.unavailable();
        let registrations: Vec<_> = exposed
            .chain(unavailable.values().map(|unavailable| &unavailable.registration))
            .collect();
        registration::write(&self.host.file, &registrations)
    }
}

/// Ends the conversations with a server that is no longer exposed.
fn end(server: &Arc<Server>) {
    let server = Arc::clone(server);
    tokio::spawn(async move { server.backend.close().await });
}
