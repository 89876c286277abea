//! AWS: an operation is named by a header, by a form field or by a path, as the
//! service's protocol has it, and its name starts with its verb.

use super::http::{form_pairs, reads_by_first_verb};
use super::words::words;
use super::{Intent, Judgement, tool};
use crate::action::{Body, HttpRequest};

pub(super) fn judge(request: &HttpRequest) -> Judgement {
    match named(request) {
        Named::Once(operation) => by_operation(operation),
        Named::Unclear => Judgement::UNSURE,
        Named::Not => by_method(request),
    }
}

/// The operation's name, where the request gives exactly one.
pub(super) fn operation(request: &HttpRequest) -> Option<&str> {
    match named(request) {
        Named::Once(operation) => Some(operation),
        Named::Not | Named::Unclear => None,
    }
}

enum Named<'r> {
    Not,
    Once(&'r str),
    /// In more than one way, or in one that not every service would read alike.
    Unclear,
}

fn named(request: &HttpRequest) -> Named<'_> {
    let targets = request.headers.iter().filter(|(name, _)| name == "x-amz-target");
    // JSON 1.0 and 1.1: `DynamoDB_20120810.GetItem`
    let targets = targets.map(|(_, target)| target.rsplit('.').next().unwrap_or(target));
    let is_action = |name: &str| name.eq_ignore_ascii_case("Action") || name.contains('%');
    let form = match &request.body {
        Body::Text(form) => form.as_str(),
        _ => "",
    };
    let in_query = request.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let actions = in_query.chain(form_pairs(form)).filter(|(name, _)| is_action(name));
    // Query: `Action=ListUsers`; a name that is spelt otherwise finds nothing.
    let actions = actions.map(|(name, value)| if name == "Action" { value } else { "" });
    let mut names = targets.chain(actions).chain(cbor_operation(request));
    match (names.next(), names.next()) {
        (None, _) => Named::Not,
        // Only these protocols look at the name, and they live at the root; a
        // service that routes by path would ignore it.
        (Some(name), None) if is_rpc(request) && !is_s3(request) => Named::Once(name),
        _ => Named::Unclear,
    }
}

fn is_rpc(request: &HttpRequest) -> bool {
    request.path == "/" && matches!(request.method.as_str(), "POST" | "GET")
        || cbor_operation(request).is_some()
}

/// Smithy RPC v2: `POST /service/Name/operation/Name`.
fn cbor_operation(request: &HttpRequest) -> Option<&str> {
    let speaks = |(name, value): &(String, String)| {
        name == "smithy-protocol" && value.starts_with("rpc-v2-")
    };
    let rest = request.path.strip_prefix("/service/")?;
    let (_, operation) = rest.split_once("/operation/")?;
    let plain = operation.bytes().all(|b| b.is_ascii_alphanumeric());
    (request.method == "POST" && plain && request.headers.iter().any(speaks)).then_some(operation)
}

/// Buckets and keys are named by their owners, so no word in a path counts.
fn is_s3(request: &HttpRequest) -> bool {
    let is_s3 = |label: &str| label == "s3" || label.starts_with("s3-");
    request.host.as_deref().is_some_and(|host| host.split('.').any(is_s3))
}

fn by_operation(operation: &str) -> Judgement {
    if !reads_by_first_verb(operation) {
        return match tool::by_name(operation) {
            named if named.intent.is_read() => Judgement::UNSURE,
            named => named,
        };
    }
    // `GetClusterCredentials`: what comes back is a key, made for the asker.
    let mints = |word: &str| {
        ["token", "credentials", "presigned"].iter().any(|w| word.eq_ignore_ascii_case(w))
    };
    if operation.starts_with("Get") && words(operation).any(mints) {
        return Judgement::l2(Intent::Create);
    }
    Judgement::l2(Intent::Read)
}

/// REST services: by method, and by a path of one segment that spells an
/// operation (`POST /ListTagsForResource`).
fn by_method(request: &HttpRequest) -> Judgement {
    match request.method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => Judgement::l1(Intent::Read),
        "DELETE" => Judgement::l1(Intent::Delete),
        "PUT" | "PATCH" => Judgement::l1(Intent::Update),
        "POST" if spells_a_read(request) => Judgement::l2(Intent::Read),
        "POST" => Judgement { confidence: 0.6, ..Judgement::l1(Intent::Create) },
        _ => Judgement::UNSURE,
    }
}

fn spells_a_read(request: &HttpRequest) -> bool {
    let name = request.path.trim_matches('/');
    request.host.is_some()
        && !is_s3(request)
        && !name.contains('/')
        && words(name).nth(1).is_some()
        && reads_by_first_verb(name)
}
