//! Sends admitted requests to providers, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;

use crate::gate::{Permit, Receipt};
use crate::net::Body;
use crate::net::body::with_stall_timeout;
use crate::net::client::{Client, SendError};

/// A request ready to be sent: with the real credential in its headers, and as its body the
/// bytes that policies saw, or a stream that is not read. Sending it requires a [`Permit`].
#[derive(Debug)]
pub struct Outgoing(Box<Request<Body>>);

impl Outgoing {
    /// A request to `uri`.
    #[must_use]
    pub fn new(method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Self {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Self(Box::new(request))
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.0.method()
    }

    /// Reads and discards the body, as the provider would.
    pub async fn drain(self) {
        let mut body = self.0.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }
}

/// Origin of a request, such as `https://api.github.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The origin of a mock.
    #[must_use]
    pub fn of_mock() -> Self {
        Self("the mock".to_owned())
    }

    /// The origin of `uri`.
    #[must_use]
    pub fn of(uri: &Uri) -> Self {
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        Self(format!("{}://{authority}", uri.scheme_str().unwrap_or("https")))
    }

    /// The host, with the port unless it is the scheme's default.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.split_once("://").map_or(&*self.0, |(_, host)| host)
    }

    /// Resolves a relative reference in a response of this origin (RFC 3986, section 4.2).
    /// `None` for absolute ones.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<String> {
        let (scheme, _) = self.0.split_once("://")?;
        match reference.strip_prefix('/')?.starts_with('/') {
            true => Some(format!("{scheme}:{reference}")),
            false => Some(format!("{}{reference}", self.0)),
        }
    }
}

/// Sends admitted requests.
#[derive(Debug, Clone)]
pub struct UpstreamClient {
    client: Client,
    timeout: Arc<ArcSwap<Duration>>,
}

/// Why there is no response from upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{provider}: {cause}")]
pub struct UpstreamError {
    /// The host.
    pub provider: String,
    /// The cause.
    pub cause: SendError,
}

impl UpstreamError {
    /// A response that broke off.
    #[must_use]
    pub fn broken(provider: &str, error: &axum::Error) -> Self {
        let cause = SendError::Broken(format!("the answer broke off: {error}"));
        Self { provider: provider.to_owned(), cause }
    }

    /// 504 for no response in time, 408 for a slow client, 400 for a body that may not be sent,
    /// 503 while the gate is stopping, else 502.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.cause {
            SendError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            SendError::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            SendError::Unfit(_) => StatusCode::BAD_REQUEST,
            SendError::Stopped | SendError::NoAnswerMemory => StatusCode::SERVICE_UNAVAILABLE,
            SendError::Connect(_) | SendError::Broken(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

impl UpstreamClient {
    /// A client that waits up to `timeout` for the head of a response.
    #[must_use]
    pub fn new(client: Client, timeout: Duration) -> Self {
        Self { client, timeout: Arc::new(ArcSwap::from_pointee(timeout)) }
    }

    /// Sets the timeout from the next request on.
    pub fn set_timeout(&self, timeout: Duration) {
        self.timeout.store(Arc::new(timeout));
    }

    /// Aborts the requests in progress.
    pub fn abort_all(&self) {
        self.client.abort_all();
    }

    /// Sends the admitted request once; also returns the origin it was sent to.
    pub async fn send(
        &self,
        permit: Permit<Outgoing>,
    ) -> (Receipt, Origin, Result<Response<Body>, UpstreamError>) {
        let (Outgoing(request), receipt) = permit.redeem();
        let origin = Origin::of(request.uri());
        let timeout = **self.timeout.load();
        let answer = self.client.send(*request, timeout).await;
        let answer = answer.map(|answer| answer.map(|body| with_stall_timeout(body, timeout)));
        let provider = || origin.host().to_owned();
        let answer = answer.map_err(|cause| UpstreamError { provider: provider(), cause });
        (receipt, origin, answer)
    }
}
