//! The MCP servers of the configuration file, as `serve` shows them.

use std::ffi::OsString;

use anyhow::Context as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::policies;
use crate::cli::Trust;
use crate::config::{Server, Settings};
use crate::hosted::Configured;
use crate::rest::credentials::Source;

/// Every server that has a URL or a command.
///
/// # Errors
/// Where a header or a policy of one of them cannot be had.
pub(super) fn configured(settings: &Settings) -> anyhow::Result<Vec<Configured>> {
    let one = |(name, server): (&str, &Server)| {
        server_of(settings, name, server).with_context(|| format!("servers.{name}"))
    };
    settings.hosted().map(one).collect()
}

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
    named.collect()
}

fn server_of(settings: &Settings, name: &str, server: &Server) -> anyhow::Result<Configured> {
    let policy = match server.policy.is_empty() {
        true => None,
        false => {
            let policy = policies::load(&server.policy, settings)?;
            policy.watch().context("the policy files cannot be followed")?;
            Some(policy)
        }
    };
    Ok(Configured {
        name: name.to_owned(),
        url: server.url.clone(),
        command: server.command.clone(),
        env: server.env.clone(),
        headers: headers(server)?,
        allow_http: server.allow_http,
        policy,
        policy_way: match server.policy.is_empty() {
            true => (None, None),
            false => (policies::mode(settings), settings.policy_dir.clone()),
        },
        policy_names: server.policy.clone(),
        trusted: settings.trust(name, None) == Trust::Server,
        hide_denied: server.hide_denied,
    })
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
