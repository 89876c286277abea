//! The tour of `serve`: agents send HTTP requests to a real gate in test mode,
//! which answers for ten APIs and sends nothing anywhere.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context as _;
use http::{Method, Request, header};
use serde_json::{Value, json};

use super::gated::{Folder, STEP_TIMEOUT};
use super::stage::Stage;
use super::{HASTY, HASTY_LIMIT};
use crate::admin::master::MasterKey;
use crate::cli::ServeArgs;
use crate::commands::Done;
use crate::commands::serve::serving::Serving;
use crate::config::Home;
use crate::config::serve::{Legacy, Plan};
use crate::net::Body;
use crate::net::body::hold;
use crate::net::client::Client;

/// Maximum size of a response, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Number of rows of the export to show, and characters of each.
const SHOWN_ROWS: usize = 3;
const SHOWN: usize = 84;

const EVENTS: &str = "/proxy/google/calendar/v3/calendars/primary/events";
const EVENT: &str = "/proxy/google/calendar/v3/calendars/primary/events/mock-event-1";

/// The policy shown first.
const READER: &str = "\
name: reader
rules:
  - intent: [read, query]          # what a request does, whatever its method
    effect: allow
  - name: events-are-kept
    intent: delete
    effect: deny
    reason: Events are not deleted by agents
    suggestion: Ask whoever owns the event to cancel it.
default_effect: deny
default_reason: Readers look, they do not touch
";

const WRITER: &str = "\
name: writer
rules:
  - intent: [read, query, create, update]
    effect: allow
default_effect: deny
";

/// Plays the REST tour.
pub(super) async fn play<W: Write>(stage: &mut Stage<W>, folder: &Folder) -> anyhow::Result<Done> {
    let home = Home { config: folder.path().to_owned(), data: folder.path().to_owned() };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let args = ServeArgs { listen: Some(anywhere), test_mode: true, ..ServeArgs::default() };
    let plan = Plan::read(&args, home, &Legacy::default())?;
    let (key, text) = MasterKey::load_or_make(&folder.path().join("master.key"))?;
    let master = text.context("the folder is not new")?.to_string();
    let store = crate::commands::serve::open(&plan)?;
    let serving = Serving::start(&plan, &store, key).await?;
    let gate = Gate { client: Client::without_roots()?, address: serving.address(), master };

    stage.narrate("AgentGate stands between agents and the APIs they use. What follows is")?;
    stage.narrate("played over HTTP against a real gate in test mode: keys, policies, limits")?;
    stage.narrate("and the log are real, and the providers' answers are mocks.")?;
    let as_told = scenes(stage, &gate).await;
    serving.stop().await?;
    store.close();
    let as_told = as_told?;
    farewell(stage).await?;
    Ok(if as_told.iter().all(|told| *told) { Done::Success } else { Done::DoesNotHold })
}

async fn scenes<W: Write>(stage: &mut Stage<W>, gate: &Gate) -> anyhow::Result<[bool; 6]> {
    stage.scene("An agent is registered, with a policy of a few lines").await?;
    stage.show(READER)?;
    let reader = gate.register("reader", READER).await?;
    let shown: String = reader.key.chars().take(10).collect();
    stage.pause()?;
    stage.narrate(&format!("POST /agents gives its key, this once: {shown}…"))?;
    let (writer, hasty) =
        (gate.register("writer", WRITER).await?, gate.register("hasty", HASTY).await?);
    Ok([
        reading(stage, gate, &reader).await?,
        refusing(stage, gate, &reader).await?,
        two_agents(stage, gate, [&reader, &writer]).await?,
        rate_limit(stage, gate, &hasty).await?,
        log(stage, gate).await?,
        export(stage, gate).await?,
    ])
}

async fn reading<W: Write>(
    stage: &mut Stage<W>,
    gate: &Gate,
    reader: &Agent,
) -> anyhow::Result<bool> {
    stage.scene("Calendar events are read").await?;
    let answer = reader.sends(stage, gate, Method::GET, EVENTS, None).await?;
    let events = answer.json()?;
    let events = list(&events, "items");
    for event in events {
        stage.beneath("", text(event, "summary"))?;
    }
    Ok(answer.status == 200 && !events.is_empty())
}

async fn refusing<W: Write>(
    stage: &mut Stage<W>,
    gate: &Gate,
    reader: &Agent,
) -> anyhow::Result<bool> {
    stage.scene("Deleting one is refused: the provider never sees it").await?;
    let answer = reader.sends(stage, gate, Method::DELETE, EVENT, None).await?;
    let why = stage.refusal(&answer.json()?)?;
    Ok(answer.status == 403 && why)
}

async fn two_agents<W: Write>(
    stage: &mut Stage<W>,
    gate: &Gate,
    [reader, writer]: [&Agent; 2],
) -> anyhow::Result<bool> {
    stage.scene("Two agents, two policies, the same request").await?;
    let event = json!({ "summary": "Roof: Tuesday" });
    let refused = reader.sends(stage, gate, Method::POST, EVENTS, Some(&event)).await?;
    let why = stage.refusal(&refused.json()?)?;
    let made = writer.sends(stage, gate, Method::POST, EVENTS, Some(&event)).await?;
    Ok(refused.status == 403 && why && made.status == 200)
}

async fn rate_limit<W: Write>(
    stage: &mut Stage<W>,
    gate: &Gate,
    hasty: &Agent,
) -> anyhow::Result<bool> {
    stage.scene(&format!("A loop runs into its limit of {HASTY_LIMIT} requests a minute")).await?;
    for passed in 0..=HASTY_LIMIT {
        let answer = hasty.sends(stage, gate, Method::GET, EVENTS, None).await?;
        if answer.status != 200 {
            let again = answer.retry_after.unwrap_or_default();
            stage.beneath("", &format!("Retry-After: {again}"))?;
            return Ok(passed == HASTY_LIMIT && answer.status == 429 && !again.is_empty());
        }
    }
    Ok(false)
}

