//! `agentgate serve`: the gate in front of the providers' APIs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Done, policies};
use crate::admin::{self, Admin, AdminSettings, master::MasterKey};
use crate::cli::{AuditSync, OnAuditFailure, ServeArgs};
use crate::config::{Settings, serve as sites};
use crate::gate::escalate::Escalator;
use crate::gate::metrics::Metrics;
use crate::gate::{AuditFailure, Gate, Onlookers};
use crate::hosted::{self, Host, Hosted, Registration};
use crate::net::client::Client;
use crate::net::server;
use crate::os::{Stop, StopRequests};
use crate::policy::book::Book;
use crate::rest::identify::MASTER_KEY;
use crate::rest::inbound::Limits;
use crate::rest::proxy::Proxy;
use crate::rest::router;
use crate::rest::upstream::Exit;
use crate::store::agents::Registry;
use crate::store::directory::Directory;
use crate::store::escalations::Escalations;
use crate::store::{self, Store};

/// Where it listens unless told otherwise.
const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8100);

/// The policy of those who have none of their own.
const POLICY: &str = "default";

/// How long a provider may take to begin its answer.
const UPSTREAM: Duration = Duration::from_secs(60);

/// How often the configuration file is looked at.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<Done> {
    let settings = Settings::resolve(&args.decide)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let store = open(args, &settings)?;
    let served = runtime.block_on(serve(args, &settings, &store));
    store.close();
    runtime.shutdown_background();
    served.map(|()| Done::Success)
}

fn open(args: &ServeArgs, settings: &Settings) -> anyhow::Result<Store> {
    let options = store::Options {
        sync_full: settings.audit_sync(None) == AuditSync::Full,
        ..store::Options::default()
    };
    Ok(Store::open(&settings.database(&args.store), &options)?)
}

async fn serve(args: &ServeArgs, settings: &Settings, store: &Store) -> anyhow::Result<()> {
    // Before anything listens, so that no request to stop it can be missed.
    let told = StopRequests::listen()?;
    let listen = settings.listen(args.listen).unwrap_or(LISTEN);
    let master = master_key(settings)?;
    if let Some(weakness) = master.weakness() {
        anyhow::ensure!(
            listen.ip().is_loopback(),
            "the master key cannot guard {listen}: {weakness}; set AGENTGATE_MASTER_KEY"
        );
        tracing::warn!("the master key is weak: {weakness}");
    }
    let (proxy, admin) = assemble(args, settings, store, master.clone())?;
    let hosted = host(args, settings, &proxy, master)?;
    let app = router::router(Arc::clone(&proxy))
        .merge(admin::router(admin))
        .merge(hosted::router(hosted))
        .fallback(admin::not_found);
    let listener = bind(listen).await?;
    let (stop, stopped) = watch::channel(false);
    let mut serving = tokio::task::JoinSet::new();
    for (provider, at) in sites::listeners(settings.providers()) {
        let own = router::listener(Arc::clone(&proxy), provider);
        let listener = bind(at).await?;
        say(&format!("{} on http://{}", provider.as_str(), listener.local_addr()?));
        serving.spawn(listen_on(listener, own, stopped.clone()));
    }
    say(&format!("serving on http://{}", listener.local_addr()?));
    serving.spawn(listen_on(listener, app, stopped));
    let keeping = settings.retention_days(args.retention_days).map(|days| {
        let database = settings.database(&args.store).into();
        tokio::spawn(admin::keep_retention(database, store::Options::default(), days))
    });
    follow(args, &proxy, told).await;
    if let Some(keeping) = keeping {
        keeping.abort();
    }
    let _ = stop.send(true);
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    Ok(())
}

