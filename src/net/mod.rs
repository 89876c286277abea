//! HTTP without policies, agents or providers: a listener, a pooled client, bodies held up
//! to a limit.

pub mod body;
pub mod client;
mod connect;
mod connection_limit;
mod delivery;
pub(crate) mod detach;
pub mod hops;
mod idle;
mod keepalive;
mod linger;
pub mod memory;
pub mod server;
pub mod sniff;
mod streams;
mod wire;
pub mod workers;

/// Whether `uri` is on this machine, by its host's name alone.
#[must_use]
pub fn is_loopback(uri: &http::Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let is_ip = |ip: std::net::IpAddr| ip.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse().is_ok_and(is_ip)
}

/// The body type used everywhere, streamed or whole.
pub use axum::body::Body;

/// Whether a message's body is a stream of server-sent events.
#[must_use]
pub fn is_event_stream(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let kind = kind.and_then(|kind| kind.split(|byte| *byte == b';').next());
    kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}
