//! The client: pooled connections, HTTP/1.1 and HTTP/2, TLS with the system's
//! roots (and `SSL_CERT_FILE`), proxies of the environment. Redirects are never followed, and bodies come as
//! they were sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{
    CaptureConnection, Connected, HttpConnector, capture_connection,
};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use tokio::sync::watch;
use tokio::time::Instant;

use super::Body;
use super::body::{self, HoldError, Stalled, UNTAKEN, Unfit};
use super::connect::{Connector, WithTimeout};
use super::keepalive;
use super::workers;

/// Idle connections kept per host.
const MAX_IDLE: usize = 64;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a connection may take in all: the name, a proxy's tunnel, and TLS.
const READY: Duration = Duration::from_secs(30);

/// Bytes of one answer that lie ready while nobody takes them, and the largest head of
/// one; beyond that, the server is not read.
const MAX_UNTAKEN: usize = 64 << 10;

/// The same over HTTP/2, and for all answers on one connection: many that nobody takes
/// leave the others bandwidth.
const MAX_UNTAKEN_STREAM: u32 = 512 << 10;
const MAX_UNTAKEN_STREAMS: u32 = 32 * MAX_UNTAKEN_STREAM;

/// A client; cheap to clone, one pool a worker behind it.
#[derive(Debug, Clone)]
pub struct Client {
    /// By [`workers::current`]: a connection belongs to the thread that opened it.
    pools: Arc<[legacy::Client<WithTimeout<HttpsConnector<Connector>>, Body>]>,
    /// Whether what is under way is given up.
    stop: Arc<ArcSwap<watch::Sender<bool>>>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("the system's root certificates cannot be read: {0}")]
pub struct NoClient(std::io::Error);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection: nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke; the request may have arrived.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The sender let the body of the request wait; a part of it has gone.
    #[error("{0}")]
    Slow(Stalled),
    /// The body of the request turned out to be none that may be sent; a part of
    /// it has gone.
    #[error("{0}")]
    Unfit(Unfit),
    /// This process ends; the request may have arrived.
    #[error("{}", body::Stopped)]
    Stopped,
    /// There is the answer, but no memory to hold it.
    #[error("{UNTAKEN}")]
    Untaken,
    /// No answer in time; the request may have arrived.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

impl Client {
    /// A client with the system's roots.
    ///
    /// # Errors
    /// If there are no roots to be had.
    pub fn new() -> Result<Self, NoClient> {
        let provider = rustls::crypto::ring::default_provider();
        let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
        Ok(Self::over(tls.map_err(NoClient)?, Connector::from_env(tcp()), READY))
    }

