//! The REST adapter: a request to one of the ten providers becomes an action,
//! and, once admitted, goes to the provider as policies saw it.
//!
//! ```text
//! request ──► identify ──► inbound (path, held body) ──► gate::admit
//!                                                                 │ permit
//! answer  ◄── reply (refused) / upstream::send (credentials) ◄────┘
//! ```

pub mod aws;
pub mod credentials;
mod form;
mod head;
pub mod hosts;
pub mod identify;
pub mod inbound;
pub mod media;
pub mod mock;
mod payload;
pub mod preauthenticated_urls;
pub mod proxy;
pub mod reply;
pub mod rewrite;
pub mod route;
pub mod router;
#[cfg(feature = "aws")]
pub mod sigv4;
pub mod ticket;
pub mod upstream;
