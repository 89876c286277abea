//! How often the intent is right, on operations and tools that their vendors
//! labelled. Prints the figures; fails where they fall below a floor.
//!
//! The material lies beside the checkout (`../shared/truth`, or where
//! `AGENTGATE_TRUTH` says); without it the tests say so and pass.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use agentgate::action::{Action, Agent, Body, HttpRequest, Provider, Target, ToolCall, Transport};
use agentgate::intent;
use agentgate::json::{self, Object};
use serde_json::Value;

fn truth(file: &str) -> Option<Vec<Value>> {
    let root = std::env::var_os("AGENTGATE_TRUTH").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/truth"),
        PathBuf::from,
    );
    let path = root.join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not here", path.display());
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn text<'r>(row: &'r Value, key: &str) -> &'r str {
    row[key].as_str().unwrap_or_default()
}

fn action(target: Target) -> Action {
    Action {
        at: jiff::Timestamp::UNIX_EPOCH,
        agent: Agent::default(),
        session: Arc::from("s"),
        transport: Transport::Rest,
        target,
    }
}

fn tool(server: &str, name: &str) -> Action {
    action(Target::Tool(ToolCall {
        server: Arc::from(server),
        tool: name.to_owned(),
        args: Object::default(),
        annotations: None,
    }))
}

fn http(row: &Value, path: &str) -> Action {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let headers = row["headers"].as_object().into_iter().flatten();
    let body = match &row["body"] {
        Value::Null => Body::Empty,
        Value::String(text) => Body::Text(text.clone()),
        other => Body::Json(json::parse(other.to_string().as_bytes()).unwrap()),
    };
    action(Target::Http(HttpRequest {
        provider: Provider::from_name(text(row, "provider")).unwrap(),
        method: text(row, "method").to_owned(),
        path: path.to_owned(),
        host: row["host"].as_str().map(str::to_owned),
        query: query.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        headers: headers
            .map(|(k, v)| (k.to_ascii_lowercase(), v.as_str().unwrap().to_owned()))
            .collect(),
        body,
    }))
}

/// Read against not-read, counted.
#[derive(Default)]
struct Score {
    right: usize,
    missed_reads: Vec<String>,
    writes_as_reads: Vec<String>,
}

impl Score {
    fn count(&mut self, what: String, truly_read: bool, found_read: bool) {
        match (truly_read, found_read) {
            (true, false) => self.missed_reads.push(what),
            (false, true) => self.writes_as_reads.push(what),
            _ => self.right += 1,
        }
    }

    fn all(&self) -> usize {
        self.right + self.missed_reads.len() + self.writes_as_reads.len()
    }

    fn accuracy(&self) -> f64 {
        self.right as f64 / self.all() as f64
    }

    fn print(&self, name: &str) {
        println!(
            "{name:<24} {:>6.2} % of {:>5} right, {:>4} reads missed, {:>3} writes taken for reads",
            100.0 * self.accuracy(),
            self.all(),
            self.missed_reads.len(),
            self.writes_as_reads.len(),
        );
        if std::env::var_os("AGENTGATE_TRUTH_VERBOSE").is_some() {
            self.missed_reads.iter().for_each(|what| println!("    missed {what}"));
            self.writes_as_reads.iter().for_each(|what| println!("    WRITE  {what}"));
        }
    }
}

#[test]
fn tools_by_their_name_alone() {
    let Some(rows) = truth("mcp_tools.jsonl") else { return };
    let mut score = Score::default();
    for row in &rows {
        let found = intent::of(&tool("server", text(row, "name")));
        score.count(text(row, "name").to_owned(), text(row, "label") == "read", found.is_read());
    }
    score.print("MCP tools by name");
    assert!(score.accuracy() >= 0.95, "accuracy fell to {}", score.accuracy());
    assert!(score.writes_as_reads.is_empty(), "{:?}", score.writes_as_reads);
}

#[test]
fn operations_of_the_providers() {
    let mut all = Score::default();
    for (provider, floor, writes) in FLOORS {
        let Some(rows) = truth(&format!("ops/{provider}.jsonl")) else { return };
        let mut score = Score::default();
        for row in &rows {
            for path in ["example_path", "hard_path"] {
                let Some(path) = row[path].as_str() else { continue };
                let found = intent::of(&http(row, path)).is_read();
                let what = format!("{} {path} {}", text(row, "method"), text(row, "op"));
                let truly = text(row, "label") == "read" || text(row, "action") == "read";
                score.count(what.clone(), truly, found);
                all.count(what, truly, found);
            }
        }
        score.print(provider);
        assert!(score.accuracy() >= floor, "{provider} fell to {}", score.accuracy());
        let taken = &score.writes_as_reads;
        assert!(taken.len() <= writes, "{provider}: {taken:?}");
    }
    all.print("all");
}

/// Per provider: the least accuracy, and the most writes taken for reads
/// (counted twice an operation: plain and with confusing path parameters).
const FLOORS: [(&str, f64, usize); 13] = [
    ("google", 0.99, 2),
    ("microsoft", 0.99, 4),
    ("slack", 0.99, 0),
    ("github", 0.99, 0),
    ("jira", 0.98, 0),
    ("notion", 0.99, 0),
    ("linear", 0.99, 0),
    ("hubspot", 0.99, 0),
    ("salesforce", 0.97, 0),
    ("aws", 0.94, 4),
    ("github_graphql", 0.99, 0),
    ("graphql_adversarial", 0.99, 0),
    ("batch", 0.49, 0),
];
