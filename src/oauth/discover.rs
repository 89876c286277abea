//! Who logs people in for a server, and whether to believe it.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use rmcp::transport::auth::{AuthError, AuthorizationManager, AuthorizationMetadata};
use url::Url;

use super::LoginError;
use super::error::words;
use super::exchange::{Exchange, Forbidden};
use super::trust::Trust;

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
}

impl Place {
    /// Finds the authorization server: protected-resource metadata (RFC 9728),
    /// named by `challenge` or at its well-known place, then the authorization
    /// server's own (RFC 8414, OpenID Connect), which must name the issuer that
    /// it was looked up as. The endpoints that servers of 2025-03-26 were said to
    /// have are not guessed.
    pub(super) async fn discover(&self, challenge: Option<&str>) -> Result<Discovered, LoginError> {
        let exchange = Arc::new(self.exchange.clone());
        let server = self.server.clone();
        let mut manager = AuthorizationManager::new_with_oauth_http_client(server, exchange)
            .await
            .map_err(|error| self.blame(&error))?;
        let found = manager.resolve_metadata_from_challenge(challenge).await;
        let found = found.map_err(|error| self.blame(&error))?;
        if !found.source.is_discovered() {
            let why = "it publishes no OAuth metadata";
            return Err(LoginError::undiscovered(&self.server, why));
        }
        let metadata = found.metadata;
        let issuer = self.check(&metadata)?;
        let revocation = text(&metadata, "revocation_endpoint").map(str::to_owned);
        manager.set_metadata(metadata.clone());
        Ok(Discovered { manager, metadata, issuer, revocation })
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

/// A member of the metadata that is a text.
pub(super) fn text<'m>(metadata: &'m AuthorizationMetadata, name: &str) -> Option<&'m str> {
    metadata.additional_fields.get(name).and_then(|value| value.as_str())
}