    /// A client that trusts nobody: for clear text on this machine.
    ///
    /// # Errors
    /// Never; the builder of TLS configurations cannot know that.
    pub fn without_roots() -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trusting_nobody = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let tls = HttpsConnectorBuilder::new().with_tls_config(trusting_nobody);
        Ok(Self::over(tls, Connector::from_env(tcp()), READY))
    }

    fn over(tls: HttpsConnectorBuilder<WantsSchemes>, inner: Connector, ready: Duration) -> Self {
        let connector = tls.https_or_http().enable_all_versions();
        let connector = WithTimeout::new(connector.wrap_connector(inner), ready);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            // Only what no byte was sent of, because the pooled connection had
            // been closed meanwhile.
            .retry_canceled_requests(true)
            // What lies ready of an answer that nobody takes.
            .http1_max_buf_size(MAX_UNTAKEN)
            .http2_initial_stream_window_size(MAX_UNTAKEN_STREAM)
            .http2_initial_connection_window_size(MAX_UNTAKEN_STREAMS);
        let pool = |_| builder.build(connector.clone());
        let stop = Arc::new(ArcSwap::from_pointee(watch::Sender::new(false)));
        Self { pools: (0..=workers::MAX_WORKERS).map(pool).collect(), stop }
    }

    /// Breaks off whatever is under way, and what will be: [`SendError::Stopped`], and
    /// bodies of answers end with [`body::Stopped`].
    pub fn give_up(&self) {
        self.stop.load().send_replace(true);
    }

    /// Breaks off whatever is under way, in the same way; what is sent later goes out.
    pub fn break_off(&self) {
        self.stop.swap(Arc::new(watch::Sender::new(false))).send_replace(true);
    }

    /// Sends `request` as it is and waits for the head of the answer for
    /// `patience`, counted from when the last of the request's body was taken;
    /// the answer's body streams. Nothing is sent twice.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(
        &self,
        mut request: Request<Body>,
        patience: Duration,
    ) -> impl Future<Output = Result<Response<Body>, SendError>> + Send + use<> {
        announce(&mut request);
        let upload = (!request.body().is_end_stream()).then(|| Upload::of(&mut request));
        // INVARIANT (workers): there is a pool for each, and for no worker.
        let pool = self.pools.get(workers::current());
        // Begun here, so that what is waited for does not hold the request.
        let answer = pool.map(|pool| pool.request(request));
        let mut stop = self.stop.load().subscribe();
        async move {
            let answer = answer.ok_or_else(|| SendError::Connect("no such worker".to_owned()))?;
            let in_time = async {
                match &upload {
                    None => tokio::time::timeout(patience, answer).await.ok(),
                    Some(upload) => upload.pace.in_time(answer, patience).await,
                }
            };
            let answer = tokio::select! {
                biased;
                answer = in_time => answer,
                Ok(_) = stop.wait_for(|stop| *stop) => return Err(SendError::Stopped),
            };
            let answer = read(answer.ok_or(SendError::Timeout(patience))?, stop)?;
            if let Some(upload) = upload {
                upload.answered(&answer);
            }
            Ok(answer)
        }
    }
}

/// Of an answer that could not be held.
impl From<&HoldError> for SendError {
    fn from(error: &HoldError) -> Self {
        match error {
            HoldError::Untaken => Self::Untaken,
            error => Self::Broken(error.to_string()),
        }
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    keepalive::enable_for_all(&mut tcp);
    tcp.enforce_http(false);
    tcp
}

/// A GET or HEAD whose body's length is open would be sent without it.
fn announce(request: &mut Request<Body>) {
    let is_open = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let has_length = request.headers().contains_key(CONTENT_LENGTH);
    if is_open && !has_length && matches!(*request.method(), Method::GET | Method::HEAD) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// What came of a request. Its length is told in one way, and its version is that of
/// no other connection.
fn read(
    answer: Result<Response<Incoming>, legacy::Error>,
    stop: watch::Receiver<bool>,
) -> Result<Response<Body>, SendError> {
    match answer {
        Ok(response) if response.status().is_informational() => {
            let status = response.status().as_u16();
            Err(SendError::Broken(format!("it answered {status}, which nobody asked for")))
        }
        Ok(mut response) => {
            if response.version() < Version::HTTP_11 {
                *response.version_mut() = Version::HTTP_11;
            }
            one_length(response.headers_mut());
            Ok(response.map(|body| body::until_stopped(body, stop)))
        }
        Err(error) if error.is_connect() => Err(SendError::Connect(causes(&error))),
        Err(error) => Err(match (cause(&error), cause(&error)) {
            (Some(stalled), _) => SendError::Slow(stalled),
            (_, Some(unfit)) => SendError::Unfit(unfit),
            (None, None) => SendError::Broken(causes(&error)),
        }),
    }
}

/// `5, 5` is 5 (RFC 9110, section 8.6); others have been refused before this.
fn one_length(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
        return;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (first, more) = (lengths.next(), lengths.next());
    let text = first.and_then(|first| first.to_str().ok()).unwrap_or_default();
    if more.is_none() && !text.contains(',') {
        return;
    }
    let one = text.split(',').next().unwrap_or_default().trim();
    if let Ok(length) = HeaderValue::from_str(one) {
        headers.insert(CONTENT_LENGTH, length);
    }
}

/// A request's body on its way.
struct Upload {
    pace: Pace,
    connection: CaptureConnection,
}

impl Upload {
    fn of(request: &mut Request<Body>) -> Self {
        let pace = Pace::default();
        let inner = std::mem::take(request.body_mut());
        let told = pace.clone();
        *request.body_mut() = body::stepwise(inner, move |next| {
            told.took();
            next
        });
        Self { pace, connection: capture_connection(request) }
    }

    /// Servers that refuse without reading the body close the connection, often
    /// without saying so.
    fn answered(&self, answer: &Response<Body>) {
        if answer.status().is_client_error() && answer.version() < http::Version::HTTP_2 {
            self.connection.connection_metadata().iter().for_each(Connected::poison);
        }
    }
}

/// When the last of a request's body was taken.
#[derive(Debug, Clone)]
struct Pace(Arc<Mutex<Instant>>);

impl Default for Pace {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Pace {
    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// What comes of `work`; `None` once nothing was taken for `patience`.
    async fn in_time<T>(&self, work: impl Future<Output = T>, patience: Duration) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let deadline = self.last() + patience;
            if let Ok(done) = tokio::time::timeout_at(deadline, &mut work).await {
                return Some(done);
            }
            if self.last() + patience <= deadline {
                return None;
            }
        }
    }
}

/// The cause of this type, where there is one.
fn cause<E: std::error::Error + Clone + 'static>(error: &dyn std::error::Error) -> Option<E> {
    let mut causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.find_map(|cause| cause.downcast_ref().cloned())
}

