//! How often the intent is right, on operations and tools that their vendors
//! labelled. Prints the figures; fails where they fall below a floor.
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test prints its figures, and stops where the material is not as described"
)]

mod truth;

use std::sync::Arc;

use agentgate::action::{Action, Listing, Provider, Target, ToolCall};
use agentgate::intent;
use agentgate::json::Object;
use agentgate::path::Path;

use truth::{action, http, text, truth};

fn tool(server: &str, name: &str) -> Action {
    action(Target::Tool(ToolCall {
        server: Arc::from(server),
        tool: name.to_owned(),
        args: Object::default(),
        annotations: None,
        listing: Listing::Unknown,
    }))
}

/// Read against not-read, counted.
#[derive(Default)]
struct Score {
    reads: usize,
    others: usize,
    missed_reads: Vec<String>,
    writes_as_reads: Vec<String>,
}

impl Score {
    fn count(&mut self, what: String, truly_read: bool, found_read: bool) {
        *if truly_read { &mut self.reads } else { &mut self.others } += 1;
        match (truly_read, found_read) {
            (true, false) => self.missed_reads.push(what),
            (false, true) => self.writes_as_reads.push(what),
            _ => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.others += other.others;
        self.missed_reads.extend(other.missed_reads);
        self.writes_as_reads.extend(other.writes_as_reads);
    }

    fn accuracy(&self) -> f64 {
        let wrong = self.missed_reads.len() + self.writes_as_reads.len();
        1.0 - wrong as f64 / (self.reads + self.others) as f64
    }

    /// The mean of how many reads and how many others were found to be that.
    fn balanced(&self) -> f64 {
        let right = |all: usize, wrong: usize| 1.0 - wrong as f64 / all.max(1) as f64;
        let others = right(self.others, self.writes_as_reads.len());
        f64::midpoint(right(self.reads, self.missed_reads.len()), others)
    }

    fn print(&self, name: &str) {
        println!(
            "{name:<24} {:>6.2} % balanced, {:>6.2} % of {:>5} right, {:>3} of {:>4} reads \
             missed, {:>2} of {:>4} writes taken for reads",
            100.0 * self.balanced(),
            100.0 * self.accuracy(),
            self.reads + self.others,
            self.missed_reads.len(),
            self.reads,
            self.writes_as_reads.len(),
            self.others,
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

/// How the operations of one file are judged, by the path under `key`.
fn score(file: &str, key: &str) -> Option<Score> {
    let mut score = Score::default();
    for row in truth(file)? {
        let Some(path) = row[key].as_str() else { continue };
        let found = intent::of(&http(&row, path)).is_read();
        let what = format!("{} {path} {}", text(&row, "method"), text(&row, "op"));
        let truly = text(&row, "label") == "read" || text(&row, "action") == "read";
        score.count(what, truly, found);
    }
    Some(score)
}

#[test]
fn operations_with_plausible_paths() {
    operations("example_path");
}

/// By the one reader that the proxy, batches and written requests share.
#[test]
fn no_operation_is_refused_for_its_path() {
    for provider in Provider::ALL {
        let Some(rows) = truth(&format!("ops/{}.jsonl", provider.as_str())) else { return };
        for path in rows.iter().flat_map(|row| [&row["example_path"], &row["hard_path"]]) {
            let Some(path) = path.as_str().and_then(|path| path.split('?').next()) else {
                continue;
            };
            // One of them ends in a line feed.
            let read = Path::parse(provider, path.trim_ascii_end());
            assert!(read.is_ok(), "{} {path}: {read:?}", provider.as_str());
        }
    }
}

#[test]
fn operations_with_confusing_paths() {
    operations("hard_path");
}

/// Per provider at least 99 %, and no write taken for a read.
fn operations(key: &str) {
    println!("by {key}:");
    let mut all = Score::default();
    let mut balanced = Vec::new();
    for provider in Provider::ALL.map(Provider::as_str) {
        let Some(mut score) = score(&format!("ops/{provider}.jsonl"), key) else { return };
        if provider == "github" {
            let Some(graphql) = self::score("ops/github_graphql.jsonl", key) else { return };
            score.add(graphql);
        }
        if score.reads + score.others == 0 {
            continue;
        }
        score.print(provider);
        assert!(score.balanced() >= 0.99, "{provider} fell to {}", score.balanced());
        balanced.push(score.balanced());
        all.add(score);
    }
    all.print("all");
    let mean = balanced.iter().sum::<f64>() / balanced.len() as f64;
    println!("{:<24} {:>6.2} % balanced", "mean of providers", 100.0 * mean);
    assert!(mean >= 0.995, "the mean fell to {mean}");
    assert!(all.writes_as_reads.is_empty(), "{:?}", all.writes_as_reads);
}

#[test]
fn batches_and_documents_made_to_deceive() {
    for file in ["ops/batch.jsonl", "ops/graphql_adversarial.jsonl"] {
        let Some(score) = score(file, "example_path") else { return };
        score.print(file);
        assert!(score.missed_reads.is_empty(), "{:?}", score.missed_reads);
        assert!(score.writes_as_reads.is_empty(), "{:?}", score.writes_as_reads);
    }
}

#[test]
fn deletions_where_the_vendor_has_a_word_for_them() {
    for file in ["linear", "github_graphql", "graphql_adversarial"] {
        let Some(rows) = truth(&format!("ops/{file}.jsonl")) else { return };
        for row in rows.iter().filter(|row| text(row, "label") == "delete") {
            let found = intent::of(&http(row, text(row, "example_path")));
            assert_eq!(found, intent::Intent::Delete, "{file}: {}", text(row, "op"));
        }
    }
}
