use super::*;

const MAX: usize = 1 << 20;

#[test]
fn one_sender_has_half_and_releases_it() {
    let budget = MemoryBudget::default();
    let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
    let mut reservations = Vec::new();
    loop {
        let mut reservation = budget.reservation(&one);
        if !reservation.try_reserve(MAX, MAX) {
            break;
        }
        reservations.push(reservation);
    }
    assert_eq!(reservations.len() * MAX, BUDGET / 2);
    assert!(budget.reservation(&one).try_reserve(SMALL, MAX), "what is small is not counted");
    assert!(budget.reservation(&other).try_reserve(MAX, MAX));
    let reservation = reservations.pop().unwrap();
    let bytes = reservation.try_attach(Bytes::from_static(b"held"), MAX).unwrap();
    let copy = bytes.clone();
    drop(bytes);
    assert!(!budget.reservation(&one).try_reserve(MAX, MAX), "a copy is still there");
    drop(copy);
    assert!(budget.reservation(&one).try_reserve(MAX, MAX));
    drop(reservations);
    let usage = budget.usage();
    assert!(usage.all == 0 && usage.by_sender.is_empty(), "{usage:?}");
}

#[test]
fn each_sender_gets_at_most_half_of_what_is_free() {
    let budget = MemoryBudget::default();
    let mut reservations = Vec::new();
    for (sender, may) in [("one", BUDGET / 2), ("two", BUDGET / 4), ("three", BUDGET / 8)] {
        let sender = Arc::from(sender);
        let all = std::iter::from_fn(|| {
            let mut reservation = budget.reservation(&sender);
            reservation.try_reserve(MAX, MAX).then_some(reservation)
        });
        let all: Vec<_> = all.collect();
        assert_eq!(all.len() * MAX, may, "{sender}");
        reservations.extend(all);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_memory_and_not_for_ever() {
    let budget = MemoryBudget::default();
    let own = budget.for_sender(&"one".into());
    let mut held = Vec::new();
    for _ in 0..BUDGET / 2 / MAX {
        held.push(own.reserve(Bytes::from(vec![0; MAX]), MAX).await.unwrap());
    }
    let began = tokio::time::Instant::now();
    assert_eq!(own.reserve(Bytes::from(vec![0; MAX]), MAX).await, None);
    assert_eq!(began.elapsed(), MAX_WAIT);
    assert!(own.reserve(Bytes::from(vec![0; SMALL]), MAX).await.is_some(), "it is small");
    let released = async {
        tokio::time::sleep(MAX_WAIT / 2).await;
        drop(held.pop());
    };
    let (kept, ()) = tokio::join!(own.reserve(Bytes::from(vec![0; MAX]), MAX), released);
    assert!(kept.is_some());
    drop((held, kept));
    assert_eq!(budget.usage().all, 0);
}

#[tokio::test(start_paused = true)]
async fn partly_received_answers_do_not_deadlock() {
    let budget = MemoryBudget::default();
    let own = budget.for_sender(&"one".into());
    let part = 2 * SMALL;
    let mut begun = Vec::new();
    loop {
        let mut reservation = own.reservation();
        if !reservation.try_reserve(part, MAX) {
            break;
        }
        begun.push(reservation);
    }
    assert_eq!(begun.len() * part, BUDGET / 2);
    // Each comes to its end, in turn, and is taken.
    let mut waiting: Vec<_> =
        begun.iter_mut().take(9).map(|reservation| reservation.reserve(MAX, MAX)).collect();
    assert!(waiting.remove(0).await);
    assert!(!waiting.remove(0).await, "the first one is still held");
    drop(waiting);
    drop(begun.remove(0));
    for mut reservation in begun.drain(..9) {
        assert!(reservation.reserve(MAX, MAX).await);
    }
    drop(begun);
    let usage = budget.usage();
    assert!(usage.all == 0 && usage.over_share.is_empty(), "{usage:?}");
}

#[tokio::test(start_paused = true)]
async fn nor_do_those_of_several_senders() {
    let budget = MemoryBudget::default();
    let part = 2 * SMALL;
    let of_sender = |sender: usize| {
        let budget = budget.for_sender(&sender.to_string().into());
        std::iter::from_fn(|| {
            let mut reservation = budget.reservation();
            reservation.try_reserve(part, MAX).then_some(reservation)
        })
        .collect::<Vec<_>>()
    };
    let mut begun: Vec<Vec<Reservation>> =
        (0..).map(of_sender).take_while(|begun| !begun.is_empty()).collect();
    assert!(begun.len() > 5 && budget.usage().all > BUDGET - MAX);
    let beyond = begun.iter_mut().map(|of_one| of_one[0].reserve(MAX, MAX));
    let granted = futures_util::future::join_all(beyond).await;
    assert_eq!(granted.iter().filter(|granted| **granted).count(), 1);
    assert!(budget.usage().all <= BUDGET + MAX);
    // Each comes to its end, in turn, and is taken.
    for mut of_one in begun {
        assert!(of_one[0].reserve(MAX, MAX).await);
    }
    let usage = budget.usage();
    assert!(usage.all == 0 && usage.overdraft.is_none(), "{usage:?}");
}

#[test]
fn an_answer_releases_what_it_does_not_need() {
    let budget = MemoryBudget::default();
    let mut reservation = budget.for_sender(&"one".into()).reservation();
    assert!(reservation.try_reserve(MAX, MAX));
    let kept = reservation.attach(Bytes::from(vec![0; SMALL + 1]));
    assert_eq!(budget.usage().all, SMALL + 1, "without a tree");
    drop(kept);
    let mut reservation = budget.for_sender(&"one".into()).reservation();
    assert!(reservation.try_reserve(MAX, MAX));
    let _small = reservation.attach(Bytes::from_static(b"small"));
    assert_eq!(budget.usage().all, 0);
}

#[test]
fn delimiters_in_strings_are_not_counted_as_values() {
    for (text, values) in
        [("", 0), (r#"[1,{"a":[]}]"#, 4), (r#"{"a,b[":"c,\",{d\\"}"#, 1), (r#"["\\",","]"#, 2)]
    {
        assert_eq!(weight(text.as_bytes()), text.len() + values * JSON_VALUE, "{text}");
    }
}

#[test]
fn a_body_is_counted_with_its_tree() {
    let budget = MemoryBudget::default();
    let sender = Arc::from("one");
    let nested = Bytes::from("[".repeat(SMALL));
    let kept = budget.reservation(&sender).try_attach(nested.clone(), MAX);
    assert_eq!(budget.usage().all, SMALL * (1 + JSON_VALUE));
    let more: Vec<_> = (0..1000)
        .map_while(|_| budget.reservation(&sender).try_attach(nested.clone(), MAX))
        .collect();
    assert_eq!(more.len() + 1, BUDGET / 2 / (SMALL * (1 + JSON_VALUE)));
    drop((kept, more));
    assert_eq!(budget.usage().all, 0);
}

#[test]
fn the_largest_body_always_fits_an_unused_budget() {
    let budget = MemoryBudget::default();
    let max = 2 * BUDGET;
    let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
    let (mut first, mut second) = (budget.reservation(&one), budget.reservation(&other));
    assert!(
        first.try_reserve(max / 2, max)
            && first.try_reserve(max, max)
            && second.try_reserve(max, max)
    );
    assert!(!budget.reservation(&"third".into()).try_reserve(SMALL + 1, max));
}
