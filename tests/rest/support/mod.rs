//! A gate with a home of its own, an upstream that records, and raw requests.

#[cfg(feature = "aws")]
pub(crate) mod aws;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use crate::raw::{Answer, exchange};
pub(crate) use crate::wait::{TIMEOUT, eventually};

pub(crate) const MASTER: &str = "a master key for tests";

/// The real credential, which the gate puts in.
pub(crate) const CREDENTIAL: &str = "the-real-credential";

/// `agentgate serve`, killed at the end of the test.
pub(crate) struct Serve {
    pub(crate) home: TempDir,
    pub(crate) address: SocketAddr,
    /// What it said before it listened.
    said: String,
    /// What it said since.
    later: Arc<Mutex<String>>,
    process: Child,
}

/// An upstream that records; killed at the end of the test.
pub(crate) struct Recorder {
    folder: TempDir,
    pub(crate) port: u16,
    process: Child,
}

/// An agent and its keys.
pub(crate) struct Agent {
    pub(crate) key: String,
    pub(crate) aws: [String; 2],
}

pub(crate) fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

pub(crate) fn helper(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rest/helpers").join(name)
}

impl Recorder {
    pub(crate) fn start() -> Self {
        Self::handing_out(None)
    }

    /// One whose pre-authenticated URLs begin with `uploads`.
    pub(crate) fn handing_out(uploads: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, port) = Self::spawn(folder.path(), uploads, 0);
        Self { folder, port, process }
    }

    fn spawn(folder: &Path, uploads: Option<&str>, port: u16) -> (Child, u16) {
        let mut process = Command::new(python())
            .arg(helper("recorder.py"))
            .arg(folder.join("requests.jsonl"))
            .args(uploads)
            .env("PORT", port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        (process, port.trim().parse().unwrap())
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it anew where it was.
    pub(crate) fn revive(&mut self) {
        (self.process, _) = Self::spawn(self.folder.path(), None, self.port);
    }

    /// What arrived so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("requests.jsonl"));
        let text = text.unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn forget(&self) {
        std::fs::write(self.folder.path().join("requests.jsonl"), "").unwrap();
    }
}

impl Serve {
    /// A gate with this configuration file.
    pub(crate) fn start(configuration: &str, arguments: &[&str]) -> Self {
        Self::under(":", configuration, arguments)
    }

    /// The same, after this shell command: `ulimit` in most cases.
    pub(crate) fn under(limits: &str, configuration: &str, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config.yaml"), configuration).unwrap();
        let mut process = at_home(Command::new("sh"), home.path())
            .args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")])
            .args([env!("CARGO_BIN_EXE_agentgate"), "serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said}")).unwrap();
            if let Some(address) = line.strip_prefix("agentgate: serving on http://") {
                break address.parse().unwrap();
            }
            said.push_str(&line);
            said.push('\n');
        };
        let later = Arc::new(Mutex::new(String::new()));
        let hears = Arc::clone(&later);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                hears.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { home, address, said, later, process }
    }

    /// What it said on standard error since it served.
    pub(crate) fn said(&self) -> String {
        self.later.lock().unwrap().clone()
    }

    /// A gate that sends everything to `recorder`.
    pub(crate) fn in_front_of(recorder: &Recorder) -> Self {
        Self::start(&sites(recorder), &[])
    }

    /// Where the provider's own listener is.
    pub(crate) fn listener(&self, provider: &str) -> &str {
        let start = format!("agentgate: {provider} on http://");
        self.said.lines().find_map(|line| line.strip_prefix(&start)).unwrap()
    }

    pub(crate) fn agent(&self, name: &str, policy: &str) -> Agent {
        let body = format!(r#"{{"name":"{name}","policy":"{policy}"}}"#);
        let made = self.admin("POST", "/agents", &body);
        assert_eq!(made.status, 200, "{made:?}");
        let agent: Value = serde_json::from_str(&made.body).unwrap();
        let text = |name: &str| agent[name].as_str().unwrap().to_owned();
        Agent {
            key: text("api_key"),
            aws: [text("aws_access_key_id"), text("aws_secret_access_key")],
        }
    }

    pub(crate) fn admin(&self, method: &str, target: &str, body: &str) -> Answer {
        let headers = format!("X-Master-Key: {MASTER}\r\nContent-Type: application/json\r\n");
        self.request(method, target, &headers, body)
    }

    /// A request with these header lines; length and `Connection: close` are added.
    pub(crate) fn request(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        self.request_at(self.address, method, target, headers, body)
    }

    /// The same, to another listener; a `Host` that comes first is sent as it is.
    pub(crate) fn request_at(
        &self,
        address: SocketAddr,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> Answer {
        let (length, host) = (body.len(), address);
        let host = match headers.starts_with("Host: ") {
            true => String::new(),
            false => format!("Host: {host}\r\n"),
        };
        exchange(
            address,
            format!(
                "{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    }

    /// Sends bytes as they are and reads to the end.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Answer {
        exchange(self.address, bytes)
    }

    /// The rows of the log, newest first.
    pub(crate) fn log(&self) -> Vec<Value> {
        let logs = self.admin("GET", "/audit/logs?limit=1000", "");
        let logs: Value = serde_json::from_str(&logs.body).unwrap();
        logs["logs"].as_array().unwrap().clone()
    }

    pub(crate) fn process(&mut self) -> &mut Child {
        &mut self.process
    }
}

/// `agentgate` with a home of its own and nothing else of ours.
pub(crate) fn command(home: &Path) -> Command {
    at_home(Command::new(env!("CARGO_BIN_EXE_agentgate")), home)
}

/// A configuration in which every provider is `recorder`.
pub(crate) fn sites(recorder: &Recorder) -> String {
    let site = format!(
        "{{upstream: 'http://127.0.0.1:{}', credential: {{env: REAL_CREDENTIAL}}}}",
        recorder.port
    );
    let names = "google microsoft slack github jira notion linear hubspot salesforce aws";
    let sites = names.split(' ').map(|name| format!("  {name}: {site}\n"));
    format!("providers:\n{}", sites.collect::<String>())
}

fn at_home(mut command: Command, home: &Path) -> Command {
    command
        .env("AGENTGATE_HOME", home)
        .env("AGENTGATE_MASTER_KEY", MASTER)
        .env("REAL_CREDENTIAL", CREDENTIAL)
        .env("AWS_ACCESS_KEY_ID", "AKIAREALREALREALREAL")
        .env("AWS_SECRET_ACCESS_KEY", CREDENTIAL)
        .env_remove("AWS_SESSION_TOKEN");
    command
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
