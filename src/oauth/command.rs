//! Logging in and out by hand.

use jiff::Timestamp;

use super::LoginError;
use super::login::Who;
use super::record::Record;
use super::session::{Session, now};

/// What a person wants of a login.
#[derive(Debug, Clone, Default)]
pub struct LogIn {
    /// What to ask for, instead of what the server says.
    pub scopes: Vec<String>,
    /// Who the gate is to be, instead of a client that it registers.
    pub who: Who,
    /// Log in anew where there is a login.
    pub again: bool,
}

/// A login, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Whether it was made just now.
    pub is_new: bool,
    /// Who logged the person in.
    pub issuer: String,
    /// Who the gate is there.
    pub client: String,
    /// What was granted.
    pub scopes: Vec<String>,
    /// When the token ends, where that was said.
    pub expires: Option<Timestamp>,
    /// Whether it is renewed without the person.
    pub renews: bool,
}

/// What came of logging out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOut {
    /// There was no login.
    None,
    /// It is forgotten here; the authorization server takes nothing back.
    Forgotten,
    /// It is forgotten here, and its tokens were taken back.
    Revoked,
    /// It is forgotten here; the tokens were not taken back, and why.
    NotRevoked(LoginError),
}

impl Session {
    /// Has the person log in, unless there is a login that works. Waits for
    /// another process's login to the same server, and takes that.
    /// [`super::Options::answer_within`] does not count here.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn log_in(&self, want: LogIn) -> Result<Login, LoginError> {
        let inner = &self.inner;
        let mut has_waited = false;
        let lock = inner.queue(|| {
            has_waited = true;
            anstream::eprintln!("agentgate: waiting for another agentgate's login to this server");
        });
        let lock = lock.await?;
        let record = inner.record();
        if let Some(record) = record.as_deref()
            && (!want.again || has_waited)
            && want.scopes.iter().all(|scope| record.asked.contains(scope))
            && want.who.made(record)
        {
            if !record.is_due(now()) {
                return Ok(Login::told(record, false));
            }
            if let Some(renewed) = inner.renew_held(&lock, record, None).await? {
                return Ok(Login::told(&renewed, false));
            }
        }
        let wish = inner.wish(record.as_deref(), want.who, None, want.scopes);
        let record = inner.log_in_held(&lock, &wish, drop).await?;
        Ok(Login::told(&record, true))
    }

    /// Forgets the login, and has its tokens taken back where that is offered.
    ///
    /// # Errors
    /// [`LoginError::Unkept`] where the file cannot be removed;
    /// [`LoginError::TimedOut`] where another process is logging in.
    pub async fn log_out(&self) -> Result<LogOut, LoginError> {
        let inner = &self.inner;
        let lock = inner.queue(|| {
            anstream::eprintln!("agentgate: waiting for another agentgate's login to this server");
        });
        let lock = lock.await?;
        let record = inner.record();
        let removed = inner.vault.remove(&lock);
        removed.map_err(|error| LoginError::unkept(inner.vault.path(), error))?;
        let Some(record) = record else { return Ok(LogOut::None) };
        Ok(match inner.place.give_back(&record).await {
            None => LogOut::Forgotten,
            Some(Ok(())) => LogOut::Revoked,
            Some(Err(error)) => LogOut::NotRevoked(error),
        })
    }
}

impl Login {
    fn told(record: &Record, is_new: bool) -> Self {
        Self {
            is_new,
            issuer: record.issuer.clone(),
            client: record.client.id.clone(),
            scopes: record.scopes.clone(),
            expires: record.expires().and_then(|at| Timestamp::from_second(at).ok()),
            renews: record.refresh().is_some(),
        }
    }
}
