//! AgentGate: the authorization layer between AI agents and what they can touch.
//!
//! What happens to a request: [`mcp::relay`] reads a line from a client. The line is parsed
//! strictly, over the bytes that will be forwarded ([`mcp::envelope`]), and becomes an
//! [`action::Action`]: agent, target, arguments. [`gate::Gate::admit`] has it decided by
//! [`gate::pipeline::decide`], which consults [`rate`], [`intent`] and [`policy`] in this order,
//! and has the [`store`] commit a row. Only then is there a [`gate::Permit`], which owns the line;
//! nothing is forwarded without one. A refused action gets a [`verdict::Denial`], which becomes a
//! response that a model understands ([`mcp::reply`]). The server's result is added to the row
//! later ([`gate::Gate::release`]).
//!
//! Over HTTP ([`mcp::http`], [`hosted`]) the same relay gets the message; a REST request becomes an
//! action in [`rest`]. Both are admitted by the same gate.
//!
//! Dependencies point down: a module uses the modules below it in `ARCHITECTURE.md`, never those
//! above. `tests/architecture.rs` checks this.

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
