//! Lookalike names: neither the rules nor the server's list has them, but a lenient server
//! may read them as ones that they do have (see [`crate::fold`]). Pure.

use crate::action::{Action, Listing, McpRequest, Target, ToolCall};
use crate::fold::{alike, fold};
use crate::policy::{Lookalike, Policy};
use crate::terminal::brief;

/// A name that may be read as another one.
pub(super) struct Finding {
    /// How, in words for whoever sent it.
    pub(super) words: String,
    /// Only rules that observe name the other one.
    pub(super) observed: bool,
}

/// How `action` could be read as another one; `None` where it could not, or where that
/// is nothing to any rule.
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

/// By what the server lists, or, where it does not list the tool, by what the policy
/// speaks of.
fn of_tool(call: &ToolCall, policy: &Policy) -> Option<Finding> {
    let sent = &call.tool;
    match &call.listing {
        Listing::Exact(_) => None,
        Listing::Alike(meant) => differs("tool", Lookalike { sent, meant, observed: false }),
        Listing::Unknown => differs("tool", policy.lookalike(sent)?),
    }
}

fn of_method(request: &McpRequest, policy: &Policy) -> Option<Finding> {
    let McpRequest { method, params, .. } = request;
    // The envelope holds all that is beside a method to this.
    if let Some((sent, meant)) = alike(params) {
        return differs("argument", Lookalike { sent, meant, observed: false });
    }
    differs("method", policy.lookalike_method(method, &fold(method))?)
}

/// An argument that rules look at, where the server's list has none of that name.
fn of_argument(action: &Action, policy: &Policy, listing: &Listing) -> Option<Finding> {
    differs("argument", policy.lookalike_argument(action, |key| listing.declares(key))?)
}

fn differs(what: &str, found: Lookalike<'_>) -> Option<Finding> {
    let Lookalike { sent, meant, observed } = found;
    let (sent, meant) = (brief(sent), brief(meant));
    let words = format!("the {what} `{sent}` is not `{meant}`, but some servers read it so");
    Some(Finding { words, observed })
}
