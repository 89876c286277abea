//! One server: how it is reached, and which policy decides for whom.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Uri};

use super::api::ServerView;
use super::registration::{Registration, policy_of, usable};
use super::{Configured, Endpoint, Host, RegistrationError};
use crate::action::{Agent, Transport};
use crate::gate::Gate;
use crate::mcp::http::children::{Children, Limits};
use crate::mcp::http::front::{Backend, Incoming};
use crate::mcp::http::pools::Pools;
use crate::mcp::http::remote::{Remote, Target};
use crate::mcp::relay::{self, Relay};
use crate::mcp::tools::FirstSeen;
use crate::policy::live::Policies;

/// Limits of each server's children: in all, per agent, and the idle timeout.
const MAX_CHILDREN: usize = 64;
const MAX_CHILDREN_EACH: usize = MAX_CHILDREN / 2;
const IDLE: Duration = Duration::from_secs(30 * 60);

/// Origin of a server.
pub(super) enum Origin {
    /// Registered at run time, and stored.
    Registered(Registration),
    /// In the configuration file.
    Configured(Configured),
}

/// A server that is exposed.
pub(super) struct Server {
    pub(super) origin: Origin,
    pub(super) backend: Backend,
}

impl Server {
    pub(super) fn new(host: &Host, name: &str, origin: Origin) -> Result<Self, RegistrationError> {
        let begin = begin(host, name, &origin);
        let backend = match &origin {
            Origin::Registered(Registration { url, .. }) => {
                let uri = usable(url, host.allow_http)?;
                Backend::Remote(remote(host, uri, HeaderMap::new(), begin))
            }
            Origin::Configured(Configured { endpoint, headers, allow_http, .. }) => {
                match endpoint {
                    Endpoint::Url(url) => {
                        let uri = usable(url, *allow_http || host.allow_http)?;
                        Backend::Remote(remote(host, uri, headers.clone(), begin))
                    }
                    Endpoint::Command { command, env } => {
                        Backend::Command(children(host, command, env, begin))
                    }
                }
            }
        };
        Ok(Self { origin, backend })
    }

    /// Starts ending idle children. Must be called within a runtime.
    pub(super) fn reap(&self) {
        if let Backend::Command(pools) = &self.backend {
            tokio::spawn(Pools::reap(Arc::downgrade(pools)));
        }
    }

    /// Its public description, without headers and variables.
    pub(super) fn view(&self, name: &str) -> ServerView {
        let (url, command, tools) = match &self.origin {
            Origin::Registered(kept) => (Some(kept.url.clone()), None, kept.tools.clone()),
            Origin::Configured(Configured { endpoint, .. }) => match endpoint {
                Endpoint::Url(url) => (Some(url.clone()), None, Vec::new()),
                Endpoint::Command { command, .. } => (None, command.first().cloned(), Vec::new()),
            },
        };
        ServerView { name: name.to_owned(), url, command, tools, problem: None }
    }
}

/// The policy for agents without one of their own.
enum PolicySource {
    /// Those configured for this server.
    Policies(Arc<Policies>),
    /// The one with this name, made from the hints.
    FromHints(String),
    /// The gate's own.
    Gate,
}

impl PolicySource {
    fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Registered(Registration { name, tools, .. }) if !tools.is_empty() => {
                Self::FromHints(policy_of(name))
            }
            Origin::Configured(Configured { policies: Some(own), .. }) => {
                Self::Policies(Arc::clone(&own.policies))
            }
            _ => Self::Gate,
        }
    }

    /// The gate that decides for an agent.
    fn gate(&self, host: &Host, agent: &Agent) -> Gate {
        let record = host.directory.named(&agent.name);
        let own = record.as_ref().and_then(|record| record.policy.as_deref());
        host.gate.with_policy(match (own, self) {
            (None, Self::Policies(policies)) => policies.handle(),
            (None, Self::Gate) => return host.gate.clone(),
            (None, Self::FromHints(name)) => host.catalog.handle(name),
            (Some(own), _) => host.catalog.handle(own),
        })
    }
}

fn children(
    host: &Host,
    command: &[String],
    env: &[String],
    begin: impl Fn(&Incoming) -> Relay + Send + Sync + 'static,
) -> Arc<Pools> {
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    let limits = Limits {
        max_message: host.max_message,
        children: MAX_CHILDREN,
        each: MAX_CHILDREN_EACH,
        idle: IDLE,
    };
    let children = Children::without(host.secrets.except(env), &command, limits, begin);
    Pools::new(children, host.bridging)
}

fn remote(
    host: &Host,
    uri: Uri,
    headers: HeaderMap,
    begin: impl Fn(&Incoming) -> Relay + Send + Sync + 'static,
) -> Arc<Remote> {
    let target = Target {
        uri,
        login: None,
        headers,
        keeps_authorization: false,
        adds_param_headers: false,
        plain: true,
        bridging: host.bridging,
        max_message: host.max_message,
    };
    Remote::new(host.client.clone(), target, begin)
}

/// Creates the relays of conversations with one server.
fn begin(
    host: &Host,
    name: &str,
    origin: &Origin,
) -> impl Fn(&Incoming) -> Relay + Send + Sync + 'static {
    let fixed = match origin {
        Origin::Registered(_) => None,
        Origin::Configured(configured) => Some((configured.trusted, configured.hide_denied)),
    };
    let (host, name, policy_source) =
        (host.clone(), Arc::<str>::from(name), PolicySource::of(origin));
    let first_seen = FirstSeen::default();
    move |incoming| {
        let (trusted, hide_denied) = fixed.unwrap_or_else(|| host.defaults.load().of(&name));
        let settings = relay::Settings {
            server: Arc::clone(&name),
            agent: incoming.agent.clone(),
            transport: Transport::Http,
            session: uuid::Uuid::now_v7().to_string().into(),
            trusted,
            first_seen: first_seen.clone(),
            hide_denied,
            max_message: host.max_message,
            answer_memory: Some(host.answer_memory.for_sender(&incoming.principal)),
        };
        Relay::new(policy_source.gate(&host, &incoming.agent), settings)
    }
}
