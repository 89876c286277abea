//! REST requests, by what holds for every provider or for the whole of one.
//!
//! GET reads and the rest writes, except where a provider says otherwise in a
//! way that no identifier in a path can imitate: an object may be called
//! `search`, so a word in a path counts only at a place that is never one's
//! name. What this leaves undecided is taken for a write.

use super::providers::{aws, github, google, hubspot, jira, microsoft, notion, salesforce, slack};
use super::readings::{Others, others};
use super::words::singular;
use super::{Intent, Judgement, Level, graphql, tool};
use crate::action::{Body, HttpRequest, Provider};
use crate::overrides::{self, METHOD_HEADERS};

/// The intent follows from the HTTP method alone.
pub(super) const METHOD: &str = "the HTTP method";

const OVERRIDDEN: Judgement = Judgement::unsure("something that asks for another HTTP method");

/// The strictest of all readings of a request.
pub(super) fn judge(request: &HttpRequest) -> Judgement {
    match others(request) {
        Others::None => judge_one(request),
        Others::Separated(other) => judge_one(request).or_stricter(judge(&other)),
        Others::Batch(_) | Others::Unclear(_) if overrides_method(request) => OVERRIDDEN,
        Others::Unclear(_) => Judgement::unsure("a batch that cannot be taken apart for certain"),
        Others::Batch(members) => {
            let strictest = members.iter().map(judge_member).reduce(Judgement::or_stricter);
            let strictest = strictest.unwrap_or(Judgement::unsure("a batch without requests"));
            let level = strictest.level.max(Level::L2);
            Judgement { level, why: "the strictest request of the batch", ..strictest }
        }
    }
}

/// Judges a request of a batch, which must not be a batch itself.
fn judge_member(member: &HttpRequest) -> Judgement {
    match others(member) {
        Others::None => judge_one(member),
        Others::Separated(other) => judge_one(member).or_stricter(judge_member(&other)),
        Others::Batch(_) | Others::Unclear(_) => Judgement::unsure("a batch within a batch"),
    }
}

/// Judges a request that is not a batch.
fn judge_one(request: &HttpRequest) -> Judgement {
    if overrides_method(request) {
        return OVERRIDDEN;
    }
    if request.is_file {
        return on_file(request);
    }
    match request.provider {
        Provider::Slack => slack::judge(request),
        Provider::Aws => aws::judge(request),
        provider if graphql::is_endpoint(provider, without_slash(&request.path)) => {
            graphql::judge(request)
        }
        Provider::Linear => Judgement::unsure("a path that Linear does not have"),
        _ => by_method(request),
    }
}

/// Judges a request for a file outside of the API, where only the method counts.
fn on_file(request: &HttpRequest) -> Judgement {
    const WHY: &str = "the HTTP method, on a file";
    // File hosts have answered API methods, too (`/files.slack.com/api/…`).
    let at_host = request.provider.file_at(&request.path).map(|(_, below)| below);
    let first = at_host.and_then(|below| below.split('/').nth(1));
    if first.is_some_and(|first| first.eq_ignore_ascii_case("api")) {
        return Judgement::unsure("the API, at a host for files");
    }
    match request.method.as_str() {
        "GET" | "HEAD" => Judgement::l1(Intent::Read, WHY),
        "POST" => Judgement::l1(Intent::Create, WHY),
        "PUT" | "PATCH" => Judgement::l1(Intent::Update, WHY),
        "DELETE" => Judgement::l1(Intent::Delete, WHY),
        _ => Judgement::unsure("a method that the providers do not use"),
    }
}

/// The resource that a request acts on, and the provider's name of the operation if the request
/// contains it.
pub(super) fn described(request: &HttpRequest) -> (String, Option<String>) {
    if request.is_file {
        return ("file".to_owned(), None);
    }
    if graphql::is_endpoint(request.provider, without_slash(&request.path)) {
        return match graphql::executed(request) {
            Some(executed) => (executed.resource(), Some(executed.operation())),
            None => (request.path.clone(), None),
        };
    }
    let operation = match request.provider {
        Provider::Slack => slack::method(&request.path),
        Provider::Aws => aws::operation(request),
        _ => None,
    };
    let resource = operation.map_or_else(|| resource(&request.path), resource_of_operation);
    (resource, operation.map(str::to_owned))
}

