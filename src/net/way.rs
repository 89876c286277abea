//! The way to a host: straight, or through the proxy that the environment names
//! (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, capital or small).

use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

/// What a connection fails with.
type BoxError = Box<dyn Error + Send + Sync>;

/// Connects to hosts.
#[derive(Debug, Clone)]
pub(super) struct Way {
    tcp: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Way {
    /// Through the proxies that the environment names now.
    pub(super) fn from_env(tcp: HttpConnector) -> Self {
        Self { tcp, proxies: Arc::new(Matcher::from_env()) }
    }

    /// The proxy for `uri`; this machine is never reached through another.
    fn proxy(&self, uri: &Uri) -> Option<Intercept> {
        if is_loopback(uri) { None } else { self.proxies.intercept(uri) }
    }
}

/// Whether `uri` is on this machine.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// A tunnel asks for port 443 where none is named, whatever the scheme.
fn with_port(uri: Uri) -> Uri {
    if uri.port().is_some() || uri.scheme_str() != Some("http") {
        return uri;
    }
    let mut parts = uri.clone().into_parts();
    let authority = uri.authority().and_then(|host| format!("{host}:80").parse().ok());
    parts.authority = authority.or(parts.authority);
    Uri::from_parts(parts).unwrap_or(uri)
}

impl Service<Uri> for Way {
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
        let connecting = tunnel.call(with_port(uri));
        Box::pin(async move {
            connecting.await.map_err(|error| format!("through the proxy {there}: {error}").into())
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
    fn this_machine_is_reached_straight() {
        let proxies = Matcher::builder().all("http://proxy.example:3128").no("inside.example");
        let way = Way { tcp: HttpConnector::new(), proxies: Arc::new(proxies.build()) };
        for (uri, proxied) in [
            ("https://mcp.example.com/mcp", true),
            ("http://mcp.example.com/mcp", true),
            ("https://inside.example/", false),
            ("http://localhost:3000/mcp", false),
            ("http://127.0.0.1:3000/mcp", false),
            ("http://[::1]:3000/mcp", false),
        ] {
            assert_eq!(way.proxy(&uri.parse().unwrap()).is_some(), proxied, "{uri}");
        }
    }
}
