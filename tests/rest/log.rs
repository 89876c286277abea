//! What the log says of a request: what was asked, however it was sent.

use serde_json::{Value, json};

use crate::support::{Recorder, Serve};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

#[test]
fn row_shows_the_request_in_every_encoding() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let iam = |action: &str| json!({"host": "iam.amazonaws.com", "form": {"Action": action}});
    let asked: [(&str, &str, &str, &str, Value); 9] = [
        (
            "POST",
            "slack/chat.postMessage",
            FORM,
            "channel=C1&text=a+b&token=hunter2",
            json!({"form": {"channel": "C1", "text": "a b", "token": "[redacted]"}}),
        ),
        ("POST", "slack/chat.postMessage", JSON, r#"{"text":"hi"}"#, json!({"text": "hi"})),
        ("POST", "aws/iam/", FORM, "Action=ListUsers", iam("ListUsers")),
        ("POST", "aws/iam/", FORM, "Action=DeleteUser", iam("DeleteUser")),
        (
            "GET",
            "github/search/code?q=x&page=1&page=2&access_token=hunter2",
            "",
            "",
            json!({"query": {"q": "x", "page": ["1", "2"], "access_token": "[redacted]"}}),
        ),
        ("GET", "github/search/code?q=y", "", "", json!({"query": {"q": "y"}})),
        (
            "POST",
            "linear/graphql",
            JSON,
            r#"[{"query":"{ viewer { id } }"}]"#,
            json!({"body": [{"query": "{ viewer { id } }"}]}),
        ),
        (
            "POST",
            "linear/graphql?query=%7Bviewer%7Bid%7D%7D",
            JSON,
            "{}",
            json!({"query": {"query": "{viewer{id}}"}, "body": {}}),
        ),
        ("GET", "github/user", "", "", Value::Null),
    ];
    for (method, path, kind, body, _) in &asked {
        let kind = match kind.is_empty() {
            true => String::new(),
            false => format!("Content-Type: {kind}\r\n"),
        };
        let headers = format!("X-Agent-Key: {}\r\n{kind}", agent.key);
        let answer = gate.request(method, &format!("/proxy/{path}"), &headers, body);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let mut rows = gate.log();
    rows.reverse();
    let shown: Vec<_> = rows.iter().map(|row| row["args"].clone()).collect();
    let expected: Vec<_> = asked.into_iter().map(|(.., args)| args).collect();
    assert_eq!(shown, expected);
    assert!(!json!(rows).to_string().contains("hunter2"));
    let mut digests: Vec<_> = rows.iter().map(|row| row["args_digest"].to_string()).collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), rows.len());
}
