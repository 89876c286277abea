//! Everything that differs between operating systems, in one place: standard
//! streams, child processes that leave nothing behind, being told to stop, and
//! files that are nobody else's.
//!
//! Unix runs the server under a supervisor of its own (see [`supervise`]); a
//! Windows job object does the same there.

pub(crate) mod files;
#[cfg(unix)]
#[path = "unix.rs"]
mod imp;
#[cfg(windows)]
#[path = "windows.rs"]
mod imp;
#[cfg(unix)]
mod stdio_unix;
#[cfg(unix)]
mod supervisor;

use std::ffi::OsString;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader};
use tokio::sync::watch;
use tokio::time::sleep;

/// Input stream: our standard input, or a server's output.
pub type Source = Box<dyn AsyncRead + Send + Unpin>;

/// Output stream: our standard output, or a server's input.
pub type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// How long a server that was told to stop may take before it is killed. Together with
/// [`SWEEP_GRACE`] well below the 5 seconds within which a program told to stop must exit.
pub const STOP_GRACE: Duration = Duration::from_millis(2_000);

/// How long processes left behind by a server may take before they are killed.
pub const SWEEP_GRACE: Duration = Duration::from_millis(500);

/// Interval of polling whether our standard output is still read.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Prefix of the gate's own variables, which servers do not inherit.
pub const VARIABLE_PREFIX: &str = "AGENTGATE_";

/// An older name of one of them.
const MASTER_KEY: &str = "MASTER_API_KEY";

/// The variable that makes `wrap` listen instead of using its standard streams.
const LISTEN: &str = "AGENTGATE_WRAP_LISTEN";

/// Exit code for a command that does not exist, as in shells.
pub const NOT_FOUND: u8 = 127;

/// Exit code for a command that cannot be executed, as in shells.
pub const NOT_EXECUTABLE: u8 = 126;

/// A running server process, with its descendants.
#[derive(Debug)]
pub struct Child {
    inner: imp::Child,
}

/// The standard streams of a server.
pub struct Streams {
    /// Its standard input.
    pub input: Sink,
    /// Its standard output.
    pub output: Source,
}

/// Receives lines that a server writes to standard error: the program's name, and the line.
pub type StderrListener = fn(&str, &str);

static LISTENER: OnceLock<StderrListener> = OnceLock::new();

/// Maximum length of a line for a [`StderrListener`], in bytes; longer ones are split.
const MAX_LINE: u64 = 16 << 10;

/// Passes lines on servers' standard error to `listener` from now on, instead of sharing ours.
pub fn forward_server_stderr(listener: StderrListener) {
    let _ = LISTENER.set(listener);
}

