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

/// Servers at once.
pub const MAX_SERVERS: usize = 1_000;

/// A server of the configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct Configured {
    /// Its name in the path.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Sent to it in place of the client's own; values are marked sensitive.
    pub headers: HeaderMap,
    /// Whether plain HTTP to another machine is allowed.
    pub allow_http: bool,
    /// Decide for agents that have no policy of their own.
    pub policies: Option<OwnPolicies>,
    /// Its hints may loosen what is decided.
    pub trusted: bool,
    /// Tools that would be denied are left out of tools/list.
    pub hide_denied: bool,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// At this URL.
    Url(String),
    /// On this machine: a child for each session.
    Command {
        /// What is run, with its arguments.
        command: Vec<String>,
        /// Variables that it is given though they hold a credential of the gate's.
        env: Vec<String>,
    },
}

impl Endpoint {
    /// Whether these words, typed as a command or a URL, lead to it.
    #[must_use]
    pub fn is_typed(&self, words: &[OsString]) -> bool {
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

/// Policies of one server, and what they were loaded by.
#[derive(Debug, Clone)]
pub struct OwnPolicies {
    /// What they say.
    pub policies: Arc<Policies>,
    /// Their files or names.
    pub names: Vec<String>,
    /// The mode over what they say.
    pub mode: Option<Mode>,
    /// Where they are looked up.
    pub folder: Option<PathBuf>,
}

impl PartialEq for OwnPolicies {
    /// Two are the same where they were loaded by the same: the files are followed
    /// as they change.
    fn eq(&self, other: &Self) -> bool {
        let Self { policies: _, names, mode, folder } = self;
        (names, mode, folder) == (&other.names, &other.mode, &other.folder)
    }
}

/// What servers are hosted with.
#[derive(Debug, Clone)]
pub struct Host {
    /// Decides, where the agent and the server have no policy of their own.
    pub gate: Gate,
    /// Policies by name.
    pub catalog: Arc<PolicyCatalog>,
    /// The agents' keys.
    pub directory: Arc<Directory>,
    /// The connections to the servers.
    pub client: Client,
    /// Whether a client of one era is served in front of a server of the other.
    pub bridging: Bridging,
    /// Where messages are held.
    pub request_memory: MemoryBudget,
    /// Where answers to them are.
    pub answer_memory: MemoryBudget,
    /// The largest message, in bytes.
    pub max_message: usize,
    /// Where registrations are kept.
    pub file: PathBuf,
    /// Plain HTTP to another machine will do.
    pub allow_http: bool,
    /// What the configuration says of servers that are registered, by their names.
    pub defaults: Arc<ArcSwap<ServerDefaults>>,
    /// Variables that hold credentials of the gate's: commands are not given them.
    pub secrets: Secrets,
}

/// How servers are treated that the configuration says little of, or nothing.
#[derive(Debug, Clone, Default)]
pub struct ServerDefaults {
    /// Of every server, tools that would be denied are left out of tools/list.
    pub hide_denied: bool,
    /// Servers of which they are left out in any case.
    pub hiding: BTreeSet<String>,
    /// Servers whose hints only tighten what is decided.
    pub untrusted: BTreeSet<String>,
}

impl ServerDefaults {
    /// Whether the hints of the server of that name are believed, and whether tools are
    /// left out of what it lists.
    fn of(&self, name: &str) -> (bool, bool) {
        (!self.untrusted.contains(name), self.hide_denied || self.hiding.contains(name))
    }
}

/// The servers.
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

/// Servers that are ready to be shown in place of the present ones.
pub struct Prepared<'h> {
    hosted: &'h Hosted,
    secrets: Vec<OsString>,
    open: BTreeMap<String, Arc<Server>>,
    _writing: MutexGuard<'h, ()>,
}

impl Prepared<'_> {
    /// Shows them, and ends what is shown no more. To be called in a runtime.
    pub fn show(self) {
        let before = self.hosted.open.load_full();
        let stays = |(name, server): &(&String, &Arc<Server>)| {
            self.open.get(*name).is_some_and(|now| Arc::ptr_eq(now, server))
        };
        for (_, server) in before.iter().filter(|one| !stays(one)) {
            end(server);
            if let Origin::Kept(displaced) = &server.origin {
                let why = "the configuration has a server of that name";
                self.hosted.mark_unavailable(displaced.clone(), why.to_owned());
            }
        }
        let is_kept = |server: &Arc<Server>| matches!(server.origin, Origin::Kept(_));
        self.hosted.unavailable().retain(|name, _| !self.open.get(name).is_some_and(is_kept));
        self.hosted.host.secrets.replace(self.secrets);
        self.hosted.open.store(Arc::new(self.open));
    }
}