/// The chain of causes in words; the outermost says nothing that a person needs.
fn causes(error: &dyn std::error::Error) -> String {
    let inner = std::iter::successors(error.source(), |cause| cause.source());
    let words: Vec<String> = inner.map(ToString::to_string).collect();
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}

#[cfg(test)]
mod tests {
    use hyper_util::client::proxy::matcher::Matcher;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// One that takes connections and says nothing, as a proxy and as a host.
    #[tokio::test]
    async fn nobody_who_does_not_answer_is_waited_for_for_ever() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let short = Duration::from_millis(50);
        for (uri, says) in [
            ("https://mcp.example.com/".to_owned(), format!("through the proxy http://{address}")),
            (format!("https://{address}/"), "the connection was not ready within".to_owned()),
        ] {
            let provider = rustls::crypto::ring::default_provider();
            let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
            let proxies = Matcher::builder().all(format!("http://{address}")).build();
            let inner = Connector::through(tcp(), proxies, short);
            let client = Client::over(tls.unwrap(), inner, short * 10);
            let request = Request::get(uri).body(Body::empty()).unwrap();
            let refused = client.send(request, PATIENCE).await.unwrap_err();
            assert!(matches!(refused, SendError::Connect(_)), "{refused:?}");
            assert!(refused.to_string().contains(&says), "{refused}");
        }
    }

    #[test]
    fn a_length_is_told_once() {
        for (told, length) in [(&["5"][..], "5"), (&["5, 5"], "5"), (&["5", "5"], "5")] {
            let mut headers = HeaderMap::new();
            for one in told {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(one));
            }
            one_length(&mut headers);
            let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(lengths, [length]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_is_not_hurried_and_silence_is_not_awaited() {
        let pace = Pace::default();
        let uploading = async {
            for _ in 0..5 {
                tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
                pace.took();
            }
        };
        assert_eq!(pace.in_time(uploading, PATIENCE).await, Some(()));
        let began = Instant::now();
        let silent = std::future::pending::<()>();
        assert_eq!(pace.in_time(silent, PATIENCE).await, None);
        assert!(began.elapsed() < PATIENCE * 2);
    }
}