/// The resource in an operation's name: `chat.postMessage` is about `chat`, `ListBuckets` about
/// `buckets`.
fn resource_of_operation(operation: &str) -> String {
    match operation.split_once('.') {
        Some((family, _)) => singular(family),
        None => tool::nouns(operation, ""),
    }
}

/// The last path segment that looks like a resource type rather than an id.
fn resource(path: &str) -> String {
    let is_word = |part: &&str| part.len() > 2 && part.bytes().all(|b| b.is_ascii_alphabetic());
    let words = || path.rsplit('/').map(before_colon).filter(is_word);
    let kind = words().find(|segment| segment.ends_with('s')).or_else(|| words().next());
    kind.map_or_else(|| path.to_owned(), singular)
}

/// Whether the request asks upstream to treat it as one with another method.
fn overrides_method(request: &HttpRequest) -> bool {
    let differs = |value: &str| !value.eq_ignore_ascii_case(&request.method);
    let by_header = |(name, value): &(String, String)| {
        METHOD_HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header)) && differs(value)
    };
    let in_form = || match &request.body {
        Body::Text(form) => {
            form_pairs(form).any(|(name, value)| overrides::is_parameter(name) && differs(value))
        }
        _ => false,
    };
    request.headers.iter().any(by_header)
        || request.query.iter().any(|(name, value)| overrides::is_parameter(name) && differs(value))
        || in_form()
}

