//! Many callers at once: whose row is committed by whom, and who is told.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use super::{alice, completion, draft, record, rows, store};
use crate::store::audit::Recorded;

/// Callers per thread, and rows per caller.
const CALLERS: usize = 16;
const ROWS: usize = 20;

#[test]
fn queued_rows_of_a_cancelled_caller_are_still_written() {
    let (folder, store) = store();
    let path = folder.path().join("audit.db");
    let id = record(&store, draft("read_file")).unwrap();
    // So many results that the next caller waits for other rows.
    for _ in 0..8 {
        store.complete(&id, completion());
    }
    {
        let agent = alice();
        let mut recording = pin!(store.record(&agent, &[], |_| (draft("given_up"), ())));
        // Ready only if the store's thread was faster.
        let _ = recording.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    record(&store, draft("read_file")).unwrap();
    store.close();
    assert_eq!(rows(&path), 3 + 8);
}

#[test]
fn callers_of_several_runtimes_share_commits_and_each_gets_its_own_row() {
    let (folder, store) = store();
    let thread = || {
        let store = store.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let caller = |name: usize| {
                let store = store.clone();
                runtime.spawn(async move {
                    let mut ids = Vec::new();
                    for row in 0..ROWS {
                        let given = move |_| (draft("read_file"), (name, row));
                        let (Recorded { id, .. }, back) =
                            store.record(&alice(), &[], given).await.unwrap();
                        assert_eq!(back, (name, row));
                        store.complete(&id, completion());
                        ids.push(id.as_str().to_owned());
                    }
                    ids
                })
            };
            let callers: Vec<_> = (0..CALLERS).map(caller).collect();
            let all = callers.into_iter().map(|caller| runtime.block_on(caller).unwrap());
            all.flatten().collect::<Vec<String>>()
        })
    };
    let threads = [thread(), thread(), thread()];
    let mut ids: Vec<String> = threads.into_iter().flat_map(|one| one.join().unwrap()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3 * CALLERS * ROWS);
    store.close();
    assert_eq!(rows(&folder.path().join("audit.db")), 2 * 3 * (CALLERS * ROWS) as i64);
}
