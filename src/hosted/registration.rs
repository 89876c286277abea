//! Registrations of MCP servers at run time: their format, in the API and in the file, and
//! their validation.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use http::Uri;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::MAX_SERVERS;
use crate::action::DeclaredHints;
use crate::net::is_loopback;
use crate::os::files::{private, replace};
use crate::policy::ToolHints;
use crate::policy::catalog::CatalogError;

/// Maximum length of a server's name, in bytes.
const MAX_NAME: usize = 2_000;

/// Maximum length of a name that is not a URL, in bytes.
const MAX_PLAIN_NAME: usize = 100;

/// A registered server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Name in the path; the URL if absent.
    #[serde(default)]
    pub name: String,
    /// URL; empty if absent.
    #[serde(default)]
    pub url: String,
    /// Its tools, if a policy should be made from their hints.
    #[serde(default)]
    pub tools: Vec<Tool>,
}

/// A tool. Only the members of `tools/list` that are used here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its hints.
    #[serde(default)]
    pub annotations: Annotations,
}

/// Hints of MCP's `ToolAnnotations`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Annotations {
    /// Does not change its environment.
    pub read_only_hint: Option<bool>,
    /// May destroy.
    pub destructive_hint: Option<bool>,
    /// Repeating it changes nothing more.
    pub idempotent_hint: Option<bool>,
    /// Reaches beyond a closed world.
    pub open_world_hint: Option<bool>,
}

/// Why a server cannot be exposed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Not a name that can stand in a path.
    #[error(
        "`{0}` is not a name for a server: its URL, or letters, digits, `.`, `_` and `-`, not dots alone, and not `servers`"
    )]
    Name(String),
    /// Not a URL that can be used.
    #[error(
        "`{0}` is not a URL of a server: https, or http on this machine (elsewhere with AGENTGATE_ALLOW_HTTP=1 or allow_http), without a password in it"
    )]
    Url(String),
    /// The configuration file contains a server with this name.
    #[error("`{0}` is a server of the configuration file: change it there, or take another name")]
    Configured(String),
    /// Some configured servers cannot be exposed: their names and errors.
    #[error("{}", .0.iter().map(|(name, why)| format!("servers.{name}: {why}")).collect::<Vec<_>>().join("\n"))]
    Servers(Vec<(String, Self)>),
    /// The limit [`MAX_SERVERS`] is reached.
    #[error("there are {MAX_SERVERS} servers already")]
    TooMany,
    /// The file with the registrations cannot be read.
    #[error("{file}: {error}; mend this file of registered MCP servers, or move it away")]
    Unreadable {
        /// Where it is kept.
        file: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The change applies until the gate ends, but could not be stored.
    #[error("{file}: {error}; this change holds until the gate ends: mend that, and make it again")]
    NotPersisted {
        /// Where it would be kept.
        file: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The policy made from the hints cannot be put in force.
    #[error("the policy made from the hints: {0}")]
    Policy(CatalogError),
}

impl Tool {
    pub(super) fn hints(&self) -> ToolHints {
        let Annotations { read_only_hint, destructive_hint, idempotent_hint, open_world_hint } =
            self.annotations;
        let declared = DeclaredHints {
            read_only: read_only_hint,
            destructive: destructive_hint,
            idempotent: idempotent_hint,
            open_world: open_world_hint,
        };
        let in_force = (!declared.is_empty()).then(|| declared.filled_in());
        ToolHints { tool: self.name.clone(), declared, in_force }
    }
}

/// Name of the policy made from the hints of a server's tools; unique per server.
pub(super) fn policy_of(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let plain: String =
        name.chars().map(|c| if fits(c) { c } else { '_' }).take(MAX_PLAIN_NAME).collect();
    if plain == name {
        return format!("mcp_{name}");
    }
    let digest = Sha256::digest(name.as_bytes());
    format!("mcp_{plain}_{}", hex::encode(digest.get(..4).unwrap_or_default()))
}

/// Whether `name` is valid for a server: a word, or its own URL. Clients resolve names of dots
/// as path segments.
pub(super) fn is_name(name: &str, url: Option<&str>) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_word = (1..=MAX_PLAIN_NAME).contains(&name.len())
        && name.bytes().all(fits)
        && !name.bytes().all(|byte| byte == b'.');
    is_word && name != "servers" || Some(name) == url && name.len() <= MAX_NAME
}

/// The parsed URL, if requests may be sent to it.
pub(super) fn usable(url: &str, allow_http: bool) -> Result<Uri, RegistrationError> {
    sendable(url, allow_http).ok_or_else(|| RegistrationError::Url(url.to_owned()))
}

fn sendable(url: &str, allow_http: bool) -> Option<Uri> {
    // The HTTP client would treat an invalid port as missing.
    url::Url::parse(url).ok()?;
    let uri: Uri = url.parse().ok()?;
    if uri.authority()?.as_str().contains('@') {
        return None;
    }
    uri.host()?;
    match uri.scheme_str() {
        Some("https") => Some(uri),
        Some("http") if is_loopback(&uri) || allow_http => Some(uri),
        _ => None,
    }
}

/// Reads the stored registrations.
pub(super) fn read(file: &Path) -> Result<Vec<Registration>, RegistrationError> {
    let read = match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    read.map_err(|error| RegistrationError::Unreadable { file: file.to_owned(), error })
}

/// Atomically replaces the stored registrations.
pub(super) fn write(file: &Path, kept: &[&Registration]) -> Result<(), RegistrationError> {
    let text = serde_json::to_vec_pretty(kept).map_err(io::Error::from);
    let written = text.and_then(|text| replace(file, &text, private(&mut OpenOptions::new())));
    written.map_err(|error| RegistrationError::NotPersisted { file: file.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_a_word_or_the_url_itself() {
        let url = "https://mcp.example.com/mcp";
        for name in ["notes", "a.b-c_d", url] {
            assert!(is_name(name, Some(url)), "{name}");
        }
        for name in ["", ".", "..", "servers", "../x", "a/b", "a b", "https://other.example/mcp"] {
            assert!(!is_name(name, Some(url)), "{name}");
        }
    }

    #[test]
    fn two_servers_never_share_a_policy() {
        assert_eq!(policy_of("notes"), "mcp_notes");
        let names = ["a.b", "a_b", "a-b", "https://a.example/", "https://a.example:/"];
        let policies: std::collections::BTreeSet<_> = names.map(policy_of).into();
        assert_eq!(policies.len(), names.len(), "{policies:?}");
        assert!(policy_of(&"x/".repeat(900)).len() <= 128);
    }

    #[test]
    fn urls_are_https_or_on_this_machine() {
        for url in [
            "https://a.example/mcp",
            "http://127.0.0.1:3/mcp",
            "http://[::1]/",
            "http://localhost/",
        ] {
            assert!(usable(url, false).is_ok(), "{url}");
        }
        for url in [
            "http://a.example/",
            "https://a.example:99999/",
            "file:///etc/passwd",
            "https://u:p@a.example/",
            "a.example",
            "",
        ] {
            assert!(usable(url, false).is_err(), "{url}");
        }
        assert!(usable("http://mcp:3000/mcp", true).is_ok());
    }
}
