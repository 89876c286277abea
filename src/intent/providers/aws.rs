//! AWS: an operation is named by a header, by a form field or by a path, as the
//! service's protocol has it, and its name starts with its verb. REST services
//! go by method and path. Where that misleads, a table made from the access
//! levels that AWS publishes says so.

use super::aws_table::{ALIASES, FORM_ONLY, MINTED, REST_XML, TABLE, VERBS};
use super::table::Rows;
use crate::action::{Body, HttpRequest, Provider};
use crate::intent::http::{METHOD, form_pairs};
use crate::intent::words::words;
use crate::intent::{Intent, Judgement, tool};

const TABLE_SAYS: &str = "what AWS publishes of the operation";

pub(in crate::intent) fn judge(request: &HttpRequest) -> Judgement {
    match named(request) {
        Named::Once(operation) => by_operation(request, operation),
        Named::Unclear => Judgement::unsure("an operation that is not named once and plainly"),
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
    let operation = |target| if takes_target(request) { after_last_dot(target) } else { "" };
    let targets = targets.map(|(_, target)| operation(target));
    // Presigned requests may carry their headers as parameters.
    let is_action = |name: &str| {
        name.contains('%')
            || ["Action", "X-Amz-Target"].iter().any(|n| name.eq_ignore_ascii_case(n))
    };
    let form = match &request.body {
        Body::Text(form) => form.as_str(),
        _ => "",
    };
    let in_query = request.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let actions = in_query.chain(form_pairs(form)).filter(|(name, _)| is_action(name));
    // Query: `Action=ListUsers`; a name that is spelt otherwise finds nothing.
    let actions = actions
        .map(|(name, value)| if name == "Action" && takes_forms(request) { value } else { "" });
    // A form that could not be read may name another one.
    let is_blind = matches!(request.body, Body::Opaque) && cbor_operation(request).is_none();
    let mut names = targets.chain(actions).chain(cbor_operation(request));
    match (names.next(), names.next()) {
        (None, _) => Named::Not,
        // Only these protocols look at the name, and they live at the root; a
        // service that routes by path would ignore it.
        (Some(name), None)
            if is_rpc(request) && is_plain(name) && !is_others(request) && !is_blind =>
        {
            Named::Once(name)
        }
        _ => Named::Unclear,
    }
}

fn after_last_dot(target: &str) -> &str {
    target.rsplit('.').next().unwrap_or(target)
}

/// Nothing that one service would decode and the next would not.
fn is_plain(operation: &str) -> bool {
    !operation.is_empty() && operation.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether the service would look at `X-Amz-Target`: a POST without parameters,
/// whose body is JSON where its type is given. A service of forms looks into
/// the body, whatever the header says.
fn takes_target(request: &HttpRequest) -> bool {
    let mut types = request.headers.iter().filter(|(name, _)| name == "content-type");
    let is_json = |(_, kind): &(String, String)| kind.starts_with("application/x-amz-json-1.");
    request.method == "POST"
        && request.query.is_empty()
        && !matches!(request.body, Body::Opaque)
        && types.all(is_json)
        && !service(request).is_some_and(|service| FORM_ONLY.contains(&service))
}

/// Whether the service names its operations in forms. Some others read a form, too,
/// where nobody would look for the name.
fn takes_forms(request: &HttpRequest) -> bool {
    const AS_WELL: [&str; 4] = ["email", "monitoring", "sdb", "sqs"];
    let takes = |service| FORM_ONLY.contains(&service) || AS_WELL.contains(&service);
    service(request).is_none_or(takes)
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
    let (service, operation) = rest.split_once("/operation/")?;
    let plain = !service.contains('/') && operation.bytes().all(|b| b.is_ascii_alphanumeric());
    (request.method == "POST" && plain && request.headers.iter().any(speaks)).then_some(operation)
}

/// Buckets and keys are named by their owners, so no word in a path counts.
fn is_s3(request: &HttpRequest) -> bool {
    let starts = ["s3-", "s3express-"];
    has_label(request, |label| label == "s3" || starts.iter().any(|s| label.starts_with(s)))
}

/// Whether the request goes by the segments of its path as they are written: AWS's own
/// services do. Of an object's name, `%2F` is a part like `/`.
pub(in crate::intent) fn routes_as_written(request: &HttpRequest) -> bool {
    request.provider == Provider::Aws && !is_others(request)
}

/// Whether customers decide what is named how: in buckets, and in the APIs that
/// they have put behind API Gateway.
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
    match (listed, tool::by_name(operation)) {
        (Some(true), _) => Judgement::l2(Intent::Read, TABLE_SAYS),
        (None, _) if reads_by_name(operation) => {
            Judgement::l2(Intent::Read, "the verb of the operation's name")
        }
        // It writes, but its name does not say how.
        (Some(false), named) if named.intent.is_read() => {
            Judgement::l2(Intent::Execute, TABLE_SAYS)
        }
        (None, named) if named.intent.is_read() => {
            Judgement::l2(Intent::Execute, "a name that AWS's reads do not have")
        }
        (_, named) => named,
    }
}

/// Whether the statement of a query, where it has one, is one that reads: Timestream's
/// `UNLOAD (SELECT …) TO 's3://…'` writes what it finds.
fn only_selects(request: &HttpRequest) -> bool {
    const READING: [&str; 5] = ["SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN"];
    let Body::Json(body) = &request.body else { return true };
    let statement = body.as_object().and_then(|body| body.get("QueryString"));
    statement.is_none_or(|statement| {
        let first = statement.as_str().and_then(|text| text.split_ascii_whitespace().next());
        first.is_some_and(|first| READING.iter().any(|own| own.eq_ignore_ascii_case(first)))
    })
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
        (_, Some(true)) => Judgement::l2(Intent::Read, TABLE_SAYS),
        ("GET", Some(false)) => Judgement::l2(Intent::Execute, TABLE_SAYS),
        ("GET", None) if opens_session(request) => {
            Judgement::l2(Intent::Execute, "credentials that are handed out")
        }
        ("GET" | "POST", None)
            if is_others(request) && !is_s3(request) && !asks_for_connection(request) =>
        {
            Judgement::unsure("an API that AWS's customer has written")
        }
        ("GET", None) => Judgement::l1(Intent::Read, METHOD),
        ("DELETE", _) => Judgement::l1(Intent::Delete, METHOD),
        ("PUT" | "PATCH", _) => Judgement::l1(Intent::Update, METHOD),
        ("POST", _) => {
            Judgement { confidence: 0.6, ..Judgement::l1(Intent::Create, "POST and no other sign") }
        }
        _ => Judgement::unsure("a method that AWS does not use"),
    }
}

