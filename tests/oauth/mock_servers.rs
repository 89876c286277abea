//! Mock servers that reply as a test wants, and a browser that opens the URLs it is given.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use agentgate::net::client::Client;
use agentgate::oauth::{Options, Session};
use serde_json::{Value, json};
use url::Url;

/// A request that a server received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Head and body.
    pub(crate) whole: String,
}

impl Received {
    pub(crate) fn body(&self) -> &str {
        self.whole.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// What a server replies.
pub(crate) enum Reply {
    /// These bytes.
    Whole(String),
    /// These bytes, followed by endless data.
    Endless(String),
}

/// A local mock server, MCP server and authorization server in one.
pub(crate) struct MockServer {
    pub(crate) url: Url,
    asked: Arc<Mutex<Vec<Received>>>,
    home: tempfile::TempDir,
}

/// How a login ended.
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    /// Both outputs.
    pub(crate) told: String,
    /// The page that was to be opened.
    pub(crate) page: Option<Url>,
    /// What the callback answered to each visit.
    pub(crate) visits: Vec<String>,
}

impl MockServer {
    /// A server that replies as the specifications require.
    pub(crate) fn honest() -> Self {
        Self::replying(|_, _| None)
    }

    /// A server that replies what `says` returns, and as an honest one where that is `None`.
    /// `says` is given the server's own address.
    pub(crate) fn replying(
        says: impl Fn(&Url, &Received) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let url: Url = url.parse().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, base, says) = (Arc::clone(&asked), url.join("/").unwrap(), Arc::new(says));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, base, says) = (Arc::clone(&seen), base.clone(), Arc::clone(&says));
                thread::spawn(move || {
                    let Some(asked) = read(&stream) else { return };
                    seen.lock().unwrap().push(asked.clone());
                    let said = says(&base, &asked);
                    say(stream, said.unwrap_or_else(|| honest(&base, &asked)));
                });
            }
        });
        Self { url, asked, home: tempfile::tempdir().unwrap() }
    }

    /// The requests received whose targets begin with `target`.
    pub(crate) fn asked(&self, target: &str) -> Vec<Received> {
        let all = self.asked.lock().unwrap();
        all.iter().filter(|asked| asked.target.starts_with(target)).cloned().collect()
    }

    /// Logs in; the browser does not come back.
    pub(crate) fn login(&self, arguments: &[&str]) -> Ended {
        self.login_with(arguments, |_| Vec::new())
    }

    /// Logs in; the browser opens the URLs that `browser` returns, all at once.
    pub(crate) fn login_with(
        &self,
        arguments: &[&str],
        browser: impl FnOnce(&Url) -> Vec<String>,
    ) -> Ended {
        let mut gate = Command::new(env!("CARGO_BIN_EXE_agentgate"));
        gate.args(["login", "--no-browser", "--timeout", "2s"])
            .args(arguments)
            .arg(self.url.as_str())
            .env("AGENTGATE_HOME", self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut gate = gate.spawn().unwrap();
        let mut browser = Some(browser);
        let (mut told, mut page, mut visits) = (String::new(), None, Vec::new());
        for line in BufReader::new(gate.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some((_, address)) = line.split_once(", open ") {
                let address: Url = address.parse().unwrap();
                if let Some(browser) = browser.take() {
                    let visit = |address: String| thread::spawn(move || visit(&address));
                    visits = browser(&address).into_iter().map(visit).collect();
                }
                page = Some(address);
            }
            told.push_str(&line);
            told.push('\n');
        }
        let output = gate.wait_with_output().unwrap();
        told.push_str(&String::from_utf8_lossy(&output.stdout));
        let visits = visits.into_iter().map(|visit| visit.join().unwrap()).collect();
        Ended { status: output.status.code(), told, page, visits }
    }

    /// A session of this process with the login that is kept.
    pub(crate) fn session(&self) -> Session {
        let options = Options { browser: false, ..Options::default() };
        Session::for_url(&self.url, self.home.path(), Client::new().unwrap(), options).unwrap()
    }

    /// The file of the login.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let files = fs::read_dir(self.home.path().join("logins")).ok()?.flatten();
        files.map(|it| it.path()).find(|it| it.extension().is_some_and(|it| it == "json"))
    }

    /// The login that is kept.
    pub(crate) fn kept(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file().unwrap()).unwrap()).unwrap()
    }

    /// Lets the kept token look as if it had run out.
    pub(crate) fn run_out(&self) {
        self.shift(&["received", "expires"]);
    }

    /// Lets the kept token look as if it had been given long ago.
    pub(crate) fn age(&self) {
        self.shift(&["received"]);
    }

    fn shift(&self, names: &[&str]) {
        let mut kept = self.kept();
        for name in names {
            kept[name] = json!(kept[name].as_i64().unwrap() - 100_000);
        }
        fs::write(self.file().unwrap(), kept.to_string()).unwrap();
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }
}

