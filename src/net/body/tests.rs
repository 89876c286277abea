use std::sync::Arc;

use super::*;
use crate::net::memory::MemoryBudget;

const TIMEOUT: Duration = Duration::from_secs(60);

fn pieces(pieces: &'static [&'static str]) -> Body {
    let pieces = pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from(*piece)));
    Body::from_stream(stream::iter(pieces))
}

fn placed(body: Body) -> (Body, Reservation) {
    (body, MemoryBudget::default().reservation(&Arc::default()))
}

#[tokio::test]
async fn a_body_is_held_up_to_the_limit_however_it_is_cut() {
    for cut in [&["abcd"][..], &["", "ab", "cd"], &["a", "b", "c", "d"], &["ab", "", "cd"]] {
        assert_eq!(hold(pieces(cut), 4, TIMEOUT).await.unwrap(), "abcd");
        let refused = hold(pieces(cut), 3, TIMEOUT).await;
        assert_eq!(refused, Err(HoldError::TooLarge { max: 3 }));
    }
    assert_eq!(hold(Body::empty(), 0, TIMEOUT).await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_given_up() {
    let endless = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let refused = hold(endless, 10, TIMEOUT).await;
    assert_eq!(refused, Err(HoldError::Slow { timeout: TIMEOUT }));
}

#[tokio::test(start_paused = true)]
async fn a_body_streams_for_as_long_as_something_comes() {
    let slowly = stream::unfold(0, |count| async move {
        let pause = if count < 3 { TIMEOUT - Duration::from_secs(1) } else { TIMEOUT * 2 };
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(Bytes::from("a")), count + 1))
    });
    let mut body = with_stall_timeout(Body::from_stream(slowly), TIMEOUT);
    for _ in 0..3 {
        assert!(body.frame().await.unwrap().is_ok());
    }
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), Stalled(TIMEOUT).to_string());
}

#[tokio::test(start_paused = true)]
async fn partly_read_body_is_resumed_unchanged() {
    for (max, whole) in [(4, true), (3, false), (0, false)] {
        let body = match open(placed(pieces(&["ab", "", "cd"])), max, TIMEOUT).await.unwrap() {
            Opening::Whole(held) => held.into_body(),
            Opening::Part(pieces, body) => resume(pieces, body),
        };
        assert_eq!(body.size_hint().exact().is_some(), whole, "{max}");
        assert_eq!(hold(body, 4, TIMEOUT).await.unwrap(), "abcd");
    }
    let declared = open(placed(Body::from("abcd")), 3, TIMEOUT).await.unwrap();
    let Opening::Part(begun, rest) = declared else { panic!("it is longer than that") };
    assert_eq!(resume(begun, rest).size_hint().exact(), Some(4));
    let slow = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    assert!(
        matches!(open(placed(slow), 3, TIMEOUT).await, Ok(Opening::Part(begun, _)) if begun.is_empty())
    );
}

#[tokio::test]
async fn trailers_are_held_and_sent_again() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("1"));
    let body = Held { bytes: "ab".into(), trailers: Some(trailers.clone()) }.into_body();
    assert_eq!(body.size_hint().exact(), None);
    let held = hold_whole((body, None), 2, TIMEOUT).await.unwrap();
    assert_eq!((&*held.bytes, held.trailers), (&b"ab"[..], Some(trailers)));
}
