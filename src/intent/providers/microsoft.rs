//! Microsoft Graph: OData actions stand behind an entity and start with their verb.

use crate::action::HttpRequest;
use crate::intent::http::{METHOD, last_segment};
use crate::intent::words::words;
use crate::intent::{Intent, Judgement, tool};

/// Verbs of actions that only ask. Others that sound like it head the names of
/// collections (`browseSessions`, `filterOperators`), which a POST adds to.
const VERBS: [&str; 10] = [
    "check",
    "compute",
    "evaluate",
    "extract",
    "find",
    "get",
    "list",
    "retrieve",
    "translate",
    "validate",
];

/// A GET reads, unless it is to redeem a sharing link on the way ("Access shared
/// items"): that gives the caller lasting access. So does a key of Microsoft's own making.
pub(in crate::intent) fn get(request: &HttpRequest) -> Judgement {
    let redeems = |(name, value): &(String, String)| {
        name == "prefer" && value.to_ascii_lowercase().contains("redeemsharinglink")
    };
    match request.headers.iter().any(redeems) {
        true => Judgement::l2(Intent::Admin, "a sharing link that is redeemed"),
        false if gets_key(last_segment(&request.path)) => {
            Judgement::l2(Intent::Execute, "a secret that is handed out")
        }
        false => Judgement::l1(Intent::Read, METHOD),
    }
}

/// `microsoft.graph.security.getDeploymentAccessKey()`; but not `getActiveKey`, which is
/// a public one, nor `getFileVaultKey`, which was put there to be read.
fn gets_key(function: &str) -> bool {
    let name = function.split('(').next().unwrap_or_default().to_ascii_lowercase();
    let name = name.rsplit('.').next().unwrap_or_default();
    name.starts_with("get") && name.ends_with("accesskey")
}

/// Whether a POST reads. A colon addresses a file by its path, which may spell
/// anything; what is done for synchronization needs a right to write.
pub(in crate::intent) fn post_reads(path: &str) -> bool {
    let mut back = path.rsplit('/');
    let tail = [(); 3].map(|()| back.next().unwrap_or_default());
    match tail {
        _ if path.contains(':') || is_below(path, "synchronization") => false,
        ["query", "search", _]
        | ["retrieval" | "search", "copilot", "v1.0" | "beta"]
        | ["search", "restorePoints", _]
        | ["evaluate", "conditionalAccess", _]
        | ["preview", _, "items"]
        | [_, "functions", "workbook"] => true,
        // Makes one where there is none.
        ["getPlan", "planner", _] => false,
        [action, ..] => asks(action),
    }
}

/// Whether a POST puts a message into a chat or a channel. A mail is only drafted
/// (`me/messages`).
pub(in crate::intent) fn sends_message(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    // `chats('x')` is the same as `chats/x`.
    let segments: Vec<&str> = path.split('/').flat_map(|segment| segment.splitn(2, '(')).collect();
    let place = match &segments[..] {
        [place @ .., "messages", _, "replies"] | [place @ .., "messages"] => place,
        _ => return false,
    };
    matches!(place, [.., "chats" | "channels", _] | [.., "primarychannel"])
}

fn is_below(path: &str, name: &str) -> bool {
    path.split('/').any(|segment| segment.eq_ignore_ascii_case(name))
}

