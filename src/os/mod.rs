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

/// Where bytes come from: our standard input, or a server's output.
pub type Source = Box<dyn AsyncRead + Send + Unpin>;

/// Where bytes go: our standard output, or a server's input.
pub type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// How long a server that was told to stop may take before it is killed.
/// Together with [`SWEEP_GRACE`] well under the 5 seconds in which a program
/// told to stop has to be gone.
pub const STOP_GRACE: Duration = Duration::from_millis(2_000);

/// How long what a server leaves behind may take before it is killed.
pub const SWEEP_GRACE: Duration = Duration::from_millis(500);

/// How often it is looked whether somebody reads our standard output.
const LOOK: Duration = Duration::from_millis(100);

/// The prefix of variables that are the gate's own and no business of a server's,
/// and the one of them that has an older name.
const OWN_VARIABLES: &str = "AGENTGATE_";
const MASTER_KEY: &str = "MASTER_API_KEY";

/// The variable that makes `wrap` listen instead of using its standard streams.
const LISTEN: &str = "AGENTGATE_WRAP_LISTEN";

/// The exit code for a command that does not exist, as shells have it.
pub const NOT_FOUND: u8 = 127;

/// The exit code for a command that cannot be run, as shells have it.
pub const NOT_EXECUTABLE: u8 = 126;

/// A running server, its streams, and the means to end it with all its kin.
#[derive(Debug)]
pub struct Child {
    inner: imp::Child,
}

/// The two ends of a server's conversation.
pub struct Streams {
    /// What the server reads.
    pub input: Sink,
    /// What the server writes.
    pub output: Source,
}

/// Takes a line that a server wrote to standard error: the program, and the line.
pub type Listener = fn(&str, &str);

static LISTENER: OnceLock<Listener> = OnceLock::new();

/// The longest line that a [`Listener`] is given, in bytes; a longer one comes in pieces.
const MAX_LINE: u64 = 16 << 10;

/// From here on servers do not share standard error: `listener` has their lines.
pub fn listen_to_servers(listener: Listener) {
    let _ = LISTENER.set(listener);
}

