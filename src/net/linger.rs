//! Lingering close. Closing a socket with unread bytes resets the connection, and a client
//! that is still sending its body then loses the answer. So after the answer, what the client
//! sends is discarded for a limited time; none of it is ever parsed as a request (RFC 9112,
//! section 9.6). Over HTTP/2 a stream may be reset without harm (RFC 9113, section 8.1), but
//! some clients do not read the answer then, so the rest of a body is discarded there, too.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::Body;

/// Maximum number of bytes discarded; after that the connection or stream is reset.
const MAX_BYTES: usize = 64 << 20;

/// Timeout without data from the client.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout in all, shorter than the idle timeout of connections.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Read size, in bytes.
const CHUNK: usize = 16 << 10;

/// Remaining budget of bytes and time.
#[derive(Debug)]
pub(super) struct LingeringClose {
    left: usize,
    silence: Pin<Box<Sleep>>,
    end: Pin<Box<Sleep>>,
}

impl LingeringClose {
    /// Starts a lingering close.
    pub(super) fn new() -> Self {
        Self {
            left: MAX_BYTES,
            silence: Box::pin(sleep(IDLE_TIMEOUT)),
            end: Box::pin(sleep(TIMEOUT)),
        }
    }

    /// Discards what `stream` sends; ready at its end, or when a limit is reached.
    pub(super) fn poll_discard<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut chunk = [0; CHUNK];
        loop {
            if self.end.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Pending => return self.silence.as_mut().poll(context),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {
                    let read = buffer.filled().len();
                    if read == 0 || read > self.left {
                        return Poll::Ready(());
                    }
                    self.left -= read;
                    self.silence.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                }
            }
        }
    }
}

/// An HTTP/2 request body whose unread rest is discarded when it is dropped.
pub(super) fn drain_on_drop(body: Incoming) -> Body {
    if body.is_end_stream() { Body::empty() } else { Body::new(DrainOnDrop(Some(body))) }
}

struct DrainOnDrop(Option<Incoming>);

impl HttpBody for DrainOnDrop {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        let left = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Ok(here)) = (left, Handle::try_current()) {
            here.spawn(async { timeout(TIMEOUT, discard(body)).await });
        }
    }
}

/// Discards `body` until its end or a limit.
async fn discard(mut body: Incoming) {
    let mut left = MAX_BYTES;
    while let Ok(Some(Ok(frame))) = timeout(IDLE_TIMEOUT, body.frame()).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(less) => left = less,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// How many bytes of `client` are discarded, and for how long.
    async fn lingered(client: impl AsyncFnMut(&mut tokio::io::DuplexStream)) -> (usize, Duration) {
        let (mut ours, mut theirs) = tokio::io::duplex(CHUNK);
        let (began, mut lingering) = (Instant::now(), LingeringClose::new());
        let discarding = async {
            poll_fn(|context| lingering.poll_discard(&mut ours, context)).await;
            (MAX_BYTES - lingering.left, began.elapsed())
        };
        let mut client = client;
        let sending = async {
            client(&mut theirs).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            lingered = discarding => lingered,
            () = sending => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lingering_ends_after_silence() {
        let (read, took) = lingered(async |stream| stream.write_all(b"abc").await.unwrap()).await;
        assert!(read == 3 && took >= IDLE_TIMEOUT && took < IDLE_TIMEOUT * 2, "{read} {took:?}");
        let (read, took) = lingered(async |stream| {
            stream.write_all(&[0; 3 * CHUNK]).await.unwrap();
            stream.shutdown().await.unwrap();
        })
        .await;
        assert_eq!((read, took), (3 * CHUNK, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_trickle_times_out() {
        let (read, took) = lingered(async |stream| {
            while stream.write_all(b"a").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
        assert!(took >= TIMEOUT && took < TIMEOUT + IDLE_TIMEOUT && read <= 31, "{read} {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn lingering_ends_after_the_maximum() {
        let (read, _) =
            lingered(async |stream| while stream.write_all(&[0; CHUNK]).await.is_ok() {}).await;
        assert_eq!(read, MAX_BYTES);
    }
}
