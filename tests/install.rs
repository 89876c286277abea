//! `install.sh`, with a cargo that only says how it was called.

#![cfg(test)]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Machine(tempfile::TempDir);

impl Machine {
    /// A machine with a `cargo` that notes its working directory and target folder, and
    /// gives a program that echoes its arguments.
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let built = machine.path("built");
        let answer = format!(r#"{{"name":"agentgate","executable":"{}"}}"#, built.display());
        machine.program("built", "echo \"agentgate $*\"");
        machine.program(
            "tools/cargo",
            &format!(
                "pwd >{0}; echo \"$CARGO_TARGET_DIR\" >>{0}; echo '{answer}'",
                machine.path("called").display()
            ),
        );
        machine.program("tools/cc", "");
        fs::create_dir(machine.path("elsewhere")).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, lines: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn install(&self, args: &[&str]) -> Output {
        let tools = self.path("tools");
        let path = format!("{}:/usr/bin:/bin", tools.display());
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh"))
            .args(args)
            .current_dir(self.path("elsewhere"))
            .env("PATH", path)
            .env("HOME", self.0.path())
            .env("CARGO_TARGET_DIR", "target")
            .output()
            .unwrap()
    }
}

/// Cargo takes `.cargo/config.toml` from where it runs, not from where the manifest is.
#[test]
fn it_builds_in_the_checkout_wherever_it_is_called() {
    let machine = Machine::new();
    let output = machine.install(&["--prefix", "here"]);
    assert!(output.status.success(), "{output:?}");
    let called = fs::read_to_string(machine.path("called")).unwrap();
    let called: Vec<&str> = called.lines().collect();
    assert_eq!(Path::new(called[0]), Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(Path::new(called[1]).ends_with("elsewhere/target"), "{called:?}");
    let installed = machine.path("elsewhere/here/bin/agentgate");
    assert!(installed.exists(), "{output:?}");
    let output = machine.install(&["--prefix", "here", "--uninstall"]);
    assert!(output.status.success() && !installed.exists(), "{output:?}");
    let mut find = Command::new("find");
    let left = find.arg(machine.path("elsewhere/here")).args(["-type", "f"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}
