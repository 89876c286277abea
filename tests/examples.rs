//! Everything under `examples/` works with this version: configurations start
//! what they say, policies load without a warning and pass their own tests.
//! The bundled policies are held to the same.

#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agentgate::cli::{self, Cli};
use agentgate::policy;
use clap::Parser as _;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no .{extension}");
    found
}

/// The servers of a client's configuration, whichever of the two keys it uses.
fn servers(path: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(path).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let servers = config.get("mcpServers").or(config.get("servers")).expect("servers");
    servers.as_object().unwrap().clone().into_iter().collect()
}

#[test]
fn client_configurations_start_a_gated_server() {
    for path in files("examples", "json") {
        for (name, server) in servers(&path) {
            let what = format!("{}: {name}", path.display());
            assert_eq!(server["command"], "agentgate", "{what}");
            let args = server["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
            let typed = std::iter::once("agentgate").chain(args);
            let cli = Cli::try_parse_from(typed).unwrap_or_else(|error| panic!("{what}: {error}"));
            let cli::Command::Wrap(wrap) = cli.command else { panic!("{what}: not wrap") };
            assert_eq!(wrap.server.name.as_deref(), Some(name.as_str()), "{what}");
            for policy in &wrap.decide.policies {
                assert!(policy::bundled(policy).is_some(), "{what}: no policy `{policy}`");
            }
        }
    }
}

#[test]
fn the_readme_leads_to_every_example() {
    let readme = fs::read_to_string(root().join("examples/README.md")).unwrap();
    let all = files("examples", "json").into_iter().chain(files("examples", "yaml"));
    let deployment = ["agentgate.service", "Dockerfile"].map(serve_example);
    for path in all.chain(deployment) {
        let path = path.strip_prefix(root().join("examples")).unwrap().display().to_string();
        assert!(readme.contains(&format!("({path})")), "{path} is not in examples/README.md");
    }
}

#[test]
fn policies_pass_their_own_tests_and_earn_no_warning() {
    for (command, extra) in [("test", None), ("check", Some("--strict"))] {
        let policies =
            files("examples/policies", "yaml").into_iter().chain(files("policies", "yaml"));
        let output = Command::new(env!("CARGO_BIN_EXE_agentgate"))
            .arg(command)
            .args(extra)
            .args(policies)
            .env("AGENTGATE_HOME", std::env::temp_dir().join("agentgate-no-such-home"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{command}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }
}

#[test]
fn every_policy_tests_both_what_passes_and_what_does_not() {
    for path in files("examples/policies", "yaml").into_iter().chain(files("policies", "yaml")) {
        let text = fs::read_to_string(&path).unwrap();
        for expected in ["expect: allow", "expect: deny", "description: |"] {
            assert!(text.contains(expected), "{} has no `{expected}`", path.display());
        }
    }
}

// === `agentgate serve` ===

fn serve_example(name: &str) -> PathBuf {
    root().join("examples/serve").join(name)
}

fn text_of(name: &str) -> String {
    fs::read_to_string(serve_example(name)).unwrap()
}

/// A gate that serves; killed at the end of the test.
struct Serving(Child, String);

impl Serving {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said:?}")).unwrap();
            match line.strip_prefix("agentgate: serving on http://") {
                Some(address) => break address.to_owned(),
                None => said.push(line),
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, address)
    }

    fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(&self.1).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `serve.yaml` on ports that are free.
fn serve_yaml(folder: &Path) -> PathBuf {
    let text = text_of("serve.yaml");
    let free = text.replace(":8100", ":0").replace(":8201", ":0");
    assert_ne!(text, free);
    let path = folder.join("serve.yaml");
    fs::write(&path, free).unwrap();
    path
}

#[test]
fn the_configuration_of_serve_has_every_key_and_serves() {
    let home = tempfile::tempdir().unwrap();
    let agentgate = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentgate"));
        command.args(args).env("AGENTGATE_HOME", home.path());
        command.env("AGENTGATE_MASTER_KEY", "a master key for examples");
        command
    };
    // What is unknown is answered with what is known.
    let unknown = home.path().join("unknown.yaml");
    fs::write(&unknown, "zzzzzz: 1\n").unwrap();
    let told = agentgate(&["serve", "--config", unknown.to_str().unwrap()]).output().unwrap();
    assert_eq!(told.status.code(), Some(2));
    let told = String::from_utf8(told.stderr).unwrap();
    let known = told.split("known are `").nth(1).unwrap_or_else(|| panic!("{told}"));
    let keys: Vec<&str> = known.trim_end().trim_end_matches('`').split("`, `").collect();
    assert!(keys.len() > 10, "{told}");
    let text = text_of("serve.yaml");
    // What is `wrap`'s alone.
    let of_wrap =
        |key: &&str| ["agent", "ask_timeout", "max_sessions", "session_idle"].contains(key);
    for key in keys.into_iter().filter(|key| !of_wrap(key)) {
        let is_it = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key}:"));
        assert!(text.lines().any(is_it), "`{key}` is not in serve.yaml");
    }
    let config = serve_yaml(home.path());
    let args = ["serve", "--test-mode", "--config", config.to_str().unwrap()];
    let serving = Serving::start(&mut agentgate(&args));
    assert!(serving.get("/health", "").starts_with("HTTP/1.1 200"));
    let servers = serving.get("/mcp/servers", "X-Master-Key: a master key for examples\r\n");
    assert!(servers.contains("\"tracker\""), "{servers}");
}

