//! `/audit/export`: all rows that a filter selects, streamed.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Admin;
use super::audit::LogRow;
use super::error::Answer;
use super::extract::Both;
use super::filters::{Exported, Filters};
use super::openapi::Refusals;
use crate::store::read::{Filter, Reader};
use crate::store::row::{COLUMNS, Row};
use crate::store::{StoreError, csv};

/// Size of chunks, in bytes.
const CHUNK: usize = 64 << 10;

/// Maximum number of chunks queued for the client.
const WAITING: usize = 4;

/// How long a client may leave the queue full: an open reader keeps the write-ahead log from
/// restarting.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Columns known to existing scripts, after those of the log.
const MORE_COLUMNS: [&str; 9] = [
    "timestamp",
    "agent_id",
    "agent_name",
    "path",
    "provider",
    "deny_reason",
    "status_code",
    "latency_ms",
    "request_id",
];

/// Every row that a filter selects, oldest first, as JSON or CSV
///
/// CSV values that a spreadsheet would read as formulas are prefixed with `'`. The response is
/// cut off if the log cannot be read to its end.
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(Filters, Exported),
    responses((status = 200, content((super::openapi::Export = "application/json"),
                                     (String = "text/csv"))), Refusals),
    security(("master_key" = [])))]
pub(super) async fn export(
    State(admin): State<Arc<Admin>>,
    Both(filters, exported): Both<Filters, Exported>,
) -> Answer<Response> {
    let (is_csv, limit) = (exported.is_csv()?, exported.limit.unwrap_or_default());
    let opened = admin.blocking(move |admin| {
        let filter = admin.filter(filters, exported.session, exported.before)?;
        let reader = admin.reader()?;
        // Before the first row: afterwards the status cannot change.
        filter.iter().try_for_each(|filter| reader.accepts(filter))?;
        Ok((filter, reader))
    });
    let (filter, reader) = opened.await?;
    let (chunks, taken) = mpsc::channel(WAITING);
    let writing = Arc::clone(&admin);
    // Not by `Admin::blocking`, whose slots a slow client would occupy.
    tokio::task::spawn_blocking(move || {
        let mut out =
            Chunks { chunks, whole: Vec::with_capacity(CHUNK), handle: Handle::current() };
        let written = match (filter, is_csv) {
            (None, true) => header(&mut out),
            (None, false) => out.write_all(b"{\"logs\":[],\"count\":0}\n"),
            (Some(filter), true) => write_csv(&mut out, &writing, &reader, &filter, limit),
            (Some(filter), false) => write_json(&mut out, &writing, &reader, &filter, limit),
        };
        if let Err(error) = written.and_then(|()| out.flush()) {
            tracing::warn!(%error, "an export broke off");
            out.fail(error);
        }
    });
    let body = stream::unfold(taken, |mut taken| async { Some((taken.recv().await?, taken)) });
    let (kind, name) = match is_csv {
        true => ("text/csv; charset=utf-8", "attachment; filename=audit_logs.csv"),
        false => ("application/json", "attachment; filename=audit_logs.json"),
    };
    let headers = [(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn write_json(
    out: &mut Chunks,
    admin: &Admin,
    reader: &Reader,
    filter: &Filter,
    limit: u64,
) -> io::Result<()> {
    out.write_all(b"{\"logs\":[")?;
    let (mut count, mut separator) = (0_u64, "\n");
    each(reader, filter, limit, |row| {
        out.write_all(separator.as_bytes())?;
        (count, separator) = (count + 1, ",\n");
        serde_json::to_writer(&mut *out, &LogRow::new(row, admin)).map_err(io::Error::from)
    })?;
    writeln!(out, "\n],\"count\":{count}}}")
}

fn write_csv(
    out: &mut Chunks,
    admin: &Admin,
    reader: &Reader,
    filter: &Filter,
    limit: u64,
) -> io::Result<()> {
    header(out)?;
    each(reader, filter, limit, |row| {
        let values = row.values();
        let more = LogRow::new(row, admin).more_values();
        csv::line(out, values.iter().chain(&more).map(String::as_str))
    })
}

fn header(out: &mut Chunks) -> io::Result<()> {
    csv::line(out, COLUMNS.into_iter().chain(MORE_COLUMNS))
}

fn each(
    reader: &Reader,
    filter: &Filter,
    limit: u64,
    mut write: impl FnMut(Row) -> io::Result<()>,
) -> io::Result<()> {
    /// Errors of visiting rows.
    enum Ended {
        Read(StoreError),
        Write(io::Error),
    }
    impl From<StoreError> for Ended {
        fn from(error: StoreError) -> Self {
            Self::Read(error)
        }
    }
    let visited = reader.rows(filter, limit, |row| write(row).map_err(Ended::Write));
    visited.map_err(|ended| match ended {
        Ended::Read(error) => io::Error::other(error),
        Ended::Write(error) => error,
    })
}

/// Sends chunks to the client.
struct Chunks {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    whole: Vec<u8>,
    handle: Handle,
}

impl Chunks {
    fn send(&self, chunk: io::Result<Bytes>) -> io::Result<()> {
        let sent = self.handle.block_on(self.chunks.send_timeout(chunk, WRITE_TIMEOUT));
        sent.map_err(|_| io::Error::other("the client does not read any more"))
    }

    /// Fails the body, so that the client knows that it is incomplete.
    fn fail(&self, error: io::Error) {
        // The client may be gone.
        let _ = self.send(Err(error));
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.whole.extend_from_slice(bytes);
        if self.whole.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.whole, Vec::with_capacity(CHUNK));
        if chunk.is_empty() { Ok(()) } else { self.send(Ok(chunk.into())) }
    }
}
