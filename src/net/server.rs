//! The listener: HTTP/1.1 and HTTP/2 in clear text, bounded in time and size,
//! drained at the end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::{CONNECTION, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};

use super::Body;
use super::alive;
use super::lanes::Lanes;
use super::sniff::Heads;
use super::wire::{Patience, Wire};

/// What a listener puts up with; beyond 100 headers it answers 431, too.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a request's head; beyond it 431.
    pub max_head: usize,
    /// How long a request's head may take, and the first byte of a connection.
    pub head_patience: Duration,
    /// How long a connection may lie idle between two requests.
    pub idle: Duration,
    /// How long a client may take no byte of its answer.
    pub write_patience: Duration,
    /// How long requests under way may take once the listener was told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head: 64 << 10,
            head_patience: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write_patience: Duration::from_secs(60),
            drain: Duration::from_secs(3),
        }
    }
}

/// Answers on `listener`, each connection on one of `lanes`, until `stop` resolves, then lets what is under way end
/// for [`Limits::drain`]. The peer's address is an extension of each request.
///
/// # Errors
/// Where the listener itself breaks.
pub async fn serve<S>(
    listener: TcpListener,
    app: S,
    limits: Limits,
    lanes: &Lanes,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: tower_service::Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let builder = builder(limits);
    let patience = Patience { head: limits.head_patience, write: limits.write_patience };
    let draining = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors: those that are open have to end first.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let _ = stream.set_nodelay(true);
        alive::probe(&stream);
        let heads = Heads::default();
        let service = WithPeer { app: app.clone(), peer, heads: heads.clone() };
        let (builder, watcher) = (builder.clone(), draining.watcher());
        // A lane polls its own sockets.
        let Ok(stream) = stream.into_std() else { continue };
        lanes.spawn(async move {
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            let stream = TokioIo::new(Wire::new(stream, heads, patience));
            let connection = builder.serve_connection(stream, service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%peer, %error, "a connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, draining.shutdown()).await.is_err() {
        tracing::warn!("requests under way were broken off");
    }
    Ok(())
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // It runs from the end of the request before; the wire is stricter with
        // a head that has begun.
        .header_read_timeout(limits.idle)
        .max_buf_size(limits.max_head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle)
        .max_header_list_size(limits.max_head as u32);
    builder
}

/// Hands a request on with its sender's address.
#[derive(Clone)]
struct WithPeer<S> {
    app: S,
    peer: SocketAddr,
    heads: Heads,
}

impl<S> hyper::service::Service<Request<Incoming>> for WithPeer<S>
where
    S: tower_service::Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut app = self.app.clone();
        let mut request = self.heads.mark(request.map(Body::new));
        let in_chunks = request.version() < Version::HTTP_2
            && request.headers().contains_key(TRANSFER_ENCODING);
        request.extensions_mut().insert(axum::extract::ConnectInfo(self.peer));
        Box::pin(async move {
            let answer = async {
                poll_fn(|context| app.poll_ready(context)).await?;
                app.call(request).await
            };
            // A panic refuses this request and no other on the connection.
            let answer = AssertUnwindSafe(answer).catch_unwind().await;
            let mut response = answer.unwrap_or_else(|_| Ok(panicked()))?;
            if in_chunks {
                // Nothing behind chunks is taken for another request.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

fn panicked() -> Response<Body> {
    let body = r#"{"error":"internal_error","detail":"a panic while this request was answered"}"#;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
