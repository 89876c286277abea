//! The providers' own SDKs: reads arrive as they would have without the gate,
//! writes under a read-only policy never arrive.

use std::process::Command;

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

/// Runs the read and the write of one SDK against `base`.
fn run(python: &str, sdk: &str, base: &str, agent: &Agent) -> String {
    let output = Command::new(python)
        .arg(helper("sdks.py"))
        .args([sdk, base, &agent.key, &agent.aws[0], &agent.aws[1]])
        .output()
        .unwrap();
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
    let target = request["target"].as_str().unwrap();
    let header = |name: &str| {
        let headers = request["headers"].as_array().unwrap();
        let found = headers.iter().find(|pair| pair[0] == name).map(|pair| pair[1].to_string());
        found.unwrap_or_default()
    };
    let reads = ["/v1/search", "/api/conversations.list"].iter().any(|read| target.ends_with(read))
        || header("x-amz-target").contains("List");
    request["method"] != "GET" && !reads
}

#[test]
fn reads_arrive_as_sent_and_writes_do_not_arrive() {
    let Some(python) = python() else { return };
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    for (sdk, provider) in [
        ("github", "github"),
        ("slack", "slack"),
        ("google", "google"),
        ("notion", "notion"),
        ("jira", "jira"),
        ("salesforce", "salesforce"),
        ("hubspot", "hubspot"),
        ("dynamodb", "aws"),
        ("s3", "aws"),
    ] {
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
        assert!(!said.contains("write: ok"), "{sdk}: {said}");
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
