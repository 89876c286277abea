//! The admin API over a real socket, and `agentgate agents` beside it.

#![cfg(test)]

mod agents;
mod audit;
mod guard;
mod policies;
#[cfg(unix)]
mod process;
#[cfg(unix)]
#[path = "../stdio/support/real.rs"]
mod real;
mod support;
