//! The log, read with the program's own commands.

use std::process::{Command, Output};

use serde_json::Value;

use super::Sandbox;

impl Sandbox {
    /// Runs `agentgate` with `arguments` on this sandbox's home and database.
    pub(crate) fn agentgate(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_agentgate"))
            .args(arguments)
            .arg("--db")
            .arg(self.database())
            .env("AGENTGATE_HOME", self.path("home"))
            .output()
            .unwrap()
    }

    /// Every row of the log.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<Value> {
        let output = self.agentgate(&["audit", "export", "--format", "json"]);
        assert!(output.status.success(), "export: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Fails the test unless the log verifies.
    #[track_caller]
    pub(crate) fn assert_log_verifies(&self) {
        let output = self.agentgate(&["audit", "verify"]);
        assert!(
            output.status.success(),
            "the log does not verify: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
