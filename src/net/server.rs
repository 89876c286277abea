//! The listener: HTTP/1.1 and HTTP/2 in clear text, bounded in time, size and number,
//! drained at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ConnectInfo;
use futures_util::future::{CatchUnwind, FutureExt as _};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::{Builder, Connection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service as _;

use super::connection_limit::{ConnectionLimit, Slot};
use super::idle::{ActiveRequest, Activity, CLOSE_TIMEOUT, Registered};
use super::keepalive;
use super::linger;
use super::sniff::Heads;
use super::streams::{Stream, Streams};
use super::wire::{Timeouts, Wire};
use super::workers::Workers;
use super::{Body, body, is_event_stream};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Maximum number of concurrent HTTP/2 streams per connection. With [`MAX_UNSENT`] this bounds
/// what is buffered for a client to 8 MiB.
const MAX_STREAMS: u32 = 128;

/// Maximum bytes buffered of an HTTP/2 answer that the client does not read.
const MAX_UNSENT: usize = 64 << 10;

/// Maximum bytes of unread request bodies on an HTTP/2 connection.
const MAX_UNREAD: u32 = 1 << 20;

/// Number of streams that a client may reset before they are accepted (CVE-2023-44487); beyond
/// it the connection is closed.
const MAX_RESETS: usize = 20;

/// Number of streams that we reset because of protocol errors; beyond it the connection is
/// closed.
const MAX_ERROR_RESETS: usize = 1 << 10;

/// Minimum interval of logging that all slots are taken.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Pause after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long connections may take to send the rest after requests in flight were aborted.
const ABORT_GRACE: Duration = Duration::from_millis(250);

/// Limits of a listener. More than 100 headers are refused with 431, too.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum size of a request's head, in bytes; beyond it 431.
    pub max_head: usize,
    /// Timeout for a request's head, and for the first byte of a connection.
    pub head_timeout: Duration,
    /// How long a connection may be idle between two requests.
    pub idle: Duration,
    /// How long a client may read nothing of its answer.
    pub write_timeout: Duration,
    /// How long requests in flight may take once the listener was told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head: 64 << 10,
            head_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(3),
        }
    }
}

/// Handles requests.
pub trait App: Clone + Send + 'static {
    /// Responds to a request of `peer`. Work that takes time or may panic belongs into the
    /// future: a panic in it affects only this request.
    fn answer(&self, peer: SocketAddr, request: Request<Body>) -> Answer;

    /// Whether `request` is answered even if all slots are taken. Handling it must be quick and
    /// need no memory.
    fn is_vital(&self, _request: &Request<Body>) -> bool {
        false
    }
}

/// A pending response.
pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The peer's address is an extension of each request.
impl App for axum::Router {
    fn answer(&self, peer: SocketAddr, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut router = self.clone();
        Box::pin(async move {
            // INVARIANT (ready): a router is always ready.
            let answer: Result<_, Infallible> = router.call(request).await;
            answer.unwrap_or_else(|never| match never {})
        })
    }
}

/// Connections with requests in flight at the end of a listener's drain time.
#[derive(Debug)]
pub struct Remaining(watch::Sender<()>);

impl Remaining {
    /// Waits a moment for requests that were aborted to be answered; returns whether all were.
    pub async fn answered(&self) -> bool {
        timeout(ABORT_GRACE, self.0.closed()).await.is_ok()
    }

    /// As [`Remaining::answered`], and logs if connections are cut off.
    pub async fn end(self) {
        if !self.answered().await {
            tracing::warn!("requests under way were broken off");
        }
    }
}

