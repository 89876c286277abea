//! A session: one server's login, for its client.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use url::Url;

use super::discover::OAuthClient;
use super::error::display_url;
use super::http_client::HttpClient;
use super::login_store::{FileVersion, Lock, LoginStore};
use super::record::Record;
use super::trust::Trust;
use super::{Challenge, LoginError};
use crate::net::client::Client;

/// How long a renewal waits for the lock, held by another process's renewal or login.
const RENEWAL_LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long requests use the old token after a failed renewal: it may still be accepted, and
/// requests must not queue for a renewal that keeps failing.
const RENEWAL_BACKOFF: Duration = Duration::from_secs(10);

/// How long the user is not asked again after refusing a login or letting it time out.
const LOGIN_BACKOFF: Duration = Duration::from_secs(60);

/// How long the login is cached: delay until the login or logout of another process is noticed.
const CACHE_TTL: Duration = Duration::from_millis(100);

/// Options of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether to open a browser; the page's URL is printed in any case.
    pub browser: bool,
    /// How long the user has to log in.
    pub login_timeout: Duration,
    /// How long [`Session::handle_challenge`] waits for the user before it returns
    /// [`LoginError::Waiting`]; shorter than clients' timeouts.
    pub answer_within: Duration,
}

impl Options {
    /// The default of [`Options::login_timeout`].
    pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

    /// The default of [`Options::answer_within`]: SDKs time out after 60 seconds.
    pub const ANSWER_WITHIN: Duration = Duration::from_secs(45);
}

impl Default for Options {
    fn default() -> Self {
        Self {
            browser: true,
            login_timeout: Self::LOGIN_TIMEOUT,
            answer_within: Self::ANSWER_WITHIN,
        }
    }
}

/// The login to one server. Cheap to clone; clones are one session.
#[derive(Debug, Clone)]
pub struct Session {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) oauth: OAuthClient,
    pub(super) store: LoginStore,
    pub(super) options: Options,
    /// The login, and the file's version when it was read.
    loaded: Mutex<Option<(FileVersion, Arc<Record>)>>,
    /// The login, and when the file was last checked.
    cached: Mutex<Option<(Instant, Option<Arc<Record>>)>>,
    /// Held while renewing, so that requests of this process queue here rather than on the lock
    /// file.
    renewing: tokio::sync::Mutex<()>,
    /// Held from sending a refresh token until the result is stored.
    exchanging: tokio::sync::Mutex<()>,
    /// Time when a renewal last failed.
    failed: Mutex<Option<Instant>>,
    /// The login in progress, or the last one.
    attempt: Mutex<Option<watch::Receiver<Progress>>>,
}

/// The progress of a login.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// Discovery is running.
    Preparing,
    /// Another process is logging in.
    OtherProcess,
    /// The user has to open this page.
    Page(String),
    /// It has ended, at this time.
    Ended(Result<(), LoginError>, Instant),
}

