//! A client's connection: heads are tracked as they are read, a client that sends or reads
//! too slowly is disconnected, and one that still sends at the end gets a lingering close
//! ([`super::linger`]). A client that has closed its side may still wait for the answer, or be
//! gone: it gets what comes within [`HALF_CLOSED_TIMEOUT`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::idle::Activity;
use super::linger::LingeringClose;
use super::sniff::{Awaits, Heads};

/// Response to a first head that does not end in time. For later ones the connection is only
/// closed, as another response may be in progress.
const SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/json\r\ncontent-length: 72\r\nconnection: close\r\n\r\n\
    {\"error\":\"slow_head\",\"detail\":\"the request's head did not come in time\"}";

/// Timeout for a client that has closed its side to receive anything of its answer: if it is
/// gone, its request is cancelled.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_millis(500);

/// Timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For the first byte, and for a head once it has begun.
    pub(super) head: Duration,
    /// For the client to read anything of an answer.
    pub(super) write: Duration,
}

/// A connection that is followed by [`Heads`], with timeouts.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    heads: Heads,
    activity: Activity,
    timeouts: Timeouts,
    /// Runs while a head is incomplete.
    reading: Option<Pin<Box<Sleep>>>,
    /// Runs while the peer does not read.
    writing: Option<Pin<Box<Sleep>>>,
    /// Runs once the client has closed its side while it is being answered.
    half_closed: Option<Pin<Box<Sleep>>>,
    /// Set once everything has been sent.
    lingering: Option<LingeringClose>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, heads: Heads, activity: Activity, timeouts: Timeouts) -> Self {
        Self {
            stream,
            heads,
            activity,
            timeouts,
            reading: None,
            writing: None,
            half_closed: None,
            lingering: None,
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Checks the timeout for heads while nothing arrives.
    fn wait_for_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let awaits = self.heads.awaits();
        if awaits == Awaits::Nothing {
            self.reading = None;
            return Poll::Pending;
        }
        let limit = self.timeouts.head;
        let sleep = self.reading.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(sleep.as_mut().poll(context));
        if awaits == Awaits::FirstHead {
            // Fits any buffer; if the peer does not read, it needs no response.
            let _ = Pin::new(&mut self.stream).poll_write(context, SLOW);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// At the end of the client's input: ready if that should be reported, which aborts the
    /// request in flight. An event stream is aborted at once: a client may open another one in
    /// its place, and servers refuse a second.
    fn wait_for_answer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let is_stream =
            self.heads.version() == Some(Version::HTTP_2) || self.activity.is_event_stream();
        if is_stream || self.heads.is_body_incomplete() || !self.activity.is_busy() {
            return Poll::Ready(());
        }
        self.activity.set_half_closed();
        let sleep = self
            .half_closed
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(HALF_CLOSED_TIMEOUT)));
        ready!(sleep.as_mut().poll(context));
        if self.writing.is_none() {
            return Poll::Ready(());
        }
        // A client that is gone accepts every byte, or resets the connection.
        sleep.as_mut().reset(Instant::now() + HALF_CLOSED_TIMEOUT);
        sleep.as_mut().poll(context)
    }

    /// Checks the result of a write: an error if the peer has not read for too long.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.writing.take().is_some() {
                self.activity.set_stuck(false);
            }
            if let Some(sleep) = &mut self.half_closed {
                sleep.as_mut().reset(Instant::now() + HALF_CLOSED_TIMEOUT);
            }
            return written;
        }
        if self.writing.is_none() {
            self.activity.set_stuck(true);
        }
        let limit = self.timeouts.write;
        let sleep = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() == before && buffer.remaining() > 0 => {
                self.wait_for_answer(context).map(Ok)
            }
            Poll::Ready(Ok(())) => {
                self.heads.read(buffer.filled().get(before..).unwrap_or_default());
                if self.heads.awaits() == Awaits::Nothing {
                    self.reading = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait_for_head(context),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Closes the sending side, then lingers for a client that may still be sending.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.lingering.is_none() {
            ready!(Pin::new(&mut wire.stream).poll_shutdown(context))?;
            if !wire.heads.is_incomplete() {
                return Poll::Ready(Ok(()));
            }
        }
        let lingering = wire.lingering.get_or_insert_with(LingeringClose::new);
        lingering.poll_discard(&mut wire.stream, context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const TIMEOUTS: Timeouts =
        Timeouts { head: Duration::from_secs(10), write: Duration::from_secs(60) };

    fn wire(room: usize) -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(room);
        let heads = Heads::default();
        (Wire::new(ours, heads.clone(), Activity::new(heads), TIMEOUTS), theirs)
    }

    /// A wire that has read `request`, after which the client closed its side.
    async fn half_closed(
        request: &[u8],
    ) -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (mut wire, mut peer) = wire(4 << 10);
        peer.write_all(request).await.unwrap();
        peer.shutdown().await.unwrap();
        wire.read_exact(&mut vec![0; request.len()]).await.unwrap();
        (wire, peer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_answered_and_silence_is_not() {
        for (sent, answer) in [("GET / HTTP/1.1\r\n", SLOW), ("", b"".as_slice())] {
            let (mut wire, mut peer) = wire(1 << 10);
            peer.write_all(sent.as_bytes()).await.unwrap();
            let mut read = Vec::new();
            let error = wire.read_to_end(&mut read).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(wire);
            let mut answered = Vec::new();
            peer.read_to_end(&mut answered).await.unwrap();
            assert_eq!(answered, answer);
        }
        let body = SLOW.split(|byte| *byte == b'{').nth(1).unwrap().len() + 1;
        let length = format!("content-length: {body}\r\n");
        assert!(String::from_utf8_lossy(SLOW).contains(&length), "{length}");
    }

    #[tokio::test(start_paused = true)]
    async fn head_timeout_does_not_apply_between_requests_or_to_bodies() {
        let (mut wire, mut peer) = wire(1 << 10);
        let began = tokio::time::Instant::now();
        let sending = async {
            peer.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na").await.unwrap();
            tokio::time::sleep(TIMEOUTS.head * 3).await;
            peer.write_all(b"b").await.unwrap();
            tokio::time::sleep(TIMEOUTS.head * 3).await;
            drop(peer);
        };
        let mut read = Vec::new();
        let (whole, ()) = tokio::join!(wire.read_to_end(&mut read), sending);
        assert!(whole.is_ok() && began.elapsed() > TIMEOUTS.head * 5);
    }

    #[tokio::test(start_paused = true)]
    async fn half_closed_client_is_answered_within_the_grace_period() {
        let (mut wire, _peer) = half_closed(b"GET / HTTP/1.1\r\n\r\n").await;
        let request = wire.activity.begin();
        let began = Instant::now();
        let mut end = [0];
        // As long as it gets something.
        for _ in 0..3 {
            let read = tokio::time::timeout(HALF_CLOSED_TIMEOUT * 3 / 4, wire.read(&mut end)).await;
            assert!(read.is_err() && wire.activity.is_half_closed());
            wire.write_all(b"x").await.unwrap();
        }
        assert_eq!(wire.read(&mut end).await.unwrap(), 0);
        assert_eq!(began.elapsed(), HALF_CLOSED_TIMEOUT * 9 / 4 + HALF_CLOSED_TIMEOUT);
        drop(request);
        let ended = Instant::now();
        assert_eq!(wire.read(&mut end).await.unwrap(), 0, "nothing is under way");
        assert_eq!(ended.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_closes_an_event_stream_is_noticed_at_once() {
        let (mut wire, _peer) = half_closed(b"GET / HTTP/1.1\r\n\r\n").await;
        let _request = wire.activity.begin();
        wire.activity.set_event_stream(true);
        let began = Instant::now();
        assert_eq!(wire.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_closes_within_a_body_is_noticed_at_once() {
        let post = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na";
        let (mut wire, _peer) = half_closed(post).await;
        let _request = wire.activity.begin();
        let _ = wire.heads.annotate(http::Request::new(super::super::Body::empty()));
        let began = Instant::now();
        assert_eq!(wire.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn writes_time_out() {
        let (mut wire, _peer) = wire(4);
        let error = wire.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