/// Serves `listener` by `app`, each connection on one of `workers`, until `stop` completes.
/// Then waits for requests in flight for [`Limits::drain`]; returns the connections that
/// remain.
pub async fn serve(
    listener: TcpListener,
    app: impl App,
    limits: Limits,
    workers: &Workers,
    stop: impl Future<Output = ()>,
) -> Remaining {
    let builder = builder(limits);
    let timeouts = Timeouts { head: limits.head_timeout, write: limits.write_timeout };
    let (stopping, _) = watch::channel(());
    let mut last_logged = None;
    let mut stop = pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut stop => break,
        };
        let slot = tokio::select! {
            slot = workers.connection_limit().next(peer.into()) => slot,
            () = &mut stop => break,
        };
        let is_spare = !matches!(slot, Some(Slot::Served(_)));
        if is_spare {
            log_no_slot(workers.connection_limit(), peer, &mut last_logged);
        }
        let Some(slot) = slot else { continue };
        let _ = stream.set_nodelay(true);
        keepalive::enable(&stream);
        let served = ServedConnection::begin(
            limits,
            peer,
            (!is_spare).then(|| workers.connection_limit().clone()),
        );
        let service = served.service(app.clone(), peer);
        let (builder, stopping) = (builder.clone(), stopping.subscribe());
        // A worker registers the socket with its own runtime.
        let Ok(stream) = stream.into_std() else { continue };
        workers.spawn(async move {
            let _slot = slot;
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            let connection = builder.serve_connection(served.wire(stream, timeouts), service);
            if let Err(error) = served.attend(connection, stopping).await {
                tracing::debug!(%peer, %error, "a connection broke");
            }
        });
    }
    drop(listener);
    // Each connection watches it.
    let _ = stopping.send(());
    let _ = timeout(limits.drain, stopping.closed()).await;
    Remaining(stopping)
}

/// Accepts the next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Out of file descriptors: others have to be closed first.
                tracing::warn!(%error, "a connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Logs that all slots are taken, at most once per [`LOG_INTERVAL`].
fn log_no_slot(limit: &ConnectionLimit, peer: SocketAddr, last_logged: &mut Option<Instant>) {
    if last_logged.is_some_and(|at| at.elapsed() <= LOG_INTERVAL) {
        return;
    }
    *last_logged = Some(Instant::now());
    let count = limit.count();
    match limit.allows(peer.into()) {
        true => {
            tracing::warn!("all {count} places are taken: more connections are answered 503");
        }
        false => {
            let ip = peer.ip();
            tracing::warn!(
                "{ip} has its share of {count} places, three quarters of what others leave: more \
                 of its connections are answered 503 or closed"
            );
        }
    }
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Runs from the end of the previous request; `Wire` is stricter once a head has begun.
        .header_read_timeout(limits.idle)
        .max_buf_size(limits.max_head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_send_buf_size(MAX_UNSENT)
        .initial_connection_window_size(MAX_UNREAD)
        .initial_stream_window_size(MAX_UNREAD)
        .max_header_list_size(limits.max_head as u32);
    builder
}

/// State of a connection being served.
struct ServedConnection {
    heads: Heads,
    streams: Streams,
    activity: Activity,
    limits: Limits,
    /// Where it is counted; `None` on a spare slot, which lasts only for a moment.
    registration: Option<(ConnectionLimit, Registered)>,
}

/// Why a connection has to end.
enum CloseReason {
    /// The listener stops: requests in flight may complete.
    Stopping,
    /// The client has exceeded a timeout.
    Overdue,
    /// It is idle, and others need its slot.
    CloseRequested,
}

impl ServedConnection {
    /// A new connection of `peer`, counted in `limit` if there is one.
    fn begin(limits: Limits, peer: SocketAddr, limit: Option<ConnectionLimit>) -> Self {
        let (heads, streams) = (Heads::default(), Streams::new());
        let activity = Activity::new(heads.clone());
        let registration = limit.map(|limit| {
            let registered = limit.connections().register(peer.into(), &activity);
            (limit, registered)
        });
        Self { heads, streams, activity, limits, registration }
    }

    fn wire(&self, stream: TcpStream, timeouts: Timeouts) -> TokioIo<Wire<TcpStream>> {
        let (heads, activity) = (self.heads.clone(), self.activity.clone());
        TokioIo::new(Wire::new(stream, heads, activity, timeouts))
    }

    fn service<A: App>(&self, app: A, peer: SocketAddr) -> PeerService<A> {
        PeerService {
            app,
            peer,
            heads: self.heads.clone(),
            activity: self.activity.clone(),
            streams: self.streams.clone(),
            limit: self.registration.as_ref().map(|(limit, _)| limit.clone()),
        }
    }

    /// Serves `connection` until it ends. When the listener stops, requests in flight may
    /// complete; after a timeout, they have to within [`Limits::drain`]; when asked to close,
    /// it ends unless a request arrives.
    async fn attend<A: App>(
        &self,
        connection: Connection<'_, TokioIo<Wire<TcpStream>>, PeerService<A>, TokioExecutor>,
        mut stopping: watch::Receiver<()>,
    ) -> Result<(), BoxError> {
        let mut connection = pin!(connection);
        let Limits { idle, write_timeout, drain, .. } = self.limits;
        let reason = tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            _ = stopping.changed() => CloseReason::Stopping,
            () = self.streams.overdue(&self.heads, idle, write_timeout) => CloseReason::Overdue,
            () = self.spare_slot_expired() => CloseReason::Overdue,
            () = self.close_requested() => CloseReason::CloseRequested,
        };
        connection.as_mut().graceful_shutdown();
        match reason {
            CloseReason::Stopping => connection.await,
            CloseReason::Overdue => timeout(drain, connection).await?,
            CloseReason::CloseRequested => {
                match timeout(CLOSE_TIMEOUT, connection.as_mut()).await {
                    Err(_) if self.activity.is_busy() => connection.await,
                    ended => ended?,
                }
            }
        }
    }

    async fn close_requested(&self) {
        match &self.registration {
            Some((_, registered)) => registered.close_requested().await,
            None => std::future::pending().await,
        }
    }

    async fn spare_slot_expired(&self) {
        match self.registration {
            Some(_) => std::future::pending().await,
            None => sleep(self.limits.head_timeout).await,
        }
    }
}

/// The app for one peer's connection.
struct PeerService<A> {
    app: A,
    peer: SocketAddr,
    heads: Heads,
    activity: Activity,
    streams: Streams,
    /// Where HTTP/2 requests acquire slots; `None` if the connection is on a spare slot.
    limit: Option<ConnectionLimit>,
}

impl<A: App> hyper::service::Service<Request<Incoming>> for PeerService<A> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let is_stream = request.version() == Version::HTTP_2;
        let read = if is_stream { linger::drain_on_drop } else { body::incoming };
        let request = self.heads.annotate(request.map(read));
        let limit = self.limit.as_ref().filter(|_| is_stream);
        let slot = limit.and_then(|limit| limit.free(self.peer.into()));
        let is_crowded = self.limit.is_none() || (is_stream && slot.is_none());
        let stream = is_stream.then(|| self.streams.begin(slot));
        let is_last = !is_stream
            && (is_crowded
                || request.headers().contains_key(TRANSFER_ENCODING)
                || request.method() == Method::CONNECT);
        let answer = match is_crowded && !self.app.is_vital(&request) {
            true => Box::pin(async { too_many_connections() }),
            false => self.app.answer(self.peer, request),
        };
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let (heads, activity) = (self.heads.clone(), self.activity.clone());
        let busy = Some(activity.begin());
        Answering { answer, is_last, heads, activity, busy, stream }
    }
}

