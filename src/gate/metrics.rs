//! Metrics for Prometheus. Labels are bounded: no agent, path or tool is one.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::action::{Action, Provider, Target, Transport};
use crate::store::audit::Outcome;
use crate::verdict::{Decision, Stage, Verdict};

/// Decision label for requests without valid credentials.
const UNAUTHENTICATED: &str = "unauthenticated";

/// Prometheus metrics and their registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<DecisionLabels, Counter>,
    responses: Family<ResponseLabels, Counter>,
    decision: Family<ProviderLabel, Histogram>,
    upstream: Family<ProviderLabel, Histogram>,
    in_flight: Family<ProviderLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabel {
    provider: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    provider: &'static str,
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    provider: &'static str,
    status: String,
}

/// Holds the in-flight gauge up until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    metrics: Arc<Metrics>,
    provider: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        // 10 µs to 0.3 s, and 1 ms to 33 s.
        let decision = || Histogram::new(exponential_buckets(0.000_01, 2.0, 16));
        let upstream = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let metrics = Self {
            registry: Registry::with_prefix("agentgate"),
            requests: Family::default(),
            responses: Family::default(),
            decision: Family::new_with_constructor(decision),
            upstream: Family::new_with_constructor(upstream),
            in_flight: Family::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        let requests = "Actions by what was decided; `mcp` stands for every MCP server";
        registry.register("requests", requests, self.requests.clone());
        let responses = "Forwarded actions by how their answer went";
        registry.register("responses", responses, self.responses.clone());
        let decision = "From an action's being read to its decision's being recorded";
        let seconds = Unit::Seconds;
        registry.register_with_unit("decision", decision, seconds.clone(), self.decision.clone());
        let upstream = "From forwarding to the head of the answer";
        registry.register_with_unit("upstream", upstream, seconds, self.upstream.clone());
        let in_flight = "Forwarded actions that are not over";
        registry.register("in_flight", in_flight, self.in_flight.clone());
        self
    }

    /// Counts a decision and its latency. `None`: it could not be recorded.
    pub(super) fn decided(&self, action: &Action, verdict: Option<&Verdict>, took: Duration) {
        let provider = provider_label(action);
        let decision = verdict.map_or("unrecorded", decision_label);
        self.requests.get_or_create(&DecisionLabels { provider, decision }).inc();
        self.decision.get_or_create(&ProviderLabel { provider }).observe(took.as_secs_f64());
    }

    /// Counts an unauthenticated request for `server` that has no audit row of its own.
    pub(super) fn unauthenticated(&self, transport: Transport, server: &str) {
        let provider = label_of_unparsed(transport, server);
        self.requests.get_or_create(&DecisionLabels { provider, decision: UNAUTHENTICATED }).inc();
    }

    /// Increments the in-flight gauge until the returned guard is dropped.
    pub(super) fn sent(self: &Arc<Self>, action: &Action) -> InFlight {
        let provider = provider_label(action);
        self.in_flight.get_or_create(&ProviderLabel { provider }).inc();
        InFlight { metrics: Arc::clone(self), provider }
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        text
    }
}

impl InFlight {
    /// Counts the response and the upstream's latency.
    pub(super) fn answered(&self, outcome: Outcome, status: &str, took: Duration) {
        let is_http = matches!(status.parse(), Ok(100..=599_u16));
        let status = match outcome {
            Outcome::Error => "error",
            _ if is_http => status,
            _ if status == "ok" => "ok",
            // JSON-RPC error codes are chosen by the server: as labels they would be unbounded.
            _ => "error",
        };
        let (provider, status) = (self.provider, status.to_owned());
        self.metrics.responses.get_or_create(&ResponseLabels { provider, status }).inc();
        self.metrics
            .upstream
            .get_or_create(&ProviderLabel { provider })
            .observe(took.as_secs_f64());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.get_or_create(&ProviderLabel { provider: self.provider }).dec();
    }
}

fn provider_label(action: &Action) -> &'static str {
    match &action.target {
        Target::Http(request) => request.provider.as_str(),
        Target::Malformed(malformed) => label_of_unparsed(action.transport, &malformed.server),
        Target::Tool(_) | Target::Method(_) => "mcp",
    }
}

/// As [`provider_label`], for requests that could not be parsed.
fn label_of_unparsed(transport: Transport, server: &str) -> &'static str {
    match transport {
        Transport::Rest => Provider::from_name(server).map_or("unknown", Provider::as_str),
        _ => "mcp",
    }
}

fn decision_label(verdict: &Verdict) -> &'static str {
    match (verdict.decision, verdict.stage) {
        (Decision::Allow, _) => "allow",
        _ if verdict.observed => "observed",
        (_, Stage::RateLimit) => "rate_limited",
        (_, Stage::Authentication) => UNAUTHENTICATED,
        (Decision::Ask, _) => "ask",
        (Decision::Deny, _) => "deny",
    }
}
