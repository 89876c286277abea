//! The streams of a connection over HTTP/2. A client may stall many answers by granting no
//! flow-control window, or stay for ever without a request; frames are exchanged all the
//! while, so that neither the parser nor the timeouts of the connection notice.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use super::Body;
use super::body::{Next, lengthened};
use super::connection_limit::Slot;
use super::sniff::Heads;

/// Bytes of an answer handed out at a time, and so buffered for a client that does not read.
const PIECE: usize = 16 << 10;

/// The answers in flight on one connection.
#[derive(Debug, Clone)]
pub(super) struct Streams(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    /// Per stream, the time since when the client has not read what was handed out; `None`
    /// while it waits for us.
    untaken: HashMap<u64, Option<Instant>>,
    next: u64,
    /// Time when the last of them ended.
    idle: Instant,
}

impl Streams {
    pub(super) fn new() -> Self {
        let idle = Instant::now();
        Self(Arc::new(Mutex::new(Open { untaken: HashMap::new(), next: 0, idle })))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers an answer, with a slot of its own, until the returned guard is dropped.
    pub(super) fn begin(&self, slot: Option<Slot>) -> Stream {
        let mut open = self.open();
        let id = open.next;
        open.next += 1;
        open.untaken.insert(id, None);
        Stream { id, streams: self.clone(), _slot: slot }
    }

    /// Completes once an HTTP/2 client has sent no request for `idle`, or has read nothing of
    /// an answer for `timeout`.
    pub(super) async fn overdue(&self, heads: &Heads, idle: Duration, timeout: Duration) {
        let look = idle.min(timeout) / 6;
        loop {
            sleep(look).await;
            match heads.version() {
                None => {}
                Some(Version::HTTP_2) if self.open().is_overdue(idle, timeout) => return,
                Some(Version::HTTP_2) => {}
                // For HTTP/1.1 the parser and `Wire` have these timeouts.
                Some(_) => std::future::pending().await,
            }
        }
    }
}

impl Open {
    fn is_overdue(&self, idle: Duration, timeout: Duration) -> bool {
        if self.untaken.is_empty() {
            return self.idle.elapsed() >= idle;
        }
        self.untaken.values().flatten().any(|since| since.elapsed() >= timeout)
    }
}

/// Guard of an answer in flight.
#[derive(Debug)]
pub(super) struct Stream {
    id: u64,
    streams: Streams,
    _slot: Option<Slot>,
}

impl Stream {
    /// Wraps the answer's body to follow how it is read.
    pub(super) fn follow(self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        self.is_untaken(true);
        Body::new(Followed { inner: body, rest: Bytes::new(), stream: self })
    }

    fn is_untaken(&self, untaken: bool) {
        self.streams.open().untaken.insert(self.id, untaken.then(Instant::now));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        open.untaken.remove(&self.id);
        open.idle = Instant::now();
    }
}

/// A body that hands out small pieces: polling for the next one shows that the previous was
/// sent.
struct Followed {
    inner: Body,
    /// The rest of the inner body's last piece.
    rest: Bytes,
    stream: Stream,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        if self.rest.is_empty() {
            self.stream.is_untaken(false);
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.stream.is_untaken(true);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lengthened(self.inner.size_hint(), self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt as _;

    use super::*;

    const IDLE: Duration = Duration::from_secs(75);
    const TIMEOUT: Duration = Duration::from_secs(60);
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

    /// How long a connection that begins with `head` is let be, at most ten minutes.
    async fn until_overdue(streams: &Streams, head: &[u8]) -> Option<Duration> {
        let (heads, began) = (Heads::default(), Instant::now());
        heads.read(head);
        let overdue = streams.overdue(&heads, IDLE, TIMEOUT);
        let overdue = tokio::time::timeout(Duration::from_secs(600), overdue).await;
        overdue.is_ok().then(|| began.elapsed())
    }

    fn large() -> Body {
        Body::from(vec![b'x'; 3 * PIECE])
    }

    #[tokio::test(start_paused = true)]
    async fn idle_http_2_connections_time_out() {
        let streams = Streams::new();
        let after = until_overdue(&streams, PREFACE).await.unwrap();
        assert!((IDLE..IDLE + TIMEOUT / 4).contains(&after), "{after:?}");
        assert_eq!(until_overdue(&streams, b"GET / HTTP/1.1\r\n\r\n").await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn unread_answer_times_out_despite_other_activity() {
        let streams = Streams::new();
        let mut taken = streams.begin(None).follow(large());
        assert!(taken.frame().await.unwrap().is_ok());
        // One piece is out, the next one is not asked for.
        let after = until_overdue(&streams, PREFACE).await.unwrap();
        assert!((TIMEOUT..TIMEOUT + TIMEOUT / 4).contains(&after), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_waited_for_are_never_overdue() {
        let streams = Streams::new();
        let requested = streams.begin(None);
        let silent = futures_util::stream::pending::<Result<Bytes, Infallible>>();
        let mut silent = streams.begin(None).follow(Body::from_stream(silent));
        assert!(futures_util::FutureExt::now_or_never(silent.frame()).is_none());
        assert_eq!(until_overdue(&streams, PREFACE).await, None);
        drop((requested, silent));
        assert!(until_overdue(&streams, PREFACE).await.is_some());
    }

    #[tokio::test]
    async fn a_body_comes_whole_and_in_pieces() {
        let mut body = Streams::new().begin(None).follow(large());
        let mut lengths = Vec::new();
        assert_eq!(body.size_hint().exact(), Some(3 * PIECE as u64));
        while let Some(frame) = body.frame().await {
            lengths.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(lengths, [PIECE; 3]);
        assert!(Streams::new().begin(None).follow(Body::empty()).is_end_stream());
    }
}
