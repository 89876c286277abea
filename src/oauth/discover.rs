//! Who logs people in for a server, and whether to believe it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use rmcp::transport::auth::{AuthError, AuthorizationManager, AuthorizationMetadata};
use tokio::time::timeout;
use url::Url;

use super::error::words;
use super::exchange::{Errand, Exchange, Forbidden};
use super::trust::Trust;
use super::{Challenge, LoginError};

/// How long it may take to find out who logs people in.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message that changes nothing, whoever answers it.
const PING: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#;

/// The network, and the server that wants a login.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) server: Url,
    pub(super) trust: Trust,
    pub(super) exchange: Exchange,
}

/// An authorization server whose word about itself was checked.
pub(super) struct Discovered {
    pub(super) manager: AuthorizationManager,
    pub(super) metadata: AuthorizationMetadata,
    pub(super) issuer: String,
    /// Where tokens are taken back, where that is offered.
    pub(super) revocation: Option<String>,
    /// What the server said when it was asked without a login.
    pub(super) challenge: Option<String>,
    errand: Arc<Errand>,
}

impl Discovered {
    /// The error that the last answer names, where it is one of OAuth's (RFC 6749,
    /// section 5.2).
    pub(super) fn refusal(&self) -> Option<String> {
        self.errand.refusal()
    }
}

impl Place {
    /// Finds the authorization server: protected-resource metadata (RFC 9728),
    /// named by `challenge` or at its well-known place, then the authorization
    /// server's own (RFC 8414, OpenID Connect), which must name the issuer that
    /// it was looked up as. The endpoints that servers of 2025-03-26 were said to
    /// have are not guessed.
    /// Without a challenge at hand the server is asked for one.
    pub(super) async fn discover(&self, challenge: Option<&str>) -> Result<Discovered, LoginError> {
        let challenge = match challenge {
            Some(challenge) => Some(challenge.to_owned()),
            None => self.knock().await,
        };
        let errand = Arc::new(Errand::new(self.exchange.clone()));
        let (server, client) = (self.server.clone(), Arc::clone(&errand));
        let mut manager = AuthorizationManager::new_with_oauth_http_client(server, client)
            .await
            .map_err(|error| self.blame(&error))?;
        let finding = manager.resolve_metadata_from_challenge(challenge.as_deref());
        let found = timeout(PATIENCE, finding).await.map_err(|_| {
            LoginError::failed(&self.server, "it took too long to find out where to log in")
        })?;
        let found = found.map_err(|error| self.blame(&error))?;
        if !found.source.is_discovered() {
            let why = "it publishes no OAuth metadata";
            return Err(LoginError::undiscovered(&self.server, why));
        }
        let metadata = found.metadata;
        let issuer = self.check(&metadata)?;
        // Of a document at a place of another form rmcp believes any issuer.
        if !errand.asked().is_some_and(|document| describes(&document, &issuer)) {
            let why = format!("the issuer `{issuer}` does not publish what was said in its name");
            return Err(LoginError::untrusted(&self.server, why));
        }
        let revocation = text(&metadata, "revocation_endpoint").map(str::to_owned);
        manager.set_metadata(metadata.clone());
        Ok(Discovered { manager, metadata, issuer, revocation, challenge, errand })
    }

