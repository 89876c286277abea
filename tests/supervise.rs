//! The supervisor that `wrap` runs its server under: exit codes are mirrored, and
//! nothing that the server started outlives it, whoever dies first.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const AGENTGATE: &str = env!("CARGO_BIN_EXE_agentgate");

/// A program told to stop is gone within this, as the contract has it.
const STOP_LIMIT: Duration = Duration::from_secs(5);

fn supervise(script: &str) -> Command {
    let mut command = Command::new(AGENTGATE);
    command.arg("supervise").arg(format!("--parent={}", std::process::id()));
    command.args(["--", "sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().expect("a process id")).expect("not zero")
}

fn lives(process: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < STOP_LIMIT, "{what} does not hold after {STOP_LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ends(mut child: Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a status") {
            return status;
        }
        assert!(started.elapsed() < STOP_LIMIT, "still there after {STOP_LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn mirrors_exit_codes_and_signals() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)]
    {
        assert_eq!(
            ends(supervise(script).spawn().expect("started")).code(),
            Some(code),
            "{script}"
        );
    }
}

#[test]
fn missing_command_exits_with_127_and_a_message() {
    let mut command = Command::new(AGENTGATE);
    command.arg("supervise").arg(format!("--parent={}", std::process::id()));
    let output = command.args(["--", "no-such-command-anywhere"]).output().expect("started");
    assert_eq!(output.status.code(), Some(127));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("no-such-command-anywhere"), "{told}");
}

#[test]
fn processes_left_by_the_server_are_ended() {
    for leave in ["sleep 300 &", "setsid sleep 300 &", "(trap '' TERM; exec setsid sleep 300) &"] {
        let mut child = supervise(&format!("{leave} echo $!; exit 3")).spawn().expect("started");
        let grandchild = first_line(&mut child);
        assert_eq!(ends(child).code(), Some(3), "{leave}");
        eventually(leave, || !lives(&grandchild));
    }
}

#[test]
fn a_server_that_ignores_sigterm_is_killed() {
    let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let mut child = supervise(script).spawn().expect("started");
    assert_eq!(first_line(&mut child), "ready");
    kill_process(pid(&child.id().to_string()), Signal::TERM).expect("sent");
    assert_eq!(ends(child).code(), Some(137));
}

#[test]
fn signals_are_passed_on() {
    for (name, signal, code) in [("INT", Signal::INT, 21), ("HUP", Signal::HUP, 22)] {
        let script = format!("trap 'exit {code}' {name}; echo ready; while :; do sleep 0.1; done");
        let mut child = supervise(&script).spawn().expect("started");
        assert_eq!(first_line(&mut child), "ready");
        kill_process(pid(&child.id().to_string()), signal).expect("sent");
        assert_eq!(ends(child).code(), Some(code), "{name}");
    }
}

#[test]
fn a_killed_parent_takes_the_whole_tree_along() {
    let script = format!(
        "{AGENTGATE} supervise --parent=$$ -- sh -c \
         'trap \"\" TERM HUP; setsid sleep 300 & echo $! $$; while :; do sleep 1; done'; exit 0"
    );
    let mut parent = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let tree = first_line(&mut parent);
    parent.kill().expect("killed");
    parent.wait().expect("reaped");
    for process in tree.split_whitespace() {
        eventually(process, || !lives(process));
    }
}