async fn log<W: Write>(stage: &mut Stage<W>, gate: &Gate) -> anyhow::Result<bool> {
    stage.scene("All of it is in the log").await?;
    stage.command("curl \"$GATE/audit/logs\" -H \"X-Master-Key: $KEY\"")?;
    let page = gate.admin(Method::GET, "/audit/logs", None).await?.json()?;
    let rows = list(&page, "logs");
    let mut lines = Vec::new();
    for row in rows.iter().rev() {
        let status = row.get("status_code").and_then(Value::as_u64);
        let status = status.map(|status| status.to_string());
        let (agent, method) = (text(row, "agent_name"), text(row, "method"));
        let intent = text(row, "intent");
        let (decision, reason) = (text(row, "decision"), text(row, "deny_reason"));
        let status = status.unwrap_or_default();
        lines
            .push(format!("{agent:<7} {method:<7} {intent:<7} {decision:<6} {status:<4} {reason}"));
    }
    stage.show(&lines.join("\n"))?;
    let has = |decision: &str| rows.iter().any(|row| text(row, "decision") == decision);
    Ok(has("allow") && has("deny"))
}

async fn export<W: Write>(stage: &mut Stage<W>, gate: &Gate) -> anyhow::Result<bool> {
    stage.scene("And comes out as CSV").await?;
    stage.command("curl \"$GATE/audit/export?format=csv\" -H \"X-Master-Key: $KEY\"")?;
    let answer = gate.admin(Method::GET, "/audit/export?format=csv", None).await?;
    let lines: Vec<&str> = answer.body.lines().collect();
    for line in lines.iter().take(SHOWN_ROWS + 1) {
        let line: String = line.chars().take(SHOWN).collect();
        stage.show(&format!("{line}…"))?;
    }
    stage.narrate(&format!("… and {} rows more.", lines.len().saturating_sub(SHOWN_ROWS + 1)))?;
    // The header, and the requests of the scenes before.
    Ok(answer.status == 200 && lines.len() == 1 + 1 + 1 + 2 + HASTY_LIMIT + 1)
}

async fn farewell<W: Write>(stage: &mut Stage<W>) -> anyhow::Result<()> {
    stage.scene("Your turn").await?;
    stage.narrate("Try your own policies without credentials:")?;
    stage.command("agentgate serve --test-mode")?;
    stage.narrate("Then point an SDK at http://127.0.0.1:8100/proxy/PROVIDER and give it the")?;
    stage.narrate("agent's key in place of the credential:")?;
    stage.command("agentgate agents create my-agent --policy github_readonly")?;
    Ok(())
}

/// The string member `key`; empty if there is none.
fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The array member `key`; empty if there is none.
fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A running `agentgate serve`.
struct Gate {
    client: Client,
    address: SocketAddr,
    master: String,
}

/// An agent and its key.
struct Agent {
    name: &'static str,
    key: String,
}

/// A response.
struct Answer {
    status: u16,
    retry_after: Option<String>,
    body: String,
}

impl Gate {
    async fn send(&self, request: http::request::Builder, body: String) -> anyhow::Result<Answer> {
        let answer = self.client.send(request.body(Body::from(body))?, STEP_TIMEOUT).await?;
        let (parts, body) = answer.into_parts();
        let body = hold(body, MAX_ANSWER, STEP_TIMEOUT).await?;
        let again = parts.headers.get(header::RETRY_AFTER);
        Ok(Answer {
            status: parts.status.as_u16(),
            retry_after: again.and_then(|again| again.to_str().ok()).map(str::to_owned),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let uri = format!("http://{}{path}", self.address);
        Request::builder().method(method).uri(uri)
    }

    async fn admin(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let request = self.request(method, path).header("X-Master-Key", &self.master);
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.send(request, body).await?;
        anyhow::ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
        Ok(answer)
    }

    /// Creates a policy, and an agent of the same name that uses it.
    async fn register(&self, name: &'static str, policy: &str) -> anyhow::Result<Agent> {
        let policy = json!({ "name": name, "yaml": policy });
        self.admin(Method::POST, "/policies", Some(&policy)).await?;
        let agent = json!({ "name": name, "policy": name });
        let made = self.admin(Method::POST, "/agents", Some(&agent)).await?.json()?;
        let key = text(&made, "api_key").to_owned();
        anyhow::ensure!(!key.is_empty(), "the agent has no key");
        Ok(Agent { name, key })
    }
}

impl Agent {
    async fn sends<W: Write>(
        &self,
        stage: &mut Stage<W>,
        gate: &Gate,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let shown = path.strip_prefix("/proxy/google/calendar/v3").unwrap_or(path);
        let shown = format!("{method} {shown}");
        let request = gate
            .request(method, path)
            .header("X-Agent-Key", &self.key)
            .header(header::CONTENT_TYPE, "application/json");
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = gate.send(request, body).await?;
        stage.exchange(self.name, &shown, answer.status)?;
        Ok(answer)
    }
}

impl Answer {
    fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).context("the answer is not JSON")
    }
}

impl<W: Write> Stage<W> {
    /// Shows why a request was refused and what to do instead. Returns whether the response had
    /// both.
    fn refusal(&mut self, body: &Value) -> anyhow::Result<bool> {
        let mut said = 0;
        for (label, key) in [("why", "reason"), ("instead", "suggestion")] {
            if let Some(text) = body.get(key).and_then(Value::as_str) {
                self.beneath(label, text)?;
                said += 1;
            }
        }
        Ok(said == 2)
    }
}
