//! A new token for the refresh token, and tokens given back.

use jiff::Timestamp;
use rmcp::transport::auth::{
    AuthError, CredentialStore as _, InMemoryCredentialStore, StoredCredentials,
};
use serde_json::json;

use super::LoginError;
use super::discover::Place;
use super::error::shown;
use super::record::{Record, Secret};

/// Errors that another try does not change (RFC 6749, section 5.2; RFC 8707, section
/// 2). A client that the gate registered is registered anew with the next login.
const FINAL: [&str; 5] = [
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
];

impl Place {
    /// Exchanges `record`'s refresh token. The server is asked anew who logs
    /// people in for it: the refresh token goes to its issuer and nobody else.
    /// `challenge` is what the server said just now, where it did. `None` where a
    /// person has to log in again.
    pub(super) async fn renew(
        &self,
        record: &Record,
        challenge: Option<&str>,
    ) -> Result<Option<Record>, LoginError> {
        let Some(refresh) = record.refresh() else { return Ok(None) };
        let mut found = self.discover(challenge.or(record.challenge.as_deref())).await?;
        if found.issuer != record.issuer {
            return match record.client.given {
                false => Ok(None),
                true => Err(self.moved(&record.issuer, &found.issuer)),
            };
        }
        self.become_client(&mut found, &record.client)?;
        let kept = InMemoryCredentialStore::new();
        kept.save(self.stored(record, refresh)?).await.map_err(|error| self.blame(&error))?;
        found.manager.set_credential_store(kept);
        match found.manager.refresh_token().await {
            Ok(response) => {
                let grant = self.grant(&response)?;
                let mut renewed = record.renewed(grant, Timestamp::now().as_second());
                renewed.challenge = found.challenge;
                Ok(Some(renewed))
            }
            Err(AuthError::TokenRefreshRejected(_) | AuthError::AuthorizationRequired) => Ok(None),
            Err(error) => match found.refusal().as_deref() {
                Some("invalid_client" | "unauthorized_client") if record.client.given => {
                    Err(self.unknown(&record.client.id))
                }
                Some(refusal) if FINAL.contains(&refusal) => Ok(None),
                _ => Err(self.blame(&error)),
            },
        }
    }

    /// The issuer does not know the client any more that a person gave, or refuses its
    /// secret: only a person can give another.
    fn unknown(&self, client: &str) -> LoginError {
        let server = shown(&self.server);
        let why = format!(
            "its authorization server does not take the client `{client}`, which was registered \
             by hand, or its secret, any more; log in again with `agentgate login --again \
             --client-id ID --client-secret-env VARIABLE {server}`"
        );
        LoginError::untrusted(&self.server, why)
    }

    /// A client registered by hand, and its secret, belong to one issuer.
    pub(super) fn moved(&self, from: &str, to: &str) -> LoginError {
        let why = format!(
            "it has people log in at `{to}`, and the client was registered by hand with `{from}`; \
             where that is right, run `agentgate logout` and log in anew with a client of the \
             new issuer"
        );
        LoginError::untrusted(&self.server, why)
    }

    /// The refresh token as rmcp takes it.
    fn stored(&self, record: &Record, refresh: &Secret) -> Result<StoredCredentials, LoginError> {
        let response = serde_json::from_value(json!({
            "access_token": record.access().expose(),
            "token_type": "Bearer",
            "refresh_token": refresh.expose(),
        }));
        let response = response
            .map_err(|_| LoginError::failed(&self.server, "the refresh token cannot be read"))?;
        let client = record.client.id.clone();
        Ok(StoredCredentials::new(client, Some(response), record.scopes.clone(), None))
    }

    /// Gives `record`'s tokens back where its issuer takes them (RFC 7009); the
    /// refresh token first, as most then take the rest themselves. `None` where
    /// none are taken.
    pub(super) async fn give_back(&self, record: &Record) -> Option<Result<(), LoginError>> {
        let endpoint = record.revocation.as_deref()?;
        let refresh = record.refresh().map(|token| (token, "refresh_token"));
        for (token, kind) in refresh.into_iter().chain([(record.access(), "access_token")]) {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("token", token.expose()).append_pair("token_type_hint", kind);
            form.append_pair("client_id", &record.client.id);
            let proof = record.client.basic();
            if let Err(error) = self.revoke(endpoint, proof, form.finish()).await {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }
}
