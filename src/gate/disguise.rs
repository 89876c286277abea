//! What is not what it seems: a name that nothing speaks of, and that a lenient server
//! may take for one that the rules, or its own list, do speak of (see [`crate::fold`]).
//! Pure.

use crate::action::{Action, Listing, McpRequest, Target, ToolCall};
use crate::fold::{alike, fold};
use crate::json::Object;
use crate::policy::Policy;
use crate::terminal::brief;

/// How `action` could be read as another one, in words for whoever sent it; `None` where
/// it could not.
pub(super) fn find(action: &Action, policy: &Policy) -> Option<String> {
    match &action.target {
        Target::Tool(call) => {
            of_tool(call, policy).or_else(|| of_argument(action, policy, &call.listing))
        }
        Target::Method(request) => {
            of_method(request, policy).or_else(|| of_argument(action, policy, &Listing::Unknown))
        }
        Target::Http(_) | Target::Malformed(_) => None,
    }
}

/// By what the server lists, or, where it does not list the tool, by what the policy
/// speaks of.
fn of_tool(call: &ToolCall, policy: &Policy) -> Option<String> {
    let ToolCall { tool, args, listing, .. } = call;
    if let Listing::Alike(meant) = listing {
        return Some(differs("tool", tool, meant));
    }
    if let Some((sent, meant)) = near_declared(args, listing).or_else(|| pair(args, listing)) {
        return Some(differs("argument", sent, meant));
    }
    match listing {
        Listing::Exact(_) => None,
        _ => policy.mistakable(tool).map(|meant| differs("tool", tool, meant)),
    }
}

fn of_method(request: &McpRequest, policy: &Policy) -> Option<String> {
    let McpRequest { method, params, .. } = request;
    let meant = fold(method);
    if !policy.names_method(method) && policy.names_method(&meant) {
        return Some(differs("method", method, &meant));
    }
    pair(params, &Listing::Unknown).map(|(one, other)| differs("argument", one, other))
}

/// An argument that the policy looks at, whatever the server's list says of the tool.
fn of_argument(action: &Action, policy: &Policy, listing: &Listing) -> Option<String> {
    let (sent, meant) = policy.mistakable_argument(action, |key| listing.declares(key))?;
    Some(differs("argument", sent, meant))
}

/// An argument that is none of those that the schema declares, and the one that it may
/// be taken for.
fn near_declared<'a>(args: &'a Object, listing: &'a Listing) -> Option<(&'a str, &'a str)> {
    let declared = listing.declared();
    args.iter().filter(|(key, _)| !listing.declares(key)).find_map(|(key, _)| {
        let folded = fold(key);
        let meant = declared.iter().find(|argument| fold(argument) == folded)?;
        Some((key, meant.as_str()))
    })
}

/// Two arguments that some servers read as one, unless the schema declares both.
fn pair<'a>(args: &'a Object, listing: &Listing) -> Option<(&'a str, &'a str)> {
    alike(args).filter(|(one, other)| !listing.declares(one) || !listing.declares(other))
}

fn differs(what: &str, sent: &str, meant: &str) -> String {
    format!("the {what} `{}` is not `{}`, but some servers read it so", brief(sent), brief(meant))
}
