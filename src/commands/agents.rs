//! `agentgate agents`: who may ask, straight in the database; a running `serve`
//! sees changes at once.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::Done;
use crate::action::Provider;
use crate::admin::agents::{shown, shown_once};
use crate::cli::{AgentsCommand, DecideArgs, StoreArgs};
use crate::config::Settings;
use crate::store::Options;
use crate::store::agents::{Issued, NewAgent, Registry};
use crate::store::read::Reader;
use crate::store::stats::AgentFigures;

pub(super) fn run(command: &AgentsCommand) -> anyhow::Result<Done> {
    let (store, json) = match command {
        AgentsCommand::Create(args) => (&args.store, args.json),
        AgentsCommand::List(args) => (&args.store, args.json),
        AgentsCommand::Delete(args) | AgentsCommand::Stats(args) => (&args.store, args.json),
        AgentsCommand::RotateKey(args) => (&args.store, args.json),
    };
    let settings = settings()?;
    let database = settings.database(store);
    let registry = Registry::new(&database, &Options::default());
    match command {
        AgentsCommand::Create(args) => {
            if let Some(policy) = &args.policy {
                super::policies::lookup(&settings)
                    .find(policy)
                    .map_err(|finding| anyhow::anyhow!("{finding}"))?;
            }
            let provider = args.provider.as_deref().map(provider).transpose()?;
            let issued = registry.create(&NewAgent {
                name: args.name.clone(),
                description: args.description.clone(),
                policy: args.policy.clone(),
                provider,
            })?;
            print_issued(&issued, json)?;
        }
        AgentsCommand::RotateKey(args) => {
            let issued = registry.rotate(&args.name, args.grace.unwrap_or(Duration::ZERO))?;
            print_issued(&issued, json)?;
        }
        AgentsCommand::List(_) => list(&registry, &figures(store, &settings), json)?,
        AgentsCommand::Delete(args) => {
            let gone = registry.delete(&args.name)?;
            let line = json!({ "status": "deleted", "agent_id": &*gone.id, "name": &*gone.name });
            let text = format!("deleted {} ({})", gone.name, gone.id);
            print(&if json { line.to_string() } else { text })?;
        }
        AgentsCommand::Stats(args) => {
            let agent = registry.find(&args.name)?;
            let agent = agent.with_context(|| format!("there is no agent `{}`", args.name))?;
            let figures = figures(store, &settings).remove(&*agent.name).unwrap_or_default();
            print(&if json {
                shown(&agent, Some(&figures)).to_string()
            } else {
                let last = figures.last_at.map_or("never".to_owned(), |at| at.to_string());
                let AgentFigures { requests, denied, .. } = figures;
                format!("{}: {requests} requests, {denied} denied, last {last}", agent.name)
            })?;
        }
    }
    Ok(Done::Success)
}

fn settings() -> anyhow::Result<Settings> {
    let config = std::env::var_os("AGENTGATE_CONFIG").map(Into::into);
    Ok(Settings::resolve(&DecideArgs { config, ..DecideArgs::default() })?)
}

fn provider(name: &str) -> anyhow::Result<Provider> {
    Provider::from_name(name).with_context(|| {
        let known = Provider::ALL.map(Provider::as_str).join(", ");
        format!("there is no provider `{name}`; known are {known}")
    })
}

/// A log that cannot be read yet has no figures.
fn figures(store: &StoreArgs, settings: &Settings) -> HashMap<String, AgentFigures> {
    let reader = Reader::open(&settings.database(store));
    reader.and_then(|reader| reader.agents()).unwrap_or_default()
}

fn list(
    registry: &Registry,
    figures: &HashMap<String, AgentFigures>,
    json: bool,
) -> anyhow::Result<()> {
    let agents = registry.list()?;
    if json {
        for agent in &agents {
            print(&shown(agent, figures.get(&*agent.name)).to_string())?;
        }
        return Ok(());
    }
    if agents.is_empty() {
        return print("no agents yet; `agentgate agents create NAME` makes one");
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["NAME", "POLICY", "PROVIDER", "REQUESTS", "DENIED", "ID"]);
    for agent in &agents {
        let figures = figures.get(&*agent.name).cloned().unwrap_or_default();
        table.add_row([
            agent.name.to_string(),
            agent.policy.as_deref().unwrap_or("(the gate's)").to_owned(),
            agent.provider.map_or("(all)", Provider::as_str).to_owned(),
            figures.requests.to_string(),
            figures.denied.to_string(),
            agent.id.to_string(),
        ]);
    }
    print(&table.to_string())
}

fn print_issued(issued: &Issued, json: bool) -> anyhow::Result<()> {
    if json {
        return print(&Value::to_string(&shown_once(issued)));
    }
    let Issued { agent, api_key, aws_access_key_id, aws_secret_access_key } = issued;
    print(&format!(
        "agent:   {} ({})\nkey:     {}\naws:     {aws_access_key_id} / {}\n\n\
         Neither is shown again. Send the key as X-Agent-Key, or in the credential's place.",
        agent.name,
        agent.id,
        api_key.as_str(),
        aws_secret_access_key.as_str(),
    ))
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(anstream::stdout().lock(), "{text}")?)
}
