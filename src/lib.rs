//! AgentGate: the authorization layer between AI agents and what they can touch.
//!
//! The way of a request, told once. A line comes from a client
//! ([`mcp::relay`]); it is read strictly, over the bytes that will be forwarded
//! ([`mcp::envelope`]), and becomes an [`action::Action`]: who, where, what. The
//! gate takes it ([`gate::Gate::admit`]): [`gate::pipeline::decide`] says what is
//! to happen, asking [`rate`], [`intent`] and [`policy`] in that order; the
//! [`store`] commits the row; and only then is there a [`gate::Permit`], which
//! owns the line and is the only key to the way out. What is refused becomes a
//! [`verdict::Denial`], and an answer that a model understands
//! ([`mcp::reply`]). The result is added to the row when it comes
//! ([`gate::Gate::release`]).
//!
//! Over HTTP ([`mcp::http`], [`hosted`]) the same relay has the message; a REST
//! request becomes an action in [`rest`]. Both go through the same gate, and what
//! sends them on takes nothing but a permit.
//!
//! Arrows point down: a module uses what stands below it in that story, never
//! what stands above. `tests/architecture.rs` holds this.

pub mod action;
pub mod admin;
pub mod cli;
pub mod commands;
pub mod config;
pub mod decision_headers;
pub mod fold;
pub mod gate;
pub mod head;
pub mod hosted;
pub mod intent;
pub mod json;
pub mod keys;
pub mod mcp;
pub mod net;
pub mod oauth;
pub mod os;
pub mod overrides;
pub mod path;
pub mod policy;
pub mod rate;
pub mod request;
pub mod rest;
pub mod segment;
pub mod store;
pub mod telemetry;
pub mod terminal;
pub mod verdict;
