//! The providers' own SDKs: reads arrive as they would have without the gate,
//! writes under a read-only policy never arrive.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::{Agent, CREDENTIAL, Recorder, Serve, helper};

/// The Python with the SDKs; `None`, with a line that says so, where there is none.
pub(crate) fn python() -> Option<String> {
    let root = std::env::var("AGENTGATE_REAL").unwrap_or_default();
    let python = format!("{root}/python-sdks/bin/python");
    if std::path::Path::new(&python).exists() {
        return Some(python);
    }
    assert!(std::env::var_os("AGENTGATE_REAL_REQUIRED").is_none(), "there is no {python}");
    eprintln!("skipped: the SDKs are not installed (tests/run installs them)");
    None
}

/// Those that run in Node.
const JAVASCRIPT: [&str; 8] = [
    "octokit",
    "octokit-logs",
    "slack-web",
    "slack-web-upload",
    "notion-js",
    "linear",
    "linear-issues",
    "linear-upload",
];

/// Runs the read and the write of one SDK against `base`.
pub(crate) fn run(python: &str, sdk: &str, base: &str, agent: &Agent) -> String {
    run_with(python, sdk, (base, agent), &[])
}

fn run_with(
    python: &str,
    sdk: &str,
    (base, agent): (&str, &Agent),
    variables: &[(&str, &str)],
) -> String {
    let modules = Path::new(python).ancestors().nth(3).unwrap().join("node_modules");
    let mut command = if JAVASCRIPT.contains(&sdk) {
        let mut node = Command::new("node");
        node.arg(helper("sdks.mjs")).arg(modules);
        node
    } else {
        let mut python = Command::new(python);
        python.arg(helper("sdks.py"));
        python
    };
    let arguments = [sdk, base, &agent.key, &agent.aws[0], &agent.aws[1]];
    let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("read: ok"), "{sdk}: {said}{errors}");
    said
}

/// What must be the same with the gate as without: everything but who it is from
/// and how the connection is kept.
fn essence(request: &Value) -> Value {
    let own = |name: &str| {
        let aws = name.starts_with("x-amz-") && name != "x-amz-target";
        let passing = ["authorization", "host", "connection", "accept-encoding", "content-length"];
        aws || name.starts_with("amz-sdk-") || name == "expect" || passing.contains(&name)
    };
    let mut request = request.clone();
    let headers = request["headers"].as_array().unwrap().clone();
    let mut kept: Vec<Value> =
        headers.into_iter().filter(|pair| !own(pair[0].as_str().unwrap())).collect();
    kept.sort_by_key(ToString::to_string);
    request["headers"] = kept.into();
    request
}

fn is_write(request: &Value) -> bool {
    // Each SDK's write is the one that carries what it writes.
    let body = STANDARD.decode(request["body"].as_str().unwrap()).unwrap();
    let body = String::from_utf8_lossy(&body);
    let asks = |what: &&str| body.starts_with(what);
    if ["Action=List", "Action=Describe", "Action=GetCaller"].iter().any(asks)
        || body.contains("query viewer")
    {
        return false;
    }
    let target = request["target"].as_str().unwrap();
    let header = |name: &str| {
        let headers = request["headers"].as_array().unwrap();
        let found = headers.iter().find(|pair| pair[0] == name).map(|pair| pair[1].to_string());
        found.unwrap_or_default()
    };
    let reads = ["/v1/search", "/api/conversations.list"].iter().any(|read| target.ends_with(read))
        || header("x-amz-target").contains("List")
        || target.contains("/operation/List");
    request["method"] != "GET" && !reads
}

/// Each, and its provider.
const SDKS: [(&str, &str); 23] = [
    ("github", "github"),
    ("slack", "slack"),
    ("google", "google"),
    ("google_cloud", "google"),
    ("notion", "notion"),
    ("jira", "jira"),
    ("salesforce", "salesforce"),
    ("hubspot", "hubspot"),
    ("dynamodb", "aws"),
    ("s3", "aws"),
    ("sqs", "aws"),
    ("sts", "aws"),
    ("iam", "aws"),
    ("awslambda", "aws"),
    ("ec2", "aws"),
    ("cloudwatch", "aws"),
    ("route53", "aws"),
    ("graph", "microsoft"),
    ("octokit", "github"),
    ("slack-web", "slack"),
    ("slack-web-upload", "slack"),
    ("notion-js", "notion"),
    ("linear", "linear"),
];

/// Those that read what others of their kind read.
const ALIKE: [&str; 6] = ["dynamodb", "sts", "iam", "awslambda", "route53", "slack-web-upload"];

