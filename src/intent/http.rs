//! REST requests, by what holds for every provider or for the whole of one.
//!
//! GET reads and the rest writes, except where a provider says otherwise in a
//! way that no identifier in a path can imitate: an object may be called
//! `search`, so a word in a path counts only at a place that is never one's
//! name. What this leaves undecided is taken for a write.

use super::lexicon::{Role, role};
use super::words::{singular, words};
use super::{Intent, Judgement, Level, aws, graphql, tool};
use crate::action::{Body, HttpRequest, Provider};

pub(super) fn judge(request: &HttpRequest) -> Judgement {
    if overrides_method(request) {
        return Judgement::UNSURE;
    }
    match request.provider {
        Provider::Slack => slack(request),
        Provider::Aws => aws::judge(request),
        Provider::Linear => graphql::judge(request),
        Provider::Github if is_graphql(request) => graphql::judge(request),
        _ => by_method(request),
    }
}

/// The provider's own name of the operation, where the request gives it.
pub(super) fn operation(request: &HttpRequest) -> Option<String> {
    match request.provider {
        Provider::Slack => slack_method(&request.path).map(str::to_owned),
        Provider::Aws => aws::operation(request).map(str::to_owned),
        Provider::Linear | Provider::Github if is_graphql(request) => graphql::operation(request),
        _ => None,
    }
}

/// The thing a request acts on: the last segment of the path that looks like
/// the name of a kind, not of one thing.
pub(super) fn resource(request: &HttpRequest) -> String {
    if let Some(operation) = operation(request) {
        return match (request.provider, operation.split_once('.')) {
            // `chat.postMessage` is about chat.
            (Provider::Slack, Some((family, _))) => singular(family),
            (_, Some((_, field))) => tool::nouns(field, ""),
            // `ListBuckets` is about buckets.
            (_, None) => tool::nouns(&operation, ""),
        };
    }
    let is_word = |part: &&str| part.len() > 2 && part.bytes().all(|b| b.is_ascii_alphabetic());
    let words = || request.path.rsplit('/').map(before_colon).filter(is_word);
    let kind = words().find(|segment| segment.ends_with('s')).or_else(|| words().next());
    kind.map_or_else(|| request.path.clone(), singular)
}

/// Whether something asks the upstream to take the request for one of another
/// method.
fn overrides_method(request: &HttpRequest) -> bool {
    const HEADERS: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
    const PARAMETERS: [&str; 3] = ["_method", "_httpmethod", "$httpmethod"];
    let differs = |value: &str| !value.eq_ignore_ascii_case(&request.method);
    let by_header = |(name, value): &(String, String)| {
        HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header)) && differs(value)
    };
    let named = |name: &str| PARAMETERS.iter().any(|p| name.eq_ignore_ascii_case(p));
    let in_form = || match &request.body {
        Body::Text(form) => form_pairs(form).any(|(name, value)| named(name) && differs(value)),
        _ => false,
    };
    request.headers.iter().any(by_header)
        || request.query.iter().any(|(name, value)| named(name) && differs(value))
        || in_form()
}

/// The pairs of a form as they are written, nothing decoded.
pub(super) fn form_pairs(form: &str) -> impl Iterator<Item = (&str, &str)> {
    form.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn by_method(request: &HttpRequest) -> Judgement {
    let path = request.path.trim_end_matches('/');
    match request.method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => get(request.provider, path),
        "DELETE" => Judgement::l1(Intent::Delete),
        "PUT" | "PATCH" => Judgement::l1(Intent::Update),
        "POST" if is_batch(path) => Judgement::UNSURE,
        "POST" => post(request.provider, path),
        _ => Judgement::UNSURE,
    }
}

/// Several requests in one body: whatever they are, the envelope is no read.
fn is_batch(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.clone().next() == Some("batch")
        || segments.any(|segment| matches!(segment, "$batch" | "composite"))
}

fn get(provider: Provider, path: &str) -> Judgement {
    let verb = custom_verb(provider, path).and_then(|verb| words(verb).next()).map(role);
    match verb {
        Some(Role::Writes(intent)) => Judgement::l2(intent),
        _ => Judgement::l1(Intent::Read),
    }
}

fn post(provider: Provider, path: &str) -> Judgement {
    if let Some(intent) = read_by_post(provider, path) {
        return Judgement::l2(intent);
    }
    let segment = custom_verb(provider, path).unwrap_or_else(|| last_segment(path));
    match tool::by_name(segment).intent {
        // The most that a POST without other signs is taken for.
        Intent::Read | Intent::Query | Intent::Unknown => {
            Judgement { intent: Intent::Create, level: Level::L1, confidence: 0.6 }
        }
        written => Judgement::l2(written),
    }
}

