//! Records requests that an adapter refuses before there is anything to judge: each in a row of its
//! own, but unauthenticated ones in one row per source and minute, so that nobody can flood the
//! log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::unauthenticated::{Count, PendingCount, Unauthenticated, Windows};
use super::{Gate, Hooks};
use crate::action::{Action, Agent, Malformed, Target, Transport};

/// Time limit for writing pending counts at shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Records the requests that one adapter refuses before they become an action.
#[derive(Debug, Clone)]
pub struct Refusals {
    gate: Gate,
    transport: Transport,
    /// Session id in the audit log.
    session: Arc<str>,
    unauthenticated: Arc<Unauthenticated>,
}

impl Refusals {
    /// Records through `gate`.
    #[must_use]
    pub fn new(gate: Gate, transport: Transport, session: Arc<str>) -> Self {
        Self { gate, transport, session, unauthenticated: Arc::default() }
    }

    /// Records an unauthenticated request for `server` and returns the id of the row that
    /// counts it. The first of a minute and source has a row; the others are counted in one row
    /// at the end of the minute.
    pub async fn record_unauthenticated(
        &self,
        server: &str,
        source: IpAddr,
        what: &str,
    ) -> Option<String> {
        let (more, window) =
            match self.unauthenticated.count(source, Instant::now(), (server, what)) {
                Count::Added { row, needs_sweeper } => {
                    self.gate.count_unauthenticated(self.transport, server);
                    if needs_sweeper {
                        tokio::spawn(self.clone().sweep());
                    }
                    return row;
                }
                Count::RowNeeded { more, window } => (more, window),
            };
        let mut what = format!("{what}, from {source}");
        if more > 0 {
            what.push_str(&format!("; {more} more in the minute before"));
        }
        let malformed = Malformed::unidentified(server, what);
        let row = self.record_malformed(Agent::unidentified(), malformed).await;
        if row.is_none() {
            self.unauthenticated.add_back(window, more + 1);
        }
        self.unauthenticated.set_row(window, row.clone());
        row
    }

    /// Writes all pending counts, at shutdown.
    pub async fn close(&self) {
        let write = self.write_counts(Windows::All);
        if timeout(CLOSE_TIMEOUT, write).await.is_err() {
            tracing::error!("refused requests are missing in the log: it takes too long to write");
        }
    }

    /// Writes pending counts at the end of each window, until there are none.
    async fn sweep(self) {
        while let Some(end) = self.unauthenticated.next_end() {
            sleep_until(end).await;
            self.write_counts(Windows::Ended).await;
        }
    }

    async fn write_counts(&self, which: Windows) {
        // Without hooks: each request has been counted already.
        let gate = self.gate.clone().with_hooks(Hooks::default());
        for PendingCount { source, server, what, count } in
            self.unauthenticated.take(which, Instant::now())
        {
            let from = source.map_or("many sources".to_owned(), |source| source.to_string());
            let what = format!("{what}, from {from}; {count} in the minute before");
            let malformed = Malformed::unidentified(&server, what);
            let row = self.record_malformed_under(&gate, Agent::unidentified(), malformed).await;
            if row.is_none() {
                self.unauthenticated.add_back(source, count);
            }
            self.unauthenticated.set_row(source, row);
        }
    }

    /// Records a request of `agent` that cannot be parsed unambiguously. Returns the id of its
    /// row.
    pub async fn record_malformed(&self, agent: Agent, malformed: Malformed) -> Option<String> {
        self.record_malformed_under(&self.gate, agent, malformed).await
    }

