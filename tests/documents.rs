//! What the documents show works: their policies load and pass their own tests,
//! and the clients' configurations gate what they start.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn agentgate(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agentgate"))
        .args(args)
        .current_dir(home)
        .env("AGENTGATE_HOME", home)
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join(".config"))
        .env("PATH", Path::new(env!("CARGO_BIN_EXE_agentgate")).parent().unwrap())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// The fenced `yaml` blocks of a document, each with its first line's number.
fn yaml_blocks(document: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = document.lines().zip(1..);
    while let Some((line, _)) = lines.next() {
        if line.trim() != "```yaml" {
            continue;
        }
        let block: Vec<_> = lines.by_ref().take_while(|(line, _)| line.trim() != "```").collect();
        let first = block.first().map_or(0, |(_, number)| *number);
        blocks.push((first, block.iter().map(|(line, _)| format!("{line}\n")).collect()));
    }
    blocks
}

/// `check` finds nothing wrong and `test` passes.
fn holds(home: &Path, policy: &Path) {
    let path = policy.to_str().unwrap();
    let checked = agentgate(home, &["check", path]);
    assert!(checked.status.success(), "check {path}: {}", said(&checked));
    if fs::read_to_string(policy).unwrap().contains("\ntests:") {
        let tested = agentgate(home, &["test", path]);
        assert!(tested.status.success(), "test {path}: {}", said(&tested));
    }
}

#[test]
fn policies_in_documents_are_policies() {
    let home = tempfile::tempdir().unwrap();
    for (name, at_least) in [("README.md", 1), ("docs/policy.md", 10)] {
        let document = fs::read_to_string(root().join(name)).unwrap();
        let policies: Vec<_> = yaml_blocks(&document)
            .into_iter()
            .filter(|(_, text)| text.lines().any(|line| line.starts_with("name:")))
            .collect();
        assert!(policies.len() >= at_least, "{name} has {} policies", policies.len());
        for (line, text) in policies {
            let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
            let file = home.path().join(format!("{stem}-line-{line}.yaml"));
            fs::write(&file, text).unwrap();
            holds(home.path(), &file);
        }
    }
}

/// What the README says that `check` prints, of a file with that mistake.
#[test]
fn the_sample_of_check_is_what_it_prints() {
    let home = tempfile::tempdir().unwrap();
    let policy = "name: team\nrules:\n  - name: main\n    tool: push\n    efect: deny\n";
    fs::write(home.path().join("team.yaml"), policy).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let sample = readme.split("$ agentgate check team.yaml\n").nth(1).unwrap();
    let output = agentgate(home.path(), &["check", "team.yaml"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(sample.split("```").next().unwrap(), printed);
}

#[test]
fn the_manual_names_no_page_but_its_own() {
    let home = tempfile::tempdir().unwrap();
    let page = String::from_utf8(agentgate(home.path(), &["man"]).stdout).unwrap();
    assert!(page.contains("agentgate wrap") && page.contains("agentgate doctor"), "{page}");
    assert!(!page.contains("(1)"), "{page}");
}

#[test]
fn policies_in_examples_are_policies() {
    let home = tempfile::tempdir().unwrap();
    let folder = root().join("examples/policies");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        holds(home.path(), &entry.unwrap().path());
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} examples");
}

/// `doctor`, shown each example in the place that it is for, finds all gated.
#[cfg(target_os = "linux")]
#[test]
fn servers_in_examples_are_gated() {
    let home = tempfile::tempdir().unwrap();
    let places = [
        ("claude-desktop/claude_desktop_config.json", ".config/Claude/claude_desktop_config.json"),
        ("claude-code/.mcp.json", ".mcp.json"),
        ("cursor/mcp.json", ".cursor/mcp.json"),
        ("vscode/mcp.json", ".config/Code/User/mcp.json"),
    ];
    for (example, place) in places {
        let path = home.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(root().join("examples").join(example), path).unwrap();
    }
    let output = agentgate(home.path(), &["doctor", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let clients: Vec<_> =
        text.lines().filter(|line| line.contains(r#""check":"client""#)).collect();
    assert_eq!(clients.len(), 8, "{text}");
    for line in clients {
        assert!(line.contains(r#""health":"ok""#), "{line}");
    }
}

#[test]
fn the_example_configuration_loads() {
    let home = tempfile::tempdir().unwrap();
    fs::copy(root().join("examples/config.yaml"), home.path().join("config.yaml")).unwrap();
    let output = agentgate(home.path(), &["doctor", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(r#""check":"configuration""#)).unwrap();
    assert!(line.contains("loads"), "{line}");
}
