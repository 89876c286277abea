//! AWS: an operation is named by a header, by a form field or by a path, as the
//! service's protocol has it, and its name starts with its verb. REST services
//! go by method and path. Where that misleads, a table made from the access
//! levels that AWS publishes says so.

use super::aws_table::{ALIASES, FORM_ONLY, MINTED, REST_XML, RIGHTS, TABLE, VERBS};
use super::table::Rows;
use crate::action::{Body, FORM, HttpRequest, Provider, aws_bare_host, is_of_type};
use crate::intent::http::{METHOD, asks_for_credentials, form_pairs, last_segment};
use crate::intent::lexicon::role;
use crate::intent::words::words;
use crate::intent::{Intent, Judgement, tool};
use crate::json::Json;

const TABLE_SAYS: &str = "what AWS publishes of the operation";

pub(in crate::intent) fn judge(request: &HttpRequest) -> Judgement {
    match named(request) {
        Named::Once(operation) => by_operation(request, operation),
        Named::Unclear => Judgement::unsure("an operation that is not named once and plainly"),
        Named::Not => by_method(request),
    }
}

/// The operation's name, if the request contains exactly one.
pub(in crate::intent) fn operation(request: &HttpRequest) -> Option<&str> {
    match named(request) {
        Named::Once(operation) => Some(operation),
        Named::Not | Named::Unclear => None,
    }
}

enum Named<'r> {
    Not,
    Once(&'r str),
    /// Ambiguous, or in a form that services read differently.
    Unclear,
}

fn named(request: &HttpRequest) -> Named<'_> {
    let targets = request.headers.iter().filter(|(name, _)| name == "x-amz-target");
    // JSON 1.0 and 1.1: `X-Amz-Target: DynamoDB_20120810.GetItem`.
    let operation = |target| if takes_target(request) { after_last_dot(target) } else { "" };
    let targets = targets.map(|(_, target)| operation(target));
    let is_action = |name: &str| name.contains('%') || names_operation(name);
    let form = match &request.body {
        Body::Text(form) => form.as_str(),
        _ => "",
    };
    let in_query = request.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let actions = in_query.chain(form_pairs(form)).filter(|(name, _)| is_action(name));
    // Query protocol: `Action=ListUsers`.
    let actions = actions
        .map(|(name, value)| if name == "Action" && takes_forms(request) { value } else { "" });
    // A form that was not parsed, or that some read otherwise, may name another operation.
    let is_blind = matches!(request.body, Body::Opaque) && cbor_operation(request).is_none()
        || names_behind_semicolon(request, form);
    let mut names = targets.chain(actions).chain(cbor_operation(request));
    match (names.next(), names.next()) {
        (None, _) => Named::Not,
        // Only these protocols read the name, and only at the root path; services that route by
        // path ignore it.
        (Some(name), None)
            if is_rpc(request) && is_plain(name) && !is_others(request) && !is_blind =>
        {
            Named::Once(name)
        }
        _ => Named::Unclear,
    }
}

/// Presigned requests may carry their headers as parameters.
fn names_operation(parameter: &str) -> bool {
    ["Action", "X-Amz-Target"].iter().any(|name| parameter.eq_ignore_ascii_case(name))
}

/// Whether a parameter behind a `;`, which some take for `&`, names an operation.
fn names_behind_semicolon(request: &HttpRequest, form: &str) -> bool {
    let values = request.query.iter().map(|(_, value)| value.as_str());
    let behind = values.chain(form.split('&')).flat_map(|text| text.split(';').skip(1));
    let mut pairs = behind.flat_map(|text| form_urlencoded::parse(text.as_bytes()));
    pairs.any(|(name, _)| names_operation(name.trim()))
}

fn after_last_dot(target: &str) -> &str {
    target.rsplit('.').next().unwrap_or(target)
}