impl Hosted {
    /// The servers that were kept, and those of the configuration. One that was kept
    /// and cannot be shown any more holds nobody up: it is told of. `is_master` says
    /// who may register. To be called in a runtime.
    ///
    /// # Errors
    /// If the file cannot be read, or a configured server cannot be used.
    pub fn open(
        host: Host,
        configured: Vec<Configured>,
        is_master: impl Fn(&HeaderMap) -> bool + Send + Sync + 'static,
    ) -> Result<Arc<Self>, RegistrationError> {
        let kept = registration::read(&host.file)?;
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
        for kept in kept {
            let added = hosted.add(kept.name.clone(), Origin::Kept(kept.clone()), || Ok(()));
            if let Err(error) = added {
                hosted.mark_unavailable(kept, error.to_string());
            }
        }
        let secrets = hosted.host.secrets.names();
        hosted.prepare(configured, secrets)?.show();
        Ok(hosted)
    }

    /// Makes these servers of the configuration ready to be shown, and no others.
    /// Conversations with those that did not change will go on. Until it is shown
    /// or dropped, nobody else registers. To be called in a runtime.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub fn prepare(
        &self,
        configured: Vec<Configured>,
        secrets: Vec<OsString>,
    ) -> Result<Prepared<'_>, RegistrationError> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.open.load_full();
        let mut open = BTreeMap::clone(&before);
        open.retain(|_, server| matches!(server.origin, Origin::Kept(_)));
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
                    self.server(name, Origin::Kept(unavailable.registration.clone()))
            {
                open.insert(name.clone(), server);
            }
        }
        Ok(Prepared { hosted: self, secrets, open, _writing: writing })
    }

    /// Registers a server, in place of one of the same name that was registered
    /// before; gives its name and that of the policy made from its hints. To be
    /// called in a runtime.
    ///
    /// # Errors
    /// See [`RegistrationError`]; nothing has changed then, unless it cannot be kept.
    pub fn register(
        &self,
        mut registration: Registration,
    ) -> Result<(String, Option<String>), RegistrationError> {
        if registration.name.is_empty() {
            registration.name.clone_from(&registration.url);
        }
        let name = registration.name.clone();
        let origin = Origin::Kept(registration.clone());
        // Its policy is in force before it is shown, and only where it can be shown.
        let policy = self.add(name.clone(), origin, || self.put_policy(&registration))?;
        self.persist()?;
        Ok((name, policy))
    }

    /// Treats registered servers in this way. Conversations with those that were treated
    /// otherwise end. To be called in a runtime.
    pub fn set_defaults(&self, defaults: ServerDefaults) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Arc::new(defaults);
        let before = self.host.defaults.swap(Arc::clone(&now));
        let mut open = BTreeMap::clone(&self.open.load());
        for (name, server) in &mut open {
            if let Origin::Kept(kept) = &server.origin
                && before.of(name) != now.of(name)
                && let Ok(anew) = self.server(name, Origin::Kept(kept.clone()))
            {
                end(&std::mem::replace(server, anew));
            }
        }
        self.open.store(Arc::new(open));
    }

    /// Breaks off what is under way: whoever waits for an answer is told so.
    pub fn give_up(&self) {
        self.open.load().values().for_each(|server| server.backend.give_up());
    }

    /// Ends every conversation, and every child.
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
            Origin::Kept(registration) => Some(registration.url.as_str()),
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

    /// Removes a server that was registered; `false` if there is none.
    fn remove(&self, name: &str) -> Result<bool, RegistrationError> {
        let was_barred = self.unavailable().remove(name).is_some();
        if !was_barred {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut open = BTreeMap::clone(&self.open.load());
            let is_kept = |server: &Arc<Server>| matches!(server.origin, Origin::Kept(_));
            if !open.get(name).is_some_and(is_kept) {
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
        let shown = open.values().filter_map(|server| match &server.origin {
            Origin::Kept(registration) => Some(registration),
            Origin::Configured(_) => None,
        });
        let unavailable = self.unavailable();
        let kept: Vec<_> = shown
            .chain(unavailable.values().map(|unavailable| &unavailable.registration))
            .collect();
        registration::write(&self.host.file, &kept)
    }
}

/// Ends the conversations with a server that is not shown any more.
fn end(server: &Arc<Server>) {
    let server = Arc::clone(server);
    tokio::spawn(async move { server.backend.close().await });
}
