//! Connecting to a host: directly, or through the proxy that the environment names
//! (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in upper or lower case).

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::is_loopback;

/// Timeout for opening a proxy's tunnel.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(20);

type BoxError = Box<dyn Error + Send + Sync>;

/// Connects to hosts, directly or through a proxy.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    proxies: Arc<Matcher>,
    /// Timeout for opening a tunnel.
    tunnel: Duration,
}

/// Adds a timeout to a connector.
#[derive(Debug, Clone)]
pub(super) struct WithTimeout<C> {
    inner: C,
    limit: Duration,
}

impl Connector {
    /// Uses the proxies from the environment.
    pub(super) fn from_env(tcp: HttpConnector) -> Self {
        Self::through(tcp, Matcher::from_env(), TUNNEL_TIMEOUT)
    }

    /// Uses these proxies, with a timeout for their tunnels.
    pub(super) fn through(tcp: HttpConnector, proxies: Matcher, tunnel: Duration) -> Self {
        Self { tcp, proxies: Arc::new(proxies), tunnel }
    }

    /// The proxy for `uri`; never for this machine.
    fn proxy(&self, uri: &Uri) -> Option<Intercept> {
        if is_loopback(uri) { None } else { self.proxies.intercept(uri) }
    }
}

/// Adds the scheme's default port: without one, the tunnel would use port 443 for any scheme.
fn with_port(uri: Uri) -> Uri {
    if uri.port().is_some() || uri.scheme_str() != Some("http") {
        return uri;
    }
    let mut parts = uri.clone().into_parts();
    let authority = uri.authority().and_then(|host| format!("{host}:80").parse().ok());
    parts.authority = authority.or(parts.authority);
    Uri::from_parts(parts).unwrap_or(uri)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(proxy) = self.proxy(&uri) else {
            let connecting = self.tcp.call(uri);
            return Box::pin(async { Ok(connecting.await?) });
        };
        let there = proxy.uri().clone();
        if there.scheme_str() != Some("http") {
            let words = format!("the proxy {there} is not an http:// one");
            return Box::pin(async { Err(words.into()) });
        }
        let mut tunnel = Tunnel::new(there.clone(), self.tcp.clone());
        if let Some(credential) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credential.clone());
        }
        let connecting = timeout(self.tunnel, tunnel.call(with_port(uri)));
        let seconds = self.tunnel.as_secs_f32();
        Box::pin(async move {
            match connecting.await {
                Ok(Ok(connected)) => Ok(connected),
                Ok(Err(error)) => Err(format!("through the proxy {there}: {error}").into()),
                Err(_) => {
                    Err(format!("through the proxy {there}: no tunnel within {seconds} s").into())
                }
            }
        })
    }
}

impl<C> WithTimeout<C> {
    pub(super) fn new(inner: C, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<C> Service<Uri> for WithTimeout<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(self.limit, self.inner.call(uri));
        let seconds = self.limit.as_secs_f32();
        Box::pin(async move {
            let late = |_| format!("the connection was not ready within {seconds} s").into();
            connecting.await.unwrap_or_else(|error| Err(late(error)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_leads_to_the_port_of_the_scheme() {
        for (uri, there) in [
            ("http://mcp.example.com/mcp", "http://mcp.example.com:80/mcp"),
            ("http://[2001:db8::1]/mcp", "http://[2001:db8::1]:80/mcp"),
            ("http://mcp.example.com:8080/mcp", "http://mcp.example.com:8080/mcp"),
            ("https://mcp.example.com/mcp", "https://mcp.example.com/mcp"),
        ] {
            assert_eq!(with_port(uri.parse().unwrap()), there, "{uri}");
        }
    }

    #[test]
    fn this_machine_is_reached_directly() {
        let proxies = Matcher::builder().all("http://proxy.example:3128").no("inside.example");
        let connector = Connector::through(HttpConnector::new(), proxies.build(), TUNNEL_TIMEOUT);
        for (uri, proxied) in [
            ("https://mcp.example.com/mcp", true),
            ("http://mcp.example.com/mcp", true),
            ("https://inside.example/", false),
            ("http://localhost:3000/mcp", false),
            ("http://127.0.0.1:3000/mcp", false),
            ("http://[::1]:3000/mcp", false),
        ] {
            assert_eq!(connector.proxy(&uri.parse().unwrap()).is_some(), proxied, "{uri}");
        }
    }
}
