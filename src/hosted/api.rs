//! `/mcp/servers` for registration, `/mcp/{name}` for agents.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Path as Segment, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, delete, get};
use axum::{Json, Router};
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::registration::{Registration, RegistrationError, Tool};
use super::revocation::until_revoked;
use super::{Hosted, Unavailable};
use crate::action::{Agent, Malformed};
use crate::decision_headers;
use crate::json::object;
use crate::keys::AGENT_KEY;
use crate::mcp::codes::INVALID_REQUEST;
use crate::mcp::http::{front, problem};
use crate::net::body::hold;
use crate::policy::catalog::CatalogError;
use crate::rest::identify;
use crate::rest::inbound::InboundError;
use crate::rest::reply::{self, Dialect};

/// Maximum size of a registration, in bytes.
const MAX_REGISTRATION: usize = 1 << 20;

/// Timeout for receiving it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Name used for the server in unauthenticated requests, whose own is not read.
const UNKNOWN_SERVER: &str = "mcp";

/// The servers.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServerList {
    servers: Vec<ServerView>,
}

/// A server: as registered, or as configured (without its headers and variables).
#[derive(Serialize, ToSchema)]
pub(crate) struct ServerView {
    /// Name in the path `/mcp/{name}`.
    pub(super) name: String,
    /// URL; absent for a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// Command; absent for a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<String>,
    pub(super) tools: Vec<Tool>,
    /// Why it is unavailable; absent if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

impl ServerView {
    fn unavailable(unavailable: &Unavailable) -> Self {
        let Registration { name, url, tools } = unavailable.registration.clone();
        Self { name, url: Some(url), command: None, tools, problem: Some(unavailable.why.clone()) }
    }
}

/// Confirmation that a server is registered.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServerRegistered {
    /// `registered`
    status: &'static str,
    name: String,
    url: String,
    tools_registered: usize,
    /// Name of the policy made from the tools' hints; absent if there are none.
    auto_policy: Option<String>,
}

/// Confirmation that a server was removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServerRemoved {
    /// `deleted`
    status: &'static str,
}

/// An error response about servers.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct ServerProblem {
    /// Machine-readable error code.
    error: &'static str,
    /// Human-readable description.
    detail: String,
    /// Null: there is no log row.
    request_id: Option<String>,
}

/// The endpoints of hosted servers, and their registration. A name may be a URL.
pub fn router(hosted: Arc<Hosted>) -> Router {
    Router::new()
        .route("/mcp/servers", get(list).post(register))
        .route("/mcp/servers/{*name}", delete(remove))
        .route("/mcp/{*name}", any(answer))
        .with_state(hosted)
}

async fn answer(
    State(hosted): State<Arc<Hosted>>,
    Segment(name): Segment<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let known = identify::by_key(
        &identify::DEFAULT_CREDENTIAL_HEADERS,
        &parts.headers,
        &hosted.host.directory,
    );
    let form = Form::of(&parts.headers);
    let Ok(known) = known else { return unauthorized(&hosted, peer.ip(), form).await };
    let record = &known.agent;
    let agent = Agent { name: Arc::clone(&record.name), bound_to: record.provider };
    let Some(server) = hosted.open.load().get(&name).cloned() else {
        let detail = why_unknown(&hosted, &name);
        let malformed = Malformed::ambiguous(UNKNOWN_SERVER, parts.method.as_str(), detail);
        let not_found = (StatusCode::NOT_FOUND, "unknown_server");
        return refused(&hosted, agent, malformed, not_found, form).await;
    };
    if let Some(detail) =
        identify::misplaced_key(&identify::DEFAULT_CREDENTIAL_HEADERS, &parts.headers)
    {
        let malformed = Malformed::ambiguous(&name, parts.method.as_str(), detail);
        let misplaced = (StatusCode::BAD_REQUEST, "invalid_header");
        return refused(&hosted, agent, malformed, misplaced, form).await;
    }
    parts.headers.remove(AGENT_KEY);
    // A key of the gate must not be forwarded; any other bearer token is the server's.
    if known.replaces_credential {
        parts.headers.remove(AUTHORIZATION);
    }
    let who = (agent.clone(), Arc::clone(&record.id));
    let held = (&hosted.host.request_memory, hosted.host.max_message);
    match front::read(&mut parts, body, who, held).await {
        Ok(incoming) => {
            let answer = server.backend.answer(incoming).await;
            let answer = decision_headers::deliver(answer, &hosted.host.answer_memory);
            let directory = Arc::clone(&hosted.host.directory);
            until_revoked(answer, move || directory.holder_of(&known.key_id).is_some())
        }
        Err(refusal) => {
            let row = hosted
                .refusals
                .record_malformed(agent, refusal.malformed(&name, &parts.method))
                .await;
            refusal.answer(row.as_deref())
        }
    }
}

/// Records a request without a valid agent key, and refuses it.
async fn unauthorized(hosted: &Hosted, source: IpAddr, form: Form) -> Response {
    let refusals = &hosted.refusals;
    let row = refusals.record_unauthenticated(UNKNOWN_SERVER, source, "no valid agent key").await;
    let detail = "Missing or invalid agent key (header X-Agent-Key)";
    form.refusal((StatusCode::UNAUTHORIZED, "unauthorized"), detail, row.as_deref())
}

fn why_unknown(hosted: &Hosted, name: &str) -> String {
    match hosted.unavailable().get(name) {
        Some(unavailable) => format!("the MCP server `{name}` is not shown: {}", unavailable.why),
        None => format!("there is no MCP server `{name}`"),
    }
}

