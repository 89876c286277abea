//! `/mcp/servers` for who may register, `/mcp/{name}` for agents.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Path as Segment, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, delete, get};
use axum::{Json, Router};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::Hosted;
use super::leave::while_it_holds;
use super::registration::Registration;
use crate::action::{Agent, Malformed};
use crate::json::object;
use crate::keys::AGENT_KEY;
use crate::mcp::http::front;
use crate::net::body::hold;
use crate::rest::identify;
use crate::rest::inbound::Fault;
use crate::rest::reply;

/// The largest body of a registration, in bytes.
const MAX_REGISTRATION: usize = 1 << 20;

/// How long it may take in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server of a request whose sender nobody knows: its name is not looked at.
const ANY: &str = "mcp";

/// The servers as a service. A name may be a URL.
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
    let known = identify::by_key(&parts.headers, &hosted.host.directory);
    let Ok(known) = known else {
        let row = hosted.refusals.stranger(ANY, peer.ip(), "no valid agent key").await;
        let detail = "Missing or invalid agent key (header X-Agent-Key)";
        let body = json!({ "error": "unauthorized", "detail": detail });
        return reply::answer(StatusCode::UNAUTHORIZED, body, row.as_deref());
    };
    let record = &known.agent;
    let agent = Agent { name: Arc::clone(&record.name), bound_to: record.provider };
    let Some(server) = hosted.open.load().get(&name).cloned() else {
        let detail = format!("there is no MCP server `{name}`");
        let flawed = Malformed::ambiguous(ANY, parts.method.as_str(), detail);
        return refused(&hosted, agent, flawed, (StatusCode::NOT_FOUND, "unknown_server")).await;
    };
    if let Some(detail) = identify::astray(&parts.headers) {
        let flawed = Malformed::ambiguous(&name, parts.method.as_str(), detail);
        return refused(&hosted, agent, flawed, (StatusCode::BAD_REQUEST, "invalid_header")).await;
    }
    parts.headers.remove(AGENT_KEY);
    // One of the gate's own keys goes no further; any other bearer is the server's.
    if known.in_credentials_place {
        parts.headers.remove(AUTHORIZATION);
    }
    let who = (agent.clone(), Arc::clone(&record.id));
    let held = (&hosted.host.room, hosted.host.max_message);
    match front::read(&mut parts, body, who, held).await {
        Ok(incoming) => {
            let answer = server.backend.answer(incoming).await;
            let directory = Arc::clone(&hosted.host.directory);
            while_it_holds(answer, move || directory.holder_of(&known.key_id).is_some())
        }
        Err(refusal) => {
            let row = hosted.refusals.faulty(agent, refusal.flawed(&name, &parts.method)).await;
            refusal.answer(row.as_deref())
        }
    }
}

/// Records what no server gets to see, and says so.
async fn refused(
    hosted: &Hosted,
    agent: Agent,
    flawed: Malformed,
    (status, error): (StatusCode, &str),
) -> Response {
    let body = json!({ "error": error, "detail": flawed.what });
    let row = hosted.refusals.faulty(agent, flawed).await;
    reply::answer(status, body, row.as_deref())
}

async fn list(State(hosted): State<Arc<Hosted>>, headers: HeaderMap) -> Response {
    if !(hosted.is_master)(&headers) {
        return no_master();
    }
    let open = hosted.open.load();
    let shown: Vec<Value> = open.iter().map(|(name, server)| server.shown(name)).collect();
    Json(json!({ "servers": shown })).into_response()
}

async fn register(State(hosted): State<Arc<Hosted>>, request: Request) -> Response {
    if !(hosted.is_master)(request.headers()) {
        return no_master();
    }
    let body = match hold(request.into_body(), MAX_REGISTRATION, PATIENCE).await {
        Ok(body) => body,
        Err(error) => return reply::faulty(&Fault::Body(error), None),
    };
    let registration = match read(&body) {
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

fn read(body: &[u8]) -> Result<Registration, String> {
    match object::<Registration>(body) {
        Ok(registration) if registration.url.is_empty() => Err("'url' is required".to_owned()),
        read => read.map_err(|error| error.to_string()),
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
    let known = Arc::clone(&hosted);
    let (removed, asked) = (name.clone(), name);
    let removed = tokio::task::spawn_blocking(move || known.remove(&removed)).await;
    match removed {
        Ok(Ok(true)) => Json(json!({ "status": "deleted" })).into_response(),
        Ok(Ok(false)) => {
            let detail = match hosted.open.load().contains_key(&asked) {
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

fn no_master() -> Response {
    let detail = "the header X-Master-Key must bear the master key";
    problem(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    reply::answer(status, json!({ "error": code, "detail": detail }), None)
}
