//! HTTP for rmcp's OAuth client: through the gate's own client, with limits, to trusted
//! addresses only, and without following redirects.

use std::error::Error;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{LOCATION, USER_AGENT};
use http::{HeaderValue, Request, Response};
use rmcp::transport::auth::{OAuthHttpClient, OAuthHttpRequest};
use url::Url;

use super::trust::Trust;
use crate::net::body::hold;
use crate::net::client::Client;
use crate::net::{Body, is_event_stream};

/// Maximum size of a document, in bytes.
const MAX_DOCUMENT: usize = 256 << 10;

/// Timeout of a request, for the head and the body of the response each.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum number of requests per login, from discovery to the token: within [`MAX_DOCUMENT`] a
/// server may name any number of URLs to look up.
const MAX_REQUESTS: u32 = 40;

/// The `User-Agent`: some servers refuse requests without one.
const PRODUCT: &str = concat!("agentgate/", env!("CARGO_PKG_VERSION"));

/// An HTTP client that sends only where [`Trust`] allows.
#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    client: Client,
    trust: Trust,
}

/// An [`HttpClient`] for one OAuth flow. Sends [`MAX_REQUESTS`] at most, and records where the
/// last document was requested.
#[derive(Debug)]
pub(super) struct FlowHttpClient {
    http: HttpClient,
    state: Mutex<FlowState>,
}

#[derive(Debug, Default)]
struct FlowState {
    requests: u32,
    /// The last URL requested other than by a redirect.
    requested: Option<Url>,
    /// The target of the last response, if it was a redirect.
    redirect: Option<Url>,
    /// The `error` of the last response.
    refusal: Option<String>,
}

/// An error response (RFC 6749, section 5.2).
#[derive(serde::Deserialize)]
struct ErrorResponse {
    error: String,
}

/// [`MAX_REQUESTS`] is exceeded.
#[derive(Debug, thiserror::Error)]
#[error("it names more places to look at than a login may use")]
struct TooManyRequests;

/// An address that a login must not use.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not an address to log in at: it must be https, and must not lead into this network"
)]
pub(super) struct Forbidden(String);

impl HttpClient {
    pub(super) fn new(client: Client, trust: Trust) -> Self {
        Self { client, trust }
    }

    /// Sends a request, if [`Trust`] allows its URL. Redirects are returned, not followed.
    pub(super) async fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        let uri = request.uri().to_string();
        if !Url::parse(&uri).is_ok_and(|url| self.trust.allows(&url)) {
            return Err(Box::new(Forbidden(uri)));
        }
        let mut request = request.map(Body::from);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
        let answer = self.client.send(request, REQUEST_TIMEOUT).await?;
        let (head, body) = answer.into_parts();
        // A server may respond to a GET with an endless stream.
        if is_event_stream(&head.headers) {
            return Ok(Response::from_parts(head, Vec::new()));
        }
        let body = hold(body, MAX_DOCUMENT, REQUEST_TIMEOUT).await?;
        Ok(Response::from_parts(head, body.into()))
    }
}

impl FlowHttpClient {
    pub(super) fn new(http: HttpClient) -> Self {
        Self { http, state: Mutex::default() }
    }

    /// The last URL requested other than by a redirect.
    pub(super) fn requested(&self) -> Option<Url> {
        self.state().requested.clone()
    }

    /// The `error` of the last response, if it was an error response.
    pub(super) fn refusal(&self) -> Option<String> {
        self.state().refusal.clone()
    }

    async fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        let url = Url::parse(&request.uri().to_string())?;
        {
            let mut state = self.state();
            state.requests += 1;
            if state.requests > MAX_REQUESTS {
                return Err(Box::new(TooManyRequests));
            }
            if state.redirect.take().as_ref() != Some(&url) {
                state.requested = Some(url.clone());
            }
        }
        let answer = self.http.send(request).await?;
        let target = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection());
        let target = target.and_then(|target| url.join(target.to_str().ok()?).ok());
        let refusal = answer.status().is_client_error().then(|| answer.body());
        let refusal = refusal.and_then(|body| serde_json::from_slice::<ErrorResponse>(body).ok());
        let mut state = self.state();
        (state.redirect, state.refusal) = (target, refusal.map(|refusal| refusal.error));
        drop(state);
        Ok(answer)
    }

    fn state(&self) -> MutexGuard<'_, FlowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OAuthHttpClient for FlowHttpClient {
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
