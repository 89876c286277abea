//! What runs on this machine, as /proc tells it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use rustix::process::Pid;

use super::eventually;

/// A name that marks a server and all that it starts.
pub(crate) struct Mark(String);

impl Mark {
    /// A mark that nothing else on this machine bears.
    pub(crate) fn new(sandbox: &super::Sandbox) -> Self {
        Self(format!("MARKED_BY={}", sandbox.path("").display()))
    }

    /// `command`, marked; whatever it starts inherits the mark.
    pub(crate) fn put_on(&self, command: Vec<OsString>) -> Vec<OsString> {
        let mut argv = vec!["env".into(), self.0.clone().into()];
        argv.extend(command);
        argv
    }

    /// The processes that bear the mark now. Zombies have no environment left.
    pub(crate) fn alive(&self) -> Vec<Pid> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
            .filter(|pid| {
                fs::read(proc(*pid).join("environ")).is_ok_and(|environment| {
                    environment.split(|&byte| byte == 0).any(|each| each == self.0.as_bytes())
                })
            })
            .collect()
    }

    /// Waits until at least `count` of them run.
    #[track_caller]
    pub(crate) fn await_births(&self, count: usize) {
        eventually("the server and its kin run", || self.alive().len() >= count);
    }

    /// Waits until none is left.
    #[track_caller]
    pub(crate) fn await_deaths(&self) {
        eventually("nothing is left of the server", || self.alive().is_empty());
    }
}

/// The most memory that a process had resident, in KiB.
pub(crate) fn peak_resident(pid: Pid) -> u64 {
    let status = fs::read_to_string(proc(pid).join("status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// How many bytes a process has written so far.
pub(crate) fn written(pid: Pid) -> u64 {
    let io = fs::read_to_string(proc(pid).join("io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

fn proc(pid: Pid) -> std::path::PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}
