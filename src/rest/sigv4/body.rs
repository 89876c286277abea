//! A body whose chunks are verified and signed again on their way upstream. Only verified
//! data passes; on an error the body breaks off, so that upstream gets an incomplete request
//! and not a different one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::chunks::{ChunkError, Chunks};
use crate::net::Body;
use crate::net::body::{Next, Unfit, lengthened};

/// See the module. Nothing is sent while a chunk arrives, so that each has to arrive within
/// upstream's response timeout.
pub(super) struct ResignedBody {
    inner: Body,
    /// `None` once the body has ended or failed.
    chunks: Option<Chunks>,
}

impl ResignedBody {
    /// `inner`, verified and re-signed by `chunks`.
    pub(super) fn new(inner: Body, chunks: Chunks) -> Self {
        Self { inner, chunks: Some(chunks) }
    }

    /// The part of `frame` that may be sent.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Bytes, ChunkError> {
        match (frame.into_data(), &mut self.chunks) {
            (Ok(data), Some(chunks)) => chunks.take(&data),
            (Ok(_), None) => Ok(Bytes::new()),
            // HTTP trailers, which no signature covers.
            (Err(frame), _) => match frame.trailers_ref().is_none_or(http::HeaderMap::is_empty) {
                true => Ok(Bytes::new()),
                false => Err(ChunkError::Trailer),
            },
        }
    }
}

impl HttpBody for ResignedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        while self.chunks.is_some() {
            let passes = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => self.take(frame),
                Some(Err(error)) => {
                    self.chunks = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.chunks.take().map_or(Ok(Bytes::new()), Chunks::finish),
            };
            match passes {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(bad) => {
                    self.chunks = None;
                    let unfit = Unfit { code: "invalid_body", what: bad.to_string() };
                    return Poll::Ready(Some(Err(axum::Error::new(unfit))));
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_none()
    }

    /// Re-signing keeps the length.
    fn size_hint(&self) -> SizeHint {
        let Some(chunks) = &self.chunks else { return SizeHint::with_exact(0) };
        lengthened(self.inner.size_hint(), chunks.held())
    }
}
