//! A server behind a URL, with HTTP on both sides: what was judged is forwarded
//! as it came, and what comes back passes as it came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::front::Incoming;
use super::link::{Link, Principal};
use super::problem::{self, HEADER_MISMATCH, UPSTREAM};
use super::sessions::{NotYours, Sessions};
use super::sse::Parser;
use super::stream::{self, Ends};
use super::{SESSION, agree};
use crate::mcp::bridge::Bridging;
use crate::mcp::relay::Relay;
use crate::mcp::relay::exchange::{Ask, Outgoing, Posted};
use crate::mcp::scan::outline;
use crate::net::Body;
use crate::net::body::hold;
use crate::net::client::Client;
use crate::oauth::{self, Challenge};

/// How long the server may take to begin its answer: a call may take minutes.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// How long the gate waits for the answer to what it asks itself.
const OWN_PATIENCE: Duration = Duration::from_secs(10);

/// Headers that hold for one connection, or name who is spoken to.
const OURS: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-agent-key",
];

/// A remote server, and the conversations with it.
pub struct Remote {
    /// The server's; another one where it says so (HTTP+SSE).
    uri: ArcSwap<Uri>,
    link: Arc<Link>,
    /// The login, where the server may ask for one.
    login: Option<oauth::Session>,
    /// Sent in place of the client's own of the same name.
    headers: HeaderMap,
    /// The client's `Authorization` is the gate's own and goes no further.
    keeps_authorization: bool,
    max_message: usize,
    sessions: Sessions,
    begin: Box<dyn Fn(&Incoming) -> Relay + Send + Sync>,
    exchanges: AtomicU64,
    /// The client's transport has no headers.
    fills_in: bool,
    /// One conversation for all: the stream of HTTP+SSE carries every answer.
    is_sse: AtomicBool,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remote").field("uri", &self.uri.load()).finish_non_exhaustive()
    }
}

/// Where a server is and how to speak to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its URL.
    pub uri: Uri,
    /// The login, where the server may ask for one.
    pub login: Option<oauth::Session>,
    /// Headers of the gate's own; their values are marked sensitive.
    pub headers: HeaderMap,
    /// The client's `Authorization` goes no further.
    pub keeps_authorization: bool,
    /// The client's transport has no headers: those that arguments need are made
    /// from the message.
    pub fills_in: bool,
    /// Whether a client of one era is served in front of a server of the other.
    pub bridging: Bridging,
    /// The largest message, in bytes.
    pub max_message: usize,
}

impl Remote {
    /// A remote server; `begin` makes the relay of a new conversation.
    #[must_use]
    pub fn new(
        client: Client,
        target: Target,
        begin: impl Fn(&Incoming) -> Relay + Send + Sync + 'static,
    ) -> Arc<Self> {
        let Target { uri, login, headers, keeps_authorization, fills_in, bridging, max_message } =
            target;
        Arc::new(Self {
            uri: ArcSwap::from_pointee(uri),
            link: Link::new(client, bridging, max_message),
            login,
            headers,
            keeps_authorization,
            fills_in,
            max_message,
            sessions: Sessions::default(),
            begin: Box::new(begin),
            exchanges: AtomicU64::new(1),
            is_sse: AtomicBool::new(false),
        })
    }

    /// Answers one request.
    pub async fn answer(self: &Arc<Self>, incoming: Incoming) -> Response<Body> {
        if incoming.method == Method::POST {
            // In a task of its own: a client that goes away before 2026 has not
            // cancelled what it asked, and its result is still recorded.
            let cancels = agree::is_stateless(&incoming.headers);
            let remote = Arc::clone(self);
            if cancels {
                return remote.post(incoming).await;
            }
            let answered = tokio::spawn(async move { remote.post(incoming).await });
            return answered.await.unwrap_or_else(|error| {
                tracing::error!(%error, "an exchange failed");
                problem::empty(StatusCode::INTERNAL_SERVER_ERROR)
            });
        }
        self.bare(incoming).await
    }

    /// Ends every conversation.
    pub fn close(&self) {
        self.sessions.close_all();
        self.link.close();
    }

