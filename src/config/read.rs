//! Reads the configuration file: every mistake with its place, all at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

use super::serve::ProviderFile;
use super::spans::Spans;
use super::{File, Server};
use crate::action::Provider;
use crate::admin::MAX_RETENTION_DAYS;
use crate::cli::{AuditSync, Bridge, Mode, OnAuditFailure, Trust, address, duration, name, size};
use crate::hosted::Endpoint;
use crate::policy::diagnostic::{Diagnostics, Source};
use crate::policy::fields::{At, Fields, Reader, advise};
use crate::policy::lookup::is_path;
use crate::policy::yaml::{self, Node, Value};
use crate::rest::credentials;
use crate::rest::hosts::HostOverrides;
use crate::rest::route::Upstream;

const KEYS: &[&str] = &[
    "policy",
    "policy_dir",
    "agent",
    "mode",
    "db",
    "max_message",
    "audit_failure",
    "audit_sync",
    "bridge",
    "allow_http",
    "hide_denied",
    "ask_timeout",
    "max_sessions",
    "session_idle",
    "shutdown_timeout",
    "servers",
    "listen",
    "public_url",
    "max_body",
    "upstream_timeout",
    "cors_origins",
    "retention_days",
    "providers",
];
const SERVER_KEYS: &[&str] = &[
    "trust",
    "policy",
    "url",
    "command",
    "env",
    "headers",
    "credential",
    "allow_http",
    "hide_denied",
];
const PROVIDER_KEYS: &[&str] = &["upstream", "hosts", "credential", "listen", "public_url"];
const CREDENTIAL_KEYS: &[&str] = &["env", "file"];
const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("observe", Mode::Observe)];
const TRUSTS: &[(&str, Trust)] = &[("server", Trust::Server), ("none", Trust::None)];
const AUDIT_FAILURES: &[(&str, OnAuditFailure)] =
    &[("refuse", OnAuditFailure::Refuse), ("allow", OnAuditFailure::Allow)];
const AUDIT_SYNCS: &[(&str, AuditSync)] =
    &[("normal", AuditSync::Normal), ("full", AuditSync::Full)];
const BRIDGES: &[(&str, Bridge)] =
    &[("auto", Bridge::Auto), ("always", Bridge::Always), ("never", Bridge::Never)];

/// Parses a configuration file. Relative paths are relative to `folder`, where the file is,
/// since anybody may write to the working directory.
///
/// # Errors
/// All findings.
pub(super) fn read(source: &Source, folder: &Path) -> Result<File, Diagnostics> {
    let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if source.text.lines().all(is_blank) {
        return Ok(File { is_blank: true, ..File::default() });
    }
    let root = yaml::parse(source).map_err(Diagnostics::from)?;
    let spans = Spans::of(source);
    let mut reader = Config { reader: Reader::of_secrets(source), folder, spans };
    let mut file = reader.file(&root);
    file.spans = reader.spans;
    let mut found = reader.reader.found;
    found.sort();
    if found.is_empty() { Ok(file) } else { Err(found) }
}

struct Config<'s> {
    reader: Reader<'s>,
    folder: &'s Path,
    spans: Spans,
}