/// Whether all services decode the name alike.
fn is_plain(operation: &str) -> bool {
    !operation.is_empty() && operation.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether the service reads `X-Amz-Target`: for a POST without parameters, with a JSON body if
/// its type is declared. A query-protocol service reads the body, whatever the header says.
fn takes_target(request: &HttpRequest) -> bool {
    let is_json = |kind: &str| kind.starts_with("application/x-amz-json-1.");
    request.method == "POST"
        && request.query.is_empty()
        && !matches!(request.body, Body::Opaque)
        && request.content_types().all(is_json)
        && !takes_only_forms(request)
}

fn takes_only_forms(request: &HttpRequest) -> bool {
    service(request).is_some_and(|service| FORM_ONLY.contains(&service))
}

/// Whether the service uses the query protocol, and the body cannot name another operation. Some
/// other services read forms, too, but not for the operation.
fn takes_forms(request: &HttpRequest) -> bool {
    const AS_WELL: [&str; 4] = ["email", "monitoring", "sdb", "sqs"];
    let takes = |service| FORM_ONLY.contains(&service) || AS_WELL.contains(&service);
    let is_plain = match &request.body {
        Body::Empty => true,
        Body::Text(_) => request.content_types().all(|kind| is_of_type(kind, FORM)),
        Body::Json(_) | Body::Opaque => false,
    };
    is_plain && service(request).is_none_or(takes)
}

fn is_rpc(request: &HttpRequest) -> bool {
    request.path == "/" && matches!(request.method.as_str(), "POST" | "GET")
        || cbor_operation(request).is_some()
}

/// The operation in Smithy RPC v2: `POST /service/Name/operation/Name`. To a service that reads only
/// forms, the path means nothing.
fn cbor_operation(request: &HttpRequest) -> Option<&str> {
    let speaks = |(name, value): &(String, String)| {
        name == "smithy-protocol" && value.starts_with("rpc-v2-")
    };
    let rest = request.path.strip_prefix("/service/")?;
    let (service, operation) = rest.split_once("/operation/")?;
    let plain = !service.contains('/') && operation.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_read = request.method == "POST" && request.headers.iter().any(speaks);
    (plain && is_read && !takes_only_forms(request)).then_some(operation)
}

/// Whether it is S3, where customers name buckets and keys, so that words in the path mean
/// nothing.
fn is_s3(request: &HttpRequest) -> bool {
    let starts = ["s3-", "s3express-"];
    has_label(request, |label| label == "s3" || starts.iter().any(|s| label.starts_with(s)))
}

/// Whether the service routes by raw path segments, as AWS's own services do. In object names,
/// `%2F` is equivalent to `/`.
pub(in crate::intent) fn routes_as_written(request: &HttpRequest) -> bool {
    request.provider == Provider::Aws && !is_others(request)
}

/// Whether customers choose the names in the path: S3 objects, and APIs behind API Gateway.
fn is_others(request: &HttpRequest) -> bool {
    is_s3(request) || has_label(request, |label| label == "execute-api")
}

fn has_label(request: &HttpRequest, is_meant: impl Fn(&str) -> bool) -> bool {
    request.host.as_deref().is_some_and(|host| host.split('.').any(is_meant))
}

fn by_operation(request: &HttpRequest, operation: &str) -> Judgement {
    let listed = rows(request).and_then(|rows| rows.operation(operation));
    if operation == "Query" && !only_selects(request) {
        return Judgement::unsure("a statement that may do more than select");
    }
    if removes_items(request, operation) {
        return Judgement::l2(Intent::Delete, "items to be deleted among others");
    }
    match (listed, tool::by_name(operation)) {
        (Some(true), _) => Judgement::l2(Intent::Read, TABLE_SAYS),
        (None, _) if reads_by_name(operation) => {
            Judgement::l2(Intent::Read, "the verb of the operation's name")
        }
        // It writes, but its name does not tell how.
        (Some(false), named) if named.intent.is_read() => {
            Judgement::l2(Intent::Execute, TABLE_SAYS)
        }
        (None, named) if named.intent.is_read() => {
            Judgement::l2(Intent::Execute, "a name that AWS's reads do not have")
        }
        (_, named) if named.intent != Intent::Delete && changes_rights(request, operation) => {
            Judgement::l2(Intent::Admin, "a change of who may do what")
        }
        (_, named) => named,
    }
}

/// Whether the operation changes permissions, as all writes of IAM do.
fn changes_rights(request: &HttpRequest, operation: &str) -> bool {
    RIGHTS.binary_search(&operation).is_ok() || service(request) == Some("iam")
}

/// Whether a DynamoDB batch deletes items.
fn removes_items(request: &HttpRequest, operation: &str) -> bool {
    fn holds(value: &Json, name: &str) -> bool {
        match value {
            Json::Object(members) => members.iter().any(|(key, it)| key == name || holds(it, name)),
            Json::Array(items) => items.iter().any(|item| holds(item, name)),
            _ => false,
        }
    }
    let name = match operation {
        "BatchWriteItem" => "DeleteRequest",
        "TransactWriteItems" => "Delete",
        _ => return false,
    };
    match &request.body {
        Body::Empty => false,
        Body::Json(body) => holds(body, name),
        // Unknown, so assume it does.
        Body::Text(_) | Body::Opaque => true,
    }
}

/// Whether the request's SQL statement, if any, only reads: Timestream's `UNLOAD (SELECT …) TO
/// 's3://…'` writes its result.
fn only_selects(request: &HttpRequest) -> bool {
    const READING: [&str; 5] = ["SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN"];
    let body = match &request.body {
        Body::Empty => return true,
        Body::Json(body) => body.as_object(),
        // Nobody can say.
        Body::Text(_) | Body::Opaque => return false,
    };
    let statement = body.and_then(|body| body.get("QueryString"));
    statement.is_none_or(|statement| {
        let first = statement.as_str().and_then(|text| text.split_ascii_whitespace().next());
        first.is_some_and(|first| READING.iter().any(|own| own.eq_ignore_ascii_case(first)))
    })
}

/// Matches `DescribeInstances`, `BatchGetItem` and `AdminGetUser`, but not
/// `GetClusterCredentials`.
fn reads_by_name(operation: &str) -> bool {
    let many = |word: &&str| matches!(*word, "Batch" | "Admin");
    let mut rest = words(operation).skip_while(many);
    let reads = rest.next().is_some_and(|verb| VERBS.contains(&verb));
    reads
        && !words(operation).any(|word| MINTED.contains(&word))
        && tool::has_one_purpose(operation)
}

/// Judges a request to a REST service.
fn by_method(request: &HttpRequest) -> Judgement {
    let method = match request.method.as_str() {
        "HEAD" | "OPTIONS" => "GET",
        method => method,
    };
    let listed = || rows(request).and_then(|rows| rows.request(request, method));
    let listed = if is_s3(request) { None } else { listed() };
    match (method, listed) {
        (_, Some(true)) => Judgement::l2(Intent::Read, TABLE_SAYS),
        ("GET", Some(false)) => Judgement::l2(Intent::Execute, TABLE_SAYS),
        ("GET", None) if opens_session(request) || vends_credentials(request) => {
            Judgement::l2(Intent::Execute, "credentials that are handed out")
        }
        ("GET" | "POST", None)
            if is_others(request) && !is_s3(request) && !asks_for_connection(request) =>
        {
            Judgement::unsure("an API that AWS's customer has written")
        }
        ("GET", None) => Judgement::l1(Intent::Read, METHOD),
        ("DELETE", _) => Judgement::l1(Intent::Delete, METHOD),
        ("POST" | "PUT" | "PATCH", _) => match written_by_name(request) {
            Some(intent) => Judgement::l2(intent, "what the path or the query says is done"),
            None if method == "POST" => {
                const WHY: &str = "POST and no other sign";
                Judgement { confidence: 0.6, ..Judgement::l1(Intent::Create, WHY) }
            }
            None => Judgement::l1(Intent::Update, METHOD),
        },
        _ => Judgement::unsure("a method that AWS does not use"),
    }
}

/// The intent of a POST or PUT if a word is more specific than the method: `/DeleteChannel`,
/// `/filters/delete`, `/phone-numbers?operation=batch-delete`, `/v2/email/outbound-emails`,
/// S3's `?delete` and `?policy`.
fn written_by_name(request: &HttpRequest) -> Option<Intent> {
    const RIGHTS: [&str; 4] = ["acl", "ownershipControls", "policy", "publicAccessBlock"];
    let asked = |name: &str| request.query.iter().any(|(key, _)| key == name);
    if is_s3(request) {
        return match request.method == "POST" {
            true => asked("delete").then_some(Intent::Delete),
            false => RIGHTS.into_iter().any(asked).then_some(Intent::Admin),
        };
    }
    if is_others(request) {
        return None;
    }
    let last = last_segment(&request.path);
    if last == "rrset" {
        return removes_records(request).then_some(Intent::Delete);
    }
    // PUT creates a resource by name, and names may contain verbs; so may ARNs.
    let is_name = last.contains(':') || request.method != "POST" && words(last).nth(1).is_some();
    let operation = request.query.iter().filter(|(name, _)| name == "operation");
    let names = operation.map(|(_, value)| value.as_str()).chain((!is_name).then_some(last));
    names.filter_map(intent_of_word).next()
}

/// Whether a change of Route 53 records contains a deletion. XML can spell it with character
/// references and CDATA sections.
fn removes_records(request: &HttpRequest) -> bool {
    match &request.body {
        Body::Empty => false,
        Body::Text(xml) => ["DELETE", "&#", "<!"].iter().any(|sign| xml.contains(sign)),
        Body::Json(_) | Body::Opaque => true,
    }
}

/// The intent in a name: matches `DeleteChannel`, `batch-delete`, `apps.delete`, `canceljob`,
/// `outbound-emails`, `invocations` and `start-job`, but not `tests` or `runGroup`, which are
/// resources.
fn intent_of_word(name: &str) -> Option<Intent> {
    const GLUED: [&str; 4] = ["batchdelete", "cancel", "deregister", "terminate"];
    const RUN: [&str; 4] = ["launch", "start", "stop", "trigger"];
    let name = name.rsplit('.').next().unwrap_or(name);
    let plain = name.to_ascii_lowercase();
    if GLUED.iter().any(|verb| plain.starts_with(verb)) {
        return Some(Intent::Delete);
    }
    if plain.starts_with("outbound-") && !["config", "link"].iter().any(|end| plain.ends_with(end))
    {
        return Some(Intent::Send);
    }
    if plain.starts_with("invocation") || plain == "async-invocations" {
        return Some(Intent::Execute);
    }
    let verb = words(name).find(|word| !word.eq_ignore_ascii_case("batch"))?;
    match role(verb).writes() {
        Some(intent @ (Intent::Delete | Intent::Send | Intent::Execute)) => Some(intent),
        _ => RUN.iter().any(|run| verb.eq_ignore_ascii_case(run)).then_some(Intent::Execute),
    }
}

fn vends_credentials(request: &HttpRequest) -> bool {
    !is_others(request) && asks_for_credentials(request)
}

/// Whether the request returns credentials for a bucket: S3's `CreateSession`, and
/// `GetDataAccess` of S3 Control.
fn opens_session(request: &HttpRequest) -> bool {
    let is_grant = || {
        has_label(request, |label| label.starts_with("s3-control"))
            && request.path.trim_end_matches('/').ends_with("/accessgrantsinstance/dataaccess")
    };
    is_s3(request) && (request.query.iter().any(|(name, _)| name == "session") || is_grant())
}

/// Whether the request is for a connection of a WebSocket API of API Gateway.
fn asks_for_connection(request: &HttpRequest) -> bool {
    request.path.split('/').nth(2) == Some("@connections")
        || request.path.starts_with("/@connections/")
}

/// The rows of the service at the request's host.
fn rows(request: &HttpRequest) -> Option<Rows<'static>> {
    service(request).and_then(|service| TABLE.of(service))
}