    fn conversation(&self, incoming: &Incoming) -> Result<(Arc<Relay>, bool), NotYours> {
        let session = incoming.headers.get(SESSION).and_then(|id| id.to_str().ok());
        let begin = || {
            let relay = (self.begin)(incoming);
            if session.is_some() {
                relay.presume_handshake();
            }
            Arc::new(relay)
        };
        let asks = memchr::memmem::find(&incoming.body, b"\"initialize\"").is_some();
        let one_for_all = self.is_sse.load(Ordering::Relaxed);
        if session.is_none() && asks && !one_for_all && !agree::is_stateless(&incoming.headers) {
            return Ok((begin(), true));
        }
        Ok((self.sessions.find(&incoming.principal, session, begin)?, false))
    }

    async fn post(self: Arc<Self>, incoming: Incoming) -> Response<Body> {
        let id = outline(&incoming.body).id;
        let Ok((conversation, is_new)) = self.conversation(&incoming) else {
            return unknown_session(id.as_deref());
        };
        let declared = |tool: &str| match self.fills_in {
            true => Arc::default(),
            false => conversation.param_headers(tool),
        };
        if let Err(mismatch) = agree::check(&incoming.headers, &incoming.body, declared) {
            conversation.note_malformed(&mismatch.to_string()).await;
            let words = mismatch.to_string();
            return problem::error(StatusCode::BAD_REQUEST, id.as_deref(), HEADER_MISMATCH, &words);
        }
        let mut incoming = incoming;
        let stateless = agree::is_stateless(&incoming.headers);
        let scope = format!("x{}", self.exchanges.fetch_add(1, Ordering::Relaxed));
        let relay = Arc::new(conversation.exchange(scope.into()));
        let principal = Principal { name: Arc::clone(&incoming.principal), is_own: false };
        let own = Principal { is_own: true, ..principal.clone() };
        let asker = Asker { remote: &self, headers: &incoming.headers, principal: &own };
        let outgoing = match relay.post(incoming.body.clone(), &asker).await {
            Posted::Forward(outgoing) => outgoing,
            Posted::Answer(answer) => return refused(&answer),
            Posted::Nothing => return problem::empty(StatusCode::ACCEPTED),
        };
        if self.fills_in && stateless || self.link.makes_headers(&incoming.headers) {
            let declared = |tool: &str| conversation.param_headers(tool);
            incoming.headers.extend(agree::headers_of_arguments(&incoming.body, declared));
        }
        let sent = self.send(outgoing, &incoming.headers, &principal, PATIENCE).await;
        let response = match sent {
            Ok(response) => response,
            Err(words) => {
                relay.over_and_out(&words);
                return problem::error(StatusCode::BAD_GATEWAY, id.as_deref(), UPSTREAM, &words);
            }
        };
        if is_new {
            let session = response.headers().get(SESSION).and_then(|id| id.to_str().ok());
            match session {
                Some(session) => {
                    self.sessions.opened(&incoming.principal, session, Arc::clone(&conversation));
                }
                None => self.sessions.replaced(&incoming.principal, Arc::clone(&conversation)),
            }
        }
        let ends = match (stateless, incoming.headers.contains_key(SESSION)) {
            (true, _) => Ends::Cancels,
            (false, true) => Ends::MayResume,
            (false, false) => Ends::IsOver,
        };
        self.pass(response, relay, id.as_deref(), ends).await
    }