    /// [`Refusals::record_malformed`] under the policy of `gate`.
    pub async fn record_malformed_under(
        &self,
        gate: &Gate,
        agent: Agent,
        malformed: Malformed,
    ) -> Option<String> {
        let action = Action {
            at: jiff::Timestamp::now(),
            agent,
            session: Arc::clone(&self.session),
            transport: self.transport,
            target: Target::Malformed(malformed),
        };
        match gate.admit(Arc::new(action), ()).await {
            Ok(permit) => permit.redeem().1.request_id().map(str::to_owned),
            Err(denial) => denial.request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use tempfile::TempDir;

    use super::super::AuditFailure;
    use super::super::metrics::Metrics;
    use super::super::unauthenticated::WINDOW;
    use super::*;
    use crate::policy::{Policy, load_str};
    use crate::store::read::{Filter, Reader};
    use crate::store::{Options, Store, StoreError};

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    struct Stage {
        folder: TempDir,
        metrics: Arc<Metrics>,
        refusals: Refusals,
    }

    impl Stage {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(&folder.path().join("log.db"), &Options::default()).unwrap();
            let policy = Policy::from_file(load_str("test", "name: test\nrules: []\n").unwrap());
            let policy = Arc::new(ArcSwap::from_pointee(policy));
            let metrics = Arc::new(Metrics::default());
            let hooks = Hooks { metrics: Some(Arc::clone(&metrics)), escalator: None };
            let gate = Gate::new(policy, store, AuditFailure::Refuse).with_hooks(hooks);
            let refusals = Refusals::new(gate, Transport::Rest, "s".into());
            Self { folder, metrics, refusals }
        }

        async fn refuse(&self, server: &str, times: usize) -> Option<String> {
            let mut row = None;
            for _ in 0..times {
                row = self.refusals.record_unauthenticated(server, SOURCE, "no key").await;
            }
            row
        }

        /// Provider, id and reason of each row.
        fn rows(&self) -> Vec<(String, String, String)> {
            let reader = Reader::open(&self.folder.path().join("log.db")).unwrap();
            let mut rows = Vec::new();
            let visited: Result<(), StoreError> = reader.rows(&Filter::default(), 0, |row| {
                rows.push((row.server, row.id.as_str().to_owned(), row.reason));
                Ok(())
            });
            visited.unwrap();
            rows
        }

        async fn has_rows(&self, count: usize) {
            for _ in 0..10_000 {
                if self.rows().len() >= count {
                    break;
                }
                tokio::task::yield_now().await;
            }
            assert_eq!(self.rows().len(), count);
        }

        fn counted(&self, provider: &str) -> Option<u64> {
            let line = format!(
                "agentgate_requests_total{{provider=\"{provider}\",decision=\"unauthenticated\"}} "
            );
            let text = self.metrics.text();
            text.lines().find_map(|other| other.strip_prefix(&line)?.parse().ok())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_counted_at_once_and_written_when_the_minute_is_over() {
        let stage = Stage::new();
        stage.refuse("github", 1).await;
        stage.refuse("notion", 25).await;
        assert_eq!((stage.counted("github"), stage.counted("notion")), (Some(1), Some(25)));
        assert_eq!(stage.rows().len(), 1);
        tokio::time::sleep(WINDOW + Duration::from_millis(5)).await;
        stage.has_rows(2).await;
        let (server, id, reason) = stage.rows().remove(1);
        assert_eq!(server, "notion");
        assert_eq!(reason, "no key, from 127.0.0.1; 25 in the minute before");
        assert_eq!(stage.counted("notion"), Some(25), "each once");

        // Those that follow share that row, and have the next.
        assert_eq!(stage.refuse("github", 3).await, Some(id));
        tokio::time::sleep(WINDOW + Duration::from_millis(5)).await;
        stage.has_rows(3).await;
        assert!(stage.rows()[2].2.ends_with("; 3 in the minute before"), "{:?}", stage.rows());
        tokio::time::sleep(3 * WINDOW).await;
        assert_eq!(stage.rows().len(), 3, "where nothing came there is nothing to write");
        stage.refuse("slack", 2).await;
        assert_eq!(stage.rows().len(), 4);
        tokio::time::sleep(WINDOW + Duration::from_millis(5)).await;
        stage.has_rows(5).await;
    }

    #[tokio::test]
    async fn pending_counts_are_written_at_shutdown() {
        let stage = Stage::new();
        stage.refuse("notion", 20).await;
        assert_eq!(stage.rows().len(), 1);
        stage.refusals.close().await;
        stage.refusals.close().await;
        let rows = stage.rows();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].2, "no key, from 127.0.0.1; 19 in the minute before");
    }

    #[tokio::test(start_paused = true)]
    async fn counts_that_could_not_be_written_are_kept() {
        let stage = Stage::new();
        stage.refuse("notion", 4).await;
        stage.refusals.gate.store.close();
        stage.refusals.close().await;
        let held = stage.refusals.unauthenticated.take(Windows::All, Instant::now());
        assert_eq!(held.iter().map(|held| held.count).sum::<u64>(), 3);
    }
}
