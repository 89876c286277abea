//! What the documents show works: their policies load and pass their own tests,
//! and the clients' configurations gate what they start.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agentgate::cli::Cli;
use clap::CommandFactory as _;

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

/// The fenced blocks of a document in `language`, each with its first line's number.
fn blocks(document: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = document.lines().zip(1..);
    while let Some((line, _)) = lines.next() {
        if line.trim().strip_prefix("```") != Some(language) {
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
        let policies: Vec<_> = blocks(&document, "yaml")
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

/// And what it says that commands print which need no more than what they are given.
#[cfg(unix)]
#[test]
fn the_samples_of_other_commands_are_what_they_print() {
    let home = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_agentgate")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut seen = BTreeSet::new();
    for page in ["README.md", "docs/serve.md"] {
        for (line, block) in blocks(&fs::read_to_string(root().join(page)).unwrap(), "console") {
            let (command, sample) = block.split_once('\n').unwrap();
            let Some(command) = command.strip_prefix("$ ") else { continue };
            let names =
                ["agentgate test ", "agentgate explain ", "agentgate intent ", "agentgate replay "];
            let Some(name) = names.into_iter().find(|name| command.contains(name)) else {
                continue;
            };
            let mut run = Command::new("sh");
            run.args(["-c", command]).env("PATH", &path).env("AGENTGATE_HOME", home.path());
            let printed = String::from_utf8(run.output().unwrap().stdout).unwrap();
            let (begin, end) = sample.split_once("  …\n").unwrap_or((sample, ""));
            assert!(
                printed.starts_with(begin) && printed.ends_with(end),
                "{page}:{line}: {printed}"
            );
            assert!(!end.is_empty() || printed == sample, "{page}:{line}: {printed}");
            seen.insert(name);
        }
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn the_manual_names_no_page_but_its_own() {
    let home = tempfile::tempdir().unwrap();
    let page = String::from_utf8(agentgate(home.path(), &["man"]).stdout).unwrap();
    assert!(page.contains("agentgate wrap") && page.contains("agentgate doctor"), "{page}");
    assert!(!page.contains("(1)"), "{page}");
    for section in ["AGENTGATE WRAP", "AGENTGATE AUDIT LIST", "AGENTGATE SERVE"] {
        assert!(page.contains(&format!(".SH \"{section}\"")), "{section}");
    }
    assert!(page.contains("\\-\\-hide\\-denied") && !page.contains("SUPERVISE"), "{page}");
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

/// `doctor`, shown each example in the place that it is for, finds all gated; those that
/// a desktop starts, by a name that it may not find.
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
        let health = if line.contains("Claude Code") { "ok" } else { "note" };
        assert!(line.contains(&format!(r#""health":"{health}""#)), "{line}");
        assert!(line.contains("is gated"), "{line}");
        assert_eq!(line.contains("may not have this shell's PATH"), health == "note", "{line}");
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

/// Every document that a reader is led through.
fn documents() -> Vec<PathBuf> {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    let more = names.into_iter().chain(["examples/README.md"]);
    pages.chain(more.map(|name| root().join(name))).collect()
}

/// The targets of a document's links, those of pages elsewhere left out.
fn links(document: &str) -> Vec<&str> {
    let targets = document.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.contains(' ')).collect()
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let (path, wanted) = link.split_once('#').unwrap_or((link, ""));
            let page = document.parent().unwrap().join(path);
            let page = if path.is_empty() { document.clone() } else { page };
            assert!(page.exists(), "{}: {link}", document.display());
            if !wanted.is_empty() {
                let text = fs::read_to_string(&page).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let found =
                    headings.any(|line| anchor(line.trim_start_matches('#').trim()) == wanted);
                assert!(found, "{}: {link}", document.display());
            }
        }
    }
}

/// What somebody unpacks has what its README leads to.
#[test]
fn release_archive_contains_what_the_readme_links() {
    let workflow = fs::read_to_string(root().join(".github/workflows/release.yml")).unwrap();
    let copied = workflow.lines().find_map(|line| line.trim().strip_prefix("cp -r ")).unwrap();
    let copied: BTreeSet<&str> = copied.split(' ').collect();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for link in links(&readme) {
        let top = link.split(['/', '#']).next().unwrap();
        assert!(top.is_empty() || copied.contains(top), "{link} is not in the archive");
    }
}

/// The rows of a page's tables, cell by cell, without their backticks.
fn rows(page: &str) -> Vec<Vec<String>> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = |line: &str| line.split(" | ").map(|cell| cell.trim().replace('`', "")).collect();
    lines.map(|line| cells(&line.replace("| |", "|  |"))).collect()
}

#[test]
fn the_page_on_configuration_has_every_flag_with_its_variable() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let rows = rows(&page);
    let cli = Cli::command();
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    for name in ["wrap", "serve"] {
        for arg in cli.find_subcommand(name).unwrap().get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let variable = arg.get_env().map(|name| name.to_str().unwrap().to_owned());
            let said = rows.iter().any(|row| {
                row.iter().any(|cell| *cell == format!("--{long}"))
                    && row.iter().any(|cell| Some(cell) == variable.as_ref())
            });
            assert!(said, "{name} --{long} ({variable:?}) is not in docs/configuration.md");
            known.insert(format!("--{long}"), variable);
        }
    }
    let is_flag = |cell: &&String| cell.starts_with("--") && !cell.starts_with("---");
    for flag in rows.iter().flatten().filter(is_flag) {
        assert!(known.contains_key(flag), "there is no {flag}");
    }
}

/// Runs what a page says, in a folder with a policy and a trace, beside a gate.
fn run_shell_of(page: &str) {
    let document = fs::read_to_string(root().join(page)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let policies = home.path().join("work/policies");
    fs::create_dir_all(&policies).unwrap();
    for policy in [policies.join("team.yaml"), home.path().join("work/before.yaml")] {
        fs::copy(root().join("examples/policies/protect_main.yaml"), policy).unwrap();
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut script = "set -euo pipefail
        agentgate serve --test-mode 2>serve.log & trap 'kill $!' EXIT
        until curl -sf http://127.0.0.1:8100/health >health || ! kill -0 $!; do sleep 0.1; done
        agentgate agents create first --json >first
        key=$(sed 's/.*\"api_key\":\"\\([^\"]*\\)\".*/\\1/' first)
        until curl -sf -H \"X-Agent-Key: $key\" http://127.0.0.1:8100/proxy/github/user >answer ||
          ! kill -0 $!; do sleep 0.1; done\n"
        .to_owned();
    for (line, block) in blocks(&document, "sh") {
        let missing = ["sqlite3", "jq"].into_iter().find(|tool| block.contains(tool) && !has(tool));
        match missing {
            Some(tool) => eprintln!("skipped: {page}:{line}: {tool} is not installed"),
            None => script.push_str(&format!("echo '== line {line}' >&2\n{block}")),
        }
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_agentgate")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &script.replace("8100", &port.to_string())])
        .current_dir(home.path().join("work"))
        .env("PATH", path)
        .env("HOME", home.path())
        .env("AGENTGATE_HOME", home.path())
        .env("AGENTGATE_LISTEN", format!("127.0.0.1:{port}"))
        .env_remove("AGENTGATE_MASTER_KEY")
        .output()
        .unwrap();
    assert!(output.status.success(), "{page}: {}", said(&output));
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

#[cfg(unix)]
#[test]
fn operations_run_as_written() {
    run_shell_of("docs/operations.md");
}

#[cfg(unix)]
#[test]
fn policies_in_git_are_judged_as_written() {
    run_shell_of("docs/policies-in-git.md");
}

/// The steps of the example workflow that judge, with a policy that holds and one that
/// does not.
#[cfg(unix)]
#[test]
fn the_example_workflow_judges() {
    let workflow = fs::read_to_string(root().join("examples/ci/policies.yml")).unwrap();
    let steps = workflow.lines().filter_map(|line| line.trim().strip_prefix("run: agentgate "));
    let steps: Vec<&str> = steps.collect();
    assert_eq!(steps.len(), 2, "{workflow}");
    let home = tempfile::tempdir().unwrap();
    let policy = home.path().join("policies/team.yaml");
    fs::create_dir(policy.parent().unwrap()).unwrap();
    let judged = |step: &str| {
        let step = step.replace('*', "team");
        agentgate(home.path(), &step.split(' ').collect::<Vec<_>>())
    };
    fs::copy(root().join("examples/policies/protect_main.yaml"), &policy).unwrap();
    for step in &steps {
        assert!(judged(step).status.success(), "{step}");
    }
    fs::write(&policy, "name: team\nrules: [{tool: a, efect: deny}]\n").unwrap();
    for step in &steps {
        assert_eq!(judged(step).status.code(), Some(1), "{step}: {}", said(&judged(step)));
    }
}

/// Every policy that loads fits the schema that editors use, and mistakes that they are to
/// underline do not.
#[cfg(unix)]
#[test]
fn policies_fit_the_schema() {
    let Some(real) = real() else { return };
    let home = tempfile::tempdir().unwrap();
    let mut policies = Vec::new();
    for folder in ["policies", "examples/policies"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        policies.extend(files.filter(|path| path.extension().is_some_and(|it| it == "yaml")));
    }
    let mut texts: Vec<String> =
        policies.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let page = fs::read_to_string(root().join("docs/policy.md")).unwrap();
    let of_page = blocks(&page, "yaml").into_iter().map(|(_, text)| text);
    texts.extend(of_page.filter(|text| text.starts_with("name:")));
    assert!(texts.len() > 35, "only {} policies", texts.len());
    let mistakes = [
        "rules: []",
        "name: p\nruels: []",
        "name: p\nrules: [{tool: a}]",
        "name: p\nrules: [{tool: a, effect: alow}]",
        "name: p\nrules: [{tool: 7, effect: deny}]",
        "name: p\nrules: [{intent: [raed], effect: deny}]",
        "name: p\nrules: [{args: {a: {undr: /b}}, effect: deny}]",
        "name: p\nrules: [{conditions: {nor: []}, effect: deny}]",
        "name: p\nrate_limit: {requests_per_minute: 0}",
        "name: p\ntests: [{expect: deny}]",
    ];
    for (at, text) in mistakes.iter().enumerate() {
        let file = home.path().join(format!("{at}.yaml"));
        fs::write(&file, text).unwrap();
        let checked = agentgate(home.path(), &["check", file.to_str().unwrap()]);
        assert_eq!(checked.status.code(), Some(1), "{text}: {}", said(&checked));
    }
    let json = |text: &str| serde_yaml::from_str::<serde_json::Value>(text).unwrap();
    let all = serde_json::json!({
        "schema": json(&said_by(&agentgate(home.path(), &["policies", "schema"]))),
        "good": texts.iter().map(|text| json(text)).collect::<Vec<_>>(),
        "bad": mistakes.map(json),
    });
    fs::write(home.path().join("all.json"), all.to_string()).unwrap();
    let script = "import json, jsonschema\n\
        all = json.load(open('all.json'))\n\
        validator = jsonschema.Draft7Validator(all['schema'])\n\
        validator.check_schema(all['schema'])\n\
        for it in all['good']: validator.validate(it)\n\
        for it in all['bad']: assert not validator.is_valid(it), it\n";
    let output = Command::new(real.join("python/bin/python"))
        .args(["-c", script])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

fn said_by(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Where real servers and clients are installed, if they are.
#[cfg(unix)]
fn real() -> Option<PathBuf> {
    let real = std::env::var_os("AGENTGATE_REAL").map(PathBuf::from);
    if real.is_none() {
        assert!(std::env::var_os("AGENTGATE_REAL_REQUIRED").is_none(), "AGENTGATE_REAL is not set");
        eprintln!("skipped: AGENTGATE_REAL is not set");
    }
    real
}

/// The Python of the page on `serve`, up to where it would need a gate.
#[cfg(unix)]
#[test]
fn python_in_documents_runs() {
    let Some(real) = real() else { return };
    let page = fs::read_to_string(root().join("docs/serve.md")).unwrap();
    let script: String = blocks(&page, "python").into_iter().map(|(_, block)| block).collect();
    let output = Command::new(real.join("python-sdks/bin/python"))
        .args(["-c", &script])
        .env("AGENT_KEY", "key")
        .env("AGENT_AWS_ID", "id")
        .env("AGENT_AWS_SECRET", "secret")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let url = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(url.starts_with("http://127.0.0.1:8100/proxy/aws/s3/b/k?X-Amz-Algorithm="), "{url}");
}
