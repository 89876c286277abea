//! What the HTTP parser does not tell: whether a request whose body comes in
//! chunks declared a length as well. The parser drops the length (RFC 9112,
//! section 6.3, allows it), and so it cannot mislead anybody behind the gate; but
//! who sends both is up to no good, and is to be told so.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http::header::TRANSFER_ENCODING;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Body;

/// An extension of requests that declared their length twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoLengths;

/// Bytes of a head that are looked at; the parser refuses longer ones.
const MAX_HEAD: usize = 64 << 10;

/// The head that is being read on one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads(Arc<Mutex<Head>>);

#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    /// What comes is a body.
    inside_body: bool,
}

impl Heads {
    fn head(&self) -> MutexGuard<'_, Head> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, bytes: &[u8]) {
        let mut head = self.head();
        if !head.inside_body && head.bytes.len() < MAX_HEAD {
            head.bytes.extend_from_slice(bytes);
        }
    }

    /// Marks `request` if its head declared two lengths, and waits for the next.
    pub(super) fn mark(&self, mut request: Request<Body>) -> Request<Body> {
        let chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let has_body = !request.body().is_end_stream();
        {
            let mut head = self.head();
            if chunked && declares_length(&head.bytes) {
                request.extensions_mut().insert(TwoLengths);
            }
            head.bytes.clear();
            head.inside_body = has_body;
        }
        if !has_body {
            return request;
        }
        let heads = self.clone();
        request.map(|inner| Body::new(Watched { inner, heads }))
    }
}

/// Whether a line of the head, the first one aside, is a `Content-Length`.
fn declares_length(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n').skip(1);
    let is_length = |line: &[u8]| {
        line.get(.."content-length:".len())
            .is_some_and(|start| start.eq_ignore_ascii_case(b"content-length:"))
    };
    lines.by_ref().take_while(|line| !line.trim_ascii().is_empty()).any(is_length)
}

/// A connection whose heads are looked at as they are read.
#[derive(Debug)]
pub(super) struct Sniffed<S> {
    pub(super) stream: S,
    pub(super) heads: Heads,
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.heads.read(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A body whose end is the beginning of the next head.
struct Watched {
    inner: Body,
    heads: Heads,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if frame.is_none() {
            self.heads.head().inside_body = false;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.heads.head().inside_body = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_in_the_head_and_nowhere_else() {
        for (head, declares) in [
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", true),
            ("POST / HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:3\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nHost: x\r\n\r\nContent-Length: 3\r\n", false),
            ("", false),
        ] {
            assert_eq!(declares_length(head.as_bytes()), declares, "{head}");
        }
    }
}
