//! `agentgate wrap`: a server behind the gate, over standard input and output.

use std::sync::Arc;

use anyhow::Context as _;

use super::{Done, policies, seen};
use crate::action::Transport;
use crate::cli::{AuditSync, OnAuditFailure, Trust, WrapArgs};
use crate::config::Settings;
use crate::gate::{AuditFailure, Gate};
use crate::mcp::name::server_name;
use crate::mcp::relay::{self, Relay};
use crate::mcp::session;
use crate::os::{self, Child, StopRequests};
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
    let policies = policies::load(&settings.policies_for(&name, &args.decide), &settings)?;
    policies.watch().context("the policy files cannot be followed")?;
    let gate = Gate::new(policies.handle(), store.clone(), audit_failure(&settings, args));
    let relay = Arc::new(Relay::new(
        gate,
        relay::Settings {
            trusted: settings.trust(&name, args.server.trust) == Trust::Server,
            server: name.as_str().into(),
            agent: settings.agent.clone(),
            transport: Transport::Stdio,
            session: uuid::Uuid::now_v7().to_string().into(),
            hide_denied: args.hide_denied,
            max_message: settings.max_message(args.max_message),
        },
    ));
    // One thread: a second one would only hand lines back and forth.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(serve(&relay, args));
    store.close();
    seen::remember(&settings.home, &name, relay.tools_listed());
    // A read from a terminal or a file that is still under way holds nobody up.
    runtime.shutdown_background();
    code.map(Done::Exit)
}

async fn serve(relay: &Arc<Relay>, args: &WrapArgs) -> anyhow::Result<u8> {
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
