//! An agent in the demo: a real MCP client whose server runs behind a real
//! `agentgate wrap`, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig,
    Implementation, Tool,
};
use rmcp::service::{RoleClient, RunningService, serve_client};
use serde_json::Value;
use tokio::process::{Child, Command};

/// File name of the demo's audit log.
pub(super) const DATABASE: &str = "demo.db";

/// Timeout for each step of the demo.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// The demo's temporary folder, removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn create() -> anyhow::Result<Self> {
        let name = format!("agentgate-demo-{}", uuid::Uuid::now_v7().simple());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)
            .with_context(|| format!("cannot create a folder at {}", path.display()))?;
        Ok(Self { path })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// A command for this binary, without any of the user's settings.
    pub(super) fn agentgate(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(this_binary()?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AGENTGATE_") {
                command.env_remove(name);
            }
        }
        command.env("AGENTGATE_HOME", &self.path).current_dir(&self.path).kill_on_drop(true);
        Ok(command)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// The response to a call.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its text content.
    pub(super) text: String,
    /// The gate's decision, if it refused.
    pub(super) decision: Option<Value>,
}

pub(super) struct Gated {
    client: RunningService<RoleClient, ClientConfig>,
    gate: Child,
}

impl Gated {
    /// Starts `agentgate wrap --agent AGENT --policy POLICY -- agentgate demo-server` and
    /// performs the handshake.
    pub(super) async fn start(folder: &Folder, agent: &str, policy: &str) -> anyhow::Result<Self> {
        let policy = folder.write(&format!("{agent}.yaml"), policy)?;
        let mut gate = folder
            .agentgate()?
            .args(["wrap", "--name", "notes", "--agent", agent, "--policy"])
            .arg(policy)
            .args(["--db", DATABASE, "--"])
            .arg(this_binary()?)
            .arg("demo-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `agentgate wrap`")?;
        let streams = gate.stdout.take().zip(gate.stdin.take());
        let streams = streams.context("`agentgate wrap` has no streams")?;
        let me = Implementation::new("agentgate-demo", env!("CARGO_PKG_VERSION"));
        let config = ClientConfig::new(ClientCapabilities::default(), me);
        let client = within_timeout(serve_client(config, streams)).await??;
        Ok(Self { client, gate })
    }

    pub(super) async fn tools(&self) -> anyhow::Result<Vec<Tool>> {
        Ok(within_timeout(self.client.list_all_tools()).await??)
    }

    pub(super) async fn call(&self, tool: &'static str, args: Value) -> anyhow::Result<Answer> {
        let mut params = CallToolRequestParams::new(tool);
        params.arguments = args.as_object().cloned();
        match within_timeout(self.client.call_tool_once(params)).await?? {
            CallToolResponse::Complete(result) => Ok(answer(&result)),
            _ => anyhow::bail!("the server wants more before it answers `{tool}`"),
        }
    }

    /// Closes the connection and waits for the gate and its server to exit.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.client.close().await?;
        within_timeout(self.gate.wait()).await??;
        Ok(())
    }
}

fn answer(result: &CallToolResult) -> Answer {
    let texts = result.content.iter().filter_map(|block| block.as_text());
    let meta = result.meta.as_ref();
    Answer {
        text: texts.map(|block| block.text.as_str()).collect::<Vec<_>>().join("\n"),
        decision: meta.and_then(|meta| meta.0.get("agentgate/decision")).cloned(),
    }
}

async fn within_timeout<T>(step: impl Future<Output = T>) -> anyhow::Result<T> {
    let late = || format!("no answer within {} seconds", STEP_TIMEOUT.as_secs());
    tokio::time::timeout(STEP_TIMEOUT, step).await.with_context(late)
}

fn this_binary() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot tell where this binary is")
}
