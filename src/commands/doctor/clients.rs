//! MCP clients on this machine, and whether the servers they start are gated.

use serde_json::Value;

use super::gated::{Gate, is_gate};
use super::{Finding, program, shown};
use crate::commands::client_files::{ClientFile, ConfigLocations, as_json};
use crate::net::is_loopback;
use crate::policy::lookup::Lookup;
use crate::terminal;

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
        /// Whether the client sends headers of its own.
        has_headers: bool,
    },
}

/// Checks all clients. `lookup` is where gates look up policies by default.
pub(super) fn check(lookup: &Lookup) -> Vec<Finding> {
    let Some(locations) = ConfigLocations::find() else { return Vec::new() };
    let found: Vec<_> = locations.files().iter().flat_map(|file| file.check(lookup)).collect();
    if found.is_empty() {
        let none = "no MCP server in Claude Desktop, Claude Code, Cursor or VS Code";
        return vec![Finding::note("client", "configurations".to_owned(), none)];
    }
    found
}

// === impl ClientFile ===

impl ClientFile {
    fn check(&self, lookup: &Lookup) -> Vec<Finding> {
        if !self.path.exists() {
            return Vec::new();
        }
        let document = match self.document() {
            Ok(document) => document,
            Err(why) => {
                let fix = "correct the file, or check yourself whether its servers are gated";
                return vec![Finding::bad("client", shown(&self.path), why, fix)];
            }
        };
        let servers = self.servers(&document);
        servers.iter().map(|(name, server)| self.judge(name, server, lookup)).collect()
    }

    fn document(&self) -> Result<Value, String> {
        serde_json::from_str(&as_json(&self.read()?)).map_err(|error| error.to_string())
    }

    /// The servers in the file, including those of each project that Claude Code remembers.
    fn servers(&self, document: &Value) -> Vec<(String, Server)> {
        let projects = document.get("projects").and_then(Value::as_object);
        let scopes =
            std::iter::once(document).chain(projects.into_iter().flat_map(|it| it.values()));
        scopes
            .filter_map(|scope| scope.get(self.client.key())?.as_object())
            .flatten()
            .filter_map(|(name, entry)| Some((name.clone(), Server::read(entry)?)))
            .collect()
    }

    fn judge(&self, name: &str, server: &Server, lookup: &Lookup) -> Finding {
        let subject = format!(
            "{} `{}` in {}",
            self.client.name(),
            terminal::escaped(name),
            shown(&self.path)
        );
        match server {
            Server::Gated(gate) => match gate.problem(lookup) {
                None if gate.is_looked_up() && !self.client.has_path_of_terminal() => {
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
                    "agentgate setup, or by hand: \"command\": {}, \"args\": [\"wrap\", \"--name\", {}, \
                     \"--\", {}, then the present args]",
                    Value::from(own_path()),
                    Value::from(terminal::escaped(name)),
                    Value::from(terminal::escaped(program)),
                ),
            ),
            Server::Remote { is_local: true, .. } => Finding::note(
                "client",
                subject,
                "is on this machine; whether that is a gate cannot be told from here",
            ),
            // Without the URL, which may contain secrets.
            Server::Remote { is_local: false, has_headers } => Finding::bad(
                "client",
                subject,
                "is remote and not gated",
                format!(
                    "\"command\": {}, \"args\": [\"wrap\", \"--name\", {}, {}then its URL], and no \
                     \"url\" or \"type\"",
                    Value::from(own_path()),
                    Value::from(terminal::escaped(name)),
                    match has_headers {
                        true => {
                            "then \"--header-env\", \"NAME=VARIABLE\" for each header, whose value \
                             goes into \"env\", "
                        }
                        false => "",
                    },
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
            let headers = entry.get("headers").and_then(Value::as_object);
            return Some(Self::Remote {
                is_local: is_local(url),
                has_headers: headers.is_some_and(|headers| !headers.is_empty()),
            });
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
    program::own_path().map_or_else(|_| "agentgate".to_owned(), |path| shown(&path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::commands::client_files::Client;

    fn file(path: impl Into<PathBuf>) -> ClientFile {
        ClientFile { client: Client::Cursor, path: path.into(), is_of_project: false }
    }

    fn servers(document: &Value) -> Vec<(String, Server)> {
        file("mcp.json").servers(document)
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
            servers(&document),
            [
                ("files".to_owned(), started("npx")),
                (
                    "git".to_owned(),
                    gated(&["/opt/bin/agentgate", "wrap", "--", "uvx", "mcp-server-git"])
                ),
                ("win".to_owned(), gated(&["C:\\bin\\agentgate.exe", "wrap", "--", "npx.cmd"])),
                ("name".to_owned(), started("npx")),
                ("far".to_owned(), Server::Remote { is_local: false, has_headers: false }),
            ]
        );
    }

    #[test]
    fn projects_of_claude_code_count() {
        let document = json!({ "projects": {
            "/a": { "mcpServers": { "one": { "command": "x" } } },
            "/b": { "mcpServers": {} },
        }});
        assert_eq!(servers(&document).len(), 1);
    }

    #[test]
    fn a_fix_shows_no_argument() {
        let file = file("mcp.json");
        let document =
            json!({ "mcpServers": { "s": { "command": "npx", "args": ["--token", "hunter2"] }}});
        for (name, server) in file.servers(&document) {
            let finding = file.judge(&name, &server, &Lookup::default());
            assert!(!format!("{finding:?}").contains("hunter2"));
            assert!(finding.fix.unwrap().contains(r#""wrap", "--name", "s", "--", "npx""#));
        }
    }

    #[test]
    fn a_fix_keeps_the_headers_of_a_remote_server() {
        let document = json!({ "mcpServers": {
            "s": { "url": "https://example.com/mcp", "headers": { "Authorization": "hunter2" } }}});
        let (name, server) = servers(&document).remove(0);
        let fix = file("mcp.json").judge(&name, &server, &Lookup::default()).fix.unwrap();
        assert!(fix.contains("--header-env") && !fix.contains("hunter2"), "{fix}");
    }

    #[test]
    fn other_subcommands_are_no_gate() {
        let file = file("mcp.json");
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
                file.client.key()
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
        let found = file(path).check(&Lookup::default());
        assert_eq!(found.len(), 1);
        assert!(found[0].fix.is_some());
    }
}
