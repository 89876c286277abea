//! Slack: the method is the last segment of the path, and its verb the last
//! word of that. SDKs send every one of them by POST, and some that write are
//! documented for GET.

use crate::action::HttpRequest;
use crate::intent::lexicon::{Role, role};
use crate::intent::words::words;
use crate::intent::{Intent, Judgement, tool};

pub(in crate::intent) fn judge(request: &HttpRequest) -> Judgement {
    let Some(method) = method(&request.path) else {
        return Judgement::unsure("no name of a Slack method in the path");
    };
    let (family, name) = method.rsplit_once('.').unwrap_or(("", method));
    // Such as `search.messages` and `assistant.search.context`.
    let writes = words(name).next().is_some_and(|verb| role(verb).writes().is_some());
    if (family == "search" || family.ends_with(".search")) && !writes {
        return Judgement::l2(Intent::Query, "Slack's family of searches");
    }
    // Returns a token of another service.
    if family == "apps.auth.external" && name == "get" {
        return Judgement::l2(Intent::Execute, "a secret that is handed out");
    }
    let intent = match name {
        "postMessage" | "postEphemeral" | "meMessage" | "scheduleMessage" => Intent::Send,
        // Streams a message piece by piece.
        "startStream" | "appendStream" | "stopStream" if family == "chat" => Intent::Send,
        "setAdmin" | "setOwner" | "setRegular" => Intent::Admin,
        // Creates an upload URL.
        "getUploadURLExternal" => Intent::Create,
        _ if shows(family, name) || reads_by_first_verb(name) => Intent::Read,
        _ => match tool::by_name(name) {
            // A verb at the end or a noun is not sufficient evidence here
            // (`entity.presentDetails`).
            named if named.intent.is_read() => {
                return Judgement::unsure("no verb that Slack's methods read with");
            }
            named => return named,
        },
    };
    Judgement::l2(intent, "the last word of the method's name")
}

/// Whether the name starts with a verb that only reads.
fn reads_by_first_verb(name: &str) -> bool {
    let mut rest = words(name).skip_while(|word| word.eq_ignore_ascii_case("bulk"));
    let reads = rest.next().is_some_and(|verb| matches!(role(verb), Role::Reads(_)));
    reads && !rest.next().is_some_and(tool::turns) && tool::has_one_purpose(name)
}

/// Methods named after what they return.
fn shows(family: &str, name: &str) -> bool {
    match name {
        "history" | "info" | "members" | "replies" | "conversations" | "activity" | "metadata"
        | "count" | "accessLogs" | "billableInfo" | "integrationLogs" | "teamInfo" | "userInfo"
        | "identity" => true,
        // Exporting a workflow's responses sends them to somebody's inbox.
        "export" => family.starts_with("admin.") || family.starts_with("apps."),
        "test" => matches!(family, "auth" | "api"),
        "exchange" => family == "migration",
        _ => false,
    }
}

/// The API method in a path, such as `chat.postMessage`.
pub(in crate::intent) fn method(path: &str) -> Option<&str> {
    let method = path.strip_prefix("/api/").or_else(|| path.strip_prefix('/'))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'_';
    (method.contains('.') && method.bytes().all(plain)).then_some(method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;

    #[test]
    fn by_the_last_word_of_the_method() {
        let intent =
            |method: &str| judge(&request("slack", "POST", &format!("/api/{method}"))).intent;
        for read in ["conversations.list", "users.lookupByEmail", "auth.test", "team.info"] {
            assert_eq!(intent(read), Intent::Read, "{read}");
        }
        for (method, expected) in [
            ("search.messages", Intent::Query),
            ("search.delete", Intent::Delete),
            ("chat.postMessage", Intent::Send),
            ("chat.startStream", Intent::Send),
            ("chat.appendStream", Intent::Send),
            ("admin.emoji.add", Intent::Create),
            ("users.deletePhoto", Intent::Delete),
            ("files.getUploadURLExternal", Intent::Create),
            ("conversations.listConnectInvites", Intent::Read),
            ("conversations.listAndDelete", Intent::Delete),
            ("conversations.readModifyWrite", Intent::Update),
            ("entity.presentDetails", Intent::Unknown),
            ("apps.test", Intent::Execute),
            ("apps.manifest.export", Intent::Read),
            ("functions.workflows.steps.responses.export", Intent::Unknown),
            ("conversations.list/chat.delete", Intent::Unknown),
            ("conversations", Intent::Unknown),
        ] {
            assert_eq!(intent(method), expected, "{method}");
        }
    }
}
