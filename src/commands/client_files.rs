//! Where MCP clients on this machine keep their configuration, and how it is read.

use std::fs;
use std::path::PathBuf;

use etcetera::BaseStrategy as _;

/// Maximum size of a configuration file, in bytes. Claude Code keeps its history in the same
/// file, so some are large.
const MAX_FILE: u64 = 64 << 20;

/// A client whose configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    VsCode,
}

/// A client's configuration file.
#[derive(Debug)]
pub(super) struct ClientFile {
    pub(super) client: Client,
    pub(super) path: PathBuf,
    /// Whether it belongs to the current project, and so perhaps to several people.
    pub(super) is_of_project: bool,
}

/// Where clients keep their configuration.
pub(super) struct ConfigLocations {
    pub(super) home: PathBuf,
    /// This system's folder for application settings.
    pub(super) applications: PathBuf,
    /// The current project, from which clients read configuration, too.
    pub(super) project: PathBuf,
}

// === impl Client ===

impl Client {
    /// The name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
        }
    }

    /// The name as an agent in policies and the log.
    pub(super) fn agent(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude-desktop",
            Self::ClaudeCode => "claude-code",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
        }
    }

    /// Key of the object with the servers.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::VsCode => "servers",
            Self::ClaudeDesktop | Self::ClaudeCode | Self::Cursor => "mcpServers",
        }
    }

    /// Whether it inherits its PATH from a terminal.
    pub(super) fn has_path_of_terminal(self) -> bool {
        self == Self::ClaudeCode
    }
}

// === impl ConfigLocations ===

impl ConfigLocations {
    pub(super) fn find() -> Option<Self> {
        let base = etcetera::choose_base_strategy().ok()?;
        let home = base.home_dir().to_owned();
        let applications = match cfg!(target_os = "macos") {
            true => home.join("Library/Application Support"),
            false => base.config_dir(),
        };
        Some(Self { home, applications, project: std::env::current_dir().ok()? })
    }

    /// The files of all clients, whether they exist or not.
    pub(super) fn files(&self) -> Vec<ClientFile> {
        let Self { home, applications, project } = self;
        let own = |client, path| ClientFile { client, path, is_of_project: false };
        let of_project = |client, path| ClientFile { client, path, is_of_project: true };
        let mut files = vec![
            own(
                Client::ClaudeDesktop,
                applications.join("Claude").join("claude_desktop_config.json"),
            ),
            own(Client::ClaudeCode, home.join(".claude.json")),
            of_project(Client::ClaudeCode, project.join(".mcp.json")),
            own(Client::Cursor, home.join(".cursor").join("mcp.json")),
            of_project(Client::Cursor, project.join(".cursor").join("mcp.json")),
            own(Client::VsCode, applications.join("Code").join("User").join("mcp.json")),
            of_project(Client::VsCode, project.join(".vscode").join("mcp.json")),
        ];
        // A project may be the home folder: its file is there only once.
        files.dedup_by(|one, other| one.path == other.path);
        files
    }
}

// === impl ClientFile ===

impl ClientFile {
    /// # Errors
    /// Why the file cannot be read, in words.
    pub(super) fn read(&self) -> Result<String, String> {
        let size = fs::metadata(&self.path).map_err(|error| error.to_string())?.len();
        if size > MAX_FILE {
            return Err(format!("larger than {} MiB, so it was not read", MAX_FILE >> 20));
        }
        fs::read_to_string(&self.path).map_err(|error| error.to_string())
    }
}

/// Replaces with spaces what clients accept and JSON does not: comments, trailing commas and a
/// byte order mark. Everything else keeps its place.
pub(super) fn as_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // The place of a comma with nothing but space after it.
    let mut comma = None;
    while let Some(c) = rest.chars().next() {
        let taken = if c == '"' {
            string_length(rest)
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            c.len_utf8()
        };
        let (token, after) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        rest = after;
        if c == '\u{feff}' || token.starts_with("//") || token.starts_with("/*") {
            out.extend(token.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            continue;
        }
        if let (']' | '}', Some(at)) = (c, comma) {
            out.replace_range(at..=at, " ");
        }
        match c {
            ',' => comma = Some(out.len()),
            _ if c.is_whitespace() => {}
            _ => comma = None,
        }
        out.push_str(token);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn comments_go_and_strings_stay() {
        let text = "\u{feff}{ \"a\": \"//x,}\" /* , é */, // c
            \"b\": [1, 2, /* , */ ], }";
        let value: Value = serde_json::from_str(&as_json(text)).unwrap();
        assert_eq!(value, json!({ "a": "//x,}", "b": [1, 2] }));
    }

    proptest! {
        #[test]
        fn plain_json_is_left_alone(keys in prop::collection::vec("\\PC*", 0..4)) {
            let value = json!({ "list": keys, "n": [[], {}, null] });
            let text = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(as_json(&text), text);
        }

        #[test]
        fn everything_keeps_its_place(text in "[\"/*,\\\\\\]}ä\n \u{feff}]{0,40}") {
            prop_assert_eq!(as_json(&text).len(), text.len());
        }
    }
}
