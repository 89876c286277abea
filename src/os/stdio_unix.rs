//! Standard streams as the runtime likes them best. `tokio::io::stdin` puts a
//! thread between, which costs more than everything else the gate does; pipes
//! and sockets, which is what clients hand out, can be polled directly.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use tokio::net::unix::pipe;

use super::{Sink, Source};

pub(super) fn stdio() -> io::Result<(Source, Sink)> {
    Ok((source(io::stdin().as_fd().try_clone_to_owned()?)?, sink()?))
}

pub(super) fn is_read() -> bool {
    let stdout = io::stdout();
    let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
    let _ = poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    !ends.iter().any(|end| end.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

fn source(fd: OwnedFd) -> io::Result<Source> {
    Ok(match kind(&fd)? {
        FileType::Fifo => Box::new(pipe::Receiver::from_owned_fd(fd)?),
        FileType::Socket => Box::new(socket(fd)?),
        _ => Box::new(tokio::io::stdin()),
    })
}

fn sink() -> io::Result<Sink> {
    let fd = io::stdout().as_fd().try_clone_to_owned()?;
    // Non-blocking mode belongs to the open file, not the descriptor: if standard error is the
    // same pipe, the server would inherit it and lose output.
    if is_same(&fd, &io::stderr())? {
        return Ok(Box::new(tokio::io::stdout()));
    }
    Ok(match kind(&fd)? {
        FileType::Fifo => Box::new(pipe::Sender::from_owned_fd(fd)?),
        FileType::Socket => Box::new(socket(fd)?),
        _ => Box::new(tokio::io::stdout()),
    })
}

fn socket(fd: OwnedFd) -> io::Result<tokio::net::UnixStream> {
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

fn kind(fd: &impl AsFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

fn is_same(one: &impl AsFd, other: &impl AsFd) -> io::Result<bool> {
    let one = fstat(one)?;
    // Standard error may be closed.
    Ok(fstat(other).is_ok_and(|other| (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)))
}
