//! Removes old rows: on `POST /audit/purge`, and periodically.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::error::{Answer, ApiError};
use super::extract::QueryOrBody;
use super::openapi::Refusals;
use crate::store::purge::{self, Proof, Purged};
use crate::store::{Options, StoreError};

/// Interval of removing old rows.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Maximum retention, in days: a hundred years.
pub const MAX_RETENTION_DAYS: u32 = 36_500;

/// How much to keep.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Retention {
    /// Rows older than this many days are removed; 90 by default.
    #[param(minimum = 1, maximum = 36500, default = 90)]
    #[schema(minimum = 1, maximum = 36500, default = 90)]
    retention_days: Option<u32>,
}

/// Result of a purge.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PurgedView {
    /// Number of removed rows.
    purged: i64,
    retention_days: u32,
}

/// Removes old rows; the rest stays verifiable
///
/// The age is given by the parameter or in a body, not both.
#[utoipa::path(post, path = "/audit/purge", tag = "audit", params(Retention),
    request_body = Option<Retention>,
    responses((status = 200, body = PurgedView), Refusals), security(("master_key" = [])))]
pub(super) async fn purge(
    State(admin): State<Arc<Admin>>,
    QueryOrBody(retention): QueryOrBody<Retention>,
) -> Answer<Json<PurgedView>> {
    let retention_days = retention.retention_days.unwrap_or(90);
    if !(1..=MAX_RETENTION_DAYS).contains(&retention_days) {
        return Err(ApiError::invalid(format_args!("retention_days is 1 to {MAX_RETENTION_DAYS}")));
    }
    let purge = admin.blocking(move |admin| {
        let purged = older_than(&admin.database, &admin.options, retention_days)?;
        tracing::info!(rows = purged.decisions, retention_days, "old rows were removed");
        Ok(PurgedView { purged: purged.decisions, retention_days })
    });
    purge.await.map(Json)
}

/// Removes rows older than `days`: at once, every hour, and when the value changes. `None`
/// removes nothing. Ends when the sender is dropped.
pub async fn keep_retention(
    database: Arc<Path>,
    options: Options,
    mut days: watch::Receiver<Option<u32>>,
) {
    loop {
        let now = *days.borrow_and_update();
        tokio::select! {
            () = remove_hourly(&database, &options, now) => {}
            changed = days.changed() => if changed.is_err() { return },
        }
    }
}

/// Never returns.
async fn remove_hourly(database: &Arc<Path>, options: &Options, days: Option<u32>) {
    let Some(days) = days else { return std::future::pending().await };
    loop {
        let (path, options) = (Arc::clone(database), options.clone());
        let purged = tokio::task::spawn_blocking(move || older_than(&path, &options, days)).await;
        match purged {
            Ok(Ok(Purged { decisions: 0, .. })) | Err(_) => {}
            Ok(Ok(purged)) => {
                tracing::info!(rows = purged.decisions, days, "old rows were removed")
            }
            Ok(Err(error)) => tracing::error!(%error, "old rows could not be removed"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn older_than(path: &Path, options: &Options, days: u32) -> Result<Purged, StoreError> {
    let age = SignedDuration::from_hours(24 * i64::from(days.clamp(1, MAX_RETENTION_DAYS)));
    let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
    purge::purge(path, (before, Proof::Required), options, |_| {})
}
