//! Pre-authenticated URLs: no agent sees one, what goes to one comes through the
//! gate, and a signed path is good for what it was made for.

use agentgate::rest::ticket::{Ticket, TicketSealer};
use agentgate::store::Options;
use agentgate::store::agents::Registry;
use agentgate::store::directory::Directory;
use serde_json::{Value, json};

use crate::support::{CREDENTIAL, Recorder, Serve, eventually};

const MINT: &str = "/proxy/slack/api/files.getUploadURLExternal?filename=a.txt&length=5";

/// What the recorder's pre-authenticated URLs hold, and nobody may see.
const SECRET: &str = "sEcReT";

fn key(key: &str) -> String {
    format!("X-Agent-Key: {key}\r\n")
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

/// A gate whose Slack is `api`, and whose `files.slack.com` is `files`.
fn gate(api: &Recorder, files: &Recorder, more: &str) -> Serve {
    let (api, files) = (api.port, files.port);
    Serve::start(
        &format!(
            "{more}providers:\n  slack:\n    upstream: 'http://127.0.0.1:{api}'\n    \
             hosts: {{files.slack.com: 'http://127.0.0.1:{files}'}}\n    \
             credential: {{env: REAL_CREDENTIAL}}\n    listen: '127.0.0.1:0'\n    \
             public_url: https://slack.gate.example\n"
        ),
        &[],
    )
}

/// The path that the agent is given to upload to.
fn signed_path(gate: &Serve, key: &str) -> String {
    let answer = gate.request("POST", MINT, &self::key(key), "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.body.contains(SECRET) && !answer.body.contains("files.slack"), "{answer:?}");
    let url = parsed(&answer.body)["upload_url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix(&format!("http://{}", gate.address)).unwrap();
    assert!(path.starts_with("/proxy/slack/~signed/"), "{path}");
    path.to_owned()
}

#[test]
fn an_upload_comes_through_is_logged_and_takes_no_credential_along() {
    let (api, files) = (Recorder::handing_out(Some("https://files.slack.com")), Recorder::start());
    let gate = gate(&api, &files, "");
    let agent = gate.agent("a", "allow_all");
    let path = signed_path(&gate, &agent.key);
    // Nothing reads it, so a form that is none and a size beyond the limit pass.
    let large = format!("_method=DELETE&{}", "x".repeat(2 << 20));
    let form = "Content-Type: application/x-www-form-urlencoded\r\nX-Custom: kept\r\n";
    let sent = gate.request("POST", &path, form, &large);
    assert_eq!((sent.status, sent.body.as_str()), (200, "OK - 5"), "{sent:?}");
    // Some clients send their credential along.
    let with_key = format!("Authorization: Bearer {}\r\nCookie: a=b\r\n", agent.key);
    assert_eq!(gate.request("POST", &path, &with_key, "hello").status, 200);
    let arrived = files.requests();
    assert_eq!(arrived.len(), 2);
    for request in &arrived {
        assert_eq!(request["target"], format!("/upload/v1/{SECRET}?t={SECRET}"));
        let headers = request["headers"].to_string();
        for private in ["authorization", "cookie", &agent.key, CREDENTIAL] {
            assert!(!headers.contains(private), "{headers}");
        }
    }
    assert!(arrived[0]["headers"].to_string().contains("kept"));
    assert_eq!(arrived[0]["body"].as_str().unwrap().len(), large.len().div_ceil(3) * 4);
    let log = gate.log();
    assert_eq!(log.len(), 3);
    for row in &log {
        let (resource, outcome) = (&row["resource"], &row["outcome"]);
        assert_eq!(
            (resource, outcome),
            (&json!("/api/files.getUploadURLExternal"), &json!("forwarded"))
        );
        assert_eq!((&row["agent"], &row["intent"]), (&json!("a"), &json!("create")));
    }
    assert!(!json!(log).to_string().contains(SECRET));
}

#[test]
fn signed_path_is_valid_for_its_purpose_only() {
    let (api, files) = (Recorder::handing_out(Some("https://files.slack.com")), Recorder::start());
    let gate = gate(&api, &files, "");
    let agent = gate.agent("a", "allow_all");
    let other = gate.agent("b", "allow_all");
    let path = signed_path(&gate, &agent.key);
    let (start, token) = path.rsplit_once('/').unwrap();
    let flipped = |at: usize| {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        format!("{start}/{}", String::from_utf8(bytes).unwrap())
    };
    let before = gate.log().len();
    let others_key = key(&other.key);
    for (method, target, headers, status) in [
        ("POST", flipped(0), "", 403),
        ("POST", flipped(token.len() / 2), "", 403),
        ("POST", format!("{start}/"), "", 403),
        ("POST", path.replace("/slack/", "/microsoft/"), "", 403),
        ("POST", format!("{path}/more"), "", 403),
        ("POST", path.clone(), others_key.as_str(), 403),
        ("POST", path.clone(), "X-Agent-Key: ag_wrong\r\n", 403),
        ("POST", format!("{path}?more=1"), "", 400),
        ("POST", path.clone(), "X-HTTP-Method-Override: DELETE\r\n", 400),
        ("DELETE", path.clone(), "", 405),
        ("GET", path.clone(), "", 405),
    ] {
        let answer = gate.request(method, &target, headers, "hello");
        assert_eq!(answer.status, status, "{method} {target} {headers}: {answer:?}");
        assert!(answer.head.contains("x-agentgate-decision"), "{answer:?}");
        assert!(!answer.body.contains(SECRET));
    }
    let log = gate.log();
    let refused = &log[..log.len() - before];
    // Forgeries share one row a minute and source; the others have one each.
    assert_eq!(refused.len(), 1 + 4, "{refused:?}");
    assert!(refused.iter().all(|row| row["decision"] == "deny"), "{refused:?}");
    assert_eq!(files.requests(), Vec::<Value>::new());
    assert_eq!(gate.request("POST", &path, &key(&agent.key), "hello").status, 200);
}

#[test]
fn the_policy_the_limit_and_the_registration_hold_when_it_is_used() {
    let (api, files) = (Recorder::handing_out(Some("https://files.slack.com")), Recorder::start());
    let gate = gate(&api, &files, "");
    let policy = |rule: &str| {
        let yaml = format!("name: p\nrules:\n  - {rule}\nrate_limit: {{requests_per_minute: 4}}\n");
        let put =
            gate.admin("PUT", "/policies/p", &json!({ "name": "p", "yaml": yaml }).to_string());
        assert_eq!(put.status, 200, "{put:?}");
    };
    policy("{provider: slack, resource: '/api/files.*', effect: allow}");
    let agent = gate.agent("a", "p");
    let path = signed_path(&gate, &agent.key);
    let upload = || gate.request("POST", &path, "", "hello");
    assert_eq!(upload().status, 200);
    policy("{intent: read, effect: allow}");
    let refused = upload();
    assert_eq!((refused.status, &parsed(&refused.body)["error"]), (403, &json!("access_denied")));
    policy("{provider: slack, intent: create, effect: allow}");
    assert_eq!((upload().status, upload().status), (200, 429));
    let agents = parsed(&gate.admin("GET", "/agents", "").body);
    let id = agents[0]["agent_id"].as_str().unwrap().to_owned();
    assert_eq!(gate.admin("DELETE", &format!("/agents/{id}"), "").status, 200);
    assert_eq!(upload().status, 403);
    // Another of that name is another.
    gate.agent("a", "allow_all");
    assert_eq!(upload().status, 403);
    assert_eq!(files.requests().len(), 2);
}

#[test]
fn a_signed_path_ends_with_the_key_that_it_was_made_under() {
    let (api, files) = (Recorder::handing_out(Some("https://files.slack.com")), Recorder::start());
    let gate = gate(&api, &files, "");
    let agent = gate.agent("a", "allow_all");
    let agents = parsed(&gate.admin("GET", "/agents", "").body);
    let id = agents[0]["agent_id"].as_str().unwrap().to_owned();
    let rotate = |grace: &str| {
        let answer = gate.admin("POST", &format!("/agents/{id}/rotate-key{grace}"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        parsed(&answer.body)["api_key"].as_str().unwrap().to_owned()
    };
    let upload = |path: &str| gate.request("POST", path, "", "hello").status;
    let first = signed_path(&gate, &agent.key);
    assert_eq!(upload(&first), 200);
    // Without grace at once, whoever sends it.
    let second_key = rotate("");
    assert_eq!(upload(&first), 403);
    assert_eq!(gate.request("POST", &first, &key(&second_key), "hello").status, 403);
    let second = signed_path(&gate, &second_key);
    // With grace for as long as the key is good.
    let third_key = rotate("?grace=10m");
    assert_eq!(upload(&second), 200);
    let third = signed_path(&gate, &third_key);
    rotate("?grace_seconds=1");
    eventually("the grace of the third key ends", || upload(&third) == 403);
    // The last rotation cut the grace of those before short, too.
    assert_eq!(upload(&second), 403);
    assert!(gate.log().iter().all(|row| !row.to_string().contains(SECRET)));
}

#[test]
fn even_with_the_key_of_the_seals_only_the_providers_own_hosts_can_be_reached_and_not_for_long() {
    let (api, files) = (Recorder::handing_out(Some("https://files.slack.com")), Recorder::start());
    let stranger = Recorder::start();
    let gate = gate(&api, &files, "");
    let agent = gate.agent("a", "allow_all");
    let agents = parsed(&gate.admin("GET", "/agents", "").body);
    let database = gate.home.path().join("agentgate.db");
    let directory = Directory::open(Registry::new(&database, &Options::default())).unwrap();
    let key_id = directory.holder(&agent.key).unwrap().key_id;
    let seals = TicketSealer::new(&directory.path_key()).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let status = |url: &str, until: i64| {
        let ticket = Ticket {
            agent_id: agents[0]["agent_id"].as_str().unwrap().to_owned(),
            key_id: key_id.to_string(),
            provider: "slack".to_owned(),
            methods: vec!["POST".to_owned()],
            until,
            url: url.to_owned(),
            path: "/api/files.getUploadURLExternal".to_owned(),
        };
        let target = format!("/proxy/slack/~signed/{}", seals.seal(&ticket).unwrap());
        gate.request("POST", &target, "", "hello").status
    };
    let (good, soon) = ("https://files.slack.com/upload/v1/x", now + 60);
    assert_eq!(status(good, soon), 200);
    assert_eq!(status(good, now), 403);
    for foreign in [
        format!("http://127.0.0.1:{}/upload/v1/x", stranger.port),
        "https://slack.com/api/chat.delete".to_owned(),
        "https://files.slack.com/files-pri/T-F/a.png".to_owned(),
        "https://files.slack.com/upload/../files-pri/T-F/a.png".to_owned(),
        "http://files.slack.com/upload/v1/x".to_owned(),
        "https://files.slack.com@127.0.0.1/upload/v1/x".to_owned(),
        "nonsense".to_owned(),
    ] {
        assert_eq!(status(&foreign, soon), 400, "{foreign}");
    }
    assert_eq!(
        (files.requests().len(), stranger.requests().len(), api.requests().len()),
        (1, 0, 0)
    );
}

#[test]
fn clients_are_led_to_where_they_see_the_gate() {
    let (api, files) = (Recorder::handing_out(Some("https://files.slack.com")), Recorder::start());
    let gate = gate(&api, &files, "public_url: https://gate.example/agents\n");
    let agent = gate.agent("a", "allow_all");
    let answer = gate.request("POST", MINT, &key(&agent.key), "");
    let url = parsed(&answer.body)["upload_url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("https://gate.example/agents").unwrap();
    assert_eq!(gate.request("POST", path, "", "hello").status, 200);
    // The provider's own listener is seen elsewhere.
    let listener = gate.listener("slack").parse().unwrap();
    let target = MINT.strip_prefix("/proxy/slack").unwrap();
    let answer = gate.request_at(listener, "POST", target, &key(&agent.key), "");
    let url = parsed(&answer.body)["upload_url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("https://slack.gate.example").unwrap();
    assert!(path.starts_with("/~signed/"), "{path}");
    assert_eq!(gate.request_at(listener, "POST", path, "", "hello").status, 200);
    assert_eq!(files.requests().len(), 2);
}

#[test]
fn a_host_that_is_none_is_refused_and_a_part_of_an_answer_is_not_asked_for() {
    let (api, files) = (Recorder::handing_out(Some("https://files.slack.com")), Recorder::start());
    let gate = gate(&api, &files, "");
    let agent = gate.agent("a", "allow_all");
    for host in ["a\",\"x\":\"b", "gate@evil.example", "a/b"] {
        let headers = format!("Host: {host}\r\n{}", key(&agent.key));
        assert_eq!(gate.request("POST", MINT, &headers, "").status, 400, "{host}");
    }
    let headers = format!("Range: bytes=60-\r\nAccept-Encoding: gzip\r\n{}", key(&agent.key));
    assert_eq!(gate.request("POST", MINT, &headers, "").status, 200);
    let [arrived] = <[Value; 1]>::try_from(api.requests()).unwrap();
    let headers = arrived["headers"].to_string();
    assert!(!headers.contains("range") && !headers.contains("gzip"), "{headers}");
}

/// Services of Google and AWS are each where the configuration says.
#[test]
fn each_service_is_sent_to_its_own_host() {
    let (gmail, rest, s3, sqs) =
        (Recorder::start(), Recorder::start(), Recorder::start(), Recorder::start());
    let gate = Serve::start(
        &format!(
            "providers:\n  google:\n    upstream: 'http://127.0.0.1:{}'\n    hosts: {{gmail: 'http://127.0.0.1:{}'}}\n    \
             credential: {{env: REAL_CREDENTIAL}}\n  aws:\n    upstream: 'http://127.0.0.1:{}'\n    hosts:\n      s3: 'http://127.0.0.1:{}'\n      sqs.eu-west-1: 'http://127.0.0.1:{}/queues'\n",
            rest.port, gmail.port, rest.port, s3.port, sqs.port
        ),
        &[],
    );
    let key = key(&gate.agent("a", "allow_all").key);
    for target in [
        "/proxy/google/gmail/v1/users/me/messages",
        "/proxy/google/gmail.googleapis.com/gmail/v1/users/me/labels",
        "/proxy/google/drive/v3/files",
        "/proxy/aws/s3/bucket?list-type=2",
        "/proxy/aws/iam/",
    ] {
        let answer = gate.request("GET", target, &key, "");
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
    }
    let targets = |recorder: &Recorder| -> Vec<String> {
        let requests = recorder.requests();
        requests.iter().map(|request| request["target"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(targets(&gmail), ["/gmail/v1/users/me/messages", "/gmail/v1/users/me/labels"]);
    assert_eq!(targets(&s3), ["/bucket?list-type=2"]);
    assert_eq!(targets(&rest), ["/drive/v3/files", "/"]);
    assert_eq!(targets(&sqs), Vec::<String>::new(), "no other region's");
}