impl Config<'_> {
    fn file(&mut self, root: &Node) -> File {
        let fields = self.reader.fields(root, "the configuration", KEYS);
        let get = |key: &str| fields.get(key);
        File {
            policy: get("policy").map(|node| self.policies(node)).unwrap_or_default(),
            policy_dir: self.path(&fields, "policy_dir"),
            agent: self.text(&fields, "agent").and_then(|text| self.checked(&text, "agent", name)),
            mode: get("mode").and_then(|node| self.reader.word(node, "mode", MODES)),
            db: self.path(&fields, "db"),
            max_message: self.parsed(&fields, "max_message", size),
            audit_failure: get("audit_failure")
                .and_then(|node| self.reader.word(node, "audit_failure", AUDIT_FAILURES)),
            audit_sync: get("audit_sync")
                .and_then(|node| self.reader.word(node, "audit_sync", AUDIT_SYNCS)),
            bridge: get("bridge").and_then(|node| self.reader.word(node, "bridge", BRIDGES)),
            allow_http: self.is_set(&fields, "allow_http"),
            hide_denied: self.is_set(&fields, "hide_denied"),
            ask_timeout: self.parsed(&fields, "ask_timeout", duration),
            max_sessions: self.parsed(&fields, "max_sessions", sessions),
            session_idle: self.parsed(&fields, "session_idle", nonzero_duration),
            shutdown_timeout: self.parsed(&fields, "shutdown_timeout", nonzero_duration),
            servers: get("servers").map(|node| self.servers(node)).unwrap_or_default(),
            listen: self.parsed(&fields, "listen", address),
            public_url: self.parsed(&fields, "public_url", base_url),
            max_body: self.parsed(&fields, "max_body", size),
            upstream_timeout: self.parsed(&fields, "upstream_timeout", nonzero_duration),
            cors_origins: self.origins(&fields),
            retention_days: self.parsed(&fields, "retention_days", days),
            providers: get("providers").map(|node| self.providers(node)).unwrap_or_default(),
            spans: Spans::default(),
            is_blank: false,
        }
    }

    fn servers(&mut self, node: &Node) -> BTreeMap<String, Server> {
        let servers = self.reader.entries(node, "`servers`").into_iter();
        servers.map(|(name, node)| (name.value.to_owned(), self.server(&name, node))).collect()
    }

    fn server(&mut self, name: &At<&str>, node: &Node) -> Server {
        let fields = self.reader.fields(node, "a server", SERVER_KEYS);
        self.spans.server(name.value, fields.get("url").map_or(name.span, |url| url.span));
        Server {
            trust: fields.get("trust").and_then(|node| self.reader.word(node, "trust", TRUSTS)),
            policy: fields.get("policy").map(|node| self.policies(node)).unwrap_or_default(),
            endpoint: self.endpoint(&fields),
            headers: fields.get("headers").map(|node| self.headers(node)).unwrap_or_default(),
            credential: fields.get("credential").and_then(|node| self.credential(node)),
            allow_http: self.is_set(&fields, "allow_http"),
            hide_denied: self.is_set(&fields, "hide_denied"),
        }
    }

    fn endpoint(&mut self, fields: &Fields<'_>) -> Option<Endpoint> {
        let env = self.texts(fields, "env");
        match (fields.get("url"), fields.get("command"), fields.get("env")) {
            (Some(_), None, None) => self.parsed(fields, "url", server_url).map(Endpoint::Url),
            (None, Some(node), _) => {
                if let Value::String(line) = &node.value
                    && line.contains(char::is_whitespace)
                {
                    let words = line.split_whitespace().map(|word| format!("{word:?}"));
                    let words = words.collect::<Vec<_>>().join(", ");
                    let message = "`command` needs a list of a command and its arguments";
                    let finding = self.reader.finding(node.span, message);
                    self.reader.found.push(finding.help(format!("write [{words}]")));
                }
                Some(Endpoint::Command { command: self.texts(fields, "command"), env })
            }
            (Some(url), Some(_), _) => {
                self.reader.error(url.span, "a server has a `url` or a `command`, not both");
                None
            }
            (_, None, Some(env)) => {
                self.reader.error(env.span, "`env` is for a server with a `command`");
                None
            }
            (None, None, None) => None,
        }
    }

    fn headers(&mut self, node: &Node) -> BTreeMap<String, credentials::Source> {
        let mut headers = BTreeMap::new();
        for (name, node) in self.reader.entries(node, "`headers`") {
            if let Some(source) = self.credential(node) {
                headers.insert(name.value.to_owned(), source);
            }
        }
        headers
    }

    fn texts(&mut self, fields: &Fields<'_>, key: &'static str) -> Vec<String> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        self.reader.texts(node, key).into_iter().map(|text| text.value).collect()
    }

    fn is_set(&mut self, fields: &Fields<'_>, key: &'static str) -> bool {
        fields.get(key).and_then(|node| self.reader.flag(node, key)).unwrap_or_default()
    }

    fn providers(&mut self, node: &Node) -> Vec<(Provider, ProviderFile)> {
        let mut providers = Vec::new();
        for (name, node) in self.reader.entries(node, "`providers`") {
            match Provider::from_name(name.value) {
                Some(provider) => providers.push((provider, self.provider(provider, node))),
                None => {
                    let message = format!("there is no provider `{}`", name.value);
                    let finding = self.reader.finding(name.span, message);
                    let known = Provider::ALL.map(Provider::as_str);
                    self.reader.found.push(advise(finding, name.value, &known));
                }
            }
        }
        providers
    }

    fn provider(&mut self, provider: Provider, node: &Node) -> ProviderFile {
        let fields = self.reader.fields(node, "a provider", PROVIDER_KEYS);
        ProviderFile {
            upstream: self.parsed(&fields, "upstream", base_url),
            hosts: fields.get("hosts").map(|node| self.hosts(provider, node)).unwrap_or_default(),
            credential: fields.get("credential").and_then(|node| self.credential(node)),
            listen: self.parsed(&fields, "listen", address),
            public_url: self.parsed(&fields, "public_url", base_url),
        }
    }

    fn hosts(&mut self, provider: Provider, node: &Node) -> HostOverrides {
        let (mut named, mut spans) = (BTreeMap::new(), BTreeMap::new());
        for (name, node) in self.reader.entries(node, "`hosts`") {
            let Some(url) = self.reader.text(node, "a host") else { continue };
            spans.insert(name.value.to_owned(), url.span);
            named.insert(name.value.to_owned(), url.value);
        }
        HostOverrides::parse(provider, &named).unwrap_or_else(|faults| {
            for (name, fault) in faults {
                let span = spans.get(&name).copied().unwrap_or(node.span);
                self.reader.error(span, format!("`hosts.{name}`: {fault}"));
            }
            HostOverrides::default()
        })
    }

    fn credential(&mut self, node: &Node) -> Option<credentials::Source> {
        let form = "a credential is `{env: NAME}` or `{file: PATH}`";
        let Value::Map(_) = &node.value else {
            // The value may be the secret itself, so it must not be shown.
            let finding = self.reader.finding(node.span, form).help("never the secret itself");
            self.reader.found.push(finding.without_line());
            return None;
        };
        let fields = self.reader.fields(node, "a credential", CREDENTIAL_KEYS);
        let (env, file) = (self.text(&fields, "env"), self.path(&fields, "file"));
        match (env, file) {
            (Some(name), None) => Some(credentials::Source::Env(name.value)),
            (None, Some(path)) => Some(credentials::Source::File(path)),
            _ => {
                self.reader.error(node.span, form);
                None
            }
        }
    }

    fn origins(&mut self, fields: &Fields<'_>) -> Vec<String> {
        let Some(node) = fields.get("cors_origins") else { return Vec::new() };
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            return Vec::new();
        }
        let texts = self.reader.texts(node, "cors_origins");
        texts.into_iter().filter_map(|text| self.checked(&text, "cors_origins", origin)).collect()
    }

    fn policies(&mut self, node: &Node) -> Vec<String> {
        let mut policies = Vec::new();
        for text in self.reader.texts(node, "policy") {
            let policy = match is_path(&text.value) {
                true => self.folder.join(text.value).to_string_lossy().into_owned(),
                false => text.value,
            };
            self.spans.policy(&policy, text.span);
            policies.push(policy);
        }
        policies
    }

    fn path(&mut self, fields: &Fields<'_>, key: &'static str) -> Option<PathBuf> {
        let text = self.text(fields, key)?;
        if text.value.is_empty() {
            self.reader.error(text.span, format!("`{key}` needs a path"));
        }
        Some(self.folder.join(text.value))
    }

    fn text(&mut self, fields: &Fields<'_>, key: &'static str) -> Option<At<String>> {
        self.reader.text(fields.get(key)?, key)
    }

    /// Parses a string or number with `parse`.
    fn parsed<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = fields.get(key)?;
        let text = match &node.value {
            Value::Number(number) => At { value: number.as_str().to_owned(), span: node.span },
            _ => self.reader.text(node, key)?,
        };
        self.checked(&text, key, parse)
    }

    fn checked<T>(
        &mut self,
        text: &At<String>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let read = parse(&text.value).map_err(|why| format!("`{key}`: {why}"));
        read.map_err(|message| self.reader.error(text.span, message)).ok()
    }
}

