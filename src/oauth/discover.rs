//! Discovery of a server's authorization server, and checks of what it says.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use rmcp::transport::auth::{AuthError, AuthorizationManager, AuthorizationMetadata};
use tokio::time::timeout;
use url::Url;

use super::error::error_chain;
use super::http_client::{FlowHttpClient, Forbidden, HttpClient};
use super::trust::Trust;
use super::{Challenge, LoginError};

/// Timeout of discovery.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// A message without side effects.
const PING: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#;

/// The OAuth client for one MCP server (the resource server).
#[derive(Debug, Clone)]
pub(super) struct OAuthClient {
    pub(super) server: Url,
    pub(super) trust: Trust,
    pub(super) http: HttpClient,
}

/// An authorization server whose metadata was checked.
pub(super) struct Discovered {
    pub(super) manager: AuthorizationManager,
    pub(super) metadata: AuthorizationMetadata,
    pub(super) issuer: String,
    /// The revocation endpoint (RFC 7009), if any.
    pub(super) revocation: Option<String>,
    /// The challenge that discovery started from.
    pub(super) challenge: Option<String>,
    http: Arc<FlowHttpClient>,
}

impl Discovered {
    /// The `error` of the last response, if it was an error response (RFC 6749, section 5.2).
    pub(super) fn refusal(&self) -> Option<String> {
        self.http.refusal()
    }
}

impl OAuthClient {
    /// Finds the authorization server: protected-resource metadata (RFC 9728), named by
    /// `challenge` or at its well-known address, then authorization server metadata (RFC 8414,
    /// OpenID Connect), which must name the issuer that it was looked up for. The default
    /// endpoints of MCP 2025-03-26 are not guessed. If `challenge` is `None`, the server is
    /// asked for one.
    pub(super) async fn discover(&self, challenge: Option<&str>) -> Result<Discovered, LoginError> {
        let challenge = match challenge {
            Some(challenge) => Some(challenge.to_owned()),
            None => self.probe().await,
        };
        let http = Arc::new(FlowHttpClient::new(self.http.clone()));
        let (server, client) = (self.server.clone(), Arc::clone(&http));
        let mut manager = AuthorizationManager::new_with_oauth_http_client(server, client)
            .await
            .map_err(|error| self.login_error(&error))?;
        let finding = manager.resolve_metadata_from_challenge(challenge.as_deref());
        let found = timeout(DISCOVERY_TIMEOUT, finding).await.map_err(|_| {
            LoginError::failed(&self.server, "it took too long to find out where to log in")
        })?;
        let found = found.map_err(|error| self.login_error(&error))?;
        if !found.source.is_discovered() {
            let why = "it publishes no OAuth metadata";
            return Err(LoginError::undiscovered(&self.server, why));
        }
        let metadata = found.metadata;
        let issuer = self.check_metadata(&metadata)?;
        // rmcp does not check the issuer of documents at other addresses.
        if !http.requested().is_some_and(|document| describes(&document, &issuer)) {
            let why = format!("the issuer `{issuer}` does not publish what was said in its name");
            return Err(LoginError::untrusted(&self.server, why));
        }
        let revocation = text(&metadata, "revocation_endpoint").map(str::to_owned);
        manager.set_metadata(metadata.clone());
        Ok(Discovered { manager, metadata, issuer, revocation, challenge, http })
    }

    /// The server's challenge to a request without a token. Some servers challenge only
    /// messages.
    async fn probe(&self) -> Option<String> {
        let request = Request::post(self.server.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(PING.to_vec())
            .ok()?;
        let answer = self.http.send(request).await.ok()?;
        Challenge::of(answer.status(), answer.headers(), None)?.header().map(str::to_owned)
    }

    /// Checks every URL that will be called or shown, and that PKCE with S256 is supported.
    /// Returns the issuer.
    fn check_metadata(&self, metadata: &AuthorizationMetadata) -> Result<String, LoginError> {
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

    /// Converts an error of rmcp for the user.
    pub(super) fn login_error(&self, error: &AuthError) -> LoginError {
        let why = error_chain(error);
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

    /// Revokes a token (RFC 7009). Failures are only reported: the login is removed in any
    /// case.
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
        let answer = self.http.send(request).await;
        let answer =
            answer.map_err(|error| LoginError::failed(&self.server, error_chain(&*error)))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(LoginError::failed(&self.server, format!("{status}"))),
        }
    }
}

/// Whether a document at this URL may describe `issuer`: at a well-known address derived from
/// the issuer's (RFC 8414, section 3; OpenID Connect Discovery, section 4), or at the root of
/// the issuer's host.
fn describes(document: &Url, issuer: &str) -> bool {
    // Normalised already, except for the slash of a root.
    let Ok(mut candidate) = Url::parse(issuer) else { return false };
    if candidate.as_str().trim_end_matches('/') != issuer.trim_end_matches('/') {
        return false;
    }
    let path = candidate.path().trim_matches('/').to_owned();
    let path = if path.is_empty() { path } else { format!("/{path}") };
    candidate.set_query(None);
    candidate.set_fragment(None);
    [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
        format!("{path}/.well-known/openid-configuration"),
        "/.well-known/oauth-authorization-server".to_owned(),
    ]
    .iter()
    .any(|path| {
        candidate.set_path(path);
        candidate == *document
    })
}

/// A string member of the metadata.
pub(super) fn text<'m>(metadata: &'m AuthorizationMetadata, name: &str) -> Option<&'m str> {
    metadata.additional_fields.get(name).and_then(|value| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_metadata_is_only_fetched_from_well_known_urls() {
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
