//! TCP keepalive. A peer that lost its power or its network closes no connection; where no
//! request is under way, only TCP's own probes find out.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Idle time before the first probe.
const IDLE: Duration = Duration::from_secs(60);

/// Interval between probes.
const INTERVAL: Duration = Duration::from_secs(15);

/// Number of unanswered probes after which the connection counts as broken.
const PROBES: u32 = 4;

/// Enables keepalive on a client's connection.
pub(super) fn enable(stream: &TcpStream) {
    let probes = TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL).with_retries(PROBES);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "a connection is not probed");
    }
}

/// Enables keepalive on every connection to a server.
pub(super) fn enable_for_all(tcp: &mut HttpConnector) {
    tcp.set_keepalive(Some(IDLE));
    tcp.set_keepalive_interval(Some(INTERVAL));
    tcp.set_keepalive_retries(Some(PROBES));
}
