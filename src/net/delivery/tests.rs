use super::super::body::{HoldError, hold_answer};
use super::super::memory::{BUDGET, MAX_WAIT, Reservation, SenderBudget};
use super::*;
use futures_util::future::join_all;
use futures_util::stream::StreamExt as _;

const MAX: usize = 1 << 20;
const PART: usize = 2 * SMALL;

fn of(budget: &MemoryBudget, sender: &str) -> SenderBudget {
    budget.for_sender(&sender.into())
}

/// Answers of several senders that have come in part, and leave no memory.
fn crowd(budget: &MemoryBudget) -> Vec<Reservation> {
    crowd_of(budget, "crowd")
}

fn crowd_of(budget: &MemoryBudget, name: &str) -> Vec<Reservation> {
    let of_sender = |sender: usize| {
        let budget = of(budget, &format!("{name} {sender}"));
        std::iter::from_fn(|| {
            let mut reservation = budget.reservation();
            reservation.try_reserve(PART, MAX).then_some(reservation)
        })
        .collect::<Vec<_>>()
    };
    (0..).map(of_sender).take_while(|begun| !begun.is_empty()).flatten().collect()
}

/// One that has come in part, of a sender of its own.
fn begun(crowd: &mut Vec<Reservation>, budget: &MemoryBudget, sender: &str) -> Reservation {
    crowd.pop();
    let mut reservation = of(budget, sender).reservation();
    assert!(reservation.try_reserve(PART, MAX));
    reservation
}

fn whole(mut reservation: Reservation, budget: &MemoryBudget) -> Body {
    assert!(reservation.try_reserve(MAX, MAX), "beyond the budget");
    budget.deliver(Body::from(reservation.attach(Bytes::from(vec![b'x'; MAX]))), None)
}

#[tokio::test(start_paused = true)]
async fn unread_answers_give_up_memory_for_waiting_requests() {
    let budget = MemoryBudget::default();
    let mut crowd = crowd(&budget);
    let (slow, mut other) =
        (begun(&mut crowd, &budget, "slow"), begun(&mut crowd, &budget, "other"));
    let mut body = whole(slow, &budget);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), SMALL);
    let began = Instant::now();
    assert!(other.reserve(MAX, MAX).await);
    assert_eq!(began.elapsed(), READ_TIMEOUT + Duration::from_secs(1));
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), Reclaimed.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_on_has_its_answer_whole() {
    let budget = MemoryBudget::default();
    let me = of(&budget, "me");
    let answer = me.reserve(Bytes::from(vec![b'x'; BUDGET / 2]), MAX).await.unwrap();
    let mut body = budget.deliver(Body::from(answer), None);
    let reading = async {
        let mut taken = 0;
        while let Some(frame) = body.frame().await {
            taken += frame.unwrap().into_data().unwrap().len();
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
        taken
    };
    let waiting = async { me.reserve(Bytes::from(vec![b'x'; BUDGET / 2]), MAX).await };
    assert_eq!(tokio::join!(reading, waiting), (BUDGET / 2, None));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_budget_even_that_one_has_a_minute() {
    let budget = MemoryBudget::default();
    let mut crowd = crowd(&budget);
    let (slow, mut other) =
        (begun(&mut crowd, &budget, "slow"), begun(&mut crowd, &budget, "other"));
    let mut slow = slow;
    assert!(slow.try_reserve(128 * SMALL, MAX), "beyond the budget");
    let answer = slow.attach(Bytes::from(vec![b'x'; 128 * SMALL]));
    let mut body = budget.deliver(Body::from(answer), None);
    let began = Instant::now();
    let reading = async {
        while body.frame().await.unwrap().is_ok() {
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
    };
    let (taken, ()) = tokio::join!(other.reserve(MAX, MAX), reading);
    assert!(taken);
    let late = began.elapsed() - OVERDRAFT_TIMEOUT;
    assert!(late < Duration::from_secs(1), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn memory_is_only_reclaimed_for_waiting_requests() {
    let budget = MemoryBudget::default();
    let mut crowd = crowd(&budget);
    let body = whole(begun(&mut crowd, &budget, "slow"), &budget);
    tokio::time::advance(READ_TIMEOUT * 10).await;
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), MAX);
}

#[tokio::test(start_paused = true)]
async fn collected_answers_release_their_memory_once() {
    let budget = MemoryBudget::default();
    let mut crowd = crowd(&budget);
    let (slow, mut other) =
        (begun(&mut crowd, &budget, "slow"), begun(&mut crowd, &budget, "other"));
    let body = whole(slow, &budget);
    let (taken, ()) = tokio::join!(other.reserve(MAX, MAX), async {
        tokio::time::sleep(READ_TIMEOUT / 2).await;
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), MAX);
    });
    assert!(taken, "as soon as it is free");
}

#[tokio::test(start_paused = true)]
async fn incomplete_answers_give_up_memory_too() {
    let budget = MemoryBudget::default();
    let mut crowd = crowd(&budget);
    let mut other = begun(&mut crowd, &budget, "other");
    let slowly = futures_util::stream::iter([PART, MAX / 2])
        .map(|len| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; len])))
        .chain(futures_util::stream::pending());
    crowd.pop();
    let slow = of(&budget, "slow");
    let slow = hold_answer(Body::from_stream(slowly), Some(&slow), MAX, MAX_WAIT * 10);
    let began = Instant::now();
    let waiting = async {
        // The other one is the first to go beyond the budget.
        tokio::time::sleep(Duration::from_millis(1)).await;
        other.reserve(MAX, MAX).await
    };
    let (slow, other) = tokio::join!(slow, waiting);
    assert_eq!((slow.unwrap_err(), other), (HoldError::NoAnswerMemory, true));
    assert!(began.elapsed() < READ_TIMEOUT * 2);
}

