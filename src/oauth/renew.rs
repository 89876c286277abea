//! Renewal by refresh token, and revocation.

use jiff::Timestamp;
use rmcp::transport::auth::{
    AuthError, CredentialStore as _, InMemoryCredentialStore, StoredCredentials,
};
use serde_json::json;

use super::LoginError;
use super::discover::OAuthClient;
use super::error::display_url;
use super::record::{Record, Secret};

/// Errors after which a retry is useless (RFC 6749, section 5.2; RFC 8707, section 2). A
/// dynamically registered client is registered again with the next login.
const PERMANENT_ERRORS: [&str; 5] = [
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
];

impl OAuthClient {
    /// Exchanges the refresh token of `record`. Discovery is repeated, so that the token is
    /// sent only to its issuer. `challenge` is the server's latest, if any. `None` if the user
    /// has to log in again.
    pub(super) async fn renew(
        &self,
        record: &Record,
        challenge: Option<&str>,
    ) -> Result<Option<Record>, LoginError> {
        let Some(refresh) = record.refresh() else { return Ok(None) };
        let mut found = self.discover(challenge.or(record.details.challenge.as_deref())).await?;
        if found.issuer != record.details.issuer {
            return match record.details.client.given {
                false => Ok(None),
                true => Err(self.issuer_changed(&record.details.issuer, &found.issuer)),
            };
        }
        self.configure_client(&mut found, &record.details.client)?;
        let kept = InMemoryCredentialStore::new();
        kept.save(self.stored_credentials(record, refresh)?)
            .await
            .map_err(|error| self.login_error(&error))?;
        found.manager.set_credential_store(kept);
        match found.manager.refresh_token().await {
            Ok(response) => {
                let grant = self.grant(&response)?;
                let mut renewed = record.renewed(grant, Timestamp::now().as_second());
                renewed.details.challenge = found.challenge;
                Ok(Some(renewed))
            }
            Err(AuthError::TokenRefreshRejected(_) | AuthError::AuthorizationRequired) => Ok(None),
            Err(error) => match found.refusal().as_deref() {
                Some("invalid_client" | "unauthorized_client") if record.details.client.given => {
                    Err(self.client_rejected(&record.details.client.id))
                }
                Some(refusal) if PERMANENT_ERRORS.contains(&refusal) => Ok(None),
                _ => Err(self.login_error(&error)),
            },
        }
    }

    /// The issuer no longer accepts the manually registered client or its secret, which only
    /// the user can replace.
    fn client_rejected(&self, client: &str) -> LoginError {
        let server = display_url(&self.server);
        let why = format!(
            "its authorization server does not take the client `{client}`, which was registered \
             by hand, or its secret, any more; log in again with `agentgate login --again \
             --client-id ID --client-secret-env VARIABLE {server}`"
        );
        LoginError::untrusted(&self.server, why)
    }

    /// A manually registered client and its secret belong to one issuer, which has changed.
    pub(super) fn issuer_changed(&self, from: &str, to: &str) -> LoginError {
        let why = format!(
            "it has people log in at `{to}`, and the client was registered by hand with `{from}`; \
             where that is right, run `agentgate logout` and log in anew with a client of the \
             new issuer"
        );
        LoginError::untrusted(&self.server, why)
    }

    /// The refresh token as rmcp expects it.
    fn stored_credentials(
        &self,
        record: &Record,
        refresh: &Secret,
    ) -> Result<StoredCredentials, LoginError> {
        let response = serde_json::from_value(json!({
            "access_token": record.access().expose(),
            "token_type": "Bearer",
            "refresh_token": refresh.expose(),
        }));
        let response = response
            .map_err(|_| LoginError::failed(&self.server, "the refresh token cannot be read"))?;
        let client = record.details.client.id.clone();
        Ok(StoredCredentials::new(
            client,
            Some(response),
            record.details.granted_scopes.clone(),
            None,
        ))
    }

    /// Revokes `record`'s tokens (RFC 7009), the refresh token first, as most servers then
    /// revoke the rest. `None` if the issuer has no revocation endpoint.
    pub(super) async fn revoke_tokens(&self, record: &Record) -> Option<Result<(), LoginError>> {
        let endpoint = record.details.revocation.as_deref()?;
        let refresh = record.refresh().map(|token| (token, "refresh_token"));
        for (token, kind) in refresh.into_iter().chain([(record.access(), "access_token")]) {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("token", token.expose()).append_pair("token_type_hint", kind);
            form.append_pair("client_id", &record.details.client.id);
            let proof = record.details.client.basic();
            if let Err(error) = self.revoke(endpoint, proof, form.finish()).await {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }
}
