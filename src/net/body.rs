//! Bodies held in memory, up to a limit and for a limited time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::Body;

/// Why a body could not be held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// It is larger than what is held: 413.
    #[error("the body is larger than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// It did not come in time: 408.
    #[error("the body did not come within {} s", patience.as_secs_f32())]
    Slow {
        /// How long it may take.
        patience: Duration,
    },
    /// The sender broke it off, or it is not framed as HTTP says: 400.
    #[error("the body broke off: {0}")]
    Broken(String),
}

/// Reads a whole body of at most `max` bytes, which may take `patience` in all.
/// A declared length beyond `max` is refused before a byte is read. Trailers are
/// dropped.
///
/// # Errors
/// See [`HoldError`].
pub async fn hold(body: Body, max: usize, patience: Duration) -> Result<Bytes, HoldError> {
    let declared = body.size_hint().lower();
    if declared > max as u64 {
        return Err(HoldError::TooLarge { max });
    }
    timeout(patience, collect(body, max)).await.unwrap_or(Err(HoldError::Slow { patience }))
}

async fn collect(mut body: Body, max: usize) -> Result<Bytes, HoldError> {
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| HoldError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let held = first.as_ref().map_or(whole.len(), Bytes::len);
        if held.saturating_add(data.len()) > max {
            return Err(HoldError::TooLarge { max });
        }
        // Most bodies come in one piece: that one is not copied.
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(piece) => {
                whole.extend_from_slice(&piece);
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    use futures_util::stream;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn pieces(pieces: &'static [&'static str]) -> Body {
        let pieces = pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from(*piece)));
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_held_up_to_the_limit_however_it_is_cut() {
        for cut in [&["abcd"][..], &["", "ab", "cd"], &["a", "b", "c", "d"], &["ab", "", "cd"]] {
            assert_eq!(hold(pieces(cut), 4, PATIENCE).await.unwrap(), "abcd");
            let refused = hold(pieces(cut), 3, PATIENCE).await;
            assert_eq!(refused, Err(HoldError::TooLarge { max: 3 }));
        }
        assert_eq!(hold(Body::empty(), 0, PATIENCE).await.unwrap(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let endless = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let refused = hold(endless, 10, PATIENCE).await;
        assert_eq!(refused, Err(HoldError::Slow { patience: PATIENCE }));
    }
}
