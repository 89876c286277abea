//! The providers' own SDKs through whole flows: what was written in several
//! requests, some of them to where an answer says, all comes through the gate.

use std::net::TcpListener;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::sdks::python;
use crate::support::{Agent, Recorder, Serve, helper};

/// A port that is free, for what the SDK's own process will put there.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn run(flow: &str, base: &str, agent: &Agent, tls: Option<u16>) -> Option<String> {
    let output = Command::new(python()?)
        .arg(helper("flows.py"))
        .args([flow, base, &agent.key, &agent.aws[0], &agent.aws[1]])
        .args(tls.map(|port| port.to_string()))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(!said.is_empty(), "{flow}: {errors}");
    Some(said)
}

pub(crate) fn body(request: &Value) -> Vec<u8> {
    STANDARD.decode(request["body"].as_str().unwrap()).unwrap()
}

/// What arrived, as `METHOD target`.
pub(crate) fn arrived(recorder: &Recorder) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let requests = recorder.requests();
    let lines = requests.iter().map(|one| text(&one["method"]) + " " + &text(&one["target"]));
    lines.map(|line| line.split('?').next().unwrap().to_owned()).collect()
}

#[test]
fn uploads_and_pages_follow_the_answers_through_the_gate() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let session = "/v1.0/me/drive/root:/a.bin:/createUploadSession";
    for (flow, provider, said, lines) in [
        (
            "slack_upload",
            "slack",
            "True",
            vec![
                "POST /api/files.getUploadURLExternal",
                "POST /upload/v1/sEcReT",
                "POST /api/files.completeUploadExternal",
            ],
        ),
        (
            "graph_upload",
            "microsoft",
            "sent",
            vec![&*format!("POST {session}"), "PUT /_api/up", "PUT /_api/up"],
        ),
        ("graph_pages", "microsoft", "['m1', 'm2', 'm3']", vec!["GET /v1.0/me/messages"; 3]),
        (
            "github_pages",
            "github",
            "[1, 2, 3]",
            vec![
                "GET /repos/a/b",
                "GET /repos/a/b/issues",
                "GET /repos/a/b/issues",
                "GET /repos/a/b/issues",
            ],
        ),
        (
            "jira_pages",
            "jira",
            "['X-0', 'X-1', 'X-2']",
            vec![
                "GET /rest/api/2/field",
                "GET /rest/api/2/search",
                "GET /rest/api/2/search",
                "GET /rest/api/2/search",
            ],
        ),
    ] {
        recorder.forget();
        let rows = gate.log().len();
        let base = format!("http://{}/proxy/{provider}", gate.address);
        let Some(answer) = run(flow, &base, &agent, None) else { return };
        assert_eq!(answer, said, "{flow}");
        assert_eq!(arrived(&recorder), lines, "{flow}");
        let log = gate.log();
        assert_eq!(log.len() - rows, lines.len(), "{flow}: each is logged");
        assert!(!serde_json::to_string(&log).unwrap().contains("sEcReT"));
    }
}

#[test]
fn an_upload_under_a_policy_that_reads_ends_where_it_begins() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    for (flow, provider) in [("slack_upload", "slack"), ("graph_upload", "microsoft")] {
        let agent = gate.agent(flow, &format!("{provider}_readonly"));
        let base = format!("http://{}/proxy/{provider}", gate.address);
        let Some(said) = run(flow, &base, &agent, None) else { return };
        assert!(said.starts_with("refused: "), "{said}");
        assert!(said.contains("access_denied") || said.contains("403"), "{said}");
    }
    assert_eq!(arrived(&recorder), Vec::<String>::new());
}

