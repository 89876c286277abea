//! One server's login, as its client sees it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use url::Url;

use super::discover::Place;
use super::error::shown;
use super::exchange::Exchange;
use super::record::Record;
use super::trust::Trust;
use super::vault::{Lock, Stamp, Vault};
use super::{Challenge, LoginError};
use crate::net::client::Client;

/// How long a renewal waits for another process's renewal or login.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(3);

/// How long after a renewal that failed none is tried before a request: the
/// token may still do, and requests must not queue for what does not come.
const REST: Duration = Duration::from_secs(10);

/// How long a person who refused, or did not come, is not asked again.
const QUIET: Duration = Duration::from_secs(60);

/// How long a look at the file will do for requests: the login or logout of
/// another process is seen that much later.
const GLANCE: Duration = Duration::from_millis(100);

/// How a session behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether a browser is opened; the page's address is told in any case.
    pub browser: bool,
    /// How long a person may take to log in.
    pub patience: Duration,
    /// How long [`Session::challenged`] waits for the person before it answers
    /// [`LoginError::Waiting`]; shorter than clients wait for an answer.
    pub answer_within: Duration,
}

impl Options {
    /// The default of [`Options::patience`].
    pub const PATIENCE: Duration = Duration::from_secs(5 * 60);

    /// The default of [`Options::answer_within`]: SDKs give a call 60 seconds.
    pub const ANSWER_WITHIN: Duration = Duration::from_secs(45);
}

impl Default for Options {
    fn default() -> Self {
        Self { browser: true, patience: Self::PATIENCE, answer_within: Self::ANSWER_WITHIN }
    }
}

/// The login to one server. Cheap to clone; clones are one session.
#[derive(Debug, Clone)]
pub struct Session {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) place: Place,
    pub(super) vault: Vault,
    pub(super) options: Options,
    /// What the file held when it was last read.
    known: Mutex<Option<(Stamp, Arc<Record>)>>,
    /// What the last look at the file found, and when.
    seen: Mutex<Option<(Instant, Option<Arc<Record>>)>>,
    /// Held while renewing, so that the requests of this process queue here and
    /// not on the file.
    renewing: tokio::sync::Mutex<()>,
    /// Held from when a refresh token is offered until what came of it is kept.
    exchanging: tokio::sync::Mutex<()>,
    /// When a renewal failed last.
    failed: Mutex<Option<Instant>>,
    /// The login under way, or the last one.
    attempt: Mutex<Option<watch::Receiver<Progress>>>,
}

/// How far a login is.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// The page is being found out.
    Preparing,
    /// Another process is logging in.
    Elsewhere,
    /// The person has to see this page.
    Page(String),
    /// It is over, since then.
    Ended(Result<(), LoginError>, Instant),
}

impl Session {
    /// The login to the server at `server`, kept below `folder` (the data
    /// folder). Opens nothing and asks nobody.
    ///
    /// # Errors
    /// [`LoginError::Untrusted`] where tokens must not be sent to such a URL:
    /// another scheme than https, but for http on this very machine.
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
            vault: Vault::of(folder, &server),
            place: Place { server, trust, exchange: Exchange::new(client, trust) },
            options,
            known: Mutex::new(None),
            seen: Mutex::new(None),
            renewing: tokio::sync::Mutex::new(()),
            exchanging: tokio::sync::Mutex::new(()),
            failed: Mutex::new(None),
            attempt: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The `Authorization` header for the next request, renewed where it is
    /// about to expire; `None` where there is no login. To be asked before each
    /// request; never opens a browser.
    pub async fn authorization(&self) -> Option<HeaderValue> {
        let record = self.inner.glance()?;
        if !record.is_due(now()) || record.refresh().is_none() {
            return record.header();
        }
        let (inner, due) = (Arc::clone(&self.inner), Arc::clone(&record));
        // In a task of its own: whoever asked may go, but what was given for a refresh
        // token that is used up has to be kept.
        let renewing = tokio::spawn(async move { inner.renew(&due).await });
        match renewing.await {
            Ok(Some(renewed)) => renewed.header(),
            // Whatever the server says to a token that has run out is a challenge.
            Ok(None) => record.header(),
            Err(error) => {
                tracing::error!(%error, "a renewal failed");
                record.header()
            }
        }
    }

    /// Answers a server's refusal: renews the token, or has the person log in.
    /// After `Ok` the request is to be sent once more, with a new
    /// [`Session::authorization`]; a second refusal is the client's to report.
    /// Takes [`Options::answer_within`] at most, while the login itself goes on.
    ///
    /// # Errors
    /// See [`LoginError`]; its words are meant for the person or the model.
    pub async fn challenged(&self, challenge: &Challenge) -> Result<(), LoginError> {
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
        let server = shown(self.server());
        match latest {
            Progress::Ended(result, _) => result,
            Progress::Page(url) => Err(LoginError::Waiting { server, url: Some(url) }),
            Progress::Elsewhere => Err(LoginError::Waiting { server, url: None }),
            Progress::Preparing => {
                Err(LoginError::failed(self.server(), "its authorization server does not answer"))
            }
        }
    }

    /// Answers a server's refusal as [`Session::challenged`] does, as far as that takes
    /// no person: for what nobody asked for just now.
    ///
    /// # Errors
    /// See [`LoginError`]; a person may have to log in.
    pub async fn renewed(&self, challenge: &Challenge) -> Result<(), LoginError> {
        let (inner, challenge) = (Arc::clone(&self.inner), challenge.clone());
        let renewing = tokio::spawn(async move { inner.renew_refused(&challenge).await });
        let broken_off = |_| Err(LoginError::failed(self.server(), "it was broken off"));
        renewing.await.unwrap_or_else(broken_off)
    }

