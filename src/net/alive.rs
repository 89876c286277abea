//! Peers that are gone without a word: a machine that lost its power or its network
//! closes no connection. Where nothing is under way, only TCP's own probes tell.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long a connection is silent before it is probed.
const SILENCE: Duration = Duration::from_secs(60);

/// The pause between two probes.
const PAUSE: Duration = Duration::from_secs(15);

/// Probes without an answer after which the connection is broken.
const PROBES: u32 = 4;

/// Probes a client's connection.
pub(super) fn probe(stream: &TcpStream) {
    let probes = TcpKeepalive::new().with_time(SILENCE).with_interval(PAUSE).with_retries(PROBES);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "a connection is not probed");
    }
}

/// Probes every connection to a server.
pub(super) fn probe_all(tcp: &mut HttpConnector) {
    tcp.set_keepalive(Some(SILENCE));
    tcp.set_keepalive_interval(Some(PAUSE));
    tcp.set_keepalive_retries(Some(PROBES));
}
