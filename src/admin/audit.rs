//! `/audit`: the log, page by page, in figures, whole, and what is old of it.

use std::io::{self, Write};
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use jiff::{Span, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::problem::Problem;
use super::{Admin, blocking};
use crate::net::Body;
use crate::store::read::{Filter, Reader};
use crate::store::row::Row;
use crate::store::{Options, StoreError, csv, purge};

/// Rows on one page, at most.
const MAX_PAGE: u64 = 10_000;

/// How far back pages reach; beyond it a time is named.
const MAX_OFFSET: u64 = 1_000_000;

/// Bytes of an export sent at once, and how many such pieces may wait.
const PIECE: usize = 64 << 10;
const PIECES: usize = 4;

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/audit/logs", get(logs))
        .route("/audit/stats", get(stats))
        .route("/audit/export", get(export))
        .route("/audit/purge", post(remove_old))
}

/// What selects rows. An agent is named by its name or its id.
#[derive(Debug, Clone, Default, Deserialize)]
struct Selection {
    agent_id: Option<String>,
    agent: Option<String>,
    decision: Option<String>,
    provider: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Selection {
    fn filter(self, admin: &Admin) -> Result<Filter, Problem> {
        let named = self.agent.or(self.agent_id);
        let agent = match named {
            None => None,
            Some(named) => {
                let found = admin.directory.registry().find(&named)?;
                Some(found.map_or(named, |agent| agent.name.to_string()))
            }
        };
        Ok(Filter {
            agent,
            decision: self.decision,
            server: self.provider,
            since: self.since,
            until: self.until,
            ..Filter::default()
        })
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default = "fifty")]
    limit: u64,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    pretty: bool,
}

fn fifty() -> u64 {
    50
}