/// The pairs of a form, not decoded.
pub(super) fn form_pairs(form: &str) -> impl Iterator<Item = (&str, &str)> {
    form.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn by_method(request: &HttpRequest) -> Judgement {
    let path = without_slash(&request.path);
    match request.method.as_str() {
        "GET" | "HEAD" | "OPTIONS" if updates_by_the_way(request) => {
            Judgement::l2(Intent::Update, "a parameter that has something updated")
        }
        "GET" | "HEAD" | "OPTIONS" => match request.provider {
            Provider::Google => google::get(request, path),
            Provider::Salesforce => salesforce::get(request, path),
            Provider::Jira => jira::get(path),
            Provider::Microsoft => microsoft::get(request),
            _ => Judgement::l1(Intent::Read, METHOD),
        },
        "DELETE" => Judgement::l1(Intent::Delete, METHOD),
        "PUT" if request.provider == Provider::Jira && jira::put_reads(path) => {
            Judgement::l2(Intent::Query, "a question by PUT, known by its place")
        }
        "PATCH"
            if request.provider == Provider::Salesforce
                && salesforce::patch_reads(request, path) =>
        {
            Judgement::l2(Intent::Query, "a question by PATCH, known by its place")
        }
        "PUT" | "PATCH" => Judgement::l1(Intent::Update, METHOD),
        "POST" => post(request, path),
        _ => Judgement::unsure("a method that the providers do not use"),
    }
}

/// Whether it asks a catalog of Iceberg tables for credentials to the storage (Iceberg REST catalog,
/// "loadCredentials" and `X-Iceberg-Access-Delegation`).
pub(super) fn asks_for_credentials(request: &HttpRequest) -> bool {
    let mut back = without_slash(&request.path).rsplit('/');
    let delegates = |(name, _): &(String, String)| name == "x-iceberg-access-delegation";
    (back.next() == Some("credentials") && back.nth(1) == Some("tables"))
        || request.headers.iter().any(delegates)
}

/// Whether reading also records that it was read: Jira's `updateHistory=true`, Drive's
/// `updateViewedDate`, Salesforce's `updateMru`.
fn updates_by_the_way(request: &HttpRequest) -> bool {
    let is_so = |value: &str| value.eq_ignore_ascii_case("true") || value == "1";
    request.query.iter().any(|(name, value)| is_update_flag(name) && is_so(value))
}

/// Matches `updateHistory`, but not `updated` or `updatedMin`, which filter by time.
pub(super) fn is_update_flag(name: &str) -> bool {
    name.split_at_checked("update".len()).is_some_and(|(verb, what)| {
        verb.eq_ignore_ascii_case("update") && what.starts_with(|c: char| c.is_ascii_uppercase())
    })
}

fn post(request: &HttpRequest, path: &str) -> Judgement {
    // Some queries are sent by POST because they are too long for a URL.
    let reads = match request.provider {
        Provider::Google => google::post_reads(request, path),
        Provider::Microsoft => microsoft::post_reads(path),
        Provider::Notion if notion::is_batch(path) => {
            return Judgement::unsure("a batch that is not taken apart");
        }
        Provider::Notion => notion::post_reads(path),
        Provider::Hubspot => hubspot::post_reads(path),
        Provider::Salesforce => salesforce::post_reads(request, path),
        Provider::Jira => jira::post_reads(path),
        Provider::Github => github::post_reads(path),
        Provider::Slack | Provider::Linear | Provider::Aws => false,
    };
    if reads {
        return Judgement::l2(Intent::Query, "a question by POST, known by its place or its verb");
    }
    if sends_message(request, path) {
        return Judgement::l2(Intent::Send, "a message to whoever takes part in a conversation");
    }
    let removes = match request.provider {
        Provider::Hubspot => hubspot::removes(path),
        Provider::Salesforce => salesforce::removes(request, path),
        _ => false,
    };
    if removes {
        return Judgement::l2(Intent::Delete, "a deletion of many, by POST");
    }
    let verb = match request.provider {
        Provider::Google => google::custom_verb(request, path),
        _ => None,
    };
    match tool::by_name(verb.unwrap_or_else(|| last_segment(path))).intent {
        Intent::Read | Intent::Query | Intent::Unknown if is_beside_api(request.provider, path) => {
            Judgement::unsure("a path beside the provider's API, where a POST may do anything")
        }
        Intent::Read | Intent::Query | Intent::Unknown if runs_action(request.provider, path) => {
            Judgement::l2(Intent::Execute, "an action that is run")
        }
        // The default for a POST without other evidence.
        Intent::Read | Intent::Query | Intent::Unknown => {
            Judgement { confidence: 0.6, ..Judgement::l1(Intent::Create, "POST and no other sign") }
        }
        written => Judgement::l2(written, "POST and the verb that ends the path"),
    }
}

/// Whether a POST publishes a message at once. A draft has not been sent yet.
fn sends_message(request: &HttpRequest, path: &str) -> bool {
    match request.provider {
        Provider::Google => google::sends_message(request, path),
        Provider::Microsoft => microsoft::sends_message(path),
        Provider::Notion | Provider::Hubspot => {
            let mut back = path.rsplit('/');
            back.next() == Some("messages") && back.nth(1) == Some("threads")
        }
        _ => false,
    }
}

/// Whether the path is outside of the provider's API: customers' code or the body's envelope
/// determines what the request does.
fn is_beside_api(provider: Provider, path: &str) -> bool {
    match provider {
        Provider::Salesforce => !salesforce::is_own(path),
        Provider::Jira => !jira::is_own(path),
        _ => false,
    }
}

fn runs_action(provider: Provider, path: &str) -> bool {
    provider == Provider::Salesforce && salesforce::runs(path)
}

pub(super) fn last_segment(path: &str) -> &str {
    without_slash(path).rsplit('/').next().unwrap_or_default()
}

fn without_slash(path: &str) -> &str {
    path.trim_end_matches('/')
}

fn before_colon(segment: &str) -> &str {
    segment.split_once(':').map_or(segment, |(name, _)| name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request without query, headers and body.
    pub(in crate::intent) fn request(provider: &str, method: &str, path: &str) -> HttpRequest {
        HttpRequest {
            provider: Provider::from_name(provider).expect("a provider"),
            method: method.to_owned(),
            path: path.to_owned(),
            host: None,
            is_file: false,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    fn intent(provider: &str, method: &str, path: &str) -> Intent {
        judge(&request(provider, method, path)).intent
    }

    #[test]
    fn words_in_names_of_resources_do_not_count() {
        assert_eq!(intent("github", "POST", "/repos/o/search/issues"), Intent::Create);
        assert_eq!(intent("github", "GET", "/repos/delete/delete"), Intent::Read);
        assert_eq!(intent("jira", "POST", "/rest/api/3/issue/search/comment"), Intent::Create);
        assert_eq!(intent("jira", "POST", "/rest/api/3/search"), Intent::Query);
        assert_eq!(intent("jira", "PUT", "/rest/api/3/issues/archive/export"), Intent::Query);
        assert_eq!(intent("notion", "POST", "/v1/pages/query/search"), Intent::Create);
    }

    #[test]
    fn an_escaped_separator_is_read_both_ways() {
        assert_eq!(intent("github", "GET", "/repos/o/r/contents/a%2Fb"), Intent::Read);
        assert_eq!(intent("notion", "POST", "/v1/databases/x/query"), Intent::Query);
        assert!(!intent("notion", "POST", "/v1/databases/x%2fy/query").is_read());
        assert!(!intent("microsoft", "POST", "/v1.0%2F$batch").is_read());
        let mut batch = request("microsoft", "POST", "/v1.0/$batch");
        let body = br#"{"requests":[{"method":"POST","url":"/x%2F$batch"}]}"#;
        batch.body = Body::Json(crate::json::parse(body).expect("JSON"));
        assert_eq!(judge(&batch).intent, Intent::Unknown);
        let body = br#"{"requests":[{"method":"GET","url":"/me%2Fmessages"}]}"#;
        batch.body = Body::Json(crate::json::parse(body).expect("JSON"));
        assert_eq!(judge(&batch).intent, Intent::Read);
        let item = "/v1.0/drives/d/items/root:%2Fa%2Fb.txt:";
        assert_eq!(intent("microsoft", "GET", item), Intent::Read);
        assert!(!intent("microsoft", "POST", &format!("{item}%2FcreateLink")).is_read());
    }

    #[test]
    fn a_method_that_is_overridden_is_unknown() {
        let mut get = request("github", "GET", "/repos/o/r");
        get.headers.push(("x-http-method-override".to_owned(), "DELETE".to_owned()));
        assert_eq!(judge(&get).intent, Intent::Unknown);
        let mut batch = request("microsoft", "POST", "/v1.0/$batch");
        let body = br#"{"requests":[{"method":"GET","url":"/me/messages"}]}"#;
        batch.body = Body::Json(crate::json::parse(body).expect("JSON"));
        assert_eq!(judge(&batch).intent, Intent::Read);
        batch.headers.push(("x-http-method".to_owned(), "PUT".to_owned()));
        assert_eq!(judge(&batch).intent, Intent::Unknown);
        let mut get = request("hubspot", "GET", "/crm/v3/objects/contacts");
        get.query.push(("_Method".to_owned(), "post".to_owned()));
        assert_eq!(judge(&get).intent, Intent::Unknown);
    }

    #[test]
    fn reads_that_mark_items_are_writes() {
        let looked = |provider: &str, path: &str, name: &str, value: &str| {
            let mut get = request(provider, "GET", path);
            get.query.push((name.to_owned(), value.to_owned()));
            judge(&get).intent
        };
        let issue = "/rest/api/3/issue/A-1";
        assert_eq!(looked("jira", issue, "updateHistory", "true"), Intent::Update);
        assert_eq!(looked("jira", issue, "updateHistory", "false"), Intent::Read);
        let file = "/drive/v2/files/a";
        assert_eq!(looked("google", file, "updateViewedDate", "true"), Intent::Update);
        assert_eq!(looked("google", file, "UpdateViewedDate", "1"), Intent::Update);
        assert_eq!(looked("hubspot", "/crm/v3/objects/notes", "updated", "true"), Intent::Read);
    }

    #[test]
    fn on_a_file_only_the_method_counts() {
        let on_file = |method: &str, provider: &str, path: &str| {
            judge(&HttpRequest { is_file: true, ..request(provider, method, path) }).intent
        };
        // Where a URL stood says nothing of what is done with it.
        assert_eq!(on_file("POST", "slack", "/api/conversations.history"), Intent::Create);
        assert_eq!(on_file("POST", "microsoft", "/v1.0/me/calendar/getSchedule"), Intent::Create);
        assert_eq!(on_file("PUT", "linear", "/graphql"), Intent::Update);
        assert_eq!(on_file("PUT", "microsoft", "/v1.0/$batch"), Intent::Update);
        assert_eq!(on_file("GET", "linear", "/uploads.linear.app/a/b"), Intent::Read);
        assert_eq!(on_file("HEAD", "slack", "/files.slack.com/users.deletePhoto"), Intent::Read);
        assert_eq!(on_file("TRACE", "slack", "/files.slack.com/x"), Intent::Unknown);
    }

    #[test]
    fn beside_an_api_a_post_may_do_anything() {
        for path in ["/services/Soap/u/66.0", "/services/apexrest/own", "/services/oauth2/token"] {
            assert_eq!(intent("salesforce", "POST", path), Intent::Unknown, "{path}");
        }
        for path in ["/gateway/api/graphql", "/rest/scriptrunner/latest/custom/x"] {
            assert_eq!(intent("jira", "POST", path), Intent::Unknown, "{path}");
        }
        let data =
            |rest: &str| intent("salesforce", "POST", &format!("/services/data/v66.0{rest}"));
        assert_eq!(data("/sobjects/Account"), Intent::Create);
        assert_eq!(data("/actions/custom/flow/Own"), Intent::Execute);
        assert_eq!(data("/actions/standard/emailSimple"), Intent::Send);
        assert_eq!(intent("jira", "POST", "/rest/api/3/issue"), Intent::Create);
    }

    #[test]
    fn a_message_to_others_is_sent() {
        let sent = [
            ("notion", "/v1/threads/x/messages"),
            ("hubspot", "/conversations/v3/conversations/threads/1/messages"),
            ("microsoft", "/v1.0/chats/x/messages"),
        ];
        for (provider, path) in sent {
            assert_eq!(intent(provider, "POST", path), Intent::Send, "{path}");
        }
        let chat = |path: &str| {
            let host = Some("chat.googleapis.com".to_owned());
            judge(&HttpRequest { host, ..request("google", "POST", path) }).intent
        };
        assert_eq!(chat("/v1/spaces/AAA/messages"), Intent::Send);
        assert_eq!(chat("/v1/spaces/AAA/messages/m/reactions"), Intent::Create);
        assert_eq!(intent("google", "POST", "/gmail/v1/users/me/messages"), Intent::Create);
        assert_eq!(intent("microsoft", "POST", "/v1.0/me/messages"), Intent::Create);
        assert_eq!(intent("notion", "POST", "/v1/threads/messages"), Intent::Create);
    }

    #[test]
    fn hubspot_archives_what_it_deletes() {
        for path in [
            "/crm/v3/objects/contacts/batch/archive",
            "/crm/v4/associations/a/b/batch/labels/archive",
        ] {
            assert_eq!(intent("hubspot", "POST", path), Intent::Delete, "{path}");
        }
        assert_eq!(intent("jira", "POST", "/rest/api/3/project/A/archive"), Intent::Update);
    }

    #[test]
    fn strange_methods_are_unknown() {
        for method in ["TRACE", "CONNECT", "PROPFIND", "get", ""] {
            assert_eq!(intent("github", method, "/user"), Intent::Unknown, "{method}");
        }
    }
}
