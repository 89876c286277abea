//! Options of `wrap` about servers behind a URL, and about listening.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum as _};
use url::Url;

use crate::mcp::bridge::Bridging;

/// About a server behind a URL.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "A server behind a URL")]
pub struct RemoteArgs {
    /// A header to send; ${NAME} stands for an environment variable, which keeps secrets off the command line
    #[arg(
        long = "header",
        value_name = "NAME: VALUE",
        env = "AGENTGATE_HEADER",
        value_delimiter = '\n'
    )]
    pub headers: Vec<String>,
    /// A header to send, with its value in an environment variable
    #[arg(
        long = "header-env",
        value_name = "NAME=VARIABLE",
        env = "AGENTGATE_HEADER_ENV",
        value_delimiter = ','
    )]
    pub header_env: Vec<String>,
    /// The environment variable that holds a bearer token to send
    #[arg(long, value_name = "VARIABLE", env = "AGENTGATE_BEARER_ENV")]
    pub bearer_env: Option<String>,
    /// Allow plain HTTP to other machines, which anyone on the way can read
    #[arg(long, env = "AGENTGATE_ALLOW_HTTP", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_http: bool,
    /// The transport that the server speaks [default: auto]
    #[arg(
        long,
        value_enum,
        env = "AGENTGATE_TRANSPORT",
        default_value_t,
        hide_default_value = true
    )]
    pub transport: Transport,
}

impl RemoteArgs {
    /// The same as it is typed.
    #[must_use]
    pub fn typed(&self) -> Vec<String> {
        let each = |name: &str, values: &[String]| {
            values.iter().map(|value| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let mut typed = each("--header", &self.headers);
        typed.extend(each("--header-env", &self.header_env));
        typed.extend(each("--bearer-env", self.bearer_env.as_slice()));
        typed.extend(self.allow_http.then(|| "--allow-http".to_owned()));
        let transport = self.transport.to_possible_value();
        typed.extend(transport.map(|transport| format!("--transport={}", transport.get_name())));
        typed
    }
}

impl RemoteArgs {
    /// An option that was typed and says nothing of a command. What the environment
    /// says is for whichever servers it fits.
    #[must_use]
    pub fn about_url(&self) -> Option<&'static str> {
        let given = [
            (!self.headers.is_empty(), "--header", "AGENTGATE_HEADER"),
            (!self.header_env.is_empty(), "--header-env", "AGENTGATE_HEADER_ENV"),
            (self.bearer_env.is_some(), "--bearer-env", "AGENTGATE_BEARER_ENV"),
            (self.transport != Transport::Auto, "--transport", "AGENTGATE_TRANSPORT"),
        ];
        given.into_iter().find_map(|(given, name, variable)| {
            (given && std::env::var_os(variable).is_none()).then_some(name)
        })
    }
}

/// A server's URL, as it is typed.
pub(crate) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| {
        let meant = meant_url(text);
        let meant = meant.as_deref().unwrap_or("https://mcp.example.com/mcp");
        format!("`{text}` is not an http or https URL; write {meant}")
    })
}

/// The URL that was probably meant by a word that names no file: without its scheme,
/// or with one that is misspelt (`https//example.com/mcp`).
pub(crate) fn meant_url(word: &str) -> Option<String> {
    let (scheme, place) = after_scheme(word);
    let authority = place.split('/').next().unwrap_or_default();
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let labels = host.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    let is_host = labels && (host.contains('.') || host == "localhost");
    let is_url = is_host
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && (scheme.is_some() || place.contains('/') || !port.is_empty())
        && !Path::new(word).exists();
    let is_plain = host == "localhost" || host.parse::<IpAddr>().is_ok();
    let usual = if is_plain { "http" } else { "https" };
    is_url.then(|| format!("{}://{place}", scheme.filter(|it| !it.is_empty()).unwrap_or(usual)))
}

/// A word's scheme, empty where it is none of HTTP's, and what follows it, however
/// many of the characters between them are missing.
fn after_scheme(word: &str) -> (Option<&str>, &str) {
    let letters = word.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (scheme, rest) = word.split_at(letters);
    let place = rest.trim_start_matches([':', '/']);
    match rest.get(..rest.len() - place.len()).unwrap_or_default() {
        "://" if !is_http(scheme) => (Some(""), place),
        "//" if scheme.is_empty() => (Some(""), place),
        ":" | ":/" | "://" | "//" if is_http(scheme) => (Some(scheme), place),
        _ => (None, word),
    }
}

/// Whether this is a scheme of HTTP's.
pub(crate) fn is_http(scheme: &str) -> bool {
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

/// Which transport a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Transport {
    /// Streamable HTTP, or HTTP+SSE if the server has only that
    #[default]
    Auto,
    /// Streamable HTTP
    Http,
    /// HTTP+SSE (2024-11-05)
    Sse,
}

