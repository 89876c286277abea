//! MCP over HTTP from the outside: the real binary between real clients and real
//! servers, and between those who misbehave.

#![cfg(unix)]

#[cfg(test)]
mod answers;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod batches;
#[cfg(test)]
mod bridge;
#[cfg(test)]
mod children;
#[cfg(test)]
#[path = "../shared/chunks.rs"]
mod chunks;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod eras;
#[cfg(test)]
mod hosted;
#[cfg(test)]
mod kill;
#[cfg(test)]
#[path = "../shared/lenient.rs"]
mod lenient;
#[cfg(test)]
#[path = "../shared/raw.rs"]
mod raw;
#[cfg(test)]
#[path = "../shared/real.rs"]
mod real;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod server_requests;
#[cfg(test)]
mod sse;
#[cfg(test)]
mod stopped;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod upstreams;
#[cfg(test)]
#[path = "../shared/wait.rs"]
mod wait;
