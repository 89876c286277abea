//! Test mode: the mocks of all ten providers are what their SDKs take for real.

use std::process::Command;

use crate::sdks::python;
use crate::support::{Serve, helper};

#[test]
fn the_sdks_take_the_mocks_for_answers() {
    let Some(python) = python() else { return };
    let gate = Serve::start("", &["--test-mode"]);
    let agent = gate.agent("mocks", "allow_all");
    let output = Command::new(&python)
        .arg(helper("mocks.py"))
        .arg(format!("http://{}", gate.address))
        .args([&agent.key, &agent.aws[0], &agent.aws[1]])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches(": ok\n").count(), 10, "{said}");
    let base = format!("http://{}/proxy/linear", gate.address);
    let said = crate::sdks::run(&python, "linear-issues", &base, &agent);
    assert!(said.contains("write: ok"), "{said}");
}

/// As the provider's do: a client follows them with its key.
#[test]
fn urls_of_mocks_lead_back() {
    let configured = "providers: {jira: {upstream: 'https://acme.atlassian.net'}}";
    for configuration in ["", configured] {
        let gate = Serve::start(configuration, &["--test-mode"]);
        let key = format!("X-Agent-Key: {}\r\n", gate.agent("a", "allow_all").key);
        for (path, own) in [
            ("jira/rest/api/3/issue/A-1", "jira/rest/api/3/issue/"),
            ("github/repos/a/b/issues", "github/repos/"),
        ] {
            let answer = gate.request("GET", &format!("/proxy/{path}"), &key, "");
            let led = format!("http://{}/proxy/{own}", gate.address);
            assert!(answer.body.contains(&led), "{path}: {answer:?}");
            for vendors in ["mock.atlassian.net", "api.github.com"] {
                assert!(!answer.body.contains(vendors), "{path}: {answer:?}");
            }
        }
    }
}

#[test]
fn unknown_requests_get_plausible_mocks_and_cycles_end() {
    let gate = Serve::start("", &["--test-mode"]);
    let agent = gate.agent("mocks", "allow_all");
    let key = format!("X-Agent-Key: {}\r\nContent-Type: application/json\r\n", agent.key);
    for provider in "google microsoft slack github jira notion linear hubspot salesforce".split(' ')
    {
        let path = format!("/proxy/{provider}/v9/unheard/of");
        let answer = gate.request("GET", &path, &key, "");
        assert_eq!(answer.status, 200, "{provider}: {answer:?}");
        assert!(answer.head.contains("x-agentgate-testmode: true"), "{answer:?}");
        assert!(answer.body.contains("\"mock\":true"), "{provider}: {answer:?}");
    }
    let circle = r#"{"query":"query { ...F } fragment F on Query { a { ...F } ...F }"}"#;
    let answer = gate.request("POST", "/proxy/linear/graphql", &key, circle);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(gate.request("GET", "/health", "", "").status, 200);
}
