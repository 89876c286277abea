//! What one set of policies decides differently from another, as `--against` shows it.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use serde::Serialize;

use super::{LineError, Replay, Traced};
use crate::action::{Action, Target};
use crate::commands::jsonl;
use crate::verdict::Verdict;

/// An output line; its keys are public, and those of the log.
#[derive(Debug, Serialize)]
struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    session: Arc<str>,
    agent: Arc<str>,
    /// The server or provider.
    server: String,
    method: String,
    /// The tool, the path, or whatever else the method is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    before: &'static str,
    decision: &'static str,
    rule: Arc<str>,
    reason: String,
}

/// Writes a line for each request of `trace` that `new` decides differently from `old`, and
/// returns whether there is none (and no error).
///
/// # Errors
/// If reading the trace or writing `output` fails.
pub(super) fn find(
    trace: &mut dyn BufRead,
    output: &mut dyn Write,
    old: &mut Replay,
    new: &mut Replay,
) -> io::Result<bool> {
    let mut is_same = true;
    let readable = jsonl::answer_each(trace, output, |line| {
        let Traced { action, timed, id } = new.read(line)?;
        let before = old.decide(&action, timed);
        let after = new.decide(&action, timed);
        let differs = before.decision != after.decision;
        is_same &= !differs;
        Ok::<_, LineError>(differs.then(|| Change::new(id, &action, &before, after)))
    })?;
    Ok(readable && is_same)
}

impl Change {
    fn new(id: Option<String>, action: &Action, before: &Verdict, after: Verdict) -> Self {
        let target = &action.target;
        let is_malformed = matches!(target, Target::Malformed(_));
        Self {
            id,
            session: Arc::clone(&action.session),
            agent: Arc::clone(&action.agent.name),
            server: target.server_or_provider().to_owned(),
            method: target.method().to_owned(),
            subject: (!is_malformed).then(|| target.subject().to_owned()),
            before: before.decision.as_str(),
            decision: after.decision.as_str(),
            rule: after.rule,
            reason: after.reason.to_string(),
        }
    }
}
