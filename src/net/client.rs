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
use super::body::{self, HoldError, NO_ANSWER_MEMORY, Stalled, Unfit};
use super::connect::{Connector, WithTimeout};
use super::keepalive;
use super::workers;

/// Maximum number of idle connections per host.
const MAX_IDLE: usize = 64;

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Timeout for connecting over TCP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for establishing a connection in all: name resolution, a proxy's tunnel, and TLS.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum bytes buffered of an answer that is not being read, and maximum size of its head.
const MAX_UNREAD: usize = 64 << 10;

/// The same over HTTP/2, per stream; on a connection in all, much more, so that unread answers
/// leave bandwidth for others.
const MAX_UNREAD_STREAM: u32 = 512 << 10;
const MAX_UNREAD_STREAMS: u32 = 32 * MAX_UNREAD_STREAM;

/// HTTP client; cheap to clone, with one connection pool per worker.
#[derive(Debug, Clone)]
pub struct Client {
    /// Indexed by [`workers::current`]: a connection belongs to the thread that opened it.
    pools: Arc<[legacy::Client<WithTimeout<HttpsConnector<Connector>>, Body>]>,
    /// Set to `true` to abort requests in flight.
    stop: Arc<ArcSwap<watch::Sender<bool>>>,
}

/// Creating a client failed.
#[derive(Debug, thiserror::Error)]
#[error("the system's root certificates cannot be read: {0}")]
pub struct NoClient(std::io::Error);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Connecting failed; nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke; the request may have arrived.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The request's body stalled; a part of it has been sent.
    #[error("{0}")]
    Slow(Stalled),
    /// The request's body must not be sent; a part of it has been sent.
    #[error("{0}")]
    Unfit(Unfit),
    /// This process is ending; the request may have arrived.
    #[error("{}", body::Stopped)]
    Stopped,
    /// The answer arrived, but the memory budget is exhausted.
    #[error("{NO_ANSWER_MEMORY}")]
    NoAnswerMemory,
    /// No answer in time; the request may have arrived.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

impl Client {
    /// A client that trusts the system's root certificates.
    ///
    /// # Errors
    /// If they cannot be loaded.
    pub fn new() -> Result<Self, NoClient> {
        let provider = rustls::crypto::ring::default_provider();
        let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
        Ok(Self::over(tls.map_err(NoClient)?, Connector::from_env(tcp()), ESTABLISH_TIMEOUT))
    }

    /// A client without root certificates, for plain HTTP on this machine.
    ///
    /// # Errors
    /// Never; but building a TLS configuration is fallible.
    pub fn without_roots() -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trusting_nobody = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let tls = HttpsConnectorBuilder::new().with_tls_config(trusting_nobody);
        Ok(Self::over(tls, Connector::from_env(tcp()), ESTABLISH_TIMEOUT))
    }

    fn over(tls: HttpsConnectorBuilder<WantsSchemes>, inner: Connector, ready: Duration) -> Self {
        let connector = tls.https_or_http().enable_all_versions();
        let connector = WithTimeout::new(connector.wrap_connector(inner), ready);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            // Only if nothing was sent, because the pooled connection had been closed.
            .retry_canceled_requests(true)
            // Bounds what is buffered of an unread answer.
            .http1_max_buf_size(MAX_UNREAD)
            .http2_initial_stream_window_size(MAX_UNREAD_STREAM)
            .http2_initial_connection_window_size(MAX_UNREAD_STREAMS);
        let pool = |_| builder.build(connector.clone());
        let stop = Arc::new(ArcSwap::from_pointee(watch::Sender::new(false)));
        Self { pools: (0..=workers::MAX_WORKERS).map(pool).collect(), stop }
    }

    /// Aborts requests in flight and all later ones with [`SendError::Stopped`]; bodies of
    /// answers fail with [`body::Stopped`].
    pub fn abort_all(&self) {
        self.stop.load().send_replace(true);
    }

    /// Aborts requests in flight, as [`Client::abort_all`]; later ones are sent.
    pub fn abort_in_flight(&self) {
        self.stop.swap(Arc::new(watch::Sender::new(false))).send_replace(true);
    }

    /// Sends `request` as it is and waits for the head of the answer for
    /// `timeout`, counted from when the last of the request's body was taken;
    /// the answer's body streams. Nothing is sent twice.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(
        &self,
        mut request: Request<Body>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Response<Body>, SendError>> + Send + use<> {
        announce(&mut request);
        let upload = (!request.body().is_end_stream()).then(|| Upload::of(&mut request));
        // INVARIANT (workers): there is a pool for each worker, and one for threads outside of
        // them.
        let pool = self.pools.get(workers::current());
        // Started here, so that the future does not contain the request.
        let answer = pool.map(|pool| pool.request(request));
        let mut stop = self.stop.load().subscribe();
        async move {
            let answer = answer.ok_or_else(|| SendError::Connect("no such worker".to_owned()))?;
            let within = async {
                match &upload {
                    None => tokio::time::timeout(timeout, answer).await.ok(),
                    Some(upload) => upload.pace.within(answer, timeout).await,
                }
            };
            let answer = tokio::select! {
                biased;
                answer = within => answer,
                Ok(_) = stop.wait_for(|stop| *stop) => return Err(SendError::Stopped),
            };
            let answer = read(answer.ok_or(SendError::Timeout(timeout))?, stop)?;
            if let Some(upload) = upload {
                upload.answered(&answer);
            }
            Ok(answer)
        }
    }
}

