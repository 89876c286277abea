//! How rmcp's OAuth client reaches the network: through the gate's own client,
//! with limits, and without following redirects.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response};
use rmcp::transport::auth::{OAuthHttpClient, OAuthHttpRequest};
use url::Url;

use super::trust::Trust;
use crate::net::Body;
use crate::net::body::hold;
use crate::net::client::Client;

/// The longest document of an authorization server, in bytes.
const MAX_DOCUMENT: usize = 256 << 10;

/// How long one may take, its head and its body each.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who calls: some servers refuse whoever does not say.
const NAME: &str = concat!("agentgate/", env!("CARGO_PKG_VERSION"));

/// The network as a login may use it.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    client: Client,
    trust: Trust,
}

/// The address that a login must not use.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address to log in at: it must be https, and not lead into this network")]
pub(super) struct Forbidden(String);

impl Exchange {
    pub(super) fn new(client: Client, trust: Trust) -> Self {
        Self { client, trust }
    }

    /// Sends a request to an address that [`Trust`] allows. A redirect is an
    /// answer like any other: nothing is sent where it points.
    pub(super) async fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        let uri = request.uri().to_string();
        if !Url::parse(&uri).is_ok_and(|url| self.trust.allows(&url)) {
            return Err(Box::new(Forbidden(uri)));
        }
        let mut request = request.map(Body::from);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(NAME));
        let answer = self.client.send(request, PATIENCE).await?;
        let (head, body) = answer.into_parts();
        // A server may answer a GET with a stream that never ends.
        if is_stream(&head.headers) {
            return Ok(Response::from_parts(head, Vec::new()));
        }
        let body = hold(body, MAX_DOCUMENT, PATIENCE).await?;
        Ok(Response::from_parts(head, body.into()))
    }
}

impl OAuthHttpClient for Exchange {
    fn execute(
        &self,
        request: OAuthHttpRequest,
    ) -> Pin<
        Box<
            dyn Future<Output = Result<Response<Vec<u8>>, Box<dyn Error + Send + Sync>>>
                + Send
                + '_,
        >,
    > {
        Box::pin(self.send(request.request))
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}
