//! One attempt to get a new token: by renewal where possible, otherwise by a login of the
//! user.

use std::time::Duration;

use tokio::sync::watch;

use super::browser;
use super::error::display_url;
use super::login::{ClientConfig, LoginRequest};
use super::login_store::Lock;
use super::record::{ObtainedBy, Record};
use super::session::{Inner, Progress, is_refused, now};
use super::{Challenge, LoginError};

/// Added to the login timeout when waiting for another process's login.
const LOCK_MARGIN: Duration = Duration::from_secs(30);

impl Inner {
    /// Handles `challenge` and reports progress. Takes up to the login timeout.
    pub(super) async fn handle_challenge(
        &self,
        challenge: &Challenge,
        progress: &watch::Sender<Progress>,
    ) -> Result<(), LoginError> {
        let lock = self.acquire_lock(|| {
            progress.send_replace(Progress::OtherProcess);
        });
        let lock = lock.await?;
        progress.send_replace(Progress::Preparing);
        let record = self.record();
        let record = match record.as_deref() {
            Some(record) if !is_refused(record, challenge) => return Ok(()),
            record => record,
        };
        let scopes = match record {
            Some(record) if challenge.wants_scope() => self.more_scopes(record, challenge)?,
            Some(record) => {
                if self.try_renew(&lock, record, challenge).await? {
                    return Ok(());
                }
                // Scopes requested before, also by step-up, are requested again.
                record.details.requested_scopes.clone()
            }
            None => Vec::new(),
        };
        let header = challenge.header().map(str::to_owned);
        let request = self.login_request(record, ClientConfig::default(), header, scopes);
        self.log_in_under_lock(&lock, &request, |page| {
            progress.send_replace(Progress::Page(page));
        })
        .await
        .map(drop)
    }

    /// Acquires the lock; calls `on_wait` first if another process holds it.
    pub(super) async fn acquire_lock(&self, on_wait: impl FnOnce()) -> Result<Lock, LoginError> {
        if let Some(lock) = self.lock(Duration::ZERO).await? {
            return Ok(lock);
        }
        on_wait();
        let max_wait = self.options.login_timeout + LOCK_MARGIN;
        self.lock(max_wait).await?.ok_or_else(|| LoginError::TimedOut {
            server: display_url(&self.oauth.server),
            minutes: max_wait.as_secs() / 60,
        })
    }

    /// Uses the refresh token after the access token was refused. `false` if the user has to
    /// log in.
    pub(super) async fn try_renew(
        &self,
        lock: &Lock,
        record: &Record,
        challenge: &Challenge,
    ) -> Result<bool, LoginError> {
        match record.recently_obtained_by(now()) {
            Some(ObtainedBy::Login) => {
                let why = "it was given less than a minute ago";
                Err(LoginError::token_rejected(&self.oauth.server, why))
            }
            Some(ObtainedBy::Renewal) => Ok(false),
            None => Ok(self.renew_under_lock(lock, record, challenge.header()).await?.is_some()),
        }
    }

    /// The scopes to request on `insufficient_scope`: those requested and granted so far, and
    /// those in the challenge.
    fn more_scopes(
        &self,
        record: &Record,
        challenge: &Challenge,
    ) -> Result<Vec<String>, LoginError> {
        let wanted = challenge.scopes();
        let mut scopes = record.details.requested_scopes.clone();
        scopes.extend(record.details.granted_scopes.iter().cloned());
        let more: Vec<_> = wanted.iter().filter(|scope| !scopes.contains(scope)).collect();
        if more.is_empty() {
            let server = display_url(&self.oauth.server);
            let why = match wanted.is_empty() {
                true => format!(
                    "it wants more scope and does not say which; ask for it with `agentgate login \
                     --again --scope SCOPE {server}`"
                ),
                false => {
                    let wanted = wanted.join(" ");
                    format!(
                        "it wants the scope `{wanted}`, which was asked for and is not enough, or \
                         was not granted; to ask again: `agentgate login --again --scope '{wanted}' \
                         {server}`"
                    )
                }
            };
            return Err(LoginError::token_rejected(&self.oauth.server, why));
        }
        scopes.extend(more.into_iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        scopes.retain(|scope| seen.insert(scope.clone()));
        Ok(scopes)
    }

    /// The login to request. A client that was registered by hand is reused, with its issuer.
    pub(super) fn login_request(
        &self,
        record: Option<&Record>,
        client: ClientConfig,
        challenge: Option<String>,
        scopes: Vec<String>,
    ) -> LoginRequest {
        let is_new = client.id.is_some() || client.document.is_some();
        match record.filter(|record| record.details.client.given && !is_new) {
            Some(record) => {
                let client = ClientConfig::of_login(record, client.port);
                LoginRequest { challenge, scopes, client }
            }
            None => LoginRequest { challenge, scopes, client },
        }
    }

    /// Has the user log in, and stores the login.
    pub(super) async fn log_in_under_lock(
        &self,
        lock: &Lock,
        request: &LoginRequest,
        on_page: impl FnOnce(String),
    ) -> Result<Record, LoginError> {
        let prepared = self.oauth.prepare(request).await?;
        on_page(prepared.page().to_string());
        let server = display_url(&self.oauth.server);
        let page = prepared.page().clone();
        let open = self.options.browser;
        let shown = async move {
            browser::show(&server, &page, open).await;
            // The login ends when the user has logged in, not before.
            std::future::pending::<()>().await;
        };
        let record = tokio::select! {
            record = prepared.finish(self.options.login_timeout) => record?,
            () = shown => return Err(LoginError::failed(&self.oauth.server, "it was broken off")),
        };
        self.save(lock, &record)?;
        Ok(record)
    }
}