/// S3's `CreateSession` and, beside the buckets, its `GetDataAccess`: credentials
/// for a bucket.
fn opens_session(request: &HttpRequest) -> bool {
    let is_grant = || {
        has_label(request, |label| label.starts_with("s3-control"))
            && request.path.trim_end_matches('/').ends_with("/accessgrantsinstance/dataaccess")
    };
    is_s3(request) && (request.query.iter().any(|(name, _)| name == "session") || is_grant())
}

/// A connection that a WebSocket API of API Gateway holds.
fn asks_for_connection(request: &HttpRequest) -> bool {
    request.path.split('/').nth(2) == Some("@connections")
        || request.path.starts_with("/@connections/")
}

/// What is known of the service at the request's host.
fn rows(request: &HttpRequest) -> Option<Rows<'static>> {
    service(request).and_then(|service| TABLE.of(service))
}

/// The service at the request's host, as its model names it:
/// `kms.us-east-1.amazonaws.com`, `api.ecr.us-east-1.amazonaws.com`,
/// `iam.amazonaws.com`. A name in front of another service's may be that of a
/// service of its own (`data.jobs.iot`), so only the whole counts.
fn service(request: &HttpRequest) -> Option<&str> {
    service_at(request.host.as_deref()?)
}

fn service_at(host: &str) -> Option<&str> {
    const DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
    let host = DOMAINS.iter().find_map(|domain| host.strip_suffix(domain))?;
    let service = match host.rsplit_once('.') {
        Some((service, region)) if is_region(region) => service,
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

/// Whether the service at `host` answers in XML whatever it is sent: others do where they
/// are sent a form.
#[must_use]
pub fn answers_in_xml(host: &str) -> bool {
    service_at(host).is_some_and(|service| REST_XML.contains(&service))
}

/// Where in an area a region may be.
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

/// Whether it has a region's form: `us-east-1`, `us-gov-west-1`, `us-isob-east-1`. What
/// only looks like one may be in the hosts of customers: `bucket.s3-us-west-2`.
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
mod tests {
    use super::*;
    use crate::intent::http::tests::request;
    use crate::json::{self, Json};

    fn intent(method: &str, host: &str, path: &str, target: &str) -> Intent {
        let mut request = request("aws", method, path);
        request.host = Some(format!("{host}.amazonaws.com"));
        if !target.is_empty() {
            request.headers.push(("x-amz-target".to_owned(), target.to_owned()));
        }
        judge(&request).intent
    }

    #[test]
    fn regions_are_told_from_what_looks_like_them() {
        for region in [
            "us-east-1",
            "ap-northeast-3",
            "ap-southeast-7",
            "cn-northwest-1",
            "il-central-1",
            "us-gov-west-1",
            "us-iso-east-1",
            "us-isob-east-1",
            "eu-isoe-west-1",
            // There is none so far.
            "ap-southwest-12",
        ] {
            assert!(is_region(region), "{region}");
        }
        for other in [
            "s3-us-west-2",
            "s3-external-1",
            "s3-website-us-east-1",
            "s3-fips-us-west-2",
            "s3-fips-1",
            "ec2-203-0-113-25",
            "compute-1",
            "us-east",
            "us-east-",
            "us-east-1a",
            "us-east-123",
            "us-fips-east-1",
            "us-isobb-east-1",
            "us-gov-gov-east-1",
            "us-middle-1",
            "-east-1",
            "use-east-1",
            "US-east-1",
            "",
        ] {
            assert!(!is_region(other), "{other}");
        }
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
    fn a_statement_may_do_more_than_select() {
        let intent = |statement: &str| {
            let mut query = request("aws", "POST", "/");
            query.host = Some("query-cell1.timestream.us-east-1.amazonaws.com".to_owned());
            let target = "Timestream_20181101.Query".to_owned();
            query.headers.push(("x-amz-target".to_owned(), target));
            let statement = Json::String(statement.to_owned()).canonical();
            let body = format!(r#"{{"QueryString":{statement}}}"#);
            query.body = Body::Json(json::parse(body.as_bytes()).expect("JSON"));
            judge(&query).intent
        };
        assert_eq!(intent("\n select 1"), Intent::Read);
        for statement in ["UNLOAD (SELECT 1) TO 's3://b'", "/**/SELECT 1", ""] {
            assert_eq!(intent(statement), Intent::Unknown, "{statement}");
        }
    }

    #[test]
    fn whatever_hands_out_keys_is_no_read() {
        let rpc = |host, target| intent("POST", host, "/", target);
        let jobs = "codepipeline.us-east-1";
        assert_eq!(rpc(jobs, "CodePipeline_20150709.GetPipeline"), Intent::Read);
        assert_eq!(rpc(jobs, "CodePipeline_20150709.GetJobDetails"), Intent::Execute);
        let get = |host, path| intent("GET", host, path, "");
        assert_eq!(get("portal.sso.us-east-1", "/assignment/roles"), Intent::Read);
        assert_eq!(get("portal.sso.us-east-1", "/federation/credentials"), Intent::Execute);
        let access = "/v20180820/accessgrantsinstance/dataaccess";
        assert_eq!(get("1.s3-control.us-east-1", access), Intent::Execute);
        assert_eq!(get("1.s3-control.us-east-1", "/v20180820/jobs"), Intent::Read);
        assert_eq!(get("s3.us-east-1", access), Intent::Read);
    }

    #[test]
    fn whatever_hands_out_secrets_of_its_own_is_no_read() {
        let form = |host: &str, form: &str| {
            let (host, body) = (Some(format!("{host}.amazonaws.com")), Body::Text(form.to_owned()));
            judge(&HttpRequest { host, body, ..request("aws", "POST", "/") }).intent
        };
        assert_eq!(form("ec2.us-east-1", "Action=DescribeInstances"), Intent::Read);
        assert_eq!(form("ec2.us-east-1", "Action=GetPasswordData&InstanceId=i"), Intent::Execute);
        let rpc = |host, target| intent("POST", host, "/", target);
        assert_eq!(rpc("gamelift.us-east-1", "GameLift.DescribeInstances"), Intent::Read);
        assert_eq!(rpc("gamelift.us-east-1", "GameLift.GetInstanceAccess"), Intent::Execute);
        let get = |host, path| intent("GET", host, path, "");
        assert_eq!(get("mediapackage.us-east-1", "/origin_endpoints"), Intent::Read);
        assert_eq!(get("mediapackage.us-east-1", "/channels/x"), Intent::Execute);
        assert_eq!(get("mediapackage.us-east-1", "/channels"), Intent::Execute);
        // What the caller set comes back masked; what it stored, on purpose.
        assert_eq!(form("rds.us-east-1", "Action=DescribeDBInstances"), Intent::Read);
        let stored = "secretsmanager.GetSecretValue";
        assert_eq!(rpc("secretsmanager.us-east-1", stored), Intent::Read);
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
    fn a_service_has_the_whole_of_its_host() {
        let starts = |host| intent("POST", host, "/command-executions", "");
        assert_eq!(starts("iot.us-east-1"), Intent::Read);
        assert_eq!(starts("data.jobs.iot.us-east-1"), Intent::Create);
        let found = |host| intent("POST", host, "/geofencing/v0/collections/x/list-geofences", "");
        assert_eq!(found("geofencing.geo.us-east-1"), found("geo.us-east-1"));
    }

    #[test]
    fn what_the_service_would_read_otherwise_is_unknown() {
        let host = Some("iam.amazonaws.com".to_owned());
        let form = |form: &str| {
            let body = Body::Text(form.to_owned());
            judge(&HttpRequest { host: host.clone(), body, ..request("aws", "POST", "/") }).intent
        };
        assert_eq!(form("Action=ListUsers"), Intent::Read);
        assert_eq!(form("Action=GetCluster%43redentials"), Intent::Unknown);
        assert_eq!(form("action=ListUsers"), Intent::Unknown);
        let elsewhere = |host: &str| {
            let (host, body) = (Some(host.to_owned()), Body::Text("Action=ListKeys".to_owned()));
            judge(&HttpRequest { host, body, ..request("aws", "POST", "/") }).intent
        };
        assert_eq!(elsewhere("sqs.us-east-1.amazonaws.com"), Intent::Read);
        assert_eq!(elsewhere("kms.us-east-1.amazonaws.com"), Intent::Unknown);
        // A service of forms does not look at the header.
        assert_eq!(intent("POST", "iam", "/", "X.ListUsers"), Intent::Unknown);
        let mut target = request("aws", "POST", "/");
        target.host = Some("kms.us-east-1.amazonaws.com".to_owned());
        target.headers.push(("x-amz-target".to_owned(), "TrentService.ListKeys".to_owned()));
        assert_eq!(judge(&target).intent, Intent::Read);
        let with = |change: fn(&mut HttpRequest)| {
            let mut changed = target.clone();
            change(&mut changed);
            judge(&changed).intent
        };
        assert_eq!(with(|r| r.query.push(("delete".into(), String::new()))), Intent::Unknown);
        assert_eq!(with(|r| r.body = Body::Opaque), Intent::Unknown);
        let json = |r: &mut HttpRequest| r.headers.push(("content-type".into(), "text/x".into()));
        assert_eq!(with(json), Intent::Unknown);
        let mut presigned = request("aws", "GET", "/");
        presigned.query.push(("X-Amz-Target".into(), "DynamoDB_20120810.DeleteTable".into()));
        assert_eq!(judge(&presigned).intent, Intent::Unknown);
    }

    #[test]
    fn a_get_may_hand_out_credentials_or_reach_anything() {
        let mut session = request("aws", "GET", "/");
        session.host = Some("b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com".into());
        assert_eq!(judge(&session).intent, Intent::Read);
        session.query.push(("session".into(), String::new()));
        assert_eq!(judge(&session).intent, Intent::Execute);
        assert_eq!(intent("GET", "x1.execute-api.us-east-1", "/prod/x", ""), Intent::Unknown);
        assert_eq!(intent("POST", "x1.execute-api.us-east-1", "/prod/x", ""), Intent::Unknown);
        assert_eq!(intent("POST", "x1.execute-api.us-east-1", "/", "X.ListUsers"), Intent::Unknown);
    }

    #[test]
    fn a_name_where_a_service_would_not_look_is_unknown() {
        let target = "TrentService.ListKeys";
        assert_eq!(intent("POST", "bucket.s3.us-east-1", "/", target), Intent::Unknown);
        assert_eq!(intent("POST", "lambda.us-east-1", "/functions", target), Intent::Unknown);
        let mut twice = request("aws", "POST", "/");
        twice.query.push(("Action".to_owned(), "ListUsers".to_owned()));
        assert_eq!(judge(&twice).intent, Intent::Read);
        twice.body = Body::Text("Action=DeleteUser".to_owned());
        assert_eq!(judge(&twice).intent, Intent::Unknown);
        twice.body = Body::Opaque;
        assert_eq!(judge(&twice).intent, Intent::Unknown);
    }
}