/// Reads that come as POST because their question is long.
fn read_by_post(provider: Provider, path: &str) -> Option<Intent> {
    let last = last_segment(path);
    let from_end = |n: usize| path.rsplit('/').nth(n).unwrap_or_default();
    let reads = match provider {
        Provider::Google => {
            custom_verb(provider, path).is_some_and(google_reads)
                || matches!((from_end(1), last), (_, "freeBusy") | ("searchAnalytics", "query"))
        }
        // OData actions stand behind an entity and are never its key. A colon
        // addresses a file by its path, which may spell anything.
        Provider::Microsoft => {
            !path.contains(':')
                && ((words(last).nth(1).is_some() && reads_by_first_verb(last))
                    || matches!((from_end(1), last), ("search", "query")))
        }
        Provider::Notion => {
            matches!(
                (from_end(2), from_end(1), last),
                ("" | "v1", _, "search") | ("databases" | "data_sources", _, "query")
            ) || path.trim_start_matches("/v1").eq("/agents/query")
        }
        Provider::Hubspot => {
            matches!((from_end(1), last), ("batch", "read"))
                || (last == "search" && [from_end(2), from_end(3)].contains(&"objects"))
        }
        Provider::Jira => jira_reads_by_post(path),
        _ => false,
    };
    reads.then_some(Intent::Query)
}

fn jira_reads_by_post(path: &str) -> bool {
    let mut segments = path.split('/').skip_while(|segment| *segment != "api").skip(2);
    let tail = [(); 4].map(|()| segments.next().unwrap_or_default());
    segments.next().is_none()
        && matches!(
            tail,
            ["search", "" | "jql" | "approximate-count", "", ""]
                | ["issue", "bulkfetch", "", ""]
                | ["issue", _, "changelog", "list"]
                | ["jql", "match" | "parse" | "autocompletedata", "", ""]
                | ["expression", "analyse" | "eval" | "evaluate", "", ""]
                | ["permissions", "check" | "project", "", ""]
        )
}

/// Google's custom methods (`…/messages:search`; AIP-136). Cloud Storage has
/// none, and its object names may hold colons.
fn custom_verb(provider: Provider, path: &str) -> Option<&str> {
    let storage = || ["/storage/", "/upload/", "/download/"].iter().any(|p| path.starts_with(p));
    if provider != Provider::Google || storage() {
        return None;
    }
    last_segment(path).split_once(':').map(|(_, verb)| verb).filter(|verb| !verb.contains(':'))
}

/// An analysis is a job that is started, and asking which of one's permissions
/// hold starts with `test`.
fn google_reads(verb: &str) -> bool {
    verb == "testIamPermissions" || (reads_by_first_verb(verb) && !verb.starts_with("analyze"))
}

/// Names of API methods start with their verb; what follows is its object.
pub(super) fn reads_by_first_verb(name: &str) -> bool {
    let many = |word: &&str| ["batch", "bulk"].iter().any(|w| word.eq_ignore_ascii_case(w));
    let mut rest = words(name).skip_while(many);
    let reads = rest.next().is_some_and(|verb| matches!(role(verb), Role::Reads(_)));
    name.is_ascii() && reads && !rest.next().is_some_and(tool::turns)
}

/// Slack's method is the last segment, and its verb the last word of it; SDKs
/// send every one of them by POST, and some that write are documented for GET.
fn slack(request: &HttpRequest) -> Judgement {
    let Some(method) = slack_method(&request.path) else { return Judgement::UNSURE };
    let (family, name) = method.rsplit_once('.').unwrap_or(("", method));
    // `search.messages`, `usergroups.users.list`
    if family == "search" {
        return Judgement::l2(Intent::Query);
    }
    let intent = match name {
        "history" | "info" | "members" | "replies" | "conversations" | "activity" | "metadata"
        | "count" | "accessLogs" | "billableInfo" | "integrationLogs" | "teamInfo" | "userInfo"
        | "identity" => Intent::Read,
        "postMessage" | "postEphemeral" | "meMessage" | "scheduleMessage" => Intent::Send,
        // Hands out a place to upload to.
        "getUploadURLExternal" => Intent::Create,
        "test" if matches!(family, "auth" | "api") => Intent::Read,
        "setAdmin" | "setOwner" | "setRegular" => Intent::Admin,
        _ => return tool::by_name(name),
    };
    Judgement::l2(intent)
}

fn slack_method(path: &str) -> Option<&str> {
    let method = path.strip_prefix("/api/").or_else(|| path.strip_prefix('/'))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'_';
    (method.contains('.') && method.bytes().all(plain)).then_some(method)
}

fn is_graphql(request: &HttpRequest) -> bool {
    last_segment(&request.path) == "graphql"
}

fn last_segment(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn before_colon(segment: &str) -> &str {
    segment.split_once(':').map_or(segment, |(name, _)| name)
}
