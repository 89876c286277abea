//! HTTP as plumbing: a listener, a pooled client, bodies held up to a limit.
//! Knows nothing of policies, agents or providers.

mod alive;
pub mod body;
pub mod client;
pub mod hops;
pub mod lanes;
mod leftover;
mod places;
pub mod room;
pub mod server;
pub mod sniff;
mod streams;
mod way;
mod wire;

/// The one type of body, streamed or whole. It boxes nothing twice.
pub use axum::body::Body;
