//! What the black box tests share: a sandbox with a home of its own, the gate's
//! command line, a raw client, and the paths of the real servers.

pub(crate) mod audit;
pub(crate) mod client;
pub(crate) mod processes;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub(crate) use crate::lenient::{helper, python, recorder};
pub(crate) use crate::real;
pub(crate) use crate::wait::{TIMEOUT, eventually};

/// A folder that lasts as long as the test, with the gate's home in it.
pub(crate) struct Sandbox {
    dir: TempDir,
}

/// An `agentgate wrap` command line in the making.
pub(crate) struct Wrap {
    argv: Vec<OsString>,
}

/// A shell as the server.
pub(crate) fn shell(script: &str) -> Vec<OsString> {
    argv(["sh", "-c", script])
}

/// `words` as one command line.
pub(crate) fn argv<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Vec<OsString> {
    words.into_iter().map(Into::into).collect()
}

/// `command`, with all that passes through its pipes written down in `record`.
pub(crate) fn teed(record: &Path, command: Vec<OsString>) -> Vec<OsString> {
    let mut argv = vec![python(), helper("tee.py"), record.into()];
    argv.extend(command);
    argv
}

// === impl Sandbox ===

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::with_prefix("agentgate-test-").unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the sandbox and gives its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("home/agentgate.db")
    }

    /// `agentgate wrap` with this sandbox as its home. The home is set with
    /// `env` so that clients that hand on no variables of theirs need not know.
    pub(crate) fn wrap(&self) -> Wrap {
        let mut home = OsString::from("AGENTGATE_HOME=");
        home.push(self.path("home"));
        Wrap {
            argv: vec!["env".into(), home, env!("CARGO_BIN_EXE_agentgate").into(), "wrap".into()],
        }
        .option("--db", self.database())
    }
}

// === impl Wrap ===

impl Wrap {
    pub(crate) fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.argv.push(name.into());
        self.argv.push(value.into());
        self
    }

    pub(crate) fn flag(mut self, name: &str) -> Self {
        self.argv.push(name.into());
        self
    }

    pub(crate) fn policy(self, file_or_name: impl Into<OsString>) -> Self {
        self.option("--policy", file_or_name)
    }

    /// The whole command line, in front of `server`.
    pub(crate) fn command(mut self, server: Vec<OsString>) -> Vec<OsString> {
        self.argv.push("--".into());
        self.argv.extend(server);
        self.argv
    }
}
