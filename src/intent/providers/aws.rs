//! AWS: an operation is named by a header, by a form field or by a path, as the
//! service's protocol has it, and its name starts with its verb. REST services
//! go by method and path. Where that misleads, a table made from the access
//! levels that AWS publishes says so.

use super::aws_table::{MINTED, TABLE, VERBS};
use super::table::Rows;
use crate::action::{Body, HttpRequest};
use crate::intent::http::form_pairs;
use crate::intent::words::words;
use crate::intent::{Intent, Judgement, tool};

pub(in crate::intent) fn judge(request: &HttpRequest) -> Judgement {
    match named(request) {
        Named::Once(operation) => by_operation(request, operation),
        Named::Unclear => Judgement::UNSURE,
        Named::Not => by_method(request),
    }
}

/// The operation's name, where the request gives exactly one.
pub(in crate::intent) fn operation(request: &HttpRequest) -> Option<&str> {
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

fn by_operation(request: &HttpRequest, operation: &str) -> Judgement {
    let listed = rows(request).and_then(|rows| rows.operation(operation));
    if listed.unwrap_or_else(|| reads_by_name(operation)) {
        return Judgement::l2(Intent::Read);
    }
    match tool::by_name(operation) {
        // It writes, but its name does not say how.
        named if named.intent.is_read() => Judgement::l2(Intent::Execute),
        named => named,
    }
}

/// `DescribeInstances`, `BatchGetItem`, `AdminGetUser`; but not
/// `GetClusterCredentials`.
fn reads_by_name(operation: &str) -> bool {
    let many = |word: &&str| matches!(*word, "Batch" | "Admin");
    let mut rest = words(operation).skip_while(many);
    let reads = rest.next().is_some_and(|verb| VERBS.contains(&verb));
    reads && operation.is_ascii() && !words(operation).any(|word| MINTED.contains(&word))
}

/// REST services.
fn by_method(request: &HttpRequest) -> Judgement {
    let method = match request.method.as_str() {
        "HEAD" | "OPTIONS" => "GET",
        method => method,
    };
    let listed = || rows(request).and_then(|rows| rows.request(request, method));
    let listed = if is_s3(request) { None } else { listed() };
    match (method, listed) {
        (_, Some(true)) => Judgement::l2(Intent::Read),
        ("GET", Some(false)) => Judgement::l2(Intent::Execute),
        ("GET", None) => Judgement::l1(Intent::Read),
        ("DELETE", _) => Judgement::l1(Intent::Delete),
        ("PUT" | "PATCH", _) => Judgement::l1(Intent::Update),
        ("POST", _) => Judgement { confidence: 0.6, ..Judgement::l1(Intent::Create) },
        _ => Judgement::UNSURE,
    }
}

/// What is known of the service at the request's host: `kms.us-east-1.amazonaws.com`,
/// `api.ecr.us-east-1.amazonaws.com`, `123456789012.s3-control.…`, `iam.amazonaws.com`.
fn rows(request: &HttpRequest) -> Option<Rows> {
    const DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
    let host = request.host.as_deref()?;
    let host = DOMAINS.iter().find_map(|domain| host.strip_suffix(domain))?;
    let service = match host.rsplit_once('.') {
        Some((service, region)) if is_region(region) => service,
        _ => host,
    };
    let service = service.strip_suffix(".dualstack").unwrap_or(service);
    let service = service.strip_suffix("-fips").unwrap_or(service);
    // What stands in front of a service is an account, a bucket or a domain:
    // the longest name from the right that is a service.
    let starts = service.match_indices('.').filter_map(|(at, _)| service.get(at + 1..));
    std::iter::once(service).chain(starts).find_map(|name| TABLE.of(name))
}

/// `us-east-1`, `us-gov-west-1`
fn is_region(label: &str) -> bool {
    label.split('-').count() >= 3 && label.ends_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;

    fn intent(method: &str, host: &str, path: &str, target: &str) -> Intent {
        let mut request = request("aws", method, path);
        request.host = Some(format!("{host}.amazonaws.com"));
        if !target.is_empty() {
            request.headers.push(("x-amz-target".to_owned(), target.to_owned()));
        }
        judge(&request).intent
    }

    #[test]
    fn by_the_name_of_the_operation() {
        let rpc = |target| intent("POST", "kms.us-east-1", "/", target);
        assert_eq!(rpc("TrentService.ListKeys"), Intent::Read);
        assert_eq!(rpc("TrentService.CreateKey"), Intent::Create);
        assert_eq!(rpc("TrentService.ScheduleKeyDeletion"), Intent::Update);
        assert_eq!(rpc("TrentService.Frobnicate"), Intent::Unknown);
        assert_eq!(rpc("X.GetClusterCredentials"), Intent::Execute);
        let checks_in = "AWSLicenseManager.CheckInLicense";
        assert!(!intent("POST", "license-manager.us-east-1", "/", checks_in).is_read());
    }

    #[test]
    fn by_the_place_of_a_rest_service() {
        let finding = |host| intent("POST", host, "/finding", "");
        assert_eq!(finding("access-analyzer.us-east-1"), Intent::Read);
        assert_eq!(finding("access-analyzer-fips.us-gov-west-1"), Intent::Read);
        // A bucket of that name, or another service.
        assert_eq!(finding("access-analyzer.s3.us-east-1"), Intent::Create);
        assert_eq!(finding("lambda.us-east-1"), Intent::Create);
        assert_eq!(intent("GET", "iot.us-east-1", "/confirmdestination/x", ""), Intent::Execute);
        assert_eq!(intent("GET", "iot.us-east-1", "/things", ""), Intent::Read);
    }

    #[test]
    fn a_name_where_a_service_would_not_look_is_unknown() {
        let target = "TrentService.ListKeys";
        assert_eq!(intent("POST", "bucket.s3.us-east-1", "/", target), Intent::Unknown);
        assert_eq!(intent("POST", "lambda.us-east-1", "/functions", target), Intent::Unknown);
        let mut twice = request("aws", "POST", "/");
        twice.query.push(("Action".to_owned(), "ListUsers".to_owned()));
        twice.body = Body::Text("Action=DeleteUser".to_owned());
        assert_eq!(judge(&twice).intent, Intent::Unknown);
    }
}
