//! One attempt to have a token again: a renewal where that will do, a person
//! where it will not.

use std::time::Duration;

use tokio::sync::watch;

use super::browser;
use super::error::shown;
use super::login::{Who, Wish};
use super::record::{By, Record};
use super::session::{Inner, Progress, is_refused, now};
use super::vault::Lock;
use super::{Challenge, LoginError};

/// How much longer than a person may take the wait for another process's login is.
const SLACK: Duration = Duration::from_secs(30);

impl Inner {
    /// Answers `challenge`, telling how far it is. Takes as long as a person may.
    pub(super) async fn answer(
        &self,
        challenge: &Challenge,
        tell: &watch::Sender<Progress>,
    ) -> Result<(), LoginError> {
        let lock = self.queue(|| {
            tell.send_replace(Progress::Elsewhere);
        });
        let lock = lock.await?;
        tell.send_replace(Progress::Preparing);
        let record = self.record();
        let record = match record.as_deref() {
            Some(record) if !is_refused(record, challenge) => return Ok(()),
            record => record,
        };
        let scopes = match record {
            Some(record) if challenge.wants_scope() => self.more_scopes(record, challenge)?,
            Some(record) => {
                if self.has_renewed(&lock, record, challenge).await? {
                    return Ok(());
                }
                // What had been asked for, a wider scope too, is asked for again.
                record.asked.clone()
            }
            None => Vec::new(),
        };
        let header = challenge.header().map(str::to_owned);
        let wish = self.wish(record, Who::default(), header, scopes);
        self.log_in_held(&lock, &wish, |page| {
            tell.send_replace(Progress::Page(page));
        })
        .await
        .map(drop)
    }

    /// Takes the lock, saying so where another process has it.
    pub(super) async fn queue(&self, on_wait: impl FnOnce()) -> Result<Lock, LoginError> {
        if let Some(lock) = self.lock(Duration::ZERO).await? {
            return Ok(lock);
        }
        on_wait();
        let patience = self.options.patience + SLACK;
        self.lock(patience).await?.ok_or_else(|| LoginError::TimedOut {
            server: shown(&self.place.server),
            minutes: patience.as_secs() / 60,
        })
    }

    /// Tries the refresh token of a token that was refused; `false` where a
    /// person has to log in.
    pub(super) async fn has_renewed(
        &self,
        lock: &Lock,
        record: &Record,
        challenge: &Challenge,
    ) -> Result<bool, LoginError> {
        match record.new_by(now()) {
            Some(By::Login) => {
                let why = "it was given less than a minute ago";
                Err(LoginError::useless(&self.place.server, why))
            }
            Some(By::Renewal) => Ok(false),
            None => Ok(self.renew_held(lock, record, challenge.header()).await?.is_some()),
        }
    }

    /// What to ask for where the token is good, but not for this: all that it
    /// was for, and what the server names besides.
    fn more_scopes(
        &self,
        record: &Record,
        challenge: &Challenge,
    ) -> Result<Vec<String>, LoginError> {
        let wanted = challenge.scopes();
        let mut scopes = record.asked.clone();
        scopes.extend(record.scopes.iter().cloned());
        let more: Vec<_> = wanted.iter().filter(|scope| !scopes.contains(scope)).collect();
        if more.is_empty() {
            let server = shown(&self.place.server);
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
            return Err(LoginError::useless(&self.place.server, why));
        }
        scopes.extend(more.into_iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        scopes.retain(|scope| seen.insert(scope.clone()));
        Ok(scopes)
    }

    /// What a login is to be made for. A client that a person gave once is used
    /// again, with the issuer that it belongs to.
    pub(super) fn wish(
        &self,
        record: Option<&Record>,
        who: Who,
        challenge: Option<String>,
        scopes: Vec<String>,
    ) -> Wish {
        let is_new = who.id.is_some() || who.document.is_some();
        match record.filter(|record| record.client.given && !is_new) {
            Some(record) => {
                let who = Who::again(record, who.port);
                Wish { challenge, scopes, who }
            }
            None => Wish { challenge, scopes, who },
        }
    }

    /// Has the person log in, and keeps what comes of it.
    pub(super) async fn log_in_held(
        &self,
        lock: &Lock,
        wish: &Wish,
        on_page: impl FnOnce(String),
    ) -> Result<Record, LoginError> {
        let prepared = self.place.prepare(wish).await?;
        on_page(prepared.page().to_string());
        let server = shown(&self.place.server);
        let page = prepared.page().clone();
        let open = self.options.browser;
        let shown = async move {
            browser::show(&server, &page, open).await;
            // The login ends when the person has logged in, not before.
            std::future::pending::<()>().await;
        };
        let record = tokio::select! {
            record = prepared.finish(self.options.patience) => record?,
            () = shown => return Err(LoginError::failed(&self.place.server, "it was broken off")),
        };
        self.save(lock, &record)?;
        Ok(record)
    }
}
