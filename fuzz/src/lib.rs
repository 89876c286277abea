//! What several targets need.

pub mod aws;

use agentgate::action::{Action, Agent, Target, Transport};

/// An action of the default agent over `transport`.
#[must_use]
pub fn action(transport: Transport, target: Target) -> Action {
    Action {
        at: jiff::Timestamp::UNIX_EPOCH,
        agent: Agent::default(),
        session: "fuzz".into(),
        transport,
        target,
    }
}
