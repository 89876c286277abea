//! The quick start of the README, run as it is written.

use std::process::Command;

/// The `bash` blocks of the section, in order.
fn blocks(text: &str) -> Vec<&str> {
    let section =
        text.split("## Gate an API in two minutes").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```bash\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_quick_start_runs_as_written() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(document).unwrap();
    let blocks = blocks(&text);
    assert_eq!(blocks.len(), 5, "the start and four steps");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The second time it is refused, which ends no shell that a person types in.
    let again = blocks[1].replace("\ncat", " || true\ncat");
    let steps = [&blocks[..], &[&again]].concat();
    let script = steps.join("\necho; echo '#####'\n").replace("8100", &port.to_string());
    let script = format!("set -eu\ntrap 'kill $(jobs -p)' EXIT\n{script}");
    let folder = tempfile::tempdir().unwrap();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_agentgate")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("AGENTGATE_HOME", folder.path())
        .env("AGENTGATE_LISTEN", format!("127.0.0.1:{port}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{errors}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let kept = std::fs::metadata(folder.path().join("agent.json")).unwrap();
        assert_eq!(kept.permissions().mode() & 0o077, 0, "the key is its owner's alone");
    }
    let steps: Vec<&str> = said.split("#####").collect();
    let key =
        |step: &str| step.split("\"api_key\":\"").nth(1)?.split('"').next().map(str::to_owned);
    assert_eq!(key(steps[1]), key(steps[5]), "the key is not lost when step 1 is run twice");
    assert!(errors.contains("409"), "{errors}");
    assert!(steps[1].contains("\"api_key\":\"ag_"), "{}", steps[1]);
    assert!(
        steps[2].contains("HTTP/1.1 200") && steps[2].contains("calendar#events"),
        "{}",
        steps[2]
    );
    assert!(steps[3].contains("HTTP/1.1 403"), "{}", steps[3]);
    assert!(steps[3].contains("\"reason\"") && steps[3].contains("\"suggestion\""), "{}", steps[3]);
    assert!(steps[4].contains("\"total\": 2"), "{}", steps[4]);
    assert!(
        steps[4].contains("\"decision\": \"deny\"") && steps[4].contains("\"decision\": \"allow\"")
    );
}

#[test]
fn gate_that_cannot_start_fails_at_once() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(document).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = blocks(&text)[0].replace("8100", &port.to_string());
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_agentgate")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("timeout");
    bash.args(["30", "bash", "-c", &start]).env("PATH", path);
    let output = bash.env("AGENTGATE_CONFIG", "/nonexistent/serve.yaml").output().unwrap();
    assert_ne!(output.status.code(), Some(124), "it waited: {output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/serve.yaml"));
}