    /// What the server says to a message without a login: some challenge nothing else.
    async fn knock(&self) -> Option<String> {
        let request = Request::post(self.server.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(PING.to_vec())
            .ok()?;
        let answer = self.exchange.send(request).await.ok()?;
        Challenge::of(answer.status(), answer.headers(), None)?.header().map(str::to_owned)
    }

    /// Checks every address that will be called or shown, and that codes are
    /// bound to us (PKCE, S256). Gives the issuer.
    fn check(&self, metadata: &AuthorizationMetadata) -> Result<String, LoginError> {
        let addresses = [
            ("issuer", metadata.issuer.as_deref()),
            ("authorization_endpoint", Some(metadata.authorization_endpoint.as_str())),
            ("token_endpoint", Some(metadata.token_endpoint.as_str())),
            ("registration_endpoint", metadata.registration_endpoint.as_deref()),
            ("revocation_endpoint", text(metadata, "revocation_endpoint")),
        ];
        for (name, address) in addresses {
            if address.is_some_and(|address| self.trust.parse(address).is_none()) {
                let address = address.unwrap_or_default();
                let why = format!("its {name} is `{address}`, which is no address to log in at");
                return Err(LoginError::untrusted(&self.server, why));
            }
        }
        let methods = metadata.code_challenge_methods_supported.as_deref().unwrap_or_default();
        if !methods.iter().any(|method| method == "S256") {
            let why = "its authorization server does not offer PKCE with S256";
            return Err(LoginError::untrusted(&self.server, why));
        }
        metadata.issuer.clone().ok_or_else(|| {
            LoginError::untrusted(&self.server, "its authorization server does not name itself")
        })
    }

    /// An error of rmcp's as the person is to see it.
    pub(super) fn blame(&self, error: &AuthError) -> LoginError {
        let why = words(error);
        match error {
            AuthError::DiscoveryRequestFailed { source, .. } if source.is::<Forbidden>() => {
                LoginError::untrusted(&self.server, why)
            }
            AuthError::AuthorizationServerMismatch { .. }
            | AuthError::AuthorizationServerMissingIssuer { .. }
            | AuthError::ProtectedResourceMetadataInvalid { .. }
            | AuthError::PkceUnsupported
            | AuthError::InvalidTokenType(_) => LoginError::untrusted(&self.server, why),
            AuthError::NoAuthorizationSupport
            | AuthError::AuthorizationServersUnavailable { .. } => {
                LoginError::undiscovered(&self.server, why)
            }
            _ => LoginError::failed(&self.server, why),
        }
    }

    /// Has a token taken back (RFC 7009). What comes of it is told, no more: the
    /// login is forgotten in any case.
    pub(super) async fn revoke(
        &self,
        endpoint: &str,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Result<(), LoginError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.into_bytes())
            .map_err(|error| LoginError::failed(&self.server, error))?;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let answer = self.exchange.send(request).await;
        let answer = answer.map_err(|error| LoginError::failed(&self.server, words(&*error)))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(LoginError::failed(&self.server, format!("{status}"))),
        }
    }
}

/// Whether a document at this address may speak for `issuer`: its address is made of
/// the issuer's (RFC 8414, section 3; OpenID Connect Discovery, section 4), or it is
/// at the root of the issuer's host.
fn describes(document: &Url, issuer: &str) -> bool {
    // Written as it is parsed, but for the slash of a root.
    let Ok(mut place) = Url::parse(issuer) else { return false };
    if place.as_str().trim_end_matches('/') != issuer.trim_end_matches('/') {
        return false;
    }
    let path = place.path().trim_matches('/').to_owned();
    let path = if path.is_empty() { path } else { format!("/{path}") };
    place.set_query(None);
    place.set_fragment(None);
    [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
        format!("{path}/.well-known/openid-configuration"),
        "/.well-known/oauth-authorization-server".to_owned(),
    ]
    .iter()
    .any(|path| {
        place.set_path(path);
        place == *document
    })
}

/// A member of the metadata that is a text.
pub(super) fn text<'m>(metadata: &'m AuthorizationMetadata, name: &str) -> Option<&'m str> {
    metadata.additional_fields.get(name).and_then(|value| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_described_at_its_own_places_only() {
        let describes =
            |document: &str, issuer: &str| describes(&Url::parse(document).unwrap(), issuer);
        for (document, issuer) in [
            ("https://a.example/.well-known/oauth-authorization-server", "https://a.example"),
            ("https://a.example/.well-known/openid-configuration", "https://a.example/"),
            (
                "https://a.example/.well-known/oauth-authorization-server/t/1",
                "https://a.example/t/1",
            ),
            ("https://a.example/.well-known/openid-configuration/t", "https://a.example/t/"),
            ("https://a.example/t/.well-known/openid-configuration", "https://a.example/t"),
            ("https://a.example/.well-known/oauth-authorization-server", "https://a.example/t"),
        ] {
            assert!(describes(document, issuer), "{document} of {issuer}");
        }
        for (document, issuer) in [
            ("https://evil.example/x/.well-known/y", "https://a.example"),
            ("https://a.example/~evil/.well-known/oauth-authorization-server", "https://a.example"),
            ("https://a.example/~evil/.well-known/y", "https://a.example/~evil"),
            ("https://a.example:8443/.well-known/openid-configuration", "https://a.example"),
            ("http://a.example/.well-known/openid-configuration", "https://a.example"),
            ("https://a.example/.well-known/openid-configuration?x", "https://a.example"),
            ("https://a.example/.well-known/openid-configuration/u", "https://a.example/t"),
            ("https://a.example/.well-known/openid-configuration", "https://a.example/\u{1b}[2J"),
            ("https://a.example/.well-known/openid-configuration", " https://a.example"),
            ("https://a.example/.well-known/openid-configuration", "a.example"),
        ] {
            assert!(!describes(document, issuer), "{document} of {issuer}");
        }
    }
}
