//! Jira: questions too long for a URL, each at a place of its own.

use crate::action;
use crate::intent::http::METHOD;
use crate::intent::{Intent, Judgement};

/// Judges a GET: it reads if the path is within Atlassian's own APIs.
pub(in crate::intent) fn get(path: &str) -> Judgement {
    match is_own(path) {
        true => Judgement::l1(Intent::Read, METHOD),
        false => Judgement::unsure("a path beside Jira's REST API"),
    }
}

/// Whether the path is within Atlassian's own APIs. Elsewhere GET may write: web pages
/// (`/secure/DeleteIssue.jspa`), GraphQL, and add-ons, some of which run the customer's code
/// (`/rest/scriptrunner/latest/custom/…`).
pub(in crate::intent) fn is_own(path: &str) -> bool {
    const SHOWN: [&str; 5] =
        ["attachment", "thumbnail", "useravatar", "projectavatar", "viewavatar"];
    const OWN: [&str; 17] = [
        "agile",
        "api",
        "atlassian-connect",
        "auth",
        "builds",
        "deployments",
        "dev-status",
        "devinfo",
        "devopscomponents",
        "featureflags",
        "forge",
        "greenhopper",
        "internal",
        "operations",
        "remotelinks",
        "security",
        "servicedeskapi",
    ];
    let (first, rest) = below_site(path).split_once('/').unwrap_or_default();
    let second = rest.split('/').next().unwrap_or_default();
    match first {
        "api" => true,
        "rest" => OWN.contains(&second),
        "secure" => SHOWN.contains(&second),
        _ => false,
    }
}

/// The path without its leading `/` and the site.
fn below_site(path: &str) -> &str {
    action::below_site(path).strip_prefix('/').unwrap_or_default()
}

/// Whether a POST reads.
pub(in crate::intent) fn post_reads(path: &str) -> bool {
    const ELSEWHERE: [&str; 2] = [
        "rest/atlassian-connect/1/migration/workflow/rule/search",
        "rest/internal/api/latest/worklog/bulk",
    ];
    if ELSEWHERE.contains(&below_site(path)) {
        return true;
    }
    let Some(place) = place(path) else { return false };
    matches!(
        place,
        ["search", "" | "jql" | "approximate-count" | "id", "", "", ""]
            | ["issue" | "changelog", "bulkfetch", "", "", ""]
            | ["issue", "watching", "", "", ""]
            | ["issue", _, "changelog", "list", ""]
            | ["comment" | "worklog", "list", "", "", ""]
            | ["jql", "match" | "parse" | "autocompletedata", "", "", ""]
            | ["jql", "sanitize" | "pdcleaner", "", "", ""]
            | ["jql", "function", "computation", "search", ""]
            | ["expression", "analyse" | "eval" | "evaluate", "", "", ""]
            | ["permissions", "check" | "project", "", "", ""]
            | ["priorityscheme", "mappings", "", "", ""]
            | ["field", _, "context", "mapping", ""]
            | ["app", "field", "context", "configuration", "list"]
            | ["workflow", "history", "" | "list", "", ""]
            | ["workflows", "" | "preview", "", "", ""]
            | ["workflows", "create" | "update", "validation", "", ""]
            | ["workflowscheme", "read", "", "", ""]
            | ["workflowscheme", "update", "mappings", "", ""]
    )
}

/// Whether a PUT reads: one export uses it.
pub(in crate::intent) fn put_reads(path: &str) -> bool {
    place(path) == Some(["issues", "archive", "export", "", ""])
}

/// Up to five segments after `/rest/api/3` (or `/api/3`); `None` if there are more.
fn place(path: &str) -> Option<[&str; 5]> {
    let path = below_site(path);
    let path = path.strip_prefix("rest/").unwrap_or(path);
    let mut segments = path.strip_prefix("api/")?.split('/').skip(1);
    let place = [(); 5].map(|()| segments.next().unwrap_or_default());
    segments.next().is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_requests_are_parsed_where_they_are_allowed() {
        for path in [
            "/rest/api/3/search",
            "/rest/api/2/search/jql",
            "/rest/api/3/issue/DELETE-1/changelog/list",
            "/rest/api/3/app/field/context/configuration/list",
            "/rest/api/3/workflows",
            "/ex/jira/11223344-a1b2/rest/api/3/search/jql",
        ] {
            assert!(post_reads(path), "{path}");
        }
        for path in [
            "/rest/api/3/issue",
            "/rest/api/3/issue/search",
            "/rest/api/3/project/search/role/list",
            "/rest/api/3/workflows/create",
            "/rest/api/3/search/jql/x/y/z",
            "/rest/agile/1.0/sprint/search",
        ] {
            assert!(!post_reads(path), "{path}");
        }
        assert_eq!(get("/rest/api/3/issue/A-1").intent, Intent::Read);
        assert_eq!(get("/rest/servicedeskapi/request").intent, Intent::Read);
        assert_eq!(get("/secure/attachment/1/a.png").intent, Intent::Read);
        for path in [
            "/secure/DeleteIssue.jspa",
            "/gateway/api/graphql",
            "/plugins/servlet/x",
            "/rest/scriptrunner/latest/custom/x",
            "/rest/",
            "/",
        ] {
            assert_eq!(get(path).intent, Intent::Unknown, "{path}");
        }
        assert!(put_reads("/rest/api/3/issues/archive/export"));
        assert!(!put_reads("/rest/api/3/issue/archive"));
    }
}
