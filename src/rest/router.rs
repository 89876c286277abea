//! Which provider a request is for: by the first segments of its path, or by the
//! listener that it came in at.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde_json::json;
use tower_service::Service;

use super::proxy::Proxy;
use super::{reply, ticket};
use crate::action::Provider;
use crate::net::Body;

/// What stands before a provider's name.
const PREFIX: &str = "/proxy/";

/// `/proxy/{provider}/{path}` for every provider, and `others` for every other
/// path. Not one more route of theirs: this is the way of nearly every request.
#[derive(Debug, Clone)]
pub struct Front {
    /// Answers what is for a provider.
    pub proxy: Arc<Proxy>,
    /// Answers the rest.
    pub others: Router,
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.others, context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !request.uri().path().starts_with(PREFIX) {
            return Box::pin(self.others.call(request));
        }
        let proxy = Arc::clone(&self.proxy);
        let (mut parts, body) = request.into_parts();
        Box::pin(async move { Ok(by_path(&proxy, &mut parts, body).await) })
    }
}

/// Every path, for one provider: a listener of its own, for SDKs that lose a
/// prefix.
pub fn listener(proxy: Arc<Proxy>, provider: Provider) -> Router {
    let answer = move |State(proxy): State<Arc<Proxy>>,
                       peer: ConnectInfo<SocketAddr>,
                       request: Request| async move {
        let path = request.uri().path().to_owned();
        let (mut parts, body) = request.into_parts();
        answer(&proxy, provider, ("", &path), (&mut parts, body), peer.0).await
    };
    Router::new().fallback(answer).with_state(proxy)
}

async fn by_path(proxy: &Proxy, parts: &mut Parts, body: Body) -> Response {
    // INVARIANT (peer): the listener says who is connected.
    let Some(&ConnectInfo(peer)) = parts.extensions.get() else {
        let body = json!({ "error": "internal_error", "detail": "nobody knows who asks" });
        return reply::answer(StatusCode::INTERNAL_SERVER_ERROR, body, None);
    };
    // As it was written: a decoded path is another one.
    let whole = parts.uri.path().to_owned();
    let rest = whole.strip_prefix(PREFIX).unwrap_or_default();
    let name = rest.split('/').next().unwrap_or_default();
    let path = rest.get(name.len()..).filter(|path| !path.is_empty()).unwrap_or("/");
    match Provider::from_name(name) {
        Some(provider) => {
            let base = whole.get(..PREFIX.len() + name.len()).unwrap_or_default();
            answer(proxy, provider, (base, path), (parts, body), peer).await
        }
        None => unknown(name),
    }
}

async fn answer(
    proxy: &Proxy,
    provider: Provider,
    (base, path): (&str, &str),
    (parts, body): (&mut Parts, Body),
    peer: SocketAddr,
) -> Response {
    let began = Instant::now();
    let response = proxy.answer(provider, (base, path), (parts, body), peer).await;
    tracing::info!(
        provider = provider.as_str(),
        method = %parts.method,
        path = ticket::shown(path),
        status = response.status().as_u16(),
        took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

fn unknown(name: &str) -> Response {
    let near =
        Provider::ALL.map(|provider| (strsim::jaro_winkler(provider.as_str(), name), provider));
    let near = near.into_iter().max_by(|one, other| one.0.total_cmp(&other.0));
    let hint = near.filter(|(likeness, _)| *likeness > 0.8);
    let hint = hint.map(|(_, provider)| format!("; did you mean `{}`?", provider.as_str()));
    let shown: String = name.chars().take(40).collect();
    let detail = format!("there is no provider `{shown}`{}", hint.unwrap_or_default());
    reply::answer(
        StatusCode::NOT_FOUND,
        json!({ "error": "unknown_provider", "detail": detail }),
        None,
    )
}
