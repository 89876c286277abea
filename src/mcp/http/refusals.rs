//! Requests that are refused before a message of theirs is looked at: the answer,
//! and the row in the log.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use super::problem::{self, INVALID_REQUEST};
use crate::action::{Action, Agent, Flaw, Malformed, Target, Transport};
use crate::gate::Gate;
use crate::gate::strangers::{Note, Strangers};
use crate::net::Body;

/// Why a request is not looked at further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status that says so.
    pub status: StatusCode,
    /// In words for the sender.
    pub what: Cow<'static, str>,
}

impl Refusal {
    /// A refusal in these words.
    #[must_use]
    pub fn new(status: StatusCode, what: impl Into<Cow<'static, str>>) -> Self {
        Self { status, what: what.into() }
    }

    /// The answer, with the row that it has in the log.
    #[must_use]
    pub fn answer(&self, row: Option<&str>) -> Response<Body> {
        tracing::warn!(status = self.status.as_u16(), what = &*self.what, "a request was refused");
        let mut response = problem::error(self.status, None, INVALID_REQUEST, &self.what);
        let named = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "1")),
            StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, "GET, POST, DELETE")),
            _ => None,
        };
        if let Some((name, value)) = named {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        problem::mark(&mut response, row);
        response
    }
}

/// Records refused requests. Those of senders that nobody knows share a row for
/// each source and minute, so that nobody can flood the log.
#[derive(Debug)]
pub struct Refusals {
    gate: Gate,
    /// The run, in the log.
    session: Arc<str>,
    strangers: Strangers,
}

impl Refusals {
    /// Records to the log of `gate`.
    #[must_use]
    pub fn new(gate: Gate) -> Self {
        let session = uuid::Uuid::now_v7().to_string().into();
        Self { gate, session, strangers: Strangers::default() }
    }

    /// Records a request for `server` whose sender nobody knows, and gives the
    /// row that it is counted in.
    pub async fn stranger(&self, server: &str, source: IpAddr, what: &str) -> Option<String> {
        let more = match self.strangers.note(source, Instant::now()) {
            Note::Counted(row) => return row,
            Note::Row { more } => more,
        };
        let mut what = format!("{what}, from {source}");
        if more > 0 {
            what.push_str(&format!("; {more} more in the minute before"));
        }
        let target = Malformed {
            flaw: Flaw::Unidentified,
            server: server.into(),
            method: "HTTP".to_owned(),
            what,
        };
        let row = self.record(Agent::stranger(), target).await;
        self.strangers.wrote(source, row.clone());
        row
    }

    /// Records a request of `agent`'s for `server` that cannot be read for
    /// certain, and gives its row.
    pub async fn faulty(
        &self,
        server: &str,
        agent: &Agent,
        method: &str,
        what: &str,
    ) -> Option<String> {
        let target = Malformed {
            flaw: Flaw::Ambiguous,
            server: server.into(),
            method: method.to_owned(),
            what: what.to_owned(),
        };
        self.record(agent.clone(), target).await
    }

    async fn record(&self, agent: Agent, target: Malformed) -> Option<String> {
        let action = Action {
            at: jiff::Timestamp::now(),
            agent,
            session: Arc::clone(&self.session),
            transport: Transport::Http,
            target: Target::Malformed(target),
        };
        match self.gate.admit(Arc::new(action), ()).await {
            Ok(permit) => permit.redeem().1.request_id().map(str::to_owned),
            Err(denial) => denial.request_id,
        }
    }
}
