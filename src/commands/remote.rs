//! A server behind a URL: its location and headers, and the listener in front of it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use zeroize::Zeroizing;

use super::{Done, hosting, listening};
use crate::cli::{self, RemoteArgs, WrapArgs};
use crate::config::Settings;
use crate::gate::Gate;
use crate::gate::refusals::Refusals;
use crate::mcp::bridge::Bridging;
use crate::mcp::http::front::{self, Backend, Front, ListenerSettings};
use crate::mcp::http::remote::{Remote, Target};
use crate::mcp::http::stdio::{End, PipedClient, Pipes, Transport};
use crate::mcp::relay;
use crate::net::client::Client;
use crate::net::memory::MemoryBudget;
use crate::net::workers::Workers;
use crate::net::{is_loopback, server};
use crate::oauth;
use crate::os::{self, StopRequests};
use crate::telemetry;

/// Looks up an environment variable.
type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

/// Words in the names of headers with secret values.
const SECRETS: [&str; 6] = ["authorization", "cookie", "key", "password", "secret", "token"];

/// The URL, if the command is one.
///
/// # Errors
/// If the URL is invalid, or `args` require a URL.
pub(super) fn url<'c>(
    command: &'c [OsString],
    args: &RemoteArgs,
) -> anyhow::Result<Option<&'c str>> {
    let (first, rest) = command.split_first().context("no command is given")?;
    let Some((scheme, _)) = first.to_str().and_then(|first| first.split_once("://")) else {
        if let Some(meant) = first.to_str().filter(|_| rest.is_empty()).and_then(cli::meant_url) {
            let first = first.display();
            anyhow::bail!("there is no command `{first}`; if it is a server's URL, write {meant}");
        }
        let first = first.display();
        if let Some(option) = args.about_url() {
            anyhow::bail!("{option} is only for a server behind a URL, but `{first}` is a command");
        }
        return Ok(None);
    };
    let url = first.to_str();
    if !cli::is_http(scheme) {
        let meant = url.and_then(cli::meant_url).map(|meant| format!("; write {meant}"));
        let (first, meant) = (first.display(), meant.unwrap_or_default());
        anyhow::bail!("`{first}` is neither a command nor an http or https URL{meant}");
    }
    match rest.first() {
        None => Ok(url),
        Some(more) => anyhow::bail!("a URL takes no arguments, but `{}` follows", more.display()),
    }
}

/// The server's name derived from its URL: the host without common parts.
pub(super) fn name(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or("server");
    if host.parse::<std::net::IpAddr>().is_ok() || host == "localhost" {
        return host.to_owned();
    }
    let labels: Vec<&str> =
        host.split('.').filter(|label| !matches!(*label, "www" | "mcp" | "api")).collect();
    labels.first().map_or_else(|| host.to_owned(), |label| (*label).to_owned())
}

/// Parses and checks a server's URL.
///
/// # Errors
/// If nothing may be sent to it.
pub(super) fn usable(url: &str, allow_http: bool) -> anyhow::Result<Uri> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
    anyhow::ensure!(
        !uri.authority().is_some_and(|authority| authority.as_str().contains('@')),
        "a URL must not contain a user or a password, because anyone on this machine can read it; \
         use --header-env Authorization=VAR"
    );
    uri.host().with_context(|| format!("`{url}` names no host"))?;
    anyhow::ensure!(
        uri.scheme_str() == Some("https") || is_loopback(&uri) || allow_http,
        "`{url}` is plain HTTP to another machine, where anyone on the way can read it; \
         use https, or --allow-http"
    );
    Ok(uri)
}

/// The server at `url`.
pub(super) fn target(
    url: &str,
    args: &WrapArgs,
    settings: &Settings,
    client: &Client,
    of_relay: &relay::Settings,
) -> anyhow::Result<Target> {
    let uri = usable(url, settings.allow_http(&of_relay.server, args.remote.allow_http))?;
    let typed = headers(&args.remote, &|name| std::env::var(name).ok())?;
    let of_file = settings.server_at(&args.command, Some(&of_relay.server))?;
    let of_file =
        of_file.map(|server| hosting::headers_of(settings, server, &typed)).transpose()?;
    let mut headers = of_file.unwrap_or_default();
    headers.extend(typed);
    let parsed = url::Url::parse(url).with_context(|| format!("`{url}` is not a URL"))?;
    let login = match headers.contains_key(AUTHORIZATION) {
        true => None,
        // Without login if tokens must not be sent to the server.
        false => oauth::Session::for_url(
            &parsed,
            &settings.home.data,
            client.clone(),
            oauth::Options::default(),
        )
        .ok(),
    };
    Ok(Target {
        uri,
        login,
        headers,
        keeps_authorization: false,
        adds_param_headers: false,
        plain: false,
        bridging: Bridging::Never,
        max_message: of_relay.max_message,
    })
}

