//! `agentgate replay`: what would have been decided about a recorded trace.
//!
//! A line is `{"session","seq"?,"request":{…},"result"?:…}`, an answer
//! `{"session","decision","rule","reason"}`. Rows of the log, as `audit export` writes
//! them, are lines too. With `--against`, an answer is what differs, and what does not has
//! none. Rate limits are kept for requests
//! that carry their `time`; without it, a trace has no pace.

mod changes;
mod rows;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;

use super::{Done, jsonl, policies};
use crate::action::{Action, Agent, Transport};
use crate::cli::{DecideArgs, ReplayArgs};
use crate::config::{Settings, whole};
use crate::gate::pipeline::{self, Facts};
use crate::intent;
use crate::json::{self, Json};
use crate::policy::{Limit, Policy};
use crate::rate::Usage;
use crate::request::{self, RequestError, UnknownKeys};
use crate::verdict::Verdict;

/// An output line; its keys are public.
#[derive(Debug, serde::Serialize)]
struct Answer {
    session: String,
    decision: &'static str,
    rule: Arc<str>,
    reason: String,
}

impl Answer {
    fn new(session: String, verdict: Verdict) -> Self {
        let (decision, reason) = (verdict.decision.as_str(), verdict.reason.to_string());
        Self { session, decision, rule: verdict.rule, reason }
    }
}

/// Error of a line.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("a line has a `request`, or is a row of the log")]
    NoRequest,
    #[error("`session` must be a string")]
    Session,
}

/// `agentgate replay`: decides about each line of a trace, in order.
///
/// # Errors
/// If the trace cannot be read, or the policy cannot be loaded.
pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<Done> {
    let mut replay = Replay::load(&args.decide)?;
    let input: Box<dyn BufRead> = if args.trace == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.trace)
            .with_context(|| format!("cannot read {}", whole(&args.trace).display()))?;
        Box::new(BufReader::new(file))
    };
    let mut input = rows::as_lines(input)?;
    let mut output = BufWriter::new(io::stdout().lock());
    let holds = if args.against.is_empty() {
        jsonl::answer_each(&mut *input, &mut output, |line| replay.answer(line).map(Some))?
    } else {
        let old = DecideArgs { policies: args.against.clone(), ..args.decide.clone() };
        changes::find(&mut *input, &mut output, &mut Replay::load(&old)?, &mut replay)?
    };
    Ok(if holds { Done::Success } else { Done::DoesNotHold })
}

/// The policies for different requests.
struct Deciding {
    general: Arc<Policy>,
    /// For REST requests.
    rest: Arc<Policy>,
    /// For servers with policies of their own.
    of_servers: BTreeMap<String, Arc<Policy>>,
}

impl Deciding {
    fn load(typed: &DecideArgs, settings: &Settings) -> anyhow::Result<Self> {
        let current = |names: &[String]| -> anyhow::Result<Arc<Policy>> {
            Ok(policies::load(names, settings)?.current())
        };
        let of = |transport| policies::names_or_default(settings.policies.clone(), transport);
        let own = settings.servers().filter(|(_, server)| !server.policy.is_empty());
        let own = own
            .map(|(name, _)| Ok((name.to_owned(), current(&settings.policies_for(name, typed))?)));
        Ok(Self {
            general: current(&of(Transport::Stdio))?,
            rest: current(&of(Transport::Rest))?,
            of_servers: own.collect::<anyhow::Result<_>>()?,
        })
    }

    fn about(&self, action: &Action) -> &Arc<Policy> {
        match action.transport {
            Transport::Rest => &self.rest,
            Transport::Stdio | Transport::Http => {
                let own = self.of_servers.get(action.target.server_or_provider());
                own.unwrap_or(&self.general)
            }
        }
    }
}

/// A request of a trace.
struct Traced {
    action: Action,
    /// Whether the trace says when it came; rate limits count it only then.
    timed: bool,
    /// The id of its row, if the trace is of the log.
    id: Option<String>,
}

/// State of a replay: the policies, and the slots taken so far.
struct Replay {
    policies: Deciding,
    agent: Agent,
    /// Times of slots taken, by agent; as many as the longest limit needs.
    taken: HashMap<Arc<str>, VecDeque<Timestamp>>,
}

impl Replay {
    /// # Errors
    /// If the policies cannot be loaded.
    fn load(typed: &DecideArgs) -> anyhow::Result<Self> {
        let settings = Settings::resolve(typed)?;
        let policies = Deciding::load(typed, &settings)?;
        Ok(Self { policies, agent: settings.agent.clone(), taken: HashMap::new() })
    }

    fn answer(&mut self, line: &[u8]) -> Result<Answer, LineError> {
        let Traced { action, timed, .. } = self.read(line)?;
        let verdict = self.decide(&action, timed);
        Ok(Answer::new(action.session.to_string(), verdict))
    }

    fn read(&self, line: &[u8]) -> Result<Traced, LineError> {
        let line = json::parse(line).map_err(RequestError::from)?;
        let line = line.as_object().ok_or(RequestError::NotAnObject)?;
        if rows::is_row(line) {
            let id = line.get("id").and_then(Json::as_str).map(str::to_owned);
            return Ok(Traced { action: rows::action(line)?, timed: true, id });
        }
        let request = line.get("request").ok_or(LineError::NoRequest)?;
        let mut action = request::parse(request, UnknownKeys::Ignore)?;
        match line.get("session") {
            None | Some(Json::Null) => {}
            Some(Json::String(session)) => action.session = session.as_str().into(),
            Some(Json::Number(number)) => action.session = number.as_str().into(),
            Some(_) => return Err(LineError::Session),
        }
        if action.agent == Agent::default() {
            action.agent = self.agent.clone();
        }
        let timed = request.as_object().is_some_and(|request| request.get("time").is_some());
        Ok(Traced { action, timed, id: None })
    }