/// Whether an action's name, a verb and its object, is that of a question:
/// `getSchedule`, `microsoft.graph.security.runHuntingQuery`. Graph ignores case, so
/// humps may be put where there are none: `listS` is a collection.
fn asks(action: &str) -> bool {
    // In the parentheses of a function anything may stand.
    if !action.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
        return false;
    }
    let action = action.rsplit('.').next().unwrap_or(action);
    let plain = action.to_ascii_lowercase();
    // `getPasswordSingleSignOnCredentials`; collections of tasks and of work to be done
    // (`evaluateLabelJobs`).
    if ["credential", "secret"].iter().any(|word| plain.contains(word))
        || plain.starts_with("checklist")
        || plain.ends_with("jobs")
    {
        return false;
    }
    let mut parts = words(action);
    let verb = parts.next().unwrap_or_default();
    let asks_for = match parts.next() {
        // `getByIds`
        Some("By") => parts.next().is_some_and(|word| word.len() > 2),
        object => object.is_some_and(|word| word.len() > 2 && !tool::turns(word)),
    };
    let only_asks = asks_for && VERBS.contains(&verb) && !tool::joins_change(action);
    only_asks || action == "runHuntingQuery"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;

    #[test]
    fn a_get_that_redeems_a_link_is_no_read() {
        let mut get = request("microsoft", "GET", "/v1.0/shares/u!x/driveItem");
        get.headers.push(("prefer".to_owned(), "outlook.timezone=\"UTC\"".to_owned()));
        assert_eq!(self::get(&get).intent, Intent::Read);
        get.headers.push(("prefer".to_owned(), "RedeemSharingLinkIfNecessary".to_owned()));
        assert_eq!(self::get(&get).intent, Intent::Admin);
    }

    #[test]
    fn a_function_may_hand_out_a_key() {
        let intent = |path: &str| get(&request("microsoft", "GET", path)).intent;
        for path in [
            "/v1.0/security/identities/sensors/microsoft.graph.security.getDeploymentAccessKey()",
            "/v1.0/security/identities/sensors/getdeploymentaccesskey",
        ] {
            assert_eq!(intent(path), Intent::Execute, "{path}");
        }
        for path in [
            "/beta/deviceManagement/depOnboardingSettings/x/getEncryptionPublicKey()",
            "/beta/trustFramework/keySets/x/getActiveKey",
            "/v1.0/deviceManagement/managedDevices/x/getFileVaultKey",
            "/v1.0/users/monkey",
        ] {
            assert_eq!(intent(path), Intent::Read, "{path}");
        }
    }

    #[test]
    fn a_message_in_a_chat_or_a_channel_is_sent() {
        for path in [
            "/v1.0/chats/x/messages",
            "/v1.0/me/Chats('x')/Messages",
            "/v1.0/teams/x/channels/y/messages",
            "/v1.0/teams/x/channels/y/messages/z/replies",
            "/v1.0/teams('x')/channels('y')/messages('z')/replies",
            "/beta/groups/x/team/primaryChannel/messages",
        ] {
            assert!(sends_message(path), "{path}");
        }
        for path in [
            "/v1.0/me/messages",
            "/v1.0/me/mailFolders/channels/messages",
            "/v1.0/chats/x/members",
            "/v1.0/drives/x/items/y/workbook/comments/z/replies",
        ] {
            assert!(!sends_message(path), "{path}");
        }
    }

    #[test]
    fn actions_that_ask() {
        for path in [
            "/v1.0/me/calendar/getSchedule",
            "/v1.0/me/calendar/microsoft.graph.getSchedule",
            "/v1.0/search/query",
            "/v1.0/copilot/retrieval",
            "/beta/me/informationProtection/policy/labels/evaluateApplication",
            "/v1.0/users/x/checkMemberGroups",
            "/v1.0/directoryObjects/getByIds",
            "/beta/deviceManagement/reports/getNoncompliantDevicesAndSettingsReport",
            "/v1.0/directoryObjects/microsoft.graph.getByIds",
            "/v1.0/drives/x/items/y/preview",
            "/v1.0/me/drive/items/x/workbook/functions/sum",
            "/v1.0/security/microsoft.graph.security.runHuntingQuery",
        ] {
            assert!(post_reads(path), "{path}");
        }
        for path in [
            "/v1.0/me/sendMail",
            "/v1.0/me/sendMail(x='.getSchedule')",
            "/beta/solutions/businessScenarios/x/planner/getPlan",
            "/v1.0/directoryObjects/getBy",
            "/v1.0/me/messages/x/forward",
            "/v1.0/me/drive/root:/getSchedule",
            "/v1.0/groups/search",
            "/v1.0/groups/copilot/search",
            "/v1.0/identity/conditionalAccess/policies/evaluate",
            "/v1.0/places/x/checkIns",
            "/beta/users/x/getPasswordSingleSignOnCredentials",
            "/beta/users/x/getPasswordsinglesignoncredentials",
            "/v1.0/me/todo/lists/l/tasks/t/checkListItems",
            "/v1.0/sites/x/listS",
            "/beta/dataClassification/evaluateLabelJobs",
            "/beta/dataClassification/evaluateDlpPoliciesjobs",
            "/v1.0/servicePrincipals/x/Synchronization/jobs/y/validateIt",
            "/beta/x/getOrCreateThing",
            "/beta/x/findThenReplaceAll",
            "/v1.0/drives/x/items/y/checkout",
            "/v1.0/drives/x/items/y/checkOut",
            "/v1.0/solutions/backupRestore/browseSessions",
            "/v1.0/servicePrincipals/x/synchronization/jobs/y/schema/parseExpression",
        ] {
            assert!(!post_reads(path), "{path}");
        }
    }
}