    /// Waits for a renewal under way, `patience` at most: a process that ends in the
    /// middle of one loses what was given for the refresh token.
    pub async fn at_rest(&self, patience: Duration) {
        let _ = timeout(patience, self.inner.exchanging.lock()).await;
    }

    /// Joins the login under way, or begins one.
    fn join(&self, challenge: &Challenge) -> Result<watch::Receiver<Progress>, LoginError> {
        let mut attempt = held(&self.inner.attempt);
        if let Some(progress) = &*attempt {
            match &*progress.borrow() {
                Progress::Ended(Err(error), at) if error.is_an_answer() && at.elapsed() < QUIET => {
                    return Err(error.clone());
                }
                // A task that panicked never said that it ended.
                Progress::Ended(..) => {}
                _ if progress.has_changed().is_err() => {}
                _ => return Ok(progress.clone()),
            }
        }
        let (tell, progress) = watch::channel(Progress::Preparing);
        *attempt = Some(progress.clone());
        let (inner, challenge) = (Arc::clone(&self.inner), challenge.clone());
        tokio::spawn(async move {
            let result = inner.answer(&challenge, &tell).await;
            tell.send_replace(Progress::Ended(result, Instant::now()));
        });
        Ok(progress)
    }

    pub(super) fn server(&self) -> &Url {
        &self.inner.place.server
    }
}

impl Inner {
    /// The login that was kept a moment ago.
    fn glance(&self) -> Option<Arc<Record>> {
        match &*held(&self.seen) {
            Some((at, record)) if at.elapsed() < GLANCE => return record.clone(),
            _ => {}
        }
        self.record()
    }

    /// The login that is kept.
    pub(super) fn record(&self) -> Option<Arc<Record>> {
        let record = self.read();
        *held(&self.seen) = Some((Instant::now(), record.clone()));
        record
    }

    /// Reads the file anew where it has changed.
    fn read(&self) -> Option<Arc<Record>> {
        let stamp = self.vault.stamp()?;
        if let Some((known, record)) = &*held(&self.known)
            && *known == stamp
        {
            return Some(Arc::clone(record));
        }
        match self.vault.load() {
            Ok(record) => {
                let record = Arc::new(record?);
                *held(&self.known) = Some((stamp, Arc::clone(&record)));
                Some(record)
            }
            Err(error) => {
                tracing::warn!(path = %self.vault.path().display(), %error, "no login is used");
                None
            }
        }
    }

    /// Renews `record` before a request, once however many ask: whoever comes
    /// later takes what the first got. `None` where that fails.
    async fn renew(&self, record: &Record) -> Option<Arc<Record>> {
        let _turn = self.renewing.lock().await;
        if held(&self.failed).is_some_and(|at| at.elapsed() < REST) {
            return None;
        }
        match self.renew_locked(record).await {
            Ok(renewed) => Some(renewed),
            Err(error) => {
                tracing::warn!(%error, "the login was not renewed");
                *held(&self.failed) = Some(Instant::now());
                None
            }
        }
    }

    async fn renew_locked(&self, record: &Record) -> Result<Arc<Record>, LoginError> {
        let lock = self
            .lock(RENEWAL_PATIENCE)
            .await?
            .ok_or_else(|| LoginError::failed(&self.place.server, "a login is under way"))?;
        match self.record() {
            Some(current) if current.access() != record.access() => return Ok(current),
            _ => {}
        }
        match self.renew_held(&lock, record, None).await? {
            Some(renewed) => Ok(renewed),
            None => Err(self.needs_a_person()),
        }
    }

    /// Renews the token that `challenge` is about, where that takes no person.
    async fn renew_refused(&self, challenge: &Challenge) -> Result<(), LoginError> {
        let lock = self
            .lock(RENEWAL_PATIENCE)
            .await?
            .ok_or_else(|| LoginError::failed(&self.place.server, "a login is under way"))?;
        match self.record() {
            Some(record) if !is_refused(&record, challenge) => Ok(()),
            Some(record) if self.has_renewed(&lock, &record, challenge).await? => Ok(()),
            _ => Err(self.needs_a_person()),
        }
    }

    fn needs_a_person(&self) -> LoginError {
        LoginError::Over { server: shown(&self.place.server) }
    }

    /// Renews `record` under the lock; `None` where a person has to log in. `challenge`
    /// is what the server said, where it refused the token.
    pub(super) async fn renew_held(
        &self,
        lock: &Lock,
        record: &Record,
        challenge: Option<&str>,
    ) -> Result<Option<Arc<Record>>, LoginError> {
        if record.refresh().is_none() {
            return Ok(None);
        }
        let _exchanging = self.exchanging.lock().await;
        if let Some(renewed) = self.place.renew(record, challenge).await? {
            self.save(lock, &renewed)?;
            return Ok(Some(Arc::new(renewed)));
        }
        // What was refused once is not offered again.
        self.save(lock, &record.without_refresh())?;
        Ok(None)
    }

    pub(super) async fn lock(&self, patience: Duration) -> Result<Option<Lock>, LoginError> {
        let lock = self.vault.lock(patience).await;
        lock.map_err(|error| LoginError::unkept(self.vault.path(), error))
    }

    pub(super) fn save(&self, lock: &Lock, record: &Record) -> Result<(), LoginError> {
        let saved = self.vault.save(lock, record);
        *held(&self.seen) = None;
        saved.map_err(|error| LoginError::unkept(self.vault.path(), error))
    }
}

/// Whether the token that `challenge` is about is still `record`'s.
pub(super) fn is_refused(record: &Record, challenge: &Challenge) -> bool {
    challenge.refused().is_some_and(|refused| record.header().as_ref() == Some(refused))
}

pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
