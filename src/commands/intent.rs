//! `agentgate intent --jsonl`: what requests do, by the analysis that policies use.

use std::io::{self, BufWriter};

use super::{Done, jsonl};
use crate::intent::{self, Analysis};
use crate::request::{self, RequestError};

/// An output line; its keys are public.
#[derive(Debug, serde::Serialize)]
struct Answer {
    intent: &'static str,
    class: &'static str,
    level: &'static str,
    confidence: f64,
    why: &'static str,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
}

/// `agentgate intent`: classifies each line of standard input.
pub(super) fn run() -> anyhow::Result<Done> {
    let mut output = BufWriter::new(io::stdout().lock());
    let all = jsonl::answer_each(&mut io::stdin().lock(), &mut output, classify)?;
    Ok(if all { Done::Success } else { Done::DoesNotHold })
}

fn classify(line: &[u8]) -> Result<Option<Answer>, RequestError> {
    let action = request::parse_documented(line)?;
    Ok(Some(intent::analyse(&action).into()))
}

impl From<Analysis> for Answer {
    fn from(found: Analysis) -> Self {
        Self {
            intent: found.intent.as_str(),
            class: if found.intent.is_read() { "read" } else { "write" },
            level: found.level.as_str(),
            confidence: found.confidence,
            why: found.why,
            resource: found.resource,
            operation: found.operation,
        }
    }
}
