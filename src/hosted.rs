//! MCP servers that `serve` shows at `/mcp/{name}`: from the configuration, or
//! registered while it runs.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use axum::extract::{Path as Segment, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Agent, DeclaredHints, Transport};
use crate::gate::Gate;
use crate::mcp::bridge::Bridging;
use crate::mcp::http::front;
use crate::mcp::http::remote::{Remote, Target};
use crate::mcp::relay::{self, Relay};
use crate::net::client::Client;
use crate::os::files::private;
use crate::policy::book::Book;
use crate::policy::{ToolHints, write_policy};
use crate::rest::identify::{self, AGENT_KEY};
use crate::rest::reply;
use crate::store::agents::AgentRecord;
use crate::store::directory::Directory;

/// Servers at once.
pub const MAX_SERVERS: usize = 1_000;

/// The largest body of a registration, in bytes.
const MAX_REGISTRATION: usize = 1 << 20;

/// A server as it is registered, and as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its name in the path; its URL where none is given.
    #[serde(default)]
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its tools, where their hints are to make a policy.
    #[serde(default)]
    pub tools: Vec<Tool>,
}

/// A tool of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its hints.
    #[serde(default)]
    pub annotations: Annotations,
}

/// MCP's `ToolAnnotations`, as far as they are hints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Annotations {
    /// Does not change its environment.
    pub read_only_hint: Option<bool>,
    /// May destroy.
    pub destructive_hint: Option<bool>,
    /// Repeating it changes nothing more.
    pub idempotent_hint: Option<bool>,
    /// Reaches beyond a closed world.
    pub open_world_hint: Option<bool>,
}

