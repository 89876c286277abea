//! A running `serve`: how it is assembled, reconfigured and stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::action::{Provider, Transport};
use crate::admin::{self, Admin, AdminSettings, master::MasterKey};
use crate::cli::OnAuditFailure;
use crate::commands::{hosting, listening, policies};
use crate::config::serve::Plan;
use crate::gate::escalate::Escalator;
use crate::gate::metrics::Metrics;
use crate::gate::refusals::Refusals;
use crate::gate::{AuditFailure, Gate, Hooks};
use crate::hosted::{self, Host, Hosted};
use crate::keys::MASTER_KEY;
use crate::mcp::http::secrets::Secrets;
use crate::net::client::Client;
use crate::net::memory::MemoryBudget;
use crate::net::server::{self, Remaining};
use crate::net::workers::Workers;
use crate::policy::catalog::PolicyCatalog;
use crate::rest::inbound::Limits;
use crate::rest::proxy::Proxy;
use crate::rest::router;
use crate::rest::upstream::UpstreamClient;
use crate::store::agents::Registry;
use crate::store::directory::Directory;
use crate::store::escalations::Escalations;
use crate::store::{self, Store};

/// A running gate.
#[derive(Debug)]
pub(in crate::commands) struct Serving {
    proxy: Arc<Proxy>,
    admin: Arc<Admin>,
    hosted: Arc<Hosted>,
    address: SocketAddr,
    own: Vec<(Provider, SocketAddr)>,
    retention: watch::Sender<Option<u32>>,
    keeping: JoinHandle<()>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Remaining>,
    /// A child process must be stopped on the worker that started it, so they are kept until
    /// the end.
    workers: Arc<Workers>,
}

impl Serving {
    /// Starts listening.
    pub(in crate::commands) async fn start(
        plan: &Plan,
        store: &Store,
        master: MasterKey,
    ) -> anyhow::Result<Self> {
        let (proxy, admin) = assemble(plan, store, master.clone())?;
        let hosted = host(plan, &proxy, master)?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let workers = Arc::new(Workers::start()?);
        let others = admin::router(Arc::clone(&admin))
            .merge(
                hosted::router(Arc::clone(&hosted))
                    .method_not_allowed_fallback(admin::method_not_allowed),
            )
            .fallback(admin::not_found);
        let app = router::Front { proxy: Arc::clone(&proxy), others };
        let listener = listening::bind(plan.listen, "--listen").await?;
        let address = listener.local_addr()?;
        let drain = plan.shutdown_timeout;
        let mut own = Vec::new();
        for (provider, at) in plan.listeners() {
            let key = format!("providers.{}.listen", provider.as_str());
            let listener = listening::bind(at, &key).await?;
            own.push((provider, listener.local_addr()?));
            let app = router::OneProvider { proxy: Arc::clone(&proxy), provider };
            tasks.spawn(listen_on((listener, app), Arc::clone(&workers), drain, stopped.clone()));
        }
        tasks.spawn(listen_on((listener, app), Arc::clone(&workers), drain, stopped));
        let (retention, days) = watch::channel(plan.retention_days);
        let database = plan.database.as_path().into();
        let keeping = tokio::spawn(admin::keep_retention(database, plan.audit_sync.into(), days));
        Ok(Self { proxy, admin, hosted, address, own, retention, keeping, stop, tasks, workers })
    }

    /// The address it listens on.
    pub(in crate::commands) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listeners of single providers.
    pub(super) fn listeners(&self) -> &[(Provider, SocketAddr)] {
        &self.own
    }

    /// Number of registered agents.
    pub(super) fn agents(&self) -> usize {
        self.proxy.directory.len()
    }

    /// Applies what can change without a restart from `plan`: all of it, or nothing on error.
    pub(super) fn apply(&self, plan: &Plan) -> anyhow::Result<()> {
        let Plan { settings, .. } = plan;
        let servers = hosting::set_up_servers(settings, |configured| {
            self.hosted.prepare(configured, hosting::secrets(settings))
        })?;
        let lookup = policies::lookup(settings);
        let reloaded =
            self.proxy.catalog.reload(&settings.policies, lookup, policies::mode(settings));
        reloaded.map_err(|found| policies::load_error(&found, settings))?;
        servers.apply();
        self.hosted.set_defaults(hosting::server_defaults(settings));
        self.proxy.configs.store(Arc::new(plan.provider_configs()));
        self.proxy.limits.store(Arc::new(limits(plan)));
        if let Some(upstream_client) = &self.proxy.upstream_client {
            upstream_client.set_timeout(plan.upstream_timeout);
        }
        self.admin.set_cors_origins(plan.cors_origins.clone());
        self.retention.send_if_modified(|days| {
            std::mem::replace(days, plan.retention_days) != plan.retention_days
        });
        Ok(())
    }

