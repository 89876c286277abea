//! What is judged of a REST request must be what is sent on: the path stays as it
//! is when it is read once more, nothing climbs out of it, and a JSON body is the
//! one that another parser reads. What only a body could say, and
//! nobody could read, is no read.

#![no_main]

use std::sync::Arc;

use agentgate::action::{Action, Agent, Body as Judged, HttpRequest, Provider, Target, Transport};
use agentgate::intent;
use agentgate::net::Body;
use agentgate::net::memory::MemoryBudget;
use agentgate::path::Path;
use agentgate::rest::inbound::{self, Inbound, Limits};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use libfuzzer_sys::fuzz_target;
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

// A byte each for the provider, the method and the type of the body; then the target,
// a line feed, and the body.
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
    let kind = HeaderValue::from_static(KINDS[usize::from(kind) % KINDS.len()]);
    request.headers_mut().insert(HOST, HeaderValue::from_static("gate"));
    request.headers_mut().insert(CONTENT_TYPE, kind);
    let (mut parts, ()) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if let Ok(read) = Path::parse(provider, &path) {
        stays(provider, &read);
    }
    let limits = Limits::default();
    let body_in = Body::from(body.to_vec());
    let held = (body_in, MemoryBudget::default().reservation(&Arc::default()));
    let read = inbound::read(provider, &path, None, &mut parts, held, &limits);
    let Ok(inbound) = RUNTIME.with(|runtime| runtime.block_on(read)) else { return };
    judge(inbound, body);
});

/// What goes upstream is read there as it was here.
fn stays(provider: Provider, path: &Path) {
    let again = Path::parse(provider, path.forwarded()).expect("a path that was read before");
    assert_eq!(again.forwarded(), path.forwarded());
    assert_eq!(again.judged(), path.judged());
    assert!(path.judged().starts_with('/'));
    assert!(!path.judged().contains(['\\', '\0', '\n', '\r']));
    assert!(path.judged().split('/').all(|segment| segment != ".." && segment != "."));
}

fn judge(inbound: Inbound, body: &[u8]) {
    if let Judged::Json(judged) = &inbound.judged.body
        && let Ok(other) = serde_json::from_slice::<serde_json::Value>(body)
        && let Ok(judged) = serde_json::from_str::<serde_json::Value>(&judged.to_string())
    {
        assert_eq!(judged, other);
    }
    let HttpRequest { provider, method, path, body, .. } = &inbound.judged;
    let body_says = path.ends_with("graphql") || (*provider == Provider::Aws && path == "/");
    let is_blind = body_says && method != "GET" && matches!(body, Judged::Opaque);
    let action = Action {
        at: jiff::Timestamp::UNIX_EPOCH,
        agent: Agent::default(),
        session: "fuzz".into(),
        transport: Transport::Rest,
        target: Target::Http(inbound.judged),
    };
    let analysis = intent::analyse(&action);
    assert!(!(is_blind && analysis.intent.is_read()), "unread, and a read: {analysis:?}");
}
