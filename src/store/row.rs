//! A row as readers see it: a decision together with its result.

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use super::audit::RowId;

/// A row of the audit log, with the public names of its columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Sorts by time.
    pub id: RowId,
    /// When the gate read the action, in UTC.
    pub time: Timestamp,
    /// Id of the connection or run.
    pub session: String,
    /// Name of the agent.
    pub agent: String,
    /// `stdio`, `http` or `rest`.
    pub transport: String,
    /// Name of the MCP server or provider.
    pub server: String,
    /// `tools/call`, or the HTTP method.
    pub method: String,
    /// The tool or the resource.
    pub tool: String,
    /// Classified intent.
    pub intent: String,
    /// `allow`, `deny` or `ask`.
    pub decision: String,
    /// What became of it, including the result.
    pub outcome: String,
    /// The policy that decided.
    pub policy: String,
    /// The rule that decided.
    pub rule: String,
    /// Human-readable reason.
    pub reason: String,
    /// The stage that decided.
    pub stage: String,
    /// The redacted arguments, as JSON; empty if there are none.
    pub args: String,
    /// The keyed digest of the canonical arguments, in hex.
    pub args_digest: String,
    /// How long the decision took, in microseconds.
    pub decision_us: i64,
    /// Latency from forwarding to the start of the answer, in milliseconds; `None` if there is
    /// no answer yet.
    pub upstream_ms: Option<f64>,
    /// Status of the answer; `None` if there is no answer yet.
    pub status: Option<String>,
    /// `enforce` or `observe`.
    pub mode: String,
    /// Hash of the preceding entry, in hex.
    pub prev_hash: String,
    /// Hash of this decision's entry, in hex.
    pub hash: String,
}

/// Columns of a CSV export, in order; the same for MCP and REST rows.
pub const COLUMNS: [&str; 23] = [
    "id",
    "time",
    "session",
    "agent",
    "transport",
    "server",
    "method",
    "tool",
    "intent",
    "decision",
    "outcome",
    "policy",
    "rule",
    "reason",
    "stage",
    "args",
    "args_digest",
    "decision_us",
    "upstream_ms",
    "status",
    "mode",
    "prev_hash",
    "hash",
];

impl Row {
    /// The time in RFC 3339 with microseconds.
    #[must_use]
    pub fn time_text(&self) -> String {
        format!("{:.6}", self.time)
    }

    /// The values of [`COLUMNS`].
    #[must_use]
    pub fn values(&self) -> [String; 23] {
        let number = |number: f64| number.to_string();
        [
            self.id.as_str().to_owned(),
            self.time_text(),
            self.session.clone(),
            self.agent.clone(),
            self.transport.clone(),
            self.server.clone(),
            self.method.clone(),
            self.tool.clone(),
            self.intent.clone(),
            self.decision.clone(),
            self.outcome.clone(),
            self.policy.clone(),
            self.rule.clone(),
            self.reason.clone(),
            self.stage.clone(),
            self.args.clone(),
            self.args_digest.clone(),
            self.decision_us.to_string(),
            self.upstream_ms.map(number).unwrap_or_default(),
            self.status.clone().unwrap_or_default(),
            self.mode.clone(),
            self.prev_hash.clone(),
            self.hash.clone(),
        ]
    }

    fn is_rest(&self) -> bool {
        self.transport == "rest"
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(COLUMNS.len()))?;
        map.serialize_entry("id", self.id.as_str())?;
        map.serialize_entry("time", &self.time_text())?;
        map.serialize_entry("session", &self.session)?;
        map.serialize_entry("agent", &self.agent)?;
        map.serialize_entry("transport", &self.transport)?;
        map.serialize_entry(if self.is_rest() { "provider" } else { "server" }, &self.server)?;
        map.serialize_entry("method", &self.method)?;
        map.serialize_entry(if self.is_rest() { "resource" } else { "tool" }, &self.tool)?;
        map.serialize_entry("intent", &self.intent)?;
        map.serialize_entry("decision", &self.decision)?;
        map.serialize_entry("outcome", &self.outcome)?;
        map.serialize_entry("policy", &self.policy)?;
        map.serialize_entry("rule", &self.rule)?;
        map.serialize_entry("reason", &self.reason)?;
        map.serialize_entry("stage", &self.stage)?;
        match RawValue::from_string(self.args.clone()) {
            Ok(args) => map.serialize_entry("args", &args)?,
            Err(_) if self.args.is_empty() => map.serialize_entry("args", &())?,
            Err(_) => map.serialize_entry("args", &self.args)?,
        }
        map.serialize_entry("args_digest", &self.args_digest)?;
        map.serialize_entry("decision_us", &self.decision_us)?;
        map.serialize_entry("upstream_ms", &self.upstream_ms)?;
        map.serialize_entry("status", &self.status)?;
        map.serialize_entry("mode", &self.mode)?;
        map.serialize_entry("prev_hash", &self.prev_hash)?;
        map.serialize_entry("hash", &self.hash)?;
        map.end()
    }
}
