//! Unix: the server runs under a supervisor, this same binary in a process group
//! of its own, so that neither a signal to our group nor our death orphans it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::net::unix::pipe;
use tokio::process::{Child as Process, Command};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::timeout;

use super::{STOP_GRACE, SWEEP_GRACE, Source, Stop, Streams};

pub(super) use super::stdio_unix::{is_read, stdio};
pub(super) use super::supervisor::supervise;

/// Maximum time that the supervisor needs beyond its grace periods.
const SUPERVISOR_SLACK: std::time::Duration = std::time::Duration::from_millis(1_000);

#[derive(Debug)]
pub(super) struct Child {
    supervisor: Process,
    id: Option<Pid>,
}

impl Drop for Child {
    fn drop(&mut self) {
        self.forget();
    }
}

pub(super) fn spawn(
    program: &OsString,
    args: &[OsString],
    hidden: impl Iterator<Item = OsString>,
    pipes_stderr: bool,
) -> io::Result<(Child, Streams, Option<Source>)> {
    super::supervisor::adopt_orphans();
    let (input_read, input_write) = io::pipe()?;
    let (output_read, output_write) = io::pipe()?;
    let mut command = Command::new(own_binary()?);
    command.arg0("agentgate").arg("supervise").arg(format!("--parent={}", std::process::id()));
    command.arg("--").arg(program).args(args);
    for name in hidden {
        command.env_remove(name);
    }
    command.stdin(Stdio::from(input_read)).stdout(Stdio::from(output_write));
    if pipes_stderr {
        command.stderr(Stdio::piped());
    }
    // Locked until registered, so that it is not mistaken for an orphan.
    let mut running = supervisors();
    let mut supervisor = command.process_group(0).spawn()?;
    let id = supervisor.id().and_then(pid);
    running.extend(id);
    drop(running);
    let streams = Streams {
        input: Box::new(pipe::Sender::from_owned_fd(OwnedFd::from(input_write))?),
        output: Box::new(pipe::Receiver::from_owned_fd(OwnedFd::from(output_read))?),
    };
    let errors = supervisor.stderr.take().map(|errors| Box::new(errors) as Source);
    Ok((Child { supervisor, id }, streams, errors))
}

/// The running supervisors of this process: cleaning up after one server must spare those of
/// others.
pub(super) fn supervisors() -> MutexGuard<'static, Vec<Pid>> {
    static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path of this executable, even if an upgrade has replaced the file.
fn own_binary() -> io::Result<std::path::PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe()
}

impl Child {
    pub(super) async fn wait(&mut self) -> io::Result<u8> {
        let status = self.supervisor.wait().await?;
        self.forget();
        if status.signal().is_some() {
            // The supervisor was killed, so its orphans are ours to end.
            super::supervisor::sweep(None).await;
        }
        Ok(exit_code(status))
    }

    pub(super) async fn stop(&mut self, how: Stop) -> io::Result<u8> {
        self.signal(match how {
            Stop::Terminate => Signal::TERM,
            Stop::Interrupt => Signal::INT,
            Stop::HangUp => Signal::HUP,
        });
        let limit = STOP_GRACE + SWEEP_GRACE + SUPERVISOR_SLACK;
        if let Ok(code) = timeout(limit, self.wait()).await {
            return code;
        }
        self.signal(Signal::KILL);
        self.wait().await
    }

    fn forget(&mut self) {
        if let Some(id) = self.id.take() {
            supervisors().retain(|other| *other != id);
        }
    }

    /// Sends a signal, unless the supervisor is gone.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.supervisor.id().and_then(pid) {
            let _ = kill_process(pid, signal);
        }
    }
}

pub(super) fn pid(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw)
}

/// The exit code, or 128+N for signal N, as in shells.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

pub(super) fn descriptors(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(current) = current else { return u64::MAX };
    let more = maximum.unwrap_or(wanted).min(wanted);
    let raised = Rlimit { current: Some(more), maximum };
    if more > current && setrlimit(Resource::Nofile, raised).is_ok() { more } else { current }
}

/// The handler remains when the runtime used for installing it is dropped.
pub(super) fn outlive_full_files() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}

#[derive(Debug)]
pub(super) struct StopRequests {
    terminate: Signals,
    interrupt: Signals,
    hang_up: Signals,
}

impl StopRequests {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.hang_up.recv() => Stop::HangUp,
        }
    }
}