fn assemble(
    args: &ServeArgs,
    settings: &Settings,
    store: &Store,
    master: MasterKey,
) -> anyhow::Result<(Arc<Proxy>, Arc<Admin>)> {
    let database = settings.database(&args.store);
    let names = match settings.policies.is_empty() {
        true => vec![POLICY.to_owned()],
        false => settings.policies.clone(),
    };
    let policies = policies::load(&names, settings)?;
    let audit_failure = match settings.audit_failure(None) {
        OnAuditFailure::Refuse => AuditFailure::Refuse,
        OnAuditFailure::Allow => AuditFailure::Allow,
    };
    let metrics = Arc::new(Metrics::default());
    let escalations = Escalations::new(&database, &store::Options::default());
    let onlookers = Onlookers {
        metrics: Some(Arc::clone(&metrics)),
        escalator: Some(Arc::new(Escalator::new(Arc::new(escalations))?)),
    };
    let gate = Gate::new(policies.handle(), store.clone(), audit_failure).watched_by(onlookers);
    let book = Book::new(policies::lookup(settings), policies::mode(settings), policies);
    book.watch()?;
    let directory = Directory::open(Registry::new(&database, &store::Options::default()))?;
    let exit = match args.test_mode || truthy("TEST_MODE") {
        true => {
            tracing::warn!("test mode: nothing is sent anywhere, answers are mocks");
            None
        }
        false => Some(Exit::new(Client::new()?, args.upstream_timeout.unwrap_or(UPSTREAM))),
    };
    let limits = Limits { max_body: settings.max_body(args.max_body), ..Limits::default() };
    let proxy = Proxy {
        gate,
        book: Arc::clone(&book),
        directory: Arc::clone(&directory),
        exit,
        sites: ArcSwap::from_pointee(sites::sites(settings.providers())?),
        limits,
        session: uuid::Uuid::now_v7().to_string().into(),
        strangers: crate::rest::strangers::Strangers::default(),
    };
    let admin = AdminSettings {
        master,
        database,
        options: store::Options::default(),
        directory,
        book,
        metrics,
        cors_origins: settings.cors_origins(&args.cors_origins),
    };
    Ok((Arc::new(proxy), Admin::new(admin)))
}

/// The MCP servers at `/mcp/{name}`.
fn host(
    args: &ServeArgs,
    settings: &Settings,
    proxy: &Proxy,
    master: MasterKey,
) -> anyhow::Result<Arc<Hosted>> {
    let host = Host {
        gate: proxy.gate.clone(),
        book: Arc::clone(&proxy.book),
        directory: Arc::clone(&proxy.directory),
        client: Client::new()?,
        bridging: args.bridge.into(),
        max_message: settings.max_message(None),
        file: settings.home.data.join("mcp-servers.json"),
    };
    let configured = settings.hosted().into_iter();
    let configured = configured.map(|(name, url)| Registration { name, url, tools: Vec::new() });
    let is_master = move |headers: &http::HeaderMap| {
        let mut keys = headers.get_all(MASTER_KEY).iter();
        let (first, more) = (keys.next(), keys.next());
        master.is(first.map(http::HeaderValue::as_bytes).unwrap_or_default()) && more.is_none()
    };
    Ok(Hosted::open(host, configured.collect(), is_master)?)
}

/// The key from the environment, or the one in the data folder.
fn master_key(settings: &Settings) -> anyhow::Result<MasterKey> {
    for name in ["AGENTGATE_MASTER_KEY", "MASTER_API_KEY"] {
        if let Some(text) = std::env::var(name).ok().filter(|text| !text.is_empty()) {
            return Ok(MasterKey::new(&text)?);
        }
    }
    let file = settings.home.data.join("master.key");
    let (key, made) = MasterKey::load_or_make(&file)
        .with_context(|| format!("the master key in {}", file.display()))?;
    if let Some(text) = made {
        say(&format!(
            "the master key is {}\n           it is kept in {} and not shown again",
            text.as_str(),
            file.display()
        ));
    }
    Ok(key)
}

async fn bind(at: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(at).await.with_context(|| format!("cannot listen on {at}"))
}

async fn listen_on(
    listener: TcpListener,
    app: Router,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let stop = async move {
        // The sender only goes away with the process.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let service = app.into_service();
    server::serve(listener, service, server::Limits::default(), stop).await
}

/// Follows the configuration file until told to stop. `SIGHUP` looks at once.
async fn follow(args: &ServeArgs, proxy: &Proxy, mut told: StopRequests) {
    let read = || Settings::resolve(&args.decide);
    let mut before = read().ok();
    let mut complaint = None;
    loop {
        tokio::select! {
            how = told.next() => if how != Stop::HangUp { return },
            () = tokio::time::sleep(LOOK) => {}
        }
        let sites = match read() {
            Ok(now) if before.as_ref().is_some_and(|before| before.same_file(&now)) => continue,
            Ok(now) => sites::sites(now.providers()).map(|sites| (now, sites)),
            Err(error) => Err(error),
        };
        match sites {
            Ok((now, sites)) => {
                proxy.sites.store(Arc::new(sites));
                tracing::info!(
                    "the changed configuration of the providers is in force; other keys take a restart"
                );
                (before, complaint) = (Some(now), None);
            }
            Err(error) => {
                let error = error.to_string();
                if complaint.as_ref() != Some(&error) {
                    tracing::error!("the changed configuration is not used: {error}");
                }
                complaint = Some(error);
            }
        }
    }
}

fn truthy(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| matches!(&*value.to_lowercase(), "1" | "true" | "yes"))
}

/// Talk, not output: what a person who starts it needs to know.
fn say(words: &str) {
    anstream::eprintln!("agentgate: {words}");
}
