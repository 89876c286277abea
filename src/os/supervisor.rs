//! The supervisor: a small process between the gate and the server. It does not relay their
//! messages. If the gate is killed, it ends the server and all processes that the server started,
//! then itself.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getppid, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::imp::{StopRequests, exit_code, pid};
use super::{NOT_EXECUTABLE, NOT_FOUND, STOP_GRACE, SWEEP_GRACE, Stop};

/// Interval of polling for the parent, on systems without a notification.
const PARENT_POLL: Duration = Duration::from_millis(250);

/// Interval of polling during a sweep.
const SWEEP_POLL: Duration = Duration::from_millis(5);

pub(super) fn supervise(parent: u32, program: &OsString, args: &[OsString]) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(parent, program, args))
}

async fn run(parent: u32, program: &OsString, args: &[OsString]) -> io::Result<u8> {
    // Before starting the server, so that no stop request is missed.
    let mut requests = StopRequests::listen()?;
    end_with_parent(parent)?;
    adopt_orphans();
    let mut server = match Command::new(program).args(args).process_group(0).spawn() {
        Ok(server) => server,
        Err(error) => return Ok(not_started(program, &error)),
    };
    let group = server.id().and_then(pid);
    close_own_stdio()?;
    let status = tokio::select! {
        status = server.wait() => status?,
        how = requests.next() => end(&mut server, group, how).await?,
        () = parent_gone(parent) => end(&mut server, group, Stop::Terminate).await?,
    };
    sweep(group).await;
    Ok(exit_code(status))
}

fn not_started(program: &OsString, error: &io::Error) -> u8 {
    anstream::eprintln!("agentgate: {}", super::not_started(program, error));
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

async fn end(server: &mut Child, group: Option<Pid>, how: Stop) -> io::Result<ExitStatus> {
    signal_group(
        group,
        match how {
            Stop::Terminate => Signal::TERM,
            Stop::Interrupt => Signal::INT,
            Stop::HangUp => Signal::HUP,
        },
    );
    if let Ok(status) = timeout(STOP_GRACE, server.wait()).await {
        return status;
    }
    signal_group(group, Signal::KILL);
    server.wait().await
}

/// Sends a signal to a group. Its last process may have exited meanwhile.
fn signal_group(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        let _ = kill_process_group(group, signal);
    }
}

/// Closes our copies of the server's streams, so that the server notices when the gate closes
/// its end, and vice versa.
fn close_own_stdio() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(())
}

/// Requests `SIGTERM` for when the gate dies. The signal is bound to the gate's *thread* that
/// spawned us, its main thread.
#[cfg(target_os = "linux")]
fn end_with_parent(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid() == pid(parent) {
        return Ok(());
    }
    // It died before the request, so there will be no signal.
    Err(io::Error::other("the gate is gone"))
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_parent: u32) -> io::Result<()> {
    Ok(())
}

/// Completes when the gate is gone, on systems without such a signal.
async fn parent_gone(parent: u32) {
    if cfg!(target_os = "linux") {
        return std::future::pending().await;
    }
    while getppid() == pid(parent) {
        sleep(PARENT_POLL).await;
    }
}

/// Makes us the parent of orphaned descendants, whatever group or session they are in. Linux
/// only; elsewhere only the process group is ended.
pub(super) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%error, "orphans of the server cannot be adopted");
    }
}

/// Ends what remains of the server's group and descendants: `SIGTERM`, then [`SWEEP_GRACE`],
/// then `SIGKILL`. The server itself has been waited for.
pub(super) async fn sweep(group: Option<Pid>) {
    let started = Instant::now();
    let mut asked: Vec<Pid> = Vec::new();
    signal_group(group, Signal::TERM);
    loop {
        reap();
        let left = children();
        if left.is_empty() && !group_exists(group) {
            return;
        }
        let timed_out = started.elapsed() > SWEEP_GRACE;
        if timed_out {
            signal_group(group, Signal::KILL);
        }
        for child in left {
            if timed_out {
                let _ = kill_process(child, Signal::KILL);
            } else if !asked.contains(&child) {
                asked.push(child);
                let _ = kill_process(child, Signal::TERM);
            }
        }
        if started.elapsed() > 2 * SWEEP_GRACE {
            // Uninterruptible in the kernel: nothing can be done.
            return;
        }
        sleep(SWEEP_POLL).await;
    }
}

fn group_exists(group: Option<Pid>) -> bool {
    group.is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
}

/// Waits for each child by its id: others are waited for elsewhere.
fn reap() {
    for child in children() {
        let _ = rustix::process::waitpid(Some(child), WaitOptions::NOHANG);
    }
}

/// Our children, including adopted ones, except for supervisors of other servers.
fn children() -> Vec<Pid> {
    let others = super::imp::supervisors();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|child| child.parse().ok().and_then(Pid::from_raw))
        .filter(|child| !others.contains(child))
        .collect()
}
