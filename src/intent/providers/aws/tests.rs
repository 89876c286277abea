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
fn regions_are_distinguished_from_similar_words() {
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
    assert_eq!(rpc("New.GetCostAndUsageComparisons"), Intent::Read);
    assert!(!rpc("New.GetOrCreateThing").is_read() && !rpc("New.ListThenPurge").is_read());
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
    // A body that was not read as JSON may hold any.
    for body in [Body::Text(r#"{"QueryString":"UNLOAD (SELECT '&')"},"#.to_owned()), Body::Opaque] {
        let mut query = request("aws", "POST", "/");
        query.headers.push(("x-amz-target".to_owned(), "Timestream_20181101.Query".to_owned()));
        query.body = body;
        assert_eq!(judge(&query).intent, Intent::Unknown, "{:?}", query.body);
    }
}

#[test]
fn second_operation_name_in_another_place_is_unknown() {
    let intent = |query: &[(&str, &str)], kind: &str, body: Body| {
        let mut asked = request("aws", "POST", "/");
        asked.host = Some("ec2.us-east-1.amazonaws.com".to_owned());
        asked.query = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        if !kind.is_empty() {
            asked.headers.push(("content-type".to_owned(), kind.to_owned()));
        }
        asked.body = body;
        judge(&asked).intent
    };
    let form = |text: &str| Body::Text(text.to_owned());
    let kind = "application/x-www-form-urlencoded; charset=utf-8";
    let describes = [("Action", "DescribeInstances")];
    for (query, kind, body) in [
        (&[][..], kind, form("Action=DescribeInstances&Filter.1.Value=a%3BAction%3Db")),
        (&[], "", form("Action=DescribeInstances")),
        (&describes, kind, form("Version=2016-11-15")),
        (&describes, "", Body::Empty),
    ] {
        assert_eq!(intent(query, kind, body.clone()), Intent::Read, "{query:?} {body:?}");
    }
    let json = json::parse(br#"{"a":"&Action=TerminateInstances"}"#).expect("JSON");
    let parts = "--b\r\nContent-Disposition: form-data; name=\"Action\"\r\n\r\nTerminateInstances";
    for (query, kind, body) in [
        (&[][..], kind, form("A=1;Action=TerminateInstances&Action=DescribeInstances")),
        (&[], kind, form("Action=DescribeInstances&A=1;+%41ction=TerminateInstances")),
        (&[("A", "1;action=TerminateInstances"), describes[0]], "", Body::Empty),
        (&describes, "text/plain", Body::Json(json)),
        (&describes, "multipart/form-data; boundary=b", form(parts)),
    ] {
        assert_eq!(intent(query, kind, body.clone()), Intent::Unknown, "{query:?} {body:?}");
    }
}

#[test]
fn a_path_names_an_operation_only_where_the_service_may_read_it() {
    let intent = |host: &str| {
        let mut asked = request("aws", "POST", "/service/Any/operation/DescribeInstances");
        asked.host = Some(format!("{host}.us-east-1.amazonaws.com"));
        asked.headers.push(("smithy-protocol".to_owned(), "rpc-v2-cbor".to_owned()));
        asked.body = Body::Opaque;
        judge(&asked).intent
    };
    assert_eq!(intent("monitoring"), Intent::Read);
    assert_eq!(intent("ec2"), Intent::Create, "it would look for a form");
}

#[test]
fn operations_that_return_keys_are_no_reads() {
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
fn operations_that_return_secrets_are_no_reads() {
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
fn requests_that_services_parse_differently_are_unknown() {
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
    let table = "/iceberg/v1/catalogs/c/namespaces/n/tables/t";
    let credentials = format!("{table}/credentials");
    assert_eq!(intent("GET", "glue.us-east-1", table, ""), Intent::Read);
    assert_eq!(intent("GET", "glue.us-east-1", &credentials, ""), Intent::Execute);
    assert_eq!(intent("GET", "s3.us-east-1", &credentials, ""), Intent::Read);
    let mut load = request("aws", "GET", table);
    load.host = Some("glue.us-east-1.amazonaws.com".into());
    load.headers.push(("x-iceberg-access-delegation".into(), "vended-credentials".into()));
    assert_eq!(judge(&load).intent, Intent::Execute);
    assert_eq!(intent("GET", "x1.execute-api.us-east-1", "/prod/x", ""), Intent::Unknown);
    assert_eq!(intent("POST", "x1.execute-api.us-east-1", "/prod/x", ""), Intent::Unknown);
    assert_eq!(intent("POST", "x1.execute-api.us-east-1", "/", "X.ListUsers"), Intent::Unknown);
}

#[test]
fn operation_name_in_an_unexpected_place_is_unknown() {
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

#[test]
fn a_path_may_say_that_something_is_removed_sent_or_run() {
    for (method, host, path, expected) in [
        ("POST", "ivs.us-east-1", "/DeleteChannel", Intent::Delete),
        ("POST", "batch.us-east-1", "/v1/deletejobqueue", Intent::Delete),
        ("POST", "batch.us-east-1", "/v1/terminatejob", Intent::Delete),
        ("POST", "inspector2.us-east-1", "/filters/delete", Intent::Delete),
        ("POST", "bedrock.us-east-1", "/evaluation-jobs/batch-delete", Intent::Delete),
        ("POST", "data.qapps.us-east-1", "/apps.delete", Intent::Delete),
        ("PUT", "braket.us-east-1", "/quantum-task/x/cancel", Intent::Delete),
        ("POST", "email.us-east-1", "/v2/email/outbound-emails", Intent::Send),
        ("POST", "socialmessaging.us-east-1", "/v1/whatsapp/send", Intent::Send),
        ("POST", "lambda.us-east-1", "/2015-03-31/functions/f/invocations", Intent::Execute),
        ("POST", "bedrock-runtime.us-east-1", "/model/m/invoke", Intent::Execute),
        ("POST", "drs.us-east-1", "/StartRecovery", Intent::Execute),
        ("POST", "resiliencehub.us-east-1", "/tests", Intent::Create),
        ("POST", "omics.us-east-1", "/runGroup", Intent::Create),
        ("PUT", "bedrock.us-east-1", "/logging/modelinvocations", Intent::Update),
        ("POST", "connect.us-east-1", "/queues/q/outbound-email-config", Intent::Create),
        // What the customer has named so.
        ("PUT", "iot.us-east-1", "/things/delete-me", Intent::Update),
        ("POST", "lambda.us-east-1", "/2017-03-31/tags/arn:aws:lambda:f:purge", Intent::Create),
        ("POST", "x1.execute-api.us-east-1", "/prod/delete", Intent::Unknown),
        ("POST", "s3.us-east-1", "/bucket/delete", Intent::Create),
        ("POST", "ivs.us-east-1", "/CreateChannel", Intent::Create),
    ] {
        assert_eq!(intent(method, host, path, ""), expected, "{path}");
    }
    let asked = |method: &str, host: &str, (key, value): (&str, &str)| {
        let mut asked = request("aws", method, "/phone-numbers");
        asked.host = Some(format!("{host}.us-east-1.amazonaws.com"));
        asked.query.push((key.to_owned(), value.to_owned()));
        judge(&asked).intent
    };
    assert_eq!(asked("POST", "chime", ("operation", "batch-delete")), Intent::Delete);
    assert_eq!(asked("POST", "s3", ("delete", "")), Intent::Delete);
    assert_eq!(asked("POST", "s3", ("uploads", "")), Intent::Create);
    assert_eq!(asked("PUT", "s3", ("policy", "")), Intent::Admin);
    assert_eq!(asked("PUT", "s3", ("tagging", "")), Intent::Update);
}

#[test]
fn deletions_may_hide_among_others() {
    let dynamo = |operation: &str, body: &str| {
        let mut asked = request("aws", "POST", "/");
        asked.host = Some("dynamodb.us-east-1.amazonaws.com".to_owned());
        asked.headers.push(("x-amz-target".to_owned(), format!("DynamoDB_20120810.{operation}")));
        asked.body = Body::Json(json::parse(body.as_bytes()).expect("JSON"));
        judge(&asked).intent
    };
    let put = r#"{"RequestItems":{"t":[{"PutRequest":{"Item":{"DeleteRequested":{"S":"x"}}}}]}}"#;
    assert_eq!(dynamo("BatchWriteItem", put), Intent::Update);
    let both = r#"{"RequestItems":{"t":[{"PutRequest":{}},{"DeleteRequest":{}}]}}"#;
    assert_eq!(dynamo("BatchWriteItem", both), Intent::Delete);
    let transact = r#"{"TransactItems":[{"Put":{}},{"Delete":{"TableName":"t"}}]}"#;
    assert_eq!(dynamo("TransactWriteItems", transact), Intent::Delete);
    let records = |action: &str| {
        let mut asked = request("aws", "POST", "/2013-04-01/hostedzone/z/rrset/");
        asked.host = Some("route53.amazonaws.com".to_owned());
        asked.body = Body::Text(format!("<Change><Action>{action}</Action></Change>"));
        judge(&asked).intent
    };
    assert_eq!((records("DELETE"), records("UPSERT")), (Intent::Delete, Intent::Create));
    assert_eq!(records("&#68;ELETE"), Intent::Delete);
}

#[test]
fn a_change_of_rights_is_administration() {
    let form = |host: &str, action: &str| {
        let mut asked = request("aws", "POST", "/");
        asked.host = Some(host.to_owned());
        asked.body = Body::Text(format!("Action={action}&Version=1"));
        judge(&asked).intent
    };
    let iam = |action: &str| form("iam.amazonaws.com", action);
    for action in ["AttachUserPolicy", "CreateAccessKey", "AddUserToGroup", "CreateUser"] {
        assert_eq!(iam(action), Intent::Admin, "{action}");
    }
    assert_eq!(form("iam.us-gov.amazonaws.com", "CreateUser"), Intent::Admin);
    assert_eq!((iam("ListUsers"), iam("DeleteUser")), (Intent::Read, Intent::Delete));
    let target = |host: &str, target: &str| intent("POST", host, "/", target);
    assert_eq!(target("kms.us-east-1", "TrentService.PutKeyPolicy"), Intent::Admin);
    assert_eq!(target("organizations.us-east-1", "X.AttachPolicy"), Intent::Admin);
    assert_eq!(target("ecr.us-east-1", "X.PutLifecyclePolicy"), Intent::Update);
}
