//! Windows: the server runs in a job object that ends with our last handle to
//! it, so that it and its kin go with us, also where we are killed.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;

use process_wrap::tokio::{ChildWrapper, CommandWrap, JobObject, KillOnDrop};
use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, CtrlShutdown};
use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};

use super::{Sink, Source, Stop, Streams};

#[derive(Debug)]
pub(super) struct Child {
    job: Box<dyn ChildWrapper>,
}

pub(super) fn spawn(
    program: &OsString,
    args: &[OsString],
    hidden: impl Iterator<Item = OsString>,
    pipes_stderr: bool,
) -> io::Result<(Child, Streams, Option<Source>)> {
    // `npx` is `npx.cmd`: CreateProcess does not use PATHEXT.
    let path = which::which(program).map_err(|error| {
        io::Error::new(io::ErrorKind::NotFound, format!("`{}`: {error}", program.display()))
    })?;
    let mut command = CommandWrap::with_new(path, |command| {
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        if pipes_stderr {
            command.stderr(Stdio::piped());
        }
        for name in hidden {
            command.env_remove(name);
        }
    });
    command.wrap(KillOnDrop).wrap(JobObject);
    let mut job = command.spawn()?;
    let input = job.stdin().take().ok_or_else(|| io::Error::other("no standard input"))?;
    let output = job.stdout().take().ok_or_else(|| io::Error::other("no standard output"))?;
    let errors = job.stderr().take().map(|errors| Box::new(errors) as Source);
    Ok((Child { job }, Streams { input: Box::new(input), output: Box::new(output) }, errors))
}

impl Child {
    /// The job ends with the server, killing what it left behind.
    pub(super) async fn wait(&mut self) -> io::Result<u8> {
        let status = self.job.wait().await?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
    }

    /// A console event cannot be sent to one job, so the job is terminated.
    pub(super) async fn stop(&mut self, _how: Stop) -> io::Result<u8> {
        self.job.start_kill()?;
        self.wait().await
    }
}

#[derive(Debug)]
pub(super) struct StopRequests {
    ctrl_c: CtrlC,
    ctrl_break: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl StopRequests {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            ctrl_c: ctrl_c()?,
            ctrl_break: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    pub(super) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.ctrl_c.recv() => Stop::Interrupt,
            _ = self.ctrl_break.recv() => Stop::Interrupt,
            _ = self.close.recv() => Stop::HangUp,
            _ = self.shutdown.recv() => Stop::Terminate,
        }
    }
}

/// Handles are limited only by memory.
pub(super) fn descriptors(_wanted: u64) -> u64 {
    u64::MAX
}

/// There is no such signal: writes fail.
pub(super) fn outlive_full_files() -> io::Result<()> {
    Ok(())
}

/// Console handles cannot be polled, so the runtime's helper threads are used.
pub(super) fn stdio() -> io::Result<(Source, Sink)> {
    Ok((Box::new(tokio::io::stdin()), Box::new(tokio::io::stdout())))
}

/// Only a write can tell.
pub(super) fn is_read() -> bool {
    true
}

/// The job object does what the supervisor does on Unix.
pub(super) fn supervise(_parent: u32, _program: &OsString, _args: &[OsString]) -> io::Result<u8> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "not needed on Windows"))
}