#[test]
fn reads_arrive_as_sent_and_writes_do_not_arrive() {
    let Some(python) = python() else { return };
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    for (sdk, provider) in SDKS {
        let agent = gate.agent(sdk, &format!("{provider}_readonly"));
        recorder.forget();
        let base = format!("http://127.0.0.1:{}", recorder.port);
        // AWS names the service in the path, which only the gate takes away.
        if provider != "aws" {
            run(&python, sdk, &base, &agent);
        }
        let direct: Vec<Value> =
            recorder.requests().iter().filter(|one| !is_write(one)).map(essence).collect();
        recorder.forget();
        let said = run(&python, sdk, &format!("http://{}/proxy/{provider}", gate.address), &agent);
        let arrived = recorder.requests();
        // Refused in the SDK's own terms, with the status and the reason, and once.
        let refused = said.split_once("write: ").unwrap_or_else(|| panic!("{sdk}: {said}")).1;
        assert!(refused.contains(": 403: "), "{sdk}: {said}");
        let reason = ["This agent may read ", "This agent may look around in AWS, not change"];
        assert!(reason.iter().any(|sign| refused.contains(sign)), "{sdk}: {said}");
        assert_eq!(rows(&gate, sdk, "deny"), 1, "{sdk}: tried again");
        assert!(arrived.iter().all(|request| !is_write(request)), "{sdk}: {arrived:?}");
        assert!(!arrived.is_empty(), "{sdk}");
        let text = serde_json::to_string(&arrived).unwrap();
        assert!(!text.contains(&agent.key) && !text.contains(&agent.aws[0]), "{sdk}: {text}");
        if provider == "aws" {
            assert!(text.contains("Credential=AKIAREALREALREALREAL/"), "{sdk}: {text}");
        } else {
            assert!(text.contains(CREDENTIAL), "{sdk}: {text}");
            let through: Vec<Value> = arrived.iter().map(essence).collect();
            assert_eq!(through, direct, "{sdk}");
        }
    }
}

#[test]
fn exhausted_limit_is_reported_in_the_form_of_each_sdk() {
    let Some(python) = python() else { return };
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    for (sdk, provider) in SDKS.into_iter().filter(|(sdk, _)| !ALIKE.contains(sdk)) {
        let base = format!("http://{}/proxy/{provider}", gate.address);
        let run_as = |agent: &Agent| run_with(&python, sdk, (&base, agent), &[("ONCE", "1")]);
        let reader = format!("{sdk}-reads");
        run_as(&gate.agent(&reader, &format!("{provider}_readonly")));
        // As many as the read takes.
        let limit = rows(&gate, &reader, "allow");
        let policy = format!(
            "name: {sdk}\ndefault_effect: allow\nrate_limit:\n  requests_per_minute: {limit}\n"
        );
        let policy = serde_json::json!({ "yaml": policy }).to_string();
        let kept = gate.admin("PUT", &format!("/policies/{sdk}"), &policy);
        assert!(kept.status < 300, "{kept:?}");
        let said = run_as(&gate.agent(sdk, sdk));
        let refused = said.split_once("write: ").unwrap_or_else(|| panic!("{sdk}: {said}")).1;
        // Slack's SDK for JavaScript has an error of its own, of which it knows one thing.
        if let Some(own) = refused.strip_prefix("WebAPIRateLimitedError: ") {
            assert!(own.contains("rate-limit has been reached"), "{sdk}: {said}");
            continue;
        }
        assert!(refused.contains(": 429: "), "{sdk}: {said}");
        assert!(refused.contains("are used up"), "{sdk}: {said}");
        assert_eq!(rows(&gate, sdk, "deny"), 1, "{sdk}: tried again");
    }
}

#[test]
fn a_key_in_salesforces_own_place_gives_way_to_the_credential() {
    let Some(python) = python() else { return };
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("bulk", "allow_all");
    let base = format!("http://{}/proxy/salesforce", gate.address);
    let said = run(&python, "salesforce_bulk", &base, &agent);
    assert!(said.contains("write: ok"), "{said}");
    let arrived = recorder.requests();
    assert_eq!(arrived.len(), 2, "{arrived:?}");
    let text = serde_json::to_string(&arrived).unwrap();
    assert!(!text.contains(&agent.key), "{text}");
    let own = format!(r#"["x-sfdc-session","{CREDENTIAL}"]"#);
    assert_eq!(text.matches(&own).count(), 2, "{text}");
}

/// How many requests of this agent's were decided so.
fn rows(gate: &Serve, agent: &str, decision: &str) -> usize {
    let is_meant =
        |row: &&Value| row["agent_name"] == agent && row["decision"].as_str() == Some(decision);
    gate.log().iter().filter(is_meant).count()
}
