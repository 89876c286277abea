//! `agentgate inspect`: what a server offers, and what the policy would decide
//! about each tool. Nothing is called.

mod tools;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use comfy_table::Table;
use serde_json::{Value, json};

use super::{Done, check_trailing_options, name_of, policies, remote, seen_tools};
use crate::action::{Action, Agent, DeclaredHints, Hints, Target, ToolCall, Transport};
use crate::cli::{InspectArgs, Trust};
use crate::config::Settings;
use crate::gate::pipeline::{self, Facts};
use crate::intent;
use crate::json::Object;
use crate::mcp::listing::Listed;
use crate::mcp::tools::Tools;
use crate::policy::Policy;
use crate::policy::{ToolHints, write_policy};
use crate::terminal;
use crate::verdict::Verdict;

/// A tool, and the decision about a call without arguments.
struct Row {
    hints: ToolHints,
    verdict: Verdict,
    /// Whether arguments or time may change the decision.
    depends: bool,
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<Done> {
    check_trailing_options("inspect", &args.command)?;
    let settings = Settings::resolve(&args.decide)?;
    let url = remote::url(&args.command, &args.remote)?;
    let name = name_of(args.server.name.as_deref(), &args.command, url, &settings)?;
    let policies = policies::load(&settings.policies_for(&name, &args.decide), &settings)?;
    let trusted = settings.trust(&name, args.server.trust) == Trust::Server;
    let listed = tools::list(args)?;
    seen_tools::save(&settings.home, &name, listed.iter().map(|tool| tool.name.clone()).collect());
    let rows = judge(&listed, &name, trusted, &settings.agent, &policies.current());
    if let Some(path) = &args.write_policy {
        let hints: Vec<_> = rows.iter().map(|row| row.hints.clone()).collect();
        write_new(path, &write_policy(&name, &hints))?;
    }
    let mut out = anstream::stdout().lock();
    if args.json {
        for row in &rows {
            terminal::json_line(&mut out, &row.as_json(&name))?;
        }
    } else {
        table(&mut out, &name, &rows)?;
        if let Some(path) = &args.write_policy {
            writeln!(out, "\nWritten to {}. Try it: agentgate check {0}", path.display())?;
        }
    }
    Ok(Done::Success)
}

fn judge(
    listed: &[Listed],
    server: &str,
    trusted: bool,
    agent: &Agent,
    policy: &Policy,
) -> Vec<Row> {
    let mut tools = Tools::new(trusted);
    listed.iter().for_each(|listed| tools.learn(listed.clone(), 0));
    let row = |listed: &Listed| {
        let in_force = tools.hints(&listed.name);
        let action = Action {
            at: jiff::Timestamp::now(),
            agent: agent.clone(),
            session: Arc::from("inspect"),
            transport: Transport::Stdio,
            target: Target::Tool(ToolCall {
                server: Arc::from(server),
                tool: listed.name.clone(),
                args: Object::default(),
                annotations: in_force,
                listing: tools.listing(&listed.name),
            }),
        };
        let intent = intent::of(&action);
        Row {
            hints: ToolHints { tool: listed.name.clone(), declared: listed.hints, in_force },
            verdict: pipeline::decide(&action, policy, &Facts::default()),
            depends: policy.depends_on_the_call(&action, intent),
        }
    };
    listed.iter().map(row).collect()
}

/// Creates a file. Fails if it exists, so that an edited policy is not lost.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = File::options().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| match path.exists() {
        true => format!("{} is not overwritten; remove it or name another file", path.display()),
        false => format!("cannot write {}", path.display()),
    })
}

fn table(out: &mut impl Write, server: &str, rows: &[Row]) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{server} lists no tools.");
    }
    let whole = lines_of(rows, true);
    let width = terminal_size::terminal_size().map_or(usize::MAX, |(width, _)| width.0.into());
    let fits = whole.lines().all(|line| line.chars().count() <= width);
    // Declared hints are omitted if the table is too wide, as the effective ones follow from
    // them.
    writeln!(out, "{}", if fits { whole } else { lines_of(rows, false) })?;
    if rows.iter().any(|row| row.depends) {
        writeln!(out, "\n* depends on the arguments, or on when the call is made")?;
    }
    Ok(())
}

fn lines_of(rows: &[Row], with_declared: bool) -> String {
    let columns = |cells: [String; 5]| {
        let cells = cells.into_iter().enumerate();
        cells.filter(move |(at, _)| with_declared || *at != 1).map(|(_, cell)| cell)
    };
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let header = ["TOOL", "DECLARED", "IN FORCE", "DECISION", "RULE"];
    table.set_header(columns(header.map(str::to_owned)));
    for row in rows {
        let decision = row.verdict.decision.as_str();
        table.add_row(columns([
            terminal::escaped(&row.hints.tool),
            declared(&row.hints.declared),
            row.hints.in_force.map_or_else(|| "-".to_owned(), in_words),
            if row.depends { format!("{decision} *") } else { decision.to_owned() },
            format!("{}: {}", row.verdict.policy, row.verdict.rule),
        ]));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn declared(hints: &DeclaredHints) -> String {
    let said = [
        ("read-only", hints.read_only),
        ("destructive", hints.destructive),
        ("idempotent", hints.idempotent),
        ("open world", hints.open_world),
    ];
    let words = said.into_iter().filter_map(|(word, said)| match said? {
        true => Some(word.to_owned()),
        false => Some(format!("not {word}")),
    });
    let words: Vec<_> = words.collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn in_words(hints: Hints) -> String {
    let kind = match (hints.read_only, hints.destructive) {
        (true, _) => "read-only",
        (false, false) => "writes",
        (false, true) => "destructive",
    };
    if hints.open_world { format!("{kind}, open world") } else { kind.to_owned() }
}

impl Row {
    fn as_json(&self, server: &str) -> Value {
        let DeclaredHints { read_only, destructive, idempotent, open_world } = self.hints.declared;
        let declared = [
            ("readOnlyHint", read_only),
            ("destructiveHint", destructive),
            ("idempotentHint", idempotent),
            ("openWorldHint", open_world),
        ];
        let declared: serde_json::Map<_, _> = declared
            .into_iter()
            .filter_map(|(name, said)| Some((name.to_owned(), said?.into())))
            .collect();
        let in_force = self.hints.in_force.map(|hints| {
            json!({
                "readOnlyHint": hints.read_only,
                "destructiveHint": hints.destructive,
                "idempotentHint": hints.idempotent,
                "openWorldHint": hints.open_world,
            })
        });
        let mut row = json!({
            "server": server,
            "tool": self.hints.tool,
            "declared": declared,
            "in_force": in_force,
            "depends_on_the_call": self.depends,
        });
        let verdict = serde_json::to_value(&self.verdict).unwrap_or_default();
        if let (Some(row), Value::Object(verdict)) = (row.as_object_mut(), verdict) {
            row.extend(verdict);
        }
        row
    }
}
