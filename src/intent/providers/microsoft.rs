//! Microsoft Graph: OData actions stand behind an entity and start with their verb.

use crate::intent::tool;
use crate::intent::words::words;

/// Verbs of actions that only ask. Others that sound like it head the names of
/// collections (`browseSessions`, `filterOperators`), which a POST adds to.
const VERBS: [&str; 9] =
    ["check", "compute", "extract", "find", "get", "list", "retrieve", "translate", "validate"];

/// Whether a POST reads. A colon addresses a file by its path, which may spell
/// anything; what is done for synchronization needs a right to write.
pub(in crate::intent) fn post_reads(path: &str) -> bool {
    let mut back = path.rsplit('/');
    let tail = [(); 3].map(|()| back.next().unwrap_or_default());
    match tail {
        _ if path.contains(':') || path.contains("/synchronization/") => false,
        ["query", "search", _]
        | ["search", "restorePoints", _]
        | ["evaluate", "conditionalAccess", _]
        | ["preview", _, "items"]
        | [_, "functions", "workbook"] => true,
        [action, ..] => asks(action),
    }
}

/// Whether an action's name, a verb and its object, is that of a question:
/// `getSchedule`, `microsoft.graph.security.runHuntingQuery`.
fn asks(action: &str) -> bool {
    let action = action.rsplit('.').next().unwrap_or(action);
    // `getPasswordSingleSignOnCredentials`
    if words(action).any(|word| matches!(word, "Credential" | "Credentials" | "Secret")) {
        return false;
    }
    let mut parts = words(action);
    let verb = parts.next().unwrap_or_default();
    let object = parts.next().filter(|word| !tool::turns(word));
    object.is_some() && VERBS.contains(&verb) || action == "runHuntingQuery"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_that_ask() {
        for path in [
            "/v1.0/me/calendar/getSchedule",
            "/v1.0/me/calendar/microsoft.graph.getSchedule",
            "/v1.0/search/query",
            "/v1.0/users/x/checkMemberGroups",
            "/v1.0/drives/x/items/y/preview",
            "/v1.0/me/drive/items/x/workbook/functions/sum",
            "/v1.0/security/microsoft.graph.security.runHuntingQuery",
        ] {
            assert!(post_reads(path), "{path}");
        }
        for path in [
            "/v1.0/me/sendMail",
            "/v1.0/me/messages/x/forward",
            "/v1.0/me/drive/root:/getSchedule",
            "/v1.0/groups/search",
            "/v1.0/places/x/checkIns",
            "/beta/users/x/getPasswordSingleSignOnCredentials",
            "/v1.0/drives/x/items/y/checkout",
            "/v1.0/solutions/backupRestore/browseSessions",
            "/v1.0/servicePrincipals/x/synchronization/jobs/y/schema/parseExpression",
        ] {
            assert!(!post_reads(path), "{path}");
        }
    }
}
