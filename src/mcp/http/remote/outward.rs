//! Sends requests to the server, with the login and the configured headers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};

use super::{NoResponse, Remote};
use crate::mcp::http::headers;
use crate::mcp::http::link::Principal;
use crate::mcp::relay::exchange::Outgoing;
use crate::net::Body;
use crate::oauth::Challenge;

/// What to do if the server refuses the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnChallenge {
    /// Renew it, or ask a person.
    LogIn,
    /// Renew it, but ask nobody.
    Renew,
    /// Nothing.
    Ignore,
}

impl Remote {
    /// Sends a message with its client's headers. If the server requires a login, sends it
    /// again afterwards.
    pub(in crate::mcp::http) async fn send(
        &self,
        outgoing: Outgoing,
        headers: &HeaderMap,
        principal: &Principal,
        timeout: Duration,
    ) -> Result<Response<Body>, NoResponse> {
        let message = outgoing.into_bytes();
        let request = || self.request(Method::POST, headers, principal, message.clone());
        self.send_logged_in(request, OnChallenge::LogIn, timeout).await
    }

    /// Sends a request with the login. If the server refuses that, sends it again with another
    /// one, as far as `may` permits.
    pub(super) async fn send_logged_in(
        &self,
        request: impl Fn() -> Request<Bytes>,
        on_challenge: OnChallenge,
        timeout: Duration,
    ) -> Result<Response<Body>, NoResponse> {
        let first = request();
        // No login for clients that send their own credentials.
        let brings_its_own = first.headers().contains_key(AUTHORIZATION);
        let Some(login) = self.target.login.as_ref().filter(|_| !brings_its_own) else {
            return self.send_once(first, None, timeout).await;
        };
        let used = login.authorization().await;
        let response = self.send_once(first, used.clone(), timeout).await?;
        if !response.status().is_client_error() {
            return Ok(response);
        }
        // The challenge concerns the login that was sent; there may be another one meanwhile.
        let challenge = Challenge::of(response.status(), response.headers(), used.as_ref());
        let answered = match (challenge, on_challenge) {
            (None, _) | (_, OnChallenge::Ignore) => return Ok(response),
            (Some(challenge), OnChallenge::LogIn) => {
                Box::pin(login.handle_challenge(&challenge)).await
            }
            (Some(challenge), OnChallenge::Renew) => {
                Box::pin(login.renew_after_challenge(&challenge)).await
            }
        };
        answered?;
        self.send_once(request(), login.authorization().await, timeout).await
    }

    async fn send_once(
        &self,
        mut request: Request<Bytes>,
        login: Option<HeaderValue>,
        timeout: Duration,
    ) -> Result<Response<Body>, NoResponse> {
        if let Some(login) = login {
            request.headers_mut().insert(AUTHORIZATION, login);
        }
        Ok(self.link.send(request, timeout).await?)
    }

    /// Sends further messages to the endpoint that an HTTP+SSE server announced, which must be
    /// on the same host.
    pub(in crate::mcp::http) fn redirect_to(&self, endpoint: &str) -> Result<(), String> {
        let here = self.uri.load();
        let base = url::Url::parse(&here.to_string()).map_err(|error| error.to_string())?;
        let there = base.join(endpoint).map_err(|error| error.to_string())?;
        if there.origin() != base.origin() {
            return Err(format!("the server names an endpoint on another host: {there}"));
        }
        let there: Uri = there.as_str().parse().map_err(|_| "no URI".to_owned())?;
        self.uri.store(Arc::new(there));
        self.is_sse.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn request(
        &self,
        method: Method,
        headers: &HeaderMap,
        principal: &Principal,
        body: Bytes,
    ) -> Request<Bytes> {
        let mut request = Request::new(body);
        request.extensions_mut().insert(principal.clone());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::clone(&self.uri.load());
        let sent = request.headers_mut();
        for (name, value) in headers::end_to_end(headers) {
            let is_kept = self.target.keeps_authorization && name == AUTHORIZATION;
            if !is_kept && !self.is_alternate_spelling_of_own(name) {
                sent.append(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.target.headers {
            sent.insert(name.clone(), value.clone());
        }
        // Bodies that have to be read must not be encoded.
        sent.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request
    }

    /// Whether some servers (CGI, WSGI) read the client's header as one that the gate adds.
    fn is_alternate_spelling_of_own(&self, name: &HeaderName) -> bool {
        name.as_str().contains('_')
            && self.target.headers.contains_key(name.as_str().replace('_', "-").as_str())
    }

    /// Maximum length of a message, in bytes.
    pub(in crate::mcp::http) fn max_message(&self) -> usize {
        self.target.max_message
    }
}