fn base_url(text: &str) -> Result<Upstream, String> {
    Upstream::parse(text).map_err(|fault| fault.to_string())
}

fn nonzero_duration(text: &str) -> Result<Duration, String> {
    let nonzero_duration = duration(text)?;
    if nonzero_duration.is_zero() {
        Err("it must be more than zero".to_owned())
    } else {
        Ok(nonzero_duration)
    }
}

fn sessions(text: &str) -> Result<u16, String> {
    let sessions = text.parse().ok().filter(|sessions| *sessions > 0);
    sessions.ok_or_else(|| format!("`{text}` is not a number of sessions from 1 to {}", u16::MAX))
}

fn days(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| *days <= MAX_RETENTION_DAYS);
    days.ok_or_else(|| {
        format!("`{text}` is not a number of days from 0 (for ever) to {MAX_RETENTION_DAYS}")
    })
}

/// Parses an origin as browsers send it: scheme, host and optional port.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let uri: Option<Uri> = text.parse().ok();
    let is_origin = uri.is_some_and(|uri| {
        let parts = uri.scheme_str().zip(uri.authority());
        parts.is_some_and(|(scheme, host)| format!("{scheme}://{host}") == text)
    });
    match is_origin {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("`{text}` is not an origin; write https://console.example, without a path"))
        }
    }
}

fn server_url(text: &str) -> Result<String, String> {
    let uri: Option<Uri> = text.parse().ok();
    match uri.filter(|uri| uri.host().is_some() && uri.scheme().is_some()) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("`{text}` is not a URL; write https://mcp.example.com/mcp")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The keys in the tables below each heading of the page.
    fn documented(heading: &str) -> BTreeSet<&'static str> {
        let page = include_str!("../../docs/configuration.md");
        let section = page.split(&format!("\n## {heading}\n")).nth(1).expect(heading);
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| row.split('`').next()).collect()
    }

    #[test]
    fn the_page_on_configuration_has_every_key_and_no_other() {
        for (heading, keys) in [
            ("Settings", KEYS),
            ("A server", SERVER_KEYS),
            ("A provider", PROVIDER_KEYS),
            ("A credential", CREDENTIAL_KEYS),
        ] {
            assert_eq!(documented(heading), keys.iter().copied().collect(), "{heading}");
        }
    }
}