/// Why a server is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Not a name that can stand in a path.
    #[error("`{0}` is not a name for a server: letters, digits, `.`, `_` and `-`, not `servers`")]
    Name(String),
    /// Not a URL that can be used.
    #[error("`{0}` is not a URL of a server: https, or http on this machine")]
    Url(String),
    /// There are [`MAX_SERVERS`].
    #[error("there are {MAX_SERVERS} servers already")]
    TooMany,
    /// It cannot be kept.
    #[error("it cannot be kept: {0}")]
    Io(#[from] io::Error),
    /// The policy made from the hints cannot be put in force.
    #[error("the policy made from the hints: {0}")]
    Policy(#[from] crate::policy::book::BookError),
}

/// What servers are hosted with.
#[derive(Debug, Clone)]
pub struct Host {
    /// Decides, where the agent and the server have no policy of their own.
    pub gate: Gate,
    /// Policies by name.
    pub book: Arc<Book>,
    /// Who may ask.
    pub directory: Arc<Directory>,
    /// The connections to the servers.
    pub client: Client,
    /// Whether a client of one era is served in front of a server of the other.
    pub bridging: Bridging,
    /// The largest message, in bytes.
    pub max_message: usize,
    /// Where registrations are kept.
    pub file: PathBuf,
}

/// The servers.
pub struct Hosted {
    host: Host,
    open: ArcSwap<BTreeMap<String, Arc<Server>>>,
    writing: Mutex<()>,
    is_master: Box<dyn Fn(&HeaderMap) -> bool + Send + Sync>,
}

struct Server {
    registration: Registration,
    /// Whether it is kept in the file, not in the configuration.
    kept: bool,
    remote: Arc<Remote>,
}

impl std::fmt::Debug for Hosted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hosted").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Hosted {
    /// The servers that were kept, and those of the configuration. `is_master`
    /// says who may register.
    ///
    /// # Errors
    /// Where the file cannot be read, or a configured server cannot be used.
    pub fn open(
        host: Host,
        configured: Vec<Registration>,
        is_master: impl Fn(&HeaderMap) -> bool + Send + Sync + 'static,
    ) -> Result<Arc<Self>, RegistrationError> {
        let kept = read(&host.file)?;
        let hosted = Arc::new(Self {
            host,
            open: ArcSwap::default(),
            writing: Mutex::default(),
            is_master: Box::new(is_master),
        });
        for (registration, kept) in kept
            .into_iter()
            .map(|kept| (kept, true))
            .chain(configured.into_iter().map(|one| (one, false)))
        {
            hosted.add(registration, kept)?;
        }
        Ok(hosted)
    }

    /// Registers a server, in place of one of the same name; gives its name and
    /// that of the policy made from its hints.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub fn register(
        &self,
        mut registration: Registration,
    ) -> Result<(String, Option<String>), RegistrationError> {
        if registration.name.is_empty() {
            let uri: Option<Uri> = registration.url.parse().ok();
            registration.name = uri.as_ref().and_then(Uri::host).unwrap_or_default().to_owned();
        }
        let name = registration.name.clone();
        let policy = self.put_policy(&registration)?;
        self.add(registration, true)?;
        self.keep()?;
        Ok((name, policy))
    }

    fn put_policy(&self, registration: &Registration) -> Result<Option<String>, RegistrationError> {
        if registration.tools.is_empty() {
            return Ok(None);
        }
        let hints: Vec<ToolHints> = registration.tools.iter().map(Tool::hints).collect();
        let name = policy_of(&registration.name);
        self.host.book.put(&name, &write_policy(&registration.name, &hints))?;
        Ok(Some(name))
    }

    fn add(&self, registration: Registration, kept: bool) -> Result<(), RegistrationError> {
        let Registration { name, url, .. } = &registration;
        if !is_name(name) {
            return Err(RegistrationError::Name(name.clone()));
        }
        let uri = usable(url).ok_or_else(|| RegistrationError::Url(url.clone()))?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = BTreeMap::clone(&self.open.load());
        if open.len() >= MAX_SERVERS && !open.contains_key(name) {
            return Err(RegistrationError::TooMany);
        }
        let remote = self.remote(uri, &registration);
        open.insert(name.clone(), Arc::new(Server { registration, kept, remote }));
        self.open.store(Arc::new(open));
        Ok(())
    }

    fn remote(&self, uri: Uri, registration: &Registration) -> Arc<Remote> {
        let target = Target {
            uri,
            login: None,
            headers: HeaderMap::new(),
            keeps_authorization: false,
            fills_in: false,
            bridging: self.host.bridging,
            max_message: self.host.max_message,
        };
        let (host, name) = (self.host.clone(), Arc::<str>::from(registration.name.as_str()));
        let own = (!registration.tools.is_empty()).then(|| policy_of(&registration.name));
        Remote::new(self.host.client.clone(), target, move |incoming| {
            let gate = host.gate_for(&incoming.agent, own.as_deref());
            let settings = relay::Settings {
                server: Arc::clone(&name),
                agent: incoming.agent.clone(),
                transport: Transport::Http,
                session: uuid::Uuid::now_v7().to_string().into(),
                trusted: true,
                hide_denied: false,
                max_message: host.max_message,
            };
            Relay::new(gate, settings)
        })
    }

    fn remove(&self, name: &str) -> Result<bool, RegistrationError> {
        let removed = {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut open = BTreeMap::clone(&self.open.load());
            let removed = open.remove(name);
            self.open.store(Arc::new(open));
            removed
        };
        removed.inspect(|server| server.remote.close());
        self.keep()?;
        Ok(true)
    }

    /// Writes what is registered so that no reader ever sees half of it.
    fn keep(&self) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.open.load();
        let kept: Vec<&Registration> =
            open.values().filter(|server| server.kept).map(|server| &server.registration).collect();
        let draft = self.host.file.with_extension("new");
        let _ = fs::remove_file(&draft);
        let mut out = private(OpenOptions::new().write(true).create_new(true)).open(&draft)?;
        out.write_all(&serde_json::to_vec_pretty(&kept)?)?;
        out.sync_all()?;
        fs::rename(&draft, &self.host.file)
    }
}

impl Host {
    /// The agent's own policy, else the server's, else the gate's. An agent
    /// whose policy is not there gets nothing.
    fn gate_for(&self, agent: &Agent, own: Option<&str>) -> Gate {
        let record = self.directory.named(&agent.name);
        let name = record.as_ref().and_then(|record| record.policy.as_deref()).or(own);
        let handle = self.book.handle(name).or_else(|| self.book.handle(Some("deny_all")));
        handle.map_or_else(|| self.gate.clone(), |handle| self.gate.under(handle))
    }
}

impl Tool {
    fn hints(&self) -> ToolHints {
        let Annotations { read_only_hint, destructive_hint, idempotent_hint, open_world_hint } =
            self.annotations;
        let declared = DeclaredHints {
            read_only: read_only_hint,
            destructive: destructive_hint,
            idempotent: idempotent_hint,
            open_world: open_world_hint,
        };
        let in_force = (!declared.is_empty()).then(|| declared.filled_in());
        ToolHints { tool: self.name.clone(), declared, in_force }
    }
}

