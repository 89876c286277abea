//! Records the outcome of an answer that streams to its client, once: when it is complete,
//! when it breaks off, or when the client disconnects.

use http::{Response, StatusCode};
use http_body::Body as _;

use crate::gate::{Gate, Receipt};
use crate::net::Body;
use crate::net::body::stepwise;
use crate::rest::rewrite::{CameWhole, Instead};
use crate::rest::upstream::{Origin, UpstreamError};
use crate::store::audit::Outcome;

/// An answer of which the log knows nothing yet. Dropped, it is recorded with what
/// upstream said.
pub(super) struct OutcomeRecorder {
    gate: Gate,
    receipt: Receipt,
    /// Who answers.
    origin: Origin,
    /// `None` once it is recorded.
    status: Option<StatusCode>,
}

impl OutcomeRecorder {
    pub(super) fn new(gate: Gate, receipt: Receipt, origin: Origin, status: StatusCode) -> Self {
        Self { gate, receipt, origin, status: Some(status) }
    }

    /// Who answers.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// It is passed on as `response`.
    pub(super) fn passed_on(mut self, response: Response<Body>) -> Response<Body> {
        self.status = Some(response.status());
        if let Some(Instead(why)) = response.extensions().get() {
            self.status = None;
            let status = format!("the gate answered {}: {why}", response.status().as_u16());
            self.gate.release(&self.receipt, Outcome::Error, status);
            return response;
        }
        if response.body().is_end_stream() || response.extensions().get::<CameWhole>().is_some() {
            return response;
        }
        // A client that is slow to take it makes no upstream slow.
        self.receipt.answered();
        response.map(|body| {
            stepwise(body, move |next| {
                if let Some(Err(error)) = &next {
                    self.broke_off(error);
                }
                next
            })
        })
    }

    /// It broke off. The receipt is for whoever has to say so.
    pub(super) fn broke_off(&mut self, error: &axum::Error) -> (UpstreamError, &Receipt) {
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
