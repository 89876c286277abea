//! A server that wants logins, a person with a browser, and the gate.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use agentgate::net::Body;
use agentgate::net::body::hold;
use agentgate::net::client::Client;
use agentgate::oauth::{Challenge, Options, Session};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use serde_json::{Value, json};
use url::Url;

use crate::real::installed;

const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    folder: tempfile::TempDir,
    server: Child,
    /// It dies when nobody listens.
    _words: BufReader<ChildStdout>,
    pub(crate) url: Url,
}

impl Stage {
    /// `None`, with a line that says so, where the real servers are not installed.
    pub(crate) fn set(how: &str, mut options: Value) -> Option<Self> {
        let installed = installed()?;
        let folder = tempfile::tempdir().unwrap();
        options["log"] = json!(folder.path().join("server.log"));
        let browser = source("browser.py");
        let log = folder.path().join("browser.log");
        let opener = folder.path().join("xdg-open");
        let script = format!(
            "#!/bin/sh\nexec python3 '{}' '{}' '{how}' \"$1\"\n",
            browser.display(),
            log.display()
        );
        fs::write(&opener, script).unwrap();
        fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Command::new("node")
            .arg(source("server.mjs"))
            .arg(options.to_string())
            .env("AGENTGATE_REAL", installed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let mut words = BufReader::new(server.stdout.take().unwrap());
        words.read_line(&mut ready).unwrap();
        let ready: Value = serde_json::from_str(&ready).expect("the server is ready");
        let url = ready["url"].as_str().unwrap().parse().unwrap();
        Some(Self { folder, server, _words: words, url })
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The gate's program, with the person's browser in reach.
    pub(crate) fn gate(&self, args: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentgate"));
        command
            .args(args)
            .env("AGENTGATE_HOME", self.home())
            .env("AGENTGATE_LOG", "trace")
            .env("PATH", format!("{}:{path}", self.folder.path().display()))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.gate(args).output().unwrap()
    }

    pub(crate) fn login(&self) -> Output {
        let output = self.run(&["login", self.url.as_str()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        output
    }

    /// A session of this process, which opens no browser.
    pub(crate) fn session(&self, answer_within: Duration) -> Session {
        let options = Options { browser: false, answer_within, ..Options::default() };
        let client = Client::new().unwrap();
        Session::for_url(&self.url, &self.home(), client, options).unwrap()
    }

    /// The person opens `page` by themselves.
    pub(crate) fn visit(&self, page: &str) {
        let log = self.folder.path().join("browser.log");
        let mut browser = Command::new("python3");
        browser.arg(source("browser.py")).arg(log).args(["agree", page]);
        assert!(browser.status().unwrap().success());
    }

    /// Calls a tool as an MCP client does.
    pub(crate) async fn call(
        &self,
        tool: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<String, Challenge> {
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": tool, "arguments": {}},
        });
        let mut request = Request::post(self.url.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(Body::from(call.to_string()))
            .unwrap();
        if let Some(authorization) = &authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = Client::new().unwrap().send(request, TIMEOUT).await.unwrap();
        let (head, body) = answer.into_parts();
        match Challenge::of(head.status, &head.headers, authorization.as_ref()) {
            Some(challenge) => Err(challenge),
            None => Ok(text(&hold(body, 1 << 20, TIMEOUT).await.unwrap())),
        }
    }

    /// The addresses of the pages that were opened.
    pub(crate) fn opened(&self) -> Vec<String> {
        self.told("browser.log", "opened")
    }

    /// The pages that the person came to, with their status.
    pub(crate) fn visited(&self, part: &str) -> Vec<u64> {
        let visits = self.log("browser.log").into_iter();
        let visits = visits.filter(|it| it["address"].as_str().is_some_and(|it| it.contains(part)));
        visits.map(|it| it["status"].as_u64().unwrap()).collect()
    }

    /// The last page's text.
    pub(crate) fn end(&self) -> String {
        self.told("browser.log", "end").pop().unwrap_or_default()
    }

    /// How often the authorization server answered at `route`.
    pub(crate) fn asked(&self, route: &str) -> usize {
        self.told("server.log", "route").iter().filter(|it| *it == route).count()
    }

    /// The tokens that were asked for, by what.
    pub(crate) fn grants(&self) -> Vec<String> {
        self.told("server.log", "grant")
    }

    fn told(&self, log: &str, name: &str) -> Vec<String> {
        let told = self.log(log).into_iter();
        told.filter_map(|it| it.get(name)?.as_str().map(str::to_owned)).collect()
    }

    fn log(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        // The last line may be under way.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The file of the login.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let files = fs::read_dir(self.home().join("logins")).ok()?.flatten();
        files.map(|it| it.path()).find(|it| it.extension().is_some_and(|it| it == "json"))
    }

    pub(crate) fn kept(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file().expect("a login is kept")).unwrap()).unwrap()
    }

    /// Changes the kept login.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&Value) -> Value) {
        let mut kept = self.kept();
        kept[name] = change(&kept[name]);
        fs::write(self.file().unwrap(), kept.to_string()).unwrap();
    }

    /// Lets the kept token look as if it had been given `seconds` earlier.
    pub(crate) fn age(&self, seconds: i64) {
        self.change("received", |received| json!(received.as_i64().unwrap() - seconds));
    }

    /// The server is gone.
    pub(crate) fn end_server(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Everything that must stay secret: tokens, codes, the client's secret.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let kept = self.kept();
        let names = ["access_token", "refresh_token"];
        let mut secrets: Vec<_> =
            names.iter().map(|name| kept[name].as_str().unwrap().to_owned()).collect();
        secrets.extend(kept["client"]["secret"].as_str().map(str::to_owned));
        for visit in self.told("browser.log", "address") {
            let visit: Url = visit.parse().unwrap();
            let code = visit.query_pairs().find(|(name, _)| name == "code");
            secrets.extend(code.map(|(_, code)| code.into_owned()));
        }
        secrets
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/oauth").join(name)
}