    /// Passes the answer to a POST on.
    async fn pass(
        &self,
        response: Response<Body>,
        relay: Arc<Relay>,
        id: Option<&[u8]>,
        ends: Ends,
    ) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        let failed = |words: &str| {
            relay.over_and_out(words);
            problem::error(StatusCode::BAD_GATEWAY, id, UPSTREAM, words)
        };
        if parts.status.is_redirection() {
            let place = parts.headers.get(LOCATION).and_then(|place| place.to_str().ok());
            let place = place.unwrap_or("nowhere");
            return failed(&format!("the server redirects to {place}; redirects are not followed"));
        }
        match kind(&parts.headers) {
            "text/event-stream" => {
                let body = stream::pump(body, relay, self.max_message, ends);
                parts.headers.remove(CONTENT_LENGTH);
                Response::from_parts(parts, body)
            }
            "application/json" => {
                let body = match hold(body, self.max_message, PATIENCE).await {
                    Ok(body) => body,
                    Err(error) => return failed(&format!("the server's answer: {error}")),
                };
                let passed = relay.heard(&body).unwrap_or_default();
                relay.over_and_out("no answer");
                if passed != body {
                    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(passed.len()));
                }
                Response::from_parts(parts, Body::from(passed))
            }
            other => {
                if parts.status == StatusCode::ACCEPTED {
                    // What it asked may be answered on another stream.
                    return Response::from_parts(parts, body);
                }
                if id.is_some() && parts.status.is_success() {
                    let other = if other.is_empty() { "nothing" } else { other };
                    return failed(&format!("the server answers with {other}, not with a message"));
                }
                relay.over_and_out(parts.status.as_str());
                Response::from_parts(parts, body)
            }
        }
    }

    /// GET and DELETE: no message goes in.
    async fn bare(&self, incoming: Incoming) -> Response<Body> {
        let session = incoming.headers.get(SESSION).and_then(|id| id.to_str().ok());
        let begin = || Arc::new((self.begin)(&incoming));
        let Ok(conversation) = self.sessions.find(&incoming.principal, session, begin) else {
            return unknown_session(None);
        };
        let request = self.request(
            incoming.method.clone(),
            &incoming.headers,
            &Principal { name: Arc::clone(&incoming.principal), is_own: false },
            Bytes::new(),
        );
        let response = match self.send_logged_in(request, PATIENCE).await {
            Ok(response) => response,
            Err(words) => {
                return problem::error(StatusCode::BAD_GATEWAY, None, UPSTREAM, &words);
            }
        };
        if incoming.method == Method::DELETE
            && response.status().is_success()
            && let Some(session) = session
        {
            self.sessions.closed(&incoming.principal, session);
        }
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        if parts.status.is_redirection() {
            let words = "the server redirects; redirects are not followed";
            return problem::error(StatusCode::BAD_GATEWAY, None, UPSTREAM, words);
        }
        let body = match kind(&parts.headers) {
            "text/event-stream" => {
                let relay = Arc::new(conversation.exchange(Arc::from("")));
                stream::pump(body, relay, self.max_message, Ends::MayResume)
            }
            _ => body,
        };
        Response::from_parts(parts, body)
    }

    async fn send(
        &self,
        outgoing: Outgoing,
        headers: &HeaderMap,
        principal: &Principal,
        patience: Duration,
    ) -> Result<Response<Body>, String> {
        let message = outgoing.into_bytes();
        let request = || self.request(Method::POST, headers, principal, message.clone());
        let response = self.send_logged_in(request(), patience).await?;
        let Some(login) = &self.login else { return Ok(response) };
        let used = login.authorization().await;
        let challenge = Challenge::of(response.status(), response.headers(), used.as_ref());
        let Some(challenge) = challenge.filter(|_| !self.headers.contains_key(AUTHORIZATION))
        else {
            return Ok(response);
        };
        login.challenged(&challenge).await.map_err(|error| error.to_string())?;
        self.send_logged_in(request(), patience).await
    }

    async fn send_logged_in(
        &self,
        mut request: Request<Bytes>,
        patience: Duration,
    ) -> Result<Response<Body>, String> {
        if let Some(login) = &self.login
            && !request.headers().contains_key(AUTHORIZATION)
            && let Some(authorization) = login.authorization().await
        {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let sent = self.link.send(request, patience).await;
        sent.map_err(|error| format!("the server could not be reached: {error}"))
    }

    /// From now on messages go there: the endpoint that an HTTP+SSE server
    /// named, on its own host.
    pub(super) fn redirect_to(&self, endpoint: &str) -> Result<(), String> {
        let here = self.uri.load();
        let base = url::Url::parse(&here.to_string()).map_err(|error| error.to_string())?;
        let there = base.join(endpoint).map_err(|error| error.to_string())?;
        if there.origin() != base.origin() {
            return Err(format!("the server names an endpoint on another host: {there}"));
        }
        let there: Uri = there.as_str().parse().map_err(|_| "no URI".to_owned())?;
        self.uri.store(Arc::new(there));
        self.is_sse.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn request(
        &self,
        method: Method,
        headers: &HeaderMap,
        principal: &Principal,
        body: Bytes,
    ) -> Request<Bytes> {
        let mut request = Request::new(body);
        request.extensions_mut().insert(principal.clone());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::clone(&self.uri.load());
        let sent = request.headers_mut();
        let named: Vec<&str> = headers
            .get_all("connection")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(',').map(str::trim))
            .collect();
        for (name, value) in headers {
            let ours = OURS.contains(&name.as_str())
                || name == ACCEPT_ENCODING
                || self.keeps_authorization && name == "authorization"
                || named.iter().any(|named| name.as_str().eq_ignore_ascii_case(named));
            if !ours {
                sent.append(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.headers {
            sent.insert(name.clone(), value.clone());
        }
        // What has to be read must come as it is.
        sent.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        debug_assert!(!sent.contains_key(HOST) && !sent.contains_key(ORIGIN));
        request
    }
}

/// Fetches what the gate itself asks, as the client would.
struct Asker<'r> {
    remote: &'r Remote,
    headers: &'r HeaderMap,
    principal: &'r Principal,
}

impl Ask for Asker<'_> {
    async fn ask(&self, request: Outgoing) -> Vec<Bytes> {
        let mut headers = self.headers.clone();
        for name in ["mcp-name", "last-event-id"] {
            headers.remove(name);
        }
        if agree::is_stateless(&headers) {
            headers.insert("mcp-method", HeaderValue::from_static("tools/list"));
        }
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(ACCEPT, both);
        let asked = async {
            let response =
                self.remote.send(request, &headers, self.principal, OWN_PATIENCE).await?;
            let is_stream = kind(response.headers()) == "text/event-stream";
            let body = hold(response.into_body(), self.remote.max_message, OWN_PATIENCE).await;
            let body = body.map_err(|error| error.to_string())?;
            Ok::<_, String>(if is_stream { messages(&body) } else { vec![body] })
        };
        asked.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the server does not list its tools");
            Vec::new()
        })
    }
}

