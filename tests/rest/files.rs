//! Files that answers lead to: beside the API, behind its credential or a
//! signature in the URL. The providers' own SDKs get them through the gate.

use serde_json::{Value, json};

use crate::flows::{arrived, body, run};
use crate::sdks;
use crate::support::{CREDENTIAL, Recorder, Serve};

/// What signs the recorder's URLs, and nobody may see.
const SECRET: &str = "sEcReT";

/// A gate whose providers are `api`, and whose stores of files are `store`.
fn gate(api: &Recorder, store: &Recorder) -> Serve {
    let there = format!("http://127.0.0.1:{}", store.port);
    let sites = [
        ("slack", &["files.slack.com", "files-origin.slack.com"][..]),
        (
            "github",
            &[
                "raw.githubusercontent.com",
                "codeload.github.com",
                "productionresultssa7.blob.core.windows.net",
            ],
        ),
        ("jira", &["api.media.atlassian.com"]),
        ("notion", &["prod-files-secure.s3.us-west-2.amazonaws.com"]),
        ("linear", &["storage.googleapis.com", "uploads.linear.app"]),
        ("hubspot", &["'*.hubspotusercontent-na1.net'"]),
        ("google", &["lh3.googleusercontent.com"]),
    ];
    let sites = sites.map(|(name, hosts)| {
        let hosts: Vec<String> = hosts.iter().map(|host| format!("{host}: '{there}'")).collect();
        format!(
            "  {name}:\n    upstream: 'http://127.0.0.1:{}'\n    hosts: {{{}}}\n    \
             credential: {{env: REAL_CREDENTIAL}}\n",
            api.port,
            hosts.join(", ")
        )
    });
    Serve::start(&format!("providers:\n{}", sites.concat()), &[])
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

fn key(key: &str) -> String {
    format!("X-Agent-Key: {key}\r\n")
}

#[test]
fn sdks_get_files_and_the_credential_goes_to_file_hosts_only() {
    let (api, store) = (Recorder::start(), Recorder::start());
    let gate = gate(&api, &store);
    // Nothing of the file changes, which looks like an answer.
    let file = r#"{"url": "https://api.github.com/x", "upload_url": "https://files.slack.com/upload/v1/x"}"#;
    for (flow, provider, fetched, with_credential) in [
        ("slack_files", "slack", 8, true),
        ("github_files", "github", 2, false),
        ("jira_files", "jira", 1, false),
        ("notion_files", "notion", 1, false),
        ("hubspot_files", "hubspot", 1, false),
        ("google_files", "google", 1, false),
    ] {
        store.forget();
        let before = gate.log().len();
        // Who may read may fetch.
        let agent = gate.agent(flow, &format!("{provider}_readonly"));
        let base = format!("http://{}/proxy/{provider}", gate.address);
        let Some(said) = run(flow, &base, &agent, None) else { return };
        assert_eq!(said, file, "{flow}: {:?}", gate.log());
        let requests = store.requests();
        assert_eq!(requests.len(), fetched, "{flow}: {requests:?}");
        for request in &requests {
            let headers = request["headers"].to_string();
            assert!(!headers.contains(&agent.key), "{flow}: {headers}");
            assert_eq!(headers.contains(CREDENTIAL), with_credential, "{flow}: {headers}");
        }
        let log = gate.log();
        let rows = &log[..log.len() - before];
        assert!(rows.len() > fetched, "{flow}: each is logged");
        let allowed = |row: &Value| row["intent"] == "read" && row["decision"] == "allow";
        assert!(rows.iter().all(allowed), "{flow}: {rows:?}");
        assert!(!json!(rows).to_string().contains(SECRET), "{flow}");
        // All of it came through the gate.
        assert!(!json!(api.requests()).to_string().contains(&agent.key), "{flow}");
    }
}

#[test]
fn sdks_that_follow_redirects_and_upload_elsewhere_stay_with_the_gate() {
    let Some(python) = sdks::python() else { return };
    let (api, store) = (Recorder::start(), Recorder::start());
    let gate = gate(&api, &store);
    for (sdk, provider, lines) in [
        ("octokit-logs", "github", &["GET /stored/log", "GET /stored/log"][..]),
        ("linear-upload", "linear", &["PUT /uploads.linear.app/stored/f", "GET /stored/f"]),
    ] {
        store.forget();
        let agent = gate.agent(sdk, "allow_all");
        let base = format!("http://{}/proxy/{provider}", gate.address);
        let said = sdks::run(&python, sdk, &base, &agent);
        assert!(said.contains("write: ok"), "{sdk}: {said}");
        assert_eq!(arrived(&store), lines, "{sdk}");
        assert!(!json!(gate.log()).to_string().contains(SECRET), "{sdk}");
    }
    // Who may only read gets no place to upload to.
    store.forget();
    let reader = gate.agent("reader", "linear_readonly");
    let base = format!("http://{}/proxy/linear", gate.address);
    let said = sdks::run(&python, "linear-upload", &base, &reader);
    assert!(said.contains("write: ") && !said.contains("write: ok"), "{said}");
    assert_eq!(arrived(&store), Vec::<String>::new());
}

#[test]
fn an_alias_of_graphql_hides_no_place_to_upload_to() {
    let (api, store) = (Recorder::start(), Recorder::start());
    let gate = gate(&api, &store);
    let agent = gate.agent("a", "allow_all");
    let json = "Content-Type: application/json\r\n";
    let ask = |document: &str| {
        let headers = format!("{}{json}", key(&agent.key));
        let body = json!({ "query": document }).to_string();
        gate.request("POST", "/proxy/linear/graphql", &headers, &body)
    };
    let answer = ask("mutation { fileUpload(size: 5) { uploadFile { u: uploadUrl assetUrl } } }");
    assert!(!answer.body.contains(SECRET) && !answer.body.contains("storage.g"), "{answer:?}");
    let file = parsed(&answer.body)["data"]["fileUpload"]["uploadFile"].clone();
    let start = format!("http://{}", gate.address);
    let path = |name: &str| file[name].as_str().unwrap().strip_prefix(&start).unwrap().to_owned();
    assert!(path("u").starts_with("/proxy/linear/~signed/"), "{file}");
    assert_eq!(gate.request("PUT", &path("u"), "", "hello").status, 200);
    assert_eq!(gate.request("DELETE", &path("u"), "", "").status, 405);
    assert_eq!(path("assetUrl"), "/proxy/linear/uploads.linear.app/stored/f");
    assert_eq!(gate.request("GET", &path("assetUrl"), "", "").status, 401);
    assert_eq!(gate.request("GET", &path("assetUrl"), &key(&agent.key), "").status, 200);
    let [put, got] = <[Value; 2]>::try_from(store.requests()).unwrap();
    assert!(!put["headers"].to_string().contains(CREDENTIAL), "{put}");
    assert!(got["headers"].to_string().contains(CREDENTIAL), "{got}");
    // A query hands out nothing to write to, whoever wrote it there.
    let answer = ask("query { title: fileUpload { uploadFile { u: uploadUrl } } }");
    let url = parsed(&answer.body)["data"]["fileUpload"]["uploadFile"]["u"].clone();
    let path = url.as_str().unwrap().strip_prefix(&start).unwrap();
    assert_eq!(gate.request("PUT", path, "", "hello").status, 405);
    assert_eq!(gate.request("GET", path, "", "").status, 200);
}

#[test]
fn on_a_host_of_files_the_credential_is_for_looking_only() {
    let (api, store) = (Recorder::start(), Recorder::start());
    let gate = gate(&api, &store);
    let agent = gate.agent("a", "allow_all");
    let key = key(&agent.key);
    let at = |path: &str| format!("/proxy/slack/files.slack.com{path}");
    for (method, target, status) in [
        ("POST", at("/upload/v1/x"), 405),
        ("PUT", at("/files-pri/T1-F1/a"), 405),
        ("DELETE", at("/files-pri/T1-F1/a"), 405),
        ("GET", at("/files-pri/../upload/x"), 400),
        ("GET", at("/files-pri/%2e%2e/x"), 400),
        ("GET", "/proxy/slack/files%2Eslack.com/stored/x".to_owned(), 400),
        ("GET", at("/stored/x?_method=DELETE"), 400),
        ("GET", at("/stored/a.json"), 200),
        ("HEAD", at("/stored/a.json"), 200),
        // No host that a path could name otherwise: these are asked of the API.
        ("GET", "/proxy/slack/evil.example/stored/x".to_owned(), 200),
        ("GET", "/proxy/slack/files.slack.com.evil.example/stored/x".to_owned(), 200),
        ("GET", "/proxy/slack/files.slack.com:8443/stored/x".to_owned(), 200),
        ("GET", "/proxy/notion/files.slack.com/stored/x".to_owned(), 200),
        ("GET", "/proxy/slack/uploads.linear.app/stored/x".to_owned(), 200),
    ] {
        let answer = gate.request(method, &target, &key, "");
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
    }
    assert_eq!(arrived(&store), ["GET /stored/a.json", "HEAD /stored/a.json"]);
    assert!(arrived(&api).iter().all(|line| line.contains("/stored/x")), "{:?}", arrived(&api));
    // Policies see the host, and no rule for the API covers it.
    let policy = "name: p\nrules:\n  - {provider: slack, resource: '/api/**', effect: allow}\n";
    let policy = json!({ "name": "p", "yaml": policy }).to_string();
    assert_eq!(gate.admin("POST", "/policies", &policy).status, 200);
    let narrow = format!("X-Agent-Key: {}\r\n", gate.agent("b", "p").key);
    assert_eq!(gate.request("GET", &at("/stored/a.json"), &narrow, "").status, 403);
    let row = &gate.log()[0];
    assert_eq!(row["resource"], "/files.slack.com/stored/a.json");
}

/// What somebody wrote into a message leads nobody anywhere, with a credential or
/// without.
#[test]
fn a_text_in_an_answer_opens_no_way() {
    let (api, store) = (Recorder::start(), Recorder::start());
    let gate = gate(&api, &store);
    let agent = gate.agent("a", "allow_all");
    let answer = gate.request("GET", "/proxy/slack/api/files.info?file=F1", &key(&agent.key), "");
    let file = parsed(&answer.body)["file"].clone();
    assert_eq!(file["permalink"], "https://acme.slack.com/files/F1");
    assert_eq!(file["initial_comment"]["url"], "https://evil.example/x");
    assert!(!answer.body.contains("~signed"), "{answer:?}");
    let upload = file["initial_comment"]["upload_url"].as_str().unwrap();
    let path = upload.strip_prefix(&format!("http://{}", gate.address)).unwrap();
    assert!(path.starts_with("/proxy/slack/files.slack.com/upload/"), "{path}");
    assert_eq!(gate.request("POST", path, &key(&agent.key), "hello").status, 405);
    let answer = gate.request("GET", "/proxy/notion/v1/blocks/1/children", &key(&agent.key), "");
    let blocks = parsed(&answer.body)["results"].clone();
    let own = blocks[0]["file"]["file"]["url"].as_str().unwrap();
    assert!(own.contains("/proxy/notion/~signed/"), "{own}");
    let others = blocks[1]["image"]["external"]["url"].as_str().unwrap();
    assert!(others.starts_with("https://evil.s3.us-west-2.amazonaws.com/"), "{others}");
    assert_eq!(arrived(&store), Vec::<String>::new());
}

/// Forms with files are looked at while they stream: the SDKs' pass, whatever the
/// files are called and hold.
#[test]
fn uploads_in_forms_arrive_as_they_were_sent() {
    let (api, store) = (Recorder::start(), Recorder::start());
    let gate = gate(&api, &store);
    for (flow, provider, said) in [
        ("jira_attach", "jira", "1"),
        ("hubspot_upload", "hubspot", "1"),
        ("notion_upload", "notion", "u"),
        ("slack_upload_v1", "slack", "True"),
    ] {
        api.forget();
        let agent = gate.agent(flow, "allow_all");
        let base = format!("http://{}/proxy/{provider}", gate.address);
        let Some(answer) = run(flow, &base, &agent, None) else { return };
        assert_eq!(answer, said, "{flow}: {:?}", gate.log());
        let requests = api.requests();
        let sent = body(requests.last().unwrap());
        let page = b"<form>\r\n<input name=\"_method\" value=\"delete\">\r\n";
        assert!(sent.len() > 1 << 20 && memchr::memmem::find(&sent, page).is_some(), "{flow}");
        assert!(sent.trim_ascii_end().ends_with(b"--"), "{flow}: it is whole");
    }
}

#[test]
fn a_field_that_overrides_the_method_never_arrives_however_far_behind() {
    let (api, store) = (Recorder::start(), Recorder::start());
    let gate = gate(&api, &store);
    let agent = gate.agent("a", "allow_all");
    let field = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n")
    };
    let send = |kind: &str, body: &str| {
        let headers = format!("{}Content-Type: {kind}; boundary=b\r\n", key(&agent.key));
        gate.request("POST", "/proxy/jira/rest/api/3/issue/X-1/attachments", &headers, body)
    };
    let file = |size: usize| field("name=file; filename=a", &"x".repeat(size));
    let asks = field("name=\"_method\"", "DELETE");
    for (kind, size) in [
        ("multipart/form-data", 1),
        ("multipart/related", 1),
        ("Multipart/Form-Data", 500_000),
        ("multipart/form-data", 3 << 20),
    ] {
        for body in [format!("{asks}{}--b--", file(size)), format!("{}{asks}--b--", file(size))] {
            let answer = send(kind, &body);
            assert_eq!(answer.status, 400, "{kind} {size}: {answer:?}");
            assert_eq!(parsed(&answer.body)["error"], "method_override");
            assert!(answer.head.contains("x-agentgate-decision"), "{answer:?}");
        }
    }
    let large = format!("{}{}--b--", file(3 << 20), field("name=method", "DELETE"));
    assert_eq!(send("multipart/form-data", &large).status, 200);
    // What was broken off never became a request.
    let whole = large.len();
    for request in api.requests() {
        let arrived = body(&request);
        assert!(memchr::memmem::find(&arrived, b"_method").is_none());
        assert!(arrived.len() == whole || !arrived.ends_with(b"--b--"));
    }
    let headers = format!(
        "{}Content-Type: multipart/form-data; boundary=b\r\nContent-Encoding: gzip\r\n",
        key(&agent.key)
    );
    assert_eq!(gate.request("POST", "/proxy/jira/x", &headers, "x").status, 415);
}

/// Whoever asks for a file may get a folder, whose entries have signed URLs.
#[test]
fn asking_for_a_file_hides_no_signature() {
    let (api, store) = (Recorder::start(), Recorder::start());
    let gate = gate(&api, &store);
    let agent = gate.agent("a", "github_readonly");
    for accept in ["application/vnd.github.raw+json", "application/json, application/octet-stream"]
    {
        let headers = format!("{}Accept: {accept}\r\n", key(&agent.key));
        let answer = gate.request("GET", "/proxy/github/repos/a/b/contents/c", &headers, "");
        assert!(!answer.body.contains(SECRET), "{accept}: {answer:?}");
        let entry = parsed(&answer.body);
        assert!(entry["download_url"].as_str().unwrap().contains("/~signed/"), "{entry}");
        // In what may be a file, that is all that changes.
        let own = format!("http://127.0.0.1:{}/", api.port);
        let stays = entry["url"].as_str().unwrap().starts_with(&own);
        assert_eq!(stays, accept.contains("raw"), "{entry}");
    }
}