/// A request being answered; a named type, so that it need not be boxed.
struct Answering {
    answer: CatchUnwind<AssertUnwindSafe<Answer>>,
    /// Whether the connection has to end: after a chunked request or `CONNECT`, what follows is
    /// not parsed by `Heads`.
    is_last: bool,
    heads: Heads,
    activity: Activity,
    /// Until the answer ends.
    busy: Option<ActiveRequest>,
    /// HTTP/2 only: its stream and slot.
    stream: Option<Stream>,
}

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.answer.poll_unpin(context));
        let mut response = answer.unwrap_or_else(|_| panicked());
        self.activity.set_event_stream(is_event_stream(response.headers()));
        if self.is_last || self.heads.is_body_incomplete() || self.activity.is_half_closed() {
            // So that neither what follows nor an unread rest of the body is read as another
            // request.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let response = match self.stream.take() {
            Some(stream) => response.map(|body| stream.follow(body)),
            None => response,
        };
        Poll::Ready(Ok(match self.busy.take() {
            Some(busy) => response.map(|body| busy.until_over(body)),
            None => response,
        }))
    }
}

fn panicked() -> Response<Body> {
    let body = r#"{"error":"internal_error","detail":"a panic while this request was answered"}"#;
    json_response(StatusCode::INTERNAL_SERVER_ERROR, body)
}

fn too_many_connections() -> Response<Body> {
    let body = r#"{"error":"too_many_connections","detail":"as many requests and connections as the gate has places for, or as one address may have, are open; try again later"}"#;
    let mut response = json_response(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A response of the listener itself.
fn json_response(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
