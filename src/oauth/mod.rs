//! Logging in to remote servers by OAuth 2.1, as MCP's authorization
//! specification (2025-11-25, 2026-07-28) defines it. rmcp implements the protocol; this
//! module decides which addresses to trust, serializes logins and renewals across
//! processes, and stores the tokens.
//!
//! A [`Session`] belongs to one server. Before a request it gives the
//! `Authorization` header, renewed where it is about to expire; when the server
//! refuses ([`Challenge`]) it renews the token or asks the user to log in.
//! However many requests and processes wait, there is one renewal or login.

mod attempt;
mod browser;
mod callback;
mod challenge;
mod command;
mod discover;
mod error;
mod http_client;
mod login;
mod login_store;
mod record;
mod renew;
mod session;
mod trust;

pub use challenge::Challenge;
pub use command::{Login, LoginOptions, LogoutOutcome};
pub use error::LoginError;
pub use login::ClientConfig;
pub use session::{Options, Session};
