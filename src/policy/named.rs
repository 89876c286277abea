//! MCP methods besides `tools/call` that rules name: these are judged, others pass. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use super::clause::{Clause, Key};
use super::compile::{HTTP_METHODS, Rule};
use super::condition::Condition;
use crate::action::McpRequest;

/// MCP methods that rules name, at any depth.
#[derive(Debug, Default)]
pub(super) struct NamedMethods {
    /// Names under `methods`.
    written: HashSet<Box<str>>,
    /// Conditions of rules that may be about any method.
    conditions: Vec<Arc<Condition>>,
    /// Whether any method may be named.
    any: bool,
    /// Whether any of them may be sent by servers.
    of_servers: bool,
}

impl NamedMethods {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut named = Self::default();
        for rule in rules {
            let may_be_any = !excludes_methods(&rule.clause);
            rule.clause.visit(&mut |key| match key {
                Key::Methods(methods) => named.written.extend(methods.iter().cloned()),
                Key::When(condition) if may_be_any => named.conditions.push(Arc::clone(condition)),
                _ => {}
            });
        }
        named.of_servers = named.written.iter().any(|method| may_come_from_servers(method))
            || named.conditions.iter().any(|condition| distinguishes_server_methods(condition));
        named
    }

    /// For a policy that does not exist: every method may be named.
    pub(super) fn unknown() -> Self {
        Self { any: true, of_servers: true, ..Self::default() }
    }

    /// Whether a rule names a method that servers send to clients.
    pub(super) fn any_from_servers(&self) -> bool {
        self.of_servers
    }

    /// Whether a rule names `method`: under `methods`, or in a `when` that distinguishes it from
    /// `tools/call` by the method alone (`method == "resources/read"`).
    pub(super) fn contains(&self, method: &str) -> bool {
        self.any
            || method == McpRequest::CALL
            || self.written.contains(method)
            || self.conditions.iter().any(|condition| condition.distinguishes(method))
    }
}

/// Whether a clause requires something that only tool calls or REST requests have.
fn excludes_methods(clause: &Clause) -> bool {
    clause.keys.iter().any(|key| match key {
        Key::Tool(_) | Key::Annotation(..) => true,
        Key::Provider(_) | Key::Resource(_) => true,
        Key::Body(_) | Key::Query(_) | Key::Header(_) => true,
        Key::Server(_) | Key::Agent(_) | Key::Methods(_) | Key::Intent(_) | Key::Args(_) => false,
        Key::Any(_) | Key::Not(_) | Key::When(_) => false,
    })
}

/// Whether `method` may be sent by servers only. Methods that clients send, too, are judged as sent
/// by clients.
fn may_come_from_servers(method: &str) -> bool {
    !HTTP_METHODS.contains(&method) && !McpRequest::is_of_clients(method)
}

/// Whether a condition distinguishes a method that servers send from `tools/call`: a known one, or
/// one of its literals.
fn distinguishes_server_methods(condition: &Condition) -> bool {
    let written = condition.method_literals();
    let candidates =
        McpRequest::OF_SERVERS.iter().copied().chain(written.iter().map(String::as_str));
    candidates
        .filter(|method| may_come_from_servers(method))
        .any(|method| condition.distinguishes(method))
}
