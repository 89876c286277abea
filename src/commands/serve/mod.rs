//! `agentgate serve`: the gate in front of the providers' APIs.

mod follow;
pub(super) mod serving;

use std::path::Path;

use anyhow::Context as _;

use self::serving::Serving;
use super::{Done, open_log};
use crate::admin::master::MasterKey;
use crate::cli::ServeArgs;
use crate::config::Home;
use crate::config::serve::{Legacy, Plan};
use crate::os::{self, StopRequests};
use crate::store::Store;
use crate::telemetry;

/// Variables with the master key; the first one set is used.
const MASTER_KEYS: [&str; 2] = ["AGENTGATE_MASTER_KEY", "MASTER_API_KEY"];

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<Done> {
    if telemetry::is_json() {
        os::forward_server_stderr(|program, line| tracing::info!(program, "{line}"));
    }
    // The variable applies to `wrap`, too, so its error message must.
    anyhow::ensure!(
        args.decide.agent.is_none() || std::env::var_os("AGENTGATE_AGENT").is_some(),
        "--agent is for `wrap`: whoever asks `serve` shows a key, and `agentgate agents create NAME` \
         makes one"
    );
    let plan = Plan::read(args, Home::find()?, &Legacy::from_env())?;
    let master = master_key(&plan)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let store = open(&plan)?;
    let served = runtime.block_on(serve(args, plan, master, &store));
    store.close();
    runtime.shutdown_background();
    served.map(|()| Done::Success)
}

/// Opens the log of `plan`.
pub(super) fn open(plan: &Plan) -> anyhow::Result<Store> {
    open_log(&plan.database, &plan.audit_sync.into())
}

async fn serve(
    args: &ServeArgs,
    plan: Plan,
    master: MasterKey,
    store: &Store,
) -> anyhow::Result<()> {
    // Before listening, so that no stop request is missed.
    let stop_requests = StopRequests::listen()?;
    let serving = Serving::start(&plan, store, master).await?;
    if plan.test_mode {
        telemetry::info("test mode: nothing is sent to any provider; the answers are mocks");
    }
    if std::env::var_os("AUDIT_DB_PATH").is_some() {
        tracing::warn!("AUDIT_DB_PATH is ignored: the format of this log differs; see --db");
    }
    for missing in plan.missing_credentials() {
        tracing::warn!("{missing}; until then its requests get 503");
    }
    if serving.agents() == 0 {
        telemetry::info(
            "no agents yet; `agentgate agents create NAME` or POST /agents registers one",
        );
    }
    for (provider, address) in serving.listeners() {
        telemetry::info(&format!("{} on http://{address}", provider.as_str()));
    }
    telemetry::info(&format!("serving on http://{}", serving.address()));
    follow::follow(args, plan, &serving, stop_requests).await;
    serving.stop().await
}

/// The master key from the environment, or from the file in the data folder.
fn master_key(plan: &Plan) -> anyhow::Result<MasterKey> {
    let named = MASTER_KEYS.iter().find_map(|name| {
        let text = std::env::var(name).ok().filter(|text| !text.trim_ascii().is_empty())?;
        Some((*name, text))
    });
    let key = match &named {
        Some((_, text)) => MasterKey::new(text)?,
        None => kept_key(&plan.settings.home.data.join("master.key"))?,
    };
    if let Some(weakness) = key.weakness() {
        let name = named.map_or("AGENTGATE_MASTER_KEY", |(name, _)| name);
        anyhow::ensure!(
            plan.listen.ip().is_loopback(),
            "the master key cannot guard {}: {weakness}; set {name} to a long random text, or unset \
             it and one is generated",
            plan.listen
        );
        tracing::warn!("the master key is weak: {weakness}");
    }
    Ok(key)
}

fn kept_key(file: &Path) -> anyhow::Result<MasterKey> {
    let (key, made) = MasterKey::load_or_make(file)
        .with_context(|| format!("the master key in {}", file.display()))?;
    match made {
        Some(text) if !is_kept() => telemetry::info(&format!(
            "the master key is {}\n           it is kept in {} and is not shown again",
            text.as_str(),
            file.display()
        )),
        Some(_) => {
            telemetry::info(&format!("a master key was generated; it is in {}", file.display()))
        }
        None => {}
    }
    Ok(key)
}

/// Whether standard error is stored, as by the journal of a service, a log collector or a file.
/// Secrets must not be written there.
fn is_kept() -> bool {
    let is_file = || os::files::stderr_is_file();
    telemetry::is_json() || std::env::var_os("JOURNAL_STREAM").is_some() || is_file()
}