/// Google's library keeps nothing of its endpoint but the host where it uploads,
/// and insists on `https`: what there is a listener and a public URL for.
#[test]
fn google_uploads_downloads_and_batches_at_a_listener_behind_tls() {
    let recorder = Recorder::start();
    let port = free_port();
    let gate = Serve::start(
        &format!(
            "providers:\n  google:\n    upstream: 'http://127.0.0.1:{}'\n    credential: {{env: REAL_CREDENTIAL}}\n    \
             listen: '127.0.0.1:0'\n    public_url: 'https://localhost:{port}'\n",
            recorder.port
        ),
        &[],
    );
    let agent = gate.agent("a", "allow_all");
    let base = format!("http://{}", gate.listener("google"));
    let file = format!("{{\"url\": \"http://127.0.0.1:{}/x\"}}", recorder.port);
    for (flow, said, lines) in [
        (
            "google_upload",
            "f1",
            &[
                "POST /upload/drive/v3/files",
                "PUT /upload/drive/v3/files",
                "PUT /upload/drive/v3/files",
            ][..],
        ),
        ("google_multipart", "f1", &["POST /upload/drive/v3/files"]),
        ("google_download", &file, &["GET /drive/v3/files/f1"]),
        ("google_batch_reads", "['e', 'e']", &["POST /batch/calendar/v3"]),
    ] {
        recorder.forget();
        let Some(answer) = run(flow, &base, &agent, Some(port)) else { return };
        assert_eq!(answer, said, "{flow}: {:?}", gate.log());
        let lines_there = arrived(&recorder);
        assert!(lines_there.iter().all(|line| lines.contains(&&**line)), "{flow}: {lines_there:?}");
        assert!(!lines_there.is_empty());
    }
    let reader = gate.agent("b", "google_readonly");
    recorder.forget();
    let Some(read) = run("google_batch_reads", &base, &reader, Some(port)) else { return };
    assert_eq!(read, "['e', 'e']");
    recorder.forget();
    for flow in ["google_batch_with_delete", "google_upload", "google_multipart"] {
        let Some(said) = run(flow, &base, &reader, Some(port)) else { return };
        assert!(said.starts_with("refused: ") && said.contains("HttpError 403"), "{said}");
    }
    assert_eq!(arrived(&recorder), Vec::<String>::new(), "one refused member refuses all");
}

#[test]
fn objects_go_to_s3_whole_in_parts_and_with_checksums_behind() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let base = format!("http://{}/proxy/aws", gate.address);
    let large: Vec<u8> = (0..1_600).flat_map(|_| 0..=255_u8).collect();
    let header = |request: &Value, name: &str| {
        let headers = request["headers"].as_array().unwrap();
        let found = headers.iter().find(|pair| pair[0] == name);
        found.map(|pair| pair[1].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    let Some(said) = run("s3_put", &base, &agent, None) else { return };
    assert_eq!(said, "sent", "{:?}", gate.log());
    let [put] = <[Value; 1]>::try_from(recorder.requests()).unwrap();
    assert_eq!(body(&put), large);
    assert!(header(&put, "authorization").contains("Credential=AKIAREAL"));
    // Behind TLS the body comes in pieces, with the checksum behind it.
    recorder.forget();
    assert_eq!(run("s3_put", &base, &agent, Some(free_port())).unwrap(), "sent");
    let [put] = <[Value; 1]>::try_from(recorder.requests()).unwrap();
    assert_eq!(header(&put, "x-amz-content-sha256"), "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    assert_eq!(header(&put, "content-encoding"), "aws-chunked");
    let text = body(&put);
    assert!(text.len() > large.len() && text.ends_with(b"\r\n\r\n"), "{}", text.len());
    assert!(memchr::memmem::find(&text, b"x-amz-checksum-sha256:").is_some());
    recorder.forget();
    assert_eq!(run("s3_multipart", &base, &agent, None).unwrap(), "sent");
    let sent: Vec<String> = arrived(&recorder);
    assert_eq!(sent, ["POST /bucket/a", "PUT /bucket/a", "PUT /bucket/a", "POST /bucket/a"]);
    let sizes: Vec<usize> = recorder.requests().iter().map(|one| body(one).len()).collect();
    assert_eq!((sizes[1], sizes[2]), (5 << 20, 1 << 20));
    recorder.forget();
    assert_eq!(run("s3_presigned", &base, &agent, None).unwrap(), "sent");
    let [get, put] = <[Value; 2]>::try_from(recorder.requests()).unwrap();
    assert_eq!(get["target"], "/bucket/a%20b/c%2Bd?versionId=v%3D1");
    assert_eq!((&put["target"], body(&put)), (&"/bucket/a%20b/c%2Bd".into(), large));
    assert!(header(&put, "authorization").contains("Credential=AKIAREAL"));
    // A policy that reads lets nothing of it through.
    let reader = gate.agent("b", "aws_readonly");
    recorder.forget();
    for flow in ["s3_put", "s3_multipart"] {
        let said = run(flow, &base, &reader, None).unwrap();
        assert!(said.starts_with("refused: "), "{said}");
    }
    assert_eq!(arrived(&recorder), Vec::<String>::new());
}
