//! Paths and parameters that are spelt otherwise than a rule has them.

use super::*;

fn get(provider: &str, path: &str) -> String {
    format!(r#"{{"provider":"{provider}","method":"GET","path":"{path}"}}"#)
}

#[test]
fn another_spelling_of_a_path_slips_past_no_deny_and_into_no_allow() {
    let denying = rules(
        "  - {name: secret, resource: ['/repos/Acme/secret/**', '/users/x/**', '/users/*/getFree', '/issue/SEC-*'], effect: deny}\n  - {effect: allow}",
    );
    for (provider, path, expected) in [
        ("github", "/repos/Acme/secret/issues", "deny secret"),
        ("github", "/repos/ACME/Secret/issues", "deny secret"),
        ("github", "/repos/Acme/public/issues", "allow p#2"),
        ("microsoft", "/v1.0/users/X/messages", "deny secret"),
        ("microsoft", "/v1.0/Users('x')/messages", "deny secret"),
        ("microsoft", "/beta/users(x)/messages", "deny secret"),
        ("microsoft", "/v1.0/users/x/microsoft.graph.user/messages", "deny secret"),
        ("microsoft", "/v1.0/users/microsoft.graph.user/x/messages", "deny secret"),
        ("microsoft", "/v1.0/users/y/microsoft.graph.getFree", "deny secret"),
        ("microsoft", "/v1.0/users('y')/messages", "allow p#2"),
        ("jira", "/rest/api/latest/issue/sec-1", "deny secret"),
        ("microsoft", "/v1.0/users(id='x')/messages", "deny secret"),
        ("microsoft", "/v1.0/users()/x/messages", "deny secret"),
        ("microsoft", "/v1.0/users/y/getFree()/", "deny secret"),
        ("jira", "/rest/api/3/issue/SEC-1/", "deny secret"),
        ("notion", "/v1/issue/SEC-1/", "deny secret"),
        ("salesforce", "/services/data/v60.0/users/y/getFree.json", "deny secret"),
        // S3 tells one from the other.
        ("aws", "/repos/acme/secret/x", "allow p#2"),
    ] {
        decided(&denying, &get(provider, path), Intent::Read, expected);
    }
    let allowing = rules("  - {resource: '/repos/acme/site/**', effect: allow}");
    decided(&allowing, &get("github", "/repos/acme/site/x"), Intent::Read, "allow p#1");
    decided(&allowing, &get("github", "/repos/ACME/site/x"), Intent::Read, "deny default");
    let but = rules("  - {effect: allow, conditions: {not: {resource: '/repos/acme/secret/**'}}}");
    decided(&but, &get("github", "/repos/acme/site/x"), Intent::Read, "allow p#1");
    decided(&but, &get("github", "/repos/acme/SECRET/x"), Intent::Read, "deny default");
}

#[test]
fn another_spelling_of_a_parameter_slips_past_no_deny_and_into_no_allow() {
    let asking = |provider: &str, query: &str| get(provider, &format!("/x?{query}"));
    let denying = rules(
        "  - {name: r, query: {state: closed, $expand: {exists: false}}, effect: deny}
  - {name: e, query: {$expand: {exists: true}}, effect: deny}
  - {effect: allow}",
    );
    for (provider, query, expected) in [
        ("github", "state=closed", "deny r"),
        ("github", "a=1;state=closed", "deny r"),
        ("github", "+state=closed", "deny r"),
        ("github", "state[]=closed", "deny r"),
        ("github", "State=closed", "allow p#3"),
        ("github", "a=1;b=2", "allow p#3"),
        ("microsoft", "$expand=a", "deny e"),
        ("microsoft", "expand=a", "deny e"),
        ("microsoft", "$Expand=a", "deny e"),
        ("microsoft", "$select=a", "allow p#3"),
    ] {
        decided(&denying, &asking(provider, query), Intent::Read, expected);
    }
    let allowing = rules("  - {name: r, query: {state: open}, effect: allow}");
    decided(&allowing, &asking("github", "state=open"), Intent::Read, "allow r");
    decided(&allowing, &asking("github", "state=open;state=closed"), Intent::Read, "deny default");
}
