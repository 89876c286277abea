//! The MCP servers of the configuration file, as `serve` shows them.

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::policies;
use crate::cli::Trust;
use crate::config::{Server, Settings};
use crate::hosted::{Configured, RegistrationError};
use crate::policy::diagnostic::Diagnostics;
use crate::policy::live::Policies;
use crate::rest::credentials::Source;

/// Every server that has a URL or a command.
///
/// # Errors
/// Where a header or a policy of one of them cannot be had.
pub(super) fn configured(settings: &Settings) -> anyhow::Result<Vec<Configured>> {
    let one = |(name, server): (&str, &Server)| {
        let policy = policy(settings, server).with_context(|| format!("servers.{name}"))?;
        let headers = headers(server).map_err(|error| at(settings, name, &format!("{error:#}")))?;
        Ok(server_of(settings, name, server, policy, headers))
    };
    settings.hosted().map(one).collect()
}

/// Why the servers cannot be shown, with the line of the file.
pub(super) fn told(settings: &Settings, error: RegistrationError) -> anyhow::Error {
    match error {
        RegistrationError::Server { name, error } => at(settings, &name, &error.to_string()),
        other => other.into(),
    }
}

fn at(settings: &Settings, name: &str, wrong: &str) -> anyhow::Error {
    let wrong = format!("servers.{name}: {wrong}");
    match settings.places().at_server(name, wrong.clone()) {
        Some(placed) => {
            let placed = Diagnostics::from(placed);
            anyhow::anyhow!("the configuration does not load\n{}", placed.coloured())
        }
        None => anyhow::anyhow!(wrong),
    }
}

/// What the gate signs requests to AWS with, without any configuration.
const OF_AWS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// The variables that hold credentials of the gate's.
pub(super) fn secrets(settings: &Settings) -> Vec<OsString> {
    let of_providers = settings.providers().iter().filter_map(|(_, it)| it.credential.as_ref());
    let of_servers = settings
        .hosted()
        .flat_map(|(_, server)| server.credential.iter().chain(server.headers.values()));
    let named = of_providers.chain(of_servers).filter_map(|source| match source {
        Source::Env(name) => Some(OsString::from(name)),
        Source::File(_) => None,
    });
    named.chain(OF_AWS.map(OsString::from)).collect()
}

fn policy(settings: &Settings, server: &Server) -> anyhow::Result<Option<Arc<Policies>>> {
    if server.policy.is_empty() {
        return Ok(None);
    }
    let policy = policies::load(&server.policy, settings)?;
    policy.watch().context("the policy files cannot be followed")?;
    Ok(Some(policy))
}

fn server_of(
    settings: &Settings,
    name: &str,
    server: &Server,
    policy: Option<Arc<Policies>>,
    headers: HeaderMap,
) -> Configured {
    Configured {
        name: name.to_owned(),
        url: server.url.clone(),
        command: server.command.clone(),
        env: server.env.clone(),
        headers,
        allow_http: server.allow_http,
        policy,
        policy_way: match server.policy.is_empty() {
            true => (None, None),
            false => (policies::mode(settings), settings.policy_dir.clone()),
        },
        policy_names: server.policy.clone(),
        trusted: settings.trust(name, None) == Trust::Server,
        hide_denied: settings.hide_denied(name, false),
    }
}

fn headers(server: &Server) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let of_bearer = server.credential.as_ref().map(|source| (AUTHORIZATION, "Bearer ", source));
    let named = server.headers.iter().map(|(name, source)| {
        let name = name.parse::<HeaderName>();
        Ok((name.context("it names no header")?, "", source))
    });
    for header in of_bearer.map(Ok::<_, anyhow::Error>).into_iter().chain(named) {
        let (name, before, source) = header?;
        let value = source.read().map_err(anyhow::Error::msg)?;
        let value = Zeroizing::new(format!("{before}{}", value.trim()));
        let value = HeaderValue::from_str(&value);
        let mut value = value.map_err(|_| anyhow::anyhow!("`{name}` holds a line break"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
