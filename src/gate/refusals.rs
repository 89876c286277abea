//! Requests that an adapter refuses before there is anything to judge: each has its
//! row, and those of senders that nobody knows share one for each source and minute,
//! so that nobody can flood the log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Gate;
use super::strangers::{Note, Strangers};
use crate::action::{Action, Agent, Malformed, Target, Transport};

/// Records refused requests of one adapter.
#[derive(Debug)]
pub struct Refusals {
    gate: Gate,
    transport: Transport,
    /// The run, in the log.
    session: Arc<str>,
    strangers: Strangers,
}

impl Refusals {
    /// Records to the log of `gate`.
    #[must_use]
    pub fn new(gate: Gate, transport: Transport, session: Arc<str>) -> Self {
        Self { gate, transport, session, strangers: Strangers::default() }
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
        let flawed = Malformed::unidentified(server, what);
        let row = self.faulty(Agent::stranger(), flawed).await;
        self.strangers.wrote(source, row.clone());
        row
    }

    /// Records a request of `agent`'s that cannot be read for certain, and gives its
    /// row.
    pub async fn faulty(&self, agent: Agent, flawed: Malformed) -> Option<String> {
        self.faulty_under(&self.gate, agent, flawed).await
    }

    /// The same under the policy of `gate`.
    pub async fn faulty_under(
        &self,
        gate: &Gate,
        agent: Agent,
        flawed: Malformed,
    ) -> Option<String> {
        let action = Action {
            at: jiff::Timestamp::now(),
            agent,
            session: Arc::clone(&self.session),
            transport: self.transport,
            target: Target::Malformed(flawed),
        };
        match gate.admit(Arc::new(action), ()).await {
            Ok(permit) => permit.redeem().1.request_id().map(str::to_owned),
            Err(denial) => denial.request_id,
        }
    }
}
