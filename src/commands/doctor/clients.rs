//! MCP clients on this machine, and whether the servers they start are gated.

use std::fs;
use std::path::PathBuf;

use etcetera::BaseStrategy as _;
use serde_json::Value;

use super::gated::{Gate, is_gate};
use super::{Finding, shown};
use crate::net::is_loopback;
use crate::policy::lookup::Lookup;
use crate::terminal;

/// Maximum size of a configuration file, in bytes. Claude Code keeps its history in the same
/// file, so some are large.
const MAX_FILE: u64 = 64 << 20;

/// The client that inherits its PATH from a terminal.
const TERMINAL: &str = "Claude Code";

/// Where clients keep their configuration.
struct ConfigLocations {
    home: PathBuf,
    /// This system's folder for application settings.
    applications: PathBuf,
    /// The current project, from which clients read configuration, too.
    project: PathBuf,
}

/// A client's configuration file.
struct ClientFile {
    client: &'static str,
    path: PathBuf,
    /// Key of the object with the servers.
    key: &'static str,
}

/// How a client connects to a server.
#[derive(Debug, PartialEq, Eq)]
enum Server {
    /// It starts this program.
    Started(String),
    /// It starts agentgate.
    Gated(Gate),
    /// It connects to a URL.
    Remote {
        /// Whether the URL is on this machine.
        is_local: bool,
    },
}

/// Checks all clients. `lookup` is where gates look up policies by default.
pub(super) fn check(lookup: &Lookup) -> Vec<Finding> {
    let Some(locations) = ConfigLocations::find() else { return Vec::new() };
    let mut files = locations.files();
    // A project may be the home folder: check it only once.
    files.dedup_by(|one, other| one.path == other.path);
    let found: Vec<_> = files.iter().flat_map(|file| file.check(lookup)).collect();
    if found.is_empty() {
        let none = "no MCP server in Claude Desktop, Claude Code, Cursor or VS Code";
        return vec![Finding::note("client", "configurations".to_owned(), none)];
    }
    found
}

// === impl ConfigLocations ===

impl ConfigLocations {
    fn find() -> Option<Self> {
        let base = etcetera::choose_base_strategy().ok()?;
        let home = base.home_dir().to_owned();
        let applications = match cfg!(target_os = "macos") {
            true => home.join("Library/Application Support"),
            false => base.config_dir(),
        };
        Some(Self { home, applications, project: std::env::current_dir().ok()? })
    }

    fn files(&self) -> Vec<ClientFile> {
        let Self { home, applications, project } = self;
        let file = |client, key, path| ClientFile { client, path, key };
        vec![
            file(
                "Claude Desktop",
                "mcpServers",
                applications.join("Claude").join("claude_desktop_config.json"),
            ),
            file(TERMINAL, "mcpServers", home.join(".claude.json")),
            file(TERMINAL, "mcpServers", project.join(".mcp.json")),
            file("Cursor", "mcpServers", home.join(".cursor").join("mcp.json")),
            file("Cursor", "mcpServers", project.join(".cursor").join("mcp.json")),
            file("VS Code", "servers", applications.join("Code").join("User").join("mcp.json")),
            file("VS Code", "servers", project.join(".vscode").join("mcp.json")),
        ]
    }
}

// === impl ClientFile ===

impl ClientFile {
    fn check(&self, lookup: &Lookup) -> Vec<Finding> {
        if !self.path.exists() {
            return Vec::new();
        }
        let document = match self.read() {
            Ok(document) => document,
            Err(why) => {
                let fix = "correct the file, or check yourself whether its servers are gated";
                return vec![Finding::bad("client", shown(&self.path), why, fix)];
            }
        };
        let servers = self.servers(&document);
        servers.iter().map(|(name, server)| self.judge(name, server, lookup)).collect()
    }

    fn read(&self) -> Result<Value, String> {
        let size = fs::metadata(&self.path).map_err(|error| error.to_string())?.len();
        if size > MAX_FILE {
            return Err(format!("larger than {} MiB, so it was not read", MAX_FILE >> 20));
        }
        let text = fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        serde_json::from_str(&without_comments(&text)).map_err(|error| error.to_string())
    }