/// The service at the request's host, named as in AWS's models: `kms.us-east-1.amazonaws.com`,
/// `api.ecr.us-east-1.amazonaws.com`, `iam.amazonaws.com`. Matched as a whole, since a prefix
/// may form the name of another service (`data.jobs.iot`).
fn service(request: &HttpRequest) -> Option<&str> {
    service_at(request.host.as_deref()?)
}

fn service_at(host: &str) -> Option<&str> {
    let host = aws_bare_host(host)?;
    let service = match host.rsplit_once('.') {
        Some((service, region)) if is_region(region) || region == "us-gov" => service,
        _ => host,
    };
    let service = service.strip_suffix(".dualstack").unwrap_or(service);
    let service = service.strip_suffix("-fips").unwrap_or(service);
    Some(
        ALIASES
            .iter()
            .find_map(|alias| alias.strip_prefix(service)?.strip_prefix(' '))
            .unwrap_or(service),
    )
}

/// Whether the service at `host` always responds in XML. Others do if the request is a form.
#[must_use]
pub fn answers_in_xml(host: &str) -> bool {
    service_at(host).is_some_and(|service| REST_XML.contains(&service))
}

/// Directions in names of regions.
const DIRECTIONS: [&str; 9] = [
    "central",
    "east",
    "north",
    "northeast",
    "northwest",
    "south",
    "southeast",
    "southwest",
    "west",
];

/// Whether `label` has the form of a region: `us-east-1`, `us-gov-west-1`, `us-isob-east-1`.
/// Customers' hosts may contain similar labels (`bucket.s3-us-west-2`).
pub fn is_region(label: &str) -> bool {
    let is_of = |text: &str, lengths: std::ops::RangeInclusive<usize>, fits: fn(&u8) -> bool| {
        lengths.contains(&text.len()) && text.as_bytes().iter().all(fits)
    };
    let is_partition =
        |text: &str| text == "gov" || text.strip_prefix("iso").is_some_and(|rest| rest.len() <= 1);
    let parts: Vec<&str> = label.split('-').collect();
    let (area, direction, number) = match *parts {
        [area, direction, number] => (area, direction, number),
        [area, partition, direction, number] if is_partition(partition) => {
            (area, direction, number)
        }
        _ => return false,
    };
    is_of(area, 2..=2, u8::is_ascii_lowercase)
        && DIRECTIONS.contains(&direction)
        && is_of(number, 1..=2, u8::is_ascii_digit)
}

#[cfg(test)]
mod tests;
