//! `agentgate wrap`: a server behind the gate, over standard input and output.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use anyhow::Context as _;

use super::{Done, check_trailing_options, name_of, open_log, policies, remote, seen_tools};
use crate::action::Transport;
use crate::cli::{OnAuditFailure, Trust, WrapArgs};
use crate::config::Settings;
use crate::gate::{AuditFailure, Gate};
use crate::mcp::http::children::{Children, Limits};
use crate::mcp::http::front::{Backend, Incoming};
use crate::mcp::http::pools::Pools;
use crate::mcp::http::remote::{Remote, Target};
use crate::mcp::http::secrets::Secrets;
use crate::mcp::relay::{self, Relay};
use crate::mcp::session;
use crate::mcp::tools::FirstSeen;
use crate::net::client::Client;
use crate::net::memory::MemoryBudget;
use crate::os::{self, Child, StopRequests};

pub(super) fn run(args: &WrapArgs) -> anyhow::Result<Done> {
    check_trailing_options("wrap", &args.command)?;
    let url = remote::url(&args.command, &args.remote)?;
    if let Some(option) = args.listen.about_listening(url.is_some()) {
        anyhow::bail!("{option} has no effect without --listen ADDR");
    }
    let settings = Settings::resolve(&args.decide)?;
    let name = name_of(args.server.name.as_deref(), &args.command, url, &settings)?;
    let options = settings.audit_sync(args.audit_sync).into();
    let store = open_log(&settings.database(&args.store), &options)
        .context("the server was not started")?;
    let policies = policies::load(&settings.policies_for(&name, &args.decide), &settings)?;
    policies.watch().context("the policy files cannot be watched")?;
    let gate = Gate::new(policies.handle(), store.clone(), audit_failure(&settings, args));
    let of_relay = relay::Settings {
        trusted: settings.trust(&name, args.server.trust) == Trust::Server,
        first_seen: FirstSeen::default(),
        server: name.as_str().into(),
        agent: settings.agent.clone(),
        transport: if args.listen.listen.is_some() { Transport::Http } else { Transport::Stdio },
        session: uuid::Uuid::now_v7().to_string().into(),
        hide_denied: settings.hide_denied(&name, args.hide_denied),
        max_message: settings.max_message(args.max_message),
        answer_memory: None,
    };
    if url.is_some() || args.listen.listen.is_some() {
        let served = serve_http(url, args, &settings, gate, &of_relay);
        store.close();
        return served;
    }
    hint_at_client();
    let relay = Arc::new(Relay::new(gate, of_relay));
    // A second thread would only pass lines back and forth.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(serve(&relay, args));
    store.close();
    seen_tools::save(&settings.home, &name, relay.tools_listed());
    // Does not wait for a blocking read from a terminal or file.
    runtime.shutdown_background();
    code.map(Done::Exit)
}

/// Serves with HTTP on at least one side.
fn serve_http(
    url: Option<&str>,
    args: &WrapArgs,
    settings: &Settings,
    gate: Gate,
    of_relay: &relay::Settings,
) -> anyhow::Result<Done> {
    let listens = args.listen.listen.is_some();
    let template = of_relay.clone();
    let of_refusals = gate.clone();
    let answer_memory = MemoryBudget::default();
    let budget = answer_memory.clone();
    let begin = move |incoming: &Incoming| {
        // Several conversations get session ids of their own.
        let session = match listens {
            true => uuid::Uuid::now_v7().to_string().into(),
            false => Arc::clone(&template.session),
        };
        let answer_memory = listens.then(|| budget.for_sender(&incoming.principal));
        Relay::new(gate.clone(), relay::Settings { session, answer_memory, ..template.clone() })
    };
    let runtime = match listens {
        true => tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        false => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
    };
    let drain = settings.shutdown_timeout(args.listen.shutdown_timeout);
    let inside = runtime.enter();
    let backend = match url {
        None => Backend::Command(children(args, settings, of_relay, begin)),
        Some(url) => Backend::Remote(server_at(url, args, settings, of_relay, begin)?),
    };
    let served = match backend {
        Backend::Remote(remote) if !listens => {
            hint_at_client();
            let transport = args.remote.transport;
            runtime.block_on(remote::over_stdio(remote, of_relay, (transport, drain)))
        }
        backend => {
            let served = (backend, answer_memory);
            runtime.block_on(remote::over_http(served, of_relay, of_refusals, (args, drain)))
        }
    };
    drop(inside);
    runtime.shutdown_background();
    served
}

/// Runs the command once per session. Must be called within a runtime.
fn children(
    args: &WrapArgs,
    settings: &Settings,
    of_relay: &relay::Settings,
    begin: impl Fn(&Incoming) -> Relay + Send + Sync + 'static,
) -> Arc<Pools> {
    let (children, idle) = settings.sessions(&args.listen);
    let limits = Limits { max_message: of_relay.max_message, children, each: children, idle };
    // Children must not know the token of this listener.
    let secrets = args.listen.token_env.iter().map(OsString::from);
    let secrets = Secrets::new(secrets.collect());
    let children = Children::without(secrets, &args.command, limits, begin);
    let pools = Pools::new(children, settings.bridge(args.bridge).into());
    tokio::spawn(Pools::reap(Arc::downgrade(&pools)));
    pools
}

/// A server at a URL.
fn server_at(
    url: &str,
    args: &WrapArgs,
    settings: &Settings,
    of_relay: &relay::Settings,
    begin: impl Fn(&Incoming) -> Relay + Send + Sync + 'static,
) -> anyhow::Result<Arc<Remote>> {
    let listens = args.listen.listen.is_some();
    let client = Client::new()?;
    let target = Target {
        // The token of this listener must not be sent to the server.
        keeps_authorization: listens && args.listen.token_env.is_some(),
        adds_param_headers: !listens,
        bridging: settings.bridge(args.bridge).into(),
        ..remote::target(url, args, settings, &client, of_relay)?
    };
    Ok(Remote::new(client, target, begin))
}

/// Hints at a client configuration if standard input is a terminal, where nothing would seem to
/// happen.
fn hint_at_client() {
    if io::stdin().is_terminal() {
        anstream::eprintln!(
            "agentgate: waiting for an MCP client on standard input; this command belongs in a client's \
             configuration. `agentgate inspect` shows what the server offers; Ctrl-C ends this"
        );
    }
}

async fn serve(relay: &Arc<Relay>, args: &WrapArgs) -> anyhow::Result<u8> {
    // Before starting the server, so that no stop request is missed.
    let stop_requests = StopRequests::listen()?;
    let (program, rest) = args.command.split_first().context("no command is given")?;
    let client = os::stdio().context("cannot use standard input and output")?;
    let server = Child::spawn(program, rest)
        .with_context(|| format!("cannot start `{}`", program.display()))?;
    let (input, output) = client;
    let client = session::Client { input, writer: relay.write_client(output), gone: os::unread() };
    Ok(session::run(relay, client, server, stop_requests).await?)
}

fn audit_failure(settings: &Settings, args: &WrapArgs) -> AuditFailure {
    match settings.audit_failure(args.audit_failure) {
        OnAuditFailure::Refuse => AuditFailure::Refuse,
        OnAuditFailure::Allow => AuditFailure::Allow,
    }
}