    /// The servers in the file, including those of each project that Claude Code remembers.
    fn servers(&self, document: &Value) -> Vec<(String, Server)> {
        let projects = document.get("projects").and_then(Value::as_object);
        let scopes =
            std::iter::once(document).chain(projects.into_iter().flat_map(|it| it.values()));
        scopes
            .filter_map(|scope| scope.get(self.key)?.as_object())
            .flatten()
            .filter_map(|(name, entry)| Some((name.clone(), Server::read(entry)?)))
            .collect()
    }

    fn judge(&self, name: &str, server: &Server, lookup: &Lookup) -> Finding {
        let subject =
            format!("{} `{}` in {}", self.client, terminal::escaped(name), shown(&self.path));
        match server {
            Server::Gated(gate) => match gate.problem(lookup) {
                None if gate.is_looked_up() && self.client != TERMINAL => {
                    Finding::note("client", subject, "is gated, if the client finds `agentgate`")
                        .with_fix(format!(
                            "programs started from a desktop may not have this shell's PATH; \
                             write {}",
                            own_path()
                        ))
                }
                None => Finding::good("client", subject, "is gated"),
                Some((detail, fix)) => Finding::bad("client", subject, detail, fix),
            },
            Server::Started(program) if is_gate(program) => Finding::bad(
                "client",
                subject,
                "starts agentgate, but not `agentgate wrap`",
                "begin \"args\" with \"wrap\", and give each argument a word of its own",
            ),
            // Only the program: arguments may contain secrets.
            Server::Started(program) => Finding::bad(
                "client",
                subject,
                "is not gated",
                format!(
                    "\"command\": {}, \"args\": [\"wrap\", \"--name\", {}, \"--\", {}, then the \
                     present args]",
                    Value::from(own_path()),
                    Value::from(terminal::escaped(name)),
                    Value::from(terminal::escaped(program)),
                ),
            ),
            Server::Remote { is_local: true } => Finding::note(
                "client",
                subject,
                "is on this machine; whether that is a gate cannot be told from here",
            ),
            // Without the URL, which may contain secrets.
            Server::Remote { is_local: false } => Finding::bad(
                "client",
                subject,
                "is remote and not gated",
                format!(
                    "\"command\": {}, \"args\": [\"wrap\", \"--name\", {}, then its URL]",
                    Value::from(own_path()),
                    Value::from(terminal::escaped(name)),
                ),
            ),
        }
    }
}

// === impl Server ===

impl Server {
    fn read(entry: &Value) -> Option<Self> {
        let Some(command) = entry.get("command").and_then(Value::as_str) else {
            let url = entry.get("url").or_else(|| entry.get("serverUrl"))?.as_str()?;
            return Some(Self::Remote { is_local: is_local(url) });
        };
        let args = entry.get("args").and_then(Value::as_array).into_iter().flatten();
        let words: Vec<_> =
            std::iter::once(command).chain(args.filter_map(Value::as_str)).collect();
        Some(match Gate::read(&words, entry.get("env")) {
            Some(gate) => Self::Gated(gate),
            None => Self::Started(command.to_owned()),
        })
    }
}

fn is_local(url: &str) -> bool {
    url.parse().is_ok_and(|uri| is_loopback(&uri))
}

pub(super) fn own_path() -> String {
    std::env::current_exe().map_or_else(|_| "agentgate".to_owned(), |path| shown(&path))
}

/// Removes comments and trailing commas, which VS Code and Cursor accept, outside of strings.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = if c == '"' {
            let length = string_length(rest);
            out.push_str(rest.get(..length).unwrap_or(rest));
            length
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            out.push(' ');
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            if matches!(c, ']' | '}') {
                drop_trailing_comma(&mut out);
            }
            out.push(c);
            c.len_utf8()
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// Length of the JSON string that starts here, including quotes, in bytes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    text.len()
}

