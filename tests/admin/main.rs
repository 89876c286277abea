//! The admin API over a real socket, and `agentgate agents` beside it.

#![cfg(test)]

mod agents;
mod audit;
mod guard;
mod policies;
mod support;
