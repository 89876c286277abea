//! Fixtures for tests of the policy language.

use std::sync::Arc;

use jiff::Timestamp;

use crate::action::{Action, Agent, Hints, Listing, Target, ToolCall, Transport};
use crate::json;

/// A call of `tool` at the server `files`, with the protocol's default hints.
pub(super) fn call(tool: &str, args: &str) -> Action {
    Action {
        at: Timestamp::UNIX_EPOCH,
        agent: Agent::default(),
        session: Arc::from("s"),
        transport: Transport::Stdio,
        target: Target::Tool(ToolCall {
            server: Arc::from("files"),
            tool: tool.to_owned(),
            args: json::parse(args.as_bytes()).unwrap().as_object().unwrap().clone(),
            annotations: Some(Hints::default()),
            listing: Listing::Unknown,
        }),
    }
}
