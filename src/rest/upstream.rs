//! The way out: what was admitted goes to the provider, and nothing else does.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use crate::gate::{Permit, Receipt};
use crate::net::Body;
use crate::net::client::{Client, SendError};

/// A request as it will be sent. It can be made by anybody and sent by nobody
/// without a permit.
#[derive(Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Where to.
    pub uri: Uri,
    /// The headers, the real credential among them.
    pub headers: HeaderMap,
    /// The very bytes that were judged, or a stream that nothing reads.
    pub body: Body,
}

/// Sends admitted requests.
#[derive(Debug, Clone)]
pub struct Exit {
    client: Client,
    patience: Arc<ArcSwap<Duration>>,
}

/// Why there is no answer, in the terms of the one who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{provider} could not be reached: {cause}")]
pub struct UpstreamError {
    /// The host.
    pub provider: String,
    /// Why.
    pub cause: SendError,
}

impl UpstreamError {
    /// 504 where there was no answer in time, else 502.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.cause {
            SendError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            SendError::Connect(_) | SendError::Broken(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

impl Exit {
    /// An exit that waits for the head of an answer for `patience`.
    #[must_use]
    pub fn new(client: Client, patience: Duration) -> Self {
        Self { client, patience: Arc::new(ArcSwap::from_pointee(patience)) }
    }

    /// Waits for `patience` from the next request on.
    pub fn wait_for(&self, patience: Duration) {
        self.patience.store(Arc::new(patience));
    }

    /// Sends what was admitted. Never again, whatever comes of it.
    pub async fn send(
        &self,
        permit: Permit<Outgoing>,
    ) -> (Receipt, Result<Response<Body>, UpstreamError>) {
        let (outgoing, receipt) = permit.redeem();
        let provider = outgoing.uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = Request::new(outgoing.body);
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = outgoing.uri;
        *request.headers_mut() = outgoing.headers;
        let answer = self.client.send(request, **self.patience.load()).await;
        (receipt, answer.map_err(|cause| UpstreamError { provider, cause }))
    }
}
