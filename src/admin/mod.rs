//! The admin API: agents and their keys, policies, the log, and what is there.
//! One file a resource; every call but discovery takes the master key.

pub mod agents;
mod audit;
mod discovery;
pub mod master;
mod policies;
mod problem;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use crate::policy::book::Book;
use crate::rest::identify::MASTER_KEY;
use crate::rest::reply;
use crate::store::StoreError;
use crate::store::directory::Directory;
use crate::store::read::Reader;
use master::MasterKey;
use problem::Problem;

/// The largest body of a call, in bytes: a policy is the largest thing there is.
const MAX_BODY: usize = 1 << 20;

/// What the admin API works on.
#[derive(Debug)]
pub struct Admin {
    /// Who may call.
    pub master: MasterKey,
    /// Agents and their keys.
    pub directory: Arc<Directory>,
    /// Policies by name.
    pub book: Arc<Book>,
    /// Where the log is.
    pub database: PathBuf,
}

/// The routes of the API.
pub fn router(admin: Arc<Admin>) -> Router {
    let guarded = Router::new()
        .merge(agents::routes())
        .merge(policies::routes())
        .merge(audit::routes())
        .route_layer(middleware::from_fn_with_state(Arc::clone(&admin), guard));
    discovery::routes()
        .merge(guarded)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(|mut response: Response| async {
            reply::protect(response.headers_mut());
            response
        }))
        .with_state(admin)
}

/// The master key, or 401. Nothing of a request is looked at before.
async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let mut keys = request.headers().get_all(MASTER_KEY).iter();
    let (presented, more) = (keys.next(), keys.next());
    let presented = presented.map_or(&b""[..], |key| key.as_bytes());
    if more.is_none() && admin.master.is(presented) {
        return next.run(request).await;
    }
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Invalid master key").into_response()
}

impl Admin {
    /// Reads the log on a thread that may wait.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let database = self.database.clone();
        blocking(move || read(&Reader::open(&database)?).map_err(Problem::from)).await
    }
}

/// Runs what may wait on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an admin call failed");
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call failed"))
    })
}
