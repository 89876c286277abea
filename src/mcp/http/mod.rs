//! MCP over HTTP, on either side of the gate: what is peculiar to Streamable
//! HTTP and to the HTTP+SSE transport before it.
//!
//! ```text
//! client ──► front (Host, Origin, token, type, size) ──► Backend ──► server
//! ```

pub mod agree;
mod ask;
mod child;
pub mod children;
mod eras;
pub mod front;
mod headers;
mod ids;
mod link;
mod paced;
mod pipe;
pub mod pools;
pub mod problem;
pub mod refusals;
pub mod remote;
pub mod sessions;
pub mod sse;
pub mod stdio;
pub mod stream;

/// The header that names a session (2025-03-26 to 2025-11-25).
pub const SESSION: &str = "mcp-session-id";

/// The header that names the protocol's revision.
pub const REVISION: &str = "mcp-protocol-version";

/// The header of an answer that says which row of the log it belongs to.
pub const DECISION: &str = "x-agentgate-decision";

/// The first revision of the stateless era; revisions sort as text.
pub const STATELESS: &str = super::era::STATELESS;
