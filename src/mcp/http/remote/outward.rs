//! The way out to the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};

use super::{Remote, Unanswered};
use crate::mcp::http::headers;
use crate::mcp::http::link::Principal;
use crate::mcp::relay::exchange::Outgoing;
use crate::net::Body;
use crate::oauth::Challenge;

/// What is done where the server refuses the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// A person may be asked.
    MayAsk,
    /// It may be renewed; nobody is asked.
    MayRenew,
    /// It is taken as it is.
    IsTaken,
}

impl Remote {
    /// Sends a message as its client's headers say; where the server wants a login,
    /// once more after it.
    pub(in crate::mcp::http) async fn send(
        &self,
        outgoing: Outgoing,
        headers: &HeaderMap,
        principal: &Principal,
        patience: Duration,
    ) -> Result<Response<Body>, Unanswered> {
        let message = outgoing.into_bytes();
        let request = || self.request(Method::POST, headers, principal, message.clone());
        self.send_logged_in(request, Login::MayAsk, patience).await
    }

    /// Sends a request with the login. Where the server refuses that, it is sent once
    /// more with another one, as far as `may` goes.
    pub(super) async fn send_logged_in(
        &self,
        request: impl Fn() -> Request<Bytes>,
        may: Login,
        patience: Duration,
    ) -> Result<Response<Body>, Unanswered> {
        let first = request();
        // Whoever brings a credential of its own is not logged in.
        let brings_its_own = first.headers().contains_key(AUTHORIZATION);
        let Some(login) = self.target.login.as_ref().filter(|_| !brings_its_own) else {
            return self.go_out(first, None, patience).await;
        };
        let used = login.authorization().await;
        let response = self.go_out(first, used.clone(), patience).await?;
        if !response.status().is_client_error() {
            return Ok(response);
        }
        // About what was sent: there may be another login meanwhile.
        let challenge = Challenge::of(response.status(), response.headers(), used.as_ref());
        let answered = match (challenge, may) {
            (None, _) | (_, Login::IsTaken) => return Ok(response),
            (Some(challenge), Login::MayAsk) => Box::pin(login.challenged(&challenge)).await,
            (Some(challenge), Login::MayRenew) => Box::pin(login.renewed(&challenge)).await,
        };
        answered?;
        self.go_out(request(), login.authorization().await, patience).await
    }

    async fn go_out(
        &self,
        mut request: Request<Bytes>,
        login: Option<HeaderValue>,
        patience: Duration,
    ) -> Result<Response<Body>, Unanswered> {
        if let Some(login) = login {
            request.headers_mut().insert(AUTHORIZATION, login);
        }
        Ok(self.link.send(request, patience).await?)
    }

    /// From now on messages go there: the endpoint that an HTTP+SSE server
    /// named, on its own host.
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
            if !is_kept && !self.is_ours_spelt_otherwise(name) {
                sent.append(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.target.headers {
            sent.insert(name.clone(), value.clone());
        }
        // What has to be read must come as it is.
        sent.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request
    }

    /// Whether some servers (CGI, WSGI) read a client's header as one of the gate's own.
    fn is_ours_spelt_otherwise(&self, name: &HeaderName) -> bool {
        name.as_str().contains('_')
            && self.target.headers.contains_key(name.as_str().replace('_', "-").as_str())
    }

    /// The largest message, in bytes.
    pub(in crate::mcp::http) fn max_message(&self) -> usize {
        self.target.max_message
    }
}