/// The headers for the server, with variables substituted.
///
/// # Errors
/// If a header is invalid, contains a literal secret, or refers to a missing variable.
pub(super) fn headers(args: &RemoteArgs, variables: Variables<'_>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for text in &args.headers {
        let (name, value) = text.split_once(':').context("write --header 'NAME: VALUE'")?;
        let (name, value) = (header_name(name)?, value.trim());
        let secret = SECRETS.iter().any(|word| name.as_str().contains(word));
        anyhow::ensure!(
            !secret || value.contains("${"),
            "the value of `{name}` would be on the command line, where anyone on this machine can read it; \
             write '{name}: ${{VARIABLE}}', or --header-env {name}=VARIABLE"
        );
        headers.insert(name, sensitive(&expanded(value, variables)?)?);
    }
    for text in &args.header_env {
        let (name, variable) = text.split_once('=').context("write --header-env NAME=VARIABLE")?;
        headers.insert(header_name(name)?, sensitive(&secret(variable, variables)?)?);
    }
    if let Some(name) = &args.bearer_env {
        let value = Zeroizing::new(format!("Bearer {}", &*secret(name, variables)?));
        headers.insert(AUTHORIZATION, sensitive(&value)?);
    }
    Ok(headers)
}

fn header_name(text: &str) -> anyhow::Result<HeaderName> {
    text.trim().parse().with_context(|| format!("`{}` is not a header name", text.trim()))
}

fn sensitive(value: &str) -> anyhow::Result<HeaderValue> {
    let value = HeaderValue::from_str(value.trim());
    let mut value = value.map_err(|_| anyhow::anyhow!("a header's value contains a line break"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn variable(name: &str, variables: Variables<'_>) -> anyhow::Result<Zeroizing<String>> {
    let value = variables(name.trim());
    value.map(Zeroizing::new).with_context(|| format!("the variable {} is not set", name.trim()))
}

/// A secret from a variable, trimmed. Must not be empty: depending on its use, it would admit
/// everybody or nobody.
fn secret(name: &str, variables: Variables<'_>) -> anyhow::Result<Zeroizing<String>> {
    let value = variable(name, variables)?;
    anyhow::ensure!(!value.trim().is_empty(), "the variable {} is empty", name.trim());
    Ok(Zeroizing::new(value.trim().to_owned()))
}

/// Substitutes `${NAME}` by the variable.
fn expanded(value: &str, variables: Variables<'_>) -> anyhow::Result<Zeroizing<String>> {
    let mut out = Zeroizing::new(String::new());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').context("`${` without `}` in --header")?;
        out.push_str(before);
        out.push_str(&variable(name, variables)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Serves the remote server on standard input and output. After being told to stop, requests in
/// flight may take `drain`.
pub(super) async fn over_stdio(
    remote: Arc<Remote>,
    settings: &relay::Settings,
    (transport, drain): (cli::Transport, Duration),
) -> anyhow::Result<Done> {
    let mut stop_requests = StopRequests::listen()?;
    let (input, output) = os::stdio().context("cannot use standard input and output")?;
    let transport = match transport {
        cli::Transport::Auto => Transport::Auto,
        cli::Transport::Http => Transport::Streamable,
        cli::Transport::Sse => Transport::Sse,
    };
    let limits = (settings.max_message, drain);
    let client = PipedClient::new(remote, settings.agent.clone(), transport, limits);
    let stop = async {
        stop_requests.next().await;
    };
    Ok(match client.run(Pipes { input, output, gone: os::unread() }, stop).await {
        End::Client | End::Stopped => Done::Success,
        End::Server => Done::Exit(1),
    })
}

/// Checks whether the gate may listen at `address`; returns the token that clients must send,
/// if any.
///
/// # Errors
/// Why it may not.
pub(super) fn may_listen(
    args: &WrapArgs,
    address: SocketAddr,
    variables: Variables<'_>,
) -> anyhow::Result<Option<Zeroizing<String>>> {
    anyhow::ensure!(
        args.remote.transport != cli::Transport::Sse,
        "HTTP+SSE servers are served over standard input and output only; omit --listen"
    );
    let token = args.listen.token_env.as_deref();
    let token = token.map(|name| secret(name, variables)).transpose()?;
    anyhow::ensure!(
        address.ip().is_loopback() || token.is_some(),
        "{address} can be reached from other machines; add --token-env VARIABLE"
    );
    Ok(token)
}

/// Serves the server over HTTP. Answers are counted in `answer_memory`.
pub(super) async fn over_http(
    (backend, answer_memory): (Backend, MemoryBudget),
    of_relay: &relay::Settings,
    gate: Gate,
    (args, drain): (&WrapArgs, Duration),
) -> anyhow::Result<Done> {
    let mut stop_requests = StopRequests::listen()?;
    let address = args.listen.listen.context("--listen is not given")?;
    let token = may_listen(args, address, &|name| std::env::var(name).ok())?.map(Arc::new);
    let listener = listening::bind(address, "--listen").await?;
    let settings = ListenerSettings {
        address: listener.local_addr()?,
        token,
        request_memory: MemoryBudget::default(),
        answer_memory,
        max_message: of_relay.max_message,
    };
    telemetry::info(&format!("listening on http://{}{}", settings.address, front::PATH));
    let refusals = Refusals::new(gate, of_relay.transport, of_relay.session.clone());
    let app = Arc::new(Front {
        settings,
        backend: backend.clone(),
        agent: of_relay.agent.clone(),
        server: Arc::clone(&of_relay.server),
        refusals: refusals.clone(),
    });
    let stop = async move {
        stop_requests.next().await;
    };
    let limits = server::Limits { drain, ..server::Limits::default() };
    // A child process must be stopped on the worker that started it.
    let workers = Workers::start()?;
    let remaining = server::serve(listener, app, limits, &workers, stop).await;
    backend.abort_all();
    remaining.answered().await;
    backend.close().await;
    remaining.end().await;
    refusals.close().await;
    workers.close().await;
    Ok(Done::Success)
}