impl Session {
    /// The login to `server`, stored below `folder` (the data folder). Does no I/O.
    ///
    /// # Errors
    /// [`LoginError::Untrusted`] if tokens must not be sent to this URL: it must use https, or
    /// http on this machine.
    pub fn for_url(
        server: &Url,
        folder: &Path,
        client: Client,
        options: Options,
    ) -> Result<Self, LoginError> {
        let mut server = server.clone();
        server.set_fragment(None);
        let trust = Trust::for_server(&server).ok_or_else(|| {
            LoginError::untrusted(&server, "tokens are sent by https only, or to this machine")
        })?;
        let inner = Inner {
            store: LoginStore::of(folder, &server),
            oauth: OAuthClient { server, trust, http: HttpClient::new(client, trust) },
            options,
            loaded: Mutex::new(None),
            cached: Mutex::new(None),
            renewing: tokio::sync::Mutex::new(()),
            exchanging: tokio::sync::Mutex::new(()),
            failed: Mutex::new(None),
            attempt: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The `Authorization` header for the next request, renewed if it is about to expire;
    /// `None` if there is no login. To be called before each request; never opens a browser.
    pub async fn authorization(&self) -> Option<HeaderValue> {
        let record = self.inner.cached_record()?;
        if !record.is_due(now()) || record.refresh().is_none() {
            return record.header();
        }
        let (inner, due) = (Arc::clone(&self.inner), Arc::clone(&record));
        // In its own task: the caller may be cancelled, but the result of a used-up refresh
        // token must be stored.
        let renewing = tokio::spawn(async move { inner.renew(&due).await });
        match renewing.await {
            Ok(Some(renewed)) => renewed.header(),
            // The server will challenge an expired token.
            Ok(None) => record.header(),
            Err(error) => {
                tracing::error!(%error, "a renewal failed");
                record.header()
            }
        }
    }

    /// Handles a server's refusal: renews the token, or has the user log in. After `Ok` the
    /// request should be sent once more with a new [`Session::authorization`]; a second refusal
    /// should be passed to the client. Takes [`Options::answer_within`] at most; a login in
    /// progress continues after that.
    ///
    /// # Errors
    /// See [`LoginError`]; its message is for the user or the model.
    pub async fn handle_challenge(&self, challenge: &Challenge) -> Result<(), LoginError> {
        if self.inner.record().is_some_and(|record| !is_refused(&record, challenge)) {
            return Ok(());
        }
        let mut progress = self.join(challenge)?;
        let ended = progress.wait_for(|progress| matches!(progress, Progress::Ended(..)));
        let ended = match timeout(self.inner.options.answer_within, ended).await {
            Ok(Ok(progress)) => Some(progress.clone()),
            Ok(Err(_)) => return Err(LoginError::failed(self.server(), "it was broken off")),
            Err(_) => None,
        };
        let latest = ended.unwrap_or_else(|| progress.borrow().clone());
        let server = display_url(self.server());
        match latest {
            Progress::Ended(result, _) => result,
            Progress::Page(url) => Err(LoginError::Waiting { server, url: Some(url) }),
            Progress::OtherProcess => Err(LoginError::Waiting { server, url: None }),
            Progress::Preparing => {
                Err(LoginError::failed(self.server(), "its authorization server does not answer"))
            }
        }
    }

    /// As [`Session::handle_challenge`], but never asks the user: for requests of the gate
    /// itself.
    ///
    /// # Errors
    /// See [`LoginError`]; the user may have to log in.
    pub async fn renew_after_challenge(&self, challenge: &Challenge) -> Result<(), LoginError> {
        let (inner, challenge) = (Arc::clone(&self.inner), challenge.clone());
        let renewing = tokio::spawn(async move { inner.renew_refused(&challenge).await });
        let broken_off = |_| Err(LoginError::failed(self.server(), "it was broken off"));
        renewing.await.unwrap_or_else(broken_off)
    }

    /// Waits up to `max_wait` for a renewal in progress: a process that exits during one loses
    /// the new tokens, and the refresh token is used up.
    pub async fn wait_for_renewal(&self, max_wait: Duration) {
        let _ = timeout(max_wait, self.inner.exchanging.lock()).await;
    }

    /// Joins the login in progress, or starts one.
    fn join(&self, challenge: &Challenge) -> Result<watch::Receiver<Progress>, LoginError> {
        let mut attempt = locked(&self.inner.attempt);
        if let Some(progress) = &*attempt {
            match &*progress.borrow() {
                Progress::Ended(Err(error), at)
                    if error.is_an_answer() && at.elapsed() < LOGIN_BACKOFF =>
                {
                    return Err(error.clone());
                }
                // A task that panicked never reported its end.
                Progress::Ended(..) => {}
                _ if progress.has_changed().is_err() => {}
                _ => return Ok(progress.clone()),
            }
        }
        let (sender, progress) = watch::channel(Progress::Preparing);
        *attempt = Some(progress.clone());
        let (inner, challenge) = (Arc::clone(&self.inner), challenge.clone());
        tokio::spawn(async move {
            let result = inner.handle_challenge(&challenge, &sender).await;
            sender.send_replace(Progress::Ended(result, Instant::now()));
        });
        Ok(progress)
    }

    pub(super) fn server(&self) -> &Url {
        &self.inner.oauth.server
    }
}

impl Inner {
    /// The login, from the cache if that is fresh.
    fn cached_record(&self) -> Option<Arc<Record>> {
        match &*locked(&self.cached) {
            Some((at, record)) if at.elapsed() < CACHE_TTL => return record.clone(),
            _ => {}
        }
        self.record()
    }

    /// The stored login.
    pub(super) fn record(&self) -> Option<Arc<Record>> {
        let record = self.read();
        *locked(&self.cached) = Some((Instant::now(), record.clone()));
        record
    }

    /// Reads the file again if it has changed.
    fn read(&self) -> Option<Arc<Record>> {
        let version = self.store.version()?;
        if let Some((known, record)) = &*locked(&self.loaded)
            && *known == version
        {
            return Some(Arc::clone(record));
        }
        match self.store.load() {
            Ok(record) => {
                let record = Arc::new(record?);
                *locked(&self.loaded) = Some((version, Arc::clone(&record)));
                Some(record)
            }
            Err(error) => {
                tracing::warn!(path = %self.store.path().display(), %error, "no login is used");
                None
            }
        }
    }

    /// Renews `record` before a request, once for all concurrent callers. `None` on failure.
    async fn renew(&self, record: &Record) -> Option<Arc<Record>> {
        let _turn = self.renewing.lock().await;
        if locked(&self.failed).is_some_and(|at| at.elapsed() < RENEWAL_BACKOFF) {
            return None;
        }
        match self.lock_and_renew(record).await {
            Ok(renewed) => Some(renewed),
            Err(error) => {
                tracing::warn!(%error, "the login was not renewed");
                *locked(&self.failed) = Some(Instant::now());
                None
            }
        }
    }

    async fn lock_and_renew(&self, record: &Record) -> Result<Arc<Record>, LoginError> {
        let lock = self.lock_for_renewal().await?;
        match self.record() {
            Some(current) if current.access() != record.access() => return Ok(current),
            _ => {}
        }
        match self.renew_under_lock(&lock, record, None).await? {
            Some(renewed) => Ok(renewed),
            None => Err(self.login_required()),
        }
    }

    /// Renews the token that `challenge` refused, without asking the user.
    async fn renew_refused(&self, challenge: &Challenge) -> Result<(), LoginError> {
        let lock = self.lock_for_renewal().await?;
        match self.record() {
            Some(record) if !is_refused(&record, challenge) => Ok(()),
            Some(record) if self.try_renew(&lock, &record, challenge).await? => Ok(()),
            _ => Err(self.login_required()),
        }
    }

    async fn lock_for_renewal(&self) -> Result<Lock, LoginError> {
        let lock = self.lock(RENEWAL_LOCK_TIMEOUT).await?;
        lock.ok_or_else(|| LoginError::failed(&self.oauth.server, "a login is under way"))
    }

    fn login_required(&self) -> LoginError {
        LoginError::Over { server: display_url(&self.oauth.server) }
    }

    /// Renews `record`; `None` if the user has to log in. `challenge` is the server's, if it
    /// refused the token. Requires the lock.
    pub(super) async fn renew_under_lock(
        &self,
        lock: &Lock,
        record: &Record,
        challenge: Option<&str>,
    ) -> Result<Option<Arc<Record>>, LoginError> {
        if record.refresh().is_none() {
            return Ok(None);
        }
        let _exchanging = self.exchanging.lock().await;
        if let Some(renewed) = self.oauth.renew(record, challenge).await? {
            self.save(lock, &renewed)?;
            return Ok(Some(Arc::new(renewed)));
        }
        // A refused refresh token must not be sent again.
        self.save(lock, &record.without_refresh())?;
        Ok(None)
    }

    pub(super) async fn lock(&self, max_wait: Duration) -> Result<Option<Lock>, LoginError> {
        let lock = self.store.lock(max_wait).await;
        lock.map_err(|error| LoginError::storage(self.store.path(), error))
    }

    pub(super) fn save(&self, lock: &Lock, record: &Record) -> Result<(), LoginError> {
        let saved = self.store.save(lock, record);
        *locked(&self.cached) = None;
        saved.map_err(|error| LoginError::storage(self.store.path(), error))
    }
}

/// Whether `record` still has the token that `challenge` refused.
pub(super) fn is_refused(record: &Record, challenge: &Challenge) -> bool {
    challenge.refused().is_some_and(|refused| record.header().as_ref() == Some(refused))
}

pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
