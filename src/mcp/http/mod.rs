//! MCP over HTTP, on either side of the gate: what is peculiar to Streamable
//! HTTP and to the HTTP+SSE transport before it.

pub mod sse;
