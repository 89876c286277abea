//! The MCP servers of the configuration file, as `serve` shows them.

use std::ffi::OsString;

use anyhow::Context as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::policies;
use crate::cli::Trust;
use crate::config::{Server, Settings};
use crate::hosted::{Configured, Endpoint, OwnPolicies, RegistrationError, ServerDefaults};
use crate::policy::diagnostic::Diagnostics;
use crate::rest::credentials::Source;

/// Errors in the configuration of servers, by name.
type Problems = Vec<(String, String)>;

/// Sets up every server with a URL or command, by `set_up`.
///
/// # Errors
/// All errors of all servers, with their lines in the file.
pub(super) fn set_up_servers<T>(
    settings: &Settings,
    set_up: impl FnOnce(Vec<Configured>) -> Result<T, RegistrationError>,
) -> anyhow::Result<T> {
    let (configured, mut problems) = configured(settings);
    match set_up(configured) {
        Ok(done) if problems.is_empty() => return Ok(done),
        Err(RegistrationError::Servers(more)) => {
            problems.extend(more.into_iter().map(|(name, error)| (name, error.to_string())));
        }
        Err(other) if problems.is_empty() => return Err(other.into()),
        Ok(_) | Err(_) => {}
    }
    Err(error_of(settings, &problems))
}

/// The servers whose headers and policies could be loaded, and the errors of the others.
fn configured(settings: &Settings) -> (Vec<Configured>, Problems) {
    let (mut configured, mut problems) = (Vec::new(), Problems::new());
    for (name, server, endpoint) in settings.hosted() {
        match server_of(settings, name, server, endpoint) {
            Ok(server) => configured.push(server),
            Err(error) => problems.push((name.to_owned(), format!("{error:#}"))),
        }
    }
    (configured, problems)
}

fn error_of(settings: &Settings, problems: &Problems) -> anyhow::Error {
    let (mut diagnostics, mut messages) = (Diagnostics::default(), Vec::new());
    for (name, what) in problems {
        let what = format!("servers.{name}: {what}");
        // Findings in a policy's file contain their position already.
        let is_placed = what.contains('\n');
        let place = || settings.spans().at_server(name, what.clone());
        match (!is_placed).then(place).flatten() {
            Some(finding) => diagnostics.push(finding),
            None => messages.push(what),
        }
    }
    if !diagnostics.is_empty() {
        messages.push(format!("the configuration does not load\n{}", diagnostics.coloured()));
    }
    anyhow::anyhow!(messages.join("\n"))
}

/// Settings of servers that are registered at run time.
pub(super) fn server_defaults(settings: &Settings) -> ServerDefaults {
    let named = |wanted: &dyn Fn(&Server) -> bool| {
        let named = settings.servers().filter(|(_, server)| wanted(server));
        named.map(|(name, _)| name.to_owned()).collect()
    };
    ServerDefaults {
        hide_denied: settings.hide_denied("", false),
        hiding: named(&|server| server.hide_denied),
        untrusted: named(&|server| server.trust == Some(Trust::None)),
    }
}

/// Variables with the gate's AWS credential, used without any configuration.
const AWS_CREDENTIALS: [&str; 3] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// Names of the variables with credentials of the gate.
pub(super) fn secrets(settings: &Settings) -> Vec<OsString> {
    let of_providers = settings.providers().iter().filter_map(|(_, it)| it.credential.as_ref());
    let of_servers = settings
        .hosted()
        .flat_map(|(_, server, _)| server.credential.iter().chain(server.headers.values()));
    let named = of_providers.chain(of_servers).filter_map(|source| match source {
        Source::Env(name) => Some(OsString::from(name)),
        Source::File(_) => None,
    });
    named.chain(AWS_CREDENTIALS.map(OsString::from)).collect()
}

fn own_policies(settings: &Settings, names: &[String]) -> anyhow::Result<Option<OwnPolicies>> {
    if names.is_empty() {
        return Ok(None);
    }
    let policies = policies::load(names, settings)?;
    policies.watch().context("the policy files cannot be watched")?;
    Ok(Some(OwnPolicies {
        policies,
        names: names.to_vec(),
        mode: policies::mode(settings),
        folder: settings.policy_dir.clone(),
    }))
}

fn server_of(
    settings: &Settings,
    name: &str,
    server: &Server,
    endpoint: &Endpoint,
) -> anyhow::Result<Configured> {
    Ok(Configured {
        name: name.to_owned(),
        endpoint: endpoint.clone(),
        policies: own_policies(settings, &server.policy)?,
        headers: headers(server, &HeaderMap::new())?,
        allow_http: server.allow_http,
        trusted: settings.trust(name, None) == Trust::Server,
        hide_denied: settings.hide_denied(name, false),
    })
}

/// Additional headers for the server with this name.
///
/// # Errors
/// If a variable or file cannot be read, or is not a valid header; with the position in the
/// file.
pub(super) fn headers_of(
    settings: &Settings,
    (name, server): (&str, &Server),
    given: &HeaderMap,
) -> anyhow::Result<HeaderMap> {
    let problems = |error| vec![(name.to_owned(), format!("{error:#}"))];
    headers(server, given).map_err(|error| error_of(settings, &problems(error)))
}

fn headers(server: &Server, given: &HeaderMap) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let of_bearer = server.credential.as_ref().map(|source| (AUTHORIZATION, "Bearer ", source));
    let named = server.headers.iter().map(|(name, source)| {
        let name = name.parse::<HeaderName>();
        Ok((name.context("a key of `headers` is not a header name")?, "", source))
    });
    for header in of_bearer.map(Ok::<_, anyhow::Error>).into_iter().chain(named) {
        let (name, before, source) = header?;
        if given.contains_key(&name) {
            continue;
        }
        let value = source.read().map_err(anyhow::Error::msg)?;
        let value = Zeroizing::new(format!("{before}{}", value.trim()));
        let value = HeaderValue::from_str(&value);
        let mut value = value.map_err(|_| anyhow::anyhow!("`{name}` contains a line break"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
