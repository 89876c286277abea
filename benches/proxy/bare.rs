//! A plain forwarding proxy on the same libraries as the gate.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::thread;

use anyhow::Context as _;
use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// Maximum number of idle connections to the server, per thread.
const MAX_IDLE: usize = 64;

/// Prints its port and serves until it is killed, on a thread per processor.
pub(crate) fn run(server: &str) -> anyhow::Result<()> {
    let server: SocketAddr = server.parse()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    io::stdout().write_all(format!("{}\n", listener.local_addr()?.port()).as_bytes())?;
    let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = (0..count).map(|_| {
        let listener = listener.try_clone()?;
        Ok(thread::spawn(move || serve(listener, server)))
    });
    let threads = threads.collect::<io::Result<Vec<_>>>()?;
    threads.into_iter().try_for_each(|thread| thread.join().ok().context("a thread panicked")?)
}

fn serve(listener: TcpListener, server: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        let client: Client<_, Incoming> = builder.pool_max_idle_per_host(MAX_IDLE).build(tcp);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let client = client.clone();
            let service = service_fn(move |mut request: Request<Incoming>| {
                *request.uri_mut() = at(server, request.uri().path_and_query());
                client.request(request)
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async { connection.await.unwrap_or_default() });
        }
    })
}

fn at(server: SocketAddr, target: Option<&PathAndQuery>) -> Uri {
    let target = target.map_or("/", PathAndQuery::as_str);
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(server.to_string());
    uri.path_and_query(target).build().unwrap_or_default()
}