/// An answer that could not be held.
impl From<&HoldError> for SendError {
    fn from(error: &HoldError) -> Self {
        match error {
            HoldError::NoAnswerMemory => Self::NoAnswerMemory,
            error => Self::Broken(error.to_string()),
        }
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    keepalive::enable_for_all(&mut tcp);
    tcp.enforce_http(false);
    tcp
}

/// Declares chunked encoding for a GET or HEAD with a body of unknown length, which would
/// otherwise be dropped.
fn announce(request: &mut Request<Body>) {
    let is_open = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let has_length = request.headers().contains_key(CONTENT_LENGTH);
    if is_open && !has_length && matches!(*request.method(), Method::GET | Method::HEAD) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Processes a response: its length is declared once, and its version is not that of the
/// upstream connection.
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

/// `5, 5` is 5 (RFC 9110, section 8.6); other lists have been refused before.
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

/// The body of a request being sent.
struct Upload {
    pace: Pace,
    connection: CaptureConnection,
}

impl Upload {
    fn of(request: &mut Request<Body>) -> Self {
        let pace = Pace::default();
        let inner = std::mem::take(request.body_mut());
        let progress = pace.clone();
        *request.body_mut() = body::stepwise(inner, move |next| {
            progress.took();
            next
        });
        Self { pace, connection: capture_connection(request) }
    }

    /// Handles servers that refuse without reading the body and close the connection without
    /// announcing it.
    fn answered(&self, answer: &Response<Body>) {
        if answer.status().is_client_error() && answer.version() < http::Version::HTTP_2 {
            self.connection.connection_metadata().iter().for_each(Connected::poison);
        }
    }
}

/// Time when data of a request's body was last read.
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

    /// What comes of `work`; `None` once nothing was taken for `timeout`.
    async fn within<T>(&self, work: impl Future<Output = T>, timeout: Duration) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let deadline = self.last() + timeout;
            if let Ok(done) = tokio::time::timeout_at(deadline, &mut work).await {
                return Some(done);
            }
            if self.last() + timeout <= deadline {
                return None;
            }
        }
    }
}

/// The first cause of type `E` in the error's chain.
fn cause<E: std::error::Error + Clone + 'static>(error: &dyn std::error::Error) -> Option<E> {
    let mut causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.find_map(|cause| cause.downcast_ref().cloned())
}

/// Joins the causes of an error; the outermost is left out, as it says nothing useful.
fn causes(error: &dyn std::error::Error) -> String {
    let inner = std::iter::successors(error.source(), |cause| cause.source());
    let words: Vec<String> = inner.map(ToString::to_string).collect();
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}

#[cfg(test)]
mod tests {
    use hyper_util::client::proxy::matcher::Matcher;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// One that takes connections and says nothing, as a proxy and as a host.
    #[tokio::test]
    async fn connecting_times_out() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let short = Duration::from_millis(50);
        for (uri, expected) in [
            ("https://mcp.example.com/".to_owned(), format!("through the proxy http://{address}")),
            (format!("https://{address}/"), "the connection was not ready within".to_owned()),
        ] {
            let provider = rustls::crypto::ring::default_provider();
            let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
            let proxies = Matcher::builder().all(format!("http://{address}")).build();
            let inner = Connector::through(tcp(), proxies, short);
            let client = Client::over(tls.unwrap(), inner, short * 10);
            let request = Request::get(uri).body(Body::empty()).unwrap();
            let refused = client.send(request, TIMEOUT).await.unwrap_err();
            assert!(matches!(refused, SendError::Connect(_)), "{refused:?}");
            assert!(refused.to_string().contains(&expected), "{refused}");
        }
    }

    #[test]
    fn duplicate_content_length_is_merged() {
        for (values, length) in [(&["5"][..], "5"), (&["5, 5"], "5"), (&["5", "5"], "5")] {
            let mut headers = HeaderMap::new();
            for one in values {
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
                tokio::time::sleep(TIMEOUT - Duration::from_secs(1)).await;
                pace.took();
            }
        };
        assert_eq!(pace.within(uploading, TIMEOUT).await, Some(()));
        let began = Instant::now();
        let silent = std::future::pending::<()>();
        assert_eq!(pace.within(silent, TIMEOUT).await, None);
        assert!(began.elapsed() < TIMEOUT * 2);
    }
}
