//! The tour of `wrap`: three agents speak MCP to a small server, each through an
//! `agentgate wrap` of its own.

use std::io::Write;
use std::process::Stdio;

use anyhow::Context as _;
use rmcp::model::Tool;
use serde_json::json;

use super::gated::{Answer, DATABASE, Folder, Gated};
use super::stage::Stage;
use super::{HASTY, HASTY_LIMIT};
use crate::commands::Done;

/// The policy shown first.
const INTERN: &str = "\
name: intern
rules:
  - intent: [read, query]          # what a call does, not what it is called
    effect: allow
  - name: notes-are-kept
    tool: delete_note
    effect: deny
    reason: Notes are not deleted by agents
    suggestion: Write a new note that says the old one is obsolete.
default_effect: deny
default_reason: Interns look, they do not touch
";

const EDITOR: &str = "\
name: editor
rules:
  - intent: [read, query, create, update]
    effect: allow
default_effect: ask
";

/// Plays the MCP tour.
pub(super) async fn play<W: Write>(stage: &mut Stage<W>, folder: &Folder) -> anyhow::Result<Done> {
    let (intern, editor, hasty) = tokio::try_join!(
        Gated::start(folder, "intern", INTERN),
        Gated::start(folder, "editor", EDITOR),
        Gated::start(folder, "hasty", HASTY),
    )?;

    stage.narrate("AgentGate stands between agents and their MCP servers. What follows is")?;
    stage.narrate("played by real gates in front of real servers; nothing is made up.")?;
    let as_told = [
        reading(stage, &intern).await?,
        refusing(stage, &intern).await?,
        two_agents(stage, &intern, &editor).await?,
        rate_limit(stage, &hasty).await?,
    ];
    tokio::try_join!(intern.stop(), editor.stop(), hasty.stop())?;
    let logged = audit(stage, folder).await?;
    farewell(stage).await?;
    Ok(if logged && as_told.iter().all(|told| *told) { Done::Success } else { Done::DoesNotHold })
}

async fn reading<W: Write>(stage: &mut Stage<W>, intern: &Gated) -> anyhow::Result<bool> {
    stage.scene("A server with four tools, and a policy of a few lines").await?;
    stage.show(&hints(&intern.tools().await?))?;
    stage.pause()?;
    stage.show(INTERN)?;
    stage.scene("A read passes").await?;
    let answer = intern.call("list_notes", json!({})).await?;
    stage.call("intern", "list_notes", &answer)?;
    Ok(allowed(&answer))
}

async fn refusing<W: Write>(stage: &mut Stage<W>, intern: &Gated) -> anyhow::Result<bool> {
    stage.scene("A delete does not: the server never sees it").await?;
    let answer = intern.call("delete_note", json!({ "id": 1 })).await?;
    stage.call("intern", "delete_note {\"id\":1}", &answer)?;
    stage.model_reads(&answer.text)?;
    Ok(!allowed(&answer))
}

async fn two_agents<W: Write>(
    stage: &mut Stage<W>,
    intern: &Gated,
    editor: &Gated,
) -> anyhow::Result<bool> {
    stage.scene("Two agents, two policies, the same call").await?;
    let note = || json!({ "text": "Roof: Tuesday" });
    let refused = intern.call("create_note", note()).await?;
    stage.call("intern", "create_note", &refused)?;
    let written = editor.call("create_note", note()).await?;
    stage.call("editor", "create_note", &written)?;
    Ok(!allowed(&refused) && allowed(&written))
}

async fn rate_limit<W: Write>(stage: &mut Stage<W>, hasty: &Gated) -> anyhow::Result<bool> {
    stage.scene(&format!("A loop runs into its limit of {HASTY_LIMIT} calls a minute")).await?;
    let mut passed = 0;
    let mut last = None;
    for _ in 0..=HASTY_LIMIT {
        let answer = hasty.call("read_note", json!({ "id": 2 })).await?;
        let call = format!("read_note {{\"id\":2}}, call {}", passed + 1);
        stage.verdict("hasty", &call, &answer)?;
        if !allowed(&answer) {
            last = Some(answer);
            break;
        }
        passed += 1;
    }
    Ok(passed == HASTY_LIMIT && last.is_some())
}

async fn audit<W: Write>(stage: &mut Stage<W>, folder: &Folder) -> anyhow::Result<bool> {
    stage.scene("All of it is in the log, chained so that a changed entry shows").await?;
    let mut held = true;
    for command in ["list", "verify"] {
        stage.command(&format!("agentgate audit {command}"))?;
        let output = folder
            .agentgate()?
            .args(["audit", command, "--db", DATABASE])
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot run `agentgate audit`")?;
        stage.show(&String::from_utf8_lossy(&output.stdout))?;
        stage.show(&String::from_utf8_lossy(&output.stderr))?;
        held &= output.status.success();
    }
    Ok(held)
}

async fn farewell<W: Write>(stage: &mut Stage<W>) -> anyhow::Result<()> {
    stage.scene("Your turn").await?;
    stage.narrate("See what a server offers and what would be decided for each tool:")?;
    stage
        .command("agentgate inspect -- npx -y @modelcontextprotocol/server-filesystem ~/project")?;
    stage.narrate("Put the gate in front of the servers that your clients start:")?;
    stage.command("agentgate setup --dry-run")?;
    stage.narrate("Or of one, in your client's configuration:")?;
    stage.command("agentgate wrap -- npx -y @modelcontextprotocol/server-filesystem ~/project")?;
    stage.narrate("The same in front of REST APIs:")?;
    stage.command("agentgate demo rest")?;
    Ok(())
}

fn allowed(answer: &Answer) -> bool {
    answer.decision.is_none()
}

/// One line per tool: its name and its hints.
fn hints(tools: &[Tool]) -> String {
    let says = |tool: &Tool| {
        let hints = tool.annotations.as_ref();
        let hint = |of: fn(&rmcp::model::ToolAnnotations) -> Option<bool>| hints.and_then(of);
        match (hint(|h| h.read_only_hint), hint(|h| h.destructive_hint)) {
            (Some(true), _) => "reads",
            (_, Some(false)) => "writes",
            _ => "may destroy",
        }
    };
    let line = |tool: &Tool| format!("{:<12} {}", tool.name, says(tool));
    tools.iter().map(line).collect::<Vec<_>>().join("\n")
}