async fn pass_on(program: String, errors: Source, listener: Listener) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while (&mut errors).take(MAX_LINE).read_until(b'\n', &mut line).await.is_ok_and(|n| n > 0) {
        listener(&program, String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

impl Child {
    /// Starts `program` so that it and everything it starts ends with this
    /// process, even where this process is killed. The gate's own variables are
    /// not passed on; standard error is shared, unless somebody listens
    /// ([`listen_to_servers`]).
    ///
    /// # Errors
    /// If no process can be made. A program that does not exist is reported
    /// by exit code [`NOT_FOUND`] on Unix.
    pub fn spawn(program: &OsString, args: &[OsString]) -> io::Result<(Self, Streams)> {
        Self::spawn_without(&[], program, args)
    }

    /// The same, without these variables either: they hold secrets of the gate's.
    ///
    /// # Errors
    /// Like [`Child::spawn`].
    pub fn spawn_without(
        secrets: &[OsString],
        program: &OsString,
        args: &[OsString],
    ) -> io::Result<(Self, Streams)> {
        let hidden = own_variables().chain(secrets.iter().cloned());
        let listener = LISTENER.get();
        let (inner, streams, errors) = imp::spawn(program, args, hidden, listener.is_some())?;
        if let (Some(listener), Some(errors)) = (listener, errors) {
            tokio::spawn(pass_on(program.display().to_string(), errors, *listener));
        }
        Ok((Self { inner }, streams))
    }

    /// The same as [`Child::spawn`], with standard error for the caller.
    ///
    /// # Errors
    /// Like [`Child::spawn`].
    pub fn spawn_heard(
        program: &OsString,
        args: &[OsString],
    ) -> io::Result<(Self, Streams, Option<Source>)> {
        let (inner, streams, errors) = imp::spawn(program, args, own_variables(), true)?;
        Ok((Self { inner }, streams, errors))
    }

    /// The same, for another gate in front of a URL: with the variables that are the
    /// gate's own, but for those of a listener.
    ///
    /// # Errors
    /// Like [`Child::spawn`].
    pub fn spawn_gate(args: &[OsString]) -> io::Result<(Self, Streams)> {
        let program = std::env::current_exe()?.into_os_string();
        let (inner, streams, _) =
            imp::spawn(&program, args, std::iter::once(LISTEN.into()), false)?;
        Ok((Self { inner }, streams))
    }

    /// Waits for the end and gives the exit code, 128+N where signal N ended
    /// it. Cancel-safe.
    ///
    /// # Errors
    /// If the operating system cannot tell.
    pub async fn wait(&mut self) -> io::Result<u8> {
        self.inner.wait().await
    }

    /// Passes on what this process was told, then kills whatever is still there
    /// after the grace periods. Gives the exit code.
    ///
    /// # Errors
    /// If the operating system cannot tell.
    pub async fn stop(&mut self, how: Stop) -> io::Result<u8> {
        self.inner.stop(how).await
    }
}

/// How a program is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// `SIGTERM`; on Windows the end of the session.
    Terminate,
    /// `SIGINT`, Ctrl-C.
    Interrupt,
    /// `SIGHUP`, the terminal is gone.
    HangUp,
}

/// Waits to be told to stop.
#[derive(Debug)]
pub struct StopRequests {
    inner: Teller,
}

/// Who tells.
#[derive(Debug)]
enum Teller {
    System(imp::StopRequests),
    Owner(watch::Receiver<Option<Stop>>),
}

impl StopRequests {
    /// Starts to listen: from here on a signal no longer ends the process.
    ///
    /// # Errors
    /// If handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { inner: Teller::System(imp::StopRequests::listen()?) })
    }

    /// Those of an owner that has its own order of ending things.
    #[must_use]
    pub fn of(owner: watch::Receiver<Option<Stop>>) -> Self {
        Self { inner: Teller::Owner(owner) }
    }

    /// The next request. Cancel-safe.
    pub async fn next(&mut self) -> Stop {
        match &mut self.inner {
            Teller::System(system) => system.next().await,
            Teller::Owner(owner) => {
                let told = owner.wait_for(Option::is_some).await.map(|how| *how);
                match told {
                    Ok(how) => how.unwrap_or(Stop::Terminate),
                    // An owner that is gone has nothing more to say.
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }
}

/// A file that may not grow any more (`ulimit -f`) makes a write to it fail, and does not
/// end this process. What this process starts is as it would be anyway.
///
/// # Errors
/// If the signal cannot be caught.
pub fn outlive_full_files() -> io::Result<()> {
    imp::outlive_full_files()
}

/// How many descriptors this process may have open. Where the system lets it have more
/// than it has now, it takes them, up to `wanted`.
#[must_use]
pub fn descriptors(wanted: u64) -> u64 {
    imp::descriptors(wanted)
}

/// Our standard input and output, without a thread between where they are pipes
/// or sockets. To be called once, inside a runtime.
///
/// # Errors
/// If a stream is closed or cannot be made ready.
pub fn stdio() -> io::Result<(Source, Sink)> {
    imp::stdio()
}

/// Waits until nobody reads our standard output any more, where the system tells before
/// something is written to it.
pub async fn unread() {
    while imp::is_read() {
        sleep(LOOK).await;
    }
}

/// Runs `program` as the supervisor of its whole process tree: passes signals
/// on, mirrors the exit code, and ends everything when `parent` is gone.
///
/// # Errors
/// If the supervisor itself cannot work; the program is not started then.
pub fn supervise(parent: u32, program: &OsString, args: &[OsString]) -> io::Result<u8> {
    imp::supervise(parent, program, args)
}

/// Why a program was not started, and what a person can do about it.
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

/// The names of the gate's own variables in this process's environment.
fn own_variables() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| {
        name.to_str().is_some_and(|name| {
            let name = name.to_ascii_uppercase();
            name.starts_with(OWN_VARIABLES) || name == MASTER_KEY
        })
    })
}