/// What an honest server says.
fn honest(base: &Url, asked: &Received) -> Reply {
    let document = match asked.target.as_str() {
        "/mcp" => return challenge(&format!("Bearer resource_metadata=\"{base}resource\"")),
        "/resource" => resource(base),
        "/.well-known/oauth-authorization-server" => metadata(base),
        "/register" => {
            json!({"client_id": "registered", "redirect_uris": ["http://127.0.0.1/callback"]})
        }
        "/token" => token(),
        _ => return Reply::Whole("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned()),
    };
    answer(&document)
}

/// The metadata of an honest MCP server (RFC 9728).
pub(crate) fn resource(base: &Url) -> Value {
    json!({"resource": format!("{base}mcp"), "authorization_servers": [base]})
}

/// The metadata of an honest authorization server (RFC 8414).
pub(crate) fn metadata(base: &Url) -> Value {
    json!({
        "issuer": base.as_str().trim_end_matches('/'),
        "authorization_endpoint": format!("{base}authorize"),
        "token_endpoint": format!("{base}token"),
        "registration_endpoint": format!("{base}register"),
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
    })
}

/// What an honest authorization server gives.
pub(crate) fn token() -> Value {
    json!({"access_token": "an-access-token", "token_type": "Bearer", "expires_in": 3600,
           "refresh_token": "a-refresh-token"})
}

/// `document` with these members changed.
pub(crate) fn with(mut document: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

pub(crate) fn answer(document: &Value) -> Reply {
    let text = document.to_string();
    Reply::Whole(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    ))
}

pub(crate) fn challenge(header: &str) -> Reply {
    let head = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: ";
    Reply::Whole(format!("{head}{header}\r\n\r\n"))
}

pub(crate) fn redirect(status: u16, place: &str) -> Reply {
    Reply::Whole(format!(
        "HTTP/1.1 {status} Elsewhere\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
    ))
}

/// The address of the callback for a page, with what the browser brings.
pub(crate) fn callback(page: &Url, brings: &[(&str, &str)]) -> String {
    let asked: HashMap<String, String> = page.query_pairs().into_owned().collect();
    let mut address: Url = asked["redirect_uri"].parse().unwrap();
    address.query_pairs_mut().append_pair("state", &asked["state"]).extend_pairs(brings);
    address.to_string()
}

/// Goes to an address of the callback's and gives what it answers; nothing where
/// nobody listens any more.
pub(crate) fn visit(address: &str) -> String {
    let address: Url = address.parse().unwrap();
    let authority = format!("127.0.0.1:{}", address.port().unwrap());
    let Ok(mut stream) = TcpStream::connect(&authority) else { return String::new() };
    let target = format!("{}?{}", address.path(), address.query().unwrap_or_default());
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut lines = BufReader::new(stream);
    let (mut whole, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        whole.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    whole.push_str(&String::from_utf8_lossy(&body));
    let mut words = whole.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(Received { method, target, whole })
}

fn say(mut stream: TcpStream, says: Reply) {
    match says {
        Reply::Whole(text) => {
            let text = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let _ = stream.write_all(text.as_bytes());
        }
        Reply::Endless(text) => {
            let mut more = stream.write_all(text.as_bytes());
            while more.is_ok() {
                more = stream.write_all(&[b' '; 4096]);
            }
        }
    }
}