fn messages(stream: &Bytes) -> Vec<Bytes> {
    let mut parser = Parser::new(stream.len());
    parser.feed(stream);
    let mut messages = Vec::new();
    while let Ok(Some(event)) = parser.next_event() {
        messages.extend(event.message().map(Bytes::copy_from_slice));
    }
    messages
}

/// A denial is a result like any other; what cannot be read is a bad request.
fn refused(answer: &Bytes) -> Response<Body> {
    let answer = answer.slice_ref(answer.trim_ascii_end());
    // A refused batch is answered line by line.
    let answer: Bytes = match memchr::memchr(b'\n', &answer) {
        None => answer,
        Some(_) => {
            let lines: Vec<&[u8]> = answer.split(|byte| *byte == b'\n').collect();
            [b"[", lines.join(&b","[..]).as_slice(), b"]"].concat().into()
        }
    };
    let is_error = memchr::memmem::find(&answer, b",\"error\":{").is_some_and(|at| {
        // Ours begin with version and id; a result holds no error there.
        memchr::memmem::find(&answer, b",\"result\":{").is_none_or(|result| at < result)
    });
    let malformed = is_error
        && [&b"\"code\":-32700"[..], b"\"code\":-32600", b"\"code\":-32602"]
            .iter()
            .any(|code| memchr::memmem::find(&answer, code).is_some());
    let status = if malformed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    problem::json_rpc(status, answer)
}

fn unknown_session(id: Option<&[u8]>) -> Response<Body> {
    problem::error(StatusCode::NOT_FOUND, id, problem::INVALID_REQUEST, "Session not found")
}

fn kind(headers: &HeaderMap) -> &str {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

/// Headers that hold for the connection to the server only.
fn strip(headers: &mut HeaderMap) {
    for name in [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}
