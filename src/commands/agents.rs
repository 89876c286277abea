//! `agentgate agents`: manages agents in the database directly; a running `serve` sees
//! changes at once.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::json;

use super::Done;
use crate::action::Provider;
use crate::admin::{AgentStats, AgentView, IssuedView, MAX_GRACE};
use crate::cli::{AgentsCommand, AgentsCreateArgs, DecideArgs};
use crate::config::Settings;
use crate::config::serve::Legacy;
use crate::policy::diagnostic::{Diagnostics, nearest};
use crate::store::agents::{AgentRecord, Issued, NewAgent, Registry};
use crate::store::counts::AgentCounts;
use crate::store::read::Reader;
use crate::terminal;

pub(super) fn run(command: &AgentsCommand) -> anyhow::Result<Done> {
    let (store, json) = match command {
        AgentsCommand::Create(args) => (&args.store, args.json),
        AgentsCommand::List(args) => (&args.store, args.json),
        AgentsCommand::Delete(args) | AgentsCommand::Stats(args) => (&args.store, args.json),
        AgentsCommand::RotateKey(args) => (&args.store, args.json),
    };
    let settings = settings()?;
    let database = settings.database(store);
    let registry = Registry::new(&database, &settings.audit_sync(None).into());
    match command {
        AgentsCommand::Create(args) => {
            print_issued(&registry.create(&new_agent(args, &settings)?)?, &database, json)
        }
        AgentsCommand::RotateKey(args) => {
            let grace = args.grace.unwrap_or(Duration::ZERO);
            anyhow::ensure!(grace <= MAX_GRACE, "--grace is at most a week: 7d");
            let issued = registry.rotate(&args.name, grace)?;
            print_issued(&issued, &database, json)
        }
        // Without a database there are no agents, and listing must not create one.
        AgentsCommand::List(_) if !database.exists() => print_list(&[], &database, json),
        AgentsCommand::List(_) => print_list(&registry.list()?, &database, json),
        AgentsCommand::Delete(args) => print_deleted(&registry.delete(&args.name)?, json),
        AgentsCommand::Stats(args) => {
            let agent = registry.find(&args.name)?;
            let agent = agent.with_context(|| format!("there is no agent `{}`", args.name))?;
            print_stats(&agent, &database, json)
        }
    }?;
    Ok(Done::Success)
}

fn settings() -> anyhow::Result<Settings> {
    let config = std::env::var_os("AGENTGATE_CONFIG").map(Into::into);
    let policy_dir = std::env::var_os("AGENTGATE_POLICY_DIR").map(Into::into);
    let flags = DecideArgs { config, policy_dir, ..DecideArgs::default() };
    let mut settings = Settings::resolve(&flags)?;
    // Policy names mean the same here as for `serve`.
    settings.policy_dir = settings.policy_dir.or_else(|| Legacy::from_env().policy_dir);
    Ok(settings)
}

/// Converts the arguments; checks that policy and provider exist.
fn new_agent(args: &AgentsCreateArgs, settings: &Settings) -> anyhow::Result<NewAgent> {
    if let Some(policy) = &args.policy {
        let found = super::policies::lookup(settings).find(policy).map_err(Diagnostics::from);
        let loaded = found.and_then(|found| found.load());
        loaded
            .map_err(|found| anyhow::anyhow!("the policy does not load\n{}", found.coloured()))?;
        anyhow::ensure!(
            policy.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
            "an agent's policy is given by name, not as a file; put `{policy}` in the policy folder"
        );
    }
    let provider = args.provider.as_deref().map(provider).transpose()?;
    Ok(NewAgent {
        name: args.name.clone(),
        description: args.description.clone(),
        policy: args.policy.clone(),
        provider,
    })
}

fn provider(name: &str) -> anyhow::Result<Provider> {
    Provider::from_name(name).with_context(|| {
        let known = Provider::ALL.map(Provider::as_str);
        let near = nearest(name, known).map(|near| format!("did you mean `{near}`? "));
        let near = near.unwrap_or_default();
        format!("there is no provider `{name}`; {near}known are {}", known.join(", "))
    })
}

fn counts(agent: &AgentRecord, database: &Path) -> anyhow::Result<AgentCounts> {
    let mut counts = Reader::open(database)?.counts_by_agent(Some(&agent.name))?;
    Ok(counts.remove(&*agent.name).unwrap_or_default())
}

fn print_list(agents: &[AgentRecord], database: &Path, json: bool) -> anyhow::Result<()> {
    let counts = match agents.is_empty() {
        true => HashMap::new(),
        false => Reader::open(database)?.counts_by_agent(None)?,
    };
    let counts = |agent: &AgentRecord| counts.get(&*agent.name).copied().unwrap_or_default();
    if json {
        return agents.iter().try_for_each(|it| print_json(&AgentView::new(it, counts(it))));
    }
    if agents.is_empty() {
        return print("no agents yet; `agentgate agents create NAME` registers one");
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["NAME", "POLICY", "PROVIDER", "REQUESTS", "DENIED", "ID"]);
    for agent in agents {
        let counts = counts(agent);
        table.add_row([
            agent.name.to_string(),
            agent.policy.as_deref().unwrap_or("(the gate's)").to_owned(),
            agent.provider.map_or("(all)", Provider::as_str).to_owned(),
            counts.requests.to_string(),
            counts.denied.to_string(),
            agent.id.to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    print(&table.trim_fmt())
}

fn print_deleted(agent: &AgentRecord, json: bool) -> anyhow::Result<()> {
    if json {
        let (id, name) = (&*agent.id, &*agent.name);
        return print_json(&json!({ "status": "deleted", "agent_id": id, "name": name }));
    }
    print(&format!("deleted {} ({})", agent.name, agent.id))
}

fn print_stats(agent: &AgentRecord, database: &Path, json: bool) -> anyhow::Result<()> {
    let counts = counts(agent, database)?;
    if json {
        return print_json(&AgentStats::new(agent, counts));
    }
    let last = counts.last.map_or("never".to_owned(), |at| at.to_string());
    let AgentCounts { requests, denied, .. } = counts;
    print(&format!("{}: {requests} requests, {denied} denied, last {last}", agent.name))
}

fn print_issued(issued: &Issued, database: &Path, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&IssuedView::new(issued, counts(&issued.agent, database)?));
    }
    let Issued { agent, api_key, aws_access_key_id, aws_secret_access_key } = issued;
    print(&format!(
        "agent:   {} ({})\nkey:     {}\naws:     {aws_access_key_id} / {}\n\n\
         Neither is shown again. Send the key as X-Agent-Key, or in place of the credential.",
        agent.name,
        agent.id,
        api_key.as_str(),
        aws_secret_access_key.as_str(),
    ))
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(terminal::json_line(anstream::stdout().lock(), value)?)
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(anstream::stdout().lock(), "{text}")?)
}