fn drop_trailing_comma(out: &mut String) {
    let kept = out.trim_end();
    if let Some(kept) = kept.strip_suffix(',') {
        out.truncate(kept.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn servers(document: &Value, key: &'static str) -> Vec<(String, Server)> {
        ClientFile { client: "test", path: PathBuf::new(), key }.servers(document)
    }

    #[test]
    fn gated_and_other_servers_are_distinguished() {
        let document = json!({ "mcpServers": {
            "files": { "command": "npx", "args": ["-y", "server-filesystem", "/srv"] },
            "git": { "command": "/opt/bin/agentgate", "args": ["wrap", "--", "uvx", "mcp-server-git"] },
            "win": { "command": "cmd", "args": ["/c", "C:\\bin\\agentgate.exe", "wrap", "--", "npx.cmd"] },
            "name": { "command": "npx", "args": ["agentgate-fan-club", "wrap"] },
            "far": { "type": "http", "url": "https://example.com/mcp" },
            "odd": 7,
        }});
        let started = |word: &str| Server::Started(word.to_owned());
        let gated = |words: &[&str]| Server::Gated(Gate::read(words, None).unwrap());
        assert_eq!(
            servers(&document, "mcpServers"),
            [
                ("files".to_owned(), started("npx")),
                (
                    "git".to_owned(),
                    gated(&["/opt/bin/agentgate", "wrap", "--", "uvx", "mcp-server-git"])
                ),
                ("win".to_owned(), gated(&["C:\\bin\\agentgate.exe", "wrap", "--", "npx.cmd"])),
                ("name".to_owned(), started("npx")),
                ("far".to_owned(), Server::Remote { is_local: false }),
            ]
        );
    }

    #[test]
    fn projects_of_claude_code_count() {
        let document = json!({ "projects": {
            "/a": { "mcpServers": { "one": { "command": "x" } } },
            "/b": { "mcpServers": {} },
        }});
        assert_eq!(servers(&document, "mcpServers").len(), 1);
    }

    #[test]
    fn a_fix_shows_no_argument() {
        let file = ClientFile { client: "Cursor", path: "mcp.json".into(), key: "mcpServers" };
        let document =
            json!({ "mcpServers": { "s": { "command": "npx", "args": ["--token", "hunter2"] }}});
        for (name, server) in file.servers(&document) {
            let finding = file.judge(&name, &server, &Lookup::default());
            assert!(!format!("{finding:?}").contains("hunter2"));
            assert!(finding.fix.unwrap().contains(r#""wrap", "--name", "s", "--", "npx""#));
        }
    }

    #[test]
    fn other_subcommands_are_no_gate() {
        let file = ClientFile { client: "Cursor", path: "mcp.json".into(), key: "mcpServers" };
        for args in [json!(["wrap --name s -- npx x"]), json!(["warp", "--", "npx"]), json!([])] {
            let document = json!({ "mcpServers": {
                "s": { "command": "/opt/bin/agentgate", "args": args } }});
            let (name, server) = file.servers(&document).remove(0);
            let finding = file.judge(&name, &server, &Lookup::default());
            assert!(finding.detail.contains("not `agentgate wrap`"), "{finding:?}");
        }
    }

    #[test]
    fn every_client_is_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let locations =
            ConfigLocations { home: at("home"), applications: at("apps"), project: at("project") };
        for file in locations.files() {
            fs::create_dir_all(file.path.parent().unwrap()).unwrap();
            let text = format!(
                "{{ // comment\n \"{}\": {{ \"s\": {{\"command\": \"npx\",}} }} }}",
                file.key
            );
            fs::write(&file.path, text).unwrap();
            let found = file.check(&Lookup::default());
            assert_eq!(found.len(), 1, "{}", file.path.display());
            assert_eq!(found[0].detail, "is not gated");
        }
    }

    #[test]
    fn unreadable_file_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp.json");
        fs::write(&path, "{").unwrap();
        let found =
            ClientFile { client: "Cursor", path, key: "mcpServers" }.check(&Lookup::default());
        assert_eq!(found.len(), 1);
        assert!(found[0].fix.is_some());
    }

    #[test]
    fn comments_go_and_strings_stay() {
        let text = r#"{ "a": "//x,}" /* , */, // c
            "b": [1, 2, ], }"#;
        let value: Value = serde_json::from_str(&without_comments(text)).unwrap();
        assert_eq!(value, json!({ "a": "//x,}", "b": [1, 2] }));
    }

    proptest! {
        #[test]
        fn plain_json_is_left_alone(keys in prop::collection::vec("\\PC*", 0..4)) {
            let value = json!({ "list": keys, "n": [[], {}, null] });
            let text = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(without_comments(&text), text);
        }

        #[test]
        fn anything_is_survived(text in "[\"/*,\\\\\\]}ä\n ]{0,40}") {
            without_comments(&text);
        }
    }
}
