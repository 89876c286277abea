//! `agentgate wrap`: a server behind the gate, over standard input and output.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;

use super::Done;
use crate::action::Transport;
use crate::cli::{AuditSync, OnAuditFailure, Trust, WrapArgs};
use crate::config::Settings;
use crate::gate::{AuditFailure, Gate};
use crate::mcp::name::server_name;
use crate::mcp::relay::{self, Relay};
use crate::mcp::session;
use crate::os::{self, Child, StopRequests};
use crate::policy::{self, Policy};
use crate::store::{self, Store};

pub(super) fn run(args: &WrapArgs) -> anyhow::Result<Done> {
    let settings = Settings::resolve(&args.decide)?;
    let name = args.server.name.clone().unwrap_or_else(|| server_name(&args.command));
    let options = store::Options {
        sync_full: settings.audit_sync(args.audit_sync) == AuditSync::Full,
        ..store::Options::default()
    };
    let store = Store::open(&settings.database(&args.store), &options)
        .context("the server was not started")?;
    let policy = load(&settings.policies_for(&name, &args.decide), &settings)?;
    let policy = Arc::new(ArcSwap::from_pointee(policy));
    let gate = Gate::new(policy, store.clone(), audit_failure(&settings, args));
    let relay = Relay::new(
        gate,
        relay::Settings {
            trusted: settings.trust(&name, args.server.trust) == Trust::Server,
            server: name.into(),
            agent: settings.agent.clone(),
            transport: Transport::Stdio,
            session: uuid::Uuid::now_v7().to_string().into(),
            hide_denied: args.hide_denied,
            max_message: settings.max_message(args.max_message),
        },
    );
    // One thread: a second one would only hand lines back and forth.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(serve(&relay, args));
    store.close();
    // A read from a terminal or a file that is still under way holds nobody up.
    runtime.shutdown_background();
    code.map(Done::Exit)
}

async fn serve(relay: &Relay, args: &WrapArgs) -> anyhow::Result<u8> {
    // Before the server exists, so that no request to stop it can be missed.
    let told = StopRequests::listen()?;
    let (program, rest) = args.command.split_first().context("no command is given")?;
    let client = os::stdio().context("cannot use standard input and output")?;
    let server = Child::spawn(program, rest)
        .with_context(|| format!("cannot start `{}`", program.display()))?;
    Ok(session::run(relay, client, server, told).await?)
}

fn audit_failure(settings: &Settings, args: &WrapArgs) -> AuditFailure {
    match settings.audit_failure(args.audit_failure) {
        OnAuditFailure::Refuse => AuditFailure::Refuse,
        OnAuditFailure::Allow => AuditFailure::Allow,
    }
}

fn load(names: &[String], settings: &Settings) -> anyhow::Result<Policy> {
    let mode = settings.mode.map(|mode| match mode {
        crate::cli::Mode::Enforce => policy::Mode::Enforce,
        crate::cli::Mode::Observe => policy::Mode::Observe,
    });
    let default = ["annotations".to_owned()];
    let names = if names.is_empty() { &default[..] } else { names };
    let files: anyhow::Result<Vec<_>> = names
        .iter()
        .map(|name| {
            if let Some(file) = policy::annotations::built_in(name) {
                return Ok(Arc::new(file));
            }
            let text = match policy::bundled(name) {
                Some(text) => text.to_owned(),
                None => {
                    std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?
                }
            };
            let file = policy::load_str(name, &text)
                .map_err(|found| anyhow::anyhow!("the policy {name} does not load\n{found}"))?;
            Ok(Arc::new(file))
        })
        .collect();
    Ok(Policy::join(&files?, mode))
}
