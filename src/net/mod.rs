//! HTTP as plumbing: a listener, a pooled client, bodies held up to a limit.
//! Knows nothing of policies, agents or providers.

mod alive;
pub mod body;
pub mod client;
pub mod hops;
mod idle;
pub mod lanes;
mod leftover;
pub(crate) mod persistent;
mod places;
pub mod room;
pub mod server;
pub mod sniff;
mod streams;
mod way;
mod wire;

/// Whether `uri` is on this machine, by its host's name alone.
#[must_use]
pub fn is_loopback(uri: &http::Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let is_ip = |ip: std::net::IpAddr| ip.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse().is_ok_and(is_ip)
}

/// The one type of body, streamed or whole. It boxes nothing twice.
pub use axum::body::Body;
