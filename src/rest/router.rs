//! Routes a request to its provider, by its path prefix or by the listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use serde_json::json;

use super::proxy::Proxy;
use super::reply::{self, Dialect};
use super::ticket;
use crate::action::Provider;
use crate::net::Body;
use crate::net::server::{Answer, App};

/// The prefix before a provider's name.
const PREFIX: &str = "/proxy/";

/// The health endpoint.
const HEALTH: &str = "/health";

/// Serves `/proxy/{provider}/{path}` by `proxy`, and all other paths by `others`. Not a route
/// of `others`, for speed: nearly every request is for a provider.
#[derive(Debug, Clone)]
pub struct Front {
    /// Handles requests to providers.
    pub proxy: Arc<Proxy>,
    /// Handles all others.
    pub others: Router,
}

impl App for Front {
    fn answer(&self, peer: SocketAddr, request: Request<Body>) -> Answer {
        if !request.uri().path().starts_with(PREFIX) {
            return self.others.answer(peer, request);
        }
        let proxy = Arc::clone(&self.proxy);
        let (mut parts, body) = request.into_parts();
        Box::pin(async move { by_path(&proxy, (&mut parts, body), peer).await })
    }

    /// Health must be reported at capacity most of all.
    fn is_vital(&self, request: &Request<Body>) -> bool {
        request.uri().path() == HEALTH
    }
}

/// A listener of its own for one provider, for SDKs that drop a path prefix.
#[derive(Debug, Clone)]
pub struct OneProvider {
    /// Handles all requests.
    pub proxy: Arc<Proxy>,
    /// The provider of every request.
    pub provider: Provider,
}

impl App for OneProvider {
    fn answer(&self, peer: SocketAddr, request: Request<Body>) -> Answer {
        let (proxy, provider) = (Arc::clone(&self.proxy), self.provider);
        let path = request.uri().path().to_owned();
        let (mut parts, body) = request.into_parts();
        Box::pin(
            async move { answer(&proxy, provider, ("", &path), (&mut parts, body), peer).await },
        )
    }
}

async fn by_path(
    proxy: &Proxy,
    (parts, body): (&mut Parts, Body),
    peer: SocketAddr,
) -> Response<Body> {
    // Not decoded: a decoded path is a different one.
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
) -> Response<Body> {
    let began = Instant::now();
    let response = proxy.answer(provider, (base, path), (parts, body), peer).await;
    tracing::info!(
        provider = provider.as_str(),
        method = %parts.method,
        path = ticket::redacted(path),
        status = response.status().as_u16(),
        took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

fn unknown(name: &str) -> Response<Body> {
    let near =
        Provider::ALL.map(|provider| (strsim::jaro_winkler(provider.as_str(), name), provider));
    let near = near.into_iter().max_by(|one, other| one.0.total_cmp(&other.0));
    let hint = near.filter(|(likeness, _)| *likeness > 0.8);
    let hint = hint.map(|(_, provider)| format!("; did you mean `{}`?", provider.as_str()));
    let shown: String = name.chars().take(40).collect();
    let detail = format!("there is no provider `{shown}`{}", hint.unwrap_or_default());
    reply::answer(
        Dialect::Plain,
        StatusCode::NOT_FOUND,
        json!({ "error": "unknown_provider", "detail": detail }),
        None,
    )
}
