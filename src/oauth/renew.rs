//! A new token for the refresh token, and tokens given back.

use jiff::Timestamp;
use rmcp::transport::auth::{
    AuthError, CredentialStore as _, InMemoryCredentialStore, StoredCredentials,
};
use serde_json::json;

use super::LoginError;
use super::discover::Place;
use super::record::{Record, Secret};

impl Place {
    /// Exchanges `record`'s refresh token. The server is asked anew who logs
    /// people in for it: the refresh token goes to its issuer and nobody else.
    /// `None` where a person has to log in again.
    pub(super) async fn renew(&self, record: &Record) -> Result<Option<Record>, LoginError> {
        let Some(refresh) = record.refresh() else { return Ok(None) };
        let mut found = self.discover(None).await?;
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
                Ok(Some(record.renewed(grant, Timestamp::now().as_second())))
            }
            Err(AuthError::TokenRefreshRejected(_) | AuthError::AuthorizationRequired) => Ok(None),
            Err(error) => Err(self.blame(&error)),
        }
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
