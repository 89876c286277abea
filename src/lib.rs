//! AgentGate: the authorization layer between AI agents and what they can touch.

pub mod action;
pub mod cli;
pub mod commands;
pub mod config;
pub mod fold;
pub mod gate;
pub mod intent;
pub mod json;
pub mod mcp;
pub mod os;
pub mod policy;
pub mod rate;
pub mod request;
pub mod store;
pub mod telemetry;
pub mod verdict;
