//! MCP over HTTP, on either side of the gate: what is peculiar to Streamable
//! HTTP and to the HTTP+SSE transport before it.
//!
//! ```text
//! client ──► front (Host, Origin, token, type, size) ──► Backend ──► server
//! ```

mod byte_channel;
mod child;
mod child_messages;
pub mod children;
mod events;
#[cfg(test)]
mod fixture;
pub mod front;
pub mod header_check;
mod headers;
mod ids;
mod link;
mod messages;
mod negotiate;
mod own_requests;
mod pipe;
pub mod pools;
pub mod problem;
pub mod refusal;
pub mod remote;
pub mod secrets;
pub mod sessions;
pub mod sse;
pub mod stdio;
pub mod stream;

use http::HeaderName;

/// Session id (2025-03-26 to 2025-11-25).
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Id of the event after which a stream resumes.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Protocol revision.
pub const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Method of a message (2026-07-28).
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// Tool, prompt or resource of a message (2026-07-28).
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