#[test]
fn the_systemd_unit_is_one_and_starts_what_there_is() {
    let unit = text_of("agentgate.service");
    let value = |key: &str| {
        let start = format!("{key}=");
        unit.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{key}"))
    };
    let cli = Cli::try_parse_from(value("ExecStart").split(' ')).unwrap();
    assert!(matches!(cli.command, cli::Command::Serve(_)));
    for (key, wanted) in [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Environment", "AGENTGATE_HOME=/var/lib/agentgate"),
        ("StateDirectory", "agentgate"),
    ] {
        assert_eq!(value(key), wanted);
    }
    // systemd wants to see the program.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("agentgate.service");
    fs::write(&copy, unit.replace("/usr/local/bin/agentgate", "/bin/true")).unwrap();
    let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(&copy).output() else {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_image_is_built_from_what_there_is_and_runs_as_nobody() {
    let text = text_of("Dockerfile").replace("\\\n", " ");
    let lines: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let of = |word: &str| lines.iter().filter(|line| line[0] == word).cloned().collect::<Vec<_>>();
    assert_eq!(of("FROM").len(), 2, "what builds stays behind");
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let mut copied = 0;
    for copy in of("COPY").iter().filter(|copy| !copy[1].starts_with("--from")) {
        for source in &copy[1..copy.len() - 1] {
            assert!(root().join(source).exists(), "{source}");
            assert!(ignored.lines().any(|line| line == format!("!{source}")), "{source}");
            copied += 1;
        }
    }
    assert!(copied >= 6);
    // Cargo looks for its settings from the working directory up.
    assert!(text.contains("COPY .cargo ./.cargo\n"), "SQLite would be built another way");
    // As install.sh builds it.
    let build = "cargo build --release --locked --bin agentgate";
    let install = fs::read_to_string(root().join("install.sh")).unwrap();
    assert!(install.contains(build) && text.contains(&format!("RUN {build}\n")));
    let user = of("USER");
    let (user, group) = user.last().unwrap()[1].split_once(':').unwrap();
    assert!([user, group].iter().all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)));
    for words in of("ENV").iter().chain(&of("ARG")) {
        let secret = |word: &&&str| ["KEY", "TOKEN", "SECRET"].iter().any(|it| word.contains(it));
        assert_eq!(words.iter().find(secret), None);
    }
    let list = |word: &str| -> Vec<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(word)).unwrap();
        serde_json::from_str(line).unwrap()
    };
    let run = [list("ENTRYPOINT "), list("CMD ")].concat();
    assert!(matches!(Cli::try_parse_from(run).unwrap().command, cli::Command::Serve(_)));
}

#[test]
fn the_compose_file_runs_the_image_with_nothing_it_does_not_need() {
    let compose: Value = serde_yaml::from_str(&text_of("compose.yaml")).unwrap();
    let service = &compose["services"]["agentgate"];
    let context = serve_example(service["build"]["context"].as_str().unwrap());
    let dockerfile = context.join(service["build"]["dockerfile"].as_str().unwrap());
    assert_eq!(dockerfile.canonicalize().unwrap(), serve_example("Dockerfile"));
    let command = service["command"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
    let typed = std::iter::once("agentgate").chain(command);
    assert!(matches!(Cli::try_parse_from(typed).unwrap().command, cli::Command::Serve(_)));
    assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()));
    assert_eq!(service["security_opt"][0], "no-new-privileges:true");
    assert!(service["ports"][0].as_str().unwrap().starts_with("127.0.0.1:"));
    // Variables are named and never given.
    for variable in service["environment"].as_array().unwrap() {
        assert!(!variable.as_str().unwrap().contains('='), "{variable}");
    }
}

/// As the unit and the image have it: nobody's user, one folder to write to.
#[cfg(target_os = "linux")]
#[test]
fn the_user_nobody_can_serve_from_its_own_folder() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().unwrap();
    let is_root = fs::metadata(folder.path()).unwrap().uid() == 0;
    if !is_root {
        eprintln!("skipped: only root may become nobody");
        return;
    }
    let (state, binary) = (folder.path().join("state"), folder.path().join("agentgate"));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_agentgate"), &binary).unwrap();
    let config = serve_yaml(folder.path());
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
            .args(["--bounding-set=-all", "--inh-caps=-all"])
            .arg(&binary)
            .env_clear()
            .env("AGENTGATE_HOME", &state)
            .current_dir("/");
        command
    };
    let mut serve = as_nobody();
    let serving = Serving::start(serve.args(["serve", "--test-mode", "--config"]).arg(&config));
    assert!(serving.get("/health", "").starts_with("HTTP/1.1 200"));
    let made = as_nobody().args(["agents", "create", "bot", "--json"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    for entry in fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        let (metadata, name) = (entry.metadata().unwrap(), entry.file_name());
        assert_eq!(metadata.uid(), NOBODY, "{name:?}");
        assert_eq!(metadata.mode() & 0o077, 0, "{name:?}");
    }
}
