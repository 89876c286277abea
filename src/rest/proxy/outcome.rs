//! Records the outcome of an answer that streams to its client, once: when it is complete,
//! when it breaks off, or when the client disconnects.

use http::{Response, StatusCode};
use http_body::Body as _;

use crate::gate::{Gate, Receipt};
use crate::net::Body;
use crate::net::body::stepwise;
use crate::rest::rewrite::{Buffered, GatewayReply};
use crate::rest::upstream::{Origin, UpstreamError};
use crate::store::audit::Outcome;

/// A response whose outcome is not recorded yet. Dropped, it is recorded with upstream's
/// status.
pub(super) struct OutcomeRecorder {
    gate: Gate,
    receipt: Receipt,
    /// Where the response came from.
    origin: Origin,
    /// `None` once recorded.
    status: Option<StatusCode>,
}

impl OutcomeRecorder {
    pub(super) fn new(gate: Gate, receipt: Receipt, origin: Origin, status: StatusCode) -> Self {
        Self { gate, receipt, origin, status: Some(status) }
    }

    /// Where the response came from.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Records the outcome when `response` ends.
    pub(super) fn record_at_end(mut self, response: Response<Body>) -> Response<Body> {
        self.status = Some(response.status());
        if let Some(GatewayReply(why)) = response.extensions().get() {
            self.status = None;
            let status = format!("the gate answered {}: {why}", response.status().as_u16());
            self.gate.release(&self.receipt, Outcome::Error, status);
            return response;
        }
        if response.body().is_end_stream() || response.extensions().get::<Buffered>().is_some() {
            return response;
        }
        // A slow client must not count as upstream latency.
        self.receipt.answered();
        response.map(|body| {
            stepwise(body, move |next| {
                if let Some(Err(error)) = &next {
                    self.broken(error);
                }
                next
            })
        })
    }

    /// Records that the response broke off; the receipt is for the error response.
    pub(super) fn broken(&mut self, error: &axum::Error) -> (UpstreamError, &Receipt) {
        let error = UpstreamError::broken(self.origin.host(), error);
        self.status = None;
        self.gate.release(&self.receipt, Outcome::Error, error.to_string());
        (error, &self.receipt)
    }
}

impl Drop for OutcomeRecorder {
    fn drop(&mut self) {
        if let Some(status) = self.status {
            self.gate.release(&self.receipt, Outcome::Forwarded, status.as_u16().to_string());
        }
    }
}
