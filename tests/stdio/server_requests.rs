//! What a real server asks of its client, through the gate.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Sandbox, argv, real};

const POLICY: &str = "
name: asks
rules:
  - { methods: [sampling/createMessage], effect: deny, reason: no models here }
  - { methods: [elicitation/create], args: { mode: url }, effect: deny, reason: no links here }
  - { methods: [elicitation/create, roots/list], effect: allow }
default_effect: allow
";

/// What a client says that can do all that servers may ask.
const ABLE: &str = r#"{"jsonrpc":"2.0","id":"init","method":"initialize","params":{
    "protocolVersion":"2025-11-25","clientInfo":{"name":"raw","version":"1"},"capabilities":{
    "sampling":{},"roots":{},"elicitation":{"form":{},"url":{}}}}}"#;

/// A session with server-everything, whose client answers whatever it is asked.
fn everything(sandbox: &Sandbox, policy: &str) -> Option<Client> {
    let installed = real::installed()?;
    let policy = sandbox.write("policy.yaml", policy);
    let server = argv([installed.join("node_modules/.bin/mcp-server-everything")]);
    let mut client = Client::spawn(&sandbox.wrap().policy(policy).command(server));
    let sampled = json!({"role": "assistant", "model": "none",
                         "content": {"type": "text", "text": "sampled"}});
    client.answer("sampling/createMessage", sampled);
    client.answer("elicitation/create", json!({"action": "accept", "content": {"check": true}}));
    client.answer("roots/list", json!({"roots": []}));
    client.send(ABLE.replace('\n', ""));
    client.reply(&json!("init"));
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    Some(client)
}

fn text(reply: &Value) -> &str {
    reply["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{reply}"))
}

/// The methods of the requests that came to the client so far.
fn asked(client: &mut Client) -> Vec<String> {
    client.call(99, "echo", &json!({"message": "the last"}));
    let mut asked = Vec::new();
    while let Some(message) = client.take_unclaimed() {
        if message.get("id").is_some() {
            asked.extend(message["method"].as_str().map(str::to_owned));
        }
    }
    asked
}

#[test]
fn refused_server_request_is_answered_and_the_session_continues() {
    let sandbox = Sandbox::new();
    let Some(mut client) = everything(&sandbox, POLICY) else { return };
    let refused = client.call(1, "trigger-sampling-request", &json!({"prompt": "say something"}));
    assert!(text(&refused).contains("no models here"), "{refused}");
    let filled = client.call(2, "trigger-elicitation-request", &json!({}));
    assert!(!text(&filled).contains("refused"), "{filled}");
    let url = |by_error: bool| json!({"url": "https://example.com/a", "elicitationId": "e", "errorPath": by_error});
    let refused = client.call(3, "trigger-url-elicitation", &url(false));
    assert!(refused.to_string().contains("no links here"), "{refused}");
    let refused = client.call(4, "trigger-url-elicitation", &url(true));
    assert!(text(&refused).contains("no links here"), "{refused}");
    assert_eq!(refused["result"]["isError"], true);

    let asked = asked(&mut client);
    assert!(asked.contains(&"elicitation/create".to_owned()), "{asked:?}");
    let is_forbidden = |method: &String| method.starts_with("sampling/");
    assert!(!asked.iter().any(is_forbidden), "{asked:?}");
    assert_eq!(asked.iter().filter(|method| *method == "elicitation/create").count(), 1);
    client.close();
    let rows = sandbox.rows();
    let decided: Vec<String> = rows
        .iter()
        .filter(|row| row["method"] != "tools/call" && row["method"] != "roots/list")
        .map(|row| format!("{} {}", row["method"], row["decision"]).replace('"', ""))
        .collect();
    let expected = [
        "sampling/createMessage deny",
        "elicitation/create allow",
        "elicitation/create deny",
        "elicitation/create deny",
    ];
    assert_eq!(decided, expected);
    sandbox.assert_log_verifies();
}

/// The same server under a policy that speaks of nothing that servers ask.
#[test]
fn server_requests_without_a_rule_pass() {
    let sandbox = Sandbox::new();
    let silent = "name: silent\nrules: []\ndefault_effect: allow\n";
    let Some(mut client) = everything(&sandbox, silent) else { return };
    let sampled = client.call(1, "trigger-sampling-request", &json!({"prompt": "say something"}));
    assert!(text(&sampled).contains("sampled"), "{sampled}");
    assert!(asked(&mut client).contains(&"sampling/createMessage".to_owned()));
    client.close();
    assert!(sandbox.rows().iter().all(|row| row["method"] == "tools/call"));
}