async fn logs(
    State(admin): State<Arc<Admin>>,
    selection: Result<Query<Selection>, QueryRejection>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let (Query(selection), Query(page)) = (selection?, page?);
    if page.limit == 0 || page.limit > MAX_PAGE || page.offset > MAX_OFFSET {
        let detail = format!("`limit` is 1 to {MAX_PAGE}, `offset` at most {MAX_OFFSET}");
        return Err(Problem::invalid(detail));
    }
    let (rows, total) = blocking(move || {
        let filter = selection.filter(&admin)?;
        if !admin.database.exists() {
            return Ok((Vec::new(), 0));
        }
        let reader = Reader::open(&admin.database)?;
        let mut rows = Vec::new();
        reader.rows(&filter, page.limit + page.offset, |row| -> Result<(), Problem> {
            rows.push(shown(&row));
            Ok(())
        })?;
        rows.reverse();
        let rows: Vec<Value> = rows.into_iter().skip(page.offset as usize).collect();
        Ok((rows, reader.stats(&filter)?.decisions))
    })
    .await?;
    let body = json!({ "logs": rows, "total": total });
    if !page.pretty {
        return Ok(Json(body).into_response());
    }
    let mut text = serde_json::to_string_pretty(&body).unwrap_or_default();
    text.push('\n');
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// A row by the names of the contract, and by those that scripts know.
fn shown(row: &Row) -> Value {
    let mut shown = serde_json::to_value(row).unwrap_or_default();
    if let Some(object) = shown.as_object_mut() {
        let refused = (row.decision != "allow").then_some(row.reason.as_str());
        let status = row.status.as_deref().and_then(|status| status.parse::<u16>().ok());
        for (name, value) in [
            ("timestamp", json!(row.time_text())),
            ("agent_name", json!(row.agent)),
            ("path", json!(row.tool)),
            ("deny_reason", json!(refused)),
            ("latency_ms", json!(row.upstream_ms)),
            ("status_code", json!(status)),
            ("request_id", json!(row.id.as_str())),
        ] {
            object.insert(name.to_owned(), value);
        }
    }
    shown
}

async fn stats(
    State(admin): State<Arc<Admin>>,
    selection: Result<Query<Selection>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(selection) = selection?;
    blocking(move || {
        let filter = selection.filter(&admin)?;
        let stats = match admin.database.exists() {
            true => Reader::open(&admin.database)?.stats(&filter)?,
            false => crate::store::stats::Stats::default(),
        };
        let mut shown = serde_json::to_value(&stats).unwrap_or_default();
        if let Some(object) = shown.as_object_mut() {
            let named = |names: &[crate::store::stats::Named]| -> Value {
                let pairs = names.iter().map(|named| (named.name.clone(), named.decisions.into()));
                Value::Object(pairs.collect())
            };
            object.insert("total_requests".to_owned(), stats.decisions.into());
            object.insert("by_provider".to_owned(), named(&stats.by_server));
            object.insert("avg_latency_ms".to_owned(), stats.upstream_ms_mean.into());
            object.insert("max_latency_ms".to_owned(), stats.upstream_ms_max.into());
        }
        Ok(Json(shown))
    })
    .await
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Csv,
}

#[derive(Debug, Deserialize)]
struct Export {
    #[serde(default)]
    format: Format,
    /// 0 for all.
    #[serde(default)]
    limit: u64,
}

async fn export(
    State(admin): State<Arc<Admin>>,
    selection: Result<Query<Selection>, QueryRejection>,
    export: Result<Query<Export>, QueryRejection>,
) -> Result<Response, Problem> {
    let (Query(selection), Query(Export { format, limit })) = (selection?, export?);
    let (reader, filter) = blocking(move || {
        let filter = selection.filter(&admin)?;
        Ok((Reader::open(&admin.database)?, filter))
    })
    .await?;
    let (pieces, stream) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(PIECE, Pieces(pieces));
        let written = match format {
            Format::Json => write_json(&reader, &filter, limit, &mut out),
            Format::Csv => write_csv(&reader, &filter, limit, &mut out),
        };
        if let Err(error) = written.and_then(|()| Ok(out.flush()?)) {
            tracing::debug!(%error, "an export broke off");
            let _ = out.get_ref().0.blocking_send(Err(io::Error::other("the export broke off")));
        }
    });
    let stream = futures_util::stream::unfold(stream, |mut stream| async {
        stream.recv().await.map(|piece| (piece, stream))
    });
    let (kind, name) = match format {
        Format::Json => ("application/json", "attachment; filename=audit_logs.json"),
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=audit_logs.csv"),
    };
    let headers = [(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Why an export ended before its end.
#[derive(Debug, thiserror::Error)]
enum BrokenOff {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Hands what is written to whoever reads the answer, who may be slow.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(piece)));
        sent.map(|()| piece.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_json(
    reader: &Reader,
    filter: &Filter,
    limit: u64,
    out: &mut impl Write,
) -> Result<(), BrokenOff> {
    out.write_all(b"{\"logs\":[")?;
    let mut count = 0u64;
    reader.rows(filter, limit, |row| -> Result<(), BrokenOff> {
        out.write_all(if count == 0 { b"\n" } else { b",\n" })?;
        count += 1;
        Ok(serde_json::to_writer(&mut *out, &shown(&row))?)
    })?;
    Ok(write!(out, "\n],\"count\":{count}}}\n")?)
}

fn write_csv(
    reader: &Reader,
    filter: &Filter,
    limit: u64,
    out: &mut impl Write,
) -> Result<(), BrokenOff> {
    csv::header(out)?;
    reader.rows(filter, limit, |row| -> Result<(), BrokenOff> { Ok(csv::row(out, &row)?) })
}

#[derive(Debug, Deserialize)]
struct Purge {
    #[serde(default = "ninety")]
    retention_days: u32,
}

fn ninety() -> u32 {
    90
}

async fn remove_old(
    State(admin): State<Arc<Admin>>,
    query: Result<Query<Purge>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Purge { retention_days }) = query?;
    blocking(move || {
        let hours = i64::from(retention_days) * 24;
        let before = Timestamp::now().checked_sub(Span::new().hours(hours));
        let before = before.map_err(|error| Problem::invalid(error.to_string()))?;
        let purged = purge::purge(&admin.database, before, &Options::default(), |_| {})?;
        Ok(Json(json!({ "purged": purged.decisions, "retention_days": retention_days })))
    })
    .await
}
