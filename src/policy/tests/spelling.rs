//! Paths, parameters and body members that are spelt otherwise than in rules.

use super::*;
use crate::json::Json;

fn get(provider: &str, path: &str) -> String {
    format!(r#"{{"provider":"{provider}","method":"GET","path":"{path}"}}"#)
}

#[test]
fn respelt_path_matches_deny_rules_but_not_allow_rules() {
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
        // S3 keys are case-sensitive.
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
fn respelt_parameter_matches_deny_rules_but_not_allow_rules() {
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
        ("google", "$Expand=a", "deny e"),
    ] {
        decided(&denying, &asking(provider, query), Intent::Read, expected);
    }
    let allowing = rules("  - {name: r, query: {state: open}, effect: allow}");
    decided(&allowing, &asking("github", "state=open"), Intent::Read, "allow r");
    decided(&allowing, &asking("github", "state=open;state=closed"), Intent::Read, "deny default");
}

#[test]
fn alias_of_a_path_matches_deny_rules_but_not_allow_rules() {
    let denying = rules(
        "  - {name: microsoft, provider: microsoft, resource: '/v1.0/me/drive/root:/private/**', effect: deny}
  - {name: google, provider: google, resource: ['/drive/v3/files/SECRET', '/storage/v1/b/priv/o/**'], effect: deny}
  - {name: notion, provider: notion, resource: '/v1/pages/59833787-2cf9-4fdf-8782-9bb80ffb5bd6', effect: deny}
  - {name: salesforce, provider: salesforce, resource: '/sobjects/Account/001D000000IRFmaIAH', effect: deny}
  - {effect: allow}",
    );
    for (provider, path, expected) in [
        ("microsoft", "/v1.0/me/drive/root:/private:/children", "deny microsoft"),
        ("microsoft", "/v1.0/me/drive/root:/private/a.txt:/content", "deny microsoft"),
        ("microsoft", "/v1.0/me/drive/root:/PRIVATE/a.txt", "deny microsoft"),
        ("microsoft", "/v1.0/me/drive/root:/public:/children", "allow p#5"),
        ("google", "/upload/drive/v3/files/SECRET", "deny google"),
        ("google", "/resumable/upload/drive/v3/files/SECRET", "deny google"),
        ("google", "/download/storage/v1/b/priv/o/x", "deny google"),
        ("google", "/upload/drive/v3/files/OTHER", "allow p#5"),
        ("notion", "/v1/pages/598337872cf94fdf87829bb80ffb5bd6", "deny notion"),
        ("salesforce", "/services/data/v60.0/sobjects/Account/001D000000IRFma", "deny salesforce"),
        ("salesforce", "/services/data/v60.0/sobjects/Account/001D000000IRFmb", "allow p#5"),
    ] {
        decided(&denying, &get(provider, path), Intent::Read, expected);
    }
    let allowing = rules("  - {resource: '/drive/v3/files/x', effect: allow}");
    decided(&allowing, &get("google", "/drive/v3/files/x"), Intent::Read, "allow p#1");
    decided(&allowing, &get("google", "/upload/drive/v3/files/x"), Intent::Read, "deny default");
}

#[test]
fn slack_arguments_may_be_in_query_or_body() {
    let asking = |query: &str, body: &str| {
        format!(r#"{{"provider":"slack","method":"POST","path":"/api/x?{query}","body":{body}}}"#)
    };
    let denying = rules(
        "  - {name: b, body: {channel: C1}, effect: deny}
  - {name: q, query: {user: U1}, effect: deny}
  - {effect: allow}",
    );
    for (query, body, expected) in [
        ("", r#"{"channel":"C1"}"#, "deny b"),
        ("channel=C1", "{}", "deny b"),
        ("channel=C1", "null", "deny b"),
        ("", r#"{"user":"U1"}"#, "deny q"),
        ("limit=1", r#"{"channel":"C2"}"#, "allow p#3"),
    ] {
        decided(&denying, &asking(query, body), Intent::Send, expected);
    }
    let allowing = rules("  - {name: b, body: {channel: C1}, effect: allow}");
    decided(&allowing, &asking("", r#"{"channel":"C1"}"#), Intent::Send, "allow b");
    let both = asking("channel=C2", r#"{"channel":"C1"}"#);
    decided(&allowing, &both, Intent::Send, "deny default");
}

#[test]
fn ambiguous_uri_matches_deny_rules_but_not_allow_rules() {
    let read = |uri: &str| {
        let uri = Json::String(uri.to_owned()).canonical();
        format!(r#"{{"server":"s","method":"resources/read","args":{{"uri":{uri}}}}}"#)
    };
    let by = |effect: &str| {
        let other = if effect == "allow" { "deny" } else { "allow" };
        let methods = "methods: [resources/read]";
        rules(&format!(
            "  - {{name: r, {methods}, args: {{uri: {{prefix: 'demo://a/'}}}}, effect: {effect}}}\n  - {{name: s, {methods}, effect: {other}}}",
        ))
    };
    for (uri, denied, allowed) in [
        ("demo://a/x", "deny r", "allow r"),
        ("demo://b/x", "allow s", "deny s"),
        ("demo://a/../b/x", "deny r", "deny s"),
        ("demo://b/../a/x", "deny r", "deny s"),
        (" demo://a/x", "deny r", "deny s"),
        ("DEMO://a/x", "deny r", "deny s"),
    ] {
        decided(&by("deny"), &read(uri), Intent::Read, denied);
        decided(&by("allow"), &read(uri), Intent::Read, allowed);
    }
}

fn post(provider: &str, body: &str) -> String {
    format!(r#"{{"provider":"{provider}","method":"POST","path":"/x","body":{body}}}"#)
}

#[test]
fn respelt_member_matches_deny_rules_but_not_allow_rules() {
    let lookalikes = [
        ("salesforce", "OwnerId", r#"{"Name":1,"ownerid":"x"}"#),
        ("salesforce", "OwnerId", r#"{"OwnerId\u0000":"x"}"#),
        ("google", "emailAddress", r#"{"email_address":"x"}"#),
        ("google", "emailAddress", r#"{"emailAddress":"y","email-Address":"x"}"#),
        ("google", "email_address", r#"{"emailAddress":"x"}"#),
        ("google", "'a.to[any].emailAddress'", r#"{"a":{"to":[{},{"EmailAddress":"x"}]}}"#),
        ("google", "'a.to[all].emailAddress'", r#"{"a":{"to":[{"email_address":"x"}]}}"#),
        ("google", "'a.to[0].emailAddress'", r#"{"a":{"to":[{"\u200bemailAddress":"x"}]}}"#),
        ("google", "'a.toAll.x'", r#"{"a":{"to_all":{"x":"x"}}}"#),
        ("google", "'a.to.x'", r#"{"A":{"to":{"x":"x"}}}"#),
        ("google", "'a.x'", r#"{"a":{"__proto__":{"x":"x"}}}"#),
    ];
    for (provider, key, body) in lookalikes {
        for check in ["{ exists: true }", "{ exists: false }", "x", "{ ne: x }"] {
            let by = |effect: &str, keys: &str| {
                rules(&format!(
                    "  - {{name: r, provider: {provider}, {keys}, effect: {effect}}}\n  - {{name: s, effect: {}}}",
                    if effect == "allow" { "deny" } else { "allow" },
                ))
            };
            let plain = format!("body: {{{key}: {check}}}");
            let not = format!("conditions: {{not: {{{plain}}}}}");
            let either = format!("conditions: {{or: [{{tool: t}}, {{{plain}}}]}}");
            for keys in [plain, not, either] {
                let body = post(provider, body);
                decided(&by("deny", &keys), &body, Intent::Update, "deny r");
                decided(&by("ask", &keys), &body, Intent::Update, "ask r");
                decided(&by("allow", &keys), &body, Intent::Update, "deny s");
            }
        }
    }
}

#[test]
fn unrelated_member_is_no_lookalike() {
    let policy = rules(
        "  - {name: r, provider: salesforce, body: {OwnerId: {exists: true}, 'a.b': 1}, effect: deny}
  - {name: s, provider: salesforce, body: {OwnerId: x}, effect: deny}
  - {effect: allow}",
    );
    for (provider, body) in [
        ("salesforce", r#"{"Name":"x","Owner":{"ownerid":1},"a":{"OWNERID":1,"c":2}}"#),
        ("salesforce", r#"{"OwnerIds":1,"B":1,"a":{"A":1},"__x__":1}"#),
        ("slack", r#"{"ownerid":1}"#),
    ] {
        decided(&policy, &post(provider, body), Intent::Update, "allow p#3");
    }
    decided(&policy, &post("salesforce", r#"{"OwnerId":"x"}"#), Intent::Update, "deny s");
}

/// The rules' authors know of both spellings, if both rules apply.
#[test]
fn member_spelt_as_in_another_rule_is_no_lookalike() {
    let policy = rules(
        "  - {name: a, provider: google, body: {emailAddress: x}, effect: deny}
  - {name: b, body: {email_address: x}, effect: deny}
  - {name: c, provider: slack, body: {EmailAddress: x}, effect: deny}
  - {effect: allow}",
    );
    for (provider, body, expected) in [
        ("google", r#"{"emailAddress":"y"}"#, "deny b"),
        ("google", r#"{"email_address":"y"}"#, "allow p#4"),
        ("google", r#"{"email_address":"x"}"#, "deny b"),
        ("google", r#"{"EmailAddress":"y"}"#, "deny a"),
        ("slack", r#"{"email_address":"y"}"#, "allow p#4"),
        ("slack", r#"{"EmailAddress":"y"}"#, "deny b"),
    ] {
        decided(&policy, &post(provider, body), Intent::Update, expected);
    }
}

#[test]
fn lookalike_members_make_expressions_uncertain() {
    let by = |effect: &str, when: &str| {
        let other = if effect == "allow" { "deny" } else { "allow" };
        rules(&format!(
            "  - {{name: r, provider: google, when: '{when}', effect: {effect}}}\n  - {{name: s, effect: {other}}}",
        ))
    };
    for (when, body) in [
        ("has(body.OwnerId) && body.OwnerId == \"x\"", r#"{"ownerid":"x"}"#),
        ("!has(body.OwnerId)", r#"{"owner_id":"x"}"#),
        ("body[\"OwnerId\"] == \"x\"", r#"{"OwnerId":"y","ownerId":"x"}"#),
        ("has(body.a.b.c)", r#"{"a":{"B":{"c":1},"b":{}}}"#),
        ("body.to.exists(each, each.mail == \"x\")", r#"{"to":[{"mail":"y","Mail":"x"}]}"#),
        ("has(body.OwnerId) && body.OwnerId == \"x\"", r#"{"ownerid":"y","OWNERID":"x"}"#),
        ("has(body.OwnerId) && body.OwnerId == \"x\"", r#"{"ownerid":"X"}"#),
        ("has(body.a) && has(body.b)", r#"{"A":1,"B":1}"#),
        ("has(body.a) && has(body.a.x)", r#"{"a":{"__proto__":{"x":1}}}"#),
    ] {
        let body = post("google", body);
        decided(&by("deny", when), &body, Intent::Update, "deny r");
        decided(&by("ask", when), &body, Intent::Update, "ask r");
        decided(&by("allow", when), &body, Intent::Update, "deny s");
    }
    for (when, body, expected) in [
        ("has(body.OwnerId)", r#"{"Name":"x","Owner":{"ownerid":1}}"#, "allow s"),
        ("has(body.OwnerId) || has(body.ownerid)", r#"{"ownerid":1}"#, "deny r"),
        ("has(body.OwnerId) && !has(body.ownerid)", r#"{"ownerid":1}"#, "allow s"),
        ("has(body.OwnerId)", r#"{"OwnerId":1}"#, "deny r"),
        // The rest is false, whatever the member is taken for.
        ("agent.name == \"nobody\" && has(body.OwnerId)", r#"{"ownerid":1}"#, "allow s"),
        ("has(body.OwnerId) && body.OwnerId == \"x\"", r#"{"ownerid":"y"}"#, "allow s"),
    ] {
        decided(&by("deny", when), &post("google", body), Intent::Update, expected);
    }
}