fn policy_of(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    format!("mcp_{}", name.chars().map(plain).collect::<String>())
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=100).contains(&name.len()) && name.bytes().all(fits) && name != "servers"
}

fn usable(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?;
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    (uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && loopback)
        .then_some(uri)
}

fn read(file: &Path) -> io::Result<Vec<Registration>> {
    match fs::read(file) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `/mcp/servers` for who may register, `/mcp/{name}` for agents.
pub fn router(hosted: Arc<Hosted>) -> Router {
    Router::new()
        .route("/mcp/servers", get(list).post(register))
        .route("/mcp/servers/{name}", axum::routing::delete(remove))
        .route("/mcp/{name}", any(answer))
        .with_state(hosted)
}

async fn answer(
    State(hosted): State<Arc<Hosted>>,
    Segment(name): Segment<String>,
    mut request: Request,
) -> Response {
    let known = identify::by_key(request.headers(), &hosted.host.directory);
    let Ok(known) = known else {
        let detail = "Missing or invalid agent key (header X-Agent-Key)";
        return problem(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    };
    let Some(server) = hosted.open.load().get(&name).cloned() else {
        let detail = format!("there is no MCP server `{name}`");
        return problem(StatusCode::NOT_FOUND, "unknown_server", &detail);
    };
    request.headers_mut().remove(AGENT_KEY);
    // One of the gate's own keys goes no further; any other bearer is the server's.
    if known.in_credentials_place {
        request.headers_mut().remove(AUTHORIZATION);
    }
    let AgentRecord { id, name, provider, .. } = &*known.agent;
    let agent = Agent { name: Arc::clone(name), bound_to: *provider };
    let read = front::read(request, agent, Arc::clone(id), hosted.host.max_message).await;
    match read {
        Ok(incoming) => server.remote.answer(incoming).await,
        Err(refused) => *refused,
    }
}

async fn list(State(hosted): State<Arc<Hosted>>, headers: HeaderMap) -> Response {
    if !(hosted.is_master)(&headers) {
        return no_master();
    }
    let open = hosted.open.load();
    let shown =
        open.values().map(|server| serde_json::to_value(&server.registration).unwrap_or_default());
    Json(json!({ "servers": shown.collect::<Vec<Value>>() })).into_response()
}

async fn register(State(hosted): State<Arc<Hosted>>, request: Request) -> Response {
    if !(hosted.is_master)(request.headers()) {
        return no_master();
    }
    let body = axum::body::to_bytes(request.into_body(), MAX_REGISTRATION).await;
    let registration = body.map_err(|error| error.to_string()).and_then(|body| {
        serde_json::from_slice::<Registration>(&body).map_err(|error| error.to_string())
    });
    let registration = match registration {
        Ok(registration) => registration,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "invalid_body", &error),
    };
    let (url, tools) = (registration.url.clone(), registration.tools.len());
    let registered = tokio::task::spawn_blocking(move || hosted.register(registration)).await;
    match registered {
        Ok(Ok((name, policy))) => Json(json!({
            "status": "registered", "name": name, "url": url,
            "tools_registered": tools, "auto_policy": policy,
        }))
        .into_response(),
        Ok(Err(error)) => problem(StatusCode::BAD_REQUEST, "not_registered", &error.to_string()),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call failed"),
    }
}

async fn remove(
    State(hosted): State<Arc<Hosted>>,
    Segment(name): Segment<String>,
    headers: HeaderMap,
) -> Response {
    if !(hosted.is_master)(&headers) {
        return no_master();
    }
    if !hosted.open.load().contains_key(&name) {
        return problem(StatusCode::NOT_FOUND, "unknown_server", "there is no such server");
    }
    let removed = tokio::task::spawn_blocking(move || hosted.remove(&name)).await;
    match removed {
        Ok(Ok(_)) => Json(json!({ "status": "deleted" })).into_response(),
        Ok(Err(error)) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "not_kept", &error.to_string())
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call failed"),
    }
}

fn no_master() -> Response {
    let detail = "the header X-Master-Key must bear the master key";
    problem(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    reply::answer(status, json!({ "error": code, "detail": detail }), None)
}
