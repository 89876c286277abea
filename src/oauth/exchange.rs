//! How rmcp's OAuth client reaches the network: through the gate's own client,
//! with limits, and without following redirects.

use std::error::Error;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_TYPE, LOCATION, USER_AGENT};
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

/// Requests of one login, from the first question to the token. A server may name
/// any number of places to look at, in a document of [`MAX_DOCUMENT`].
const MAX_REQUESTS: u32 = 40;

/// Who calls: some servers refuse whoever does not say.
const NAME: &str = concat!("agentgate/", env!("CARGO_PKG_VERSION"));

/// The network as a login may use it.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    client: Client,
    trust: Trust,
}

/// The network as one login may use it: [`MAX_REQUESTS`], and it is known where the
/// last document came from.
#[derive(Debug)]
pub(super) struct Errand {
    exchange: Exchange,
    so_far: Mutex<SoFar>,
}

#[derive(Debug, Default)]
struct SoFar {
    requests: u32,
    /// What was asked for last, before it led elsewhere.
    asked: Option<Url>,
    /// Where the last answer leads.
    leads: Option<Url>,
    /// The error that the last answer names.
    refusal: Option<String>,
}

/// A refusal of an authorization server's (RFC 6749, section 5.2).
#[derive(serde::Deserialize)]
struct Refusal {
    error: String,
}

/// More than a login takes.
#[derive(Debug, thiserror::Error)]
#[error("it names more places to look at than a login may use")]
struct TooMany;

/// The address that a login must not use.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not an address to log in at: it must be https, and must not lead into this network"
)]
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

impl Errand {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange, so_far: Mutex::default() }
    }

    /// The address that was asked for last, before it led elsewhere.
    pub(super) fn asked(&self) -> Option<Url> {
        self.so_far().asked.clone()
    }

    /// The error that the last answer names, where it is a refusal.
    pub(super) fn refusal(&self) -> Option<String> {
        self.so_far().refusal.clone()
    }

    async fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        let url = Url::parse(&request.uri().to_string())?;
        {
            let mut so_far = self.so_far();
            so_far.requests += 1;
            if so_far.requests > MAX_REQUESTS {
                return Err(Box::new(TooMany));
            }
            if so_far.leads.take().as_ref() != Some(&url) {
                so_far.asked = Some(url.clone());
            }
        }
        let answer = self.exchange.send(request).await?;
        let place = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection());
        let place = place.and_then(|place| url.join(place.to_str().ok()?).ok());
        let refusal = answer.status().is_client_error().then(|| answer.body());
        let refusal = refusal.and_then(|body| serde_json::from_slice::<Refusal>(body).ok());
        let mut so_far = self.so_far();
        (so_far.leads, so_far.refusal) = (place, refusal.map(|refusal| refusal.error));
        drop(so_far);
        Ok(answer)
    }

    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OAuthHttpClient for Errand {
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
