//! Requests written by hand: the JSON that `explain`, `test`, `intent` and `replay` read,
//! parsed into an [`Action`].
//!
//! MCP: `{"server","tool","args","annotations"?,"agent"?}`, or with `"method"`
//! (`resources/read`, …) in place of `"tool"` and the parameters as `"args"`.
//! REST: `{"provider","method","path","host"?,"query"?,"headers"?,"body"?,"agent"?}`.
//! Either may carry `"time"` (RFC 3339) and `"session"`.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use crate::action::{
    Action, Agent, Body, DeclaredHints, HttpRequest, Listing, Malformed, McpRequest, Provider,
    Target, ToolCall, Transport, destination,
};
use crate::head::{HeadError, check_headers, check_method, check_query};
use crate::json::{self, Json, JsonError, Object};
use crate::path::Path;

/// How to handle keys that requests do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// As an error: in input that a person wrote.
    Refuse,
    /// Ignore them: recordings may contain more than is needed.
    Ignore,
}

/// Why a request is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Invalid JSON.
    #[error("not JSON: {0}")]
    Json(JsonError),
    /// Not an object.
    #[error("a request is a JSON object")]
    NotAnObject,
    /// Neither a tool, an MCP method nor a provider.
    #[error("a request names a `tool` (MCP) or a `provider` (REST)")]
    NoTarget,
    /// Both a tool and a provider.
    #[error("a request is either for a `tool` (MCP) or for a `provider` (REST)")]
    TwoTargets,
    /// A missing key.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A value of the wrong type.
    #[error("`{key}` must be {expected}")]
    Wrong {
        /// The key.
        key: &'static str,
        /// The type or format expected.
        expected: &'static str,
    },
    /// An unknown key.
    #[error("unknown key `{key}`{}", did_you_mean(.key, &KEYS))]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// An unknown hint of a tool.
    #[error("unknown hint `{key}` in `annotations`{}", did_you_mean(.key, &HINTS))]
    UnknownHint {
        /// The hint.
        key: String,
    },
    /// An unknown provider.
    #[error("unknown provider `{name}`{}", did_you_mean(.name, &Provider::ALL.map(Provider::as_str)))]
    UnknownProvider {
        /// The name given.
        name: String,
    },
}

// Not by `#[from]`: that makes it the source, too, and the message would be shown twice.
impl From<JsonError> for RequestError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// All keys of requests.
pub const KEYS: [&str; 14] = [
    "server",
    "tool",
    "args",
    "annotations",
    "agent",
    "provider",
    "method",
    "path",
    "host",
    "query",
    "headers",
    "body",
    "time",
    "session",
];

/// What the annotations of a tool may contain.
const HINTS: [&str; 5] =
    ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint", "title"];

/// Parses a request from JSON text.
///
/// # Errors
/// Any [`RequestError`].
pub fn parse_text(text: &[u8], unknown: UnknownKeys) -> Result<Action, RequestError> {
    parse(&json::parse(text)?, unknown)
}

/// Parses a request copied from API documentation: unknown keys are ignored, and the path may
/// contain placeholders (`/users/{id}`), which no client sends unescaped.
///
/// # Errors
/// Any [`RequestError`].
pub fn parse_documented(text: &[u8]) -> Result<Action, RequestError> {
    let mut request = json::parse(text)?;
    if let Json::Object(request) = &mut request
        && let Some(Json::String(path)) = request.get_mut("path")
    {
        *path = path.replace('{', "%7B").replace('}', "%7D");
    }
    parse(&request, UnknownKeys::Ignore)
}