    fn decide(&mut self, action: &Action, timed: bool) -> Verdict {
        let policy = self.policies.about(action);
        if !timed {
            return pipeline::decide(action, policy, &Facts::default());
        }
        let limits = policy.limits();
        let requests = intent::requests(action);
        let taken = self.taken.entry(Arc::clone(&action.agent.name)).or_default();
        let usage = limits.iter().map(|limit| usage(limit, requests, taken)).collect();
        let verdict = pipeline::decide(action, policy, &Facts { usage });
        if verdict.takes_slot() {
            // No limit needs more slots than its maximum.
            let most = limits.iter().map(|limit| limit.max).max().unwrap_or_default();
            taken.extend((0..requests.min(most)).map(|_| action.at));
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            taken.drain(..taken.len().saturating_sub(most));
        }
        verdict
    }
}

/// The use of `limit` given the slots taken (oldest first), computed like the store does.
fn usage(limit: &Limit, requests: u32, taken: &VecDeque<Timestamp>) -> Usage {
    let mut newest_first = taken.iter().rev().copied();
    let oldest_counted = match limit.max.checked_sub(requests) {
        None => Some(Timestamp::MAX),
        Some(before) => newest_first.nth(usize::try_from(before).unwrap_or(usize::MAX)),
    };
    let older = if requests > 1 { newest_first.collect() } else { Vec::new() };
    Usage { limit: limit.clone(), requests, oldest_counted, older }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    fn replay(policy: &str, lines: &[&str]) -> Vec<String> {
        let policy = Policy::from_file(policy::load_str("p.yaml", policy).unwrap());
        let policy = Arc::new(policy);
        let of_servers = BTreeMap::new();
        let policies = Deciding { general: Arc::clone(&policy), rest: policy, of_servers };
        let mut replay = Replay { policies, agent: Agent::default(), taken: HashMap::new() };
        let answer = |line: &&str| match replay.answer(line.as_bytes()) {
            Ok(answer) => format!("{} {} {}", answer.session, answer.decision, answer.rule),
            Err(error) => error.to_string(),
        };
        lines.iter().map(answer).collect()
    }

    #[test]
    fn each_line_is_decided() {
        let policy = "name: p\nrules: [ { name: r, tool: 'get_*', effect: allow } ]";
        let answers = replay(
            policy,
            &[
                r#"{"session":"a","seq":1,"request":{"tool":"get_x","label":7},"result":{}}"#,
                r#"{"session":"b","request":{"tool":"put_x"}}"#,
                r#"{"session":"b"}"#,
                "nonsense",
            ],
        );
        assert_eq!(
            answers[..3],
            ["a allow r", "b deny default", "a line has a `request`, or is a row of the log"]
        );
        assert!(answers[3].contains("not JSON"), "{}", answers[3]);
    }

    /// As the gate counts: each request of a batch, and nothing that cannot be read.
    #[test]
    fn slots_are_taken_as_at_the_gate() {
        let policy = "name: p\ndefault_effect: allow\nrate_limit: { requests_per_minute: 3 }";
        let line = |request: &str| {
            format!(r#"{{"session":"s","request":{{{request},"time":"2026-11-22T09:00:00Z"}}}}"#)
        };
        let batch = |count: usize| {
            let member = |id| format!(r#"{{"id":"{id}","method":"GET","url":"/me"}}"#);
            let members = (0..count).map(member).collect::<Vec<_>>().join(",");
            line(&format!(
                r#""provider":"microsoft","method":"POST","path":"/v1.0/$batch","body":{{"requests":[{members}]}}"#
            ))
        };
        let one = line(r#""tool":"t""#);
        let unreadable = line(r#""provider":"github","method":"GET","path":"/a/../b""#);
        let (two, four) = (batch(2), batch(4));
        let answers = replay(policy, &[&unreadable, &four, &two, &two, &one, &one]);
        let rules: Vec<&str> =
            answers.iter().map(|answer| answer.rsplit(' ').next().unwrap()).collect();
        let expected =
            ["validation", "rate_limit", "default", "rate_limit", "default", "rate_limit"];
        assert_eq!(rules, expected, "{answers:?}");
    }

    #[test]
    fn limits_hold_at_the_pace_of_the_trace() {
        let policy = "name: p\ndefault_effect: allow\nrate_limit: { requests_per_minute: 2 }";
        let at = |second: u32| {
            format!(
                r#"{{"session":"s","request":{{"tool":"t","time":"2026-11-22T09:00:{second:02}Z"}}}}"#
            )
        };
        let (one, two, three) = (at(0), at(10), at(20));
        let later = r#"{"session":"s","request":{"tool":"t","time":"2026-11-22T09:01:00Z"}}"#;
        let untimed = r#"{"session":"s","request":{"tool":"t"}}"#;
        let answers = replay(policy, &[&one, &two, &three, later, untimed]);
        assert_eq!(answers[2], "s deny rate_limit");
        for allowed in [0, 1, 3, 4] {
            assert_eq!(answers[allowed], "s allow default", "{allowed}");
        }
    }
}
