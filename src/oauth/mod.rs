//! Logging in to remote servers by OAuth 2.1, as MCP's authorization
//! specification (2025-11-25, 2026-07-28) has it. The protocol is rmcp's; what
//! stands here is whom to trust, who may wait for whom, and where tokens rest.
//!
//! A [`Session`] belongs to one server. Before a request it gives the
//! `Authorization` header, renewed where it is about to expire; when the server
//! refuses ([`Challenge`]) it renews the token or asks the person to log in.
//! Renewals and logins happen once, however many requests and processes wait
//! for them.

mod attempt;
mod browser;
mod callback;
mod challenge;
mod command;
mod discover;
mod error;
mod exchange;
mod login;
mod record;
mod renew;
mod session;
mod trust;
mod vault;

pub use challenge::Challenge;
pub use command::{LogIn, LogOut, Login};
pub use error::LoginError;
pub use login::Who;
pub use session::{Options, Session};