/// Parses a request. Its time defaults to now.
///
/// # Errors
/// Any [`RequestError`].
pub fn parse(request: &Json, unknown: UnknownKeys) -> Result<Action, RequestError> {
    let request = request.as_object().ok_or(RequestError::NotAnObject)?;
    if unknown == UnknownKeys::Refuse
        && let Some((key, _)) = request.iter().find(|(key, _)| !KEYS.contains(key))
    {
        return Err(RequestError::UnknownKey { key: key.to_owned() });
    }
    if unknown == UnknownKeys::Refuse
        && let Some(Json::Object(hints)) = request.get("annotations")
        && let Some((key, _)) = hints.iter().find(|(key, _)| !HINTS.contains(key))
    {
        return Err(RequestError::UnknownHint { key: key.to_owned() });
    }
    let (transport, target) = match (request.get("provider"), request.get("tool")) {
        (Some(_), Some(_)) => return Err(RequestError::TwoTargets),
        (Some(_), None) => {
            if unknown == UnknownKeys::Refuse {
                refuse_url(request)?;
            }
            (Transport::Rest, http(request)?)
        }
        (None, Some(_)) => (Transport::Stdio, Target::Tool(tool_call(request)?)),
        (None, None) if request.get("method").is_some() => {
            (Transport::Stdio, Target::Method(mcp_request(request)?))
        }
        (None, None) => return Err(RequestError::NoTarget),
    };
    let agent = text(request, "agent")?;
    Ok(Action {
        at: time(request)?,
        agent: agent.map(Agent::named).unwrap_or_default(),
        session: text(request, "session")?.unwrap_or_default().into(),
        transport,
        target,
    })
}

fn tool_call(request: &Object) -> Result<ToolCall, RequestError> {
    Ok(ToolCall {
        server: server(request)?,
        tool: text(request, "tool")?.ok_or(RequestError::Missing("tool"))?.to_owned(),
        args: object(request, "args")?.cloned().unwrap_or_default(),
        annotations: annotations(request)?.map(|declared| declared.filled_in()),
        listing: Listing::Unknown,
    })
}

fn mcp_request(request: &Object) -> Result<McpRequest, RequestError> {
    Ok(McpRequest {
        server: server(request)?,
        method: text(request, "method")?.ok_or(RequestError::Missing("method"))?.to_owned(),
        params: object(request, "args")?.cloned().unwrap_or_default(),
    })
}

fn http(request: &Object) -> Result<Target, RequestError> {
    let provider = text(request, "provider")?.ok_or(RequestError::Missing("provider"))?;
    let provider = Provider::from_name(provider)
        .ok_or_else(|| RequestError::UnknownProvider { name: provider.to_owned() })?;
    let method = text(request, "method")?.ok_or(RequestError::Missing("method"))?;
    let method = method.to_ascii_uppercase();
    let path = text(request, "path")?.ok_or(RequestError::Missing("path"))?;
    // Paths copied from documents often end with white space; in a request they cannot.
    let path = path.trim_ascii_end();
    let (path, in_path) = path.split_once('?').unwrap_or((path, ""));
    let query = query(request, in_path)?;
    let headers: Vec<_> = pairs(request, "headers")?
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let path = match read_head(provider, &method, path, &query, &headers) {
        Ok(path) => path,
        Err(fault) => {
            let malformed = Malformed::ambiguous(provider.as_str(), &method, fault.to_string());
            return Ok(Target::Malformed(malformed));
        }
    };
    let is_file = provider.file_at(path.judged()).is_some();
    let (host, path) = match text(request, "host")? {
        Some(host) => (Some(plain_host(host)), provider.full_form(path.judged()).into_owned()),
        // AWS: paths are written down without the service, so the host cannot be derived.
        None if provider == Provider::Aws => (None, path.judged().to_owned()),
        // As the proxy does it. For files, policies see the host in the path.
        None => {
            let meant = destination(provider, path.judged(), None);
            let path = if is_file { path.judged().into() } else { meant.path };
            (meant.host.map(Cow::into_owned), path.into_owned())
        }
    };
    Ok(Target::Http(HttpRequest {
        provider,
        method,
        path,
        host,
        is_file,
        query: form_pairs(&query),
        headers,
        body: body(request.get("body")),
    }))
}

/// Refuses a whole URL in place of a path, with advice; it would otherwise be a malformed request.
fn refuse_url(request: &Object) -> Result<(), RequestError> {
    let path = text(request, "path")?.unwrap_or_default();
    match path.starts_with("https://") || path.starts_with("http://") {
        true => Err(RequestError::Wrong {
            key: "path",
            expected: "what follows the host, such as `/user`; the host goes into `host`",
        }),
        false => Ok(()),
    }
}

/// The query as it would be sent: the path's, followed by that of the key `query`.
fn query(request: &Object, in_path: &str) -> Result<String, RequestError> {
    let own = match request.get("query") {
        Some(Json::String(text)) => text.clone(),
        _ => {
            let pairs = pairs(request, "query")?;
            form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
        }
    };
    let parts = [in_path, &own].into_iter().filter(|part| !part.is_empty());
    Ok(parts.collect::<Vec<_>>().join("&"))
}