    /// Waits for requests in flight, aborts the rest, and stops.
    pub(in crate::commands) async fn stop(mut self) -> anyhow::Result<()> {
        self.keeping.abort();
        let _ = self.stop.send(true);
        let mut remaining = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            remaining.push(ended?);
        }
        if let Some(upstream_client) = &self.proxy.upstream_client {
            upstream_client.abort_all();
        }
        self.hosted.abort_all();
        join_all(remaining.iter().map(Remaining::answered)).await;
        self.proxy.refusals.close().await;
        self.hosted.close().await;
        join_all(remaining.into_iter().map(Remaining::end)).await;
        // Aborted requests have results to record, too.
        if let Some(workers) = Arc::into_inner(self.workers) {
            workers.close().await;
        }
        Ok(())
    }
}

fn assemble(
    plan: &Plan,
    store: &Store,
    master: MasterKey,
) -> anyhow::Result<(Arc<Proxy>, Arc<Admin>)> {
    let Plan { settings, database, .. } = plan;
    let policies = policies::load(&settings.policies, settings)?;
    let audit_failure = match plan.audit_failure {
        OnAuditFailure::Refuse => AuditFailure::Refuse,
        OnAuditFailure::Allow => AuditFailure::Allow,
    };
    let metrics = Arc::new(Metrics::default());
    let options = store::Options::from(plan.audit_sync);
    let escalations = Escalations::new(database, &options);
    let hooks = Hooks {
        metrics: Some(Arc::clone(&metrics)),
        escalator: Some(Arc::new(Escalator::new(Arc::new(escalations))?)),
    };
    let gate = Gate::new(policies.handle(), store.clone(), audit_failure).with_hooks(hooks);
    let catalog =
        PolicyCatalog::new(policies::lookup(settings), policies::mode(settings), policies);
    catalog.watch()?;
    let directory = Directory::open(Registry::new(database, &options))?;
    let upstream_client = match plan.test_mode {
        true => None,
        false => Some(UpstreamClient::new(Client::new()?, plan.upstream_timeout)),
    };
    let session: Arc<str> = uuid::Uuid::now_v7().to_string().into();
    let proxy = Proxy {
        refusals: Refusals::new(gate.clone(), Transport::Rest, Arc::clone(&session)),
        session,
        gate,
        catalog: Arc::clone(&catalog),
        directory: Arc::clone(&directory),
        upstream_client,
        public_url: plan.public_url.clone(),
        configs: ArcSwap::from_pointee(plan.provider_configs()),
        limits: ArcSwap::from_pointee(limits(plan)),
        request_memory: MemoryBudget::default(),
        answer_memory: MemoryBudget::default(),
    };
    let admin = AdminSettings {
        master,
        database: database.clone(),
        options,
        store: store.clone(),
        directory,
        catalog,
        metrics,
        cors_origins: plan.cors_origins.clone(),
    };
    Ok((Arc::new(proxy), Admin::new(admin)))
}

fn limits(plan: &Plan) -> Limits {
    Limits { max_body: plan.max_body, ..Limits::default() }
}

/// Sets up the MCP servers at `/mcp/{name}`.
fn host(plan: &Plan, proxy: &Proxy, master: MasterKey) -> anyhow::Result<Arc<Hosted>> {
    let host = Host {
        gate: proxy.gate.clone(),
        catalog: Arc::clone(&proxy.catalog),
        directory: Arc::clone(&proxy.directory),
        client: client(plan)?,
        bridging: plan.bridging,
        request_memory: proxy.request_memory.clone(),
        answer_memory: proxy.answer_memory.clone(),
        max_message: plan.max_message,
        file: plan.settings.home.data.join("mcp-servers.json"),
        allow_http: plan.allow_http,
        defaults: Arc::new(ArcSwap::from_pointee(hosting::server_defaults(&plan.settings))),
        secrets: Secrets::new(hosting::secrets(&plan.settings)),
    };
    let is_master = move |headers: &http::HeaderMap| {
        let mut keys = headers.get_all(MASTER_KEY).iter();
        let (first, more) = (keys.next(), keys.next());
        master.is(first.map(http::HeaderValue::as_bytes).unwrap_or_default()) && more.is_none()
    };
    hosting::set_up_servers(&plan.settings, |configured| Hosted::open(host, configured, is_master))
}

/// Test mode needs no root certificates.
fn client(plan: &Plan) -> anyhow::Result<Client> {
    match Client::new() {
        Err(_) if plan.test_mode => Ok(Client::without_roots()?),
        client => Ok(client?),
    }
}

async fn listen_on(
    (listener, app): (TcpListener, impl server::App),
    workers: Arc<Workers>,
    drain: Duration,
    mut stopped: watch::Receiver<bool>,
) -> Remaining {
    let stop = async move {
        // The sender is dropped only when the process ends.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let limits = server::Limits { drain, ..server::Limits::default() };
    server::serve(listener, app, limits, &workers, stop).await
}
