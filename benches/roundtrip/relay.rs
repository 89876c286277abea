//! A plain byte relay: the cost of any process between client and server.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::Context as _;

/// Capacity of a pipe on Linux.
const CHUNK: usize = 64 * 1024;

/// Runs `command` and copies bytes in both directions, on a blocking thread each.
pub(crate) fn run(command: &[OsString]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let to_child = child.stdin.take().context("no pipe")?;
    let from_child = child.stdout.take().context("no pipe")?;
    let upward = thread::spawn(move || copy(from_child, io::stdout()));
    copy(io::stdin(), to_child)?;
    child.wait()?;
    upward.join().map_err(|_| anyhow::anyhow!("the copying thread panicked"))??;
    Ok(())
}

/// Unlike `io::copy`, which would splice in the kernel; a gate has to read the bytes.
fn copy(mut source: impl Read, mut sink: impl Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = source.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        sink.write_all(bytes)?;
        sink.flush()?;
    }
}
