//! Properties of REST requests: what is judged is what is forwarded. Parsing a normalized path
//! again does not change it, and it has no dot segments; a JSON body is the one that another parser
//! reads; bytes are forwarded unchanged; no form overrides the method. A request whose intent is in
//! an unreadable body does not count as a read.

#![no_main]

use std::sync::Arc;

use agentgate::action::{Body as Judged, HttpRequest, Provider, Target, Transport};
use agentgate::intent;
use agentgate::net::Body;
use agentgate::net::memory::MemoryBudget;
use agentgate::overrides;
use agentgate::path::Path;
use agentgate::rest::inbound::{self, Inbound, Limits};
use agentgate_fuzz::action;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use tokio::runtime::{Builder, Runtime};

const KINDS: [&str; 6] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "multipart/mixed; boundary=b",
    "application/graphql",
    "text/plain",
];

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

// Input: a byte each for the provider, the method and the type of the body; the target and a line
// feed; then the body.
fuzz_target!(|input: &[u8]| {
    let [provider, method, kind, rest @ ..] = input else { return };
    let (provider, method, kind) = (*provider, *method, *kind);
    let mut lines = rest.splitn(2, |byte| *byte == b'\n');
    let target = str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let body = lines.next().unwrap_or_default();
    let provider = Provider::ALL[usize::from(provider) % Provider::ALL.len()];
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let mut request = Request::new(());
    *request.method_mut() = methods[usize::from(method) % methods.len()].clone();
    let Ok(uri) = target.parse() else { return };
    *request.uri_mut() = uri;
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    request.headers_mut().insert(HOST, HeaderValue::from_static("gate"));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let (mut parts, ()) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if let Ok(read) = Path::parse(provider, &path) {
        assert_idempotent(provider, &read);
    }
    let limits = Limits::default();
    let body_in = Body::from(body.to_vec());
    let held = (body_in, MemoryBudget::default().reservation(&Arc::default()));
    let read = inbound::read(provider, &path, None, &mut parts, held, &limits);
    let Ok(inbound) = RUNTIME.with(|runtime| runtime.block_on(read)) else { return };
    assert_eq!(inbound.query.as_deref(), parts.uri.query());
    assert!(inbound.held.as_deref().is_none_or(|held| held == body));
    // Bodies that are not held are files, whatever their type.
    let is_held = inbound.held.is_some();
    let Inbound { judged, body: forwarded, .. } = inbound;
    if let Ok(forwarded) = RUNTIME.with(|runtime| runtime.block_on(forwarded.collect())) {
        assert_eq!(forwarded.to_bytes(), body);
        assert!(!is_held || overriding(kind, body).is_none(), "a form that overrides the method");
    }
    judge(judged, body);
});

/// The field of a form that overrides the method, by a naive parser.
fn overriding(kind: &str, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let mut names: Vec<String> = Vec::new();
    if kind == KINDS[1] {
        names.extend(text.split('&').map(|pair| {
            let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
            percent_decode_str(&name).decode_utf8_lossy().into_owned()
        }));
    } else if kind == KINDS[2] {
        for part in text.split("\r\n--b\r\n").chain(text.strip_prefix("--b\r\n")) {
            let headers = part.split("\r\n\r\n").next().unwrap_or_default();
            let named = headers.split("; name=\"").nth(1).and_then(|name| name.split('"').next());
            names.extend(named.map(str::to_owned));
        }
    }
    names.into_iter().find(|name| overrides::is_parameter(name))
}

/// Asserts that parsing the forwarded path again gives the same path.
fn assert_idempotent(provider: Provider, path: &Path) {
    let again = Path::parse(provider, path.forwarded()).expect("a path that was read before");
    assert_eq!(again.forwarded(), path.forwarded());
    assert_eq!(again.judged(), path.judged());
    assert!(path.judged().starts_with('/'));
    assert!(!path.judged().contains(['\\', '\0', '\n', '\r']));
    assert!(path.judged().split('/').all(|segment| segment != ".." && segment != "."));
}

fn judge(request: HttpRequest, body: &[u8]) {
    if let Judged::Json(judged) = &request.body
        && let Ok(other) = serde_json::from_slice::<serde_json::Value>(body)
        && let Ok(judged) = serde_json::from_str::<serde_json::Value>(&judged.to_string())
    {
        assert_eq!(judged, other);
    }
    let HttpRequest { provider, method, path, body, .. } = &request;
    let body_says = path.ends_with("graphql") || (*provider == Provider::Aws && path == "/");
    let is_blind = body_says && method != "GET" && matches!(body, Judged::Opaque);
    let action = action(Transport::Rest, Target::Http(request));
    let analysis = intent::analyse(&action);
    assert_eq!(analysis.intent, intent::of(&action));
    assert!(!(is_blind && analysis.intent.is_read()), "unread, and a read: {analysis:?}");
}