async fn forward_stderr(program: String, errors: Source, listener: StderrListener) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while (&mut errors).take(MAX_LINE).read_until(b'\n', &mut line).await.is_ok_and(|n| n > 0) {
        listener(&program, String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

impl Child {
    /// Starts `program` so that it and its descendants end with this process, even if that is
    /// killed. The gate's own variables are not inherited. Standard error is shared, unless
    /// [`forward_server_stderr`] was called.
    ///
    /// # Errors
    /// If no process can be created. On Unix, a program that does not exist is reported by exit
    /// code [`NOT_FOUND`].
    pub fn spawn(program: &OsString, args: &[OsString]) -> io::Result<(Self, Streams)> {
        Self::spawn_without(&[], program, args)
    }

    /// As [`Child::spawn`], also without the variables `secrets`.
    ///
    /// # Errors
    /// As [`Child::spawn`].
    pub fn spawn_without(
        secrets: &[OsString],
        program: &OsString,
        args: &[OsString],
    ) -> io::Result<(Self, Streams)> {
        let hidden = own_variables().chain(secrets.iter().cloned());
        let listener = LISTENER.get();
        let (inner, streams, errors) = imp::spawn(program, args, hidden, listener.is_some())?;
        if let (Some(listener), Some(errors)) = (listener, errors) {
            tokio::spawn(forward_stderr(program.display().to_string(), errors, *listener));
        }
        Ok((Self { inner }, streams))
    }

    /// As [`Child::spawn`], with a pipe for standard error.
    ///
    /// # Errors
    /// As [`Child::spawn`].
    pub fn spawn_with_stderr(
        program: &OsString,
        args: &[OsString],
    ) -> io::Result<(Self, Streams, Option<Source>)> {
        let (inner, streams, errors) = imp::spawn(program, args, own_variables(), true)?;
        Ok((Self { inner }, streams, errors))
    }

    /// Starts another gate in front of a URL, with the gate's own variables, except for those
    /// of a listener.
    ///
    /// # Errors
    /// As [`Child::spawn`].
    pub fn spawn_gate(args: &[OsString]) -> io::Result<(Self, Streams)> {
        let program = std::env::current_exe()?.into_os_string();
        let (inner, streams, _) =
            imp::spawn(&program, args, std::iter::once(LISTEN.into()), false)?;
        Ok((Self { inner }, streams))
    }

    /// Waits for the exit and returns the exit code: 128+N if signal N ended the process.
    /// Cancel safe.
    ///
    /// # Errors
    /// If the operating system cannot tell.
    pub async fn wait(&mut self) -> io::Result<u8> {
        self.inner.wait().await
    }

    /// Tells it to stop, and kills what remains after the grace periods. Returns the exit code.
    ///
    /// # Errors
    /// If the operating system cannot tell.
    pub async fn stop(&mut self, how: Stop) -> io::Result<u8> {
        self.inner.stop(how).await
    }
}

/// How a process is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// `SIGTERM`; on Windows, the end of the session.
    Terminate,
    /// `SIGINT` (Ctrl-C).
    Interrupt,
    /// `SIGHUP`: the terminal was closed.
    HangUp,
}

/// A stream of requests to stop this process.
#[derive(Debug)]
pub struct StopRequests {
    inner: Teller,
}

/// Source of the requests.
#[derive(Debug)]
enum Teller {
    System(imp::StopRequests),
    Owner(watch::Receiver<Option<Stop>>),
}

impl StopRequests {
    /// Installs signal handlers: signals no longer end the process.
    ///
    /// # Errors
    /// If that fails.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { inner: Teller::System(imp::StopRequests::listen()?) })
    }

    /// Requests from an owner that ends its children in an order of its own.
    #[must_use]
    pub fn of(owner: watch::Receiver<Option<Stop>>) -> Self {
        Self { inner: Teller::Owner(owner) }
    }

    /// Waits for the next request. Cancel safe.
    pub async fn next(&mut self) -> Stop {
        match &mut self.inner {
            Teller::System(system) => system.next().await,
            Teller::Owner(owner) => {
                let how = owner.wait_for(Option::is_some).await.map(|how| *how);
                match how {
                    Ok(how) => how.unwrap_or(Stop::Terminate),
                    // The owner is gone: there will be no more.
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }
}

/// Makes writes beyond the file size limit (`ulimit -f`) fail instead of ending this process.
/// Child processes are not affected.
///
/// # Errors
/// If the signal handler cannot be installed.
pub fn outlive_full_files() -> io::Result<()> {
    imp::outlive_full_files()
}

/// The maximum number of open file descriptors, after raising the soft limit up to `wanted` if
/// the system permits.
#[must_use]
pub fn descriptors(wanted: u64) -> u64 {
    imp::descriptors(wanted)
}

/// Our standard input and output, without a helper thread if they are pipes or sockets. To be
/// called once, within a runtime.
///
/// # Errors
/// If a stream is closed or cannot be prepared.
pub fn stdio() -> io::Result<(Source, Sink)> {
    imp::stdio()
}

/// Waits until our standard output is no longer read, on systems that can tell before a write.
pub async fn unread() {
    while imp::is_read() {
        sleep(POLL_INTERVAL).await;
    }
}

/// Runs `program` as the supervisor of its process tree: forwards signals, returns the exit
/// code, and ends all processes when `parent` is gone.
///
/// # Errors
/// If the supervisor itself cannot work; the program is not started then.
pub fn supervise(parent: u32, program: &OsString, args: &[OsString]) -> io::Result<u8> {
    imp::supervise(parent, program, args)
}

/// Explains why a program could not be started, and what to do.
#[cfg(unix)]
fn not_started(program: &std::ffi::OsStr, error: &io::Error) -> String {
    let is_name = std::path::Path::new(program).components().count() == 1;
    let advice = match error.kind() {
        io::ErrorKind::NotFound if is_name => {
            "; it is not on PATH: install it or write its whole path (clients started from a \
             desktop often have another PATH than your shell)"
        }
        io::ErrorKind::NotFound if program.to_string_lossy().contains(' ') => {
            "; if these are a command and its arguments, write each as a word of its own"
        }
        io::ErrorKind::NotFound => {
            "; look whether the path, and what its first line names, is right"
        }
        io::ErrorKind::PermissionDenied => "; make it executable (chmod +x), or name what runs it",
        _ => "",
    };
    format!("cannot start `{}`: {error}{advice}", program.display())
}

/// Names of the gate's own variables in the environment.
fn own_variables() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| {
        name.to_str().is_some_and(|name| {
            let name = name.to_ascii_uppercase();
            name.starts_with(VARIABLE_PREFIX) || name == MASTER_KEY
        })
    })
}
