//! What a client still sends when its answer is out. A socket that is closed with bytes
//! unread is reset, and a reset takes the answer from a client that means to read it once
//! its body is sent. So what comes is thrown away for a while, into a buffer that is
//! nobody's, and none of it is ever taken for a request (RFC 9112, section 9.6). Over
//! HTTP/2 a stream can be given up without any harm (RFC 9113, section 8.1), but not
//! every client reads its answer then; there the same is done with a body.

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

/// Bytes that are thrown away at most; with more, the connection or stream is reset.
const MOST: usize = 64 << 20;

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(5);

/// How long it may take in all: less than a connection may lie idle.
const WHILE: Duration = Duration::from_secs(30);

/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;

/// How much more is thrown away of what a client sends, and for how long.
#[derive(Debug)]
pub(super) struct Leftover {
    left: usize,
    silence: Pin<Box<Sleep>>,
    end: Pin<Box<Sleep>>,
}

impl Leftover {
    /// From now on.
    pub(super) fn new() -> Self {
        Self { left: MOST, silence: Box::pin(sleep(SILENCE)), end: Box::pin(sleep(WHILE)) }
    }

    /// Throws away what comes of `stream`; resolves at its end, or at the first limit.
    pub(super) fn poll_discard<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut piece = [0; PIECE];
        loop {
            if self.end.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Pending => return self.silence.as_mut().poll(context),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {
                    let read = buffer.filled().len();
                    if read == 0 || read > self.left {
                        return Poll::Ready(());
                    }
                    self.left -= read;
                    self.silence.as_mut().reset(Instant::now() + SILENCE);
                }
            }
        }
    }
}

/// A body that comes in over HTTP/2. What nobody has read of it when it is dropped is
/// thrown away as it comes.
pub(super) fn read_out(body: Incoming) -> Body {
    if body.is_end_stream() { Body::empty() } else { Body::new(ReadOut(Some(body))) }
}

struct ReadOut(Option<Incoming>);

impl HttpBody for ReadOut {
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

impl Drop for ReadOut {
    fn drop(&mut self) {
        let left = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Ok(here)) = (left, Handle::try_current()) {
            here.spawn(async { timeout(WHILE, discard(body)).await });
        }
    }
}

/// Throws away what comes of `body`, until its end or a limit.
async fn discard(mut body: Incoming) {
    let mut left = MOST;
    while let Ok(Some(Ok(frame))) = timeout(SILENCE, body.frame()).await {
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

    /// What `client` comes to before it is shown out, and after how long.
    async fn shown_out(client: impl AsyncFnMut(&mut tokio::io::DuplexStream)) -> (usize, Duration) {
        let (mut ours, mut theirs) = tokio::io::duplex(PIECE);
        let (began, mut leftover) = (Instant::now(), Leftover::new());
        let discarding = async {
            poll_fn(|context| leftover.poll_discard(&mut ours, context)).await;
            (MOST - leftover.left, began.elapsed())
        };
        let mut client = client;
        let sending = async {
            client(&mut theirs).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            shown_out = discarding => shown_out,
            () = sending => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_sending_is_waited_for_a_little() {
        let (read, took) = shown_out(async |stream| stream.write_all(b"abc").await.unwrap()).await;
        assert!(read == 3 && took >= SILENCE && took < SILENCE * 2, "{read} {took:?}");
        let (read, took) = shown_out(async |stream| {
            stream.write_all(&[0; 3 * PIECE]).await.unwrap();
            stream.shutdown().await.unwrap();
        })
        .await;
        assert_eq!((read, took), (3 * PIECE, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_a_second_comes_to_an_end() {
        let (read, took) = shown_out(async |stream| {
            while stream.write_all(b"a").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
        assert!(took >= WHILE && took < WHILE + SILENCE && read <= 31, "{read} {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_for_ever_is_cut_off() {
        let (read, _) =
            shown_out(async |stream| while stream.write_all(&[0; PIECE]).await.is_ok() {}).await;
        assert_eq!(read, MOST);
    }
}