/// Refuses and records a request.
async fn refused(
    hosted: &Hosted,
    agent: Agent,
    malformed: Malformed,
    problem: (StatusCode, &str),
    form: Form,
) -> Response {
    let detail = malformed.what.clone();
    let row = hosted.refusals.record_malformed(agent, malformed).await;
    form.refusal(problem, &detail, row.as_deref())
}

/// What a refused sender can read.
#[derive(Clone, Copy)]
enum Form {
    /// A JSON-RPC error: it is an MCP client, which shows nothing of any other body.
    JsonRpc,
    /// The gate's own.
    Plain,
}

impl Form {
    /// MCP clients have to accept streams of events; who posts by hand does not.
    fn of(headers: &HeaderMap) -> Self {
        let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|it| it.to_str().ok());
        match accepted.any(|accept| accept.contains("text/event-stream")) {
            true => Self::JsonRpc,
            false => Self::Plain,
        }
    }

    fn refusal(
        self,
        (status, error): (StatusCode, &str),
        detail: &str,
        row: Option<&str>,
    ) -> Response {
        match self {
            Self::JsonRpc => {
                let message = format!("AgentGate: {detail}");
                let mut answer = problem::error(status, None, INVALID_REQUEST, &message);
                problem::set_request_id(&mut answer, row);
                answer
            }
            Self::Plain => {
                let body = json!({ "error": error, "detail": detail });
                reply::answer(Dialect::Plain, status, body, row)
            }
        }
    }
}

/// The MCP servers at `/mcp/{name}`
#[utoipa::path(get, path = "/mcp/servers", tag = "MCP servers",
    responses((status = 200, body = ServerList), (status = 401, body = ServerProblem)),
    security(("master_key" = [])))]
pub(crate) async fn list(State(hosted): State<Arc<Hosted>>, headers: HeaderMap) -> Response {
    if !(hosted.is_master)(&headers) {
        return master_key_required();
    }
    let open = hosted.open.load();
    let mut servers: Vec<_> = open.iter().map(|(name, server)| server.view(name)).collect();
    servers.extend(hosted.unavailable().values().map(ServerView::unavailable));
    Json(ServerList { servers }).into_response()
}

/// Shows an MCP server at `/mcp/{name}`, or changes one
#[utoipa::path(post, path = "/mcp/servers", tag = "MCP servers", request_body = Registration,
    responses((status = 200, body = ServerRegistered), (status = 400, body = ServerProblem),
              (status = 401, body = ServerProblem), (status = 413, body = ServerProblem),
              (status = 500, body = ServerProblem)),
    security(("master_key" = [])))]
pub(crate) async fn register(State(hosted): State<Arc<Hosted>>, request: Request) -> Response {
    if !(hosted.is_master)(request.headers()) {
        return master_key_required();
    }
    let body = match hold(request.into_body(), MAX_REGISTRATION, BODY_TIMEOUT).await {
        Ok(body) => body,
        Err(error) => return reply::malformed(Dialect::Plain, &InboundError::Body(error), None),
    };
    let registration = match read(&body) {
        Ok(registration) => registration,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "invalid_body", &error),
    };
    let (url, tools_registered) = (registration.url.clone(), registration.tools.len());
    let registered = tokio::task::spawn_blocking(move || hosted.register(registration)).await;
    match registered {
        Ok(Ok((name, auto_policy))) => {
            let status = "registered";
            let registered = ServerRegistered { status, name, url, tools_registered, auto_policy };
            Json(registered).into_response()
        }
        Ok(Err(error)) => {
            let (status, code) = match &error {
                RegistrationError::NotPersisted { .. }
                | RegistrationError::Policy(CatalogError::Io(_)) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "not_kept")
                }
                _ => (StatusCode::BAD_REQUEST, "not_registered"),
            };
            problem(status, code, &error.to_string())
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call failed"),
    }
}

fn read(body: &[u8]) -> Result<Registration, String> {
    match object::<Registration>(body) {
        Ok(registration) if registration.url.is_empty() => Err("'url' is required".to_owned()),
        read => read.map_err(|error| error.to_string()),
    }
}

/// Removes a server that was registered
#[utoipa::path(delete, path = "/mcp/servers/{name}", tag = "MCP servers",
    params(("name" = String, Path, description = "its name; a URL as it is, unescaped")),
    responses((status = 200, body = ServerRemoved), (status = 401, body = ServerProblem),
              (status = 404, body = ServerProblem), (status = 500, body = ServerProblem)),
    security(("master_key" = [])))]
pub(crate) async fn remove(
    State(hosted): State<Arc<Hosted>>,
    Segment(name): Segment<String>,
    headers: HeaderMap,
) -> Response {
    if !(hosted.is_master)(&headers) {
        return master_key_required();
    }
    let known = Arc::clone(&hosted);
    let (removed, requested) = (name.clone(), name);
    let removed = tokio::task::spawn_blocking(move || known.remove(&removed)).await;
    match removed {
        Ok(Ok(true)) => Json(ServerRemoved { status: "deleted" }).into_response(),
        Ok(Ok(false)) => {
            let detail = match hosted.open.load().contains_key(&requested) {
                true => "it is one of the configuration file's: remove it there",
                false => "there is no such server",
            };
            problem(StatusCode::NOT_FOUND, "unknown_server", detail)
        }
        Ok(Err(error)) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "not_kept", &error.to_string())
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call failed"),
    }
}

fn master_key_required() -> Response {
    let detail = "the header X-Master-Key must bear the master key";
    problem(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    reply::answer(Dialect::Plain, status, json!({ "error": code, "detail": detail }), None)
}
