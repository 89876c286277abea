//! Policies, put and removed while the gate runs.

use crate::support::Gate;

const TEAM: &str = "name: team\ndescription: ours\nrules:\n  - effect: allow\n    intent: read\n";

#[test]
fn policy_is_loaded_stored_shown_replaced_and_removed() {
    let gate = Gate::start();
    let loaded = gate.post("/policies", TEAM);
    assert_eq!((loaded.status, &loaded.json()["policy_name"]), (200, &"team".into()), "{loaded:?}");
    assert_eq!(
        std::fs::read_to_string(gate.folder.path().join("policies/team.yaml")).unwrap(),
        TEAM
    );
    let list = gate.get("/policies").json();
    let named = |name: &str| {
        list.as_array().unwrap().iter().find(|policy| policy["name"] == *name).unwrap().clone()
    };
    assert_eq!(named("team")["rules"][0]["effect"], "allow");
    assert_eq!(named("team")["built_in"], false);
    assert!(named("read_only")["built_in"] == true && named("github_readonly")["rules"].is_array());
    assert_eq!(gate.get("/policies/team").json()["yaml"], TEAM);

    let body = serde_json::json!({ "name": "team", "yaml": TEAM.replace("allow", "deny") });
    let put = gate.send("PUT", "/policies/team", &body.to_string());
    assert_eq!(put.status, 200, "{put:?}");
    assert!(put.json()["warnings"][0]["message"].as_str().unwrap().contains("nothing is ever"));

    gate.post("/agents", r#"{"name": "bot", "policy": "team"}"#);
    let removed = gate.send("DELETE", "/policies/team", "").json();
    assert_eq!(removed["agents"], serde_json::json!(["bot"]));
    assert_eq!(gate.get("/policies/team").status, 404);
    assert_eq!(gate.send("DELETE", "/policies/team", "").status, 404);
    assert_eq!(gate.send("DELETE", "/policies/read_only", "").status, 404, "built in");
}

#[test]
fn invalid_policy_changes_nothing_and_is_reported_with_its_position() {
    let gate = Gate::start();
    gate.post("/policies", TEAM);
    for (body, line) in [
        ("name: team\nrule: []\n", 2),
        ("name: team\nrules:\n  - effect: maybe\n    tool: x\n", 3),
        ("name: [", 1),
    ] {
        let answer = gate.post("/policies", body);
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert_eq!(answer.json()["diagnostics"][0]["line"], line, "{answer:?}");
    }
    for (name, yaml, status) in
        [("../x", TEAM, 422), ("allow_all", TEAM, 422), ("a b", TEAM, 422), ("", TEAM, 422)]
    {
        let body = serde_json::json!({ "name": name, "yaml": yaml }).to_string();
        assert_eq!(gate.post("/policies", &body).status, status, "{name}");
    }
    assert_eq!(gate.send("PUT", "/policies/..%2Fx", TEAM).status, 422);
    assert_eq!(gate.send("PUT", "/policies/x", r#"{"name": "y", "yaml": "name: x"}"#).status, 422);
    assert_eq!(gate.post("/policies", r#"{"name": "x", "yaml": 1}"#).status, 422);
    assert_eq!(gate.get("/policies/team").json()["yaml"], TEAM);
    assert_eq!(std::fs::read_dir(gate.folder.path().join("policies")).unwrap().count(), 1);
}