/// Whether a client of one era of the protocol is served in front of a server that
/// speaks only the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Bridge {
    /// If the server refuses the client's era and the client does not fall back by itself
    #[default]
    Auto,
    /// As soon as the server refuses the client's era
    Always,
    /// Never: each side gets the other's own error
    Never,
}

impl From<Bridge> for Bridging {
    fn from(bridge: Bridge) -> Self {
        match bridge {
            Bridge::Auto => Self::Auto,
            Bridge::Always => Self::Always,
            Bridge::Never => Self::Never,
        }
    }
}

/// About listening instead of using standard input and output.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Listening")]
pub struct ListenArgs {
    /// Serve the gated server over Streamable HTTP on this address, at /mcp
    #[arg(long, value_name = "ADDR", env = "AGENTGATE_WRAP_LISTEN", value_parser = super::address)]
    pub listen: Option<SocketAddr>,
    /// The environment variable that holds the bearer token every request must carry
    #[arg(long, value_name = "VARIABLE", env = "AGENTGATE_TOKEN_ENV")]
    pub token_env: Option<String>,
    /// The most sessions at once in front of a command, each with its own process [default: 64]
    #[arg(
        long,
        value_name = "N",
        env = "AGENTGATE_MAX_SESSIONS",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub max_sessions: Option<u16>,
    /// How long such a session may stay idle before it is ended [default: 30m]
    #[arg(long, value_name = "DURATION", env = "AGENTGATE_SESSION_IDLE", value_parser = super::duration)]
    pub session_idle: Option<Duration>,
    /// How long requests under way may take once the gate is told to stop [default: 2s]
    #[arg(long, value_name = "DURATION", env = "AGENTGATE_SHUTDOWN_TIMEOUT", value_parser = super::duration)]
    pub shutdown_timeout: Option<Duration>,
}

impl ListenArgs {
    /// An option that was typed and has no effect without `--listen`, in front of a URL or a
    /// command. What the environment says is for whichever starts it fits.
    #[must_use]
    pub fn about_listening(&self, is_url: bool) -> Option<&'static str> {
        let is_drained = self.shutdown_timeout.is_some() && !is_url;
        let given = [
            (self.token_env.is_some(), "--token-env", "AGENTGATE_TOKEN_ENV"),
            (self.max_sessions.is_some(), "--max-sessions", "AGENTGATE_MAX_SESSIONS"),
            (self.session_idle.is_some(), "--session-idle", "AGENTGATE_SESSION_IDLE"),
            (is_drained, "--shutdown-timeout", "AGENTGATE_SHUTDOWN_TIMEOUT"),
        ];
        given.into_iter().find_map(|(given, name, variable)| {
            (given && self.listen.is_none() && std::env::var_os(variable).is_none()).then_some(name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_without_scheme_is_distinguished_from_a_command() {
        for (word, meant) in [
            ("example.com/mcp", Some("https://example.com/mcp")),
            ("mcp.example.com:8443", Some("https://mcp.example.com:8443")),
            ("localhost:8000/mcp", Some("http://localhost:8000/mcp")),
            ("127.0.0.1:8000", Some("http://127.0.0.1:8000")),
            ("https//example.com/mcp", Some("https://example.com/mcp")),
            ("https:/example.com", Some("https://example.com")),
            ("http:localhost:8000", Some("http://localhost:8000")),
            ("//example.com/mcp", Some("https://example.com/mcp")),
            ("htps://example.com/mcp", Some("https://example.com/mcp")),
            ("ws://localhost/mcp", Some("http://localhost/mcp")),
            ("https", None),
            ("http://", None),
            ("//", None),
            ("npx:/x.y", None),
            ("src//x.y", None),
            ("npx", None),
            ("server.py", None),
            ("./server.py", None),
            ("../a.b/c", None),
            ("/usr/bin/x.y", None),
            ("node_modules/.bin/x", None),
            ("C:\\bin\\x.exe", None),
            ("", None),
        ] {
            assert_eq!(meant_url(word).as_deref(), meant, "{word}");
        }
        assert!(url("https://mcp.example.com/mcp").is_ok());
        for (text, advice) in [
            ("foo", "write https://mcp.example.com/mcp"),
            ("example.com/mcp", "write https://example.com/mcp"),
            ("localhost:8000/mcp", "write http://localhost:8000/mcp"),
            ("ftp://example.com", "write https://example.com"),
            ("ftp:", "write https://mcp.example.com/mcp"),
        ] {
            let error = url(text).unwrap_err();
            assert!(
                error.contains("is not an http or https URL") && error.ends_with(advice),
                "{error}"
            );
        }
    }
}
