//! Lookalike names: neither the rules nor the server's list has them, but a lenient server
//! may read them as ones that they do have (see [`crate::fold`]). Pure.

use crate::action::{Action, Listing, McpRequest, Target, ToolCall};
use crate::fold::{duplicate_keys, fold};
use crate::policy::{Lookalike, Policy};
use crate::terminal::brief;

/// A name that a lenient server may read as another one.
pub(super) struct Finding {
    /// The reason, as shown to the caller.
    pub(super) words: String,
    /// Whether only rules in observe mode refer to the other name.
    pub(super) observed: bool,
}

/// The name in `action` that may be read as another one, if any rule refers to the other one.
pub(super) fn find(action: &Action, policy: &Policy) -> Option<Finding> {
    let mut found = match &action.target {
        Target::Tool(call) => [of_tool(call, policy), of_argument(action, policy, &call.listing)],
        Target::Method(request) => {
            [of_method(request, policy), of_argument(action, policy, &Listing::Unknown)]
        }
        Target::Http(_) | Target::Malformed(_) => return None,
    };
    found.sort_by_key(|found| found.as_ref().is_none_or(|found| found.observed));
    found.into_iter().flatten().next()
}

/// Checks the tool's name against the server's list, or against the policy if the list does not
/// have it.
fn of_tool(call: &ToolCall, policy: &Policy) -> Option<Finding> {
    let sent = &call.tool;
    match &call.listing {
        Listing::Exact(_) => None,
        Listing::Alike(meant) => differs("tool", Lookalike { sent, meant, observed: false }),
        Listing::Unknown | Listing::Absent(_) => differs("tool", policy.lookalike(sent)?),
    }
}

fn of_method(request: &McpRequest, policy: &Policy) -> Option<Finding> {
    let McpRequest { method, params, .. } = request;
    // All other members are checked by the envelope reader.
    if let Some((sent, meant)) = duplicate_keys(params) {
        return differs("argument", Lookalike { sent, meant, observed: false });
    }
    differs("method", policy.lookalike_method(method, &fold(method))?)
}

/// Checks argument names that rules refer to and the tool's schema does not declare.
fn of_argument(action: &Action, policy: &Policy, listing: &Listing) -> Option<Finding> {
    differs("argument", policy.lookalike_argument(action, |key| listing.declares(key))?)
}

fn differs(what: &str, found: Lookalike<'_>) -> Option<Finding> {
    let Lookalike { sent, meant, observed } = found;
    let (sent, meant) = (brief(sent), brief(meant));
    let words = format!("the {what} `{sent}` is not `{meant}`, but some servers read it so");
    Some(Finding { words, observed })
}