/// One who has many that are slow does not take the turn of all others.
#[tokio::test(start_paused = true)]
async fn sender_whose_answer_was_reclaimed_waits_behind_others() {
    let budget = MemoryBudget::default();
    let mut first = crowd(&budget);
    first.truncate(first.len() - 50);
    let mut slow: Vec<_> = (0..20).map(|_| begun(&mut first, &budget, "slow")).collect();
    let mut crowd = crowd_of(&budget, "more");
    let mut others: Vec<_> =
        ["a", "b"].iter().map(|name| begun(&mut crowd, &budget, name)).collect();
    let first = whole(slow.pop().unwrap(), &budget);
    let slow = slow.into_iter().map(|mut slow| {
        let budget = budget.clone();
        async move { slow.reserve(MAX, MAX).await.then(|| whole(slow, &budget)) }
    });
    let others = others.iter_mut().map(|other| async {
        let taken = other.reserve(MAX, MAX).await;
        // A client that reads.
        other.release();
        taken
    });
    let mut slow = std::pin::pin!(join_all(slow));
    assert!(slow.as_mut().now_or_never().is_none());
    let both = tokio::join!(tokio::time::timeout(MAX_WAIT, slow), join_all(others));
    assert_eq!(both.1, [true, true]);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn sender_with_the_most_memory_is_reclaimed_first() {
    let budget = MemoryBudget::default();
    let answer = |sender: &str, len| {
        let budget = of(&budget, sender);
        async move { budget.reserve(Bytes::from(vec![b'x'; len]), MAX).await.unwrap() }
    };
    let mut bodies = Vec::new();
    for (sender, len) in [("few", MAX), ("many", BUDGET / 4), ("many", BUDGET / 4 - MAX)] {
        bodies.push(budget.deliver(Body::from(answer(sender, len).await), None));
    }
    let began = Instant::now();
    assert_eq!(answer("new", BUDGET * 2 / 3).await.len(), BUDGET * 2 / 3);
    assert_eq!(began.elapsed(), READ_TIMEOUT);
    let ends = join_all(bodies.into_iter().map(|body| body.collect())).await;
    let is_whole: Vec<_> = ends.iter().map(Result::is_ok).collect();
    assert!(is_whole[0] && is_whole[1] != is_whole[2], "{is_whole:?}");
}

#[tokio::test]
async fn delivered_body_is_unchanged() {
    let budget = MemoryBudget::default();
    let of_me = of(&budget, "me");
    let text: Vec<u8> = (0..MAX).map(|n| (n % 251) as u8).collect();
    let held = of_me.reserve(Bytes::from(text.clone()), MAX).await.unwrap();
    let cut = held.slice(3..);
    drop(held);
    let body = budget.deliver(Body::from(cut), None);
    assert_eq!(body.size_hint().exact(), Some(MAX as u64 - 3));
    assert!(body.collect().await.unwrap().to_bytes() == text[3..]);
    let uncounted = budget.deliver(Body::from(text.clone()), None);
    assert!(uncounted.collect().await.unwrap().to_bytes() == text);
    assert!(budget.deliver(Body::empty(), None).is_end_stream());
}