/// Parses the path and makes the checks of the proxy. The leading `/` may be missing.
fn read_head(
    provider: Provider,
    method: &str,
    path: &str,
    query: &str,
    headers: &[(String, String)],
) -> Result<Path, Box<dyn std::error::Error>> {
    if path.contains('#') || query.contains('#') {
        return Err(HeadError::Target.into());
    }
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    check_headers(headers)?;
    let path = match path.starts_with('/') {
        true => Path::parse(provider, path),
        false => Path::parse(provider, &format!("/{path}")),
    };
    let path = path?;
    check_method(method, provider.file_at(path.judged()).is_some())?;
    check_query(query)?;
    Ok(path)
}

/// A host in the proxy's form: in lower case, without the port and the trailing dot.
fn plain_host(host: &str) -> String {
    let name = host.split(':').next().unwrap_or_default();
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// A JSON value is the body; a string is the body as sent, which may itself be JSON.
fn body(value: Option<&Json>) -> Body {
    match value {
        None | Some(Json::Null) => Body::Empty,
        Some(Json::String(sent)) => match json::parse(sent.as_bytes()) {
            Ok(value @ (Json::Object(_) | Json::Array(_))) => Body::Json(value),
            _ => Body::Text(sent.clone()),
        },
        Some(value) => Body::Json(value.clone()),
    }
}

fn server(request: &Object) -> Result<Arc<str>, RequestError> {
    Ok(text(request, "server")?.unwrap_or_default().into())
}

fn annotations(request: &Object) -> Result<Option<DeclaredHints>, RequestError> {
    let Some(object) = object(request, "annotations")? else { return Ok(None) };
    let hint = |key: &str| match object.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Bool(hint)) => Ok(Some(*hint)),
        Some(_) => Err(RequestError::Wrong { key: "annotations", expected: "true or false each" }),
    };
    let declared = DeclaredHints {
        read_only: hint("readOnlyHint")?,
        destructive: hint("destructiveHint")?,
        idempotent: hint("idempotentHint")?,
        open_world: hint("openWorldHint")?,
    };
    Ok(Some(declared).filter(|declared| !declared.is_empty()))
}

fn time(request: &Object) -> Result<Timestamp, RequestError> {
    let Some(time) = text(request, "time")? else { return Ok(Timestamp::now()) };
    time.parse().map_err(|_| RequestError::Wrong {
        key: "time",
        expected: "an RFC 3339 time such as 2026-11-22T09:00:00Z",
    })
}

fn text<'r>(request: &'r Object, key: &'static str) -> Result<Option<&'r str>, RequestError> {
    match request.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(RequestError::Wrong { key, expected: "a string" }),
    }
}

fn object<'r>(request: &'r Object, key: &'static str) -> Result<Option<&'r Object>, RequestError> {
    match request.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Object(object)) => Ok(Some(object)),
        Some(_) => Err(RequestError::Wrong { key, expected: "an object" }),
    }
}

/// Parses `{"name": "value"}`, `{"name": ["one", "two"]}` or `"name=value&…"`.
fn pairs(request: &Object, key: &'static str) -> Result<Vec<(String, String)>, RequestError> {
    let wrong = RequestError::Wrong { key, expected: "an object of strings" };
    let object = match request.get(key) {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::String(text)) => return Ok(form_pairs(text)),
        Some(Json::Object(object)) => object,
        Some(_) => return Err(wrong),
    };
    let mut pairs = Vec::with_capacity(object.len());
    for (name, value) in object.iter() {
        let values = match value {
            Json::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let value = match value {
                Json::String(text) => text.clone(),
                Json::Number(_) | Json::Bool(_) => value.to_string(),
                _ => return Err(wrong),
            };
            pairs.push((name.to_owned(), value));
        }
    }
    Ok(pairs)
}

/// Parses `application/x-www-form-urlencoded` pairs.
fn form_pairs(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn did_you_mean(word: &str, known: &[&str]) -> String {
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(word, known), known));
    match near.min() {
        Some((distance, near)) if distance <= 2 => format!("; did you mean `{near}`?"),
        _ => format!("; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests;
