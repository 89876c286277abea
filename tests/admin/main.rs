//! The admin API over a real socket, and `agentgate agents` beside it.

#![cfg(test)]

mod agents;
mod audit;
#[path = "../shared/chunks.rs"]
mod chunks;
mod guard;
mod policies;
#[cfg(unix)]
mod process;
#[path = "../shared/raw.rs"]
mod raw;
#[cfg(unix)]
#[path = "../shared/real.rs"]
mod real;
mod support;
#[path = "../shared/wait.rs"]
mod wait;
