//! The admin API: agents and their keys, policies, the log, health and metrics.
//!
//! One file a resource. `routes` lists every call once: the router and the
//! OpenAPI document are checked against it. Calls that need the database run on blocking
//! threads, never on the runtime's workers.

mod agents;
mod audit;
mod error;
mod escalations;
mod export;
mod extract;
mod filters;
mod guard;
mod health;
pub mod master;
mod openapi;
mod policies;
mod retention;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};
use tokio::sync::Semaphore;

use crate::gate::metrics::Metrics;
use crate::policy::catalog::PolicyCatalog;
use crate::store::directory::Directory;
use crate::store::escalations::Escalations;
use crate::store::read::Reader;
use crate::store::{Options, Store};

pub use agents::{AgentStats, AgentView, IssuedView, MAX_GRACE};
pub use error::{ApiError, ErrorBody};
pub use retention::{MAX_RETENTION_DAYS, keep_retention};

use error::Answer;
use master::MasterKey;

/// Maximum number of calls that use the database concurrently; others wait.
const MAX_BUSY: usize = 8;

/// State of the admin API.
#[derive(Debug)]
pub struct Admin {
    master: MasterKey,
    database: PathBuf,
    options: Options,
    store: Store,
    directory: Arc<Directory>,
    catalog: Arc<PolicyCatalog>,
    escalations: Escalations,
    metrics: Arc<Metrics>,
    cors_origins: ArcSwap<Vec<String>>,
    busy: Arc<Semaphore>,
}

/// Parameters of [`Admin::new`].
#[derive(Debug)]
pub struct AdminSettings {
    /// The key that callers must present.
    pub master: MasterKey,
    /// The database.
    pub database: PathBuf,
    /// How to open it.
    pub options: Options,
    /// The store that writes to it.
    pub store: Store,
    /// The agents.
    pub directory: Arc<Directory>,
    /// The policies.
    pub catalog: Arc<PolicyCatalog>,
    /// The gate's metrics.
    pub metrics: Arc<Metrics>,
    /// Origins of web pages that may call, such as `https://console.example`; none by default.
    pub cors_origins: Vec<String>,
}

impl Admin {
    /// Creates the state.
    #[must_use]
    pub fn new(settings: AdminSettings) -> Arc<Self> {
        let AdminSettings {
            master,
            database,
            options,
            store,
            directory,
            catalog,
            metrics,
            cors_origins,
        } = settings;
        Arc::new(Self {
            escalations: Escalations::new(&database, &options),
            busy: Arc::new(Semaphore::new(MAX_BUSY)),
            master,
            database,
            options,
            store,
            directory,
            catalog,
            metrics,
            cors_origins: ArcSwap::from_pointee(cors_origins),
        })
    }

    /// Replaces the origins of pages that may call.
    pub fn set_cors_origins(&self, origins: Vec<String>) {
        self.cors_origins.store(Arc::new(origins));
    }

    /// Runs `work`, which may block, on a thread of its own.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let turn = Arc::clone(&self.busy).acquire_owned().await;
        let admin = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&admin)
        });
        done.await.map_err(|_| ApiError::internal("a panic while answering"))?
    }

    fn reader(&self) -> Answer<Reader> {
        Ok(Reader::open(&self.database)?)
    }
}

/// A call of the API.
struct Route {
    path: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the document is held to it by a test"))]
    method: Method,
    handler: MethodRouter<Arc<Admin>>,
    /// Whether it requires the master key.
    guarded: bool,
}

fn guarded<H, T>(method: Method, path: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<Admin>>,
    T: 'static,
{
    Route { guarded: true, ..open(method, path, handler) }
}

fn open<H, T>(method: Method, path: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<Admin>>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    Route { path, method, handler: on(filter, handler), guarded: false }
}

/// All calls.
fn routes() -> Vec<Route> {
    vec![
        open(Method::GET, "/", health::service),
        open(Method::GET, "/health", health::health),
        open(Method::GET, "/providers", health::providers),
        open(Method::GET, "/metrics", health::metrics),
        open(Method::GET, "/openapi.json", openapi::document),
        guarded(Method::GET, "/agents", agents::list),
        guarded(Method::POST, "/agents", agents::create),
        guarded(Method::GET, "/agents/{agent_id}", agents::get),
        guarded(Method::DELETE, "/agents/{agent_id}", agents::delete),
        guarded(Method::POST, "/agents/{agent_id}/rotate-key", agents::rotate),
        guarded(Method::GET, "/agents/{agent_id}/stats", agents::stats),
        guarded(Method::GET, "/policies", policies::list),
        guarded(Method::POST, "/policies", policies::load),
        guarded(Method::GET, "/policies/{name}", policies::get),
        guarded(Method::PUT, "/policies/{name}", policies::put),
        guarded(Method::DELETE, "/policies/{name}", policies::delete),
        guarded(Method::GET, "/audit/logs", audit::logs),
        guarded(Method::GET, "/audit/stats", audit::stats),
        guarded(Method::GET, "/audit/export", export::export),
        guarded(Method::POST, "/audit/purge", retention::purge),
        guarded(Method::GET, "/l3/escalations", escalations::list),
        guarded(Method::POST, "/l3/resolve/{id}", escalations::resolve),
    ]
}

/// The router, without a fallback: use [`not_found`] where it is mounted beside other routes.
pub fn router(admin: Arc<Admin>) -> Router {
    let mut router = Router::new();
    for Route { path, handler, guarded, .. } in routes() {
        let handler = match guarded {
            true => handler.route_layer(from_fn_with_state(Arc::clone(&admin), guard::key)),
            false => handler,
        };
        router = router.route(path, handler);
    }
    router
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(guard::panics))
        .layer(from_fn(guard::headers))
        .layer(guard::cors(Arc::clone(&admin)))
        .with_state(admin)
}

/// The response for unknown paths.
pub async fn not_found(request: Request) -> ApiError {
    ApiError::not_found(format_args!("there is nothing at `{}`", request.uri().path()))
}

/// The response for methods that a path does not support.
pub async fn method_not_allowed(request: Request) -> ApiError {
    let what = format_args!("`{}` does not take {}", request.uri().path(), request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", what)
}
