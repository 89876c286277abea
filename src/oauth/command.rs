//! `agentgate login` and `agentgate logout`.

use jiff::Timestamp;

use super::LoginError;
use super::login::ClientConfig;
use super::record::Record;
use super::session::{Session, now};

/// Options of `agentgate login`.
#[derive(Debug, Clone, Default)]
pub struct LoginOptions {
    /// The scopes to request; if empty, those in the challenge.
    pub scopes: Vec<String>,
    /// The client to log in as, instead of one that the gate registers.
    pub client: ClientConfig,
    /// Whether to log in again although there is a working login.
    pub again: bool,
}

/// A summary of a login, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Whether it was made by this call.
    pub is_new: bool,
    /// The issuer.
    pub issuer: String,
    /// The client id.
    pub client: String,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// When the access token expires, if the server told.
    pub expires: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub renews: bool,
}

/// The outcome of logging out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogoutOutcome {
    /// There was no login.
    None,
    /// Removed here; the authorization server has no revocation endpoint.
    Forgotten,
    /// Removed here, and its tokens were revoked.
    Revoked,
    /// Removed here; the tokens could not be revoked.
    NotRevoked(LoginError),
}

impl Session {
    /// Has the user log in, unless there is a working login. If another process is logging in
    /// to the same server, waits for it and uses its login. [`super::Options::answer_within`]
    /// does not apply.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn log_in(&self, wanted: LoginOptions) -> Result<Login, LoginError> {
        let inner = &self.inner;
        let mut has_waited = false;
        let lock = inner.acquire_lock(|| {
            has_waited = true;
            anstream::eprintln!("agentgate: waiting for another agentgate's login to this server");
        });
        let lock = lock.await?;
        let record = inner.record();
        if let Some(record) = record.as_deref()
            && (!wanted.again || has_waited)
            && wanted.scopes.iter().all(|scope| record.details.requested_scopes.contains(scope))
            && wanted.client.matches(record)
        {
            if !record.is_due(now()) {
                return Ok(Login::from_record(record, false));
            }
            if let Some(renewed) = inner.renew_under_lock(&lock, record, None).await? {
                return Ok(Login::from_record(&renewed, false));
            }
        }
        let request = inner.login_request(record.as_deref(), wanted.client, None, wanted.scopes);
        let record = inner.log_in_under_lock(&lock, &request, drop).await?;
        Ok(Login::from_record(&record, true))
    }

    /// Removes the login, and revokes its tokens if the server supports that.
    ///
    /// # Errors
    /// [`LoginError::Storage`] if the file cannot be removed; [`LoginError::TimedOut`] if
    /// another process is logging in.
    pub async fn log_out(&self) -> Result<LogoutOutcome, LoginError> {
        let inner = &self.inner;
        let lock = inner.acquire_lock(|| {
            anstream::eprintln!("agentgate: waiting for another agentgate's login to this server");
        });
        let lock = lock.await?;
        let record = inner.record();
        let removed = inner.store.remove(&lock);
        removed.map_err(|error| LoginError::storage(inner.store.path(), error))?;
        let Some(record) = record else { return Ok(LogoutOutcome::None) };
        Ok(match inner.oauth.revoke_tokens(&record).await {
            None => LogoutOutcome::Forgotten,
            Some(Ok(())) => LogoutOutcome::Revoked,
            Some(Err(error)) => LogoutOutcome::NotRevoked(error),
        })
    }
}

impl Login {
    fn from_record(record: &Record, is_new: bool) -> Self {
        Self {
            is_new,
            issuer: record.details.issuer.clone(),
            client: record.details.client.id.clone(),
            scopes: record.details.granted_scopes.clone(),
            expires: record.expires().and_then(|at| Timestamp::from_second(at).ok()),
            renews: record.refresh().is_some(),
        }
    }
}
